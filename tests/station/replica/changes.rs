//! A device that changes between two passes: how long a green may be wrong, and how late it is taken back.

use std::time::{Duration, Instant};

use benchlight::{
    readiness::{
        apple_business::simulator as apple_business,
        kandji::simulator::stock::{Device, Token},
    },
    simulator::{faults::Effect, stock::Business},
};
use serde_json::Value;

use super::{
    OFTEN, PATIENCE, READY, SELDOM, World, answered, business_beside, fast_world, scan, scanned,
};
use crate::support::{dashboard::Received, eventually, install_crypto};

/// The server of another location.
const ELSEWHERE: &str = "4d6f1c1e-8f5a-4a53-9d0e-00000000beef";

/// The recall of that scan on the broker: its reason, and how long after the scan it was recorded.
async fn recall_of(world: &World, scan: &str) -> (String, Duration) {
    let find = || {
        let changes = world.dashboard.on("change");
        let mut events = changes.iter().map(Received::json);
        events.find(|event| event["data"]["scan"] == scan)
    };
    eventually("the recall is on the broker", PATIENCE, || find().is_some()).await;
    let event = find().unwrap();
    assert_eq!(event["data"]["cause"], "recall", "{event}");
    let scans = world.dashboard.on("scan");
    let scan = scans
        .iter()
        .map(Received::json)
        .find(|one| one["id"] == scan);
    let time = |event: &Value| {
        event["time"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let late = time(&event).duration_since(time(&scan.unwrap()));
    let reason = event["data"]["reason"].as_str().unwrap().to_owned();
    (reason, late.unsigned_abs())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_removed_re_assigned_or_moved_is_recalled_within_seconds() {
    type Change = fn(Device) -> Option<Device>;
    let changes: [(&str, Change); 4] = [
        ("profile_removed", |device| {
            Some(Device {
                profile_status: Some("removed".to_owned()),
                ..device
            })
        }),
        ("wrong_server", |device| {
            Some(Device {
                token: ELSEWHERE.to_owned(),
                ..device
            })
        }),
        ("assignment_pending", |device| {
            Some(Device {
                profile_status: Some("empty".to_owned()),
                last_assignment: None,
                ..device
            })
        }),
        ("not_found", |_| None),
    ];
    let world = World::new().await;
    world.kandji.stock(|stock| {
        stock.tokens.push(Token::healthy(
            ELSEWHERE,
            "Elsewhere",
            "abcdef0123456789abcdef0123456789",
        ));
        for nth in 0..changes.len() {
            stock.put(Device::ready(&format!("C02XK0AAJC{nth}C")));
        }
    });
    let tokens = format!(
        "tokens = [\"{}\"]",
        benchlight::readiness::kandji::simulator::stock::HQ
    );
    let home = world.home(&format!("replica = \"first\"\n{SELDOM}\n{tokens}"));
    let mut station = world.filled(&home).await;
    for (nth, (reason, change)) in changes.into_iter().enumerate() {
        let serial = format!("C02XK0AAJC{nth}C");
        world.kandji.stock(|stock| {
            let device = stock.device(&serial).unwrap();
            stock.remove(&serial);
            change(device)
                .into_iter()
                .for_each(|device| stock.put(device));
        });
        let green = scanned(&mut station, &serial);
        assert_eq!(green.verdict, "ready", "{reason}: {green:?}");
        assert_eq!(world.evidence_of(&serial).await["from"], "replica");
        let (said, late) = recall_of(&world, &green.id).await;
        println!("{reason}: recalled {late:?} after the scan");
        assert_eq!(said, reason);
        // The first question comes after two seconds, and boxes are a quarter of a second apart.
        assert!(late < Duration::from_secs(6), "{reason}: {late:?}");
        // Never again: the row is struck.
        assert_eq!(scan(&mut station, &serial).1, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_says_otherwise_takes_a_green_back_where_the_service_cannot_be_asked() {
    let world = World::new().await;
    let home = world.home(&format!("replica = \"first\"\n{OFTEN}"));
    let mut station = world.filled(&home).await;
    // Every question about this box fails; the list is well.
    world.kandji.faults().serial(READY, Effect::Status(503));
    let green = scanned(&mut station, READY);
    assert_eq!(green.verdict, "ready", "{green:?}");
    assert_eq!(world.evidence_of(&green.id).await["from"], "replica");
    world.lose_profile(READY);
    let (reason, late) = recall_of(&world, &green.id).await;
    println!("{reason}: recalled {late:?} after the scan");
    assert_eq!(reason, "profile_removed");
    let change = world.change().await;
    assert_eq!(change["lamp"], "alarm", "{change}");
    assert_eq!(change["evidence"][0]["from"], "replica", "{change}");
    let recalled = station.answer_within(PATIENCE).expect("a line");
    assert!(recalled.change && recalled.reason == "profile_removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_cable_out_a_removed_profile_is_green_no_longer_than_the_policy_allows() {
    let replica = format!("replica = \"fallback\"\n{OFTEN}");
    let Some((world, home, clocks)) = fast_world(0, &replica).await else {
        return;
    };
    let mut station = world.filled_under(&home, &clocks).await;
    // Right after a pass the profile is removed and the cable pulled: the row is as young as it can be.
    let before = world.pass_at();
    world.until_pass_after(&before).await;
    world.lose_profile(READY);
    world.kandji.faults().all(Effect::Reset);
    let pulled = Instant::now();
    let mut greens = Vec::new();
    loop {
        let answer = scanned(&mut station, READY);
        if answer.verdict != "ready" {
            assert_eq!(
                (answer.verdict.as_str(), answer.reason.as_str()),
                ("unknown", "offline")
            );
            break;
        }
        greens.push(answer.id);
        tokio::time::sleep(Duration::from_millis(350)).await;
        assert!(pulled.elapsed() < Duration::from_secs(10), "for ever green");
    }
    // 20 s by the station's clocks.
    let last = world
        .dashboard
        .on("scan")
        .iter()
        .map(Received::json)
        .filter(|event| event["data"]["verdict"] == "ready")
        .last();
    let age = last.unwrap()["data"]["evidence"][0]["age_s"]
        .as_u64()
        .unwrap();
    assert!(
        (5..=20).contains(&age) && greens.len() > 3,
        "{age} s, {} greens",
        greens.len()
    );
    // The cable is back: the newest green of the box is taken back.
    world.kandji.faults().clear();
    eventually("the recall", PATIENCE, || {
        let changes = world.dashboard.on("change");
        changes
            .iter()
            .any(|change| change.json()["data"]["reason"] == "profile_removed")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_moved_to_another_server_at_apple_is_recalled() {
    install_crypto();
    let world = World::new().await;
    let business = apple_business::serve(apple_business::Options::demo())
        .await
        .unwrap();
    business.put(READY, Some(Business::Ours));
    let keys = format!("replica = \"first\"\n{SELDOM}");
    // Its confirmations need a limit that is known.
    let beside = business_beside(&business, &format!("{keys}\nreads_per_minute = 60"));
    let home = world.home(&format!("{keys}\n\n{beside}"));
    home.credential("apple-business-key", &business.credential());
    let mut station = home.start();
    world.until_both_filled().await;
    business.put(READY, Some(Business::Other));
    let green = scanned(&mut station, READY);
    assert_eq!(
        (green.verdict.as_str(), green.reason.as_str()),
        ("ready", "assigned")
    );
    let event = world.event_of(READY).await;
    assert!(
        event["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["from"] == "replica"),
        "{event}"
    );
    let (reason, late) = recall_of(&world, &green.id).await;
    println!("wrong_server: recalled {late:?} after the scan");
    assert_eq!(reason, "wrong_server");
    assert!(late < Duration::from_secs(6), "{late:?}");
    assert_eq!(
        scan(&mut station, READY),
        answered("not_ready", "wrong_server")
    );
}
