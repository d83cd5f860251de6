//! Apple's Device Assignment Services ("DEP"): Apple's own word on a device's profile.
//!
//! <https://developer.apple.com/documentation/devicemanagement/device-assignment>. The credential, a server token, could
//! also assign profiles and disown devices: the list of what may be asked holds reads alone.

mod examine;
mod oauth;
pub mod server_token;
mod session;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;
pub mod token_file;

use jiff::Timestamp;
use url::Url;

pub use super::device_assignment::Expected;
#[cfg(fuzzing)]
use super::evidence::Evidence;
use super::{
    Purpose,
    device_assignment::{DeviceAssignment, Nothing, Question, Way},
    evidence::SourceKind,
    examination::Examination,
    http::{Allowed, Client, ClientFault, Fault, Reply},
    keeper::Vitals,
    service::{Endpoint, Pending},
};
use crate::runtime::credential::Secret;
#[cfg(fuzzing)]
use crate::{label::Serial, runtime::name::Name};
use session::Session;
pub use settings::Settings;

/// One server token's view.
type AppleDep = DeviceAssignment<Session>;

impl Way for Session {
    const KIND: SourceKind = SourceKind::AppleDep;
    const WHOLE: bool = true;
    const SCANS_TOGETHER: bool = true;
    const NOTHING: Nothing = Nothing::Null;

    fn client(&self) -> &Client {
        Self::client(self)
    }

    fn base(&self) -> &Url {
        Self::base(self)
    }

    fn secret(&self) -> Result<Secret, Fault> {
        Ok(self.token()?.access_token)
    }

    fn ask<'a>(
        &'a self,
        question: Question<'a>,
        purpose: Purpose,
    ) -> Pending<'a, Result<Reply, Fault>> {
        Box::pin(self.call(question.request(Self::base(self)), purpose))
    }

    fn vitals(&self) -> Vitals {
        let Ok(token) = self.token() else {
            return Vitals::default();
        };
        Vitals {
            credential_days: Some(token.days_left(Timestamp::now())),
            credential_expires: Some(token.access_token_expiry),
            ..Vitals::default()
        }
    }

    fn examine(source: &AppleDep) -> Pending<'_, Examination> {
        Box::pin(examine::examine(source))
    }
}

fn connected(settings: Settings, to: Endpoint<'_>) -> Result<AppleDep, ClientFault> {
    let client = to.client(allowed(&to.url), &settings.user_agent, None)?;
    let session = Session::new(client, to.url, settings.token, to.clocks.own);
    Ok(DeviceAssignment::new(to.name, session, settings.expected))
}

/// What the body of a reply of that `Date` to `POST /devices` says about one serial number, without a policy.
#[cfg(fuzzing)]
pub fn judged(body: &[u8], date: Timestamp, serial: &Serial, source: Name) -> Evidence {
    super::device_assignment::judged::<Session>(body, date, serial, source)
}

/// Everything that may be asked. The service's other calls assign, remove and disown.
fn allowed(base: &Url) -> Vec<Allowed> {
    let mut allowed = Question::allowed(base);
    allowed.push(Allowed::get(base, "session", &[]));
    allowed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::{
        readiness::{
            device_assignment::JSON,
            http::{
                Request, below,
                tests::{NOBODY, sent},
            },
        },
        reason::Reason,
    };

    async fn reason(request: Request) -> Reason {
        sent(allowed(&NOBODY.parse().unwrap()), request).await
    }

    #[tokio::test]
    async fn what_writes_or_is_not_needed_never_leaves() {
        let base: Url = NOBODY.parse().unwrap();
        for path in [
            "session",
            "account",
            "profile",
            "profile/devices",
            "devices/disown",
            "devices/activationlock",
            "devices/sync",
            "account-driven-enrollment/profile",
        ] {
            assert_eq!(
                reason(Request::post(below(&base, path), JSON, b"{}".to_vec())).await,
                Reason::StationFault,
                "POST {path}"
            );
        }
        for path in [
            "",
            "devices",
            "server/devices",
            "profile/devices",
            "beta-enrollment/tokens",
            "account/x",
            "os-beta-enrollment/tokens",
        ] {
            assert_eq!(
                reason(Request::get(below(&base, path))).await,
                Reason::StationFault,
                "GET {path}"
            );
        }
        let mut elsewhere = base.clone();
        elsewhere.set_port(Some(10)).unwrap();
        assert_eq!(
            reason(Request::get(below(&elsewhere, "account"))).await,
            Reason::StationFault
        );
        let mut query = below(&base, "profile");
        query.set_query(Some("profile_uuid=1&delete=1"));
        assert_eq!(reason(Request::get(query)).await, Reason::StationFault);
    }

    #[tokio::test]
    async fn what_is_needed_leaves() {
        let base: Url = NOBODY.parse().unwrap();
        for path in ["devices", "server/devices"] {
            assert_eq!(
                reason(Request::post(below(&base, path), JSON, b"{}".to_vec())).await,
                Reason::Offline,
                "{path}"
            );
        }
        for path in ["session", "account", "profile"] {
            assert_eq!(
                reason(Request::get(below(&base, path))).await,
                Reason::Offline,
                "{path}"
            );
        }
    }
}
