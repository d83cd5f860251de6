//! A file that cannot be the journal any more: moved away under a name that says so, and read for what is still there.
//!
//! Salvage runs in small steps behind the scans, and starts again from the beginning after a restart: a record that is there
//! already is not written twice.

mod source;
mod walk;

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, fmt::strtime};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::{
    files::{COMPANIONS, beside, length_of, wal_of},
    pages::Pages,
    row::{self, Stored},
    schema,
    store::{Fate, Store, count, next_seq, note_loss},
    trouble::Trouble,
};

use source::{Epoch, Finished, ScanRow, finished_in, open, raw_scan, read_counters, read_epochs};
use walk::{Walk, passes};

/// How the names of files moved away begin.
pub(super) const PREFIX: &str = "journal.corrupt-";

/// Rows read and written in one step: a scan that comes meanwhile waits for a few milliseconds.
const STEP: usize = 100;

/// An epoch number that leaves room below for epochs that turn up while an unreadable file is salvaged.
pub(super) const UNKNOWN_FLOOR: i64 = 1024;

/// What was moved away.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// The database, with the log that belongs to it; `None`: there was none.
    pub(super) copy: Option<PathBuf>,
    /// A log that belongs to no database here.
    pub(super) log: Option<PathBuf>,
}

/// Renames the journal at `path`. `with_log`: log and index at its name belong to it.
pub(super) fn put_aside(path: &Path, with_log: bool, now: Timestamp) -> io::Result<Aside> {
    let to = free_name(path, now)?;
    // The database first: if the power goes in between, the log is found alone, and never read as part of another file.
    match fs::rename(path, &to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Aside {
                copy: None,
                log: put_log_aside(path, now)?,
            });
        }
        Err(error) => return Err(error),
    }
    if !with_log {
        return Ok(Aside {
            copy: Some(to),
            log: put_log_aside(path, now)?,
        });
    }
    for companion in COMPANIONS {
        match fs::rename(beside(path, companion), beside(&to, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(Aside {
        copy: Some(to),
        log: None,
    })
}

/// Takes a log away from the name of a database that it does not belong to, to where it is salvaged, and an index with it.
pub(super) fn put_log_aside(path: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    let mut aside = None;
    if length_of(&wal_of(path)) > 0 {
        let to = free_name(path, now)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&to)?;
        fs::rename(wal_of(path), wal_of(&to))?;
        aside = Some(to);
    }
    for companion in COMPANIONS.map(|companion| beside(path, companion)) {
        match fs::symlink_metadata(&companion) {
            Ok(found) if found.is_file() => fs::remove_file(&companion)?,
            Ok(_) => fs::rename(&companion, free_name(path, now)?)?,
            Err(_) => {}
        }
    }
    Ok(aside)
}

fn free_name(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let time = strtime::format("%Y%m%dT%H%M%SZ", now).unwrap_or_else(|_| "unknown".to_owned());
    let name = |count: u32| {
        if count == 0 {
            format!("{PREFIX}{time}")
        } else {
            format!("{PREFIX}{time}-{count}")
        }
    };
    let free = (0..1000)
        .map(|count| path.with_file_name(name(count)))
        .find(|to| fs::symlink_metadata(to).is_err());
    free.ok_or_else(|| io::Error::other("too many files named journal.corrupt- here; remove some"))
}

/// A number for the next epoch above all that the file set aside knows.
pub(super) fn floor_above(copy: &Path) -> i64 {
    let highest = || {
        let source = open(copy).ok()?;
        let epoch: Option<i64> = source
            .query_row("SELECT max(number) FROM epoch", [], |row| row.get(0))
            .ok()
            .flatten();
        let record: Option<i64> = source
            .query_row("SELECT max(row) FROM record", [], |row| row.get(0))
            .ok()
            .flatten();
        epoch
            .into_iter()
            .chain(record.map(schema::epoch_number_of))
            .max()
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
            name.starts_with(PREFIX)
                && !COMPANIONS.iter().any(|companion| name.ends_with(companion))
        })
        .map(|entry| entry.path())
        .collect();
    copies.sort();
    copies
}

/// Removes a file set aside, with what belongs to it.
pub(super) fn remove(copy: &Path) {
    for file in [copy.to_owned()]
        .into_iter()
        .chain(COMPANIONS.iter().map(|companion| beside(copy, companion)))
    {
        if let Err(error) = fs::remove_file(&file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove {}: {error}", file.display());
        }
    }
}

/// Notes each file set aside that the journal does not know of yet. One that was read from an open connection ended with its process.
pub(super) fn adopt(store: &mut Store, state_dir: &Path, cause: &str) -> Result<(), Trouble> {
    let names: Vec<String> = copies(state_dir)
        .iter()
        .filter_map(|copy| Some(copy.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let now = row::nanos(Timestamp::now());
    let forgotten = store.forgotten;
    store.unsynced(|transaction| {
        transaction.execute("UPDATE salvage SET done_at = ?1 WHERE done_at IS NULL AND file IS NULL", [now])?;
        let mut noted = 0;
        for name in &names {
            let sql = "INSERT INTO salvage (at, file, cause, saved) SELECT ?1, ?2, ?3, 0 WHERE NOT EXISTS (SELECT 1 FROM salvage WHERE file = ?2)";
            noted += transaction.execute(sql, params![now, name, cause])?;
        }
        if forgotten && noted == 0 {
            note_loss(transaction, "the journal was gone", None)?;
        }
        Ok(())
    })
}

/// The files whose salvage is finished.
pub(super) fn finished(store: &Store) -> Result<Vec<String>, Trouble> {
    let finished = finished_in(&store.conn).map_err(|error| store.trouble(&error))?;
    Ok(finished.into_iter().map(|finished| finished.file).collect())
}

/// An open connection whose file has lost its name, and why.
pub(super) struct TakenAway {
    pub(super) conn: Connection,
    /// Its own log, put aside.
    pub(super) log: Option<PathBuf>,
    pub(super) why: String,
}

/// Notes that a file was taken away under its open connection; its number.
pub(super) fn note_taken_away(store: &mut Store, why: &str) -> Result<i64, Trouble> {
    let now = row::nanos(Timestamp::now());
    store.unsynced(|transaction| {
        transaction.execute(
            "INSERT INTO salvage (at, file, cause, saved) VALUES (?1, NULL, ?2, 0)",
            params![now, why],
        )?;
        Ok(transaction.last_insert_rowid())
    })
}

/// One file being read.
pub(super) struct Salvage {
    number: i64,
    /// `None`: it has no name any more, only the connection that was open leads to it.
    copy: Option<PathBuf>,
    /// `None`: it cannot even be opened.
    source: Option<Connection>,
    /// The open connection's own log, put aside in case this process ends before everything is read.
    own_log: Option<PathBuf>,
    /// What was not delivered comes first where the source ends with this process.
    unsent: Walk,
    /// What was read last are those; they come once more in their turn.
    first_pass: bool,
    records: Walk,
    scans: Walk,
    /// What no table leads to.
    pages: Option<Pages>,
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

impl Salvage {
    /// The newest file that is not read yet, if there is one: it knows best what was delivered. `ended`: what became of its open scans; `None`: this process still works on them.
    pub(super) fn next(
        store: &Store,
        state_dir: &Path,
        ended: Option<Fate>,
    ) -> Result<Option<Self>, Trouble> {
        let sql = "SELECT number, file FROM salvage WHERE done_at IS NULL AND file IS NOT NULL ORDER BY number DESC LIMIT 1";
        let found: Option<(i64, String)> = store
            .conn
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(|error| store.trouble(&error))?;
        let Some((number, name)) = found else {
            return Ok(None);
        };
        let copy = state_dir.join(name);
        let source = match open(&copy) {
            Ok(source) => Some(source),
            Err(error) if passes(&error) => return Err(Trouble::Busy),
            Err(error) => {
                tracing::warn!("no table can be read of {}: {error}", copy.display());
                None
            }
        };
        Ok(Some(Self::new(number, Some(copy), source, ended)))
    }

    /// Reads from a connection whose file has lost its name. It ends with this process, so what was not delivered comes first.
    pub(super) fn of_open(number: i64, taken: TakenAway) -> Self {
        Self {
            own_log: taken.log,
            ..Self::new(number, None, Some(taken.conn), None)
        }
    }

    /// Does only an open connection lead to what is read?
    pub(super) fn is_of_open(&self) -> bool {
        self.copy.is_none()
    }

    /// What was taken away, if only this leads to it.
    pub(super) fn into_taken_away(self) -> Option<TakenAway> {
        let conn = self.source.filter(|_| self.copy.is_none())?;
        Some(TakenAway {
            conn,
            log: self.own_log,
            why: "it was not read to its end".to_owned(),
        })
    }

    fn new(
        number: i64,
        copy: Option<PathBuf>,
        source: Option<Connection>,
        ended: Option<Fate>,
    ) -> Self {
        let epochs = source.as_ref().map(read_epochs).unwrap_or_default();
        let mut unsent = Walk::new("record", "row", row::COLUMNS, "delivered_at IS NULL");
        let mut records = Walk::new("record", "row", row::COLUMNS, "TRUE");
        let mut scans = Walk::new(
            "raw_scan",
            "number",
            "number, id, at, scanner, lane, bytes, fate",
            "TRUE",
        );
        unsent.ended = copy.is_some();
        (records.ended, scans.ended) = (source.is_none(), source.is_none());
        Self {
            number,
            copy,
            source,
            own_log: None,
            unsent,
            first_pass: false,
            records,
            scans,
            pages: None,
            found: Vec::new(),
            found_scans: Vec::new(),
            epochs,
            saved: 0,
            unreadable: 0,
            open_scans: 0,
            ended,
        }
    }

    /// Reads and writes a few rows. `true`: the file is finished.
    pub(super) fn step(&mut self, store: &mut Store) -> Result<bool, Trouble> {
        // What was read and could not be written is still here: the disk was full, say.
        if self.found.is_empty()
            && let Some(source) = &self.source
        {
            self.first_pass = !self.unsent.ended;
            let walk = if self.first_pass {
                &mut self.unsent
            } else {
                &mut self.records
            };
            let mut found = Vec::with_capacity(STEP);
            let mut unreadable = 0;
            if !walk.ended {
                walk.read(source, STEP, |row| match row::stored(row) {
                    Ok(stored) => found.push(stored),
                    Err(_) => unreadable += 1,
                })?;
            }
            self.found = found;
            self.unreadable += unreadable;
        }
        if !self.found.is_empty() || !self.records.ended {
            return self.save_records(store).map(|()| false);
        }
        if self.found_scans.is_empty()
            && !self.scans.ended
            && let Some(source) = &self.source
        {
            let mut found = Vec::with_capacity(STEP);
            self.scans
                .read(source, STEP, |row| found.extend(raw_scan(row).ok()))?;
            self.open_scans += found.iter().filter(|scan| scan.fate.is_none()).count() as u64;
            self.found_scans = found;
        }
        if !self.found_scans.is_empty() || !self.scans.ended {
            save_scans(store, &self.found_scans, self.ended)?;
            self.found_scans.clear();
            return Ok(false);
        }
        if self.more_in_pages() {
            return Ok(false);
        }
        self.finish(store)
    }

    /// Looks into the pages themselves where the tables did not lead to everything. `true`: there may be more.
    fn more_in_pages(&mut self) -> bool {
        let Some(copy) = &self.copy else { return false };
        if self.pages.is_none() && self.lost() != Some(0) {
            self.pages = Pages::of(copy);
        }
        let Some(pages) = &mut self.pages else {
            return false;
        };
        match pages.step(STEP) {
            Some(found) => {
                self.found = found;
                true
            }
            None => false,
        }
    }

    fn save_records(&mut self, store: &mut Store) -> Result<(), Trouble> {
        let (current, id) = store.epoch;
        let (found, mut epochs) = (&self.found, self.epochs.clone());
        let mut saved = 0;
        let (first_pass, from_pages) = (self.first_pass, self.pages.is_some());
        store.unsynced(|transaction| {
            for stored in found {
                let wanted = schema::epoch_number_of(stored.row.cast_signed());
                let seq = stored.recorded.seq;
                let epoch = epochs.entry(wanted).or_default();
                let place = match epoch.place {
                    Some(place) => place,
                    None => *epoch.place.insert(place_epoch(transaction, current, wanted, stored.recorded.epoch, epoch.created_at, &epoch.machine)?),
                };
                let there = transaction.prepare_cached("SELECT 1 FROM record WHERE id = ?1")?.exists([stored.recorded.record.id.as_bytes()])?;
                if !there {
                    let mut stored = stored.clone();
                    stored.row = schema::row_of(place, seq).cast_unsigned();
                    let given = "SELECT 1 FROM record WHERE row = ?1 UNION SELECT 1 FROM epoch WHERE number = ?2 AND number = ?3 AND next_seq <= ?4";
                    let params = params![stored.row.cast_signed(), place, current, seq.cast_signed()];
                    if transaction.prepare_cached(given)?.exists(params)? {
                        // Two stories of one journal that parted: its number is another record's here, or will be.
                        let seq = next_seq(transaction, current)?;
                        stored.row = schema::row_of(current, seq).cast_unsigned();
                        stored.recorded.epoch = id;
                    }
                    row::insert(&mut transaction.prepare_cached(row::INSERT)?, &stored)?;
                }
                if first_pass || (there && from_pages) {
                    continue;
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
        let expected = self.epochs.values().try_fold(0_u64, |sum, epoch| {
            Some(sum.saturating_add(epoch.expected?))
        })?;
        Some(expected.saturating_sub(self.saved).max(self.unreadable))
    }

    fn finish(&mut self, store: &mut Store) -> Result<bool, Trouble> {
        let (number, saved, lost) = (self.number, self.saved, self.lost());
        let mut counters = self.source.as_ref().map(read_counters).unwrap_or_default();
        // What this file had salvaged itself need not be read again.
        let earlier = self
            .source
            .as_ref()
            .and_then(|source| finished_in(source).ok())
            .unwrap_or_default();
        if self.ended == Some(Fate::Interrupted) {
            counters.push(("interrupted".to_owned(), self.open_scans));
        }
        let now = row::nanos(Timestamp::now());
        let own_log = &self.own_log;
        store.unsynced(|transaction| {
            let sql = "UPDATE salvage SET saved = ?2, lost = ?3, done_at = ?4 WHERE number = ?1";
            transaction.execute(sql, params![number, saved.cast_signed(), lost.map(u64::cast_signed), now])?;
            // All that this log holds was read from the connection.
            if let (Some(0), Some(log)) = (lost, own_log.as_ref().and_then(|log| log.file_name())) {
                let sql = "UPDATE salvage SET lost = 0, done_at = ?2 WHERE file = ?1 AND done_at IS NULL";
                transaction.execute(sql, params![log.to_string_lossy(), now])?;
            }
            for (name, value) in &counters {
                count(transaction, name, *value)?;
            }
            for Finished { file, at, lost } in &earlier {
                let sql = "UPDATE salvage SET at = ?2, lost = ?3, done_at = ?4 WHERE file = ?1 AND done_at IS NULL";
                transaction.execute(sql, params![file, at, lost, now])?;
            }
            Ok(())
        })?;
        let lost = lost.map_or_else(
            || "nobody can say how many".to_owned(),
            |lost| lost.to_string(),
        );
        match &self.copy {
            Some(copy) => tracing::warn!(
                saved,
                lost,
                "salvaged what could be read of {}; copy it elsewhere if its loss matters",
                copy.display()
            ),
            None => tracing::warn!(
                saved,
                lost,
                "salvaged the journal that was taken away, from the connection that was still open"
            ),
        }
        Ok(true)
    }
}

/// The number that a salvaged epoch gets here: its own where that is free and below the current one.
fn place_epoch(
    transaction: &Transaction<'_>,
    current: i64,
    wanted: i64,
    id: Uuid,
    created_at: i64,
    machine: &str,
) -> rusqlite::Result<i64> {
    let known = transaction
        .query_row(
            "SELECT number FROM epoch WHERE id = ?1",
            [id.as_bytes()],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(number) = known {
        return Ok(number);
    }
    let taken = |number: i64| {
        transaction
            .prepare_cached("SELECT 1 FROM epoch WHERE number = ?1")?
            .exists([number])
    };
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
                    .prepare_cached("INSERT OR IGNORE INTO raw_scan (number, id, at, scanner, lane, bytes, fate) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
                    .execute(params![schema::scan_number(Uuid::from_bytes(scan.id)), scan.id, scan.at, scan.scanner, scan.lane, scan.bytes, fate])?;
            }
        }
        Ok(())
    })
}
