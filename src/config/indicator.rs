//! `[indicator]`, or a lane's own: lamps on pins, on the terminal, or none.

use std::{path::PathBuf, time::Duration};

use super::document::{Found, Section};
use crate::indicator::{Chip, Driver, Gpio, Settings};

#[derive(Clone, Copy)]
enum Kind {
    Gpio,
    Terminal,
    None,
}

/// The highest pin of a Pi's header.
const LAST_PIN: u32 = 27;

/// Pins that pull up at boot: an active-low lamp on them is dark while it is not driven.
const PULLED_UP: std::ops::RangeInclusive<u8> = 2..=8;

const PIN_KEYS: [&str; 8] = [
    "driver",
    "chip",
    "green",
    "red",
    "amber",
    "buzzer",
    "active_low",
    "external_pull",
];

/// Reads the section; `None`: something is wrong and reported.
pub(super) fn read(section: Section<'_, '_>) -> Option<Settings> {
    let choices = [
        ("gpio", Kind::Gpio),
        ("terminal", Kind::Terminal),
        ("none", Kind::None),
    ];
    let kind = section.choice("kind", &choices, Some("gpio"))?.value;
    let settings = match kind {
        Kind::Gpio => gpio(&section).map(Settings::Gpio),
        Kind::Terminal => {
            section.not_for("terminal", &PIN_KEYS);
            ready_hold(&section).map(|ready_hold| Settings::Terminal { ready_hold })
        }
        Kind::None => {
            section.not_for("none", &PIN_KEYS);
            section.not_for("none", &["ready_hold"]);
            Some(Settings::None)
        }
    };
    section.finish();
    settings
}

fn ready_hold(section: &Section<'_, '_>) -> Option<Duration> {
    section.duration(
        "ready_hold",
        Duration::from_secs(3),
        Duration::from_millis(100)..=Duration::from_secs(30),
    )
}

/// What `chip` means to a driver.
fn chip_for(section: &Section<'_, '_>, driver: Option<Driver>) {
    match driver {
        Some(Driver::Rppal) => {
            let remedy = "remove `chip`, or use driver = \"gpiochip\"";
            section.wrong::<()>(
                "chip",
                "rppal drives the Pi's header and takes no chip",
                remedy,
            );
        }
        Some(Driver::Auto) => {
            let message = "`chip` counts only with driver = \"gpiochip\"; on a Raspberry Pi \"auto\" is rppal";
            section.report().warn(Some(&section.place("chip")), message);
        }
        Some(Driver::Gpiochip) | None => {}
    }
}

fn pins_apart(section: &Section<'_, '_>, fitted: &[(&'static str, u8)]) {
    for (index, (key, pin)) in fitted.iter().enumerate() {
        if let Some((earlier, _)) = fitted.iter().take(index).find(|(_, other)| other == pin) {
            section.wrong::<()>(
                key,
                format!("`{key}` is on the same pin as `{earlier}`"),
                "give each lamp a pin of its own",
            );
        }
    }
}

/// An active-low lamp needs a pin that is pulled up while it is not driven.
fn lamps_rest_dark(
    section: &Section<'_, '_>,
    fitted: &[(&'static str, u8)],
    active_low: Option<bool>,
    external_pull: Option<bool>,
) {
    for (key, pin) in fitted {
        if active_low == Some(true) && external_pull == Some(false) && !PULLED_UP.contains(pin) {
            let message = format!(
                "an active-low `{key}` on pin {pin} would light whenever benchlight does not run: the pin rests low"
            );
            section.wrong::<()>(
                key,
                message,
                "use a pin from 2 to 8, which rest high, or say external_pull = true if the board has a resistor for it",
            );
        }
    }
    if external_pull == Some(true) && active_low == Some(false) {
        section.report().warn(
            Some(&section.place("external_pull")),
            "`external_pull` counts only with active_low = true",
        );
    }
}

fn gpio(section: &Section<'_, '_>) -> Option<Gpio> {
    let drivers = [
        ("auto", Driver::Auto),
        ("rppal", Driver::Rppal),
        ("gpiochip", Driver::Gpiochip),
    ];
    let driver = section.choice("driver", &drivers, Some("auto"));
    let chip = chip(section);
    if chip.as_ref().is_some_and(|chip| *chip != Chip::Auto) {
        chip_for(section, driver.as_ref().map(|driver| driver.value));
    }
    // Another chip than the header's may have more lines.
    let last = if chip.as_ref().is_none_or(|chip| *chip == Chip::Auto) {
        LAST_PIN
    } else {
        u32::from(u8::MAX)
    };
    let pin = |key| {
        section.number(key, 0..=last, 17).and_then(|found| {
            Some(Found {
                value: u8::try_from(found.value).ok()?,
                at: found.at,
            })
        })
    };
    let green = section.required("green", pin("green"), "17");
    let red = section.required("red", pin("red"), "27");
    let amber = section.optional("amber", pin("amber"));
    let buzzer = section.optional("buzzer", pin("buzzer"));
    let active_low = section.flag("active_low", false);
    let external_pull = section.flag("external_pull", false);
    let ready_hold = ready_hold(section);

    let fitted = [
        ("green", green.as_ref()),
        ("red", red.as_ref()),
        ("amber", amber.as_ref().and_then(Option::as_ref)),
        ("buzzer", buzzer.as_ref().and_then(Option::as_ref)),
    ];
    let fitted: Vec<(&'static str, u8)> = fitted
        .into_iter()
        .filter_map(|(key, pin)| Some((key, pin?.value)))
        .collect();
    pins_apart(section, &fitted);
    lamps_rest_dark(section, &fitted, active_low, external_pull);
    Some(Gpio {
        driver: driver?.value,
        chip: chip?,
        green: green?.value,
        red: red?.value,
        amber: amber?.map(|pin| pin.value),
        buzzer: buzzer?.map(|pin| pin.value),
        active_low: active_low?,
        ready_hold: ready_hold?,
    })
}

fn chip(section: &Section<'_, '_>) -> Option<Chip> {
    if !section.has("chip") {
        return Some(Chip::Auto);
    }
    let text = section.text("chip", "\"auto\"")?.value;
    Some(match text {
        "auto" => Chip::Auto,
        path if path.starts_with('/') => Chip::Path(PathBuf::from(path)),
        label => Chip::Label(label.to_owned()),
    })
}
