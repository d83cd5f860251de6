//! Any damage to a real journal: `cargo +nightly fuzz run journal_damage`. It is opened, and answers in time.
#![no_main]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use benchlight::journal::{Journal, Settings};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

#[path = "../sample.rs"]
mod sample;

/// A caller gets its answer within a second; the rest allows for a busy machine and the sanitizer.
const ANSWERED: Duration = Duration::from_secs(3);
/// To open, salvage and close.
const ALL: Duration = Duration::from_secs(10);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
});

/// The file of a journal with some records, cleanly closed.
static REAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let dir = folder();
    RUNTIME.block_on(async {
        let journal = open(dir.path());
        for id in 1..=20 {
            journal
                .record(vec![sample::record(id)])
                .await
                .expect("a good disk");
        }
        journal.close().await;
    });
    fs::read(file(dir.path())).expect("a journal")
});

fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    }
    .expect("a folder")
}

fn file(dir: &Path) -> PathBuf {
    dir.join("journal.sqlite")
}

fn open(dir: &Path) -> Journal {
    let day = Duration::from_secs(86_400);
    let settings = Settings {
        state_dir: dir.to_owned(),
        keep: 90 * day,
        keep_raw: 7 * day,
        max_bytes: 1 << 30,
    };
    Journal::open(&settings, "machine-1").expect("a bad file is no reason not to open")
}

// For each damaged spot three bytes of position, one of length and one of content; a length of 255 truncates the file there.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let dir = folder();
    fs::write(file(dir.path()), damaged(input)).expect("a good disk");
    let began = Instant::now();
    RUNTIME.block_on(async {
        let journal = open(dir.path());
        let asked = Instant::now();
        let record = sample::record(1_000);
        match journal.record(vec![record.clone()]).await {
            Ok(recorded) => {
                assert_eq!(recorded.len(), 1);
                assert!(recorded[0].seq > 0);
                assert_eq!(
                    (recorded[0].record.id, recorded[0].record.reason),
                    (record.id, record.reason)
                );
            }
            Err(fault) => assert!(!fault.to_string().is_empty()),
        }
        assert!(
            asked.elapsed() < ANSWERED,
            "answered after {:?}",
            asked.elapsed()
        );
        let _ = journal.reader().unsent(0, 100);
        journal.close().await;
    });
    assert!(began.elapsed() < ALL, "done after {:?}", began.elapsed());
});

fn damaged(damage: &[u8]) -> Vec<u8> {
    let mut bytes = REAL.clone();
    for spot in damage.chunks_exact(5) {
        let place =
            u32::from_be_bytes([0, spot[0], spot[1], spot[2]]) as usize % bytes.len().max(1);
        if spot[3] == 255 {
            bytes.truncate(place);
        } else {
            let end = bytes.len().min(place + usize::from(spot[3]) + 1);
            bytes[place..end].fill(spot[4]);
        }
    }
    bytes
}
