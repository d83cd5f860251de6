//! What other systems know about one serial number: one file per service, the evidence it yields, one HTTP client.

pub mod apple_business;
pub mod apple_dep;
pub mod evidence;
pub mod http;
pub mod kandji;
pub mod keeper;
pub mod lenient;
pub mod shape;
mod turn;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use jiff::SignedDuration;
use tokio::{sync::watch, time::Instant};
use url::Url;

use crate::{
    health::SourceHealth,
    label::Candidates,
    reason::Reason,
    runtime::{
        credential::{Credential, CredentialFault},
        name::Name,
        pulse::Pulse,
    },
};
use apple_business::AppleBusiness;
use apple_dep::AppleDep;
use evidence::{Answer, Evidence, Finding, SourceKind};
use http::{Client, ClientFault, Clocks, Fault, Limits};
use kandji::Kandji;
use keeper::{Keeper, Vitals};

/// One `[[source]]` of the config.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub name: Name,
    /// Base URL.
    pub url: Url,
    /// An additional trust anchor; `None`: the system's only.
    pub ca_file: Option<PathBuf>,
    /// Own limit of reads a minute; 0: none.
    pub reads_per_minute: u32,
    /// What it is.
    pub service: Service,
}

/// What a source is, with what only that kind needs.
#[derive(Clone, Debug)]
pub enum Service {
    /// Kandji / Iru.
    Kandji {
        /// Bearer token.
        token: Credential,
        /// ADE token ids that count; empty: all.
        tokens: Vec<String>,
        /// How old the MDM's last fetch from Apple may be.
        max_fetch_age: Duration,
        /// Blueprint ids that count; empty: any.
        expected_blueprints: Vec<String>,
    },
    /// Apple's Device Assignment Services.
    AppleDep {
        /// JSON with Apple's five token fields.
        token: Credential,
        /// `User-Agent` header.
        user_agent: String,
        /// Profile uuids that count; empty: any.
        expected_profiles: Vec<String>,
        /// Hosts that a profile's url may name; empty: not asked.
        expected_hosts: Vec<String>,
    },
    /// Apple Business or School Manager's API.
    AppleBusiness {
        /// Token endpoint.
        token_url: Url,
        /// OAuth scope.
        scope: String,
        /// Client id.
        client_id: String,
        /// Key id.
        key_id: String,
        /// The downloaded PEM.
        key: Credential,
        /// Ids of the organisation's MDM servers that count.
        expected_servers: Vec<String>,
    },
}

impl Settings {
    /// The source's kind.
    pub const fn kind(&self) -> SourceKind {
        match self.service {
            Service::Kandji { .. } => SourceKind::Kandji,
            Service::AppleDep { .. } => SourceKind::AppleDep,
            Service::AppleBusiness { .. } => SourceKind::AppleBusiness,
        }
    }
}

/// Is the credential of a source of that kind there, and of the form that its service wants? Whether the service takes it, only the service knows.
///
/// # Errors
/// [`CredentialFault`] with what is wrong and what to do.
pub fn check_credential(kind: SourceKind, credential: &Credential) -> Result<(), CredentialFault> {
    match kind {
        SourceKind::Kandji => credential.read_token().map(drop),
        SourceKind::AppleDep => apple_dep::check_token(credential),
        SourceKind::AppleBusiness => apple_business::check_key(credential),
    }
}

/// For what a source is asked: scans go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A person waits at the lamp.
    Scan,
    /// A waiting box is asked again; never into a source's last 20 % of quota.
    Recheck,
}

/// A service that can be asked about serial numbers. Cheap to clone; the clones are one source.
#[derive(Clone)]
pub struct Source {
    shared: Arc<Shared>,
}

struct Shared {
    name: Name,
    kind: SourceKind,
    limits: Limits,
    adapter: Adapter,
    keeper: Keeper,
}

/// One file per service. To add one: a variant here, an arm in each function of [`Adapter`], a variant of [`Service`] and of [`SourceKind`].
enum Adapter {
    Kandji(Box<Kandji>),
    AppleDep(AppleDep),
    AppleBusiness(Box<AppleBusiness>),
}

impl Source {
    /// A source from its settings.
    ///
    /// # Errors
    /// [`ClientFault`] when its URL or `ca_file` cannot be used.
    pub fn new(settings: Settings, clocks: impl Into<Clocks>) -> Result<Self, ClientFault> {
        Self::with_limits(settings, clocks, Limits::default())
    }

    /// As [`Source::new`], with other limits of time and size.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn with_limits(
        settings: Settings,
        clocks: impl Into<Clocks>,
        limits: Limits,
    ) -> Result<Self, ClientFault> {
        let name = settings.name.clone();
        let kind = settings.kind();
        let adapter = Adapter::new(settings, clocks.into(), limits)?;
        let keeper = Keeper::new(name.clone(), keeper::Rhythm::default());
        Ok(Self {
            shared: Arc::new(Shared {
                name,
                kind,
                limits,
                adapter,
                keeper,
            }),
        })
    }

    /// Its name in the config.
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// Which kind of service it is.
    pub fn kind(&self) -> SourceKind {
        self.shared.kind
    }

    /// Asks about all candidates at once. Never fails: what is not known is a finding. Takes 10 s at most. Each call asks the
    /// service: an older question may hang while the service is well again.
    pub async fn ask(&self, candidates: &Candidates, purpose: Purpose) -> Answer {
        let started = Instant::now();
        let mut evidence = self.shared.look_up(candidates, purpose).await;
        let took = started.elapsed();
        for entry in &mut evidence {
            entry.took = took;
        }
        Answer {
            source: self.shared.name.clone(),
            evidence,
        }
    }

    /// The cheapest read that shows whether this source can answer a scan now.
    ///
    /// # Errors
    /// [`Fault`] with the reason why it cannot.
    pub async fn probe(&self) -> Result<(), Fault> {
        let result = self.shared.probed().await;
        if result.is_ok() {
            self.shared.keeper.good(self.shared.vitals());
        }
        result
    }

    /// The MDM server at Apple that this source's server token is for; `None` for other kinds of source.
    ///
    /// # Errors
    /// [`Fault`] when Apple does not say.
    pub async fn apple_account(&self) -> Option<Result<apple_dep::Account, Fault>> {
        match &self.shared.adapter {
            Adapter::AppleDep(apple) => Some(apple.account().await),
            _ => None,
        }
    }

    /// The MDM servers of the organisation at Apple that this source can see; `None` for other kinds of source.
    ///
    /// # Errors
    /// [`Fault`] when Apple does not say.
    pub async fn apple_servers(&self) -> Option<Result<Vec<apple_business::Server>, Fault>> {
        match &self.shared.adapter {
            Adapter::AppleBusiness(apple) => Some(apple.servers().await),
            _ => None,
        }
    }

    /// The MDM's links to Apple, read anew; `None` for other kinds of source.
    ///
    /// # Errors
    /// [`Fault`] when the MDM does not say.
    pub async fn ade_tokens(&self) -> Option<Result<Vec<kandji::AdeToken>, Fault>> {
        match &self.shared.adapter {
            Adapter::Kandji(kandji) => Some(kandji.ade_tokens().await),
            _ => None,
        }
    }

    /// What an MDM's credential has to be allowed to read, each tried; empty for other kinds of source, whose one right
    /// [`Source::probe`] tries.
    pub async fn permissions(&self) -> Vec<(&'static str, Result<(), Fault>)> {
        match &self.shared.adapter {
            Adapter::Kandji(kandji) => kandji.permissions().await,
            _ => Vec::new(),
        }
    }

    /// Days until the credential, or the MDM's own, expires, and what is left of the service's quota, as the last replies told.
    pub fn vitals(&self) -> Vitals {
        self.shared.vitals()
    }

    /// How far the service's clock was ahead of ours at its last reply; `None`: no reply with a `Date` yet.
    pub fn clock_ahead(&self) -> Option<SignedDuration> {
        self.shared.adapter.client().service_ahead()
    }

    /// Its health, as the last look-ups and probes left it.
    pub fn health(&self) -> watch::Receiver<SourceHealth> {
        self.shared.keeper.health()
    }

    /// Keeps its health true in the background; never ends.
    pub async fn run(self, pulse: Pulse) {
        let shared = &self.shared;
        let now = keeper::Now {
            vitals: &|| shared.vitals(),
            held_for: &|| shared.adapter.client().held_for(),
            refresh_in: &|| shared.adapter.refresh_in(),
        };
        shared.keeper.run(|| shared.probed(), now, &pulse).await;
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "Source({}, {})",
            self.shared.name,
            self.shared.kind.code()
        )
    }
}

impl Shared {
    async fn look_up(&self, candidates: &Candidates, purpose: Purpose) -> Vec<Evidence> {
        let evidence = match tokio::time::timeout(
            self.limits.total,
            self.adapter.look_up(candidates, purpose),
        )
        .await
        {
            Ok(evidence) => evidence,
            Err(_) => self.unknown_to_all(candidates, Reason::Timeout),
        };
        let of_the_way = evidence.iter().find_map(|entry| match entry.finding {
            Finding::Unknown(reason) if http::is_of_the_way(reason) => Some(reason),
            _ => None,
        });
        match of_the_way {
            None if evidence
                .iter()
                .all(|entry| entry.finding == Finding::Unknown(Reason::GarbledAnswer)) => {}
            None => self.keeper.good(self.vitals()),
            // A re-check that is kept back for the sake of scans says nothing about the service.
            Some(Reason::RateLimited) if purpose == Purpose::Recheck => {}
            Some(_) => self.keeper.suspect(),
        }
        evidence
    }

    fn unknown_to_all(&self, candidates: &Candidates, reason: Reason) -> Vec<Evidence> {
        candidates
            .iter()
            .map(|serial| {
                Evidence::bare(
                    self.name.clone(),
                    self.kind,
                    serial.clone(),
                    Finding::Unknown(reason),
                )
            })
            .collect()
    }

    async fn probed(&self) -> Result<(), Fault> {
        tokio::time::timeout(self.limits.total, self.adapter.probe())
            .await
            .unwrap_or_else(|_| Err(Fault::bare(Reason::Timeout)))
    }

    fn vitals(&self) -> Vitals {
        Vitals {
            quota: self.adapter.client().quota(),
            ..self.adapter.vitals()
        }
    }
}

impl Adapter {
    fn new(settings: Settings, clocks: Clocks, limits: Limits) -> Result<Self, ClientFault> {
        let Settings {
            name,
            url,
            ca_file,
            reads_per_minute,
            service,
        } = settings;
        let ca_file = ca_file.as_deref();
        match service {
            Service::Kandji {
                token,
                tokens,
                max_fetch_age,
                expected_blueprints,
            } => {
                let policy = kandji::Policy {
                    tokens,
                    max_fetch_age,
                    expected_blueprints,
                };
                let settings = kandji::Settings {
                    name,
                    url,
                    token,
                    policy,
                    ca_file,
                    reads_per_minute,
                };
                Kandji::new(settings, clocks, limits).map(|kandji| Self::Kandji(Box::new(kandji)))
            }
            Service::AppleDep {
                token,
                user_agent,
                expected_profiles,
                expected_hosts,
            } => {
                let settings = apple_dep::Settings {
                    name,
                    url,
                    token,
                    user_agent,
                    expected_profiles,
                    expected_hosts,
                    ca_file,
                    reads_per_minute,
                };
                AppleDep::new(settings, clocks, limits).map(Self::AppleDep)
            }
            Service::AppleBusiness {
                token_url,
                scope,
                client_id,
                key_id,
                key,
                expected_servers,
            } => {
                let settings = apple_business::Settings {
                    name,
                    url,
                    token_url,
                    scope,
                    client_id,
                    key_id,
                    key,
                    expected_servers,
                    ca_file,
                    reads_per_minute,
                };
                AppleBusiness::new(settings, clocks, limits)
                    .map(|apple| Self::AppleBusiness(Box::new(apple)))
            }
        }
    }

    /// Evidence for each candidate, in their order; `took` is filled in by the caller.
    async fn look_up(&self, candidates: &Candidates, purpose: Purpose) -> Vec<Evidence> {
        match self {
            Self::Kandji(kandji) => kandji.look_up(candidates, purpose).await,
            Self::AppleDep(apple) => apple.look_up(candidates, purpose).await,
            Self::AppleBusiness(apple) => apple.look_up(candidates, purpose).await,
        }
    }

    /// The cheapest reads that show whether a scan can be answered.
    async fn probe(&self) -> Result<(), Fault> {
        match self {
            Self::Kandji(kandji) => kandji.probe().await,
            Self::AppleDep(apple) => apple.probe().await,
            Self::AppleBusiness(apple) => apple.probe().await,
        }
    }

    /// The way to the service.
    fn client(&self) -> &Client {
        match self {
            Self::Kandji(kandji) => kandji.client(),
            Self::AppleDep(apple) => apple.client(),
            Self::AppleBusiness(apple) => apple.client(),
        }
    }

    /// What is known beside the findings; the quota is filled in by the caller.
    fn vitals(&self) -> Vitals {
        match self {
            Self::Kandji(kandji) => kandji.vitals(),
            Self::AppleDep(apple) => apple.vitals(),
            Self::AppleBusiness(apple) => apple.vitals(),
        }
    }

    /// In how much time its background knowledge must be read anew; `None`: it keeps none.
    fn refresh_in(&self) -> Option<Duration> {
        match self {
            Self::Kandji(kandji) => kandji.refresh_in(),
            Self::AppleDep(_) => None,
            Self::AppleBusiness(apple) => apple.refresh_in(),
        }
    }
}
