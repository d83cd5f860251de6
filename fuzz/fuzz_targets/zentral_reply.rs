//! Any body as the devices from Apple: `cargo +nightly fuzz run zentral_reply`.
#![no_main]

#[path = "../mdm_promises.rs"]
mod mdm_promises;

use benchlight::{
    readiness::{evidence::Finding, zentral},
    reason::Reason,
};
use mdm_promises::{are_distinct, asked, is_never, is_ours, is_ready_by_word};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let (serial, source, date) = asked("zentral");
    let evidence = zentral::judged(body, date, &serial, source);
    assert!(evidence.as_of.is_none(), "it does not tell how old it is");
    if !evidence.known && evidence.finding == Finding::Unknown(Reason::GarbledAnswer) {
        return;
    }
    // Every other finding rests on a whole list that answers the question.
    let page: Value = serde_json::from_slice(body).expect("an answer that is no JSON");
    let rows = page["results"].as_array().expect("an answer without rows");
    assert_eq!(page["count"].as_u64(), u64::try_from(rows.len()).ok());
    assert!(
        page["next"].is_null() && page["previous"].is_null(),
        "not the only page"
    );
    assert!(
        rows.iter().all(|row| is_ours(row, "serial_number")),
        "a row that does not answer the question"
    );
    are_distinct(rows);
    assert_eq!(evidence.known, !rows.is_empty());
    if rows.is_empty() {
        assert_eq!(evidence.finding, Finding::No(Reason::NotFound));
        return;
    }
    if !matches!(evidence.judged(true), Finding::Ready(_)) {
        return;
    }
    let is_gone = |row: &&Value| {
        let last = row["last_op_type"].as_str().unwrap_or_default();
        last.eq_ignore_ascii_case("deleted") || !is_never(&row["disowned_at"])
    };
    let living: Vec<&Value> = rows.iter().filter(|row| !is_gone(row)).collect();
    assert!(!living.is_empty(), "ready and gone");
    for row in living {
        is_ready_by_word(&evidence, row, "profile_status");
    }
});
