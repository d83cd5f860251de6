//! Three sources: every way in which Kandji and Apple's two services can disagree, scanned and with `lookup`, and faults that never
//! make a lamp green.

use std::{collections::BTreeMap, time::Duration};

use benchlight::{
    readiness::{
        apple_business::simulator as apple_business,
        apple_dep::simulator as apple_dep,
        kandji::simulator::{self as kandji, demo::demo_stock},
    },
    simulator::{
        faults::Effect,
        stock::{self, Business, DEMO, Dep},
    },
};
use serde_json::Value;

use crate::support::{
    dashboard::Dashboard,
    mosquitto::{DASHBOARD, Mosquitto, STATION},
    station::Home,
};

const PATIENCE: Duration = Duration::from_secs(60);

struct Court {
    kandji: kandji::Tenant,
    apple: apple_dep::Simulator,
    business: apple_business::Simulator,
    mosquitto: Mosquitto,
}

impl Court {
    async fn new() -> Self {
        let demo = demo_stock();
        let options = kandji::Options {
            switches: demo.switches,
            ..kandji::Options::new("kandji-secret", demo.stock)
        };
        Self {
            kandji: kandji::serve(options).await.unwrap(),
            apple: apple_dep::serve(apple_dep::Options::demo()).await.unwrap(),
            business: apple_business::serve(apple_business::Options::demo())
                .await
                .unwrap(),
            mosquitto: Mosquitto::start(),
        }
    }

    fn home(&self, exit_at_eof: bool) -> Home {
        let demo = demo_stock();
        let sources = format!(
            "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{}\"\ntoken_credential = \"kandji-token\"\ntokens = {:?}\n\n\
             [[source]]\nname = \"apple\"\nkind = \"apple-dep\"\nurl = \"{}\"\ntoken_credential = \"apple-dep-token\"\n\n\
             [[source]]\nname = \"business\"\nkind = \"apple-business\"\nurl = \"{}\"\ntoken_url = \"{}\"\nclient_id = \"{}\"\nkey_id = \"{}\"\n\
             key_credential = \"apple-business-key\"\nexpected_servers = [\"{}\"]\n",
            self.kandji.base(),
            demo.tokens,
            self.apple.base(),
            self.business.api(),
            self.business.token_url(),
            apple_business::CLIENT_ID,
            apple_business::KEY_ID,
            stock::SERVER_UUID,
        );
        let mqtt = format!(
            "[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\nusername = \"{}\"\npassword_credential = \"mqtt-password\"\n",
            self.mosquitto.plain, STATION.0
        );
        let verdict = format!(
            "[verdict]\nexpected_blueprints = {:?}\nsettle = \"2s\"\n",
            demo.expected_blueprints
        );
        let home = Home::new(exit_at_eof, &sources, &mqtt, &verdict);
        home.credential("kandji-token", "kandji-secret");
        home.credential("apple-dep-token", &self.apple.credential());
        home.credential("apple-business-key", &self.business.credential());
        home.credential("mqtt-password", STATION.1);
        home
    }

    /// Adds a box that is ready in all three services.
    fn put_healthy(&self, serial: &str) {
        self.kandji
            .stock(|stock| stock.put(kandji::stock::Device::ready(serial)));
        self.apple
            .put(serial, Some(Dep::Assigned(Duration::from_hours(45 * 24))));
        self.business.put(serial, Some(Business::Ours));
    }

    async fn dashboard(&self) -> Dashboard {
        Dashboard::connect(self.mosquitto.plain, DASHBOARD, "benchlight/#").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_which_the_three_views_differ_reaches_the_broker_with_its_verdict() {
    let court = Court::new().await;
    let dashboard = court.dashboard().await;
    let home = court.home(true);
    let mut station = home.start();
    for one in DEMO {
        station.scan(one.serial.as_bytes());
    }
    station.end_input();
    assert!(
        station.ended_within(PATIENCE).expect("it ends").success(),
        "{}",
        home.log()
    );
    dashboard
        .wait("every scan", PATIENCE, |all| {
            all.iter().filter(|one| one.channel() == "scan").count() >= DEMO.len()
        })
        .await;
    let mut by_serial = BTreeMap::new();
    let mut ambiguous = 0;
    for event in dashboard
        .on("scan")
        .iter()
        .map(crate::support::dashboard::Received::json)
    {
        match event["subject"].as_str() {
            Some(serial) => drop(by_serial.insert(serial.to_owned(), event.clone())),
            None => ambiguous += usize::from(event["data"]["reason"] == "ambiguous"),
        }
    }
    for one in DEMO {
        if one.expected == "ambiguous" {
            continue;
        }
        let data = &by_serial[one.serial]["data"];
        assert_eq!(
            data["reason"], one.expected,
            "{} ({}): {data}",
            one.serial, one.story
        );
        assert_eq!(
            data["evidence"].as_array().unwrap().len(),
            3,
            "each witness is a line of evidence: {data}"
        );
    }
    assert_eq!(
        ambiguous,
        DEMO.iter()
            .filter(|one| one.expected == "ambiguous")
            .count()
    );
    let ready = &by_serial["DEMOREADY001"]["data"];
    assert_eq!(ready["grade"], "apple");
    for (name, violations) in [
        ("kandji", court.kandji.violations()),
        ("apple", court.apple.violations()),
        ("business", court.business.violations()),
    ] {
        assert_eq!(
            violations,
            Vec::<String>::new(),
            "{name} would have understood every question"
        );
    }
    let log = home.log();
    let token: Value = serde_json::from_str(&court.apple.credential()).unwrap();
    for secret in [
        token["consumer_secret"].as_str().unwrap(),
        token["access_secret"].as_str().unwrap(),
        "kandji-secret",
        "PRIVATE KEY",
    ] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lookup_shows_the_witnesses_side_by_side_for_each_way_they_differ() {
    let court = Court::new().await;
    let home = court.home(false);
    let serials: Vec<&str> = DEMO.iter().map(|one| one.serial).collect();
    // At the same time, because the box whose service is silent takes long.
    let output = home
        .command(&["lookup", "--json"])
        .args(&serials)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found.len(), DEMO.len());
    for (one, data) in DEMO.iter().zip(&found) {
        assert_eq!(
            data["reason"], one.expected,
            "{} ({}): {data}",
            one.serial, one.story
        );
    }
    let output = home.command(&["lookup", "C02CX1WWJG61"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for words in [
        "Status in the MDM",
        "Profile at Apple",
        "MDM server at Apple",
        "contradiction",
        "business says no (unassigned)",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// Any fault of the network or service, at any one or two of the three services, for a ready box: always unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_box_under_faults_alone_and_in_pairs_is_only_ever_unknown() {
    let court = Court::new().await;
    let home = court.home(false);
    let mut station = home.start();
    station.scan(b"C02XK0AAJG5H");
    assert_eq!(station.answer().reason, "assigned", "{}", home.log());
    let effects = [
        Effect::Status(500),
        Effect::Status(401),
        Effect::Status(403),
        Effect::Status(418),
        Effect::TooMany { retry_after: None },
        Effect::Html,
        Effect::CutJson,
        Effect::CutBody,
        Effect::Huge { bytes: 9_000_000 },
        Effect::Silence(Duration::from_secs(3)),
        Effect::Reset,
        Effect::Drop,
        Effect::Redirect("http://127.0.0.1:9/".to_owned()),
    ];
    let services = [
        court.kandji.faults(),
        court.apple.faults(),
        court.business.faults(),
    ];
    let mut asked = 0;
    for first in 0..3 {
        for second in first..3 {
            for (nth, effect) in effects.iter().enumerate() {
                // In pairs a different effect each time; alone the same one.
                let other = &effects[(nth * 5 + second) % effects.len()];
                services[first].all(effect.clone());
                if second != first {
                    services[second].all(other.clone());
                }
                // A new box each time: a look-up that a fault has delayed may still get the true answer.
                let serial = format!("FVFGK{asked:03}Q6L4");
                court.put_healthy(&serial);
                station.scan(serial.as_bytes());
                let answer = loop {
                    let answer = station.answer();
                    if !answer.change && answer.serial == serial {
                        break answer;
                    }
                };
                assert_eq!(
                    answer.verdict, "unknown",
                    "services {first} and {second}, {effect:?} and {other:?}: {answer:?}"
                );
                asked += 1;
                services.iter().for_each(|service| service.clear());
            }
        }
    }
    assert_eq!(asked, 6 * effects.len());
    // It recovers without a restart, once the refused credentials have been tried again.
    let begun = std::time::Instant::now();
    loop {
        asked += 1;
        let serial = format!("FVFGK{asked:03}Q6L4");
        court.put_healthy(&serial);
        station.scan(serial.as_bytes());
        let answer = loop {
            let answer = station.answer();
            if !answer.change && answer.serial == serial {
                break answer;
            }
        };
        if answer.reason == "assigned" {
            break;
        }
        assert_eq!(answer.verdict, "unknown");
        assert!(
            begun.elapsed() < Duration::from_secs(90),
            "it does not heal: {answer:?}\n{}",
            home.log()
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}
