//! The record: what is remembered, shown and published of one finished scan or one change. Pure.

mod transitions;

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    label::Serial,
    readiness::evidence::{Evidence, Grade},
    reason::{Reason, Signal},
    runtime::name::Name,
};
pub use transitions::{ToRecord, message};

/// A barcode as it came from a scanner, before anything is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawScan {
    /// UUID v7, drawn at the scan. A scan of one box gives its record the same id.
    pub id: Uuid,
    /// Wall clock at the scan.
    pub at: Timestamp,
    /// The scanner it came from.
    pub scanner: Name,
    /// The lane it counts for.
    pub lane: Name,
    /// The bytes without their end key; anything is possible.
    pub bytes: Vec<u8>,
}

/// Why a recorded box changed its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A waiting box was asked again.
    Recheck,
    /// A source outside `require` answered after the verdict.
    LateAnswer,
    /// A green that rested on a row of a replica, and that the service itself does not confirm.
    Recall,
    /// The record reached the disk after the lamp had shown `journal_fault`.
    LateCommit,
}

impl Cause {
    pub const ALL: [Self; 4] = [
        Self::Recheck,
        Self::LateAnswer,
        Self::Recall,
        Self::LateCommit,
    ];

    /// The stable code in messages and exports.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Recheck => "recheck",
            Self::LateAnswer => "late_answer",
            Self::Recall => "recall",
            Self::LateCommit => "late_commit",
        }
    }

    /// Reads a stable code back.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.code() == code)
    }
}

/// What a change adds to a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The `id` of the scan it concerns.
    pub scan: Uuid,
    /// Why it changed.
    pub cause: Cause,
    /// The reason (and with it the verdict) until now.
    pub previous_reason: Reason,
}

/// One finished scan, or one change of a recorded box.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// UUID v7: the de-duplication key, unique even over cloned cards.
    pub id: Uuid,
    /// The scan's bytes that this record closes (`None` for a change). Equal for all members of a group.
    pub raw_scan: Option<Uuid>,
    /// `Some` for a change, `None` for a scan.
    pub change: Option<Change>,
    /// Wall clock at the scan, or at the change.
    pub at: Timestamp,
    /// Was the wall clock synchronised?
    pub clock_synced: bool,
    /// The lane it counts for.
    pub lane: Name,
    /// The scanner it came from.
    pub scanner: Name,
    /// The serial number; `None` for a `rescan`.
    pub serial: Option<Serial>,
    /// The candidates that were asked, kept so that a waiting box can be asked again in the same way.
    pub asked: Vec<Serial>,
    /// The scanned text of what was no serial number, with control characters made visible.
    pub raw: Option<String>,
    /// The reason, and with it the verdict.
    pub reason: Reason,
    /// The reason's sentence with what the sources add to it.
    pub message: String,
    /// One next action.
    pub action: String,
    /// Best grade among the ready findings.
    pub grade: Option<Grade>,
    /// Model name.
    pub model: Option<String>,
    /// Device family.
    pub family: Option<String>,
    /// When the profile was assigned.
    pub assigned_at: Option<Timestamp>,
    /// From the scan to the verdict, in milliseconds.
    pub took_ms: u64,
    /// The signal given to the lane.
    pub lamp: Signal,
    /// This station's last record of the same serial number. The journal fills it in when it writes the record.
    pub previous: Option<Uuid>,
    /// The first member's `id` when one code held several serial numbers.
    pub group: Option<Uuid>,
    /// Hash of the policy it was judged by.
    pub policy: String,
    /// What each source said about this serial number, as judged; empty for a `rescan`.
    pub evidence: Vec<Evidence>,
}

impl Record {
    /// The record of a scan with a reason and nothing else known, as if the lane were its own scanner.
    pub fn bare(id: Uuid, at: Timestamp, lane: Name, reason: Reason) -> Self {
        Self {
            id,
            raw_scan: Some(id),
            change: None,
            at,
            clock_synced: true,
            scanner: lane.clone(),
            lane,
            serial: None,
            asked: Vec::new(),
            raw: None,
            reason,
            message: reason.sentence().to_owned(),
            action: reason.action().to_owned(),
            grade: None,
            model: None,
            family: None,
            assigned_at: None,
            took_ms: 0,
            lamp: reason.verdict().signal(),
            previous: None,
            group: None,
            policy: String::new(),
            evidence: Vec::new(),
        }
    }
}

/// A record that is safe on disk, with its epoch and `seq`. Only the journal makes one, after its commit is synced.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::manual_non_exhaustive,
    reason = "`non_exhaustive` would let the rest of this crate make one"
)]
pub struct Recorded {
    /// The journal on this machine.
    pub epoch: Uuid,
    /// 1, 2, 3 .. over scans and changes alike, without gaps within an epoch.
    pub seq: u64,
    /// The record, with `previous` filled in.
    pub record: Record,
    /// Keeps everybody else from writing one down.
    _on_disk: (),
}

impl Recorded {
    /// For the journal alone (and for tests): `record` is committed and synced.
    pub const fn committed(epoch: Uuid, seq: u64, record: Record) -> Self {
        Self {
            epoch,
            seq,
            record,
            _on_disk: (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Journals, messages and exports hold these words.
    #[test]
    fn the_stable_words_of_a_cause_stay_and_are_read_back() {
        for (cause, word) in [
            (Cause::Recheck, "recheck"),
            (Cause::LateAnswer, "late_answer"),
            (Cause::Recall, "recall"),
            (Cause::LateCommit, "late_commit"),
        ] {
            assert_eq!((cause.code(), Cause::from_code(word)), (word, Some(cause)));
        }
        assert_eq!(Cause::from_code("late"), None);
    }
}
