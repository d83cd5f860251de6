//! Any text as a config: `cargo +nightly fuzz run config`. It is read, or refused with messages, without a panic.
#![no_main]

use benchlight::config::{Options, parse};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(problems) = parse(text, "fuzz.toml", &Options::text_only()) {
        assert!(!problems.list().is_empty());
        assert!(
            problems
                .list()
                .iter()
                .all(|problem| !problem.message().is_empty() && !problem.remedy().is_empty())
        );
        assert!(!problems.to_string().is_empty());
    }
});
