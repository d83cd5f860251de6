//! The reading side: a connection of its own, so that a scan never waits for the writer.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use ring::hmac;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction};

use super::{
    super::{ReadAt, StoredFacts, StoredRow},
    files::Files,
    opened,
    schema::{self, Place},
};
use crate::{label::Serial, runtime::name::Name};

/// More rows of one serial number than any service has are not judged.
const MOST_ROWS: usize = 64;

/// The facts are kept in memory as long as the mark is the same.
struct Mark {
    pass: i64,
    sum: i64,
    facts: Arc<StoredFacts>,
}

/// Reads the replica beside the thread that writes it.
pub(super) struct Reader {
    conn: Connection,
    key: hmac::Key,
    files: Files,
    marks: BTreeMap<Name, Mark>,
}

/// The rows of one serial number, each with the place of its page; or at least one of them is damaged.
pub(super) enum Rows {
    Damaged,
    Sound(Vec<(StoredRow, Place)>),
}

/// What one look-up read, from one state of the file.
pub(super) struct Looked {
    pub(super) facts: Arc<StoredFacts>,
    /// In the order in which they were asked for.
    pub(super) rows: Vec<Rows>,
}

impl Reader {
    /// Opens beside a connection that has the file open, which was found sound.
    pub(super) fn open(path: &Path, files: Files) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(std::time::Duration::ZERO)?;
        conn.pragma_update(None, "cache_size", -512)?;
        let key: [u8; 32] = conn.query_row("SELECT key FROM meta", [], |row| row.get(0))?;
        Ok(Self {
            conn,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            files,
            marks: BTreeMap::new(),
        })
    }

    /// Is the file still the one that was opened?
    pub(super) fn is_there(&self) -> bool {
        self.files.are_there()
    }

    /// The rows of these serial numbers. `None`: no pass of that source was complete, or it was filled with another credential.
    pub(super) fn look_up(
        &mut self,
        source: &Name,
        credential: &str,
        serials: &[Serial],
    ) -> rusqlite::Result<Option<Looked>> {
        let transaction = self.conn.unchecked_transaction()?;
        let sql = "SELECT number, credential, pass, mark.sum FROM source JOIN mark ON mark.source = number WHERE name = ?1";
        let found = transaction
            .prepare_cached(sql)?
            .query_row([source.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((number, filled_with, pass, sum)): Option<(i64, [u8; 32], i64, i64)> = found
        else {
            return Ok(None);
        };
        if filled_with != schema::hidden(&self.key, "credential", credential) {
            return Ok(None);
        }
        let kept = self
            .marks
            .get(source)
            .filter(|mark| (mark.pass, mark.sum) == (pass, sum));
        let facts = match kept {
            Some(mark) => Arc::clone(&mark.facts),
            None => {
                let facts = Arc::new(facts_of(&transaction, number)?);
                let mark = Mark {
                    pass,
                    sum,
                    facts: Arc::clone(&facts),
                };
                self.marks.insert(source.clone(), mark);
                facts
            }
        };
        let rows = serials
            .iter()
            .map(|serial| rows_of(&transaction, number, serial, (pass, &facts.read_at)))
            .collect::<rusqlite::Result<_>>()?;
        Ok(Some(Looked { facts, rows }))
    }
}

fn facts_of(conn: &Connection, source: i64) -> rusqlite::Result<StoredFacts> {
    let (mark, body) = opened::mark(conn, source)?.ok_or_else(schema::damaged)?;
    Ok(StoredFacts {
        body,
        read_at: mark.of.start,
    })
}

/// The rows of one serial number; `mark` is the last complete pass and its start.
fn rows_of(
    transaction: &Transaction<'_>,
    source: i64,
    serial: &Serial,
    mark: (i64, &ReadAt),
) -> rusqlite::Result<Rows> {
    let sql = "SELECT key, serial, body, pass, ms, sum FROM row WHERE serial = ?1 AND source = ?2";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut found = statement.query((serial.as_str(), source))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let (key, serial, body) = (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?);
        let place = Place {
            pass: row.get(3)?,
            ms: row.get(4)?,
        };
        let [key, serial, body] = [key, serial, body].map(schema::bytes);
        let sound = row.get::<_, i64>(5)? == schema::sum_of_row(source, key, serial, body, place);
        let read_at = match sound {
            true => read_at(transaction, source, place, mark)?,
            false => None,
        };
        match read_at {
            Some(read_at) if rows.len() < MOST_ROWS => {
                let body = body.to_vec();
                rows.push((StoredRow { body, read_at }, place));
            }
            _ => return Ok(Rows::Damaged),
        }
    }
    Ok(Rows::Sound(rows))
}

/// When a row was read, or confirmed by the last complete pass. `None`: its pass is not known.
fn read_at(
    transaction: &Transaction<'_>,
    source: i64,
    place: Place,
    (complete, start): (i64, &ReadAt),
) -> rusqlite::Result<Option<ReadAt>> {
    if place.pass < complete {
        return Ok(Some(*start));
    }
    let start = if place.pass == complete {
        Some(*start)
    } else {
        start_of(transaction, source, place.pass)?
    };
    Ok(start.and_then(|start| place.after(start)))
}

/// The start of a pass that is not complete.
fn start_of(conn: &Connection, source: i64, pass: i64) -> rusqlite::Result<Option<ReadAt>> {
    let sql = "SELECT boot_id, boot, date, sum FROM pass WHERE source = ?1 AND number = ?2";
    let found = conn
        .prepare_cached(sql)?
        .query_row([source, pass], |row| {
            Ok((schema::moment(row, 0)?, row.get::<_, i64>(3)?))
        })
        .optional()?;
    Ok(found
        .filter(|(start, sum)| *sum == schema::sum_of_moment(&[source, pass], start, &[]))
        .map(|(start, _)| start))
}
