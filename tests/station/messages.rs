//! Every message is as `docs/schema` describes it, with no key more.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use benchlight::{
    health::{
        ByVerdict, Health, JournalHealth, LampCondition, LinkCondition, ReplicaCondition,
        ReplicaHealth, ScannerCondition, ScannerHealth, SourceHealth, Unable,
    },
    publisher::message,
    reason::Reason,
    runtime::name::Name,
};
use jiff::Timestamp;
use rumqttc::PublishProperties;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    scans::World,
    support::{
        dashboard::{Dashboard, Received},
        eventually,
        mosquitto::OPERATOR,
        tools,
    },
};

const PATIENCE: Duration = Duration::from_secs(40);

/// What is wrong with these messages, each with the name of its schema, and how many there were of each.
fn held(messages: &[(String, Value)]) -> (String, Value) {
    let mut checker = Command::new("python3")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/dashboards/schemas.py"
        ))
        .env("PYTHONPATH", tools("python"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = checker.stdin.take().unwrap();
    for message in messages {
        writeln!(stdin, "{}", json!(message)).unwrap();
    }
    drop(stdin);
    let output = checker.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (wrong, counts) = said.trim().rsplit_once('\n').unwrap_or(("", said.trim()));
    assert_eq!(output.status.success(), wrong.trim().is_empty(), "{said}");
    (
        wrong.trim().to_owned(),
        serde_json::from_str(counts).unwrap(),
    )
}

/// The name of its schema; `availability` is no JSON.
fn schema_of(message: &Received) -> Option<(String, Value)> {
    let name = match message.channel() {
        "last" => "scan",
        "availability" => return None,
        other => other,
    };
    Some((name.to_owned(), message.json()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_station_really_sends_is_what_the_schemas_describe() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let operator = Dashboard::connect(world.mosquitto.plain, OPERATOR, "nothing").await;
    let home = world.home(false, "");
    let config = std::fs::read_to_string(home.config()).unwrap();
    let config = config
        .replace("[mqtt]\n", "[mqtt]\ncommands = true\npublish_raw = true\n")
        .replace(
            "kind = \"kandji\"\n",
            "kind = \"kandji\"\nreplica = \"first\"\n",
        );
    std::fs::write(home.config(), config).unwrap();
    let mut station = home.start();
    let samples = world.demo.samples.iter().map(|sample| sample.serial);
    let codes: Vec<&str> = samples
        .chain(["490154203237518", "0194252056988"])
        .collect();
    for code in &codes {
        station.scan(code.as_bytes());
        station.answer();
    }
    dashboard
        .wait("every scan, a change and today's boxes", PATIENCE, |all| {
            let on = |channel: &str| {
                all.iter()
                    .filter(|message| message.channel() == channel)
                    .count()
            };
            let counted = |message: &Received| {
                message.channel() == "health" && message.json()["today"]["ready"].as_u64() > Some(0)
            };
            on("scan") >= codes.len() && on("change") > 0 && all.iter().any(counted)
        })
        .await;
    for request in [r#"{"epoch":"E","from":1,"to":3}"#, "nonsense"] {
        let (epoch, _) = dashboard.on("scan")[0].place().unwrap();
        let topic = "benchlight/v1/test/bench-1/cmd/backfill";
        let request = request.replace("\"E\"", &json!(epoch).to_string());
        operator
            .publish(topic, request, false, PublishProperties::default())
            .await;
    }
    eventually("both answers", PATIENCE, || {
        let answers = dashboard.all().into_iter();
        answers
            .filter(|message| message.topic.ends_with("/rsp/backfill"))
            .count()
            == 2
    })
    .await;
    let mut messages: Vec<_> = dashboard
        .all()
        .iter()
        // The command itself is none that a station sends.
        .filter(|message| !(message.channel() == "backfill" && message.json().is_null()))
        .filter_map(schema_of)
        .collect();
    let (wrong, counts) = held(&messages);
    assert_eq!(wrong, "");
    for (name, least) in [
        ("scan", codes.len()),
        ("change", 1),
        ("health", 2),
        ("meta", 1),
        ("backfill", 3),
    ] {
        assert!(
            counts[name].as_u64() >= Some(least as u64),
            "{name}: {counts}"
        );
    }

    // What is not described is found, wherever it stands.
    let real = messages
        .iter()
        .rposition(|(name, message)| name == "scan" && message["data"]["evidence"][0].is_object());
    let (_, message) = &mut messages[real.unwrap()];
    message["data"]["evidence"][0]["new"] = json!(1);
    message["data"]["verdict"] = json!("green");
    message["data"].as_object_mut().unwrap().remove("policy");
    let (wrong, _) = held(&messages);
    for what in [
        "'new' was unexpected",
        "'green' is not one of",
        "'policy' is a required property",
    ] {
        assert!(wrong.contains(what), "{what}: {wrong}");
    }
}

#[test]
fn the_rarest_health_is_described_too() {
    let name = |text: &str| Name::new(text).unwrap();
    let at: Timestamp = "2026-11-23T09:41:08.123456Z".parse().unwrap();
    let mut journal = JournalHealth::sound(Uuid::now_v7());
    (journal.salvaged, journal.faulted, journal.lost_rows) = (true, 300, None);
    journal.set_aside = (1..2_000)
        .map(|seq| (seq, "packet_too_large".to_owned()))
        .collect();
    let source = |failing, replica| SourceHealth {
        failing,
        since: Some(at),
        as_of: Some(at),
        credential_days: Some(-3),
        credential_expires: Some(at),
        quota_left: Some(1),
        quota_limit: Some(2),
        replica: Some(ReplicaHealth {
            total: None,
            state: replica,
            rows: 5,
            pass_at: Some(at),
            fault: failing,
        }),
        rows_answer: false,
    };
    let mut health = Health {
        unable: Some(Unable::NoScanner),
        alarms: vec!["journal_salvaged"],
        scanners: [(
            name("a"),
            ScannerHealth {
                state: ScannerCondition::Fault,
                proven: false,
                unended: true,
            },
        )]
        .into(),
        lamps: [(name("a"), LampCondition::Missing)].into(),
        sources: [
            (
                name("a"),
                source(Some(Reason::Offline), ReplicaCondition::Shrunken),
            ),
            (name("b"), source(None, ReplicaCondition::Behind)),
        ]
        .into(),
        broker: LinkCondition::Connected,
        nobody_listens: true,
        journal,
        unheard_faults: 44,
        clock_synced: false,
        waiting: 3,
        today: Some(ByVerdict::default()),
        log_dropped: 1,
        results_dropped: 2,
        web: Some(benchlight::health::WebCondition::Busy),
    };
    let mut messages = Vec::new();
    let mut say = |health: &Health, refused| {
        let message = message::health(health, refused, "0.1.0", at);
        messages.push((
            "health".to_owned(),
            serde_json::from_slice::<Value>(&message).unwrap(),
        ));
    };
    say(&health, Some("benchlight/v1/a/b/scan"));
    health.scanners = (0..400)
        .map(|number| {
            (
                name(&format!("scanner-{number}")),
                health.scanners[&name("a")].clone(),
            )
        })
        .collect();
    say(&health, None);
    assert_eq!(messages[1].1["truncated"], true);
    assert_eq!(held(&messages).0, "");
}
