//! Tell the person: lamp signals, and the drivers that show them on pins or on a terminal.

use std::{path::PathBuf, time::Duration};

use tokio::{sync::watch, time::sleep};

use self::{
    held::{Held, PROCESS},
    output::Output,
    signal::Levels,
};
use crate::{
    health::LampCondition,
    runtime::{name::Name, pulse::Pulse},
    station::lamp_feed::LampFeed,
};

mod gpiochip;
pub mod held;
mod lamp_thread;
pub mod lines;
mod lock;
mod output;
pub mod progress;
#[cfg(test)]
mod recording;
mod rppal;
pub mod signal;
mod terminal;

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

impl Settings {
    /// How long a ready answer stays green; where no lamps are fitted, on the page.
    pub const fn ready_hold(&self) -> Duration {
        match self {
            Self::Gpio(gpio) => gpio.ready_hold,
            Self::Terminal { ready_hold } => *ready_hold,
            Self::None => Duration::from_secs(3),
        }
    }
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
pub enum LampState {
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

impl LampState {
    /// What is wrong, in words; `None` when nothing is.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Ok | Self::None => None,
            Self::Busy(words)
            | Self::Missing(words)
            | Self::NoRight(words)
            | Self::Fault(words) => Some(words),
        }
    }

    /// What health says of it.
    pub const fn condition(&self) -> LampCondition {
        match self {
            Self::Ok => LampCondition::Ok,
            Self::None => LampCondition::None,
            Self::Busy(_) => LampCondition::Busy,
            Self::Missing(_) => LampCondition::Missing,
            Self::NoRight(_) => LampCondition::NoRight,
            Self::Fault(_) => LampCondition::Fault,
        }
    }

    /// The stable word in `P/health`.
    pub const fn code(&self) -> &'static str {
        self.condition().code()
    }
}

/// Shows on the lamps what `feed` says, until `stop`. Lamps that cannot be opened are a state, not an end: the station goes on, and
/// they are tried again every few seconds. `ready_limit` is how long after its scan a box may be green: `deadline` + 2 s.
///
/// It returns early only when its thread hangs or has ended, so that the process can end, too.
pub async fn run(
    settings: Settings,
    lane: Name,
    ready_limit: Duration,
    feed: LampFeed,
    state: watch::Sender<LampState>,
    mut stop: watch::Receiver<bool>,
    pulse: Pulse,
) {
    if settings == Settings::None {
        state.send_replace(LampState::None);
        let _ = pulse.through(stop.wait_for(|stop| *stop)).await;
        return;
    }
    let name = lane.as_str().to_owned();
    let opening = settings.clone();
    let open = move || {
        Output::open(&opening, &name)?
            .map(|output| PROCESS.hold(output))
            .ok_or(LampState::None)
    };
    let lamps = lamp_thread::Lamps {
        name: lane,
        settings,
        ready_limit,
        retry: lamp_thread::RETRY,
        feed,
        state,
    };
    lamp_thread::run(lamps, stop, pulse, open).await;
}

/// Drives the lamps dark, for `lamps off` and for the end of a process. Lamps that this process holds stay dark until it has ended.
///
/// # Errors
/// The state that keeps the lamps from being driven: another program holds a line, the chip is missing, there is no right to it.
pub fn darken(settings: &Settings) -> Result<(), LampState> {
    if PROCESS.extinguish() && PROCESS.holds_some() {
        return Ok(());
    }
    match settings {
        // Opening drives the off level; with rppal it stays, with gpiochip the pin's pull keeps it.
        Settings::Gpio(_) => Output::open(settings, "")
            .map(|mut output| output.as_mut().is_none_or(Output::put_out))
            .map(|_| ()),
        Settings::Terminal { .. } | Settings::None => Ok(()),
    }
}

/// Lights all lamps together for `duration`, with a short tone, then darkens them. Green is never lit alone, so that nobody takes
/// the test for an answer. Dropped half-way, the lamps are dark, too.
///
/// # Errors
/// The state that keeps the lamps from being driven.
pub async fn test(settings: &Settings, duration: Duration) -> Result<(), LampState> {
    match Output::open(settings, "test")? {
        Some(output) => light_all(&PROCESS.hold(output), duration).await,
        None => Err(LampState::None),
    }
}

async fn light_all(held: &Held, duration: Duration) -> Result<(), LampState> {
    const TONE: Duration = Duration::from_millis(200);
    let all = Levels {
        green: true,
        red: true,
        amber: true,
        buzzer: true,
    };
    held.set(all)?;
    sleep(TONE.min(duration)).await;
    held.set(Levels {
        buzzer: false,
        ..all
    })?;
    sleep(duration.saturating_sub(TONE)).await;
    held.set(Levels::DARK).map(|_| ())
}

/// Opens the lamps, drives them dark, reads them back and lets go of them: what `doctor` says of them. The driver that took them, in
/// the config's word; `None`: none are fitted. Not for lamps that a running agent holds: its lamps would go dark, since nobody sees
/// who drives a pin by rppal.
///
/// # Errors
/// What keeps the lamps from being driven, or which of them cannot be darkened.
pub fn probe(settings: &Settings) -> Result<Option<&'static str>, LampState> {
    let Some(output) = Output::open(settings, "probe")? else {
        return Ok(None);
    };
    let held = PROCESS.hold(output);
    probe_held(&held).map(|()| Some(held.driver()))
}

/// What `doctor` says of lamps beside a running agent: they are not touched, only looked at.
///
/// # Errors
/// What keeps the agent from holding them, as far as that shows: another program's hold, a missing chip, no right to it.
pub fn look(settings: &Settings) -> Result<(), LampState> {
    match settings {
        Settings::Gpio(gpio) => output::look(gpio),
        Settings::Terminal { .. } | Settings::None => Ok(()),
    }
}

fn probe_held(held: &Held) -> Result<(), LampState> {
    match held.set(Levels::DARK).and_then(|_| held.read_back())? {
        Levels::DARK => Ok(()),
        lit => {
            let stuck = [
                ("green", lit.green),
                ("red", lit.red),
                ("amber", lit.amber),
                ("buzzer", lit.buzzer),
            ];
            let stuck: Vec<_> = stuck
                .into_iter()
                .filter_map(|(name, lit)| lit.then_some(name))
                .collect();
            Err(LampState::Fault(format!(
                "{} is driven dark and reads lit: check the wiring for a short",
                stuck.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests;
