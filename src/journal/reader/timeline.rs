//! Everything that was recorded, in order of time.

use std::collections::VecDeque;

use jiff::Timestamp;
use rusqlite::params;
use uuid::Uuid;

use super::{CHUNK, ReadFault, Reader, Stored, limited, nanos, row};

/// One line of the record, whether or not it came to a verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A finished scan or a change.
    Record(Box<Stored>),
    /// A scan that ended without a record.
    Unfinished(Unfinished),
}

impl Entry {
    /// When it happened, by the wall clock.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Record(stored) => stored.recorded.record.at,
            Self::Unfinished(scan) => scan.at,
        }
    }
}

/// A scan that ended without a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The scan's id.
    pub id: Uuid,
    /// Wall clock at the scan.
    pub at: Timestamp,
    /// The scanner's name.
    pub scanner: String,
    /// The lane's name.
    pub lane: String,
    /// What was scanned; `None` once `keep_raw` is over.
    pub bytes: Option<Vec<u8>>,
    /// It was answered `journal_fault`. Else its process died before the verdict.
    pub faulted: bool,
}

impl Reader {
    /// Hands every scan, change and unfinished scan from `since` on and before `until` to `take`, in order of time.
    /// Stops at the first error of `take`.
    pub fn export<E: From<ReadFault>>(
        &mut self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        mut take: impl FnMut(Entry) -> Result<(), E>,
    ) -> Result<(), E> {
        let since = since.map_or(i64::MIN, nanos);
        let until = until.map_or(i64::MAX, nanos);
        let mut places = VecDeque::from(self.places(since, until)?);
        let mut records = Pages::new(since);
        let mut scans = Pages::new(since);
        loop {
            records.fill(|_| self.record_page(&mut places))?;
            scans.fill(|(at, after)| self.scan_page(at, after, until))?;
            let scan_first = match (records.first(), scans.first()) {
                (None, None) => return Ok(()),
                (Some(record), Some(scan)) => scan.at() < record.at(),
                (None, Some(_)) => true,
                (Some(_), None) => false,
            };
            if let Some(entry) = if scan_first {
                scans.take()
            } else {
                records.take()
            } {
                take(entry)?;
            }
        }
    }

    /// Time and row of each record from `since` on and before `until`, in order of time. Records lie in the order of their numbers,
    /// and a clock may have been set back: that this reads them all is cheaper than an index that each scan pays for.
    fn places(&mut self, since: i64, until: i64) -> Result<Vec<(i64, i64)>, ReadFault> {
        const STEP: usize = 4_096;
        let sql = "SELECT at, row FROM record WHERE row > ?1 ORDER BY row LIMIT ?2";
        let (mut places, mut after) = (Vec::new(), i64::MIN);
        loop {
            let mut looked_at = 0;
            self.read(|conn| {
                let mut statement = conn.prepare_cached(sql)?;
                let mut rows = statement.query(params![after, limited(STEP)])?;
                while let Some(row) = rows.next()? {
                    let at: i64 = row.get(0)?;
                    after = row.get(1)?;
                    looked_at += 1;
                    if (since..until).contains(&at) {
                        places.push((at, after));
                    }
                }
                Ok(())
            })?;
            if looked_at < STEP {
                places.sort_unstable();
                return Ok(places);
            }
        }
    }

    /// The records of the next places that still have one.
    fn record_page(&mut self, places: &mut VecDeque<(i64, i64)>) -> Result<Vec<Keyed>, ReadFault> {
        while !places.is_empty() {
            let next = places.drain(..CHUNK.min(places.len()));
            let rows: Vec<i64> = next.map(|(_, row)| row).collect();
            let found = self.at(&rows)?;
            let mut page: Vec<Keyed> = found
                .into_iter()
                .map(|stored| {
                    let at = nanos(stored.recorded.record.at);
                    let key = (at, stored.row.cast_signed());
                    (key, Entry::Record(Box::new(stored)))
                })
                .collect();
            page.sort_unstable_by_key(|(key, _)| *key);
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Ok(Vec::new())
    }

    fn scan_page(&mut self, at: i64, after: i64, until: i64) -> Result<Vec<Keyed>, ReadFault> {
        let sql = "SELECT number, id, at, scanner, lane, bytes, fate FROM raw_scan \
            WHERE fate IS NOT NULL AND (at, number) > (?1, ?2) AND at < ?3 ORDER BY at, number LIMIT ?4";
        self.read(|conn| {
            let mut statement = conn.prepare_cached(sql)?;
            let rows = statement.query_map(params![at, after, until, limited(CHUNK)], |row| {
                let scan = Unfinished {
                    id: row::uuid(row, 1)?.unwrap_or_default(),
                    at: row::time(row.get(2)?),
                    scanner: row.get(3)?,
                    lane: row.get(4)?,
                    bytes: row.get(5)?,
                    faulted: row.get::<_, String>(6)? == "faulted",
                };
                Ok(((row.get(2)?, row.get(0)?), Entry::Unfinished(scan)))
            })?;
            rows.collect()
        })
    }
}

/// An entry with its place in the order of time.
type Keyed = ((i64, i64), Entry);

/// One of the two streams that an export merges.
struct Pages {
    after: (i64, i64),
    waiting: VecDeque<Keyed>,
    ended: bool,
}

impl Pages {
    fn new(since: i64) -> Self {
        Self {
            after: (since, i64::MIN),
            waiting: VecDeque::new(),
            ended: false,
        }
    }

    fn fill(
        &mut self,
        read: impl FnOnce((i64, i64)) -> Result<Vec<Keyed>, ReadFault>,
    ) -> Result<(), ReadFault> {
        if self.waiting.is_empty() && !self.ended {
            let page = read(self.after)?;
            self.ended = page.is_empty();
            self.after = page.last().map_or(self.after, |(key, _)| *key);
            self.waiting.extend(page);
        }
        Ok(())
    }

    fn first(&self) -> Option<&Entry> {
        self.waiting.front().map(|(_, entry)| entry)
    }

    fn take(&mut self) -> Option<Entry> {
        self.waiting.pop_front().map(|(_, entry)| entry)
    }
}
