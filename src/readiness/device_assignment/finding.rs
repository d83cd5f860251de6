//! From Apple's reply about a device to a finding. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use jiff::{Timestamp, fmt::serde::timestamp::nanosecond};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    label::Serial,
    readiness::{
        as_of, compact,
        evidence::{Evidence, Finding, Grade},
        shape::{Misshaped, Object},
        spelling,
    },
    reason::Reason,
    runtime::clock::Boot,
};

/// Which profiles make a device ready.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Profile uuids that count; empty: any.
    pub profiles: Vec<String>,
    /// Hosts that a profile's url may name; empty: not asked.
    pub hosts: Vec<String>,
}

impl Expected {
    /// The uuid of the profile whose host must be read; `Err`: there is none to read.
    pub(super) fn wanted_profile<'d>(&self, device: &'d Device) -> Result<&'d str, Profile> {
        if self.hosts.is_empty() || !device.has_profile() {
            return Err(Profile::NotAsked);
        }
        device.profile_uuid.as_deref().ok_or_else(|| {
            Profile::Unread(
                Reason::GarbledAnswer,
                Some("Apple does not name the profile on it.".to_owned()),
            )
        })
    }
}

const ANOTHER: &str = "Apple answered about another device than the one asked for.";

/// How a reply says that Apple holds nothing of a serial number, where it has no word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::readiness) enum Nothing {
    /// No key for it, or null.
    Null,
    /// That, or a record that names nothing: a null of Apple's, written out again by a program with fixed fields.
    NullOrBlank,
}

/// The `devices` of a reply to the question about devices.
#[derive(Clone, Debug)]
pub(super) struct Devices {
    records: Map<String, Value>,
    nothing: Nothing,
}

impl Devices {
    /// Reads a reply's body. A device that was not asked for, even ours in another case, makes the whole reply unusable.
    pub(super) fn read(body: &Value, asked: &[&str], nothing: Nothing) -> Result<Self, Misshaped> {
        let body = Object::read("Apple's answer", body)?;
        let devices = body
            .typed("devices", "an object", Value::as_object)?
            .ok_or_else(|| body.lacks("devices"))?;
        let asked: BTreeSet<&str> = asked.iter().copied().collect();
        if devices.keys().any(|key| !asked.contains(key.as_str())) {
            return Err(Misshaped(ANOTHER.to_owned()));
        }
        Ok(Self {
            records: devices.clone(),
            nothing,
        })
    }

    /// What it says about one serial number.
    pub(super) fn device(&self, serial: &Serial) -> Said {
        match self.records.get(serial.as_str()) {
            None | Some(Value::Null) => Said::Nothing(None),
            Some(record) => {
                let said = match self.nothing {
                    Nothing::NullOrBlank if is_blank(record) => Ok(Said::Nothing(None)),
                    _ => Said::read(record, serial),
                };
                said.unwrap_or_else(|misshaped| Said::Garbled(misshaped.to_string()))
            }
        }
    }
}

/// Does a record name nothing? Times do not count: a program with fixed fields writes the year 1 for none.
fn is_blank(record: &Value) -> bool {
    let names = [
        "response_status",
        "serial_number",
        "profile_status",
        "profile_uuid",
        "model",
        "description",
    ];
    Object::read("Apple's record", record)
        .is_ok_and(|record| names.iter().all(|name| record.text(name) == Ok(None)))
}

/// What a reply says about one serial number.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A record.
    Device(Box<Device>),
    /// Not this server's, or unknown, with Apple's word for it.
    Nothing(Option<String>),
    /// Not to be understood, and why.
    Garbled(String),
}

impl Said {
    fn read(record: &Value, serial: &Serial) -> Result<Self, Misshaped> {
        let record = Object::read("Apple's record", record)?;
        let named = record.text("serial_number")?;
        let says = |what: &str| Err(Misshaped(what.to_owned()));
        match record.text("response_status")? {
            Some("SUCCESS") if named == Some(serial.as_str()) => {
                Ok(Self::Device(Box::new(Device::read(&record)?)))
            }
            Some("NOT_ACCESSIBLE" | "NOT_FOUND") if record.text("profile_status")?.is_some() => {
                says(
                    "Apple says that the device is not this server's, and yet names its profile's state.",
                )
            }
            Some(word @ ("NOT_ACCESSIBLE" | "NOT_FOUND"))
                if named.is_none_or(|named| named == serial.as_str()) =>
            {
                Ok(Self::Nothing(Some(word.to_owned())))
            }
            Some("SUCCESS" | "NOT_ACCESSIBLE" | "NOT_FOUND") => says(ANOTHER),
            _ => says("Apple's response_status is none that this station knows."),
        }
    }
}

/// The fields of a device that count. The replica keeps it in this form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Device {
    status: Option<String>,
    /// 32 hex digits. It stays when a profile is removed: only the status proves anything.
    #[serde(with = "compact::id")]
    profile_uuid: Option<String>,
    #[serde(with = "nanosecond::optional")]
    assigned_at: Option<Timestamp>,
    #[serde(with = "nanosecond::optional")]
    device_assigned_at: Option<Timestamp>,
    migrating: bool,
    /// When the profile was handed out. Not kept in the replica, whose rows bring good news only.
    #[serde(skip)]
    pushed_at: Option<Timestamp>,
    model: Option<String>,
    family: Option<String>,
}

impl Device {
    pub(super) fn read(record: &Object<'_>) -> Result<Self, Misshaped> {
        let owned = |field| Ok(record.text(field)?.map(str::to_owned));
        let (description, model) = (record.shown("description")?, record.shown("model")?);
        Ok(Self {
            status: owned("profile_status")?,
            profile_uuid: owned("profile_uuid")?,
            assigned_at: record.moment("profile_assign_time")?,
            device_assigned_at: record.moment("device_assigned_date")?,
            // One that cannot be read is a deadline all the same; a program with fixed fields writes the year 1 for none.
            migrating: record
                .text("mdm_migration_deadline")?
                .is_some_and(|deadline| {
                    !spelling::timestamp(deadline).is_some_and(spelling::is_never)
                }),
            // A time that cannot be read counts as none.
            pushed_at: record
                .text("profile_push_time")?
                .and_then(spelling::timestamp)
                .filter(|moment| !spelling::is_never(*moment)),
            model: description.or(model),
            family: record.shown("device_family")?,
        })
    }

    /// Is its profile in place, so that which one it is matters?
    fn has_profile(&self) -> bool {
        matches!(self.status.as_deref(), Some("assigned" | "pushed"))
    }
}

/// Reads the reply to a question about one profile: the host that it enrols with.
pub(super) fn host_of(body: &Value, uuid: &str) -> Result<String, Misshaped> {
    let profile = Object::read("Apple's profile", body)?;
    if !profile
        .needed_text("profile_uuid")?
        .eq_ignore_ascii_case(uuid)
    {
        return Err(Misshaped(
            "Apple answered about another profile than the one asked for.".to_owned(),
        ));
    }
    let host = Url::parse(profile.needed_text("url")?)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    host.ok_or_else(|| Misshaped("The profile's url names no host.".to_owned()))
}

/// For how long a profile that was read is believed.
const HOSTS_KEPT: Duration = Duration::from_hours(1);

/// The hosts that profiles enrol with, by the profile's uuid.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<String, (Boot, String)>);

impl Hosts {
    /// The host of a profile that was read within the hour.
    pub(super) fn of(&self, uuid: &str, now: Boot) -> Option<String> {
        self.0
            .get(uuid)
            .filter(|(read_at, _)| now.since(*read_at) < HOSTS_KEPT)
            .map(|(_, host)| host.clone())
    }

    /// Keeps what was asked for at `asked_at`, and drops what is old.
    pub(super) fn keep(&mut self, uuid: &str, host: &str, asked_at: Boot) {
        self.0
            .retain(|_, (read_at, _)| asked_at.since(*read_at) < HOSTS_KEPT);
        self.0.insert(uuid.to_owned(), (asked_at, host.to_owned()));
    }
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
pub(super) fn judge(evidence: &mut Evidence, said: Said, profile: &Profile, expected: &Expected) {
    let device = match said {
        Said::Device(device) => device,
        Said::Nothing(word) => {
            evidence.finding = Finding::No(Reason::NotFound);
            evidence.status = word;
            let whose = evidence.kind.mdm();
            let whose = whose.map_or("this station", |mdm| mdm.console);
            let detail = format!("Apple's MDM server of {whose}'s token does not hold it.");
            evidence.detail = Some(detail);
            return;
        }
        Said::Garbled(why) => {
            evidence.finding = Finding::Unknown(Reason::GarbledAnswer);
            evidence.detail = Some(why);
            return;
        }
    };
    evidence.known = true;
    evidence.device_assigned_at = device.device_assigned_at;
    evidence.assigned_at = device.assigned_at;
    evidence.used_at = device.pushed_at;
    let (finding, detail) = conclude(&device, profile, expected, evidence.replied_at);
    // A device once activated: the finding is what it would be were it new, and counts only where the lane allows returned devices.
    evidence.returned = device.status.as_deref() == Some("pushed");
    evidence.finding = finding;
    evidence.detail = detail;
    evidence.status = device.status.as_deref().map(spelling::shown);
    evidence.model = device.model;
    evidence.family = device.family;
}

fn conclude(
    device: &Device,
    profile: &Profile,
    expected: &Expected,
    replied_at: Option<Timestamp>,
) -> (Finding, Option<String>) {
    match device.status.as_deref() {
        Some("assigned" | "pushed") => {}
        Some("removed") => return (Finding::No(Reason::ProfileRemoved), None),
        Some("empty") | None => return (Finding::No(Reason::NoProfile), None),
        Some(_) => {
            return (
                Finding::Unknown(Reason::GarbledAnswer),
                Some("Apple's profile_status is none that this station knows.".to_owned()),
            );
        }
    }
    if device.migrating {
        return (Finding::No(Reason::MigrationPending), None);
    }
    if let Some(unexpected) = unexpected(device, profile, expected) {
        return unexpected;
    }
    let Some(replied_at) = replied_at else {
        return (
            Finding::Unknown(Reason::Stale),
            Some("Apple's answer carries no date to count its age from.".to_owned()),
        );
    };
    let moments = [
        ("profile's assignment", device.assigned_at),
        (
            "device's assignment to its MDM server",
            device.device_assigned_at,
        ),
    ];
    match as_of::dated_ahead(moments, Some(replied_at)) {
        Some(detail) => (Finding::Unknown(Reason::GarbledAnswer), Some(detail)),
        None => (Finding::Ready(Grade::Apple), None),
    }
}

/// Why the profile on it is not one that counts.
fn unexpected(
    device: &Device,
    profile: &Profile,
    expected: &Expected,
) -> Option<(Finding, Option<String>)> {
    let wrong = |detail: String| Some((Finding::No(Reason::WrongProfile), Some(detail)));
    let uuid = device.profile_uuid.as_deref().unwrap_or("");
    let is_one = |all: &[String], one: &str| all.iter().any(|all| all.eq_ignore_ascii_case(one));
    if let Some(detail) = spelling::unexpected_profile(uuid, &expected.profiles) {
        return wrong(detail);
    }
    if expected.hosts.is_empty() {
        return None;
    }
    match profile {
        Profile::Host(host) if is_one(&expected.hosts, host) => None,
        Profile::Host(host) => wrong(format!("The profile on it enrolls with {host}.")),
        Profile::Unread(reason, detail) => Some((Finding::Unknown(*reason), detail.clone())),
        Profile::NotAsked => Some((Finding::Unknown(Reason::StationFault), None)),
    }
}

#[cfg(test)]
pub(super) mod tests;
