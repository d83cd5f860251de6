//! What the station says of itself: availability, meta, health and the last scan.

use bytes::Bytes;
use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::{Discovery, link::InFlight};
use crate::{
    health::{Health, LinkCondition},
    publisher::{
        Timing,
        message::{self, Meta, Topics},
        outbox::Ack,
        retained::epoch_of_meta,
        session::Message,
    },
};

/// What the rest of the publisher knows, as far as the station says it of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The journal's epoch.
    pub(super) epoch: Uuid,
    pub(super) nobody_listens: bool,
    /// The topic of rows that the broker refuses as a whole.
    pub(super) refused_topic: Option<String>,
}

pub(super) struct Presence {
    topics: Topics,
    timing: Timing,
    meta: Meta,
    availability_due: Option<Instant>,
    meta_due: Option<Instant>,
    health: HealthReport,
    identity: Identity,
    /// The last scan that was sent live, for `P/last`.
    last: Option<Bytes>,
    /// What Home Assistant is told; `None`: nothing.
    pub(super) discovery: Option<Discovery>,
    /// The topic among these that the broker refuses.
    refused: Option<String>,
}

/// When health is said again.
struct HealthReport {
    seen: watch::Receiver<Health>,
    /// When it was said on this link.
    at: Option<Instant>,
    said: Option<(Health, Option<String>)>,
    /// It has changed since it was last compared with what was said.
    changed: bool,
    /// What was said is not true any more.
    differs: bool,
}

/// Who has published this station's `meta`.
struct Identity {
    /// An earlier session of this process has done so.
    introduced: bool,
    /// The journal's epochs in this process, the current one last.
    epochs: Vec<Uuid>,
    /// Somebody else has done so on this link.
    contested: bool,
}

impl Presence {
    pub(super) fn new(
        topics: Topics,
        timing: Timing,
        meta: Meta,
        health: watch::Receiver<Health>,
        epoch: Uuid,
        discovery: Option<Discovery>,
    ) -> Self {
        Self {
            topics,
            timing,
            meta,
            availability_due: None,
            meta_due: None,
            health: HealthReport {
                seen: health,
                at: None,
                said: None,
                changed: false,
                differs: false,
            },
            identity: Identity {
                introduced: false,
                epochs: vec![epoch],
                contested: false,
            },
            last: None,
            discovery,
            refused: None,
        }
    }

    pub(super) fn link_up(&mut self, now: Instant) {
        self.availability_due = Some(now);
        // After the first link, what is retained there is read first: has somebody else published under this name?
        self.meta_due = Some(if self.identity.introduced {
            now + self.timing.say_online_again
        } else {
            now
        });
        self.identity.contested = false;
        self.health.at = None;
        self.health.said = None;
        self.health.differs = false;
        self.last = None;
    }

    /// Has an earlier session of this process published `meta`?
    pub(super) fn is_introduced(&self) -> bool {
        self.identity.introduced
    }

    /// Has somebody else published `meta` under this station's name?
    pub(super) fn is_contested(&self) -> bool {
        self.identity.contested
    }

    /// Resolves when the station's health has changed. May be dropped and called again.
    pub(super) async fn health_changed(&mut self) {
        match self.health.seen.changed().await {
            Ok(()) => self.health.changed = true,
            Err(_) => std::future::pending().await,
        }
    }

    /// Looks at what has changed. Compares health only when something may have: a busy bench passes here for every message.
    pub(super) fn look(&mut self, facts: &Facts, now: Instant) {
        if self.identity.epochs.last() != Some(&facts.epoch) {
            // The journal has begun a new epoch: subscribers must know.
            self.identity.epochs.push(facts.epoch);
            self.meta_due.get_or_insert(now);
        }
        let Some((said, refused)) = &self.health.said else {
            return;
        };
        let refused_topic = self.refused_topic(facts);
        let own = said.nobody_listens != facts.nobody_listens || *refused != refused_topic;
        if std::mem::take(&mut self.health.changed) || own {
            let now = Some((self.health_now(facts), refused_topic));
            self.health.differs = self.health.said != now;
        }
    }

    /// `online`, when it is due.
    pub(super) fn availability(&mut self, now: Instant) -> Option<(InFlight, Message)> {
        self.availability_due.take_if(|due| *due <= now)?;
        Some((InFlight::Availability, self.says(message::ONLINE)))
    }

    /// `offline`, for a clean stop.
    pub(super) fn goodbye(&self) -> Message {
        self.says(message::OFFLINE)
    }

    /// Meta or health, when it is due. `health_in_flight`: the last health has not been answered for.
    pub(super) fn meta_or_health(
        &mut self,
        facts: &Facts,
        health_in_flight: bool,
        now: Instant,
    ) -> Option<(InFlight, Message)> {
        if self.meta_due.take_if(|due| *due <= now).is_some() {
            self.meta.epoch = facts.epoch;
            let payload = message::meta(&self.meta).into();
            let message = Message::retained(&self.topics.meta, payload, Some(message::JSON));
            return Some((InFlight::Meta, message));
        }
        if self.health_due().is_some_and(|due| now < due) || health_in_flight {
            return None;
        }
        let (health, refused) = (self.health_now(facts), self.refused_topic(facts));
        if let Some(discovery) = &mut self.discovery {
            discovery.health(&self.meta, &self.topics, &health, now);
        }
        let version = &self.meta.version;
        let payload = message::health(&health, refused.as_deref(), version, Timestamp::now());
        self.health.at = Some(now);
        self.health.said = Some((health, refused));
        self.health.differs = false;
        let message = Message::retained(&self.topics.health, payload.into(), Some(message::JSON));
        Some((InFlight::Health, message))
    }

    /// What Home Assistant is told, when it is due: after the first health, which it needs for its entities.
    pub(super) fn discovery(&mut self, now: Instant) -> Option<(InFlight, Message)> {
        let (health, _) = self.health.said.as_ref()?;
        let discovery = self.discovery.as_mut()?;
        let message = discovery.message(&self.meta, &self.topics, health, now)?;
        Some((InFlight::Discovery, message))
    }

    /// A scan was sent live.
    pub(super) fn sent_live(&mut self, payload: Bytes) {
        self.last = Some(payload);
    }

    /// `P/last`, when there is a new one.
    pub(super) fn last(&mut self) -> Option<(InFlight, Message)> {
        let payload = self.last.take()?;
        let message = Message::retained(&self.topics.last, payload, Some(message::CLOUD_EVENT));
        Some((InFlight::Last, message))
    }

    /// The broker answered for one of these messages.
    pub(super) fn acked(&mut self, sent: &InFlight, ack: Ack) {
        let topic = match sent {
            InFlight::Availability => &self.topics.availability,
            InFlight::Meta => {
                self.identity.introduced |= ack != Ack::Busy;
                &self.topics.meta
            }
            InFlight::Health => &self.topics.health,
            InFlight::Last => &self.topics.last,
            InFlight::Discovery => match &self.discovery {
                Some(discovery) => &discovery.topic,
                None => return,
            },
            InFlight::Row(_)
            | InFlight::Answer(_)
            | InFlight::Unrecorded
            | InFlight::Backfill(_) => return,
        };
        match ack {
            Ack::Refused(_) => self.refused = Some(topic.clone()),
            _ if self.refused.as_ref() == Some(topic) => self.refused = None,
            _ => {}
        }
    }

    /// The will of an older session, or a second station with this name, has said `offline`.
    pub(super) fn heard_offline(&mut self, now: Instant) {
        self.availability_due
            .get_or_insert(now + self.timing.say_online_again);
    }

    /// Somebody has published `meta` under this station's name; perhaps this process.
    pub(super) fn heard_meta(&mut self, payload: &[u8], now: Instant) {
        self.identity.contested |= self.identity.introduced
            && epoch_of_meta(payload).is_some_and(|epoch| !self.identity.epochs.contains(&epoch));
        self.meta_due = self.meta_due.map(|_| now);
    }

    /// The topic that the broker does not let this station write.
    pub(super) fn refused_topic(&self, facts: &Facts) -> Option<String> {
        facts
            .refused_topic
            .as_ref()
            .or(self.refused.as_ref())
            .cloned()
    }

    /// When something is due.
    pub(super) fn dues(&self) -> impl Iterator<Item = Instant> {
        let discovery = self.discovery.as_ref().and_then(Discovery::due);
        [
            self.availability_due,
            self.meta_due,
            self.health_due(),
            discovery,
        ]
        .into_iter()
        .flatten()
    }

    /// When health is due; `None`: it has not been said on this link.
    fn health_due(&self) -> Option<Instant> {
        let pause = if self.health.differs {
            self.timing.health.least
        } else {
            self.timing.health.most
        };
        self.health.at.map(|at| at + pause)
    }

    /// The station's health, with what is known here before anybody else knows it.
    fn health_now(&mut self, facts: &Facts) -> Health {
        let mut health = self.health.seen.borrow_and_update().clone();
        health.broker = LinkCondition::Connected;
        health.nobody_listens = facts.nobody_listens;
        health
    }

    fn says(&self, word: &'static str) -> Message {
        Message::retained(&self.topics.availability, word.into(), None)
    }
}
