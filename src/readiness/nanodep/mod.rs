//! NanoDEP: a server that signs in to Apple's Device Assignment Services and passes every question on, and Apple's answer back.
//!
//! <https://github.com/micromdm/nanodep/blob/main/docs/operations-guide.md>. Its one API key opens everything, the calls that
//! assign and disown as well: the list of what may be asked holds reads alone.

mod examine;
mod refusal;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;

use url::Url;

pub use super::device_assignment::Expected;
#[cfg(fuzzing)]
use super::evidence::Evidence;
use super::{
    Purpose,
    device_assignment::{DeviceAssignment, Key, Nothing, Question, Way},
    evidence::SourceKind,
    examination::Examination,
    http::{Client, ClientFault, Fault, NoReply, Reply, below},
    service::{Endpoint, Pending},
};
use crate::runtime::credential::Secret;
#[cfg(fuzzing)]
use crate::{label::Serial, runtime::name::Name};
pub use settings::Settings;

const USER_AGENT: &str = concat!("benchlight/", env!("CARGO_PKG_VERSION"));

/// What Apple says to the token that NanoDEP has under one DEP name.
type NanoDep = DeviceAssignment<Proxy>;

/// The way through NanoDEP's reverse proxy.
struct Proxy {
    client: Client,
    /// Below NanoDEP's own: `proxy/` and the DEP name.
    base: Url,
    dep_name: String,
    key: Key,
}

impl Way for Proxy {
    const KIND: SourceKind = SourceKind::NanoDep;
    const WHOLE: bool = true;
    const SCANS_TOGETHER: bool = false;
    const NOTHING: Nothing = Nothing::Null;

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
            let request = self.key.sign(question.request(&self.base))?;
            let request = request.explained(refusal::EXPLAINED);
            let reply = self.client.send(request, purpose).await;
            reply.map_err(|no| match no {
                NoReply::Refused(refused) if !matches!(refused.status, 200..=299) => {
                    let (reason, detail) = refusal::read(refused.status, &refused.text());
                    refused.fault(reason, detail)
                }
                no => no.into(),
            })
        })
    }

    fn examine(source: &NanoDep) -> Pending<'_, Examination> {
        Box::pin(examine::examine(source))
    }
}

fn connected(settings: Settings, to: Endpoint<'_>) -> Result<NanoDep, ClientFault> {
    let base = below(&to.url, &format!("proxy/{}", settings.dep_name));
    let way = Proxy {
        client: to.client(Question::allowed(&base), USER_AGENT, None)?,
        base,
        dep_name: settings.dep_name,
        key: settings.key,
    };
    Ok(DeviceAssignment::new(to.name, way, settings.expected))
}

/// What the body of a reply of that `Date` to the question about devices says about one serial number, without a policy.
#[cfg(fuzzing)]
pub fn judged(body: &[u8], date: jiff::Timestamp, serial: &Serial, source: Name) -> Evidence {
    super::device_assignment::judged::<Proxy>(body, date, serial, source)
}
