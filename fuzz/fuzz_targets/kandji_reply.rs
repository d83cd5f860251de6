//! Any three bodies as the ADE device list, the ADE tokens and the devices: `cargo +nightly fuzz run kandji_reply`.
#![no_main]

use std::collections::HashSet;

use benchlight::{
    label::Serial,
    readiness::{evidence::Finding, kandji},
    reason::Reason,
    runtime::name::Name,
};
use serde_json::Value;

const OURS: &str = "C02XK0AAJG5H";

// The record separator, which never appears unescaped in JSON, separates the bodies.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (Some(serial), Ok(source), Ok(now)) = (
        Serial::new(OURS),
        Name::new("kandji"),
        "2026-11-23T09:41:07Z".parse(),
    ) else {
        return;
    };
    let mut bodies = input.splitn(3, |byte| *byte == 0x1e);
    let [rows, tokens, devices] = [(); 3].map(|()| bodies.next().unwrap_or_default());
    let evidence = kandji::judged([rows, tokens, devices], Some(now), &serial, source.clone());
    let undated = kandji::judged([rows, tokens, devices], None, &serial, source);
    assert!(
        !matches!(undated.finding, Finding::Ready(_)),
        "without a date nothing is fresh"
    );
    if matches!(evidence.finding, Finding::Unknown(_)) && !evidence.returned {
        return;
    }
    // Every finding but unknown rests on a complete list that matches the request. Checked on the JSON itself, not with our own types.
    let read = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap_or_default();
    let (rows, tokens, devices) = (read(rows), read(tokens), read(devices));
    let about_us = |record: &Value| {
        record["serial_number"]
            .as_str()
            .is_some_and(|text| text.to_ascii_uppercase().contains(OURS))
    };
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
    let distinct: HashSet<String> = list
        .iter()
        .map(|row| {
            row["id"]
                .as_str()
                .map_or_else(|| row.to_string(), str::to_ascii_lowercase)
        })
        .collect();
    assert_eq!(distinct.len(), list.len(), "a row twice");
    let ours: Vec<&Value> = list
        .iter()
        .filter(|row| {
            row["serial_number"]
                .as_str()
                .is_some_and(|text| serial.is(text))
        })
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
