//! The boxes that were waiting when the agent last ended.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use rusqlite::OptionalExtension;

use super::{CHUNK, ReadFault, Reader};
use crate::{
    journal::{
        row::{self, nanos},
        schema,
    },
    reason::Reason,
    record::Record,
};

impl Reader {
    /// Hands the newest record of each serial number with its age to `take`, where that is not over `within` and its reason is one of
    /// `reasons`: the boxes that were waiting when the agent last ended. Oldest first, a few at a time, until `take` says `false`.
    /// `now` is the wall clock; `synced`: it is synchronised.
    ///
    /// A clock that is right now may have been years off when a box was recorded. So the time of a record whose clock nobody kept
    /// is not believed then: it was made before the next one whose clock was kept, and no more is known. Such a box is rather asked
    /// again too long than never.
    pub fn waiting(
        &mut self,
        now: Timestamp,
        synced: bool,
        within: Duration,
        reasons: &[Reason],
        take: impl FnMut(Vec<(Record, Duration)>) -> bool,
    ) -> Result<(), ReadFault> {
        let since = nanos(now.checked_sub(within).unwrap_or(Timestamp::MIN));
        let mut waiting = Vec::new();
        // From the newest on, so that no row is looked at twice.
        let (mut looked_at, mut before) = (i64::MAX, now);
        for Unready { row, at, kept } in self.newest_of(since, synced, reasons)? {
            let mut at = at;
            if synced && !kept {
                let sql = "SELECT at FROM record WHERE row > ?1 AND row < ?2 AND clock_synced ORDER BY row LIMIT 1";
                let next = self.read(|conn| {
                    conn.prepare_cached(sql)?
                        .query_row([row, looked_at], |found| found.get(0))
                        .optional()
                })?;
                before = next.map_or(before, row::time);
                looked_at = row;
                at = before;
            }
            let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
            if age <= within {
                waiting.push((row, age));
            }
        }
        waiting.reverse();
        self.hand_over(&waiting, take)
    }

    /// Reads the records of these rows and hands them to `take` with their ages, a few at a time, until it says `false`.
    pub(super) fn hand_over(
        &mut self,
        found: &[(i64, Duration)],
        mut take: impl FnMut(Vec<(Record, Duration)>) -> bool,
    ) -> Result<(), ReadFault> {
        for page in found.chunks(CHUNK) {
            let rows: Vec<i64> = page.iter().map(|(row, _)| *row).collect();
            let ages: BTreeMap<i64, Duration> = page.iter().copied().collect();
            let found = self.at(&rows)?;
            let boxes = found.into_iter().filter_map(|stored| {
                let age = ages.get(&stored.row.cast_signed())?;
                Some((stored.recorded.record, *age))
            });
            if !take(boxes.collect()) {
                break;
            }
        }
        Ok(())
    }

    /// The rows that are the newest of their serial number, where it is for one of `reasons` and was recorded after `since`, or by
    /// a clock that is not believed. Newest first.
    fn newest_of(
        &mut self,
        since: i64,
        synced: bool,
        reasons: &[Reason],
    ) -> Result<Vec<Unready>, ReadFault> {
        // As the index `record_unready` has it.
        let unready = "SELECT row, serial, reason, at, clock_synced FROM record WHERE serial IS NOT NULL AND reason <> 'assigned'";
        let sql = format!(
            "SELECT * FROM ({unready} AND clock_synced = 1 AND at >= ?1 UNION ALL {unready} AND clock_synced = 0 AND at >= ?2)
             ORDER BY row DESC"
        );
        let (stretches, newest) = (schema::STRETCHES, schema::NEWEST_OF_SERIAL);
        let codes: Vec<&str> = reasons.iter().map(|reason| reason.code()).collect();
        let unkept = if synced { i64::MIN } else { since };
        self.read(|conn| {
            let mut newest = conn.prepare(&format!("{stretches} {newest}"))?;
            let mut unready = conn.prepare(&sql)?;
            let mut found = unready.query([since, unkept])?;
            let mut rows = Vec::new();
            while let Some(candidate) = found.next()? {
                let row: i64 = candidate.get(0)?;
                let (serial, reason): (String, String) = (candidate.get(1)?, candidate.get(2)?);
                if codes.contains(&reason.as_str())
                    && newest.query_row([serial], |newest| newest.get::<_, i64>(0))? == row
                {
                    rows.push(Unready {
                        row,
                        at: row::time(candidate.get(3)?),
                        kept: candidate.get(4)?,
                    });
                }
            }
            Ok(rows)
        })
    }
}

/// The newest row of a box that was not ready.
struct Unready {
    row: i64,
    at: Timestamp,
    /// Somebody kept the clock.
    kept: bool,
}
