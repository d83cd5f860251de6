//! The tables of the replica's file, and the seals by which a changed byte is noticed.

use std::time::Duration;

use jiff::Timestamp;
use ring::{digest, hmac};
use rusqlite::{
    Connection, Row,
    types::{FromSqlError, Type, ValueRef},
};
use uuid::Uuid;

use super::super::ReadAt;
use crate::runtime::clock::Boot;

/// Says that a SQLite file is a Benchlight replica ("BLRe").
pub(super) const APPLICATION_ID: i32 = 0x424c_5265;

/// A file of any other schema is deleted: it is filled again in one pass.
pub(super) const VERSION: i32 = 3;

/// - `meta` has one row. `key` is drawn with the file: accounts and credentials are kept as keyed hashes only.
/// - `mark` is there once a pass of the source was complete: its number, its start, how many requests it took, and what it read besides
///   the rows.
/// - `short`: so many records a later pass has found, too few to be believed. It decides nothing that is answered, so it has no `sum`.
/// - `pass` has those later than the mark that wrote rows.
/// - `row.key` is a hash of source and id, half as long as most ids; `row.pass` and `row.ms` are the request of the page that brought the row as it is.
/// - `strike`: rows of that serial number read no later than that do not answer. The empty serial number means all.
/// - `sum` is a hash over the other columns of the row.
const TABLES: &str = "
CREATE TABLE meta (key BLOB NOT NULL, opened INTEGER NOT NULL) STRICT;
CREATE TABLE source (
  number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, account BLOB NOT NULL, credential BLOB NOT NULL, sum INTEGER NOT NULL
) STRICT;
CREATE TABLE mark (
  source INTEGER PRIMARY KEY, pass INTEGER NOT NULL, boot_id BLOB NOT NULL, boot INTEGER NOT NULL, date INTEGER NOT NULL,
  rows INTEGER NOT NULL, reads INTEGER NOT NULL, facts BLOB NOT NULL, sum INTEGER NOT NULL
) STRICT;
CREATE TABLE short (source INTEGER PRIMARY KEY, rows INTEGER NOT NULL) STRICT;
CREATE TABLE pass (
  source INTEGER NOT NULL, number INTEGER NOT NULL, boot_id BLOB NOT NULL, boot INTEGER NOT NULL, date INTEGER NOT NULL,
  sum INTEGER NOT NULL, PRIMARY KEY (source, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE strike (
  source INTEGER NOT NULL, serial TEXT NOT NULL, pass INTEGER NOT NULL, ms INTEGER NOT NULL,
  sum INTEGER NOT NULL, PRIMARY KEY (source, serial)
) STRICT, WITHOUT ROWID;
CREATE TABLE row (
  row INTEGER PRIMARY KEY, source INTEGER NOT NULL, key BLOB NOT NULL, serial TEXT NOT NULL,
  body BLOB NOT NULL, pass INTEGER NOT NULL, ms INTEGER NOT NULL, sum INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX row_key ON row(key);
CREATE INDEX row_serial ON row(serial, source);
";

/// Makes the tables of a new file, with its key.
pub(super) fn create(conn: &Connection, key: &[u8; 32]) -> rusqlite::Result<()> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    conn.execute_batch(TABLES)?;
    conn.execute("INSERT INTO meta (key, opened) VALUES (?1, 0)", [key])?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", VERSION)?;
    conn.execute_batch("COMMIT")
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    New,
    Replica,
    Foreign,
}

/// Looks at a file without changing it.
pub(super) fn look(conn: &Connection) -> rusqlite::Result<Found> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    Ok(match (application, version, tables) {
        (0, 0, 0) => Found::New,
        (APPLICATION_ID, VERSION, _) => Found::Replica,
        _ => Found::Foreign,
    })
}

/// The place of a page among all pages of a source: its pass, and the milliseconds from that pass's start to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) pass: i64,
    pub(super) ms: i64,
}

impl Place {
    /// The moment itself, in a pass that began at `start`. `None`: out of the calendar.
    pub(super) fn after(self, start: ReadAt) -> Option<ReadAt> {
        let since = Duration::from_millis(u64::try_from(self.ms).ok()?);
        Some(ReadAt {
            boot_id: start.boot_id,
            boot: start.boot.plus(since),
            date: start.date.checked_add(since).ok()?,
        })
    }
}

/// A hash over `parts`, of which each has its length before it.
fn hash<const LENGTH: usize>(parts: &[&[u8]]) -> [u8; LENGTH] {
    let mut digest = digest::Context::new(&digest::SHA256);
    for part in parts {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    first_of(digest.finish().as_ref())
}

fn first_of<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    let mut first = [0; LENGTH];
    for (byte, found) in first.iter_mut().zip(bytes) {
        *byte = *found;
    }
    first
}

/// The seal over the other columns of a row.
pub(super) fn sum(parts: &[&[u8]]) -> i64 {
    i64::from_le_bytes(hash(parts))
}

/// A row's key: no two records have the same one.
pub(super) fn key_of(source: i64, id: &str) -> [u8; 16] {
    hash(&[&source.to_le_bytes(), id.as_bytes()])
}

/// The seal of a row.
pub(super) fn sum_of_row(source: i64, key: &[u8], serial: &[u8], body: &[u8], place: Place) -> i64 {
    let place = [source, place.pass, place.ms].map(i64::to_le_bytes);
    sum(&[place.as_flattened(), key, serial, body])
}

/// The seal of a moment in a table: `what` is the row that it belongs to.
pub(super) fn sum_of_moment(what: &[i64], at: &ReadAt, more: &[u8]) -> i64 {
    let what: Vec<[u8; 8]> = what.iter().map(|number| number.to_le_bytes()).collect();
    let clocks = [nanos_of_boot(at.boot), nanos_of(at.date)].map(i64::to_le_bytes);
    sum(&[
        what.as_flattened(),
        at.boot_id.as_bytes(),
        clocks.as_flattened(),
        more,
    ])
}

/// A moment from the columns `first`, `first + 1` and `first + 2`.
pub(super) fn moment(row: &Row<'_>, first: usize) -> rusqlite::Result<ReadAt> {
    let boot_id: [u8; 16] = row.get(first)?;
    let boot: i64 = row.get(first + 1)?;
    let date: i64 = row.get(first + 2)?;
    Ok(ReadAt {
        boot_id: Uuid::from_bytes(boot_id),
        boot: Boot::from_duration(Duration::from_nanos(boot.cast_unsigned())),
        date: Timestamp::from_nanosecond(i128::from(date))
            .map_err(|_| FromSqlError::OutOfRange(date))?,
    })
}

/// A text or blob; nothing for what is neither, which no sum fits.
pub(super) fn bytes(value: ValueRef<'_>) -> &[u8] {
    value.as_bytes().unwrap_or_default()
}

/// A row of a small table whose sum does not fit: the file cannot be trusted.
pub(super) fn damaged() -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, "a sum does not fit".into())
}

/// Nanoseconds since the boot.
pub(super) fn nanos_of_boot(boot: Boot) -> i64 {
    let since = boot.since(Boot::from_duration(Duration::ZERO));
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Nanoseconds since 1970 UTC.
pub(super) fn nanos_of(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH {
        i64::MIN
    } else {
        i64::MAX
    })
}

/// A keyed hash of what must not stand in the file.
pub(super) fn hidden(key: &hmac::Key, what: &str, text: &str) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(what.as_bytes());
    context.update(&[0]);
    context.update(text.as_bytes());
    first_of(context.sign().as_ref())
}
