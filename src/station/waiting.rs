//! The boxes that are asked again by themselves, and when. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    label::{Candidates, Serial},
    reason::{Reason, Verdict},
    record::{Cause, Change, Record},
    runtime::{clock::Boot, name::Name},
    verdict::Policy,
};

/// So long after its scan a box is asked for live, even if its rows say the same. Then it rides on the passes.
const EARLY: Duration = Duration::from_mins(5);
/// A failed or throttled assignment does not clear by fast asking.
const HOURLY: Duration = Duration::from_secs(3600);
/// .. and is followed for at least this long.
const HOURLY_FOR: Duration = Duration::from_secs(72 * 3600);
/// Doubling ends here.
const SLOWEST: Duration = Duration::from_secs(15 * 60);
/// All together at most one box in this time.
const BETWEEN_BOXES: Duration = Duration::from_secs(1);
/// More boxes than a waiting shelf holds; the oldest leave first.
const MOST: usize = 20_000;

/// One box on the waiting shelf: of its newest record what the next one needs, for there may be thousands.
#[derive(Clone, Debug)]
pub struct WaitingBox {
    /// The `id` of its newest record.
    pub record: Uuid,
    /// The `id` of the scan that it came from.
    pub scan: Uuid,
    pub lane: Name,
    pub reason: Reason,
    /// The serial number under which it stands in the list.
    pub serial: Serial,
    scanner: Name,
    group: Option<Uuid>,
    asked: Box<[Serial]>,
    model: Option<Box<str>>,
    family: Option<Box<str>>,
}

/// A box in the list.
#[derive(Clone, Debug)]
struct Entry {
    one: WaitingBox,
    times: Times,
    /// What the rows said when the services were last asked because of them.
    asked_for: Option<Reason>,
}

/// When a box is asked for.
#[derive(Clone, Copy, Debug)]
struct Times {
    next: Boot,
    interval: Duration,
    until: Boot,
    asking: bool,
    /// Its first re-checks are over by then.
    early_until: Boot,
    /// As in [`RecheckTimes`].
    ride: Option<Duration>,
    listed: bool,
    /// Passes that began since then may judge it.
    rides: Option<Boot>,
}

impl Times {
    /// When the services are asked next. Where passes begin to judge a box instead, they have time to.
    fn plan(&mut self, now: Boot) {
        self.next = now.plus(self.interval);
        if let Some(ride) = self.ride.filter(|_| self.next > self.early_until) {
            if self.rides.is_none() {
                self.next = now.plus(self.interval.max(ride));
            }
            self.rides = Some(now);
        }
    }
}

impl WaitingBox {
    pub fn new(record: Record, serial: Serial) -> Self {
        // One text for the same serial number.
        let asked = record.asked.iter().map(|asked| {
            if *asked == serial {
                serial.clone()
            } else {
                asked.clone()
            }
        });
        Self {
            record: record.id,
            scan: record.scan(),
            asked: asked.collect(),
            lane: record.lane,
            reason: record.reason,
            serial,
            scanner: record.scanner,
            group: record.group,
            model: record.model.map(String::into_boxed_str),
            family: record.family.map(String::into_boxed_str),
        }
    }

    /// What is asked for.
    pub fn candidates(&self) -> Candidates {
        Candidates::asked_before(&self.asked)
            .unwrap_or_else(|| Candidates::one(self.serial.clone()))
    }

    /// Its newest record, as far as another follows from it.
    pub fn before(&self) -> Record {
        let change = Change {
            scan: self.scan,
            cause: Cause::Recheck,
            previous_reason: self.reason,
        };
        Record {
            change: (self.scan != self.record).then_some(change),
            scanner: self.scanner.clone(),
            serial: Some(self.serial.clone()),
            asked: self.asked.to_vec(),
            model: self.model.as_deref().map(str::to_owned),
            family: self.family.as_deref().map(str::to_owned),
            group: self.group,
            ..Record::bare(
                self.record,
                Timestamp::UNIX_EPOCH,
                self.lane.clone(),
                self.reason,
            )
        }
    }
}

/// The lane's times for re-checks.
#[derive(Clone, Copy, Debug)]
pub struct RecheckTimes {
    /// First re-check after this long.
    pub recheck: Duration,
    /// For this long.
    pub recheck_for: Duration,
    /// If every source has a replica: so long after the last pass that judged a box the services are asked all the same.
    pub ride: Option<Duration>,
    /// A source can only be listed: a pass may say more of a box however early it comes.
    pub listed: bool,
}

impl RecheckTimes {
    pub fn of(policy: &Policy) -> Self {
        let refreshes = policy.sources.iter().map(|source| source.refresh);
        let longest = refreshes.reduce(|one, other| Some(one?.max(other?)));
        Self {
            recheck: policy.recheck,
            recheck_for: policy.recheck_for,
            // By then two passes have failed.
            ride: longest.flatten().map(|refresh| refresh.saturating_mul(2)),
            listed: policy
                .sources
                .iter()
                .any(|source| source.kind.is_list_only()),
        }
    }
}

/// The list of boxes that wait. Each serial number stands in it once.
#[derive(Debug, Default)]
pub struct WaitingList {
    /// By the order in which they came. Each in its own place in memory: a tree that grows at its end is half empty.
    boxes: BTreeMap<u64, Box<Entry>>,
    numbers: BTreeMap<Serial, u64>,
    /// Those that are not on their way, by when they are asked for and by when their time is over.
    due: BTreeSet<(Boot, u64)>,
    ends: BTreeSet<(Boot, u64)>,
    came: u64,
    not_before: Option<Boot>,
    /// Recorded since the start, while boxes of an earlier run are still read: those are older.
    since_start: Restoring,
}

/// Are boxes of an earlier run still to come?
#[derive(Debug)]
enum Restoring {
    Until(BTreeSet<Serial>),
    Done,
}

impl Default for Restoring {
    fn default() -> Self {
        Self::Until(BTreeSet::new())
    }
}

/// Is a box that ended with this reason asked again?
pub const fn is_asked_again(reason: Reason) -> bool {
    match reason.verdict() {
        Verdict::Wait | Verdict::Unknown => true,
        Verdict::NotReady => {
            matches!(
                reason,
                Reason::NotFound
                    | Reason::NotInOrg
                    | Reason::Unassigned
                    | Reason::NoProfile
                    | Reason::AssignmentFailed
            )
        }
        Verdict::Ready | Verdict::Rescan => false,
    }
}

/// For how long a box may be followed at the most.
pub fn followed_for(recheck_for: Duration) -> Duration {
    recheck_for.max(HOURLY_FOR)
}

const fn is_hourly(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AssignmentThrottled | Reason::AssignmentFailed
    )
}

impl WaitingList {
    /// How many boxes wait.
    pub fn count(&self) -> usize {
        self.boxes.len()
    }

    /// A box was recorded, or changed: puts it on the list or takes it off. An older entry of the same serial number leaves.
    pub fn settle(&mut self, record: Record, times: RecheckTimes, now: Boot) {
        if let (Restoring::Until(settled), Some(serial)) = (&mut self.since_start, &record.serial) {
            settled.insert(serial.clone());
        }
        self.replace(record, times, now, Duration::ZERO);
    }

    /// The newest record of a box before the start, which was scanned `age` ago. One that was recorded since counts more.
    pub fn restore(&mut self, record: Record, times: RecheckTimes, now: Boot, age: Duration) {
        if !self.has_newer(&record) {
            self.replace(record, times, now, age.max(Duration::from_secs(1)));
        }
    }

    /// Was its serial number recorded since the start?
    pub fn has_newer(&self, record: &Record) -> bool {
        match &self.since_start {
            Restoring::Until(settled) => record
                .serial
                .as_ref()
                .is_some_and(|serial| settled.contains(serial)),
            Restoring::Done => true,
        }
    }

    /// Every box of an earlier run was restored.
    pub fn restored(&mut self) {
        self.since_start = Restoring::Done;
    }

    /// Is this what an older scan ends in, while the box waits for a newer one?
    fn is_of_older_scan(&self, record: &Record) -> bool {
        let held = record.serial.as_ref().and_then(|serial| self.entry(serial));
        record.change.is_some() && held.is_some_and(|entry| entry.one.scan != record.scan())
    }

    fn replace(&mut self, record: Record, times: RecheckTimes, now: Boot, age: Duration) {
        let Some(serial) = record.serial.clone() else {
            return;
        };
        if self.is_of_older_scan(&record) {
            return;
        }
        self.take(&serial);
        if !is_asked_again(record.reason) {
            return;
        }
        let (first, follow) = if is_hourly(record.reason) {
            (HOURLY, followed_for(times.recheck_for))
        } else {
            (times.recheck, times.recheck_for)
        };
        if age >= follow {
            return;
        }
        if self.boxes.len() >= MOST
            && let Some((_, oldest)) = self.boxes.first_key_value()
        {
            let oldest = oldest.one.serial.clone();
            self.take(&oldest);
        }
        // Intervals double, so the age of a box is about the interval that it had reached.
        let interval = first.max(age.min(SLOWEST));
        let mut times = Times {
            next: now,
            interval,
            until: now.plus(follow.saturating_sub(age)),
            asking: false,
            early_until: now.plus(EARLY.saturating_sub(age)),
            ride: times.ride,
            listed: times.listed,
            rides: None,
        };
        times.plan(now);
        self.came += 1;
        self.numbers.insert(serial.clone(), self.came);
        self.queue(self.came, times);
        let mut one = WaitingBox::new(record, serial);
        // One text for the same name.
        if let Some((_, last)) = self.boxes.last_key_value() {
            for (name, known) in [
                (&mut one.lane, &last.one.lane),
                (&mut one.scanner, &last.one.scanner),
            ] {
                if name == known {
                    name.clone_from(known);
                }
            }
        }
        let entry = Entry {
            one,
            times,
            asked_for: None,
        };
        self.boxes.insert(self.came, Box::new(entry));
    }

    /// The box that is due now, if one is. It is on its way until [`Self::attempted`] or [`Self::settle`] hears of it.
    pub fn due(&mut self, now: Boot) -> Option<WaitingBox> {
        while let Some((_, number)) = self
            .ends
            .first()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            self.remove(number);
        }
        if self.not_before.is_some_and(|not_before| not_before > now) {
            return None;
        }
        let (_, number) = self.due.first().copied().filter(|(next, _)| *next <= now)?;
        let entry = self.boxes.get_mut(&number)?;
        let times = entry.times;
        entry.times.asking = true;
        let one = entry.one.clone();
        self.unqueue(number, times);
        self.not_before = Some(now.plus(BETWEEN_BOXES));
        Some(one)
    }

    /// A re-check changed the box: something moves, so its re-checks begin anew, within the time that it had left. Or it leaves the list.
    pub fn changed(&mut self, serial: &Serial, record: Record, times: RecheckTimes, now: Boot) {
        let is_of_it = |entry: &Entry| entry.one.scan == record.scan();
        if !self.entry(serial).is_some_and(is_of_it) {
            return;
        }
        let Some(before) = self.take(serial) else {
            return;
        };
        let after = record.serial.clone();
        self.settle(record, times, now);
        self.retime(after.as_ref().unwrap_or(serial), |after| {
            if after.one.scan != before.one.scan {
                return;
            }
            after.times.early_until = before.times.early_until;
            after.times.plan(now);
            if !is_hourly(after.one.reason) {
                after.times.until = before.times.until;
            }
        });
    }

    /// An attempt that changed nothing: the next one after twice the time.
    pub fn attempted(&mut self, serial: &Serial, now: Boot) {
        self.retime(serial, |entry| {
            let times = &mut entry.times;
            times.asking = false;
            if !is_hourly(entry.one.reason) {
                let doubled = times.interval.saturating_mul(2);
                times.interval = doubled.min(SLOWEST.max(times.interval));
            }
            times.plan(now);
        });
    }

    /// The boxes that a pass which began then may judge, behind `after` in the order of their serial numbers.
    pub fn riding(&self, began: Boot, after: Option<&Serial>) -> impl Iterator<Item = &WaitingBox> {
        let behind = (
            after.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Unbounded,
        );
        let entries = self.numbers.range::<Serial, _>(behind);
        let entries = entries.filter_map(|(_, number)| self.boxes.get(number).map(Box::as_ref));
        let rides = move |entry: &&Entry| {
            let times = entry.times;
            let rides = times.rides.is_some_and(|since| since <= began);
            !times.asking && (times.listed || rides)
        };
        entries.filter(rides).map(|entry| &entry.one)
    }

    /// The rows of a complete pass say what its record says.
    pub fn rode(&mut self, serial: &Serial, now: Boot) {
        self.retime(serial, |entry| {
            let times = &mut entry.times;
            times.next = now.plus(times.interval.max(times.ride.unwrap_or_default()));
            entry.asked_for = None;
        });
    }

    /// They say that its reason is another: the services are asked at once, and not again for the same until they are anyway.
    pub fn differs(&mut self, serial: &Serial, reason: Reason, now: Boot) {
        self.retime(serial, |entry| {
            if entry.asked_for != Some(reason) {
                entry.asked_for = Some(reason);
                entry.times.next = now;
            }
        });
    }

    /// Is it still asked for live, whatever its rows say?
    pub fn is_early(&self, serial: &Serial, now: Boot) -> bool {
        self.entry(serial)
            .is_some_and(|entry| now < entry.times.early_until)
    }

    /// The box with this record. One that was scanned again in the meantime has a newer one.
    pub fn held(&self, serial: &Serial, record: Uuid) -> Option<&WaitingBox> {
        let entry = self.entry(serial)?;
        (entry.one.record == record).then_some(&entry.one)
    }

    fn entry(&self, serial: &Serial) -> Option<&Entry> {
        let number = self.numbers.get(serial)?;
        self.boxes.get(number).map(Box::as_ref)
    }

    /// When [`Self::due`] may have something.
    pub fn next(&self) -> Option<Boot> {
        let (due, _) = *self.due.first()?;
        Some(
            self.not_before
                .map_or(due, |not_before| due.max(not_before)),
        )
    }

    /// Changes the times of a box, and its places in the queues with them.
    fn retime(&mut self, serial: &Serial, change: impl FnOnce(&mut Entry)) {
        let Some(number) = self.numbers.get(serial).copied() else {
            return;
        };
        let Some(entry) = self.boxes.get_mut(&number) else {
            return;
        };
        let before = entry.times;
        change(entry);
        let after = entry.times;
        self.unqueue(number, before);
        self.queue(number, after);
    }

    fn take(&mut self, serial: &Serial) -> Option<Entry> {
        let number = *self.numbers.get(serial)?;
        self.remove(number)
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.boxes.remove(&number)?;
        self.numbers.remove(&entry.one.serial);
        self.unqueue(number, entry.times);
        Some(*entry)
    }

    fn queue(&mut self, number: u64, times: Times) {
        if !times.asking {
            self.due.insert((times.next, number));
            self.ends.insert((times.until, number));
        }
    }

    fn unqueue(&mut self, number: u64, times: Times) {
        self.due.remove(&(times.next, number));
        self.ends.remove(&(times.until, number));
    }
}

#[cfg(test)]
mod tests;
