//! Any body as the reply to `POST /devices`: `cargo +nightly fuzz run apple_dep_reply`.
#![no_main]

use benchlight::{
    label::Serial,
    readiness::{apple_dep, evidence::Finding},
    reason::Reason,
    runtime::name::Name,
};
use serde_json::Value;

const OURS: &str = "C02XK0AAJG5H";

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let (Some(serial), Ok(source), Ok(date)) = (
        Serial::new(OURS),
        Name::new("apple"),
        "2026-11-23T09:41:07Z".parse(),
    ) else {
        return;
    };
    let evidence = apple_dep::judged(body, date, &serial, source);
    if !evidence.known && matches!(evidence.finding, Finding::Unknown(_)) {
        assert_eq!(evidence.finding, Finding::Unknown(Reason::GarbledAnswer));
        return;
    }
    // Every finding but unknown rests on an answer about this box alone, in Apple's form. Checked on the JSON itself, not with our own types.
    let body: Value = serde_json::from_slice(body).expect("an answer that is no JSON");
    let devices = body["devices"]
        .as_object()
        .expect("an answer without devices");
    assert!(
        devices.keys().all(|key| key == OURS),
        "an answer about another device"
    );
    let record = &body["devices"][OURS];
    let absent = |field: &str| matches!(&record[field], Value::Null) || record[field] == "";
    let text = |field: &str| record[field].is_string() || record[field].is_null();
    assert!(
        ["serial_number", "response_status", "profile_status"]
            .iter()
            .all(|field| text(field)),
        "a field of another type"
    );
    if !evidence.known {
        assert_eq!(evidence.finding, Finding::No(Reason::NotFound));
        assert!(
            record.is_null()
                || (matches!(
                    record["response_status"].as_str(),
                    Some("NOT_ACCESSIBLE" | "NOT_FOUND")
                ) && absent("profile_status"))
        );
        return;
    }
    assert!(
        record["serial_number"] == OURS && record["response_status"] == "SUCCESS",
        "a record that is taken is about this box"
    );
    let others = [
        "profile_uuid",
        "profile_assign_time",
        "device_assigned_date",
        "mdm_migration_deadline",
        "model",
        "description",
        "device_family",
    ];
    assert!(
        others.iter().all(|field| text(field)),
        "a field of another type"
    );
    let status = record["profile_status"].as_str().unwrap_or_default();
    match (evidence.judged(false), evidence.judged(true)) {
        (Finding::Ready(_), _) => assert!(
            status == "assigned" && absent("mdm_migration_deadline"),
            "ready by {status:?}"
        ),
        (_, Finding::Ready(_)) => assert!(
            status == "pushed" && absent("mdm_migration_deadline"),
            "returned and ready by {status:?}"
        ),
        (Finding::No(_), _) => assert!(
            ["assigned", "pushed", "removed", "empty", ""].contains(&status),
            "a certain answer by {status:?}"
        ),
        _ => {}
    }
});
