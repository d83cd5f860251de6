//! The state of a scanner, what to do about it, and who reports it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::watch;

use super::{ScannedCode, ScannerKind, Settings};
use crate::{
    health::ScannerCondition,
    runtime::{name::Name, pulse::Pulse},
};

/// After this many codes in a row that only a pause ended, the scanner's suffix is taken to be missing.
const CODES_WITHOUT_END_KEY: u32 = 3;

/// The remedy for [`ScannerState::Unended`].
pub const UNENDED_REMEDY: &str = "set the scanner's suffix to Enter (CR), by a barcode in its manual: it answers sooner then, and two quick codes never join";

/// The state of one scanner, for health and the doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannerState {
    /// Not opened yet.
    Starting,
    /// Open and listening.
    Ok,
    /// Open and listening, but its codes arrive without an end key: each is answered only after a pause, and two in quick
    /// succession would be read as one.
    Unended,
    /// The device is missing. The text lists what is there instead; it is empty if that was not looked up yet.
    Absent(String),
    /// The device is there, but this user may not open it.
    NoRight,
    /// Another program holds it.
    Busy,
    /// The stream has reached its end; no more scans will come.
    Ended,
    /// Anything else, in words.
    Fault(String),
}

impl ScannerState {
    /// Can it deliver a scan, as far as is known?
    pub const fn is_there(&self) -> bool {
        matches!(self, Self::Starting | Self::Ok | Self::Unended)
    }

    /// What health says of it.
    pub const fn condition(&self) -> ScannerCondition {
        match self {
            Self::Starting => ScannerCondition::Starting,
            // It works; health says beside it that the end key is missing.
            Self::Ok | Self::Unended => ScannerCondition::Ok,
            Self::Absent(_) => ScannerCondition::Absent,
            Self::NoRight => ScannerCondition::NoRight,
            Self::Busy => ScannerCondition::Busy,
            Self::Ended => ScannerCondition::Ended,
            Self::Fault(_) => ScannerCondition::Fault,
        }
    }

    /// The stable word in `P/health`.
    pub const fn code(&self) -> &'static str {
        self.condition().code()
    }

    /// What was found, for the doctor and the log.
    pub fn describe(&self, kind: &ScannerKind) -> String {
        let what = kind.place();
        match (self, kind) {
            (Self::Starting, _) => format!("{what} has not been opened yet"),
            (Self::Ok, ScannerKind::Hid { .. }) => {
                format!("{what} is open and types to Benchlight alone")
            }
            (Self::Ok, ScannerKind::Serial { .. }) => format!("{what} is open"),
            (Self::Ok, ScannerKind::Stdin) => format!("{what} is being read"),
            (Self::Ok, ScannerKind::Tcp { .. }) => format!("{what} is listening"),
            (Self::Ok, ScannerKind::Web) => format!("{what} is open"),
            (Self::Unended, _) => {
                format!("{what} is open, and its codes arrive without an end key")
            }
            (Self::Absent(seen), _) if seen.is_empty() => format!("{what} is not there"),
            (Self::Absent(seen), _) => format!("{what} is not there; {seen}"),
            (Self::NoRight, _) => format!("{what} may not be opened by this user"),
            (Self::Busy, _) => format!("{what} is in use by another program"),
            (Self::Ended, _) => format!("{what} has ended"),
            (Self::Fault(words), _) => words.clone(),
        }
    }

    /// What to do about it; `None` if nothing is wrong.
    pub fn remedy(&self, kind: &ScannerKind) -> Option<String> {
        let remedy = match (self, kind) {
            (Self::Starting | Self::Ok | Self::Ended, _) => return None,
            (Self::Unended, _) => UNENDED_REMEDY,
            (Self::Absent(_), ScannerKind::Hid { .. }) => {
                "plug the scanner in and set it to USB keyboard mode; `ls /dev/input/by-id` shows what the system sees"
            }
            (Self::Absent(_), ScannerKind::Serial { .. }) => {
                "plug the scanner in and set it to USB serial (CDC-ACM) mode; `ls /dev/serial/by-id` shows what the system sees"
            }
            (Self::Absent(_), ScannerKind::Stdin | ScannerKind::Tcp { .. } | ScannerKind::Web) => {
                "start the agent again"
            }
            (Self::NoRight, ScannerKind::Hid { .. }) => {
                "add the agent's user to the group `input`, or install the udev rule of Benchlight's package"
            }
            (Self::NoRight, ScannerKind::Serial { .. }) => {
                "add the agent's user to the group `dialout`, or install the udev rule of Benchlight's package"
            }
            (Self::NoRight, ScannerKind::Tcp { .. } | ScannerKind::Web) => {
                "choose a port above 1023 in `listen`"
            }
            (Self::NoRight, ScannerKind::Stdin) => "start the agent with a readable standard input",
            (Self::Busy, ScannerKind::Hid { .. }) => {
                "end the program that has grabbed it, and give each device to one [[scanner]] only"
            }
            (Self::Busy, ScannerKind::Serial { .. }) => {
                "end the program that holds it (ModemManager often does: install the udev rule of Benchlight's package), and give each device to one [[scanner]] only"
            }
            (Self::Busy, ScannerKind::Stdin | ScannerKind::Tcp { .. } | ScannerKind::Web) => {
                "end the program that holds the port, or choose another one in `listen`"
            }
            (Self::Fault(_), ScannerKind::Hid { .. } | ScannerKind::Serial { .. }) => {
                "check `device` in the config, or unplug the scanner and plug it in again"
            }
            (Self::Fault(_), ScannerKind::Stdin) => "start the agent again",
            (Self::Fault(_), ScannerKind::Tcp { .. } | ScannerKind::Web) => {
                "check `listen` in the config: the address must be one of this machine's"
            }
        };
        Some(remedy.to_owned())
    }
}

/// Reports a scanner's state to health, and to the log when it changes. Its pulse shows that the scanner's loop is running.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub(super) settings: Settings,
    pub(super) state: watch::Sender<ScannerState>,
    pub(super) pulse: Pulse,
    /// How many codes in a row only a pause has ended.
    unended: Arc<AtomicU32>,
}

impl Reporter {
    pub(super) fn new(
        settings: Settings,
        state: watch::Sender<ScannerState>,
        pulse: Pulse,
    ) -> Self {
        Self {
            settings,
            state,
            pulse,
            unended: Arc::default(),
        }
    }

    /// Counts codes in a row that ended without an end key.
    pub(super) fn count_endings(&self, scans: &[ScannedCode], by_pause: bool) {
        match scans
            .iter()
            .any(|scan| matches!(scan, ScannedCode::Whole(_)))
        {
            true if by_pause => {
                // At its maximum the counter stays there instead of wrapping to 0.
                let _ =
                    self.unended
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unended| {
                            unended.checked_add(1)
                        });
            }
            true => self.unended.store(0, Ordering::Relaxed),
            false => {}
        }
    }

    /// The scanner is open: with end keys as far as is known, or without.
    pub(super) fn report_open(&self) {
        self.report(
            if self.unended.load(Ordering::Relaxed) < CODES_WITHOUT_END_KEY {
                ScannerState::Ok
            } else {
                ScannerState::Unended
            },
        );
    }

    pub(super) fn report(&self, new: ScannerState) {
        let changed = self.state.send_if_modified(|state| {
            let changed = *state != new;
            state.clone_from(&new);
            changed
        });
        if changed {
            let (scanner, state, finding) = (
                &self.settings.name,
                new.code(),
                new.describe(&self.settings.kind),
            );
            match new.remedy(&self.settings.kind) {
                None => tracing::info!(%scanner, state, "{finding}"),
                Some(remedy) => tracing::warn!(%scanner, state, "{finding}: {remedy}"),
            }
        }
    }

    pub(super) fn name(&self) -> &Name {
        &self.settings.name
    }
}
