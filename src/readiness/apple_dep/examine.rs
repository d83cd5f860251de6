//! What the doctor says of a server token: the MDM server that it is for, and when it expires.

use super::AppleDep;
use crate::readiness::{
    device_assignment::Way as _,
    examination::{Examination, Remark, SOON_DAYS},
};

const RENEW: &str = "download a new server token in Apple Business or School Manager and import it; never for a server that an MDM uses itself: its token would end";

pub(super) async fn examine(apple: &AppleDep) -> Examination {
    let account = match apple.account().await {
        Ok(account) => account,
        Err(fault) => {
            let host = apple.way().host();
            return Remark::of_fault(&format!("{host} does not name the token's server"), &fault)
                .into();
        }
    };
    let days = apple.way().vitals().credential_days;
    let finding = format!(
        "token accepted: it is for {}, {}",
        account.shown(),
        days.map_or_else(
            || "no expiry known".to_owned(),
            |days| format!("{days} days left")
        )
    );
    let remark = if days.is_some_and(|days| days <= SOON_DAYS) {
        Remark::warn(finding, RENEW)
    } else {
        Remark::ok(finding)
    };
    Examination {
        remarks: vec![remark],
        servers: vec![account.into()],
    }
}
