//! Intune's records of one serial number give one finding: the table, first row that applies. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::wire::{Row, Token};
use crate::{
    label::Serial,
    readiness::{
        as_of,
        evidence::{Evidence, Finding, Grade},
        http::Fault,
        spelling,
    },
    reason::{Reason, Verdict},
    runtime::times,
};

/// What the config says of an Intune source.
#[derive(Clone, Debug)]
pub struct Policy {
    /// ADE token ids that are asked; empty: all.
    pub tokens: Vec<String>,
    /// How old Intune's last sync with Apple may be.
    pub max_fetch_age: Duration,
    /// Enrollment profile ids that count; empty: any.
    pub expected_profiles: Vec<String>,
}

/// What one ADE token said.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    pub(super) token: &'a Token,
    /// The rows that the filter gave, ours among them or not, with the reply's own `Date`; or why they could not be had.
    pub(super) rows: Result<(&'a [Row], Timestamp), &'a Fault>,
}

/// Everything that was read for one question.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    /// The `Date` of the list of tokens, carried on to the present.
    pub(super) listed_now: Timestamp,
    /// Every token that was to be asked and is in the list.
    pub(super) asked: &'a [Asked<'a>],
}

/// A finding, and what to add to its reason's sentence.
type Judgement = (Finding, Option<String>);

/// Fills `evidence` (bare, for one serial number) with what the records say about it.
pub(super) fn judge(mut evidence: Evidence, records: &Records<'_>, policy: &Policy) -> Evidence {
    let dates = records
        .asked
        .iter()
        .filter_map(|asked| Some(asked.rows.ok()?.1));
    evidence.replied_at = dates.min();
    let serial = evidence.serial.clone();
    let found = of_live_records(found(&serial, records));
    evidence.known = !found.is_empty();
    if let Some((finding, detail)) = unread(records, policy) {
        return Evidence {
            finding,
            detail,
            ..evidence
        };
    }
    let Some((newest, others)) = found.split_last() else {
        let (finding, detail) = without_row(records, policy);
        let synced = records
            .asked
            .iter()
            .map(|asked| asked.token.synced_at)
            .min();
        return Evidence {
            finding,
            detail,
            as_of: synced.flatten(),
            ..evidence
        };
    };
    let judged = newest.judged(evidence.clone(), records, policy);
    let verdict = |one: &Evidence| one.finding.reason().map(Reason::verdict);
    let differs = |other: &Found<'_>| {
        let other: Option<Verdict> = verdict(&other.judged(evidence.clone(), records, policy));
        other != verdict(&judged)
    };
    if others.iter().any(differs) {
        let detail = format!(
            "Intune lists it {} times, and the records disagree.",
            found.len()
        );
        return Evidence {
            finding: Finding::Unknown(Reason::Contradiction),
            detail: Some(detail),
            ..judged
        };
    }
    judged
}

/// A record of the serial number, and where it came from.
struct Found<'a> {
    row: &'a Row,
    token: &'a Token,
    date: Timestamp,
}

/// All of them, the one with the newest assignment last. One without a time counts as oldest; the order of the lists never matters.
fn found<'a>(serial: &Serial, records: &Records<'a>) -> Vec<Found<'a>> {
    let of_token = |asked: &Asked<'a>| {
        let (rows, date) = asked.rows.unwrap_or((&[], Timestamp::UNIX_EPOCH));
        let token = asked.token;
        rows.iter().map(move |row| Found { row, token, date })
    };
    let mut found: Vec<Found<'a>> = records
        .asked
        .iter()
        .flat_map(of_token)
        .filter(|found| serial.is(&found.row.serial_number))
        .collect();
    found.sort_by(|one, other| (one.row, &one.token.id).cmp(&(other.row, &other.token.id)));
    found
}

/// A deleted record says nothing where there is a live one.
fn of_live_records(found: Vec<Found<'_>>) -> Vec<Found<'_>> {
    let (deleted, live): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|found| found.row.is_deleted);
    if live.is_empty() { deleted } else { live }
}

impl Found<'_> {
    fn judged(&self, evidence: Evidence, records: &Records<'_>, policy: &Policy) -> Evidence {
        let Self { row, token, date } = self;
        let (finding, detail) = trouble(token, [*date, records.listed_now], policy)
            .unwrap_or_else(|| of_row(row, *date, policy));
        Evidence {
            finding,
            detail,
            known: true,
            status: row
                .state
                .as_deref()
                .map(spelling::shown)
                .filter(|word| !word.is_empty()),
            assigned_at: row.assigned_at,
            as_of: token.synced_at,
            replied_at: Some(*date),
            family: row
                .platform
                .as_deref()
                .filter(|platform| platform.eq_ignore_ascii_case("macOS"))
                .map(|_| "Mac".to_owned()),
            ..evidence
        }
    }
}

fn unknown(reason: Reason, detail: impl Into<String>) -> Judgement {
    (Finding::Unknown(reason), Some(detail.into()))
}

/// A token that was to be asked could not be read: the box may be behind it.
fn unread(records: &Records<'_>, policy: &Policy) -> Option<Judgement> {
    let is_listed = |id: &&String| {
        records
            .asked
            .iter()
            .any(|asked| same_id(&asked.token.id, id))
    };
    if let Some(id) = policy.tokens.iter().find(|id| !is_listed(id)) {
        let id = spelling::shown(id);
        return Some(unknown(
            Reason::MdmLinkBroken,
            format!("The ADE token {id} is not in Intune's list."),
        ));
    }
    if records.asked.is_empty() {
        return Some(unknown(Reason::MdmLinkBroken, "Intune has no ADE token."));
    }
    // Of several one, whatever their order.
    let faults = records.asked.iter().filter_map(|asked| asked.rows.err());
    let fault = faults.min_by_key(|fault| (fault.reason.code(), fault.detail.as_deref()))?;
    Some((Finding::Unknown(fault.reason), fault.detail.clone()))
}

/// Why a token cannot be trusted, by the dates of the reply that rests on it and of the list of tokens.
pub(super) fn trouble(token: &Token, dates: [Timestamp; 2], policy: &Policy) -> Option<Judgement> {
    let name = token.shown();
    let latest = dates.into_iter().max();
    if let Some(expiry) = token.expires_at.filter(|expiry| latest >= Some(*expiry)) {
        let detail = format!("The ADE token {name} expired on {}.", times::moment(expiry));
        return Some(unknown(Reason::MdmLinkBroken, detail));
    }
    if token.error != 0 {
        let detail = format!(
            "Intune's last sync of the ADE token {name} failed (error {}).",
            token.error
        );
        return Some(unknown(Reason::MdmLinkBroken, detail));
    }
    as_of::doubt(token.synced_at, dates, policy.max_fetch_age)
        .map(|doubt| unknown(Reason::Stale, doubt.sentence("Last sync", &name)))
}

/// The table's rows that look at the record, in its order.
fn of_row(row: &Row, date: Timestamp, policy: &Policy) -> Judgement {
    if row.is_deleted {
        return (
            Finding::No(Reason::Unassigned),
            Some("Intune has deleted it.".to_owned()),
        );
    }
    let state = row.state.as_deref().unwrap_or_default();
    match state.to_ascii_lowercase().as_str() {
        "enrolled" | "pendingreset" => (Finding::No(Reason::AlreadyEnrolled), None),
        "failed" => (
            Finding::No(Reason::PreviouslyActivated),
            Some("Its enrollment in Intune failed.".to_owned()),
        ),
        "blocked" => (
            Finding::No(Reason::AssignmentFailed),
            Some("It is blocked in Intune.".to_owned()),
        ),
        "notcontacted" => of_profile(row, date, policy),
        "" => unknown(Reason::GarbledAnswer, "Intune gives no enrollment state."),
        _ => unknown(
            Reason::GarbledAnswer,
            format!(
                "Intune says {:?}, which this station does not know.",
                spelling::shown(state)
            ),
        ),
    }
}

fn of_profile(row: &Row, date: Timestamp, policy: &Policy) -> Judgement {
    let Some(profile) = row.profile.as_deref().filter(|id| !is_none(id)) else {
        let detail = "Intune means to give it none.".to_owned();
        return (Finding::No(Reason::NoProfile), Some(detail));
    };
    let expected = &policy.expected_profiles;
    if !expected.is_empty() && !expected.iter().any(|one| same_profile(one, profile)) {
        let detail = format!(
            "It has {}, this station expects {}.",
            spelling::shown(profile),
            expected.join(" or ")
        );
        return (Finding::No(Reason::WrongProfile), Some(detail));
    }
    match as_of::dated_ahead([("assignment", row.assigned_at)], Some(date)) {
        Some(detail) => unknown(Reason::GarbledAnswer, detail),
        None => (Finding::Ready(Grade::Intent), None),
    }
}

/// The table's rows for a serial number without a record.
fn without_row(records: &Records<'_>, policy: &Policy) -> Judgement {
    let troubles = records.asked.iter().filter_map(|asked| {
        let date = asked.rows.ok()?.1;
        trouble(asked.token, [date, records.listed_now], policy)
    });
    // A broken link before one that is late. Their order in the list never matters.
    let rank = |(finding, detail): &Judgement| {
        (
            *finding != Finding::Unknown(Reason::MdmLinkBroken),
            detail.clone(),
        )
    };
    if let Some(trouble) = troubles.min_by_key(rank) {
        return trouble;
    }
    let synced = records
        .asked
        .iter()
        .filter_map(|asked| asked.token.synced_at)
        .min();
    (
        Finding::No(Reason::NotFound),
        synced.map(|moment| format!("Last sync {}.", times::moment(moment))),
    )
}

impl Policy {
    /// Is this token asked?
    pub(super) fn counts(&self, id: &str) -> bool {
        self.tokens.is_empty() || self.tokens.iter().any(|counted| same_id(counted, id))
    }

    pub(super) fn counted<'a>(&'a self, list: &'a [Token]) -> impl Iterator<Item = &'a Token> {
        list.iter().filter(|token| self.counts(&token.id))
    }
}

impl Token {
    /// Its name for people, in quotes.
    pub(super) fn shown(&self) -> String {
        format!(
            "\"{}\"",
            spelling::shown(self.name.as_deref().unwrap_or(&self.id))
        )
    }
}

fn same_id(one: &str, other: &str) -> bool {
    one.trim().eq_ignore_ascii_case(other.trim())
}

/// All zeros stand for no profile.
fn is_none(profile: &str) -> bool {
    own_part(profile)
        .bytes()
        .all(|byte| matches!(byte, b'0' | b'-'))
}

/// Are they the same profile? Graph writes the token's id before a profile's, with `_` between them; not everywhere, it seems.
fn same_profile(one: &str, other: &str) -> bool {
    let is_whole = |id: &str| id.contains('_');
    if is_whole(one) && is_whole(other) {
        same_id(one, other)
    } else {
        same_id(own_part(one), own_part(other))
    }
}

fn own_part(profile: &str) -> &str {
    let id = profile.trim();
    id.rsplit_once('_').map_or(id, |(_, own)| own)
}

#[cfg(test)]
mod tests;
