//! Lamps drawn on the last line of a terminal, for all lanes together.
//!
//! The line is taken out of the scrolling region, so results, logs and what is typed pass above it untouched. Nothing is drawn
//! where there is no terminal, and what a terminal does not take at once is offered again: a lane must never wait for it.

use std::{
    env,
    io::{stderr, stdout},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    io::{Errno, write},
    termios::{isatty, tcgetsid, tcgetwinsize},
};

use super::{lock::try_for, signal::Levels};

/// The terminal of this process; `None` until the first lane draws on it.
static SCREEN: Mutex<Option<Screen>> = Mutex::new(None);

/// Drawing is short.
const PATIENCE: Duration = Duration::from_millis(50);

/// One lane's part of the line.
pub(super) struct Bar {
    lane: String,
}

impl Bar {
    /// Draws the lane, dark.
    pub(super) fn new(lane: &str) -> Self {
        let bar = Self {
            lane: lane.to_owned(),
        };
        bar.set(Levels::DARK, None);
        bar
    }

    /// Draws the lane's signal. `false`: the terminal did not take it, try again soon.
    pub(super) fn set(&self, levels: Levels, signal: Option<&'static str>) -> bool {
        try_for(&SCREEN, PATIENCE).is_some_and(|mut screen| {
            screen
                .get_or_insert_with(|| Screen::new(terminal(), colours()))
                .show(&self.lane, levels, signal)
        })
    }

    /// Takes the lane off the terminal; the last one gives the line back.
    pub(super) fn leave(&self) {
        if let Some(mut screen) = try_for(&SCREEN, PATIENCE)
            && let Some(screen) = screen.as_mut()
        {
            screen.leave(&self.lane);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Shows these words beside the lanes. `false`: the terminal did not take them.
pub(super) fn note(notes: &[String]) -> bool {
    try_for(&SCREEN, PATIENCE).is_some_and(|mut screen| {
        screen
            .get_or_insert_with(|| Screen::new(terminal(), colours()))
            .note(notes)
    })
}

/// May colours be used? See <https://no-color.org>.
pub(super) fn colours() -> bool {
    env::var_os("NO_COLOR").is_none_or(|word| word.is_empty()) && !is_dumb()
}

/// Is this a terminal that can only write one line after the other?
fn is_dumb() -> bool {
    env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Standard error if it is a terminal, else standard output if that is one.
fn terminal() -> Option<OwnedFd> {
    if is_dumb() {
        return None;
    }
    if isatty(stderr()) {
        without_waiting(stderr())
    } else if isatty(stdout()) {
        without_waiting(stdout())
    } else {
        None
    }
}

/// The terminal once more, opened so that no write waits for its reader. The descriptor that we were given is shared with other programs, which
/// may rely on waiting.
fn without_waiting(terminal: impl AsFd) -> Option<OwnedFd> {
    let how = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = terminal.as_fd();
    let by_path = open(
        format!("/proc/self/fd/{}", terminal.as_raw_fd()),
        how,
        Mode::empty(),
    );
    // It may belong to another user. Everybody may open the terminal of their own session, and write to one that was handed over.
    let by_session = |_| tcgetsid(terminal).and_then(|_| open("/dev/tty", how, Mode::empty()));
    by_path
        .or_else(by_session)
        .ok()
        .or_else(|| terminal.try_clone_to_owned().ok())
}

/// How long the terminal may take to have room. While a line of the log is being written it has none: without this wait the lamp
/// would be as late as the next offer.
const ROOM: Duration = Duration::from_millis(5);

/// What one lane shows.
struct Lane {
    name: String,
    levels: Levels,
    signal: Option<&'static str>,
}

impl Lane {
    fn dark(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            levels: Levels::DARK,
            signal: None,
        }
    }
}

/// A terminal with a line for the lamps.
struct Screen {
    out: Option<OwnedFd>,
    colours: bool,
    lanes: Vec<Lane>,
    /// What stands beside them.
    notes: Vec<String>,
    /// What the terminal did not take of a drawing that it took the beginning of.
    rest: Vec<u8>,
    /// The rows for which the scrolling region is set; 0: not set.
    rows: u16,
}

impl Screen {
    const fn new(out: Option<OwnedFd>, colours: bool) -> Self {
        Self {
            out,
            colours,
            lanes: Vec::new(),
            notes: Vec::new(),
            rest: Vec::new(),
            rows: 0,
        }
    }

    fn show(&mut self, lane: &str, levels: Levels, signal: Option<&'static str>) -> bool {
        if !self.lanes.iter().any(|known| known.name == lane) {
            self.lanes.push(Lane::dark(lane));
        }
        for shown in self.lanes.iter_mut().filter(|known| known.name == lane) {
            (shown.levels, shown.signal) = (levels, signal);
        }
        self.draw()
    }

    fn leave(&mut self, lane: &str) {
        self.lanes.retain(|known| known.name != lane);
        self.draw_or_give_back();
    }

    fn note(&mut self, notes: &[String]) -> bool {
        self.notes = notes.to_vec();
        self.draw_or_give_back()
    }

    /// As [`Self::draw`]; with nothing to show the whole terminal scrolls again.
    fn draw_or_give_back(&mut self) -> bool {
        if !self.lanes.is_empty() || !self.notes.is_empty() {
            return self.draw();
        }
        if self.rows > 0 {
            self.write(&format!("\x1b7\x1b[r\x1b[{};1H\x1b[2K\x1b8", self.rows));
            self.rows = 0;
        }
        true
    }

    /// Draws the line. `false`: there is a terminal, and it did not take it.
    fn draw(&mut self) -> bool {
        let Some(size) = self.out.as_ref().and_then(|out| tcgetwinsize(out).ok()) else {
            return true;
        };
        let (rows, columns) = (size.ws_row, size.ws_col);
        if rows < 3 {
            return true;
        }
        let mut text = String::new();
        if rows != self.rows {
            // The line break makes room when the cursor stands on the last line.
            text.push_str(&format!("\n\x1b7\x1b[1;{}r\x1b8\x1b[1A", rows - 1));
        }
        text.push_str(&format!(
            "\x1b7\x1b[{rows};1H\x1b[2K{}\x1b8",
            line(&self.lanes, &self.notes, columns, self.colours)
        ));
        let drawn = self.write(&text);
        if drawn {
            self.rows = rows;
        }
        drawn
    }

    /// Writes if the terminal takes it within [`ROOM`]; a terminal that was stopped by Ctrl-S does not.
    fn write(&mut self, text: &str) -> bool {
        let Some(out) = &self.out else { return false };
        let end = Instant::now() + ROOM;
        // First the rest of an earlier drawing: cut in the middle, it would leave the cursor on the lamps' line.
        let earlier = self.rest.len();
        self.rest.extend_from_slice(text.as_bytes());
        let mut taken = 0;
        while let Some(rest) = self.rest.get(taken..).filter(|rest| !rest.is_empty()) {
            // A terminal that was handed over may make its writers wait: it is asked first.
            if !has_room(out, end.saturating_duration_since(Instant::now())) {
                break;
            }
            match write(out, rest) {
                Ok(count) => taken += count,
                Err(Errno::AGAIN) if Instant::now() < end => {
                    thread::sleep(Duration::from_micros(200))
                }
                Err(_) => break,
            }
        }
        let all = taken == self.rest.len();
        // What it took nothing of is drawn anew, as it is by then.
        if taken <= earlier {
            self.rest.truncate(earlier);
        }
        self.rest.drain(..taken);
        all
    }
}

/// Does the terminal take something within `patience`?
fn has_room(out: &OwnedFd, patience: Duration) -> bool {
    let mut ready = [PollFd::new(out, PollFlags::OUT)];
    let patience = Timespec {
        tv_sec: 0,
        tv_nsec: patience.subsec_nanos().into(),
    };
    poll(&mut ready, Some(&patience)).is_ok()
        && ready.iter().all(|fd| fd.revents().contains(PollFlags::OUT))
}

/// The lanes side by side, then the notes, as many as fit: `left [✓ Ready]`. What is lit is told by brackets, not by colour alone.
fn line(lanes: &[Lane], notes: &[String], columns: u16, colours: bool) -> String {
    let mut text = String::new();
    let mut width = 0;
    for lane in lanes {
        let is_test = lane.signal.is_none() && lane.levels.lit();
        let words = if is_test {
            LAMP_TEST
        } else {
            words(lane.signal)
        };
        width += 5 + lane.name.chars().count() + words.chars().count();
        if width > usize::from(columns) {
            break;
        }
        let colour = match lane.levels {
            Levels { green: true, .. } => "42",
            Levels { amber: true, .. } => "43",
            _ => "41",
        };
        text.push_str(&format!(" {} ", lane.name));
        text.push_str(&match (lane.levels.lit(), colours) {
            (true, true) => format!(" \x1b[1;97;{colour}m[{words}]\x1b[0m"),
            (true, false) => format!(" [{words}]"),
            (false, true) => format!(" \x1b[2m {words} \x1b[0m"),
            (false, false) => format!("  {words} "),
        });
    }
    for note in notes {
        width += 2 + note.chars().count();
        if width > usize::from(columns) {
            break;
        }
        text.push_str(&format!("  {note}"));
    }
    text
}

/// All lamps are lit together, which no signal does.
const LAMP_TEST: &str = "✓ ‖ ✗ Lamp test";

/// The shape and the words of a signal, as the page at the bench has them.
fn words(signal: Option<&str>) -> &'static str {
    match signal {
        Some("ready") => "✓ Ready",
        Some("stop") => "✗ Stop",
        Some("hold") => "‖ Put aside",
        Some("rescan") => "⇤ Wrong barcode",
        Some("alarm") => "! Earlier box!",
        Some("working") => "… Checking",
        Some("unable") => "✗ Cannot check",
        _ => "Not checked",
    }
}

#[cfg(test)]
mod tests;
