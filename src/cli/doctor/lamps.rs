//! The lamps of each lane.

use super::{Line, State, UNTOLD};
use crate::{
    indicator,
    runtime::{machine::pi_model, name::Name},
};

/// One lane's lamps. Beside an agent they are only looked at: tried, they would go dark.
pub(super) fn lamps(lane: &Name, settings: &indicator::Settings, agent: Option<bool>) -> Line {
    let part = format!("lamps {lane}");
    let pins = match settings {
        indicator::Settings::None => return Line::ok(part, "none fitted"),
        indicator::Settings::Terminal { .. } => {
            return Line::ok(part, "drawn on the agent's terminal");
        }
        indicator::Settings::Gpio(gpio) => gpio,
    };
    let state = match agent {
        None => {
            return Line::new(
                part,
                State::Warn,
                "not tried: an agent may hold them",
                UNTOLD,
            );
        }
        Some(true) => indicator::look(settings).map(|()| None),
        Some(false) => indicator::probe(settings),
    };
    let state = match state {
        Ok(_) if agent == Some(true) => return Line::in_use(part, ""),
        Ok(None) => return Line::ok(part, "none fitted"),
        Ok(Some(driver)) => return drivable(part, pins, driver),
        Err(state) => state,
    };
    not_drivable(part, &state)
}

fn drivable(part: String, pins: &indicator::Gpio, driver: &str) -> Line {
    let numbers = [
        Some(("green", pins.green)),
        Some(("red", pins.red)),
        pins.amber.map(|pin| ("amber", pin)),
        pins.buzzer.map(|pin| ("buzzer", pin)),
    ];
    let numbers: Vec<String> = numbers
        .into_iter()
        .flatten()
        .map(|(name, pin)| format!("{name} on GPIO{pin}"))
        .collect();
    let here = pi_model()
        .map(|model| format!(" on a {model}"))
        .unwrap_or_default();
    let finding = format!(
        "{} can be driven and read dark by {driver}{here}",
        numbers.join(", ")
    );
    Line::new(
        part,
        State::Ok,
        finding,
        "`benchlight lamps test` lights them for your eyes",
    )
}

fn not_drivable(part: String, state: &indicator::LampState) -> Line {
    let remedy = match state {
        indicator::LampState::Busy(_) => {
            "end the program that holds the pin, or choose another pin"
        }
        indicator::LampState::Missing(_) => {
            "check `driver`, `chip` and the pins in [indicator]; on a machine without pins use kind = \"terminal\" or \"none\""
        }
        indicator::LampState::NoRight(_) => {
            "add the agent's user to the group gpio; run this as root or as the agent's user"
        }
        indicator::LampState::Ok | indicator::LampState::None | indicator::LampState::Fault(_) => {
            "check the wiring and the pins in [indicator]; see docs/hardware.md"
        }
    };
    Line::new(
        part,
        State::Fail,
        state.problem().unwrap_or_else(|| state.code()),
        remedy,
    )
}
