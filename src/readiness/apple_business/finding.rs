//! From the organisation's record of a device, and its assigned server, to a finding. Pure.

use jiff::{Timestamp, fmt::serde::timestamp::nanosecond};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    label::Serial,
    readiness::{
        evidence::{Evidence, Finding},
        shape::{Misshaped, Object},
        spelling,
    },
    reason::Reason,
};

const ANOTHER: &str = "Apple answered about another device than the one asked for.";

/// What `GET /v1/orgDevices/{serial}` says.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A record.
    Device(Box<Device>),
    /// A well-formed 404: not in the organisation.
    NotInOrg,
    /// Not to be understood, and why.
    Garbled(String),
}

/// What counts of a record. Every field is optional in the service's own examples. The replica keeps it in this form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Device {
    status: Option<String>,
    released: bool,
    migration: Option<String>,
    #[serde(with = "nanosecond::optional")]
    updated_at: Option<Timestamp>,
    model: Option<String>,
    family: Option<String>,
}

impl Said {
    /// Reads a reply of status 200 or 404.
    pub(super) fn read(status: u16, body: &Value, serial: &Serial) -> Self {
        let read = || {
            if status == 404 {
                return not_found(body).map(|()| Self::NotInOrg);
            }
            let data = data(body)?
                .ok_or_else(|| Misshaped("Apple's answer holds no device.".to_owned()))?;
            match record(&data)? {
                (id, device) if id == serial.as_str() => Ok(Self::Device(Box::new(device))),
                _ => Err(Misshaped(ANOTHER.to_owned())),
            }
        };
        read().unwrap_or_else(|misshaped: Misshaped| Self::Garbled(misshaped.to_string()))
    }

    /// Must the assigned server be asked for?
    pub(super) fn wants_server(&self) -> bool {
        matches!(self, Self::Device(device) if !device.released && device.settled() && device.status.as_deref() == Some("ASSIGNED"))
    }
}

impl Device {
    fn read(attributes: &Object<'_>) -> Result<Self, Misshaped> {
        let owned = |field| Ok(attributes.text(field)?.map(str::to_owned));
        Ok(Self {
            status: owned("status")?,
            released: attributes.text("releasedFromOrgDateTime")?.is_some(),
            migration: owned("mdmMigrationStatus")?,
            updated_at: attributes.moment("updatedDateTime")?,
            model: attributes.shown("deviceModel")?,
            family: attributes.shown("productFamily")?,
        })
    }

    /// Is no migration to another MDM server under way, by a word that the station knows?
    fn settled(&self) -> bool {
        matches!(self.migration.as_deref(), None | Some("SUCCESS" | "FAILED"))
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
    pub(super) fn read(status: u16, body: &Value, serial: &Serial) -> Self {
        let read = || {
            if status == 404 {
                return not_found(body).map(|()| Self::NotYet);
            }
            let Some(data) = data(body)? else {
                return Ok(Self::NotYet);
            };
            let Some(id) = data.text("id")? else {
                return Ok(Self::NotYet);
            };
            of_type(&data, "mdmServers")?;
            if !links_of(body, serial)? {
                return Err(Misshaped(ANOTHER.to_owned()));
            }
            Ok(Self::To(id.to_owned()))
        };
        read().unwrap_or_else(|misshaped: Misshaped| {
            Self::Unread(Reason::GarbledAnswer, Some(misshaped.to_string()))
        })
    }
}

/// Is that server among those that count?
pub(super) fn is_expected(id: &str, expected: &[String]) -> bool {
    expected
        .iter()
        .any(|wanted| spelling::same_uuid(wanted, id))
}

/// Fills `evidence` with what Apple said about its serial number. `both_named` is the sentence that names the two servers where they differ.
pub(super) fn judge(
    evidence: &mut Evidence,
    said: Said,
    linked: Option<Linked>,
    expected: &[String],
    both_named: Option<String>,
) {
    let device = match said {
        Said::Device(device) => device,
        Said::NotInOrg => {
            evidence.finding = Finding::No(Reason::NotInOrg);
            return;
        }
        Said::Garbled(why) => {
            evidence.finding = Finding::Unknown(Reason::GarbledAnswer);
            evidence.detail = Some(why);
            return;
        }
    };
    evidence.known = true;
    evidence.updated_at = device.updated_at;
    let (finding, detail) = conclude(&device, linked, expected, both_named);
    evidence.finding = finding;
    let failed = (device.migration.as_deref() == Some("FAILED"))
        .then(|| "Apple says that its last migration to another MDM server FAILED.".to_owned());
    evidence.detail = match (detail, failed) {
        (Some(detail), Some(failed)) => Some(format!("{detail} {failed}")),
        (detail, failed) => detail.or(failed),
    };
    evidence.status = device.status.as_deref().map(spelling::shown);
    evidence.model = device.model;
    evidence.family = device.family;
}

fn conclude(
    device: &Device,
    linked: Option<Linked>,
    expected: &[String],
    both_named: Option<String>,
) -> (Finding, Option<String>) {
    if device.released {
        return (Finding::No(Reason::Released), None);
    }
    if matches!(device.migration.as_deref(), Some("REQUESTED" | "STARTED")) {
        return (Finding::No(Reason::MigrationPending), None);
    }
    if !device.settled() {
        return (
            Finding::Unknown(Reason::GarbledAnswer),
            Some("Apple's mdmMigrationStatus is none that this station knows.".to_owned()),
        );
    }
    match (device.status.as_deref(), linked) {
        (Some("UNASSIGNED"), _) => (Finding::No(Reason::Unassigned), None),
        (Some("ASSIGNED"), Some(Linked::To(id))) if is_expected(&id, expected) => {
            (Finding::NoObjection, None)
        }
        (Some("ASSIGNED"), Some(Linked::To(id))) => (
            Finding::No(Reason::WrongServer),
            both_named.or_else(|| {
                Some(format!(
                    "It is assigned to server {}.",
                    spelling::shown(&id)
                ))
            }),
        ),
        (Some("ASSIGNED"), Some(Linked::NotYet)) => (
            Finding::Wait(Reason::SyncPending),
            Some("Apple does not name its MDM server yet.".to_owned()),
        ),
        (Some("ASSIGNED"), Some(Linked::Unread(reason, detail))) => {
            (Finding::Unknown(reason), detail)
        }
        (Some("ASSIGNED"), None) => (
            Finding::Unknown(Reason::StationFault),
            Some("The station did not ask for the assigned server.".to_owned()),
        ),
        _ => (
            Finding::Unknown(Reason::GarbledAnswer),
            Some("Apple's status word is none that this station knows.".to_owned()),
        ),
    }
}

/// A device and its serial number, which is the record's id. The attribute may be absent, and must agree where it is there.
pub(super) fn record<'a>(data: &Object<'a>) -> Result<(&'a str, Device), Misshaped> {
    of_type(data, "orgDevices")?;
    let attributes = data
        .value("attributes")
        .ok_or_else(|| data.lacks("attributes"))?;
    let attributes = Object::read("Apple's record", attributes)?;
    let id = data.needed_text("id")?;
    match attributes.text("serialNumber")? {
        Some(named) if named != id => Err(Misshaped(ANOTHER.to_owned())),
        _ => Ok((id, Device::read(&attributes)?)),
    }
}

/// The `data` of an answer; `None` where it is null. What says at once that it failed is none.
fn data(body: &Value) -> Result<Option<Object<'_>>, Misshaped> {
    let answer = answer(body)?;
    if !answer.has("data") {
        return Err(answer.lacks("data"));
    }
    answer
        .value("data")
        .map(|data| Object::read("Apple's record", data))
        .transpose()
}

/// The answer as an object with data and without errors.
pub(super) fn answer(body: &Value) -> Result<Object<'_>, Misshaped> {
    let answer = Object::read("Apple's answer", body)?;
    match answer.value("errors") {
        Some(_) => Err(Misshaped(
            "Apple's answer holds errors where data is documented.".to_owned(),
        )),
        None => Ok(answer),
    }
}

/// Is it about a thing of that kind?
pub(super) fn of_type(data: &Object<'_>, kind: &str) -> Result<(), Misshaped> {
    if data.text("type")? == Some(kind) {
        return Ok(());
    }
    Err(Misshaped(format!("Apple's answer is not about {kind}.")))
}

/// Is the answer about this device, by the link to itself? (The linkage names the device nowhere else; without a link it is taken.)
fn links_of(body: &Value, serial: &Serial) -> Result<bool, Misshaped> {
    let Some(links) = body.get("links").filter(|links| !links.is_null()) else {
        return Ok(true);
    };
    let itself = Object::read("The links", links)?.text("self")?;
    let named = itself
        .and_then(|link| link.split_once("/orgDevices/"))
        .map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    Ok(named.is_none_or(|named| named == serial.as_str()))
}

/// Apple's own 404, not one of a proxy or a mistyped address.
fn not_found(body: &Value) -> Result<(), Misshaped> {
    let strange = || Misshaped("The answer 404 is not in Apple's form.".to_owned());
    let answer = Object::read("Apple's answer", body)?;
    let errors = answer.list("errors")?;
    if errors.is_empty() || answer.value("data").is_some() {
        return Err(strange());
    }
    for error in errors {
        let error = Object::read("Apple's error", error)?;
        error.needed_text("code")?;
        if error.text("status")? != Some("404") {
            return Err(strange());
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
