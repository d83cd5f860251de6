//! What the broker refuses: single rows, each with its own next try, or a topic as a whole. Pure: the time is handed in.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::{Key, Row};
use crate::publisher::pacing::Backoff;

/// Refusals of one row, among rows that are accepted, before it is set aside.
const REFUSALS: u32 = 10;
/// So many different rows refused one after the other: it is the topic, not the rows.
const TOPIC: usize = 3;
/// Refused rows of a topic that takes nothing: enough to try different ones.
const TRIED: usize = 8;

/// A row with a history.
#[derive(Debug)]
struct Refused {
    row: Row,
    times: u32,
    not_before: Instant,
    backoff: Backoff,
}

/// What is known of one of the two topics.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) accepted: u64,
    /// Different rows refused since the last one that was accepted; [`TOPIC`] at most.
    refused_since: BTreeSet<Key>,
    /// The whole topic is refused.
    closed: bool,
    next_try: Instant,
    backoff: Backoff,
}

/// What follows for a refused row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// It has its own next try.
    Waits,
    /// It is read again once its topic takes something.
    Skipped,
    /// The row is set aside.
    SetAside,
}

#[derive(Debug)]
pub(super) struct Refusals {
    backoff: Backoff,
    waiting: BTreeMap<Key, Refused>,
    pub(super) topics: [Topic; 2],
}

impl Refusals {
    pub(super) fn new(backoff: Backoff, now: Instant) -> Self {
        let topic = || Topic {
            accepted: 0,
            refused_since: BTreeSet::new(),
            closed: false,
            next_try: now,
            backoff,
        };
        Self {
            backoff,
            waiting: BTreeMap::new(),
            topics: [topic(), topic()],
        }
    }

    pub(super) fn link_up(&mut self, now: Instant) {
        for topic in &mut self.topics {
            topic.next_try = now;
        }
    }

    /// Rows that wait for their own next try.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The topic that is refused as a whole.
    pub(super) fn closed_topic(&self) -> Option<usize> {
        self.topics.iter().position(|topic| topic.closed)
    }

    /// A row was read again. `false`: it has no history here.
    pub(super) fn read_again(&mut self, row: &Row) -> bool {
        let refused = self.waiting.get_mut(&row.key);
        refused.map(|refused| refused.row = row.clone()).is_some()
    }

    /// Nothing of its past counts any more.
    pub(super) fn forget(&mut self, key: Key) {
        self.waiting.remove(&key);
    }

    /// The oldest row whose own time has come and that `may_leave`.
    pub(super) fn due(&self, now: Instant, may_leave: impl Fn(&Row) -> bool) -> Option<Row> {
        let mut waiting = self.waiting.values();
        waiting
            .find(|refused| refused.not_before <= now && may_leave(&refused.row))
            .map(|refused| refused.row.clone())
    }

    /// May a row of that topic leave? Of one that takes nothing, one row at a time is tried. `tried`: one is.
    pub(super) fn is_open(&self, topic: usize, tried: bool, now: Instant) -> bool {
        let topic = self.topics.get(topic);
        topic.is_none_or(|topic| !topic.closed || (topic.next_try <= now && !tried))
    }

    /// The row waits for its own next try.
    pub(super) fn wait(&mut self, row: Row, now: Instant) -> &mut u32 {
        let refused = self.waiting.entry(row.key).or_insert(Refused {
            row,
            times: 0,
            not_before: now,
            backoff: self.backoff,
        });
        refused.not_before = now + refused.backoff.next();
        &mut refused.times
    }

    /// The broker refused a row. `once_more`: it was set aside before.
    pub(super) fn refused(&mut self, row: Row, once_more: bool, now: Instant) -> Follows {
        let (key, index) = (row.key, row.topic());
        let Some(topic) = self.topics.get_mut(index) else {
            return Follows::Waits;
        };
        topic.refused_since.insert(key);
        if topic.closed || topic.accepted == 0 || topic.refused_since.len() >= TOPIC {
            topic.refused_since.clear();
            topic.closed = true;
            topic.next_try = now + topic.backoff.next();
            let tried = self
                .waiting
                .values()
                .filter(|other| other.row.topic() == index);
            if tried.count() >= TRIED && !self.waiting.contains_key(&key) {
                return Follows::Skipped;
            }
            self.wait(row, now);
            return Follows::Waits;
        }
        let times = self.wait(row, now);
        *times += 1;
        if *times >= REFUSALS || once_more {
            Follows::SetAside
        } else {
            Follows::Waits
        }
    }

    /// The broker accepted a row of that topic. `true`: the topic had been refused.
    pub(super) fn accepted(&mut self, topic: usize) -> bool {
        self.topics.get_mut(topic).is_some_and(|topic| {
            topic.accepted += 1;
            topic.refused_since.clear();
            topic.backoff.reset();
            std::mem::take(&mut topic.closed)
        })
    }

    /// When a row or a topic is tried again.
    pub(super) fn tries(&self) -> impl Iterator<Item = Instant> {
        let closed = self.topics.iter().filter(|topic| topic.closed);
        closed
            .map(|topic| topic.next_try)
            .chain(self.waiting.values().map(|refused| refused.not_before))
    }
}
