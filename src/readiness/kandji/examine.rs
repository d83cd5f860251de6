//! What the doctor says of a tenant: what the API token may read, and the tenant's links to Apple.

use jiff::{SignedDuration, Timestamp};

use super::{Kandji, NO_SERIAL, finding, wire::Token};
use crate::{
    readiness::{
        Purpose,
        examination::{Examination, MdmServer, Remark, SOON_DAYS},
        http::{Fault, Quota},
        spelling,
    },
    reason::Reason,
    runtime::times,
};

const TOKENS: &str = "the ADE integration list";

/// The link to one MDM server at Apple.
struct AdeToken {
    id: String,
    server: MdmServer,
    /// For this station, by `tokens` in the config.
    counts: bool,
    days_left: Option<i64>,
    last_fetch: Option<Timestamp>,
    /// Of the last fetch, by the service's own clock.
    age: Option<SignedDuration>,
    /// Why a scan would not trust it: the reason and a sentence.
    trouble: Option<(Reason, String)>,
}

pub(super) async fn examine(kandji: &Kandji) -> Examination {
    let (tokens, rows, devices) = tokio::join!(
        ade_tokens(kandji),
        kandji.probe_rows(),
        kandji.devices(NO_SERIAL, Purpose::Scan)
    );
    let host = kandji.base.host_str().unwrap_or_default();
    let failed: Vec<(&str, &Fault)> = [
        (TOKENS, tokens.as_ref().err()),
        ("the ADE device list", rows.as_ref().err()),
        ("the device list", devices.as_ref().err()),
    ]
    .into_iter()
    .filter_map(|(list, fault)| Some((list, fault?)))
    .collect();
    let whole = match failed.first() {
        None => of_quota(host, kandji.reads.client.quota()),
        Some((_, fault)) => {
            let lists: Vec<&str> = failed.iter().map(|(list, _)| *list).collect();
            Remark::of_fault(
                &format!("cannot read {} of {host}", lists.join(", ")),
                fault,
            )
        }
    };
    let Ok(tokens) = tokens else {
        return whole.into();
    };
    let mut remarks = vec![whole];
    remarks.extend(of_missing(&kandji.policy.tokens, &tokens));
    remarks.extend(tokens.iter().map(of_token));
    Examination {
        remarks,
        servers: tokens
            .into_iter()
            .filter(|token| token.counts)
            .map(|token| token.server)
            .collect(),
    }
}

async fn ade_tokens(kandji: &Kandji) -> Result<Vec<AdeToken>, Fault> {
    let tokens = kandji.fetch_tokens(Purpose::Scan).await?;
    let now = Some(tokens.now());
    let shown = |token: &Token| {
        let trouble = finding::trouble(token, [now, now], &kandji.policy);
        let last_fetch = token.last_device_sync.known();
        AdeToken {
            id: token.id.clone(),
            server: MdmServer {
                name: spelling::shown(token.server_name.as_deref().unwrap_or(&token.id)),
                uuid: token.server_uuid.clone(),
            },
            counts: kandji.policy.counts(&token.id),
            days_left: finding::days_left(&[token], now),
            last_fetch,
            age: now
                .zip(last_fetch)
                .map(|(now, fetched)| now.duration_since(fetched)),
            trouble: trouble.and_then(|(finding, detail)| {
                Some((finding.reason()?, detail.unwrap_or_default()))
            }),
        }
    };
    Ok(tokens.list.iter().map(shown).collect())
}

fn of_quota(host: &str, quota: Option<Quota>) -> Remark {
    let left = quota.map_or_else(String::new, |quota| {
        format!(
            "; {} of {} requests left in this hour",
            quota.left, quota.limit
        )
    });
    let finding = format!("{host} accepts the token and gives all three lists{left}");
    if quota.is_some_and(|quota| quota.left < quota.limit / 5) {
        let remedy = "something else uses the tenant's requests up: find it, or re-checks of waiting boxes will pause";
        return Remark::warn(finding, remedy);
    }
    Remark::ok(finding)
}

/// ADE tokens that the config names and the tenant does not have; or no token at all.
fn of_missing(wanted: &[String], tokens: &[AdeToken]) -> Vec<Remark> {
    if tokens.is_empty() && wanted.is_empty() {
        let remedy = "an administrator must connect Kandji to Apple: Settings, Apple Integrations, Automated Device Enrollment";
        let finding = "Kandji has no ADE token: it hears nothing from Apple";
        return vec![Remark::fail(finding, remedy).about("ADE token")];
    }
    let listed = tokens
        .iter()
        .map(|token| format!("{} ({})", token.server.name, token.id))
        .collect::<Vec<_>>()
        .join(", ");
    let remedy = if listed.is_empty() {
        "connect Kandji to Apple first".to_owned()
    } else {
        format!("name one of these in `tokens`: {listed}")
    };
    let is_there = |id: &&String| {
        tokens
            .iter()
            .any(|token| token.id.trim().eq_ignore_ascii_case(id.trim()))
    };
    wanted
        .iter()
        .filter(|id| !is_there(id))
        .map(|id| {
            Remark::fail("Kandji has no ADE token of this id", remedy.clone())
                .about(format!("ADE token {id}"))
        })
        .collect()
}

fn of_token(token: &AdeToken) -> Remark {
    let days = token.days_left.map_or_else(
        || "no expiry known".to_owned(),
        |days| format!("{days} days left"),
    );
    let fetched = match (token.last_fetch, token.age) {
        (Some(at), Some(age)) => {
            let (at, age) = (times::moment(at), times::length(age));
            format!("last fetch {at} ({age} ago)")
        }
        (Some(at), None) => format!("last fetch {}", times::moment(at)),
        (None, _) => "no fetch yet".to_owned(),
    };
    let facts = format!("id {}, {days}, {fetched}", token.id);
    let remark = match &token.trouble {
        _ if !token.counts => Remark::ok(format!(
            "{facts}; does not count here: its id is not in `tokens`"
        )),
        Some((reason, words)) => Remark::fail(
            format!(
                "{facts}; every box behind it is answered `{}`: {words}",
                reason.code()
            ),
            if *reason == Reason::Stale {
                "have an administrator look at Kandji's Automated Device Enrollment page (Last fetch); if it fetches more rarely, set a longer max_fetch_age"
            } else {
                "an administrator must renew it in Kandji and in Apple Business or School Manager"
            },
        ),
        None if token.days_left.is_some_and(|days| days <= SOON_DAYS) => Remark::warn(
            facts,
            "an administrator should renew it in Kandji and in Apple Business or School Manager",
        ),
        None => Remark::ok(facts),
    };
    remark.about(format!("ADE token {}", token.server.name))
}
