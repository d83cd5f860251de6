//! A local copy of what one source knows of all its devices, for when the service is slow or cannot be reached.
//!
//! A pass reads the service's whole list into the store. The copy is disposable: it is deleted and filled again whenever it cannot
//! be trusted.

pub mod pass;
pub mod rule;
pub mod store;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::{
    Pending,
    evidence::{Evidence, Finding, Grade},
    http::Fault,
};
use crate::{
    label::Serial,
    runtime::{clock::Boot, credential::Credential, machine, name::Name},
};
use pass::{Passes, Standing};
use rule::Present;
use store::Store;

/// When a row answers a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Never: there is no copy.
    #[default]
    Off,
    /// In the place of a live answer that does not come.
    Fallback,
    /// At once.
    First,
    /// Always: the service can only be listed, so nobody else could answer.
    Only,
}

/// A source's keys about its replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub mode: Mode,
    /// From the start of one pass to the start of the next.
    pub refresh: Duration,
    /// A row older than this does not answer.
    pub max_replica_age: Duration,
    /// The share of the service's limit that this station may use.
    pub quota_share: f64,
}

impl Settings {
    /// Is a copy kept?
    pub fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            refresh: Duration::from_mins(10),
            max_replica_age: Duration::from_mins(30),
            quota_share: 1.0,
        }
    }
}

/// One source's replica.
pub(super) struct Replica {
    pub(super) settings: Settings,
    pub(super) store: Store,
    pub(super) credential: Credential,
    /// `None`: they run.
    passes: Mutex<Option<Passes>>,
    pub(super) standing: watch::Receiver<Standing>,
    /// Asks for a pass before its time.
    wanted: Arc<Notify>,
    /// The boxes that a scan has missed in a list, and when: a pass that began later says whether they are there.
    missed: Mutex<HashMap<Serial, Boot>>,
}

/// More boxes than are missed between two passes.
const MOST_MISSED: usize = 10_000;

impl Replica {
    pub(super) fn new(
        source: Name,
        settings: Settings,
        store: &Store,
        credential: Credential,
    ) -> Self {
        let passes = Passes::new(source, store.clone(), settings.refresh);
        Self {
            settings,
            store: store.clone(),
            credential,
            standing: passes.standing(),
            wanted: passes.wanted(),
            passes: Mutex::new(Some(passes)),
            missed: Mutex::default(),
        }
    }

    /// What makes the passes; `None`: it was taken before.
    pub(super) fn take_passes(&self) -> Option<Passes> {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        passes.take()
    }

    /// Are passes made here? Beside a running agent it alone makes them.
    pub(super) fn is_kept_here(&self) -> bool {
        let passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        passes.is_none()
    }

    /// Asks for a pass, which comes within a minute if the service lets it.
    pub(super) fn want_pass(&self) {
        self.wanted.notify_one();
    }

    /// A scan has missed this box in a list that is not of now.
    pub(super) fn miss(&self, serial: &Serial) {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if missed.len() >= MOST_MISSED {
            missed.clear();
        }
        missed.insert(serial.clone(), Boot::now());
        drop(missed);
        self.want_pass();
    }

    /// Has a scan missed this box since that pass began? One that was missed before it is forgotten: the pass has not found it either.
    pub(super) fn is_missed_since(&self, serial: &Serial, pass: ReadAt) -> bool {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_later = |at: &Boot| pass.boot_id != machine::boot_id() || pass.boot < *at;
        let still = missed.get(serial).is_some_and(is_later);
        if !still {
            missed.remove(serial);
        }
        still
    }

    /// Is the last complete pass young enough for its rows to answer? `service`: the service's time now.
    pub(super) fn is_young(&self, service: Option<Timestamp>) -> bool {
        let age = self.standing.borrow().complete.and_then(|start| {
            start.age(Present {
                boot_id: machine::boot_id(),
                boot: Boot::now(),
                service,
            })
        });
        age.is_some_and(|age| age <= self.settings.max_replica_age)
    }
}

/// One record of a service's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRow {
    /// The service's own id of the record.
    pub id: String,
    pub serial: Serial,
    /// What the service's rule needs of the record, in a form that only the service's folder reads.
    pub body: Vec<u8>,
}

/// One page of a service's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<ListedRow>,
    /// How many records the whole list has, if the service says so.
    pub total: Option<u64>,
    /// The cursor of the next page; `None`: this was the last one.
    pub next: Option<String>,
    /// The reply's own `Date`.
    pub date: Timestamp,
}

/// What a pass reads besides the list: tokens, account, servers, profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose list it is. The rows of another account are deleted.
    pub account: String,
    /// In a form that only the service's folder reads.
    pub body: Vec<u8>,
    /// The `Date` of the oldest reply they rest on.
    pub date: Timestamp,
}

/// A moment by both clocks that outlast this process. The boot-time clock counts only within the boot `boot_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAt {
    pub boot_id: Uuid,
    pub boot: Boot,
    /// The service's own time at that moment.
    pub date: Timestamp,
}

/// A record as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    pub body: Vec<u8>,
    /// The later of two moments: the start of the last complete pass, and the request of the page that brought the present content.
    pub read_at: ReadAt,
}

/// `evidence`, as the service's rule gives it for these rows, as what it is: a copy, as old as the oldest of them. The time of the
/// reply, from which `settle` counts, is the moment at which it was read.
pub(super) fn of_copy(evidence: Evidence, rows: &[StoredRow]) -> Evidence {
    let read = rows.iter().map(|row| row.read_at.date).min();
    Evidence {
        finding: match evidence.finding {
            Finding::Ready(_) => Finding::Ready(Grade::Relayed),
            finding => finding,
        },
        as_of: evidence.as_of.into_iter().chain(read).min(),
        replied_at: read,
        ..evidence
    }
}

/// The facts of the last complete pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFacts {
    pub body: Vec<u8>,
    /// The start of that pass.
    pub read_at: ReadAt,
}

/// A service's list of all its devices, read page by page. One pass at a time reads it, and one request of it is under way at a time.
pub trait Listed: Send + Sync {
    /// Reads what the rule needs besides the rows; the first thing in each pass.
    fn facts(&self) -> Pending<'_, Result<Facts, Fault>>;

    /// Reads the page behind the cursor `next`, as an earlier page gave it; `None`: the first page. A malformed record makes the whole
    /// page a fault.
    fn page<'a>(&'a self, next: Option<&'a str>) -> Pending<'a, Result<Page, Fault>>;

    /// How many requests passes have made so far.
    fn reads(&self) -> u64;

    /// What the service's rule says of one serial number by all of its rows, at the service's time `now`.
    fn judge(
        &self,
        serial: &Serial,
        rows: &[StoredRow],
        facts: &StoredFacts,
        now: Timestamp,
    ) -> Evidence;
}
