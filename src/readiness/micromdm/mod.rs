//! MicroMDM: an MDM that asks Apple's Device Assignment Services about devices whenever it is asked itself.
//!
//! <https://github.com/micromdm/micromdm/blob/main/platform/dep/server.go>. It speaks an old version of Apple's protocol, so
//! that a migration is invisible through it. Its one API key opens everything: the list of what may be asked holds one question.

mod examine;
mod refusal;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;

use serde_json::json;
use url::Url;

pub use super::device_assignment::Expected;
use super::{
    Purpose,
    device_assignment::{DeviceAssignment, Key, Nothing, Question, Way},
    evidence::SourceKind,
    examination::Examination,
    http::{Allowed, Client, ClientFault, Fault, NoReply, Reply, Request, below},
    service::{Endpoint, Pending, USER_AGENT},
};
use crate::{reason::Reason, runtime::credential::Secret};
pub use settings::Settings;

const DEVICES: &str = "v1/dep/devices";

/// What Apple says to the token that MicroMDM has.
type MicroMdm = DeviceAssignment<Api>;

/// The way through MicroMDM's API.
struct Api {
    client: Client,
    base: Url,
    key: Key,
}

impl Way for Api {
    const KIND: SourceKind = SourceKind::MicroMdm;
    const WHOLE: bool = false;
    const SCANS_TOGETHER: bool = false;
    const NOTHING: Nothing = Nothing::NullOrBlank;

    fn client(&self) -> &Client {
        &self.client
    }

    fn base(&self) -> &Url {
        &self.base
    }

    fn secret(&self) -> Result<Secret, Fault> {
        self.key.read()
    }

    fn ask<'a>(
        &'a self,
        question: Question<'a>,
        purpose: Purpose,
    ) -> Pending<'a, Result<Reply, Fault>> {
        Box::pin(async move {
            let Question::Devices(serials) = question else {
                return Err(Fault::bare(Reason::StationFault));
            };
            let body = json!({ "serials": serials }).to_string().into_bytes();
            let request = Request::post(below(&self.base, DEVICES), "application/json", body);
            let request = self.key.sign(request)?.header("accept", "application/json");
            let request = request.explained(refusal::EXPLAINED);
            let reply = self.client.send(request, purpose).await;
            reply.map_err(|no| match no {
                NoReply::Refused(refused) => match refusal::read(refused.status, &refused.text()) {
                    Some((reason, detail)) => refused.fault(reason, detail),
                    None => NoReply::Refused(refused).into(),
                },
                no => no.into(),
            })
        })
    }

    fn examine(source: &MicroMdm) -> Pending<'_, Examination> {
        Box::pin(examine::examine(source))
    }
}

fn connected(settings: Settings, to: Endpoint<'_>) -> Result<MicroMdm, ClientFault> {
    let way = Api {
        client: to.client(allowed(&to.url), USER_AGENT, None)?,
        base: to.url,
        key: settings.key,
    };
    Ok(DeviceAssignment::new(to.name, way, settings.expected))
}

/// Everything that may be asked.
pub(super) fn allowed(base: &Url) -> Vec<Allowed> {
    vec![Allowed::post(base, DEVICES)]
}

/// What the body of a reply of that `Date` to the question about devices says about one serial number, without a policy.
#[cfg(fuzzing)]
pub fn judged(
    body: &[u8],
    date: jiff::Timestamp,
    serial: &crate::label::Serial,
    source: crate::runtime::name::Name,
) -> super::evidence::Evidence {
    super::device_assignment::judged::<Api>(body, date, serial, source)
}

/// The reason that a refusal with this status and text stands for, if MicroMDM wrote it.
#[cfg(fuzzing)]
pub fn refused(status: u16, text: &str) -> Option<Reason> {
    refusal::read(status, text).map(|(reason, _)| reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::Value;

    use super::*;
    use crate::readiness::{
        device_assignment::tests::every_row_is_judged_alike,
        evidence::{Finding, Grade},
        http::tests::{NOBODY, sent},
    };

    async fn reason(request: Request) -> Reason {
        sent(allowed(&NOBODY.parse().unwrap()), request).await
    }

    fn post(path: &str) -> Request {
        let url = below(&NOBODY.parse().unwrap(), path);
        Request::post(url, "application/json", b"{}".to_vec())
    }

    #[tokio::test]
    async fn nothing_but_the_question_about_devices_leaves() {
        for path in [
            "",
            "v1/commands",
            "v1/devices",
            "v1/dep/profiles",
            "v1/dep/assign",
            "v1/dep/syncnow",
            "v1/dep/autoassigners",
            "v1/dep/devices/x",
            "hub/v1/dep/devices",
            "boltbackup",
        ] {
            assert_eq!(
                reason(post(path)).await,
                Reason::StationFault,
                "POST {path}"
            );
        }
        for path in [
            "v1/dep/devices",
            "v1/dep/account",
            "version",
            "boltbackup",
            "",
        ] {
            let request = Request::get(below(&NOBODY.parse().unwrap(), path));
            assert_eq!(reason(request).await, Reason::StationFault, "GET {path}");
        }
        assert_eq!(reason(post(DEVICES)).await, Reason::Offline);
    }

    /// As MicroMDM writes a record of Apple's: without the deadline, and with the year 1 for a time that is not there.
    fn in_its_form(record: &mut Value) {
        let fields = record.as_object_mut().unwrap();
        fields.remove("mdm_migration_deadline");
        for time in [
            "profile_assign_time",
            "profile_push_time",
            "device_assigned_date",
        ] {
            let field = fields.entry(time).or_insert(Value::Null);
            if field.is_null() || field == "" {
                *field = json!("0001-01-01T00:00:00Z");
            }
        }
    }

    #[test]
    fn every_row_of_the_table_is_judged_as_from_apple_itself_but_for_migrations() {
        every_row_is_judged_alike::<Api>(in_its_form, |fields, as_apple| {
            let migrating = as_apple.0 == Finding::No(Reason::MigrationPending);
            // One of another type is left out as well.
            let garbled = fields.get("mdm_migration_deadline") == Some(&json!(false));
            if migrating || garbled {
                (Finding::Ready(Grade::Apple), true)
            } else {
                as_apple
            }
        });
    }
}
