//! Which row is sent next, and what the broker's answer means for it. Pure: the time is handed in.
//!
//! The outbox itself, the unsent rows, is in the journal, which knows what is delivered. What stands here is only which rows are under
//! way on this link, and why some wait; all of it may be forgotten at any moment, and the worst that follows is a repeat.

mod queues;
mod refusals;
mod suspects;

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    NoSubscriber, Timing,
    message::Queue,
    pacing::{Backoff, Pace},
};
use crate::record::Recorded;
use queues::{CHUNK, Queues};
pub(super) use queues::{Page, Want};
use refusals::{Follows, Refusals};
use suspects::{Suspects, Suspicion};

/// A row's number, which gives the order of delivery over all epochs.
pub(super) type Key = u64;

/// Rows that wait for their own next try, or to be alone. More of them than this are left in the journal until the oldest are settled.
const WAITING: usize = 256;
/// Why a row that breaks links is set aside.
const BREAKS_THE_LINK: &str = "breaks_the_link";

/// One row of the journal that waits for its PUBACK.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) recorded: Recorded,
}

impl Row {
    /// 0: scan, 1: change.
    pub(super) fn topic(&self) -> usize {
        usize::from(self.recorded.record.change.is_some())
    }
}

/// What the broker said to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// 0x00.
    Taken,
    /// 0x10: nobody listens.
    Unheard,
    /// 0x80, 0x83, 0x91, 0x97: not now.
    Busy,
    /// 0x87, 0x90, 0x99: not this; the stable word says why.
    Refused(&'static str),
}

/// What became of a row, for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered(Key),
    /// Set aside: not offered for now, with the reason (refused, too large, or it breaks the link).
    Aside(Key, &'static str),
}

#[derive(Debug)]
struct Flight {
    row: Row,
    /// Nothing else may be in flight with it: it broke the link before.
    alone: bool,
}

/// A broker that takes no message now.
#[derive(Debug)]
struct Busy {
    until: Option<Instant>,
    backoff: Backoff,
}

/// What is under way on one link, and why some rows wait.
#[derive(Debug)]
pub(super) struct Outbox {
    no_subscriber: NoSubscriber,
    probe: Duration,
    queues: Queues,
    in_flight: BTreeMap<Key, Flight>,
    refusals: Refusals,
    suspects: Suspects,
    /// Nobody listens: when one row is offered again.
    next_probe: Option<Instant>,
    busy: Busy,
}

impl Outbox {
    pub(super) fn new(timing: &Timing, no_subscriber: NoSubscriber, now: Instant) -> Self {
        let backoff = Backoff::new(timing.rows.first, timing.rows.most);
        Self {
            no_subscriber,
            probe: timing.rows.probe,
            queues: Queues::new(),
            in_flight: BTreeMap::new(),
            refusals: Refusals::new(backoff, now),
            suspects: Suspects::new(timing.rows.first, timing.reconnect.stable, now),
            next_probe: None,
            busy: Busy {
                until: None,
                backoff,
            },
        }
    }

    /// A link is up: everything until `newest` is backlog, everything after it is live.
    pub(super) fn link_up(&mut self, newest: Key, now: Instant) {
        self.queues.link_up(newest);
        self.refusals.link_up(now);
        self.suspects.link_up(now);
        self.next_probe = self.next_probe.map(|_| now);
        self.busy.until = None;
    }

    /// The link is down. `suspicious`: what was in flight may be why.
    pub(super) fn link_down(&mut self, suspicious: bool, now: Instant) -> Vec<Outcome> {
        self.suspects.link_down(suspicious, now);
        let mut outcomes = Vec::new();
        for (key, Flight { row, alone }) in std::mem::take(&mut self.in_flight) {
            let finding = match suspicious {
                true => self.suspects.broke(&row, alone),
                false if alone => Suspicion::Suspect,
                false => Suspicion::Innocent,
            };
            match finding {
                Suspicion::Proven => outcomes.push(self.set_aside(key, BREAKS_THE_LINK)),
                Suspicion::Suspect => {
                    self.refusals.forget(key);
                    self.suspects.add(row);
                }
                Suspicion::Innocent => {}
            }
        }
        outcomes
    }

    /// One row was not acknowledged although later ones were, and the link was given up for it.
    pub(super) fn ignored(&mut self, key: Key, now: Instant) -> Vec<Outcome> {
        self.in_flight.retain(|other, _| *other == key);
        self.link_down(true, now)
    }

    /// The journal's newest row.
    pub(super) fn newest(&mut self, newest: Key) {
        self.queues.newest(newest);
    }

    /// What to read next; live rows first.
    pub(super) fn want(&self, now: Instant) -> Option<Want> {
        if self.refusals.len() + self.suspects.len() >= WAITING {
            return None;
        }
        self.queues.want(match self.next_probe {
            None => CHUNK,
            Some(at) if at <= now && !self.queues.has(Queue::Backlog) => 1,
            Some(_) => 0,
        })
    }

    /// The rows that were read for `want`.
    pub(super) fn read(&mut self, want: Want, page: Page) {
        for row in self.queues.read(want, page) {
            if self.is_under_way(row.key) {
                continue;
            }
            if self.suspects.has_broken_links(row.key) {
                self.suspects.add(row);
            } else if !self.refusals.read_again(&row) {
                self.queues.push(want.queue, row);
            }
        }
    }

    /// Older rows wait again: the backlog is read from its beginning.
    pub(super) fn start_over(&mut self) {
        self.queues.start_over();
    }

    /// The next row to send, which is in flight from now on. `others`: messages in flight that are no rows.
    pub(super) fn next(
        &mut self,
        others: usize,
        pace: &mut Pace,
        now: Instant,
    ) -> Option<(&Row, Queue)> {
        if self.must_be_alone() {
            return None;
        }
        let idle = self.in_flight.is_empty() && others == 0;
        let alone = self.waits_to_be_alone(now);
        let (row, queue) = match self.busy.until {
            // One row tries whether the broker takes messages again.
            Some(until) if now < until || !self.in_flight.is_empty() => return None,
            _ if alone && idle => (self.suspects.take_next()?, Queue::Backlog),
            _ if alone => return None,
            _ => self.pick(pace, now)?,
        };
        let key = row.key;
        let flight = self.in_flight.entry(key).or_insert(Flight { row, alone });
        Some((&flight.row, queue))
    }

    /// Is a row in flight that nothing may accompany?
    pub(super) fn must_be_alone(&self) -> bool {
        self.in_flight.values().any(|flight| flight.alone)
    }

    /// Does a row wait until nothing else is in flight?
    pub(super) fn waits_to_be_alone(&self, now: Instant) -> bool {
        self.suspects.due_at().is_some_and(|due| due <= now)
    }

    /// Do live rows wait?
    pub(super) fn has_live(&self) -> bool {
        self.queues.has(Queue::Live)
    }

    /// Rows in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Does the broker say that nobody listens?
    pub(super) fn nobody_listens(&self) -> bool {
        self.next_probe.is_some()
    }

    /// Which topic (0: scan, 1: change) is refused as a whole?
    pub(super) fn refused_topic(&self) -> Option<usize> {
        self.refusals.closed_topic()
    }

    /// A row is larger than the broker takes.
    pub(super) fn too_large(&mut self, key: Key) -> Outcome {
        self.in_flight.remove(&key);
        self.set_aside(key, "packet_too_large")
    }

    /// The broker answered for a row.
    pub(super) fn acked(&mut self, key: Key, ack: Ack, now: Instant) -> Option<Outcome> {
        let row = self.in_flight.remove(&key)?.row;
        match ack {
            Ack::Unheard if self.no_subscriber == NoSubscriber::Keep => {
                self.forget(key);
                self.queues.skip(key);
                self.next_probe.get_or_insert(now + self.probe);
                self.queues.rewind(true);
                None
            }
            Ack::Taken | Ack::Unheard => {
                self.forget(key);
                self.accepted(key, row.topic());
                Some(Outcome::Delivered(key))
            }
            Ack::Busy => {
                self.busy.until = Some(now + self.busy.backoff.next());
                self.refusals.wait(row, now);
                None
            }
            Ack::Refused(why) => {
                let once_more = self.suspects.was_set_aside(key);
                match self.refusals.refused(row, once_more, now) {
                    Follows::Waits => None,
                    Follows::Skipped => {
                        self.queues.skip(key);
                        None
                    }
                    Follows::SetAside => Some(self.set_aside(key, why)),
                }
            }
        }
    }

    /// The next moment at which something that waits may go on.
    /// What is blocked by anything else than time goes on with the acknowledgement or the read that it waits for.
    pub(super) fn wake_at(&self, pace: &Pace, now: Instant) -> Option<Instant> {
        let pace = self.queues.has(Queue::Backlog).then(|| pace.ready_at());
        self.refusals
            .tries()
            .chain(self.suspects.due_at())
            .chain(pace)
            .chain(self.next_probe)
            .chain(self.busy.until)
            .filter(|at| *at > now)
            .min()
    }

    /// The next row among those that are above suspicion.
    fn pick(&mut self, pace: &mut Pace, now: Instant) -> Option<(Row, Queue)> {
        if let Some(row) = self.pop(Queue::Live, now) {
            return Some((row, Queue::Live));
        }
        let free = |row: &Row| !self.in_flight.contains_key(&row.key) && self.may_leave(row, now);
        if let Some(row) = self.refusals.due(now, free) {
            return Some((row, Queue::Backlog));
        }
        if let Some(at) = self.next_probe {
            // One probe at a time: the oldest row that nobody heard.
            if now < at || !self.in_flight.is_empty() {
                return None;
            }
            let row = self.pop(Queue::Backlog, now)?;
            self.next_probe = Some(now + self.probe);
            return Some((row, Queue::Backlog));
        }
        if !pace.ready(now) {
            return None;
        }
        let row = self.pop(Queue::Backlog, now)?;
        pace.take(now);
        Some((row, Queue::Backlog))
    }

    /// The queue's next row that may leave; rows of a refused topic are skipped.
    fn pop(&mut self, queue: Queue, now: Instant) -> Option<Row> {
        while let Some(row) = self.queues.pop(queue) {
            if self.may_leave(&row, now) {
                return Some(row);
            }
            self.queues.skip(row.key);
        }
        None
    }

    fn may_leave(&self, row: &Row, now: Instant) -> bool {
        let topic = row.topic();
        let mut in_flight = self.in_flight.values();
        let tried = in_flight.any(|flight| flight.row.topic() == topic);
        self.refusals.is_open(topic, tried, now)
    }

    fn accepted(&mut self, key: Key, topic: usize) {
        self.busy.until = None;
        self.busy.backoff.reset();
        self.suspects.accepted(key, topic);
        let was_closed = self.refusals.accepted(topic);
        if self.next_probe.take().is_some() || was_closed {
            self.queues.rewind(false);
        }
    }

    fn set_aside(&mut self, key: Key, why: &'static str) -> Outcome {
        self.forget(key);
        self.suspects.set_aside(key, why);
        Outcome::Aside(key, why)
    }

    fn forget(&mut self, key: Key) {
        self.refusals.forget(key);
        self.suspects.forget(key);
    }

    fn is_under_way(&self, key: Key) -> bool {
        self.in_flight.contains_key(&key) || self.suspects.has(key) || self.queues.contains(key)
    }
}

#[cfg(test)]
mod tests;
