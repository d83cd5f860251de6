//! What the journal promises, held against real SQLite files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs, path::Path, process::Command, time::Instant};

use jiff::Timestamp;
use tempfile::TempDir;

use super::{
    reader::{Entry, Reader},
    *,
};
use crate::{
    label::Serial,
    readiness::evidence::{Evidence, Finding, Grade, SourceKind},
    reason::{Reason, Signal},
    record::{Cause, Change},
    runtime::name::Name,
};

mod bad_days;
mod going_back;
mod outbox;
mod slow;
mod stored;
mod taken_away;
mod today;

/// Bytes in a page of a new journal.
const PAGE: u64 = schema::PAGE_SIZE as u64;

const DAY: Duration = Duration::from_secs(86_400);

fn settings(dir: &Path) -> Settings {
    Settings {
        state_dir: dir.to_owned(),
        keep: 90 * DAY,
        keep_raw: 7 * DAY,
        max_bytes: 1 << 30,
    }
}

fn open(dir: &TempDir) -> Journal {
    Journal::open(&settings(dir.path()), "machine-1").unwrap()
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("journal.sqlite")
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn serial(number: usize) -> Serial {
    Serial::new(&format!("C02X{number:08}")).unwrap()
}

/// A ready box with everything filled in that a real one has.
fn record(serial: &Serial) -> Record {
    Record {
        serial: Some(serial.clone()),
        asked: vec![serial.clone()],
        grade: Some(Grade::Relayed),
        model: Some("MacBook Air".to_owned()),
        family: Some("Mac".to_owned()),
        assigned_at: Some("2026-01-09T22:01:10Z".parse().unwrap()),
        took_ms: 91,
        policy: "9f2c41d0".to_owned(),
        evidence: vec![Evidence {
            status: Some("assigned".to_owned()),
            known: true,
            as_of: Some("2026-01-09T22:05:00Z".parse().unwrap()),
            took: Duration::from_millis(84),
            ..Evidence::bare(
                name("kandji"),
                SourceKind::Kandji,
                serial.clone(),
                Finding::Ready(Grade::Relayed),
            )
        }],
        ..Record::bare(
            Uuid::now_v7(),
            Timestamp::now(),
            name("left"),
            Reason::Assigned,
        )
    }
}

fn scan_of(record: &Record) -> RawScan {
    let bytes = record.serial.as_ref().map_or_else(
        || b"?".to_vec(),
        |serial| serial.as_str().as_bytes().to_vec(),
    );
    RawScan {
        id: record.id,
        at: record.at,
        scanner: record.scanner.clone(),
        lane: record.lane.clone(),
        bytes,
    }
}

/// Does this to the writing connection before it writes anything more.
fn on_connection(journal: &Journal, what: impl FnOnce(&mut rusqlite::Connection) + Send + 'static) {
    journal.shared.seam.lock().unwrap().0 = Some(Box::new(what));
}

/// The next commit of a record takes this long. Resolves when it begins.
fn slow_commit(journal: &Journal, takes: Duration) -> oneshot::Receiver<()> {
    let (begins, begun) = oneshot::channel();
    on_connection(journal, move |conn| {
        let inserted = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut begins = Some(begins);
        let seen = Arc::clone(&inserted);
        conn.update_hook(Some(move |_, _: &str, table: &str, _| {
            if table == "record" {
                seen.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }))
        .unwrap();
        conn.commit_hook(Some(move || {
            if inserted.load(std::sync::atomic::Ordering::Relaxed)
                && let Some(begins) = begins.take()
            {
                let _ = begins.send(());
                std::thread::sleep(takes);
            }
            false
        }))
        .unwrap();
    });
    begun
}

async fn record_some(journal: &Journal, serials: std::ops::Range<usize>) -> Vec<Recorded> {
    let mut recorded = Vec::new();
    for number in serials {
        recorded.extend(journal.record(vec![record(&serial(number))]).await.unwrap());
    }
    recorded
}

/// Waits until health satisfies `wanted`; fails after 20 s.
async fn health_is(journal: &Journal, wanted: impl FnMut(&JournalHealth) -> bool) -> JournalHealth {
    let mut health = journal.health();
    let found = timeout(Duration::from_secs(20), health.wait_for(wanted)).await;
    found
        .unwrap_or_else(|_| panic!("health stays {:?}", journal.health().borrow()))
        .unwrap()
        .clone()
}

/// Copies a journal as a power cut would leave it. `cp`, for a copy made by this process would drop SQLite's locks.
fn copy(from: &TempDir) -> TempDir {
    let to = TempDir::new().unwrap();
    for file in ["journal.sqlite", "journal.sqlite-wal", mark::NAME] {
        if from.path().join(file).exists() {
            assert!(
                Command::new("cp")
                    .arg(from.path().join(file))
                    .arg(to.path())
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
    to
}

fn all(dir: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    Reader::open(dir)
        .unwrap()
        .export(None, None, |entry| {
            entries.push(entry);
            Ok::<_, reader::ReadFault>(())
        })
        .unwrap();
    entries
}

/// The boxes that were waiting, all together.
fn all_waiting(
    reader: &mut Reader,
    now: Timestamp,
    synced: bool,
    within: Duration,
    reasons: &[Reason],
) -> Vec<(Record, Duration)> {
    let mut found = Vec::new();
    reader
        .waiting(now, synced, within, reasons, |boxes| {
            found.extend(boxes);
            true
        })
        .unwrap();
    found
}
