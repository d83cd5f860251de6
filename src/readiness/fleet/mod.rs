//! Fleet: an MDM that lists the devices it heard of from Apple, and asks Apple itself about one of them at each question.
//!
//! Two calls for each serial number, <https://fleetdm.com/docs/rest-api/rest-api> and Fleet's contributor documents, which call
//! the second one subject to change: the host by its serial number, from Fleet's own list; and what Apple says of that host just now.

mod examine;
mod finding;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;
mod wire;

use jiff::Timestamp;
use url::Url;

use super::{
    Purpose,
    evidence::{Evidence, Finding, SourceKind},
    examination::Examination,
    http::{Allowed, Client, ClientFault, Fault, NoReply, Refused, Reply, Request, below},
    service::{Adapter, Endpoint, Heard, NO_SERIAL, Pending, USER_AGENT, ask_each, unanswered},
    token_client::TokenClient,
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::name::Name,
};
pub use finding::Expected;
pub use settings::Settings;
use wire::{Assignment, Host};

const HOST: &str = "api/v1/fleet/hosts/identifier";
const HOSTS: &str = "api/v1/fleet/hosts";

const REFUSED: &str =
    "Fleet refused the API token, or its user may not read hosts: the role Observer is enough.";
const TOO_OLD: &str =
    "This Fleet server has no call that tells what Apple says of a host: it is too old.";

/// One Fleet server.
struct Fleet {
    name: Name,
    base: Url,
    reads: TokenClient,
    expected: Expected,
}

impl Adapter for Fleet {
    fn look_up<'a>(
        &'a self,
        candidates: &'a Candidates,
        purpose: Purpose,
        heard: &'a Heard,
    ) -> Pending<'a, Vec<Evidence>> {
        // Fleet compares the whole identifier, so each candidate is a question of its own.
        Box::pin(ask_each(candidates, move |serial| {
            self.one(serial, purpose, heard)
        }))
    }

    /// A look-up that finds nothing: only Fleet's own list is asked, and not Apple.
    fn probe(&self) -> Pending<'_, Result<(), Fault>> {
        Box::pin(self.probe_hosts())
    }

    fn examine(&self) -> Pending<'_, Examination> {
        Box::pin(examine::examine(self))
    }

    fn client(&self) -> &Client {
        &self.reads.client
    }
}

impl Fleet {
    fn new(settings: Settings, to: Endpoint<'_>) -> Result<Self, ClientFault> {
        Ok(Self {
            reads: TokenClient {
                client: to.client(allowed(&to.url), USER_AGENT, None)?,
                credential: settings.token,
                scheme: "Bearer",
                refused: REFUSED,
            },
            name: to.name,
            base: to.url,
            expected: settings.expected,
        })
    }

    async fn one(&self, serial: &Serial, purpose: Purpose, heard: &Heard) -> Evidence {
        let bare = Evidence::bare(
            self.name.clone(),
            SourceKind::Fleet,
            serial.clone(),
            Finding::Unknown(Reason::GarbledAnswer),
        );
        let reply = match self.host(serial.as_str(), purpose).await {
            Ok(reply) => reply,
            Err(fault) => return unanswered(bare, &fault),
        };
        heard.note();
        let bare = Evidence {
            heard: true,
            ..bare
        };
        let host = match reply.read(|body| Host::read(reply.status, body, serial)) {
            Ok(host) => host,
            Err(fault) => return unanswered(bare, &fault),
        };
        let known = finding::of_host(bare, host.as_ref(), reply.date);
        let Some(host) = host.filter(|host| !host.is_enrolled()) else {
            return known;
        };
        match self.assignment(&host, serial, purpose).await {
            Ok((assignment, date)) => finding::judge(known, &assignment, date, &self.expected),
            Err(fault) => unanswered(known, &fault),
        }
    }

    /// The host of that identifier, from Fleet's own list: 200, or 404 where it has none.
    async fn host(&self, identifier: &str, purpose: Purpose) -> Result<Reply, Fault> {
        let mut url = below(&self.base, &format!("{HOST}/{identifier}"));
        // A host's software is most of its record.
        url.query_pairs_mut()
            .append_pair("exclude_software", "true");
        let request = Request::get(url).documented(&[200, 404]);
        Ok(self.reads.send(request, purpose).await?)
    }

    /// What Apple says of a host just now.
    async fn assignment(
        &self,
        host: &Host,
        serial: &Serial,
        purpose: Purpose,
    ) -> Result<(Assignment, Timestamp), Fault> {
        let reply = self
            .dep_assignment(host.id, purpose)
            .await
            .map_err(|no| match no {
                NoReply::Refused(refused) if is_own_not_found(&refused) => {
                    let detail = "Fleet had the host, and a moment later had not.";
                    refused.fault(Reason::GarbledAnswer, detail)
                }
                no => without_the_call(no),
            })?;
        let read = reply.read(|body| Assignment::read(body, host.id, serial))?;
        Ok((read, reply.date))
    }

    async fn dep_assignment(&self, host: u64, purpose: Purpose) -> Result<Reply, NoReply> {
        let url = below(&self.base, &format!("{HOSTS}/{host}/dep_assignment"));
        self.reads.send(Request::get(url), purpose).await
    }

    async fn probe_hosts(&self) -> Result<(), Fault> {
        let reply = self.host(NO_SERIAL, Purpose::Scan).await?;
        // A host of that very name is an answer as well.
        if reply.status == 404 {
            reply.read(wire::not_found)?;
        }
        Ok(())
    }
}

/// Everything that may be asked. A token may be allowed more: to wipe and lock devices, to run scripts.
fn allowed(base: &Url) -> Vec<Allowed> {
    vec![
        Allowed::get(
            base,
            "api/v1/fleet/hosts/identifier/*",
            &["exclude_software"],
        ),
        Allowed::get(base, "api/v1/fleet/hosts/*/dep_assignment", &[]),
    ]
}

/// Fleet's own word that there is no such host.
fn is_own_not_found(refused: &Refused) -> bool {
    refused.status == 404 && refused.text().contains("Resource Not Found")
}

/// Why the second call brought nothing: a server that has no such call says so in a word of its own. (A web page is another's.)
fn without_the_call(no: NoReply) -> Fault {
    match no {
        NoReply::Refused(refused) if refused.status == 404 && !refused.text().is_empty() => {
            refused.fault(Reason::SourceError, TOO_OLD)
        }
        no => no.into(),
    }
}

/// What the bodies of Fleet's two replies (the host under `status`, and Apple's word), both dated `date`, say about one serial number.
#[cfg(fuzzing)]
pub fn judged(
    status: u16,
    [host, assignment]: [&[u8]; 2],
    date: Timestamp,
    serial: &Serial,
    source: Name,
) -> Evidence {
    let bare = Evidence::bare(
        source,
        SourceKind::Fleet,
        serial.clone(),
        Finding::Unknown(Reason::GarbledAnswer),
    );
    let json = |body: &[u8]| super::http::json(body).unwrap_or_default();
    let Ok(host) = Host::read(status, &json(host), serial) else {
        return bare;
    };
    let known = finding::of_host(bare, host.as_ref(), date);
    let Some(host) = host.filter(|host| !host.is_enrolled()) else {
        return known;
    };
    match Assignment::read(&json(assignment), host.id, serial) {
        Ok(said) => finding::judge(known, &said, date, &Expected::default()),
        Err(_) => known,
    }
}

#[cfg(test)]
mod tests;
