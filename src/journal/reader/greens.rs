//! The greens of an earlier run that are not done with.

use std::time::Duration;

use jiff::Timestamp;

use super::{ReadFault, Reader};
use crate::{
    journal::{row, schema},
    record::Record,
};

/// Rows looked at from the newest on: more than a station scans in a day.
const LOOKED_AT: i64 = 100_000;

impl Reader {
    /// Hands each green that rests on a row of a replica to `take`, with its age, where that is not over `within` and it is the newest
    /// record of its serial number. Newest first, a few at a time, until `take` says `false`. `now` is the wall clock.
    pub fn greens_by_row(
        &mut self,
        now: Timestamp,
        within: Duration,
        take: impl FnMut(Vec<(Record, Duration)>) -> bool,
    ) -> Result<(), ReadFault> {
        let found = self.greens(now, within, "instr(evidence, '\"row_age\"') > 0")?;
        self.hand_over(&found, take)
    }

    /// The same of the boxes that waited and turned ready by themselves, oldest first.
    pub fn turned(
        &mut self,
        now: Timestamp,
        within: Duration,
        take: impl FnMut(Vec<(Record, Duration)>) -> bool,
    ) -> Result<(), ReadFault> {
        let mut found = self.greens(now, within, "cause = 'recheck'")?;
        found.reverse();
        self.hand_over(&found, take)
    }

    /// The rows of greens for which `condition` is true, with their age. Newest first.
    fn greens(
        &mut self,
        now: Timestamp,
        within: Duration,
        condition: &str,
    ) -> Result<Vec<(i64, Duration)>, ReadFault> {
        let (stretches, newest) = (schema::STRETCHES, schema::NEWEST_OF_SERIAL);
        let latest = format!(
            "SELECT row, serial, at, clock_synced, reason IN ('assigned', 'returned_stock') AND {condition}
             FROM record WHERE serial IS NOT NULL ORDER BY row DESC LIMIT ?1"
        );
        self.read(|conn| {
            let mut newest = conn.prepare(&format!("{stretches} {newest}"))?;
            let mut latest = conn.prepare(&latest)?;
            let mut rows = latest.query([LOOKED_AT])?;
            let mut found = Vec::new();
            while let Some(candidate) = rows.next()? {
                let at = row::time(candidate.get(2)?);
                // A clock that was set back makes no record older than it is.
                let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
                if age > within {
                    // A clock that nobody kept says nothing of the records before.
                    if candidate.get(3)? {
                        break;
                    }
                    continue;
                }
                let (number, serial): (i64, String) = (candidate.get(0)?, candidate.get(1)?);
                if candidate.get::<_, Option<bool>>(4)? == Some(true)
                    && newest.query_row([serial], |newest| newest.get::<_, i64>(0))? == number
                {
                    found.push((number, age));
                }
            }
            Ok(found)
        })
    }
}
