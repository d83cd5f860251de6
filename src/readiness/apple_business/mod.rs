//! Apple Business Manager's and Apple School Manager's API: whether a device is the organisation's, and on which MDM server.
//!
//! <https://developer.apple.com/documentation/applebusinessmanagerapi>. It knows nothing of profiles, so it never makes a box
//! ready; it explains what Apple's other service leaves open. Its key could also assign devices: only reads may leave.

mod assertion;
mod bearer;
mod finding;

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::{
    Purpose,
    evidence::{Evidence, Finding, SourceKind},
    http::{
        self, Allowed, Client, ClientFault, ClientSettings, Clocks, Fault, Limits, NoReply, Reply,
        Request,
    },
    keeper::Vitals,
    lenient,
    shape::{Misshaped, Object},
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::{
        credential::{Credential, CredentialFault, Secret},
        name::Name,
    },
};
use assertion::ApiKey;
use bearer::{Bearer, Identity};
use finding::{Linked, Said};

const USER_AGENT: &str = concat!("benchlight/", env!("CARGO_PKG_VERSION"));
/// Servers in one page; an organisation has a handful.
const PAGE: &str = "100";
/// More pages than this are a service that goes in circles.
const MOST_PAGES: usize = 10;
/// For how long the servers' names are kept.
const NAMES_KEPT: Duration = Duration::from_hours(1);
/// How long a finding waits for names: they are a courtesy.
const NAMES_WAIT: Duration = Duration::from_millis(500);

/// Is the API key there, and one that can sign?
pub(super) fn check_key(credential: &Credential) -> Result<(), CredentialFault> {
    ApiKey::read(credential.read()?.reveal())
        .map(drop)
        .map_err(|fault| fault.of(credential))
}

/// One MDM server of the organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// 32 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `MDM`, `APPLE_CONFIGURATOR` or `APPLE_MDM`.
    pub kind: String,
}

impl Server {
    fn read(value: &Value) -> Result<Self, Misshaped> {
        let server = Object::read("Apple's MDM server", value)?;
        finding::of_type(&server, "mdmServers")?;
        let id = server.needed_text("id")?.to_owned();
        let (name, kind) = match server.value("attributes") {
            Some(attributes) => {
                let attributes = Object::read("Apple's MDM server", attributes)?;
                (
                    attributes.shown("serverName")?,
                    attributes.shown("serverType")?,
                )
            }
            None => (None, None),
        };
        Ok(Self {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            kind: kind.unwrap_or_default(),
        })
    }

    /// Adds a page's servers to those of the pages before; gives the cursor of the next one. No server may come twice, and with the last
    /// page there must be as many as the pages say.
    fn read_page(page: &Value, servers: &mut Vec<Self>) -> Result<Option<String>, Misshaped> {
        let page = finding::answer(page)?;
        for server in page.list("data")? {
            let server = Self::read(server)?;
            if servers
                .iter()
                .any(|one| one.id.eq_ignore_ascii_case(&server.id))
            {
                return Err(Misshaped(
                    "Apple's list of MDM servers holds one twice.".to_owned(),
                ));
            }
            servers.push(server);
        }
        let Some(meta) = page.value("meta") else {
            return Ok(None);
        };
        let Some(paging) = Object::read("Apple's list of MDM servers", meta)?.value("paging")
        else {
            return Ok(None);
        };
        let paging = Object::read("Apple's list of MDM servers", paging)?;
        let (next, total) = (
            paging.text("nextCursor")?,
            paging.number("total", 0..=i64::MAX)?,
        );
        let held = i64::try_from(servers.len()).unwrap_or(i64::MAX);
        match total {
            Some(total) if next.is_none() && total != held => Err(Misshaped(format!(
                "Apple's list of MDM servers does not add up: its total is {total}, it holds {held}."
            ))),
            _ => Ok(next.map(str::to_owned)),
        }
    }

    /// The server as a sentence names it.
    fn shown(&self) -> String {
        match self.kind.as_str() {
            "APPLE_CONFIGURATOR" => format!("{:?} (Apple Configurator)", self.name),
            _ => format!("{:?}", self.name),
        }
    }
}

/// The settings of this source alone.
pub(super) struct Settings<'a> {
    pub(super) name: Name,
    pub(super) url: Url,
    pub(super) token_url: Url,
    pub(super) scope: String,
    pub(super) client_id: String,
    pub(super) key_id: String,
    pub(super) key: Credential,
    pub(super) expected_servers: Vec<String>,
    pub(super) ca_file: Option<&'a Path>,
    pub(super) reads_per_minute: u32,
}

/// One organisation's view.
pub(super) struct AppleBusiness {
    name: Name,
    base: Url,
    client: Client,
    bearer: Bearer,
    expected: Vec<String>,
    servers: Mutex<Option<(Instant, Vec<Server>)>>,
}

impl AppleBusiness {
    pub(super) fn new(
        settings: Settings<'_>,
        clocks: Clocks,
        limits: Limits,
    ) -> Result<Self, ClientFault> {
        let client = Client::new(ClientSettings {
            allow: allowed(&settings.url, &settings.token_url),
            user_agent: USER_AGENT,
            ca_file: settings.ca_file,
            reads_per_minute: settings.reads_per_minute,
            quota: None,
            clocks,
            limits,
        })?;
        let identity = Identity {
            token_url: settings.token_url,
            scope: settings.scope,
            client_id: settings.client_id,
            key_id: settings.key_id,
            key: settings.key,
        };
        Ok(Self {
            name: settings.name,
            base: settings.url,
            bearer: Bearer::new(client.clone(), identity),
            client,
            expected: settings.expected_servers,
            servers: Mutex::default(),
        })
    }

    pub(super) async fn look_up(&self, candidates: &Candidates, purpose: Purpose) -> Vec<Evidence> {
        let stripped = async {
            match &candidates.stripped {
                Some(serial) => Some(self.one(serial, purpose).await),
                None => None,
            }
        };
        let (scanned, stripped) = tokio::join!(self.one(&candidates.scanned, purpose), stripped);
        std::iter::once(scanned).chain(stripped).collect()
    }

    /// The list of servers, which also gives their names.
    pub(super) async fn probe(&self) -> Result<(), Fault> {
        self.servers().await.map(drop)
    }

    /// The organisation's MDM servers, read anew.
    pub(super) async fn servers(&self) -> Result<Vec<Server>, Fault> {
        let mut servers: Vec<Server> = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut url = http::below(&self.base, "mdmServers");
            url.query_pairs_mut().append_pair("limit", PAGE);
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let reply = self.get(Request::get(url), Purpose::Scan).await?;
            // The links name whole addresses: only the cursor is followed, on the configured host.
            cursor = Server::read_page(reply.body(), &mut servers)
                .map_err(|misshaped| reply.fault(Reason::GarbledAnswer, &misshaped.to_string()))?;
            if cursor.is_none() {
                *self.known() = Some((Instant::now(), servers.clone()));
                return Ok(servers);
            }
        }
        Err(Fault::with(
            Reason::GarbledAnswer,
            "Apple's list of MDM servers does not end.",
        ))
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    pub(super) fn refresh_in(&self) -> Option<Duration> {
        self.bearer.renew_in()
    }

    async fn one(&self, serial: &Serial, purpose: Purpose) -> Evidence {
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
            Err(fault) => {
                evidence.finding = Finding::Unknown(fault.reason);
                evidence.detail = fault.detail;
                evidence.replied_at = fault.replied_at;
                return evidence;
            }
        };
        evidence.replied_at = Some(reply.date);
        let said = Said::read(reply.status, reply.body(), serial);
        let linked = if said.wants_server() {
            Some(self.linked(serial, purpose).await)
        } else {
            None
        };
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
        let show = |id: &str| {
            named
                .iter()
                .find(|server| server.id.eq_ignore_ascii_case(id))
                .map_or_else(|| lenient::shown(id), Server::shown)
        };
        let expected: Vec<String> = self.expected.iter().map(|id| show(id)).collect();
        format!(
            "It is assigned to {}, expected is {}.",
            show(id),
            expected.join(" or ")
        )
    }

    /// The servers whose names are known or can be had quickly.
    async fn names(&self, serial: &Serial, id: &str, purpose: Purpose) -> Vec<Server> {
        let kept = self.known().clone();
        let mut servers = match kept {
            Some((read_at, servers)) if read_at.elapsed() < NAMES_KEPT => servers,
            _ if purpose == Purpose::Scan => self.servers().await.unwrap_or_default(),
            kept => kept.map_or_else(Vec::new, |(_, servers)| servers),
        };
        // A server that the list does not hold is named by the device's own record.
        if !servers
            .iter()
            .any(|server| server.id.eq_ignore_ascii_case(id))
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

    /// Asks with the token; when that is refused, once more with a new one.
    async fn get(&self, request: Request, purpose: Purpose) -> Result<Reply, Fault> {
        let request = request.header("accept", "application/json");
        let token = self.bearer.token(None, purpose).await?;
        match self.send(&request, &token, purpose).await {
            Err(NoReply::Refused(refused)) if refused.status == 401 => {}
            result => return Ok(result?),
        }
        let token = self.bearer.token(Some(&token), purpose).await?;
        Ok(self.send(&request, &token, purpose).await?)
    }

    async fn send(
        &self,
        request: &Request,
        token: &Secret,
        purpose: Purpose,
    ) -> Result<Reply, NoReply> {
        self.client
            .send(
                request
                    .clone()
                    .header("authorization", &format!("Bearer {}", token.reveal())),
                purpose,
            )
            .await
    }

    fn known(&self) -> MutexGuard<'_, Option<(Instant, Vec<Server>)>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the bodies of the two reads, with their statuses, say about one serial number: the way of every reply, for the fuzz target.
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
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::runtime::clock::ClockWatch;

    /// Nothing listens there: a request that leaves is told from one that may not by its reason.
    const BASE: &str = "http://127.0.0.1:9/v1";
    const TOKEN: &str = "http://127.0.0.1:9/auth/oauth2/token";

    async fn reason(request: Request) -> Reason {
        let settings = ClientSettings {
            allow: allowed(&BASE.parse().unwrap(), &TOKEN.parse().unwrap()),
            user_agent: USER_AGENT,
            ca_file: None,
            reads_per_minute: 0,
            quota: None,
            clocks: ClockWatch::Fixed { synced: true }.into(),
            limits: Limits::default(),
        };
        Fault::from(
            Client::new(settings)
                .unwrap()
                .send(request, Purpose::Scan)
                .await
                .unwrap_err(),
        )
        .reason
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
            "orgDevices/",
            "orgDevices/a/b",
            "orgDevices/a%2Fb",
            "users",
            "mdmServers/1/relationships/devices",
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
        ] {
            assert_eq!(
                reason(Request::get(http::below(&base, path))).await,
                Reason::Offline,
                "{path}"
            );
        }
    }
}
