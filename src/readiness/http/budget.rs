//! How many requests may leave: the service's `Retry-After`, its quota, and a limit of our own.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

use crate::{
    readiness::Purpose,
    runtime::clock::{self, Boot},
};

/// A service that asks for more than a day is misread rather than obeyed: the station would be lost.
const LONGEST_HOLD: Duration = Duration::from_hours(24);
/// For how long a quota that was read counts. When its window ends the service tells of the narrowest window only, which is
/// not this one; the probes of an idle source read it anew long before.
const WINDOW: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// The service's quota by its last reply.
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
        Self {
            reads_per_minute: usize::try_from(reads_per_minute).unwrap_or(usize::MAX),
            sent: VecDeque::new(),
            held_until: None,
            quota: None,
        }
    }

    /// Takes one request from the budget, or says why not.
    pub(super) fn take(&mut self, purpose: Purpose, now: Boot) -> Result<(), Refusal> {
        if let Some(wait) = self.held_for(now) {
            return Err(Refusal::Held(wait));
        }
        if purpose != Purpose::Scan
            && let Some((quota, until)) = self.quota
            && now < until
            && quota.left.saturating_mul(5) <= quota.limit
        {
            return Err(Refusal::KeptForScans(until.since(now)));
        }
        if self.reads_per_minute > 0 {
            while self
                .sent
                .front()
                .is_some_and(|sent| now.since(*sent) >= MINUTE)
            {
                self.sent.pop_front();
            }
            let allowed = match purpose {
                Purpose::Scan => self.reads_per_minute,
                Purpose::Recheck | Purpose::Pass => {
                    self.reads_per_minute - self.reads_per_minute.div_ceil(5)
                }
            };
            if self.sent.len() >= allowed {
                let wait = self
                    .sent
                    .front()
                    .map_or(MINUTE, |sent| MINUTE.saturating_sub(now.since(*sent)));
                return Err(if purpose == Purpose::Scan {
                    Refusal::OwnLimit(wait)
                } else {
                    Refusal::KeptForScans(wait)
                });
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
        self.held_until
            .map(|until| until.since(now))
            .filter(|wait| !wait.is_zero())
    }

    /// Notes the quota from a reply.
    pub(super) fn note_quota(&mut self, quota: Quota, now: Boot) {
        self.quota = Some((quota, now.plus(WINDOW)));
    }

    /// The quota by the last reply.
    pub(super) fn quota(&self, now: Boot) -> Option<Quota> {
        self.quota
            .filter(|(_, until)| now < *until)
            .map(|(quota, _)| quota)
    }
}

/// Reads a `Retry-After`: seconds, or a date that is counted from the reply's own `Date` (else from our clock).
pub(super) fn retry_after(
    text: &str,
    replied_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(clock::lasting(
            text.parse().unwrap_or(f64::INFINITY),
            LONGEST_HOLD,
        ));
    }
    let until = super::http_date(text)?;
    Some(
        Duration::try_from(until.duration_since(replied_at.unwrap_or(now)))
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const START: Boot = Boot::from_duration(Duration::from_secs(100));

    fn at(seconds: u64) -> Boot {
        START.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn nothing_leaves_inside_retry_after_and_a_longer_one_stays() {
        let mut budget = Budget::new(0);
        budget.hold(Duration::from_secs(30), at(0));
        budget.hold(Duration::from_secs(5), at(1));
        assert_eq!(
            budget.take(Purpose::Scan, at(29)),
            Err(Refusal::Held(Duration::from_secs(1)))
        );
        assert_eq!(budget.take(Purpose::Scan, at(30)), Ok(()));
        assert_eq!(budget.held_for(at(30)), None);
    }

    #[test]
    fn a_retry_after_of_years_is_cut_to_a_day() {
        let mut budget = Budget::new(0);
        budget.hold(Duration::from_secs(u64::MAX), at(0));
        assert_eq!(budget.held_for(at(0)), Some(LONGEST_HOLD));
    }

    #[test]
    fn rechecks_leave_the_last_fifth_and_scans_use_it() {
        let mut budget = Budget::new(0);
        budget.note_quota(
            Quota {
                left: 201,
                limit: 1000,
            },
            at(0),
        );
        assert_eq!(budget.take(Purpose::Recheck, at(1)), Ok(()));
        budget.note_quota(
            Quota {
                left: 200,
                limit: 1000,
            },
            at(2),
        );
        assert!(matches!(
            budget.take(Purpose::Recheck, at(3)),
            Err(Refusal::KeptForScans(_))
        ));
        assert_eq!(budget.take(Purpose::Scan, at(3)), Ok(()));
        assert_eq!(
            budget.quota(at(4)),
            Some(Quota {
                left: 200,
                limit: 1000
            })
        );
        assert_eq!(
            (
                budget.take(Purpose::Recheck, at(3700)),
                budget.quota(at(3700))
            ),
            (Ok(()), None),
            "what was told an hour ago is over"
        );
    }

    #[test]
    fn the_own_limit_slides_and_keeps_a_fifth_for_scans() {
        let mut budget = Budget::new(10);
        for second in 0..8 {
            assert_eq!(budget.take(Purpose::Recheck, at(second)), Ok(()));
        }
        assert!(matches!(
            budget.take(Purpose::Recheck, at(8)),
            Err(Refusal::KeptForScans(_))
        ));
        assert_eq!(
            (
                budget.take(Purpose::Scan, at(8)),
                budget.take(Purpose::Scan, at(9))
            ),
            (Ok(()), Ok(()))
        );
        assert_eq!(
            budget.take(Purpose::Scan, at(10)),
            Err(Refusal::OwnLimit(Duration::from_secs(50)))
        );
        assert_eq!(budget.take(Purpose::Scan, at(60)), Ok(()));
        assert!(budget.take(Purpose::Scan, at(60)).is_err());
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let read = |text: &str, replied_at: Option<&str>| {
            retry_after(text, replied_at.map(|text| text.parse().unwrap()), now)
        };
        assert_eq!(read(" 120 ", None), Some(Duration::from_secs(120)));
        assert_eq!(
            read("Mon, 23 Nov 2026 12:01:00 GMT", None),
            Some(Duration::from_mins(1))
        );
        assert_eq!(
            read(
                "Mon, 23 Nov 2026 12:01:00 GMT",
                Some("2026-11-23T12:00:30Z")
            ),
            Some(Duration::from_secs(30)),
            "by the service's clock"
        );
        assert_eq!(
            read("Mon, 23 Nov 2026 11:00:00 GMT", None),
            Some(Duration::ZERO)
        );
        for text in [
            "86401",
            "18446744073709551616",
            &"9".repeat(500),
            "Thu, 30 Dec 9999 00:00:00 GMT",
        ] {
            assert!(read(text, None).unwrap() >= LONGEST_HOLD, "{text}");
        }
        for text in ["", "soon", "-1", "1.5"] {
            assert_eq!(read(text, None), None, "{text}");
        }
    }
}
