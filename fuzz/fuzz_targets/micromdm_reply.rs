//! Any body as MicroMDM's reply about devices, and any text as its refusal: `cargo +nightly fuzz run micromdm_reply`.
#![no_main]

#[path = "../apple_promises.rs"]
mod apple_promises;

use apple_promises::{OURS, hold};
use benchlight::{label::Serial, readiness::micromdm, reason::Verdict, runtime::name::Name};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let (Some(serial), Ok(source), Ok(date)) = (
        Serial::new(OURS),
        Name::new("micromdm"),
        "2026-11-23T09:41:07Z".parse(),
    ) else {
        return;
    };
    let evidence = micromdm::judged(body, date, &serial, source);
    hold(&evidence, body, true);
    // Whatever stands in a refusal, it says nothing about a box.
    let text = String::from_utf8_lossy(body);
    for status in [400, 401, 403, 404, 500, 502] {
        let reason = micromdm::refused(status, &text);
        assert!(reason.is_none_or(|reason| reason.verdict() == Verdict::Unknown));
    }
    assert!(micromdm::refused(500, &text).is_some());
});
