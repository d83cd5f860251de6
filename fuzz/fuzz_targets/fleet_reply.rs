//! Any two bodies as the host and as Apple's word about it: `cargo +nightly fuzz run fleet_reply`.
#![no_main]

#[path = "../mdm_promises.rs"]
mod mdm_promises;

use benchlight::{
    readiness::{
        evidence::{Evidence, Finding},
        fleet,
    },
    reason::Reason,
};
use mdm_promises::{asked, bodies, is_never, is_ours, is_ready_by_word, json};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (serial, source, date) = asked("fleet");
    let bodies = bodies::<2>(input);
    let [host, said] = bodies.map(json);
    let absent = fleet::judged(404, bodies, date, &serial, source.clone());
    of_absent(&absent, &host);
    let evidence = fleet::judged(200, bodies, date, &serial, source);
    if !evidence.known {
        assert_eq!(evidence.finding, Finding::Unknown(Reason::GarbledAnswer));
        return;
    }
    let host = &host["host"];
    assert!(is_ours(host, "hardware_serial"), "another host");
    if matches!(evidence.finding, Finding::Unknown(_)) && !evidence.returned {
        return;
    }
    let is_on = host["mdm"]["enrollment_status"]
        .as_str()
        .is_some_and(|word| word.trim_start().to_ascii_lowercase().starts_with("on"));
    assert_eq!(
        is_on,
        evidence.finding == Finding::No(Reason::AlreadyEnrolled),
        "enrolled is that first"
    );
    if !is_on {
        of_assignment(&evidence, &said, &host["id"]);
    }
});

/// A 404 is an answer in Fleet's own form alone.
fn of_absent(evidence: &Evidence, body: &Value) {
    if evidence.finding == Finding::Unknown(Reason::GarbledAnswer) {
        return;
    }
    assert_eq!(evidence.finding, Finding::No(Reason::NotFound));
    assert!(!evidence.known && evidence.as_of.is_some());
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let errors = body["errors"].as_array().expect("a 404 without errors");
    assert!(text(&body["message"]) && body["host"].is_null() && !errors.is_empty());
    assert!(
        errors
            .iter()
            .all(|error| text(&error["name"]) && text(&error["reason"]))
    );
}

fn of_assignment(evidence: &Evidence, said: &Value, host: &Value) {
    let (device, listed) = (&said["dep_device"], &said["host_dep_assignment"]);
    let named = |value: &Value| match value {
        Value::String(text) => text.trim().to_owned(),
        value => value.to_string(),
    };
    assert!(
        said["id"].is_null()
            || named(&said["id"]).is_empty()
            || named(&said["id"]).parse::<u64>().ok() == named(host).parse().ok(),
        "an answer about another host"
    );
    let serial = &device["serial_number"];
    assert!(
        serial.is_null() || serial == "" || is_ours(device, "serial_number"),
        "an answer about another device"
    );
    if !matches!(evidence.judged(true), Finding::Ready(_)) {
        return;
    }
    is_ready_by_word(evidence, device, "profile_status");
    assert!(
        listed.is_object() && is_never(&listed["deleted_at"]),
        "ready and not in the list"
    );
    assert!(
        is_never(&device["mdm_migration_deadline"]),
        "ready and leaving"
    );
    let response = &listed["assign_profile_response"];
    assert!(
        response.is_null()
            || ["", "SUCCESS"].contains(
                &response
                    .as_str()
                    .unwrap_or("?")
                    .to_ascii_uppercase()
                    .as_str()
            ),
        "ready after {response}"
    );
    let error = &said["dep_device_error"];
    assert!(error.is_null() || error == "", "ready beside an error");
}
