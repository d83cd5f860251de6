//! Lets one caller at a time fetch what all need, without making anybody wait for one that hangs.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::OwnedMutexGuard, time::Instant};

/// A caller whose turn lasts longer is not waited for any more: half of a scan's usual deadline.
const LONGEST: Duration = Duration::from_secs(1);

/// Whose turn it is.
#[derive(Debug)]
pub(super) struct Turn(Mutex<State>);

#[derive(Clone, Debug)]
struct State {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// When the present turn began.
    began: Instant,
}

impl State {
    fn new() -> Self {
        Self {
            lock: Arc::default(),
            began: Instant::now(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lock, &other.lock)
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self(Mutex::new(State::new()))
    }
}

impl Turn {
    /// Waits for the caller's turn, which lasts until the guard is dropped. Whoever has had it for [`LONGEST`] is passed over.
    pub(super) async fn take(&self) -> OwnedMutexGuard<()> {
        loop {
            let seen = self.locked().clone();
            let taken = match Arc::clone(&seen.lock).try_lock_owned() {
                Ok(guard) => Some(guard),
                Err(_) => tokio::time::timeout_at(
                    seen.began + LONGEST,
                    Arc::clone(&seen.lock).lock_owned(),
                )
                .await
                .ok(),
            };
            let mut now = self.locked();
            match taken {
                Some(guard) => {
                    if now.is(&seen) {
                        now.began = Instant::now();
                    }
                    return guard;
                }
                None if now.is(&seen) && now.began == seen.began => *now = State::new(),
                // It is another's turn by now.
                None => {}
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waits(turn: &Turn) -> Duration {
        let begun = Instant::now();
        let _guard = turn.take().await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_has_its_turn() {
        let turn = Turn::default();
        let work = async || {
            let _guard = turn.take().await;
            tokio::time::sleep(Duration::from_millis(900)).await;
            Instant::now()
        };
        let begun = Instant::now();
        let (one, two, three) = tokio::join!(work(), work(), work());
        assert_eq!(
            [one, two, three].map(|end| end.duration_since(begun).as_millis()),
            [900, 1800, 2700]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_one_that_hangs() {
        let turn = Turn::default();
        let _hangs = turn.take().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        let (one, two) = tokio::join!(waits(&turn), waits(&turn));
        assert_eq!([one, two].map(|wait| wait.as_millis()), [600, 600]);
        assert_eq!(
            waits(&turn).await,
            Duration::ZERO,
            "later callers do not wait at all"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_one_is_passed_over_once_and_its_followers_take_turns_again() {
        let turn = Turn::default();
        let _hangs = turn.take().await;
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let work = async || {
            let _guard = turn.take().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            Instant::now()
        };
        let begun = Instant::now();
        let (one, two) = tokio::join!(work(), work());
        assert_eq!(
            [one, two].map(|end| end.duration_since(begun).as_millis()),
            [100, 200]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_goes_away_gives_its_turn_up() {
        let turn = Turn::default();
        let gone = tokio::time::timeout(Duration::from_millis(10), async {
            let _guard = turn.take().await;
            std::future::pending::<()>().await;
        });
        assert!(gone.await.is_err());
        assert_eq!(waits(&turn).await, Duration::ZERO);
    }
}
