//! Jamf Pro's records of one serial number give one finding: the table, first row that applies. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::wire::{Device, Expiry, Instance, Prestage};
use crate::{
    readiness::{
        as_of::{self, Doubt},
        evidence::{Evidence, Finding, Grade},
        spelling,
    },
    reason::{Reason, Verdict},
    runtime::times,
};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What the config says of a Jamf Pro source.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Ids of the instances that count; empty: all.
    pub instances: Vec<String>,
    /// How old an instance's last successful sync with Apple may be.
    pub max_fetch_age: Duration,
    /// The PreStage enrollments of which a box must be in one's scope; empty: any.
    pub expected_prestages: Vec<Prestage>,
}

/// Everything that is known of one serial number.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    /// Its rows, one for each instance that lists it.
    pub(super) devices: &'a [Device],
    /// The PreStages in whose scope it is.
    pub(super) scopes: &'a [Prestage],
    /// All instances.
    pub(super) instances: &'a [Instance],
    /// The service's time.
    pub(super) now: Timestamp,
    /// When the list was read, by the service's time.
    pub(super) read_at: Timestamp,
}

/// Fills `evidence` (bare, for one serial number) with what the records say about it.
pub(super) fn judge(evidence: Evidence, records: &Records<'_>, policy: &Policy) -> Evidence {
    let mut devices: Vec<&Device> = records.devices.iter().collect();
    // By the dates, then by the rest, so that the list's order never matters. A row without a date counts as oldest.
    devices.sort_unstable();
    let Some((newest, others)) = devices.split_last() else {
        return without_row(evidence, records, policy);
    };
    let judged = of_row(evidence.clone(), newest, records, policy);
    let differs = |row: &&&Device| {
        let other = of_row(evidence.clone(), row, records, policy);
        [true, false].into_iter().any(|allow_returned| {
            verdict(judged.judged(allow_returned)) != verdict(other.judged(allow_returned))
        })
    };
    if others.iter().any(|row| differs(&row)) {
        let detail = format!(
            "Jamf Pro lists it {} times, and the rows disagree.",
            devices.len()
        );
        return Evidence {
            returned: false,
            detail: Some(detail),
            finding: Finding::Unknown(Reason::Contradiction),
            ..judged
        };
    }
    judged
}

fn verdict(finding: Finding) -> Option<Verdict> {
    finding.reason().map(Reason::verdict)
}

/// A finding, and what to add to its reason's sentence.
type Judgement = (Finding, Option<String>);

fn unknown(reason: Reason, detail: impl Into<String>) -> Judgement {
    (Finding::Unknown(reason), Some(detail.into()))
}

fn of_row(evidence: Evidence, row: &Device, records: &Records<'_>, policy: &Policy) -> Evidence {
    let mut listed = records.instances.iter();
    let instance = listed.find(|instance| same_id(&instance.id, &row.instance));
    let linked = link(row, instance, records, policy);
    // What is only known through a bad link is not known.
    let returned = linked.is_none() && row.status.as_deref() == Some("pushed");
    let (finding, detail) = linked.unwrap_or_else(|| of_status(row, records, policy));
    Evidence {
        finding,
        detail,
        returned,
        known: true,
        status: row
            .status
            .as_deref()
            .map(|word| spelling::shown(&word.to_ascii_uppercase()))
            .filter(|word| !word.is_empty()),
        assigned_at: row.profile_assigned,
        device_assigned_at: row.device_assigned,
        used_at: row
            .profile_pushed
            .filter(|_| row.status.as_deref() == Some("pushed")),
        as_of: instance.and_then(|instance| instance.synced),
        server_uuid: instance.and_then(|instance| instance.server_uuid.clone()),
        model: row.model.clone(),
        ..evidence
    }
}

/// The table's rows as far as they do not look at the profile's status; `None`: the status tells.
fn link(
    row: &Device,
    instance: Option<&Instance>,
    records: &Records<'_>,
    policy: &Policy,
) -> Option<Judgement> {
    if !policy.counts(&row.instance) {
        let there = instance.map_or_else(
            || format!("\"{}\"", spelling::shown(&row.instance)),
            Instance::named,
        );
        return Some((
            Finding::No(Reason::WrongServer),
            Some(format!(
                "It is on {there}, this station expects {}.",
                expected(records.instances, policy)
            )),
        ));
    }
    let Some(instance) = instance else {
        return Some(unknown(
            Reason::MdmLinkBroken,
            "Its instance is not in Jamf Pro's list.",
        ));
    };
    trouble(instance, records.now, policy)
}

/// The table's rows that look at the profile's status, as if returned devices were allowed.
fn of_status(row: &Device, records: &Records<'_>, policy: &Policy) -> Judgement {
    let failed =
        (row.failures > 0).then(|| format!("Jamf Pro counts {} failed assignments.", row.failures));
    match row.status.as_deref().unwrap_or_default() {
        "removed" => (Finding::No(Reason::ProfileRemoved), None),
        "empty" if failed.is_some() => (Finding::No(Reason::AssignmentFailed), failed),
        "empty" => (Finding::Wait(Reason::AssignmentPending), None),
        "assigned" | "pushed" => {
            let (finding, detail) = of_assigned(row, records, policy);
            (finding, detail.or(failed))
        }
        "" => unknown(Reason::GarbledAnswer, "Jamf Pro names no profile status."),
        other => unknown(
            Reason::GarbledAnswer,
            format!(
                "Jamf Pro says \"{}\", which this station does not know.",
                spelling::shown(&other.to_ascii_uppercase())
            ),
        ),
    }
}

fn of_assigned(row: &Device, records: &Records<'_>, policy: &Policy) -> Judgement {
    let expected = &policy.expected_prestages;
    if !expected.is_empty() && !records.scopes.iter().any(|scope| expected.contains(scope)) {
        let there = match records.scopes {
            [] => "It is in no PreStage's scope.".to_owned(),
            scopes => format!("It is in the scope of {}.", shown(scopes)),
        };
        let detail = format!("{there} This station expects {}.", shown(expected));
        return (Finding::No(Reason::WrongProfile), Some(detail));
    }
    let moments = [
        ("assignment", row.profile_assigned),
        ("device's assignment to its MDM server", row.device_assigned),
    ];
    match as_of::dated_ahead(moments, Some(records.now)) {
        Some(detail) => unknown(Reason::GarbledAnswer, detail),
        None => (Finding::Ready(Grade::Relayed), None),
    }
}

fn shown(prestages: &[Prestage]) -> String {
    let all: Vec<String> = prestages.iter().map(Prestage::to_string).collect();
    all.join(", ")
}

fn without_row(evidence: Evidence, records: &Records<'_>, policy: &Policy) -> Evidence {
    let counted = policy.counted(records.instances);
    let (finding, detail) = absent(records, policy, &counted);
    Evidence {
        finding,
        detail,
        as_of: last_sync(&counted),
        server_uuid: match counted.as_slice() {
            [one] => one.server_uuid.clone(),
            _ => None,
        },
        ..evidence
    }
}

/// The table's rows for a serial number without a row.
fn absent(records: &Records<'_>, policy: &Policy, counted: &[&Instance]) -> Judgement {
    let is_there = |id: &&String| counted.iter().any(|instance| same_id(&instance.id, id));
    if let Some(missing) = policy.instances.iter().find(|id| !is_there(id)) {
        let missing = spelling::shown(missing);
        let detail = format!("The instance {missing} is not in Jamf Pro's list.");
        return unknown(Reason::MdmLinkBroken, detail);
    }
    if counted.is_empty() {
        return unknown(
            Reason::MdmLinkBroken,
            "Jamf Pro has no instance: it hears nothing from Apple.",
        );
    }
    let troubles = counted
        .iter()
        .filter_map(|instance| trouble(instance, records.now, policy));
    let is_stale = |(finding, _): &Judgement| *finding == Finding::Unknown(Reason::Stale);
    if let Some(worst) = troubles.min_by_key(|one| (is_stale(one), one.1.clone())) {
        return worst;
    }
    let detail = format!(
        "Jamf Pro's list of {} does not have it.",
        times::moment(records.read_at)
    );
    (Finding::No(Reason::NotFound), Some(detail))
}

/// Why an instance cannot be trusted, at the service's time `now`.
pub(super) fn trouble(instance: &Instance, now: Timestamp, policy: &Policy) -> Option<Judgement> {
    let name = instance.named();
    match instance.expires {
        // A date alone, in some time zone: the day after it may still be that day.
        Expiry::On(day) if now.duration_since(day) >= DAY * 2 => {
            let day = day.strftime("%Y-%m-%d");
            let detail = format!("The token of the instance {name} expired on {day}.");
            return Some(unknown(Reason::MdmLinkBroken, detail));
        }
        Expiry::Garbled => {
            let detail = format!(
                "The date on which the token of the instance {name} expires cannot be read."
            );
            return Some(unknown(Reason::MdmLinkBroken, detail));
        }
        Expiry::On(_) | Expiry::Absent => {}
    }
    let doubt = as_of::doubt(instance.synced, [now], policy.max_fetch_age)?;
    let last = format!("The last successful sync of the instance {name}");
    Some(match doubt {
        Doubt::Never => unknown(
            Reason::MdmLinkBroken,
            format!("The instance {name} never had a successful sync with Apple."),
        ),
        Doubt::TooOld(at, age) => {
            let (at, ago) = (times::moment(at), times::length(age));
            unknown(Reason::Stale, format!("{last} was at {at}, {ago} ago."))
        }
        Doubt::Ahead(at) => {
            let at = times::moment(at);
            unknown(Reason::Stale, format!("{last}, {at}, lies in the future."))
        }
    })
}

impl Policy {
    /// Does this instance count for the station?
    pub(super) fn counts(&self, id: &str) -> bool {
        self.instances.is_empty() || self.instances.iter().any(|counted| same_id(counted, id))
    }

    pub(super) fn counted<'a>(&self, all: &'a [Instance]) -> Vec<&'a Instance> {
        all.iter()
            .filter(|instance| self.counts(&instance.id))
            .collect()
    }
}

/// The oldest last sync of the instances that count; `None` when one of them had none.
pub(super) fn last_sync(counted: &[&Instance]) -> Option<Timestamp> {
    counted
        .iter()
        .map(|instance| instance.synced)
        .min()
        .flatten()
}

/// Days until the first of their tokens expires.
pub(super) fn days_left(counted: &[&Instance], now: Timestamp) -> Option<i64> {
    let expiry = expires(counted)?;
    Some(expiry.duration_since(now).as_secs().div_euclid(86_400))
}

/// When the first of their tokens expires: the beginning of that day.
pub(super) fn expires(counted: &[&Instance]) -> Option<Timestamp> {
    counted
        .iter()
        .filter_map(|instance| instance.expires.known())
        .min()
}

pub(super) fn same_id(one: &str, other: &str) -> bool {
    one.trim().eq_ignore_ascii_case(other.trim())
}

fn expected(instances: &[Instance], policy: &Policy) -> String {
    let mut ours: Vec<String> = policy
        .counted(instances)
        .into_iter()
        .map(Instance::named)
        .collect();
    ours.sort_unstable();
    if ours.is_empty() {
        ours.clone_from(&policy.instances);
    }
    ours.join(", ")
}

#[cfg(test)]
mod tests;
