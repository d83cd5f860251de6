//! How long to wait before the next try, and how many messages of the backlog may leave in a second. Pure: the time is handed in.

use std::time::Duration;

use tokio::time::Instant;

/// A delay that doubles from `first` to `most`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
}

impl Backoff {
    pub(super) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, tries: 0 }
    }

    /// The next ceiling.
    pub(super) fn next(&mut self) -> Duration {
        let ceiling = self.first.saturating_mul(2_u32.saturating_pow(self.tries)).min(self.most);
        self.tries = self.tries.saturating_add(1);
        ceiling
    }

    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// Full jitter: anything up to `ceiling`. A thousand stations that lost one broker come back evenly spread.
/// A twentieth stays, so that a broker that is down is never hammered.
pub(super) fn full_jitter(ceiling: Duration) -> Duration {
    ceiling.mul_f64(0.05 + 0.95 * fastrand::f64())
}

/// The budget of the backlog: so many messages a second, evenly spread. 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    /// Time that may be made up for when nobody asked for a while.
    const SLACK: Duration = Duration::from_millis(50);

    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let every = if per_second == 0 { Duration::ZERO } else { Duration::from_secs(1) / per_second };
        Self { every, next: now }
    }

    /// When the next message may leave.
    pub(super) fn ready_at(&self) -> Instant {
        self.next
    }

    pub(super) fn ready(&self, now: Instant) -> bool {
        self.next <= now
    }

    /// Counts one message that leaves.
    pub(super) fn take(&mut self, now: Instant) {
        let earliest = now.checked_sub(Self::SLACK).unwrap_or(now);
        self.next = self.next.max(earliest) + self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_doubles_up_to_its_end_and_starts_anew_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(120));
        let seconds: Vec<u64> = (0..10).map(|_| backoff.next().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
        backoff.reset();
        assert_eq!(backoff.next().as_secs(), 1);
        for _ in 0..100 {
            assert!(backoff.next() <= Duration::from_secs(120));
        }
    }

    #[test]
    fn jitter_spreads_over_the_whole_delay_and_never_over_it() {
        let ceiling = Duration::from_secs(100);
        let delays: Vec<u64> = (0..1_000).map(|_| full_jitter(ceiling).as_secs()).collect();
        assert!(delays.iter().all(|&delay| (5..=100).contains(&delay)));
        assert!(delays.iter().any(|&delay| delay < 20) && delays.iter().any(|&delay| delay > 85));
    }

    #[test]
    fn the_backlog_keeps_to_its_budget_and_no_budget_is_no_limit() {
        let start = Instant::now();
        let sent_in = |per_second: u32, time: Duration| {
            let mut pace = Pace::new(per_second, start);
            let mut sent = 0;
            for step in 0..=time.as_millis() {
                let now = start + Duration::from_millis(u64::try_from(step).unwrap_or_default());
                while pace.ready(now) && sent < 100_000 {
                    pace.take(now);
                    sent += 1;
                }
            }
            sent
        };
        assert!((200..=220).contains(&sent_in(200, Duration::from_secs(1))));
        assert!((1..=12).contains(&sent_in(1, Duration::from_secs(10))));
        assert_eq!(sent_in(0, Duration::from_millis(1)), 100_000);
    }
}
