//! One link's work: birth, the outbox's rows, health, commands, clean stop. One task owns all of it.

mod state;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

use super::{
    Inputs, Link, NoSubscriber, Settings, State, Timing,
    command::{Backfill, Reply, ReplyTo},
    kept::{Kept, epoch_of_meta},
    message::{self, Lane, Speaker, Topics},
    outbox::{Ack, Delays, Key, Outbox, Settled},
    pacing::Pace,
    reading::{Answer, Question, Reading},
    session::{Arrival, Fault, FaultKind, Happening, Message, Session},
    stopped,
};
use crate::{health::Health, record::Record, runtime::pulse};

/// Rows that are marked as sent together.
const MARKS: usize = 256;
/// Commands that wait behind the one under way.
const COMMANDS: usize = 8;

/// How a link ended.
pub(super) enum End {
    /// The station stops.
    Stopped,
    /// The link is gone, and how long it had been up.
    Gone(Fault, Duration),
}

/// What a message in flight is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Row(Key),
    Availability,
    Meta,
    Health,
    Last,
    Answer(Box<Reply>),
    Unrecorded,
    Backfill(u64),
}

/// What outlives a link.
pub(super) struct Desk {
    settings: Settings,
    timing: Timing,
    topics: Topics,
    speaker: Speaker,
    inputs: Inputs,
    newest: watch::Receiver<u64>,
    backlog: watch::Receiver<u64>,
    state: watch::Sender<State>,
    outbox: Outbox,
    pace: Pace,
    reading: Reading,
    kept: Kept,
    read_failing: bool,
    marks: Vec<Key>,
    marks_since: Option<Instant>,
    aside_at: Instant,
    aside_offered: bool,
    backfills: VecDeque<Backfill>,
    backfill_next: bool,
    answers: VecDeque<Reply>,
    last: Option<Bytes>,
    /// An earlier session of this process has said who this station is.
    introduced: bool,
    /// The journal's epochs in this process, the current one last.
    epochs: Vec<uuid::Uuid>,
    refused_state: Option<String>,
}

/// What ends with a link.
struct Work {
    session: Session,
    since: Instant,
    in_flight: BTreeMap<u64, Purpose>,
    /// The broker has answered for `online`: from now on rows may leave.
    born: bool,
    availability_due: Option<Instant>,
    meta_due: Option<Instant>,
    /// Somebody else has introduced himself by this station's name.
    contested: bool,
    health_at: Option<Instant>,
    health_said: Option<(Health, Option<String>)>,
    /// The station's health has changed since it was last compared with what was said.
    health_news: bool,
    /// What was said is not true any more.
    health_differs: bool,
}

impl Work {
    fn has(&self, purpose: Purpose) -> bool {
        self.in_flight.values().any(|other| *other == purpose)
    }

    fn publish(&mut self, purpose: Purpose, message: Message) -> bool {
        match self.session.publish(message) {
            Some(ticket) => {
                self.in_flight.insert(ticket, purpose);
                true
            }
            None => false,
        }
    }
}

impl Desk {
    pub(super) fn new(
        settings: Settings,
        inputs: Inputs,
        state: watch::Sender<State>,
        timing: Timing,
    ) -> Self {
        let now = Instant::now();
        Self {
            topics: Topics::new(&settings),
            speaker: Speaker::new(&settings),
            newest: inputs.journal.newest(),
            backlog: inputs.journal.backlog(),
            outbox: Outbox::new(Delays::of(&timing), settings.no_subscriber, now),
            pace: Pace::new(settings.replay_per_second, now),
            reading: Reading::new(inputs.journal.clone()),
            kept: Kept::new(timing.kept, now),
            read_failing: false,
            marks: Vec::new(),
            marks_since: None,
            aside_at: now,
            aside_offered: false,
            backfills: VecDeque::new(),
            backfill_next: false,
            answers: VecDeque::new(),
            last: None,
            introduced: false,
            epochs: vec![inputs.journal.epoch()],
            refused_state: None,
            settings,
            timing,
            inputs,
            state,
        }
    }

    /// Works on one link until it is gone or the station stops.
    pub(super) async fn serve(&mut self, session: Session) -> End {
        let now = Instant::now();
        let mut work = Work {
            session,
            since: now,
            in_flight: BTreeMap::new(),
            born: false,
            availability_due: Some(now),
            // Later, what is retained there has been read first: did somebody else introduce himself by this name?
            meta_due: Some(if self.introduced {
                now + self.timing.say_online_again
            } else {
                now
            }),
            contested: false,
            health_at: None,
            health_said: None,
            health_news: false,
            health_differs: false,
        };
        self.backlog.mark_unchanged();
        let newest = *self.newest.borrow_and_update();
        self.outbox.link_up(newest, now);
        self.last = None;
        let mut stop = self.inputs.stop.clone();
        work.session.subscribe(&self.topics.availability);
        let mut listens = self.kept.link_up(&self.inputs.journal, now);
        if self.introduced || listens {
            work.session.subscribe_retained(&self.topics.meta);
        }
        if listens {
            work.session.subscribe_retained(&self.topics.health);
        }
        if self.settings.commands {
            work.session.subscribe(&self.topics.backfill);
        }
        loop {
            let now = Instant::now();
            self.inputs.pulse.beat();
            let epoch = self.inputs.journal.epoch();
            if self.epochs.last() != Some(&epoch) {
                // A journal that was made anew: who listens is told of it.
                self.epochs.push(epoch);
                work.meta_due.get_or_insert(now);
            }
            self.kept.step(&self.inputs.journal, now);
            if listens && !epoch.is_nil() && !self.inputs.journal.is_unconfirmed() {
                listens = false;
                work.session.unsubscribe(&self.topics.health);
            }
            self.compare_health(&mut work);
            self.ask(now, work.since);
            self.fill(&mut work, now);
            self.mark(now);
            self.tell(&work);
            let wake = self.wake_at(&work, now).min(now + pulse::EVERY);
            let room = work.born
                && work.session.has_room()
                && !self.outbox.must_be_alone()
                && !self.outbox.waits_to_be_alone(now);
            tokio::select! {
                happening = work.session.next() => match happening {
                    Happening::Acked(ticket, ack) => self.acked(&mut work, ticket, ack),
                    Happening::Arrived(arrival) => self.arrived(&mut work, arrival),
                    Happening::SubscriptionRefused(why) => {
                        tracing::warn!(%why, "the broker refuses a subscription: allow this station to read its own availability, meta and health, and its commands");
                        self.kept.refused(Instant::now());
                    }
                    Happening::Ended(fault) => {
                        // Not every broker says 0x8E when it ends a session for another one (mosquitto 2.0.11 does not).
                        let fault = if work.contested { Fault::taken_over() } else { fault };
                        self.link_down(&work, &fault);
                        return End::Gone(fault, work.since.elapsed());
                    }
                },
                () = self.kept.told(), if self.kept.is_telling() => {
                    // What it had numbered may have other places now.
                    let newest = *self.newest.borrow_and_update();
                    self.outbox.link_up(newest, Instant::now());
                }
                answer = self.reading.answered(), if self.reading.is_running() => self.read(answer),
                Ok(()) = self.newest.changed() => {
                    let newest = *self.newest.borrow_and_update();
                    self.outbox.newest(newest);
                }
                Ok(()) = self.backlog.changed() => self.outbox.start_over(),
                Ok(()) = self.inputs.health.changed() => work.health_news = true,
                record = self.inputs.faulted.next(), if room => self.unrecorded(&mut work, &record),
                () = tokio::time::sleep_until(wake) => {}
                () = stopped(&mut stop) => {
                    self.say_goodbye(work).await;
                    return End::Stopped;
                }
            }
        }
    }

    /// Gives the journal all that is known to be delivered.
    pub(super) fn flush_marks(&mut self) {
        if !self.marks.is_empty() {
            self.inputs.journal.sent(std::mem::take(&mut self.marks));
        }
        self.marks_since = None;
    }

    fn mark(&mut self, now: Instant) {
        let due = self
            .marks_since
            .is_some_and(|since| since + self.timing.mark_after <= now);
        if due || self.marks.len() >= MARKS {
            self.flush_marks();
        }
    }

    fn ask(&mut self, now: Instant, since: Instant) {
        if self.aside_due(now, since) {
            self.aside_at = now + self.timing.aside;
            self.aside_offered = true;
            let journal = self.inputs.journal.clone();
            tokio::spawn(async move { journal.release_set_aside().await });
        }
        while self
            .backfills
            .front()
            .is_some_and(|backfill| backfill.expired(now))
        {
            self.backfills.pop_front();
        }
        if !self.reading.is_free(now) || self.kept.holds_rows(&self.inputs.journal) {
            return;
        }
        if let Some(want) = self.outbox.want(now) {
            self.reading.ask(Question::Unsent(want));
        } else if let Some(backfill) = self.backfills.front()
            && let Some((from, to)) = backfill.wanted()
        {
            self.reading.ask(Question::Range {
                epoch: backfill.epoch,
                from,
                to,
            });
        }
    }

    fn read(&mut self, answer: Answer) {
        if let Answer::Failed(words) = &answer {
            if !std::mem::replace(&mut self.read_failing, true) {
                tracing::warn!(%words, "the journal cannot be read for the broker; trying again");
            }
            return;
        }
        self.read_failing = false;
        match answer {
            Answer::Unsent(want, rows, more) => self.outbox.read(want, rows, more),
            Answer::Range(found, rest) => {
                if let Some(backfill) = self.backfills.front_mut() {
                    backfill.read(found, rest);
                }
            }
            Answer::Failed(_) => {}
        }
        self.finish_backfill();
    }

    /// Sends as long as there is room and something to say, the most urgent first.
    fn fill(&mut self, work: &mut Work, now: Instant) {
        while work.session.has_room() && !self.outbox.must_be_alone() {
            if self.outbox.waits_to_be_alone(now) && work.session.in_flight() > 0 && work.born {
                return;
            }
            let sent = self.fill_state(work, now)
                || (work.born
                    && !self.kept.holds_rows(&self.inputs.journal)
                    && self.fill_records(work, now));
            if !sent {
                return;
            }
        }
    }

    fn fill_records(&mut self, work: &mut Work, now: Instant) -> bool {
        if self.backfill_next && !self.outbox.has_live() && self.fill_backfill(work, now) {
            return true;
        }
        let others = work.in_flight.len() - self.outbox.in_flight().min(work.in_flight.len());
        if let Some((row, lane)) = self.outbox.next(others, &mut self.pace, now) {
            let (key, is_scan) = (row.key, row.recorded.record.change.is_none());
            let payload = Bytes::from(self.speaker.event(&row.recorded, lane));
            let message = event_message(
                self.topics.of(&row.recorded.record),
                payload.clone(),
                &row.recorded.record,
            );
            if !work.session.takes(&message) {
                let settled = self.outbox.too_large(key, now);
                self.settle(settled, now);
                return true;
            }
            if lane == Lane::Live && is_scan {
                self.last = Some(payload);
            }
            self.backfill_next = lane == Lane::Replay;
            return work.publish(Purpose::Row(key), message);
        }
        if let Some(payload) = self.last.take_if(|_| !work.has(Purpose::Last)) {
            return self.publish_state(
                work,
                Purpose::Last,
                self.retained(&self.topics.last, payload, Some(message::CLOUD_EVENT)),
            );
        }
        self.fill_backfill(work, now)
    }

    fn fill_backfill(&mut self, work: &mut Work, now: Instant) -> bool {
        let Some(backfill) = self
            .backfills
            .front_mut()
            .filter(|backfill| backfill.has_more() && self.pace.ready(now))
        else {
            return false;
        };
        let Some(recorded) = backfill.next() else {
            return false;
        };
        let seq = recorded.seq;
        let payload = Bytes::from(self.speaker.event(recorded, Lane::Replay));
        let message = event_message(self.topics.of(&recorded.record), payload, &recorded.record);
        self.pace.take(now);
        self.backfill_next = false;
        if work.session.takes(&message) {
            return work.publish(Purpose::Backfill(seq), message);
        }
        backfill.answered(seq, false);
        self.finish_backfill();
        true
    }

    fn unrecorded(&mut self, work: &mut Work, record: &Record) {
        let message = event_message(
            self.topics.of(record),
            self.speaker.unrecorded(record).into(),
            record,
        );
        if work.session.takes(&message) {
            work.publish(Purpose::Unrecorded, message);
        }
    }

    fn acked(&mut self, work: &mut Work, ticket: u64, ack: Ack) {
        let Some(purpose) = work.in_flight.remove(&ticket) else {
            return;
        };
        let now = Instant::now();
        let state_topic = match purpose {
            Purpose::Row(key) => {
                if let Some(settled) = self.outbox.acked(key, ack, now) {
                    self.settle(settled, now);
                }
                return;
            }
            Purpose::Backfill(seq) => {
                let accepted = self.settings.no_subscriber == NoSubscriber::Accept;
                if let Some(backfill) = self.backfills.front_mut() {
                    backfill.answered(seq, ack == Ack::Taken || (ack == Ack::Unheard && accepted));
                }
                self.finish_backfill();
                return;
            }
            Purpose::Answer(reply) => {
                return self.answers.extend(reply.elsewhere(ack, &self.topics));
            }
            Purpose::Unrecorded => return,
            Purpose::Availability => {
                work.born = true;
                &self.topics.availability
            }
            Purpose::Meta => {
                self.introduced |= ack != Ack::Busy;
                &self.topics.meta
            }
            Purpose::Health => &self.topics.health,
            Purpose::Last => &self.topics.last,
        };
        match ack {
            Ack::Refused(_) => self.refused_state = Some(state_topic.clone()),
            _ if self.refused_state.as_ref() == Some(state_topic) => self.refused_state = None,
            _ => {}
        }
    }

    fn settle(&mut self, settled: Settled, now: Instant) {
        match settled {
            Settled::Sent(key) => {
                self.marks.push(key);
                self.marks_since.get_or_insert(now);
            }
            Settled::Aside(key, why) => {
                tracing::warn!(
                    row = key,
                    why,
                    "the broker does not take a record; it is set aside and offered again later"
                );
                self.inputs.journal.set_aside(key, why);
            }
        }
    }

    fn arrived(&mut self, work: &mut Work, arrival: Arrival) {
        if arrival.topic == self.topics.availability {
            // The will of an older session, or a second station with this name.
            if arrival.payload.as_ref() == message::OFFLINE.as_bytes() {
                work.availability_due
                    .get_or_insert(Instant::now() + self.timing.say_online_again);
            }
            return;
        }
        if arrival.topic == self.topics.health {
            self.kept.health(&arrival.payload);
            return;
        }
        if arrival.topic == self.topics.meta {
            self.kept.meta(&arrival.payload);
            work.contested |= self.introduced
                && epoch_of_meta(&arrival.payload)
                    .is_some_and(|epoch| !self.epochs.contains(&epoch));
            work.meta_due = work.meta_due.map(|_| Instant::now());
            return;
        }
        if arrival.topic != self.topics.backfill || !self.settings.commands {
            return;
        }
        if arrival
            .expires
            .is_some_and(|expires| expires <= Instant::now())
        {
            return;
        }
        let reply = ReplyTo::new(
            arrival.response_topic.as_deref(),
            arrival.correlation,
            &self.topics,
        );
        let command = if arrival.retained {
            Err(
                "a retained command is refused: send it without retain, and clear the retained one"
                    .to_owned(),
            )
        } else if self.backfills.len() >= COMMANDS {
            Err("too many commands at once: wait for the answers".to_owned())
        } else {
            Backfill::parse(&arrival.payload, reply.clone(), arrival.expires)
        };
        match command {
            Ok(backfill) => self.backfills.push_back(backfill),
            Err(why) if self.answers.len() < COMMANDS => self
                .answers
                .push_back(Reply::new(reply, message::refusal(&why))),
            Err(_) => {}
        }
    }

    fn finish_backfill(&mut self) {
        while let Some(done) = self.backfills.front().and_then(Backfill::done) {
            if let Some(backfill) = self.backfills.pop_front() {
                self.answers
                    .push_back(Reply::new(backfill.reply, message::backfill_done(&done)));
            }
        }
    }

    fn link_down(&mut self, work: &Work, fault: &Fault) {
        let now = Instant::now();
        let settled = match fault.kind {
            FaultKind::Ignored(ticket) => match work.in_flight.get(&ticket) {
                Some(Purpose::Row(key)) => self.outbox.ignored(*key, now),
                _ => self.outbox.link_down(false, now),
            },
            // Before the birth was answered, the link itself was no good.
            FaultKind::Broke => self.outbox.link_down(work.born, now),
            FaultKind::Away | FaultKind::TakenOver => self.outbox.link_down(false, now),
        };
        for settled in settled {
            self.settle(settled, now);
        }
        if let Some(backfill) = self.backfills.front_mut() {
            backfill.link_down();
        }
        self.flush_marks();
    }

    /// Clean stop: `offline` by our own word, so that the broker keeps the will to itself.
    async fn say_goodbye(&mut self, mut work: Work) {
        let deadline = Instant::now() + self.timing.stop;
        let mut said = false;
        loop {
            if !said && work.session.has_room() {
                said = work.publish(
                    Purpose::Availability,
                    self.retained(&self.topics.availability, message::OFFLINE.into(), None),
                );
            }
            if said && work.in_flight.is_empty() {
                break;
            }
            match tokio::time::timeout_at(deadline, work.session.next()).await {
                Ok(Happening::Acked(ticket, ack)) => self.acked(&mut work, ticket, ack),
                Ok(Happening::Arrived(_) | Happening::SubscriptionRefused(_)) => {}
                Ok(Happening::Ended(_)) | Err(_) => break,
            }
        }
        self.flush_marks();
        work.session.close(self.timing.stop / 2).await;
    }

    fn aside_due(&self, now: Instant, since: Instant) -> bool {
        now >= self.aside_due_at(since)
    }

    /// At the start, and later on a link that has proved stable.
    fn aside_due_at(&self, since: Instant) -> Instant {
        if self.aside_offered {
            self.aside_at.max(since + self.timing.stable)
        } else {
            self.aside_at
        }
    }

    fn wake_at(&self, work: &Work, now: Instant) -> Instant {
        let health = self.health_due(work);
        let backfill = self
            .backfills
            .front()
            .filter(|backfill| backfill.has_more())
            .map(|_| self.pace.ready_at());
        let quiet = self
            .state
            .borrow()
            .session_taken_over
            .then(|| work.since + self.timing.takeover_quiet);
        [
            Some(health),
            Some(self.aside_due_at(work.since)),
            Some(self.reading.retry_at()),
            self.kept.wake_at(&self.inputs.journal),
            self.kept.state_waits_until(&self.inputs.journal),
            self.marks_since.map(|since| since + self.timing.mark_after),
            work.availability_due,
            work.meta_due,
            self.outbox.wake_at(&self.pace, now),
            backfill,
            quiet,
        ]
        .into_iter()
        .flatten()
        // What is due already waits for room, and an acknowledgement brings that.
        .filter(|at| *at > now)
        .min()
        .unwrap_or(now + pulse::EVERY)
    }
}

fn event_message(topic: &str, payload: Bytes, record: &Record) -> Message {
    Message {
        topic: topic.to_owned(),
        payload,
        content_type: Some(message::CLOUD_EVENT),
        retained: false,
        id: Some(record.id),
        correlation: None,
    }
}
