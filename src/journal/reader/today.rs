//! The boxes that were scanned today, by verdict.

use std::collections::{BTreeMap, HashMap};

use jiff::{Timestamp, ZonedDateTime, civil::Date, tz::TimeZone};
use rusqlite::params;

use super::{CHUNK, ReadFault, Reader, limited};
use crate::{
    health::ByVerdict,
    journal::row::{self, nanos},
    reason::{Reason, Verdict},
};

/// What was scanned on one day.
///
/// A box is a serial number that was scanned since the station's local midnight. It counts once: under the verdict of its newest
/// record, in the hour of its newest scan. A `rescan` is no box: each of these scans counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// By the station's time zone.
    pub date: Date,
    /// Of the station's time zone, east of UTC.
    pub utc_offset_minutes: i32,
    pub boxes: ByVerdict,
    /// The same by the hour of the station's time zone; hours without a scan are left out.
    pub hours: BTreeMap<i8, ByVerdict>,
}

/// A day that is kept up from the journal, by [`Reader::today`].
#[derive(Debug)]
pub struct Today {
    day: Day,
    zone: TimeZone,
    /// The first and the last moment of the day.
    since: Timestamp,
    until: Timestamp,
    /// The newest row that is counted; `None`: nothing is read yet.
    counted: Option<i64>,
    /// Verdict and hour of each serial number.
    boxes: HashMap<String, (Verdict, i8)>,
}

impl Today {
    /// The day of `now`, with nothing counted yet.
    pub fn of(now: &ZonedDateTime) -> Self {
        let since = now.start_of_day().unwrap_or_else(|_| now.clone());
        let until = now.tomorrow().and_then(|next| next.start_of_day());
        Self {
            day: Day {
                date: now.date(),
                utc_offset_minutes: now.offset().seconds() / 60,
                boxes: ByVerdict::default(),
                hours: BTreeMap::new(),
            },
            zone: now.time_zone().clone(),
            since: since.timestamp(),
            until: until.map_or(Timestamp::MAX, |next| next.timestamp()),
            counted: None,
            boxes: HashMap::new(),
        }
    }

    /// Is `now` on this day, by the same time zone?
    pub fn is_of(&self, now: &ZonedDateTime) -> bool {
        now.date() == self.day.date && now.time_zone() == &self.zone
    }

    pub fn day(&self) -> &Day {
        &self.day
    }

    /// Counts one row.
    fn count(&mut self, serial: Option<String>, reason: Reason, is_change: bool, at: Timestamp) {
        if !(self.since..self.until).contains(&at) {
            return;
        }
        let verdict = reason.verdict();
        let hour = self.zone.to_datetime(at).hour();
        let Some(serial) = serial else {
            return self.add(verdict, hour);
        };
        let before = self.boxes.get(&serial).copied();
        let hour = match before {
            Some((_, scanned)) if is_change => scanned,
            // Its scan was on another day.
            None if is_change => return,
            _ => hour,
        };
        if let Some((verdict, hour)) = before {
            self.day.boxes.remove(verdict);
            self.day.hours.entry(hour).or_default().remove(verdict);
        }
        self.boxes.insert(serial, (verdict, hour));
        self.add(verdict, hour);
    }

    fn add(&mut self, verdict: Verdict, hour: i8) {
        self.day.boxes.add(verdict);
        self.day.hours.entry(hour).or_default().add(verdict);
    }
}

impl Reader {
    /// Counts the rows that are new since `today` was last brought up to date.
    pub fn today(&mut self, today: &mut Today) -> Result<(), ReadFault> {
        let mut after = match today.counted {
            Some(counted) => counted,
            None => self.row_before(today.since)?,
        };
        let sql = "SELECT row, serial, reason, cause IS NOT NULL, at FROM record WHERE row > ?1 ORDER BY row LIMIT ?2";
        loop {
            let counted = self.read(|conn| {
                let mut statement = conn.prepare_cached(sql)?;
                let mut rows = statement.query(params![after, limited(CHUNK)])?;
                let mut counted = 0;
                while let Some(found) = rows.next()? {
                    (after, counted) = (found.get(0)?, counted + 1);
                    let reason: String = found.get(2)?;
                    if let Some(reason) = Reason::from_code(&reason) {
                        let at = row::time(found.get(4)?);
                        today.count(found.get(1)?, reason, found.get(3)?, at);
                    }
                }
                Ok(counted)
            })?;
            today.counted = Some(after);
            if counted < CHUNK {
                today.day.hours.retain(|_, hour| !hour.is_empty());
                return Ok(());
            }
        }
    }

    /// A row behind which all rows since `since` are. Looks from the newest row back: a clock that was set makes single rows older
    /// or younger than their neighbours.
    fn row_before(&mut self, since: Timestamp) -> Result<i64, ReadFault> {
        let sql = "SELECT min(row), max(at) FROM (SELECT row, at FROM record WHERE row < ?1 ORDER BY row DESC LIMIT ?2)";
        let mut before = i64::MAX;
        loop {
            let (first, newest): (Option<i64>, Option<i64>) = self.read(|conn| {
                let mut statement = conn.prepare_cached(sql)?;
                statement.query_row(params![before, limited(CHUNK)], |found| {
                    Ok((found.get(0)?, found.get(1)?))
                })
            })?;
            let Some(first) = first else {
                return Ok(0);
            };
            if newest.is_some_and(|newest| newest < nanos(since)) {
                return Ok(before.saturating_sub(1));
            }
            before = first;
        }
    }
}
