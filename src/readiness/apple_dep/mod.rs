//! Apple's Device Assignment Services ("DEP"): Apple's own word on a device's profile.
//!
//! <https://developer.apple.com/documentation/devicemanagement/device-assignment>. The credential, a server token, could
//! also assign profiles and disown devices: the list of what may be asked holds reads alone.

mod batch;
mod examine;
mod finding;
mod listed;
mod oauth;
mod refusal;
pub mod server_token;
mod session;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;
pub mod token_file;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::{
    Purpose,
    evidence::{Evidence, Finding, SourceKind},
    examination::Examination,
    http::{self, Allowed, Client, ClientFault, Fault, Request},
    keeper::Vitals,
    service::{Adapter, Endpoint, Heard, Listed, Pending},
    shape::{Misshaped, Object},
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::{clock::Boot, credential::Secret, name::Name},
};
use batch::{Asked, Batches, Outcome};
pub use finding::Expected;
use finding::{Hosts, Profile, Reply, Said};
use session::{JSON, Session};
pub use settings::Settings;

/// How long a look-up waits beside its answer for the name of the server that the token is for.
const ACCOUNT_WAIT: Duration = Duration::from_secs(1);

/// How long look-ups do not retry after the account could not be read.
const ACCOUNT_PAUSE: Duration = Duration::from_mins(1);

/// The MDM server at Apple that the server token is for.
#[derive(Clone)]
struct Account {
    /// As Apple Business or School Manager shows it.
    server_name: String,
    /// 32 hex digits.
    server_uuid: Option<String>,
    org_name: Option<String>,
}

impl Account {
    fn read(body: &Value) -> Result<Self, Misshaped> {
        let account = Object::read("Apple's account", body)?;
        let server_name = account.shown("server_name")?.unwrap_or_default();
        Ok(Self {
            server_name,
            server_uuid: account.shown("server_uuid")?,
            org_name: account.shown("org_name")?,
        })
    }
}

/// One server token's view.
struct AppleDep {
    shared: Arc<Shared>,
}

struct Shared {
    name: Name,
    session: Session,
    expected: Expected,
    batches: Batches,
    known: Mutex<Known>,
}

/// What is read once in a while.
#[derive(Default)]
struct Known {
    /// Of the token with that access token.
    account: Option<(Secret, Account)>,
    /// When a look-up last asked for it.
    account_asked: Option<Instant>,
    hosts: Hosts,
    /// The hosts of the profiles that the present pass has met, by the profile's uuid; `None`: it could not be read.
    listed_hosts: HashMap<String, Option<String>>,
}

impl Adapter for AppleDep {
    fn look_up<'a>(
        &'a self,
        candidates: &'a Candidates,
        purpose: Purpose,
        heard: &'a Heard,
    ) -> Pending<'a, Vec<Evidence>> {
        Box::pin(self.ask(candidates, purpose, heard))
    }

    /// The account is the cheapest read, and the only one that a fresh server without devices answers.
    fn probe(&self) -> Pending<'_, Result<(), Fault>> {
        Box::pin(async { self.account().await.map(drop) })
    }

    fn examine(&self) -> Pending<'_, Examination> {
        Box::pin(examine::examine(self))
    }

    fn client(&self) -> &Client {
        self.shared.session.client()
    }

    fn vitals(&self) -> Vitals {
        let Ok(token) = self.shared.session.token() else {
            return Vitals::default();
        };
        Vitals {
            credential_days: Some(token.days_left(Timestamp::now())),
            credential_expires: Some(token.access_token_expiry),
            ..Vitals::default()
        }
    }

    fn listed(&self) -> Option<&dyn Listed> {
        Some(self)
    }
}

impl AppleDep {
    fn new(settings: Settings, to: Endpoint<'_>) -> Result<Self, ClientFault> {
        let client = to.client(allowed(&to.url), &settings.user_agent, None)?;
        let shared = Shared {
            name: to.name,
            session: Session::new(client, to.url, settings.token, to.clocks.own),
            expected: settings.expected,
            batches: Batches::default(),
            known: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    async fn ask(&self, candidates: &Candidates, purpose: Purpose, heard: &Heard) -> Vec<Evidence> {
        let serials: Vec<Serial> = candidates.iter().cloned().collect();
        let shared = self.shared.clone();
        let asked = self
            .shared
            .batches
            .ask(&serials, purpose, move |asked| async move {
                shared.devices(asked).await
            });
        let asked = async {
            let outcome = asked.await;
            if outcome.is_ok() {
                heard.note();
            }
            outcome
        };
        let (outcome, account) = tokio::join!(
            asked,
            tokio::time::timeout(ACCOUNT_WAIT, self.shared.account_once(purpose))
        );
        let account = account.ok().flatten();
        let mut all = Vec::with_capacity(serials.len());
        for serial in serials {
            let mut evidence = Evidence::bare(
                self.shared.name.clone(),
                SourceKind::AppleDep,
                serial,
                Finding::Unknown(Reason::StationFault),
            );
            evidence.server_uuid = account
                .as_ref()
                .and_then(|account| account.server_uuid.clone());
            match outcome.as_ref() {
                Ok((reply, date)) => {
                    evidence.replied_at = *date;
                    evidence.heard = true;
                    let said = reply.device(&evidence.serial);
                    let profile = self.shared.profile_of(&said, purpose).await;
                    finding::judge(&mut evidence, said, &profile, &self.shared.expected);
                    if let (Finding::No(Reason::NotFound), Some(account)) =
                        (evidence.finding, &account)
                    {
                        evidence.detail = Some(format!(
                            "Apple's MDM server {:?} does not hold it.",
                            account.server_name
                        ));
                    }
                }
                Err(fault) => {
                    evidence.finding = Finding::Unknown(fault.reason);
                    evidence.replied_at = fault.replied_at;
                    evidence.detail.clone_from(&fault.detail);
                }
            }
            all.push(evidence);
        }
        all
    }

    /// The MDM server that the token is for, read from Apple.
    async fn account(&self) -> Result<Account, Fault> {
        let (account, _) = self.shared.account(Purpose::Scan).await?;
        Ok(account)
    }
}

/// What the body of a reply of that `Date` to `POST /devices` says about one serial number, without a policy.
#[cfg(fuzzing)]
pub fn judged(body: &[u8], date: Timestamp, serial: &Serial, source: Name) -> Evidence {
    let mut evidence = Evidence::bare(
        source,
        SourceKind::AppleDep,
        serial.clone(),
        Finding::Unknown(Reason::GarbledAnswer),
    );
    evidence.replied_at = Some(date);
    let body: Value = http::json(body).unwrap_or_default();
    if let Ok(reply) = Reply::read(&body, std::slice::from_ref(serial)) {
        finding::judge(
            &mut evidence,
            reply.device(serial),
            &Profile::NotAsked,
            &Expected::default(),
        );
    }
    evidence
}

/// Everything that may be asked. The service's other calls assign, remove and disown.
fn allowed(base: &Url) -> Vec<Allowed> {
    vec![
        Allowed::get(base, "session", &[]),
        Allowed::get(base, "account", &[]),
        Allowed::get(base, "profile", &["profile_uuid"]),
        Allowed::post(base, "devices"),
        Allowed::post(base, "server/devices"),
    ]
}

fn garbled(reply: &http::Reply, misshaped: &Misshaped) -> Fault {
    reply.fault(Reason::GarbledAnswer, &misshaped.to_string())
}

impl Shared {
    async fn devices(&self, asked: Asked) -> Outcome {
        let serials: Vec<&str> = asked.serials.iter().map(Serial::as_str).collect();
        let body = serde_json::json!({ "devices": serials })
            .to_string()
            .into_bytes();
        let reply = self
            .session
            .call(
                Request::post(self.session.url("devices"), JSON, body),
                asked.purpose,
            )
            .await?;
        let read = Reply::read(reply.body(), &asked.serials)
            .map_err(|misshaped| garbled(&reply, &misshaped))?;
        Ok((read, Some(reply.date)))
    }

    /// The account, read once for each token; `None` while it cannot be had.
    async fn account_once(&self, purpose: Purpose) -> Option<Account> {
        if let Some(account) = self.known_account() {
            return Some(account);
        }
        {
            let mut known = self.known();
            if known
                .account_asked
                .is_some_and(|asked| asked.elapsed() < ACCOUNT_PAUSE)
            {
                return None;
            }
            known.account_asked = Some(Instant::now());
        }
        let (account, _) = self.account(purpose).await.ok()?;
        Some(account)
    }

    /// The account as last read, if it is the present token's.
    fn known_account(&self) -> Option<Account> {
        let access_token = self.session.token().ok()?.access_token;
        let known = self.known();
        let (of, account) = known.account.as_ref()?;
        (*of == access_token).then(|| account.clone())
    }

    /// The account, and the reply's `Date`.
    async fn account(&self, purpose: Purpose) -> Result<(Account, Timestamp), Fault> {
        let access_token = self.session.token()?.access_token;
        let reply = self
            .session
            .call(Request::get(self.session.url("account")), purpose)
            .await?;
        let account =
            Account::read(reply.body()).map_err(|misshaped| garbled(&reply, &misshaped))?;
        self.known().account = Some((access_token, account.clone()));
        Ok((account, reply.date))
    }

    /// The host of the device's profile, where the station's policy asks for it.
    async fn profile_of(&self, said: &Said, purpose: Purpose) -> Profile {
        let Said::Device(device) = said else {
            return Profile::NotAsked;
        };
        let uuid = match self.expected.wanted_profile(device) {
            Ok(uuid) => uuid,
            Err(profile) => return profile,
        };
        let asked_at = Boot::now();
        let known = self.known().hosts.of(uuid, asked_at);
        if let Some(host) = known {
            return Profile::Host(host);
        }
        match self.host_of(uuid, purpose).await {
            Ok(host) => {
                self.known().hosts.keep(uuid, &host, asked_at);
                Profile::Host(host)
            }
            Err(fault) => Profile::Unread(fault.reason, fault.detail),
        }
    }

    async fn host_of(&self, uuid: &str, purpose: Purpose) -> Result<String, Fault> {
        let mut url = self.session.url("profile");
        url.query_pairs_mut().append_pair("profile_uuid", uuid);
        let reply = self.session.call(Request::get(url), purpose).await?;
        finding::host_of(reply.body(), uuid).map_err(|misshaped| garbled(&reply, &misshaped))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::{
        readiness::http::{ClientSettings, Limits, below},
        runtime::clock::ClockWatch,
    };

    /// Nothing listens there: the reason shows whether a request was sent or refused.
    const BASE: &str = "http://127.0.0.1:9";

    async fn reason(request: Request) -> Reason {
        let base: Url = BASE.parse().unwrap();
        let settings = ClientSettings {
            allow: allowed(&base),
            user_agent: "test",
            ca_file: None,
            reads_per_minute: 0,
            quota_share: 1.0,
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
        let base: Url = BASE.parse().unwrap();
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
