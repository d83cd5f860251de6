//! What one lane is to show, on its way to the thread of its lamps: the newest counts, and a change wakes the thread.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::status::LaneStatus;
use crate::runtime::{clock::Boot, histogram::Histogram};

/// What the lamps are to show now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub status: LaneStatus,
    /// The station can answer no scan now.
    pub unable: bool,
    /// The station has ended: dark from now on.
    pub over: bool,
}

/// Where a lane's newest status lies. Clones share it.
#[derive(Clone, Debug)]
pub struct LampFeed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    shown: Mutex<Shown>,
    changed: Condvar,
    lit: Histogram,
}

impl LampFeed {
    /// A dark lane.
    pub fn dark(now: Boot) -> Self {
        Self(Arc::new(Shared {
            shown: Mutex::new(Shown {
                status: LaneStatus::at_start(now),
                unable: false,
                over: false,
            }),
            changed: Condvar::new(),
            lit: Histogram::default(),
        }))
    }

    /// What the core decided.
    pub fn show(&self, status: LaneStatus) {
        self.change(|shown| shown.status = status);
    }

    /// Whether the station can answer, as its parts say.
    pub fn unable(&self, unable: bool) {
        self.change(|shown| shown.unable = unable);
    }

    /// The lamps go dark, and their thread ends.
    pub fn end(&self) {
        self.change(|shown| shown.over = true);
    }

    /// The lamps were lit so long after the scan that they answer.
    pub fn lit_after(&self, time: Duration) {
        self.0.lit.count(time);
    }

    /// From the scan to the light of its answer.
    pub fn lit(&self) -> &Histogram {
        &self.0.lit
    }

    pub fn now(&self) -> Shown {
        *self.lock()
    }

    /// Blocks until something else than `seen` is to be shown, or until `end`.
    pub fn wait(&self, seen: Shown, end: Instant) {
        let time = end.saturating_duration_since(Instant::now());
        let same = |shown: &mut Shown| *shown == seen;
        drop(self.0.changed.wait_timeout_while(self.lock(), time, same));
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        let mut shown = self.lock();
        let before = *shown;
        change(&mut shown);
        let changed = *shown != before;
        drop(shown);
        if changed {
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
