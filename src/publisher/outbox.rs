//! Which record leaves next, and what becomes of it: lanes, refusals, suspects, rows set aside. Pure: the time is handed in.
//!
//! The journal is the store. What stands here is only which rows of it are under way, and why some wait; all of it may be
//! forgotten at any moment, and the worst that follows is a repeat.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    NoSubscriber, Timing,
    message::Lane,
    pacing::{Backoff, Pace},
    suspects::{Finding, Suspects},
};
use crate::record::Recorded;

/// A row's place in the order of delivery, over all epochs.
pub(super) type Key = u64;

/// Rows read from the journal at once, for each lane.
pub(super) const CHUNK: usize = 256;

/// Refusals of one row, among rows that are accepted, before it is set aside.
const REFUSALS: u32 = 10;
/// Rows that wait for their own next try, or to be alone. More of them than this are left in the journal until the oldest are settled.
const WAITING: usize = 256;
/// So many different rows refused one after the other: it is the topic, not the rows.
const TOPIC: usize = 3;
/// Rows set aside that are remembered as such.
const KNOWN: usize = 1_024;
/// After this time the journal has marked a row, or will not before the next start.
const MARKED: Duration = Duration::from_secs(30);
/// Why a row that breaks links is set aside.
const BREAKS_THE_LINK: &str = "breaks_the_link";
/// Refused rows of a topic that takes nothing: enough to try different ones.
const TRIED: usize = 8;

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

/// How long things take; see [`super::Timing`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Delays {
    pub(super) row_first: Duration,
    pub(super) row_most: Duration,
    pub(super) probe: Duration,
    pub(super) stable: Duration,
}

impl Delays {
    pub(super) const fn of(timing: &Timing) -> Self {
        Self {
            row_first: timing.backoff_first,
            row_most: timing.backoff_most,
            probe: timing.probe,
            stable: timing.stable,
        }
    }
}

/// What must be told to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Delivered.
    Sent(Key),
    /// Put aside: the broker will not take it.
    Aside(Key, &'static str),
}

impl Settled {
    /// The row.
    pub(super) const fn key(self) -> Key {
        match self {
            Self::Sent(key) | Self::Aside(key, _) => key,
        }
    }
}

#[derive(Debug)]
struct Flight {
    row: Row,
    manner: Manner,
}

/// How a row is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Ordinary,
    /// Nothing else is in flight: it broke the link before.
    Alone,
}

/// A row with a history.
#[derive(Debug)]
struct Trouble {
    row: Row,
    refusals: u32,
    not_before: Instant,
    backoff: Backoff,
}

/// What is known of one of the two topics.
#[derive(Debug)]
struct Topic {
    accepted: u64,
    /// Different rows refused since the last one that was accepted; [`TOPIC`] at most.
    refused_since: BTreeSet<Key>,
    /// The whole topic is refused.
    closed: bool,
    next_trial: Instant,
    backoff: Backoff,
}

/// One lane's reading of the journal.
#[derive(Debug, Default)]
struct Reading {
    queue: VecDeque<Row>,
    after: Key,
    /// The last read brought less than asked for.
    at_end: bool,
}

/// What to read from the journal next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) lane: Lane,
    pub(super) after: Key,
    pub(super) limit: usize,
    /// The newest row when it was asked for: a newer one may have come too late for that reading.
    newest: Key,
    /// Answers to older wants are dropped.
    pub(super) turn: u64,
}

/// The publisher's side of the outbox.
#[derive(Debug)]
pub(super) struct Outbox {
    delays: Delays,
    no_subscriber: NoSubscriber,
    newest: Key,
    live: Reading,
    replay: Reading,
    replay_until: Key,
    turn: u64,
    in_flight: BTreeMap<Key, Flight>,
    waiting: BTreeMap<Key, Trouble>,
    suspects: Suspects,
    /// Rows that were set aside before, and why: one more fault, and they are set aside again.
    known: BTreeMap<Key, &'static str>,
    /// Settled rows that the journal may still name as unsent, oldest first.
    settled: BTreeSet<Key>,
    settled_at: VecDeque<(Instant, Key)>,
    /// The oldest row that a lane went past without delivering it.
    left_behind: Option<Key>,
    topics: [Topic; 2],
    nobody_listens: bool,
    next_probe: Instant,
    busy: Option<Instant>,
    busy_backoff: Backoff,
}

impl Outbox {
    pub(super) fn new(delays: Delays, no_subscriber: NoSubscriber, now: Instant) -> Self {
        let backoff = Backoff::new(delays.row_first, delays.row_most);
        let topic = || Topic {
            accepted: 0,
            refused_since: BTreeSet::new(),
            closed: false,
            next_trial: now,
            backoff,
        };
        Self {
            delays,
            no_subscriber,
            newest: 0,
            live: Reading {
                at_end: true,
                ..Reading::default()
            },
            replay: Reading::default(),
            replay_until: 0,
            turn: 0,
            in_flight: BTreeMap::new(),
            waiting: BTreeMap::new(),
            suspects: Suspects::new(delays.row_first, delays.stable, now),
            known: BTreeMap::new(),
            settled: BTreeSet::new(),
            settled_at: VecDeque::new(),
            left_behind: None,
            topics: [topic(), topic()],
            nobody_listens: false,
            next_probe: now,
            busy: None,
            busy_backoff: backoff,
        }
    }

    /// A link is up: everything until `newest` is backlog, everything after it is live.
    pub(super) fn link_up(&mut self, newest: Key, now: Instant) {
        self.newest = newest;
        self.live = Reading {
            after: newest,
            at_end: true,
            ..Reading::default()
        };
        self.replay = Reading::default();
        self.replay_until = newest;
        self.turn += 1;
        self.left_behind = None;
        self.next_probe = now;
        self.suspects.link_up(now);
        self.busy = None;
        for topic in &mut self.topics {
            topic.next_trial = now;
        }
    }

    /// The link is down. `guilty`: what was in flight may be why.
    pub(super) fn link_down(&mut self, guilty: bool, now: Instant) -> Vec<Settled> {
        self.suspects.link_down(guilty, now);
        let mut settled = Vec::new();
        for (key, Flight { row, manner }) in std::mem::take(&mut self.in_flight) {
            let alone = manner == Manner::Alone;
            let finding = match guilty {
                true if alone && self.known.contains_key(&key) => Finding::Proven,
                true => self.suspects.broke(&row, alone),
                false if alone => Finding::Suspect,
                false => Finding::Innocent,
            };
            match finding {
                Finding::Proven => settled.push(self.set_aside(key, BREAKS_THE_LINK, now)),
                Finding::Suspect => {
                    self.waiting.remove(&key);
                    self.suspects.add(row);
                }
                Finding::Innocent => {}
            }
        }
        settled
    }

    /// One row was not acknowledged although later ones were, and the link was given up for it.
    pub(super) fn ignored(&mut self, key: Key, now: Instant) -> Vec<Settled> {
        self.in_flight.retain(|other, _| *other == key);
        self.link_down(true, now)
    }

    /// The journal's newest row.
    pub(super) fn newest(&mut self, newest: Key) {
        if newest > self.newest {
            self.newest = newest;
            self.live.at_end = false;
        }
    }

    /// What to read next; live rows first.
    pub(super) fn want(&self, now: Instant) -> Option<Want> {
        let hungry = |reading: &Reading| !reading.at_end && reading.queue.len() < CHUNK / 2;
        if self.waiting.len() + self.suspects.len() >= WAITING {
            return None;
        }
        if hungry(&self.live) {
            return Some(Want {
                lane: Lane::Live,
                after: self.live.after,
                limit: CHUNK,
                newest: self.newest,
                turn: self.turn,
            });
        }
        let limit = match self.nobody_listens {
            true if self.next_probe <= now && self.replay.queue.is_empty() => 1,
            true => return None,
            false => CHUNK,
        };
        hungry(&self.replay).then_some(Want {
            lane: Lane::Replay,
            after: self.replay.after,
            limit,
            newest: self.newest,
            turn: self.turn,
        })
    }

    /// Rows that were read for `want`, in the order of their keys, and whether there may be more.
    pub(super) fn read(&mut self, want: Want, rows: Vec<Row>, more: bool) {
        if want.turn != self.turn {
            return;
        }
        let until = if want.lane == Lane::Live {
            Key::MAX
        } else {
            self.replay_until
        };
        let mut at_end = !more && (want.lane == Lane::Replay || want.newest == self.newest);
        let mut after = want.after;
        for row in rows {
            if row.key > until {
                at_end = true;
                break;
            }
            after = row.key;
            if self.known.get(&row.key) == Some(&BREAKS_THE_LINK) && !self.is_under_way(row.key) {
                self.suspects.add(row);
            } else if let Some(trouble) = self.waiting.get_mut(&row.key) {
                trouble.row = row;
            } else if !self.is_under_way(row.key) {
                self.reading(want.lane).queue.push_back(row);
            }
        }
        let reading = self.reading(want.lane);
        reading.after = reading.after.max(after);
        reading.at_end = at_end;
    }

    /// Older rows are in the outbox again: the backlog is read from its beginning.
    pub(super) fn start_over(&mut self) {
        for key in self.known.keys() {
            self.settled.remove(key);
        }
        self.replay_from(0);
    }

    /// The next row to send, which is in flight from now on. `others`: messages in flight that are no rows.
    pub(super) fn next(
        &mut self,
        others: usize,
        pace: &mut Pace,
        now: Instant,
    ) -> Option<(&Row, Lane)> {
        let (row, lane, manner) = self.pick(others, pace, now)?;
        let key = row.key;
        let flight = self.in_flight.entry(key).or_insert(Flight { row, manner });
        Some((&flight.row, lane))
    }

    /// Is a row in flight that nothing may accompany?
    pub(super) fn must_be_alone(&self) -> bool {
        self.in_flight
            .values()
            .any(|flight| flight.manner == Manner::Alone)
    }

    /// Does a row wait until nothing else is in flight?
    pub(super) fn waits_to_be_alone(&self, now: Instant) -> bool {
        self.suspects.due_at().is_some_and(|due| due <= now)
    }

    /// Do live rows wait?
    pub(super) fn has_live(&self) -> bool {
        !self.live.queue.is_empty()
    }

    /// Rows in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Does the broker say that nobody listens?
    pub(super) fn nobody_listens(&self) -> bool {
        self.nobody_listens
    }

    /// Which topic (0: scan, 1: change) is refused as a whole?
    pub(super) fn refused_topic(&self) -> Option<usize> {
        self.topics.iter().position(|topic| topic.closed)
    }

    /// A row is larger than the broker takes.
    pub(super) fn too_large(&mut self, key: Key, now: Instant) -> Settled {
        self.in_flight.remove(&key);
        self.set_aside(key, "packet_too_large", now)
    }

    /// The broker answered for a row.
    pub(super) fn acked(&mut self, key: Key, ack: Ack, now: Instant) -> Option<Settled> {
        let flight = self.in_flight.remove(&key)?;
        let ack = if ack == Ack::Unheard && self.no_subscriber == NoSubscriber::Accept {
            Ack::Taken
        } else {
            ack
        };
        let topic = flight.row.topic();
        match ack {
            Ack::Taken => {
                self.forget(key);
                self.known.remove(&key);
                self.settle(key, now);
                self.busy = None;
                self.busy_backoff.reset();
                self.accepted(topic);
                return Some(Settled::Sent(key));
            }
            Ack::Unheard => {
                self.forget(key);
                self.leave_behind(key);
                if !self.nobody_listens {
                    self.nobody_listens = true;
                    self.next_probe = now + self.delays.probe;
                }
                self.rewind();
            }
            Ack::Busy => {
                self.busy = Some(now + self.busy_backoff.next());
                self.wait(flight.row, now);
            }
            Ack::Refused(why) => return self.refused(flight.row, why, now),
        }
        None
    }

    /// The next moment at which something that waits may go on.
    /// What is blocked by anything else than time goes on with the acknowledgement or the read that it waits for.
    pub(super) fn wake_at(&self, pace: &Pace, now: Instant) -> Option<Instant> {
        let trials = self
            .topics
            .iter()
            .filter(|topic| topic.closed)
            .map(|topic| topic.next_trial);
        let waiting = self.waiting.values().map(|trouble| trouble.not_before);
        let pace = (!self.replay.queue.is_empty()).then(|| pace.ready_at());
        let probe = self.nobody_listens.then_some(self.next_probe);
        trials
            .chain(waiting)
            .chain(self.suspects.due_at())
            .chain(pace)
            .chain(probe)
            .chain(self.busy)
            .filter(|at| *at > now)
            .min()
    }

    fn pick(
        &mut self,
        others: usize,
        pace: &mut Pace,
        now: Instant,
    ) -> Option<(Row, Lane, Manner)> {
        if self.must_be_alone() {
            return None;
        }
        if let Some(until) = self.busy {
            // One row tries whether the broker takes messages again.
            if now < until || !self.in_flight.is_empty() {
                return None;
            }
        }
        let idle = self.in_flight.is_empty() && others == 0;
        if self.waits_to_be_alone(now) {
            return idle
                .then(|| self.suspects.take_next())
                .flatten()
                .map(|row| (row, Lane::Replay, Manner::Alone));
        }
        if let Some(row) = self.pop(Lane::Live, now) {
            return Some((row, Lane::Live, Manner::Ordinary));
        }
        if let Some(row) = self.due(now) {
            return Some((row, Lane::Replay, Manner::Ordinary));
        }
        if self.nobody_listens {
            // One probe at a time: the oldest row that nobody heard.
            if now < self.next_probe || !self.in_flight.is_empty() {
                return None;
            }
            let row = self.pop(Lane::Replay, now)?;
            self.next_probe = now + self.delays.probe;
            return Some((row, Lane::Replay, Manner::Ordinary));
        }
        if !self.replay.queue.is_empty() {
            if !pace.ready(now) {
                return None;
            }
            if let Some(row) = self.pop(Lane::Replay, now) {
                pace.take(now);
                return Some((row, Lane::Replay, Manner::Ordinary));
            }
        }
        None
    }

    /// The lane's next row that may leave; rows of a refused topic are left behind.
    fn pop(&mut self, lane: Lane, now: Instant) -> Option<Row> {
        while let Some(row) = self.reading(lane).queue.pop_front() {
            if self.may_leave(&row, now) {
                return Some(row);
            }
            self.leave_behind(row.key);
        }
        None
    }

    /// The oldest refused row whose own time has come.
    fn due(&self, now: Instant) -> Option<Row> {
        let due = |trouble: &&Trouble| {
            trouble.not_before <= now
                && !self.in_flight.contains_key(&trouble.row.key)
                && self.may_leave(&trouble.row, now)
        };
        self.waiting
            .values()
            .find(due)
            .map(|trouble| trouble.row.clone())
    }

    /// Of a topic that takes nothing, one row at a time is tried.
    fn may_leave(&self, row: &Row, now: Instant) -> bool {
        let topic = self.topic(row);
        !topic.closed
            || (topic.next_trial <= now
                && !self
                    .in_flight
                    .values()
                    .any(|flight| flight.row.topic() == row.topic()))
    }

    fn refused(&mut self, row: Row, why: &'static str, now: Instant) -> Option<Settled> {
        let key = row.key;
        let topic = self.topics.get_mut(row.topic())?;
        topic.refused_since.insert(key);
        if topic.closed || topic.accepted == 0 || topic.refused_since.len() >= TOPIC {
            topic.refused_since.clear();
            topic.closed = true;
            topic.next_trial = now + topic.backoff.next();
            let tried = self
                .waiting
                .values()
                .filter(|trouble| trouble.row.topic() == row.topic())
                .count();
            if self.waiting.contains_key(&key) || tried < TRIED {
                self.wait(row, now);
            } else {
                self.leave_behind(key);
            }
            return None;
        }
        self.wait(row, now);
        let trouble = self.waiting.get_mut(&key)?;
        trouble.refusals += 1;
        if trouble.refusals < REFUSALS && !self.known.contains_key(&key) {
            return None;
        }
        Some(self.set_aside(key, why, now))
    }

    fn accepted(&mut self, index: usize) {
        self.suspects.accepted(index);
        let mut go_back = std::mem::take(&mut self.nobody_listens);
        if let Some(topic) = self.topics.get_mut(index) {
            topic.accepted += 1;
            topic.refused_since.clear();
            topic.backoff.reset();
            go_back |= std::mem::take(&mut topic.closed);
        }
        if go_back {
            self.rewind();
        }
    }

    /// Reads again from the oldest row that was left behind.
    fn rewind(&mut self) {
        let Some(oldest) = self.left_behind else {
            return;
        };
        if !self.nobody_listens {
            self.left_behind = None;
        }
        // Rows that were read and did not leave yet go back too.
        let read = self.replay.queue.front().map_or(oldest, |row| row.key);
        self.replay_from(self.replay.after.min(oldest.min(read).saturating_sub(1)));
    }

    fn replay_from(&mut self, after: Key) {
        self.replay = Reading {
            after,
            ..Reading::default()
        };
        self.replay_until = self.replay_until.max(self.live.after);
        self.turn += 1;
    }

    fn wait(&mut self, row: Row, now: Instant) {
        let backoff = Backoff::new(self.delays.row_first, self.delays.row_most);
        let key = row.key;
        let trouble = self.waiting.entry(key).or_insert(Trouble {
            row,
            refusals: 0,
            not_before: now,
            backoff,
        });
        trouble.not_before = now + trouble.backoff.next();
    }

    fn set_aside(&mut self, key: Key, why: &'static str, now: Instant) -> Settled {
        self.forget(key);
        self.known.insert(key, why);
        if self.known.len() > KNOWN {
            self.known.pop_first();
        }
        self.settle(key, now);
        Settled::Aside(key, why)
    }

    /// The journal marks it within the second. Until then a reading may still bring the row.
    fn settle(&mut self, key: Key, now: Instant) {
        self.settled.insert(key);
        self.settled_at.push_back((now, key));
        while let Some((at, key)) = self.settled_at.front().copied() {
            if now.saturating_duration_since(at) < MARKED {
                break;
            }
            self.settled_at.pop_front();
            self.settled.remove(&key);
        }
    }

    fn leave_behind(&mut self, key: Key) {
        self.left_behind = Some(self.left_behind.map_or(key, |oldest| oldest.min(key)));
    }

    fn forget(&mut self, key: Key) {
        self.waiting.remove(&key);
        self.suspects.forget(key);
    }

    fn is_under_way(&self, key: Key) -> bool {
        self.in_flight.contains_key(&key)
            || self.suspects.has(key)
            || self.settled.contains(&key)
            || self
                .live
                .queue
                .iter()
                .chain(&self.replay.queue)
                .any(|row| row.key == key)
    }

    fn reading(&mut self, lane: Lane) -> &mut Reading {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Replay => &mut self.replay,
        }
    }

    fn topic(&self, row: &Row) -> &Topic {
        let [scan, change] = &self.topics;
        if row.topic() == 0 { scan } else { change }
    }
}

#[cfg(test)]
mod tests;
