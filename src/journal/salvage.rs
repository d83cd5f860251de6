//! A file that cannot be the journal any more: set aside under a name that says so, and read for what is still there.
//!
//! Salvage runs in small steps behind the scans, and starts again from the beginning after a restart: a record that is there
//! already is not written twice.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, fmt::strtime};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use super::{
    row::{self, Stored},
    schema,
    store::{BUSY, Fate, Store, Trouble, beside, count},
};

/// How the names of files set aside begin.
pub(super) const PREFIX: &str = "journal.corrupt-";

/// Files beside a database that belong to it.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// Rows read and written in one step: a scan that comes meanwhile waits for a few milliseconds.
const STEP: usize = 100;

/// An epoch number that leaves room below for epochs that turn up while an unreadable file is salvaged.
const UNKNOWN_FLOOR: i64 = 1024;

/// Renames the journal at `path` with what belongs to it. `None`: there is no such file.
pub(super) fn put_aside(path: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    let time = strtime::format("%Y%m%dT%H%M%SZ", now).unwrap_or_else(|_| "unknown".to_owned());
    let name = |count: u32| if count == 0 { format!("{PREFIX}{time}") } else { format!("{PREFIX}{time}-{count}") };
    let free = (0..1000).map(|count| path.with_file_name(name(count))).find(|to| fs::symlink_metadata(to).is_err());
    let Some(to) = free else { return Err(io::Error::other("too many files named journal.corrupt- here; remove some")) };
    // The database first: if the power goes in between, its log is lost with it, and never read as part of another file.
    let moved = match fs::rename(path, &to) {
        Ok(()) => Some(to.clone()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    for companion in COMPANIONS {
        match fs::rename(beside(path, companion), beside(&to, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(moved)
}

/// A number for the next epoch above all that the file set aside knows.
pub(super) fn floor_above(copy: &Path) -> i64 {
    let highest = || {
        let source = open(copy).ok()?;
        let epoch: Option<i64> = source.query_row("SELECT max(number) FROM epoch", [], |row| row.get(0)).ok().flatten();
        let record: Option<i64> = source.query_row("SELECT max(row) FROM record", [], |row| row.get(0)).ok().flatten();
        epoch.into_iter().chain(record.map(schema::epoch_number_of)).max()
    };
    highest().map_or(UNKNOWN_FLOOR, |number| number.clamp(0, 1 << 22) + 1)
}

/// The files set aside in a directory, oldest first.
pub(super) fn copies(state_dir: &Path) -> Vec<PathBuf> {
    let mut copies: Vec<PathBuf> = fs::read_dir(state_dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(PREFIX) && !COMPANIONS.iter().any(|companion| name.ends_with(companion))
        })
        .map(|entry| entry.path())
        .collect();
    copies.sort();
    copies
}

/// Removes a file set aside, with what belongs to it.
pub(super) fn remove(copy: &Path) {
    for file in [copy.to_owned()].into_iter().chain(COMPANIONS.iter().map(|companion| beside(copy, companion))) {
        if let Err(error) = fs::remove_file(&file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove {}: {error}", file.display());
        }
    }
}

/// Notes each file set aside that the journal does not know of yet.
pub(super) fn adopt(store: &mut Store, state_dir: &Path, cause: &str) -> Result<(), Trouble> {
    let names: Vec<String> = copies(state_dir).iter().filter_map(|copy| Some(copy.file_name()?.to_string_lossy().into_owned())).collect();
    let now = row::nanos(Timestamp::now());
    store.unsynced(|transaction| {
        for name in &names {
            let sql = "INSERT INTO salvage (at, file, cause, saved) SELECT ?1, ?2, ?3, 0 WHERE NOT EXISTS (SELECT 1 FROM salvage WHERE file = ?2)";
            transaction.execute(sql, params![now, name, cause])?;
        }
        Ok(())
    })
}

/// The files whose salvage is finished.
pub(super) fn finished(store: &Store) -> Result<Vec<String>, Trouble> {
    let finished = finished_in(&store.conn).map_err(|error| store.trouble(&error))?;
    Ok(finished.into_iter().map(|finished| finished.file).collect())
}

/// One salvage that is finished.
struct Finished {
    file: String,
    at: i64,
    lost: Option<i64>,
}

fn finished_in(conn: &Connection) -> rusqlite::Result<Vec<Finished>> {
    let mut statement = conn.prepare("SELECT file, at, lost FROM salvage WHERE file IS NOT NULL AND done_at IS NOT NULL")?;
    let finished = statement.query_map([], |row| Ok(Finished { file: row.get(0)?, at: row.get(1)?, lost: row.get(2)? }))?;
    finished.collect()
}

/// One file being read.
pub(super) struct Salvage {
    number: i64,
    copy: PathBuf,
    /// `None`: it cannot even be opened.
    source: Option<Connection>,
    records: Walk,
    scans: Walk,
    /// Read and not yet written.
    found: Vec<Stored>,
    found_scans: Vec<ScanRow>,
    /// By the number in the source: what is known of each epoch.
    epochs: BTreeMap<i64, Epoch>,
    saved: u64,
    /// Rows that were there and could not be understood.
    unreadable: u64,
    /// Scans found without a record and without an end.
    open_scans: u64,
    /// What became of those.
    ended: Option<Fate>,
}

/// One epoch of the source.
#[derive(Clone, Default)]
struct Epoch {
    /// Records written there and not removed since, as its own table says; `None`: it does not say.
    expected: Option<u64>,
    machine: String,
    created_at: i64,
    /// Its number here.
    place: Option<i64>,
    last: u64,
    count: u64,
}

impl Salvage {
    /// The newest file that is not read yet, if there is one: it knows best what was delivered. `ended`: what became of its open scans; `None`: this process still works on them.
    pub(super) fn next(store: &Store, state_dir: &Path, ended: Option<Fate>) -> Result<Option<Self>, Trouble> {
        let sql = "SELECT number, file FROM salvage WHERE done_at IS NULL AND file IS NOT NULL ORDER BY number DESC LIMIT 1";
        let found: Option<(i64, String)> =
            store.conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(|error| store.trouble(&error))?;
        let Some((number, name)) = found else { return Ok(None) };
        let copy = state_dir.join(name);
        let source = match open(&copy) {
            Ok(source) => Some(source),
            Err(error) if passes(&error) => return Err(Trouble::Busy),
            Err(error) => {
                tracing::warn!("nothing can be read of {}: {error}", copy.display());
                None
            }
        };
        let epochs = source.as_ref().map(read_epochs).unwrap_or_default();
        Ok(Some(Self {
            number,
            copy,
            source,
            records: Walk::new("record", "row", row::COLUMNS),
            scans: Walk::new("raw_scan", "number", "number, id, at, scanner, lane, bytes, fate"),
            found: Vec::new(),
            found_scans: Vec::new(),
            epochs,
            saved: 0,
            unreadable: 0,
            open_scans: 0,
            ended,
        }))
    }

    /// Reads and writes a few rows. `true`: the file is finished.
    pub(super) fn step(&mut self, store: &mut Store) -> Result<bool, Trouble> {
        let Some(source) = &self.source else { return self.finish(store) };
        // What was read and could not be written is still here: the disk was full, say.
        if self.found.is_empty() && !self.records.ended {
            let mut found = Vec::with_capacity(STEP);
            let mut unreadable = 0;
            self.records.read(source, STEP, |row| match row::stored(row) {
                Ok(stored) => found.push(stored),
                Err(_) => unreadable += 1,
            })?;
            self.found = found;
            self.unreadable += unreadable;
        }
        if !self.found.is_empty() || !self.records.ended {
            return self.save_records(store).map(|()| false);
        }
        if self.found_scans.is_empty() && !self.scans.ended {
            let mut found = Vec::with_capacity(STEP);
            self.scans.read(source, STEP, |row| found.extend(raw_scan(row).ok()))?;
            self.open_scans += found.iter().filter(|scan| scan.fate.is_none()).count() as u64;
            self.found_scans = found;
        }
        if !self.found_scans.is_empty() || !self.scans.ended {
            save_scans(store, &self.found_scans, self.ended)?;
            self.found_scans.clear();
            return Ok(false);
        }
        self.finish(store)
    }

    fn save_records(&mut self, store: &mut Store) -> Result<(), Trouble> {
        let (current, _) = store.epoch;
        let (found, mut epochs) = (&self.found, self.epochs.clone());
        let mut saved = 0;
        store.unsynced(|transaction| {
            for stored in found {
                let wanted = schema::epoch_number_of(stored.row.cast_signed());
                let seq = stored.recorded.seq;
                let epoch = epochs.entry(wanted).or_default();
                let place = match epoch.place {
                    Some(place) => place,
                    None => *epoch.place.insert(place_epoch(transaction, current, wanted, stored.recorded.epoch, epoch.created_at, &epoch.machine)?),
                };
                let mut stored = stored.clone();
                stored.row = schema::row_of(place, seq).cast_unsigned();
                let there = "SELECT 1 FROM record WHERE row = ?1 OR id = ?2";
                let there = transaction.prepare_cached(there)?.exists(params![stored.row.cast_signed(), stored.recorded.record.id.as_bytes()])?;
                if !there {
                    row::insert(&mut transaction.prepare_cached(row::INSERT)?, &stored)?;
                }
                saved += 1;
                epoch.count += 1;
                epoch.last = epoch.last.max(seq);
                let sql = "UPDATE epoch SET next_seq = ?2, removed = ?3 WHERE number = ?1 AND number <> ?4";
                let next = epoch.last.cast_signed().saturating_add(1);
                transaction.prepare_cached(sql)?.execute(params![place, next, epoch.last.saturating_sub(epoch.count).cast_signed(), current])?;
            }
            Ok(())
        })?;
        self.saved += saved;
        self.epochs = epochs;
        self.found.clear();
        Ok(())
    }

    /// Records that were there and did not come over; `None`: nobody can say how many.
    fn lost(&self) -> Option<u64> {
        if self.epochs.is_empty() {
            return None;
        }
        let expected = self.epochs.values().try_fold(0_u64, |sum, epoch| Some(sum.saturating_add(epoch.expected?)))?;
        Some(expected.saturating_sub(self.saved).max(self.unreadable))
    }

    fn finish(&mut self, store: &mut Store) -> Result<bool, Trouble> {
        let (number, saved, lost) = (self.number, self.saved, self.lost());
        let mut counters = self.source.as_ref().map(read_counters).unwrap_or_default();
        // What this file had salvaged itself need not be read again.
        let earlier = self.source.as_ref().and_then(|source| finished_in(source).ok()).unwrap_or_default();
        if self.ended == Some(Fate::Interrupted) {
            counters.push(("interrupted".to_owned(), self.open_scans));
        }
        let now = row::nanos(Timestamp::now());
        store.unsynced(|transaction| {
            let sql = "UPDATE salvage SET saved = ?2, lost = ?3, done_at = ?4 WHERE number = ?1";
            transaction.execute(sql, params![number, saved.cast_signed(), lost.map(u64::cast_signed), now])?;
            for (name, value) in &counters {
                count(transaction, name, *value)?;
            }
            for Finished { file, at, lost } in &earlier {
                let sql = "UPDATE salvage SET at = ?2, lost = ?3, done_at = ?4 WHERE file = ?1 AND done_at IS NULL";
                transaction.execute(sql, params![file, at, lost, now])?;
            }
            Ok(())
        })?;
        let lost = lost.map_or_else(|| "nobody can say how many".to_owned(), |lost| lost.to_string());
        tracing::warn!(saved, lost, "salvaged what could be read of {}; copy it elsewhere if its loss matters", self.copy.display());
        Ok(true)
    }
}

/// Opens a damaged file for reading only.
fn open(copy: &Path) -> rusqlite::Result<Connection> {
    let source = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // SQLite refuses a file that is shorter than its header says, unless it is told that somebody is repairing.
    source.busy_timeout(BUSY)?;
    source.pragma_update(None, "writable_schema", true)?;
    source.pragma_update(None, "trusted_schema", false)?;
    source.pragma_update(None, "cell_size_check", true)?;
    source.pragma_update(None, "cache_size", -512)?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(source)
}

fn read_epochs(source: &Connection) -> BTreeMap<i64, Epoch> {
    let read = || {
        let mut statement = source.prepare("SELECT number, machine, created_at, next_seq, removed FROM epoch")?;
        let rows = statement.query_map([], |row| {
            let expected = row.get::<_, i64>(3)?.saturating_sub(1).saturating_sub(row.get(4)?);
            let expected = Some(u64::try_from(expected).unwrap_or(0));
            Ok((row.get(0)?, Epoch { expected, machine: row.get(1)?, created_at: row.get(2)?, ..Epoch::default() }))
        })?;
        rows.collect::<rusqlite::Result<_>>()
    };
    read().unwrap_or_default()
}

fn read_counters(source: &Connection) -> Vec<(String, u64)> {
    let read = || {
        let mut statement = source.prepare("SELECT name, value FROM counter WHERE name NOT GLOB 'unended *'")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0))))?;
        rows.collect::<rusqlite::Result<_>>()
    };
    read().unwrap_or_default()
}

/// The number that a salvaged epoch gets here: its own where that is free and below the current one.
fn place_epoch(transaction: &Transaction<'_>, current: i64, wanted: i64, id: Uuid, created_at: i64, machine: &str) -> rusqlite::Result<i64> {
    let known = transaction.query_row("SELECT number FROM epoch WHERE id = ?1", [id.as_bytes()], |row| row.get(0)).optional()?;
    if let Some(number) = known {
        return Ok(number);
    }
    let taken = |number: i64| transaction.prepare_cached("SELECT 1 FROM epoch WHERE number = ?1")?.exists([number]);
    let mut place = wanted;
    if !(0..current).contains(&place) || taken(place)? {
        place = current - 1;
        while taken(place)? {
            place -= 1;
        }
    }
    transaction.execute(
        "INSERT INTO epoch (number, id, machine, created_at, next_seq, removed) VALUES (?1, ?2, ?3, ?4, 1, 0)",
        params![place, id.as_bytes(), machine, created_at],
    )?;
    Ok(place)
}

/// A row of `raw_scan` as it is.
struct ScanRow {
    id: [u8; 16],
    at: i64,
    scanner: String,
    lane: String,
    bytes: Option<Vec<u8>>,
    fate: Option<String>,
}

fn raw_scan(row: &Row<'_>) -> rusqlite::Result<ScanRow> {
    Ok(ScanRow { id: row.get(1)?, at: row.get(2)?, scanner: row.get(3)?, lane: row.get(4)?, bytes: row.get(5)?, fate: row.get(6)? })
}

/// Saves scans that have no record yet.
fn save_scans(store: &mut Store, found: &[ScanRow], ended: Option<Fate>) -> Result<(), Trouble> {
    let begin = schema::row_of(store.epoch.0, 0);
    store.unsynced(|transaction| {
        for scan in found {
            let recorded =
                transaction.prepare_cached("SELECT 1 FROM record WHERE row > ?1 AND (id = ?2 OR raw_scan = ?2)")?.exists(params![begin, scan.id])?;
            if !recorded {
                let fate = scan.fate.as_deref().or(ended.map(Fate::code));
                transaction
                    .prepare_cached("INSERT OR IGNORE INTO raw_scan (id, at, scanner, lane, bytes, fate) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                    .execute(params![scan.id, scan.at, scan.scanner, scan.lane, scan.bytes, fate])?;
            }
        }
        Ok(())
    })
}

/// Is this no damage, but something that passes?
fn passes(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed | ErrorCode::OutOfMemory)
    )
}

/// Walks over a damaged table by its key, and leaps over what cannot be read.
struct Walk {
    select: String,
    next: i64,
    ended: bool,
}

impl Walk {
    fn new(table: &str, key: &str, columns: &str) -> Self {
        let select = format!("SELECT {columns} FROM {table} WHERE {key} >= ?1 ORDER BY {key} LIMIT ?2");
        Self { select, next: 0, ended: false }
    }

    /// Hands at most `limit` rows over; sets `ended` when there is nothing behind them. `Trouble::Busy`: nothing counts, try again.
    fn read(&mut self, source: &Connection, limit: usize, mut take: impl FnMut(&Row<'_>)) -> Result<(), Trouble> {
        let mut count = 0;
        let mut next = self.next;
        let whole = self.query(source, self.next, limit, |row| {
            count += 1;
            next = row.get::<_, i64>(0).map_or(next, |key| key.saturating_add(1));
            take(row);
        });
        match whole {
            Ok(()) => {
                self.next = next;
                self.ended = count < limit;
            }
            Err(error) if passes(&error) => return Err(Trouble::Busy),
            Err(_) => {
                self.next = next;
                self.leap(source);
            }
        }
        Ok(())
    }

    fn query(&self, source: &Connection, from: i64, limit: usize, mut take: impl FnMut(&Row<'_>)) -> rusqlite::Result<()> {
        let mut statement = source.prepare_cached(&self.select)?;
        let mut rows = statement.query(params![from, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            take(row);
        }
        Ok(())
    }

    /// Finds the nearest key behind the damage from which reading goes on.
    fn leap(&mut self, source: &Connection) {
        let base = self.next;
        let reads = |step: i64| self.query(source, base.saturating_add(step), 1, |_| {}).is_ok();
        let Some(mut good) = (0..63).map(|bits| 1_i64 << bits).find(|step| reads(*step)) else {
            self.ended = true;
            return;
        };
        let mut bad = good / 2;
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if reads(middle) { good = middle } else { bad = middle }
        }
        self.next = base.saturating_add(good);
    }
}
