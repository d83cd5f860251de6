//! What is kept and for how long: delivered rows by age, scanned texts by a shorter one, everything by bytes.
//!
//! Each step is one small transaction, so that a scan that comes meanwhile waits for a few milliseconds at most.

use std::{collections::BTreeMap, fs, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{
    Settings,
    files::wal_of,
    row, salvage, schema,
    store::{Store, count},
    trouble::Trouble,
};

/// Rows removed in one step.
const STEP: i64 = 200;

/// Rows whose age is looked at in one step.
const LOOK: i64 = 500;

/// Pages given back to the filesystem in one step.
pub(super) const VACUUM_STEP: u32 = 256;

/// Files moved away that are kept at most.
const COPIES: usize = 2;

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing left to do.
    Done,
    /// Something was done, and more may be left.
    More,
    /// Pages were given back to the filesystem, and more may be left.
    Vacuumed,
    /// Rows that had not been delivered were dropped for lack of space.
    Dropped,
    /// Rows must be dropped for lack of space, and the file does not say yet which of them are delivered.
    Unsettled,
}

/// Does the next small thing. Rows are removed by age only while the clock is synchronised: a clock that is years ahead
/// would remove everything. `settled`: the file says of every row whether it is delivered.
pub(super) fn step(
    store: &mut Store,
    settings: &Settings,
    clock_synced: bool,
    settled: bool,
) -> Result<Step, Trouble> {
    let now = Timestamp::now();
    let raw_before = row::nanos(before(now, settings.keep_raw));
    let blanked = store.unsynced(|transaction| {
        let records = transaction.execute(
            "UPDATE record SET raw = NULL WHERE row IN (SELECT row FROM record WHERE raw IS NOT NULL AND at < ?1 ORDER BY at LIMIT ?2)",
            [raw_before, STEP],
        )?;
        let scans = transaction.execute("UPDATE raw_scan SET bytes = NULL WHERE bytes IS NOT NULL AND fate IS NOT NULL AND at < ?1", [raw_before])?;
        Ok(records + scans)
    })?;
    if blanked > 0 {
        return Ok(Step::More);
    }
    if clock_synced && remove_aged(store, before(now, settings.keep))? {
        return Ok(Step::More);
    }
    let space = Space::of(store)?;
    if space.used > space.limit(settings.max_bytes) {
        if remove_oldest_delivered(store)? {
            return Ok(Step::More);
        }
        if !settled {
            return Ok(Step::Unsettled);
        }
        if drop_oldest(store)? {
            return Ok(Step::Dropped);
        }
    }
    if space.free_pages > 256
        && (space.free_pages * 4 > space.pages || space.file > space.limit(settings.max_bytes))
    {
        let vacuum = format!("PRAGMA incremental_vacuum({VACUUM_STEP})");
        // One step of the statement gives one page back.
        store.unsynced(|transaction| {
            let mut statement = transaction.prepare_cached(&vacuum)?;
            let mut given_back = statement.query([])?;
            while given_back.next()?.is_some() {}
            Ok(())
        })?;
        return Ok(Step::Vacuumed);
    }
    Ok(Step::Done)
}

/// Removes files moved away that were read: all but the newest few, or, when the disk is full, all of them.
pub(super) fn remove_copies(
    store: &Store,
    settings: &Settings,
    disk_full: bool,
) -> Result<(), Trouble> {
    let finished = salvage::finished(store)?;
    let copies = salvage::copies(&settings.state_dir);
    let keep = if disk_full { 0 } else { COPIES };
    for copy in copies.iter().rev().skip(keep) {
        let read = copy
            .file_name()
            .is_some_and(|name| finished.iter().any(|file| name.to_string_lossy() == *file));
        if read {
            tracing::warn!(
                "removing {}: it was salvaged, and its space is needed",
                copy.display()
            );
            salvage::remove(copy);
        }
    }
    Ok(())
}

/// How much room the journal takes.
struct Space {
    pages: i64,
    free_pages: i64,
    /// Bytes in use in the file.
    used: u64,
    /// Bytes of the file.
    file: u64,
    /// Bytes of its log.
    log: u64,
}

impl Space {
    fn of(store: &Store) -> Result<Self, Trouble> {
        let pragma = |name: &str| {
            store
                .conn
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .map_err(|error| store.trouble(&error))
        };
        let (pages, free_pages, size) = (
            pragma("page_count")?,
            pragma("freelist_count")?,
            pragma("page_size")?,
        );
        let bytes = |pages: i64| pages.max(0).cast_unsigned() * size.max(0).cast_unsigned();
        let log = fs::metadata(wal_of(&store.path)).map_or(0, |log| log.len());
        Ok(Self {
            pages,
            free_pages,
            used: bytes(pages - free_pages),
            file: bytes(pages),
            log,
        })
    }

    /// What the file may hold so that file and log together stay within the bound.
    fn limit(&self, max_bytes: u64) -> u64 {
        max_bytes
            .saturating_sub(self.log.max(max_bytes / 16))
            .max(max_bytes / 2)
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    SignedDuration::try_from(age)
        .ok()
        .and_then(|age| now.checked_sub(age).ok())
        .unwrap_or(Timestamp::MIN)
}

/// Rows lie in the order of delivery, so the first rows are the first whose time is over. A row that was set aside, or delivered
/// by a wrong clock, may lie before others: a second look goes round the whole table, some rows each time.
fn remove_aged(store: &mut Store, before: Timestamp) -> Result<bool, Trouble> {
    let before = row::nanos(before);
    let from = store.looked_at;
    let (removed, next) = store.unsynced(|transaction| {
        let sql = "DELETE FROM record WHERE row IN (SELECT row FROM \
            (SELECT row, delivered_at FROM record WHERE row > ?1 ORDER BY row LIMIT ?2) WHERE delivered_at < ?3 LIMIT ?4) RETURNING row";
        let mut gone = 0;
        for from in [i64::MIN, from] {
            gone += removed(transaction, sql, params![from, LOOK, before, STEP])?.len();
        }
        gone += transaction.execute("DELETE FROM raw_scan WHERE fate IS NOT NULL AND at < ?1", [before])?;
        let sql = "SELECT max(row), count(*) FROM (SELECT row FROM record WHERE row > ?1 ORDER BY row LIMIT ?2)";
        let (last, many): (Option<i64>, i64) =
            transaction.query_row(sql, [from, LOOK], |found| Ok((found.get(0)?, found.get(1)?)))?;
        Ok((gone > 0, last.filter(|_| many == LOOK)))
    })?;
    if !removed {
        store.looked_at = next.unwrap_or(i64::MIN);
    }
    Ok(removed)
}

fn remove_oldest_delivered(store: &mut Store) -> Result<bool, Trouble> {
    store.unsynced(|transaction| {
        // Without a delivered row, looking for one would read them all.
        let sql = "SELECT total(next_seq - 1 - removed - unsent) > (SELECT count(*) FROM record WHERE aside IS NOT NULL) FROM epoch";
        if !transaction.query_row(sql, [], |found| found.get::<_, bool>(0))? {
            return Ok(false);
        }
        let sql =
            "DELETE FROM record WHERE row IN (SELECT row FROM record WHERE delivered_at IS NOT NULL ORDER BY row LIMIT ?1) RETURNING row";
        removed(transaction, sql, params![STEP]).map(|removed| !removed.is_empty())
    })
}

/// Drops the oldest rows although they were never delivered: counted, with their range.
fn drop_oldest(store: &mut Store) -> Result<bool, Trouble> {
    let now = row::nanos(Timestamp::now());
    let dropped = store.unsynced(|transaction| {
        let sql = "DELETE FROM record WHERE row IN (SELECT row FROM record ORDER BY row LIMIT ?1) RETURNING row";
        let rows = removed(transaction, sql, params![STEP])?;
        count(transaction, "dropped", rows.len() as u64)?;
        let mut ranges: BTreeMap<i64, (i64, i64, i64)> = BTreeMap::new();
        for row in rows {
            let seq = schema::seq_of(row).cast_signed();
            let range = ranges.entry(schema::epoch_number_of(row)).or_insert((seq, seq, 0));
            *range = (range.0.min(seq), range.1.max(seq), range.2 + 1);
        }
        for (number, (first, last, many)) in &ranges {
            note_drop(transaction, *number, *first, *last, *many, now)?;
        }
        Ok(ranges)
    })?;
    for (first, last, many) in dropped.values() {
        tracing::error!(
            first_seq = first,
            last_seq = last,
            rows = many,
            "no space left within max_bytes: dropped records that were never delivered"
        );
    }
    Ok(!dropped.is_empty())
}

/// Extends the last drop's range, or begins another.
fn note_drop(
    transaction: &Transaction<'_>,
    number: i64,
    first: i64,
    last: i64,
    many: i64,
    now: i64,
) -> rusqlite::Result<()> {
    let epoch: Option<Vec<u8>> = transaction
        .query_row("SELECT id FROM epoch WHERE number = ?1", [number], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(epoch) = epoch else { return Ok(()) };
    let extended = transaction.execute(
        "UPDATE dropped SET last = ?2, count = min(count, 1 << 40) + ?3, at = ?4 WHERE rowid = (SELECT max(rowid) FROM dropped) AND epoch = ?1 AND last < ?5",
        params![epoch, last, many, now, first],
    )?;
    if extended == 0 {
        transaction.execute(
            "INSERT INTO dropped (epoch, first, last, count, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![epoch, first, last, many, now],
        )?;
    }
    Ok(())
}

/// Runs a `DELETE .. RETURNING row` and keeps each epoch's count of removed rows.
fn removed(
    transaction: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<i64>> {
    let mut statement = transaction.prepare_cached(sql)?;
    let rows: Vec<i64> = statement
        .query_map(params, |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut epochs: BTreeMap<i64, i64> = BTreeMap::new();
    for row in &rows {
        *epochs.entry(schema::epoch_number_of(*row)).or_default() += 1;
    }
    for (number, many) in epochs {
        transaction
            .prepare_cached("UPDATE epoch SET removed = removed + ?2 WHERE number = ?1")?
            .execute([number, many])?;
    }
    Ok(rows)
}
