//! Serial scanners, played by pseudo-terminals: codes, pauses, unplugging, a second reader.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{fs::File, io::Write, os::unix::fs::symlink, path::PathBuf, time::Duration};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::Termios,
};
use tokio::task::JoinHandle;

use super::*;
use crate::scanner::{
    ScannerKind, ScannerState, device,
    framing::FRAMED,
    tests::{Bench, code},
};

/// A scanner on a cable: what is written here can be read from its device file.
struct Cable {
    scanner: File,
    device: PathBuf,
}

impl Cable {
    /// Plugs a scanner in, as `name` in udev's folder.
    fn plugged(folder: &Path, name: &str) -> Self {
        let scanner =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&scanner).unwrap();
        unlockpt(&scanner).unwrap();
        let target = ptsname(&scanner, Vec::new())
            .unwrap()
            .into_string()
            .unwrap();
        let device = folder.join(name);
        let _ = std::fs::remove_file(&device);
        symlink(target, &device).unwrap();
        Self {
            scanner: scanner.into(),
            device,
        }
    }

    fn types(&mut self, text: &str) {
        self.scanner.write_all(text.as_bytes()).unwrap();
    }

    /// The settings of the device file.
    fn settings(&self) -> Termios {
        tcgetattr(&self.scanner).unwrap()
    }

    fn unplugged(self) {
        std::fs::remove_file(&self.device).unwrap();
    }
}

fn start(folder: &Path, pause: Duration) -> (Bench, JoinHandle<()>) {
    let bench = Bench::new(ScannerKind::Serial {
        device: DeviceFile::Auto,
        baud: 9_600,
        pause,
    });
    let (folder, scan_sender, reporter) = (
        folder.to_owned(),
        bench.scan_sender.clone(),
        bench.reporter.clone(),
    );
    let task = tokio::spawn(async move {
        let finder = finder_in(&folder, &DeviceFile::Auto);
        let open = |path: &Path| SerialScanner::open(path, 9_600);
        device::run(finder, open, pause, &scan_sender, &reporter).await
    });
    (bench, task)
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(80);

#[tokio::test]
async fn codes_end_by_cr_lf_or_both() {
    let folder = tempfile::tempdir().unwrap();
    let mut cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    let (mut bench, _task) = start(folder.path(), LONG);
    bench.until(|state| *state == ScannerState::Ok).await;
    cable.types("C02XK0AAJG5H\rC02XK0AAJG5J\nC02XK0AAJG5K\r\n\r\n[)>\x1e06\x1dS1\x1e\x04\r");
    for text in [
        "C02XK0AAJG5H",
        "C02XK0AAJG5J",
        "C02XK0AAJG5K",
        "[)>\x1e06\x1dS1\x1e\x04",
    ] {
        assert_eq!(bench.next().await, code(text));
    }
    cable.types("C02XK0");
    cable.types("AAJG5H\r");
    assert_eq!(
        bench.next().await,
        code("C02XK0AAJG5H"),
        "a code may come in pieces"
    );
}

#[tokio::test]
async fn the_frame_around_a_code_is_dropped_and_noise_between_codes_is_no_scan() {
    let folder = tempfile::tempdir().unwrap();
    let mut cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    let (mut bench, _task) = start(folder.path(), SHORT);
    bench.until(|state| *state == ScannerState::Ok).await;
    for framed in FRAMED {
        cable
            .scanner
            .write_all(&[framed, b"\r\0\x11"].concat())
            .unwrap();
        assert_eq!(
            bench.next().await,
            code("HLDRND0002"),
            "{:?}",
            framed.escape_ascii().to_string()
        );
    }
    // A pause after noise does not end a code: the next scan is the next code.
    tokio::time::sleep(2 * SHORT).await;
    cable.types("\x02HLDRND0003\x03");
    assert_eq!(bench.next().await, code("HLDRND0003"), "ended by the pause");
}

#[tokio::test]
async fn a_port_does_not_heed_the_carrier() {
    let folder = tempfile::tempdir().unwrap();
    let cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    let mut settings = cable.settings();
    settings.control_modes -= ControlModes::CLOCAL | ControlModes::CREAD;
    tcsetattr(&cable.scanner, OptionalActions::Now, &settings).unwrap();
    assert!(
        !cable
            .settings()
            .control_modes
            .contains(ControlModes::CLOCAL)
    );
    let (mut bench, _task) = start(folder.path(), LONG);
    bench.until(|state| *state == ScannerState::Ok).await;
    assert!(
        cable
            .settings()
            .control_modes
            .contains(ControlModes::CLOCAL | ControlModes::CREAD),
        "{:?}",
        cable.settings().control_modes
    );
}

#[tokio::test]
async fn a_pause_ends_a_code_and_the_moment_of_its_last_character_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    let (mut bench, _task) = start(folder.path(), SHORT);
    bench.until(|state| *state == ScannerState::Ok).await;
    cable.types("C02XK0AAJG5H");
    let scan = bench.scans.recv().await.unwrap();
    assert_eq!(scan.code, code("C02XK0AAJG5H"));
    assert!(
        crate::runtime::clock::Boot::now().since(scan.at.boot) >= SHORT,
        "the pause is not part of the scan's time"
    );
    cable.types("C02XK0AAJG5J");
    assert_eq!(bench.next().await, code("C02XK0AAJG5J"));
}

#[tokio::test]
async fn codes_without_an_end_key_are_said_until_one_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    let (mut bench, _task) = start(folder.path(), SHORT);
    bench.until(|state| *state == ScannerState::Ok).await;
    for text in ["C02XK0AAJG5H", "C02XK0AAJG5J"] {
        cable.types(text);
        assert_eq!(bench.next().await, code(text));
        assert_eq!(
            *bench.state.borrow(),
            ScannerState::Ok,
            "once or twice may be chance"
        );
    }
    cable.types("C02XK0AAJG5K");
    assert_eq!(bench.next().await, code("C02XK0AAJG5K"));
    bench.until(|state| *state == ScannerState::Unended).await;
    assert!(
        bench.state.borrow().is_there() && bench.state.borrow().code() == "ok",
        "it works all the same"
    );
    cable.types("C02XK0AAJG5H\r");
    assert_eq!(bench.next().await, code("C02XK0AAJG5H"));
    bench.until(|state| *state == ScannerState::Ok).await;
}

#[tokio::test]
async fn an_unplugged_scanner_is_said_and_found_again_and_half_a_code_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut bench, task) = start(folder.path(), LONG);
    bench
        .until(|state| matches!(state, ScannerState::Absent(_)))
        .await;
    let mut cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    bench.until(|state| *state == ScannerState::Ok).await;
    cable.types("C02XK0AAJG5H\nC02XK0");
    assert_eq!(bench.next().await, code("C02XK0AAJG5H"));
    cable.unplugged();
    bench
        .until(|state| matches!(state, ScannerState::Absent(_)))
        .await;
    let mut cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    bench.until(|state| *state == ScannerState::Ok).await;
    cable.types("AAJG5J1\n");
    assert_eq!(
        bench.next().await,
        code("AAJG5J1"),
        "the first half does not join"
    );
    assert!(!task.is_finished());
}

#[tokio::test]
async fn what_is_typed_while_the_port_is_being_opened_is_broken_and_the_next_code_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    let scanner = cable.scanner.try_clone().unwrap();
    // Sent as soon as the port is open: the end of a code whose beginning was not read, then a whole one.
    let open = move |path: &Path| {
        let port = SerialScanner::open(path, 9_600)?;
        (&scanner).write_all(b"AAJG5H\rC02XK0AAJG5J\r")?;
        Ok(port)
    };
    let mut bench = Bench::new(ScannerKind::Serial {
        device: DeviceFile::Auto,
        baud: 9_600,
        pause: SHORT,
    });
    let (finder, scan_sender, reporter) = (
        finder_in(folder.path(), &DeviceFile::Auto),
        bench.scan_sender.clone(),
        bench.reporter.clone(),
    );
    let _task =
        tokio::spawn(
            async move { device::run(finder, open, SHORT, &scan_sender, &reporter).await },
        );
    assert!(matches!(bench.next().await, ScannedCode::Broken { bytes, .. } if bytes == b"AAJG5H"));
    assert_eq!(bench.next().await, code("C02XK0AAJG5J"));
    bench.until(|state| *state == ScannerState::Ok).await;
    cable.types("C02XK0AAJG5K\r");
    assert_eq!(bench.next().await, code("C02XK0AAJG5K"));
}

#[tokio::test]
async fn a_port_that_another_holds_is_busy_and_free_when_the_scanner_stops() {
    let folder = tempfile::tempdir().unwrap();
    let cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    let (mut bench, task) = start(folder.path(), LONG);
    bench.until(|state| *state == ScannerState::Ok).await;
    let found = || {
        device::probe(&finder_in(folder.path(), &DeviceFile::Auto), |path| {
            SerialScanner::open(path, 9_600)
        })
    };
    assert_eq!(found(), ScannerState::Busy);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // The thread closes the port as soon as it is woken.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while found() != ScannerState::Ok {
        assert!(
            std::time::Instant::now() < deadline,
            "the port was never closed"
        );
        tokio::task::yield_now().await;
    }
    assert!(cable.device.exists());
}

#[tokio::test]
async fn the_thread_ends_when_the_station_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    let (mut bench, task) = start(folder.path(), LONG);
    bench.until(|state| *state == ScannerState::Ok).await;
    drop(bench.scans);
    cable.types("C02XK0AAJG5H\n");
    tokio::time::timeout(Duration::from_secs(10), task)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(&*bench.state.borrow(), ScannerState::Fault(_)));
}

#[tokio::test]
async fn codes_beyond_the_places_of_the_station_are_said_so_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut cable = Cable::plugged(folder.path(), "usb-Zebra-if00");
    let (mut bench, _task) = start(folder.path(), LONG);
    bench.until(|state| *state == ScannerState::Ok).await;
    let count = crate::scanner::SCANS_IN_PROGRESS + 8;
    let mut held = Vec::new();
    for number in 0..count {
        cable.types(&format!("CODE{number:04}\n"));
        held.push(bench.scans.recv().await.unwrap());
    }
    let placeless = held.iter().filter(|scan| scan.place.is_none()).count();
    assert_eq!(placeless, 8, "the station answers these as overloaded");
}

#[test]
fn a_file_that_is_no_serial_port_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "C02XK0AAJG5H\n").unwrap();
    let found = device::probe(&finder_in(folder.path(), &DeviceFile::Auto), |path| {
        SerialScanner::open(path, 9_600)
    });
    assert!(matches!(found, ScannerState::Fault(words) if words.contains("file")));
    assert!(matches!(
        device::probe(
            &finder(&DeviceFile::Path(
                "/dev/serial/by-id/no-such-scanner".into()
            )),
            |path| SerialScanner::open(path, 9_600)
        ),
        ScannerState::Absent(_)
    ));
}
