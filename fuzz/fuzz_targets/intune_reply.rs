//! Any two bodies as the ADE tokens and the first one's devices: `cargo +nightly fuzz run intune_reply`.
#![no_main]

#[path = "../mdm_promises.rs"]
mod mdm_promises;

use benchlight::{
    readiness::{evidence::Finding, intune},
    reason::Reason,
};
use mdm_promises::{are_distinct, asked, bodies, contains_ours, is_ours, json};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (serial, source, now) = asked("intune");
    let [tokens, rows] = bodies(input);
    let evidence = intune::judged([tokens, rows], now, &serial, source);
    if matches!(evidence.finding, Finding::Unknown(_)) {
        return;
    }
    // Every finding but unknown rests on whole lists that answer the question.
    let [tokens, rows] = [tokens, rows].map(json).map(|page| {
        let next = &page["@odata.nextLink"];
        assert!(
            next.is_null() || next == "",
            "a page that is not the last one"
        );
        let list = page["value"].as_array().cloned().expect("no list");
        let count = &page["@odata.count"];
        assert!(
            count.is_null() || count.as_u64() == u64::try_from(list.len()).ok(),
            "a count that does not add up"
        );
        are_distinct(&list);
        list
    });
    let text = |record: &Value, field: &str| record[field].as_str().map(str::to_owned);
    assert!(
        rows.iter().all(|row| contains_ours(row, "serialNumber")),
        "a device that was not asked for"
    );
    let ours: Vec<&Value> = rows
        .iter()
        .filter(|row| is_ours(row, "serialNumber"))
        .collect();
    let first = tokens.first().expect("an answer without a token");
    assert!(
        first["lastSyncErrorCode"].as_i64().unwrap_or(0) == 0,
        "through a token whose sync failed"
    );
    assert!(
        text(first, "lastSuccessfulSyncDateTime").is_some_and(|at| at.contains(':')),
        "through a token that never synced"
    );
    if ours.is_empty() {
        assert_eq!(evidence.finding, Finding::No(Reason::NotFound));
        return;
    }
    assert!(evidence.known && evidence.finding != Finding::No(Reason::NotFound));
    if !matches!(evidence.finding, Finding::Ready(_)) {
        return;
    }
    // Deleted records say nothing beside a live one; every live one says the same.
    let live: Vec<&&Value> = ours.iter().filter(|row| row["isDeleted"] != true).collect();
    assert!(!live.is_empty(), "ready and deleted");
    for row in live {
        assert!(
            text(row, "enrollmentState")
                .is_some_and(|state| state.eq_ignore_ascii_case("notContacted")),
            "ready in another state"
        );
        let profile = text(row, "requestedEnrollmentProfileId").unwrap_or_default();
        assert!(
            profile.bytes().any(|byte| !matches!(byte, b'0' | b'-')),
            "ready without a profile"
        );
        assert!(
            text(row, "discoverySource").is_none_or(
                |from| from.is_empty() || from.eq_ignore_ascii_case("deviceEnrollmentProgram")
            ),
            "ready though typed in by hand"
        );
    }
});
