//! Rows that may be why links break: who is suspected, who is tried alone, and who is proven to be it. Pure: the time is handed in.
//!
//! A broker may hang up on one message and take all others; then that row must not hold the rest. Or it is ill and hangs up on every message;
//! then no row is to blame, and none may be set aside.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{BREAKS_THE_LINK, Key, Row};

/// Breaks of the link with the same row in flight before that row is sent alone. From then on only breaks with it alone in
/// flight count: on a network that flaps, every row is in flight at some break.
const BREAKS: u32 = 3;
/// Breaks with a row alone in flight before it is proven, if another row of its topic was accepted since the outage began.
const BREAKS_ALONE: u32 = 4;
/// Rows set aside that are remembered as such.
const REMEMBERED: usize = 1_024;

/// How often a link broke with a row in flight, since the outage began.
#[derive(Clone, Copy, Debug, Default)]
struct Breaks {
    among_others: u32,
    alone: u32,
}

/// What follows for a row that was in flight when a link broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// It is read again like any other.
    Innocent,
    /// It is sent alone from now on.
    Suspect,
    /// It is the one.
    Proven,
}

/// The rows under suspicion.
#[derive(Debug)]
pub(super) struct Suspects {
    /// On a new link they wait for so long: what is above suspicion flows first.
    grace: Duration,
    /// A link that lasted this long ends the outage.
    stable: Duration,
    rows: BTreeMap<Key, Row>,
    breaks: BTreeMap<Key, Breaks>,
    /// Links break with rows in flight, and none has been stable since.
    outage: bool,
    /// For each topic: a row was accepted since the outage began.
    accepted: [bool; 2],
    up_since: Instant,
    /// Rows that were set aside before, and why: one more fault, and they are set aside again.
    set_aside: BTreeMap<Key, &'static str>,
}

impl Suspects {
    pub(super) const fn new(grace: Duration, stable: Duration, now: Instant) -> Self {
        Self {
            grace,
            stable,
            rows: BTreeMap::new(),
            breaks: BTreeMap::new(),
            outage: false,
            accepted: [false; 2],
            up_since: now,
            set_aside: BTreeMap::new(),
        }
    }

    pub(super) fn link_up(&mut self, now: Instant) {
        self.up_since = now;
    }

    /// The link is down. `suspicious`: what was in flight may be why.
    pub(super) fn link_down(&mut self, suspicious: bool, now: Instant) {
        self.outage &= now.saturating_duration_since(self.up_since) < self.stable;
        if suspicious && !std::mem::replace(&mut self.outage, true) {
            self.breaks.clear();
            self.accepted = [false; 2];
        }
    }

    /// A link broke with that row in flight.
    pub(super) fn broke(&mut self, row: &Row, alone: bool) -> Suspicion {
        if alone && self.was_set_aside(row.key) {
            return Suspicion::Proven;
        }
        let accepted = self.accepted.get(row.topic()).copied().unwrap_or_default();
        let breaks = self.breaks.entry(row.key).or_default();
        let count = if alone {
            &mut breaks.alone
        } else {
            &mut breaks.among_others
        };
        *count = count.saturating_add(1);
        match (alone, *breaks) {
            (true, breaks) if accepted && breaks.alone >= BREAKS_ALONE => Suspicion::Proven,
            (true, _) => Suspicion::Suspect,
            (false, breaks) if breaks.among_others >= BREAKS => Suspicion::Suspect,
            (false, _) => Suspicion::Innocent,
        }
    }

    /// That row of that topic was accepted.
    pub(super) fn accepted(&mut self, key: Key, topic: usize) {
        self.set_aside.remove(&key);
        if let Some(accepted) = self.accepted.get_mut(topic).filter(|accepted| !**accepted) {
            *accepted = true;
            // While nothing was accepted, the broker was ill: that speaks against no row.
            self.breaks
                .values_mut()
                .for_each(|breaks| breaks.alone = breaks.alone.min(1));
        }
    }

    /// That row is set aside.
    pub(super) fn set_aside(&mut self, key: Key, why: &'static str) {
        self.set_aside.insert(key, why);
        if self.set_aside.len() > REMEMBERED {
            self.set_aside.pop_first();
        }
    }

    /// Was it ever set aside?
    pub(super) fn was_set_aside(&self, key: Key) -> bool {
        self.set_aside.contains_key(&key)
    }

    /// Was it set aside because it breaks links?
    pub(super) fn has_broken_links(&self, key: Key) -> bool {
        self.set_aside.get(&key) == Some(&BREAKS_THE_LINK)
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.insert(row.key, row);
    }

    /// The next one to be sent alone. In turn, so that one that breaks links does not keep the others from showing that they do not.
    pub(super) fn take_next(&mut self) -> Option<Row> {
        let tried = |key: &Key| self.breaks.get(key).map_or(0, |breaks| breaks.alone);
        let key = self
            .rows
            .keys()
            .copied()
            .min_by_key(|key| (tried(key), *key))?;
        self.rows.remove(&key)
    }

    /// The row is settled, or nothing of its past counts any more.
    pub(super) fn forget(&mut self, key: Key) {
        self.rows.remove(&key);
        self.breaks.remove(&key);
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.rows.contains_key(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// When the next one may be sent alone; `None`: nobody is suspected.
    pub(super) fn due_at(&self) -> Option<Instant> {
        (!self.rows.is_empty()).then(|| self.up_since + self.grace)
    }
}
