//! What the doctor says of NanoDEP: the MDM server that it asks for, and what its key opens.

use super::NanoDep;
use crate::readiness::examination::{Examination, Remark};

/// Nobody can see from outside whether a proxy stands in between.
const OPENS_ALL: &str = "NanoDEP's own key also assigns and removes profiles, disowns devices and shows the server token: keep it off the bench, behind a proxy that passes on only the station's calls, or on the hub (docs/sources.md)";

pub(super) async fn examine(nanodep: &NanoDep) -> Examination {
    let name = &nanodep.way().dep_name;
    let account = match nanodep.account().await {
        Ok(account) => account,
        Err(fault) => {
            let what = format!("NanoDEP does not bring Apple's word on its DEP name {name:?}");
            return Remark::of_fault(&what, &fault).into();
        }
    };
    let finding = format!(
        "key accepted: NanoDEP's DEP name {name:?} is for {}; NanoDEP does not say here when its server token expires",
        account.shown()
    );
    Examination {
        remarks: vec![
            Remark::ok(finding),
            Remark::ok(OPENS_ALL).about("what the key opens"),
        ],
        servers: vec![account.into()],
    }
}
