//! Kandji's records of one serial number give one finding: the table, first row that applies. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::wire::{Device, Enrolled, Moment, Row, Token};
use crate::{
    label::Serial,
    readiness::{
        as_of,
        evidence::{Evidence, Finding, Grade},
        http::Fault,
        spelling,
    },
    reason::Reason,
    runtime::times,
};

/// What the config says of a Kandji source.
#[derive(Clone, Debug)]
pub struct Policy {
    /// ADE token ids that count; empty: all.
    pub tokens: Vec<String>,
    /// How old the MDM's last fetch from Apple may be.
    pub max_fetch_age: Duration,
    /// Blueprint ids that count; empty: any.
    pub expected_blueprints: Vec<String>,
}

/// The service's ADE tokens, with the reply's `Date` carried on to the present.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    pub(super) list: &'a [Token],
    pub(super) now: Option<Timestamp>,
}

/// Everything that was read for one question.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    /// The rows of the ADE device list that the filter gave, ours among them or not.
    pub(super) rows: &'a [Row],
    /// The reply's own `Date`.
    pub(super) now: Option<Timestamp>,
    /// The token list, or why it could not be had.
    pub(super) tokens: Result<Tokens<'a>, &'a Fault>,
    /// `/devices`, asked only if there is no row; or why it could not be read.
    pub(super) devices: Result<&'a [Device], &'a Fault>,
}

/// Does an exact row exist? The service's filter is a *contains*: what it gives proves nothing.
pub(super) fn has_row(serial: &Serial, rows: &[Row]) -> bool {
    rows.iter().any(|row| serial.is(&row.serial_number))
}

/// Fills `evidence` (bare, for one serial number) with what the records say about it.
pub(super) fn judge(mut evidence: Evidence, records: &Records<'_>, policy: &Policy) -> Evidence {
    evidence.replied_at = records.now;
    let serial = evidence.serial.clone();
    let mut exact: Vec<&Row> = records
        .rows
        .iter()
        .filter(|row| serial.is(&row.serial_number))
        .collect();
    // By the date, then by the rest, so that the list's order never matters. A row without a date counts as oldest.
    exact.sort_unstable();
    let judged = exact
        .into_iter()
        .map(|row| of_row(evidence.clone(), row, records, policy))
        .collect();
    let disagree = |many| format!("Kandji lists it {many} times, and the rows disagree.");
    Evidence::agreed(judged, disagree).unwrap_or_else(|| without_row(evidence, records, policy))
}

fn of_row(evidence: Evidence, row: &Row, records: &Records<'_>, policy: &Policy) -> Evidence {
    let listed = records
        .tokens
        .as_ref()
        .map_or(&[][..], |tokens| tokens.list);
    let tokens = row.dep_account.as_ref().map_or_else(Vec::new, |(id, _)| {
        linked(listed, |token| same_id(&token.id, id))
    });
    let linked = link(row, &tokens, records, policy);
    // What is only known through a bad link is not known; and a device that is enrolled is that first.
    let returned = linked.is_none() && was_activated(row);
    let (finding, detail) = linked.unwrap_or_else(|| of_status(row, records.now, policy));
    Evidence {
        finding,
        detail,
        returned,
        known: true,
        status: row
            .profile_status
            .as_deref()
            .map(spelling::shown)
            .filter(|word| !word.is_empty()),
        assigned_at: row.profile_assign_time,
        device_assigned_at: row.device_assigned_date,
        used_at: row.used_at,
        as_of: last_fetch(&tokens),
        server_uuid: one_server(&tokens),
        model: row.model.clone(),
        family: row.device_family.clone(),
        ..evidence
    }
}

/// The tokens that `wanted` names, and those that are for the same servers: of a token that is listed twice the worse one counts.
fn linked(list: &[Token], wanted: impl Fn(&Token) -> bool) -> Vec<&Token> {
    let servers: Vec<&str> = list
        .iter()
        .filter(|token| wanted(token))
        .filter_map(|token| token.server_uuid.as_deref())
        .collect();
    let twin = |token: &Token| {
        token
            .server_uuid
            .as_deref()
            .is_some_and(|server| servers.iter().any(|one| spelling::same_uuid(one, server)))
    };
    list.iter()
        .filter(|token| wanted(token) || twin(token))
        .collect()
}

/// The server at Apple that all these tokens are for; `None` when they name none, or several.
fn one_server(tokens: &[&Token]) -> Option<String> {
    let mut servers = tokens.iter().map(|token| token.server_uuid.as_deref());
    let first = servers.next().flatten()?;
    servers
        .all(|server| server.is_some_and(|server| spelling::same_uuid(server, first)))
        .then(|| first.to_owned())
}

/// Handed out once, or assigned again after the device was removed from the MDM: not new stock.
fn was_activated(row: &Row) -> bool {
    match row.profile_status.as_deref() {
        Some("pushed") => true,
        Some("assigned") => row.mdm_device == Enrolled::Removed,
        _ => false,
    }
}

/// A finding, and what to add to its reason's sentence.
type Judgement = (Finding, Option<String>);

fn unknown(reason: Reason, detail: impl Into<String>) -> Judgement {
    (Finding::Unknown(reason), Some(detail.into()))
}

fn of_fault(fault: &Fault) -> Judgement {
    (Finding::Unknown(fault.reason), fault.detail.clone())
}

/// The table's rows for an exact row, in its order, as far as they do not look at the profile's status; `None`: the status tells.
fn link(row: &Row, tokens: &[&Token], records: &Records<'_>, policy: &Policy) -> Option<Judgement> {
    if row.mdm_device == Enrolled::Yes {
        return Some((Finding::No(Reason::AlreadyEnrolled), None));
    }
    let listed = match &records.tokens {
        Ok(tokens) => tokens,
        Err(fault) => return Some(of_fault(fault)),
    };
    let Some((token_id, server_name)) = &row.dep_account else {
        return Some(unknown(
            Reason::GarbledAnswer,
            "Its row names no ADE token.",
        ));
    };
    if !policy.counts(token_id) {
        let there = tokens
            .iter()
            .filter(|token| same_id(&token.id, token_id))
            .filter_map(|token| token.server_name.as_deref())
            .min()
            .or(server_name.as_deref());
        return Some((
            Finding::No(Reason::WrongServer),
            Some(wrong_server(there.unwrap_or(token_id), listed.list, policy)),
        ));
    }
    if tokens.is_empty() {
        let name = named(server_name.as_deref(), token_id);
        return Some(unknown(
            Reason::MdmLinkBroken,
            format!("Its ADE token {name} is not in Kandji's list."),
        ));
    }
    worst(tokens, [records.now, listed.now], policy)
}

/// The table's rows that look at the profile's status, in its order, as if returned devices were allowed.
fn of_status(row: &Row, now: Option<Timestamp>, policy: &Policy) -> Judgement {
    let last = row.last_assignment_status.as_deref();
    let failed = last.is_some_and(|word| word != "SUCCESS");
    match row.profile_status.as_deref().unwrap_or_default() {
        "removed" => (Finding::No(Reason::ProfileRemoved), None),
        "empty" | "" if last == Some("THROTTLED") => {
            (Finding::Wait(Reason::AssignmentThrottled), None)
        }
        "empty" | "" if failed || row.failed_assignment_attempts > 0 => {
            (Finding::No(Reason::AssignmentFailed), None)
        }
        "empty" | "" => (Finding::Wait(Reason::AssignmentPending), None),
        "assigned" | "pushed" if last == Some("THROTTLED") => (
            Finding::Wait(Reason::AssignmentThrottled),
            Some("An older profile is in place.".to_owned()),
        ),
        "assigned" | "pushed" if failed => (
            Finding::No(Reason::AssignmentFailed),
            Some("An older profile is in place.".to_owned()),
        ),
        "assigned" | "pushed" => of_assigned(row, now, policy),
        other => unknown(
            Reason::GarbledAnswer,
            format!(
                "Kandji says {:?}, which this station does not know.",
                spelling::shown(other)
            ),
        ),
    }
}

fn of_assigned(row: &Row, now: Option<Timestamp>, policy: &Policy) -> Judgement {
    if !policy.expected_blueprints.is_empty() {
        let blueprint = match (row.blueprint_id.as_deref(), row.blueprint.as_deref()) {
            (Some(one), Some(other)) if !same_id(one, other) => {
                return unknown(Reason::GarbledAnswer, "Its row names two blueprints.");
            }
            (one, other) => one.or(other),
        };
        let expected = match blueprint {
            Some(id) => policy
                .expected_blueprints
                .iter()
                .any(|expected| same_id(expected, id)),
            // Routing chooses the blueprint when the device enrolls; null is normal then.
            None => row.use_blueprint_routing,
        };
        if !expected {
            let there = blueprint.map_or("It has none.".to_owned(), |id| {
                format!("It has {}.", spelling::shown(id))
            });
            return (Finding::No(Reason::WrongBlueprint), Some(there));
        }
    }
    let moments = [
        ("assignment", row.profile_assign_time),
        (
            "device's assignment to its MDM server",
            row.device_assigned_date,
        ),
    ];
    match as_of::dated_ahead(moments, now) {
        Some(detail) => unknown(Reason::GarbledAnswer, detail),
        None => (Finding::Ready(Grade::Relayed), None),
    }
}

fn without_row(evidence: Evidence, records: &Records<'_>, policy: &Policy) -> Evidence {
    let exact = || {
        records
            .devices
            .as_ref()
            .ok()
            .into_iter()
            .flat_map(|devices| devices.iter())
            .filter(|device| evidence.serial.is(&device.serial_number))
    };
    let known = exact().next().is_some();
    let enrolled = exact().any(|device| !device.is_removed);
    let counted = records
        .tokens
        .as_ref()
        .map_or_else(|_| Vec::new(), |tokens| policy.counted(tokens.list));
    let (finding, detail) = absent(records, policy, &counted, enrolled);
    Evidence {
        finding,
        detail,
        known,
        as_of: last_fetch(&counted),
        server_uuid: one_server(&counted),
        ..evidence
    }
}

/// The table's rows for a serial number without a row, in its order.
fn absent(records: &Records<'_>, policy: &Policy, counted: &[&Token], enrolled: bool) -> Judgement {
    let tokens = match (&records.tokens, &records.devices) {
        (Err(fault), _) | (_, Err(fault)) => return of_fault(fault),
        (Ok(tokens), Ok(_)) => tokens,
    };
    if enrolled {
        return (Finding::No(Reason::AlreadyEnrolled), None);
    }
    let missing = policy
        .tokens
        .iter()
        .find(|id| !counted.iter().any(|token| same_id(&token.id, id)));
    match missing {
        Some(id) => {
            return unknown(
                Reason::MdmLinkBroken,
                format!(
                    "The ADE token {} is not in Kandji's list.",
                    spelling::shown(id)
                ),
            );
        }
        None if counted.is_empty() => {
            return unknown(Reason::MdmLinkBroken, "Kandji has no ADE token.");
        }
        None => {}
    }
    if let Some(judgement) = worst(counted, [records.now, tokens.now], policy) {
        return judgement;
    }
    (
        Finding::No(Reason::NotFound),
        last_fetch(counted).map(|moment| format!("Last fetch {}.", times::moment(moment))),
    )
}

/// What is worst about these tokens; `None`: all are good. Their order never matters.
fn worst(tokens: &[&Token], dates: [Option<Timestamp>; 2], policy: &Policy) -> Option<Judgement> {
    let rank = |(finding, detail): &Judgement| {
        let place = [
            Finding::Unknown(Reason::MdmLinkBroken),
            Finding::Unknown(Reason::GarbledAnswer),
        ]
        .iter()
        .position(|one| one == finding);
        (place.unwrap_or(usize::MAX), detail.clone())
    };
    tokens
        .iter()
        .filter_map(|token| trouble(token, dates, policy))
        .min_by_key(rank)
}

/// Why a token cannot be trusted, by the dates of the reply that rests on it and of the token list.
pub(super) fn trouble(
    token: &Token,
    dates: [Option<Timestamp>; 2],
    policy: &Policy,
) -> Option<Judgement> {
    broken(token, dates.into_iter().max().flatten())
        .or_else(|| stale(token, dates, policy))
        .or_else(|| {
            let says = || {
                unknown(
                    Reason::GarbledAnswer,
                    format!("Kandji gives no status of the ADE token {}.", token.named()),
                )
            };
            // Before the first sync there is none, which the last fetch shows.
            token.status.is_none().then(says)
        })
}

fn broken(token: &Token, now: Option<Timestamp>) -> Option<Judgement> {
    let name = token.named();
    let says = |detail: String| Some(unknown(Reason::MdmLinkBroken, detail));
    let garbled = |detail: String| Some(unknown(Reason::GarbledAnswer, detail));
    if token.status.as_deref() == Some("BROKEN") {
        return says(match token.status_reason.as_deref() {
            Some(reason) => format!("The ADE token {name} is BROKEN ({reason})."),
            None => format!("The ADE token {name} is BROKEN."),
        });
    }
    match (token.access_token_expiry, now) {
        (Moment::At(expiry), Some(now)) if expiry <= now => {
            return says(format!(
                "The ADE token {name} expired on {}.",
                times::moment(expiry)
            ));
        }
        _ if token.days_left.is_some_and(|days| days < 0) => {
            return says(format!("The ADE token {name} has expired."));
        }
        (Moment::Garbled, _) => {
            return garbled(format!(
                "The date on which the ADE token {name} expires cannot be read."
            ));
        }
        _ => {}
    }
    match token.status.as_deref() {
        Some("SUCCESS") | None => None,
        Some(other) => garbled(format!(
            "Kandji says {:?} of the ADE token {name}, which this station does not know.",
            spelling::shown(other)
        )),
    }
}

/// Is the token's last fetch too old to trust? It is counted from the replies' own dates, never from our clock.
fn stale(token: &Token, dates: [Option<Timestamp>; 2], policy: &Policy) -> Option<Judgement> {
    let name = token.named();
    let says = |detail: String| Some(unknown(Reason::Stale, detail));
    let fetched = token.last_device_sync.known();
    if fetched.is_some() && dates.contains(&None) {
        return says("Kandji's answer carries no date to count its age from.".to_owned());
    }
    as_of::doubt(fetched, dates.into_iter().flatten(), policy.max_fetch_age)
        .and_then(|doubt| says(doubt.sentence("Last fetch", &name)))
}

impl Policy {
    /// Does this token count for the station?
    pub(super) fn counts(&self, id: &str) -> bool {
        self.tokens.is_empty() || self.tokens.iter().any(|counted| same_id(counted, id))
    }

    /// The tokens that count, with those that are for the same servers.
    pub(super) fn counted<'a>(&self, list: &'a [Token]) -> Vec<&'a Token> {
        linked(list, |token| self.counts(&token.id))
    }
}

/// The oldest last fetch of the tokens that count; `None` when one of them has none.
pub(super) fn last_fetch(counted: &[&Token]) -> Option<Timestamp> {
    counted
        .iter()
        .map(|token| token.last_device_sync.known())
        .min()
        .flatten()
}

/// Days until the first of the tokens that count expires.
pub(super) fn days_left(counted: &[&Token], now: Option<Timestamp>) -> Option<i64> {
    counted
        .iter()
        .filter_map(|token| match (token.access_token_expiry, now) {
            (Moment::At(expiry), Some(now)) => {
                Some(expiry.duration_since(now).as_secs().div_euclid(86_400))
            }
            _ => token.days_left,
        })
        .min()
}

/// When the first of the tokens that count expires, of those that name the moment.
pub(super) fn expires(counted: &[&Token]) -> Option<Timestamp> {
    let expiry = |token: &&Token| match token.access_token_expiry {
        Moment::At(expiry) => Some(expiry),
        _ => None,
    };
    counted.iter().filter_map(expiry).min()
}

fn same_id(one: &str, other: &str) -> bool {
    one.trim().eq_ignore_ascii_case(other.trim())
}

fn named(name: Option<&str>, id: &str) -> String {
    format!("\"{}\"", spelling::shown(name.unwrap_or(id)))
}

impl Token {
    fn named(&self) -> String {
        named(self.server_name.as_deref(), &self.id)
    }
}

fn wrong_server(there: &str, list: &[Token], policy: &Policy) -> String {
    let mut ours: Vec<String> = list
        .iter()
        .filter(|token| policy.counts(&token.id))
        .map(|token| token.named())
        .collect();
    ours.sort_unstable();
    ours.dedup();
    let ours = if ours.is_empty() {
        policy.tokens.join(", ")
    } else {
        ours.join(", ")
    };
    format!(
        "It is on \"{}\", this station expects {ours}.",
        spelling::shown(there)
    )
}

#[cfg(test)]
pub(super) mod tests;
