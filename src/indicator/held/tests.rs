//! Dark at the end of a process: by a call, by a drop, by a panic in a process that aborts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{env, fs, os::unix::process::ExitStatusExt, process, thread, time::Instant};

use super::*;
use crate::indicator::recording::{Recording, Tape};

const GREEN: Levels = Levels {
    green: true,
    ..Levels::DARK
};
const RED: Levels = Levels {
    red: true,
    ..Levels::DARK
};

fn registry() -> &'static Registry {
    Box::leak(Box::new(Registry::new()))
}

fn recording(tape: &Tape) -> Output {
    Output::Recording(Recording {
        tape: tape.clone(),
        ..Recording::default()
    })
}

#[test]
fn all_lamps_go_dark_at_the_end_and_stay_dark() {
    let registry = registry();
    let (left, right) = (Tape::default(), Tape::default());
    let (left_lamps, right_lamps) = (
        registry.hold(recording(&left)),
        registry.hold(recording(&right)),
    );
    left_lamps.set(GREEN).unwrap();
    right_lamps.set(RED).unwrap();
    assert!(registry.extinguish());
    assert_eq!(
        (left.last(), right.last()),
        (Some(Levels::DARK), Some(Levels::DARK))
    );
    left_lamps.set(GREEN).unwrap();
    assert_eq!(
        left.last(),
        Some(Levels::DARK),
        "a lane that has not heard of it lights nothing any more"
    );
    let late = Tape::default();
    registry.hold(recording(&late)).set(GREEN).unwrap();
    assert_eq!(
        late.last(),
        Some(Levels::DARK),
        "nor does one that is opened afterwards"
    );
}

#[test]
fn lamps_that_are_let_go_are_dark() {
    let tape = Tape::default();
    let registry = registry();
    let lamps = registry.hold(recording(&tape));
    lamps.set(GREEN).unwrap();
    drop(lamps);
    assert_eq!(tape.last(), Some(Levels::DARK));
    assert!(!registry.holds_some());
}

#[test]
fn a_driver_that_panicked_is_darkened_all_the_same() {
    let tape = Tape::default();
    let registry = registry();
    let lamps = registry.hold(Output::Recording(Recording {
        tape: tape.clone(),
        panics_on: Some(RED),
        ..Recording::default()
    }));
    lamps.set(GREEN).unwrap();
    thread::scope(|scope| assert!(scope.spawn(|| lamps.set(RED)).join().is_err()));
    assert!(registry.extinguish(), "the lock is poisoned and still good");
    assert_eq!(tape.last(), Some(Levels::DARK));
}

#[test]
fn a_thread_that_ends_the_process_while_it_drives_its_lamps_does_not_wait_for_itself() {
    let (stuck, other) = (Tape::default(), Tape::default());
    let registry = registry();
    let lamps = registry.hold(recording(&stuck));
    let others = registry.hold(recording(&other));
    others.set(GREEN).unwrap();
    let driving = lamps.slot.lock().unwrap();
    let began = Instant::now();
    assert!(
        !registry.extinguish(),
        "and it says that one was not reached"
    );
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(other.last(), Some(Levels::DARK), "the others are dark");
    drop(driving);
}

const CHILD: &str = "BENCHLIGHT_TEST_LAMP_FILE";

#[test]
fn a_panic_in_a_process_that_aborts_leaves_the_lamps_dark() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let child = process::Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "indicator::held::tests::the_process_that_panics",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD, file.path())
        .stdout(process::Stdio::null())
        .stderr(process::Stdio::null())
        .status()
        .unwrap();
    const SIGABRT: i32 = 6;
    assert_eq!(
        child.signal(),
        Some(SIGABRT),
        "it ended as the release build does: {child:?}"
    );
    let driven = fs::read_to_string(file.path()).unwrap();
    assert_eq!(
        driven.lines().collect::<Vec<_>>(),
        ["G..", "..."],
        "green, then dark as the last thing"
    );
}

#[test]
#[ignore = "started by a_panic_in_a_process_that_aborts_leaves_the_lamps_dark, in a process of its own"]
fn the_process_that_panics() {
    // With `--ignored` alone there is nobody who looks at the lamps.
    let Some(path) = env::var_os(CHILD) else {
        return;
    };
    // What `panic = "abort"` does once the hook has returned.
    panic::set_hook(Box::new(|_| process::abort()));
    darken_on_panic();
    let lamps = PROCESS.hold(Output::Recording(Recording {
        file: Some(fs::File::create(path).unwrap()),
        ..Recording::default()
    }));
    lamps.set(GREEN).unwrap();
    let _ = thread::spawn(|| panic!("a fault anywhere in the station")).join();
    thread::sleep(Duration::from_secs(5));
}
