//! How many requests may leave: the service's `Retry-After`, its quota and our share of it, and a limit of our own.

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
/// Our own minute is longer than the service's by this: it counts requests when they arrive, and they do not all take as long.
const ON_THE_WAY: Duration = Duration::from_secs(1);
/// After a 429 that does not say for how long, whatever is not a scan rests for so long, and twice as long after each further one ..
const STRAIN: Duration = Duration::from_secs(1);
/// .. up to this.
const LONGEST_STRAIN: Duration = MINUTE;

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
    /// Our own limit of reads a minute, or our share of it, is used up.
    OwnLimit(Duration),
    /// Our share of the service's limit is used up.
    Share(Duration),
    /// A re-check or a pass would use what is left for people.
    KeptForScans(Duration),
}

impl Refusal {
    pub(super) const fn wait(self) -> Duration {
        match self {
            Self::Held(wait)
            | Self::OwnLimit(wait)
            | Self::Share(wait)
            | Self::KeptForScans(wait) => wait,
        }
    }
}

/// The requests of the last minute or hour.
#[derive(Debug)]
struct Window {
    length: Duration,
    sent: VecDeque<(Boot, Purpose)>,
}

impl Window {
    const fn of(length: Duration) -> Self {
        Self {
            length,
            sent: VecDeque::new(),
        }
    }

    /// How many of them were sent.
    fn used(&mut self, now: Boot) -> usize {
        let gone = |(sent, _): &(Boot, Purpose)| now.since(*sent) >= self.length;
        while self.sent.front().is_some_and(gone) {
            self.sent.pop_front();
        }
        self.sent.len()
    }

    /// How long until one more of `limit` may be sent for this purpose; `None`: one may. Whatever is not a scan leaves a fifth
    /// for scans, and while a pass is under way, whatever is not a pass leaves a fifth for that: rows that grow too old
    /// would cost more requests than the pass.
    fn wait(
        &mut self,
        limit: usize,
        purpose: Purpose,
        pass_is_under_way: bool,
        now: Boot,
    ) -> Option<Duration> {
        let fifth = limit.div_ceil(5);
        let for_pass = fifth.min(limit / 2);
        let most = match purpose {
            Purpose::Scan => limit,
            _ => limit - fifth,
        };
        let of_most = self.wait_of(most, |_| true, now);
        match purpose {
            Purpose::Pass => {
                let of_limit = self.wait_of(limit, |_| true, now);
                let of_own = self.wait_of(for_pass, is_pass, now);
                of_most.min(of_limit.max(of_own))
            }
            _ if pass_is_under_way => {
                let most = most.saturating_sub(for_pass);
                of_most.max(self.wait_of(most, |purpose| !is_pass(purpose), now))
            }
            _ => of_most,
        }
    }

    /// How long until one more may be sent where `allowed` of the counted ones may.
    fn wait_of(
        &mut self,
        allowed: usize,
        counts: impl Fn(Purpose) -> bool,
        now: Boot,
    ) -> Option<Duration> {
        self.used(now);
        let counted = || self.sent.iter().filter(|(_, purpose)| counts(*purpose));
        let too_many = counted().count().checked_sub(allowed)?;
        let first = counted().nth(too_many).map_or(now, |(sent, _)| *sent);
        Some(self.length.saturating_sub(now.since(first)))
    }
}

fn is_pass(purpose: Purpose) -> bool {
    purpose == Purpose::Pass
}

/// What one source may still ask. Pure: the time is given.
#[derive(Debug)]
pub(super) struct Budget {
    reads_per_minute: usize,
    /// The part of the service's limit that this station may use, else of its own; over 0 to 1.
    share: f64,
    minute: Window,
    /// Counted only for a share: without one the service itself counts.
    hour: Window,
    held_until: Option<Boot>,
    /// 429 without `Retry-After`: how long everybody but a scan rests, and until when.
    strained: Option<(Duration, Boot)>,
    quota: Option<(Quota, Boot)>,
    /// A pass that asks, or is to ask again, counts as under way until then.
    pass_until: Option<Boot>,
}

impl Budget {
    pub(super) fn new(reads_per_minute: u32, share: f64) -> Self {
        Self {
            reads_per_minute: usize::try_from(reads_per_minute).unwrap_or(usize::MAX),
            share,
            minute: Window::of(MINUTE.saturating_add(ON_THE_WAY)),
            hour: Window::of(WINDOW),
            held_until: None,
            strained: None,
            quota: None,
            pass_until: None,
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
        if purpose != Purpose::Scan
            && let Some(wait) = self.strained_for(now)
        {
            return Err(Refusal::KeptForScans(wait));
        }
        let (minute, hour) = (self.minute_limit(), self.hour_limit());
        let pass_is_under_way = self.pass_until.is_some_and(|until| now < until);
        let share = hour.and_then(|limit| self.hour.wait(limit, purpose, pass_is_under_way, now));
        let own = minute.and_then(|limit| self.minute.wait(limit, purpose, pass_is_under_way, now));
        if is_pass(purpose) {
            let next = share.max(own).unwrap_or_default();
            self.pass_until = Some(now.plus(next).plus(MINUTE));
        }
        match (purpose, share, own) {
            (_, None, None) => {}
            (Purpose::Scan, Some(wait), _) => return Err(Refusal::Share(wait)),
            (Purpose::Scan, None, Some(wait)) => return Err(Refusal::OwnLimit(wait)),
            (_, share, own) => {
                return Err(Refusal::KeptForScans(share.max(own).unwrap_or_default()));
            }
        }
        if minute.is_some() {
            self.minute.sent.push_back((now, purpose));
        }
        if self.is_shared() {
            self.hour.used(now);
            self.hour.sent.push_back((now, purpose));
        }
        Ok(())
    }

    /// Is over half of what this station may use still left? `None`: no limit is known.
    pub(super) fn over_half_left(&mut self, now: Boot) -> Option<bool> {
        if self.held_for(now).or(self.strained_for(now)).is_some() {
            return Some(false);
        }
        let told = self
            .quota(now)
            .map(|quota| quota.left.saturating_mul(2) > part(quota.limit, self.share));
        let (minute, hour) = (self.minute_limit(), self.hour_limit());
        let hour = hour.map(|limit| self.hour.used(now).saturating_mul(2) < limit);
        let minute = minute.map(|limit| self.minute.used(now).saturating_mul(2) < limit);
        [told, hour, minute]
            .into_iter()
            .flatten()
            .reduce(|one, other| one && other)
    }

    fn is_shared(&self) -> bool {
        self.share < 1.0
    }

    /// Our share of the limit that the service told last.
    fn hour_limit(&self) -> Option<usize> {
        let (quota, _) = self.quota.filter(|_| self.is_shared())?;
        Some(usize::try_from(part(quota.limit, self.share)).unwrap_or(usize::MAX))
    }

    /// Our own limit; our share of it, where the service tells none.
    fn minute_limit(&self) -> Option<usize> {
        let share = if self.quota.is_some() {
            1.0
        } else {
            self.share
        };
        let limit = u64::try_from(self.reads_per_minute).unwrap_or(u64::MAX);
        (limit > 0).then(|| usize::try_from(part(limit, share)).unwrap_or(usize::MAX))
    }

    /// The service said `Retry-After`. A longer hold that runs already stays.
    pub(super) fn hold(&mut self, wait: Duration, now: Boot) {
        let until = now.plus(wait.min(LONGEST_HOLD));
        self.held_until = Some(self.held_until.map_or(until, |running| running.max(until)));
    }

    /// The service said 429 and not for how long.
    pub(super) fn strain(&mut self, now: Boot) {
        let rest = self.strained.map_or(STRAIN, |(rest, _)| rest * 2);
        let rest = rest.min(LONGEST_STRAIN);
        self.strained = Some((rest, now.plus(rest)));
    }

    /// The service answered otherwise than 429.
    pub(super) const fn relax(&mut self) {
        self.strained = None;
    }

    fn strained_for(&self, now: Boot) -> Option<Duration> {
        let (_, until) = self.strained?;
        Some(until.since(now)).filter(|wait| !wait.is_zero())
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

/// At least one request of `limit`.
fn part(limit: u64, share: f64) -> u64 {
    if share >= 1.0 {
        return limit;
    }
    // A limit has far fewer than the 53 bits that a float holds exactly; the fraction is dropped.
    ((limit as f64 * share) as u64).max(1)
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
        let mut budget = Budget::new(0, 1.0);
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
        let mut budget = Budget::new(0, 1.0);
        budget.hold(Duration::from_secs(u64::MAX), at(0));
        assert_eq!(budget.held_for(at(0)), Some(LONGEST_HOLD));
    }

    #[test]
    fn rechecks_leave_the_last_fifth_and_scans_use_it() {
        let mut budget = Budget::new(0, 1.0);
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
        let mut budget = Budget::new(10, 1.0);
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
            Err(Refusal::OwnLimit(Duration::from_secs(51)))
        );
        assert_eq!(budget.take(Purpose::Scan, at(61)), Ok(()));
        assert!(budget.take(Purpose::Scan, at(61)).is_err());
    }

    const HOURLY: Quota = Quota {
        left: 1000,
        limit: 1000,
    };

    #[test]
    fn a_share_of_the_services_limit_is_kept_by_the_hour() {
        let mut budget = Budget::new(0, 0.01);
        assert_eq!(budget.take(Purpose::Scan, at(0)), Ok(()));
        // Counted from the first request, before the service has told its limit.
        budget.note_quota(HOURLY, at(0));
        for second in 1..8 {
            assert_eq!(budget.take(Purpose::Pass, at(second)), Ok(()));
        }
        let kept = Err(Refusal::KeptForScans(Duration::from_secs(3592)));
        assert_eq!(budget.take(Purpose::Pass, at(8)), kept);
        assert_eq!(budget.take(Purpose::Recheck, at(8)), kept);
        assert_eq!(budget.take(Purpose::Scan, at(8)), Ok(()));
        assert_eq!(budget.take(Purpose::Scan, at(9)), Ok(()));
        let used_up = Err(Refusal::Share(Duration::from_secs(3590)));
        assert_eq!(budget.take(Purpose::Scan, at(10)), used_up);
        // Whatever the service says is left: another station uses the same tenant.
        budget.note_quota(HOURLY, at(3000));
        assert!(budget.take(Purpose::Scan, at(3599)).is_err());
        assert_eq!(budget.take(Purpose::Scan, at(3600)), Ok(()));
        assert!(budget.take(Purpose::Scan, at(3600)).is_err());
    }

    #[test]
    fn while_a_pass_is_under_way_a_fifth_is_kept_for_it() {
        let mut budget = Budget::new(10, 1.0);
        assert_eq!(budget.take(Purpose::Pass, at(0)), Ok(()));
        for second in 1..=8 {
            assert_eq!(budget.take(Purpose::Scan, at(second)), Ok(()));
        }
        assert_eq!(
            budget.take(Purpose::Scan, at(9)),
            Err(Refusal::OwnLimit(Duration::from_secs(53))),
            "the tenth is the pass's"
        );
        assert_eq!(budget.take(Purpose::Pass, at(9)), Ok(()));
        assert_eq!(
            budget.take(Purpose::Pass, at(10)),
            Err(Refusal::KeptForScans(Duration::from_secs(51)))
        );
        // Scans that come all the time do not keep it from its next page.
        for second in 61..=70 {
            let pass = budget.take(Purpose::Pass, at(second));
            let _ = budget.take(Purpose::Scan, at(second));
            let is_free = second == 61 || second == 70;
            assert_eq!(pass.is_ok(), is_free, "{second}");
        }
        // A minute after its last page it is over.
        let mut over = Budget::new(10, 1.0);
        assert_eq!(over.take(Purpose::Pass, at(0)), Ok(()));
        for second in 61..71 {
            assert_eq!(over.take(Purpose::Scan, at(second)), Ok(()));
        }
    }

    #[test]
    fn rechecks_leave_a_pass_its_fifth_too() {
        let mut budget = Budget::new(10, 1.0);
        assert_eq!(budget.take(Purpose::Pass, at(0)), Ok(()));
        for second in 1..=6 {
            assert_eq!(budget.take(Purpose::Recheck, at(second)), Ok(()));
        }
        assert!(budget.take(Purpose::Confirmation, at(7)).is_err());
        assert_eq!(budget.take(Purpose::Pass, at(7)), Ok(()));
        // And so by the hour, where that is limited.
        let mut shared = Budget::new(0, 0.01);
        shared.note_quota(HOURLY, at(0));
        assert_eq!(shared.take(Purpose::Pass, at(0)), Ok(()));
        for second in 1..=8 {
            assert_eq!(shared.take(Purpose::Scan, at(second)), Ok(()));
        }
        assert!(matches!(
            shared.take(Purpose::Scan, at(9)),
            Err(Refusal::Share(_))
        ));
        assert_eq!(shared.take(Purpose::Pass, at(9)), Ok(()));
    }

    #[test]
    fn a_share_outlives_what_the_service_told() {
        let mut budget = Budget::new(0, 0.001);
        budget.note_quota(HOURLY, at(0));
        assert_eq!(budget.take(Purpose::Scan, at(4000)), Ok(()));
        assert!(budget.take(Purpose::Scan, at(4001)).is_err());
    }

    #[test]
    fn the_whole_limit_is_the_services_own_to_count() {
        let mut budget = Budget::new(0, 1.0);
        budget.note_quota(Quota { left: 1, limit: 1 }, at(0));
        for second in 0..5000 {
            assert_eq!(budget.take(Purpose::Scan, at(second)), Ok(()));
        }
        assert!(budget.hour.sent.is_empty(), "and takes no memory here");
    }

    #[test]
    fn a_share_without_a_limit_of_the_service_is_one_of_reads_a_minute() {
        let mut budget = Budget::new(20, 0.5);
        for second in 0..8 {
            assert_eq!(budget.take(Purpose::Pass, at(second)), Ok(()));
        }
        assert!(budget.take(Purpose::Pass, at(8)).is_err());
        assert_eq!(budget.take(Purpose::Scan, at(8)), Ok(()));
        assert_eq!(budget.take(Purpose::Scan, at(9)), Ok(()));
        let used_up = Err(Refusal::OwnLimit(Duration::from_secs(51)));
        assert_eq!(budget.take(Purpose::Scan, at(10)), used_up);
        assert_eq!(budget.take(Purpose::Scan, at(61)), Ok(()));
        // With a limit of the service the station's own counts whole.
        let mut told = Budget::new(20, 0.5);
        told.note_quota(HOURLY, at(0));
        for second in 0..20 {
            assert_eq!(told.take(Purpose::Scan, at(second)), Ok(()));
        }
        assert!(told.take(Purpose::Scan, at(20)).is_err());
    }

    #[test]
    fn the_smallest_share_is_one_request_and_no_limit_is_none() {
        let mut budget = Budget::new(1, 0.01);
        assert_eq!(budget.take(Purpose::Scan, at(0)), Ok(()));
        assert!(budget.take(Purpose::Scan, at(1)).is_err());
        let mut unlimited = Budget::new(0, 1.0);
        assert_eq!(unlimited.over_half_left(at(0)), None);
        assert_eq!(Budget::new(0, 0.5).over_half_left(at(0)), None);
    }

    #[test]
    fn live_confirmations_stop_at_half_of_what_may_be_used() {
        // By what the service says is left.
        let mut told = Budget::new(0, 1.0);
        for (left, over_half) in [(501, true), (500, false)] {
            told.note_quota(Quota { left, limit: 1000 }, at(0));
            assert_eq!(told.over_half_left(at(1)), Some(over_half), "{left}");
        }
        assert_eq!(told.over_half_left(at(3601)), None, "told too long ago");
        // By what this station has used of its share, and by what the others have left of it.
        let mut shared = Budget::new(0, 0.01);
        shared.note_quota(HOURLY, at(0));
        for second in 0..4 {
            assert_eq!(shared.take(Purpose::Scan, at(second)), Ok(()));
        }
        assert_eq!(shared.over_half_left(at(4)), Some(true));
        assert_eq!(shared.take(Purpose::Scan, at(4)), Ok(()));
        assert_eq!(shared.over_half_left(at(5)), Some(false));
        assert_eq!(shared.over_half_left(at(3601)), Some(true));
        let almost_empty = Quota {
            left: 5,
            limit: 1000,
        };
        shared.note_quota(almost_empty, at(3700));
        assert_eq!(shared.over_half_left(at(3700)), Some(false));
        // By reads a minute.
        let mut own = Budget::new(4, 1.0);
        assert_eq!(own.take(Purpose::Scan, at(0)), Ok(()));
        assert_eq!(own.over_half_left(at(1)), Some(true));
        assert_eq!(own.take(Purpose::Scan, at(1)), Ok(()));
        assert_eq!(own.over_half_left(at(2)), Some(false));
        own.hold(Duration::from_secs(5), at(60));
        assert_eq!(
            own.over_half_left(at(61)),
            Some(false),
            "inside Retry-After"
        );
    }

    #[test]
    fn after_each_429_without_retry_after_all_but_scans_rest_twice_as_long() {
        let mut budget = Budget::new(0, 1.0);
        let mut now = 0;
        for rest in [1, 2, 4, 8, 16, 32, 60, 60] {
            budget.strain(at(now));
            assert_eq!(budget.take(Purpose::Scan, at(now)), Ok(()));
            assert_eq!(
                budget.take(Purpose::Recheck, at(now)),
                Err(Refusal::KeptForScans(Duration::from_secs(rest)))
            );
            assert_eq!(budget.over_half_left(at(now)), Some(false));
            now += rest;
            assert_eq!(budget.take(Purpose::Recheck, at(now)), Ok(()));
        }
        budget.strain(at(now));
        budget.relax();
        assert_eq!(budget.take(Purpose::Pass, at(now)), Ok(()));
        budget.strain(at(now));
        assert!(budget.take(Purpose::Pass, at(now)).is_err());
        assert_eq!(
            budget.take(Purpose::Pass, at(now + 1)),
            Ok(()),
            "begins anew"
        );
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
