//! The lamps' line on a real pseudo-terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::time::Instant;

use rustix::{
    fs::{Mode, OFlags, open},
    io::read,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Action, Winsize, tcflow, tcsetwinsize},
};

use super::*;

const GREEN: Levels = Levels { green: true, ..Levels::DARK };
const RED: Levels = Levels { red: true, ..Levels::DARK };

/// A terminal of 24 rows and 80 columns: its keyboard and screen, and the program's side.
fn terminal_pair() -> (OwnedFd, OwnedFd) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let program = open(ptsname(&screen, Vec::new()).unwrap(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    tcsetwinsize(&program, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (screen, program)
}

fn seen(screen: &OwnedFd) -> String {
    let mut bytes = [0; 4096];
    let count = read(screen, &mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

#[test]
fn the_last_line_shows_the_lamps_and_is_given_back() {
    let (screen, program) = terminal_pair();
    let mut drawn = Screen::new(Some(program), false);
    assert!(drawn.show("left", Levels::DARK));
    let first = seen(&screen);
    assert!(first.contains("\x1b[1;23r"), "the last line does not scroll: {first:?}");
    assert!(first.ends_with("\x1b7\x1b[24;1H\x1b[2K left   green   amber   red \x1b8"), "{first:?}");
    drawn.show("left", GREEN);
    assert_eq!(seen(&screen), "\x1b7\x1b[24;1H\x1b[2K left  [GREEN]  amber   red \x1b8");
    drawn.show("right", RED);
    assert_eq!(seen(&screen), "\x1b7\x1b[24;1H\x1b[2K left  [GREEN]  amber   red  right   green   amber  [RED]\x1b8");
    drawn.leave("left");
    assert_eq!(seen(&screen), "\x1b7\x1b[24;1H\x1b[2K right   green   amber  [RED]\x1b8");
    drawn.leave("right");
    assert_eq!(seen(&screen), "\x1b7\x1b[r\x1b[24;1H\x1b[2K\x1b8", "the whole terminal scrolls again");
}

#[test]
fn a_terminal_that_changes_its_size_is_drawn_anew() {
    let (screen, program) = terminal_pair();
    let mut drawn = Screen::new(Some(program), true);
    drawn.show("left", GREEN);
    assert!(seen(&screen).contains("\x1b[1;97;42m[GREEN]\x1b[0m"), "in colour");
    tcsetwinsize(&screen, Winsize { ws_row: 40, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    drawn.show("left", RED);
    assert!(seen(&screen).contains("\x1b[1;39r"));
}

#[test]
fn a_stopped_terminal_holds_nobody_up_and_catches_up() {
    let (screen, program) = terminal_pair();
    let keyboard = fcntl_dupfd_cloexec(&program, 3).unwrap();
    let mut drawn = Screen::new(Some(program), false);
    assert!(drawn.show("left", GREEN));
    tcflow(&keyboard, Action::OOff).unwrap();
    let began = Instant::now();
    assert!(!drawn.show("left", Levels::DARK), "it says that it has to be tried again");
    assert!(began.elapsed() < Duration::from_secs(1));
    tcflow(&keyboard, Action::OOn).unwrap();
    assert!(drawn.show("left", Levels::DARK));
    let last = seen(&screen);
    assert!(last.ends_with("green   amber   red \x1b8"), "{last:?}");
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
    let lanes: Vec<_> = ["one", "two", "three", "four"].map(|name| (name.to_owned(), Levels::DARK)).into();
    let line = lamps(&lanes, 60, false);
    assert!(line.len() <= 60 && line.contains("two") && !line.contains("three"), "{line:?}");
}
