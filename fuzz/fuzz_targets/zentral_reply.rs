//! Any body as the devices from Apple: `cargo +nightly fuzz run zentral_reply`.
#![no_main]

use std::collections::HashSet;

use benchlight::{
    label::Serial,
    readiness::{evidence::Finding, zentral},
    reason::Reason,
    runtime::name::Name,
};
use serde_json::Value;

const OURS: &str = "C02XK0AAJG5H";

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let (Some(serial), Ok(source), Ok(date)) = (
        Serial::new(OURS),
        Name::new("zentral"),
        "2026-11-23T09:41:07Z".parse(),
    ) else {
        return;
    };
    let evidence = zentral::judged(body, date, &serial, source);
    assert!(evidence.as_of.is_none(), "it does not tell how old it is");
    if !evidence.known && evidence.finding == Finding::Unknown(Reason::GarbledAnswer) {
        return;
    }
    // Every other finding rests on a whole list that answers the question. Checked on the JSON itself, not with our own types.
    let page: Value = serde_json::from_slice(body).expect("an answer that is no JSON");
    let rows = page["results"].as_array().expect("an answer without rows");
    assert_eq!(page["count"].as_u64(), u64::try_from(rows.len()).ok());
    assert!(
        page["next"].is_null() && page["previous"].is_null(),
        "not the only page"
    );
    let about_us = |row: &Value| {
        row["serial_number"]
            .as_str()
            .is_some_and(|text| serial.is(text))
    };
    assert!(
        rows.iter().all(about_us),
        "a row that does not answer the question"
    );
    let ids: Vec<String> = rows
        .iter()
        .filter(|row| row["id"].is_string() || row["id"].is_number())
        .map(|row| {
            row["id"]
                .as_str()
                .map_or_else(|| row["id"].to_string(), str::to_ascii_lowercase)
        })
        .collect();
    let distinct: HashSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "a row twice");
    assert_eq!(evidence.known, !rows.is_empty());
    if rows.is_empty() {
        assert_eq!(evidence.finding, Finding::No(Reason::NotFound));
        return;
    }
    if !matches!(evidence.judged(true), Finding::Ready(_)) {
        return;
    }
    let returned_only = !matches!(evidence.judged(false), Finding::Ready(_));
    let never = |value: &Value| {
        value.is_null()
            || value.as_str().is_some_and(|text| {
                text.trim().is_empty()
                    || text.trim().starts_with(['-', '+'])
                    || text.trim().starts_with("000")
            })
    };
    let is_gone = |row: &&Value| {
        let last = row["last_op_type"].as_str().unwrap_or_default();
        last.eq_ignore_ascii_case("deleted") || !never(&row["disowned_at"])
    };
    let living: Vec<&Value> = rows.iter().filter(|row| !is_gone(row)).collect();
    assert!(!living.is_empty(), "ready and gone");
    for row in living {
        let status = row["profile_status"].as_str().unwrap_or_default();
        assert!(
            status.eq_ignore_ascii_case("assigned")
                || (returned_only && status.eq_ignore_ascii_case("pushed")),
            "ready by the word {status:?}"
        );
    }
});
