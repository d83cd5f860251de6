//! Any body that may come for `POST /devices`: `cargo +nightly fuzz run apple_dep_reply`.
#![no_main]

use benchlight::{
    label::Serial,
    readiness::{apple_dep, evidence::Finding},
    runtime::name::Name,
};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let (Some(serial), Ok(source)) = (Serial::new("C02XK0AAJG5H"), Name::new("apple")) else { return };
    let evidence = apple_dep::judged(body, &serial, source);
    // JSON may write any character as \u0000: then the words need not stand there plainly.
    let text = String::from_utf8_lossy(body);
    let stands = |word: &str| text.contains(word) || text.contains("\\u");
    if evidence.known {
        assert!(stands("C02XK0AAJG5H") && stands("SUCCESS"), "a record that is taken is about this box");
    }
    if matches!(evidence.judged(false), Finding::Ready(_)) {
        assert!(evidence.known && stands("assigned"), "ready only by the word for it");
    }
});
