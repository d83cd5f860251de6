//! The shelves: which boxes wait, and which ones somebody must see to. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use uuid::Uuid;

use super::shapes::{BothShelves, Boxed, Shelf, detail, signed, time};
use crate::{
    label::Serial,
    readiness::kind::Mdm,
    reason::{Reason, Verdict},
    record::{Cause, Record},
    runtime::{clock::Boot, name::Name, visible},
    station::waiting::is_asked_again,
};

/// Boxes listed of each shelf.
const LISTED: usize = 200;
/// Boxes known of both; the oldest leave first.
const MOST: usize = 40_000;
/// A box that nobody has touched for so long lies elsewhere.
pub(super) const KEPT_FOR: Duration = Duration::from_hours(7 * 24);

/// What is kept of a box; there may be thousands.
#[derive(Clone, Debug)]
struct Kept {
    /// The order in which the boxes came.
    nth: u64,
    reason: Reason,
    lane: Name,
    since: Timestamp,
    since_ms: Option<i64>,
    came: Boot,
    scan: Uuid,
    /// What the sources add to the reason's sentence.
    message: Option<Box<str>>,
    model: Option<Box<str>>,
}

/// Every box that is not done with, by its serial number.
#[derive(Debug)]
pub(super) struct Shelves {
    boxes: BTreeMap<Serial, Kept>,
    order: BTreeMap<u64, Serial>,
    came: u64,
    /// Recorded while boxes of the journal are still read: those are older. `None`: all are read.
    told_meanwhile: Option<BTreeSet<Serial>>,
}

impl Default for Shelves {
    fn default() -> Self {
        Self {
            boxes: BTreeMap::new(),
            order: BTreeMap::new(),
            came: 0,
            told_meanwhile: Some(BTreeSet::new()),
        }
    }
}

impl Shelves {
    /// A box was recorded or changed; says whether a shelf is another one now.
    pub(super) fn told(&mut self, record: &Record, since_ms: Option<i64>, now: Boot) -> bool {
        let Some(serial) = &record.serial else {
            return false;
        };
        if let Some(told) = &mut self.told_meanwhile {
            told.insert(serial.clone());
        }
        self.place(record, serial, since_ms, now)
    }

    fn place(
        &mut self,
        record: &Record,
        serial: &Serial,
        since_ms: Option<i64>,
        now: Boot,
    ) -> bool {
        let before = self.take(serial);
        // A box that waited and turned ready by itself is scanned again before it is powered on.
        let turned = matches!(&record.change, Some(change) if change.cause == Cause::Recheck);
        let lies = match record.reason.verdict() {
            Verdict::Ready => turned,
            Verdict::Wait | Verdict::NotReady | Verdict::Unknown => true,
            Verdict::Rescan => false,
        };
        if lies {
            self.put(serial.clone(), record, since_ms, before.as_ref(), now);
        }
        lies || before.is_some()
    }

    /// A box of the journal. One that was recorded since counts more.
    pub(super) fn restored(&mut self, record: &Record, since_ms: Option<i64>, now: Boot) {
        if let (Some(serial), Some(told)) = (&record.serial, &self.told_meanwhile)
            && !told.contains(serial)
        {
            self.place(record, serial, since_ms, now);
        }
    }

    pub(super) fn all_restored(&mut self) {
        self.told_meanwhile = None;
    }

    fn put(
        &mut self,
        serial: Serial,
        record: &Record,
        since_ms: Option<i64>,
        before: Option<&Kept>,
        now: Boot,
    ) {
        if self.boxes.len() >= MOST
            && let Some(oldest) = self.order.values().next().cloned()
        {
            self.take(&oldest);
        }
        self.came += 1;
        // A change leaves the box in its place: it has lain there since its scan.
        let stays = before.filter(|_| record.change.is_some());
        let nth = stays.map_or(self.came, |before| before.nth);
        let said = visible::text(&record.message);
        let kept = Kept {
            nth,
            reason: record.reason,
            lane: record.lane.clone(),
            since: stays.map_or(record.at, |before| before.since),
            since_ms: stays.map_or(since_ms, |before| before.since_ms),
            came: now,
            scan: record.scan(),
            message: (said != record.reason.sentence()).then(|| said.into_boxed_str()),
            model: record
                .model
                .as_deref()
                .map(|model| visible::text(model).into_boxed_str()),
        };
        self.order.insert(nth, serial.clone());
        self.boxes.insert(serial, kept);
    }

    fn take(&mut self, serial: &Serial) -> Option<Kept> {
        let kept = self.boxes.remove(serial)?;
        self.order.remove(&kept.nth);
        Some(kept)
    }

    /// Boxes that nobody touched for [`KEPT_FOR`] leave; says whether one did.
    pub(super) fn forget_old(&mut self, now: Boot) -> bool {
        let old: Vec<Serial> = self
            .boxes
            .iter()
            .filter(|(_, kept)| kept.age(now) > KEPT_FOR)
            .map(|(serial, _)| serial.clone())
            .collect();
        for serial in &old {
            self.take(serial);
        }
        !old.is_empty()
    }

    /// Both shelves: what waits with the turned ones first, else the oldest first; problems by reason, then the oldest first.
    pub(super) fn both(&self, mdm: Option<Mdm>, asked_for: Duration, now: Boot) -> BothShelves {
        let mut both = BothShelves::default();
        let (mut turned, mut waiting, mut problem) = (Vec::new(), Vec::new(), Vec::new());
        for serial in self.order.values() {
            let Some(kept) = self.boxes.get(serial) else {
                continue;
            };
            match kept.reason.verdict() {
                Verdict::Ready => turned.push((serial, kept)),
                Verdict::NotReady => problem.push((serial, kept)),
                Verdict::Wait | Verdict::Unknown | Verdict::Rescan => waiting.push((serial, kept)),
            }
        }
        problem.sort_by_key(|(_, kept)| kept.reason);
        let shelf = |boxes: Vec<(&Serial, &Kept)>| Shelf {
            total: boxes.len(),
            boxes: boxes
                .into_iter()
                .take(LISTED)
                .map(|(serial, kept)| kept.shown(serial, mdm, asked_for, now))
                .collect(),
        };
        turned.extend(waiting);
        both.waiting = shelf(turned);
        both.problem = shelf(problem);
        both
    }
}

impl Kept {
    /// How long it has lain there; where the clock of its record is not known, in this run.
    fn age(&self, now: Boot) -> Duration {
        let of = |since: i64| signed(now.as_millis()).saturating_sub(since);
        self.since_ms
            .and_then(|since| u64::try_from(of(since)).ok())
            .map_or_else(|| now.since(self.came), Duration::from_millis)
    }

    fn shown(&self, serial: &Serial, mdm: Option<Mdm>, asked_for: Duration, now: Boot) -> Boxed {
        Boxed {
            serial: serial.as_str().to_owned(),
            lane: self.lane.as_str().to_owned(),
            reason: self.reason.code(),
            verdict: self.reason.verdict().code(),
            detail: self
                .message
                .as_deref()
                .and_then(|message| detail(self.reason, message)),
            message: self
                .message
                .as_deref()
                .unwrap_or(self.reason.sentence())
                .to_owned(),
            action: mdm.map_or_else(
                || self.reason.action().to_owned(),
                |mdm| mdm.action(self.reason),
            ),
            since: time(self.since),
            since_ms: self.since_ms,
            asked_again: is_asked_again(self.reason) && self.age(now) < asked_for,
            turned: self.reason.verdict() == Verdict::Ready,
            model: self.model.as_deref().map(str::to_owned),
            scan: self.scan,
        }
    }
}
