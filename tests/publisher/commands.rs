//! Backfill: records from the journal are sent again, only when this is enabled and only to those who may ask.

use std::time::Duration;

use benchlight::publisher::Settings;
use bytes::Bytes;
use rumqttc::PublishProperties;
use serde_json::{Value, json};

use crate::{
    bench::{Bench, change},
    support::{
        dashboard::{Dashboard, Received},
        mosquitto::{DASHBOARD, Mosquitto, OPERATOR, OTHER_STATION},
        proxy::Proxy,
    },
};

const ALL: &str = "benchlight/v1/#";
const COMMAND: &str = "benchlight/v1/ams1/bench-1/cmd/backfill";
const SOON: Duration = Duration::from_secs(15);

fn listening(bench: &Bench, port: u16) -> Settings {
    Settings {
        commands: true,
        ..bench.settings(port)
    }
}

fn answers(all: &[Received]) -> Vec<Value> {
    all.iter()
        .filter(|message| message.topic.contains("/rsp/"))
        .map(Received::json)
        .collect()
}

async fn answered(operator: &Dashboard, many: usize) -> Vec<Value> {
    operator
        .wait("the answer", SOON, |all| answers(all).len() >= many)
        .await;
    answers(&operator.all())
}

#[tokio::test]
async fn a_backfill_serves_the_journal_again() {
    let mosquitto = Mosquitto::start();
    let operator = Dashboard::connect(mosquitto.plain, OPERATOR, ALL).await;
    let mut bench = Bench::new();
    let mut running = bench.publish(listening(&bench, mosquitto.plain));
    running.connected().await;
    let recorded = bench.scan(300).await;
    bench
        .journal
        .record(vec![change(&recorded[4])])
        .await
        .unwrap();
    bench.all_sent(SOON).await;
    operator
        .wait("all of it once", SOON, |all| {
            all.iter()
                .filter(|m| m.place().is_some() && m.channel() != "last")
                .count()
                == 301
        })
        .await;

    let epoch = bench.journal.epoch();
    let ask = json!({"epoch": epoch, "from": 5, "to": 400}).to_string();
    let properties = PublishProperties {
        response_topic: Some("benchlight/v1/ams1/bench-1/rsp/mine".to_owned()),
        correlation_data: Some(Bytes::from_static(b"question 7")),
        ..PublishProperties::default()
    };
    operator.publish(COMMAND, ask, false, properties).await;
    let answer = answered(&operator, 1).await;
    assert_eq!(
        answer,
        [json!({"epoch": epoch, "from": 5, "to": 400, "sent": 297, "gone": 0})]
    );
    let message = operator
        .all()
        .into_iter()
        .find(|message| message.topic.contains("/rsp/"))
        .unwrap();
    assert_eq!(message.topic, "benchlight/v1/ams1/bench-1/rsp/mine");
    assert_eq!(
        message.properties.correlation_data.as_deref(),
        Some(&b"question 7"[..])
    );

    let places = operator.places();
    let again: Vec<u64> = places
        .iter()
        .filter(|(_, times)| **times == 2)
        .map(|((_, seq), _)| *seq)
        .collect();
    assert_eq!(again, (5..=301).collect::<Vec<u64>>());
    let repeats: Vec<Value> = operator
        .on("scan")
        .iter()
        .chain(&operator.on("change"))
        .map(Received::json)
        .filter(|json| json["data"]["replay"] == true)
        .collect();
    assert_eq!(repeats.len(), 297);
    assert!(
        repeats
            .iter()
            .any(|json| json["type"] == "io.benchlight.change.v1")
    );

    // An unknown epoch: the answer is `gone`. The access list does not let the station write to the topic asked for.
    let foreign = PublishProperties {
        response_topic: Some("operators/replies".to_owned()),
        ..PublishProperties::default()
    };
    operator
        .publish(
            COMMAND,
            json!({"epoch": uuid::Uuid::nil(), "from": 1, "to": 90}).to_string(),
            false,
            foreign,
        )
        .await;
    let answer = answered(&operator, 2).await.pop().unwrap();
    assert_eq!(
        (answer["sent"].as_u64(), answer["gone"].as_u64()),
        (Some(0), Some(90))
    );
    assert_eq!(
        operator
            .all()
            .iter()
            .rfind(|message| message.topic.contains("/rsp/"))
            .unwrap()
            .topic,
        "benchlight/v1/ams1/bench-1/rsp/backfill"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_bad_or_retained_or_late_command_is_answered_or_dropped() {
    let mosquitto = Mosquitto::start();
    let operator = Dashboard::connect(mosquitto.plain, OPERATOR, ALL).await;
    let mut bench = Bench::new();
    bench.scan(3).await;
    let epoch = bench.journal.epoch();
    let ask = json!({"epoch": epoch, "from": 1, "to": 3}).to_string();
    // Retained before the station connected: never seen.
    operator
        .publish(COMMAND, ask.clone(), true, PublishProperties::default())
        .await;
    let mut running = bench.publish(Settings {
        replay_per_second: 15,
        ..listening(&bench, mosquitto.plain)
    });
    running.connected().await;
    bench.all_sent(SOON).await;

    operator
        .publish(COMMAND, "{not json", false, PublishProperties::default())
        .await;
    assert!(
        answered(&operator, 1).await[0]["error"]
            .as_str()
            .unwrap()
            .contains("\"epoch\"")
    );
    operator
        .publish(
            COMMAND,
            json!({"epoch": epoch, "from": 3, "to": 1}).to_string(),
            false,
            PublishProperties::default(),
        )
        .await;
    assert!(
        answered(&operator, 2).await[1]["error"]
            .as_str()
            .unwrap()
            .contains("range")
    );
    // Retained while it listens: refused.
    operator
        .publish(COMMAND, ask.clone(), true, PublishProperties::default())
        .await;
    assert!(
        answered(&operator, 3).await[2]["error"]
            .as_str()
            .unwrap()
            .contains("retain")
    );
    // It waits behind a long one and has expired when its turn comes: dropped silently.
    let expiring = |seconds| PublishProperties {
        message_expiry_interval: Some(seconds),
        ..PublishProperties::default()
    };
    bench.scan(30).await;
    operator
        .publish(
            COMMAND,
            json!({"epoch": epoch, "from": 1, "to": 30}).to_string(),
            false,
            expiring(60),
        )
        .await;
    operator
        .publish(
            COMMAND,
            json!({"epoch": epoch, "from": 1, "to": 1}).to_string(),
            false,
            expiring(1),
        )
        .await;
    operator.publish(COMMAND, ask, false, expiring(60)).await;
    let all = answered(&operator, 5).await;
    let sent: Vec<Option<u64>> = all.iter().map(|answer| answer["sent"].as_u64()).collect();
    assert_eq!(sent, [None, None, None, Some(30), Some(3)]);
    running.stop().await;
}

#[tokio::test]
async fn commands_are_off_unless_switched_on_and_only_the_operator_may_give_them() {
    let mosquitto = Mosquitto::start();
    let operator = Dashboard::connect(mosquitto.plain, OPERATOR, ALL).await;
    let mut bench = Bench::new();
    bench.scan(3).await;
    let ask = json!({"epoch": bench.journal.epoch(), "from": 1, "to": 3}).to_string();
    let mut running = bench.publish(bench.settings(mosquitto.plain));
    running.connected().await;
    bench.all_sent(SOON).await;
    operator
        .publish(COMMAND, ask.clone(), false, PublishProperties::default())
        .await;
    running.stop().await;
    assert!(answers(&operator.all()).is_empty());

    let mut running = bench.publish(listening(&bench, mosquitto.plain));
    running.connected().await;
    bench.scan(1).await;
    bench.all_sent(SOON).await;
    for user in [DASHBOARD, OTHER_STATION] {
        let client = Dashboard::connect(
            mosquitto.plain,
            user,
            "benchlight/v1/+/bench-1/availability",
        )
        .await;
        assert!(
            !client.may_write(COMMAND, ask.clone(), false).await,
            "{user:?}"
        );
    }
    operator
        .publish(COMMAND, ask, false, PublishProperties::default())
        .await;
    answered(&operator, 1).await;
    running.stop().await;
    assert_eq!(answers(&operator.all()).len(), 1);
}

#[tokio::test]
async fn a_backfill_outlives_its_link_and_keeps_to_the_budget() {
    let mosquitto = Mosquitto::start();
    let operator = Dashboard::connect(mosquitto.plain, OPERATOR, ALL).await;
    let mut bench = Bench::new();
    let proxy = Proxy::start(mosquitto.plain).await;
    bench.scan(200).await;
    let first = bench.publish(bench.settings(proxy.port));
    bench.all_sent(SOON).await;
    first.stop().await;

    let mut running = bench.publish(Settings {
        replay_per_second: 100,
        ..listening(&bench, proxy.port)
    });
    running.connected().await;
    bench.scan(1).await;
    bench.all_sent(SOON).await;
    let started = std::time::Instant::now();
    operator
        .publish(
            COMMAND,
            json!({"epoch": bench.journal.epoch(), "from": 1, "to": 200}).to_string(),
            false,
            PublishProperties::default(),
        )
        .await;
    operator
        .wait("it begins", SOON, |all| {
            all.iter().filter(|m| m.channel() == "scan").count() > 240
        })
        .await;
    proxy.cut();
    let answer = answered(&operator, 1).await;
    assert_eq!(
        (answer[0]["sent"].as_u64(), answer[0]["gone"].as_u64()),
        (Some(200), Some(0))
    );
    assert!(
        started.elapsed() >= Duration::from_millis(1_800),
        "200 at 100 a second took {:?}",
        started.elapsed()
    );
    running.stop().await;
}

#[tokio::test]
async fn no_number_in_a_command_ends_or_hangs_the_station() {
    let mosquitto = Mosquitto::start();
    let operator = Dashboard::connect(mosquitto.plain, OPERATOR, ALL).await;
    let mut bench = Bench::new();
    bench.scan(3).await;
    let mut running = bench.publish(listening(&bench, mosquitto.plain));
    running.connected().await;
    bench.all_sent(SOON).await;
    let epoch = bench.journal.epoch();
    let mut answered_so_far = 0;
    let mut ask = async |from: &str, to: &str| {
        let command = format!(r#"{{"epoch":"{epoch}","from":{from},"to":{to}}}"#);
        operator
            .publish(COMMAND, command, false, PublishProperties::default())
            .await;
        answered_so_far += 1;
        answered(&operator, answered_so_far).await.pop().unwrap()
    };
    for number in [
        "-1",
        "0",
        "NaN",
        "Infinity",
        "1e400",
        "1e3",
        "1.5",
        "\"1\"",
        "null",
        "[]",
        "18446744073709551616",
        "-9223372036854775809",
    ] {
        for answer in [ask(number, "3").await, ask("1", number).await] {
            let error = answer["error"]
                .as_str()
                .unwrap_or_else(|| panic!("{number}: {answer}"));
            assert!(error.contains("from"), "{number}: {error}");
        }
    }
    for (from, to, sent) in [
        ("1", "9223372036854775808", 3),
        ("1", "18446744073709551615", 3),
        ("2", "9223372036854775807", 2),
        ("9223372036854775808", "18446744073709551615", 0),
        ("18446744073709551615", "18446744073709551615", 0),
        ("4294967296", "4294967297", 0),
    ] {
        let answer = ask(from, to).await;
        assert_eq!(
            (answer["sent"].as_u64(), answer["gone"].as_u64()),
            (Some(sent), Some(0)),
            "{from} to {to}: {answer}"
        );
        assert_eq!(
            (answer["from"].to_string(), answer["to"].to_string()),
            (from.to_owned(), to.to_owned())
        );
    }
    bench.scan(1).await;
    bench.all_sent(SOON).await;
    running.stop().await;
}
