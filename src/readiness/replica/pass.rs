//! Passes: each reads a service's whole list into the store, one request at a time. Only a complete one confirms and deletes.

mod guard;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Listed, Page, ReadAt,
    store::{self, Store, StoreFault},
};
use crate::{
    health::{ReplicaCondition, ReplicaHealth},
    readiness::http::Fault,
    reason::Reason,
    runtime::{
        clock::{self, Boot},
        credential::Secret,
        machine,
        name::Name,
        pulse::Pulse,
    },
};
use guard::{Guard, garbled, has_shrunk};

/// After a pass that was not complete the next one begins so soon, then twice as late each time, up to `refresh`.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Between a request that failed by the way and its one repetition.
const REPEAT_AFTER: Duration = Duration::from_secs(1);
/// Later a pass does not go on where it was: its cursor would be gone.
const LONGEST_HOLD: Duration = Duration::from_hours(1);
/// A pass that is asked for begins no sooner after the one before.
const WANTED_EVERY: Duration = Duration::from_mins(1);
/// One line in the log while the first pass runs.
const PROGRESS_EVERY: Duration = Duration::from_mins(1);

/// Reads the credential that the list is asked with; `None`: it cannot be read.
pub type ReadCredential<'a> = &'a (dyn Fn() -> Option<Secret> + Send + Sync);

/// What is known of a source's passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub health: ReplicaHealth,
    /// Why the last pass was not complete.
    pub fault: Option<Fault>,
    /// The start of the last complete pass.
    pub complete: Option<ReadAt>,
    /// The pass under way.
    pub progress: Option<Progress>,
}

/// How far a pass has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub read: u64,
    /// `None`: the service does not say how many there are.
    pub total: Option<u64>,
}

/// How a pass ended that met no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Complete,
    /// Other than the list says: that many records, and that many by its total.
    Miscounted(u64, u64),
    Shrunken,
}

/// Keeps the replica of one source filled.
#[derive(Debug)]
pub struct Passes {
    source: Name,
    store: Store,
    refresh: Duration,
    standing: watch::Sender<Standing>,
    /// The store's deletions.
    emptied: watch::Receiver<u64>,
    /// Somebody asks for a pass before its time.
    wanted: Arc<Notify>,
    /// The start of the last complete pass.
    complete: Option<ReadAt>,
    /// How many records the last pass found, if it was too short to be believed.
    short: Option<u64>,
    said: Option<Instant>,
}

impl Passes {
    pub fn new(source: Name, store: Store, refresh: Duration) -> Self {
        let health = ReplicaHealth {
            state: ReplicaCondition::Filling,
            rows: 0,
            total: None,
            pass_at: None,
            fault: None,
        };
        Self {
            source,
            emptied: store.emptied(),
            store,
            refresh,
            wanted: Arc::default(),
            standing: watch::Sender::new(Standing {
                health,
                fault: None,
                complete: None,
                progress: None,
            }),
            complete: None,
            short: None,
            said: None,
        }
    }

    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Asks for a pass before its time.
    pub fn wanted(&self) -> Arc<Notify> {
        Arc::clone(&self.wanted)
    }

    /// Makes a pass at each `refresh`; never ends.
    pub async fn run(mut self, list: &dyn Listed, credential: ReadCredential<'_>, pulse: &Pulse) {
        let mut wait = pulse.through(self.first_wait(credential)).await;
        let (mut failed, mut begun) = (0, None);
        loop {
            // Nothing answers until the list has been read again: at once, unless the pass itself met that.
            if self.emptied.has_changed().unwrap_or(false) {
                self.begin_anew();
                self.emptied.mark_unchanged();
            }
            if pulse.through(self.is_emptied_within(wait, begun)).await {
                self.begin_anew();
            }
            let now = Instant::now();
            begun = Some(now);
            let result = pulse.through(self.pass(list, credential)).await;
            failed = if result.is_ok() { 0 } else { failed + 1 };
            wait = match result {
                Ok(()) => jittered(self.refresh, fastrand::f64()).saturating_sub(now.elapsed()),
                Err(fault) => {
                    let pause = FIRST_PAUSE.saturating_mul(1 << (failed - 1).min(16_u32));
                    let pause = jittered(pause.min(self.refresh), fastrand::f64());
                    pause.max(fault.retry_at.map_or(Duration::ZERO, until))
                }
            };
        }
    }

    /// Waits for the next pass: for `wait`, or until one is wanted, or until the store is emptied. `begun`: when the last one began.
    async fn is_emptied_within(&mut self, wait: Duration, begun: Option<Instant>) -> bool {
        let wanted = async {
            self.wanted.notified().await;
            if let Some(begun) = begun {
                sleep_until(begun + WANTED_EVERY).await;
            }
        };
        tokio::select! {
            changed = self.emptied.changed() => changed.is_ok(),
            () = wanted => false,
            () = sleep(wait) => false,
        }
    }

    /// A replica that was filled not long ago, in this boot and with this credential, need not be filled again at once.
    async fn first_wait(&mut self, credential: ReadCredential<'_>) -> Duration {
        let Ok(Some(status)) = self.store.status(&self.source).await else {
            return Duration::ZERO;
        };
        let Some(store::Complete { start, rows, .. }) = status.complete else {
            return Duration::ZERO;
        };
        let this_boot = start.boot_id == machine::boot_id();
        let answers = credential()
            .is_some_and(|secret| self.store.look_up(&self.source, &secret, &[]).is_some());
        let age = Boot::now().since(start.boot);
        let is_young = this_boot && answers && age < self.refresh;
        (self.complete, self.short) = (Some(start), status.short);
        self.standing.send_modify(|standing| {
            standing.complete = Some(start);
            standing.health.rows = rows;
            standing.health.pass_at = Some(start.date);
            standing.health.state = if status.short.is_some() {
                ReplicaCondition::Shrunken
            } else if is_young {
                ReplicaCondition::Ok
            } else {
                ReplicaCondition::Behind
            };
        });
        if is_young {
            self.refresh.saturating_sub(age)
        } else {
            Duration::ZERO
        }
    }

    /// One pass, and a second one at once if the first has not found as many records as the list says.
    async fn pass(
        &mut self,
        list: &dyn Listed,
        credential: ReadCredential<'_>,
    ) -> Result<(), Fault> {
        let mut ended = self.pass_once(list, credential).await;
        if let Ok(Ended::Miscounted(..)) = ended {
            ended = self.pass_once(list, credential).await;
        }
        let result = match ended {
            Ok(Ended::Miscounted(found, total)) => Err(garbled(format!(
                "The list has {found} records and says that they are {total}."
            ))),
            Ok(ended) => Ok(ended),
            Err(fault) => Err(fault),
        };
        self.say(&result);
        result.map(|_| ())
    }

    /// Shows how a pass has ended.
    fn say(&mut self, result: &Result<Ended, Fault>) {
        let fault = result.as_ref().err();
        let is_old = !self.is_young();
        let mut is_new = false;
        self.standing.send_modify(|standing| {
            let health = &mut standing.health;
            standing.progress = None;
            standing.fault = fault.cloned();
            health.total = None;
            is_new = health.fault != fault.map(|fault| fault.reason);
            health.fault = fault.map(|fault| fault.reason);
            health.state = match (self.complete, result) {
                (_, Ok(Ended::Shrunken)) => ReplicaCondition::Shrunken,
                _ if self.short.is_some() => ReplicaCondition::Shrunken,
                (None, _) => ReplicaCondition::Filling,
                (Some(_), Err(_)) => ReplicaCondition::Behind,
                (Some(_), Ok(_)) if is_old => ReplicaCondition::Behind,
                (Some(_), Ok(_)) => ReplicaCondition::Ok,
            };
        });
        if let Some(fault) = fault.filter(|_| is_new) {
            let (reason, detail) = (fault.reason.code(), fault.detail.as_deref());
            let what = match self.complete {
                Some(_) => "the replica is not brought up to date",
                None => "the replica is not filled",
            };
            tracing::warn!(source = %self.source, reason, detail, "{what}");
        }
    }

    /// Is the last complete pass no older than two of them should be apart?
    fn is_young(&self) -> bool {
        self.complete.is_some_and(|start| {
            start.boot_id == machine::boot_id()
                && Boot::now().since(start.boot) <= self.refresh.saturating_mul(2)
        })
    }

    async fn pass_once(
        &mut self,
        list: &dyn Listed,
        credential: ReadCredential<'_>,
    ) -> Result<Ended, Fault> {
        let secret = credential();
        let (asked, reads) = (Boot::now(), list.reads());
        let facts = list.facts().await?;
        // The service's time at the request, so that nothing is taken for younger than it is.
        let start = ReadAt {
            boot_id: machine::boot_id(),
            boot: asked,
            date: earlier(facts.date, Boot::now().since(asked)),
        };
        let secret = same(secret, credential)?;
        let mut pass = self
            .store
            .begin(&self.source, &facts.account, &secret, start)
            .await?;
        self.emptied.mark_unchanged();
        if pass.rows_before().is_none() {
            self.begin_anew();
        }
        let mut guard = Guard::default();
        let mut next = None;
        let distinct = loop {
            let (page, asked) = read(list, next.as_deref()).await?;
            // The page of another account must not get among these.
            same(Some(secret.clone()), credential)?;
            let now = Boot::now();
            guard.check(&page, clock::later(start.date, now.since(start.boot)))?;
            let counts = pass.page(page.rows, asked).await?;
            self.show(counts.distinct, guard.total);
            match page.next {
                Some(cursor) => next = Some(cursor),
                None => break counts.distinct,
            }
        };
        if let Some(total) = guard.total.filter(|_| !guard.is_whole(distinct)) {
            return Ok(Ended::Miscounted(distinct, total));
        }
        if !self.believes(pass.rows_before(), distinct) {
            pass.shrunken(distinct).await?;
            return Ok(Ended::Shrunken);
        }
        let complete = store::Complete {
            start,
            rows: distinct,
            reads: list.reads().saturating_sub(reads),
        };
        self.finish(pass, facts.body, complete).await?;
        Ok(Ended::Complete)
    }

    /// There is no complete pass: this is the first one, or its file or its rows were deleted.
    fn begin_anew(&mut self) {
        self.complete = None;
        self.standing.send_modify(|standing| {
            standing.complete = None;
            standing.health.state = ReplicaCondition::Filling;
            standing.health.rows = 0;
            standing.health.pass_at = None;
        });
    }

    /// A list that is less than half as long is believed when the next complete pass finds it as short.
    fn believes(&mut self, before: Option<u64>, now: u64) -> bool {
        let has_shrunk_from = |before: Option<u64>| before.is_some_and(|old| has_shrunk(old, now));
        let is_as_short = self.short.is_some() && !has_shrunk_from(self.short);
        let believed = !has_shrunk_from(before) || is_as_short;
        self.short = (!believed).then_some(now);
        if !believed {
            let before = before.unwrap_or_default();
            tracing::warn!(source = %self.source, before, now, "the list has lost more than half of its records; the next pass must confirm that");
        }
        believed
    }

    async fn finish(
        &mut self,
        pass: store::Pass,
        facts: Vec<u8>,
        store::Complete { start, rows, reads }: store::Complete,
    ) -> Result<(), Fault> {
        let deleted = pass.finish(facts, reads).await?;
        if self.complete.is_none() {
            tracing::info!(source = %self.source, rows, "the replica is filled");
        } else {
            tracing::debug!(source = %self.source, rows, deleted, "the replica is up to date");
        }
        self.complete = Some(start);
        self.standing.send_modify(|standing| {
            standing.complete = Some(start);
            standing.health.rows = rows;
            standing.health.pass_at = Some(start.date);
        });
        Ok(())
    }

    /// Shows how far a pass has come; while there is no complete one, in the log too.
    fn show(&mut self, read: u64, total: Option<u64>) {
        let is_first = self.complete.is_none();
        let is_old = !self.is_young();
        self.standing.send_modify(|standing| {
            standing.progress = Some(Progress { read, total });
            if is_first {
                standing.health.rows = read;
                standing.health.total = total;
            } else if is_old && standing.health.state == ReplicaCondition::Ok {
                standing.health.state = ReplicaCondition::Behind;
            }
        });
        let since = self.said.get_or_insert_with(Instant::now);
        if is_first && since.elapsed() >= PROGRESS_EVERY {
            *since = Instant::now();
            tracing::info!(source = %self.source, read, total, "the replica is being filled");
        }
    }
}

/// Reads one page, and when it was asked for. A fault of the way is met by one repetition, a `Retry-After` by waiting.
async fn read(list: &dyn Listed, next: Option<&str>) -> Result<(Page, Boot), Fault> {
    let mut is_repeated = false;
    let begun = Instant::now();
    loop {
        let asked = Boot::now();
        let fault = match list.page(next).await {
            Ok(page) => return Ok((page, asked)),
            Err(fault) => fault,
        };
        let held = fault.retry_at.map(until);
        let wait = match (fault.reason, held) {
            (Reason::RateLimited, Some(held)) if begun.elapsed() + held <= LONGEST_HOLD => {
                held.max(REPEAT_AFTER)
            }
            (Reason::Offline | Reason::Timeout | Reason::SourceError, None) if !is_repeated => {
                is_repeated = true;
                REPEAT_AFTER
            }
            _ => return Err(fault),
        };
        sleep(wait).await;
    }
}

/// The credential, if it is still the one that the pass began with: another one may be of another account.
fn same(before: Option<Secret>, credential: ReadCredential<'_>) -> Result<Secret, Fault> {
    before
        .filter(|before| credential().as_ref() == Some(before))
        .ok_or_else(|| {
            let detail = "The credential was exchanged while the list was read.";
            Fault::with(Reason::StationFault, detail)
        })
}

impl From<StoreFault> for Fault {
    fn from(fault: StoreFault) -> Self {
        Self::with(Reason::StationFault, format!("{fault}."))
    }
}

fn until(moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO)
}

fn earlier(moment: Timestamp, by: Duration) -> Timestamp {
    moment.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// Up to a tenth more or less, by a random number from 0 to 1: stations that start together do not ask together.
fn jittered(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
