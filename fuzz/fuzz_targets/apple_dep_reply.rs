//! Any body as the reply to `POST /devices`, from Apple itself and through NanoDEP: `cargo +nightly fuzz run apple_dep_reply`.
#![no_main]

#[path = "../apple_promises.rs"]
mod apple_promises;

use apple_promises::{OURS, hold};
use benchlight::{
    label::Serial,
    readiness::{
        apple_dep,
        evidence::{Evidence, SourceKind},
        nanodep,
    },
    runtime::name::Name,
};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let (Some(serial), Ok(source), Ok(date)) = (
        Serial::new(OURS),
        Name::new("apple"),
        "2026-11-23T09:41:07Z".parse(),
    ) else {
        return;
    };
    let evidence = apple_dep::judged(body, date, &serial, source.clone());
    hold(&evidence, body, false);
    // What is passed on means the same; only whose token it is is said otherwise.
    let passed_on = nanodep::judged(body, date, &serial, source);
    let alike = Evidence {
        kind: SourceKind::AppleDep,
        detail: evidence.detail.clone(),
        ..passed_on.clone()
    };
    assert_eq!(alike, evidence);
    assert_eq!(passed_on.kind, SourceKind::NanoDep);
});
