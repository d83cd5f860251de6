//! Backfill commands in the order in which they came, and the answers to them.

use std::collections::VecDeque;

use tokio::time::Instant;
use uuid::Uuid;

use super::{event_message, link::InFlight};
use crate::{
    publisher::{
        NoSubscriber,
        command::{Backfill, Reply, ReplyTo, Rest},
        message::{self, Queue, Speaker, Topics},
        outbox::Ack,
        pacing::Pace,
        session::{Arrival, Message},
    },
    record::Recorded,
};

/// Commands that wait behind the one under way.
const WAITING: usize = 8;

pub(super) struct Backfills {
    topics: Topics,
    no_subscriber: NoSubscriber,
    /// The first is under way.
    commands: VecDeque<Backfill>,
    answers: VecDeque<Reply>,
}

impl Backfills {
    pub(super) fn new(topics: Topics, no_subscriber: NoSubscriber) -> Self {
        Self {
            topics,
            no_subscriber,
            commands: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// A command has arrived.
    pub(super) fn arrived(&mut self, arrival: Arrival, now: Instant) {
        if arrival.expires.is_some_and(|expires| expires <= now) {
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
        } else if self.commands.len() >= WAITING {
            Err("too many commands at once: wait for the answers".to_owned())
        } else {
            Backfill::parse(&arrival.payload, reply.clone(), arrival.expires)
        };
        match command {
            Ok(backfill) => self.commands.push_back(backfill),
            Err(why) if self.answers.len() < WAITING => self
                .answers
                .push_back(Reply::new(reply, message::refusal(&why))),
            Err(_) => {}
        }
    }

    /// The epoch and range to read next.
    pub(super) fn wanted(&mut self, now: Instant) -> Option<(Uuid, u64, u64)> {
        while self
            .commands
            .front()
            .is_some_and(|backfill| backfill.expired(now))
        {
            self.commands.pop_front();
        }
        let backfill = self.commands.front()?;
        let (from, to) = backfill.wanted()?;
        Some((backfill.epoch, from, to))
    }

    pub(super) fn read(&mut self, found: Vec<Recorded>, rest: Rest) {
        if let Some(backfill) = self.commands.front_mut() {
            backfill.read(found, rest);
        }
        self.finish();
    }

    /// The next answer.
    pub(super) fn answer(&mut self) -> Option<(InFlight, Message)> {
        let answer = self.answers.pop_front()?;
        let message = answer.message();
        Some((InFlight::Answer(Box::new(answer)), message))
    }

    /// The next record of the backfill under way, within the backlog's budget.
    pub(super) fn next(
        &mut self,
        speaker: &Speaker,
        pace: &mut Pace,
        now: Instant,
    ) -> Option<(u64, Message)> {
        let backfill = self.commands.front_mut().filter(|_| pace.ready(now))?;
        let recorded = backfill.next()?;
        pace.take(now);
        Some((
            recorded.seq,
            event_message(speaker, recorded, Queue::Backlog),
        ))
    }

    /// The broker answered for a record; `None`: it is larger than the broker takes.
    pub(super) fn acked(&mut self, seq: u64, ack: Option<Ack>) {
        let taken = match ack {
            Some(Ack::Taken) => true,
            Some(Ack::Unheard) => self.no_subscriber == NoSubscriber::Accept,
            Some(Ack::Busy | Ack::Refused(_)) | None => false,
        };
        if let Some(backfill) = self.commands.front_mut() {
            backfill.answered(seq, taken);
        }
        self.finish();
    }

    /// The broker answered for an answer.
    pub(super) fn answer_acked(&mut self, reply: Reply, ack: Ack) {
        self.answers.extend(reply.elsewhere(ack, &self.topics));
    }

    /// What was not answered is sent again on the next link.
    pub(super) fn link_down(&mut self) {
        if let Some(backfill) = self.commands.front_mut() {
            backfill.link_down();
        }
    }

    /// When the next record may leave; `None`: none waits.
    pub(super) fn wake_at(&self, pace: &Pace) -> Option<Instant> {
        let waits = self.commands.front().is_some_and(Backfill::has_more);
        waits.then(|| pace.ready_at())
    }

    fn finish(&mut self) {
        while let Some(done) = self.commands.front().and_then(Backfill::done) {
            if let Some(backfill) = self.commands.pop_front() {
                self.answers
                    .push_back(Reply::new(backfill.reply, done.answer()));
            }
        }
    }
}
