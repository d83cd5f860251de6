//! What the station says of itself: availability, meta and health, and what is known of the way to the broker.

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Desk, Link, Message, Purpose, State, Work, message};
use crate::health::{Health, LinkCondition};

impl Desk {
    pub(super) fn fill_state(&mut self, work: &mut Work, now: Instant) -> bool {
        if work.availability_due.is_some_and(|due| due <= now) {
            work.availability_due = None;
            return work.publish(
                Purpose::Availability,
                self.retained(&self.topics.availability, message::ONLINE.into(), None),
            );
        }
        if let Some(answer) = self.answers.pop_front() {
            let message = answer.message();
            return !work.session.takes(&message)
                || work.publish(Purpose::Answer(Box::new(answer)), message);
        }
        // Both would take the place of what is read there first.
        if self
            .kept
            .state_waits_until(&self.inputs.journal)
            .is_some_and(|until| now < until)
        {
            return false;
        }
        if work.meta_due.take_if(|due| *due <= now).is_some() {
            let payload = message::meta(&message::Meta {
                epoch: self.inputs.journal.epoch(),
                ..self.inputs.meta.clone()
            });
            return self.publish_state(
                work,
                Purpose::Meta,
                self.retained(&self.topics.meta, payload.into(), Some(message::JSON)),
            );
        }
        if self.health_due(work) <= now && !work.has(Purpose::Health) {
            let health = self.health();
            let refused = self.refused_topic();
            let payload = message::health(
                &health,
                refused.as_deref(),
                &self.inputs.meta.version,
                Timestamp::now(),
            );
            work.health_at = Some(now);
            work.health_said = Some((health, refused));
            work.health_differs = false;
            return self.publish_state(
                work,
                Purpose::Health,
                self.retained(&self.topics.health, payload.into(), Some(message::JSON)),
            );
        }
        false
    }

    /// A state that the broker finds too large is not worth a broken link.
    pub(super) fn publish_state(
        &self,
        work: &mut Work,
        purpose: Purpose,
        message: Message,
    ) -> bool {
        !work.session.takes(&message) || work.publish(purpose, message)
    }

    pub(super) fn retained(
        &self,
        topic: &str,
        payload: Bytes,
        content_type: Option<&'static str>,
    ) -> Message {
        Message {
            topic: topic.to_owned(),
            payload,
            content_type,
            retained: true,
            id: None,
            correlation: None,
        }
    }

    pub(super) fn refused_topic(&self) -> Option<String> {
        let of_rows = self.outbox.refused_topic().map(|topic| {
            if topic == 0 {
                &self.topics.scan
            } else {
                &self.topics.change
            }
        });
        of_rows.or(self.refused_state.as_ref()).cloned()
    }

    /// The station's health, with what is known here before anybody else knows it.
    pub(super) fn health(&mut self) -> Health {
        let mut health = self.inputs.health.borrow_and_update().clone();
        health.broker = LinkCondition::Connected;
        health.nobody_listens = self.outbox.nobody_listens();
        health
    }

    /// Looks only when something may have changed: a busy bench passes here for every message.
    pub(super) fn compare_health(&mut self, work: &mut Work) {
        let Some((said, refused)) = &work.health_said else {
            return;
        };
        let refused_topic = self.refused_topic();
        let own = said.nobody_listens != self.outbox.nobody_listens() || *refused != refused_topic;
        if std::mem::take(&mut work.health_news) || own {
            work.health_differs = work.health_said != Some((self.health(), refused_topic));
        }
    }

    pub(super) fn health_due(&self, work: &Work) -> Instant {
        let Some(at) = work.health_at else {
            return work.since;
        };
        at + if work.health_differs {
            self.timing.health_least
        } else {
            self.timing.health_most
        }
    }

    pub(super) fn tell(&self, work: &Work) {
        let refused_topic = self.refused_topic();
        let nobody_listens = self.outbox.nobody_listens();
        let quiet = work.since.elapsed() >= self.timing.takeover_quiet;
        self.state.send_if_modified(|state| {
            let told = State {
                link: Link::Connected,
                nobody_listens,
                session_taken_over: state.session_taken_over && !quiet,
                refused_topic: refused_topic.clone(),
            };
            if nobody_listens && !state.nobody_listens {
                tracing::warn!("the broker says that nobody listens; records are kept until somebody does");
            }
            if let Some(topic) = refused_topic.as_ref().filter(|_| state.refused_topic != refused_topic) {
                tracing::warn!(%topic, "the broker does not let this station write there; records are kept: check its access list");
            }
            let changed = *state != told;
            *state = told;
            changed
        });
    }
}
