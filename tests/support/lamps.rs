//! A terminal on which the station draws its lamps. It notes every change of a lamp with its time.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// Which lamps are lit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lit {
    pub green: bool,
    pub amber: bool,
    pub red: bool,
}

impl Lit {
    pub const DARK: Self = Self {
        green: false,
        amber: false,
        red: false,
    };
    pub const GREEN: Self = Self {
        green: true,
        ..Self::DARK
    };
    pub const AMBER: Self = Self {
        amber: true,
        ..Self::DARK
    };
    pub const RED: Self = Self {
        red: true,
        ..Self::DARK
    };
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Lamps(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    text: String,
    /// The beginning of a character whose end is still to come.
    cut: Vec<u8>,
    /// How much of the text has been searched.
    read: usize,
    changes: Vec<(Instant, Lit)>,
}

impl Lamps {
    /// The watcher, and the end of the terminal that becomes the station's standard error.
    pub fn open() -> (Self, OwnedFd) {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let station = open(
            name.as_c_str(),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        tcsetwinsize(
            &master,
            Winsize {
                ws_row: 40,
                ws_col: 200,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )
        .unwrap();
        let lamps = Self::default();
        let seen = Arc::clone(&lamps.0);
        std::thread::spawn(move || {
            let mut master = File::from(master);
            let mut buffer = [0; 4096];
            // Reading ends with EIO when no process has the terminal open any more.
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                seen.lock().unwrap().take(&buffer[..length]);
            }
        });
        (lamps, station)
    }

    /// All changes so far.
    pub fn changes(&self) -> Vec<(Instant, Lit)> {
        self.0.lock().unwrap().changes.clone()
    }

    /// How many times green was lit.
    pub fn greens(&self) -> usize {
        let changes = self.changes();
        let lit_before = |index: usize| {
            index
                .checked_sub(1)
                .is_some_and(|before| changes[before].1.green)
        };
        (0..changes.len())
            .filter(|index| changes[*index].1.green && !lit_before(*index))
            .count()
    }

    /// What is lit, and for how long.
    pub fn now(&self) -> (Lit, Duration) {
        self.0
            .lock()
            .unwrap()
            .changes
            .last()
            .map_or((Lit::DARK, Duration::ZERO), |(at, lit)| {
                (*lit, at.elapsed())
            })
    }

    /// All text so far: log lines and drawn lamps.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().text.clone()
    }
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        self.cut.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.cut) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.cut.len(),
        };
        let whole: Vec<u8> = self.cut.drain(..whole).collect();
        self.text.push_str(&String::from_utf8_lossy(&whole));
        while let Some(begin) = self.text[self.read..].find("\x1b[2K") {
            let rest = &self.text[self.read + begin..];
            let Some(end) = rest.find("\x1b8") else {
                return;
            };
            let line = &rest[..end];
            let lit_as = |shapes: &[char]| {
                // Not the escape sequences, which have a bracket, too.
                let within = |lit: &str| lit.split(']').next().unwrap().contains(shapes);
                line.split('[')
                    .filter(|part| part.contains(']'))
                    .any(within)
            };
            let lit = Lit {
                green: lit_as(&['✓']),
                amber: lit_as(&['‖', '…']),
                red: lit_as(&['✗', '⇤', '!']),
            };
            self.read += begin + end;
            if self.changes.last().is_none_or(|(_, before)| *before != lit) {
                self.changes.push((Instant::now(), lit));
            }
        }
    }
}
