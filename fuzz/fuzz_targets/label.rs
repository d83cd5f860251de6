//! Any bytes that a scanner may deliver: `cargo +nightly fuzz run label`.
#![no_main]

use benchlight::{label, reason};

#[path = "../label_promises.rs"]
mod label_promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| label_promises::hold_for(bytes));
