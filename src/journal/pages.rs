//! Records that no tree leads to any more, read page by page from a damaged database and its log.
//!
//! A database that was emptied or cut has lost the pages that say where its rows are. The rows themselves still lie in the leaves
//! that are left, and in the log. Format: <https://www.sqlite.org/fileformat2.html>, 1.6 (b-tree pages), 2.1 (records), 4 (the log).

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt, path::Path};

use rusqlite::{Connection, params_from_iter, types::Value};

use super::{
    files::wal_of,
    row::{self, Stored},
    schema,
};

/// Columns of a record's row. A newer schema may have more behind them.
const COLUMNS: usize = 29;
/// The longest row that is believed.
const LONGEST: usize = 1 << 20;
/// Bytes in a page of the journals of earlier versions.
const FORMER_SIZE: usize = 4096;
/// Pages looked at in one step.
const STEP: usize = 64;
/// Bytes of the log's header, and of each frame's.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// A damaged database being read.
pub(super) struct Pages {
    file: Option<File>,
    log: Option<File>,
    /// Bytes of a page, and what else they may be if nothing says it any more.
    size: usize,
    untried: Option<usize>,
    /// Where in the log pages are still to be looked at, the newest last.
    frames: Vec<u64>,
    /// The newest committed version of each page in the log.
    newest: BTreeMap<u32, u64>,
    /// The next page of the database, and how many it has.
    page: u32,
    pages: u32,
    file_length: u64,
    /// An empty journal in memory: what its table refuses is no record.
    scratch: Connection,
}

impl Pages {
    /// Begins with the database at `path`. `None`: there is nothing to read.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let (file, log) = (File::open(path).ok(), File::open(wal_of(path)).ok());
        let length = |file: &Option<File>| {
            file.as_ref()
                .and_then(|file| file.metadata().ok())
                .filter(std::fs::Metadata::is_file)
                .map_or(0, |found| found.len())
        };
        let (file_length, log_length) = (length(&file), length(&log));
        let of_file = file
            .as_ref()
            .and_then(|file| read_at(file, 16, 2))
            .and_then(|bytes| number(&bytes, 0, 2))
            .map(|size| if size == 1 { 1 << 16 } else { size });
        let of_log = log
            .as_ref()
            .and_then(|log| read_at(log, 8, 4))
            .and_then(|bytes| number(&bytes, 0, 4));
        let size = of_log
            .into_iter()
            .chain(of_file)
            .find(|size| size.is_power_of_two() && (512..=1 << 16).contains(size));
        let (size, untried) = match size {
            Some(size) => (usize::try_from(size).ok()?, None),
            None => (schema::PAGE_SIZE as usize, Some(FORMER_SIZE)),
        };
        let scratch = Connection::open_in_memory().ok()?;
        schema::create(&scratch).ok()?;
        let mut read = Self {
            file,
            log,
            size,
            untried,
            frames: Vec::new(),
            newest: BTreeMap::new(),
            page: 1,
            pages: pages_in(file_length, size),
            file_length,
            scratch,
        };
        read.look_through_log(log_length);
        Some(read)
    }

    /// The records of the next pages; `None`: there are no more. A record may come more than once, its newest version first.
    pub(super) fn step(&mut self, most: usize) -> Option<Vec<Stored>> {
        let mut found = Vec::new();
        for _ in 0..STEP {
            let page = if let Some(at) = self.frames.pop() {
                self.log
                    .as_ref()
                    .and_then(|log| read_at(log, at, self.size))
            } else if self.page < self.pages {
                // The first page holds the schema.
                self.page += 1;
                self.file.as_ref().and_then(|file| {
                    read_at(file, u64::from(self.page - 1) * self.size as u64, self.size)
                })
            } else if let Some(size) = self.untried.take() {
                (self.size, self.page, self.pages) = (size, 1, pages_in(self.file_length, size));
                continue;
            } else {
                return (!found.is_empty()).then_some(found);
            };
            for (key, values) in page.map(|page| self.rows(&page)).unwrap_or_default() {
                found.extend(self.record(key, values));
            }
            if found.len() >= most {
                break;
            }
        }
        Some(found)
    }

    /// Takes the log's frames down: those that were committed, and older ones behind them that a later round has not overwritten yet.
    /// A transaction at the end that was not committed counts for nothing: no lamp has answered for it.
    fn look_through_log(&mut self, length: u64) {
        let Some(log) = &self.log else { return };
        let Some(salt) = read_at(log, 16, 8) else {
            return;
        };
        let frame = FRAME_HEADER + self.size as u64;
        let (mut round, mut older, mut committed) = (Vec::new(), Vec::new(), 0);
        for count in 0..length.saturating_sub(LOG_HEADER) / frame {
            let at = LOG_HEADER + count * frame;
            let Some(header) = read_at(log, at, 16) else {
                break;
            };
            let (Some(page), Some(commit)) = (number(&header, 0, 4), number(&header, 4, 4)) else {
                break;
            };
            let Ok(page) = u32::try_from(page) else { break };
            if header.get(8..16) == Some(salt.as_slice()) {
                round.push((page, at + FRAME_HEADER));
                if commit > 0 {
                    committed = round.len();
                }
            } else {
                older.push(at + FRAME_HEADER);
            }
        }
        round.truncate(committed);
        self.newest.extend(round.iter().copied());
        self.frames = older;
        self.frames.extend(round.into_iter().map(|(_, at)| at));
    }

    /// A page of the database as it was committed last.
    fn page(&self, number: u32) -> Option<Vec<u8>> {
        match self.newest.get(&number) {
            Some(at) => read_at(self.log.as_ref()?, *at, self.size),
            None => read_at(
                self.file.as_ref()?,
                u64::from(number.checked_sub(1)?) * self.size as u64,
                self.size,
            ),
        }
    }

    /// The rows of a leaf of a table: each with its key and the values of its columns.
    fn rows(&self, page: &[u8]) -> Vec<(i64, Vec<Value>)> {
        const LEAF: u8 = 0x0d;
        if page.first() != Some(&LEAF) {
            return Vec::new();
        }
        let cells = number(page, 3, 2).unwrap_or(0);
        let cells = usize::try_from(cells).unwrap_or(0).min(self.size / 4);
        (0..cells)
            .filter_map(|cell| {
                let at = usize::try_from(number(page, 8 + 2 * cell, 2)?).ok()?;
                let (length, after) = varint(page, at)?;
                let (key, at) = varint(page, after)?;
                let payload = self.payload(page, at, usize::try_from(length).ok()?)?;
                Some((key.cast_signed(), values(&payload)?))
            })
            .collect()
    }

    /// The bytes of a row, with those that lie on pages of their own.
    fn payload(&self, page: &[u8], at: usize, length: usize) -> Option<Vec<u8>> {
        if length > LONGEST {
            return None;
        }
        let most = self.size - 35;
        let least = (self.size - 12) * 32 / 255 - 23;
        let here = if length <= most {
            length
        } else {
            let here = least + (length - least) % (self.size - 4);
            if here <= most { here } else { least }
        };
        let mut payload = page.get(at..at.checked_add(here)?)?.to_vec();
        let mut next = if here < length {
            u32::try_from(number(page, at + here, 4)?).ok()?
        } else {
            0
        };
        // Each page brings some bytes, so this ends.
        while payload.len() < length {
            let page = self.page(next)?;
            let many = (length - payload.len()).min(self.size - 4);
            payload.extend_from_slice(page.get(4..4 + many)?);
            next = u32::try_from(number(&page, 0, 4)?).ok()?;
        }
        Some(payload)
    }

    /// What a row says, if it is a record.
    fn record(&self, key: i64, mut values: Vec<Value>) -> Option<Stored> {
        let is_id =
            |value: Option<&Value>| matches!(value, Some(Value::Blob(bytes)) if bytes.len() == 16);
        if values.len() < COLUMNS || !is_id(values.get(1)) || !is_id(values.get(2)) {
            return None;
        }
        values.truncate(COLUMNS);
        *values.first_mut()? = Value::Integer(key);
        let marks = vec!["?"; COLUMNS].join(", ");
        self.scratch.execute("DELETE FROM record", []).ok()?;
        self.scratch
            .prepare_cached(&format!(
                "INSERT INTO record ({}) VALUES ({marks})",
                row::COLUMNS
            ))
            .ok()?
            .execute(params_from_iter(values))
            .ok()?;
        let select = format!("SELECT {} FROM record", row::COLUMNS);
        self.scratch
            .prepare_cached(&select)
            .ok()?
            .query_row([], |found| Ok(row::stored(found).ok()))
            .ok()?
    }
}

fn pages_in(length: u64, size: usize) -> u32 {
    u32::try_from(length / size as u64).unwrap_or(u32::MAX)
}

fn read_at(file: &File, at: u64, many: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; many];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

/// A number of `many` bytes, the greatest first.
fn number(bytes: &[u8], at: usize, many: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(many)?)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

/// A number of up to nine bytes, and what is behind it.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut sum = 0;
    for count in 0..9 {
        let byte = *bytes.get(at.checked_add(count)?)?;
        if count == 8 {
            return Some((sum << 8 | u64::from(byte), at + 9));
        }
        sum = sum << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((sum, at + count + 1));
        }
    }
    None
}

/// The columns of a row's bytes.
fn values(payload: &[u8]) -> Option<Vec<Value>> {
    let (header, mut at) = varint(payload, 0)?;
    let header = usize::try_from(header).ok()?;
    let mut body = header;
    let mut values = Vec::new();
    while at < header {
        let (kind, after) = varint(payload, at)?;
        at = after;
        let integer = |many: usize| {
            let shift = 64 - 8 * u32::try_from(many).ok()?;
            Some((
                many,
                Value::Integer((number(payload, body, many)? << shift).cast_signed() >> shift),
            ))
        };
        let (length, value) = match kind {
            0 => (0, Value::Null),
            1..=4 => integer(usize::try_from(kind).ok()?)?,
            5 => integer(6)?,
            6 => integer(8)?,
            8 => (0, Value::Integer(0)),
            9 => (0, Value::Integer(1)),
            12.. => {
                let length = usize::try_from((kind - 12) / 2).ok()?;
                let bytes = payload.get(body..body.checked_add(length)?)?.to_vec();
                (
                    length,
                    if kind % 2 == 0 {
                        Value::Blob(bytes)
                    } else {
                        Value::Text(String::from_utf8(bytes).ok()?)
                    },
                )
            }
            // A record has no fractions.
            _ => return None,
        };
        body += length;
        values.push(value);
    }
    Some(values)
}
