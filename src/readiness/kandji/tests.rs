//! A good answer is ready only whole.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};

use super::*;
use crate::readiness::{
    evidence::Grade,
    testing::{spoilt, without},
};

const SERIAL: &str = "TESTKANDJ001";
const READY: Finding = Finding::Ready(Grade::Relayed);

fn token_row() -> Value {
    let now = Timestamp::now();
    json!({"id": "t1", "server_name": "HQ", "server_uuid": "A0", "access_token_expiry": (now + Duration::from_hours(2400)).to_string(), "days_left": 100,
           "status": "SUCCESS", "status_reason": null, "last_device_sync": (now - Duration::from_mins(5)).to_string()})
}

fn ade_row(id: usize, serial: &str) -> Value {
    let days_ago = (Timestamp::now() - Duration::from_hours(48)).to_string();
    json!({"id": format!("row-{id}"), "serial_number": serial, "profile_status": "assigned", "profile_assign_time": days_ago, "last_assignment_status": "SUCCESS",
           "failed_assignment_attempts": 0, "mdm_device": null, "dep_account": {"id": "t1", "server_name": "HQ"}, "device_assigned_date": days_ago})
}

/// Damages a good answer: each known field in turn is removed, made null, or given a value of every other type.
#[test]
fn only_a_good_answer_is_ready_whichever_field_is_changed() {
    let serial = Serial::new(SERIAL).unwrap();
    let now = Timestamp::now();
    let good = json!([{"count": 1, "next": null, "previous": null, "results": [ade_row(1, SERIAL)]}, [token_row()]]);
    let finding = |bodies: &Value| {
        let [rows, tokens] = [&bodies[0], &bodies[1]].map(Value::to_string);
        judged(
            [rows.as_bytes(), tokens.as_bytes(), b"[]"],
            Some(now),
            &serial,
            Name::new("kandji").unwrap(),
        )
        .finding
    };
    assert_eq!(finding(&good), READY);
    // The field, its type, and whether it may be absent or null.
    let fields = [
        ("/0/count", "number", false),
        ("/0/results", "list", false),
        ("/0/results/0/id", "text", true),
        ("/0/results/0/serial_number", "needed", false),
        ("/0/results/0/profile_status", "needed", false),
        ("/0/results/0/profile_assign_time", "time", true),
        ("/0/results/0/last_assignment_status", "needed", true),
        ("/0/results/0/failed_assignment_attempts", "number", true),
        ("/0/results/0/mdm_device", "object", true),
        ("/0/results/0/dep_account", "object", false),
        ("/0/results/0/dep_account/id", "needed", false),
        ("/0/results/0/dep_account/server_name", "text", true),
        ("/0/results/0/device_assigned_date", "time", true),
        ("/1/0/id", "needed", false),
        ("/1/0/server_name", "text", true),
        ("/1/0/server_uuid", "text", true),
        ("/1/0/access_token_expiry", "time", true),
        ("/1/0/days_left", "number", true),
        ("/1/0/status", "needed", false),
        ("/1/0/status_reason", "text", true),
        ("/1/0/last_device_sync", "time", false),
    ];
    for (path, kind, optional) in fields {
        assert_eq!(
            finding(&without(&good, path)) == READY,
            optional,
            "without {path}"
        );
        for (changed, value, of) in spoilt(&good, path) {
            let good_still = match of {
                "null" => optional,
                // Another count does not add up; an empty mdm_device is still a device; an empty dep_account names no token.
                "number" => kind == "number" && path != "/0/count",
                of => of == kind && of == "text",
            };
            assert_eq!(finding(&changed) == READY, good_still, "{path} is {value}");
        }
    }
}
