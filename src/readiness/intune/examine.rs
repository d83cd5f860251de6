//! What the doctor says of a tenant: what the app may read, and the tenant's links to Apple.

use futures_util::future::join_all;
use jiff::Timestamp;

use super::{
    Intune, NO_SERIAL, PERMISSION, finding,
    wire::{Profile, Token},
};
use crate::{
    readiness::{
        Purpose,
        examination::{Examination, MdmServer, Remark, SOON_DAYS},
        http::Fault,
        service::Heard,
        spelling,
    },
    reason::Reason,
    runtime::times,
};

pub(super) async fn examine(intune: &Intune) -> Examination {
    let host = intune.base.host_str().unwrap_or_default();
    let tokens = match intune.fetch_tokens(Purpose::Scan).await {
        Ok(tokens) => tokens,
        Err(fault) => {
            return Remark::of_fault(&format!("cannot read the ADE tokens of {host}"), &fault)
                .into();
        }
    };
    let heard = Heard::default();
    let (rows, profiles) = tokio::join!(
        intune.rows_of_all(&tokens.list, NO_SERIAL, Purpose::Scan, &heard),
        join_all(
            intune
                .policy
                .counted(&tokens.list)
                .map(|token| intune.profiles(token))
        )
    );
    let mut remarks = vec![of_lists(host, &rows), of_its_nature()];
    remarks.extend(of_missing(&intune.policy.tokens, &tokens.list));
    let mut counted = rows.iter().zip(&profiles);
    for token in &tokens.list {
        let read = intune
            .policy
            .counts(&token.id)
            .then(|| counted.next())
            .flatten();
        remarks.push(of_token(
            intune,
            token,
            read.map(|(_, profiles)| profiles),
            tokens.now(),
        ));
    }
    let servers = intune.policy.counted(&tokens.list).map(|token| MdmServer {
        name: token.name.clone().unwrap_or_else(|| token.id.clone()),
        uuid: None,
    });
    Examination {
        remarks,
        servers: servers.collect(),
    }
}

/// The devices of each token that is asked.
fn of_lists<T>(host: &str, rows: &[Result<T, Fault>]) -> Remark {
    match rows.iter().find_map(|rows| rows.as_ref().err()) {
        Some(fault) => Remark::of_fault(&format!("cannot read the devices of {host}"), fault),
        None => Remark::ok(format!(
            "{host} accepts the app, and {PERMISSION} is enough for all that is asked"
        )),
    }
}

/// What no setting of the tenant changes.
fn of_its_nature() -> Remark {
    Remark::ok(
        "Intune tells what it means to do with a box, not whether Apple has the profile; it syncs changes every 12 hours and everything once a week, and lists a released device for up to 45 days",
    )
    .about("Intune's word")
}

/// Tokens that the config names and the tenant does not have; or no token at all.
fn of_missing(wanted: &[String], tokens: &[Token]) -> Vec<Remark> {
    if tokens.is_empty() && wanted.is_empty() {
        let remedy = "an administrator must connect Intune to Apple: Devices, Enrollment, Apple, Enrollment program tokens";
        let finding = "Intune has no ADE token: it hears nothing from Apple";
        return vec![Remark::fail(finding, remedy).about("ADE token")];
    }
    let listed: Vec<String> = tokens
        .iter()
        .map(|token| format!("{} ({})", token.shown(), token.id))
        .collect();
    let remedy = if listed.is_empty() {
        "connect Intune to Apple first".to_owned()
    } else {
        format!("name one of these in `tokens`: {}", listed.join(", "))
    };
    let is_there = |id: &&String| {
        let id = id.trim();
        tokens.iter().any(|token| token.id.eq_ignore_ascii_case(id))
    };
    wanted
        .iter()
        .filter(|id| !is_there(id))
        .map(|id| {
            Remark::fail("Intune has no ADE token of this id", remedy.clone())
                .about(format!("ADE token {id}"))
        })
        .collect()
}

fn of_token(
    intune: &Intune,
    token: &Token,
    profiles: Option<&Result<Vec<Profile>, Fault>>,
    now: Timestamp,
) -> Remark {
    let days = |expiry: Timestamp| expiry.duration_since(now).as_secs().div_euclid(86_400);
    let days_left = token.expires_at.map(days);
    let expiry = days_left.map_or_else(
        || "no expiry known".to_owned(),
        |days| format!("{days} days left"),
    );
    let synced = token.synced_at.map_or_else(
        || "no sync yet".to_owned(),
        |at| {
            format!(
                "last sync {} ({} ago)",
                times::moment(at),
                times::length(now.duration_since(at))
            )
        },
    );
    let error = match token.error {
        0 => String::new(),
        error => format!(", last error {error}"),
    };
    let facts = format!("id {}, {expiry}, {synced}{error}", token.id);
    let about = format!("ADE token {}", token.shown().trim_matches('"'));
    if profiles.is_none() {
        return Remark::ok(format!("{facts}; is not asked: its id is not in `tokens`"))
            .about(about);
    }
    let facts = profiles
        .and_then(|profiles| profiles.as_ref().ok())
        .map_or_else(
            || facts.clone(),
            |profiles| format!("{facts}; {}", named(profiles)),
        );
    let trouble = finding::trouble(token, [now, now], &intune.policy);
    let remark = match trouble
        .and_then(|(finding, words)| Some((finding.reason()?, words.unwrap_or_default())))
    {
        Some((reason, words)) => Remark::fail(
            format!(
                "{facts}; every box behind it is answered `{}`: {words}",
                reason.code()
            ),
            if reason == Reason::Stale {
                "have an administrator look at the token in Intune (Devices, Enrollment, Apple, Enrollment program tokens: Sync); Intune syncs changes every 12 hours: a shorter max_fetch_age cannot be kept"
            } else {
                "an administrator must renew it in Intune (Devices, Enrollment, Apple, Enrollment program tokens) and in Apple Business or School Manager"
            },
        ),
        None if days_left.is_some_and(|days| days <= SOON_DAYS) => Remark::warn(
            facts,
            "an administrator should renew it in Intune and in Apple Business or School Manager",
        ),
        None => Remark::ok(facts),
    };
    remark.about(about)
}

/// The profiles, to be written into `expected_profiles`.
fn named(profiles: &[Profile]) -> String {
    if profiles.is_empty() {
        return "it has no enrollment profile".to_owned();
    }
    let name = |profile: &Profile| {
        let id = spelling::shown(&profile.id);
        match &profile.name {
            Some(name) => format!("{name:?} = {id}"),
            None => id,
        }
    };
    let all: Vec<String> = profiles.iter().map(name).collect();
    format!("profiles {}", all.join(", "))
}
