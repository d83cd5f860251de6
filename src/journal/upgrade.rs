//! How a journal of an earlier version becomes a current one: once, before the first scan, while systemd is kept waiting.

use std::{
    path::Path,
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::{files, schema};
use crate::runtime::systemd::Systemd;

/// A file of at most so many bytes is written again in small pages. That takes as much memory for a moment; a larger file keeps
/// its pages.
const REWRITTEN: u64 = 32 << 20;

/// How often systemd hears of the work, and how much more time it is asked for each time.
const SAID_EVERY: Duration = Duration::from_secs(1);
const MORE_TIME: Duration = Duration::from_secs(60);

/// Schema 2: `salvage.lost` is null where nobody can say how many. A build of schema 1 said 0 then, and until it had counted.
const TO_2: &str = "
CREATE TABLE salvage_2 (
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, file TEXT, cause TEXT NOT NULL,
  saved INTEGER NOT NULL, lost INTEGER, done_at INTEGER
) STRICT;
INSERT INTO salvage_2 SELECT number, at, file, cause, saved,
  CASE WHEN file IS NOT NULL AND (done_at IS NULL OR (saved = 0 AND lost = 0)) THEN NULL ELSE lost END, done_at FROM salvage;
DROP TABLE salvage;
ALTER TABLE salvage_2 RENAME TO salvage;
";

/// Schema 3: fewer indexes, and `epoch.unsent` instead of counting.
const TO_3: [(&str, &str); 4] = [
    (
        "removing indexes",
        "DROP INDEX record_at; DROP INDEX record_delivered; DROP INDEX record_serial;",
    ),
    ("indexing what is set aside", schema::RECORD_ASIDE),
    ("indexing serial numbers", schema::RECORD_SERIAL),
    ("indexing boxes that wait", schema::RECORD_UNREADY),
];
const UNSENT: &str = "
ALTER TABLE epoch ADD COLUMN unsent INTEGER NOT NULL DEFAULT 0;
UPDATE epoch SET unsent = (SELECT count(*) FROM record WHERE delivered_at IS NULL AND aside IS NULL
  AND row BETWEEN number << 40 AND (number << 40) + (1 << 40) - 1);
";

/// Makes the tables of a new file, and brings those of an older one up to date, in one transaction: after a kill or on a full
/// disk the file is as it was.
pub(super) fn to_current(conn: &Connection) -> rusqlite::Result<()> {
    let version = schema::version(conn)?;
    if version >= schema::VERSION {
        return Ok(());
    }
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    if version < 1 {
        schema::create(&transaction)?;
        return transaction.commit();
    }
    let begun = Instant::now();
    tracing::info!("taking over the journal of an earlier version");
    while_systemd_waits(|step| {
        if version < 2 {
            transaction.execute_batch(TO_2)?;
        }
        for (what, sql) in TO_3 {
            step(what);
            transaction.execute_batch(sql)?;
        }
        step("counting what is not sent");
        transaction.execute_batch(UNSENT)?;
        transaction.execute_batch(schema::UNSENT)?;
        move_scans(&transaction)?;
        schema::stamp(&transaction)?;
        step("writing it to the disk");
        transaction.commit()?;
        // Else the first scans would carry the whole log.
        conn.query_row("PRAGMA wal_checkpoint(truncate)", [], |_| Ok(()))
    })?;
    tracing::info!(took = ?begun.elapsed(), "took over the journal of an earlier version");
    Ok(())
}

/// Gives each raw scan the key that is drawn from its id.
fn move_scans(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch("ALTER TABLE raw_scan RENAME TO raw_scan_2")?;
    transaction.execute_batch(schema::RAW_SCAN)?;
    let scans: Vec<(i64, [u8; 16])> = transaction
        .prepare("SELECT number, id FROM raw_scan_2")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (number, id) in scans {
        transaction.execute(
            "INSERT OR IGNORE INTO raw_scan SELECT ?2, id, at, scanner, lane, bytes, fate FROM raw_scan_2 WHERE number = ?1",
            params![number, schema::scan_number(Uuid::from_bytes(id))],
        )?;
    }
    transaction.execute_batch("DROP TABLE raw_scan_2")
}

/// Writes a small file of large pages again in small ones. Where that cannot be done now it goes on with its pages: another
/// process reads it, or the disk is full. A kill in between leaves SQLite's rollback journal, which the next start applies.
pub(super) fn to_small_pages(conn: &Connection, path: &Path) -> rusqlite::Result<()> {
    let size: u32 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    if size <= schema::PAGE_SIZE || files::length_of(path) > REWRITTEN {
        return Ok(());
    }
    let mode = |mode: &str| {
        conn.pragma_update_and_check(None, "journal_mode", mode, |row| row.get::<_, String>(0))
    };
    let rewritten = while_systemd_waits(|step| {
        step("writing it again in smaller pages");
        // A write-ahead log keeps the size of its pages.
        mode("delete")?;
        conn.pragma_update(None, "page_size", schema::PAGE_SIZE)?;
        conn.execute_batch("VACUUM")
    });
    if let Err(error) = rewritten {
        tracing::warn!("the journal keeps its large pages for now: {error}");
    }
    mode("wal")?;
    // The log is made by the first who reads.
    schema::version(conn).map(|_| ())
}

/// Tells systemd what is done, and asks it for more time, until `work` is done. `work` says which step it has come to.
fn while_systemd_waits<T>(work: impl FnOnce(&dyn Fn(&'static str)) -> T) -> T {
    let (systemd, begun) = (Systemd::from_environment(), Instant::now());
    let step = Mutex::new("");
    let now_at = || *step.lock().unwrap_or_else(PoisonError::into_inner);
    let say = || {
        let seconds = begun.elapsed().as_secs();
        let text = format!(
            "taking over the journal of an earlier version: {}, {seconds} s",
            now_at()
        );
        systemd.still_starting(&text, MORE_TIME);
    };
    thread::scope(|scope| {
        let (working, done) = mpsc::channel::<()>();
        scope.spawn(|| {
            let done = done;
            while done.recv_timeout(SAID_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                say();
            }
        });
        let result = work(&|at| {
            *step.lock().unwrap_or_else(PoisonError::into_inner) = at;
            say();
        });
        drop(working);
        result
    })
}
