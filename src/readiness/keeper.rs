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

use super::http::{Fault, Quota, is_of_the_way};
use crate::{health::SourceHealth, reason::Reason, runtime::name::Name};

/// How often a source is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// After this long without a look-up.
    pub idle: Duration,
    /// While failing, at first ..
    pub failing: Duration,
    /// .. for so many probes ..
    pub failing_probes: u32,
    /// .. and later.
    pub failing_long: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { idle: Duration::from_mins(5), failing: Duration::from_secs(10), failing_probes: 6, failing_long: Duration::from_mins(1) }
    }
}

/// What a source knows beside its findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// The service's own last fetch from Apple (the oldest that counts).
    pub as_of: Option<Timestamp>,
    /// Days until the credential or the MDM's own token expires.
    pub credential_days: Option<i64>,
    /// The service's quota.
    pub quota: Option<Quota>,
}

/// What the keeper asks of its source between probes.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    /// What is known beside the findings.
    pub(super) vitals: &'a (dyn Fn() -> Vitals + Send + Sync),
    /// How long no request may leave.
    pub(super) held_for: &'a (dyn Fn() -> Option<Duration> + Send + Sync),
    /// In how much time the source's background knowledge must be read anew.
    pub(super) refresh_in: &'a (dyn Fn() -> Option<Duration> + Send + Sync),
}

/// One source's health and the rhythm of its probes.
#[derive(Debug)]
pub(super) struct Keeper {
    source: Name,
    rhythm: Rhythm,
    health: watch::Sender<SourceHealth>,
    suspected: Notify,
    /// The last probe or good look-up.
    contact: Mutex<Option<Instant>>,
}

impl Keeper {
    pub(super) fn new(source: Name, rhythm: Rhythm) -> Self {
        let unknown_yet = SourceHealth { failing: None, since: None, as_of: None, credential_days: None, quota_left: None, quota_limit: None };
        Self { source, rhythm, health: watch::Sender::new(unknown_yet), suspected: Notify::new(), contact: Mutex::new(None) }
    }

    pub(super) fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.subscribe()
    }

    /// A look-up or probe succeeded.
    pub(super) fn good(&self, vitals: Vitals) {
        self.touch();
        self.change(None, vitals);
    }

    /// A look-up failed by a fault of the way: a probe shall confirm it at once. While failing the probes have their own rhythm.
    pub(super) fn suspect(&self) {
        if self.health.borrow().failing.is_none() {
            self.suspected.notify_one();
        }
    }

    /// Probes by the rhythm; never ends.
    pub(super) async fn run<P: Future<Output = Result<(), Fault>>>(&self, probe: impl Fn() -> P, now: Now<'_>) {
        let mut failed_probes = 0_u32;
        loop {
            let suspected = loop {
                // Asked anew after each sleep: look-ups meanwhile count as probes.
                let due = self.next_in(failed_probes, now);
                if due.is_zero() {
                    break false;
                }
                tokio::select! {
                    () = self.suspected.notified() => break true,
                    () = tokio::time::sleep(due) => {}
                }
            };
            let mut result = probe().await;
            // One failure alone shows nothing: the first one is confirmed at once, whether a look-up or a probe met it.
            let confirmed = suspected || self.health.borrow().failing.is_some();
            if !confirmed && result.as_ref().is_err_and(|fault| is_of_the_way(fault.reason)) {
                result = probe().await;
            }
            self.touch();
            match result {
                Ok(()) => {
                    failed_probes = 0;
                    self.change(None, (now.vitals)());
                }
                Err(fault) if is_of_the_way(fault.reason) => {
                    failed_probes = if self.health.borrow().failing.is_some() { failed_probes.saturating_add(1) } else { 1 };
                    self.change(Some(fault.reason), (now.vitals)());
                }
                // The way is good and the answer was not: neither fails nor mends.
                Err(_) => {}
            }
        }
    }

    fn next_in(&self, failed_probes: u32, now: Now<'_>) -> Duration {
        let since_contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner).map(|contact| contact.elapsed());
        let Some(since_contact) = since_contact else {
            return Duration::ZERO;
        };
        let rhythm = self.rhythm;
        let due = if self.health.borrow().failing.is_some() {
            let pause = if failed_probes <= rhythm.failing_probes { rhythm.failing } else { rhythm.failing_long };
            pause.saturating_sub(since_contact)
        } else {
            let idle = rhythm.idle.saturating_sub(since_contact);
            // A refresh that does not succeed must not be asked for without a pause.
            let pause = rhythm.failing.saturating_sub(since_contact);
            (now.refresh_in)().map_or(idle, |refresh| idle.min(refresh.max(pause)))
        };
        (now.held_for)().map_or(due, |held| due.max(held))
    }

    fn touch(&self) {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn change(&self, failing: Option<Reason>, vitals: Vitals) {
        let mut turned = false;
        self.health.send_if_modified(|health| {
            turned = health.failing != failing;
            let next = SourceHealth {
                failing,
                since: if turned || health.since.is_none() { Some(Timestamp::now()) } else { health.since },
                as_of: vitals.as_of,
                credential_days: vitals.credential_days,
                quota_left: vitals.quota.map(|quota| quota.left),
                quota_limit: vitals.quota.map(|quota| quota.limit),
            };
            let modified = *health != next;
            *health = next;
            modified
        });
        match failing {
            Some(reason) if turned => tracing::warn!(source = %self.source, reason = reason.code(), "source fails"),
            None if turned => tracing::info!(source = %self.source, "source answers again"),
            _ => {}
        }
    }
}
