//! The table row by row, and a good answer that is ready only whole.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};

use super::{super::wire, *};
use crate::{
    label::Serial,
    readiness::{
        evidence::SourceKind,
        testing::{spoilt, without},
    },
    runtime::name::Name,
};

const SERIAL: &str = "TESTZENTRL01";
const NOW: &str = "2026-11-23T09:41:07Z";
const READY: Finding = Finding::Ready(Grade::Relayed);
const GARBLED: Finding = Finding::Unknown(Reason::GarbledAnswer);

fn serial() -> Serial {
    Serial::new(SERIAL).unwrap()
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn bare() -> Evidence {
    let name = Name::new("zentral").unwrap();
    Evidence::bare(name, SourceKind::Zentral, serial(), GARBLED)
}

fn row(status: Value) -> Value {
    json!({
        "id": 14, "virtual_server": 7, "serial_number": SERIAL, "description": "MacBook Air", "device_family": "Mac", "model": "MacBook Air 13",
        "device_assigned_date": "2026-01-28T21:17:25.123456Z", "last_op_type": "added", "last_op_date": "2026-01-28T21:17:25.123456Z",
        "profile_status": status, "profile_uuid": "762C4D36550103CCC53AA212A8D31CDD", "profile_assign_time": "2026-01-29T21:17:25Z",
        "profile_push_time": null, "disowned_at": null, "updated_at": "2026-11-01T00:00:00Z",
    })
}

fn with(mut row: Value, field: &str, value: Value) -> Value {
    row[field] = value;
    row
}

fn list(rows: &[Value]) -> Value {
    json!({"count": rows.len(), "next": null, "previous": null, "results": rows})
}

/// What a reply says where every server counts; what is not in Zentral's form is garbled.
fn said(body: &Value) -> Evidence {
    match wire::rows(body, SERIAL) {
        Ok(rows) => judge(bare(), rows, now(), &Policy::default()),
        Err(_) => bare(),
    }
}

fn of(rows: &[Value]) -> Evidence {
    said(&list(rows))
}

#[test]
fn the_status_decides_whatever_its_case() {
    let activated = Finding::No(Reason::PreviouslyActivated);
    for (status, finding) in [
        (json!("assigned"), READY),
        (json!("Assigned"), READY),
        (json!("pushed"), activated),
        (json!("PUSHED"), activated),
        (json!("removed"), Finding::No(Reason::ProfileRemoved)),
        (json!("empty"), Finding::Wait(Reason::AssignmentPending)),
        (json!("Empty"), Finding::Wait(Reason::AssignmentPending)),
        (json!("queued"), GARBLED),
        // Not a word of Zentral's: it never means that there is none.
        (json!(""), GARBLED),
        (json!(null), GARBLED),
    ] {
        let evidence = of(&[row(status.clone())]);
        assert_eq!(
            (evidence.judged(false), evidence.known),
            (finding, true),
            "{status}"
        );
    }
    assert_eq!(of(&[row(json!("pushed"))]).judged(true), READY);
}

#[test]
fn it_has_no_as_of_and_tells_when_the_profile_was_assigned() {
    let evidence = of(&[row(json!("assigned"))]);
    assert_eq!((evidence.as_of, evidence.updated_at), (None, None));
    assert_eq!(evidence.replied_at, Some(now()));
    assert_eq!(
        evidence.assigned_at.unwrap().to_string(),
        "2026-01-29T21:17:25Z"
    );
    assert_eq!(
        (
            evidence.model.as_deref(),
            evidence.family.as_deref(),
            evidence.status.as_deref()
        ),
        (Some("MacBook Air"), Some("Mac"), Some("assigned"))
    );
    let nobody = of(&[]);
    assert_eq!(
        (nobody.finding, nobody.known, nobody.as_of),
        (Finding::No(Reason::NotFound), false, None)
    );
    for never in [json!(null), json!("0001-01-01T00:00:00Z")] {
        let evidence = of(&[with(row(json!("assigned")), "profile_assign_time", never)]);
        assert_eq!((evidence.finding, evidence.assigned_at), (READY, None));
    }
    for (field, time, finding) in [
        ("profile_assign_time", "2026-11-23T09:46:07Z", READY),
        ("profile_assign_time", "2026-11-23T09:46:08Z", GARBLED),
        ("device_assigned_date", "2026-11-23T09:46:08Z", GARBLED),
    ] {
        let row = with(row(json!("assigned")), field, json!(time));
        assert_eq!(of(&[row]).finding, finding, "{field} {time}");
    }
}

#[test]
fn a_device_that_left_is_unassigned_whatever_its_status() {
    let unassigned = Finding::No(Reason::Unassigned);
    for status in ["assigned", "pushed", "removed", "empty", "queued"] {
        for (field, value) in [
            ("disowned_at", "2026-02-01T00:00:00Z"),
            ("last_op_type", "deleted"),
            ("last_op_type", "Deleted"),
        ] {
            let row = with(row(json!(status)), field, json!(value));
            assert_eq!(of(&[row]).judged(false), unassigned, "{status} {field}");
        }
    }
    for (field, value) in [
        ("disowned_at", json!("0001-01-01T00:00:00Z")),
        ("disowned_at", json!(null)),
        ("last_op_type", json!("modified")),
        ("last_op_type", json!("fetched")),
        ("last_op_type", json!(null)),
    ] {
        let row = with(row(json!("assigned")), field, value.clone());
        assert_eq!(of(&[row]).finding, READY, "{field} {value}");
    }
}

#[test]
fn only_a_virtual_server_that_counts_is_believed() {
    let judged_by = |servers: &[&str], row: &Value| {
        let rows = wire::rows(&list(std::slice::from_ref(row)), SERIAL).unwrap();
        let policy = Policy {
            servers: servers.iter().map(|id| (*id).to_owned()).collect(),
        };
        judge(bare(), rows, now(), &policy)
    };
    let ready = row(json!("assigned"));
    let wrong = Finding::No(Reason::WrongServer);
    for (servers, finding) in [
        (&[][..], READY),
        (&["7"], READY),
        (&["1", " 7 "], READY),
        (&["1"], wrong),
        (&["77"], wrong),
    ] {
        assert_eq!(judged_by(servers, &ready).finding, finding, "{servers:?}");
    }
    let elsewhere = judged_by(
        &["1", "2"],
        &with(ready.clone(), "virtual_server", json!("9")),
    );
    assert_eq!(
        elsewhere.detail.as_deref(),
        Some("It is on Zentral's virtual server 9, this station expects 1, 2.")
    );
    // Elsewhere before its status: pushed there says nothing of here.
    assert_eq!(
        judged_by(&["1"], &row(json!("pushed"))).judged(false),
        wrong
    );
    let gone = with(ready.clone(), "last_op_type", json!("deleted"));
    assert_eq!(
        judged_by(&["1"], &gone).finding,
        Finding::No(Reason::Unassigned)
    );
    let unnamed = with(ready, "virtual_server", json!(null));
    assert_eq!(judged_by(&["1"], &unnamed).finding, GARBLED);
    assert_eq!(judged_by(&[], &unnamed).finding, READY);
}

#[test]
fn of_several_rows_the_living_count_then_the_newest_and_they_must_agree() {
    let another = |status: &str, date: &str| {
        let other = with(row(json!(status)), "id", json!(15));
        let other = with(other, "virtual_server", json!(8));
        with(other, "device_assigned_date", json!(date))
    };
    let (older, newer) = ("2025-01-01T00:00:00Z", "2026-06-01T00:00:00Z");
    let both = |one: &Value, other: &Value| {
        let [evidence, turned] =
            [[one, other], [other, one]].map(|rows| of(&rows.map(Value::clone)));
        assert_eq!(evidence, turned, "the order of the rows never matters");
        evidence
    };
    let ready = row(json!("assigned"));
    for (other, finding) in [
        (another("assigned", older), READY),
        (
            another("removed", older),
            Finding::Unknown(Reason::Contradiction),
        ),
        (
            another("removed", newer),
            Finding::Unknown(Reason::Contradiction),
        ),
        (
            another("pushed", older),
            Finding::Unknown(Reason::Contradiction),
        ),
        (
            another("queued", newer),
            Finding::Unknown(Reason::Contradiction),
        ),
        // Where it was before.
        (
            with(another("assigned", newer), "last_op_type", json!("deleted")),
            READY,
        ),
        (
            with(another("removed", newer), "disowned_at", json!(newer)),
            READY,
        ),
    ] {
        assert_eq!(both(&ready, &other).finding, finding, "{other}");
    }
    // Under `allow_returned` they would disagree.
    let removed = row(json!("removed"));
    let evidence = both(&removed, &another("pushed", older));
    assert_eq!(
        evidence.judged(false),
        Finding::Unknown(Reason::Contradiction)
    );
    // They agree, and the newer one is shown.
    let evidence = both(&ready, &another("assigned", newer));
    assert_eq!(evidence.device_assigned_at.unwrap().to_string(), newer);
    let gone = with(ready, "last_op_type", json!("deleted"));
    let other = with(another("assigned", newer), "last_op_type", json!("deleted"));
    assert_eq!(both(&gone, &other).finding, Finding::No(Reason::Unassigned));
}

#[test]
fn a_list_that_does_not_answer_the_question_says_nothing() {
    let ready = row(json!("assigned"));
    let other = with(
        with(ready.clone(), "id", json!(15)),
        "serial_number",
        json!("TESTZENTRL02"),
    );
    let twice = with(ready.clone(), "profile_status", json!("removed"));
    let of_list = |change: &str, value: Value| {
        let mut body = list(std::slice::from_ref(&ready));
        body[change] = value;
        body
    };
    for (what, body) in [
        ("another row alone", list(std::slice::from_ref(&other))),
        ("another row beside", list(&[ready.clone(), other])),
        ("one record twice", list(&[ready.clone(), twice])),
        ("a count too high", of_list("count", json!(2))),
        ("a count too low", of_list("count", json!(0))),
        (
            "one more page",
            of_list("next", json!("http://x/?offset=50")),
        ),
        (
            "not the first page",
            of_list("previous", json!("http://x/")),
        ),
        ("a bare array", json!([ready])),
        ("nothing", json!({})),
        ("an error", json!({"detail": "Not found."})),
    ] {
        let evidence = said(&body);
        assert_eq!(
            (evidence.finding, evidence.known),
            (GARBLED, false),
            "{what}"
        );
    }
    let lower = with(ready, "serial_number", json!(" testzentrl01 "));
    assert_eq!(of(&[lower]).finding, READY);
}

/// Damages a good answer: each known field in turn is removed, made null, or given a value of every other type.
#[test]
fn only_a_good_answer_is_ready_whichever_field_is_changed() {
    let good = list(&[row(json!("assigned"))]);
    assert_eq!(said(&good).finding, READY);
    // The field, of which types it may be instead, and whether it may be absent, or null.
    let fields: [(&str, &[&str], bool, bool); 16] = [
        ("/count", &[], false, false),
        ("/next", &[], false, true),
        ("/previous", &[], false, true),
        ("/results", &[], false, false),
        ("/results/0/id", &["number", "text"], true, true),
        ("/results/0/serial_number", &[], false, false),
        ("/results/0/virtual_server", &["number", "text"], true, true),
        ("/results/0/last_op_type", &["text"], true, true),
        ("/results/0/profile_status", &[], false, false),
        ("/results/0/profile_assign_time", &[], true, true),
        ("/results/0/profile_push_time", &["text"], true, true),
        ("/results/0/device_assigned_date", &[], true, true),
        ("/results/0/disowned_at", &[], true, true),
        ("/results/0/description", &["text"], true, true),
        ("/results/0/model", &["text"], true, true),
        ("/results/0/device_family", &["text"], true, true),
    ];
    for (path, kinds, absent, null) in fields {
        assert_eq!(
            said(&without(&good, path)).finding == READY,
            absent,
            "without {path}"
        );
        for (changed, value, of) in spoilt(&good, path) {
            let good_still = if of == "null" {
                null
            } else {
                kinds.contains(&of)
            };
            assert_eq!(
                said(&changed).finding == READY,
                good_still,
                "{path} is {value}"
            );
        }
    }
}
