//! Any four bodies as the instances, their latest sync, the first one's devices and a scope: `cargo +nightly fuzz run jamf_reply`.
#![no_main]

#[path = "../mdm_promises.rs"]
mod mdm_promises;

use benchlight::{
    readiness::{
        evidence::{Evidence, Finding, SourceKind},
        jamf,
    },
    reason::Reason,
};
use mdm_promises::{OURS, asked, bodies, is_ours, is_ready_by_word, json};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (serial, source, now) = asked("jamf");
    let bodies = bodies::<4>(input);
    let unknown = Finding::Unknown(Reason::Stale);
    let bare = Evidence::bare(source, SourceKind::Jamf, serial, unknown);
    let evidence = jamf::judged(bodies, now, bare);
    if matches!(evidence.finding, Finding::Unknown(_)) {
        return;
    }
    // Every finding but unknown rests on whole lists behind a successful sync.
    let [instances, sync, devices, scope] = bodies.map(json);
    let rows = |list: &Value| {
        let rows = list["results"].as_array().cloned().expect("no list");
        let total = list["totalCount"].as_u64();
        assert_eq!(
            total,
            u64::try_from(rows.len()).ok(),
            "a total that does not add up"
        );
        rows
    };
    rows(&instances);
    assert!(
        sync["syncState"]
            .as_str()
            .is_some_and(|word| word.eq_ignore_ascii_case("SUCCESSFUL"))
    );
    let devices = rows(&devices);
    let ours: Vec<&Value> = devices
        .iter()
        .filter(|row| is_ours(row, "serialNumber"))
        .collect();
    assert_eq!(
        evidence.finding == Finding::No(Reason::NotFound),
        ours.is_empty()
    );
    if !matches!(evidence.judged(true), Finding::Ready(_)) {
        return;
    }
    for row in ours {
        is_ready_by_word(&evidence, row, "profileStatus");
    }
    if bodies[3].is_empty() {
        return;
    }
    let scope = scope["serialsByPrestageId"].as_object().expect("no scope");
    let is_first = |id: &Value| id == 1 || id.as_str().is_some_and(|id| id.trim() == "1");
    assert!(
        scope
            .iter()
            .any(|(serial, id)| serial.trim().eq_ignore_ascii_case(OURS) && is_first(id)),
        "not in the scope"
    );
});
