//! What other systems know about one serial number: a folder for each service, the evidence it yields, one HTTP client.
//!
//! A new service is a folder, its `mod` line below and one line in the list in [`kind`]. The folder provides what
//! [`service`] asks for; the compiler names whatever is missing.

mod access_token;
pub mod apple_business;
pub mod apple_dep;
mod apple_hosts;
mod as_of;
pub mod asking;
mod by_pass;
mod client_credentials;
mod compact;
mod counted_list;
mod device_assignment;
pub mod evidence;
pub mod examination;
pub mod fleet;
pub mod http;
pub mod intune;
pub mod jamf;
pub mod kandji;
pub mod keeper;
pub mod kind;
pub mod micromdm;
pub mod nanodep;
mod newest;
pub mod replica;
pub mod service;
pub mod shape;
pub mod spelling;
#[cfg(test)]
mod testing;
mod token_client;
mod turn;
pub mod zentral;

#[cfg(feature = "simulate")]
use std::io;
use std::{
    fmt,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use url::Url;

#[cfg(feature = "simulate")]
use crate::simulator::{Introduction, Order};
use crate::{
    health::SourceHealth,
    label::Candidates,
    reason::Reason,
    runtime::{
        clock::Boot,
        credential::{Credential, CredentialFault},
        machine,
        name::Name,
        pulse::{self, Pulse},
    },
};
use evidence::{Answer, By, Evidence, Finding, SourceKind};
use examination::Examination;
use http::{ClientFault, Clocks, Fault, Limits};
use keeper::{Keeper, Vitals};
use kind::services;
use replica::{ReadAt, Replica, pass::Standing, rule, store::Store};
use service::{Adapter, Endpoint, Heard, Keys, ServiceSettings};

/// One `[[source]]` of the config.
#[derive(Clone, Debug)]
pub struct Settings {
    pub name: Name,
    /// Base URL.
    pub url: Url,
    /// An additional trust anchor; `None`: only the system's.
    pub ca_file: Option<PathBuf>,
    /// The station's own limit; 0: none.
    pub reads_per_minute: u32,
    pub replica: replica::Settings,
    pub service: Service,
}

impl Settings {
    pub const fn kind(&self) -> SourceKind {
        self.service.kind()
    }
}

macro_rules! service_enum {
    ($($kind:ident $code:literal $folder:ident $facts:tt,)*) => {
        /// What a source asks, with the settings of that service alone.
        #[derive(Clone, Debug)]
        pub enum Service {
            $($kind($folder::Settings),)*
        }

        impl Service {
            pub const fn kind(&self) -> SourceKind {
                match self {
                    $(Self::$kind(_) => SourceKind::$kind,)*
                }
            }

            /// The base URL and the service's own settings; `None`: a problem was reported.
            pub fn read(kind: SourceKind, keys: &dyn Keys) -> Option<(Url, Self)> {
                match kind {
                    $(SourceKind::$kind => {
                        let (url, settings) = $folder::Settings::read(keys)?;
                        Some((url, Self::$kind(settings)))
                    })*
                }
            }

            pub fn credential(&self) -> &Credential {
                match self {
                    $(Self::$kind(settings) => settings.credential(),)*
                }
            }

            /// Whether the credential is there and of the form that the service wants. Only the service knows whether it accepts it.
            ///
            /// # Errors
            /// [`CredentialFault`] with what is wrong and what to do.
            pub fn check_credential(&self) -> Result<(), CredentialFault> {
                match self {
                    $(Self::$kind(settings) => $folder::Settings::check(settings.credential()),)*
                }
            }

            /// The URL in the shipped config, which has to be replaced.
            pub const fn example_url(&self) -> Option<&'static str> {
                match self {
                    $(Self::$kind(_) => $folder::Settings::EXAMPLE_URL,)*
                }
            }

            fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault> {
                match self {
                    $(Self::$kind(settings) => settings.connect(to),)*
                }
            }
        }
    };
}
services!(service_enum);

#[cfg(feature = "simulate")]
macro_rules! simulators {
    ($($kind:ident $code:literal $folder:ident $facts:tt,)*) => {
        /// Starts a simulator of that service with the demo's boxes, and as many generated ones as are ordered.
        ///
        /// # Errors
        /// The address cannot be bound, or is not a loopback one.
        pub async fn simulate(kind: SourceKind, order: Order) -> io::Result<Introduction> {
            match kind {
                $(SourceKind::$kind => $folder::simulator::introduce(order).await,)*
            }
        }
    };
}
#[cfg(feature = "simulate")]
services!(simulators);

/// What is under way at a service.
type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// For what a source is asked: scans go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A person waits at the lamp.
    Scan,
    /// A waiting box is asked again; never into a source's last 20 % of quota.
    Recheck,
    /// A green that rests on replica rows is confirmed; only while over half of the source's share is left.
    Confirmation,
    /// The whole list is read for the replica; as little of the quota as a re-check.
    Pass,
}

/// A complete pass over a source's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub source: Name,
    pub began: Boot,
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
    adapter: Box<dyn Adapter>,
    keeper: Keeper,
    replica: Option<Replica>,
    /// What the last contact ended in; `None`: well, or there was none yet.
    last_fault: Mutex<Option<Reason>>,
}

impl Source {
    /// A source from its settings.
    ///
    /// # Errors
    /// [`ClientFault`] when its URL or `ca_file` cannot be used.
    pub fn new(settings: Settings, clocks: impl Into<Clocks>) -> Result<Self, ClientFault> {
        Self::with_limits(settings, clocks, Limits::default())
    }

    /// As [`Source::new`], with rows of `store` that may answer, if its settings say so.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn with_replica(
        settings: Settings,
        clocks: impl Into<Clocks>,
        store: &Store,
    ) -> Result<Self, ClientFault> {
        Self::make(settings, clocks, Limits::default(), Some(store))
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
        Self::make(settings, clocks, limits, None)
    }

    fn make(
        settings: Settings,
        clocks: impl Into<Clocks>,
        limits: Limits,
        store: Option<&Store>,
    ) -> Result<Self, ClientFault> {
        let name = settings.name.clone();
        let kind = settings.kind();
        let replica = store.filter(|_| settings.replica.is_on()).map(|store| {
            let credential = settings.service.credential().clone();
            Replica::new(name.clone(), settings.replica, store, credential)
        });
        let endpoint = Endpoint {
            name: settings.name,
            url: settings.url,
            ca_file: settings.ca_file.as_deref(),
            reads_per_minute: settings.reads_per_minute,
            quota_share: settings.replica.quota_share,
            clocks: clocks.into(),
            limits,
        };
        let adapter = settings.service.connect(endpoint)?;
        let keeper = Keeper::new(name.clone(), keeper::ProbeTimes::default(), kind);
        Ok(Self {
            shared: Arc::new(Shared {
                name,
                kind,
                limits,
                adapter,
                keeper,
                replica,
                last_fault: Mutex::default(),
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
    /// service: an older question may hang while the service is well again. For one that can only be listed its last complete pass
    /// speaks.
    pub async fn ask(&self, candidates: &Candidates, purpose: Purpose) -> Answer {
        if self.shared.kind.is_list_only() {
            return self.ask_pass(candidates, purpose, Duration::ZERO).await;
        }
        self.ask_and_note(candidates, purpose, &Heard::default())
            .await
    }

    async fn ask_and_note(
        &self,
        candidates: &Candidates,
        purpose: Purpose,
        heard: &Heard,
    ) -> Answer {
        let started = Instant::now();
        let mut evidence = self.shared.look_up(candidates, purpose, heard).await;
        let took = started.elapsed();
        for entry in &mut evidence {
            entry.took = took;
        }
        Answer {
            source: self.shared.name.clone(),
            by: By::Service,
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

    /// What the service says of itself and of the credential's rights, for the technician.
    pub async fn examine(&self) -> Examination {
        self.shared.adapter.examine().await
    }

    /// Days until the credential, or the MDM's own, expires, and what is left of the service's quota, by the last replies.
    pub fn vitals(&self) -> Vitals {
        self.shared.vitals()
    }

    /// Can the service list all of its devices, so that this source can have a replica?
    pub fn is_listed(&self) -> bool {
        self.shared.adapter.listed().is_some()
    }

    /// What is known of its passes; `None`: it has no replica.
    pub fn passes(&self) -> Option<watch::Receiver<Standing>> {
        let replica = self.shared.replica.as_ref()?;
        Some(replica.standing.clone())
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
        let facts = keeper::SourceFacts {
            vitals: &|| shared.vitals(),
            held_for: &|| shared.adapter.client().held_for(),
            refresh_in: &|| shared.adapter.refresh_in(),
        };
        shared.keeper.run(|| shared.probed(), facts, &pulse).await;
    }

    /// Keeps its replica filled, and tells `passed` of each complete pass. Never ends; at once if it has none.
    pub async fn run_passes(self, passed: mpsc::Sender<Passed>, pulse: Pulse) {
        let shared = &self.shared;
        let Some(replica) = &shared.replica else {
            return;
        };
        let (Some(list), Some(passes)) = (shared.adapter.listed(), replica.take_passes()) else {
            return;
        };
        let credential = || replica.credential.read().ok();
        let watching = async {
            let mut standing = replica.standing.clone();
            let mut known = None;
            let mut is_news = false;
            let (this_boot, begun) = (machine::boot_id(), Boot::now());
            loop {
                let service = shared.adapter.client().service_now();
                let young = replica.is_young(service);
                let now = standing.borrow_and_update().clone();
                shared.keeper.replica(&now.health, young);
                if is_news && now.progress.is_none() && now.health.fault.is_some() {
                    *shared.locked_fault() = now.health.fault;
                }
                shared.passes_tell_health(now.complete != known);
                if now.complete != known {
                    known = now.complete;
                    // One that the file has from before was no contact, and can confirm no green of this run.
                    let of_this_run =
                        |start: &ReadAt| start.boot_id == this_boot && start.boot >= begun;
                    if let Some(start) = known.filter(of_this_run) {
                        *shared.locked_fault() = None;
                        let source = shared.name.clone();
                        let began = start.boot;
                        let _ = passed.send(Passed { source, began }).await;
                    }
                }
                // The rows grow old by themselves.
                let changed = tokio::time::timeout_at(pulse::next(), standing.changed());
                is_news = changed.await.is_ok();
            }
        };
        tokio::join!(passes.run(list, &credential, &pulse), watching);
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
    async fn look_up(
        &self,
        candidates: &Candidates,
        purpose: Purpose,
        heard: &Heard,
    ) -> Vec<Evidence> {
        if purpose == Purpose::Confirmation && !self.may_confirm() {
            return self.unknown_to_all(candidates, Reason::RateLimited);
        }
        let evidence = match tokio::time::timeout(
            self.limits.total,
            self.adapter.look_up(candidates, purpose, heard),
        )
        .await
        {
            Ok(evidence) => evidence,
            Err(_) => {
                let mut unknown = self.unknown_to_all(candidates, Reason::Timeout);
                unknown.iter_mut().for_each(|one| heard.tell(one));
                unknown
            }
        };
        self.note(&evidence);
        let of_every_box = evidence.iter().find_map(|entry| match entry.finding {
            Finding::Unknown(reason) if http::affects_every_box(reason) => Some(reason),
            _ => None,
        });
        match of_every_box {
            None if evidence
                .iter()
                .all(|entry| entry.finding == Finding::Unknown(Reason::GarbledAnswer)) => {}
            None => self.keeper.good(self.vitals()),
            // A re-check that is kept back for the sake of scans says nothing about the service.
            Some(Reason::RateLimited) if purpose != Purpose::Scan => {}
            Some(_) => self.keeper.suspect(),
        }
        evidence
    }

    /// May a green be confirmed live? Else the next pass does it. Apple's device enrollment service answers for many at once, and has
    /// no limit that a bench would meet.
    fn may_confirm(&self) -> bool {
        self.kind.speaks_for_apple() || self.adapter.client().over_half_left() == Some(true)
    }

    /// What a live answer means for the rows.
    fn note(&self, evidence: &[Evidence]) {
        let mut last = self.locked_fault();
        *last = rule::contact(*last, evidence);
        drop(last);
        if let Some(replica) = &self.replica {
            let now = Boot::now();
            for one in evidence.iter().filter(|one| rule::strikes(one.finding)) {
                replica.store.strike(&self.name, &one.serial, now);
            }
        }
    }

    fn last_fault(&self) -> Option<Reason> {
        *self.locked_fault()
    }

    fn locked_fault(&self) -> MutexGuard<'_, Option<Reason>> {
        self.last_fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        if self.kind.is_list_only() {
            return self.passes_probed().await;
        }
        let result = tokio::time::timeout(self.limits.total, self.adapter.probe())
            .await
            .unwrap_or_else(|_| Err(Fault::bare(Reason::Timeout)));
        let mut last = self.locked_fault();
        *last = rule::ended(*last, result.as_ref().err().map(|fault| fault.reason));
        drop(last);
        result
    }

    fn vitals(&self) -> Vitals {
        Vitals {
            quota: self.adapter.client().quota(),
            ..self.adapter.vitals()
        }
    }
}

#[cfg(test)]
mod tests;
