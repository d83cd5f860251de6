//! Which device file a setting means, and how a device's thread behaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::{
    runtime::pulse::Pulses,
    scanner::{ScannerKind, tests::Bench},
};

fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    folder
}

fn finder(folder: &Path, device: DeviceFile) -> Finder {
    Finder {
        folder: folder.to_owned(),
        ending: "-event-kbd",
        device,
        elsewhere: (folder.join("serial"), "USB serial"),
    }
}

fn absent(seen: &str) -> ScannerState {
    ScannerState::Absent(seen.to_owned())
}

fn find(folder: &Path, device: DeviceFile) -> Result<String, ScannerState> {
    finder(folder, device).find().map(|path| {
        path.strip_prefix(folder)
            .unwrap_or(&path)
            .display()
            .to_string()
    })
}

#[test]
fn auto_takes_exactly_one_device_and_otherwise_lists_what_it_saw() {
    let one = folder(&[
        "usb-Zebra_DS2208-event-kbd",
        "usb-Zebra_DS2208-event-if01",
        "usb-Mouse-event-mouse",
    ]);
    assert_eq!(
        find(one.path(), DeviceFile::Auto),
        Ok("usb-Zebra_DS2208-event-kbd".to_owned())
    );
    assert_eq!(
        find(folder(&["usb-Mouse-event-mouse"]).path(), DeviceFile::Auto),
        Err(absent(
            "seen, but no scanner of this kind: usb-Mouse-event-mouse"
        ))
    );
    let two = folder(&["usb-B-event-kbd", "usb-A-event-kbd", "usb-C-event-mouse"]);
    let Err(ScannerState::Fault(words)) = find(two.path(), DeviceFile::Auto) else {
        panic!("two fit")
    };
    assert!(
        words.contains("usb-A-event-kbd, usb-B-event-kbd)")
            && !words.contains("mouse")
            && words.contains("`device`"),
        "{words}"
    );
    let none = find(&one.path().join("no/such/folder"), DeviceFile::Auto);
    assert_eq!(
        none,
        Err(absent("no device with a stable name is plugged in")),
        "udev makes the folder with the first device"
    );
}

#[test]
fn a_scanner_in_another_mode_is_seen_and_long_lists_are_cut() {
    let (here, there) = (folder(&[]), folder(&["usb-Zebra-if00"]));
    let finder = Finder {
        elsewhere: (there.path().to_owned(), "USB serial"),
        ..finder(here.path(), DeviceFile::Auto)
    };
    assert_eq!(
        finder.find(),
        Err(absent("seen in USB serial mode: usb-Zebra-if00"))
    );
    let names: Vec<String> = (0..20).map(|number| format!("usb-{number:02}")).collect();
    let many = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let listed = "seen: usb-00, usb-01, usb-02, usb-03, usb-04, usb-05, usb-06, usb-07, ..";
    assert_eq!(
        find(many.path(), DeviceFile::Path("*Zebra*".into())),
        Err(absent(listed))
    );
}

#[test]
fn a_setting_may_be_a_path_a_name_or_a_glob() {
    let folder = folder(&[
        "usb-Zebra_1-event-kbd",
        "usb-Zebra_2-event-kbd",
        "usb-Honeywell-event-kbd",
    ]);
    let found = |text: &str| find(folder.path(), DeviceFile::Path(text.into()));
    assert_eq!(
        found("usb-Zebra_1-event-kbd"),
        Ok("usb-Zebra_1-event-kbd".to_owned())
    );
    assert_eq!(
        found("/dev/input/event7"),
        Ok("/dev/input/event7".to_owned())
    );
    assert_eq!(
        found("*Honeywell*"),
        Ok("usb-Honeywell-event-kbd".to_owned())
    );
    assert_eq!(
        found(&format!("{}/usb-Zebra_?-*", folder.path().display())),
        found("usb-Zebra_?-*")
    );
    assert!(
        matches!(found("usb-Zebra_?-*"), Err(ScannerState::Fault(words)) if words.contains("usb-Zebra_1-event-kbd, usb-Zebra_2-event-kbd"))
    );
    assert_eq!(
        found("*Datalogic*"),
        Err(absent(
            "seen: usb-Honeywell-event-kbd, usb-Zebra_1-event-kbd, usb-Zebra_2-event-kbd"
        ))
    );
}

#[test]
fn what_the_system_refuses_is_told_apart() {
    let folder = folder(&["usb-Mouse-event-mouse"]);
    let state = |errno: Errno| {
        finder(folder.path(), DeviceFile::Auto).state_of(Path::new("/dev/x"), &errno.into())
    };
    let seen = absent("seen, but no scanner of this kind: usb-Mouse-event-mouse");
    assert_eq!(state(Errno::NODEV), seen);
    assert_eq!(state(Errno::NOENT), seen);
    assert_eq!(state(Errno::ACCESS), ScannerState::NoRight);
    assert_eq!(state(Errno::PERM), ScannerState::NoRight);
    assert_eq!(state(Errno::BUSY), ScannerState::Busy);
    assert_eq!(state(Errno::AGAIN), ScannerState::Busy);
    assert!(matches!(state(Errno::NOTTY), ScannerState::Fault(words) if words.contains("/dev/x")));
}

/// A device that sends nothing, or whose driver never returns from a read.
struct Double {
    /// The other end, open as long as the device is there.
    _far: UnixStream,
    near: UnixStream,
    hangs: bool,
}

impl AsFd for Double {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.near.as_fd()
    }
}

impl OpenDevice for Double {
    fn read(&mut self) -> io::Result<Vec<ScannedCode>> {
        if self.hangs {
            // Never returns: nothing will ever come here.
            let (_stays, hangs) = std::sync::mpsc::channel::<()>();
            let _ = hangs.recv();
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn pending(&self) -> bool {
        false
    }

    fn spoil(&mut self, _: &'static str) {}

    fn pause(&mut self) -> Option<ScannedCode> {
        None
    }
}

/// udev creates the device first and sets its permissions later.
#[tokio::test]
async fn a_right_that_comes_late_is_taken_up() {
    let folder = folder(&["usb-Double-event-kbd"]);
    let mut bench = Bench::new(ScannerKind::Stdin);
    let right = Arc::new(AtomicBool::new(false));
    let given = Arc::clone(&right);
    let open = move |_: &Path| {
        if !given.load(Ordering::SeqCst) {
            return Err(Errno::ACCESS.into());
        }
        let (near, far) = UnixStream::pair()?;
        Ok(Double {
            _far: far,
            near,
            hangs: false,
        })
    };
    let (finder, scan_sender, reporter) = (
        finder(folder.path(), DeviceFile::Auto),
        bench.scan_sender.clone(),
        bench.reporter.clone(),
    );
    let _task = tokio::spawn(async move {
        run(
            finder,
            open,
            Duration::from_millis(80),
            &scan_sender,
            &reporter,
        )
        .await
    });
    bench.until(|state| *state == ScannerState::NoRight).await;
    right.store(true, Ordering::SeqCst);
    bench.until(|state| *state == ScannerState::Ok).await;
}

/// Runs a scanner's thread on a [`Double`] for more than two intervals of the pulse; returns who was silent in the last one.
async fn silent(hangs: bool) -> Vec<String> {
    let folder = folder(&["usb-Double-event-kbd"]);
    let finder = finder(folder.path(), DeviceFile::Auto);
    let pulses = Pulses::default();
    let mut bench = Bench::new(ScannerKind::Stdin);
    bench.reporter.pulse = pulses.pulse("scanner left");
    let open = move |_: &Path| {
        let (near, far) = UnixStream::pair()?;
        if hangs {
            // There is something to read now, so the thread calls the driver that hangs.
            io::Write::write_all(&mut &far, b"x")?;
        }
        Ok(Double {
            _far: far,
            near,
            hangs,
        })
    };
    let (scan_sender, reporter) = (bench.scan_sender.clone(), bench.reporter.clone());
    let task = tokio::spawn(async move {
        run(
            finder,
            open,
            Duration::from_millis(80),
            &scan_sender,
            &reporter,
        )
        .await
    });
    if !hangs {
        bench.until(|state| *state == ScannerState::Ok).await;
    }
    tokio::time::sleep(pulse::EVERY).await;
    pulses.silent();
    tokio::time::sleep(pulse::EVERY + Duration::from_secs(1)).await;
    task.abort();
    pulses.silent()
}

#[tokio::test]
async fn the_thread_of_a_quiet_scanner_gives_signs_of_life() {
    assert!(silent(false).await.is_empty());
}

#[tokio::test]
async fn a_thread_that_hangs_in_its_device_gives_none() {
    assert_eq!(silent(true).await, ["scanner left"]);
}

#[test]
fn globs() {
    for (glob, name, expected) in [
        ("*", "", true),
        ("**", "x", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-b-b-c-", false),
        ("?", "", false),
        ("a?", "ab", true),
        ("ab", "ab", true),
        ("ab", "abc", false),
        ("*kbd", "usb-event-kbd", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(
            WildMatch::new(glob).matches(name),
            expected,
            "{glob} {name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_glob_made_from_a_name_fits_it(name in "[a-c]{0,12}", cuts in prop::collection::vec((0_usize..12, 0_usize..4), 0..4)) {
        let mut glob = name.clone();
        for (place, length) in cuts {
            let from = place.min(glob.len());
            glob.replace_range(from..(from + length).min(glob.len()), "*");
        }
        prop_assert!(WildMatch::new(&glob).matches(&name), "{} {}", glob, name);
    }
}
