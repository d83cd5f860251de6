//! What shows the levels: pins by one of two drivers, or the terminal.

use super::{
    Chip, Driver, Gpio, LampState, Settings, gpiochip, rppal, signal::Fitted, signal::Levels,
    terminal,
};

/// Outputs that are held and driven.
pub(super) enum Output {
    /// A Pi's pins by its registers.
    Rppal(rppal::Pins),
    /// Lines of the kernel's GPIO interface.
    Gpiochip(gpiochip::Lines),
    /// Drawn on the terminal.
    Terminal(terminal::Bar),
    /// Written down, for tests.
    #[cfg(test)]
    Recording(super::recording::Recording),
}

impl Output {
    /// Takes the outputs, driven to their off level. `None`: no lamps are configured.
    pub(super) fn open(settings: &Settings, lane: &str) -> Result<Option<Self>, LampState> {
        Ok(match settings {
            Settings::Gpio(gpio) => Some(open_gpio(gpio)?),
            Settings::Terminal { .. } => Some(Self::Terminal(terminal::Bar::new(lane))),
            Settings::None => None,
        })
    }

    /// What drives it, in the config's word.
    pub(super) const fn driver(&self) -> &'static str {
        match self {
            Self::Rppal(_) => "rppal",
            Self::Gpiochip(_) => "gpiochip",
            Self::Terminal(_) => "terminal",
            #[cfg(test)]
            Self::Recording(_) => "recording",
        }
    }

    /// Drives the levels. `false`: the output did not take them now, try again soon. An error: it is lost and must be opened again.
    pub(super) fn show(
        &mut self,
        levels: Levels,
        signal: Option<&'static str>,
    ) -> Result<bool, LampState> {
        match self {
            Self::Rppal(pins) => pins.set(levels),
            Self::Gpiochip(lines) => lines.set(levels)?,
            Self::Terminal(bar) => return Ok(bar.set(levels, signal)),
            #[cfg(test)]
            Self::Recording(recording) => recording.set(levels)?,
        }
        Ok(true)
    }

    /// Drives levels once more that are driven already; the terminal is not drawn anew for that.
    pub(super) fn again(&mut self, levels: Levels) -> Result<(), LampState> {
        match self {
            Self::Rppal(pins) => pins.set(levels),
            Self::Gpiochip(lines) => lines.set(levels)?,
            Self::Terminal(_) => {}
            #[cfg(test)]
            Self::Recording(recording) => recording.again()?,
        }
        Ok(())
    }

    /// Dark for the last time: pins keep the driven off level, the terminal gets its line back. Says whether that was done.
    pub(super) fn put_out(&mut self) -> bool {
        if let Self::Terminal(bar) = self {
            bar.leave();
            return true;
        }
        self.show(Levels::DARK, None).is_ok()
    }

    /// The levels as the outputs carry them; the terminal carries what it was told.
    pub(super) fn read_back(&self) -> Result<Levels, LampState> {
        match self {
            Self::Rppal(pins) => Ok(pins.read_back()),
            Self::Gpiochip(lines) => lines.read_back(),
            Self::Terminal(_) => Ok(Levels::DARK),
            #[cfg(test)]
            Self::Recording(recording) => Ok(recording.read_back()),
        }
    }
}

/// What keeps an agent from these pins, as far as that shows without touching them.
pub(super) fn look(gpio: &Gpio) -> Result<(), LampState> {
    let by_registers = match gpio.driver {
        Driver::Rppal => true,
        Driver::Gpiochip => false,
        Driver::Auto => gpio.chip == Chip::Auto && rppal::knows_this_pi(),
    };
    match gpiochip::look(gpio) {
        // By the registers no chip is needed. Who holds a line is asked there, too.
        Err(LampState::Missing(_) | LampState::NoRight(_) | LampState::Fault(_))
            if by_registers =>
        {
            Ok(())
        }
        seen => seen,
    }
}

/// What `settings` fit beside green and red.
pub(super) const fn fitted(settings: &Settings) -> Fitted {
    match settings {
        Settings::Gpio(gpio) => Fitted {
            amber: gpio.amber.is_some(),
            buzzer: gpio.buzzer.is_some(),
        },
        Settings::Terminal { .. } => Fitted {
            amber: true,
            buzzer: false,
        },
        Settings::None => Fitted {
            amber: false,
            buzzer: false,
        },
    }
}

fn open_gpio(gpio: &Gpio) -> Result<Output, LampState> {
    let by_rppal = || Ok(Output::Rppal(rppal::open(gpio)?));
    let by_gpiochip = || Ok(Output::Gpiochip(gpiochip::open(gpio)?));
    match gpio.driver {
        Driver::Rppal => by_rppal(),
        Driver::Gpiochip => by_gpiochip(),
        // Who names a chip means the kernel's interface: rppal knows only the header.
        Driver::Auto if gpio.chip != Chip::Auto || !rppal::knows_this_pi() => by_gpiochip(),
        // rppal also fails on Pis it knows: it stops searching at the first missing /dev/gpiochip number, and needs /dev/gpiomem.
        Driver::Auto => match by_rppal() {
            Err(LampState::Missing(_) | LampState::NoRight(_) | LampState::Fault(_)) => {
                by_gpiochip()
            }
            taken => taken,
        },
    }
}
