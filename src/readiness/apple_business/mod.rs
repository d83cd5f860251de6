//! Apple Business Manager's and Apple School Manager's API: whether a device is the organisation's, and on which MDM server.
//!
//! <https://developer.apple.com/documentation/applebusinessmanagerapi>. It knows nothing of profiles, so it never makes a box
//! ready; it explains what Apple's other service leaves open. Its key could also assign devices: only reads may leave.

mod assertion;
mod examine;
mod finding;
mod grant;
mod listed;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;
mod wire;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use url::Url;

use super::{
    Purpose,
    access_token::AccessToken,
    evidence::{Evidence, Finding, SourceKind},
    examination::Examination,
    http::{self, Allowed, Client, ClientFault, Fault, Reply, Request},
    newest::{Known, Newest},
    service::{Adapter, Endpoint, Heard, Listed, Pending, USER_AGENT, ask_each, unanswered},
    spelling,
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::name::Name,
};
use finding::{Linked, Said};
pub use settings::{Identity, Settings};
use wire::Server;

/// Servers in one page; an organisation has a handful.
const PAGE: &str = "100";
/// More pages than this are a service that goes in circles.
const MOST_PAGES: usize = 10;
/// For how long the servers' names are kept.
const NAMES_KEPT: Duration = Duration::from_hours(1);
/// How long a finding waits for names: they are a courtesy.
const NAMES_WAIT: Duration = Duration::from_millis(500);

/// One organisation's view.
struct AppleBusiness {
    name: Name,
    base: Url,
    client: Client,
    token: AccessToken<Identity>,
    expected: Vec<String>,
    servers: Newest<Server>,
}

impl Adapter for AppleBusiness {
    fn look_up<'a>(
        &'a self,
        candidates: &'a Candidates,
        purpose: Purpose,
        heard: &'a Heard,
    ) -> Pending<'a, Vec<Evidence>> {
        Box::pin(self.ask(candidates, purpose, heard))
    }

    /// The list of servers, which also gives their names.
    fn probe(&self) -> Pending<'_, Result<(), Fault>> {
        Box::pin(async { self.servers(Purpose::Scan).await.map(drop) })
    }

    fn examine(&self) -> Pending<'_, Examination> {
        Box::pin(examine::examine(self))
    }

    fn client(&self) -> &Client {
        &self.client
    }

    fn refresh_in(&self) -> Option<Duration> {
        self.token.renew_in()
    }

    fn listed(&self) -> Option<&dyn Listed> {
        Some(self)
    }
}

impl AppleBusiness {
    fn new(settings: Settings, to: Endpoint<'_>) -> Result<Self, ClientFault> {
        let allow = allowed(&to.url, &settings.identity.token_url);
        let client = to.client(allow, USER_AGENT, None)?;
        Ok(Self {
            name: to.name,
            base: to.url,
            token: AccessToken::new(client.clone(), settings.identity),
            client,
            expected: settings.expected_servers,
            servers: Newest::default(),
        })
    }

    async fn ask(&self, candidates: &Candidates, purpose: Purpose, heard: &Heard) -> Vec<Evidence> {
        ask_each(candidates, |serial| self.one(serial, purpose, heard)).await
    }

    /// The organisation's MDM servers, read from Apple.
    async fn servers(&self, purpose: Purpose) -> Result<Arc<Known<Server>>, Fault> {
        self.servers.read(self.read_servers(purpose)).await
    }

    async fn read_servers(&self, purpose: Purpose) -> Result<(Vec<Server>, Timestamp), Fault> {
        let mut servers: Vec<Server> = Vec::new();
        let mut cursor: Option<String> = None;
        let mut date = None;
        for _ in 0..MOST_PAGES {
            let mut url = http::below(&self.base, "mdmServers");
            url.query_pairs_mut().append_pair("limit", PAGE);
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let reply = self.get(Request::get(url), purpose).await?;
            let date = *date.get_or_insert(reply.date);
            // The links name whole addresses: only the cursor is followed, on the configured host.
            cursor = reply.read(|page| Server::read_page(page, &mut servers))?;
            if cursor.is_none() {
                return Ok((servers, date));
            }
        }
        Err(Fault::with(
            Reason::GarbledAnswer,
            "Apple's list of MDM servers does not end.",
        ))
    }

    async fn one(&self, serial: &Serial, purpose: Purpose, heard: &Heard) -> Evidence {
        let mut evidence = Evidence::bare(
            self.name.clone(),
            SourceKind::AppleBusiness,
            serial.clone(),
            Finding::Unknown(Reason::StationFault),
        );
        let reply = match self
            .readable(&format!("orgDevices/{serial}"), purpose)
            .await
        {
            Ok(reply) => reply,
            Err(fault) => return unanswered(evidence, &fault),
        };
        evidence.replied_at = Some(reply.date);
        evidence.heard = true;
        let said = Said::read(reply.status, reply.body(), serial);
        let linked = if said.wants_server() {
            let mut half = evidence.clone();
            let unread = Some(Linked::Unread(Reason::Timeout, None));
            finding::judge(&mut half, said.clone(), unread, &self.expected, None);
            heard.note_half(half);
            Some(self.linked(serial, purpose).await)
        } else {
            None
        };
        if !matches!(linked, Some(Linked::Unread(..))) {
            heard.note();
        }
        let both_named = match &linked {
            Some(Linked::To(id)) if !finding::is_expected(id, &self.expected) => {
                Some(self.both_named(serial, id, purpose).await)
            }
            _ => None,
        };
        finding::judge(&mut evidence, said, linked, &self.expected, both_named);
        evidence
    }

    /// To which server it is assigned.
    async fn linked(&self, serial: &Serial, purpose: Purpose) -> Linked {
        match self
            .readable(
                &format!("orgDevices/{serial}/relationships/assignedServer"),
                purpose,
            )
            .await
        {
            Ok(reply) => Linked::read(reply.status, reply.body(), serial),
            Err(fault) => Linked::Unread(fault.reason, fault.detail),
        }
    }

    /// The sentence that names the server it is assigned to and those that it should be.
    async fn both_named(&self, serial: &Serial, id: &str, purpose: Purpose) -> String {
        let named = tokio::time::timeout(NAMES_WAIT, self.names(serial, id, purpose))
            .await
            .unwrap_or_default();
        both_named(&named, id, &self.expected)
    }

    /// The servers whose names are known or can be had quickly.
    async fn names(&self, serial: &Serial, id: &str, purpose: Purpose) -> Vec<Server> {
        let known = match self.servers.last() {
            Some(known) if known.age() < NAMES_KEPT => Some(known),
            _ if purpose == Purpose::Scan => self.servers(purpose).await.ok(),
            known => known,
        };
        let mut servers = known.map_or_else(Vec::new, |known| known.list.clone());
        // A server that the list does not hold is named by the device's own record.
        if !servers.iter().any(|server| server.is(id))
            && let Ok(reply) = self
                .readable(&format!("orgDevices/{serial}/assignedServer"), purpose)
                .await
            && let Ok(server) = Server::read(reply.body().get("data").unwrap_or_default())
        {
            servers.push(server);
        }
        servers
    }

    /// A reply whose status says something about the device: 200, or 404.
    async fn readable(&self, path: &str, purpose: Purpose) -> Result<Reply, Fault> {
        self.get(
            Request::get(http::below(&self.base, path)).documented(&[200, 404]),
            purpose,
        )
        .await
    }

    async fn get(&self, request: Request, purpose: Purpose) -> Result<Reply, Fault> {
        let request = request.header("accept", "application/json");
        Ok(self.token.send(request, purpose).await?)
    }
}

/// The sentence that names the server `id` and the expected ones, by the names in `servers`.
fn both_named(servers: &[Server], id: &str, expected: &[String]) -> String {
    let show = |id: &str| {
        servers
            .iter()
            .find(|server| server.is(id))
            .map_or_else(|| spelling::shown(id), Server::shown)
    };
    let expected: Vec<String> = expected.iter().map(|id| show(id)).collect();
    format!(
        "It is assigned to {}, expected is {}.",
        show(id),
        expected.join(" or ")
    )
}

/// What the bodies of the two reads, with their statuses, say about one serial number.
#[cfg(fuzzing)]
pub fn judged(
    device: (u16, &[u8]),
    linkage: (u16, &[u8]),
    serial: &Serial,
    expected: &[String],
    source: Name,
) -> Evidence {
    let mut evidence = Evidence::bare(
        source,
        SourceKind::AppleBusiness,
        serial.clone(),
        Finding::Unknown(Reason::StationFault),
    );
    let read = |body| http::json(body).unwrap_or_default();
    let said = Said::read(device.0, &read(device.1), serial);
    let linked = said
        .wants_server()
        .then(|| Linked::read(linkage.0, &read(linkage.1), serial));
    finding::judge(&mut evidence, said, linked, expected, None);
    evidence
}

/// Everything that may be asked. The service's other calls assign devices.
fn allowed(base: &Url, token_url: &Url) -> Vec<Allowed> {
    vec![
        Allowed::post(token_url, ""),
        Allowed::get(base, "orgDevices/*", &[]),
        Allowed::get(base, "orgDevices/*/relationships/assignedServer", &[]),
        Allowed::get(base, "orgDevices/*/assignedServer", &[]),
        Allowed::get(base, "mdmServers", &["limit", "cursor"]),
        Allowed::get(base, "orgDevices", &["limit", "cursor"]),
        Allowed::get(
            base,
            "mdmServers/*/relationships/devices",
            &["limit", "cursor"],
        ),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::readiness::http::tests::sent;

    /// Nothing listens there: the reason shows whether a request was sent or refused.
    const BASE: &str = "http://127.0.0.1:9/v1";
    const TOKEN: &str = "http://127.0.0.1:9/auth/oauth2/token";

    async fn reason(request: Request) -> Reason {
        let allow = allowed(&BASE.parse().unwrap(), &TOKEN.parse().unwrap());
        sent(allow, request).await
    }

    #[tokio::test]
    async fn what_writes_or_is_not_needed_never_leaves() {
        let base: Url = BASE.parse().unwrap();
        let token: Url = TOKEN.parse().unwrap();
        for path in [
            "orgDeviceActivities",
            "orgDevices",
            "orgDevices/C02XK0AAJG5H",
            "mdmServers",
            "mdmServers/1/relationships/devices",
        ] {
            assert_eq!(
                reason(Request::post(
                    http::below(&base, path),
                    "application/json",
                    b"{}".to_vec()
                ))
                .await,
                Reason::StationFault,
                "POST {path}"
            );
        }
        for path in [
            "orgDevices/a/b",
            "orgDevices/a%2Fb",
            "users",
            "mdmServers/1",
            "mdmServers/a%2Fb/relationships/devices",
            "orgDeviceActivities/1",
        ] {
            assert_eq!(
                reason(Request::get(http::below(&base, path))).await,
                Reason::StationFault,
                "GET {path}"
            );
        }
        assert_eq!(
            reason(Request::get(token.clone())).await,
            Reason::StationFault
        );
        assert_eq!(
            reason(Request::post(
                http::below(&token, "x"),
                "text/plain",
                vec![]
            ))
            .await,
            Reason::StationFault
        );
        assert_eq!(
            reason(Request::get(
                "http://127.0.0.1:10/v1/mdmServers".parse().unwrap()
            ))
            .await,
            Reason::StationFault,
            "a cursor's link to elsewhere"
        );
    }

    #[tokio::test]
    async fn what_is_needed_leaves() {
        let base: Url = BASE.parse().unwrap();
        assert_eq!(
            reason(Request::post(
                TOKEN.parse().unwrap(),
                "application/x-www-form-urlencoded",
                vec![]
            ))
            .await,
            Reason::Offline
        );
        for path in [
            "orgDevices/C02XK0AAJG5H",
            "orgDevices/C02XK0AAJG5H/relationships/assignedServer",
            "orgDevices/C02XK0AAJG5H/assignedServer",
            "mdmServers",
            "orgDevices",
            "mdmServers/1/relationships/devices",
        ] {
            assert_eq!(
                reason(Request::get(http::below(&base, path))).await,
                Reason::Offline,
                "{path}"
            );
        }
    }
}
