//! What the doctor says of a Jamf Pro server: what the API client may read, and the server's links to Apple.

use jiff::Timestamp;

use super::{Jamf, PrestageKind, finding, wire::Instance};
use crate::{
    readiness::{
        Purpose,
        examination::{Examination, MdmServer, Remark, SOON_DAYS},
        http::below,
        spelling,
    },
    reason::Reason,
    runtime::times,
};

pub(super) async fn examine(jamf: &Jamf) -> Examination {
    let host = jamf.base.host_str().unwrap_or_default();
    let known = match jamf.instances(Purpose::Scan).await {
        Ok(known) => known,
        Err(fault) => {
            let what = format!("cannot read the Automated Device Enrollment instances of {host}");
            return Remark::of_fault(&what, &fault).into();
        }
    };
    let mut remarks = vec![privileges(jamf, host, &known.list).await];
    remarks.extend(of_missing(&jamf.policy.instances, &known.list));
    remarks.extend(
        known
            .list
            .iter()
            .map(|one| of_instance(jamf, one, known.now())),
    );
    let counted = jamf.policy.counted(&known.list);
    let server = |instance: &&Instance| MdmServer {
        name: spelling::shown(instance.name.as_deref().unwrap_or(&instance.id)),
        uuid: instance.server_uuid.clone(),
    };
    Examination {
        remarks,
        servers: counted.iter().map(server).collect(),
    }
}

/// Can it read all that a pass reads? Of the lists only the beginning is read.
async fn privileges(jamf: &Jamf, host: &str, instances: &[Instance]) -> Remark {
    let mut calls = Vec::new();
    if let Some(instance) = instances.first() {
        let url = jamf.instance_url(&instance.id, "devices");
        calls.push(("the devices of an instance".to_owned(), url, "results"));
    }
    if !jamf.policy.expected_prestages.is_empty() {
        calls.extend(PrestageKind::ALL.map(|kind| {
            let what = format!("the scopes of the {} PreStages", kind.code());
            (what, below(&jamf.base, kind.scope()), "serialsByPrestageId")
        }));
    }
    let mut read = vec!["the instances".to_owned()];
    for (what, url, list) in calls {
        if let Err(fault) = jamf.rows(url, list, Purpose::Scan).await {
            return Remark::of_fault(&format!("cannot read {what} of {host}"), &fault);
        }
        read.push(what);
    }
    Remark::ok(format!(
        "{host} accepts the API client and lets it read {}",
        read.join(", ")
    ))
}

/// Instances that the config names and the server does not have; or no instance at all.
fn of_missing(wanted: &[String], instances: &[Instance]) -> Vec<Remark> {
    if instances.is_empty() && wanted.is_empty() {
        let remedy = "an administrator must connect Jamf Pro to Apple: Settings, Global, Automated Device Enrollment";
        let finding = "Jamf Pro has no instance: it hears nothing from Apple";
        return vec![Remark::fail(finding, remedy).about("instance")];
    }
    let all: Vec<String> = instances
        .iter()
        .map(|one| format!("{} ({})", one.named(), one.id))
        .collect();
    let remedy = if all.is_empty() {
        "connect Jamf Pro to Apple first".to_owned()
    } else {
        format!("name one of these in `instances`: {}", all.join(", "))
    };
    let is_there = |id: &&String| instances.iter().any(|one| finding::same_id(&one.id, id));
    let missing = wanted.iter().filter(|id| !is_there(id));
    let remark = |id: &String| {
        Remark::fail("Jamf Pro has no instance of this id", remedy.clone())
            .about(format!("instance {id}"))
    };
    missing.map(remark).collect()
}

fn of_instance(jamf: &Jamf, instance: &Instance, now: Timestamp) -> Remark {
    let expires = instance.expires.known().map_or_else(
        || "no expiry known".to_owned(),
        |day| format!("its token expires on {}", day.strftime("%Y-%m-%d")),
    );
    let synced = instance.synced.map_or_else(
        || "no successful sync yet".to_owned(),
        |at| {
            format!(
                "last successful sync {} ({} ago)",
                times::moment(at),
                times::length(now.duration_since(at))
            )
        },
    );
    let server = instance.server_uuid.as_deref().map_or_else(
        || "no server named".to_owned(),
        |uuid| format!("server {}", spelling::shown(uuid)),
    );
    let facts = format!(
        "id {}, {expires}, {synced}, {server}",
        spelling::shown(&instance.id)
    );
    let renew =
        "an administrator must renew its token in Jamf Pro and in Apple Business or School Manager";
    let days = finding::days_left(&[instance], now);
    let remark = match finding::trouble(instance, now, &jamf.policy) {
        _ if !jamf.policy.counts(&instance.id) => Remark::ok(format!(
            "{facts}; does not count here: its id is not in `instances`"
        )),
        Some((finding, words)) => {
            let reason = finding.reason().unwrap_or(Reason::MdmLinkBroken);
            let remedy = if reason == Reason::Stale {
                "have an administrator look at the instance in Jamf Pro; if it syncs more rarely, set a longer max_fetch_age"
            } else {
                renew
            };
            let words = words.unwrap_or_default();
            Remark::fail(
                format!(
                    "{facts}; every box behind it is answered `{}`: {words}",
                    reason.code()
                ),
                remedy,
            )
        }
        None if days.is_some_and(|days| days <= SOON_DAYS) => Remark::warn(facts, renew),
        None => Remark::ok(facts),
    };
    remark.about(format!("instance {}", instance.named()))
}
