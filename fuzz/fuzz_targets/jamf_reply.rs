//! Any four bodies as the instances, their latest sync, the first one's devices and a scope: `cargo +nightly fuzz run jamf_reply`.
#![no_main]

use benchlight::{
    label::Serial,
    readiness::{
        evidence::{Evidence, Finding, SourceKind},
        jamf,
    },
    reason::Reason,
    runtime::name::Name,
};
use jiff::Timestamp;
use serde_json::Value;

const OURS: &str = "C02XK0AAJG5H";
const NOW: &str = "2026-11-23T09:41:07Z";

// The record separator, which never appears unescaped in JSON, separates the bodies.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (Some(serial), Ok(source), Ok(now)) = (
        Serial::new(OURS),
        Name::new("jamf"),
        NOW.parse::<Timestamp>(),
    ) else {
        return;
    };
    let mut bodies = input.splitn(4, |byte| *byte == 0x1e);
    let bodies = [(); 4].map(|()| bodies.next().unwrap_or_default());
    let unknown = Finding::Unknown(Reason::Stale);
    let bare = Evidence::bare(source, SourceKind::Jamf, serial, unknown);
    let evidence = jamf::judged(bodies, now, bare);
    if matches!(evidence.finding, Finding::Unknown(_)) {
        return;
    }
    // Every finding but unknown rests on whole lists behind a successful sync. Checked on the JSON itself, not with our own types.
    let [instances, sync, devices, scope] =
        bodies.map(|body| serde_json::from_slice::<Value>(body).unwrap_or_default());
    for list in [&instances, &devices] {
        let rows = list["results"].as_array().expect("no list");
        let total = list["totalCount"].as_u64();
        assert_eq!(total, u64::try_from(rows.len()).ok(), "a total that does not add up");
    }
    let word = |value: &Value| value.as_str().unwrap_or_default().to_ascii_uppercase();
    assert_eq!(word(&sync["syncState"]), "SUCCESSFUL");
    let rows = devices["results"].as_array().expect("no list");
    let ours = |row: &&Value| word(&row["serialNumber"]).trim() == OURS;
    let words: Vec<String> = rows.iter().filter(ours).map(|row| word(&row["profileStatus"])).collect();
    match evidence.finding {
        Finding::Ready(_) => {
            let good = |word: &String| word == "ASSIGNED" || word == "PUSHED" && evidence.returned;
            assert!(!words.is_empty() && words.iter().all(good), "{words:?}");
            if !bodies[3].is_empty() {
                let scope = scope["serialsByPrestageId"].as_object().expect("no scope");
                let is_in = |(serial, id): (&String, &Value)| {
                    serial.trim().eq_ignore_ascii_case(OURS) && (id == 1 || word(id).trim() == "1")
                };
                assert!(scope.iter().any(is_in), "not in the scope");
            }
        }
        Finding::No(Reason::NotFound) => assert!(words.is_empty(), "{words:?}"),
        _ => assert!(!words.is_empty()),
    }
});
