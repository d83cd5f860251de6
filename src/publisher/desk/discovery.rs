//! When Home Assistant is told of the station. Pure: the time is handed in.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    health::Health,
    publisher::{
        Settings,
        message::{self, Components, Meta, Topics},
        session::Message,
    },
};

/// Home Assistant drops part of a message that comes within a second of another.
const APART: Duration = Duration::from_secs(2);
/// What Home Assistant has been told before this start is waited for this long.
const LISTEN: Duration = Duration::from_secs(2);
/// Many stations answer one start of Home Assistant: within 1 to 10 s.
const ANSWER: (f64, f64) = (1.0, 9.0);

pub(super) struct Discovery {
    /// Where the message goes.
    pub(super) topic: String,
    /// Where Home Assistant says `online`.
    pub(super) status: String,
    model: Option<String>,
    /// Key and platform of each entity that Home Assistant knows.
    known: BTreeMap<String, String>,
    /// What was said on this link.
    said: Option<Components>,
    due: Option<Instant>,
    at: Option<Instant>,
    /// It is due because Home Assistant has started.
    answers: bool,
    /// What was retained before this start has arrived, or was replaced.
    is_introduced: bool,
}

impl Discovery {
    /// `None`: Home Assistant is not told.
    pub(super) fn new(settings: &Settings, model: Option<String>) -> Option<Self> {
        let prefix = settings.discovery_prefix.as_ref()?;
        let (site, station) = (&settings.site, &settings.station);
        Some(Self {
            topic: format!("{prefix}/device/benchlight-{site}/{station}/config"),
            status: format!("{prefix}/status"),
            model,
            known: BTreeMap::new(),
            said: None,
            due: None,
            at: None,
            answers: false,
            is_introduced: false,
        })
    }

    /// A link is up, and both topics are subscribed to. `true`: what is retained is waited for.
    pub(super) fn link_up(&mut self, now: Instant) -> bool {
        let waits = if self.is_introduced { APART } else { LISTEN };
        (self.said, self.due, self.answers) = (None, Some(now + waits), false);
        !self.is_introduced
    }

    /// What was retained of an earlier message has arrived.
    pub(super) fn heard_earlier(&mut self, payload: &[u8]) {
        if !std::mem::replace(&mut self.is_introduced, true) {
            self.known = message::entities_of(payload);
        }
    }

    /// Home Assistant has started, or was connected again. `chance`: from 0 to 1.
    pub(super) fn heard_online(&mut self, chance: f64, now: Instant) {
        if !std::mem::replace(&mut self.answers, true) {
            let (least, more) = ANSWER;
            self.due = Some(now + Duration::from_secs_f64(least + more * chance));
        }
    }

    /// Health is said: perhaps there is more to see now.
    pub(super) fn health(&mut self, meta: &Meta, topics: &Topics, health: &Health, now: Instant) {
        let Some(said) = &self.said else {
            return;
        };
        if *said != self.components(meta, topics, health) {
            self.due.get_or_insert(now);
        }
    }

    /// The message, when it is due.
    pub(super) fn message(
        &mut self,
        meta: &Meta,
        topics: &Topics,
        health: &Health,
        now: Instant,
    ) -> Option<Message> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        let components = self.components(meta, topics, health);
        let removed = std::mem::take(&mut self.known)
            .into_iter()
            .filter(|(key, _)| !components.contains_key(key))
            .collect();
        let model = self.model.as_deref();
        let payload = message::discovery(meta, topics, model, &components, &removed);
        self.known = message::entities_of(&payload);
        (self.due, self.at, self.answers) = (None, Some(now), false);
        (self.said, self.is_introduced) = (Some(components), true);
        Some(Message::retained(
            &self.topic,
            payload.into(),
            Some(message::JSON),
        ))
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let soonest = self.at.map(|at| at + APART);
        self.due
            .map(|due| soonest.map_or(due, |soonest| due.max(soonest)))
    }

    fn components(&self, meta: &Meta, topics: &Topics, health: &Health) -> Components {
        message::components(meta, topics, health, &self.known)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use serde_json::{Value, json};

    use super::*;
    use crate::{health::SourceHealth, publisher::samples};

    struct Rig {
        discovery: Discovery,
        meta: Meta,
        health: Health,
        begun: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let settings = Settings {
                discovery_prefix: Some("homeassistant".to_owned()),
                ..samples::settings()
            };
            Self {
                discovery: Discovery::new(&settings, None).unwrap(),
                meta: samples::meta(),
                health: samples::health(),
                begun: Instant::now(),
            }
        }

        fn at(&self, seconds: f64) -> Instant {
            self.begun + Duration::from_secs_f64(seconds)
        }

        /// The message that is due then: platform and number of keys of each entity.
        fn said(&mut self, seconds: f64) -> Option<BTreeMap<String, (String, usize)>> {
            let (now, topics) = (self.at(seconds), Topics::new(&samples::settings()));
            let message = self
                .discovery
                .message(&self.meta, &topics, &self.health, now)?;
            assert!(
                message.retained
                    && message.topic == "homeassistant/device/benchlight-ams1/bench-1/config"
            );
            let message: Value = serde_json::from_slice(&message.payload).unwrap();
            let components = message["cmps"].as_object().unwrap().iter();
            let entity = |(key, component): (&String, &Value)| {
                let platform = component["p"].as_str().unwrap().to_owned();
                (
                    key.clone(),
                    (platform, component.as_object().unwrap().len()),
                )
            };
            Some(components.map(entity).collect())
        }

        fn healthy(&mut self, seconds: f64) {
            let (now, topics) = (self.at(seconds), Topics::new(&samples::settings()));
            self.discovery
                .health(&self.meta, &topics, &self.health, now);
        }
    }

    #[test]
    fn it_is_said_at_birth_after_what_was_retained_had_its_time() {
        let mut rig = Rig::new();
        assert!(rig.said(0.0).is_none(), "no link");
        assert!(rig.discovery.link_up(rig.at(0.0)));
        assert!(rig.said(1.9).is_none());
        assert!(rig.said(2.0).is_some());
        assert!(rig.said(60.0).is_none(), "once");
        // The next link needs no wait for what this process has said, but two messages are two seconds apart.
        assert!(!rig.discovery.link_up(rig.at(60.0)));
        assert!(rig.said(61.9).is_none());
        assert!(rig.said(62.0).is_some());
        rig.discovery.link_up(rig.at(60.5));
        assert!(rig.said(63.9).is_none());
        assert!(rig.said(64.0).is_some());
    }

    #[test]
    fn home_assistants_start_is_answered_once_within_one_to_ten_seconds() {
        let mut least = f64::MAX;
        let mut most: f64 = 0.0;
        for _ in 0..200 {
            let mut rig = Rig::new();
            rig.discovery.link_up(rig.at(0.0));
            assert!(rig.said(2.0).is_some());
            rig.discovery.heard_online(fastrand::f64(), rig.at(100.0));
            // A second one, for example after a broken connection, does not put the answer off.
            rig.discovery.heard_online(fastrand::f64(), rig.at(100.5));
            let due = (rig.discovery.due().unwrap() - rig.at(100.0)).as_secs_f64();
            (least, most) = (least.min(due), most.max(due));
            assert!(rig.said(100.0 + due - 0.001).is_none());
            assert!(rig.said(100.0 + due).is_some());
            assert!(rig.said(200.0).is_none());
        }
        assert!(
            (1.0..2.0).contains(&least) && (8.0..=10.0).contains(&most),
            "{least} {most}"
        );
    }

    #[test]
    fn what_a_source_tells_later_is_said_then_and_stays() {
        let mut rig = Rig::new();
        let name = samples::name("kandji");
        let told = rig
            .health
            .sources
            .insert(name.clone(), SourceHealth::default());
        rig.discovery.link_up(rig.at(0.0));
        let said = rig.said(2.0).unwrap();
        assert!(!said.contains_key("quota_kandji") && !said.contains_key("expiry_kandji"));
        rig.healthy(3.0);
        assert!(rig.said(10.0).is_none(), "nothing has changed");
        rig.health.sources.insert(name.clone(), told.unwrap());
        rig.healthy(11.0);
        let said = rig.said(11.0).unwrap();
        assert!(said.contains_key("quota_kandji") && said.contains_key("expiry_kandji"));
        rig.health
            .sources
            .insert(name.clone(), SourceHealth::default());
        rig.healthy(20.0);
        assert!(
            rig.said(30.0).is_none(),
            "a service that is away keeps its entities"
        );

        // After a restart, too.
        let retained = message::discovery(
            &rig.meta,
            &Topics::new(&samples::settings()),
            None,
            rig.discovery.said.as_ref().unwrap(),
            &BTreeMap::new(),
        );
        let mut rig = Rig::new();
        rig.health.sources.insert(name, SourceHealth::default());
        rig.discovery.link_up(rig.at(0.0));
        rig.discovery.heard_earlier(&retained);
        assert!(rig.said(2.0).unwrap().contains_key("quota_kandji"));
    }

    #[test]
    fn what_is_there_no_longer_is_removed_once() {
        let mut rig = Rig::new();
        rig.discovery.link_up(rig.at(0.0));
        rig.discovery.heard_earlier(
            json!({"cmps": {
                "scanner_left": {"p": "binary_sensor", "name": "x"}, "scanner_right": {"p": "binary_sensor", "name": "x"},
                "quota_gone": {"p": "sensor", "name": "x"}, "removed_before": {"p": "sensor"}, "odd": 1,
            }})
            .to_string()
            .as_bytes(),
        );
        let said = rig.said(2.0).unwrap();
        assert_eq!(said["scanner_right"], ("binary_sensor".to_owned(), 1));
        assert_eq!(said["quota_gone"], ("sensor".to_owned(), 1));
        assert!(!said.contains_key("removed_before") && said["scanner_left"].1 > 3);
        // The station hears its own message, too.
        rig.discovery
            .heard_earlier(b"{\"cmps\":{\"other\":{\"p\":\"sensor\",\"name\":\"x\"}}}");
        rig.discovery.heard_online(1.0, rig.at(10.0));
        let said = rig.said(30.0).unwrap();
        assert!(!said.contains_key("scanner_right") && !said.contains_key("other"));
        assert!(message::entities_of(b"no JSON").is_empty());
    }
}
