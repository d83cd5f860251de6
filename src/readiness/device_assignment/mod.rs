//! What all sources share that ask Apple's Device Assignment Services: themselves, or through an MDM's server that passes the question on.

mod batch;
mod finding;
mod key;
mod listed;
mod refusal;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{
    Purpose,
    evidence::{Evidence, Finding, SourceKind},
    examination::{Examination, MdmServer},
    http::{Allowed, Client, Fault, Reply, Request, below},
    keeper::Vitals,
    service::{Adapter, Heard, Listed, NO_SERIAL, Pending},
    shape::{Misshaped, Object},
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::{clock::Boot, credential::Secret, name::Name},
};
use batch::{Asked, Batches, Outcome};
pub use finding::Expected;
pub(super) use finding::Nothing;
use finding::{Devices, Hosts, Profile, Said};
pub(super) use key::Key;
pub(super) use refusal::{Refusal, named, refusal};

/// As Apple writes it.
pub(super) const JSON: &str = "application/json;charset=UTF8";
/// The version of Apple's protocol that is spoken here.
const PROTOCOL: &str = "10";

/// How long a look-up waits beside its answer for the name of the server that is asked.
const ACCOUNT_WAIT: Duration = Duration::from_secs(1);

/// How long look-ups do not retry after the account could not be read.
const ACCOUNT_PAUSE: Duration = Duration::from_mins(1);

/// One question to the Device Assignment Services. All of them read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question<'q> {
    /// Which MDM server at Apple is asked.
    Account,
    /// What Apple holds of these serial numbers.
    Devices(&'q [&'q str]),
    /// One page of all devices; `None`: the first.
    Page(Option<&'q str>),
    /// The profile with that uuid.
    Profile(&'q str),
}

impl Question<'_> {
    /// As Apple's own API takes it, below `base`, with the headers of every call.
    pub(super) fn request(self, base: &Url) -> Request {
        let post = |path, body: Value| {
            Request::post(below(base, path), JSON, body.to_string().into_bytes())
        };
        let request = match self {
            Self::Account => Request::get(below(base, "account")),
            Self::Devices(serials) => post("devices", json!({ "devices": serials })),
            Self::Page(None) => post("server/devices", json!({ "limit": listed::LIMIT })),
            Self::Page(Some(cursor)) => post(
                "server/devices",
                json!({ "limit": listed::LIMIT, "cursor": cursor }),
            ),
            Self::Profile(uuid) => {
                let mut url = below(base, "profile");
                url.query_pairs_mut().append_pair("profile_uuid", uuid);
                Request::get(url)
            }
        };
        with_headers(request)
    }

    /// Every question that Apple's own API takes below `base`. Its other calls assign, remove and disown.
    pub(super) fn allowed(base: &Url) -> Vec<Allowed> {
        vec![
            Allowed::get(base, "account", &[]),
            Allowed::get(base, "profile", &["profile_uuid"]),
            Allowed::post(base, "devices"),
            Allowed::post(base, "server/devices"),
        ]
    }
}

/// The headers of every call.
pub(super) fn with_headers(request: Request) -> Request {
    request
        .header("accept", JSON)
        .header("content-type", JSON)
        .header("x-server-protocol-version", PROTOCOL)
}

/// The way to the Device Assignment Services.
pub(super) trait Way: Sized + Send + Sync + 'static {
    const KIND: SourceKind;

    /// Does it take every [`Question`]? Else only that about devices.
    const WHOLE: bool;

    /// Do scans of the same moment go in one request? Else only what nobody waits for does, and no scan's fault is another's.
    const SCANS_TOGETHER: bool;

    /// How it says that Apple holds nothing of a serial number.
    const NOTHING: Nothing;

    fn client(&self) -> &Client;

    /// Where it asks.
    fn base(&self) -> &Url;

    /// What the account depends on: with another secret it is to be read again.
    fn secret(&self) -> Result<Secret, Fault>;

    fn ask<'a>(
        &'a self,
        question: Question<'a>,
        purpose: Purpose,
    ) -> Pending<'a, Result<Reply, Fault>>;

    fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    /// What the doctor says of it.
    fn examine(source: &DeviceAssignment<Self>) -> Pending<'_, Examination>;
}

/// The MDM server at Apple that is asked.
#[derive(Clone)]
pub(super) struct Account {
    /// As Apple Business or School Manager shows it.
    pub(super) server_name: String,
    /// 32 hex digits.
    pub(super) server_uuid: Option<String>,
    pub(super) org_name: Option<String>,
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

    /// The server and its organisation, in words.
    pub(super) fn shown(&self) -> String {
        format!(
            "the MDM server {:?} ({}) of {}",
            self.server_name,
            self.server_uuid.as_deref().unwrap_or("id not stated"),
            self.org_name.as_deref().map_or_else(
                || "an organisation that is not named".to_owned(),
                |name| format!("{name:?}")
            ),
        )
    }
}

impl From<Account> for MdmServer {
    fn from(account: Account) -> Self {
        Self {
            name: account.server_name,
            uuid: account.server_uuid,
        }
    }
}

/// One MDM server's view of its devices, as Apple has it.
pub(super) struct DeviceAssignment<W> {
    shared: Arc<Shared<W>>,
}

struct Shared<W> {
    name: Name,
    way: W,
    expected: Expected,
    batches: Batches,
    known: Mutex<Known>,
}

/// What is read once in a while.
#[derive(Default)]
struct Known {
    /// With the secret that it was read with.
    account: Option<(Secret, Account)>,
    /// When a look-up last asked for it.
    account_asked: Option<Instant>,
    hosts: Hosts,
    /// The hosts of the profiles that the present pass has met, by the profile's uuid; `None`: it could not be read.
    listed_hosts: HashMap<String, Option<String>>,
}

impl<W: Way> Adapter for DeviceAssignment<W> {
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
        Box::pin(async {
            if W::WHOLE {
                self.account().await.map(drop)
            } else {
                self.nobody().await
            }
        })
    }

    fn examine(&self) -> Pending<'_, Examination> {
        W::examine(self)
    }

    fn client(&self) -> &Client {
        self.way().client()
    }

    fn vitals(&self) -> Vitals {
        self.way().vitals()
    }

    fn listed(&self) -> Option<&dyn Listed> {
        W::WHOLE.then_some(self)
    }
}

impl<W: Way> DeviceAssignment<W> {
    pub(super) fn new(name: Name, way: W, expected: Expected) -> Self {
        let shared = Shared {
            name,
            way,
            expected,
            batches: Batches::default(),
            known: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    pub(super) fn way(&self) -> &W {
        &self.shared.way
    }

    /// The MDM server that is asked, read from Apple.
    pub(super) async fn account(&self) -> Result<Account, Fault> {
        let (account, _) = self.shared.account(Purpose::Scan).await?;
        Ok(account)
    }

    /// Asks about no device at all, to see that an answer comes.
    pub(super) async fn nobody(&self) -> Result<(), Fault> {
        let asked = Purpose::Scan;
        self.shared.devices(&[NO_SERIAL], asked).await.map(drop)
    }

    async fn ask(&self, candidates: &Candidates, purpose: Purpose, heard: &Heard) -> Vec<Evidence> {
        let serials: Vec<Serial> = candidates.iter().cloned().collect();
        let asked = async {
            let outcome = self.outcome(&serials, purpose).await;
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
            let mut evidence = self.shared.bare(&serial, Reason::StationFault);
            evidence.server_uuid = account
                .as_ref()
                .and_then(|account| account.server_uuid.clone());
            match outcome.as_ref() {
                Ok((devices, date)) => {
                    evidence.replied_at = *date;
                    evidence.heard = true;
                    let said = devices.device(&evidence.serial);
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

    async fn outcome(&self, serials: &[Serial], purpose: Purpose) -> Arc<Outcome> {
        let shared = self.shared.clone();
        let send = move |asked: Asked| async move {
            let serials: Vec<&str> = asked.serials.iter().map(Serial::as_str).collect();
            shared.devices(&serials, asked.purpose).await
        };
        if purpose == Purpose::Scan && !W::SCANS_TOGETHER {
            let serials = serials.to_vec();
            return Arc::new(send(Asked { serials, purpose }).await);
        }
        self.shared.batches.ask(serials, purpose, send).await
    }
}

/// What the body of a reply of that `Date` to the question about devices says about one serial number, without a policy.
#[cfg(any(test, fuzzing))]
pub(super) fn judged<W: Way>(
    body: &[u8],
    date: Timestamp,
    serial: &Serial,
    source: Name,
) -> Evidence {
    let mut evidence = Evidence::bare(
        source,
        W::KIND,
        serial.clone(),
        Finding::Unknown(Reason::GarbledAnswer),
    );
    evidence.replied_at = Some(date);
    let body: Value = super::http::json(body).unwrap_or_default();
    if let Ok(devices) = Devices::read(&body, &[serial.as_str()], W::NOTHING) {
        finding::judge(
            &mut evidence,
            devices.device(serial),
            &Profile::NotAsked,
            &Expected::default(),
        );
    }
    evidence
}

impl<W: Way> Shared<W> {
    async fn devices(&self, serials: &[&str], purpose: Purpose) -> Outcome {
        let reply = self.way.ask(Question::Devices(serials), purpose).await?;
        let read = reply.read(|body| Devices::read(body, serials, W::NOTHING))?;
        Ok((read, Some(reply.date)))
    }

    /// The account, read once for each secret; `None` while it cannot be had.
    async fn account_once(&self, purpose: Purpose) -> Option<Account> {
        if !W::WHOLE {
            return None;
        }
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

    /// The account as last read, if it was with the present secret.
    fn known_account(&self) -> Option<Account> {
        let secret = self.way.secret().ok()?;
        let known = self.known();
        let (with, account) = known.account.as_ref()?;
        (*with == secret).then(|| account.clone())
    }

    /// The account, and the reply's `Date`.
    async fn account(&self, purpose: Purpose) -> Result<(Account, Timestamp), Fault> {
        let secret = self.way.secret()?;
        let reply = self.way.ask(Question::Account, purpose).await?;
        let account = reply.read(Account::read)?;
        self.known().account = Some((secret, account.clone()));
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
        let reply = self.way.ask(Question::Profile(uuid), purpose).await?;
        reply.read(|body| finding::host_of(body, uuid))
    }

    fn bare(&self, serial: &Serial, reason: Reason) -> Evidence {
        let unknown = Finding::Unknown(reason);
        Evidence::bare(self.name.clone(), W::KIND, serial.clone(), unknown)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(in crate::readiness) mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{finding::tests as table, *};
    use crate::readiness::evidence::Grade;

    /// Every row of the table, as it comes in the body of that way's reply.
    pub(in crate::readiness) fn every_row_is_judged_alike<W: Way>(
        change: impl Fn(&mut Value),
        expected: impl Fn(&Value, (Finding, bool)) -> (Finding, bool),
    ) {
        let serial = Serial::new(table::SERIAL).unwrap();
        let name = Name::new("mdm").unwrap();
        let judge = |record: &Value| {
            let body = json!({ "devices": { table::SERIAL: record } }).to_string();
            judged::<W>(body.as_bytes(), table::now(), &serial, name.clone())
        };
        let rows = table::table();
        assert!(rows.len() > 25);
        for (fields, finding, known) in rows {
            let mut record = table::device(&fields);
            change(&mut record);
            let evidence = judge(&record);
            assert_eq!(evidence.kind, W::KIND);
            assert_eq!(
                (evidence.judged(false), evidence.known),
                expected(&fields, (finding, known)),
                "{record}"
            );
        }
        let mut pushed = table::device(&json!({"profile_status": "pushed"}));
        change(&mut pushed);
        let evidence = judge(&pushed);
        let activated = Finding::No(Reason::PreviouslyActivated);
        assert_eq!(evidence.judged(false), activated);
        assert_eq!(evidence.judged(true), Finding::Ready(Grade::Apple));
        assert_eq!(judge(&json!(null)).finding, Finding::No(Reason::NotFound));
        let blank = match W::NOTHING {
            Nothing::Null => Finding::Unknown(Reason::GarbledAnswer),
            Nothing::NullOrBlank => Finding::No(Reason::NotFound),
        };
        assert_eq!(judge(&json!({})).finding, blank);
        let nothing = judged::<W>(b"{\"devices\":{}}", table::now(), &serial, name.clone());
        assert_eq!(nothing.finding, Finding::No(Reason::NotFound));
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "{\"devices\":[]}",
            "{\"devices\":null}",
        ] {
            let evidence = judged::<W>(body.as_bytes(), table::now(), &serial, name.clone());
            let garbled = Finding::Unknown(Reason::GarbledAnswer);
            assert_eq!(evidence.finding, garbled, "{body}");
        }
    }
}
