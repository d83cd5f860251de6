//! What the targets for replies of MDMs share: the question, and how its answer is checked on the JSON itself, not with our own types.
#![allow(dead_code, reason = "each target uses a part of it")]

use std::collections::HashSet;

use benchlight::{
    label::Serial,
    readiness::evidence::{Evidence, Finding},
    runtime::name::Name,
};
use jiff::Timestamp;
use serde_json::Value;

pub const OURS: &str = "C02XK0AAJG5H";

/// Who asks what, and when by the service's clock.
pub fn asked(source: &str) -> (Serial, Name, Timestamp) {
    (
        Serial::new(OURS).expect("a serial number"),
        Name::new(source).expect("a name"),
        "2026-11-23T09:41:07Z".parse().expect("a moment"),
    )
}

/// The bodies in an input, separated by the record separator, which never appears unescaped in JSON.
pub fn bodies<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut bodies = input.splitn(N, |byte| *byte == 0x1e);
    [(); N].map(|()| bodies.next().unwrap_or_default())
}

/// Null for what is no JSON.
pub fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

/// Is the field that serial number, in whatever case?
pub fn is_ours(record: &Value, field: &str) -> bool {
    record[field]
        .as_str()
        .is_some_and(|text| text.trim().eq_ignore_ascii_case(OURS))
}

/// Does the field contain it, as a service that searches answers?
pub fn contains_ours(record: &Value, field: &str) -> bool {
    record[field]
        .as_str()
        .is_some_and(|text| text.to_ascii_uppercase().contains(OURS))
}

/// No two records have one id.
pub fn are_distinct(records: &[Value]) {
    let id = |record: &Value| match &record["id"] {
        Value::String(id) => id.trim().to_ascii_lowercase(),
        Value::Number(id) => id.to_string(),
        _ => record.to_string(),
    };
    let distinct: HashSet<String> = records.iter().map(id).collect();
    assert_eq!(distinct.len(), records.len(), "a record twice");
}

/// The record of a box that is ready has the word `assigned`; `pushed` only for a lane that allows returned devices.
pub fn is_ready_by_word(evidence: &Evidence, record: &Value, field: &str) {
    let returned_only = !matches!(evidence.judged(false), Finding::Ready(_));
    let word = record[field].as_str().unwrap_or_default();
    assert!(
        word.eq_ignore_ascii_case("assigned")
            || (returned_only && word.eq_ignore_ascii_case("pushed")),
        "ready by the word {word:?}"
    );
}

/// No moment: null, nothing, or a year that stands for it.
pub fn is_never(value: &Value) -> bool {
    let begins =
        |text: &str| text.is_empty() || text.starts_with(['-', '+']) || text.starts_with("000");
    value.is_null() || value.as_str().is_some_and(|text| begins(text.trim()))
}
