//! Any three bodies as the ADE device list, the ADE tokens and the devices: `cargo +nightly fuzz run kandji_reply`.
#![no_main]

#[path = "../mdm_promises.rs"]
mod mdm_promises;

use benchlight::{
    readiness::{evidence::Finding, kandji},
    reason::Reason,
};
use mdm_promises::{are_distinct, asked, bodies, contains_ours, is_ours, json};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (serial, source, now) = asked("kandji");
    let [rows, tokens, devices] = bodies(input);
    let evidence = kandji::judged([rows, tokens, devices], Some(now), &serial, source.clone());
    let undated = kandji::judged([rows, tokens, devices], None, &serial, source);
    assert!(
        !matches!(undated.finding, Finding::Ready(_)),
        "without a date nothing is fresh"
    );
    if matches!(evidence.finding, Finding::Unknown(_)) && !evidence.returned {
        return;
    }
    // Every finding but unknown rests on a complete list that matches the request.
    let [rows, tokens, devices] = [rows, tokens, devices].map(json);
    let about_us = |record: &Value| contains_ours(record, "serial_number");
    let list = rows["results"].as_array().expect("an answer without rows");
    assert_eq!(
        rows["count"].as_u64(),
        u64::try_from(list.len()).ok(),
        "a count that does not add up"
    );
    assert!(
        rows.as_object()
            .is_some_and(|page| page.get("next") == Some(&Value::Null)
                && page.get("previous") == Some(&Value::Null))
    );
    assert!(
        list.iter().all(about_us),
        "a row that does not answer the question"
    );
    are_distinct(list);
    let ours: Vec<&Value> = list
        .iter()
        .filter(|row| is_ours(row, "serial_number"))
        .collect();
    if ours.is_empty() {
        let enrolled: Vec<&Value> = devices
            .as_array()
            .map_or_else(|| vec![&devices], |all| all.iter().collect());
        assert!(
            enrolled.iter().all(|device| about_us(device)),
            "a device that does not answer the question"
        );
        assert!(matches!(
            evidence.finding,
            Finding::No(Reason::NotFound | Reason::AlreadyEnrolled)
        ));
        return;
    }
    if !matches!(evidence.judged(true), Finding::Ready(_)) {
        return;
    }
    let returned_only = !matches!(evidence.judged(false), Finding::Ready(_));
    assert!(evidence.known);
    let listed: Vec<&Value> = tokens
        .as_array()
        .or(tokens["results"].as_array())
        .into_iter()
        .flatten()
        .collect();
    for row in ours {
        let status = row["profile_status"].as_str();
        assert!(
            status == Some("assigned") || (returned_only && status == Some("pushed")),
            "ready by the word {status:?}"
        );
        let enrolled = &row["mdm_device"];
        assert!(
            enrolled.is_null() || (returned_only && enrolled["is_removed"] == true),
            "ready and enrolled"
        );
        assert!(
            row["last_assignment_status"].is_null()
                || ["", "SUCCESS"].contains(&row["last_assignment_status"].as_str().unwrap_or("?"))
        );
        let account = row["dep_account"]["id"]
            .as_str()
            .expect("ready without a token")
            .trim();
        let named = |token: &&&Value| {
            token["id"]
                .as_str()
                .is_some_and(|id| id.trim().eq_ignore_ascii_case(account))
        };
        assert!(
            listed.iter().any(|token| named(&token)),
            "ready through a token that is not there"
        );
        // Every entry of that token, wherever it is in the list.
        for token in listed.iter().filter(named) {
            assert_eq!(
                token["status"], "SUCCESS",
                "ready through a token that is not well"
            );
            assert!(
                token["days_left"].is_null()
                    || token["days_left"]
                        .as_i64()
                        .is_some_and(|days| (0..=36_500).contains(&days))
            );
            let expiry = &token["access_token_expiry"];
            assert!(
                expiry.is_null()
                    || expiry
                        .as_str()
                        .is_some_and(|text| text.trim().is_empty() || text.contains(':')),
                "an expiry that is no date"
            );
        }
    }
});
