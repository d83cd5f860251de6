//! The doctor with the real binary: what it finds of each part, and that it does not disturb a running agent.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use benchlight::{
    journal::survey,
    readiness::{
        apple_business::simulator as apple_business,
        apple_dep::simulator as apple_dep,
        kandji::simulator::{self as kandji, stock::Stock, stock::Token},
    },
    simulator::{
        faults::Effect,
        stock::{OTHER_SERVER_NAME, OTHER_SERVER_UUID, SERVER_NAME, SERVER_UUID},
    },
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    scans::World,
    support::{
        dashboard::{Dashboard, Received},
        eventually, free_port,
        mosquitto::{Mosquitto, STATION},
        station::Home,
    },
};

const TOKEN: &str = "kandji-secret-token";
const PATIENCE: Duration = Duration::from_secs(30);
const PINS: &str = "kind = \"gpio\"\ndriver = \"gpiochip\"\nchip = \"/nonexistent/gpiochip\"\ngreen = 17\nred = 27";

/// The doctor's report.
struct Visit {
    code: i32,
    lines: Vec<Value>,
    err: String,
}

impl Visit {
    /// Runs the doctor. It finishes in time, whatever hangs, and never prints a secret.
    fn to(home: &Home) -> Self {
        Self::of(
            home.command(&["doctor", "--json"])
                .env_remove("CREDENTIALS_DIRECTORY"),
        )
    }

    fn of(command: &mut Command) -> Self {
        let started = Instant::now();
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "{:?}",
            started.elapsed()
        );
        let (out, err) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        for secret in [TOKEN, STATION.1, "wrong-token"] {
            assert!(
                !out.contains(secret) && !err.contains(secret),
                "{secret} in {out}{err}"
            );
        }
        let lines: Vec<Value> =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        for line in &lines {
            let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["finding", "part", "remedy", "state"]);
            assert!(line.as_object().unwrap().values().all(Value::is_string));
            assert!(
                line["state"] != "fail" || line["remedy"] != "",
                "no remedy: {line}"
            );
        }
        Self {
            code: output.status.code().unwrap(),
            lines,
            err,
        }
    }

    /// The only line about that part.
    fn part(&self, part: &str) -> &Value {
        let mut found = self.lines.iter().filter(|line| line["part"] == part);
        let line = found
            .next()
            .unwrap_or_else(|| panic!("no part {part:?} in {:#?}", self.lines));
        assert!(
            found.next().is_none(),
            "{part:?} twice in {:#?}",
            self.lines
        );
        line
    }

    #[track_caller]
    fn says(&self, part: &str, state: &str, words: &str) {
        let line = self.part(part);
        assert_eq!(line["state"], state, "{line:#}");
        let text = format!(
            "{} -> {}",
            line["finding"].as_str().unwrap(),
            line["remedy"].as_str().unwrap()
        );
        assert!(text.contains(words), "{part}: {text:?} has no {words:?}");
    }

    fn failed(&self) -> Vec<&str> {
        self.lines
            .iter()
            .filter(|line| line["state"] == "fail")
            .map(|line| line["part"].as_str().unwrap())
            .collect()
    }
}

/// Changes a home's config.
fn change(home: &Home, changes: &[(&str, &str)]) {
    let mut text = fs::read_to_string(home.config()).unwrap();
    for (old, new) in changes {
        assert!(text.contains(old), "{old:?} is not in {text}");
        text = text.replace(old, new);
    }
    fs::write(home.config(), text).unwrap();
}

fn kandji_source(url: &str, more: &str) -> String {
    format!(
        "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{url}\"\ntoken_credential = \"kandji-token\"\n{more}\n"
    )
}

/// A port on which nothing listens.
fn no_broker() -> String {
    format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n", free_port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_station_is_all_well_before_its_first_start_and_after_its_end() {
    let world = World::new().await;
    let home = world.home(true, "");
    let visit = Visit::to(&home);
    assert_eq!(
        (visit.code, visit.failed()),
        (0, vec![]),
        "{:#?}",
        visit.lines
    );
    visit.says("config", "ok", "is good");
    visit.says("scanner pipe", "ok", "standard input");
    visit.says("lamps main", "ok", "terminal");
    visit.says(
        "source kandji",
        "ok",
        "accepts the token and gives all three lists; ",
    );
    visit.says(
        "broker",
        "ok",
        "lets this station in without TLS as \"bench-1\"",
    );
    visit.says("journal", "ok", "is made at the first start");
    visit.part("clock");
    assert!(
        !home.path("state").exists(),
        "the doctor leaves nothing behind"
    );

    // Without a subscriber the records would wait.
    let _dashboard = world.dashboard().await;
    let mut station = home.start();
    station.scan(world.demo.samples[0].serial.as_bytes());
    station.end_input();
    assert!(station.ended_within(PATIENCE).unwrap().success());
    let visit = Visit::to(&home);
    assert_eq!(visit.code, 0, "{:#?}", visit.lines);
    visit.says(
        "journal",
        "ok",
        "can be read and written; everything is delivered",
    );
    visit.says("scanner pipe", "ok", "read a known serial number 20");
    visit.says("source kandji, fetch rhythm", "ok", "no rhythm yet");
    visit.says(
        "broker",
        "ok",
        "whether it may publish shows when the agent runs",
    );
    visit.says("disk", "ok", "the journal may grow to 1 GiB");
    assert!(
        world.kandji.violations().is_empty(),
        "{:?}",
        world.kandji.violations()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_written_anew_and_that_systemd_has_not_handed_over_yet_is_told() {
    let world = World::new().await;
    let home = world.home(true, "");
    let handed = TempDir::new().unwrap();
    let token = home.path("credentials/kandji-token");
    fs::copy(&token, handed.path().join("kandji-token")).unwrap();
    let ask = || {
        Visit::of(
            home.command(&["doctor", "--json"])
                .env("CREDENTIALS_DIRECTORY", handed.path()),
        )
    };
    let visit = ask();
    assert_eq!(visit.code, 0, "{:#?}", visit.lines);
    visit.says("source kandji", "ok", "accepts the token");

    fs::write(&token, "a newer one").unwrap();
    let visit = ask();
    visit.says(
        "source kandji",
        "warn",
        &format!("; {} holds another secret -> ", token.display()),
    );
    visit.says("source kandji", "warn", "sudo systemctl restart benchlight");
    visit.says("broker", "ok", "lets this station in");
    assert!(!format!("{:?}{}", visit.lines, visit.err).contains("a newer one"));

    // The credential handed over is refused: the doctor must not say both that a restart is needed and that it is not.
    fs::write(handed.path().join("kandji-token"), "wrong-token-of-before").unwrap();
    let visit = ask();
    visit.says("source kandji", "fail", "sudo systemctl restart benchlight");
    for line in &visit.lines {
        let remedy = line["remedy"].as_str().unwrap();
        assert!(
            !(remedy.contains("restart benchlight") && remedy.contains("no restart is needed")),
            "{line}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_running_agent_its_parts_are_in_use_and_it_loses_nothing() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(false, "");
    let port = free_port();
    change(
        &home,
        &[
            (
                "kind = \"stdin\"",
                &format!("kind = \"tcp\"\nlisten = \"127.0.0.1:{port}\""),
            ),
            ("kind = \"terminal\"", PINS),
        ],
    );
    let station = home.start();
    let is_online = |all: &[Received]| {
        all.iter()
            .any(|message| message.channel() == "availability" && message.text() == "online")
    };
    dashboard
        .wait("the agent is online", PATIENCE, is_online)
        .await;
    eventually("its port is open", PATIENCE, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;

    let visit = tokio::task::spawn_blocking(move || (Visit::to(&home), home))
        .await
        .unwrap();
    let (visit, home) = visit;
    // A device that the agent cannot open either is not reported as in use.
    assert_eq!(
        (visit.code, visit.failed()),
        (1, vec!["lamps main"]),
        "{:#?}",
        visit.lines
    );
    visit.says(
        "lamps main",
        "fail",
        "there is no GPIO chip at /nonexistent/gpiochip",
    );
    for part in ["scanner pipe", "journal"] {
        visit.says(part, "in_use", "in use by benchlight");
    }
    visit.says(
        "broker",
        "in_use",
        &format!(
            "in use by benchlight: 127.0.0.1:{} can be reached",
            world.mosquitto.plain
        ),
    );
    visit.says("source kandji", "ok", "accepts the token");

    // The agent still has its scanner, its journal and its session.
    assert!(survey::in_use(&home.path("state")).unwrap());
    let mut scanner = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    Write::write_all(
        &mut scanner,
        format!("{}\n", world.demo.samples[0].serial).as_bytes(),
    )
    .unwrap();
    dashboard
        .wait("the scan is delivered", PATIENCE, |all| {
            all.iter().any(|message| message.channel() == "scan")
        })
        .await;
    let words: Vec<String> = dashboard
        .on("availability")
        .iter()
        .map(Received::text)
        .collect();
    assert!(!words.contains(&"offline".to_owned()), "{words:?}");
    drop(station);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_without_an_end_key_is_named_by_health_and_by_the_doctor_until_it_has_one() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(false, "");
    let scanner = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&scanner).unwrap();
    unlockpt(&scanner).unwrap();
    let port = ptsname(&scanner, Vec::new())
        .unwrap()
        .into_string()
        .unwrap();
    let mut scanner = fs::File::from(scanner);
    change(
        &home,
        &[(
            "kind = \"stdin\"",
            &format!("kind = \"serial\"\ndevice = {port:?}"),
        )],
    );
    let in_health = async |unended: Option<bool>, dashboard: &Dashboard| {
        let says = |one: &Received| {
            let scanner = &one.json()["scanners"]["pipe"];
            scanner["state"] == "ok" && scanner["unended"].as_bool() == unended
        };
        let newest = |all: &[Received]| {
            all.iter()
                .rev()
                .find(|one| one.channel() == "health")
                .is_some_and(says)
        };
        dashboard.wait("health says so", PATIENCE, newest).await;
    };
    let mut station = home.start();
    in_health(None, &dashboard).await;
    for sample in world.demo.samples.iter().cycle().take(3) {
        scanner.write_all(sample.serial.as_bytes()).unwrap();
        assert_eq!(station.answer().serial, sample.serial);
    }
    in_health(Some(true), &dashboard).await;
    let visit = |home| tokio::task::spawn_blocking(move || (Visit::to(&home), home));
    let (seen, home) = visit(home).await.unwrap();
    assert_eq!(seen.code, 0, "it works: {:#?}", seen.lines);
    seen.says(
        "scanner pipe",
        "warn",
        "its codes arrive without an end key -> set the scanner's suffix to Enter (CR)",
    );
    station.signal("TERM");
    station.ended_within(PATIENCE).unwrap();
    let (seen, home) = visit(home).await.unwrap();
    seen.says(
        "scanner pipe",
        "warn",
        "its codes arrive without an end key -> set",
    );

    let station = home.start();
    in_health(None, &dashboard).await;
    scanner
        .write_all(format!("{}\r", world.demo.samples[0].serial).as_bytes())
        .unwrap();
    assert_eq!(station.answer().serial, world.demo.samples[0].serial);
    let (seen, _home) = visit(home).await.unwrap();
    seen.says("scanner pipe", "in_use", "read a known serial number");
}

#[tokio::test(flavor = "multi_thread")]
async fn six_broken_parts_are_all_named_with_their_remedies() {
    let tenant = kandji::serve(kandji::Options::new(TOKEN, Stock::of(Vec::new())))
        .await
        .unwrap();
    let dep = apple_dep::serve(apple_dep::Options::demo()).await.unwrap();
    dep.faults()
        .all(Effect::Date("Wed, 21 Oct 2015 07:28:00 GMT".to_owned()));
    let apple = format!(
        "[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\nurl = \"{}\"\n",
        dep.base()
    );
    let home = Home::new(
        false,
        &format!("{}{apple}", kandji_source(&tenant.base(), "")),
        &no_broker(),
        "",
    );
    change(
        &home,
        &[
            (
                "kind = \"stdin\"",
                "kind = \"serial\"\ndevice = \"/nonexistent/scanner\"",
            ),
            ("kind = \"terminal\"", PINS),
        ],
    );
    home.credential("kandji-token", "wrong-token");
    home.credential("apple-dep-token", &dep.credential());
    // There is a file in place of the folder.
    fs::write(home.path("state"), "").unwrap();
    let visit = Visit::to(&home);
    assert_eq!(visit.code, 1, "{:#?}", visit.lines);
    assert_eq!(
        visit.failed(),
        [
            "scanner pipe",
            "lamps main",
            "source kandji",
            "broker",
            "journal",
            "clock"
        ],
        "{:#?}",
        visit.lines
    );
    visit.says(
        "scanner pipe",
        "fail",
        "scanner /nonexistent/scanner is not there",
    );
    visit.says("lamps main", "fail", "check `driver`, `chip` and the pins");
    visit.says(
        "source kandji",
        "fail",
        "make a new credential with the rights",
    );
    visit.says(
        "source kandji",
        "fail",
        "cannot read the ADE integration list, the ADE device list, the device list",
    );
    visit.says("source apple", "ok", "days left");
    visit.says("broker", "fail", "start the broker, or check [mqtt] url");
    visit.says("journal", "fail", "cannot be written");
    visit.says("clock", "fail", "ahead of what apple's service says");

    // For people: one line for each part, only on standard output.
    let output = home.command(&["doctor"]).output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(1), "")
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), visit.lines.len());
    let broker = text.lines().find(|line| line.contains("broker")).unwrap();
    assert!(
        broker.starts_with("fail    broker ") && broker.contains("  ->  start the broker"),
        "{broker}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_hang_are_failures_by_name_and_hold_nobody_up() {
    let tenant = kandji::serve(kandji::Options::new(TOKEN, Stock::of(Vec::new())))
        .await
        .unwrap();
    tenant
        .faults()
        .all(Effect::Silence(Duration::from_secs(60)));
    let mosquitto = Mosquitto::start();
    mosquitto.freeze();
    let mqtt = format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n", mosquitto.plain);
    let home = Home::new(false, &kandji_source(&tenant.base(), ""), &mqtt, "");
    home.credential("kandji-token", TOKEN);
    let visit = tokio::task::spawn_blocking(move || Visit::to(&home))
        .await
        .unwrap();
    mosquitto.thaw();
    assert_eq!(
        (visit.code, visit.failed()),
        (1, vec!["source kandji", "broker"]),
        "{:#?}",
        visit.lines
    );
    visit.says("scanner pipe", "ok", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mdms_links_to_apple_are_shown_one_by_one() {
    let (hq, broken, foreign) = (
        "00000000-0000-0000-0000-00000000000a",
        "00000000-0000-0000-0000-00000000000b",
        "00000000-0000-0000-0000-00000000000c",
    );
    let mut stock = Stock {
        tokens: vec![Token::healthy(hq, "HQ", SERVER_UUID)],
        ..Stock::default()
    };
    stock.tokens.push(Token {
        status: "BROKEN".to_owned(),
        status_reason: Some("FORBIDDEN".to_owned()),
        ..Token::healthy(broken, "Labs", OTHER_SERVER_UUID)
    });
    stock.tokens.push(Token::healthy(
        foreign,
        "School",
        "0C0DE5A1B2F34C6D8E9FA0B1C2D3E4F5",
    ));
    let tenant = kandji::serve(kandji::Options::new(TOKEN, stock))
        .await
        .unwrap();
    let tokens = format!("tokens = [\"{hq}\", \"{broken}\", \"nobodys\"]");
    let home = Home::new(
        false,
        &kandji_source(&tenant.base(), &tokens),
        &no_broker(),
        "",
    );
    home.credential("kandji-token", TOKEN);
    let visit = Visit::to(&home);
    visit.says(
        "source kandji, ADE token HQ",
        "ok",
        "199 days left, last fetch 20",
    );
    visit.says(
        "source kandji, ADE token Labs",
        "fail",
        "answered `mdm_link_broken`: The ADE token \"Labs\" is BROKEN (FORBIDDEN). -> an administrator must renew it",
    );
    visit.says(
        "source kandji, ADE token School",
        "ok",
        "does not count here",
    );
    visit.says(
        "source kandji, ADE token nobodys",
        "fail",
        &format!("name one of these in `tokens`: HQ ({hq}), "),
    );

    // One of three permissions is missing: only a box that is not listed would show it.
    tenant.faults().path("/api/v1/devices", Effect::Status(403));
    let visit = Visit::to(&home);
    visit.says(
        "source kandji",
        "fail",
        "cannot read the device list of 127.0.0.1: The service refused",
    );
    visit.says("source kandji, ADE token HQ", "ok", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_do_not_fit_together_are_told() {
    let tokens = vec![Token::healthy(
        "00000000-0000-0000-0000-00000000000a",
        OTHER_SERVER_NAME,
        OTHER_SERVER_UUID,
    )];
    let tenant = kandji::serve(kandji::Options::new(
        TOKEN,
        Stock {
            tokens,
            ..Stock::default()
        },
    ))
    .await
    .unwrap();
    let dep = apple_dep::serve(apple_dep::Options::demo()).await.unwrap();
    let business = apple_business::serve(apple_business::Options::demo())
        .await
        .unwrap();
    let apple = format!(
        "[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\nurl = \"{}\"\n",
        dep.base()
    );
    let business_source = format!(
        "[[source]]\nname = \"business\"\nkind = \"apple-business\"\nurl = \"{}\"\ntoken_url = \"{}\"\nclient_id = \"{}\"\nkey_id = \"{}\"\nexpected_servers = [\"00000000000000000000000000000000\"]\n",
        business.api(),
        business.token_url(),
        apple_business::CLIENT_ID,
        apple_business::KEY_ID
    );
    let sources = format!(
        "{}{apple}{business_source}",
        kandji_source(&tenant.base(), "")
    );
    let home = Home::new(false, &sources, &no_broker(), "");
    home.credential("kandji-token", TOKEN);
    home.credential("apple-dep-token", &dep.credential());
    home.credential("apple-business-key", &business.credential());
    let visit = Visit::to(&home);
    visit.says(
        "source apple",
        "ok",
        &format!("it is for the MDM server {SERVER_NAME:?} ({SERVER_UUID})"),
    );
    visit.says(
        "source apple, server",
        "warn",
        "this token is for another server",
    );
    visit.says(
        "source business",
        "warn",
        "`expected_servers` names 00000000000000000000000000000000, which it does not have",
    );
    visit.says(
        "source business",
        "warn",
        &format!("{SERVER_NAME:?} = {SERVER_UUID}"),
    );
    for secret in [dep.credential(), business.credential()] {
        let lines = serde_json::to_string(&visit.lines).unwrap();
        assert!(
            secret
                .lines()
                .filter(|line| line.len() > 20)
                .all(|line| !lines.contains(line) && !visit.err.contains(line))
        );
    }

    // The servers' ids can be found out before any of them is in the config.
    change(
        &home,
        &[(
            "expected_servers = [\"00000000000000000000000000000000\"]",
            "",
        )],
    );
    let visit = Visit::to(&home);
    assert_eq!(visit.code, 78);
    visit.says(
        "source business",
        "warn",
        &format!("{SERVER_NAME:?} = {SERVER_UUID}"),
    );
    assert!(
        visit.err.contains("`expected_servers` is missing"),
        "{}",
        visit.err
    );
}

#[test]
fn right_after_the_install_the_doctor_tells_what_is_left_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/benchlight.toml");
    let text = fs::read_to_string(shipped).unwrap();
    let text = text.replace(
        "#state_dir = \"/var/lib/benchlight\"",
        &format!("state_dir = {:?}", folder.path().join("state")),
    );
    let text = text.replace(
        "#credentials_dir = \"/etc/benchlight/credentials\"",
        &format!("credentials_dir = {:?}", folder.path()),
    );
    let config = folder.path().join("benchlight.toml");
    fs::write(&config, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_benchlight"))
        .args(["doctor", "--config"])
        .arg(&config)
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |part: &str| {
        text.lines()
            .find(|line| line.contains(part))
            .unwrap_or_else(|| panic!("no {part:?} in {text}"))
    };
    assert!(
        line("source kandji ")
            .contains("credential \"kandji-token\" is missing  ->  write the secret to ")
    );
    assert!(
        line("source kandji, url").contains(
            "still the example's: acme.api.kandji.io  ->  write your own tenant's API URL"
        )
    );
    assert!(line("broker ").contains("still the example's: broker.example"));
    assert!(line("scanner left").starts_with("fail") || line("scanner left").starts_with("ok"));
    assert!(line("journal ").starts_with("ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_salvaged_and_records_that_wait_are_told() {
    let world = World::new().await;
    let home = world.home(true, "");
    let mut station = home.start();
    station.scan(b"C02NOTL1STED");
    station.end_input();
    assert!(station.ended_within(PATIENCE).unwrap().success());
    fs::write(
        home.path("state").join("journal.corrupt-20260101T000000Z"),
        [0; 2048],
    )
    .unwrap();
    let file = rusqlite::Connection::open(home.path("state").join("journal.sqlite")).unwrap();
    file.execute("UPDATE record SET delivered_at = NULL", [])
        .unwrap();
    file.execute(
        "UPDATE record SET aside = 'packet_too_large' WHERE row = (SELECT max(row) FROM record)",
        [],
    )
    .unwrap();
    let rows: u64 = file
        .query_row("SELECT count(*) FROM record", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
        .cast_unsigned();
    drop(file);
    let visit = Visit::to(&home);
    assert_eq!(visit.code, 0, "{:#?}", visit.lines);
    visit.says(
        "journal, salvaged",
        "warn",
        "journal.corrupt-20260101T000000Z (2 KiB)",
    );
    visit.says(
        "journal, set aside",
        "warn",
        &format!("1 record that the broker does not take: seq {rows} (packet_too_large)"),
    );
    visit.says(
        "scanner pipe",
        "warn",
        "none of its codes was a known serial number yet -> scan a box that the MDM knows",
    );
}

#[test]
fn where_nobody_can_tell_whether_an_agent_runs_nothing_that_it_may_hold_is_touched() {
    let home = Home::new(
        false,
        &kandji_source("http://127.0.0.1:9", ""),
        &no_broker(),
        "",
    );
    change(&home, &[("kind = \"terminal\"", PINS)]);
    home.credential("kandji-token", TOKEN);
    // The same as no permission for the folder.
    let state = home.path("state");
    std::os::unix::fs::symlink(&state, &state).unwrap();
    let visit = Visit::to(&home);
    visit.says(
        "lamps main",
        "warn",
        "not tried: an agent may hold them -> run this as root",
    );
    visit.says("scanner pipe", "warn", "was not tried");
    let output = home.command(&["lamps", "test"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("cannot tell whether a running agent holds the lamps")
    );
}
