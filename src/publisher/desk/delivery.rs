//! The journal's rows on their way to the broker: each until its own PUBACK. Pure: the time is handed in.

use tokio::time::Instant;

use super::event_message;
use crate::publisher::{
    NoSubscriber, Timing,
    message::{Queue, Speaker},
    outbox::{Ack, Key, Outbox, Outcome, Page, Want},
    pacing::Pace,
    session::{FaultKind, Message},
};

pub(in crate::publisher) struct Delivery {
    speaker: Speaker,
    outbox: Outbox,
    /// The backlog's budget; a backfill keeps to it, too.
    pub(super) pace: Pace,
    /// A row of the backlog was the last that left: it is a backfill's turn.
    pub(super) replayed: bool,
    aside: AsideOffers,
}

/// When rows set aside are offered again.
struct AsideOffers {
    at: Instant,
    /// They were, once since the start.
    once: bool,
}

impl Delivery {
    pub(in crate::publisher) fn new(
        speaker: Speaker,
        timing: &Timing,
        no_subscriber: NoSubscriber,
        replay_per_second: u32,
        now: Instant,
    ) -> Self {
        Self {
            speaker,
            outbox: Outbox::new(timing, no_subscriber, now),
            pace: Pace::new(replay_per_second, now),
            replayed: false,
            aside: AsideOffers {
                at: now,
                once: false,
            },
        }
    }

    /// A link is up: everything until `newest` is backlog, everything after it is live.
    pub(in crate::publisher) fn link_up(&mut self, newest: Key, now: Instant) {
        self.outbox.link_up(newest, now);
    }

    /// The link is down. `ignored`: the row that the broker did not answer for. `born`: the link was good before.
    pub(in crate::publisher) fn link_down(
        &mut self,
        kind: FaultKind,
        ignored: Option<Key>,
        born: bool,
        now: Instant,
    ) -> Vec<Outcome> {
        match (kind, ignored) {
            (FaultKind::Ignored(_), Some(key)) => self.outbox.ignored(key, now),
            // Before the birth was answered, the link itself was no good.
            (FaultKind::Broke, _) => self.outbox.link_down(born, now),
            (FaultKind::Ignored(_) | FaultKind::Away | FaultKind::TakenOver, _) => {
                self.outbox.link_down(false, now)
            }
        }
    }

    /// The journal's newest row.
    pub(super) fn newest(&mut self, newest: Key) {
        self.outbox.newest(newest);
    }

    /// Older rows wait again.
    pub(super) fn start_over(&mut self) {
        self.outbox.start_over();
    }

    /// What to read from the journal next.
    pub(in crate::publisher) fn want(&self, now: Instant) -> Option<Want> {
        self.outbox.want(now)
    }

    pub(in crate::publisher) fn read(&mut self, want: Want, page: Page) {
        self.outbox.read(want, page);
    }

    /// The next row as a message. `in_flight`: messages in flight, rows or not; `takes`: does the broker take one of that size?
    ///
    /// # Errors
    /// The broker does not; the row is set aside.
    pub(in crate::publisher) fn next(
        &mut self,
        in_flight: usize,
        takes: impl Fn(&Message) -> bool,
        now: Instant,
    ) -> Option<Result<Leaving, Outcome>> {
        let others = in_flight.saturating_sub(self.outbox.in_flight());
        let (row, queue) = self.outbox.next(others, &mut self.pace, now)?;
        let (key, is_scan) = (row.key, row.topic() == 0);
        let message = event_message(&self.speaker, &row.recorded, queue);
        if !takes(&message) {
            return Some(Err(self.outbox.too_large(key)));
        }
        self.replayed = queue == Queue::Backlog;
        Some(Ok(Leaving {
            key,
            live_scan: queue == Queue::Live && is_scan,
            message,
        }))
    }

    /// The broker answered for a row.
    pub(in crate::publisher) fn acked(
        &mut self,
        key: Key,
        ack: Ack,
        now: Instant,
    ) -> Option<Outcome> {
        self.outbox.acked(key, ack, now)
    }

    /// Must rows set aside be offered again now? At the start, and later on a link that has proved stable.
    pub(super) fn offers_aside(&mut self, timing: &Timing, since: Instant, now: Instant) -> bool {
        let due = self.aside_due(timing, since) <= now;
        if due {
            self.aside = AsideOffers {
                at: now + timing.rows.aside,
                once: true,
            };
        }
        due
    }

    pub(super) fn aside_due(&self, timing: &Timing, since: Instant) -> Instant {
        if self.aside.once {
            self.aside.at.max(since + timing.reconnect.stable)
        } else {
            self.aside.at
        }
    }

    /// Do live rows wait?
    pub(super) fn has_live(&self) -> bool {
        self.outbox.has_live()
    }

    /// Is a row in flight that nothing may accompany?
    pub(super) fn must_be_alone(&self) -> bool {
        self.outbox.must_be_alone()
    }

    /// Does a row wait until nothing else is in flight?
    pub(super) fn waits_to_be_alone(&self, now: Instant) -> bool {
        self.outbox.waits_to_be_alone(now)
    }

    pub(super) fn nobody_listens(&self) -> bool {
        self.outbox.nobody_listens()
    }

    /// The topic that is refused as a whole.
    pub(super) fn refused_topic(&self) -> Option<&str> {
        let topics = self.speaker.topics();
        self.outbox.refused_topic().map(|topic| match topic {
            0 => topics.scan.as_str(),
            _ => topics.change.as_str(),
        })
    }

    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.outbox.wake_at(&self.pace, now)
    }
}

/// A row that leaves.
pub(in crate::publisher) struct Leaving {
    pub(in crate::publisher) key: Key,
    /// It is a scan that is sent for the first time: the news of `P/last`.
    pub(super) live_scan: bool,
    pub(in crate::publisher) message: Message,
}
