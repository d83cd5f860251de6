//! What the broker retained of a station before its start: read before the first row is sent, and believed where possible.

use std::time::{Duration, Instant};

use rumqttc::DisconnectReasonCode;
use uuid::Uuid;

use crate::{
    bench::{Bench, quick},
    scripted::{Manners, Reaction, Scripted, Seen, TAKEN},
    support::eventually,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A station that restarts with 10 records, 3 of them new.
async fn started_again() -> (Bench, Uuid) {
    let mut bench = Bench::new();
    bench.scan(7).await;
    let epoch = bench.journal.epoch();
    bench.restart().await;
    bench.scan(3).await;
    assert_eq!(bench.journal.epoch(), epoch);
    (bench, epoch)
}

fn health(epoch: &str, seq: &str) -> Vec<u8> {
    format!(r#"{{"able":true,"journal":{{"state":"ok","epoch":{epoch},"seq":{seq}}}}}"#)
        .into_bytes()
}

async fn broker(kept: Vec<(&'static str, Vec<u8>)>) -> Scripted {
    Scripted::start(
        Manners {
            kept,
            ..Manners::default()
        },
        |_| TAKEN,
    )
    .await
}

fn places(seen: &[Seen]) -> Vec<(String, u64)> {
    let place = |seen: &Seen| Some((seen.json["data"]["epoch"].as_str()?.to_owned(), seen.seq()?));
    seen.iter().filter_map(place).collect()
}

async fn all_ten(broker: &Scripted) -> Vec<(String, u64)> {
    eventually("ten records", PATIENCE, || broker.seqs().len() >= 10).await;
    let seen = broker.seen();
    let first = |what: &str| seen.iter().position(|seen| seen.topic.ends_with(what));
    assert!(first("/scan") > first("/availability"));
    places(&seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_with_later_records_makes_a_new_epoch_before_any_row_leaves() {
    // The epoch is in the health itself, or in the meta beside it.
    for in_meta in [false, true] {
        let (bench, epoch) = started_again().await;
        let own = format!("\"{epoch}\"");
        let kept = if in_meta {
            vec![
                ("/health", health("null", "8")),
                ("/meta", format!(r#"{{"epoch":{own}}}"#).into_bytes()),
            ]
        } else {
            vec![("/health", health(&own, "8"))]
        };
        let broker = broker(kept).await;
        let running = bench.publish(bench.settings(broker.port));
        let places = all_ten(&broker).await;
        let new = bench.journal.epoch();
        assert_ne!(new, epoch);
        let expected = (1..=7)
            .map(|seq| (epoch.to_string(), seq))
            .chain((1..=3).map(|seq| (new.to_string(), seq)));
        assert_eq!(
            places,
            expected.collect::<Vec<_>>(),
            "what had its number keeps it, the rest moves over"
        );
        assert!(bench.journal.health().borrow().salvaged);
        let seen = broker.seen();
        let metas: Vec<&str> = seen
            .iter()
            .filter(|seen| seen.topic.ends_with("/meta"))
            .filter_map(|seen| seen.json["epoch"].as_str())
            .collect();
        assert_eq!(
            metas,
            [new.to_string()],
            "the old epoch is no longer reported"
        );
        bench.all_sent(PATIENCE).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_later_not_this_journals_or_no_health_changes_nothing() {
    let foreign = format!("\"{}\"", Uuid::now_v7());
    for (kept, at_once) in [
        (Some(("own", "7")), true),
        (Some(("own", "0")), true),
        (Some((foreign.as_str(), "1000")), true),
        (Some(("own", "-1")), true),
        (Some(("own", "9223372036854775808")), true),
        (Some(("own", "18446744073709551615")), true),
        (Some(("own", "18446744073709551616")), true),
        (Some(("own", "1e400")), true),
        (Some(("own", "\"8\"")), true),
        (Some(("7", "8")), true),
        (None, false),
    ] {
        let (bench, epoch) = started_again().await;
        let own = format!("\"{epoch}\"");
        let kept =
            kept.map(|(of, seq)| ("/health", health(if of == "own" { &own } else { of }, seq)));
        let broker = broker(kept.clone().into_iter().collect()).await;
        let mut timing = quick();
        // Rows are sent at once, or after the time is up; nothing else releases them.
        timing.kept = if at_once {
            PATIENCE * 10
        } else {
            Duration::from_millis(700)
        };
        let began = Instant::now();
        let running = bench.publish_with(bench.settings(broker.port), timing);
        let places = all_ten(&broker).await;
        assert!(
            at_once || began.elapsed() >= Duration::from_millis(700),
            "{kept:?}"
        );
        assert_eq!(
            places,
            (1..=10)
                .map(|seq| (epoch.to_string(), seq))
                .collect::<Vec<_>>(),
            "{kept:?}"
        );
        assert!(!bench.journal.health().borrow().salvaged, "{kept:?}");
        bench.all_sent(PATIENCE).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_it_is_not_waited_for() {
    let (bench, _) = started_again().await;
    let broker = Scripted::start(
        Manners {
            refuses: Some("/health"),
            ..Manners::default()
        },
        |_| TAKEN,
    )
    .await;
    let mut timing = quick();
    timing.kept = PATIENCE * 10;
    let running = bench.publish_with(bench.settings(broker.port), timing);
    all_ten(&broker).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_larger_than_was_asked_for_does_not_hold_the_rows_back_for_ever() {
    let (bench, epoch) = started_again().await;
    let huge = [health("null", "8"), vec![b' '; 1 << 20]].concat();
    let broker = broker(vec![("/health", huge)]).await;
    let running = bench.publish(bench.settings(broker.port));
    // As long as the station asks for it, each link ends because of it.
    eventually("ten records", PATIENCE, || broker.seqs().len() >= 10).await;
    assert_eq!(bench.journal.epoch(), epoch);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_ends_while_it_is_read_publishes_no_health_over_it() {
    let (bench, epoch) = started_again().await;
    // The first link ends at the birth, before anything else.
    let react = |seen: &Seen| {
        if seen.connection == 0 {
            Reaction::Disconnect(DisconnectReasonCode::ServerShuttingDown)
        } else {
            TAKEN
        }
    };
    let broker = Scripted::start(
        Manners {
            kept: vec![("/meta", b"{}".to_vec())],
            ..Manners::default()
        },
        react,
    )
    .await;
    let running = bench.publish(bench.settings(broker.port));
    all_ten(&broker).await;
    let seen = broker.seen();
    assert!(
        seen.iter()
            .filter(|seen| seen.connection == 0)
            .all(|seen| seen.topic.ends_with("/availability")),
        "{seen:?}"
    );
    assert_eq!(bench.journal.epoch(), epoch);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_journal_waits_for_nothing() {
    let mut bench = Bench::new();
    bench.scan(10).await;
    let broker = broker(Vec::new()).await;
    let mut timing = quick();
    timing.kept = PATIENCE * 10;
    let running = bench.publish_with(bench.settings(broker.port), timing);
    all_ten(&broker).await;
    running.stop().await;
}
