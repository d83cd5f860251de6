//! From Zentral's rows of one serial number to a finding: the table, first row that applies. Pure.

use jiff::Timestamp;

use super::wire::Row;
use crate::{
    readiness::{
        as_of,
        evidence::{Evidence, Finding, Grade},
        spelling,
    },
    reason::Reason,
};

/// What the config says of a Zentral source.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Virtual server ids that count; empty: all.
    pub servers: Vec<String>,
}

impl Policy {
    fn counts(&self, id: &str) -> bool {
        let same = |one: &String| one.trim().eq_ignore_ascii_case(id.trim());
        self.servers.is_empty() || self.servers.iter().any(same)
    }
}

/// Fills `evidence` (bare, for one serial number) with what its rows say, at that `date`.
pub(super) fn judge(
    evidence: Evidence,
    mut rows: Vec<Row>,
    date: Timestamp,
    policy: &Policy,
) -> Evidence {
    let evidence = Evidence {
        replied_at: Some(date),
        known: !rows.is_empty(),
        ..evidence
    };
    // A device that was moved leaves a row behind on the server where it was.
    if rows.iter().any(|row| !row.is_gone) {
        rows.retain(|row| !row.is_gone);
    }
    // By the date, then by the rest, so that the list's order never matters. A row without a date counts as oldest.
    rows.sort_unstable();
    let judged = rows
        .iter()
        .map(|row| of_row(evidence.clone(), row, date, policy))
        .collect();
    let disagree = |many| format!("Zentral lists it {many} times, and the rows disagree.");
    Evidence::agreed(judged, disagree).unwrap_or_else(|| Evidence {
        finding: Finding::No(Reason::NotFound),
        detail: Some("Zentral does not tell when it last heard from Apple.".to_owned()),
        ..evidence
    })
}

/// A finding, and what to add to its reason's sentence.
type Judgement = (Finding, Option<String>);

fn of_row(evidence: Evidence, row: &Row, date: Timestamp, policy: &Policy) -> Evidence {
    let link = of_link(row, policy);
    // A device that is gone, or elsewhere, is that first.
    let returned = link.is_none() && is_word(row, "pushed");
    let (finding, detail) = link.unwrap_or_else(|| of_status(row, date));
    Evidence {
        finding,
        detail,
        returned,
        status: row.profile_status.as_deref().map(spelling::shown),
        assigned_at: row.profile_assign_time,
        device_assigned_at: row.device_assigned_date,
        used_at: row.pushed_at,
        model: row.model.clone(),
        family: row.family.clone(),
        ..evidence
    }
}

/// The table's rows that do not look at the profile's status; `None`: the status tells.
fn of_link(row: &Row, policy: &Policy) -> Option<Judgement> {
    if row.is_gone {
        let detail = "Zentral's record says that it was taken from its MDM server.";
        return Some((Finding::No(Reason::Unassigned), Some(detail.to_owned())));
    }
    let Some(server) = &row.virtual_server else {
        let detail = "Its row names no virtual server.".to_owned();
        let unnamed = (Finding::Unknown(Reason::GarbledAnswer), Some(detail));
        return (!policy.servers.is_empty()).then_some(unnamed);
    };
    (!policy.counts(server)).then(|| {
        let detail = format!(
            "It is on Zentral's virtual server {}, this station expects {}.",
            spelling::shown(server),
            policy.servers.join(", ")
        );
        (Finding::No(Reason::WrongServer), Some(detail))
    })
}

fn is_word(row: &Row, word: &str) -> bool {
    let status = row.profile_status.as_deref().unwrap_or_default();
    status.eq_ignore_ascii_case(word)
}

/// The table's rows that look at the profile's status, as if returned devices were allowed.
fn of_status(row: &Row, date: Timestamp) -> Judgement {
    if is_word(row, "removed") {
        return (Finding::No(Reason::ProfileRemoved), None);
    }
    if is_word(row, "empty") {
        return (Finding::Wait(Reason::AssignmentPending), None);
    }
    let garbled = |detail: String| (Finding::Unknown(Reason::GarbledAnswer), Some(detail));
    if !is_word(row, "assigned") && !is_word(row, "pushed") {
        return garbled("Its profile_status is none that this station knows.".to_owned());
    }
    let moments = [
        ("profile's assignment", row.profile_assign_time),
        (
            "device's assignment to its MDM server",
            row.device_assigned_date,
        ),
    ];
    match as_of::dated_ahead(moments, Some(date)) {
        Some(detail) => garbled(detail),
        None => (Finding::Ready(Grade::Relayed), None),
    }
}

#[cfg(test)]
mod tests;
