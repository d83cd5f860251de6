//! Rows that are delivered or set aside, where the file does not say so yet.
//!
//! This is the only place, beside the file, that knows which rows are delivered or set aside: [`Reading`] applies it to what is read
//! from the file. It is memory only. A kill loses it, and those rows are sent once more. It also keeps the rows of the newest commit,
//! so that a publisher that has everything before them need not read them from the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::row::Stored;

/// So many are written in one transaction of their own.
pub(super) const BATCH: usize = 256;
/// So many go with a record's commit. A scan waits for that commit, so not all of a backlog.
pub(super) const RIDING: usize = 32;
/// Rows of a commit that are kept for the publisher, at most: of a scan or a group, not of a burst.
const AT_HAND: usize = 32;
/// They wait for the next record, which rewrites most of their pages anyway, and at most this long. Not shorter than the time after
/// which the journal's thread looks at its files all the same (`upkeep::LOOK`): it then learns when they are due.
const IDLE: Duration = Duration::from_secs(30);

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The broker acknowledged the row at this time.
    Delivered(Timestamp),
    /// The row is set aside, and why.
    Aside(String),
}

/// What became of rows, as far as the file does not hold it yet, and how many rows are unsent.
#[derive(Debug, Default)]
pub(super) struct SettledRows(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    unwritten: BTreeMap<u64, Settled>,
    /// When they are to be written at the latest.
    due: Option<Instant>,
    /// Rows settled in the file while somebody reads it, perhaps as it was before.
    written: BTreeSet<u64>,
    readings: usize,
    /// Unsent rows, as the file says.
    unsent_in_file: u64,
    /// The rows of the newest commit, until somebody takes them.
    newest: Option<NewestCommit>,
}

#[derive(Debug)]
struct NewestCommit {
    /// The row before them.
    after: u64,
    /// In the order of their keys.
    rows: Vec<Stored>,
}

impl SettledRows {
    /// Takes note of acknowledged rows. `true`: they are many, and must be written now. Otherwise the journal's thread finds them when
    /// it looks at its files next, which is before they are due.
    pub(super) fn delivered(&self, rows: Vec<u64>, now: Instant) -> bool {
        let (mut known, at) = (self.lock(), Timestamp::now());
        known
            .unwritten
            .extend(rows.into_iter().map(|row| (row, Settled::Delivered(at))));
        known.due.get_or_insert(now + IDLE);
        known.unwritten.len() >= BATCH
    }

    /// Takes note of a row that is set aside. An acknowledgement counts more.
    pub(super) fn set_aside(&self, row: u64, why: String, now: Instant) {
        let mut known = self.lock();
        known.unwritten.entry(row).or_insert(Settled::Aside(why));
        known.due = Some(known.due.map_or(now, |due| due.min(now)));
    }

    /// When they must be written; `None`: there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lock().due
    }

    /// Is it time to write them?
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let known = self.lock();
        known.unwritten.len() >= BATCH || known.due.is_some_and(|due| due <= now)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().unwritten.is_empty()
    }

    /// The first `limit` of them. They stay until [`SettledRows::written`].
    pub(super) fn first(&self, limit: usize) -> Vec<(u64, Settled)> {
        let known = self.lock();
        let first = known.unwritten.iter().take(limit);
        first
            .map(|(row, settled)| (*row, settled.clone()))
            .collect()
    }

    /// The file holds these now. It has `fewer` unsent rows less than before.
    pub(super) fn written(&self, rows: &[(u64, Settled)], fewer: u64) {
        let mut known = self.lock();
        for (row, settled) in rows {
            if known.unwritten.get(row) == Some(settled) {
                known.unwritten.remove(row);
            }
            if known.readings > 0 {
                known.written.insert(*row);
            }
        }
        known.unsent_in_file = known.unsent_in_file.saturating_sub(fewer);
        if known.unwritten.is_empty() {
            known.due = None;
        }
    }

    /// These rows were committed, and are unsent. `after`: the newest row before them.
    pub(super) fn recorded(&self, after: u64, rows: Vec<Stored>) {
        let mut known = self.lock();
        known.unsent_in_file += rows.len() as u64;
        known.newest = (rows.len() <= AT_HAND).then_some(NewestCommit { after, rows });
    }

    /// The rows behind `after`, if they are those of the newest commit, and `limit` at most. They are given out once.
    pub(super) fn at_hand(self: &Arc<Self>, after: u64, limit: usize) -> Option<Unsent> {
        let fits = |newest: &mut NewestCommit| newest.after == after && newest.rows.len() <= limit;
        let newest = self.lock().newest.take_if(fits)?;
        Some(Unsent {
            after: newest.rows.last().map_or(after, |stored| stored.row),
            rows: newest.rows,
            more: false,
            reading: Some(self.reading()),
        })
    }

    /// The file was counted, perhaps another one than before.
    pub(super) fn counted(&self, unsent: u64) {
        let mut known = self.lock();
        known.unsent_in_file = unsent;
        known.newest = None;
    }

    /// Completes a row that was read from the file.
    pub(super) fn complete(&self, stored: &mut Stored) {
        match self.lock().unwritten.get(&stored.row) {
            Some(Settled::Delivered(at)) => {
                stored.delivered_at = Some(*at);
                stored.set_aside = None;
            }
            Some(Settled::Aside(why)) => stored.set_aside = Some(why.clone()),
            None => {}
        }
    }

    /// How many rows are unsent.
    pub(super) fn unsent(&self) -> u64 {
        let known = self.lock();
        known
            .unsent_in_file
            .saturating_sub(known.unwritten.len() as u64)
    }

    /// Begins to read rows from the file. To be called before the first look into it.
    pub(super) fn reading(self: &Arc<Self>) -> Reading {
        self.lock().readings += 1;
        Reading(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody reads rows from the file.
#[derive(Debug)]
pub(super) struct Reading(Arc<SettledRows>);

impl Reading {
    /// Leaves out what has been settled until now, whether or not the file said so when it was read.
    pub(super) fn apply(self, rows: &mut Vec<Stored>) {
        let known = self.0.lock();
        rows.retain(|stored| {
            !known.unwritten.contains_key(&stored.row) && !known.written.contains(&stored.row)
        });
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut known = self.0.lock();
        known.readings = known.readings.saturating_sub(1);
        if known.readings == 0 {
            known.written.clear();
        }
    }
}

/// Rows of the outbox as they were read from the file, or as they were written to it.
#[derive(Debug)]
pub struct Unsent {
    pub(super) rows: Vec<Stored>,
    /// The last row that was looked at.
    pub after: u64,
    /// There may be more behind it.
    pub more: bool,
    /// `None`: another process reads the file.
    pub(super) reading: Option<Reading>,
}

impl Unsent {
    /// The rows. What has been settled until this moment is not among them.
    pub fn rows(mut self) -> Vec<Stored> {
        if let Some(reading) = self.reading {
            reading.apply(&mut self.rows);
        }
        self.rows
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use uuid::Uuid;

    use super::*;
    use crate::{
        reason::Reason,
        record::{Record, Recorded},
        runtime::name::Name,
    };

    #[test]
    fn they_wait_for_the_next_record_for_half_a_minute_at_most() {
        let (rows, now) = (SettledRows::default(), Instant::now());
        assert!(!rows.is_due(now + IDLE) && rows.due().is_none());
        assert!(!rows.delivered(vec![1, 2], now));
        assert!(!rows.delivered(vec![3], now + IDLE / 2));
        assert_eq!(
            rows.due(),
            Some(now + IDLE),
            "whoever writes them learns when"
        );
        assert!(!rows.is_due(now + IDLE - Duration::from_millis(1)));
        assert!(rows.is_due(now + IDLE), "counted from the first");
        rows.written(&rows.first(RIDING), 3);
        assert!(rows.is_empty() && rows.due().is_none());
    }

    #[test]
    fn the_rows_of_the_newest_commit_are_given_out_once_to_who_has_all_before_them() {
        let (known, now) = (Arc::new(SettledRows::default()), Instant::now());
        let rows = |keys: std::ops::Range<u64>| keys.map(stored).collect::<Vec<_>>();
        known.recorded(4, rows(5..6));
        known.recorded(5, rows(6..8));
        assert!(known.at_hand(4, 9).is_none(), "it lacks the row before");
        assert!(known.at_hand(5, 1).is_none(), "they are two");
        let unsent = known.at_hand(5, 2).unwrap();
        assert_eq!((unsent.after, unsent.more), (7, false));
        assert!(known.at_hand(5, 2).is_none(), "once");
        known.delivered(vec![6], now);
        let left: Vec<u64> = unsent.rows().iter().map(|stored| stored.row).collect();
        assert_eq!(left, [7], "what was settled meanwhile is left out");
        known.recorded(7, rows(8..8 + AT_HAND as u64 + 1));
        assert!(
            known.at_hand(7, 99).is_none(),
            "a burst is read from the file"
        );
        known.recorded(99, rows(100..101));
        known.counted(1);
        assert!(
            known.at_hand(99, 9).is_none(),
            "of a file that was replaced"
        );
        assert_eq!(known.unsent(), 0);
    }

    fn stored(row: u64) -> Stored {
        let lane = Name::new("main").unwrap();
        let record = Record::bare(Uuid::nil(), Timestamp::UNIX_EPOCH, lane, Reason::NotFound);
        Stored {
            row,
            recorded: Recorded::committed(Uuid::nil(), row, record),
            delivered_at: None,
            set_aside: None,
        }
    }

    #[test]
    fn a_full_batch_and_a_row_set_aside_are_written_at_once() {
        let (rows, now) = (SettledRows::default(), Instant::now());
        let last = BATCH as u64 - 1;
        rows.delivered((0..last).collect(), now);
        assert!(!rows.is_due(now));
        assert!(rows.delivered(vec![last], now) && rows.is_due(now));
        rows.written(&rows.first(BATCH), 0);
        rows.set_aside(7, "unreadable".to_owned(), now);
        assert!(rows.is_due(now));
    }

    #[test]
    fn a_row_that_is_acknowledged_while_it_is_set_aside_stays_acknowledged() {
        let (rows, now) = (SettledRows::default(), Instant::now());
        rows.set_aside(1, "busy".to_owned(), now);
        let batch = rows.first(BATCH);
        rows.delivered(vec![1], now);
        rows.set_aside(1, "busy".to_owned(), now);
        rows.written(&batch, 1);
        assert!(matches!(
            rows.first(BATCH)[..],
            [(1, Settled::Delivered(_))]
        ));
    }
}
