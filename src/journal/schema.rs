//! The tables.

use rusqlite::{Connection, config::DbConfig};
use uuid::Uuid;

/// Says that a SQLite file is a Benchlight journal ("BLJn").
pub(super) const APPLICATION_ID: i32 = 0x424c_4a6e;

/// The schema this build writes. A file with a higher number is from a newer build.
pub(super) const VERSION: i32 = 3;

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

/// Bytes in a page of a new file: a commit writes whole pages, and most of what it changes is small.
pub(super) const PAGE_SIZE: u32 = 512;

/// Schema 3. A released schema is never edited: add a step to [`super::upgrade`].
///
/// - `record.epoch` repeats the epoch's id in each row, so that a row can be salvaged when the table `epoch` cannot be read.
/// - `record.delivered_at` and `aside` both null: the row is unsent, and in the outbox. `aside` says why a row is not offered for now.
/// - `at`, `created_at`, `delivered_at`, `done_at` count nanoseconds since 1970 UTC.
/// - `epoch.unsent` counts the epoch's unsent rows. Triggers keep it: counting takes long.
/// - `record_serial` has a stretch of its own for each 16,384 rows. A scan writes into the newest stretch alone, so the pages that
///   a checkpoint writes lie together; an index over all rows would cost another block of the disk for each scan.
/// - `raw_scan` holds scans without a record; `fate` null: still in progress. `number` is drawn from `id` ([`scan_number`]), so
///   that a scan changes one page.
const TABLES: &str = "
CREATE TABLE epoch (
  number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, machine TEXT NOT NULL, created_at INTEGER NOT NULL,
  next_seq INTEGER NOT NULL, removed INTEGER NOT NULL, unsent INTEGER NOT NULL DEFAULT 0
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
CREATE INDEX record_outbox ON record(aside) WHERE delivered_at IS NULL;
CREATE INDEX record_raw ON record(at) WHERE raw IS NOT NULL;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE dropped (epoch BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE salvage (
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, file TEXT, cause TEXT NOT NULL,
  saved INTEGER NOT NULL, lost INTEGER, done_at INTEGER
) STRICT;
CREATE TABLE probe (page BLOB) STRICT;
";

/// The newest record of a serial number is found by it.
pub(super) const RECORD_SERIAL: &str =
    "CREATE INDEX record_serial ON record(row >> 14, serial) WHERE serial IS NOT NULL;";

/// Records that are set aside are listed by it.
pub(super) const RECORD_ASIDE: &str =
    "CREATE INDEX record_aside ON record(row) WHERE aside IS NOT NULL;";

/// The boxes that may wait are found by it.
pub(super) const RECORD_UNREADY: &str = "CREATE INDEX record_unready ON record(clock_synced, at) \
    WHERE serial IS NOT NULL AND reason <> 'assigned';";

/// Keeps `epoch.unsent`.
pub(super) const UNSENT: &str = "
CREATE TRIGGER record_inserted AFTER INSERT ON record WHEN new.delivered_at IS NULL AND new.aside IS NULL BEGIN
  UPDATE epoch SET unsent = unsent + 1 WHERE number = new.row >> 40;
END;
CREATE TRIGGER record_deleted AFTER DELETE ON record WHEN old.delivered_at IS NULL AND old.aside IS NULL BEGIN
  UPDATE epoch SET unsent = unsent - 1 WHERE number = old.row >> 40;
END;
CREATE TRIGGER record_updated AFTER UPDATE OF row, delivered_at, aside ON record BEGIN
  UPDATE epoch SET unsent = unsent - 1 WHERE number = old.row >> 40 AND old.delivered_at IS NULL AND old.aside IS NULL;
  UPDATE epoch SET unsent = unsent + 1 WHERE number = new.row >> 40 AND new.delivered_at IS NULL AND new.aside IS NULL;
END;
";

/// Scans without a record.
pub(super) const RAW_SCAN: &str = "
CREATE TABLE raw_scan (
  number INTEGER PRIMARY KEY, id BLOB NOT NULL, at INTEGER NOT NULL, scanner TEXT NOT NULL, lane TEXT NOT NULL,
  bytes BLOB, fate TEXT
) STRICT;
";

/// The stretches of the index by serial number that hold rows, from the newest to the oldest.
pub(super) const STRETCHES: &str = "WITH RECURSIVE stretch(n) AS (SELECT max(row) >> 14 FROM record
  UNION ALL SELECT (SELECT max(row) FROM record WHERE row < n << 14) >> 14 FROM stretch WHERE n IS NOT NULL)";

/// The row of the newest record of serial number `?1`, with [`STRETCHES`] before it.
pub(super) const NEWEST_OF_SERIAL: &str = "SELECT found FROM
  (SELECT (SELECT row FROM record WHERE row >> 14 = n AND serial = ?1 ORDER BY row DESC LIMIT 1) AS found FROM stretch)
  WHERE found IS NOT NULL LIMIT 1";

/// The key of a raw scan: 63 bits of its id, most of them random.
pub(super) fn scan_number(id: Uuid) -> i64 {
    (id.as_u64_pair().1 & i64::MAX.cast_unsigned()).cast_signed()
}

/// Lets a cached statement keep its plan. Else SQLite plans it again whenever its values are cleared, if a value could make
/// another plan better; that costs more than running it.
pub(super) fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Makes the tables of a new file.
pub(super) fn create(conn: &Connection) -> rusqlite::Result<()> {
    for part in [
        TABLES,
        RECORD_SERIAL,
        RECORD_ASIDE,
        RECORD_UNREADY,
        UNSENT,
        RAW_SCAN,
    ] {
        conn.execute_batch(part)?;
    }
    stamp(conn)
}

/// Says whose file it is, and of which schema.
pub(super) fn stamp(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", VERSION)
}

/// The schema of a file.
pub(super) fn version(conn: &Connection) -> rusqlite::Result<i32> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

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
    let version = version(conn)?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application, version, tables) {
        (0, 0, 0) => Found::New,
        (APPLICATION_ID, 1..=VERSION, _) => Found::Journal,
        (APPLICATION_ID, _, _) if version > VERSION => Found::Newer,
        _ => Found::Foreign,
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn a_row_holds_epoch_and_seq_in_the_order_of_delivery() {
        assert_eq!(
            (epoch_number_of(row_of(3, 17)), seq_of(row_of(3, 17))),
            (3, 17)
        );
        assert!(row_of(1, (1 << SEQ_BITS) - 1) < row_of(2, 1));
    }

    #[test]
    fn a_statement_is_planned_once_however_many_serial_numbers_are_looked_up()
    -> rusqlite::Result<()> {
        let conn = Connection::open_in_memory()?;
        create(&conn)?;
        let sql = format!("{STRETCHES} {NEWEST_OF_SERIAL}");
        let planned_again = || -> rusqlite::Result<i32> {
            for serial in ["A", "B", "C"] {
                conn.prepare_cached(&sql)?.query([serial])?.next()?;
            }
            Ok(conn
                .prepare_cached(&sql)?
                .get_status(StatementStatus::RePrepare))
        };
        assert!(planned_again()? > 0, "as SQLite does it");
        keep_plans(&conn)?;
        conn.flush_prepared_statement_cache();
        assert_eq!(planned_again()?, 0);
        Ok(())
    }
}
