//! What a row answers, what it never answers, and how a green is taken back.

use std::time::Duration;

use benchlight::{
    readiness::{apple_business::simulator as apple_business, kandji::simulator::stock::Device},
    simulator::{faults::Effect, stock::Business},
};
use serde_json::Value;

use super::{OTHER, PATIENCE, PENDING, READY, SELDOM, World, business_beside, scanned};
use crate::support::{eventually, install_crypto};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_service_is_away_young_rows_answer_green_and_nothing_else() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"fallback\"\n{SELDOM}"));
    let mut station = world.filled(&home).await;
    world.kandji.faults().all(Effect::Reset);
    station.scan(READY.as_bytes());
    let answer = station.answer();
    assert_eq!(
        (answer.verdict.as_str(), answer.reason.as_str()),
        ("ready", "assigned")
    );
    let evidence = world.evidence_of(READY).await;
    assert_eq!(evidence["from"], "replica", "{evidence}");
    assert!(
        evidence["age_s"].as_u64().is_some() && evidence["as_of"].is_string(),
        "{evidence}"
    );
    for serial in [PENDING, "C02XK0AAJG8L"] {
        station.scan(serial.as_bytes());
        let answer = station.answer();
        assert_eq!(
            (answer.verdict.as_str(), answer.reason.as_str()),
            ("unknown", "offline")
        );
        assert!(world.evidence_of(serial).await["from"].is_null());
    }
    // A probe has confirmed that the service fails by now, and the station can answer all the same.
    world
        .until_health("the failing service is in health", |kandji, health| {
            kandji["state"] == "offline" && health["able"] == true
        })
        .await;
    // When the service is back, the boxes that were unknown are answered by themselves and the green stays.
    world.kandji.faults().clear();
    eventually("both are asked again", PATIENCE, || {
        world.dashboard.count("change") >= 2
    })
    .await;
    let changes = world.dashboard.on("change");
    assert!(
        changes
            .iter()
            .all(|change| change.json()["data"]["cause"] == "recheck"),
        "{:?}",
        changes
            .iter()
            .map(|change| change.json())
            .collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_never_hidden_by_a_row() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"first\"\n{SELDOM}"));
    let mut station = world.filled(&home).await;
    world.kandji.faults().all(Effect::Status(401));
    // The first green rests on a row; its confirmation meets the refusal, and from then on no row answers.
    station.scan(READY.as_bytes());
    assert_eq!(station.answer().verdict, "ready");
    world
        .until_health("the refusal is noticed", |kandji, health| {
            kandji["state"] == "credentials_refused" && health["able"] == false
        })
        .await;
    station.scan(OTHER.as_bytes());
    let answer = station.answer();
    assert_eq!(
        (answer.verdict.as_str(), answer.reason.as_str()),
        ("unknown", "credentials_refused")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_answers_first_and_a_green_that_is_no_longer_true_is_recalled() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"first\"\n{SELDOM}"));
    let mut station = world.filled(&home).await;
    world.lose_profile(READY);
    station.scan(READY.as_bytes());
    let green = station.answer();
    assert_eq!((green.change, green.verdict.as_str()), (false, "ready"));
    let recall = station.answer_within(PATIENCE).expect("a recall");
    assert_eq!(
        (
            recall.change,
            recall.verdict.as_str(),
            recall.reason.as_str()
        ),
        (true, "not_ready", "profile_removed")
    );
    let change = world.change().await;
    assert_eq!(
        (
            &change["cause"],
            &change["lamp"],
            &change["previous_verdict"],
            &change["scan"]
        ),
        (
            &Value::from("recall"),
            &Value::from("alarm"),
            &Value::from("ready"),
            &Value::from(green.id)
        )
    );
    // The row is struck: the next scan of the box is answered by the service.
    station.scan(READY.as_bytes());
    assert_eq!(station.answer().reason, "profile_removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_confirmed_survives_a_kill() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"fallback\"\n{SELDOM}"));
    let mut station = world.filled(&home).await;
    world.kandji.faults().all(Effect::Reset);
    station.scan(READY.as_bytes());
    assert_eq!(station.answer().verdict, "ready");
    world.evidence_of(READY).await;
    station.kill();
    world.lose_profile(READY);
    world.kandji.faults().clear();
    let _station = home.start();
    let change = world.change().await;
    assert_eq!(
        (&change["cause"], &change["reason"]),
        (&Value::from("recall"), &Value::from("profile_removed")),
        "{change}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_too_old_answers_nothing() {
    let world = World::new().await;
    let home = world.home("replica = \"fallback\"\nrefresh = \"10s\"\nmax_replica_age = \"20s\"");
    let mut station = world.filled(&home).await;
    world.kandji.faults().all(Effect::Reset);
    station.scan(READY.as_bytes());
    assert_eq!(station.answer().verdict, "ready");
    world
        .until_health("no row is young enough any more", |kandji, health| {
            kandji["state"] == "offline" && health["able"] == false
        })
        .await;
    station.scan(OTHER.as_bytes());
    let answer = station.answer();
    assert_eq!(
        (answer.verdict.as_str(), answer.reason.as_str()),
        ("unknown", "offline")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_never_answers_over_half_an_answer_about_its_box() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"fallback\"\n{SELDOM}"));
    let mut station = world.filled(&home).await;
    // The list has lost the box, and the question whether it is enrolled hangs.
    world.kandji.stock(|stock| stock.remove(READY));
    let silence = Effect::Silence(Duration::from_secs(20));
    world.kandji.faults().path("/api/v1/devices", silence);
    station.scan(READY.as_bytes());
    let answer = station.answer();
    assert_eq!(
        (answer.verdict.as_str(), answer.reason.as_str()),
        ("unknown", "timeout")
    );
    assert!(world.evidence_of(READY).await["from"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_that_says_what_the_row_says_leaves_it_its_place() {
    install_crypto();
    let world = World::new().await;
    let apple = apple_business::serve(apple_business::Options::demo())
        .await
        .unwrap();
    let boxes = [READY, OTHER];
    for serial in boxes {
        apple.put(serial, Some(Business::Ours));
    }
    let keys = format!("replica = \"fallback\"\n{SELDOM}");
    let home = world.home(&format!("{keys}\n\n{}", business_beside(&apple, &keys)));
    home.credential("apple-business-key", &apple.credential());
    let mut station = home.start();
    world.until_both_filled().await;
    // Apple tells of the device, and not to which server it is assigned: with a fault, or not in time.
    for fault in [
        Effect::Status(503),
        Effect::Silence(Duration::from_secs(20)),
    ] {
        apple.faults().clear();
        for serial in boxes {
            let linkage = format!("/v1/orgDevices/{serial}/relationships/assignedServer");
            apple.faults().path(&linkage, fault.clone());
        }
        let answer = scanned(&mut station, READY);
        assert_eq!(answer.reason, "assigned", "{fault}: {answer:?}");
        let event = world.event_of(&answer.id).await;
        let from = |nth: usize| event["evidence"][nth]["from"].clone();
        assert_eq!((from(0), from(1)), (Value::Null, "replica".into()));
        // The same code would join its scan.
        tokio::time::sleep(Duration::from_millis(1_600)).await;
    }
    // What it tells is not what the row says.
    apple.put(OTHER, Some(Business::OursJustNow));
    let answer = scanned(&mut station, OTHER);
    assert_eq!(
        (answer.verdict.as_str(), answer.reason.as_str()),
        ("unknown", "timeout")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_box_rides_on_the_passes_and_its_change_costs_one_question() {
    let world = World::new().await;
    // Its first re-check would come so late that the passes judge it from the start.
    let home = world.home_with(
        "replica = \"first\"\nrefresh = \"10s\"\nmax_replica_age = \"20s\"",
        "recheck = \"6m\"",
    );
    let mut station = world.filled(&home).await;
    station.scan(PENDING.as_bytes());
    assert_eq!(station.answer().reason, "assignment_pending");
    let asked_of = |serial: &str| {
        let requests = world.kandji.requests();
        let of_it = |line: &&String| line.contains(serial);
        requests.iter().filter(of_it).count()
    };
    let lists = || {
        let requests = world.kandji.requests();
        requests
            .iter()
            .filter(|line| line.contains("page=1"))
            .count()
    };
    world.kandji.forget();
    eventually("two passes judge it", PATIENCE, || lists() >= 2).await;
    assert_eq!(asked_of(PENDING), 0, "{:?}", world.kandji.requests());
    world
        .kandji
        .stock(|stock| stock.put(Device::ready(PENDING)));
    let change = world.change().await;
    assert_eq!(
        (&change["cause"], &change["reason"]),
        (&Value::from("recheck"), &Value::from("assigned")),
        "{change}"
    );
    assert_eq!(asked_of(PENDING), 1, "{:?}", world.kandji.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_a_source_that_has_no_replica_any_more() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"first\"\n{SELDOM}"));
    let mut station = world.filled(&home).await;
    station.kill();
    let file = home.path("state/replica.sqlite");
    assert!(file.exists());
    let config = std::fs::read_to_string(home.config()).unwrap();
    let off = config.replace("replica = \"first\"", "replica = \"off\"");
    std::fs::write(home.config(), off).unwrap();
    let mut station = home.start();
    station.scan(READY.as_bytes());
    assert_eq!(station.answer().verdict, "ready");
    assert!(!file.exists());
    let said = home
        .log()
        .matches("no source has a replica any more")
        .count();
    assert_eq!(said, 1, "{}", home.log());
}
