//! What the doctor says of a Zentral: what the API token may read, and what the list cannot show.

use super::Zentral;
use crate::readiness::examination::{Examination, Remark};

pub(super) async fn examine(zentral: &Zentral) -> Examination {
    let host = zentral.base.host_str().unwrap_or_default();
    if let Err(fault) = zentral.probe_rows().await {
        let what = format!("cannot read the devices from Apple of {host}");
        return Remark::of_fault(&what, &fault).into();
    }
    let whole = format!("{host} accepts the token and gives its list of devices from Apple");
    Examination {
        remarks: vec![Remark::ok(whole), untold()],
        servers: Vec::new(),
    }
}

fn untold() -> Remark {
    Remark::ok(
        "the list does not tell when Zentral last heard from Apple (`max_fetch_age` does not count here), when Zentral's own token with Apple ends (look at its DEP virtual servers), nor that a device was released from the organisation",
    )
    .about("what it cannot tell")
}
