//! The boxes that are asked again by themselves, and when. Pure.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    label::{Candidates, Serial},
    reason::{Reason, Verdict},
    record::Record,
    runtime::clock::Boot,
};

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

/// One box on the waiting shelf.
#[derive(Clone, Debug)]
pub struct WaitingBox {
    /// The newest record of it: its lane, scanner, group and reason.
    pub record: Record,
    /// The `id` of the scan that it came from.
    pub scan: Uuid,
    /// What is asked for.
    pub candidates: Candidates,
    /// The serial number under which it stands in the list.
    pub serial: Serial,
    next: Boot,
    interval: Duration,
    until: Boot,
    asking: bool,
}

/// The lane's times for re-checks.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// First re-check after this long.
    pub recheck: Duration,
    /// For this long.
    pub recheck_for: Duration,
}

/// The list of boxes that wait. Each serial number stands in it once.
#[derive(Debug, Default)]
pub struct WaitingList {
    boxes: Vec<WaitingBox>,
    not_before: Option<Boot>,
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
    pub const fn count(&self) -> usize {
        self.boxes.len()
    }

    /// A box was recorded, or changed: puts it on the list or takes it off. An older entry of the same serial number leaves.
    /// `age`: how long ago it was scanned; more than zero only after a restart.
    pub fn settle(&mut self, record: Record, rhythm: Rhythm, now: Boot, age: Duration) {
        let Some(serial) = record.serial.clone() else {
            return;
        };
        self.take(&serial);
        if !is_asked_again(record.reason) {
            return;
        }
        let hourly = is_hourly(record.reason);
        let (first, follow) = if hourly {
            (HOURLY, followed_for(rhythm.recheck_for))
        } else {
            (rhythm.recheck, rhythm.recheck_for)
        };
        if age >= follow {
            return;
        }
        // Intervals double, so the age of a box is about the interval that it had reached.
        let interval = first.max(age.min(SLOWEST));
        if self.boxes.len() >= MOST {
            self.boxes.remove(0);
        }
        let candidates = Candidates::asked_before(&record.asked)
            .unwrap_or_else(|| Candidates::one(serial.clone()));
        let scan = record
            .change
            .as_ref()
            .map_or(record.id, |change| change.scan);
        let next = now.plus(interval);
        let until = now.plus(follow.saturating_sub(age));
        self.boxes.push(WaitingBox {
            record,
            scan,
            candidates,
            serial,
            next,
            interval,
            until,
            asking: false,
        });
    }

    /// The box that is due now, if one is. It is on its way until [`Self::asked`] or [`Self::settle`] hears of it.
    pub fn due(&mut self, now: Boot) -> Option<WaitingBox> {
        self.boxes.retain(|one| one.asking || one.until > now);
        if self.not_before.is_some_and(|not_before| not_before > now) {
            return None;
        }
        let one = self
            .boxes
            .iter_mut()
            .filter(|one| !one.asking && one.next <= now)
            .min_by_key(|one| one.next)?;
        one.asking = true;
        self.not_before = Some(now.plus(BETWEEN_BOXES));
        Some(one.clone())
    }

    /// A re-check changed the box: something moves, so its rhythm begins anew, within the time that it had left. Or it leaves the list.
    pub fn changed(&mut self, serial: &Serial, record: Record, rhythm: Rhythm, now: Boot) {
        let Some(before) = self.take(serial) else {
            return;
        };
        self.settle(record, rhythm, now, Duration::ZERO);
        if let Some(after) = self
            .boxes
            .last_mut()
            .filter(|after| after.scan == before.scan && !is_hourly(after.record.reason))
        {
            after.until = before.until;
        }
    }

    /// An attempt that changed nothing: the next one after twice the time.
    pub fn attempted(&mut self, serial: &Serial, now: Boot) {
        if let Some(one) = self.boxes.iter_mut().find(|one| one.serial == *serial) {
            one.asking = false;
            if !is_hourly(one.record.reason) {
                one.interval = one
                    .interval
                    .saturating_mul(2)
                    .min(SLOWEST.max(one.interval));
            }
            one.next = now.plus(one.interval);
        }
    }

    /// Is a box on the list with this record? A box scanned again in the meantime has a newer one.
    pub fn holds(&self, record: Uuid) -> bool {
        self.boxes.iter().any(|one| one.record.id == record)
    }

    /// When [`Self::due`] may have something.
    pub fn next(&self) -> Option<Boot> {
        let due = self
            .boxes
            .iter()
            .filter(|one| !one.asking)
            .map(|one| one.next)
            .min()?;
        Some(
            self.not_before
                .map_or(due, |not_before| due.max(not_before)),
        )
    }

    fn take(&mut self, serial: &Serial) -> Option<WaitingBox> {
        let at = self.boxes.iter().position(|one| one.serial == *serial)?;
        Some(self.boxes.remove(at))
    }
}

#[cfg(test)]
mod tests;
