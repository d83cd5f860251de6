//! The tables, and how an older file becomes a current one.

use rusqlite::Connection;

/// Says that a SQLite file is a Benchlight journal ("BLJn").
pub(super) const APPLICATION_ID: i32 = 0x424c_4a6e;

/// The schema this build writes. A file with a higher number is from a newer build.
pub(super) const VERSION: i32 = 2;

/// A record's key is its epoch's number and its seq in one integer: rows are in the order of delivery, and
/// `(epoch, seq)` needs no index of its own.
const SEQ_BITS: u32 = 40;

/// The greatest seq within an epoch.
pub(super) const SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;

/// The greatest number of an epoch, with room above.
pub(super) const EPOCH_MAX: i64 = (1 << 22) + 4096;

/// The key of one record.
pub(super) const fn row_of(epoch_number: i64, seq: u64) -> i64 {
    (epoch_number << SEQ_BITS) | (seq as i64 & ((1 << SEQ_BITS) - 1))
}

/// The epoch's number in a key.
pub(super) const fn epoch_number_of(row: i64) -> i64 {
    row >> SEQ_BITS
}

/// The seq in a key.
pub(super) const fn seq_of(row: i64) -> u64 {
    (row & ((1 << SEQ_BITS) - 1)) as u64
}

/// Schema 1. Released: never edit it, add a step to [`migrate`].
///
/// - `record.epoch` repeats the epoch's id in each row, so that a row can be salvaged when the table `epoch` cannot be read.
/// - `record.delivered_at` null is the outbox; `aside` says why a row is not offered to the broker for now.
/// - `at`, `created_at`, `delivered_at`, `done_at` count nanoseconds since 1970 UTC.
/// - `raw_scan` holds scans without a record; `fate` null: still in progress.
const SCHEMA_1: &str = "
CREATE TABLE epoch (
  number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, machine TEXT NOT NULL, created_at INTEGER NOT NULL,
  next_seq INTEGER NOT NULL, removed INTEGER NOT NULL
) STRICT;
CREATE TABLE record (
  row INTEGER PRIMARY KEY, epoch BLOB NOT NULL, id BLOB NOT NULL UNIQUE, raw_scan BLOB,
  scan BLOB, cause TEXT, previous_reason TEXT,
  at INTEGER NOT NULL, clock_synced INTEGER NOT NULL, lane TEXT NOT NULL, scanner TEXT NOT NULL,
  serial TEXT, asked TEXT NOT NULL, raw TEXT, reason TEXT NOT NULL, message TEXT NOT NULL, action TEXT NOT NULL,
  grade TEXT, model TEXT, family TEXT, assigned_at TEXT, took_ms INTEGER NOT NULL, lamp TEXT NOT NULL,
  previous BLOB, grouped BLOB, policy TEXT NOT NULL, evidence TEXT NOT NULL,
  delivered_at INTEGER, aside TEXT
) STRICT;
CREATE INDEX record_at ON record(at);
CREATE INDEX record_serial ON record(serial) WHERE serial IS NOT NULL;
CREATE INDEX record_outbox ON record(aside) WHERE delivered_at IS NULL;
CREATE INDEX record_delivered ON record(delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX record_raw ON record(at) WHERE raw IS NOT NULL;
CREATE TABLE raw_scan (
  number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, at INTEGER NOT NULL, scanner TEXT NOT NULL, lane TEXT NOT NULL,
  bytes BLOB, fate TEXT
) STRICT;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE dropped (epoch BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE salvage (
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, file TEXT, cause TEXT NOT NULL,
  saved INTEGER NOT NULL, lost INTEGER NOT NULL, done_at INTEGER
) STRICT;
CREATE TABLE probe (page BLOB) STRICT;
";

/// Schema 2: `salvage.lost` is null where nobody can say how many. A build of schema 1 said 0 then, and until it had counted.
const SCHEMA_2: &str = "
CREATE TABLE salvage_2 (
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, file TEXT, cause TEXT NOT NULL,
  saved INTEGER NOT NULL, lost INTEGER, done_at INTEGER
) STRICT;
INSERT INTO salvage_2 SELECT number, at, file, cause, saved,
  CASE WHEN file IS NOT NULL AND (done_at IS NULL OR (saved = 0 AND lost = 0)) THEN NULL ELSE lost END, done_at FROM salvage;
DROP TABLE salvage;
ALTER TABLE salvage_2 RENAME TO salvage;
";

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Empty: a journal can be made in it.
    New,
    /// A journal of this schema or an older one.
    Journal,
    /// A journal of a newer build.
    Newer,
    /// A database of something else.
    Foreign,
}

/// Looks at a file without changing it.
pub(super) fn look(conn: &Connection) -> rusqlite::Result<Found> {
    let application: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: i32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application, version, tables) {
        (0, 0, 0) => Found::New,
        (APPLICATION_ID, 1..=VERSION, _) => Found::Journal,
        (APPLICATION_ID, _, _) if version > VERSION => Found::Newer,
        _ => Found::Foreign,
    })
}

/// Makes the tables of a new file, and brings an older one up to date, in one transaction.
pub(super) fn migrate(conn: &Connection) -> rusqlite::Result<()> {
    let version: i32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version >= VERSION {
        return Ok(());
    }
    let transaction =
        rusqlite::Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate)?;
    if version < 1 {
        transaction.execute_batch(SCHEMA_1)?;
    }
    if version < 2 {
        transaction.execute_batch(SCHEMA_2)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_epoch_and_seq_in_the_order_of_delivery() {
        assert_eq!(
            (epoch_number_of(row_of(3, 17)), seq_of(row_of(3, 17))),
            (3, 17)
        );
        assert!(row_of(1, (1 << SEQ_BITS) - 1) < row_of(2, 1));
    }
}
