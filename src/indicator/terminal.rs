//! Lamps drawn on the last line of a terminal, for all lanes together.
//!
//! The line is taken out of the scrolling region, so results, logs and what is typed pass above it untouched. Nothing is drawn
//! where there is no terminal, and nothing is written while the terminal is stopped: a lane must never wait for it.

use std::{
    env,
    io::{stderr, stdout},
    os::fd::OwnedFd,
    sync::Mutex,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{fcntl_dupfd_cloexec, write},
    termios::{isatty, tcgetwinsize},
};

use super::{held::try_for, signal::Levels};

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
        let bar = Self { lane: lane.to_owned() };
        bar.set(Levels::DARK);
        bar
    }

    /// Draws the lane's lamps. `false`: the terminal did not take it, try again soon.
    pub(super) fn set(&self, levels: Levels) -> bool {
        try_for(&SCREEN, PATIENCE).is_some_and(|mut screen| {
            screen.get_or_insert_with(|| Screen::new(terminal(), env::var_os("NO_COLOR").is_none())).show(&self.lane, levels)
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

/// Standard error if it is a terminal, else standard output if that is one.
fn terminal() -> Option<OwnedFd> {
    if env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        return None;
    }
    if isatty(stderr()) {
        fcntl_dupfd_cloexec(stderr(), 3).ok()
    } else if isatty(stdout()) {
        fcntl_dupfd_cloexec(stdout(), 3).ok()
    } else {
        None
    }
}

/// How long the terminal may take to have room. While a line of the log is being written it has none: without this wait the lamp
/// would be as late as the next offer.
const ROOM: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// A terminal with a line for the lamps.
struct Screen {
    out: Option<OwnedFd>,
    colours: bool,
    lanes: Vec<(String, Levels)>,
    /// The rows for which the scrolling region is set; 0: not set.
    rows: u16,
}

impl Screen {
    const fn new(out: Option<OwnedFd>, colours: bool) -> Self {
        Self { out, colours, lanes: Vec::new(), rows: 0 }
    }

    fn show(&mut self, lane: &str, levels: Levels) -> bool {
        match self.lanes.iter_mut().find(|(name, _)| name == lane) {
            Some((_, shown)) => *shown = levels,
            None => self.lanes.push((lane.to_owned(), levels)),
        }
        self.draw()
    }

    fn leave(&mut self, lane: &str) {
        self.lanes.retain(|(name, _)| name != lane);
        if !self.lanes.is_empty() {
            self.draw();
        } else if self.rows > 0 {
            // Give the line back: the whole terminal scrolls again.
            self.write(&format!("\x1b7\x1b[r\x1b[{};1H\x1b[2K\x1b8", self.rows));
            self.rows = 0;
        }
    }

    /// Draws the line. `false`: there is a terminal, and it did not take it.
    fn draw(&mut self) -> bool {
        let Some(size) = self.out.as_ref().and_then(|out| tcgetwinsize(out).ok()) else { return true };
        let (rows, columns) = (size.ws_row, size.ws_col);
        if rows < 3 {
            return true;
        }
        let mut text = String::new();
        if rows != self.rows {
            // The line break makes room when the cursor stands on the last line.
            text.push_str(&format!("\n\x1b7\x1b[1;{}r\x1b8\x1b[1A", rows - 1));
        }
        text.push_str(&format!("\x1b7\x1b[{rows};1H\x1b[2K{}\x1b8", lamps(&self.lanes, columns, self.colours)));
        let drawn = self.write(&text);
        if drawn {
            self.rows = rows;
        }
        drawn
    }

    /// Writes if the terminal takes it within [`ROOM`]; a terminal that was stopped by Ctrl-S does not.
    fn write(&self, text: &str) -> bool {
        let Some(out) = &self.out else { return false };
        let mut ready = [PollFd::new(out, PollFlags::OUT)];
        let takes = poll(&mut ready, Some(&ROOM)).is_ok_and(|count| count > 0);
        takes && ready.iter().all(|fd| fd.revents().contains(PollFlags::OUT)) && write(out, text.as_bytes()).is_ok()
    }
}

/// The lanes side by side, as many as fit: `left [GREEN] amber  red`. A lit lamp is told by brackets and capitals, not by colour alone.
fn lamps(lanes: &[(String, Levels)], columns: u16, colours: bool) -> String {
    let mut text = String::new();
    let mut width = 0;
    for (lane, levels) in lanes {
        let lamps = [("green", levels.green, "42"), ("amber", levels.amber, "43"), ("red", levels.red, "41")];
        width += 2 + lane.chars().count() + lamps.iter().map(|(name, ..)| name.len() + 3).sum::<usize>();
        if width > usize::from(columns) {
            break;
        }
        text.push_str(&format!(" {lane} "));
        for (name, lit, colour) in lamps {
            text.push_str(&match (lit, colours) {
                (true, true) => format!(" \x1b[1;97;{colour}m[{}]\x1b[0m", name.to_uppercase()),
                (true, false) => format!(" [{}]", name.to_uppercase()),
                (false, true) => format!(" \x1b[2m {name} \x1b[0m"),
                (false, false) => format!("  {name} "),
            });
        }
    }
    text
}

#[cfg(test)]
mod tests;
