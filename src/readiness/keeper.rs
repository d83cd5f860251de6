//! Keeps a source's health true: a failed look-up is confirmed by a probe, a failing or idle source is probed again.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    http::{Fault, Quota, affects_every_box},
    kind::SourceKind,
};
use crate::{
    health::{ReplicaHealth, SourceHealth},
    reason::Reason,
    runtime::{name::Name, pulse::Pulse},
};

/// How often a source is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTimes {
    /// After this long without a look-up.
    pub idle: Duration,
    /// While failing, at first ..
    pub failing: Duration,
    /// .. for so many probes ..
    pub failing_probes: u32,
    /// .. and later.
    pub failing_long: Duration,
}

impl Default for ProbeTimes {
    fn default() -> Self {
        Self {
            idle: Duration::from_mins(5),
            failing: Duration::from_secs(10),
            failing_probes: 6,
            failing_long: Duration::from_mins(1),
        }
    }
}

/// What a source knows beside its findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// The service's own last fetch from Apple (the oldest that counts).
    pub as_of: Option<Timestamp>,
    /// Days until the credential or the MDM's own token expires.
    pub credential_days: Option<i64>,
    /// That moment; `None`: the service tells days only.
    pub credential_expires: Option<Timestamp>,
    /// The service's quota.
    pub quota: Option<Quota>,
}

/// What the keeper asks of its source between probes.
#[derive(Clone, Copy)]
pub(super) struct SourceFacts<'a> {
    /// What is known beside the findings.
    pub(super) vitals: &'a (dyn Fn() -> Vitals + Send + Sync),
    /// How long no request may leave.
    pub(super) held_for: &'a (dyn Fn() -> Option<Duration> + Send + Sync),
    /// How soon the source's background knowledge must be refreshed.
    pub(super) refresh_in: &'a (dyn Fn() -> Option<Duration> + Send + Sync),
}

/// One source's health and the times of its probes.
#[derive(Debug)]
pub(super) struct Keeper {
    source: Name,
    kind: SourceKind,
    times: ProbeTimes,
    health: watch::Sender<SourceHealth>,
    suspected: Notify,
    /// The last probe or good look-up.
    contact: Mutex<Option<Instant>>,
}

impl Keeper {
    pub(super) fn new(source: Name, times: ProbeTimes, kind: SourceKind) -> Self {
        Self {
            source,
            kind,
            times,
            health: watch::Sender::default(),
            suspected: Notify::new(),
            contact: Mutex::new(None),
        }
    }

    pub(super) fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.subscribe()
    }

    /// A look-up or probe succeeded.
    pub(super) fn good(&self, vitals: Vitals) {
        self.touch();
        self.change(None, None, vitals);
    }

    /// A look-up failed because the service could not be reached or used: a probe confirms it at once. A failing source is already probed regularly.
    pub(super) fn suspect(&self) {
        if self.health.borrow().failing.is_none() {
            self.suspected.notify_one();
        }
    }

    /// Probes in turn; never ends.
    pub(super) async fn run<P: Future<Output = Result<(), Fault>>>(
        &self,
        probe: impl Fn() -> P,
        facts: SourceFacts<'_>,
        pulse: &Pulse,
    ) {
        let mut failed_probes = 0_u32;
        loop {
            let suspected = loop {
                // Computed again after each sleep: look-ups in the meantime count as probes.
                let due = self.next_in(failed_probes, facts);
                if due.is_zero() {
                    break false;
                }
                if pulse
                    .through(tokio::time::timeout(due, self.suspected.notified()))
                    .await
                    .is_ok()
                {
                    break true;
                }
            };
            // A probe has an end of its own.
            let mut result = pulse.through(probe()).await;
            // One failure alone shows nothing: the first one is confirmed at once, whether a look-up or a probe met it.
            let confirmed = suspected || self.health.borrow().failing.is_some();
            if !confirmed
                && result
                    .as_ref()
                    .is_err_and(|fault| self.meets_every_box(fault.reason))
            {
                result = pulse.through(probe()).await;
            }
            self.touch();
            match result {
                Ok(()) => {
                    failed_probes = 0;
                    self.change(None, None, (facts.vitals)());
                }
                Err(fault) if self.meets_every_box(fault.reason) => {
                    failed_probes = if self.health.borrow().failing.is_some() {
                        failed_probes.saturating_add(1)
                    } else {
                        1
                    };
                    self.change(
                        Some(fault.reason),
                        fault.detail.as_deref(),
                        (facts.vitals)(),
                    );
                }
                // The service is reachable but replied nonsense: leave its health unchanged.
                Err(_) => {}
            }
        }
    }

    /// Nobody asks a service about one box that can only be listed, so whatever is wrong with its list meets all.
    fn meets_every_box(&self, reason: Reason) -> bool {
        self.kind.is_list_only() || affects_every_box(reason)
    }

    fn next_in(&self, failed_probes: u32, facts: SourceFacts<'_>) -> Duration {
        let since_contact = self
            .contact
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .map(|contact| contact.elapsed());
        let Some(since_contact) = since_contact else {
            return Duration::ZERO;
        };
        let times = self.times;
        let due = if self.health.borrow().failing.is_some() {
            let pause = if failed_probes <= times.failing_probes {
                times.failing
            } else {
                times.failing_long
            };
            pause.saturating_sub(since_contact)
        } else {
            let idle = times.idle.saturating_sub(since_contact);
            // A refresh that does not succeed must not be asked for without a pause.
            let pause = times.failing.saturating_sub(since_contact);
            (facts.refresh_in)().map_or(idle, |refresh| idle.min(refresh.max(pause)))
        };
        (facts.held_for)().map_or(due, |held| due.max(held))
    }

    fn touch(&self) {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How well the replica is filled, and whether its rows may answer.
    pub(super) fn replica(&self, replica: &ReplicaHealth, rows_answer: bool) {
        self.health.send_if_modified(|health| {
            let modified =
                health.replica.as_ref() != Some(replica) || health.rows_answer != rows_answer;
            health.replica = Some(replica.clone());
            health.rows_answer = rows_answer;
            modified
        });
    }

    fn change(&self, failing: Option<Reason>, detail: Option<&str>, vitals: Vitals) {
        let mut turned = false;
        self.health.send_if_modified(|health| {
            turned = health.failing != failing;
            let next = SourceHealth {
                failing,
                since: if turned || health.since.is_none() {
                    Some(Timestamp::now())
                } else {
                    health.since
                },
                as_of: vitals.as_of,
                credential_days: vitals.credential_days,
                credential_expires: vitals.credential_expires,
                quota_left: vitals.quota.map(|quota| quota.left),
                quota_limit: vitals.quota.map(|quota| quota.limit),
                replica: health.replica.clone(),
                rows_answer: health.rows_answer,
            };
            // The quota changes with every scan: whoever watches finds it at the next look.
            let modified = *health
                != SourceHealth {
                    quota_left: health.quota_left,
                    ..next.clone()
                };
            *health = next;
            modified
        });
        match failing {
            Some(reason) if turned => {
                tracing::warn!(source = %self.source, reason = reason.code(), detail, "source fails")
            }
            None if turned => tracing::info!(source = %self.source, "source answers again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use std::sync::Arc;

    use super::*;

    /// A service whose state a test sets, and the moments at which it was probed.
    #[derive(Default)]
    struct Service {
        fails: Mutex<Option<Reason>>,
        refresh_in: Mutex<Option<Duration>>,
        held_for: Mutex<Option<Duration>>,
        probes: Mutex<Vec<Instant>>,
    }

    struct Rig {
        keeper: Arc<Keeper>,
        service: Arc<Service>,
        begun: Instant,
    }

    impl Rig {
        fn new() -> Self {
            let keeper = Arc::new(Keeper::new(
                Name::new("test").unwrap(),
                ProbeTimes::default(),
                SourceKind::Kandji,
            ));
            let service = Arc::new(Service::default());
            let (kept, asked) = (Arc::clone(&keeper), Arc::clone(&service));
            tokio::spawn(async move {
                let probe = || async {
                    asked.probes.lock().unwrap().push(Instant::now());
                    asked
                        .fails
                        .lock()
                        .unwrap()
                        .map_or(Ok(()), |reason| Err(Fault::bare(reason)))
                };
                let facts = SourceFacts {
                    vitals: &Vitals::default,
                    held_for: &|| *asked.held_for.lock().unwrap(),
                    refresh_in: &|| *asked.refresh_in.lock().unwrap(),
                };
                kept.run(probe, facts, &Pulse::default()).await;
            });
            Self {
                keeper,
                service,
                begun: Instant::now(),
            }
        }

        fn fails(&self, reason: impl Into<Option<Reason>>) {
            *self.service.fails.lock().unwrap() = reason.into();
        }

        /// The seconds at which probes came, of this many seconds more.
        async fn probes_in(&self, seconds: u64) -> Vec<u64> {
            let known = self.service.probes.lock().unwrap().len();
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            self.service.probes.lock().unwrap()[known..]
                .iter()
                .map(|at| at.duration_since(self.begun).as_secs())
                .collect()
        }

        fn failing(&self) -> Option<Reason> {
            self.keeper.health().borrow().failing
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_probed_at_the_start_and_after_five_idle_minutes() {
        let rig = Rig::new();
        assert_eq!(rig.probes_in(1000).await, [0, 300, 600, 900]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_look_up_counts_as_a_probe() {
        let rig = Rig::new();
        assert_eq!(rig.probes_in(200).await, [0]);
        rig.keeper.good(Vitals::default());
        assert_eq!(rig.probes_in(301).await, [500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_source_is_probed_every_ten_seconds_for_a_minute_and_then_every_minute() {
        let rig = Rig::new();
        rig.probes_in(1).await;
        rig.fails(Reason::Offline);
        rig.keeper.suspect();
        assert_eq!(
            rig.probes_in(190).await,
            [1, 11, 21, 31, 41, 51, 61, 121, 181]
        );
        assert_eq!(rig.failing(), Some(Reason::Offline));
        rig.fails(None);
        assert_eq!(rig.probes_in(60).await, [241]);
        assert_eq!(rig.failing(), None);
        assert_eq!(rig.probes_in(300).await, [541], "and then only when idle");
    }

    #[tokio::test(start_paused = true)]
    async fn one_failed_look_up_that_no_probe_confirms_changes_nothing() {
        let rig = Rig::new();
        rig.probes_in(1).await;
        rig.keeper.suspect();
        assert_eq!(rig.probes_in(100).await, [1]);
        assert_eq!(rig.failing(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_idle_probe_is_confirmed_by_a_second_one() {
        let rig = Rig::new();
        rig.probes_in(1).await;
        rig.fails(Reason::Timeout);
        assert_eq!(rig.probes_in(300).await, [300, 300]);
        assert_eq!(rig.failing(), Some(Reason::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_garbled_probe_neither_fails_nor_mends() {
        let rig = Rig::new();
        rig.probes_in(1).await;
        rig.fails(Reason::GarbledAnswer);
        rig.keeper.suspect();
        rig.probes_in(5).await;
        assert_eq!(rig.failing(), None);
        rig.fails(Reason::Offline);
        rig.keeper.suspect();
        rig.probes_in(5).await;
        rig.fails(Reason::GarbledAnswer);
        rig.probes_in(30).await;
        assert_eq!(rig.failing(), Some(Reason::Offline));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_source_is_well_again_with_the_next_good_look_up() {
        let rig = Rig::new();
        rig.fails(Reason::Offline);
        rig.probes_in(1).await;
        assert_eq!(rig.failing(), Some(Reason::Offline));
        rig.keeper.good(Vitals::default());
        assert_eq!(rig.failing(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_timed_probe_comes_before_retry_after_ends() {
        let rig = Rig::new();
        rig.fails(Reason::RateLimited);
        rig.probes_in(1).await;
        *rig.service.held_for.lock().unwrap() = Some(Duration::from_secs(3600));
        assert!(rig.probes_in(600).await.is_empty());
        *rig.service.held_for.lock().unwrap() = None;
        assert_eq!(
            rig.probes_in(3600).await.first(),
            Some(&3610),
            "it slept for as long as it was told"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_must_be_fresh_is_read_anew_and_a_failing_refresh_has_its_pauses() {
        let rig = Rig::new();
        rig.probes_in(1).await;
        *rig.service.refresh_in.lock().unwrap() = Some(Duration::ZERO);
        rig.keeper.suspect();
        rig.fails(Reason::GarbledAnswer);
        assert_eq!(rig.probes_in(35).await, [1, 11, 21, 31]);
    }

    #[tokio::test(start_paused = true)]
    async fn since_tells_when_the_state_began() {
        let rig = Rig::new();
        rig.probes_in(1).await;
        let well = rig.keeper.health().borrow().since;
        assert!(well.is_some());
        rig.keeper.good(Vitals {
            credential_days: Some(3),
            ..Vitals::default()
        });
        let health = rig.keeper.health().borrow().clone();
        assert_eq!(
            (health.since, health.credential_days),
            (well, Some(3)),
            "a change of numbers is no change of state"
        );
    }
}
