//! What a lane shows, as a state: newest wins, so a slow lamp never lags behind the station. Pure.

use crate::{
    reason::{Reason, Signal, Verdict},
    record::Recorded,
    runtime::clock::Boot,
    verdict,
};

/// One lane as its lamps must show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// Counts the times that a scan took the lane over or its answer was shown again; 0: never. A new number darkens the lane,
    /// at least briefly.
    pub scan: u64,
    /// When the newest of them was scanned.
    pub scanned_at: Boot,
    pub answer: Option<LampAnswer>,
    /// Counts the alarms: news of an earlier box.
    pub alarms: u64,
}

impl LaneStatus {
    pub const fn at_start(now: Boot) -> Self {
        Self {
            scan: 0,
            scanned_at: now,
            answer: None,
            alarms: 0,
        }
    }
}

/// What the lamps say of the newest scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LampAnswer {
    Recorded(RecordedSignal),
    Warning(Warning),
}

impl LampAnswer {
    /// The answer of one scan's records: the worst one's signal.
    pub fn recorded(records: &[Recorded]) -> Self {
        RecordedSignal::of(records).map_or(Self::NOT_RECORDED, Self::Recorded)
    }

    /// For a scan that could not be recorded (`journal_fault`).
    pub const NOT_RECORDED: Self = Self::Warning(Warning::Hold);

    pub const fn signal(self) -> Signal {
        match self {
            Self::Recorded(RecordedSignal(signal)) => signal,
            Self::Warning(Warning::Stop) => Signal::Stop,
            Self::Warning(Warning::Hold) => Signal::Hold,
            Self::Warning(Warning::Rescan) => Signal::Rescan,
        }
    }
}

/// A signal that rests on records on disk. It can be green, and is made from [`Recorded`] alone: a light means recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedSignal(Signal);

impl RecordedSignal {
    /// The signal of the worst of `records`; `None` if there are none.
    pub fn of(records: &[Recorded]) -> Option<Self> {
        verdict::worst(records.iter().map(|one| one.record.reason))
            .map(|worst| Self(worst.verdict().signal()))
    }
}

/// A signal that needs no record, because it is never green.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    Stop,
    Hold,
    Rescan,
}

impl Warning {
    /// For a box that has lost its green, whether that could be recorded or not.
    pub const fn of(reason: Reason) -> Self {
        match reason.verdict() {
            Verdict::NotReady => Self::Stop,
            Verdict::Rescan => Self::Rescan,
            Verdict::Wait | Verdict::Unknown | Verdict::Ready => Self::Hold,
        }
    }
}

#[cfg(test)]
impl LampAnswer {
    pub(crate) const fn in_a_test(signal: Signal) -> Self {
        Self::Recorded(RecordedSignal(signal))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::{record::Record, runtime::name::Name};

    fn recorded(reason: Reason) -> Recorded {
        let lane = Name::new("left").unwrap();
        let record = Record::bare(Uuid::nil(), Timestamp::UNIX_EPOCH, lane, reason);
        Recorded::committed(Uuid::nil(), 1, record)
    }

    #[test]
    fn only_records_that_are_all_ready_light_green() {
        assert_eq!(
            LampAnswer::recorded(&[recorded(Reason::Assigned)]).signal(),
            Signal::Ready
        );
        let mixed = [recorded(Reason::Assigned), recorded(Reason::NoProfile)];
        assert_eq!(LampAnswer::recorded(&mixed).signal(), Signal::Stop);
        assert_eq!(
            LampAnswer::recorded(&[]).signal(),
            Signal::Hold,
            "no record, no green"
        );
        for reason in Reason::ALL {
            let warning = LampAnswer::Warning(Warning::of(*reason));
            assert_ne!(
                warning.signal(),
                Signal::Ready,
                "{reason:?} without a record"
            );
        }
    }
}
