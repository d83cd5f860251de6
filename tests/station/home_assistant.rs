//! Home Assistant finds a station by itself, shows what it does, and keeps it over restarts of either.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::{
    scans::World,
    support::{
        eventually,
        home_assistant::{Household, Seen},
    },
};

const SOON: Duration = Duration::from_secs(60);
/// It starts in half a minute, and in more on a busy machine.
const START: Duration = Duration::from_secs(300);

fn id(key: &str) -> String {
    format!("benchlight_test_bench-1_{key}")
}

impl Seen {
    fn state(&self, key: &str) -> &str {
        let entity = self.entities.get(&id(key));
        entity
            .and_then(|entity| entity["state"].as_str())
            .unwrap_or("none")
    }

    fn attribute(&self, key: &str, name: &str) -> Value {
        self.entities
            .get(&id(key))
            .map(|entity| entity["attributes"][name].clone())
            .unwrap_or_default()
    }

    /// The words of an event entity's events, in order.
    fn words(&self, key: &str) -> Vec<&str> {
        let entity = &self.entities[&id(key)]["entity"];
        let events = self
            .events
            .iter()
            .filter(|event| event["entity"] == *entity);
        events
            .map(|event| event["event_type"].as_str().unwrap())
            .collect()
    }

    fn are(&self, states: &[(&str, &str)]) -> bool {
        states.iter().all(|(key, state)| self.state(key) == *state)
    }
}

/// How often the broker has received a message from that client on that topic.
fn said(world: &World, client: &str, topic: &str) -> usize {
    let from = format!("Received PUBLISH from {client} ");
    let log = world.mosquitto.log();
    let lines = log.lines().filter(|line| line.contains(&from));
    lines.filter(|line| line.contains(topic)).count()
}

#[ignore = "needs a Home Assistant: tests/run --slow"]
#[tokio::test(flavor = "multi_thread")]
async fn home_assistant_finds_a_station_and_keeps_it_over_every_restart() {
    let mut world = World::new().await;
    let household = match Household::new(world.mosquitto.plain) {
        Ok(household) => household,
        Err(why) => return println!("SKIPPED: {why}"),
    };
    let mut home_assistant = household.start();
    let home = world.home(false, "[home_assistant]\n");
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(
        home.config(),
        config.replace(
            "kind = \"kandji\"\n",
            "kind = \"kandji\"\nreplica = \"fallback\"\n",
        ),
    )
    .unwrap();
    let mut station = home.start();

    let seen = home_assistant.wait("its entities", START, |seen| {
        seen.are(&[("able", "on"), ("today_ready", "0"), ("lane_main", "off")])
            && seen.state("replica_kandji") != "unknown"
    });
    shows_every_part(&seen);

    let box_with = |reason: &str| {
        let mut fitting = world.demo.samples.iter();
        fitting
            .find(|sample| sample.reason == reason)
            .unwrap()
            .serial
    };
    let (ready, not_ready) = (box_with("assigned"), box_with("profile_removed"));
    for code in [ready, ready, not_ready, "490154203237518"] {
        station.scan(code.as_bytes());
        station.answer();
        // The same code within 1.5 s would be the same scan.
        tokio::time::sleep(Duration::from_millis(1_600)).await;
    }
    let words = ["ready", "ready", "not_ready", "rescan"];
    let seen = home_assistant.wait("an event for each scan, and the day", SOON, |seen| {
        seen.words("scan") == words
            && seen.are(&[
                ("today_ready", "1"),
                ("today_not_ready", "1"),
                ("today_rescan", "1"),
            ])
    });
    assert_eq!(seen.state("verdict"), "rescan");
    assert_eq!(seen.attribute("verdict", "reason"), "imei");
    assert_eq!(seen.attribute("verdict", "message"), "That is the IMEI.");
    assert!(
        seen.state("last_scan").starts_with("20"),
        "{}",
        seen.state("last_scan")
    );

    // A service that is away: the box is undecided, the station unable, with its reason.
    world
        .kandji
        .faults()
        .all(benchlight::simulator::faults::Effect::Status(401));
    station.scan(not_ready.as_bytes());
    station.answer();
    home_assistant.wait("undecided and unable", SOON, |seen| {
        seen.are(&[
            ("verdict", "undecided"),
            ("able", "off"),
            ("source_kandji", "on"),
            ("today_undecided", "1"),
        ]) && seen.attribute("able", "reason") == "credentials_refused"
            && seen.words("scan").last() == Some(&"undecided")
            && seen
                .state("problems")
                .parse::<u32>()
                .is_ok_and(|problems| problems > 0)
    });
    world.kandji.faults().clear();
    home_assistant.wait("a change when it answers again", START, |seen| {
        seen.are(&[("able", "on"), ("source_kandji", "off")]) && seen.words("change") == ["recheck"]
    });

    // The broker goes away, and what was scanned meanwhile comes as a replay: no event.
    world.mosquitto.kill();
    station.scan(ready.as_bytes());
    station.answer();
    world.mosquitto.run();
    eventually("Home Assistant is connected again", START, || {
        said(&world, "home-assistant", "homeassistant/status") == 2
    })
    .await;
    let discovery = "homeassistant/device/benchlight-test/bench-1/config";
    eventually("it is told of the station once more", SOON, || {
        said(&world, "bench-1", discovery) >= 3
    })
    .await;
    home_assistant.wait("it shows the station, and all is sent", SOON, |seen| {
        seen.are(&[("able", "on"), ("unsent", "0"), ("today_ready", "1")])
    });
    station.scan(ready.as_bytes());
    station.answer();
    let events = 6;
    home_assistant.wait("an event for the scan after that alone", SOON, |seen| {
        seen.words("scan").len() == events
    });

    // The station dies, and comes back without a scanner of that name.
    station.kill();
    home_assistant.wait("it is unavailable", SOON, |seen| {
        seen.entities
            .values()
            .all(|entity| entity["state"] == "unavailable")
    });
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(
        home.config(),
        config.replace("name = \"pipe\"", "name = \"tube\""),
    )
    .unwrap();
    let mut station = home.start();
    let seen = home_assistant.wait("it is back, with another scanner", SOON, |seen| {
        seen.are(&[
            ("able", "on"),
            ("scanner_tube", "on"),
            ("scanner_pipe", "none"),
            ("today_ready", "1"),
        ])
    });
    assert_eq!(
        seen.words("scan").len(),
        events,
        "no event is repeated: {:?}",
        seen.events
    );
    let mut complaints = seen.complaints.iter();
    assert!(
        complaints.all(|complaint| complaint.contains("connection")),
        "of the broker's end alone: {:?}",
        seen.complaints
    );
    home_assistant.stop();

    let mut home_assistant = household.start();
    let seen = home_assistant.wait(
        "all is there after Home Assistant's restart",
        START,
        |seen| {
            seen.are(&[
                ("able", "on"),
                ("scanner_tube", "on"),
                ("scanner_pipe", "none"),
                ("verdict", "ready"),
                ("today_ready", "1"),
            ])
        },
    );
    assert_eq!(
        seen.events,
        [Value::Null; 0],
        "nothing that was kept is an event"
    );
    station.scan(not_ready.as_bytes());
    station.answer();
    let seen = home_assistant.wait("an event", SOON, |seen| seen.words("scan") == ["not_ready"]);
    assert_eq!(seen.complaints, [""; 0].map(str::to_owned));
    home_assistant.stop();
}

fn shows_every_part(seen: &Seen) {
    let mut keys: Vec<&str> = seen
        .entities
        .keys()
        .map(|id| id.strip_prefix("benchlight_test_bench-1_").unwrap())
        .collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "able",
            "change",
            "clock",
            "expiry_kandji",
            "lane_main",
            "last_scan",
            "problems",
            "quota_kandji",
            "replica_kandji",
            "scan",
            "scanner_pipe",
            "source_kandji",
            "today_not_ready",
            "today_ready",
            "today_rescan",
            "today_undecided",
            "today_wait",
            "unsent",
            "verdict",
            "waiting",
        ]
    );
    assert!(
        seen.entities
            .values()
            .all(|entity| entity["device"] == "Bench 1")
    );
    assert_eq!(
        seen.entities[&id("able")]["entity"],
        "binary_sensor.bench_1_able"
    );
    assert_eq!(seen.state("scanner_pipe"), "on");
    assert_eq!(seen.attribute("scanner_pipe", "condition"), "ok");
    assert_eq!(seen.state("source_kandji"), "off");
    assert_eq!(seen.state("verdict"), "unknown", "nothing was scanned");
    assert!(
        seen.state("expiry_kandji").starts_with("20"),
        "{}",
        seen.state("expiry_kandji")
    );
    assert_eq!(seen.complaints, [""; 0].map(str::to_owned));
}
