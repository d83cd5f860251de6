//! The file that is salvaged, read as far as it can be.

use std::{collections::BTreeMap, path::Path};

use rusqlite::{Connection, OpenFlags, Row};

use crate::journal::{files::is_emptied, schema, store::BUSY};

/// Opens a damaged file for reading only.
pub(super) fn open(copy: &Path) -> rusqlite::Result<Connection> {
    if is_emptied(copy) {
        return Err(rusqlite::Error::InvalidPath(copy.to_owned()));
    }
    let source = Connection::open_with_flags(
        copy,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // SQLite refuses a file that is shorter than its header says, unless it is told that somebody is repairing.
    source.busy_timeout(BUSY)?;
    source.pragma_update(None, "writable_schema", true)?;
    source.pragma_update(None, "trusted_schema", false)?;
    source.pragma_update(None, "cell_size_check", true)?;
    source.pragma_update(None, "cache_size", -512)?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(source)
}

pub(super) fn read_epochs(source: &Connection) -> BTreeMap<i64, Epoch> {
    let read = || {
        let mut statement =
            source.prepare("SELECT number, machine, created_at, next_seq, removed FROM epoch")?;
        let rows = statement.query_map([], |row| {
            let expected = row
                .get::<_, i64>(3)?
                .saturating_sub(1)
                .saturating_sub(row.get(4)?);
            let expected = Some(u64::try_from(expected).unwrap_or(0));
            Ok((
                row.get(0)?,
                Epoch {
                    expected,
                    machine: row.get(1)?,
                    created_at: row.get(2)?,
                    ..Epoch::default()
                },
            ))
        })?;
        rows.collect::<rusqlite::Result<_>>()
    };
    read().unwrap_or_default()
}

pub(super) fn read_counters(source: &Connection) -> Vec<(String, u64)> {
    let read = || {
        let sql = "SELECT name, value FROM counter WHERE name IN ('dropped', 'interrupted', 'faulted', 'scans_overflowed')";
        let mut statement = source.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            Ok((
                row.get(0)?,
                u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
            ))
        })?;
        rows.collect::<rusqlite::Result<_>>()
    };
    read().unwrap_or_default()
}

/// One epoch of the source.
#[derive(Clone, Default)]
pub(super) struct Epoch {
    /// Records written there and not removed since, as its own table says; `None`: it does not say.
    pub(super) expected: Option<u64>,
    pub(super) machine: String,
    pub(super) created_at: i64,
    /// Its number here.
    pub(super) place: Option<i64>,
    pub(super) last: u64,
    pub(super) count: u64,
}

/// A row of `raw_scan` as it is.
pub(super) struct ScanRow {
    pub(super) id: [u8; 16],
    pub(super) at: i64,
    pub(super) scanner: String,
    pub(super) lane: String,
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) fate: Option<String>,
}

pub(super) fn raw_scan(row: &Row<'_>) -> rusqlite::Result<ScanRow> {
    Ok(ScanRow {
        id: row.get(1)?,
        at: row.get(2)?,
        scanner: row.get(3)?,
        lane: row.get(4)?,
        bytes: row.get(5)?,
        fate: row.get(6)?,
    })
}

/// One salvage that is finished.
pub(super) struct Finished {
    pub(super) file: String,
    pub(super) at: i64,
    pub(super) lost: Option<i64>,
}

pub(super) fn finished_in(conn: &Connection) -> rusqlite::Result<Vec<Finished>> {
    let mut statement = conn.prepare(
        "SELECT file, at, lost FROM salvage WHERE file IS NOT NULL AND done_at IS NOT NULL",
    )?;
    let believed = |lost: i64| lost.clamp(0, schema::SEQ_MAX.cast_signed());
    let finished = statement.query_map([], |row| {
        Ok(Finished {
            file: row.get(0)?,
            at: row.get(1)?,
            lost: row.get::<_, Option<i64>>(2)?.map(believed),
        })
    })?;
    finished.collect()
}
