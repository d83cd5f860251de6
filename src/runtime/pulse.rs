//! Signs of life: every task and thread that never ends shows that it turns, and the watchdog is fed while all of them do.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Every loop gives a sign of life at least this often. The watchdog looks every third of its ten seconds.
pub const EVERY: Duration = Duration::from_secs(2);

/// The next moment at which loops that wait give their signs of life: the same for all, so that a station at rest wakes up once for
/// all of them.
pub fn next() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let beginning = *BEGINNING.get_or_init(|| now);
    let since = now.saturating_duration_since(beginning).as_nanos() % EVERY.as_nanos();
    now + EVERY.saturating_sub(Duration::from_nanos(u64::try_from(since).unwrap_or(0)))
}

/// All that is looked after.
#[derive(Clone, Debug, Default)]
pub struct Pulses(Arc<Mutex<Vec<Watched>>>);

/// One loop under its name, and whether it gave a sign of life since somebody looked.
type Watched = (String, Weak<AtomicBool>);

impl Pulses {
    /// Looks after one more loop, until its last pulse is dropped.
    pub fn pulse(&self, name: impl Into<String>) -> Pulse {
        let pulse = Pulse(Arc::new(AtomicBool::new(true)));
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name.into(), Arc::downgrade(&pulse.0)));
        pulse
    }

    /// The names of those that gave no sign of life since this was last asked.
    pub fn silent(&self) -> Vec<String> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|(_, sign)| sign.strong_count() > 0);
        let beat = |sign: &Weak<AtomicBool>| {
            sign.upgrade()
                .is_none_or(|sign| sign.swap(false, Ordering::Relaxed))
        };
        watched
            .iter()
            .filter(|(_, sign)| !beat(sign))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// One loop's sign of life. The default is looked after by nobody.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicBool>);

impl Pulse {
    /// The loop turns.
    pub fn beat(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Waits for what may rightly take longer than [`EVERY`], and gives signs of life meanwhile. What hangs anywhere else, in
    /// a call that blocks or in another wait, gives none.
    pub async fn through<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            self.beat();
            tokio::select! {
                biased;
                done = &mut wait => return done,
                () = sleep_until(next()) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gave_no_sign_since_the_last_look_is_named_until_it_gives_one_or_is_gone() {
        let pulses = Pulses::default();
        let (left, right) = (pulses.pulse("left"), pulses.pulse("right"));
        assert!(
            pulses.silent().is_empty(),
            "who has just begun is not asked yet"
        );
        left.beat();
        assert_eq!(pulses.silent(), ["right"]);
        assert_eq!(pulses.silent(), ["left", "right"]);
        left.beat();
        right.beat();
        assert!(pulses.silent().is_empty());
        drop(right);
        left.clone().beat();
        assert!(
            pulses.silent().is_empty(),
            "who has ended is not asked any more"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn loops_that_wait_wake_up_together_and_often_enough() {
        for pause in [0, 1, 300, 1_999, 700] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let (first, now) = (next(), Instant::now());
            assert!(first > now && first <= now + EVERY, "after {pause} ms");
            sleep_until(first - Duration::from_nanos(1)).await;
            assert!(next() <= first + EVERY);
        }
        let first = next();
        sleep_until(first).await;
        assert_eq!(next(), first + EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_gives_signs_of_life_and_a_loop_that_hangs_elsewhere_gives_none() {
        let pulses = Pulses::default();
        let pulse = pulses.pulse("loop");
        let look = async {
            for _ in 0..20 {
                tokio::time::sleep(EVERY + Duration::from_millis(500)).await;
                assert!(pulses.silent().is_empty());
            }
        };
        tokio::select! {
            () = pulse.through(std::future::pending()) => {}
            () = look => {}
        }
        let hangs = async {
            pulse.through(async {}).await;
            std::future::pending::<()>().await;
        };
        let look = async {
            tokio::time::sleep(EVERY).await;
            assert!(pulses.silent().is_empty());
            tokio::time::sleep(EVERY * 2).await;
            assert_eq!(pulses.silent(), ["loop"]);
        };
        tokio::select! {
            () = hangs => {}
            () = look => {}
        }
    }
}
