//! Tell the person: lamp signals (pure), and the drivers that show them on pins or on a terminal.

use std::{path::PathBuf, time::Duration};

pub mod signal;

/// `[indicator]`, or a lane's own `indicator`.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// Lamps on pins.
    Gpio(Gpio),
    /// Lamps drawn on the terminal, and the result lines on standard output.
    Terminal {
        /// How long a ready answer stays green.
        ready_hold: Duration,
    },
    /// No lamps.
    None,
}

/// Lamps on pins.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpio {
    /// Which driver.
    pub driver: Driver,
    /// gpiochip: which chip.
    pub chip: Chip,
    /// BCM number of the green lamp's pin.
    pub green: u8,
    /// BCM number of the red lamp's pin.
    pub red: u8,
    /// BCM number of the amber lamp's pin, if fitted.
    pub amber: Option<u8>,
    /// BCM number of the buzzer's pin, if fitted.
    pub buzzer: Option<u8>,
    /// A lamp lights at low level.
    pub active_low: bool,
    /// How long a ready answer stays green.
    pub ready_hold: Duration,
}

/// How pins are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// rppal on a Pi that it knows, else gpiochip.
    Auto,
    /// Registers, by rppal.
    Rppal,
    /// The kernel's line interface.
    Gpiochip,
}

/// Which GPIO chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chip {
    /// The Pi's header.
    Auto,
    /// A chip's label.
    Label(String),
    /// A device path.
    Path(PathBuf),
}

/// The state of one lane's lamps, for health and doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Lamps are held and driven.
    Ok,
    /// Not fitted (`kind = "none"`).
    None,
    /// Another program holds a line.
    Busy(String),
    /// The chip or Pi is missing or unknown.
    Missing(String),
    /// No right to open it.
    NoRight(String),
    /// Anything else, in words.
    Fault(String),
}

impl State {
    /// The stable word in `P/health`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::None => "none",
            Self::Busy(_) => "busy",
            Self::Missing(_) => "missing",
            Self::NoRight(_) => "no_right",
            Self::Fault(_) => "fault",
        }
    }
}
