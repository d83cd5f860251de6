//! Any bytes as Apple's token file: `cargo +nightly fuzz run apple_token_file`.
#![no_main]

use benchlight::readiness::apple_dep::{
    server_token::ServerToken,
    token_file::{ImportFault, open},
};

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    match open(file, None, None) {
        // Without a key only an already decrypted file is a token, and then it contains the five fields.
        Ok(ServerToken { consumer_key, .. }) => assert!(!consumer_key.is_empty()),
        Err(ImportFault::NotAPair | ImportFault::AnotherRecipient | ImportFault::NotDecrypted)
            if file.is_ascii() =>
        {
            panic!("nothing was tried")
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
});
