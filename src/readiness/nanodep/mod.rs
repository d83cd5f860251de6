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
    service::{Endpoint, Pending, USER_AGENT},
};
use crate::runtime::credential::Secret;
#[cfg(fuzzing)]
use crate::{label::Serial, runtime::name::Name};
pub use settings::Settings;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::{
        readiness::{
            device_assignment::{JSON, tests::every_row_is_judged_alike},
            http::{
                Method, Request,
                tests::{NOBODY, sent},
            },
            micromdm,
        },
        reason::Reason,
    };

    fn base() -> Url {
        below(&NOBODY.parse().unwrap(), "proxy/mdmserver1")
    }

    async fn reason(request: Request) -> Reason {
        sent(Question::allowed(&base()), request).await
    }

    fn post(path: &str) -> Request {
        Request::post(below(&NOBODY.parse().unwrap(), path), JSON, b"{}".to_vec())
    }

    fn get(path: &str) -> Request {
        Request::get(below(&NOBODY.parse().unwrap(), path))
    }

    #[tokio::test]
    async fn what_writes_or_is_not_needed_never_leaves() {
        for path in [
            "proxy/mdmserver1/profile",
            "proxy/mdmserver1/profile/devices",
            "proxy/mdmserver1/devices/disown",
            "proxy/mdmserver1/devices/sync",
            "proxy/mdmserver1/devices/activationlock",
            "proxy/mdmserver1/account",
            "proxy/mdmserver1/session",
            "proxy/mdmserver2/devices",
            "proxy/devices",
            "devices",
            "v1/tokens/mdmserver1",
            "v1/config/mdmserver1",
            "v1/assigner/mdmserver1",
        ] {
            assert_eq!(
                reason(post(path)).await,
                Reason::StationFault,
                "POST {path}"
            );
        }
        for path in [
            "",
            "version",
            "v1/tokens/mdmserver1",
            "v1/dep_names",
            "v1/maidjwt/mdmserver1",
            "v1/bypasscode",
            "proxy/mdmserver1",
            "proxy/mdmserver1/session",
            "proxy/mdmserver1/devices",
            "proxy/mdmserver1/server/devices",
            "proxy/mdmserver1/beta-enrollment/tokens",
            "proxy/mdmserver2/account",
            "account",
        ] {
            assert_eq!(reason(get(path)).await, Reason::StationFault, "GET {path}");
        }
        let mut query = below(&base(), "profile");
        query.set_query(Some("profile_uuid=1&x=2"));
        assert_eq!(reason(Request::get(query)).await, Reason::StationFault);
        let mut elsewhere = below(&base(), "account");
        elsewhere.set_port(Some(10)).unwrap();
        assert_eq!(reason(Request::get(elsewhere)).await, Reason::StationFault);
    }

    #[tokio::test]
    async fn every_question_leaves() {
        for question in [
            Question::Account,
            Question::Devices(&["C02XK0AAJG5H"]),
            Question::Page(None),
            Question::Page(Some("cursor")),
            Question::Profile("88FC4E378B4B4E3B9E7C5E0C9B7E5E6B"),
        ] {
            let reason = reason(question.request(&base())).await;
            assert_eq!(reason, Reason::Offline, "{question:?}");
        }
    }

    #[test]
    fn every_row_of_the_table_is_judged_as_from_apple_itself() {
        every_row_is_judged_alike::<Proxy>(|_| {}, |_, as_apple| as_apple);
    }

    /// The proxy of the documents lets the station's questions pass, each with its method, and nothing else.
    #[test]
    fn the_shipped_proxy_passes_on_what_the_stations_ask() {
        let shipped = include_str!("../../../config/nginx/mdm-proxy.conf");
        let mut passed: Vec<(String, &str)> = Vec::new();
        let mut lines = shipped.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if let Some(path) = line.strip_prefix("location = ") {
                let path = path.trim_end_matches(" {").to_owned();
                let limit = lines.next().unwrap().strip_prefix("limit_except ").unwrap();
                passed.push((path, limit.trim_end_matches(" { deny all; }")));
            }
        }
        let asked = Question::allowed(&base());
        let of_micromdm = micromdm::allowed(&NOBODY.parse().unwrap());
        let asked = asked.into_iter().chain(of_micromdm);
        let mut asked: Vec<(String, &str)> = asked
            .map(|one| {
                let method = match one.method {
                    Method::Get => "GET",
                    Method::Post => "POST",
                };
                (below(&one.base, one.path).path().to_owned(), method)
            })
            .collect();
        passed.sort();
        asked.sort();
        assert_eq!(passed, asked);
        assert_eq!(shipped.matches("location / { return 403; }").count(), 2);
    }
}
