//! One lane: who owns its lamps now, and what they show.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    runtime::clock::Boot,
    station::{
        status::{LampAnswer, LaneStatus},
        waiting::RecheckTimes,
    },
    verdict::Policy,
};

/// A wrong barcode this soon after a serial number comes from the same trigger pull.
const SAME_PULL: Duration = Duration::from_millis(500);
/// The same text within this time joins the scan that it repeats ..
const REPEAT: Duration = Duration::from_millis(1500);
/// .. at most this long after the first.
const REPEAT_AT_MOST: Duration = Duration::from_secs(5);

pub(super) struct Lane {
    pub(super) policy: Policy,
    pub(super) status: LaneStatus,
    newest: Option<Newest>,
}

/// The scan that the lane's lamps belong to.
struct Newest {
    scan: Uuid,
    text: String,
    first: Boot,
    last: Boot,
    is_serial: bool,
    answer: Option<LampAnswer>,
}

impl Lane {
    pub(super) const fn new(policy: Policy, now: Boot) -> Self {
        Self {
            policy,
            status: LaneStatus::at_start(now),
            newest: None,
        }
    }

    pub(super) fn times(&self) -> RecheckTimes {
        RecheckTimes::of(&self.policy)
    }

    pub(super) fn belongs_to(&self, scan: Uuid) -> bool {
        self.newest
            .as_ref()
            .is_some_and(|newest| newest.scan == scan)
    }

    /// The newest scan, if this text repeats it.
    pub(super) fn repeats_newest(&mut self, text: &str, at: Boot) -> Option<Uuid> {
        let newest = self.newest.as_mut()?;
        let repeats = newest.text == text
            && at.since(newest.last) <= REPEAT
            && at.since(newest.first) <= REPEAT_AT_MOST;
        if repeats {
            newest.last = at;
        }
        repeats.then_some(newest.scan)
    }

    /// A repeated scan: the same lamp again, if there is an answer.
    pub(super) fn show_again(&mut self, at: Boot) -> Option<LaneStatus> {
        let answer = self.newest.as_ref()?.answer?;
        self.status.scan += 1;
        self.status.scanned_at = at;
        self.status.answer = Some(answer);
        Some(self.status)
    }

    /// Is a wrong barcode at `at` one of several codes read in the trigger pull of a serial number?
    pub(super) fn is_same_pull(&self, at: Boot) -> bool {
        self.newest
            .as_ref()
            .is_some_and(|newest| newest.is_serial && at.since(newest.last) <= SAME_PULL)
    }

    /// A new scan owns the lane: dark at once. Returns the wrong barcode of the same trigger pull that it replaces, if it does.
    pub(super) fn take_over(
        &mut self,
        scan: Uuid,
        text: String,
        at: Boot,
        is_serial: bool,
    ) -> Option<Uuid> {
        let before = self.newest.replace(Newest {
            scan,
            text,
            first: at,
            last: at,
            is_serial,
            answer: None,
        });
        self.status.scan += 1;
        self.status.scanned_at = at;
        self.status.answer = None;
        before
            .filter(|before| !before.is_serial && at.since(before.last) <= SAME_PULL)
            .map(|before| before.scan)
    }

    /// Answers the newest scan; `false` when the lane belongs to another by now.
    pub(super) fn answer(&mut self, scan: Uuid, answer: LampAnswer) -> bool {
        match &mut self.newest {
            Some(newest) if newest.scan == scan => {
                newest.answer = Some(answer);
                self.status.answer = Some(answer);
                true
            }
            _ => false,
        }
    }
}
