//! Passes whose list breaks in the middle, lies, or asks for a pause.

use std::time::Duration;

use benchlight::simulator::faults::Effect;

use super::{OTHER, PATIENCE, READY, SELDOM, World, answered, fast_world, scan};
use crate::support::eventually;

/// So many pages of 300.
const BOXES: u32 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_page_in_the_middle_deletes_and_confirms_nothing() {
    let replica = "replica = \"fallback\"\nrefresh = \"10s\"\nmax_replica_age = \"10m\"";
    let Some((world, home, clocks)) = fast_world(BOXES, replica).await else {
        return;
    };
    let mut station = world.filled_under(&home, &clocks).await;
    let before = world.pass_at();
    let rows = world.health()["sources"]["kandji"]["replica"]["rows"].clone();
    // A box has left the list, which is malformed from its third page on.
    world.kandji.stock(|stock| stock.remove(OTHER));
    let malformed = Effect::Replace {
        from: "\"serial_number\"".to_owned(),
        to: "\"serial\"".to_owned(),
    };
    world.spoil_list(malformed, 2);
    world.until_replica("behind", Some("garbled_answer")).await;
    assert_eq!(world.pass_at(), before, "nothing is confirmed");
    assert_eq!(world.health()["sources"]["kandji"]["replica"]["rows"], rows);
    // With the cable out its row still answers: nothing was deleted.
    world.kandji.faults().replace(Vec::new());
    world.kandji.faults().all(Effect::Reset);
    let evidence = world.scan_is_ready(&mut station, OTHER).await;
    assert_eq!(evidence["from"], "replica");
    // A complete pass deletes it, and the green that rested on it is recalled.
    world.kandji.faults().clear();
    world.until_pass_after(&before).await;
    let change = world.change().await;
    assert_eq!(
        (&change["cause"], &change["reason"]),
        (&"recall".into(), &"not_found".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_shrinks_to_nothing_is_believed_by_the_second_pass() {
    let replica = "replica = \"fallback\"\nrefresh = \"10s\"\nmax_replica_age = \"10m\"";
    let Some((world, home, clocks)) = fast_world(BOXES, replica).await else {
        return;
    };
    let mut station = world.filled_under(&home, &clocks).await;
    let first = world.pass_at();
    // One pass finds nothing, and after it the service is away.
    let empty: Effect = "list:keep=0".parse().unwrap();
    world.spoil_list(empty.clone(), 0);
    world.until_replica("shrunken", None).await;
    assert_eq!(world.pass_at(), first);
    world.kandji.faults().replace(Vec::new());
    world.kandji.faults().all(Effect::Reset);
    let evidence = world.scan_is_ready(&mut station, READY).await;
    assert_eq!(evidence["from"], "replica");
    // A pass that breaks is not the second one.
    world.until_replica("shrunken", Some("offline")).await;
    world.kandji.faults().replace(Vec::new());
    world.spoil_list(empty, 0);
    world
        .until_health("an empty list is believed", |kandji, _| {
            kandji["replica"]["state"] == "ok" && kandji["replica"]["rows"] == 0
        })
        .await;
    world.kandji.faults().replace(Vec::new());
    world.kandji.faults().all(Effect::Reset);
    assert_eq!(scan(&mut station, OTHER), answered("unknown", "offline"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_an_end_is_left_and_asked_for_with_pauses() {
    let world = World::with_boxes(BOXES).await;
    let home = world.home(&format!("replica = \"first\"\n{SELDOM}"));
    world.spoil_list("list:stuck".parse().unwrap(), 0);
    let mut station = home.start();
    world.until_replica("filling", Some("garbled_answer")).await;
    let asked = || world.kandji.counts().total;
    let before = asked();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(asked(), before, "ten seconds lie between such passes");
    // The list is no answer, so each scan is asked live.
    world.kandji.faults().clear();
    let evidence = world.scan_is_ready(&mut station, READY).await;
    assert!(evidence["from"].is_null());
    world.until_filled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_within_a_retry_after_of_an_hour_and_rows_answer_meanwhile() {
    let replica = "replica = \"fallback\"\nrefresh = \"10s\"\nmax_replica_age = \"2h\"";
    let Some((world, home, clocks)) = fast_world(BOXES, replica).await else {
        return;
    };
    let mut station = world.filled_under(&home, &clocks).await;
    world.spoil_list(
        Effect::TooMany {
            retry_after: Some("3600".to_owned()),
        },
        2,
    );
    world
        .until_health("the service asks for a pause", |_, _| {
            home.log().contains("asks for fewer requests") || world.kandji.counts().too_many > 0
        })
        .await;
    // The station has read that answer.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = || world.kandji.counts().total;
    let before = asked();
    // Scans with a row and without, passes that are due, confirmations and probes: none of them asks.
    for serial in [READY, OTHER] {
        let evidence = world.scan_is_ready(&mut station, serial).await;
        assert_eq!(evidence["from"], "replica");
    }
    assert_eq!(
        scan(&mut station, "C02XK0AAJG8L"),
        answered("unknown", "rate_limited")
    );
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(asked(), before, "within Retry-After");
    // The hour is over.
    world.kandji.faults().clear();
    clocks.slept(Duration::from_secs(3_601));
    assert_eq!(scan(&mut station, READY), answered("ready", "assigned"));
    eventually("it is asked again", PATIENCE, || asked() > before).await;
}
