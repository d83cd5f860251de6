//! The backfill command: what it asks for, and how far it has come.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    message::{self, BackfillDone, Topics},
    outbox::Ack,
    session::Message,
};
use crate::record::Recorded;

/// Records read and sent in one go.
pub(super) const CHUNK: usize = 128;

#[derive(Deserialize)]
struct Wire {
    epoch: Uuid,
    from: u64,
    to: u64,
}

/// What of the range stands behind the records that were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There may be more.
    More,
    /// Nothing: the journal has later records, or does not know the epoch, so the rest was there once.
    Gone,
    /// Nothing: the journal has not come that far.
    NotYet,
}

/// Where an answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyTo {
    pub(super) topic: String,
    pub(super) correlation: Option<Bytes>,
}

impl ReplyTo {
    /// The response topic, else `P/rsp/backfill`. A station's own channels and wildcards are no place for an answer.
    pub(super) fn new(
        response_topic: Option<&str>,
        correlation: Option<Bytes>,
        topics: &Topics,
    ) -> Self {
        let own = topics
            .availability
            .strip_suffix("availability")
            .unwrap_or_default();
        let usable = |topic: &&str| {
            let answers = topic
                .strip_prefix(own)
                .is_none_or(|channel| channel.starts_with("rsp/"));
            !topic.is_empty()
                && topic.len() <= 512
                && !topic.starts_with('$')
                && !topic.contains(['+', '#', '\0'])
                && answers
        };
        let topic = response_topic
            .filter(usable)
            .unwrap_or(&topics.backfill_answer);
        Self {
            topic: topic.to_owned(),
            correlation: correlation.filter(|data| data.len() <= 512),
        }
    }
}

/// An answer, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    to: ReplyTo,
    payload: Bytes,
}

impl Reply {
    pub(super) fn new(to: ReplyTo, payload: Vec<u8>) -> Self {
        Self {
            to,
            payload: payload.into(),
        }
    }

    pub(super) fn message(&self) -> Message {
        let ReplyTo { topic, correlation } = self.to.clone();
        Message {
            topic,
            payload: self.payload.clone(),
            content_type: Some(message::JSON),
            retained: false,
            id: None,
            correlation,
        }
    }

    /// A broker that lets the station write its own channels alone refuses the topic that was asked for. Then the answer goes to the
    /// station's own, so that it does not vanish.
    pub(super) fn elsewhere(self, ack: Ack, topics: &Topics) -> Option<Self> {
        let own = &topics.backfill_answer;
        if !matches!(ack, Ack::Refused(_)) || self.to.topic == *own {
            return None;
        }
        tracing::warn!(
            topic = self.to.topic,
            "the broker does not let the station answer there; the answer goes to {own}"
        );
        Some(Self {
            to: ReplyTo {
                topic: own.clone(),
                ..self.to
            },
            ..self
        })
    }
}

/// One backfill under way.
#[derive(Debug)]
pub(super) struct Backfill {
    pub(super) epoch: Uuid,
    pub(super) reply: ReplyTo,
    from: u64,
    to: u64,
    expires: Option<Instant>,
    /// The next seq to read.
    next: u64,
    all_read: bool,
    /// Read and not yet sent.
    queue: VecDeque<Recorded>,
    /// Sent and not yet answered.
    in_flight: BTreeMap<u64, Recorded>,
    sent: u64,
    gone: u64,
    failed: u64,
}

impl Backfill {
    /// Reads a command's payload.
    ///
    /// # Errors
    /// A sentence for whoever sent it.
    pub(super) fn parse(
        payload: &[u8],
        reply: ReplyTo,
        expires: Option<Instant>,
    ) -> Result<Self, String> {
        let Wire { epoch, from, to } = serde_json::from_slice(payload)
            .map_err(|error| format!("not understood ({error}): send {{\"epoch\": \"<uuid>\", \"from\": <seq>, \"to\": <seq>}}"))?;
        if from == 0 || to < from {
            return Err(format!(
                "from {from} to {to} is not a range: seq counts from 1, and to is not less than from"
            ));
        }
        Ok(Self {
            epoch,
            reply,
            from,
            to,
            expires,
            next: from,
            all_read: false,
            queue: VecDeque::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            gone: 0,
            failed: 0,
        })
    }

    /// Past its expiry? Then it is dropped.
    pub(super) fn expired(&self, now: Instant) -> bool {
        self.next == self.from && self.expires.is_some_and(|expires| expires <= now)
    }

    /// The range to read next, once what was read before has been sent; [`CHUNK`] records of it.
    pub(super) fn wanted(&self) -> Option<(u64, u64)> {
        (self.queue.is_empty() && !self.all_read).then_some((self.next, self.to))
    }

    /// The first records of the range that [`Self::wanted`] named, in the order of their `seq`.
    pub(super) fn read(&mut self, found: Vec<Recorded>, rest: Rest) {
        for recorded in found {
            self.gone += recorded.seq.saturating_sub(self.next);
            self.next = recorded.seq.saturating_add(1);
            self.queue.push_back(recorded);
        }
        if rest == Rest::Gone {
            let missing = self
                .to
                .checked_sub(self.next)
                .map_or(0, |more| more.saturating_add(1));
            self.gone = self.gone.saturating_add(missing);
        }
        if rest != Rest::More {
            self.next = self.to.saturating_add(1);
            self.all_read = true;
        }
    }

    /// Is a record ready to be sent?
    pub(super) fn has_more(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next record to send, which is in flight from now on.
    pub(super) fn next(&mut self) -> Option<&Recorded> {
        let recorded = self.queue.pop_front()?;
        Some(self.in_flight.entry(recorded.seq).or_insert(recorded))
    }

    /// The broker took a record, or would not.
    pub(super) fn answered(&mut self, seq: u64, taken: bool) {
        if self.in_flight.remove(&seq).is_some() {
            if taken {
                self.sent += 1;
            } else {
                self.failed += 1;
            }
        }
    }

    /// The answer, once everything is read, sent and answered.
    pub(super) fn done(&self) -> Option<BackfillDone> {
        let all = self.all_read && self.queue.is_empty() && self.in_flight.is_empty();
        let Self {
            epoch,
            from,
            to,
            sent,
            gone,
            failed,
            ..
        } = *self;
        all.then_some(BackfillDone {
            epoch,
            from,
            to,
            sent,
            gone,
            failed,
        })
    }

    /// The link is down: what was not answered is sent again on the next one.
    pub(super) fn link_down(&mut self) {
        for (_, recorded) in std::mem::take(&mut self.in_flight).into_iter().rev() {
            self.queue.push_front(recorded);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::publisher::samples::{recorded, settings};

    fn topics() -> Topics {
        Topics::new(&settings())
    }

    fn reply() -> ReplyTo {
        ReplyTo::new(None, None, &topics())
    }

    fn command(from: u64, to: u64) -> Backfill {
        let payload = format!(
            r#"{{"epoch":"019a9f00-0000-7000-8000-000000000001","from":{from},"to":{to}}}"#
        );
        Backfill::parse(payload.as_bytes(), reply(), None).unwrap()
    }

    #[test]
    fn what_is_no_command_is_answered_with_what_to_send() {
        for payload in [
            "",
            "{",
            "[]",
            r#"{"epoch":"x","from":1,"to":2}"#,
            r#"{"from":1,"to":2}"#,
        ] {
            let error = Backfill::parse(payload.as_bytes(), reply(), None).unwrap_err();
            assert!(error.contains("\"epoch\""), "{error}");
        }
        let epoch = r#""epoch":"019a9f00-0000-7000-8000-000000000001""#;
        for (from, to) in [(0, 4), (5, 4)] {
            assert!(
                Backfill::parse(
                    format!(r#"{{{epoch},"from":{from},"to":{to}}}"#).as_bytes(),
                    reply(),
                    None
                )
                .is_err()
            );
        }
    }

    #[test]
    fn an_answer_never_goes_to_a_channel_of_the_station_or_to_a_wildcard() {
        let to = |topic: &str| ReplyTo::new(Some(topic), None, &topics()).topic;
        assert_eq!(to("dashboards/replies/7"), "dashboards/replies/7");
        assert_eq!(
            to("benchlight/v1/ams1/bench-1/rsp/mine"),
            "benchlight/v1/ams1/bench-1/rsp/mine"
        );
        for bad in [
            "benchlight/v1/ams1/bench-1/scan",
            "benchlight/v1/ams1/bench-1/availability",
            "a/#",
            "a/+/b",
            "",
            "$SYS/x",
        ] {
            assert_eq!(to(bad), "benchlight/v1/ams1/bench-1/rsp/backfill");
        }
    }

    #[test]
    fn an_answer_that_the_broker_refuses_goes_to_the_stations_own_channel_once() {
        let asked = ReplyTo::new(
            Some("dashboards/replies/7"),
            Some(Bytes::from_static(b"7")),
            &topics(),
        );
        let reply = Reply::new(asked, b"{}".to_vec());
        for taken in [Ack::Taken, Ack::Unheard, Ack::Busy] {
            assert_eq!(reply.clone().elsewhere(taken, &topics()), None);
        }
        let again = reply
            .elsewhere(Ack::Refused("not_authorized"), &topics())
            .unwrap();
        let message = again.message();
        assert_eq!(
            (message.topic.as_str(), message.correlation.as_deref()),
            ("benchlight/v1/ams1/bench-1/rsp/backfill", Some(&b"7"[..]))
        );
        assert_eq!(
            again.elsewhere(Ack::Refused("not_authorized"), &topics()),
            None
        );
    }

    fn send_all(backfill: &mut Backfill) {
        while let Some(seq) = backfill.next().map(|recorded| recorded.seq) {
            assert_eq!(backfill.done(), None);
            backfill.answered(seq, true);
        }
    }

    #[test]
    fn records_that_are_gone_are_counted_and_records_that_never_were_are_not() {
        let mut backfill = command(1, 1_000);
        backfill.read((29..=128).map(recorded).collect(), Rest::More);
        assert_eq!(backfill.wanted(), None);
        send_all(&mut backfill);
        assert_eq!(backfill.wanted(), Some((129, 1_000)));
        backfill.read((131..=150).map(recorded).collect(), Rest::NotYet);
        send_all(&mut backfill);
        assert_eq!(backfill.wanted(), None);
        let done = backfill.done().unwrap();
        assert_eq!(
            (done.sent, done.gone, done.failed, done.to),
            (120, 30, 0, 1_000)
        );

        let mut gone = command(5, u64::MAX);
        gone.read(Vec::new(), Rest::Gone);
        assert_eq!(gone.done().unwrap().gone, u64::MAX - 4);
    }

    #[test]
    fn what_a_broken_link_left_unanswered_is_sent_again_in_order() {
        let mut backfill = command(1, 4);
        backfill.read((1..=4).map(recorded).collect(), Rest::NotYet);
        for seq in 1..=3 {
            assert_eq!(backfill.next().unwrap().seq, seq);
        }
        backfill.answered(2, true);
        backfill.link_down();
        assert_eq!(
            std::iter::from_fn(|| backfill.next().map(|recorded| recorded.seq)).collect::<Vec<_>>(),
            [1, 3, 4]
        );
        assert_eq!(backfill.done(), None);
    }
}
