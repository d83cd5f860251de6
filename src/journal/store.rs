//! The writing connection: one file, opened, checked and written to. Nothing here waits longer than SQLite itself does.

mod epoch;

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};
use uuid::Uuid;

use super::{
    files::{self, Files, Tampered, wal_of},
    mark::Mark,
    row::{self, Stored},
    schema::{self, Found},
    settled::Settled,
    trouble::Trouble,
    upgrade,
};
use crate::{
    health::JournalHealth,
    record::{RawScan, Record, Recorded},
};

pub(super) use epoch::{COMPARE_FROM, HAS_MARK, next_seq, note_loss};

/// How long SQLite itself waits for another process that writes; the writer looks at its callers' time in between.
pub(super) const BUSY: Duration = Duration::from_millis(50);

/// Rows set aside that health lists by name.
const LISTED: i64 = 100;

/// What became of a scan that has no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its process died before the verdict.
    Interrupted,
    /// It was answered `journal_fault`.
    Faulted,
}

impl Fate {
    /// The word in the column `fate`.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Faulted => "faulted",
        }
    }
}

/// What one transaction writes.
#[derive(Default)]
pub(super) struct Batch<'a> {
    /// Scans whose bytes are not on disk yet.
    pub(super) scans: Option<&'a VecDeque<RawScan>>,
    /// Scans that end without a record.
    pub(super) fates: &'a [(Uuid, Fate)],
    /// Groups of records; each is written whole or not at all.
    pub(super) groups: Vec<&'a [Record]>,
    /// Counters and what to add to them.
    pub(super) counts: &'a [(&'static str, u64)],
    /// What the broker has said of earlier rows.
    pub(super) settled: &'a [(u64, Settled)],
}

/// How one transaction ended.
pub(super) enum Written {
    /// On disk: for each group its records, or why it could not be written; and by how many the unsent rows became fewer.
    Committed {
        groups: Vec<Result<Vec<Stored>, String>>,
        fewer: u64,
    },
    /// Somebody gave up before the commit: nothing was written.
    GivenUp,
}

/// One open journal file.
pub(super) struct Store {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    /// The current epoch's number and id.
    pub(super) epoch: (i64, Uuid),
    /// What lies at its names: a file that was moved away or deleted takes commits and loses them.
    pub(super) files: Files,
    synced: bool,
    /// Its epoch was drawn at this opening ..
    pub(super) drawn: bool,
    /// .. in a journal that had one, and why.
    pub(super) renewed: Option<&'static str>,
    /// It is new, though its mark says that there had been one.
    pub(super) forgotten: bool,
    /// A process ended without closing it: its pages deserve a check.
    pub(super) unclean: bool,
    /// The row at which retention goes on looking for what is too old.
    pub(super) looked_at: i64,
    /// Bytes in a page.
    pub(super) page_size: u32,
}

impl Store {
    /// Opens or makes the journal at `path`, and compares it with its mark. `Trouble::Corrupt`: it must be moved away first.
    /// A new file's first epoch gets the number `floor`.
    pub(super) fn open(
        path: &Path,
        machine: &str,
        floor: i64,
        mark: Mark,
    ) -> Result<Self, Trouble> {
        if let Some(why) = files::in_the_way(path) {
            return Err(Trouble::Corrupt(why.to_owned()));
        }
        let log = files::length_of(&wal_of(path));
        if log > 0 && files::length_of(path) == 0 {
            // SQLite would take it for a new journal, and delete the log.
            return Err(Trouble::Corrupt(
                "it was emptied or deleted, and its log is left".to_owned(),
            ));
        }
        if !room_for_index(path, log) {
            return Err(Trouble::Full);
        }
        files::make_private(path);
        let unclean = log > 0;
        let opened = Self::open_inner(path, machine, floor, mark, unclean)
            .map_err(|error| Trouble::of(&error, path))?;
        files::make_private(path);
        opened
    }

    fn open_inner(
        path: &Path,
        machine: &str,
        floor: i64,
        mark: Mark,
        unclean: bool,
    ) -> rusqlite::Result<Result<Self, Trouble>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(BUSY)?;
        match schema::look(&conn)? {
            // Both can be set in an empty file alone. Freed pages go back to the filesystem in small steps.
            Found::New => {
                conn.pragma_update(None, "page_size", schema::PAGE_SIZE)?;
                conn.pragma_update(None, "auto_vacuum", "incremental")?;
            }
            Found::Journal => {}
            Found::Newer => return Ok(Err(Trouble::Corrupt("a newer build wrote it".to_owned()))),
            Found::Foreign => {
                return Ok(Err(Trouble::Corrupt(
                    "it is not a Benchlight journal".to_owned(),
                )));
            }
        }
        let mode: String =
            conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if !mode.eq_ignore_ascii_case("wal") {
            return Ok(Err(Trouble::Other(format!(
                "the filesystem of {} does not support a write-ahead log",
                path.display()
            ))));
        }
        configure(&conn)?;
        upgrade::to_current(&conn)?;
        upgrade::to_small_pages(&conn, path)?;

        let files = match Files::of(path) {
            Ok(files) => files,
            Err(error) => {
                return Ok(Err(Trouble::of_io(
                    &error,
                    "the journal's files cannot be found",
                )));
            }
        };
        let page_size = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let mut store = Self {
            conn,
            path: path.to_owned(),
            epoch: (0, Uuid::nil()),
            files,
            synced: true,
            drawn: false,
            renewed: None,
            forgotten: false,
            unclean,
            looked_at: i64::MIN,
            page_size,
        };
        store.look_at_the_ends()?;
        if !store.counts_soundly()? {
            return Ok(Err(Trouble::Corrupt(
                "it counts in numbers that cannot be".to_owned(),
            )));
        }
        store.settle_epoch(machine, floor, mark)?;
        Ok(Ok(store))
    }

    /// Reads the first and the last row of each table: cheap, and finds a file that was cut. A check of every page would
    /// take seconds for a big journal, so it runs beside the scans.
    fn look_at_the_ends(&self) -> rusqlite::Result<()> {
        for order in ["ASC", "DESC"] {
            let sql = format!(
                "SELECT {} FROM record ORDER BY row {order} LIMIT 1",
                row::COLUMNS
            );
            self.conn
                .query_row(&sql, [], |found| found.get::<_, i64>(0))
                .optional()?;
            let sql = format!(
                "SELECT id, at, scanner, lane, bytes, fate FROM raw_scan ORDER BY number {order} LIMIT 1"
            );
            self.conn
                .query_row(&sql, [], |found| found.get::<_, [u8; 16]>(0))
                .optional()?;
            let sql = format!(
                "SELECT row FROM record WHERE delivered_at IS NULL AND aside IS NULL ORDER BY row {order} LIMIT 1"
            );
            self.conn
                .query_row(&sql, [], |found| found.get::<_, i64>(0))
                .optional()?;
        }
        for sql in [
            "SELECT value FROM counter",
            "SELECT count FROM dropped",
            "SELECT saved FROM salvage",
            "SELECT 1 FROM probe",
        ] {
            self.conn
                .query_row(sql, [], |found| found.get::<_, i64>(0))
                .optional()?;
        }
        Ok(())
    }

    /// Closes the scans of a process that died: at the first opening only, for later ones are still under way.
    pub(super) fn close_interrupted(&self) -> Result<u64, Trouble> {
        let close = || {
            let transaction =
                Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            let closed = transaction.execute(
                "UPDATE raw_scan SET fate = ?1 WHERE fate IS NULL",
                [Fate::Interrupted.code()],
            )?;
            count(&transaction, "interrupted", closed as u64)?;
            transaction.commit()?;
            Ok(closed as u64)
        };
        close().map_err(|error| self.trouble(&error))
    }

    /// Writes a batch in one transaction, synced to disk when it holds records. `wanted` is asked just before the commit.
    pub(super) fn write(
        &mut self,
        batch: &Batch<'_>,
        wanted: impl FnOnce() -> bool,
    ) -> Result<Written, Trouble> {
        // Scans alone need not be safe from a power cut, only from a dying process: without the sync the record that follows within a
        // blink need not queue behind it, and a later synced commit covers earlier ones. Nor are the files looked at for them. The
        // record's commit looks, and what went into a file that was taken away is read from there.
        let has_records = !batch.groups.is_empty();
        if has_records {
            self.still_there()?;
        }
        self.sync(has_records)
            .map_err(|error| self.trouble(&error))?;
        self.write_inner(batch, wanted)
            .map_err(|error| self.trouble(&error))
    }

    fn write_inner(
        &self,
        batch: &Batch<'_>,
        wanted: impl FnOnce() -> bool,
    ) -> rusqlite::Result<Written> {
        let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        for scan in batch.scans.into_iter().flatten() {
            transaction
                .prepare_cached("INSERT OR IGNORE INTO raw_scan (number, id, at, scanner, lane, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![schema::scan_number(scan.id), scan.id.as_bytes(), row::nanos(scan.at), scan.scanner.as_str(), scan.lane.as_str(), scan.bytes])?;
        }
        for (id, fate) in batch.fates {
            transaction
                .prepare_cached("UPDATE raw_scan SET fate = ?2 WHERE number = ?1")?
                .execute(params![schema::scan_number(*id), fate.code()])?;
        }
        for (name, more) in batch.counts {
            count(&transaction, name, *more)?;
        }
        let mut written = Vec::with_capacity(batch.groups.len());
        for group in &batch.groups {
            transaction
                .prepare_cached("SAVEPOINT one_group")?
                .execute([])?;
            match self.insert_group(group) {
                Ok(stored) => written.push(Ok(stored)),
                // A record that the tables refuse (an id that is there already) must not spoil the others.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                    transaction.execute_batch("ROLLBACK TO one_group")?;
                    written.push(Err(error.to_string()));
                }
                Err(error) => return Err(error),
            }
            transaction
                .prepare_cached("RELEASE one_group")?
                .execute([])?;
        }
        let fewer = settle(&transaction, batch.settled)?;
        if !wanted() {
            return Ok(Written::GivenUp);
        }
        transaction.commit()?;
        Ok(Written::Committed {
            groups: written,
            fewer,
        })
    }

    fn insert_group(&self, group: &[Record]) -> rusqlite::Result<Vec<Stored>> {
        let (number, epoch) = self.epoch;
        let (stretches, newest) = (schema::STRETCHES, schema::NEWEST_OF_SERIAL);
        let previous = format!("{stretches} SELECT id FROM record WHERE row = ({newest})");
        let mut stored = Vec::with_capacity(group.len());
        for record in group {
            let seq = next_seq(&self.conn, number)?;
            let mut record = record.clone();
            record.previous = match &record.serial {
                Some(serial) => self
                    .conn
                    .prepare_cached(&previous)?
                    .query_row([serial.as_str()], |found| row::uuid(found, 0))
                    .optional()?
                    .flatten(),
                None => None,
            };
            if let Some(scan) = record.raw_scan {
                self.conn
                    .prepare_cached("DELETE FROM raw_scan WHERE number = ?1")?
                    .execute([schema::scan_number(scan)])?;
            }
            let row = Stored {
                row: schema::row_of(number, seq).cast_unsigned(),
                recorded: Recorded::committed(epoch, seq, record),
                delivered_at: None,
                set_aside: None,
            };
            row::insert(&mut self.conn.prepare_cached(row::INSERT)?, &row)?;
            stored.push(row);
        }
        Ok(stored)
    }

    /// Writes what became of rows; returns by how many the unsent rows became fewer.
    pub(super) fn settle(&mut self, rows: &[(u64, Settled)]) -> Result<u64, Trouble> {
        self.unsynced(|transaction| settle(transaction, rows))
    }

    /// Writes facts for the doctor: counters that are 1 or 0.
    pub(super) fn note(&mut self, notes: &BTreeMap<String, bool>) -> Result<(), Trouble> {
        self.unsynced(|transaction| {
            for (name, on) in notes {
                let sql = "INSERT INTO counter (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2 WHERE value <> ?2";
                transaction.prepare_cached(sql)?.execute(params![name, on])?;
            }
            Ok(())
        })
    }

    /// Offers every row that was set aside again; returns how many.
    pub(super) fn release(&mut self) -> Result<u64, Trouble> {
        self.unsynced(|transaction| {
            let sql = "UPDATE record SET aside = NULL WHERE aside IS NOT NULL";
            Ok(transaction.execute(sql, [])? as u64)
        })
    }

    /// Proves that a record could be written now: takes pages, commits synced, gives them back.
    pub(super) fn probe(&mut self) -> Result<(), Trouble> {
        self.still_there()?;
        self.sync(true).map_err(|error| self.trouble(&error))?;
        let probe = || {
            let transaction =
                Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            transaction.execute("INSERT INTO probe (page) VALUES (zeroblob(16384))", [])?;
            transaction.execute("DELETE FROM probe", [])?;
            transaction.commit()
        };
        probe().map_err(|error| self.trouble(&error))
    }

    /// One transaction that a power cut may lose: the rows concerned are then sent again, which is allowed.
    pub(super) fn unsynced<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Trouble> {
        self.writable()?;
        let run = |conn: &Connection| {
            let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        self.sync(false)
            .and_then(|()| run(&self.conn))
            .map_err(|error| self.trouble(&error))
    }

    /// Fills in what the file knows of its own health.
    pub(super) fn tell(
        &self,
        health: &mut JournalHealth,
        alarm_since: Timestamp,
    ) -> Result<(), Trouble> {
        let mut read = || {
            health.epoch = self.epoch.1;
            let unsent: i64 =
                self.conn
                    .query_row("SELECT ifnull(sum(unsent), 0) FROM epoch", [], |row| {
                        row.get(0)
                    })?;
            health.unsent = unsent.cast_unsigned();
            health.seq = self.seq()?;
            self.tell_set_aside(health)?;
            for (name, value) in [
                ("dropped", &mut health.dropped),
                ("interrupted", &mut health.interrupted),
                ("faulted", &mut health.faulted),
            ] {
                *value = self.fact(name)?.unwrap_or(0);
            }
            let since = row::nanos(alarm_since);
            // One that nobody can count makes the sum unknown.
            let sql = "SELECT count(*), CAST(total(saved) AS INTEGER), CASE WHEN count(lost) = count(*) THEN CAST(total(lost) AS INTEGER) END
                FROM salvage WHERE at >= ?1 OR done_at IS NULL";
            let (events, saved, lost): (i64, i64, Option<i64>) =
                self.conn.query_row(sql, [since], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?;
            health.salvaged = events > 0;
            health.salvaged_rows = u64::try_from(saved).unwrap_or(0);
            health.lost_rows = lost.map(|lost| u64::try_from(lost).unwrap_or(0));
            Ok(())
        };
        read().map_err(|error| self.trouble(&error))
    }

    fn tell_set_aside(&self, health: &mut JournalHealth) -> rusqlite::Result<()> {
        let sql = "SELECT row, aside FROM record WHERE aside IS NOT NULL ORDER BY row LIMIT ?1";
        let mut statement = self.conn.prepare_cached(sql)?;
        let rows = statement.query_map([LISTED], |row| {
            Ok((schema::seq_of(row.get(0)?), row.get(1)?))
        })?;
        health.set_aside = rows.collect::<rusqlite::Result<_>>()?;
        Ok(())
    }

    /// The newest record's row in the current epoch, or the place before its first.
    pub(super) fn newest(&self) -> Result<u64, Trouble> {
        let read: rusqlite::Result<Option<i64>> =
            self.conn
                .query_row("SELECT max(row) FROM record", [], |row| row.get(0));
        let least = schema::row_of(self.epoch.0, 0);
        read.map(|row| row.unwrap_or(least).max(least).cast_unsigned())
            .map_err(|error| self.trouble(&error))
    }

    /// Moves committed pages into the main file. `truncate` also empties the log.
    pub(super) fn checkpoint(&mut self, truncate: bool) -> Result<(), Trouble> {
        self.writable()?;
        let mode = if truncate { "truncate" } else { "passive" };
        let done = self
            .conn
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
        self.files.checkpointed();
        done.map_err(|error| self.trouble(&error))
    }

    /// Moves everything that the open log holds into the main file. `false`: something is not there yet.
    pub(super) fn write_back(&mut self) -> bool {
        let moved = self
            .conn
            .query_row("PRAGMA wal_checkpoint(full)", [], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            });
        self.files.checkpointed();
        matches!(moved, Ok((0, log, moved)) if log == moved)
    }

    /// Rows changed so far, each counted as many times as a page is larger than those of a new file: so the log grows.
    pub(super) fn changes(&self) -> u64 {
        self.conn.total_changes() * u64::from(self.page_size / schema::PAGE_SIZE)
    }

    /// The trouble behind `error`.
    pub(super) fn trouble(&self, error: &rusqlite::Error) -> Trouble {
        Trouble::of(error, &self.path)
    }

    fn sync(&mut self, synced: bool) -> rusqlite::Result<()> {
        if self.synced != synced {
            self.conn
                .pragma_update(None, "synchronous", if synced { "full" } else { "normal" })?;
            self.synced = synced;
        }
        Ok(())
    }

    /// A filesystem that turned read-only goes on taking writes to files that were open before: into memory alone, and syncs them with
    /// success (ext4). Only its flag tells.
    pub(super) fn writable(&self) -> Result<(), Trouble> {
        match rustix::fs::statvfs(&self.path) {
            Ok(found) if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) => {
                Err(Trouble::ReadOnly)
            }
            _ => Ok(()),
        }
    }

    /// Are its files the ones that were opened, and may they be written?
    pub(super) fn still_there(&mut self) -> Result<(), Trouble> {
        match self.files.look()? {
            // What somebody wrote into it a check of every page finds; here it would delay a scan.
            None | Some(Tampered::Written) => self.writable(),
            Some(tampered) => Err(Trouble::Corrupt(tampered.why().to_owned())),
        }
    }
}

fn settle(conn: &Connection, rows: &[(u64, Settled)]) -> rusqlite::Result<u64> {
    let mut fewer = 0;
    for (row, settled) in rows {
        let row = row.cast_signed();
        fewer += match settled {
            Settled::Delivered(at) => conn
                .prepare_cached("UPDATE record SET delivered_at = ?2, aside = NULL WHERE row = ?1 AND delivered_at IS NULL")?
                .execute(params![row, row::nanos(*at)])?,
            Settled::Aside(why) => conn
                .prepare_cached("UPDATE record SET aside = ?2 WHERE row = ?1 AND delivered_at IS NULL")?
                .execute(params![row, why])?,
        };
    }
    Ok(fewer as u64)
}

/// Adds to a counter that survives restarts.
pub(super) fn count(conn: &Connection, name: &str, more: u64) -> rusqlite::Result<()> {
    if more > 0 {
        conn.prepare_cached(
            "INSERT INTO counter (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = min(max(value, 0), 1 << 40) + ?2",
        )?
        .execute(params![name, more.cast_signed()])?;
    }
    Ok(())
}

/// How a connection that writes works, from its opening on.
fn configure(conn: &Connection) -> rusqlite::Result<()> {
    schema::keep_plans(conn)?;
    conn.pragma_update(None, "synchronous", "full")?;
    // Checkpoints are made by hand while no scan is under way: an automatic one would happen inside a scan's commit.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", files::LOG_LIMIT.cast_signed())?;
    conn.pragma_update(None, "cache_size", -1024)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    // Blanked texts are overwritten where that costs no further page.
    conn.pragma_update_and_check(None, "secure_delete", "fast", |_| Ok(()))
}

/// Is there room for the index of a log of so many bytes? SQLite maps that file into memory, and a mapped page that the filesystem
/// has no block for ends the process (SIGBUS) instead of being an error.
fn room_for_index(path: &Path, log: u64) -> bool {
    // 32 KiB for 4,096 pages, which are 2 MiB of log at 512 bytes each. Twice as much, and something for all else that a start writes.
    let needed = (1 << 20) + log / 32;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // A filesystem that counts no blocks has no limit.
    rustix::fs::statvfs(folder).map_or(true, |found| {
        found.f_blocks == 0 || found.f_bavail.saturating_mul(found.f_frsize) >= needed
    })
}
