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
    service::{Endpoint, Pending},
};
use crate::{reason::Reason, runtime::credential::Secret};
pub use settings::Settings;

const USER_AGENT: &str = concat!("benchlight/", env!("CARGO_PKG_VERSION"));
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
fn allowed(base: &Url) -> Vec<Allowed> {
    vec![Allowed::post(base, DEVICES)]
}

/// What the body of a reply of that `Date` to the question about devices says about one serial number, without a policy.
#[cfg(any(test, fuzzing))]
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
