//! The lamps' line on a real pseudo-terminal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{fcntl_dupfd_cloexec, read},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Action, Winsize, tcflow, tcsetwinsize},
};

use super::*;

const GREEN: Levels = Levels {
    green: true,
    ..Levels::DARK
};
const RED: Levels = Levels {
    red: true,
    ..Levels::DARK
};

/// A terminal of 24 rows and 80 columns: its keyboard and screen, and the program's side.
fn terminal_pair() -> (OwnedFd, OwnedFd) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let program = open(
        ptsname(&screen, Vec::new()).unwrap(),
        OFlags::RDWR | OFlags::NOCTTY,
        Mode::empty(),
    )
    .unwrap();
    tcsetwinsize(
        &program,
        Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
    (screen, program)
}

/// A screen that draws on that terminal as it does on the process's own.
fn screen_on(program: &OwnedFd, colours: bool) -> Screen {
    Screen::new(without_waiting(program), colours)
}

/// What the screen got, up to and with `end`. A pseudo-terminal hands over in its own time and in pieces.
fn seen(screen: &OwnedFd, end: &str) -> String {
    let (mut text, mut got) = (String::new(), Vec::new());
    while !text.ends_with(end) {
        let mut ready = [PollFd::new(screen, PollFlags::IN)];
        let count = poll(
            &mut ready,
            Some(&Timespec {
                tv_sec: 5,
                tv_nsec: 0,
            }),
        )
        .unwrap();
        assert_eq!(count, 1, "{end:?} never comes: {text:?}");
        let mut bytes = [0; 4096];
        let count = read(screen, &mut bytes).unwrap();
        got.extend_from_slice(&bytes[..count]);
        text = String::from_utf8_lossy(&got).into_owned();
    }
    text
}

/// What the screen gets for one drawing without a new region.
fn drawing(lamps: &str) -> String {
    format!("\x1b7\x1b[24;1H\x1b[2K{lamps}\x1b8")
}

#[test]
fn the_last_line_shows_the_lamps_and_is_given_back() {
    let (screen, program) = terminal_pair();
    let mut drawn = screen_on(&program, false);
    assert!(drawn.show("left", Levels::DARK, None));
    let first = seen(&screen, &drawing(" left   Not checked "));
    assert!(
        first.contains("\x1b[1;23r"),
        "the last line does not scroll: {first:?}"
    );
    drawn.show("left", GREEN, Some("ready"));
    let lit = drawing(" left  [✓ Ready]");
    assert_eq!(seen(&screen, &lit), lit, "drawn in place");
    drawn.show("right", RED, Some("stop"));
    seen(&screen, &drawing(" left  [✓ Ready] right  [✗ Stop]"));
    drawn.leave("left");
    seen(&screen, &drawing(" right  [✗ Stop]"));
    drawn.leave("right");
    seen(&screen, "\x1b7\x1b[r\x1b[24;1H\x1b[2K\x1b8");
}

#[test]
fn what_is_under_way_stands_beside_the_lamps_where_it_fits_and_goes_without_them() {
    let (screen, program) = terminal_pair();
    let mut drawn = screen_on(&program, false);
    let notes = ["kandji ██░░ 50 of 100", "apple 70 devices"].map(str::to_owned);
    drawn.show("left", GREEN, Some("ready"));
    assert!(drawn.note(&notes));
    let beside = " left  [✓ Ready]  kandji ██░░ 50 of 100  apple 70 devices";
    seen(&screen, &drawing(beside));
    // The lamps come first.
    drawn.show("right", RED, Some("stop"));
    drawn.show("middle", RED, Some("unable"));
    let lamps = " left  [✓ Ready] right  [✗ Stop] middle  [✗ Cannot check]";
    seen(
        &screen,
        &drawing(&format!("{lamps}  kandji ██░░ 50 of 100")),
    );
    for lane in ["left", "right", "middle"] {
        drawn.leave(lane);
    }
    seen(
        &screen,
        &drawing("  kandji ██░░ 50 of 100  apple 70 devices"),
    );
    assert!(drawn.note(&[]));
    seen(&screen, "\x1b7\x1b[r\x1b[24;1H\x1b[2K\x1b8");
}

#[test]
fn a_terminal_that_changes_its_size_is_drawn_anew() {
    let (screen, program) = terminal_pair();
    let mut drawn = screen_on(&program, true);
    drawn.show("left", GREEN, Some("ready"));
    assert!(seen(&screen, "\x1b8").contains("\x1b[1;23r"));
    tcsetwinsize(
        &screen,
        Winsize {
            ws_row: 40,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
    drawn.show("left", RED, Some("stop"));
    seen(
        &screen,
        "\x1b7\x1b[1;39r\x1b8\x1b[1A\x1b7\x1b[40;1H\x1b[2K left  \x1b[1;97;41m[✗ Stop]\x1b[0m\x1b8",
    );
}

#[test]
fn a_stopped_terminal_holds_nobody_up_and_catches_up() {
    let (screen, program) = terminal_pair();
    let keyboard = fcntl_dupfd_cloexec(&program, 3).unwrap();
    let mut drawn = screen_on(&program, false);
    assert!(drawn.show("left", GREEN, Some("ready")));
    tcflow(&keyboard, Action::OOff).unwrap();
    let began = Instant::now();
    assert!(
        !drawn.show("left", Levels::DARK, None),
        "it says that it has to be tried again"
    );
    assert!(began.elapsed() < Duration::from_secs(1));
    tcflow(&keyboard, Action::OOn).unwrap();
    assert!(drawn.show("left", Levels::DARK, None));
    seen(&screen, &drawing(" left   Not checked "));
}

#[test]
fn a_terminal_whose_screen_nobody_reads_holds_nobody_up_and_shows_the_newest_lamps_whole() {
    let (screen, program) = terminal_pair();
    let mut drawn = screen_on(&program, false);
    let began = Instant::now();
    let mut refused = 0;
    for nth in 0..2_000 {
        refused += usize::from(!drawn.show(
            "left",
            if nth % 2 == 0 { GREEN } else { RED },
            Some("ready"),
        ));
        if refused > 20 {
            break;
        }
    }
    assert_eq!(refused, 21, "it takes some kilobytes and no more");
    assert!(began.elapsed() < Duration::from_secs(5));
    // Somebody reads again: each drawing is whole, and the last is of now.
    let last = thread::scope(|scope| {
        let reader = scope.spawn(|| seen(&screen, &drawing(" left   Not checked ")));
        while !drawn.show("left", Levels::DARK, None) {
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        reader.join().unwrap()
    });
    let (_, drawings) = last.split_once("\x1b[1A").unwrap();
    for one in drawings.split_inclusive("\x1b8") {
        assert!(
            one.starts_with("\x1b7\x1b[24;1H\x1b[2K left ") && one.ends_with("\x1b8"),
            "{one:?}"
        );
    }
}

#[test]
fn nothing_is_drawn_where_there_is_no_terminal() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut drawn = Screen::new(Some(writer.into()), false);
    assert!(drawn.show("left", GREEN, Some("ready")));
    drawn.leave("left");
    drop(drawn);
    assert_eq!(std::io::read_to_string(reader).unwrap(), "");
    assert!(Screen::new(None, true).show("left", GREEN, Some("ready")));
}

#[test]
fn every_signal_has_words_and_what_blinks_keeps_them_in_the_dark() {
    let mut lane = Lane::dark("left");
    assert_eq!(
        line(&[Lane::dark("left")], &[], 80, false),
        " left   Not checked "
    );
    let mut all = std::collections::BTreeSet::from([words(None)]);
    for signal in [
        "ready", "stop", "hold", "rescan", "alarm", "working", "unable",
    ] {
        all.insert(words(Some(signal)));
    }
    assert_eq!(all.len(), 8, "{all:?}");
    (lane.levels, lane.signal) = (RED, Some("stop"));
    let lit = line(std::slice::from_ref(&lane), &[], 80, false);
    lane.levels = Levels::DARK;
    let unlit = line(&[lane], &[], 80, false);
    assert_eq!(
        (lit.as_str(), unlit.as_str()),
        (" left  [✗ Stop]", " left   ✗ Stop ")
    );
}

#[test]
fn lanes_that_do_not_fit_are_left_out_whole() {
    let lanes: Vec<_> = ["one", "two", "three", "four"].map(Lane::dark).into();
    let line = line(&lanes, &[], 50, false);
    assert!(
        line.len() <= 50 && line.contains("two") && !line.contains("three"),
        "{line:?}"
    );
}

#[test]
fn a_lamp_is_drawn_at_once_while_the_log_is_written() {
    let (screen, program) = terminal_pair();
    let log = fcntl_dupfd_cloexec(&program, 3).unwrap();
    let mut drawn = screen_on(&program, false);
    let ended = AtomicBool::new(false);
    let late = thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let mut ready = [PollFd::new(&screen, PollFlags::IN)];
                if poll(
                    &mut ready,
                    Some(&Timespec {
                        tv_sec: 0,
                        tv_nsec: 1_000_000,
                    }),
                )
                .unwrap()
                    > 0
                {
                    read(&screen, &mut bytes).unwrap();
                }
            }
        });
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                write(
                    &log,
                    b"2026-01-09T22:01:10Z  INFO scan serial=\"C02XK0AAJG5H\" verdict=\"ready\"\n",
                )
                .unwrap();
            }
        });
        let late = (0..500)
            .filter(|nth| {
                !drawn.show(
                    "left",
                    if nth % 2 == 0 { GREEN } else { Levels::DARK },
                    None,
                )
            })
            .count();
        ended.store(true, Ordering::Relaxed);
        late
    });
    // A busy machine may make one of them wait.
    assert!(late <= 5, "{late} of 500 drawings had to be offered again");
}
