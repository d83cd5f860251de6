//! Any bytes in place of the journal: `cargo +nightly fuzz run journal`. The next scan is still recorded.
#![no_main]

use std::{fs, time::Duration};

use benchlight::{
    journal::{Fault, Journal, Settings},
    reason::Reason,
    record::Record,
    runtime::name::Name,
};
use jiff::Timestamp;
use uuid::Uuid;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The first byte says how much of the rest is the database, in 256ths; the remainder is its log.
    let Some((share, bytes)) = bytes.split_first() else {
        return;
    };
    let (database, log) = bytes.split_at(bytes.len() * (usize::from(*share) + 1) / 256);
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("journal.sqlite"), database).expect("a file");
    if !log.is_empty() {
        fs::write(dir.path().join("journal.sqlite-wal"), log).expect("a file");
    }

    let day = Duration::from_secs(86_400);
    let settings = Settings {
        state_dir: dir.path().to_owned(),
        keep: 90 * day,
        keep_raw: 7 * day,
        max_bytes: 1 << 30,
    };
    let journal = Journal::open(&settings, "fuzz").expect("nobody else is here");
    let record = Record::bare(
        Uuid::now_v7(),
        Timestamp::now(),
        Name::new("left").expect("a name"),
        Reason::Unreadable,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        match journal.record(vec![record]).await {
            // A fuzzer's machine may be slower than any card.
            Ok(_) | Err(Fault::Slow) => {}
            Err(fault) => panic!("{fault}"),
        }
        journal.close().await;
    });
});
