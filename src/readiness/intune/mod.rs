//! Microsoft Intune: an MDM whose API tells what it means to do with a device, and not what Apple knows of it.
//!
//! Reads the ADE tokens (`depOnboardingSettings`) and each one's `importedAppleDeviceIdentities` through Microsoft Graph, whose version
//! `/beta` alone has them: <https://learn.microsoft.com/graph/api/resources/intune-enrollment-importedappledeviceidentity?view=graph-rest-beta>.
//! A sync with Apple cannot be ordered with a credential that only reads.

mod examine;
mod finding;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;
mod wire;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use jiff::Timestamp;
use url::Url;

use super::{
    Purpose,
    access_token::AccessToken,
    client_credentials::{ClientCredentials, Words},
    evidence::{Evidence, Finding, SourceKind},
    examination::Examination,
    http::{Allowed, Client, ClientFault, Fault, NoReply, Reply, Request, below},
    keeper::Vitals,
    newest::{Known, Newest},
    service::{Adapter, Endpoint, Heard, NO_SERIAL, Pending, USER_AGENT},
    spelling,
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::name::Name,
};
pub use finding::Policy;
use finding::{Asked, Records};
pub use settings::Settings;
use wire::{List, Profile, Row, Token};

const TOKENS: &str = "deviceManagement/depOnboardingSettings";
const DEVICES: &str = "importedAppleDeviceIdentities";
const PROFILES: &str = "enrollmentProfiles";

/// A filter that matches more records than fit on this many pages is not a serial number.
const MAX_PAGES: usize = 5;
/// What the address of a further page may ask besides.
const PAGING: &[&str] = &["$skiptoken", "$skip", "$top", "$count"];
const FILTER_AND_PAGING: &[&str] = &["$filter", "$skiptoken", "$skip", "$top", "$count"];
/// The API's hosts besides the global one; each is its own audience of a token.
const NATIONAL_CLOUDS: [&str; 3] = [
    "graph.microsoft.us",
    "dod-graph.microsoft.us",
    "microsoftgraph.chinacloudapi.cn",
];

/// The permission that the app needs, as Entra's console calls it.
const PERMISSION: &str = "DeviceManagementServiceConfig.Read.All";

/// Entra's own codes stand in the text of its refusal.
const WORDS: Words = Words {
    service: "Microsoft Entra",
    meanings: &[
        (
            "AADSTS7000222",
            Reason::CredentialsExpired,
            "The app's client secret has expired (AADSTS7000222): make a new one in Entra, App registrations, Certificates & secrets.",
        ),
        (
            "AADSTS7000215",
            Reason::CredentialsRefused,
            "Entra refuses the client secret (AADSTS7000215): it must be the secret's value, not its id, and of this app.",
        ),
        (
            "AADSTS700016",
            Reason::CredentialsRefused,
            "Entra has no such app in this tenant (AADSTS700016): check client_id and tenant.",
        ),
        (
            "AADSTS900023",
            Reason::CredentialsRefused,
            "Entra takes this for no tenant (AADSTS900023): check tenant.",
        ),
        (
            "AADSTS90002",
            Reason::CredentialsRefused,
            "Entra has no such tenant (AADSTS90002): check tenant.",
        ),
        (
            "AADSTS7000112",
            Reason::CredentialsRefused,
            "The app is disabled in Entra (AADSTS7000112).",
        ),
        (
            "AADSTS53003",
            Reason::CredentialsRefused,
            "A Conditional Access policy in Entra blocks the app (AADSTS53003).",
        ),
        (
            "invalid_client",
            Reason::CredentialsRefused,
            "Entra refuses the app (invalid_client): check client_id and the client secret.",
        ),
        (
            "invalid_scope",
            Reason::CredentialsRefused,
            "Entra refuses the scope (invalid_scope): url and token_url must be of the same cloud.",
        ),
    ],
    otherwise: "Entra gives this app no token: check tenant, client_id and the client secret.",
};

/// One Intune tenant.
struct Intune {
    name: Name,
    base: Url,
    client: Client,
    token: AccessToken<ClientCredentials>,
    policy: Policy,
    tokens: Newest<Token>,
}

impl Adapter for Intune {
    fn look_up<'a>(
        &'a self,
        candidates: &'a Candidates,
        purpose: Purpose,
        heard: &'a Heard,
    ) -> Pending<'a, Vec<Evidence>> {
        Box::pin(self.ask(candidates, purpose, heard))
    }

    /// The token list, which is fresh again then, and an empty look-up of each token.
    fn probe(&self) -> Pending<'_, Result<(), Fault>> {
        Box::pin(async {
            let tokens = self.fetch_tokens(Purpose::Scan).await?;
            let heard = Heard::default();
            let read = self
                .rows_of_all(&tokens.list, NO_SERIAL, Purpose::Scan, &heard)
                .await;
            read.into_iter().try_for_each(|rows| rows.map(drop))
        })
    }

    fn examine(&self) -> Pending<'_, Examination> {
        Box::pin(examine::examine(self))
    }

    fn client(&self) -> &Client {
        &self.client
    }

    fn vitals(&self) -> Vitals {
        let Some(tokens) = self.tokens.kept() else {
            return Vitals::default();
        };
        let expires = self
            .policy
            .counted(&tokens.list)
            .filter_map(|token| token.expires_at)
            .min();
        let days = |expires: Timestamp| {
            expires
                .duration_since(tokens.now())
                .as_secs()
                .div_euclid(86_400)
        };
        Vitals {
            as_of: self
                .policy
                .counted(&tokens.list)
                .map(|token| token.synced_at)
                .min()
                .flatten(),
            credential_days: expires.map(days),
            credential_expires: expires,
            quota: None,
        }
    }

    fn refresh_in(&self) -> Option<Duration> {
        let tokens = self.tokens.refresh_in();
        Some(
            self.token
                .renew_in()
                .map_or(tokens, |renew| tokens.min(renew)),
        )
    }
}

/// What one token's list holds in answer to a filter, and the last page's `Date`.
type Rows = (Vec<Row>, Timestamp);

impl Intune {
    fn new(settings: Settings, to: Endpoint<'_>) -> Result<Self, ClientFault> {
        let client = to.client(allowed(&to.url, &settings.token_url), USER_AGENT, None)?;
        let grant = ClientCredentials {
            client_id: settings.client_id,
            secret: settings.secret,
            scope: Some(scope(&to.url)),
            places: vec![settings.token_url],
            config_key: "token_url",
            words: &WORDS,
        };
        Ok(Self {
            name: to.name,
            base: to.url,
            token: AccessToken::new(client.clone(), grant),
            client,
            policy: settings.policy,
            tokens: Newest::default(),
        })
    }

    async fn ask(&self, candidates: &Candidates, purpose: Purpose, heard: &Heard) -> Vec<Evidence> {
        let tokens = match self.tokens(purpose).await {
            Ok(tokens) => tokens,
            Err(fault) => {
                let unknown = |serial| Evidence {
                    detail: fault.detail.clone(),
                    replied_at: fault.replied_at,
                    ..self.bare(serial, fault.reason)
                };
                return candidates.iter().map(unknown).collect();
            }
        };
        // The filter is a *contains*: the shorter candidate finds the records of both.
        let shorter = candidates.stripped.as_ref().unwrap_or(&candidates.scanned);
        let read = self
            .rows_of_all(&tokens.list, shorter.as_str(), purpose, heard)
            .await;
        let asked: Vec<Asked<'_>> = self
            .policy
            .counted(&tokens.list)
            .zip(&read)
            .map(|(token, rows)| Asked {
                token,
                rows: rows.as_ref().map(|(rows, date)| (rows.as_slice(), *date)),
            })
            .collect();
        let records = Records {
            listed_now: tokens.now(),
            asked: &asked,
        };
        let judged = |serial| {
            let bare = Evidence {
                heard: read.iter().any(Result::is_ok),
                ..self.bare(serial, Reason::GarbledAnswer)
            };
            finding::judge(bare, &records, &self.policy)
        };
        candidates.iter().map(judged).collect()
    }

    /// Every token that counts is asked, side by side; in the order of the list.
    async fn rows_of_all(
        &self,
        tokens: &[Token],
        filter: &str,
        purpose: Purpose,
        heard: &Heard,
    ) -> Vec<Result<Rows, Fault>> {
        let asked = self
            .policy
            .counted(tokens)
            .map(|token| self.rows(token, filter, purpose, heard));
        join_all(asked).await
    }

    async fn rows(
        &self,
        token: &Token,
        filter: &str,
        purpose: Purpose,
        heard: &Heard,
    ) -> Result<Rows, Fault> {
        let mut url = below(&self.base, &format!("{TOKENS}/{}/{DEVICES}", token.id));
        url.set_query(Some(&question(filter)));
        let (list, reply) = self.pages(url, purpose).await?;
        heard.note();
        Ok((reply.read(|_| list.rows(filter))?, reply.date))
    }

    async fn profiles(&self, token: &Token) -> Result<Vec<Profile>, Fault> {
        let url = below(&self.base, &format!("{TOKENS}/{}/{PROFILES}", token.id));
        let (list, reply) = self.pages(url, Purpose::Scan).await?;
        reply.read(|_| list.profiles())
    }

    /// All pages of a list, and the last reply.
    async fn pages(&self, first: Url, purpose: Purpose) -> Result<(List, Reply), Fault> {
        let mut list = List::default();
        let mut url = first.clone();
        for _ in 0..MAX_PAGES {
            let reply = self.get(url.clone(), purpose).await?;
            let Some(next) = reply.read(|page| list.take(page))? else {
                return Ok((list, reply));
            };
            url = further(&first, &next).ok_or_else(|| {
                reply.garbled(
                    "Graph names the list's next page at another place than the list's own.",
                )
            })?;
        }
        Err(Fault::with(
            Reason::GarbledAnswer,
            "Graph's list has more pages than can answer this question.",
        ))
    }

    async fn tokens(&self, purpose: Purpose) -> Result<Arc<Known<Token>>, Fault> {
        match self.tokens.kept() {
            Some(tokens) => Ok(tokens),
            None => self.fetch_tokens(purpose).await,
        }
    }

    async fn fetch_tokens(&self, purpose: Purpose) -> Result<Arc<Known<Token>>, Fault> {
        let read = async {
            let (list, reply) = self.pages(below(&self.base, TOKENS), purpose).await?;
            Ok((reply.read(|_| list.tokens())?, reply.date))
        };
        self.tokens.read(read).await
    }

    async fn get(&self, url: Url, purpose: Purpose) -> Result<Reply, Fault> {
        let request = Request::get(url).header("accept", "application/json");
        self.token.send(request, purpose).await.map_err(|no| match no {
            NoReply::Refused(refused) if refused.status == 403 => {
                let detail = format!("The app lacks the application permission {PERMISSION} in Entra, or an administrator's consent to it; or the tenant has no Intune licence.");
                refused.fault(Reason::CredentialsRefused, &detail)
            }
            NoReply::Refused(refused) if refused.status == 401 => {
                refused.fault(Reason::CredentialsRefused, "Microsoft Graph refuses the access token, also a new one: url and token_url must be of the same cloud.")
            }
            no => no.into(),
        })
    }

    fn bare(&self, serial: &Serial, reason: Reason) -> Evidence {
        let finding = Finding::Unknown(reason);
        Evidence::bare(
            self.name.clone(),
            SourceKind::Intune,
            serial.clone(),
            finding,
        )
    }
}

/// The query that asks for one serial number. In a text of OData a `'` is doubled.
fn question(serial: &str) -> String {
    let filter = format!(
        "discoverySource eq 'deviceEnrollmentProgram' and contains(serialNumber,'{}')",
        serial.replace('\'', "''")
    );
    format!("$filter={}", spelling::encoded(&filter))
}

/// The address of a further page of the list at `first`; `None`: the service names another place, which the access token must not reach,
/// or another question, which is no answer to this one.
fn further(first: &Url, next: &str) -> Option<Url> {
    let next: Url = next.parse().ok()?;
    let is_same = next.origin() == first.origin()
        && next.path() == first.path()
        && next.username().is_empty()
        && next.password().is_none();
    let is_paging = |name: &str| PAGING.contains(&name);
    let asks_alike = next.query_pairs().all(|(name, value)| {
        is_paging(&name)
            || first
                .query_pairs()
                .any(|first| first == (name.clone(), value.clone()))
    });
    (is_same && asks_alike).then_some(next)
}

/// The audience of an access token for the API at `base`.
fn scope(base: &Url) -> &'static str {
    match base.host_str().unwrap_or_default().trim_end_matches('.') {
        "graph.microsoft.us" => "https://graph.microsoft.us/.default",
        "dod-graph.microsoft.us" => "https://dod-graph.microsoft.us/.default",
        "microsoftgraph.chinacloudapi.cn" => "https://microsoftgraph.chinacloudapi.cn/.default",
        _ => "https://graph.microsoft.com/.default",
    }
}

/// Everything that may be asked. With more rights than it needs the app could assign profiles and wipe devices.
fn allowed(base: &Url, token_url: &Url) -> Vec<Allowed> {
    vec![
        Allowed::get(base, TOKENS, PAGING),
        Allowed::get(
            base,
            "deviceManagement/depOnboardingSettings/*/importedAppleDeviceIdentities",
            FILTER_AND_PAGING,
        ),
        Allowed::get(
            base,
            "deviceManagement/depOnboardingSettings/*/enrollmentProfiles",
            PAGING,
        ),
        Allowed::post(token_url, ""),
    ]
}

/// What the bodies of Graph's replies (ADE tokens, the first token's records), all dated `now`, say about one serial number where every
/// token and profile counts.
#[cfg(any(test, fuzzing))]
pub fn judged(
    [tokens, rows]: [&[u8]; 2],
    now: Timestamp,
    serial: &Serial,
    source: Name,
) -> Evidence {
    let finding = Finding::Unknown(Reason::GarbledAnswer);
    let evidence = Evidence::bare(source, SourceKind::Intune, serial.clone(), finding);
    let list = |body: &[u8]| {
        let mut list = List::default();
        let next = list.take(&super::http::json(body)?).ok()?;
        next.is_none().then_some(list)
    };
    let tokens = list(tokens).and_then(|list| list.tokens().ok());
    let rows = list(rows).and_then(|list| list.rows(serial.as_str()).ok());
    let (Some(tokens), Some(rows)) = (tokens, rows) else {
        return evidence;
    };
    let asked = tokens.iter().enumerate().map(|(place, token)| {
        let rows = if place == 0 { rows.as_slice() } else { &[] };
        Asked {
            token,
            rows: Ok((rows, now)),
        }
    });
    let asked: Vec<Asked<'_>> = asked.collect();
    let records = Records {
        listed_now: now,
        asked: &asked,
    };
    let policy = Policy {
        tokens: Vec::new(),
        max_fetch_age: Duration::from_hours(24),
        expected_profiles: Vec::new(),
    };
    finding::judge(evidence, &records, &policy)
}

#[cfg(test)]
mod tests;
