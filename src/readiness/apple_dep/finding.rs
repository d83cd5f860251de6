//! From Apple's reply about a device to a finding. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    label::Serial,
    readiness::{
        evidence::{Evidence, Finding, Grade},
        http::CLOCK_TOLERANCE,
        lenient,
    },
    reason::Reason,
};

/// Which profiles make a device ready.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// Profile uuids that count; empty: any.
    pub(super) profiles: Vec<String>,
    /// Hosts that a profile's url may name; empty: not asked.
    pub(super) hosts: Vec<String>,
}

/// The `devices` of a reply to `POST /devices`.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    devices: Map<String, Value>,
    /// It names a device that nobody asked for: then a device that is not named may only be misnamed.
    strays: bool,
}

impl Reply {
    /// Reads a reply's body; `None` when it is not what Apple promises.
    pub(super) fn read(body: &Value, asked: &[Serial]) -> Option<Self> {
        let devices = body.get("devices")?.as_object()?.clone();
        let asked: BTreeSet<&str> = asked.iter().map(Serial::as_str).collect();
        let strays = devices.keys().any(|key| !asked.contains(key.as_str()));
        Some(Self { devices, strays })
    }

    /// What it says about one serial number.
    pub(super) fn device(&self, serial: &Serial) -> Said {
        let object = match self.devices.get(serial.as_str()) {
            None if self.strays => return Said::Garbled("Apple answered about another device than the one asked for."),
            None | Some(Value::Null) => return Said::Nothing(None),
            Some(Value::Object(object)) => object,
            Some(_) => return Said::Garbled("Apple's answer about the device is no object."),
        };
        match text(object, "response_status") {
            Some("SUCCESS") if text(object, "serial_number") == Some(serial.as_str()) => Said::Device(Box::new(Device::read(object))),
            Some("SUCCESS") => Said::Garbled("Apple answered about another device than the one asked for."),
            Some(word @ ("NOT_ACCESSIBLE" | "NOT_FOUND")) => Said::Nothing(Some(word.to_owned())),
            _ => Said::Garbled("Apple's response_status is none that this station knows."),
        }
    }
}

/// What a reply says about one serial number.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A record.
    Device(Box<Device>),
    /// Not this server's, or unknown, with Apple's word for it.
    Nothing(Option<String>),
    /// Not to be understood.
    Garbled(&'static str),
}

/// The fields of a device that count.
#[derive(Clone, Debug)]
pub(super) struct Device {
    status: Option<String>,
    /// 32 hex digits. It stays when a profile is removed: only the status proves anything.
    pub(super) profile_uuid: Option<String>,
    assigned_at: Option<Timestamp>,
    /// There is a text in the place of that moment that is none.
    assigned_at_is_garbled: bool,
    device_assigned_at: Option<Timestamp>,
    migrating: bool,
    model: Option<String>,
    family: Option<String>,
}

impl Device {
    fn read(object: &Map<String, Value>) -> Self {
        let owned = |key| text(object, key).map(lenient::shown);
        let assigned_at = text(object, "profile_assign_time").and_then(lenient::timestamp);
        Self {
            // A status that is no text is an unknown word, not an absent one.
            status: match object.get("profile_status") {
                None | Some(Value::Null) => None,
                Some(Value::String(word)) => Some(word.clone()).filter(|word| !word.is_empty()),
                Some(other) => Some(other.to_string()),
            },
            profile_uuid: owned("profile_uuid"),
            assigned_at,
            assigned_at_is_garbled: assigned_at.is_none()
                && object.get("profile_assign_time").is_some_and(|time| !matches!(time, Value::Null) && time != ""),
            device_assigned_at: text(object, "device_assigned_date").and_then(lenient::timestamp),
            migrating: object.get("mdm_migration_deadline").is_some_and(|deadline| !matches!(deadline, Value::Null) && deadline != ""),
            model: owned("description").or_else(|| owned("model")),
            family: owned("device_family"),
        }
    }

    /// Is its profile in place, so that which one it is matters?
    pub(super) fn has_profile(&self) -> bool {
        matches!(self.status.as_deref(), Some("assigned" | "pushed"))
    }
}

/// A text field that says something.
fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// What is known of the profile on the device, where `expected_hosts` asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// Not asked for.
    NotAsked,
    /// The host that its url names.
    Host(String),
    /// It could not be read, and why.
    Unread(Reason, Option<String>),
}

/// Fills `evidence` with what Apple said about its serial number.
pub(super) fn judge(evidence: &mut Evidence, said: Said, profile: &Profile, expected: &Expected, now: Timestamp) {
    let device = match said {
        Said::Device(device) => device,
        Said::Nothing(word) => {
            evidence.finding = Finding::No(Reason::NotFound);
            evidence.status = word;
            evidence.detail = Some("Apple's MDM server of this station's token does not hold it.".to_owned());
            return;
        }
        Said::Garbled(why) => {
            evidence.finding = Finding::Unknown(Reason::GarbledAnswer);
            evidence.detail = Some(why.to_owned());
            return;
        }
    };
    evidence.known = true;
    evidence.device_assigned_at = device.device_assigned_at;
    evidence.assigned_at = device.assigned_at;
    let (finding, detail) = conclude(&device, profile, expected, evidence.replied_at.unwrap_or(now));
    // A device once activated: the finding is what it would be were it new, and counts only where the lane allows returned devices.
    evidence.returned = device.status.as_deref() == Some("pushed");
    evidence.finding = finding;
    evidence.detail = detail;
    evidence.status = device.status.as_deref().map(lenient::shown);
    evidence.model = device.model;
    evidence.family = device.family;
}

fn conclude(device: &Device, profile: &Profile, expected: &Expected, replied_at: Timestamp) -> (Finding, Option<String>) {
    match device.status.as_deref() {
        Some("assigned" | "pushed") => {}
        Some("removed") => return (Finding::No(Reason::ProfileRemoved), None),
        Some("empty") | None => return (Finding::No(Reason::NoProfile), None),
        Some(_) => return (Finding::Unknown(Reason::GarbledAnswer), Some("Apple's profile_status is none that this station knows.".to_owned())),
    }
    if device.migrating {
        return (Finding::No(Reason::MigrationPending), None);
    }
    if !expected.profiles.is_empty() {
        let uuid = device.profile_uuid.as_deref().unwrap_or("");
        if !expected.profiles.iter().any(|wanted| wanted.eq_ignore_ascii_case(uuid)) {
            return (Finding::No(Reason::WrongProfile), Some(format!("The profile on it is {}.", if uuid.is_empty() { "not named" } else { uuid })));
        }
    }
    if !expected.hosts.is_empty() {
        match profile {
            Profile::Host(host) if expected.hosts.iter().any(|wanted| wanted.eq_ignore_ascii_case(host)) => {}
            Profile::Host(host) => return (Finding::No(Reason::WrongProfile), Some(format!("The profile on it enrolls with {host}."))),
            Profile::Unread(reason, detail) => return (Finding::Unknown(*reason), detail.clone()),
            Profile::NotAsked => return (Finding::Unknown(Reason::StationFault), None),
        }
    }
    if device.assigned_at_is_garbled {
        return (Finding::Unknown(Reason::GarbledAnswer), Some("Apple's profile_assign_time is no date.".to_owned()));
    }
    match device.assigned_at {
        Some(at) if replied_at.checked_add(CLOCK_TOLERANCE).is_ok_and(|latest| at > latest) => {
            (Finding::Unknown(Reason::GarbledAnswer), Some("Apple dates the profile's assignment in the future.".to_owned()))
        }
        _ => (Finding::Ready(Grade::Apple), None),
    }
}

#[cfg(test)]
mod tests;
