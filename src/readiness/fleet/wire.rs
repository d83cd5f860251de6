//! Fleet's replies as they come. Almost every field may be missing; one of another type than documented makes the reply no answer.
//! What is personal is not even read.
//!
//! Not on a page of Fleet's documents, but in its source and its own tests: the form of its errors, and that the second reply
//! repeats the host's id and the serial number.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    label::Serial,
    readiness::{
        shape::{Misshaped, Object},
        spelling,
    },
};

const ANOTHER: &str =
    "Fleet answered with another host than the one asked for: it also looks for host names.";

/// A host as Fleet's own list has it.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Digits.
    pub(super) id: u64,
    /// `mdm.enrollment_status`.
    enrollment: Option<String>,
}

impl Host {
    /// Reads a reply of status 200 or 404; `None`: Fleet does not list it.
    pub(super) fn read(
        status: u16,
        body: &Value,
        serial: &Serial,
    ) -> Result<Option<Self>, Misshaped> {
        if status == 404 {
            return not_found(body).map(|()| None);
        }
        let answer = Object::read("Fleet's answer", body)?;
        let host = answer.value("host").ok_or_else(|| answer.lacks("host"))?;
        let host = Object::read("Fleet's host", host)?;
        if !serial.is(host.needed_text("hardware_serial")?) {
            return Err(Misshaped(ANOTHER.to_owned()));
        }
        let id = host.id("id")?.ok_or_else(|| host.lacks("id"))?;
        let enrollment = match host.value("mdm") {
            Some(mdm) => Object::read("Its mdm", mdm)?.text("enrollment_status")?,
            None => None,
        };
        Ok(Some(Self {
            id: id.parse().map_err(|_| {
                Misshaped("Fleet's host has an id that is not a whole number.".to_owned())
            })?,
            enrollment: enrollment.map(str::to_owned),
        }))
    }

    /// "On (automatic)", "On (manual)" and the like. "Pending" means that Apple has it for this MDM, and nothing of a profile.
    pub(super) fn is_enrolled(&self) -> bool {
        let word = self.enrollment.as_deref().unwrap_or_default().trim_start();
        word.get(..2)
            .is_some_and(|on| on.eq_ignore_ascii_case("on"))
    }

    /// For people.
    pub(super) fn status(&self) -> Option<String> {
        let word = self.enrollment.as_deref().map(spelling::shown);
        word.filter(|word| !word.is_empty())
    }
}

/// Fleet's own 404, not one of a proxy or of a server without that call.
pub(super) fn not_found(body: &Value) -> Result<(), Misshaped> {
    let strange = || Misshaped("The answer 404 is not in Fleet's form.".to_owned());
    let answer = Object::read("Fleet's error", body)?;
    answer.needed_text("message")?;
    let errors = answer.list("errors")?;
    if errors.is_empty() || answer.value("host").is_some() {
        return Err(strange());
    }
    for error in errors {
        let error = Object::read("Fleet's error", error)?;
        error.needed_text("name")?;
        error.needed_text("reason")?;
    }
    Ok(())
}

/// What Fleet knows of a host's profile: its own record, and Apple's answer just now.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    /// Fleet's record of the device in its list from Apple; `None`: it is not in there, or was taken out.
    pub(super) listed: Option<Listed>,
    /// Apple's record; `None`: Apple gave none.
    pub(super) device: Option<Device>,
    /// Why Apple gave none, in Fleet's words.
    pub(super) error: Option<String>,
}

/// Fleet's record of a device from Apple.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// How Apple answered Fleet's last assignment of a profile.
    pub(super) response: Option<String>,
}

impl Assignment {
    /// Reads the reply about that host.
    pub(super) fn read(body: &Value, host: u64, serial: &Serial) -> Result<Self, Misshaped> {
        let answer = Object::read("Fleet's answer", body)?;
        let named = answer.id("id")?;
        if named
            .as_ref()
            .is_some_and(|named| *named != host.to_string())
        {
            return Err(Misshaped(ANOTHER.to_owned()));
        }
        if !answer.has("host_dep_assignment") {
            return Err(answer.lacks("host_dep_assignment"));
        }
        let listed = match answer.value("host_dep_assignment") {
            Some(record) => {
                let record = Object::read("Its host_dep_assignment", record)?;
                let is_there = record.moment("deleted_at")?.is_none();
                let response = record.text("assign_profile_response")?.map(str::to_owned);
                is_there.then_some(Listed { response })
            }
            None => None,
        };
        let device = match answer.value("dep_device") {
            Some(record) => Some(Device::read(record, serial, named.is_some())?),
            None => None,
        };
        let error = answer.text("dep_device_error")?.map(str::to_owned);
        if device.is_some() && error.is_some() {
            return Err(Misshaped(
                "Fleet gives Apple's answer and an error beside it.".to_owned(),
            ));
        }
        Ok(Self {
            listed,
            device,
            error,
        })
    }
}

/// Apple's record of a device, as Fleet passes it on.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// Apple holds it for Fleet's MDM server.
    pub(super) is_held: bool,
    pub(super) status: Option<String>,
    /// It stays when a profile is removed: only the status proves anything.
    pub(super) profile_uuid: Option<String>,
    pub(super) assigned_at: Option<Timestamp>,
    pub(super) device_assigned_at: Option<Timestamp>,
    pub(super) migrating: bool,
    /// When the profile was handed out; a time that cannot be read counts as none.
    pub(super) pushed_at: Option<Timestamp>,
    pub(super) model: Option<String>,
    pub(super) family: Option<String>,
}

impl Device {
    /// `of_host`: the reply names the host that was asked for.
    fn read(record: &Value, serial: &Serial, of_host: bool) -> Result<Self, Misshaped> {
        let record = Object::read("Its dep_device", record)?;
        let named = record.text("serial_number")?;
        if !named.map_or(of_host, |named| serial.is(named)) {
            return Err(Misshaped(
                "Fleet passes on Apple's answer about another device than the one asked for, or about one that it does not name."
                    .to_owned(),
            ));
        }
        let is_held = is_held(&record)?;
        let owned = |field| Ok(record.text(field)?.map(str::to_owned));
        let (description, model) = (record.shown("description")?, record.shown("model")?);
        let pushed = record.text("profile_push_time")?;
        let pushed = pushed.and_then(spelling::timestamp);
        Ok(Self {
            is_held,
            status: owned("profile_status")?,
            profile_uuid: owned("profile_uuid")?,
            assigned_at: record.moment("profile_assign_time")?,
            device_assigned_at: record.moment("device_assigned_date")?,
            migrating: record.moment("mdm_migration_deadline")?.is_some(),
            pushed_at: pushed.filter(|moment| !spelling::is_never(*moment)),
            model: description.or(model),
            family: record.shown("device_family")?,
        })
    }
}

/// Apple's word on the question, where Fleet passes that on as well: is the record of a device that the MDM server has?
fn is_held(record: &Object<'_>) -> Result<bool, Misshaped> {
    let word = record.text("response_status")?.unwrap_or("SUCCESS");
    let says = |what: &str| Err(Misshaped(what.to_owned()));
    match word.to_ascii_uppercase().as_str() {
        "SUCCESS" => Ok(true),
        "NOT_ACCESSIBLE" | "NOT_FOUND" if record.text("profile_status")?.is_some() => says(
            "Apple says that the device is not on Fleet's MDM server, and yet names its profile's state.",
        ),
        "NOT_ACCESSIBLE" | "NOT_FOUND" => Ok(false),
        _ => says("Apple's response_status is none that this station knows."),
    }
}
