//! What the doctor says of MicroMDM: whether it brings Apple's word, what it hides, and what its key opens.

use super::MicroMdm;
use crate::readiness::examination::{Examination, Remark};

/// Nobody can see from outside whether a proxy stands in between.
const OPENS_ALL: &str = "MicroMDM's own key also sends commands to devices and assigns and removes profiles: keep it off the bench, behind a proxy that passes on only the station's call, or on the hub (docs/sources.md)";
const HIDES: &str = "MicroMDM asks Apple in an old form, without the deadline of a migration: a migration to another MDM is invisible through it; apple-business beside it sees one";

pub(super) async fn examine(micromdm: &MicroMdm) -> Examination {
    if let Err(fault) = micromdm.nobody().await {
        return Remark::of_fault("MicroMDM does not bring Apple's word", &fault).into();
    }
    let finding = "key accepted: MicroMDM brings Apple's word on single devices; which MDM server at Apple its token is for is not asked";
    Examination {
        remarks: vec![
            Remark::ok(finding),
            Remark::ok(HIDES).about("migrations"),
            Remark::ok(OPENS_ALL).about("what the key opens"),
        ],
        servers: Vec::new(),
    }
}
