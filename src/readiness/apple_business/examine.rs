//! What the doctor says of an organisation: its MDM servers, and whether they are those that the config names.

use super::{AppleBusiness, wire::Server};
use crate::readiness::{
    Purpose,
    examination::{Examination, Remark},
    spelling,
};

pub(super) async fn examine(apple: &AppleBusiness) -> Examination {
    match apple.servers(Purpose::Scan).await {
        Ok(known) => of_servers(&known.list, &apple.expected).into(),
        Err(fault) => {
            let host = apple.base.host_str().unwrap_or_default();
            Remark::of_fault(
                &format!("{host} does not list the account's servers"),
                &fault,
            )
            .into()
        }
    }
}

fn of_servers(servers: &[Server], expected: &[String]) -> Remark {
    let shown = |server: &Server| {
        format!(
            "{:?} = {} ({})",
            spelling::shown(&server.name),
            server.id,
            server.kind
        )
    };
    let all = servers.iter().map(shown).collect::<Vec<_>>().join(", ");
    let finding = format!(
        "key accepted; the account has these servers: {}",
        if all.is_empty() { "none" } else { &all }
    );
    if expected.is_empty() {
        return Remark::warn(
            finding,
            "write the ids of your MDM servers into `expected_servers`",
        );
    }
    let is_there = |id: &&String| servers.iter().any(|server| server.is(id));
    let missing: Vec<&str> = expected
        .iter()
        .filter(|id| !is_there(id))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Remark::ok(finding);
    }
    Remark::warn(
        format!(
            "{finding}; `expected_servers` names {}, which it does not have",
            missing.join(", ")
        ),
        "put the ids of your MDM servers from this list into `expected_servers`",
    )
}
