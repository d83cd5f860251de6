//! `[[lane]]`: who stands at the bench, each with lamps of their own.

use super::{
    Lane,
    document::{Found, Section},
    indicator,
    problems::{Report, Span},
    verdict,
};
use crate::{
    indicator::{Chip, Gpio, Settings},
    runtime::name::Name,
    verdict::Policy,
};

/// The lane of a station that names none.
const ONLY_LANE: &str = "main";

/// One lane; what is wrong is `None`.
pub(super) struct LaneEntry {
    /// `None`: the name is wrong.
    pub(super) name: Option<Found<Name>>,
    pub(super) settings: Option<Lane>,
    /// Its lamps, even if something else about it is wrong.
    pub(super) lamps: Option<Settings>,
}

/// A lane's lamps with the place to blame for them.
struct Lamps {
    settings: Option<Settings>,
    at: Span,
    shared: bool,
}

pub(super) fn read(document: &Section<'_, '_>, policy: Option<&Policy>) -> Vec<LaneEntry> {
    let section = document.section("indicator");
    let (shared_there, shared_at) = (section.is_there(), section.at().clone());
    let shared = if shared_there {
        indicator::read(section)
    } else {
        Some(Settings::None)
    };
    let of_shared = |at: Span| Lamps {
        settings: shared.clone(),
        at,
        shared: true,
    };

    let mut lanes = Vec::new();
    let mut all_lamps: Vec<Lamps> = Vec::new();
    for section in document.sections("lane") {
        let name = section.required("name", section.name("name", "left"), "\"left\"");
        let allow_returned =
            section.optional("allow_returned", section.flag("allow_returned", false));
        let lamps = own_lamps(&section).unwrap_or_else(|| of_shared(section.at().clone()));
        section.finish();
        if let Some(name) = &name {
            named_once(name, &lanes, document.report());
        }
        let settings = lane(
            name.as_ref().map(|name| &name.value),
            policy,
            allow_returned,
            lamps.settings.as_ref(),
        );
        lanes.push(LaneEntry {
            name,
            settings,
            lamps: lamps.settings.clone(),
        });
        all_lamps.push(lamps);
    }
    if !document.has("lane") {
        let name = Name::new(ONLY_LANE).ok();
        let lamps = of_shared(shared_at.clone());
        let settings = lane(name.as_ref(), policy, Some(None), lamps.settings.as_ref());
        lanes.push(LaneEntry {
            name: name.map(|value| Found {
                value,
                at: document.at().clone(),
            }),
            settings,
            lamps: lamps.settings.clone(),
        });
        all_lamps.push(lamps);
    }

    warn_of_shared(document, shared_there.then_some(&shared_at), &all_lamps);
    lamps_apart(document, &all_lamps);
    lanes
}

fn named_once(name: &Found<Name>, earlier: &[LaneEntry], report: &Report) {
    let mut names = earlier.iter().filter_map(|lane| lane.name.as_ref());
    if names.any(|earlier| earlier.value == name.value) {
        report.problem(
            &name.at,
            format!("there is already a lane {:?}", name.value.as_str()),
            "give each lane a name of its own",
        );
    }
}

/// The lane's own `indicator`, if it has one.
fn own_lamps(section: &Section<'_, '_>) -> Option<Lamps> {
    section.has("indicator").then(|| {
        let title = format!("`indicator` of {}", section.title());
        let own = section.inner("indicator", title);
        let at = own
            .as_ref()
            .map_or_else(|| section.place("indicator"), |own| own.at().clone());
        Lamps {
            settings: own.and_then(indicator::read),
            at,
            shared: false,
        }
    })
}

/// `shared`: where [indicator] is.
fn warn_of_shared(document: &Section<'_, '_>, shared: Option<&Span>, all: &[Lamps]) {
    let is_used = all.iter().any(|lamps| lamps.shared);
    match shared {
        None if is_used => document.report().warn(
            None,
            "there is no [indicator]: results are published, and no lamp shows them",
        ),
        Some(at) if !is_used => document
            .report()
            .warn(Some(at), "[indicator] is not used: every lane has its own"),
        _ => {}
    }
}

fn lane(
    name: Option<&Name>,
    policy: Option<&Policy>,
    allow_returned: Option<Option<bool>>,
    lamps: Option<&Settings>,
) -> Option<Lane> {
    Some(Lane {
        name: name?.clone(),
        policy: verdict::of_lane(policy?, allow_returned?),
        indicator: lamps?.clone(),
    })
}

/// No two lanes may light the same lamp: a green one must belong to one box.
fn lamps_apart(document: &Section<'_, '_>, all_lamps: &[Lamps]) {
    let on_pins: Vec<(&Gpio, &Lamps)> = all_lamps
        .iter()
        .filter_map(|lamps| match &lamps.settings {
            Some(Settings::Gpio(gpio)) => Some((gpio, lamps)),
            _ => None,
        })
        .collect();
    for (index, (gpio, lamps)) in on_pins.iter().enumerate() {
        for (earlier, earlier_lamps) in on_pins.iter().take(index) {
            if lamps.shared && earlier_lamps.shared {
                let message = "the lamps of [indicator] belong to another lane already";
                document.report().problem(
                    &lamps.at,
                    message,
                    "give this lane an `indicator` of its own, with other pins",
                );
                break;
            }
            let chips_apart =
                earlier.chip != gpio.chip && earlier.chip != Chip::Auto && gpio.chip != Chip::Auto;
            if let Some(pin) =
                pins(gpio).find(|pin| !chips_apart && pins(earlier).any(|other| other == *pin))
            {
                let message = format!("pin {pin} belongs to another lane's lamps already");
                document.report().problem(
                    &lamps.at,
                    message,
                    "give each lane's lamps pins of their own",
                );
                break;
            }
        }
    }
}

fn pins(gpio: &Gpio) -> impl Iterator<Item = u8> {
    [Some(gpio.green), Some(gpio.red), gpio.amber, gpio.buzzer]
        .into_iter()
        .flatten()
}
