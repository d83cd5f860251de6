//! Whether the file can be written, and what health says of it.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::{RETRY, Store, Trouble, Writer, fault_of};
use crate::{
    health::{JournalCondition, JournalHealth},
    journal::retention,
};

/// For how long health names a salvage.
const ALARM: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The journal's file. It changes by the methods below alone.
///
/// ```text
///          opened            proven
/// Closed ──────────▶ Doubted ───────▶ Writable
///    ▲                │  ▲              │  │
///    ├──── close ─────┘  └─ failed, doubt  │
///    └────────────── close ────────────────┘
/// ```
pub(super) enum FileState {
    /// No file is open. When to try again; `None`: at once.
    Closed { retry: Option<Instant> },
    /// It is open; whether it can be written is to be shown by the next commit, or by a try at that time (`None`: at once).
    Doubted {
        store: Store,
        retry: Option<Instant>,
    },
    /// It is open, and the last write succeeded.
    Writable { store: Store },
}

impl FileState {
    pub(super) fn store(&self) -> Option<&Store> {
        match self {
            Self::Closed { .. } => None,
            Self::Doubted { store, .. } | Self::Writable { store } => Some(store),
        }
    }

    pub(super) fn store_mut(&mut self) -> Option<&mut Store> {
        match self {
            Self::Closed { .. } => None,
            Self::Doubted { store, .. } | Self::Writable { store } => Some(store),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.store().is_some()
    }

    pub(super) fn is_writable(&self) -> bool {
        matches!(self, Self::Writable { .. })
    }

    /// Rows changed by this connection so far.
    pub(super) fn changes(&self) -> u64 {
        self.store().map_or(0, |store| store.changes())
    }

    /// When a file that is not writable is tried again.
    pub(super) fn retry(&self) -> Option<Instant> {
        match self {
            Self::Closed { retry } | Self::Doubted { retry, .. } => *retry,
            Self::Writable { .. } => None,
        }
    }

    /// A file was opened. One that was open is closed by that.
    pub(super) fn opened(&mut self, store: Store) {
        let retry = self.retry();
        *self = Self::Doubted { store, retry };
    }

    /// A write succeeded. A closed file stays closed.
    pub(super) fn proven(&mut self) {
        *self = match std::mem::replace(self, Self::Closed { retry: None }) {
            Self::Doubted { store, .. } => Self::Writable { store },
            other => other,
        };
    }

    /// The file could not be opened or written. It is tried again a second later, or when it was to be tried anyway.
    pub(super) fn failed(&mut self, now: Instant) {
        let again = Some(self.retry().unwrap_or(now + RETRY));
        *self = match std::mem::replace(self, Self::Closed { retry: None }) {
            Self::Closed { .. } => Self::Closed { retry: again },
            Self::Doubted { store, .. } | Self::Writable { store } => Self::Doubted {
                store,
                retry: again,
            },
        };
    }

    /// A caller waited too long, though no write has failed: it is tried at once.
    pub(super) fn doubt(&mut self) {
        *self = match std::mem::replace(self, Self::Closed { retry: None }) {
            Self::Writable { store } => Self::Doubted { store, retry: None },
            other => other,
        };
    }

    /// May a file that is not writable be tried? If so, the next try is a second later. A writable one needs none.
    pub(super) fn try_again(&mut self, now: Instant) -> bool {
        match self {
            Self::Closed { retry } | Self::Doubted { retry, .. }
                if retry.is_none_or(|at| at <= now) =>
            {
                *retry = Some(now + RETRY);
                true
            }
            _ => false,
        }
    }

    /// Nothing is open from now on. What was.
    pub(super) fn close(&mut self) -> Option<Store> {
        let retry = self.retry();
        match std::mem::replace(self, Self::Closed { retry }) {
            Self::Closed { .. } => None,
            Self::Doubted { store, .. } | Self::Writable { store } => Some(store),
        }
    }
}

impl Writer {
    /// Tries a journal that cannot be written, once a second.
    pub(super) fn recover(&mut self) {
        self.shared.hold_back(self.queued.scans.len());
        let now = Instant::now();
        if self.state.is_writable() && self.shared.health.borrow().state != JournalCondition::Ok {
            // A caller's second has passed, though no write has failed.
            self.state.doubt();
        }
        if !self.state.try_again(now) {
            return;
        }
        let tried = self.opened().and_then(|()| match self.state.store_mut() {
            Some(store) => store.probe(),
            None => Ok(()),
        });
        match tried {
            // A disk that answers slowly is not well yet.
            Ok(()) if now.elapsed() < RETRY => {
                self.well();
                self.commit_requests(std::collections::VecDeque::new());
            }
            Ok(()) => {}
            Err(Trouble::Corrupt(why)) => self.replace_or_unwell(&why),
            Err(trouble) => {
                if trouble == Trouble::Full
                    && let Some(store) = self.state.store()
                {
                    let _ = retention::remove_copies(store, &self.shared.settings, true);
                }
                self.unwell(&trouble);
            }
        }
    }

    pub(super) fn well(&mut self) {
        self.state.proven();
        self.shared.health.send_if_modified(|health| {
            let unwell = health.state != JournalCondition::Ok;
            if unwell {
                tracing::info!("the journal can be written again");
                health.state = JournalCondition::Ok;
            }
            unwell
        });
    }

    pub(super) fn unwell(&mut self, trouble: &Trouble) {
        let fault = fault_of(trouble);
        self.state.failed(Instant::now());
        self.shared.health.send_if_modified(|health| {
            let new = health.state != fault.condition();
            if new {
                tracing::error!(
                    "{fault}; scans are answered journal_fault until it can be written"
                );
                health.state = fault.condition();
            }
            new
        });
    }

    /// Moves a damaged file away and goes on in a new one.
    pub(super) fn replace_or_unwell(&mut self, why: &str) {
        if let Err(trouble) = self.replace(why) {
            self.unwell(&trouble);
        }
    }

    /// Takes the file's own numbers into health.
    pub(super) fn tell(&self) {
        let Some(store) = self.state.store() else {
            return;
        };
        let mut health = self.shared.health.borrow().clone();
        match store.tell(&mut health, alarm_since()) {
            Ok(()) => self.told(health),
            Err(trouble) => tracing::debug!("the journal's numbers cannot be read: {trouble:?}"),
        }
    }

    pub(super) fn told(&self, mut health: JournalHealth) {
        health.faulted = health.faulted.saturating_add(self.queued.faulted);
        self.shared.settled.counted(health.unsent);
        self.shared.health.send_modify(|known| {
            // The callers change these two themselves.
            health.state = known.state;
            health.faulted = health.faulted.max(known.faulted);
            health.unsent = self.shared.settled.unsent();
            *known = health;
        });
    }
}

/// Salvages since then are named in health.
pub(super) fn alarm_since() -> Timestamp {
    Timestamp::now()
        .checked_sub(ALARM)
        .unwrap_or(Timestamp::MIN)
}
