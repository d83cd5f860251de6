//! Any three bodies that may come for the ADE device list, the ADE tokens and the devices: `cargo +nightly fuzz run kandji_reply`.
#![no_main]

use benchlight::{
    label::Serial,
    readiness::{evidence::Finding, kandji},
    runtime::name::Name,
};
use serde_json::Value;

// The bodies are parted by the record separator, which no JSON text holds as such.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (Some(serial), Ok(source), Ok(now)) = (Serial::new("C02XK0AAJG5H"), Name::new("kandji"), "2026-11-23T09:41:07Z".parse()) else { return };
    let mut bodies = input.splitn(3, |byte| *byte == 0x1e);
    let [rows, tokens, devices] = [(); 3].map(|()| bodies.next().unwrap_or_default());
    let evidence = kandji::judged([rows, tokens, devices], Some(now), &serial, source.clone());
    let undated = kandji::judged([rows, tokens, devices], None, &serial, source);
    assert!(!matches!(undated.finding, Finding::Ready(_)), "without a date nothing is fresh");
    if !matches!(evidence.judged(true), Finding::Ready(_)) {
        return;
    }
    let returned_only = !matches!(evidence.judged(false), Finding::Ready(_));
    assert!(evidence.known);
    // What nobody reads (a number beyond all bounds, broken UTF-8) may keep the whole from being a value.
    let (Ok(rows), Ok(tokens)) = (serde_json::from_slice::<Value>(rows), serde_json::from_slice::<Value>(tokens)) else { return };
    let ours = |row: &&Value| row["serial_number"].as_str().is_some_and(|text| serial.is(text));
    let ours: Vec<&Value> = rows["results"].as_array().into_iter().flatten().filter(ours).collect();
    assert!(!ours.is_empty(), "ready without a row");
    for row in ours {
        let status = row["profile_status"].as_str();
        assert!(status == Some("assigned") || (returned_only && status == Some("pushed")), "ready by the word {status:?}");
        let enrolled = &row["mdm_device"];
        assert!(enrolled.is_null() || (returned_only && enrolled["is_removed"] == true), "ready and enrolled");
        let account = row["dep_account"]["id"].as_str().or(row["dep_account"].as_str()).unwrap_or_default().trim();
        let tokens = tokens.as_array().or(tokens["results"].as_array()).into_iter().flatten();
        let token = |token: &Value| token["id"].as_str().is_some_and(|id| id.trim().eq_ignore_ascii_case(account)) && token["status"] != "BROKEN";
        assert!({ tokens }.any(token), "ready through a token that is not there, or broken");
    }
});
