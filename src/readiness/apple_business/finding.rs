//! From the organisation's record of a device, and its assigned server, to a finding. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    label::Serial,
    readiness::{
        evidence::{Evidence, Finding},
        lenient,
    },
    reason::Reason,
};

/// What `GET /v1/orgDevices/{serial}` says.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A record.
    Device(Box<Device>),
    /// A well-formed 404: not in the organisation.
    NotInOrg,
    /// Not to be understood.
    Garbled(&'static str),
}

/// What counts of a record. Every field is optional in the service's own examples.
#[derive(Clone, Debug)]
pub(super) struct Device {
    status: Option<String>,
    released: bool,
    migrating: bool,
    updated_at: Option<Timestamp>,
    model: Option<String>,
    family: Option<String>,
}

impl Said {
    /// Reads a reply of status 200 or 404.
    pub(super) fn read(status: u16, body: &Value, serial: &Serial) -> Self {
        if status == 404 {
            return if well_formed_404(body) { Self::NotInOrg } else { Self::Garbled("The answer 404 is not in Apple's form.") };
        }
        let Some(data) = body.get("data") else { return Self::Garbled("The answer is not in Apple's form.") };
        let Value::Object(data) = data else { return Self::Garbled("The answer holds no device.") };
        let Some(Value::Object(attributes)) = data.get("attributes") else { return Self::Garbled("The answer holds no device.") };
        // The id is the serial number; the attribute may be absent, and must agree where it is there.
        let named = [text(data, "id"), text(attributes, "serialNumber").or(Some(serial.as_str()))];
        if named.iter().any(|name| *name != Some(serial.as_str())) {
            return Self::Garbled("Apple answered about another device than the one asked for.");
        }
        Self::Device(Box::new(Device::read(attributes)))
    }

    /// Must the assigned server be asked for?
    pub(super) fn wants_server(&self) -> bool {
        matches!(self, Self::Device(device) if !device.released && !device.migrating && device.status.as_deref() == Some("ASSIGNED"))
    }
}

impl Device {
    fn read(attributes: &Map<String, Value>) -> Self {
        let owned = |key| text(attributes, key).map(lenient::shown);
        Self {
            status: owned("status"),
            released: attributes.get("releasedFromOrgDateTime").is_some_and(|date| !matches!(date, Value::Null) && date != ""),
            migrating: matches!(text(attributes, "mdmMigrationStatus"), Some("REQUESTED" | "STARTED")),
            updated_at: text(attributes, "updatedDateTime").and_then(lenient::timestamp),
            model: owned("deviceModel"),
            family: owned("productFamily"),
        }
    }
}

/// What the linkage says: to which server the device is assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    /// That id.
    To(String),
    /// Not to be had yet: it lags an assignment by some seconds.
    NotYet,
    /// It could not be read, and why.
    Unread(Reason, Option<String>),
}

impl Linked {
    /// Reads a reply of status 200 or 404.
    pub(super) fn read(status: u16, body: &Value) -> Self {
        let garbled = || Self::Unread(Reason::GarbledAnswer, Some("The assigned server is not in Apple's form.".to_owned()));
        if status == 404 {
            return if well_formed_404(body) { Self::NotYet } else { garbled() };
        }
        match body.get("data") {
            Some(Value::Null) => Self::NotYet,
            Some(Value::Object(data)) => match data.get("id") {
                None | Some(Value::Null) => Self::NotYet,
                Some(Value::String(id)) if id.is_empty() => Self::NotYet,
                Some(Value::String(id)) => Self::To(id.clone()),
                Some(_) => garbled(),
            },
            _ => garbled(),
        }
    }
}

/// Is that server among those that count?
pub(super) fn is_expected(id: &str, expected: &[String]) -> bool {
    expected.iter().any(|wanted| wanted.eq_ignore_ascii_case(id))
}

/// Fills `evidence` with what Apple said about its serial number. `both_named` is the sentence that names the two servers where they differ.
pub(super) fn judge(evidence: &mut Evidence, said: Said, linked: Option<Linked>, expected: &[String], both_named: Option<String>) {
    let device = match said {
        Said::Device(device) => device,
        Said::NotInOrg => {
            evidence.finding = Finding::No(Reason::NotInOrg);
            return;
        }
        Said::Garbled(why) => {
            evidence.finding = Finding::Unknown(Reason::GarbledAnswer);
            evidence.detail = Some(why.to_owned());
            return;
        }
    };
    evidence.known = true;
    evidence.updated_at = device.updated_at;
    let (finding, detail) = conclude(&device, linked, expected, both_named);
    evidence.finding = finding;
    evidence.detail = detail;
    evidence.status = device.status;
    evidence.model = device.model;
    evidence.family = device.family;
}

fn conclude(device: &Device, linked: Option<Linked>, expected: &[String], both_named: Option<String>) -> (Finding, Option<String>) {
    if device.released {
        return (Finding::No(Reason::Released), None);
    }
    if device.migrating {
        return (Finding::No(Reason::MigrationPending), None);
    }
    match (device.status.as_deref(), linked) {
        (Some("UNASSIGNED"), _) => (Finding::No(Reason::Unassigned), None),
        (Some("ASSIGNED"), Some(Linked::To(id))) if is_expected(&id, expected) => (Finding::NoObjection, None),
        (Some("ASSIGNED"), Some(Linked::To(id))) => {
            (Finding::No(Reason::WrongServer), both_named.or_else(|| Some(format!("It is assigned to server {}.", lenient::shown(&id)))))
        }
        (Some("ASSIGNED"), Some(Linked::NotYet)) => (Finding::Wait(Reason::SyncPending), Some("Apple does not name its MDM server yet.".to_owned())),
        (Some("ASSIGNED"), Some(Linked::Unread(reason, detail))) => (Finding::Unknown(reason), detail),
        (Some("ASSIGNED"), None) => (Finding::Unknown(Reason::StationFault), Some("The station did not ask for the assigned server.".to_owned())),
        _ => (Finding::Unknown(Reason::GarbledAnswer), Some("Apple's status word is none that this station knows.".to_owned())),
    }
}

/// Apple's own 404, not one of a proxy or a mistyped address.
fn well_formed_404(body: &Value) -> bool {
    let Some(errors) = body.get("errors").and_then(Value::as_array) else { return false };
    !errors.is_empty()
        && errors.iter().all(|error| {
            error.get("status").and_then(Value::as_str) == Some("404")
                && error.get("code").and_then(Value::as_str).is_some_and(|code| !code.is_empty())
        })
}

/// A text field that says something.
fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
