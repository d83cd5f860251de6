//! Ways into the publisher's own code for `fuzz/fuzz_targets/broker.rs`. What stands here plays the journal, the broker and the clock.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Settings, Timing,
    command::{Backfill, ReplyTo},
    desk::Delivery,
    message::{Speaker, Topics},
    outbox::{Outcome, Page, Row},
    session::{self, FaultKind},
};
use crate::record::Recorded;

/// What a broker does next.
#[derive(Clone, Debug)]
pub enum Turn {
    /// It answers the row in flight at that place, counted modulo their number, with this PUBACK packet.
    Acked(usize, Vec<u8>),
    /// The link breaks and comes back; `true`: what was in flight may be why.
    Broke(bool),
    /// So much time passes.
    Waited(Duration),
}

/// What the journal hears of `rows` (each with its place in the order of delivery) while a broker takes those turns: the row, and
/// whether it is delivered or set aside.
pub fn delivered(
    settings: &Settings,
    rows: &[(u64, Recorded)],
    turns: &[Turn],
) -> Vec<(u64, bool)> {
    let mut play = Play::new(settings, rows);
    for turn in turns {
        play.read();
        play.send();
        play.take(turn);
    }
    play.heard
}

struct Play {
    delivery: Delivery,
    now: Instant,
    /// The rows that are not settled.
    journal: BTreeMap<u64, Recorded>,
    newest: u64,
    in_flight: Vec<u64>,
    heard: Vec<(u64, bool)>,
}

impl Play {
    fn new(settings: &Settings, rows: &[(u64, Recorded)]) -> Self {
        let now = Instant::now();
        let journal: BTreeMap<u64, Recorded> = rows.iter().cloned().collect();
        let newest = journal.keys().max().copied().unwrap_or_default();
        let mut delivery = Delivery::new(
            Speaker::new(settings),
            &Timing::default(),
            settings.no_subscriber,
            settings.replay_per_second,
            now,
        );
        delivery.link_up(newest, now);
        Self {
            delivery,
            now,
            journal,
            newest,
            in_flight: Vec::new(),
            heard: Vec::new(),
        }
    }

    fn read(&mut self) {
        while let Some(want) = self.delivery.want(self.now) {
            let behind = self.journal.range((Excluded(want.after), Unbounded));
            let rows: Vec<Row> = behind
                .take(want.limit)
                .map(|(key, recorded)| Row {
                    key: *key,
                    recorded: recorded.clone(),
                })
                .collect();
            let more = rows.len() >= want.limit;
            let after = rows.last().map_or(want.after, |row| row.key);
            self.delivery.read(want, Page { rows, after, more });
            if !more {
                return;
            }
        }
    }

    fn send(&mut self) {
        while let Some(next) = self.delivery.next(self.in_flight.len(), |_| true, self.now) {
            match next {
                Ok(leaving) => self.in_flight.push(leaving.key),
                Err(aside) => self.settle([aside]),
            }
        }
    }

    fn take(&mut self, turn: &Turn) {
        match turn {
            Turn::Acked(place, packet) => {
                if let Some(ack) = session::puback(packet)
                    && let Some(place) = place.checked_rem(self.in_flight.len())
                {
                    let key = self.in_flight.swap_remove(place);
                    let outcome = self.delivery.acked(key, ack, self.now);
                    self.settle(outcome);
                }
            }
            Turn::Broke(suspicious) => {
                let kind = if *suspicious {
                    FaultKind::Broke
                } else {
                    FaultKind::Away
                };
                self.in_flight.clear();
                let outcomes = self.delivery.link_down(kind, None, true, self.now);
                self.settle(outcomes);
                self.delivery.link_up(self.newest, self.now);
            }
            Turn::Waited(time) => self.now += *time,
        }
    }

    fn settle(&mut self, outcomes: impl IntoIterator<Item = Outcome>) {
        for outcome in outcomes {
            let (key, sent) = match outcome {
                Outcome::Delivered(key) => (key, true),
                Outcome::Aside(key, _) => (key, false),
            };
            self.journal.remove(&key);
            self.heard.push((key, sent));
        }
    }
}

/// The answer to a backfill command, and the topic it goes to: the range it asks for, or why it is refused.
pub fn understood(
    settings: &Settings,
    payload: &[u8],
    response_topic: Option<&str>,
    correlation: Option<Vec<u8>>,
) -> (String, Result<(u64, u64), String>) {
    let topics = Topics::new(settings);
    let reply = ReplyTo::new(response_topic, correlation.map(Into::into), &topics);
    let topic = reply.topic.clone();
    let backfill = Backfill::parse(payload, reply, None);
    (
        topic,
        backfill.map(|backfill| backfill.wanted().unwrap_or_default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::samples::{recorded, settings};

    #[test]
    fn the_fuzz_target_sees_rows_delivered_set_aside_and_repeated() {
        let rows: Vec<(u64, Recorded)> = (1..=3).map(|seq| (seq, recorded(seq))).collect();
        let puback = |reason| vec![0x40, 3, 0, 1, reason];
        let mut turns = vec![
            Turn::Acked(1, puback(0x00)),
            Turn::Broke(false),
            Turn::Acked(0, puback(0x00)),
        ];
        for _ in 0..10 {
            turns.push(Turn::Acked(0, puback(0x99)));
            turns.push(Turn::Waited(Duration::from_secs(120)));
        }
        let settings = Settings {
            replay_per_second: 0,
            ..settings()
        };
        assert_eq!(
            delivered(&settings, &rows, &turns),
            [(2, true), (1, true), (3, false)]
        );
        let (topic, range) = understood(&settings, b"{}", Some("a/#"), None);
        assert_eq!(topic, "benchlight/v1/ams1/bench-1/rsp/backfill");
        assert!(range.is_err());
    }
}
