//! The boxes on the demo's bench: one row each, with what the MDM and Apple's two services say of it and what the station should say.
//!
//! One table for all simulators, so that they tell one story: every way in which the services' views differ has a box.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use super::faults::{Effect, Scope, Switch};

/// One box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoBox {
    /// Its serial number.
    pub serial: &'static str,
    /// What happened to it, for people.
    pub story: &'static str,
    /// The code of the reason that the station gives when all three services are asked.
    pub expected: &'static str,
    /// The model, as Apple describes it.
    pub model: &'static str,
    /// The device family.
    pub family: &'static str,
    /// What the MDM lists.
    pub mdm: Mdm,
    /// What Apple's Device Assignment Services say to the token of the MDM's server.
    pub dep: Dep,
    /// What Apple Business Manager holds.
    pub business: Business,
}

/// What the MDM's list says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mdm {
    /// A box that shows one answer of the MDM, faults included.
    Own(Own),
    /// No row and no device record.
    None,
    /// No row: assigned at Apple after the MDM's last fetch.
    NotFetchedYet,
    /// `assigned`, awaiting enrollment.
    Assigned,
    /// `empty`, nothing recorded: Pending.
    Pending,
    /// `empty`, with a failure recorded: Failed.
    Failed,
    /// `empty`, Apple slows the assignment down.
    Throttled,
    /// `removed`.
    Removed,
    /// `pushed`, no device record.
    Pushed,
    /// `pushed`, and a device record.
    Enrolled,
}

/// The one answer of the MDM that a box is there to show, as well as its form can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// `assigned`, awaiting enrollment.
    Assigned,
    /// Pending, and assigned this long after it was first asked for.
    Soon(Duration),
    /// Pending.
    Pending,
    /// Apple slows the assignment down.
    Throttled,
    /// Assigned a second before it was first asked for.
    JustNow,
    /// No record.
    None,
    /// `assigned`, on the MDM server [`OTHER_SERVER_NAME`].
    OtherServer,
    /// `removed`.
    Removed,
    /// The assignment failed.
    Failed,
    /// `assigned`, with another profile, or blueprint, than the expected one.
    OtherProfile,
    /// Enrolled.
    Enrolled,
    /// Enrolled, and not in the list of devices from Apple.
    EnrolledByHand,
    /// `pushed`.
    Pushed,
    /// Removed from the MDM, and `assigned` again.
    Returned,
    /// A status word that nobody knows.
    Odd,
    /// Two records that disagree.
    Twice,
    /// The request fails as [`switches`] says, and no list has the box: a replica would answer in the place of the fault.
    Fails,
}

/// What Apple's Device Assignment Services say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dep {
    /// `SUCCESS`, `empty`.
    Empty,
    /// `SUCCESS`, `assigned` this long ago.
    Assigned(Duration),
    /// `SUCCESS`, `assigned` a second before it was asked for first.
    JustNow,
    /// `SUCCESS`, `empty`, and `assigned` this long after the first request for it.
    Soon(Duration),
    /// `SUCCESS`, `assigned`, with a migration deadline.
    Migrating,
    /// `SUCCESS`, `pushed`.
    Pushed,
    /// `SUCCESS`, `removed`; the uuid stays.
    Removed,
    /// `NOT_ACCESSIBLE`.
    NotAccessible,
}

/// What Apple Business Manager holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Business {
    /// Nothing: 404.
    None,
    /// `ASSIGNED` to the MDM's server.
    Ours,
    /// `ASSIGNED` to the MDM's server moments ago.
    OursJustNow,
    /// `ASSIGNED` to another MDM server.
    Other,
    /// `ASSIGNED` to Apple Configurator.
    Configurator,
    /// `ASSIGNED`, and the server not to be had yet.
    Lagging,
    /// `ASSIGNED`, a migration was ordered.
    Migrating,
    /// `UNASSIGNED`.
    Unassigned,
    /// `releasedFromOrgDateTime` set.
    Released,
}

/// When the profile was assigned, where a service says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignedAt {
    Never,
    At(Timestamp),
    /// A second before the device was asked for first.
    JustNow,
}

impl AssignedAt {
    /// The same where it was asked for first at that moment.
    pub(crate) fn asked(self, first: Timestamp) -> Self {
        match self {
            Self::JustNow => Self::At(first.checked_sub(Duration::from_secs(1)).unwrap_or(first)),
            other => other,
        }
    }
}

/// The MDM's server at Apple, in all three services.
pub const SERVER_UUID: &str = "1F97349736CF4614A94F624E705841AD";
/// Its name.
pub const SERVER_NAME: &str = "New MDM";
/// Another MDM server of the organisation.
pub const OTHER_SERVER_UUID: &str = "7C0DE5A1B2F34C6D8E9FA0B1C2D3E4F5";
/// Its name.
pub const OTHER_SERVER_NAME: &str = "Old MDM";
/// Apple Configurator.
pub const CONFIGURATOR_UUID: &str = "A0C0F16A70A84B1C9D2E3F405162738A";
/// Its name.
pub const CONFIGURATOR_NAME: &str = "Apple Configurator 2";
/// The profile that the MDM's server assigns.
pub const PROFILE_UUID: &str = "88FC4E378B4B4E3B9E7C5E0C9B7E5E6B";
/// Where that profile enrols.
pub const PROFILE_URL: &str = "https://acme.web-api.kandji.io/mdm/enroll/ade";

/// The box of which Apple Business Manager says nothing but an error.
pub const NOT_TO_BE_ASKED: &str = "DEMOLOST0028";

const DAY: Duration = Duration::from_hours(24);
const LONG_AGO: Dep = Dep::Assigned(Duration::from_hours(45 * 24));
const MACBOOK_AIR: (&str, &str) = ("MacBook Air 13\" (M4, 2025)", "Mac");
const MACBOOK_PRO: (&str, &str) = ("MacBook Pro 14\" (M4, 2024)", "Mac");
const IMAC: (&str, &str) = ("iMac 24\" (M4, 2024)", "Mac");
const IPHONE: (&str, &str) = ("iPhone 16", "iPhone");
const IPAD: (&str, &str) = ("iPad (A16)", "iPad");

const fn row(
    serial: &'static str,
    story: &'static str,
    expected: &'static str,
    (model, family): (&'static str, &'static str),
    (mdm, dep, business): (Mdm, Dep, Business),
) -> DemoBox {
    DemoBox {
        serial,
        story,
        expected,
        model,
        family,
        mdm,
        dep,
        business,
    }
}

const fn own(
    serial: &'static str,
    story: &'static str,
    expected: &'static str,
    (own, dep, business): (Own, Dep, Business),
) -> DemoBox {
    row(
        serial,
        story,
        expected,
        MACBOOK_AIR,
        (Mdm::Own(own), dep, business),
    )
}

/// The boxes.
pub const DEMO: &[DemoBox] = &[
    row(
        "C02XK0AAJG5H",
        "healthy new stock",
        "assigned",
        MACBOOK_AIR,
        (Mdm::Assigned, LONG_AGO, Business::Ours),
    ),
    row(
        "FVFGK1BBQ6L4",
        "healthy new stock",
        "assigned",
        MACBOOK_PRO,
        (Mdm::Assigned, LONG_AGO, Business::Ours),
    ),
    row(
        "K7QW2CCPX9",
        "healthy new stock",
        "assigned",
        IPHONE,
        (Mdm::Assigned, Dep::Assigned(DAY), Business::Ours),
    ),
    // A serial number that begins with S: with and without its first letter it is one candidate each.
    row(
        "SK7QW3DDPX91",
        "healthy new stock whose serial number begins with S",
        "assigned",
        IPAD,
        (Mdm::Assigned, Dep::Assigned(DAY), Business::Ours),
    ),
    row(
        "C02PD4EEJG5J",
        "no profile yet: Pending",
        "assignment_pending",
        MACBOOK_AIR,
        (Mdm::Pending, Dep::Empty, Business::Ours),
    ),
    row(
        "C02TH5FFJG5K",
        "Apple slows the assignment down",
        "assignment_throttled",
        MACBOOK_AIR,
        (Mdm::Throttled, Dep::Empty, Business::Ours),
    ),
    row(
        "C02NP6GGJG5L",
        "no profile, and the MDM knows nothing of it",
        "no_profile",
        IMAC,
        (Mdm::Assigned, Dep::Empty, Business::Ours),
    ),
    row(
        "C02FL7HHJG5M",
        "the assignment failed",
        "no_profile",
        IMAC,
        (Mdm::Failed, Dep::Empty, Business::Ours),
    ),
    row(
        "C02RM8JJJG5N",
        "the profile was removed",
        "profile_removed",
        MACBOOK_AIR,
        (Mdm::Assigned, Dep::Removed, Business::Ours),
    ),
    row(
        "C02WS9KKJG5P",
        "moved to another MDM server",
        "wrong_server",
        MACBOOK_PRO,
        (Mdm::Assigned, Dep::NotAccessible, Business::Other),
    ),
    row(
        "C02UN1LLJG5Q",
        "unassigned at Apple",
        "unassigned",
        MACBOOK_AIR,
        (Mdm::Assigned, Dep::NotAccessible, Business::Unassigned),
    ),
    row(
        "C02RL2MMJG5R",
        "released from the organisation",
        "released",
        MACBOOK_AIR,
        (Mdm::Assigned, Dep::NotAccessible, Business::Released),
    ),
    row(
        "C02RL3NNJG5T",
        "released, and gone from the organisation's list",
        "not_in_org",
        MACBOOK_AIR,
        (Mdm::Assigned, Dep::NotAccessible, Business::None),
    ),
    row(
        "C02NO4PPJG5V",
        "not ours",
        "not_in_org",
        IPHONE,
        (Mdm::None, Dep::NotAccessible, Business::None),
    ),
    row(
        "K7QW5QQPX9",
        "assigned to Apple Configurator",
        "wrong_server",
        IPAD,
        (Mdm::None, Dep::NotAccessible, Business::Configurator),
    ),
    row(
        "C02MG6RRJG5W",
        "a migration to another MDM was ordered",
        "migration_pending",
        MACBOOK_PRO,
        (Mdm::Assigned, Dep::Migrating, Business::Migrating),
    ),
    row(
        "C02PU7SSJG5X",
        "activated before",
        "previously_activated",
        MACBOOK_AIR,
        (Mdm::Pushed, Dep::Pushed, Business::Ours),
    ),
    row(
        "C02EN8TTJG5Y",
        "enrolled",
        "already_enrolled",
        MACBOOK_AIR,
        (Mdm::Enrolled, Dep::Pushed, Business::Ours),
    ),
    row(
        "C02SY9VVJG60",
        "assigned minutes ago; the MDM has not fetched",
        "sync_pending",
        MACBOOK_AIR,
        (
            Mdm::NotFetchedYet,
            Dep::Assigned(Duration::from_mins(3)),
            Business::OursJustNow,
        ),
    ),
    row(
        "C02CX1WWJG61",
        "Apple's two services disagree",
        "contradiction",
        IMAC,
        (Mdm::Assigned, LONG_AGO, Business::Unassigned),
    ),
    row(
        "C02CY2XXJG62",
        "Apple's services disagree whether it is on our server",
        "contradiction",
        IMAC,
        (Mdm::Assigned, Dep::NotAccessible, Business::Ours),
    ),
    row(
        "C02LG3YYJG63",
        "assigned seconds ago; Apple names no server yet",
        "sync_pending",
        MACBOOK_PRO,
        (Mdm::Assigned, LONG_AGO, Business::Lagging),
    ),
    // The boxes of the MDM's own demo.
    own(
        "DEMOREADY001",
        "new, its profile is assigned",
        "assigned",
        (Own::Assigned, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOIPAD0002",
        "an iPad, its profile is assigned",
        "assigned",
        (Own::Assigned, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOSOON0003",
        "Pending, and assigned 20 seconds after the first scan",
        "assignment_pending",
        (
            Own::Soon(Duration::from_secs(20)),
            Dep::Soon(Duration::from_secs(20)),
            Business::Ours,
        ),
    ),
    own(
        "DEMOWAIT0004",
        "Pending for good",
        "assignment_pending",
        (Own::Pending, Dep::Empty, Business::Ours),
    ),
    own(
        "DEMOSLOW0005",
        "Apple slows the assignment down",
        "assignment_throttled",
        (Own::Throttled, Dep::Empty, Business::Ours),
    ),
    own(
        "DEMOFRESH006",
        "assigned a second before the first scan",
        "settling",
        (Own::JustNow, Dep::JustNow, Business::Ours),
    ),
    own(
        "DEMOABSENT07",
        "not in the MDM at all",
        "not_in_org",
        (Own::None, Dep::NotAccessible, Business::None),
    ),
    own(
        NOT_TO_BE_ASKED,
        "not in the MDM, and Apple Business cannot be asked",
        "not_found",
        (Own::None, Dep::NotAccessible, Business::None),
    ),
    own(
        "DEMOOTHER008",
        "on the MDM server \"Old MDM\"",
        "wrong_server",
        (Own::OtherServer, Dep::NotAccessible, Business::Other),
    ),
    own(
        "DEMOGONE0009",
        "its profile was removed",
        "profile_removed",
        (Own::Removed, Dep::Removed, Business::Ours),
    ),
    own(
        "DEMOFAIL0010",
        "its assignment Failed, an older profile is in place",
        "assignment_failed",
        (Own::Failed, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOBLUE0011",
        "on another blueprint",
        "wrong_blueprint",
        (Own::OtherProfile, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOINUSE012",
        "Enrolled already",
        "already_enrolled",
        (Own::Enrolled, Dep::Pushed, Business::Ours),
    ),
    own(
        "DEMOHAND0013",
        "Enrolled by hand, not in the ADE list",
        "already_enrolled",
        (
            Own::EnrolledByHand,
            Dep::NotAccessible,
            Business::Unassigned,
        ),
    ),
    own(
        "DEMOUSED0014",
        "Pushed once: activated before, not new stock",
        "previously_activated",
        (Own::Pushed, Dep::Pushed, Business::Ours),
    ),
    own(
        "DEMOBACK0015",
        "came back: out of the MDM, its profile assigned again",
        "previously_activated",
        (Own::Returned, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOSTALE016",
        "a cache answers in the MDM's place, three days old",
        "stale",
        (Own::Fails, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOODD00018",
        "the MDM says a word that nobody knows",
        "garbled_answer",
        (Own::Odd, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOTWICE019",
        "listed twice, and the rows disagree",
        "contradiction",
        (Own::Twice, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOERROR020",
        "the MDM fails with 500",
        "source_error",
        (Own::Fails, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOQUIET021",
        "the MDM is silent for eight seconds",
        "timeout",
        (Own::Fails, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMORESET022",
        "the connection breaks",
        "offline",
        (Own::Fails, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOLIMIT023",
        "the MDM's request limit is used up",
        "rate_limited",
        (Own::Fails, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMODENY0024",
        "the MDM refuses the API token",
        "credentials_refused",
        (Own::Fails, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOGUEST025",
        "a guest network answers in the MDM's place",
        "garbled_answer",
        (Own::Fails, LONG_AGO, Business::Ours),
    ),
    own(
        "SDEMOBOX0026",
        "its own serial number begins with S",
        "assigned",
        (Own::Assigned, LONG_AGO, Business::Ours),
    ),
    own(
        "SDEMOTWIN027",
        "two devices, with and without the S",
        "ambiguous",
        (Own::Assigned, LONG_AGO, Business::Ours),
    ),
    own(
        "DEMOTWIN027",
        "the other of the two",
        "assigned",
        (Own::Assigned, LONG_AGO, Business::Ours),
    ),
];

/// The faults of the MDM that some of the boxes show.
pub fn switches() -> Vec<Switch> {
    let now = Timestamp::now();
    let then = now.checked_sub(Duration::from_hours(72)).unwrap_or(now);
    [
        (
            "DEMOSTALE016",
            Effect::Date(then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()),
        ),
        ("DEMOERROR020", Effect::Status(500)),
        ("DEMOQUIET021", Effect::Silence(Duration::from_secs(8))),
        ("DEMORESET022", Effect::Reset),
        ("DEMOLIMIT023", Effect::TooMany { retry_after: None }),
        ("DEMODENY0024", Effect::Status(403)),
        ("DEMOGUEST025", Effect::Html),
    ]
    .map(|(serial, effect)| Switch::new(Scope::Serial(serial.to_owned()), effect))
    .into()
}

/// The boxes as [`super::Introduction`] lists them; the reason is that of a station that asks all three services.
pub(crate) fn boxes() -> Vec<(&'static str, &'static str, &'static str)> {
    DEMO.iter()
        .map(|demo| (demo.serial, demo.expected, demo.story))
        .collect()
}

/// What Apple's Device Assignment Services hold of them.
pub(crate) fn dep() -> HashMap<String, Dep> {
    let all = DEMO.iter();
    all.map(|demo| (demo.serial.to_owned(), demo.dep)).collect()
}

/// A moment as the services write it.
pub(crate) fn written(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use std::collections::HashSet;

    use super::*;
    use crate::{
        label::{self, Meaning},
        reason::Reason,
    };

    #[test]
    fn every_box_can_be_scanned_and_has_a_reason_of_its_own() {
        let mut seen = HashSet::new();
        for demo in DEMO {
            assert!(seen.insert(demo.serial), "{} twice", demo.serial);
            assert!(
                Reason::from_code(demo.expected).is_some(),
                "{}",
                demo.expected
            );
            match label::read(demo.serial.as_bytes()) {
                Meaning::Serials(candidates) => assert!(
                    candidates.len() == 1 && candidates[0].scanned.as_str() == demo.serial,
                    "{}",
                    demo.serial
                ),
                Meaning::Wrong(reason) => panic!("{} is read as {}", demo.serial, reason.code()),
            }
        }
    }

    #[test]
    fn every_way_in_which_the_services_differ_has_a_box() {
        for expected in [
            "assigned",
            "assignment_pending",
            "no_profile",
            "profile_removed",
            "wrong_server",
            "unassigned",
            "released",
            "not_in_org",
            "migration_pending",
            "previously_activated",
            "already_enrolled",
            "sync_pending",
            "contradiction",
        ] {
            assert!(
                DEMO.iter().any(|demo| demo.expected == expected),
                "{expected}"
            );
        }
    }
}
