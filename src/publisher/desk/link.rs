//! One link: its session, and what is in flight on it.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Reply;
use crate::publisher::{
    outbox::Key,
    session::{Message, Session},
};

/// What a message in flight is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InFlight {
    Row(Key),
    Availability,
    Meta,
    Health,
    Last,
    Discovery,
    Answer(Box<Reply>),
    Unrecorded,
    Backfill(u64),
}

/// One link, from its CONNACK to its end.
pub(super) struct Link {
    pub(super) session: Session,
    pub(super) since: Instant,
    /// The broker has answered for `online`: from now on rows may leave.
    pub(super) born: bool,
    /// What the broker retains of this station's health is listened to.
    pub(super) hears_health: bool,
    /// What concerns Home Assistant is listened to.
    pub(super) hears_home_assistant: bool,
    in_flight: BTreeMap<u64, InFlight>,
}

impl Link {
    pub(super) fn new(session: Session, now: Instant) -> Self {
        Self {
            session,
            since: now,
            born: false,
            hears_health: false,
            hears_home_assistant: false,
            in_flight: BTreeMap::new(),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn has(&self, sent: &InFlight) -> bool {
        self.in_flight.values().any(|other| other == sent)
    }

    /// What the message of that ticket is.
    pub(super) fn sent(&self, ticket: u64) -> Option<&InFlight> {
        self.in_flight.get(&ticket)
    }

    /// The message of that ticket was answered.
    pub(super) fn answered(&mut self, ticket: u64) -> Option<InFlight> {
        self.in_flight.remove(&ticket)
    }

    /// `false`: it could not even be queued.
    pub(super) fn publish(&mut self, sent: InFlight, message: Message) -> bool {
        let ticket = self.session.publish(message);
        if let Some(ticket) = ticket {
            self.in_flight.insert(ticket, sent);
        }
        ticket.is_some()
    }
}
