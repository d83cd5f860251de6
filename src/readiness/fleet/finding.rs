//! From Fleet's replies about one serial number to a finding: the table, first row that applies. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::wire::{Assignment, Device, Host, Listed};
use crate::{
    readiness::{
        as_of,
        evidence::{Evidence, Finding, Grade},
        spelling,
    },
    reason::Reason,
};

/// Fleet reads its list from Apple every minute; what is not in it was not there so long ago.
const LIST_AGE: Duration = Duration::from_mins(5);

const NOT_AT_APPLE: &str = "Apple tells Fleet that the device is not on its MDM server.";
const OLDER_PROFILE: &str = "An older profile is in place.";

/// Which profiles make a device ready.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Profile uuids that count; empty: any.
    pub profiles: Vec<String>,
}

/// A finding, and what to add to its reason's sentence.
type Judgement = (Finding, Option<String>);

/// What the first call says, at that `date`. About a host that is not enrolled it leaves the finding to [`judge`].
pub(super) fn of_host(evidence: Evidence, host: Option<&Host>, date: Timestamp) -> Evidence {
    let evidence = Evidence {
        replied_at: Some(date),
        known: host.is_some(),
        ..evidence
    };
    match host {
        None => not_found(evidence, date, "Fleet does not list it."),
        Some(host) if host.is_enrolled() => Evidence {
            finding: Finding::No(Reason::AlreadyEnrolled),
            status: host.status(),
            ..evidence
        },
        Some(_) => evidence,
    }
}

/// What the second call says, at that `date`, about a host that is not enrolled.
pub(super) fn judge(
    evidence: Evidence,
    said: &Assignment,
    date: Timestamp,
    expected: &Expected,
) -> Evidence {
    let evidence = Evidence {
        replied_at: Some(date),
        ..evidence
    };
    let Some(listed) = &said.listed else {
        let detail = "Fleet has it, but not from Apple: it is not on Fleet's MDM server.";
        return not_found(evidence, date, detail);
    };
    let Some(device) = &said.device else {
        return without_device(evidence, said.error.as_deref(), date);
    };
    if !device.is_held {
        return not_found(evidence, date, NOT_AT_APPLE);
    }
    let (finding, detail) = conclude(device, listed, date, expected);
    let evidence = Evidence {
        // What is only known of a device that leaves is that it leaves.
        returned: is_word(device, "pushed") && !device.migrating,
        status: device.status.as_deref().map(spelling::shown),
        assigned_at: device.assigned_at,
        device_assigned_at: device.device_assigned_at,
        used_at: device.pushed_at,
        model: device.model.clone(),
        family: device.family.clone(),
        ..evidence
    };
    if finding == Finding::No(Reason::NotFound) {
        return not_found(evidence, date, detail.as_deref().unwrap_or_default());
    }
    Evidence {
        finding,
        detail,
        ..evidence
    }
}

/// Not in Fleet's list, which is young.
fn not_found(evidence: Evidence, date: Timestamp, detail: &str) -> Evidence {
    Evidence {
        finding: Finding::No(Reason::NotFound),
        as_of: date.checked_sub(LIST_AGE).ok(),
        detail: Some(detail.to_owned()),
        ..evidence
    }
}

/// Fleet asked Apple in vain, and says why in one of a few sentences (since 4.91), or not at all.
fn without_device(evidence: Evidence, sentence: Option<&str>, date: Timestamp) -> Evidence {
    let sentence = sentence
        .unwrap_or_default()
        .replace('\u{2019}', "'")
        .to_ascii_lowercase();
    let says = |part: &str| sentence.contains(part);
    let (reason, detail) = if says("renew the ab token") {
        (
            Reason::MdmLinkBroken,
            "Apple refuses Fleet's token for its MDM server.",
        )
    } else if says("terms") {
        (
            Reason::TermsNotSigned,
            "Fleet cannot ask Apple until they are.",
        )
    } else if says("can't find this host in apple business") {
        return not_found(evidence, date, NOT_AT_APPLE);
    } else if says("temporarily unavailable") || says("can't retrieve data") {
        (
            Reason::SourceError,
            "Fleet could not get an answer from Apple.",
        )
    } else {
        (
            Reason::MdmLinkBroken,
            "Fleet got no answer from Apple and does not say why.",
        )
    };
    Evidence {
        finding: Finding::Unknown(reason),
        detail: Some(detail.to_owned()),
        ..evidence
    }
}

fn is_word(device: &Device, word: &str) -> bool {
    let status = device.status.as_deref().unwrap_or_default();
    status.eq_ignore_ascii_case(word)
}

/// The table's rows for Apple's record, in its order, as if returned devices were allowed.
fn conclude(device: &Device, listed: &Listed, date: Timestamp, expected: &Expected) -> Judgement {
    if device.migrating {
        return (Finding::No(Reason::MigrationPending), None);
    }
    let is_assigned = is_word(device, "assigned") || is_word(device, "pushed");
    if is_word(device, "removed") {
        return (Finding::No(Reason::ProfileRemoved), None);
    }
    if !is_assigned && device.status.is_some() && !is_word(device, "empty") {
        return unknown_word("profile_status");
    }
    if let Some(judgement) = of_response(listed, is_assigned) {
        return judgement;
    }
    if !is_assigned {
        return (Finding::Wait(Reason::AssignmentPending), None);
    }
    of_assigned(device, date, expected)
}

/// How Apple answered the last assignment; `None`: well, or there was none.
fn of_response(listed: &Listed, is_assigned: bool) -> Option<Judgement> {
    let response = listed.response.as_deref()?.to_ascii_uppercase();
    let older = is_assigned.then(|| OLDER_PROFILE.to_owned());
    match response.as_str() {
        "SUCCESS" => None,
        "FAILED" => Some((Finding::No(Reason::AssignmentFailed), older)),
        "THROTTLED" => Some((Finding::Wait(Reason::AssignmentThrottled), older)),
        "NOT_ACCESSIBLE" => {
            let detail = "Apple told Fleet that the device is not on its MDM server.";
            Some((Finding::No(Reason::NotFound), Some(detail.to_owned())))
        }
        _ => Some(unknown_word("assign_profile_response")),
    }
}

fn of_assigned(device: &Device, date: Timestamp, expected: &Expected) -> Judgement {
    let uuid = device.profile_uuid.as_deref().unwrap_or_default();
    if let Some(detail) = spelling::unexpected_profile(uuid, &expected.profiles) {
        return (Finding::No(Reason::WrongProfile), Some(detail));
    }
    let moments = [
        ("profile's assignment", device.assigned_at),
        (
            "device's assignment to its MDM server",
            device.device_assigned_at,
        ),
    ];
    match as_of::dated_ahead(moments, Some(date)) {
        Some(detail) => (Finding::Unknown(Reason::GarbledAnswer), Some(detail)),
        None => (Finding::Ready(Grade::Apple), None),
    }
}

fn unknown_word(field: &str) -> Judgement {
    (
        Finding::Unknown(Reason::GarbledAnswer),
        Some(format!("The {field} is none that this station knows.")),
    )
}

#[cfg(test)]
mod tests;
