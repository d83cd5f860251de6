//! Virtual event devices made with uinput, and streams recorded in `tests/data`.
//!
//! Without `/dev/uinput` the tests that need it say that they are skipped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::symlink,
    path::PathBuf,
    time::{Duration, Instant},
};

use evdev::{AttributeSet, EventType, InputEvent, uinput::VirtualDevice};
use tokio::task::JoinHandle;

use super::{
    fuzz::{Read, typed},
    *,
};
use crate::scanner::{
    ScannerKind, ScannerState, device,
    tests::{Bench, code},
};

/// More than a busy machine needs between two keys of these tests.
const PAUSE: Duration = Duration::from_millis(400);

/// A virtual keyboard of the kernel, with its name in a folder like udev's.
struct Wedge {
    keyboard: VirtualDevice,
    device: PathBuf,
}

impl Wedge {
    fn plugged(folder: &Path, name: &str) -> Option<Self> {
        if OpenOptions::new().write(true).open("/dev/uinput").is_err() {
            // Not by a macro: the test runner hides what a passing test prints.
            writeln!(
                io::stderr(),
                "SKIPPED: /dev/uinput is not there or may not be opened"
            )
            .unwrap();
            return None;
        }
        let mut keys = AttributeSet::<KeyCode>::new();
        (1..=120).for_each(|key| keys.insert(KeyCode(key)));
        let mut keyboard = VirtualDevice::builder()
            .unwrap()
            .name(name)
            .with_keys(&keys)
            .unwrap()
            .build()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let node = loop {
            if let Some(node) = keyboard
                .enumerate_dev_nodes_blocking()
                .unwrap()
                .find_map(|node| node.ok().filter(|node| node.exists()))
            {
                break node;
            }
            assert!(Instant::now() < deadline, "the kernel made no event device");
            std::thread::yield_now();
        };
        let device = folder.join(format!("usb-{name}-event-kbd"));
        let _ = std::fs::remove_file(&device);
        symlink(node, &device).unwrap();
        Some(Self { keyboard, device })
    }

    fn press(&mut self, key: u16) {
        for value in [1, 0] {
            self.keyboard
                .emit(&[InputEvent::new(EventType::KEY.0, key, value)])
                .unwrap();
        }
    }

    /// Types digits, by the number row; `\n` is Enter. Slowly enough for the kernel's queue of 64 events.
    fn types(&mut self, digits: &str) {
        for digit in digits.chars() {
            let key = match digit.to_digit(10) {
                Some(0) => 11,
                Some(digit) => u16::try_from(digit).unwrap() + 1,
                None => 28,
            };
            self.press(key);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn start(folder: &Path) -> (Bench, JoinHandle<()>) {
    let bench = Bench::new(ScannerKind::Hid {
        device: DeviceFile::Auto,
        layout: Layout::Us,
        pause: PAUSE,
    });
    let (finder, scan_sender, reporter) = (
        finder_in(folder, &DeviceFile::Auto),
        bench.scan_sender.clone(),
        bench.reporter.clone(),
    );
    let task = tokio::spawn(async move {
        device::run(
            finder,
            |path| Keyboard::open(path, Layout::Us),
            PAUSE,
            &scan_sender,
            &reporter,
        )
        .await
    });
    (bench, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wedge_is_grabbed_read_unplugged_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut wedge) = Wedge::plugged(folder.path(), "one") else {
        return;
    };
    let (mut bench, _task) = start(folder.path());
    bench.until(|state| *state == ScannerState::Ok).await;
    wedge.types("0123456789\n");
    assert_eq!(bench.next().await, code("0123456789"));
    wedge.types("42");
    assert_eq!(bench.next().await, code("42"), "a pause ends a code, too");
    let second = device::probe(&finder_in(folder.path(), &DeviceFile::Auto), |path| {
        Keyboard::open(path, Layout::Us)
    });
    assert_eq!(second, ScannerState::Busy, "it is grabbed");
    wedge.types("11");
    std::fs::remove_file(&wedge.device).unwrap();
    drop(wedge);
    bench
        .until(|state| matches!(state, ScannerState::Absent(_)))
        .await;
    while let Ok(scan) = bench.scans.try_recv() {
        assert_eq!(scan.code, code("11"), "only a pause may have ended it");
    }
    let mut wedge = Wedge::plugged(folder.path(), "one").unwrap();
    bench.until(|state| *state == ScannerState::Ok).await;
    wedge.types("77\n");
    assert_eq!(bench.next().await, code("77"));
}

#[test]
fn an_overrun_of_the_kernels_queue_breaks_the_code_and_not_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut wedge) = Wedge::plugged(folder.path(), "two") else {
        return;
    };
    let mut keyboard = Keyboard::open(&wedge.device, Layout::Us).unwrap();
    // Far more than fits into the kernel's queue is typed while nobody reads.
    (0..500).for_each(|_| wedge.press(3));
    let mut scans = Vec::new();
    while !keyboard.pending() {
        scans.extend(keyboard.read().unwrap());
    }
    scans.extend(keyboard.read().unwrap());
    assert_eq!(scans, []);
    assert!(
        matches!(keyboard.pause(), Some(ScannedCode::Broken { why, .. }) if why.contains("ran over"))
    );
    wedge.types("12\n");
    while scans.is_empty() {
        scans.extend(keyboard.read().unwrap());
    }
    assert_eq!(scans, [code("12")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_wedges_are_listed_and_none_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(_one), Some(_two)) = (
        Wedge::plugged(folder.path(), "three"),
        Wedge::plugged(folder.path(), "four"),
    ) else {
        return;
    };
    let (mut bench, _task) = start(folder.path());
    let ScannerState::Fault(words) = bench
        .until(|state| matches!(state, ScannerState::Fault(_)))
        .await
    else {
        panic!("not a fault")
    };
    assert!(
        words.contains("usb-four-event-kbd, usb-three-event-kbd"),
        "{words}"
    );
}

/// The reads of a stream in evemu's format. Each read ends with its SYN_REPORT; a gap of [`PAUSE`] is a pause.
fn reads(stream: &str) -> Vec<Read> {
    let hex = |word: &str| u16::from_str_radix(word, 16).unwrap();
    let mut reads: Vec<Read> = Vec::new();
    let (mut ended, mut is_over) = (0.0, true);
    for line in stream.lines().filter_map(|line| line.strip_prefix("E: ")) {
        let [at, kind, code, value] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let at: f64 = at.parse().unwrap();
        if is_over {
            if let Some(read) = reads.last_mut() {
                read.pause = at - ended >= PAUSE.as_secs_f64();
            }
            reads.push(Read::default());
        }
        reads
            .last_mut()
            .unwrap()
            .events
            .push((hex(kind), hex(code), value.parse().unwrap()));
        (ended, is_over) = (at, (kind, code) == ("0000", "0000"));
    }
    reads.last_mut().unwrap().pause = true;
    reads
}

fn codes(layout: Layout, reads: &[Read]) -> Vec<ScannedCode> {
    typed(layout, reads)
        .into_iter()
        .map(|(_, code)| code)
        .collect()
}

const US: &str = include_str!("../../../tests/data/wedge-us.evemu");
const DROPPED: &str = include_str!("../../../tests/data/wedge-dropped.evemu");
const GERMAN: &str = include_str!("../../../tests/data/wedge-de.evemu");

#[test]
fn only_keys_that_change_make_a_code() {
    let reads = reads(US);
    for (what, event) in [
        ("the scan code of C", (4, 4, 458_758)),
        ("X repeated by the kernel", (1, 45, 2)),
        ("its SYN_REPORT", (0, 0, 1)),
    ] {
        assert!(
            reads.iter().any(|read| read.events.contains(&event)),
            "the stream has no {what}"
        );
    }
    assert_eq!(
        codes(Layout::Us, &reads),
        [code("C02XK0AAJG5H"), code("FVFXY1CDQ6L4")]
    );
}

#[test]
fn a_code_that_the_kernel_dropped_events_of_is_a_rescan_and_the_next_is_whole() {
    let reads = reads(DROPPED);
    let scans = codes(Layout::Us, &reads);
    let [ScannedCode::Broken { bytes, why }, next] = scans.as_slice() else {
        panic!("{scans:?}")
    };
    assert_eq!(
        (bytes.as_slice(), *why),
        (&b"C025H"[..], "the scanner's key queue ran over")
    );
    assert_eq!(*next, code("C02XK0AAJG6J"));
}

#[test]
fn a_german_scanner_is_read_by_its_layout_and_by_no_other() {
    let reads = reads(GERMAN);
    assert_eq!(
        codes(Layout::De, &reads),
        [code("SC02YZ0AAJG5H"), code("MHZY3DN/A")]
    );
    assert_eq!(
        codes(Layout::Us, &reads),
        [code("SC02ZY0AAJG5H"), code("MHYZ3DN&A")]
    );
}

#[test]
fn a_file_that_is_no_input_device_is_a_fault_and_a_missing_one_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("usb-file-event-kbd"), "").unwrap();
    let found = device::probe(&finder_in(folder.path(), &DeviceFile::Auto), |path| {
        Keyboard::open(path, Layout::Us)
    });
    assert!(matches!(found, ScannerState::Fault(words) if words.contains("usb-file-event-kbd")));
    assert!(matches!(
        device::probe(
            &finder(&DeviceFile::Path("/dev/input/by-id/no-such-scanner".into())),
            |path| Keyboard::open(path, Layout::Us)
        ),
        ScannerState::Absent(_)
    ));
}
