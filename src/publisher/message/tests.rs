#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{
    publisher::samples::{self, at, id, name, scan, settings},
    readiness::evidence::Evidence,
    reason::{Reason, Signal},
    record::{Cause, Change, Recorded},
    runtime::visible,
};

fn speaker() -> Speaker {
    Speaker::new(&settings())
}

fn rescan() -> Record {
    Record {
        serial: None,
        asked: Vec::new(),
        raw: Some("356938035643809".to_owned()),
        reason: Reason::Imei,
        message: Reason::Imei.sentence().to_owned(),
        action: Reason::Imei.action().to_owned(),
        grade: None,
        model: None,
        family: None,
        assigned_at: None,
        lamp: Signal::Rescan,
        evidence: Vec::new(),
        ..scan()
    }
}

fn change() -> Record {
    Record {
        id: id(0x20),
        raw_scan: None,
        change: Some(Change {
            scan: id(0x10),
            cause: Cause::Recheck,
            previous_reason: Reason::SyncPending,
        }),
        lamp: Signal::None,
        previous: Some(id(0x10)),
        ..scan()
    }
}

fn recorded(record: Record) -> Recorded {
    let epoch = Uuid::from_u128(0x019a_9f00_0000_7000_8000_0000_0000_0001);
    Recorded::committed(epoch, 1234, record)
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn a_scan_is_the_cloud_event_of_the_product_field_by_field() {
    assert_eq!(
        parsed(&speaker().event(&recorded(scan()), Queue::Live)),
        json!({
            "specversion": "1.0", "id": "019ab0c2-6d1e-7c3a-9f00-3f2b6c1d9e10", "source": "/benchlight/ams1/bench-1", "type": "io.benchlight.scan.v1",
            "time": "2026-11-23T09:41:07.123Z", "subject": "C02XK0AAJG5H", "datacontenttype": "application/json",
            "data": {
                "epoch": "019a9f00-0000-7000-8000-000000000001", "seq": 1234, "replay": false, "clock": "synced", "lane": "left", "scanner": "left",
                "serial": "C02XK0AAJG5H", "verdict": "ready", "reason": "assigned",
                "message": "The enrollment profile is Assigned.", "action": "Power it on.",
                "grade": "relayed", "model": "MacBook Air", "family": "Mac", "assigned_at": "2026-01-09T22:01:10Z", "took_ms": 91, "lamp": "ready",
                "previous": null, "group": null, "policy": "9f2c41d0", "raw": null,
                "evidence": [{"source": "kandji", "kind": "kandji", "says": "ready", "reason": "assigned", "status": "assigned",
                    "assigned_at": "2026-01-09T22:01:10Z", "as_of": "2026-11-23T09:00:00Z", "took_ms": 84}],
            },
        })
    );
}

#[test]
fn a_rescan_has_no_subject_no_serial_no_evidence_and_keeps_its_text_to_itself() {
    let message = parsed(&speaker().event(&recorded(rescan()), Queue::Live));
    assert!(message.get("subject").is_none());
    assert_eq!(message["data"]["serial"], Value::Null);
    assert_eq!(message["data"]["evidence"], json!([]));
    assert_eq!(message["data"]["verdict"], "rescan");
    assert_eq!(message["data"]["raw"], Value::Null);

    let open = Speaker::new(&Settings {
        publish_raw: true,
        ..settings()
    });
    assert_eq!(
        parsed(&open.event(&recorded(rescan()), Queue::Live))["data"]["raw"],
        "356938035643809"
    );
}

#[test]
fn people_read_what_is_there_and_programs_what_was_recorded() {
    let mut record = Record {
        message: "It is on \"HQ\u{202e}\".".to_owned(),
        model: Some("Mac\u{200b}Book".to_owned()),
        ..scan()
    };
    record.evidence[0].status = Some("assigned\u{200b}".to_owned());
    record.raw = Some("\u{202e}356938035643809".to_owned());
    let open = Speaker::new(&Settings {
        publish_raw: true,
        ..settings()
    });
    let data = parsed(&open.event(&recorded(record.clone()), Queue::Live))["data"].clone();
    assert_eq!(
        [&data["message"], &data["model"]],
        ["It is on \"HQ\\u{202e}\".", "Mac\\u{200b}Book"]
    );
    assert_eq!(
        [&data["evidence"][0]["status"], &data["raw"]],
        ["assigned\u{200b}", "\u{202e}356938035643809"]
    );
    let looked_up = serde_json::to_value(open.lookup_data(&record, &[])).unwrap();
    assert_eq!(looked_up["message"], data["message"]);
    assert_eq!(
        parsed(&refusal("\"\u{202e}\" is no epoch"))["error"],
        "\"\\u{202e}\" is no epoch"
    );
}

#[test]
fn a_change_names_the_scan_its_cause_and_what_was_before() {
    let message = parsed(&speaker().event(&recorded(change()), Queue::Live));
    assert_eq!(message["type"], "io.benchlight.change.v1");
    let data = &message["data"];
    assert_eq!(data["scan"], id(0x10).to_string());
    assert_eq!(data["cause"], "recheck");
    assert_eq!(data["lamp"], "none");
    assert_eq!(data["previous_verdict"], "wait");
    assert_eq!(data["previous_reason"], "sync_pending");
    assert_eq!(
        Topics::new(&settings()).of(&change()),
        "benchlight/v1/ams1/bench-1/change"
    );
    assert_eq!(
        Topics::new(&settings()).of(&scan()),
        "benchlight/v1/ams1/bench-1/scan"
    );
}

#[test]
fn a_repeat_differs_in_replay_only() {
    for record in [scan(), rescan(), change()] {
        let once =
            String::from_utf8(speaker().event(&recorded(record.clone()), Queue::Live)).unwrap();
        let again = String::from_utf8(speaker().event(&recorded(record), Queue::Backlog)).unwrap();
        assert_eq!(
            once.replacen("\"replay\":false", "\"replay\":true", 1),
            again
        );
    }
}

#[test]
fn an_unrecorded_scan_and_a_look_up_have_no_place_in_the_journal() {
    let message = parsed(&speaker().unrecorded(&scan()));
    assert_eq!(
        (&message["data"]["epoch"], &message["data"]["seq"]),
        (&Value::Null, &Value::Null)
    );
    let looked_up = serde_json::to_value(speaker().lookup_data(&scan(), &[])).unwrap();
    assert_eq!(looked_up, message["data"]);
    // What a replica holds stands beside it.
    let scan = scan();
    let rows: Vec<_> = scan.evidence.iter().collect();
    let looked_up = serde_json::to_value(speaker().lookup_data(&scan, &rows)).unwrap();
    assert_eq!(looked_up["rows"][0]["from"], "replica");
    assert_eq!(
        looked_up["rows"][0]["status"],
        looked_up["evidence"][0]["status"]
    );
}

#[test]
fn times_have_milliseconds_and_a_service_is_quoted_no_finer_than_it_spoke() {
    assert_eq!(
        milliseconds(at("2026-11-23T09:41:07Z")),
        "2026-11-23T09:41:07.000Z"
    );
    assert_eq!(
        milliseconds(at("2026-11-23T09:41:07.1239999Z")),
        "2026-11-23T09:41:07.123Z"
    );
    assert_eq!(as_known(at("2026-01-09T22:01:10Z")), "2026-01-09T22:01:10Z");
    assert_eq!(
        as_known(at("2026-01-09T22:01:10.25Z")),
        "2026-01-09T22:01:10.250Z"
    );
}

#[test]
fn returned_stock_is_named_in_the_evidence() {
    let mut record = scan();
    record.evidence[0].returned = true;
    assert_eq!(
        parsed(&speaker().event(&recorded(record), Queue::Live))["data"]["evidence"][0]["reason"],
        "returned_stock"
    );
}

#[test]
fn health_is_the_sample_of_the_product_field_by_field() {
    assert_eq!(
        parsed(&health(
            &samples::health(),
            None,
            "0.1.0",
            at("2026-11-23T09:41:08Z")
        )),
        json!({
            "time": "2026-11-23T09:41:08.000Z", "able": false, "reason": "offline", "alarms": ["not_found_streak"],
            "scanners": {"left": {"state": "ok", "proven": true}}, "lamps": {"left": "ok"},
            "sources": {"kandji": {"state": "offline", "since": "2026-11-23T09:40:00.500Z", "as_of": "2026-11-23T09:00:00Z", "credential_days": 112, "credential_expires": "2027-03-15T08:00:00Z", "quota_left": 8990, "quota_limit": 10000}},
            "broker": {"state": "connected", "nobody_listens": false},
            "journal": {"state": "ok", "epoch": id(1), "seq": 1234, "unsent": 0, "set_aside": [{"seq": 7, "why": "packet_too_large"}], "dropped": 0, "interrupted": 1, "faulted": 0},
            "clock": "synced", "waiting": 3, "today": {"ready": 0, "wait": 0, "not_ready": 0, "unknown": 0, "rescan": 0}, "problems": 3, "log_dropped": 0, "results_dropped": 0, "version": "0.1.0",
        })
    );
}

#[test]
fn health_counts_the_scans_that_neither_journal_nor_broker_heard_of() {
    let mut lossy = samples::health();
    (lossy.journal.faulted, lossy.unheard_faults) = (300, 44);
    let message = parsed(&health(&lossy, None, "0.1.0", at("2026-11-23T09:41:08Z")));
    assert_eq!(
        (
            &message["journal"]["faulted"],
            &message["journal"]["faulted_dropped"]
        ),
        (&json!(300), &json!(44))
    );
}

#[test]
fn health_says_of_a_salvage_how_many_records_were_lost_and_null_where_nobody_can_say() {
    let mut salvaged = samples::health();
    for (lost, said) in [
        (Some(0), json!(0)),
        (Some(7), json!(7)),
        (None, Value::Null),
    ] {
        (
            salvaged.journal.salvaged,
            salvaged.journal.salvaged_rows,
            salvaged.journal.lost_rows,
        ) = (true, 5, lost);
        let message = parsed(&health(
            &salvaged,
            None,
            "0.1.0",
            at("2026-11-23T09:41:08Z"),
        ));
        assert_eq!(
            (
                &message["journal"]["salvaged"],
                message["journal"].get("lost")
            ),
            (&json!(5), Some(&said))
        );
    }
}

#[test]
fn health_says_of_a_scanner_that_its_codes_have_no_end_key() {
    let mut unended = samples::health();
    unended
        .scanners
        .values_mut()
        .for_each(|scanner| scanner.unended = true);
    let message = parsed(&health(&unended, None, "0.1.0", at("2026-11-23T09:41:08Z")));
    assert_eq!(
        message["scanners"]["left"],
        json!({"state": "ok", "proven": true, "unended": true})
    );
}

#[test]
fn health_names_the_topic_that_the_broker_refuses() {
    let message = parsed(&health(
        &samples::health(),
        Some("benchlight/v1/ams1/bench-1/scan"),
        "0.1.0",
        at("2026-11-23T09:41:08Z"),
    ));
    assert_eq!(
        message["broker"]["refused_topic"],
        "benchlight/v1/ams1/bench-1/scan"
    );
    assert_eq!(message["problems"], 4, "one more than without");
}

#[test]
fn health_stays_small_and_says_how_much_it_leaves_out() {
    let mut many = samples::health();
    many.journal.set_aside = (1..=5_000)
        .map(|seq| (seq, "not_authorized".to_owned()))
        .collect();
    let bytes = health(&many, None, "0.1.0", at("2026-11-23T09:41:08Z"));
    assert!(bytes.len() <= PAYLOAD_MAX);
    let journal = &parsed(&bytes)["journal"];
    assert_eq!(
        journal["set_aside"].as_array().unwrap().len()
            + usize::try_from(journal["set_aside_more"].as_u64().unwrap()).unwrap(),
        5_000
    );

    let source = many.sources.first_key_value().unwrap().1.clone();
    many.sources = (0..200)
        .map(|number| (name(&format!("source-{number}")), source.clone()))
        .collect();
    let bytes = health(&many, None, "0.1.0", at("2026-11-23T09:41:08Z"));
    assert!(bytes.len() <= PAYLOAD_MAX);
    assert_eq!(parsed(&bytes)["truncated"], true);
}

#[test]
fn meta_is_the_sample_of_the_product_field_by_field() {
    let station = samples::meta();
    assert_eq!(
        parsed(&meta(&station)),
        json!({
            "schema": 1, "version": "0.1.0", "site": "ams1", "station": "bench-1", "epoch": id(1).to_string(), "policy": "9f2c41d0", "commands": false, "lanes": ["left"],
            "scanners": [{"name": "left", "kind": "hid", "lane": "left"}], "sources": [{"name": "kandji", "kind": "kandji", "required": true}],
        })
    );
    let crowded = Meta {
        scanners: (0..300)
            .map(|number| (name(&format!("scanner-{number}")), "hid", name("left")))
            .collect(),
        ..station
    };
    assert!(meta(&crowded).len() <= PAYLOAD_MAX);
    assert_eq!(parsed(&meta(&crowded))["truncated"], true);
}

#[test]
fn a_backfill_is_answered_with_its_counts_or_with_why_not() {
    let done = BackfillDone {
        epoch: id(1),
        from: 1,
        to: 90,
        sent: 90,
        gone: 0,
        failed: 0,
    };
    assert_eq!(
        parsed(&done.answer()),
        json!({"epoch": id(1).to_string(), "from": 1, "to": 90, "sent": 90, "gone": 0})
    );
    assert_eq!(
        parsed(
            &BackfillDone {
                sent: 88,
                failed: 2,
                ..done
            }
            .answer()
        )["failed"],
        2
    );
    assert_eq!(parsed(&refusal("no")), json!({"error": "no"}));
}

/// The message schema as released with 0.1.0. Dashboards read it: a field may be added, never renamed, removed or given another type.
const RELEASED_SCAN: &str = include_str!("released-scan-v1.json");
const RELEASED_CHANGE: &str = include_str!("released-change-v1.json");

#[test]
fn a_dashboard_built_on_the_released_schema_still_finds_every_field() {
    fn still_there(path: &str, released: &Value, now: &Value) {
        match (released, now) {
            (Value::Object(released), Value::Object(now)) => {
                for (key, value) in released {
                    let found = now
                        .get(key)
                        .unwrap_or_else(|| panic!("{path}.{key} is gone"));
                    still_there(&format!("{path}.{key}"), value, found);
                }
            }
            (Value::Array(released), Value::Array(now)) => {
                for (released, now) in released.iter().zip(now) {
                    still_there(&format!("{path}[]"), released, now);
                }
            }
            (released, now) => assert_eq!(
                std::mem::discriminant(released),
                std::mem::discriminant(now),
                "{path} has another type"
            ),
        }
    }
    for (released, now) in [(RELEASED_SCAN, scan()), (RELEASED_CHANGE, change())] {
        let released: Value = serde_json::from_str(released).unwrap();
        still_there(
            "",
            &released,
            &parsed(&speaker().event(&recorded(now), Queue::Live)),
        );
    }
}

#[test]
fn fields_stand_in_the_order_of_the_product() {
    let text = String::from_utf8(speaker().event(&recorded(scan()), Queue::Live)).unwrap();
    let order = [
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "subject",
        "datacontenttype",
        "data",
        "epoch",
        "seq",
        "replay",
        "clock",
        "evidence",
    ];
    let places: Vec<usize> = order
        .iter()
        .map(|key| text.find(&format!("\"{key}\":")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{text}");
    assert!(keys(&parsed(text.as_bytes())).contains(&"data"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_record_makes_a_message_over_eight_kibibytes(
        message in any::<String>(), action in "\\PC{0,3000}", model in proptest::option::of("[\\x00-\\x7f]{0,5000}"),
        status in "\\PC{0,2000}", raw in "[\\x00-\\x1f]{0,4096}", sources in 0_usize..40,
    ) {
        let mut record = change();
        let evidence = Evidence { status: Some(status), ..record.evidence[0].clone() };
        record.evidence = vec![evidence; sources];
        record.message = message;
        record.action = action;
        record.model = model;
        record.raw = Some(raw);
        let open = Speaker::new(&Settings { publish_raw: true, ..settings() });
        let once = open.event(&recorded(record.clone()), Queue::Live);
        prop_assert!(once.len() <= PAYLOAD_MAX, "{} bytes", once.len());
        let again = open.event(&recorded(record.clone()), Queue::Backlog);
        let (mut once, mut again) = (parsed(&once), parsed(&again));
        prop_assert_eq!(once["data"]["replay"].take(), Value::Bool(false));
        prop_assert_eq!(again["data"]["replay"].take(), Value::Bool(true));
        prop_assert_eq!(&once, &again);
        if once["data"]["truncated"].is_null() {
            prop_assert_eq!(once["data"]["evidence"].as_array().unwrap().len(), sources);
            prop_assert_eq!(once["data"]["message"].as_str().unwrap(), visible::text(&record.message));
        }
    }
}

#[test]
fn home_assistant_is_shown_every_part_and_no_key_that_it_does_not_know() {
    let (meta, topics) = (samples::meta(), Topics::new(&settings()));
    let shown = components(&meta, &topics, &samples::health(), &BTreeMap::new());
    let removed = [("lane_old".to_owned(), "binary_sensor".to_owned())].into();
    let message = parsed(&discovery(
        &meta,
        &topics,
        Some("Raspberry Pi 4"),
        &shown,
        &removed,
    ));
    // One unknown key in these three, and Home Assistant drops the whole message.
    assert_eq!(
        keys(&message),
        ["avty_t", "cmps", "dev", "o", "qos", "stat_t"]
    );
    assert_eq!(
        message["dev"],
        json!({"ids": ["benchlight-ams1-bench-1"], "name": "Bench 1", "mf": "Benchlight", "mdl": "Raspberry Pi 4", "sw": "0.1.0"})
    );
    assert_eq!(message["o"], json!({"name": "benchlight", "sw": "0.1.0"}));
    assert_eq!(
        keys(&message["cmps"]),
        [
            "able",
            "change",
            "clock",
            "expiry_kandji",
            "lane_left",
            "lane_old",
            "last_scan",
            "problems",
            "quota_kandji",
            "scan",
            "scanner_left",
            "source_kandji",
            "today_not_ready",
            "today_ready",
            "today_rescan",
            "today_undecided",
            "today_wait",
            "unsent",
            "verdict",
            "waiting",
        ]
    );
    assert_eq!(message["cmps"]["lane_old"], json!({"p": "binary_sensor"}));
    assert_eq!(
        message["cmps"]["verdict"]["ops"],
        json!(["ready", "wait", "not_ready", "undecided", "rescan"])
    );
    for (key, component) in message["cmps"].as_object().unwrap() {
        let Some(id) = component.get("uniq_id") else {
            continue;
        };
        assert_eq!(*id, format!("benchlight_ams1_bench-1_{key}"));
        // What is told by health falls silent with it; an event cannot.
        let by_health = component.get("stat_t").is_none();
        assert_eq!(component.get("exp_aft").is_some(), by_health, "{key}");
    }
    assert!(
        message["cmps"].get("replica_kandji").is_none(),
        "it has none"
    );
}
