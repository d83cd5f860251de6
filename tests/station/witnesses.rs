//! An MDM beside Apple's services: every way in which they can disagree, scanned and with `lookup`, and faults that never make a
//! lamp green, for every MDM that a station can ask.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use benchlight::{
    readiness::{
        evidence::{Grade, SourceKind},
        simulate,
    },
    simulator::{
        Introduction, Order,
        faults::Effect,
        fleet as generated,
        stock::{DEMO, DemoBox},
    },
};
use serde_json::Value;

use crate::support::{
    dashboard::{Dashboard, Received},
    mosquitto::{DASHBOARD, Mosquitto, STATION},
    station::{Home, ResultLine, Station},
};

const PATIENCE: Duration = Duration::from_secs(90);
/// Generated boxes besides the demo's.
const BOXES: u32 = 4_000;

/// The services of one station, simulated; the MDM is the first.
struct Court {
    mdm: SourceKind,
    services: Vec<Introduction>,
    mosquitto: Mosquitto,
}

impl Court {
    async fn new(mdm: SourceKind) -> Self {
        let apples = SourceKind::ALL
            .iter()
            .copied()
            .filter(|kind| !(kind.is_mdm() || kind.speaks_for_apple() && mdm.speaks_for_apple()));
        let mut services = Vec::new();
        for kind in [mdm].into_iter().chain(apples) {
            let order = Order {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                boxes: BOXES,
                limits: false,
            };
            services.push(simulate(kind, order).await.unwrap());
        }
        Self {
            mdm,
            services,
            mosquitto: Mosquitto::start(),
        }
    }

    /// A station that asks the first `asked` of the services.
    fn home(&self, asked: usize, exit_at_eof: bool) -> Home {
        let services = &self.services[..asked];
        let sources: Vec<&str> = services.iter().map(|one| one.source.as_str()).collect();
        let mqtt = self.mosquitto.section();
        let mut verdict = "[verdict]\nsettle = \"2s\"\n".to_owned();
        if self.mdm == SourceKind::Kandji {
            // As its simulator tells in a comment.
            let told = sources[0]
                .lines()
                .find_map(|line| line.strip_prefix("# and in [verdict]: "));
            verdict.extend([told.unwrap(), "\n"]);
        }
        if asked == 1 && self.mdm.proves() == Some(Grade::Intent) {
            verdict.push_str("min_grade = \"intent\"\n");
        }
        let home = Home::new(exit_at_eof, &sources.join("\n\n"), &mqtt, &verdict);
        for service in services {
            home.credential(service.credential.0, &service.credential.1);
        }
        home.credential("mqtt-password", STATION.1);
        home
    }

    /// What the station says of a box of the demo.
    fn expected(&self, one: &DemoBox) -> &'static str {
        let differs = self.services[0].differs.iter();
        let mut other = differs.filter(|(serial, _)| *serial == one.serial);
        other.next().map_or(one.expected, |(_, reason)| reason)
    }

    /// Generated boxes that are ready in all services.
    fn healthy(&self) -> impl Iterator<Item = String> {
        let healthy = |number: &u32| {
            let story = generated::story(*number);
            story.expected == "assigned" && self.expected(story) == "assigned"
        };
        (0..BOXES).filter(healthy).map(generated::serial)
    }

    fn no_question_was_misunderstood(&self) {
        for service in &self.services {
            assert_eq!(
                service.running.violations(),
                Vec::<String>::new(),
                "{}",
                service.source
            );
        }
    }

    fn no_secret_is_in(&self, text: &str) {
        for service in &self.services {
            let (name, secret) = &service.credential;
            // A token file and a key file have their secrets on lines of their own, or in quotes.
            for part in secret.split(['"', '\n']).filter(|part| part.len() >= 16) {
                assert!(!text.contains(part), "a secret of {name} is shown");
            }
        }
    }
}

fn answer_about(station: &mut Station, serial: &str) -> ResultLine {
    loop {
        let answer = station.answer();
        if !answer.change && answer.serial == serial {
            return answer;
        }
    }
}

/// A box that is healthy in all services is ready: what can only be listed has been read then.
fn await_green(station: &mut Station, healthy: &mut impl Iterator<Item = String>, home: &Home) {
    let begun = Instant::now();
    loop {
        let serial = healthy.next().unwrap();
        station.scan(serial.as_bytes());
        let answer = answer_about(station, &serial);
        if answer.reason == "assigned" {
            return;
        }
        assert_ne!(answer.verdict, "not_ready", "{answer:?}");
        assert!(begun.elapsed() < PATIENCE, "{answer:?}\n{}", home.log());
        std::thread::sleep(Duration::from_millis(500));
    }
}

async fn every_box_reaches_the_broker_with_its_verdict(mdm: SourceKind) {
    let court = Court::new(mdm).await;
    let dashboard = Dashboard::connect(court.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    let home = court.home(court.services.len(), true);
    let mut station = home.start();
    await_green(&mut station, &mut court.healthy(), &home);
    for one in DEMO {
        station.scan(one.serial.as_bytes());
    }
    station.end_input();
    assert!(
        station.ended_within(PATIENCE).expect("it ends").success(),
        "{}",
        home.log()
    );
    let told = |all: &[Received]| {
        let scans = all.iter().filter(|one| one.channel() == "scan");
        scans.count() > DEMO.len()
    };
    dashboard.wait("every scan", PATIENCE, told).await;
    let mut by_serial = BTreeMap::new();
    let mut ambiguous = 0;
    for event in dashboard.on("scan").iter().map(Received::json) {
        match event["subject"].as_str() {
            Some(serial) => drop(by_serial.insert(serial.to_owned(), event.clone())),
            None => ambiguous += usize::from(event["data"]["reason"] == "ambiguous"),
        }
    }
    let mut expected_ambiguous = 0;
    for one in DEMO {
        let expected = court.expected(one);
        if expected == "ambiguous" {
            expected_ambiguous += 1;
            continue;
        }
        let data = &by_serial[one.serial]["data"];
        assert_eq!(
            data["reason"], expected,
            "{} ({}): {data}",
            one.serial, one.story
        );
        let evidence = data["evidence"].as_array().unwrap().len();
        assert_eq!(
            evidence,
            court.services.len(),
            "each service is a line of evidence: {data}"
        );
    }
    assert_eq!(ambiguous, expected_ambiguous);
    assert_eq!(by_serial["DEMOREADY001"]["data"]["grade"], "apple");
    court.no_question_was_misunderstood();
    court.no_secret_is_in(&home.log());
}

async fn lookup_shows_each_box_alone_and_beside_apples_services(mdm: SourceKind) {
    for alone in [true, false] {
        // Anew, because a box that is assigned just now is assigned a while ago for who asks again.
        let court = Court::new(mdm).await;
        let asked = if alone { 1 } else { court.services.len() };
        let home = court.home(asked, false);
        let expected: Vec<(&str, &str)> = if alone {
            let boxes = court.services[0].boxes.iter();
            boxes
                .map(|(serial, reason, _)| (*serial, *reason))
                .collect()
        } else {
            DEMO.iter()
                .map(|one| (one.serial, court.expected(one)))
                .collect()
        };
        assert!(expected.len() > 20);
        // In one run, because the box whose service is silent takes long.
        let mut lookup = home.command(&["lookup", "--json"]);
        let output = lookup
            .args(expected.iter().map(|(serial, _)| serial))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found.len(), expected.len());
        for ((serial, reason), data) in expected.iter().zip(&found) {
            assert_eq!(data["reason"], *reason, "{serial}, {asked} asked: {data}");
        }
        court.no_secret_is_in(&said);
        court.no_question_was_misunderstood();
    }
}

/// Any fault of the network or service, at the MDM, alone and together with one of Apple's services, for a ready box: always unknown.
async fn a_healthy_box_under_faults_is_only_ever_unknown(mdm: SourceKind) {
    let court = Court::new(mdm).await;
    let home = court.home(court.services.len(), false);
    let mut station = home.start();
    let mut healthy = court.healthy();
    await_green(&mut station, &mut healthy, &home);
    let effects = [
        Effect::Status(500),
        Effect::Status(401),
        Effect::Status(403),
        Effect::Status(404),
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
    let faults: Vec<_> = court
        .services
        .iter()
        .map(|one| one.running.faults())
        .collect();
    for first in 0..faults.len() {
        for second in first..faults.len() {
            for (nth, effect) in effects.iter().enumerate() {
                // In pairs a different effect each time; alone the same one.
                let other = &effects[(nth * 5 + second) % effects.len()];
                faults[first].all(effect.clone());
                if second != first {
                    faults[second].all(other.clone());
                }
                // A new box each time: a look-up that a fault has delayed may still get the true answer.
                let serial = healthy.next().unwrap();
                station.scan(serial.as_bytes());
                let answer = answer_about(&mut station, &serial);
                // Of an MDM that can only be listed nobody asks about a box: its last complete pass is its word.
                let is_untouched = mdm.is_list_only() && (first, second) == (0, 0);
                let expected = if is_untouched { "ready" } else { "unknown" };
                assert_eq!(
                    answer.verdict, expected,
                    "services {first} and {second}, {effect:?} and {other:?}: {answer:?}"
                );
                for service in &faults {
                    service.clear();
                }
            }
        }
    }
    // It recovers without a restart, once the refused credentials have been tried again.
    await_green(&mut station, &mut healthy, &home);
}

/// The tests of one MDM.
macro_rules! of_mdm {
    ($name:ident, $kind:ident) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn every_box_reaches_the_broker_with_its_verdict() {
                super::every_box_reaches_the_broker_with_its_verdict(SourceKind::$kind).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn lookup_shows_each_box_alone_and_beside_apples_services() {
                super::lookup_shows_each_box_alone_and_beside_apples_services(SourceKind::$kind)
                    .await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_healthy_box_under_faults_is_only_ever_unknown() {
                super::a_healthy_box_under_faults_is_only_ever_unknown(SourceKind::$kind).await;
            }
        }
    };
}

/// So that no MDM is forgotten.
macro_rules! of_each {
    ($($name:ident $kind:ident,)*) => {
        $(of_mdm!($name, $kind);)*

        #[test]
        fn every_mdm_is_tried() {
            let mut tried = vec![$(SourceKind::$kind,)*];
            let all = SourceKind::ALL.iter().copied().filter(|kind| kind.is_mdm());
            let mut all: Vec<_> = all.collect();
            for kinds in [&mut tried, &mut all] {
                kinds.sort_by_key(|kind| kind.code());
            }
            assert_eq!(tried, all);
        }
    };
}

of_each! {
    kandji Kandji,
    fleet Fleet,
    zentral Zentral,
    nanodep NanoDep,
    micromdm MicroMdm,
    intune Intune,
    jamf Jamf,
}

/// Both sides of a contradiction are shown, each under its question.
#[tokio::test(flavor = "multi_thread")]
async fn lookup_shows_the_services_side_by_side() {
    let court = Court::new(SourceKind::Kandji).await;
    let home = court.home(court.services.len(), false);
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
