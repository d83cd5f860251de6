//! Lamps on lines of the kernel's GPIO interface: the chip is found by label, path or line names, never by number.
//!
//! The lines are held for life: once a line is released, the chip may turn its pin back to an input.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use gpiocdev::{
    Request,
    chip::{Chip as Device, chips},
    line::{Offset, Value, Values},
};

use super::{Chip, Gpio, LampState, signal::Levels};

/// The chips behind the header: Pi 5 and Compute Module 5; Pi 4, 400 and Compute Module 4; all earlier ones and Zero 2.
const HEADERS: [&str; 3] = ["pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835"];

/// The name under which the kernel lists the lines that an agent holds.
const CONSUMER: &str = "benchlight";

/// The lines of one lane.
pub(super) struct Lines {
    request: Request,
    green: Offset,
    red: Offset,
    amber: Option<Offset>,
    buzzer: Option<Offset>,
}

/// Takes the lines and drives them to their off level.
pub(super) fn open(gpio: &Gpio) -> Result<Lines, LampState> {
    let (path, [green, red, amber, buzzer]) = find(gpio)?;
    let offsets: Vec<Offset> = [green, red, amber, buzzer].into_iter().flatten().collect();
    let mut builder = Request::builder();
    builder
        .on_chip(&path)
        .with_consumer(CONSUMER)
        .with_lines(&offsets)
        .as_output(Value::Inactive);
    if gpio.active_low {
        builder.as_active_low();
    }
    let request = builder
        .request()
        .map_err(|error| match holder(&path, &offsets, |_| true) {
            Some(holder) => LampState::Busy(holder),
            None => LampState::Fault(format!(
                "{} does not give lines {offsets:?}: {error}",
                path.display()
            )),
        })?;
    let (Some(green), Some(red)) = (green, red) else {
        return Err(LampState::Fault("green and red are required".to_owned()));
    };
    Ok(Lines {
        request,
        green,
        red,
        amber,
        buzzer,
    })
}

/// Who holds one of these pins of the Pi's header, as far as the kernel knows.
pub(super) fn holder_on_header(pins: &[u8]) -> Option<String> {
    let headers = known_chips()
        .ok()?
        .into_iter()
        .filter(|known| HEADERS.contains(&known.label.as_str()));
    let offsets: Vec<Offset> = pins.iter().map(|pin| Offset::from(*pin)).collect();
    headers
        .map(|known| known.path)
        .find_map(|path| holder(&path, &offsets, |_| true))
}

/// What an agent on these lines must find, told without touching them: nothing, unless the chip is missing or refused, or somebody
/// other than an agent holds a line.
pub(super) fn look(gpio: &Gpio) -> Result<(), LampState> {
    let (path, offsets) = find(gpio)?;
    let offsets: Vec<Offset> = offsets.into_iter().flatten().collect();
    holder(&path, &offsets, |consumer| consumer != CONSUMER)
        .map_or(Ok(()), |holder| Err(LampState::Busy(holder)))
}

impl Lines {
    /// Drives all lines at once.
    pub(super) fn set(&self, levels: Levels) -> Result<(), LampState> {
        let mut values = Values::default();
        for (offset, lit) in self.outputs(levels) {
            values.set(offset, if lit { Value::Active } else { Value::Inactive });
        }
        self.request.set_values(&values).map_err(lost)
    }

    /// What the lines carry.
    pub(super) fn read_back(&self) -> Result<Levels, LampState> {
        let read = |offset: Option<Offset>| {
            offset.map_or(Ok(false), |offset| {
                Ok(self.request.value(offset).map_err(lost)? == Value::Active)
            })
        };
        Ok(Levels {
            green: read(Some(self.green))?,
            red: read(Some(self.red))?,
            amber: read(self.amber)?,
            buzzer: read(self.buzzer)?,
        })
    }

    fn outputs(&self, levels: Levels) -> impl Iterator<Item = (Offset, bool)> {
        let fitted = [(self.amber, levels.amber), (self.buzzer, levels.buzzer)];
        [(self.green, levels.green), (self.red, levels.red)]
            .into_iter()
            .chain(
                fitted
                    .into_iter()
                    .filter_map(|(line, lit)| Some((line?, lit))),
            )
    }
}

fn lost(error: gpiocdev::Error) -> LampState {
    LampState::Fault(format!("the lamps' lines are lost: {error}"))
}

/// One chip of this machine.
struct Known {
    path: PathBuf,
    label: String,
    lines: Offset,
}

/// The pins' numbers or names in the order green, red, amber, buzzer.
type Pins<T> = [Option<T>; 4];

fn find(gpio: &Gpio) -> Result<(PathBuf, Pins<Offset>), LampState> {
    let pins: Pins<u8> = [Some(gpio.green), Some(gpio.red), gpio.amber, gpio.buzzer];
    let known = match &gpio.chip {
        Chip::Path(path) => known_chip(path)?,
        Chip::Label(label) => one_of(
            known_chips()?,
            |known| known.label == *label,
            &format!("labelled {label:?}"),
        )?,
        Chip::Auto => {
            let chips = known_chips()?;
            if !chips
                .iter()
                .any(|known| HEADERS.contains(&known.label.as_str()))
            {
                return find_by_names(chips, &pins);
            }
            one_of(
                chips,
                |known| HEADERS.contains(&known.label.as_str()),
                "of a Raspberry Pi's header",
            )?
        }
    };
    let offsets = pins.map(|pin| pin.map(Offset::from));
    match offsets
        .into_iter()
        .flatten()
        .find(|offset| *offset >= known.lines)
    {
        Some(beyond) => Err(LampState::Missing(format!(
            "{} ({}) has no line {beyond}",
            known.path.display(),
            known.label
        ))),
        None => Ok((known.path, offsets)),
    }
}

/// An unknown chip whose lines carry the names of the Pi's header ("GPIO17") is one, too.
fn find_by_names(chips: Vec<Known>, pins: &Pins<u8>) -> Result<(PathBuf, Pins<Offset>), LampState> {
    let names = pins.map(|pin| pin.map(|pin| format!("GPIO{pin}")));
    let found = |known: &Known| -> Option<Pins<Offset>> {
        let device = Device::from_path(&known.path).ok()?;
        let mut offsets = [None; 4];
        for (offset, name) in offsets.iter_mut().zip(&names) {
            if let Some(name) = name {
                *offset = Some(device.find_line_info(name)?.offset);
            }
        }
        Some(offsets)
    };
    let wanted = names
        .iter()
        .flatten()
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let known = one_of(
        chips,
        |known| found(known).is_some(),
        &format!("of a Raspberry Pi's header, nor one with lines named {wanted},"),
    )?;
    let offsets = found(&known)
        .ok_or_else(|| LampState::Missing(format!("{} went away", known.path.display())))?;
    Ok((known.path, offsets))
}

/// The only chip that fits; none and several are said with what is there.
fn one_of(
    chips: Vec<Known>,
    fits: impl Fn(&Known) -> bool,
    what: &str,
) -> Result<Known, LampState> {
    let list = |chips: &[Known]| {
        chips
            .iter()
            .map(|known| format!("{} ({})", known.path.display(), known.label))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (mut fitting, others): (Vec<_>, Vec<_>) = chips.into_iter().partition(fits);
    match (fitting.pop(), fitting.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            fitting.push(last);
            Err(LampState::Missing(format!(
                "more than one GPIO chip {what} is here: {}; give a path in `chip`",
                list(&fitting)
            )))
        }
        (None, _) if others.is_empty() => Err(LampState::Missing(format!(
            "no GPIO chip {what} is here: this machine has none"
        ))),
        (None, _) => Err(LampState::Missing(format!(
            "no GPIO chip {what} is here; there are {}",
            list(&others)
        ))),
    }
}

fn known_chips() -> Result<Vec<Known>, LampState> {
    let paths =
        chips().map_err(|error| LampState::Fault(format!("/dev cannot be read: {error}")))?;
    let mut refused = None;
    let mut known = Vec::new();
    for path in paths {
        match known_chip(&path) {
            Ok(chip) => known.push(chip),
            Err(state @ LampState::NoRight(_)) => refused = Some(state),
            Err(_) => {} // it went away between listing and opening
        }
    }
    match refused {
        Some(state) if known.is_empty() => Err(state),
        _ => Ok(known),
    }
}

fn known_chip(path: &Path) -> Result<Known, LampState> {
    // A pipe would hold the lamps' thread up until somebody writes into it.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.file_type().is_char_device()) {
        return Err(LampState::Missing(format!(
            "{} is not a GPIO chip: it is not a device",
            path.display()
        )));
    }
    // Opened by hand first, because the system's own word (no right, no such file) decides what is advised.
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => LampState::NoRight(format!(
            "no right to open {}: add the station's user to the group gpio",
            path.display()
        )),
        io::ErrorKind::NotFound => {
            LampState::Missing(format!("there is no GPIO chip at {}", path.display()))
        }
        _ => LampState::Fault(format!("{} cannot be opened: {error}", path.display())),
    })?;
    let not_a_chip =
        |error| LampState::Missing(format!("{} is not a GPIO chip: {error}", path.display()));
    let device = Device::from_path(path).map_err(not_a_chip)?;
    let info = device.info().map_err(not_a_chip)?;
    Ok(Known {
        path: device.path().to_owned(),
        label: info.label,
        lines: info.num_lines,
    })
}

/// The first of these lines that is in use by somebody who `counts`, and by whom.
fn holder(chip: &Path, offsets: &[Offset], counts: impl Fn(&str) -> bool) -> Option<String> {
    let device = Device::from_path(chip).ok()?;
    let used = offsets
        .iter()
        .filter_map(|offset| device.line_info(*offset).ok())
        .find(|info| info.used && counts(&info.consumer))?;
    let line = if used.name.is_empty() {
        format!("line {}", used.offset)
    } else {
        used.name
    };
    let holder = if used.consumer.is_empty() {
        "the kernel (an overlay?)".to_owned()
    } else {
        format!("{:?}", used.consumer)
    };
    Some(format!("{line} of {} is held by {holder}", chip.display()))
}
