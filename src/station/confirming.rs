//! Greens that rest on rows of a replica, until the services themselves have confirmed them. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use uuid::Uuid;

use super::waiting::WaitingBox;
use crate::{
    label::Serial,
    readiness::evidence::{Evidence, Finding},
    reason::{Reason, Verdict},
    record::Record,
    runtime::{clock::Boot, name::Name},
    verdict::Decision,
};

/// The first live question comes this long after the green ..
const FIRST: Duration = Duration::from_secs(2);
/// .. the next ones after twice the time each, up to this.
const SLOWEST: Duration = Duration::from_secs(15 * 60);
/// All together at most one box in this time.
const BETWEEN_BOXES: Duration = Duration::from_millis(250);
/// One request asks Apple's device enrollment service about many boxes, so greens that rest on its rows wait for one another so long ..
const TOGETHER: Duration = Duration::from_mins(1);
/// .. and no more than that are asked about at once, for the other services are asked one by one.
const MOST_TOGETHER: usize = 100;
/// A row is never older than this, so a pass has confirmed the green by then or no pass is made any more.
pub const FOLLOWED: Duration = Duration::from_secs(24 * 3_600);
/// More greens than a day has; the oldest leave first.
const MOST: usize = 20_000;

/// What a live answer says of a green.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    Confirmed,
    /// The green was wrong, or is so by now.
    Recall,
    /// Neither: it is asked again.
    Open,
}

/// What `decision` says of the green of `serial` that was scanned so long `ago`.
pub fn confirms(decision: &Decision, serial: &Serial, ago: Duration) -> Confirmation {
    match (decision.reason.verdict(), decision.reason) {
        (Verdict::Ready, _) if decision.serial.as_ref() == Some(serial) => Confirmation::Confirmed,
        // Handing out the profile and enrolling is what a green is for, unless it was before the scan.
        (_, Reason::AlreadyEnrolled | Reason::PreviouslyActivated) => {
            let before = decision.evidence.iter().any(|one| {
                matches!(
                    one.finding,
                    Finding::No(Reason::AlreadyEnrolled | Reason::PreviouslyActivated)
                ) && was_used_before(one, ago)
            });
            if before {
                Confirmation::Recall
            } else {
                Confirmation::Confirmed
            }
        }
        (Verdict::NotReady, _) | (_, Reason::AssignmentPending | Reason::AssignmentThrottled) => {
            Confirmation::Recall
        }
        _ => Confirmation::Open,
    }
}

/// By the service's own clock: ours may be wrong. A row's own time is that at which it was read.
fn was_used_before(one: &Evidence, ago: Duration) -> bool {
    match (one.replied_at, one.used_at) {
        (Some(then), Some(used)) => {
            let since = Duration::try_from(then.duration_since(used));
            since.is_ok_and(|since| since + one.row_age.unwrap_or_default() > ago)
        }
        _ => false,
    }
}

/// When a green was scanned.
#[derive(Clone, Copy, Debug)]
pub struct Scanned {
    /// In this run: then. Of an earlier run: when it was taken up ..
    at: Boot,
    /// .. so long after its scan.
    age: Duration,
}

impl Scanned {
    pub fn ago(self, now: Boot) -> Duration {
        now.since(self.at).saturating_add(self.age)
    }
}

/// One green.
#[derive(Clone, Debug)]
pub struct Green {
    pub one: WaitingBox,
    pub scanned: Scanned,
    /// The sources whose rows it rests on and that have not confirmed it.
    left: BTreeSet<Name>,
    next: Boot,
    interval: Duration,
    until: Boot,
    asking: bool,
    /// It rests on a row of Apple's device enrollment service.
    together: bool,
    /// The newest word of a service about it: rows that were read earlier say nothing new.
    heard: Boot,
    /// A complete pass has not found what it rests on.
    pub doubted: bool,
}

/// The greens of the newest record of each serial number.
#[derive(Debug, Default)]
pub struct Confirming {
    greens: BTreeMap<Serial, Green>,
    /// Those that are not on their way, by when they are asked about.
    due: BTreeSet<(Boot, Serial)>,
    not_before: Option<Boot>,
}

impl Confirming {
    /// A box was recorded or changed: a green that rests on rows is to be confirmed, any other record ends that.
    pub fn recorded(&mut self, record: &Record, now: Boot) {
        self.restore(record, now, Duration::ZERO);
    }

    /// The newest record of a box before the start, which was made `age` ago.
    pub fn restore(&mut self, record: &Record, now: Boot, age: Duration) {
        let Some(serial) = record.serial.clone() else {
            return;
        };
        // What an older scan ends in says nothing about a newer green.
        let is_of_another = |green: &Green| green.one.scan != record.scan();
        if record.change.is_some() && self.greens.get(&serial).is_some_and(is_of_another) {
            return;
        }
        self.remove(&serial);
        let rows = || record.evidence.iter().filter(|one| one.row_age.is_some());
        let left: BTreeSet<Name> = rows().map(|one| one.source.clone()).collect();
        if record.reason.verdict() != Verdict::Ready || left.is_empty() || age >= FOLLOWED {
            return;
        }
        if self.greens.len() >= MOST {
            let oldest = self.greens.values().min_by_key(|green| green.until);
            if let Some(oldest) = oldest.map(|green| green.one.serial.clone()) {
                self.remove(&oldest);
            }
        }
        let together = rows().any(|one| one.kind.speaks_for_apple());
        let until = now.plus(FOLLOWED.saturating_sub(age));
        let first = if together { TOGETHER } else { FIRST };
        // Where all that it rests on can only be listed, no live question says more than the next pass.
        let is_live = rows().any(|one| !one.kind.is_list_only());
        let green = Green {
            one: WaitingBox::new(record.clone(), serial.clone()),
            scanned: Scanned { at: now, age },
            left,
            next: if is_live { now.plus(first) } else { until },
            interval: first,
            until,
            asking: false,
            together,
            heard: now,
            doubted: false,
        };
        self.due.insert((green.next, serial.clone()));
        self.greens.insert(serial, green);
    }

    /// The greens that are to be asked about now. They are on their way until [`Self::attempted`] or [`Self::confirmed`] hears of them.
    pub fn due(&mut self, now: Boot) -> Vec<Green> {
        let Some(green) = self.next_due(now) else {
            return Vec::new();
        };
        let goes_along = |green: &Green| green.together && !green.doubted;
        let mut all = vec![green];
        if all.iter().all(goes_along) {
            let soon = self.due.iter().map(|(next, serial)| (*next, serial));
            let soon = soon.take_while(|(next, _)| *next <= now.plus(TOGETHER));
            let others =
                soon.filter(|(_, serial)| self.greens.get(*serial).is_some_and(goes_along));
            let others = others
                .take(MOST_TOGETHER - 1)
                .map(|(_, serial)| serial.clone());
            for serial in others.collect::<Vec<_>>() {
                all.extend(self.take(&serial));
            }
        }
        all
    }

    fn next_due(&mut self, now: Boot) -> Option<Green> {
        if self.not_before.is_some_and(|not_before| not_before > now) {
            return None;
        }
        loop {
            let (_, serial) = self.due.first().filter(|(next, _)| *next <= now)?.clone();
            if self.greens.get(&serial)?.until <= now {
                self.remove(&serial);
                continue;
            }
            self.not_before = Some(now.plus(BETWEEN_BOXES));
            return self.take(&serial);
        }
    }

    fn take(&mut self, serial: &Serial) -> Option<Green> {
        let green = self.greens.get_mut(serial)?;
        self.due.remove(&(green.next, serial.clone()));
        green.asking = true;
        Some(green.clone())
    }

    /// When [`Self::due`] may have something.
    pub fn next(&self) -> Option<Boot> {
        let (due, _) = self.due.first()?;
        Some(
            self.not_before
                .map_or(*due, |not_before| not_before.max(*due)),
        )
    }

    /// The services said neither that it is ready nor that it is not, or (`heard` is false) nothing at all.
    pub fn attempted(&mut self, serial: &Serial, heard: bool, now: Boot) {
        let Some(green) = self.greens.get_mut(serial).filter(|green| green.asking) else {
            return;
        };
        green.asking = false;
        if heard {
            green.heard = now;
        }
        green.interval = green.interval.saturating_mul(2).min(SLOWEST);
        green.next = now.plus(green.interval);
        self.due.insert((green.next, serial.clone()));
    }

    /// Nothing is left to confirm of this record. One that is not the newest of its serial number is ignored.
    pub fn confirmed(&mut self, serial: &Serial, record: Uuid) {
        if self.holds(serial, record) {
            self.remove(serial);
        }
    }

    /// A complete pass of `source` has brought a row that still says what it said.
    pub fn row_agrees(&mut self, source: &Name, serial: &Serial, record: Uuid) {
        if let Some(green) = self.greens.get_mut(serial)
            && green.one.record == record
        {
            green.left.remove(source);
            if green.left.is_empty() {
                self.remove(serial);
            }
        }
    }

    /// A complete pass has brought a row that says otherwise, or none: that is followed up at once.
    pub fn row_differs(&mut self, serial: &Serial, record: Uuid, now: Boot) {
        if let Some(green) = self.greens.get_mut(serial)
            && green.one.record == record
        {
            green.doubted = true;
            if green.asking {
                return;
            }
            self.due.remove(&(green.next, serial.clone()));
            green.next = now;
            self.due.insert((now, serial.clone()));
        }
    }

    /// The greens that a pass of `source` may confirm which began at that moment, behind `after` in the order of their serial numbers.
    pub fn of(
        &self,
        source: &Name,
        began: Boot,
        after: Option<&Serial>,
    ) -> impl Iterator<Item = &WaitingBox> {
        let behind = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let greens = self
            .greens
            .range::<Serial, _>(behind)
            .map(|(_, green)| green);
        let left = greens.filter(move |green| green.left.contains(source) && green.heard <= began);
        left.map(|green| &green.one)
    }

    /// Does the list have this record? A box that was scanned again has a newer one.
    pub fn holds(&self, serial: &Serial, record: Uuid) -> bool {
        self.greens
            .get(serial)
            .is_some_and(|green| green.one.record == record)
    }

    /// How many greens are not confirmed.
    pub fn count(&self) -> usize {
        self.greens.len()
    }

    fn remove(&mut self, serial: &Serial) {
        if let Some(green) = self.greens.remove(serial) {
            self.due.remove(&(green.next, serial.clone()));
        }
    }
}
