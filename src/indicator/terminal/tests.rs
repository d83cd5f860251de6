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
    let mut text = String::new();
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
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
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
    assert!(drawn.show("left", Levels::DARK));
    let first = seen(&screen, &drawing(" left   green   amber   red "));
    assert!(
        first.contains("\x1b[1;23r"),
        "the last line does not scroll: {first:?}"
    );
    drawn.show("left", GREEN);
    let lit = drawing(" left  [GREEN]  amber   red ");
    assert_eq!(seen(&screen, &lit), lit, "drawn in place");
    drawn.show("right", RED);
    seen(
        &screen,
        &drawing(" left  [GREEN]  amber   red  right   green   amber  [RED]"),
    );
    drawn.leave("left");
    seen(&screen, &drawing(" right   green   amber  [RED]"));
    drawn.leave("right");
    seen(&screen, "\x1b7\x1b[r\x1b[24;1H\x1b[2K\x1b8");
}

#[test]
fn a_terminal_that_changes_its_size_is_drawn_anew() {
    let (screen, program) = terminal_pair();
    let mut drawn = screen_on(&program, true);
    drawn.show("left", GREEN);
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
    drawn.show("left", RED);
    seen(
        &screen,
        "\x1b7\x1b[1;39r\x1b8\x1b[1A\x1b7\x1b[40;1H\x1b[2K left  \x1b[2m green \x1b[0m \x1b[2m amber \x1b[0m \x1b[1;97;41m[RED]\x1b[0m\x1b8",
    );
}

#[test]
fn a_stopped_terminal_holds_nobody_up_and_catches_up() {
    let (screen, program) = terminal_pair();
    let keyboard = fcntl_dupfd_cloexec(&program, 3).unwrap();
    let mut drawn = screen_on(&program, false);
    assert!(drawn.show("left", GREEN));
    tcflow(&keyboard, Action::OOff).unwrap();
    let began = Instant::now();
    assert!(
        !drawn.show("left", Levels::DARK),
        "it says that it has to be tried again"
    );
    assert!(began.elapsed() < Duration::from_secs(1));
    tcflow(&keyboard, Action::OOn).unwrap();
    assert!(drawn.show("left", Levels::DARK));
    seen(&screen, &drawing(" left   green   amber   red "));
}

#[test]
fn a_terminal_whose_screen_nobody_reads_holds_nobody_up_and_shows_the_newest_lamps_whole() {
    let (screen, program) = terminal_pair();
    let mut drawn = screen_on(&program, false);
    let began = Instant::now();
    let mut refused = 0;
    for nth in 0..2_000 {
        refused += usize::from(!drawn.show("left", if nth % 2 == 0 { GREEN } else { RED }));
        if refused > 20 {
            break;
        }
    }
    assert_eq!(refused, 21, "it takes some kilobytes and no more");
    assert!(began.elapsed() < Duration::from_secs(5));
    // Somebody reads again: each drawing is whole, and the last is of now.
    let last = thread::scope(|scope| {
        let reader = scope.spawn(|| seen(&screen, &drawing(" left   green   amber   red ")));
        while !drawn.show("left", Levels::DARK) {
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
    assert!(drawn.show("left", GREEN));
    drawn.leave("left");
    drop(drawn);
    assert_eq!(std::io::read_to_string(reader).unwrap(), "");
    assert!(Screen::new(None, true).show("left", GREEN));
}

#[test]
fn lanes_that_do_not_fit_are_left_out_whole() {
    let lanes: Vec<_> = ["one", "two", "three", "four"]
        .map(|name| (name.to_owned(), Levels::DARK))
        .into();
    let line = lamps(&lanes, 60, false);
    assert!(
        line.len() <= 60 && line.contains("two") && !line.contains("three"),
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
            .filter(|nth| !drawn.show("left", if nth % 2 == 0 { GREEN } else { Levels::DARK }))
            .count();
        ended.store(true, Ordering::Relaxed);
        late
    });
    // A busy machine may make one of them wait.
    assert!(late <= 5, "{late} of 500 drawings had to be offered again");
}
