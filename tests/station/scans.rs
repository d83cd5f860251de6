//! From the pipe to the dashboard: every scan is answered, recorded and delivered once.

use std::{collections::BTreeMap, fs, os::fd::OwnedFd, time::Duration};

use benchlight::readiness::kandji::simulator::{
    self as kandji, Tenant,
    demo::{Demo, demo_stock},
};
use serde_json::Value;

use crate::support::{
    dashboard::Dashboard,
    eventually,
    lamps::{Lamps, Lit},
    mosquitto::{DASHBOARD, Mosquitto, STATION},
    station::{Home, ResultLine, Station},
    system,
};

const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "kandji-secret-token";

/// A simulated Kandji with a box for each of its answers, a broker, and a dashboard.
pub(crate) struct World {
    pub(crate) demo: Demo,
    pub(crate) kandji: Tenant,
    pub(crate) mosquitto: Mosquitto,
}

impl World {
    pub(crate) async fn new() -> Self {
        let demo = demo_stock();
        let options = kandji::Options {
            switches: demo.switches.clone(),
            ..kandji::Options::new(TOKEN, demo.stock.clone())
        };
        Self {
            kandji: kandji::serve(options).await.unwrap(),
            demo,
            mosquitto: Mosquitto::start(),
        }
    }

    pub(crate) async fn dashboard(&self) -> Dashboard {
        Dashboard::connect(self.mosquitto.plain, DASHBOARD, "benchlight/#").await
    }

    /// A station on standard input that uses all of these.
    pub(crate) fn home(&self, exit_at_eof: bool, more: &str) -> Home {
        let source = format!(
            "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{}\"\ntoken_credential = \"kandji-token\"\ntokens = {:?}\n",
            self.kandji.base(),
            self.demo.tokens
        );
        let mqtt = self.mosquitto.section();
        let verdict = format!(
            "[verdict]\nexpected_blueprints = {:?}\nsettle = \"2s\"\n",
            self.demo.expected_blueprints
        );
        let home = Home::new(exit_at_eof, &source, &mqtt, &format!("{verdict}{more}"));
        home.credential("kandji-token", TOKEN);
        home.credential("mqtt-password", STATION.1);
        home
    }
}

fn ids(events: &[Value]) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for event in events {
        *ids.entry(event["id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    ids
}

fn scans_of(dashboard: &Dashboard) -> Vec<Value> {
    dashboard
        .on("scan")
        .iter()
        .map(crate::support::dashboard::Received::json)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brokers_refusal_leaks_neither_payload_nor_password_into_the_log() {
    let world = World::new().await;
    // A user who may read everything and write nothing.
    let home = world.home(false, "");
    home.credential("mqtt-password", DASHBOARD.1);
    let config = fs::read_to_string(home.config()).unwrap();
    let user = |name: &str| format!("username = \"{name}\"");
    assert!(config.contains(&user(STATION.0)));
    fs::write(
        home.config(),
        config.replace(
            &user(STATION.0),
            &format!("{}\npublish_raw = true", user(DASHBOARD.0)),
        ),
    )
    .unwrap();
    let mut station = home.start();
    let imei = "490154203237518";
    station.scan(imei.as_bytes());
    assert_eq!(station.answer().reason, "imei");
    eventually("the refusal is reported", PATIENCE, || {
        home.log().contains("does not let")
    })
    .await;
    let log = home.log();
    for leak in [imei, "specversion", DASHBOARD.1, TOKEN, "rumqttc"] {
        assert!(!log.contains(leak), "{leak:?} stands in the log:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verdict_of_a_piped_run_arrives_once_and_seq_has_no_gap() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(true, "");
    let mut station = home.start();
    for sample in &world.demo.samples {
        station.scan(sample.serial.as_bytes());
    }
    station.scan(b"490154203237518");
    station.end_input();
    let status = station
        .ended_within(PATIENCE)
        .expect("it ends at the end of its input");
    assert!(status.success(), "{}", home.log());
    let answers = station.rest();
    let by_serial: BTreeMap<&str, &ResultLine> = answers
        .iter()
        .filter(|answer| !answer.change)
        .map(|answer| (answer.serial.as_str(), answer))
        .collect();
    for sample in &world.demo.samples {
        let found = answers.iter().any(|answer| {
            let is_it = answer.serial == sample.serial
                || sample.serial.strip_prefix('S') == Some(&answer.serial)
                || answer.serial == "-";
            is_it && answer.reason == sample.reason
        });
        assert!(
            found,
            "{} ({}): expected {}, got {:?}",
            sample.serial,
            sample.words,
            sample.reason,
            by_serial.get(sample.serial)
        );
    }
    let scans = scans_of(&dashboard);
    assert_eq!(scans.len(), world.demo.samples.len() + 1);
    assert!(ids(&scans).values().all(|times| *times == 1), "each once");
    for answer in answers.iter().filter(|answer| !answer.change) {
        let event = scans
            .iter()
            .find(|event| event["id"] == answer.id.as_str())
            .expect("every answer was delivered");
        assert_eq!(
            (
                event["data"]["verdict"].as_str(),
                event["data"]["reason"].as_str()
            ),
            (Some(answer.verdict.as_str()), Some(answer.reason.as_str()))
        );
        assert_eq!(event["data"]["message"], answer.message.as_str());
    }
    let mut places: Vec<u64> = dashboard.places().into_keys().map(|(_, seq)| seq).collect();
    places.sort_unstable();
    assert_eq!(
        places,
        (1..=places.len() as u64).collect::<Vec<_>>(),
        "seq counts 1, 2, 3 over scans and changes"
    );
    assert_eq!(
        world.kandji.violations(),
        Vec::<String>::new(),
        "Kandji would have understood every question"
    );
    let log = home.log();
    assert!(
        !log.contains(TOKEN) && !log.contains(STATION.1),
        "no secret in the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_serial_number_is_a_rescan_and_is_never_sent_on() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(true, "");
    let mut station = home.start();
    let mut long = vec![b'A'; 5_000];
    long.extend_from_slice(b"Z9");
    let codes: [&[u8]; 12] = [
        b"C02XK0\x00AAJG5H",
        b"\x1b[31mC02XK0AAJG5H",
        &long,
        b"C02XK0AA\xff\xfeJG5H",
        b"C02XK0AA&page=1",
        b"../../devices",
        b"C02XK%30AAJG5H",
        b"C02XK0AAJG5H#",
        b"C02XK0AA+JG5H",
        b"<script>alert(1)</script>",
        b"'; DROP TABLE scan;--",
        "C02XK0AAJG5\u{13a}".as_bytes(),
    ];
    for code in codes {
        station.scan(code);
    }
    station.end_input();
    assert!(
        station.ended_within(PATIENCE).unwrap().success(),
        "{}",
        home.log()
    );
    let answers = station.rest();
    assert_eq!(answers.len(), codes.len());
    for answer in &answers {
        assert_eq!(
            (
                answer.serial.as_str(),
                answer.verdict.as_str(),
                answer.reason.as_str()
            ),
            ("-", "rescan", "unreadable"),
            "{answer:?}"
        );
    }
    let asked = world.kandji.requests();
    assert!(
        asked
            .iter()
            .all(|request| !request.contains("C02") && !request.contains("script")),
        "{asked:?}"
    );
    let scans = scans_of(&dashboard);
    assert_eq!(scans.len(), codes.len());
    assert!(scans.iter().all(|event| event["subject"].is_null()
        && event["data"]["raw"].is_null()
        && event["data"]["evidence"] == serde_json::json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_box_turns_ready_by_itself_and_the_change_names_its_scan() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(false, "recheck = \"1s\"\n");
    let mut station = home.start();
    let serial = "DEMOSOON0003";
    station.scan(serial.as_bytes());
    let first = station.answer();
    assert_eq!(
        (first.verdict.as_str(), first.reason.as_str()),
        ("wait", "assignment_pending")
    );
    world
        .kandji
        .stock(|stock| stock.put(kandji::stock::Device::ready(serial)));
    let change = station.answer();
    assert_eq!(
        (
            change.change,
            change.verdict.as_str(),
            change.reason.as_str()
        ),
        (true, "ready", "assigned")
    );
    dashboard
        .wait("the change", PATIENCE, |all| {
            all.iter().any(|one| one.channel() == "change")
        })
        .await;
    let event = dashboard.on("change").first().unwrap().json();
    assert_eq!(event["type"], "io.benchlight.change.v1");
    let data = &event["data"];
    assert_eq!(
        (data["scan"].as_str(), data["cause"].as_str()),
        (Some(first.id.as_str()), Some("recheck"))
    );
    assert_eq!(
        (
            data["previous_verdict"].as_str(),
            data["previous_reason"].as_str()
        ),
        (Some("wait"), Some("assignment_pending"))
    );
    assert_eq!(
        (data["lamp"].as_str(), data["previous"].as_str()),
        (Some("none"), Some(first.id.as_str()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_costs_no_scan_its_answer_and_no_message() {
    let mut world = World::new().await;
    world.mosquitto.kill();
    let home = world.home(false, "");
    let mut station = home.start();
    let mut given = Vec::new();
    for sample in world.demo.samples.iter().take(8) {
        station.scan(sample.serial.as_bytes());
        given.push(station.answer().id);
    }
    world.mosquitto.run();
    let dashboard = world.dashboard().await;
    dashboard
        .wait("all scans", PATIENCE, |all| {
            given
                .iter()
                .all(|id| all.iter().any(|one| one.json()["id"] == id.as_str()))
        })
        .await;
    let late = scans_of(&dashboard);
    assert!(
        late.iter().all(|event| event["data"]["replay"] == true),
        "what was recorded before the link was up is the backlog"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_within_five_seconds_and_says_goodbye() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(false, "");
    let mut station = home.start();
    station.scan(b"DEMOREADY001");
    assert_eq!(station.answer().reason, "assigned");
    // A scan is in progress, and the service is silent.
    station.scan(b"DEMOQUIET021");
    std::thread::sleep(Duration::from_millis(100));
    station.signal("TERM");
    let status = station
        .ended_within(Duration::from_secs(5))
        .expect("it ends within 5 s");
    assert!(status.success(), "{}", home.log());
    assert_eq!(
        station
            .rest()
            .last()
            .map(|answer| answer.reason.clone())
            .as_deref(),
        Some("timeout"),
        "the scan under way was answered"
    );
    dashboard
        .wait("offline", PATIENCE, |all| {
            all.iter()
                .rev()
                .find(|one| one.channel() == "availability")
                .is_some_and(|one| one.text() == "offline")
        })
        .await;
    assert_eq!(dashboard.count("scan"), 2);
}

/// Starts a command whose standard error, and so its lamps, go to this terminal.
pub(crate) fn start_on(terminal: OwnedFd, home: &Home, words: &[&str]) -> Station {
    let mut command = home.command(words);
    command
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .stderr(terminal);
    Station::of(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signal_that_asks_for_the_end_leaves_the_lamps_dark() {
    let world = World::new().await;
    let home = world.home(false, "");
    for signal in ["TERM", "INT", "QUIT", "HUP"] {
        let (lamps, terminal) = Lamps::open();
        let mut station = start_on(terminal, &home, &["run"]);
        station.scan(b"DEMOREADY001");
        assert_eq!(station.answer().reason, "assigned");
        eventually("green", PATIENCE, || lamps.now().0 == Lit::GREEN).await;
        station.signal(signal);
        let status = station
            .ended_within(Duration::from_secs(5))
            .expect("it ends within 5 s");
        assert_eq!(status.code(), Some(0), "SIG{signal}: {status}");
        eventually("dark", PATIENCE, || lamps.now().0 == Lit::DARK).await;
        assert!(lamps.text().contains("asked to stop"), "{}", lamps.text());

        let (lamps, terminal) = Lamps::open();
        let mut test = start_on(terminal, &home, &["lamps", "test"]);
        eventually("lit", PATIENCE, || lamps.now().0.green).await;
        test.signal(signal);
        let status = test
            .ended_within(Duration::from_secs(1))
            .expect("it ends before its lamps would");
        assert_eq!(status.code(), Some(1), "lamps test, SIG{signal}: {status}");
        eventually("dark", PATIENCE, || lamps.now().0 == Lit::DARK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_takes_any_more_keeps_the_agent_neither_from_answering_nor_from_ending_in_order()
 {
    let world = World::new().await;
    let home = world.home(false, "");
    let (log, terminal) = std::io::pipe().unwrap();
    let mut station = start_on(terminal.into(), &home, &["run"]);
    station.scan(b"DEMOREADY001");
    assert_eq!(station.answer().reason, "assigned");
    drop(log);
    station.scan(b"DEMOWAIT0004");
    assert_eq!(station.answer().reason, "assignment_pending");
    station.signal("HUP");
    let status = station
        .ended_within(Duration::from_secs(5))
        .expect("it ends within 5 s");
    assert_eq!(status.code(), Some(0), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_told_to_survive_the_end_of_the_session_does() {
    let world = World::new().await;
    let home = world.home(false, "");
    let mut station = home.start_under(&["nohup"]);
    station.scan(b"DEMOREADY001");
    assert_eq!(station.answer().reason, "assigned");
    station.signal("HUP");
    station.scan(b"DEMOWAIT0004");
    assert_eq!(station.answer().reason, "assignment_pending");
    station.signal("TERM");
    assert!(
        station
            .ended_within(Duration::from_secs(5))
            .expect("it ends within 5 s")
            .success(),
        "{}",
        home.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_that_was_proven_is_so_after_a_restart() {
    let world = World::new().await;
    let home = world.home(false, "");
    let proven = |all: &[crate::support::dashboard::Received]| -> Vec<Value> {
        all.iter()
            .filter(|one| one.channel() == "health" && !one.retained)
            .map(|one| one.json()["scanners"]["pipe"]["proven"].clone())
            .collect()
    };
    let dashboard = world.dashboard().await;
    let mut station = home.start();
    dashboard
        .wait("health", PATIENCE, |all| !proven(all).is_empty())
        .await;
    assert_eq!(proven(&dashboard.all())[0], false);
    station.scan(b"DEMOREADY001");
    assert_eq!(station.answer().reason, "assigned");
    station.kill();
    drop(dashboard);
    let dashboard = world.dashboard().await;
    let station = home.start();
    dashboard
        .wait("health", PATIENCE, |all| !proven(all).is_empty())
        .await;
    assert_eq!(proven(&dashboard.all())[0], true, "{}", home.log());
    drop(station);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_to_a_keyboard_type_scanner_may_come_late() {
    let world = World::new().await;
    let home = world.home(false, "");
    // A file in its place: it can be opened, but is not an input device.
    let device = home.path("usb-wedge-event-kbd");
    fs::write(&device, "").unwrap();
    let config = fs::read_to_string(home.config()).unwrap();
    assert!(config.contains("kind = \"stdin\"\n"));
    fs::write(
        home.config(),
        config.replace(
            "kind = \"stdin\"\n",
            &format!("kind = \"hid\"\ndevice = {device:?}\n"),
        ),
    )
    .unwrap();
    let mut command = match home.command_as_nobody(&["run"]) {
        Ok(command) => command,
        Err(why) => return println!("SKIPPED: {why}"),
    };
    let device = device.to_str().unwrap();
    system("chown", &["root", device]).unwrap();
    system("chmod", &["600", device]).unwrap();
    command.stderr(fs::File::create(home.path("log")).unwrap());
    let station = Station::of(command);
    eventually("the missing permission is reported", PATIENCE, || {
        home.log()
            .contains("may not be opened by this user: add the agent's user to the group `input`")
    })
    .await;
    system("chmod", &["644", device]).unwrap();
    eventually("it is opened", Duration::from_secs(3), || {
        home.log().contains(&format!("cannot open {device}: "))
    })
    .await;
    assert!(!home.log().contains("is not there"), "{}", home.log());
    drop(station);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_one_state_dir_says_so_and_ends_with_1() {
    let world = World::new().await;
    let home = world.home(false, "");
    let mut station = home.start();
    station.scan(b"DEMOREADY001");
    station.answer();
    let second = home.command(&["run"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(words.contains("in use by another benchlight"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_waits_is_still_asked_again_after_a_restart() {
    let world = World::new().await;
    let home = world.home(false, "recheck = \"1s\"\n");
    let mut station = home.start();
    station.scan(b"DEMOWAIT0004");
    assert_eq!(station.answer().reason, "assignment_pending");
    station.kill();
    world
        .kandji
        .stock(|stock| stock.put(kandji::stock::Device::ready("DEMOWAIT0004")));
    let station = home.start();
    let change = station.answer();
    assert_eq!(
        (
            change.change,
            change.serial.as_str(),
            change.reason.as_str()
        ),
        (true, "DEMOWAIT0004", "assigned")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lookup_says_what_a_scan_would_have_said() {
    let world = World::new().await;
    let home = world.home(false, "");
    for (serial, reason, code) in [
        ("DEMOREADY001", "assigned", 0),
        ("DEMOGONE0009", "profile_removed", 1),
        ("DEMOSTALE016", "stale", 2),
        ("490154203237518", "imei", 2),
    ] {
        let output = home
            .command(&["lookup", serial, "--json"])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{serial}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json[0]["reason"], reason);
        assert!(json[0]["epoch"].is_null() && json[0]["seq"].is_null());
    }
    let output = home.command(&["lookup", "DEMOREADY001"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("ready / assigned") && text.contains("Status in the MDM"),
        "{text}"
    );
}
