//! One link's work, done by one task.
//!
//! `presence` is what the station says of itself, `delivery` the journal's rows, `backfills` the commands. These three decide what is
//! sent next and what an answer means; this file does it.

mod backfills;
mod delivery;
mod discovery;
mod link;
mod presence;

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::{
    Inputs, LinkState, Settings, State, Timing,
    command::Reply,
    message::{Queue, Speaker, Topics},
    outbox::{Ack, Outcome},
    reading::{Found, JournalReading, NewRow, NewRows, Question},
    retained::Retained,
    session::{Arrival, Fault, Message, Session, SessionEvent},
    stopped,
};
use crate::{
    journal::Journal,
    record::{Record, Recorded},
    runtime::{
        machine,
        pulse::{self, Pulse},
    },
    station::unrecorded::Unrecorded,
};
use backfills::Backfills;
pub(super) use delivery::Delivery;
use discovery::Discovery;
use link::{InFlight, Link};
use presence::{Facts, Presence};

/// How a link ended.
pub(super) enum End {
    /// The station stops.
    Stopped,
    /// The link is gone, and how long it had been up.
    Gone(Fault, Duration),
}

/// What outlives a link.
pub(super) struct Desk {
    timing: Timing,
    journal: Journal,
    reading: JournalReading,
    new_rows: NewRows,
    /// Records that could not be written to the journal.
    unrecorded: Unrecorded,
    stop: watch::Receiver<bool>,
    pulse: Pulse,
    state: watch::Sender<State>,
    speaker: Speaker,
    presence: Presence,
    delivery: Delivery,
    /// `None`: commands are not answered.
    backfills: Option<Backfills>,
    retained: Retained,
}

impl Desk {
    pub(super) fn new(
        settings: &Settings,
        inputs: Inputs,
        state: watch::Sender<State>,
        timing: Timing,
    ) -> Self {
        let now = Instant::now();
        let speaker = Speaker::new(settings);
        let topics = || Topics::new(settings);
        let epoch = inputs.journal.epoch();
        Self {
            presence: Presence::new(
                topics(),
                timing,
                inputs.meta,
                inputs.health,
                epoch,
                Discovery::new(settings, machine::pi_model()),
            ),
            delivery: Delivery::new(
                speaker.clone(),
                &timing,
                settings.no_subscriber,
                settings.replay_per_second,
                now,
            ),
            backfills: settings
                .commands
                .then(|| Backfills::new(topics(), settings.no_subscriber)),
            retained: Retained::new(timing.kept, now),
            reading: JournalReading::new(inputs.journal.clone()),
            new_rows: NewRows::new(&inputs.journal),
            journal: inputs.journal,
            unrecorded: inputs.unrecorded,
            stop: inputs.stop,
            pulse: inputs.pulse,
            state,
            speaker,
            timing,
        }
    }

    /// Works on one link until it is gone or the station stops.
    pub(super) async fn serve(&mut self, session: Session) -> End {
        let mut link = self.link_up(session);
        let mut stop = self.stop.clone();
        loop {
            let now = Instant::now();
            self.pulse.beat();
            self.look(&mut link, now);
            self.ask(&link, now);
            self.fill(&mut link, now);
            self.tell(&link);
            let room = link.born
                && link.session.has_room()
                && !self.delivery.must_be_alone()
                && !self.delivery.waits_to_be_alone(now);
            let wake = self.wake_at(&link, now).min(pulse::next());
            tokio::select! {
                event = link.session.next() => if let Some(fault) = self.happened(&mut link, event) {
                    return End::Gone(fault, link.since.elapsed());
                },
                // Its rows may have other numbers now.
                () = self.retained.reported(), if self.retained.is_reporting() => self.delivery.link_up(self.new_rows.newest(), Instant::now()),
                found = self.reading.found(), if self.reading.is_answering() => self.found(found),
                new = self.new_rows.next() => match new {
                    NewRow::Newest(newest) => self.delivery.newest(newest),
                    NewRow::Older => self.delivery.start_over(),
                },
                () = self.presence.health_changed() => {}
                record = self.unrecorded.next(), if room => self.unrecorded(&mut link, &record),
                () = tokio::time::sleep_until(wake) => {}
                () = stopped(&mut stop) => {
                    self.say_goodbye(link).await;
                    return End::Stopped;
                }
            }
        }
    }

    fn link_up(&mut self, session: Session) -> Link {
        let now = Instant::now();
        let mut link = Link::new(session, now);
        let topics = self.speaker.topics();
        self.presence.link_up(now);
        self.delivery.link_up(self.new_rows.link_up(), now);
        link.session.subscribe(&topics.availability);
        link.hears_health = self.retained.link_up(&self.journal, now);
        if self.presence.is_introduced() || link.hears_health {
            link.session.subscribe_retained(&topics.meta);
        }
        if link.hears_health {
            link.session.subscribe_retained(&topics.health);
        }
        if self.backfills.is_some() {
            link.session.subscribe(&topics.backfill);
        }
        link
    }

    /// Looks at what may have changed without an event of this link.
    fn look(&mut self, link: &mut Link, now: Instant) {
        self.presence.look(&self.facts(), now);
        self.retained.step(&self.journal, now);
        let compared = !self.journal.epoch().is_nil() && !self.journal.awaits_comparison();
        if link.hears_health && compared {
            link.hears_health = false;
            link.session.unsubscribe(&self.speaker.topics().health);
        }
        let waits = self.retained.state_waits_until(&self.journal);
        if waits.is_none_or(|until| until <= now)
            && let Some(discovery) = &mut self.presence.discovery
            && !std::mem::replace(&mut link.hears_home_assistant, true)
        {
            // Only now: a broker that refuses it must not end the wait for this station's own health.
            link.session.subscribe(&discovery.status);
            if discovery.link_up(now) {
                link.session.subscribe_retained(&discovery.topic);
            }
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            epoch: self.journal.epoch(),
            nobody_listens: self.delivery.nobody_listens(),
            refused_topic: self.delivery.refused_topic().map(str::to_owned),
        }
    }

    /// Asks the journal for what is to be sent next.
    fn ask(&mut self, link: &Link, now: Instant) {
        if self.delivery.offers_aside(&self.timing, link.since, now) {
            let journal = self.journal.clone();
            tokio::spawn(async move { journal.release_set_aside().await });
        }
        if !self.reading.is_free(now) || self.retained.holds_rows(&self.journal) {
            return;
        }
        if let Some(want) = self.delivery.want(now) {
            self.reading.ask(Question::Unsent(want));
        } else if let Some((epoch, from, to)) = self
            .backfills
            .as_mut()
            .and_then(|backfills| backfills.wanted(now))
        {
            self.reading.ask(Question::Range { epoch, from, to });
        }
    }

    fn found(&mut self, found: Option<Found>) {
        match (found, &mut self.backfills) {
            (Some(Found::Unsent(want, page)), _) => self.delivery.read(want, page),
            (Some(Found::Range(records, rest)), Some(backfills)) => backfills.read(records, rest),
            (Some(Found::Range(..)), None) | (None, _) => {}
        }
    }

    /// Sends as long as there is room and something to say, the most urgent first.
    fn fill(&mut self, link: &mut Link, now: Instant) {
        while link.session.has_room() && !self.delivery.must_be_alone() {
            if self.delivery.waits_to_be_alone(now) && link.session.in_flight() > 0 && link.born {
                return;
            }
            let Some((sent, message)) = self.next(link, now) else {
                return;
            };
            if link.session.takes(&message) {
                if !link.publish(sent, message) {
                    return;
                }
            } else if sent == InFlight::Discovery {
                tracing::warn!(
                    "the broker does not take the message for Home Assistant: it is too large"
                );
            } else if let (InFlight::Backfill(seq), Some(backfills)) = (sent, &mut self.backfills) {
                backfills.acked(seq, None);
            }
            // Any other that the broker finds too large is not worth a broken link.
        }
    }

    fn next(&mut self, link: &Link, now: Instant) -> Option<(InFlight, Message)> {
        if let Some(online) = self.presence.availability(now) {
            return Some(online);
        }
        if let Some(answer) = self.backfills.as_mut().and_then(Backfills::answer) {
            return Some(answer);
        }
        // Meta and health would take the place of what is read there first.
        let waits = self.retained.state_waits_until(&self.journal);
        if waits.is_none_or(|until| until <= now) {
            let health_in_flight = link.has(&InFlight::Health);
            let facts = self.facts();
            let said = self.presence.meta_or_health(&facts, health_in_flight, now);
            if said.is_some() {
                return said;
            }
        }
        if link.born
            && let Some((sent, message)) = self.presence.discovery(now)
        {
            // What is retained there is this message from now on.
            link.session.unsubscribe(&message.topic);
            return Some((sent, message));
        }
        if !link.born || self.retained.holds_rows(&self.journal) {
            return None;
        }
        self.next_record(link, now)
    }

    fn next_record(&mut self, link: &Link, now: Instant) -> Option<(InFlight, Message)> {
        if self.delivery.replayed && !self.delivery.has_live() {
            let backfill = self.next_of_backfill(now);
            if backfill.is_some() {
                return backfill;
            }
        }
        let takes = |message: &Message| link.session.takes(message);
        while let Some(next) = self.delivery.next(link.in_flight(), takes, now) {
            match next {
                Ok(leaving) => {
                    if leaving.live_scan {
                        self.presence.sent_live(leaving.message.payload.clone());
                    }
                    return Some((InFlight::Row(leaving.key), leaving.message));
                }
                Err(aside) => self.settle(aside),
            }
        }
        if !link.has(&InFlight::Last)
            && let Some(last) = self.presence.last()
        {
            return Some(last);
        }
        self.next_of_backfill(now)
    }

    fn next_of_backfill(&mut self, now: Instant) -> Option<(InFlight, Message)> {
        let Delivery { pace, replayed, .. } = &mut self.delivery;
        let backfills = self.backfills.as_mut()?;
        let (seq, message) = backfills.next(&self.speaker, pace, now)?;
        *replayed = false;
        Some((InFlight::Backfill(seq), message))
    }

    /// Sends a record that could not be written, at best once.
    fn unrecorded(&mut self, link: &mut Link, record: &Record) {
        let payload = self.speaker.unrecorded(record);
        let message = Message::event(self.speaker.topics().of(record), payload, record.id);
        if link.session.takes(&message) {
            link.publish(InFlight::Unrecorded, message);
        }
    }

    /// Something happened on the link. Why it is gone, if it is.
    fn happened(&mut self, link: &mut Link, event: SessionEvent) -> Option<Fault> {
        match event {
            SessionEvent::Acked(ticket, ack) => self.acked(link, ticket, ack),
            SessionEvent::Arrived(arrival) => self.arrived(arrival),
            SessionEvent::SubscriptionRefused(why) => {
                tracing::warn!(%why, "the broker refuses a subscription: allow this station to read its own availability, meta and health, its commands, and what concerns Home Assistant");
                self.retained.refused(Instant::now());
            }
            SessionEvent::Ended(fault) => {
                // Not every broker says 0x8E when it ends a session for another one (mosquitto 2.0.11 does not).
                let fault = if self.presence.is_contested() {
                    Fault::taken_over()
                } else {
                    fault
                };
                self.link_down(link, &fault);
                return Some(fault);
            }
        }
        None
    }

    fn acked(&mut self, link: &mut Link, ticket: u64, ack: Ack) {
        let Some(sent) = link.answered(ticket) else {
            return;
        };
        link.born |= sent == InFlight::Availability;
        match sent {
            InFlight::Row(key) => {
                if let Some(outcome) = self.delivery.acked(key, ack, Instant::now()) {
                    self.settle(outcome);
                }
            }
            InFlight::Backfill(seq) => {
                if let Some(backfills) = &mut self.backfills {
                    backfills.acked(seq, Some(ack));
                }
            }
            InFlight::Answer(reply) => {
                if let Some(backfills) = &mut self.backfills {
                    backfills.answer_acked(*reply, ack);
                }
            }
            InFlight::Unrecorded => {}
            InFlight::Availability
            | InFlight::Meta
            | InFlight::Health
            | InFlight::Last
            | InFlight::Discovery => {
                self.presence.acked(&sent, ack);
            }
        }
    }

    /// Reports a row to the journal, which knows from then on what became of it.
    fn settle(&self, outcome: Outcome) {
        match outcome {
            Outcome::Delivered(key) => self.journal.delivered(vec![key]),
            Outcome::Aside(key, why) => {
                tracing::warn!(
                    row = key,
                    why,
                    "the broker does not take a record; it is set aside and offered again later"
                );
                self.journal.set_aside(key, why);
            }
        }
    }

    fn arrived(&mut self, arrival: Arrival) {
        let now = Instant::now();
        let topics = self.speaker.topics();
        if arrival.topic == topics.availability {
            if arrival.payload.as_ref() == super::message::OFFLINE.as_bytes() {
                self.presence.heard_offline(now);
            }
        } else if arrival.topic == topics.health {
            self.retained.health(&arrival.payload);
        } else if arrival.topic == topics.meta {
            self.retained.meta(&arrival.payload);
            self.presence.heard_meta(&arrival.payload, now);
        } else if arrival.topic == topics.backfill
            && let Some(backfills) = &mut self.backfills
        {
            backfills.arrived(arrival, now);
        } else if let Some(discovery) = &mut self.presence.discovery {
            if arrival.topic == discovery.topic {
                discovery.heard_earlier(&arrival.payload);
            } else if arrival.topic == discovery.status
                && !arrival.retained
                && arrival.payload.as_ref() == super::message::ONLINE.as_bytes()
            {
                discovery.heard_online(fastrand::f64(), now);
            }
        }
    }

    fn link_down(&mut self, link: &Link, fault: &Fault) {
        let ignored = fault.ignored().and_then(|ticket| match link.sent(ticket) {
            Some(InFlight::Row(key)) => Some(*key),
            _ => None,
        });
        let outcomes = self
            .delivery
            .link_down(fault.kind, ignored, link.born, Instant::now());
        for outcome in outcomes {
            self.settle(outcome);
        }
        if let Some(backfills) = &mut self.backfills {
            backfills.link_down();
        }
    }

    /// Clean stop: `offline` by our own word, so that the broker keeps the will to itself.
    async fn say_goodbye(&mut self, mut link: Link) {
        let deadline = Instant::now() + self.timing.stop;
        let mut said = false;
        loop {
            if !said && link.session.has_room() {
                said = link.publish(InFlight::Availability, self.presence.goodbye());
            }
            if said && link.in_flight() == 0 {
                break;
            }
            match tokio::time::timeout_at(deadline, link.session.next()).await {
                Ok(SessionEvent::Acked(ticket, ack)) => self.acked(&mut link, ticket, ack),
                Ok(SessionEvent::Arrived(_) | SessionEvent::SubscriptionRefused(_)) => {}
                Ok(SessionEvent::Ended(_)) | Err(_) => break,
            }
        }
        link.session.close(self.timing.stop / 2).await;
    }

    /// When there is something to do without an event.
    fn wake_at(&self, link: &Link, now: Instant) -> Instant {
        let quiet = self
            .state
            .borrow()
            .session_taken_over
            .then(|| link.since + self.timing.takeovers.quiet);
        let backfills = self.backfills.as_ref();
        [
            Some(self.delivery.aside_due(&self.timing, link.since)),
            Some(self.reading.retry_at()),
            self.retained.wake_at(&self.journal),
            self.retained.state_waits_until(&self.journal),
            self.delivery.wake_at(now),
            backfills.and_then(|backfills| backfills.wake_at(&self.delivery.pace)),
            quiet,
        ]
        .into_iter()
        .flatten()
        .chain(self.presence.dues())
        // What is due already waits for room, and an acknowledgement brings that.
        .filter(|at| *at > now)
        .min()
        .unwrap_or_else(pulse::next)
    }

    /// Tells health how the way to the broker is.
    fn tell(&self, link: &Link) {
        let facts = self.facts();
        let refused_topic = self.presence.refused_topic(&facts);
        let quiet = link.since.elapsed() >= self.timing.takeovers.quiet;
        self.state.send_if_modified(|state| {
            let next = State {
                link: LinkState::Connected,
                nobody_listens: facts.nobody_listens,
                session_taken_over: state.session_taken_over && !quiet,
                refused_topic,
            };
            if next.nobody_listens && !state.nobody_listens {
                tracing::warn!("the broker says that nobody listens; records are kept until somebody does");
            }
            if let Some(topic) = next.refused_topic.as_ref().filter(|_| state.refused_topic != next.refused_topic) {
                tracing::warn!(%topic, "the broker does not let this station write there; records are kept: check its access list");
            }
            let changed = *state != next;
            *state = next;
            changed
        });
    }
}

/// A record as a message.
fn event_message(speaker: &Speaker, recorded: &Recorded, queue: Queue) -> Message {
    let record = &recorded.record;
    Message::event(
        speaker.topics().of(record),
        speaker.event(recorded, queue),
        record.id,
    )
}
