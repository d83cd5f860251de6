//! The replica alone, filled from a list in memory: what a million devices cost.

use std::{
    fs,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use benchlight::{
    label::Serial,
    readiness::{
        evidence::Evidence,
        http::Fault,
        replica::{
            Facts, Listed, ListedRow, Page, StoredFacts, StoredRow,
            pass::Passes,
            store::{Held, Store},
        },
    },
    runtime::{credential::Secret, name::Name, pulse::Pulse},
};
use jiff::Timestamp;
use rustix::fs::{Advice, fadvise};

use crate::{
    report::{Promise, Report, Times, megabytes, number},
    support::station::Memory,
};

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

const DEVICES: u64 = 1_000_000;
const PAGE: u64 = 1_000;
/// Bytes kept of a record: as many as of Kandji's, which are the longest.
const BODY: usize = 150;
const LOOK_UPS: u64 = 20_000;

pub async fn replica(report: &mut Report) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("replica.sqlite");
    let store = Store::open(&path);
    let kandji = Name::new("kandji").unwrap();
    // The thread has opened it, so that what follows is on top of it.
    store.status(&kandji).await.unwrap();

    report.note(&format!("{DEVICES} devices in no order, {PAGE} a page"));
    let memory = Watched::begin();
    let took = pass(&store, &kandji).await;
    let grown = memory.end();
    report.figure(
        "the first pass: rows a second",
        number(DEVICES) / took.as_secs_f64(),
        "",
        Promise::AtLeast(20_000.0),
    );
    report.figure("  .. memory above rest", grown, "MB", Promise::Under(8.0));
    report.figure("the file", size(&path), "MB", Promise::Under(300.0));
    look_ups(report, &store, &kandji);

    let (before, memory) = (written(), Watched::begin());
    let took = pass(&store, &kandji).await;
    let grown = memory.end();
    report.figure(
        "a second pass without changes: rows a second",
        number(DEVICES) / took.as_secs_f64(),
        "",
        Promise::AtLeast(20_000.0),
    );
    report.figure("  .. memory above rest", grown, "MB", Promise::Under(8.0));
    report.figure(
        "  .. bytes to the disk",
        megabytes(written() - before),
        "MB",
        Promise::Under(1.0),
    );
    opening(report, store, &path, &kandji).await;
}

/// A list whose pages are made when they are asked for.
struct Scripted;

impl Listed for Scripted {
    fn facts(&self) -> Pending<'_, Facts> {
        Box::pin(async {
            Ok(Facts {
                account: "account".to_owned(),
                body: b"facts".to_vec(),
                date: Timestamp::now(),
            })
        })
    }

    fn page<'a>(&'a self, next: Option<&'a str>) -> Pending<'a, Page> {
        let page: u64 = next.map_or(0, |next| next.parse().unwrap());
        Box::pin(async move {
            Ok(Page {
                rows: (page * PAGE..(page + 1) * PAGE).map(row).collect(),
                total: Some(DEVICES),
                next: ((page + 1) * PAGE < DEVICES).then(|| (page + 1).to_string()),
                date: Timestamp::now(),
            })
        })
    }

    fn reads(&self) -> u64 {
        0
    }

    fn judge(&self, _: &Serial, _: &[StoredRow], _: &StoredFacts, _: Timestamp) -> Evidence {
        panic!("nothing is judged here")
    }
}

/// One whole pass and how long it took, the making of the pages among it.
async fn pass(store: &Store, source: &Name) -> Duration {
    let passes = Passes::new(source.clone(), store.clone(), Duration::from_secs(1));
    let mut standing = passes.standing();
    let (credential, pulse) = (|| Some(credential()), Pulse::default());
    let started = Timestamp::now();
    let begun = Instant::now();
    let mut run = std::pin::pin!(passes.run(&Scripted, &credential, &pulse));
    loop {
        tokio::select! {
            () = &mut run => unreachable!("it never ends"),
            changed = standing.changed() => changed.unwrap(),
        }
        let health = standing.borrow_and_update().health.clone();
        assert_eq!(health.fault, None);
        if health.pass_at.is_some_and(|at| at >= started) {
            assert_eq!(health.rows, DEVICES);
            return begun.elapsed();
        }
    }
}

fn look_ups(report: &mut Report, store: &Store, source: &Name) {
    let mut times = Times::default();
    for nth in 0..LOOK_UPS {
        let serials = [serial(nth.wrapping_mul(7_919) % DEVICES)];
        let begun = Instant::now();
        let found = store.look_up(source, &credential(), &serials).unwrap();
        times.add(begun.elapsed());
        assert!(matches!(found.held[0], Held::Rows(_)));
    }
    report.figure(
        "a look-up, warm, p99",
        times.percentile(99),
        "ms",
        Promise::Under(0.5),
    );
    report.figure("  .. p50", times.median(), "ms", Promise::Nothing);
}

/// How long a restarted agent is without its replica, and the first look-ups with a cold page cache.
async fn opening(report: &mut Report, store: Store, path: &Path, source: &Name) {
    drop(store);
    let log = path.with_file_name("replica.sqlite-wal");
    while log.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    let store = Store::open(path);
    store.status(source).await.unwrap();
    report.figure(
        "from the start to the first look-up",
        begun.elapsed().as_secs_f64(),
        "s",
        Promise::Nothing,
    );
    let file = fs::File::open(path).unwrap();
    let mut times = Times::default();
    for nth in 0..200 {
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let begun = Instant::now();
        let found = store.look_up(source, &credential(), &[serial(nth * 4_999)]);
        times.add(begun.elapsed());
        assert!(found.is_some());
    }
    report.figure(
        "a look-up, not in the page cache, p99",
        times.percentile(99),
        "ms",
        Promise::Under(5.0),
    );
}

fn credential() -> Secret {
    Secret::new("0d0b0e60-5f2c-4c0e-8a3f-3a5b1f0c7a11")
}

fn serial(nth: u64) -> Serial {
    Serial::new(&format!("C{:09X}", mixed(nth) >> 28)).unwrap()
}

fn row(nth: u64) -> ListedRow {
    let (one, two) = (mixed(nth), mixed(nth ^ 0x5555_5555));
    ListedRow {
        id: format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            one >> 32,
            one >> 16 & 0xffff,
            one & 0xfff,
            two & 0xfff,
            two >> 16
        ),
        serial: serial(nth),
        body: [one.to_le_bytes(), two.to_le_bytes()]
            .concat()
            .into_iter()
            .cycle()
            .take(BODY)
            .collect(),
    }
}

/// No number twice, in no order.
fn mixed(nth: u64) -> u64 {
    (nth + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn size(path: &Path) -> f64 {
    let files = ["", "-wal"].map(|end| path.with_file_name(format!("replica.sqlite{end}")));
    megabytes(
        files
            .iter()
            .map(|file| fs::metadata(file).map_or(0, |found| found.len()))
            .sum(),
    )
}

/// Bytes that this process has caused to be written to a disk.
fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

/// The greatest memory of this process within a time.
struct Watched {
    before: u64,
    most: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Watched {
    fn begin() -> Self {
        let own = || Memory::of(std::process::id()).own;
        let (most, ends) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, end) = (Arc::clone(&most), Arc::clone(&ends));
        let before = own();
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                seen.fetch_max(own(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
        });
        Self {
            before,
            most,
            ends,
            thread,
        }
    }

    /// Megabytes above what it was at the beginning.
    fn end(self) -> f64 {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        megabytes(
            self.most
                .load(Ordering::Relaxed)
                .saturating_sub(self.before),
        )
    }
}
