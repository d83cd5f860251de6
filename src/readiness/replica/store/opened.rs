//! The writing connection: an open file that was found sound, and what is known of each source in it.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use rustix::fs::statvfs;

use super::{
    Complete,
    bitmap::Bitmap,
    files::{self, Files},
    schema::{self, Found, Place},
    strikes::Strike,
    trouble::{StoreFault, Trouble},
};
use crate::{label::Serial, runtime::name::Name};

/// Rows written before they are committed: an index changes nearly as many pages for a few rows as for many.
const COMMIT_ROWS: u64 = 20_000;
/// How long written rows may wait for it.
const COMMIT_AFTER: Duration = Duration::from_secs(1);
/// Row numbers above it would make the bitmaps large. No list is that long, and numbers of deleted rows are mostly given out again.
pub(super) const LARGEST_ROW: u32 = 1 << 26;

/// Left free for the journal: a tenth of the disk, at most so many bytes.
const LEFT_FREE: u64 = 64 << 20;

/// The last complete pass of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) pass: i64,
    pub(super) of: Complete,
}

impl Mark {
    /// Its seal, as that of `source`, with what it read besides the rows.
    pub(super) fn sum(&self, source: i64, facts: &[u8]) -> i64 {
        let Complete { start, rows, reads } = &self.of;
        let what = [source, self.pass, rows.cast_signed(), reads.cast_signed()];
        schema::sum_of_moment(&what, start, facts)
    }
}

/// A source as the file has it.
#[derive(Debug)]
pub(super) struct OfSource {
    pub(super) number: i64,
    pub(super) account: [u8; 32],
    pub(super) credential: [u8; 32],
    pub(super) mark: Option<Mark>,
    /// How many records a later pass has found, if they were too few to be believed.
    pub(super) short: Option<u64>,
    /// The numbers of its rows.
    pub(super) held: Bitmap,
}

/// An open file.
pub(super) struct Opened {
    pub(super) conn: Connection,
    pub(super) key: hmac::Key,
    pub(super) files: Files,
    pub(super) sources: BTreeMap<Name, OfSource>,
    /// What the file says of the strikes, until they are taken over.
    pub(super) in_file: BTreeMap<Name, (i64, Vec<Strike>)>,
    /// It was made now.
    pub(super) is_new: bool,
    /// Since when rows wait for the commit, and how many.
    pending: Option<(Instant, u64)>,
}

impl Opened {
    /// Opens or makes the file, which may grow up to `largest` bytes, and reads all of it once.
    pub(super) fn open(path: &Path, largest: u64) -> Result<Self, Trouble> {
        files::prepare(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(Duration::from_secs(2))?;
        let is_new = match schema::look(&conn)? {
            Found::New => true,
            Found::Replica => false,
            Found::Foreign => {
                return Err(Trouble::Discard("another program or build made it".into()));
            }
        };
        if is_new {
            // It can be set in an empty file alone. Pages that are free go back to the filesystem.
            conn.pragma_update(None, "auto_vacuum", "incremental")?;
        }
        configure(&conn, largest)?;
        if is_new {
            let mut key = [0; 32];
            SystemRandom::new()
                .fill(&mut key)
                .map_err(|_| Trouble::Close(StoreFault::Other("no random numbers".into())))?;
            schema::create(&conn, &key)?;
        } else {
            check(&conn)?;
        }
        let key: [u8; 32] = conn.query_row("SELECT key FROM meta", [], |row| row.get(0))?;
        // What cannot be written cannot be struck either, so nothing is read from it.
        conn.execute("UPDATE meta SET opened = opened + 1", [])?;
        let InFile { sources, strikes } = load(&conn)?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            files: Files::of(path)?,
            sources,
            in_file: strikes,
            is_new,
            pending: None,
            conn,
        })
    }

    /// Begins a transaction, unless one is open.
    pub(super) fn write(&mut self) -> rusqlite::Result<()> {
        if self.pending.is_none() {
            self.conn.execute_batch("BEGIN IMMEDIATE")?;
            self.pending = Some((Instant::now(), 0));
        }
        Ok(())
    }

    /// Is there room for more rows? The journal must not find its disk full because of them.
    pub(super) fn has_room(&self) -> Result<(), Trouble> {
        let found = statvfs(self.files.path()).map_err(std::io::Error::from)?;
        let left_free = (found.f_blocks.saturating_mul(found.f_frsize) / 10).min(LEFT_FREE);
        if found.f_bavail.saturating_mul(found.f_frsize) < left_free {
            return Err(Trouble::Refuse(StoreFault::Full));
        }
        Ok(())
    }

    /// So many rows were written more.
    pub(super) fn note(&mut self, rows: u64) {
        if let Some((_, waiting)) = &mut self.pending {
            *waiting += rows;
        }
    }

    /// When the open transaction must be committed.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let (since, rows) = self.pending?;
        Some(if rows >= COMMIT_ROWS {
            Duration::ZERO
        } else {
            COMMIT_AFTER.saturating_sub(since.elapsed())
        })
    }

    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        if self.pending.take().is_some() {
            self.conn.execute_batch("COMMIT")?;
        }
        Ok(())
    }

    /// One transaction of its own.
    pub(super) fn at_once<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.commit()?;
        self.write()?;
        let done = work(&self.conn)?;
        self.commit()?;
        Ok(done)
    }
}

fn configure(conn: &Connection, largest: u64) -> Result<(), Trouble> {
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let why = "its filesystem does not support a write-ahead log";
        return Err(Trouble::Close(StoreFault::Other(why.into())));
    }
    conn.pragma_update(None, "synchronous", "normal")?;
    conn.pragma_update(None, "cache_size", -2048)?;
    conn.pragma_update(None, "journal_size_limit", 16 << 20)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    let page_size: u32 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let most = u32::try_from(largest / u64::from(page_size)).unwrap_or(u32::MAX);
    conn.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn check(conn: &Connection) -> Result<(), Trouble> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        Ok(())
    } else {
        Err(Trouble::Discard(found))
    }
}

/// What is known of each source in a file.
pub(super) struct InFile {
    pub(super) sources: BTreeMap<Name, OfSource>,
    /// The newest pass of each, and its strikes.
    pub(super) strikes: BTreeMap<Name, (i64, Vec<Strike>)>,
}

/// Reads all of the file once.
pub(super) fn load(conn: &Connection) -> rusqlite::Result<InFile> {
    let mut held = held(conn)?;
    let (mut sources, mut struck) = (BTreeMap::new(), BTreeMap::new());
    let mut statement =
        conn.prepare("SELECT number, name, account, credential, sum FROM source")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (number, name): (i64, String) = (row.get(0)?, row.get(1)?);
        let (account, credential): ([u8; 32], [u8; 32]) = (row.get(2)?, row.get(3)?);
        if row.get::<_, i64>(4)? != sum_of_source(number, &name, &account, &credential) {
            return Err(schema::damaged());
        }
        let name = Name::new(&name).map_err(|_| schema::damaged())?;
        let mark = mark(conn, number)?.map(|(mark, _)| mark);
        let strikes = strikes(conn, number)?;
        let newest = newest(conn, number)?
            .max(mark.map_or(0, |mark| mark.pass))
            .max(
                strikes
                    .iter()
                    .map(|(_, place)| place.pass)
                    .max()
                    .unwrap_or(0),
            );
        struck.insert(name.clone(), (newest, strikes));
        let of_source = OfSource {
            number,
            account,
            credential,
            mark,
            short: short(conn, number)?,
            held: held.remove(&number).unwrap_or_default(),
        };
        sources.insert(name, of_source);
    }
    if held.is_empty() {
        Ok(InFile {
            sources,
            strikes: struck,
        })
    } else {
        Err(schema::damaged())
    }
}

/// Which rows each source has, from the index alone.
fn held(conn: &Connection) -> rusqlite::Result<BTreeMap<i64, Bitmap>> {
    let mut held = BTreeMap::<i64, Bitmap>::new();
    let mut statement = conn.prepare("SELECT source, row FROM row INDEXED BY row_serial")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number = row_number(row.get(1)?)?;
        held.entry(row.get(0)?).or_default().insert(number);
    }
    Ok(held)
}

/// The number of a row, as the bitmaps have it.
pub(super) fn row_number(row: i64) -> rusqlite::Result<u32> {
    let number = u32::try_from(row).ok();
    number
        .filter(|number| *number <= LARGEST_ROW)
        .ok_or_else(schema::damaged)
}

/// The last complete pass of a source, and what it read besides the rows.
pub(super) fn mark(conn: &Connection, source: i64) -> rusqlite::Result<Option<(Mark, Vec<u8>)>> {
    let sql =
        "SELECT pass, boot_id, boot, date, rows, reads, facts, sum FROM mark WHERE source = ?1";
    let mut statement = conn.prepare(sql)?;
    let mut found = statement.query([source])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    let mark = Mark {
        pass: row.get(0)?,
        of: Complete {
            start: schema::moment(row, 1)?,
            rows: row.get::<_, i64>(4)?.cast_unsigned(),
            reads: row.get::<_, i64>(5)?.cast_unsigned(),
        },
    };
    let facts: Vec<u8> = row.get(6)?;
    if row.get::<_, i64>(7)? != mark.sum(source, &facts) {
        return Err(schema::damaged());
    }
    Ok(Some((mark, facts)))
}

fn short(conn: &Connection, source: i64) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT rows FROM short WHERE source = ?1";
    let found = conn.query_row(sql, [source], |row| row.get(0)).optional()?;
    Ok(found.map(i64::cast_unsigned))
}

/// The newest pass that wrote rows since the last complete one; 0: none.
fn newest(conn: &Connection, source: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT number, boot_id, boot, date, sum FROM pass WHERE source = ?1 ORDER BY number";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([source])?;
    let mut newest = 0;
    while let Some(row) = rows.next()? {
        newest = row.get(0)?;
        let start = schema::moment(row, 1)?;
        if row.get::<_, i64>(4)? != schema::sum_of_moment(&[source, newest], &start, &[]) {
            return Err(schema::damaged());
        }
    }
    Ok(newest)
}

fn strikes(conn: &Connection, source: i64) -> rusqlite::Result<Vec<Strike>> {
    let mut statement =
        conn.prepare("SELECT serial, pass, ms, sum FROM strike WHERE source = ?1")?;
    let mut rows = statement.query([source])?;
    let mut strikes = Vec::new();
    while let Some(row) = rows.next()? {
        let (serial, pass, ms): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let place = Place { pass, ms };
        let known = Serial::new(&serial);
        let sound = row.get::<_, i64>(3)? == sum_of_strike(source, &serial, place);
        if !sound || known.is_none() != serial.is_empty() {
            return Err(schema::damaged());
        }
        strikes.push((known, place));
    }
    Ok(strikes)
}

/// The seal of a source.
pub(super) fn sum_of_source(
    number: i64,
    name: &str,
    account: &[u8; 32],
    credential: &[u8; 32],
) -> i64 {
    schema::sum(&[&number.to_le_bytes(), name.as_bytes(), account, credential])
}

/// The seal of a strike; the empty serial number means all.
pub(super) fn sum_of_strike(source: i64, serial: &str, place: Place) -> i64 {
    schema::sum_of_row(source, &[], serial.as_bytes(), &[], place)
}
