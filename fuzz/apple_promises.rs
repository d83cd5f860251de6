//! What must hold for whatever a reply about devices leads to, from Apple itself or passed on.

use benchlight::{
    readiness::evidence::{Evidence, Finding},
    reason::Reason,
};
use serde_json::Value;

pub const OURS: &str = "C02XK0AAJG5H";

/// Every finding but unknown rests on an answer about this box alone, in Apple's form. Checked on the JSON itself, not with our own types.
/// `blank_is_null`: a record without a word is how a null of Apple's is written.
pub fn hold(evidence: &Evidence, body: &[u8], blank_is_null: bool) {
    if !evidence.known && matches!(evidence.finding, Finding::Unknown(_)) {
        assert_eq!(evidence.finding, Finding::Unknown(Reason::GarbledAnswer));
        return;
    }
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
        let denied = matches!(
            record["response_status"].as_str(),
            Some("NOT_ACCESSIBLE" | "NOT_FOUND")
        );
        let named = [
            "response_status",
            "serial_number",
            "profile_uuid",
            "model",
            "description",
        ];
        let blank = blank_is_null && record.is_object() && named.iter().all(|field| absent(field));
        assert!(record.is_null() || ((denied || blank) && absent("profile_status")));
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
}
