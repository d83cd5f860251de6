//! What Home Assistant is told of a station, through the shipped access list.

use std::time::{Duration, Instant};

use benchlight::publisher::Settings;
use rumqttc::PublishProperties;

use crate::{
    bench::Bench,
    support::{
        dashboard::Dashboard,
        mosquitto::{HOME_ASSISTANT, Mosquitto, shipped},
    },
};

const SOON: Duration = Duration::from_secs(15);
const TOPIC: &str = "homeassistant/device/benchlight-ams1/bench-1/config";

fn told(bench: &Bench, port: u16) -> Settings {
    Settings {
        discovery_prefix: Some("homeassistant".to_owned()),
        ..bench.settings(port)
    }
}

#[tokio::test]
async fn home_assistant_is_told_at_birth_and_again_once_it_has_started() {
    let mosquitto = Mosquitto::start();
    let home_assistant =
        Dashboard::connect(mosquitto.plain, HOME_ASSISTANT, "homeassistant/device/#").await;
    let bench = Bench::new();
    let mut running = bench.publish(told(&bench, mosquitto.plain));
    running.connected().await;
    home_assistant
        .wait("the message", SOON, |all| all.len() == 1)
        .await;
    let message = &home_assistant.all()[0];
    assert_eq!(message.topic, TOPIC);
    let entities = message.json()["cmps"].as_object().unwrap().len();
    assert!(entities > 15, "{entities}");

    let started = Instant::now();
    for _ in 0..2 {
        let properties = PublishProperties::default();
        home_assistant
            .publish("homeassistant/status", "online", false, properties)
            .await;
    }
    home_assistant
        .wait("the answer", SOON, |all| all.len() == 2)
        .await;
    let after = started.elapsed();
    assert!(after >= Duration::from_secs(1), "{after:?}");
    assert_eq!(
        home_assistant.all()[1].payload,
        home_assistant.all()[0].payload
    );
    assert_eq!(running.state.borrow().refused_topic, None);
    running.stop().await;

    // It is retained, also over a clean stop.
    drop(home_assistant);
    let home_assistant = Dashboard::connect(mosquitto.plain, HOME_ASSISTANT, TOPIC).await;
    home_assistant
        .wait("what was retained", SOON, |all| {
            all.len() == 1 && all[0].retained && !all[0].payload.is_empty()
        })
        .await;
}

#[tokio::test]
async fn an_access_list_without_home_assistant_is_named() {
    let mosquitto = Mosquitto::start();
    let lines = shipped("acl");
    let earlier = lines
        .lines()
        .filter(|line| !line.starts_with("pattern") || !line.contains("homeassistant"));
    mosquitto.use_access_list(&earlier.map(|line| format!("{line}\n")).collect::<String>());
    mosquitto.reload();
    let bench = Bench::new();
    let mut running = bench.publish(told(&bench, mosquitto.plain));
    running
        .until("the refused topic", |state| {
            state.refused_topic.as_deref() == Some(TOPIC)
        })
        .await;
    running.stop().await;
}
