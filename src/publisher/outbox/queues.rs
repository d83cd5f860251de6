//! Rows that were read from the journal and have not been sent on this link: the live ones and the backlog. Pure.

use std::collections::VecDeque;

use super::{Key, Row};
use crate::publisher::message::Queue;

/// Rows read from the journal at once, for each queue.
pub(super) const CHUNK: usize = 256;

/// One queue, and how far the journal has been read for it.
#[derive(Debug, Default)]
struct Rows {
    waiting: VecDeque<Row>,
    after: Key,
    /// The last reading brought less than asked for.
    at_end: bool,
}

impl Rows {
    fn is_hungry(&self) -> bool {
        !self.at_end && self.waiting.len() < CHUNK / 2
    }
}

/// What to read from the journal next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::publisher) struct Want {
    pub(in crate::publisher) queue: Queue,
    pub(in crate::publisher) after: Key,
    pub(in crate::publisher) limit: usize,
    /// The newest row when it was asked for: a newer one may have come too late for that reading.
    newest: Key,
    /// Answers to older wants are dropped.
    turn: u64,
}

/// Rows as the journal handed them out: what is settled is not among them.
#[derive(Debug)]
pub(in crate::publisher) struct Page {
    /// In the order of their keys.
    pub(in crate::publisher) rows: Vec<Row>,
    /// The last row that was looked at.
    pub(in crate::publisher) after: Key,
    /// There may be more behind it.
    pub(in crate::publisher) more: bool,
}

/// Both queues of one link.
#[derive(Debug)]
pub(super) struct Queues {
    /// The journal's newest row.
    newest: Key,
    live: Rows,
    backlog: Rows,
    backlog_until: Key,
    turn: u64,
    /// The oldest row that was passed over without being delivered.
    skipped: Option<Key>,
}

impl Queues {
    pub(super) fn new() -> Self {
        Self {
            newest: 0,
            live: Rows {
                at_end: true,
                ..Rows::default()
            },
            backlog: Rows::default(),
            backlog_until: 0,
            turn: 0,
            skipped: None,
        }
    }

    /// A link is up: everything until `newest` is backlog, everything after it is live.
    pub(super) fn link_up(&mut self, newest: Key) {
        *self = Self {
            newest,
            live: Rows {
                after: newest,
                at_end: true,
                ..Rows::default()
            },
            backlog_until: newest,
            turn: self.turn + 1,
            ..Self::new()
        };
    }

    /// The journal's newest row.
    pub(super) fn newest(&mut self, newest: Key) {
        if newest > self.newest {
            self.newest = newest;
            self.live.at_end = false;
        }
    }

    /// What to read next, live rows first; of the backlog so many rows.
    pub(super) fn want(&self, backlog: usize) -> Option<Want> {
        let want = |queue, after, limit| Want {
            queue,
            after,
            limit,
            newest: self.newest,
            turn: self.turn,
        };
        if self.live.is_hungry() {
            return Some(want(Queue::Live, self.live.after, CHUNK));
        }
        (backlog > 0 && self.backlog.is_hungry())
            .then(|| want(Queue::Backlog, self.backlog.after, backlog))
    }

    /// Moves on behind a page. The rows of it that belong into that queue; none, if the page has been asked for in vain.
    pub(super) fn read(&mut self, want: Want, mut page: Page) -> Vec<Row> {
        if want.turn != self.turn {
            return Vec::new();
        }
        let until = match want.queue {
            Queue::Live => Key::MAX,
            Queue::Backlog => self.backlog_until,
        };
        let complete = want.queue == Queue::Backlog || want.newest == self.newest;
        let rows = self.rows(want.queue);
        rows.at_end = (!page.more && complete) || page.after > until;
        rows.after = rows.after.max(page.after.min(until));
        page.rows.retain(|row| row.key <= until);
        page.rows
    }

    pub(super) fn push(&mut self, queue: Queue, row: Row) {
        self.rows(queue).waiting.push_back(row);
    }

    pub(super) fn pop(&mut self, queue: Queue) -> Option<Row> {
        self.rows(queue).waiting.pop_front()
    }

    pub(super) fn has(&self, queue: Queue) -> bool {
        match queue {
            Queue::Live => !self.live.waiting.is_empty(),
            Queue::Backlog => !self.backlog.waiting.is_empty(),
        }
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        let mut rows = self.live.waiting.iter().chain(&self.backlog.waiting);
        rows.any(|row| row.key == key)
    }

    /// That row does not leave now. It is read again with the backlog.
    pub(super) fn skip(&mut self, key: Key) {
        self.skipped = Some(self.skipped.map_or(key, |oldest| oldest.min(key)));
    }

    /// Reads the backlog again from the oldest row that was skipped. `again`: that will be done once more.
    pub(super) fn rewind(&mut self, again: bool) {
        let Some(oldest) = self.skipped else {
            return;
        };
        if !again {
            self.skipped = None;
        }
        // Rows that were read and did not leave yet go back too.
        let read = self.backlog.waiting.front().map_or(oldest, |row| row.key);
        let before = oldest.min(read).saturating_sub(1);
        self.backlog_from(self.backlog.after.min(before));
    }

    /// Reads the backlog from its beginning.
    pub(super) fn start_over(&mut self) {
        self.backlog_from(0);
    }

    fn backlog_from(&mut self, after: Key) {
        self.backlog = Rows {
            after,
            ..Rows::default()
        };
        self.backlog_until = self.backlog_until.max(self.live.after);
        self.turn += 1;
    }

    fn rows(&mut self, queue: Queue) -> &mut Rows {
        match queue {
            Queue::Live => &mut self.live,
            Queue::Backlog => &mut self.backlog,
        }
    }
}
