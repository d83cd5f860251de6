//! Jamf Pro: an MDM that stores what Apple told it at its last sync, and that cannot be asked about one device.
//!
//! Reads the Automated Device Enrollment instances, their syncs and their devices, and, where the config names PreStages, the scopes:
//! <https://developer.jamf.com/jamf-pro/reference>. A sync with Apple cannot be ordered, only awaited.

mod examine;
mod finding;
mod listed;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;
mod wire;

use std::sync::Arc;

use jiff::Timestamp;
use url::Url;

use super::{
    Purpose,
    access_token::AccessToken,
    client_credentials::{ClientCredentials, Words},
    evidence::{Evidence, Finding, SourceKind},
    examination::Examination,
    http::{Allowed, Client, ClientFault, Fault, NoReply, Refused, Reply, Request, Rows, below},
    keeper::Vitals,
    newest::{Known, Newest},
    service::{Adapter, Endpoint, Heard, Listed, Pending, USER_AGENT},
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::name::Name,
};
pub use finding::Policy;
use listed::Reading;
#[cfg(any(test, fuzzing))]
pub use listed::judged;
pub use settings::Settings;
use wire::{Instance, PrestageKind};

/// Where tokens are given; older servers have the second place.
const TOKENS: [&str; 2] = ["v1/oauth/token", "oauth/token"];
const WORDS: Words = Words {
    service: "Jamf Pro",
    meanings: &[(
        "invalid_client",
        Reason::CredentialsRefused,
        "Jamf Pro refuses the API client (invalid_client): check client_id and the secret, and that the client is enabled.",
    )],
    otherwise: "Jamf Pro gives this API client no token: check client_id and the secret, and that the client is enabled.",
};
const INSTANCES: &str = "v1/device-enrollments";
/// Instances on one page; the service gives 2,000 at most.
const PAGE: u64 = 100;
/// More instances than that nobody has.
const MOST_PAGES: u64 = 10;

/// One Jamf Pro server.
struct Jamf {
    name: Name,
    /// The server's address with `/api`.
    base: Url,
    client: Client,
    token: AccessToken<ClientCredentials>,
    policy: Policy,
    instances: Newest<Instance>,
    reading: tokio::sync::Mutex<Reading>,
}

impl Adapter for Jamf {
    /// Nobody does: the last complete pass answers.
    fn look_up<'a>(
        &'a self,
        candidates: &'a Candidates,
        _: Purpose,
        _: &'a Heard,
    ) -> Pending<'a, Vec<Evidence>> {
        let unknown = |serial| Evidence {
            detail: Some("Jamf Pro cannot be asked about one device.".to_owned()),
            ..self.bare(serial, Reason::StationFault)
        };
        Box::pin(std::future::ready(candidates.iter().map(unknown).collect()))
    }

    /// What each pass reads first.
    fn probe(&self) -> Pending<'_, Result<(), Fault>> {
        Box::pin(async { self.instances(Purpose::Scan).await.map(drop) })
    }

    fn examine(&self) -> Pending<'_, Examination> {
        Box::pin(examine::examine(self))
    }

    fn client(&self) -> &Client {
        &self.client
    }

    fn vitals(&self) -> Vitals {
        let Some(known) = self.instances.last() else {
            return Vitals::default();
        };
        let counted = self.policy.counted(&known.list);
        Vitals {
            as_of: finding::last_sync(&counted),
            credential_days: finding::days_left(&counted, known.now()),
            credential_expires: finding::expires(&counted),
            quota: None,
        }
    }

    fn listed(&self) -> Option<&dyn Listed> {
        Some(self)
    }
}

impl Jamf {
    fn new(settings: Settings, to: Endpoint<'_>) -> Result<Self, ClientFault> {
        let base = below(&to.url, "api");
        let mut allow = vec![
            Allowed::get(&base, INSTANCES, &["page", "page-size"]),
            Allowed::get(&base, "v1/device-enrollments/*/devices", &[]),
            Allowed::get(&base, "v1/device-enrollments/*/syncs/latest", &[]),
            Allowed::get(&base, "v1/device-enrollments/*/syncs", &[]),
        ];
        allow.extend(TOKENS.map(|path| Allowed::post(&base, path)));
        if !settings.policy.expected_prestages.is_empty() {
            allow.extend(PrestageKind::ALL.map(|kind| Allowed::get(&base, kind.scope(), &[])));
        }
        let client = to.client(allow, USER_AGENT, None)?;
        let grant = ClientCredentials {
            client_id: settings.client_id,
            secret: settings.secret,
            scope: None,
            places: TOKENS.map(|path| below(&base, path)).into(),
            config_key: "url",
            words: &WORDS,
        };
        Ok(Self {
            name: to.name,
            token: AccessToken::new(client.clone(), grant),
            client,
            base,
            policy: settings.policy,
            instances: Newest::default(),
            reading: tokio::sync::Mutex::default(),
        })
    }

    /// All instances with their newest successful sync, and the `Date` of the oldest reply.
    ///
    /// What is read after them comes from the same node: its own load balancer leads by cookies, and other nodes may know less.
    async fn instances(&self, purpose: Purpose) -> Result<Arc<Known<Instance>>, Fault> {
        self.client.begin_cookies();
        let read = async {
            let (mut list, date) = self.list_instances(purpose).await?;
            for instance in &mut list {
                instance.synced = self.last_success(&instance.id, purpose).await?;
            }
            Ok((list, date))
        };
        self.instances.read(read).await
    }

    async fn list_instances(&self, purpose: Purpose) -> Result<(Vec<Instance>, Timestamp), Fault> {
        let mut list: Vec<Instance> = Vec::new();
        let mut oldest = None;
        for page in 0..MOST_PAGES {
            let mut url = below(&self.base, INSTANCES);
            url.query_pairs_mut()
                .append_pair("page", &page.to_string())
                .append_pair("page-size", &PAGE.to_string());
            let reply = self.get(url, purpose).await?;
            let (instances, total) = reply.read(wire::instances)?;
            let date = *oldest.get_or_insert(reply.date);
            let before = list.len();
            for instance in instances {
                if list
                    .iter()
                    .any(|one| finding::same_id(&one.id, &instance.id))
                {
                    let detail = "Jamf Pro lists an instance twice.";
                    return Err(reply.garbled(detail));
                }
                list.push(instance);
            }
            let held = u64::try_from(list.len()).unwrap_or(u64::MAX);
            if held == total {
                return Ok((list, date));
            }
            if held > total || list.len() == before {
                let detail = format!(
                    "Jamf Pro's list of instances does not add up: it says {total}, and it holds {held}."
                );
                return Err(reply.garbled(&detail));
            }
        }
        let detail = "Jamf Pro's list of instances has no end.";
        Err(Fault::with(Reason::GarbledAnswer, detail))
    }

    /// The newest successful sync of an instance; `None`: it never had one.
    async fn last_success(&self, id: &str, purpose: Purpose) -> Result<Option<Timestamp>, Fault> {
        let latest = self.instance_url(id, "syncs/latest");
        let latest = match self.ask(latest, purpose).await {
            Ok(reply) => reply.read(wire::success)?,
            // It was never synced.
            Err(NoReply::Refused(refused)) if is_own_not_found(&refused) => None,
            Err(no) => return Err(meaning(no)),
        };
        if latest.is_some() {
            return Ok(latest);
        }
        match self.ask(self.instance_url(id, "syncs"), purpose).await {
            Ok(reply) => reply.read(wire::newest_success),
            Err(NoReply::Refused(refused)) if is_own_not_found(&refused) => Ok(None),
            Err(no) => Err(meaning(no)),
        }
    }

    fn instance_url(&self, id: &str, of: &str) -> Url {
        let mut url = below(&self.base, INSTANCES);
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(id).extend(of.split('/'));
        }
        url
    }

    async fn get(&self, url: Url, purpose: Purpose) -> Result<Reply, Fault> {
        self.ask(url, purpose).await.map_err(meaning)
    }

    async fn ask(&self, url: Url, purpose: Purpose) -> Result<Reply, NoReply> {
        self.token.send(wanting_json(url), purpose).await
    }

    /// A reply that is one long list, read as it comes.
    async fn rows(&self, url: Url, list: &'static str, purpose: Purpose) -> Result<Rows, Fault> {
        let ask = |request| self.client.rows(request, purpose, list);
        let rows = self.token.with(&wanting_json(url), purpose, ask).await;
        rows.map_err(meaning)
    }

    fn bare(&self, serial: &Serial, reason: Reason) -> Evidence {
        Evidence::bare(
            self.name.clone(),
            SourceKind::Jamf,
            serial.clone(),
            Finding::Unknown(reason),
        )
    }
}

impl PrestageKind {
    /// The path of the scopes of all PreStages of this kind.
    const fn scope(self) -> &'static str {
        match self {
            Self::Computer => "v2/computer-prestages/scope",
            Self::Mobile => "v2/mobile-device-prestages/scope",
        }
    }
}

fn wanting_json(url: Url) -> Request {
    Request::get(url).header("accept", "application/json")
}

/// What a refusal means. Jamf Pro gives its status in the body too: what has another form is not its own.
fn meaning(no: NoReply) -> Fault {
    let NoReply::Refused(refused) = no else {
        return no.into();
    };
    match refused.status {
        401 => refused.fault(Reason::CredentialsRefused, "Jamf Pro refused a new access token: look at the API client in Settings, System, API roles and clients."),
        403 => refused.fault(Reason::CredentialsRefused, "The API role lacks a privilege: Read Device Enrollment Program Instances; with expected_prestages also Read Computer PreStage Enrollments and Read Mobile Device PreStage Enrollments."),
        404 if is_own_not_found(&refused) => refused.fault(Reason::GarbledAnswer, "Jamf Pro does not have what it listed a moment ago: an instance was removed, and the next pass knows."),
        _ => NoReply::Refused(refused).into(),
    }
}

/// Does Jamf Pro itself say that it has no such thing, in the form of its errors?
fn is_own_not_found(refused: &Refused) -> bool {
    let text = refused.text();
    refused.status == 404 && text.contains("\"httpStatus\"") && text.contains("\"errors\"")
}
