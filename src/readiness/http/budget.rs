//! How many requests may leave: the service's `Retry-After`, its quota, and a limit of our own.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

use crate::{readiness::Purpose, runtime::clock::Boot};

/// A service that asks for more than a day is misread rather than obeyed: the station would be lost.
const LONGEST_HOLD: Duration = Duration::from_hours(24);
/// For how long a quota that was read counts, where the service does not say when its window ends.
const WINDOW: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// The service's quota, as its last reply told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests left in the window.
    pub left: u64,
    /// The size of the window.
    pub limit: u64,
}

/// Why a request must not leave, and how long that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The service's `Retry-After` runs.
    Held(Duration),
    /// Our own limit of reads a minute is used up.
    OwnLimit(Duration),
    /// A re-check would use what is left for people.
    KeptForScans(Duration),
}

impl Refusal {
    pub(super) const fn wait(self) -> Duration {
        match self {
            Self::Held(wait) | Self::OwnLimit(wait) | Self::KeptForScans(wait) => wait,
        }
    }
}

/// What one source may still ask. Pure: the time is given.
#[derive(Debug)]
pub(super) struct Budget {
    reads_per_minute: usize,
    sent: VecDeque<Boot>,
    held_until: Option<Boot>,
    quota: Option<(Quota, Boot)>,
}

impl Budget {
    pub(super) fn new(reads_per_minute: u32) -> Self {
        Self { reads_per_minute: usize::try_from(reads_per_minute).unwrap_or(usize::MAX), sent: VecDeque::new(), held_until: None, quota: None }
    }

    /// Takes one request from the budget, or says why not.
    pub(super) fn take(&mut self, purpose: Purpose, now: Boot) -> Result<(), Refusal> {
        if let Some(wait) = self.held_for(now) {
            return Err(Refusal::Held(wait));
        }
        if purpose == Purpose::Recheck
            && let Some((quota, until)) = self.quota
            && now < until
            && quota.left.saturating_mul(5) <= quota.limit
        {
            return Err(Refusal::KeptForScans(until.since(now)));
        }
        if self.reads_per_minute > 0 {
            while self.sent.front().is_some_and(|sent| now.since(*sent) >= MINUTE) {
                self.sent.pop_front();
            }
            let allowed = match purpose {
                Purpose::Scan => self.reads_per_minute,
                Purpose::Recheck => self.reads_per_minute - self.reads_per_minute.div_ceil(5),
            };
            if self.sent.len() >= allowed {
                let wait = self.sent.front().map_or(MINUTE, |sent| MINUTE.saturating_sub(now.since(*sent)));
                return Err(if purpose == Purpose::Scan { Refusal::OwnLimit(wait) } else { Refusal::KeptForScans(wait) });
            }
            self.sent.push_back(now);
        }
        Ok(())
    }

    /// The service said `Retry-After`. A longer hold that runs already stays.
    pub(super) fn hold(&mut self, wait: Duration, now: Boot) {
        let until = now.plus(wait.min(LONGEST_HOLD));
        self.held_until = Some(self.held_until.map_or(until, |running| running.max(until)));
    }

    /// How long no request may leave; `None`: one may.
    pub(super) fn held_for(&self, now: Boot) -> Option<Duration> {
        self.held_until.map(|until| until.since(now)).filter(|wait| !wait.is_zero())
    }

    /// The service told its quota, and when the window ends if it says so.
    pub(super) fn note_quota(&mut self, quota: Quota, window_ends_in: Option<Duration>, now: Boot) {
        self.quota = Some((quota, now.plus(window_ends_in.unwrap_or(WINDOW).min(WINDOW))));
    }

    /// The quota as last told, while its window lasts.
    pub(super) fn quota(&self, now: Boot) -> Option<Quota> {
        self.quota.filter(|(_, until)| now < *until).map(|(quota, _)| quota)
    }
}

/// Reads a `Retry-After`: seconds, or a date that is counted from the reply's own `Date` (else from our clock).
pub(super) fn retry_after(text: &str, replied_at: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = super::http_date(text)?;
    Some(Duration::try_from(until.duration_since(replied_at.unwrap_or(now))).unwrap_or(Duration::ZERO))
}
