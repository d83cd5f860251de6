//! What a source says whose service can only be listed: its last complete pass is its word, the bad news included.
//!
//! A box that the list does not have may have come after it was read. So a miss in a list of now is an answer at once; in an older one
//! a pass is asked for first, and the box waits for it.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    Purpose, Shared, Source,
    asking::oldest,
    evidence::{Answer, By, Evidence, Finding},
    http::Fault,
    replica::{
        Replica,
        store::{Found, Held},
    },
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::times,
};

/// A list is of now if its pass began no longer ago.
const OF_NOW: Duration = Duration::from_mins(1);
/// Nothing else can answer for such a source, so the disk may take this long. A scan waits until its own deadline at most.
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// So long the first pass may take before the source fails.
const FIRST_PASS: Duration = Duration::from_secs(2);

impl Source {
    /// What its last complete pass says of the candidates. While there is none yet, the first one is waited for, `patience` at most.
    pub(super) async fn ask_pass(
        &self,
        candidates: &Candidates,
        purpose: Purpose,
        patience: Duration,
    ) -> Answer {
        let started = Instant::now();
        let mut evidence = match self.judged_by_pass(candidates, purpose, patience).await {
            Ok(evidence) => evidence,
            Err(fault) => {
                let mut unknown = self.shared.unknown_to_all(candidates, fault.reason);
                for one in &mut unknown {
                    one.detail.clone_from(&fault.detail);
                    one.replied_at = fault.replied_at;
                }
                unknown
            }
        };
        for one in &mut evidence {
            one.took = started.elapsed();
        }
        Answer {
            source: self.shared.name.clone(),
            by: By::Service,
            evidence,
        }
    }

    async fn judged_by_pass(
        &self,
        candidates: &Candidates,
        purpose: Purpose,
        patience: Duration,
    ) -> Result<Vec<Evidence>, Fault> {
        let shared = &self.shared;
        let (Some(replica), Some(listed)) = (&shared.replica, shared.adapter.listed()) else {
            return Err(Fault::with(
                Reason::Stale,
                "Its list of devices was not read here.",
            ));
        };
        if purpose == Purpose::Confirmation {
            // It has said all that it knows. The next pass may say more.
            return Err(Fault::bare(Reason::RateLimited));
        }
        replica.first_pass(patience).await;
        let serials: Vec<Serial> = candidates.iter().cloned().collect();
        let found = replica.look_up(&shared.name, serials, LONGEST_LOOK).await;
        let now = self.present();
        let found = found.ok_or_else(|| replica.silent("was not read completely yet"))?;
        let read_at = found.facts.read_at;
        let is_young = |age: &Duration| *age <= replica.settings.max_replica_age;
        let Some(age) = read_at.age(now).filter(is_young) else {
            return Err(replica.silent(&format!(
                "was last read completely at {}",
                times::moment(read_at.date)
            )));
        };
        let service = now.service.unwrap_or_else(|| read_at.carried(now));
        let judge = |(serial, held): (&Serial, &Held)| {
            let rows: &[_] = match held {
                Held::Rows(rows) => rows,
                Held::Nothing => &[],
                Held::Doubted => return self.doubted(replica, serial),
            };
            Evidence {
                row_age: oldest(rows, &found.facts, now),
                ..listed.judge(serial, rows, &found.facts, service)
            }
        };
        let judged = candidates.iter().zip(&found.held).map(judge);
        let mut evidence: Vec<Evidence> = judged.collect();
        if !evidence.iter().any(|one| one.known) {
            let pass = (&found, age);
            self.weigh_misses(replica, &mut evidence, pass, purpose);
        }
        Ok(evidence)
    }

    /// A miss in a list that is not of now is no answer yet.
    fn weigh_misses(
        &self,
        replica: &Replica,
        evidence: &mut [Evidence],
        (found, age): (&Found, Duration),
        purpose: Purpose,
    ) {
        let missed = Finding::No(self.shared.kind.not_known());
        for one in evidence.iter_mut().filter(|one| one.finding == missed) {
            let is_open = match purpose {
                Purpose::Scan => age > OF_NOW && replica.is_kept_here(),
                _ => replica.is_missed_since(&one.serial, found.facts.read_at),
            };
            if !is_open {
                continue;
            }
            if purpose == Purpose::Scan {
                replica.miss(&one.serial);
            }
            one.finding = Finding::Wait(Reason::SyncPending);
            one.detail = Some(format!(
                "{} did not list it at {}; its list is being read again.",
                self.shared
                    .kind
                    .mdm()
                    .map_or("The service", |mdm| mdm.console),
                times::moment(found.facts.read_at.date)
            ));
        }
    }

    fn doubted(&self, replica: &Replica, serial: &Serial) -> Evidence {
        replica.want_pass();
        let (name, kind) = (self.shared.name.clone(), self.shared.kind);
        Evidence {
            detail: Some("Its row is damaged; the list is being read again.".to_owned()),
            ..Evidence::bare(name, kind, serial.clone(), Finding::Unknown(Reason::Stale))
        }
    }
}

impl Replica {
    /// Waits for the first complete pass, or until it has failed.
    async fn first_pass(&self, patience: Duration) {
        let mut standing = self.standing.clone();
        let ended = standing.wait_for(|now| now.complete.is_some() || now.fault.is_some());
        let _ = timeout(patience, ended).await;
    }

    /// Why nothing is known of any box: by the fault of the last pass, else the list is too old.
    fn silent(&self, list: &str) -> Fault {
        let fault = self.standing.borrow().fault.clone();
        let fault = fault.unwrap_or_else(|| Fault::bare(Reason::Stale));
        let list = format!("Its list of devices {list}.");
        Fault {
            detail: Some(match fault.detail {
                Some(detail) => format!("{detail} {list}"),
                None => list,
            }),
            ..fault
        }
    }
}

impl Shared {
    /// Such a source is well when its passes are.
    pub(super) async fn passes_probed(&self) -> Result<(), Fault> {
        if let Some(replica) = &self.replica {
            replica.first_pass(FIRST_PASS).await;
        }
        self.passes_are_well()
    }

    fn passes_are_well(&self) -> Result<(), Fault> {
        let Some(replica) = &self.replica else {
            return Err(Fault::bare(Reason::StationFault));
        };
        let fault = replica.standing.borrow().fault.clone();
        match fault {
            Some(fault) => Err(fault),
            None if replica.is_young(self.adapter.client().service_now()) => Ok(()),
            None => Err(Fault::bare(Reason::Stale)),
        }
    }

    /// Keeps the health of such a source true. `is_new`: a pass was complete just now.
    pub(super) fn passes_tell_health(&self, is_new: bool) {
        if !self.kind.is_list_only() {
            return;
        }
        let failing = self.keeper.health().borrow().failing;
        match self.passes_are_well() {
            Ok(()) if is_new || failing.is_some() => self.keeper.good(self.vitals()),
            Ok(()) => {}
            Err(fault) if fault.reason == Reason::Stale && self.is_before_first_pass() => {}
            Err(_) => self.keeper.suspect(),
        }
    }

    fn is_before_first_pass(&self) -> bool {
        let standing = self
            .replica
            .as_ref()
            .map(|replica| replica.standing.borrow());
        standing.is_some_and(|now| now.complete.is_none() && now.fault.is_none())
    }
}
