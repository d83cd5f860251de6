//! What the doctor says of a Fleet server: what the API token may read, and what its calls do not tell.

use super::{Fleet, is_own_not_found, without_the_call};
use crate::readiness::{
    Purpose,
    examination::{Examination, Remark},
    http::{Fault, NoReply},
};

/// No host has it: Fleet counts from 1.
const NO_HOST: u64 = 0;

pub(super) async fn examine(fleet: &Fleet) -> Examination {
    let host = fleet.base.host_str().unwrap_or_default();
    let (hosts, apple) = tokio::join!(fleet.probe_hosts(), asks_apple(fleet));
    let failed = match (hosts, apple) {
        (Err(fault), _) => Some((format!("cannot read the hosts of {host}"), fault)),
        (Ok(()), Err(fault)) => Some((
            format!("{host} does not tell what Apple says of a host"),
            fault,
        )),
        (Ok(()), Ok(())) => None,
    };
    if let Some((what, fault)) = failed {
        return Remark::of_fault(&what, &fault).into();
    }
    let whole = format!("{host} accepts the token, and tells what Apple says of a host");
    Examination {
        remarks: vec![Remark::ok(whole), untold()],
        servers: Vec::new(),
    }
}

/// Has this server the call that asks Apple, and may the token use it? About a host that is not there, so Apple is not asked.
async fn asks_apple(fleet: &Fleet) -> Result<(), Fault> {
    match fleet.dep_assignment(NO_HOST, Purpose::Scan).await {
        Ok(reply) => Err(reply.garbled("Fleet answers about a host that it cannot have.")),
        Err(NoReply::Refused(refused)) if is_own_not_found(&refused) => Ok(()),
        Err(no) => Err(without_the_call(no)),
    }
}

fn untold() -> Remark {
    Remark::ok(
        "the calls of this source tell neither when Fleet's own token with Apple ends nor when Fleet last read its list from Apple: look at the MDM settings in Fleet; from the day the token ends, boxes are answered `mdm_link_broken`",
    )
    .about("what it cannot tell")
}
