//! The greens that rested on rows of a replica shortly before the agent last ended.

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
        let found = self.read(|conn| {
            let mut newest = conn.prepare(&format!(
                "{} {}",
                schema::STRETCHES,
                schema::NEWEST_OF_SERIAL
            ))?;
            let mut latest = conn.prepare(
                "SELECT row, serial, at, reason IN ('assigned', 'returned_stock') AND instr(evidence, '\"row_age\"') > 0
                 FROM record WHERE serial IS NOT NULL ORDER BY row DESC LIMIT ?1",
            )?;
            let mut rows = latest.query([LOOKED_AT])?;
            let mut found = Vec::new();
            while let Some(candidate) = rows.next()? {
                let at = row::time(candidate.get(2)?);
                // A clock that was set back makes no record older than it is.
                let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
                if age > within {
                    break;
                }
                let (number, serial): (i64, String) = (candidate.get(0)?, candidate.get(1)?);
                if candidate.get(3)?
                    && newest.query_row([serial], |newest| newest.get::<_, i64>(0))? == number
                {
                    found.push((number, age));
                }
            }
            Ok(found)
        })?;
        self.hand_over(&found, take)
    }
}
