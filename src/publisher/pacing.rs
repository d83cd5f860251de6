//! How long to wait before the next try, and how many messages of the backlog may leave in a second. The time is handed in.

use std::time::Duration;

use tokio::time::Instant;

use super::ReconnectTimes;

/// A delay that doubles from `first` to `most`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
}

impl Backoff {
    pub(super) const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            tries: 0,
        }
    }

    /// The next ceiling.
    pub(super) fn next(&mut self) -> Duration {
        let ceiling = self
            .first
            .saturating_mul(2_u32.saturating_pow(self.tries))
            .min(self.most);
        self.tries = self.tries.saturating_add(1);
        ceiling
    }

    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// When the broker is tried again: at once, then often enough to be back in time, and after a while seldom.
///
/// Each pause is anything up to its ceiling (full jitter): stations that lost one broker together come back spread, by their mean of 2 s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reconnect {
    times: ReconnectTimes,
    /// Since when the broker is away, or no link lasts.
    outage: Option<Instant>,
    /// Pauses since trying often has ended.
    seldom: u32,
}

impl Reconnect {
    pub(super) const fn new(times: ReconnectTimes) -> Self {
        Self {
            times,
            outage: None,
            seldom: 0,
        }
    }

    /// A link is gone that had been up for so long. A stable one ends the outage before it.
    pub(super) fn lost(&mut self, lasted: Duration) {
        if lasted >= self.times.stable {
            *self = Self::new(self.times);
        }
    }

    /// How long the next pause may be.
    fn ceiling(&mut self, now: Instant) -> Duration {
        let Some(since) = self.outage else {
            self.outage = Some(now);
            return self.times.first;
        };
        if now.saturating_duration_since(since) >= self.times.often {
            self.seldom = self.seldom.saturating_add(1);
        }
        self.times
            .next
            .saturating_mul(2_u32.saturating_pow(self.seldom))
            .min(self.times.most)
    }

    /// The next pause.
    pub(super) fn pause(&mut self, now: Instant) -> Duration {
        self.ceiling(now).mul_f64(fastrand::f64())
    }

    /// How long a try may take whose failure leads to that pause. One that hangs must not add to it: the pause is counted from its beginning.
    pub(super) fn patience(&self, pause: Duration) -> Duration {
        pause.clamp(self.times.connect_least, self.times.connect_most)
    }
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
        let every = if per_second == 0 {
            Duration::ZERO
        } else {
            Duration::from_secs(1) / per_second
        };
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
    use crate::publisher::Timing;

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
    fn the_broker_is_tried_at_once_then_every_few_seconds_and_after_two_minutes_seldom() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut reconnect = Reconnect::new(Timing::default().reconnect);
        let mut ceilings = |seconds: &[u64]| -> Vec<f64> {
            seconds
                .iter()
                .map(|time| reconnect.ceiling(at(*time)).as_secs_f64())
                .collect()
        };
        assert_eq!(ceilings(&[0, 0, 4, 60, 119]), [0.5, 4.0, 4.0, 4.0, 4.0]);
        assert_eq!(
            ceilings(&[120, 128, 144, 176, 236, 100_000]),
            [8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
        );
        reconnect.lost(Duration::from_secs(59));
        assert_eq!(
            reconnect.ceiling(at(100_100)),
            Duration::from_secs(60),
            "a link that does not last ends no outage"
        );
        reconnect.lost(Duration::from_secs(60));
        assert_eq!(reconnect.ceiling(at(100_200)), Duration::from_millis(500));
        assert_eq!(reconnect.ceiling(at(100_201)), Duration::from_secs(4));
    }

    #[test]
    fn a_try_that_hangs_takes_no_longer_than_its_pause() {
        let reconnect = Reconnect::new(Timing::default().reconnect);
        let seconds = |pause: f64| {
            reconnect
                .patience(Duration::from_secs_f64(pause))
                .as_secs_f64()
        };
        // A connection over a slow network takes a second or two, whatever the dice say; and all fits the 5 s.
        assert_eq!(
            [0.0, 1.0, 2.0, 3.5, 4.0].map(seconds),
            [2.0, 2.0, 2.0, 3.5, 4.0]
        );
        assert_eq!([8.0, 60.0].map(seconds), [8.0, 10.0]);
    }

    /// When each of so many stations has its link again, in seconds after the broker's return. It was lost at 0 and is back at `back`; until
    /// then a try fails at once, or hangs.
    fn returns(stations: usize, back: f64, hangs: bool) -> (Vec<f64>, Vec<f64>) {
        let start = Instant::now();
        let mut pauses = Vec::new();
        let returns = (0..stations).map(|_| {
            let mut reconnect = Reconnect::new(Timing::default().reconnect);
            let mut now = start + reconnect.pause(start);
            loop {
                let seconds = (now - start).as_secs_f64();
                if seconds >= back {
                    return seconds - back;
                }
                let pause = reconnect.pause(now);
                pauses.push(pause.as_secs_f64());
                now += if hangs {
                    pause.max(reconnect.patience(pause))
                } else {
                    pause
                };
            }
        });
        (returns.collect(), pauses)
    }

    #[test]
    fn a_thousand_stations_come_back_in_time_and_spread() {
        for hangs in [false, true] {
            for outage in [3.0, 10.0, 30.0, 119.0] {
                let (returns, pauses) = returns(1_000, outage, hangs);
                let in_second = |second: f64| {
                    returns
                        .iter()
                        .filter(|time| (second..second + 1.0).contains(*time))
                        .count()
                };
                let most = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
                    .map(in_second)
                    .into_iter()
                    .max()
                    .unwrap_or_default();
                assert!(
                    most <= 600,
                    "{most} of 1,000 in one second after {outage} s, hanging: {hangs}"
                );
                assert!(
                    returns.iter().all(|time| *time <= 4.0),
                    "all fits the 5 s after {outage} s"
                );
                let mean = pauses.iter().sum::<f64>()
                    / f64::from(u32::try_from(pauses.len()).unwrap_or(u32::MAX));
                assert!(
                    (1.8..=2.2).contains(&mean),
                    "a pause of {mean} s at the mean"
                );
            }
        }
        // Over two minutes the broker is seldom tried: a minute's tries of all of them come to thirty-odd a second at most.
        let (returns, _) = returns(1_000, 600.0, false);
        let most = (0..60)
            .map(|second| {
                returns
                    .iter()
                    .filter(|time| (f64::from(second)..f64::from(second + 1)).contains(*time))
                    .count()
            })
            .max();
        assert!(
            most.is_some_and(|most| most <= 80),
            "{most:?} in one second"
        );
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
