//! Lamps on a Pi's pins by its registers.
//!
//! The kernel does not know that a pin is driven this way, and the level stays after the process: so the pins keep the driven
//! off level on drop, and before they are taken the kernel is asked whether somebody else holds them.

use std::io;

use ::rppal::{
    gpio::{Error, Gpio as Header, Level, OutputPin},
    system::DeviceInfo,
};

use super::{Gpio, LampState, gpiochip, signal::Levels};

/// The pins of one lane.
pub(super) struct Pins {
    green: OutputPin,
    red: OutputPin,
    amber: Option<OutputPin>,
    buzzer: Option<OutputPin>,
    off: Level,
}

/// Is this a Pi whose registers are known?
pub(super) fn knows_this_pi() -> bool {
    DeviceInfo::new().is_ok()
}

/// Takes the pins and drives them to their off level.
pub(super) fn open(gpio: &Gpio) -> Result<Pins, LampState> {
    let header = Header::new().map_err(state)?;
    let pins: Vec<u8> = [Some(gpio.green), Some(gpio.red), gpio.amber, gpio.buzzer]
        .into_iter()
        .flatten()
        .collect();
    if let Some(holder) = gpiochip::holder_on_header(&pins) {
        return Err(LampState::Busy(holder));
    }
    let off = if gpio.active_low {
        Level::High
    } else {
        Level::Low
    };
    let take = |pin: u8| -> Result<OutputPin, LampState> {
        let pin = header.get(pin).map_err(state)?;
        // The level is set before the pin becomes an output, so nothing flashes.
        let mut pin = if gpio.active_low {
            pin.into_output_high()
        } else {
            pin.into_output_low()
        };
        pin.set_reset_on_drop(false);
        Ok(pin)
    };
    Ok(Pins {
        green: take(gpio.green)?,
        red: take(gpio.red)?,
        amber: gpio.amber.map(take).transpose()?,
        buzzer: gpio.buzzer.map(take).transpose()?,
        off,
    })
}

impl Pins {
    /// Drives the pins, one after the other: green goes off first and on last, so that it is never lit alone in passing.
    pub(super) fn set(&mut self, levels: Levels) {
        let off = self.off;
        let level = |lit: bool| if lit { !off } else { off };
        if !levels.green {
            self.green.write(off);
        }
        self.red.write(level(levels.red));
        if let Some(amber) = &mut self.amber {
            amber.write(level(levels.amber));
        }
        if let Some(buzzer) = &mut self.buzzer {
            buzzer.write(level(levels.buzzer));
        }
        if levels.green {
            self.green.write(!off);
        }
    }

    /// What the pins carry, measured at the pins.
    pub(super) fn read_back(&self) -> Levels {
        let lit = |pin: &OutputPin| pin.is_set_high() != (self.off == Level::High);
        Levels {
            green: lit(&self.green),
            red: lit(&self.red),
            amber: self.amber.as_ref().is_some_and(lit),
            buzzer: self.buzzer.as_ref().is_some_and(lit),
        }
    }
}

fn state(error: Error) -> LampState {
    match error {
        Error::UnknownModel => LampState::Missing("rppal does not know this Raspberry Pi model: set driver = \"gpiochip\"".to_owned()),
        Error::PinUsed(pin) => LampState::Busy(format!("GPIO{pin} is held by another lane of this process")),
        Error::PinNotAvailable(pin) => LampState::Missing(format!("this Raspberry Pi has no GPIO{pin}")),
        Error::PermissionDenied(path) => LampState::NoRight(format!("no right to open {path}: add the station's user to the group gpio")),
        Error::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            LampState::Missing("rppal found no GPIO memory or chip device of this Raspberry Pi: set driver = \"gpiochip\"".to_owned())
        }
        Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            LampState::NoRight(format!("no right to the GPIO memory: {error}; add the station's user to the group gpio"))
        }
        other => LampState::Fault(format!("the pins cannot be opened by rppal: {other}")),
    }
}
