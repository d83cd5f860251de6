//! How one record follows from another: renewed, changed, not recorded, taken back. Nothing else makes a record from a record.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Cause, Change, Record};
use crate::{
    label::Serial,
    reason::{Reason, Signal, Verdict},
    runtime::times,
    verdict::Decision,
};

/// Records for one transaction, with what follows each of them if the disk confirms it only after its caller has given up.
///
/// By then the lamp has said `journal_fault`. The writer knows nothing of lamps: it says whether it was late, and what follows was
/// decided with the record, so that it follows even if nobody waits any more.
#[derive(Clone, Debug, PartialEq)]
pub struct ToRecord {
    pub records: Vec<Record>,
    /// One for each record. Dated when it is written.
    pub if_late: Vec<Record>,
}

impl ToRecord {
    /// Each record that is confirmed too late is followed by a change to `journal_fault`.
    pub fn new(records: Vec<Record>, draw_id: fn() -> Uuid) -> Self {
        let if_late = records
            .iter()
            .map(|one| one.taken_back(draw_id()))
            .collect();
        Self { records, if_late }
    }
}

impl Record {
    /// This record with a new decision in it; the rest stays. `took_ms` becomes the slowest source's time.
    pub fn renewed(&self, decision: &Decision, policy: &str) -> Self {
        Self {
            serial: decision.serial.clone(),
            reason: decision.reason,
            message: message(decision),
            action: decision.action(),
            grade: decision.grade,
            model: decision.model.clone().or_else(|| self.model.clone()),
            family: decision.family.clone().or_else(|| self.family.clone()),
            assigned_at: decision.assigned_at,
            took_ms: decision
                .evidence
                .iter()
                .map(|one| u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX))
                .max()
                .unwrap_or(0),
            policy: policy.to_owned(),
            evidence: decision.evidence.clone(),
            ..self.clone()
        }
    }

    /// This record as a change of the recorded `before`, at that time.
    pub fn change_of(
        self,
        before: &Self,
        cause: Cause,
        id: Uuid,
        (at, clock_synced): (Timestamp, bool),
    ) -> Self {
        let lost_green = matches!(cause, Cause::LateAnswer | Cause::Recall)
            && before.reason.verdict() == Verdict::Ready;
        Self {
            id,
            raw_scan: None,
            change: Some(Change {
                scan: before.scan(),
                cause,
                previous_reason: before.reason,
            }),
            at,
            clock_synced,
            lamp: if lost_green {
                Signal::Alarm
            } else {
                Signal::None
            },
            previous: None,
            group: before.group,
            // Whatever the new decision says, the change is about the box that was recorded.
            serial: self.serial.or_else(|| before.serial.clone()),
            raw: before.raw.clone(),
            ..self
        }
    }

    /// What a scan ends in when this record could not be written.
    pub fn not_recorded(&self, id: Uuid) -> Self {
        Self {
            id,
            lamp: match self.lamp {
                Signal::None | Signal::Alarm => self.lamp,
                Signal::Ready | Signal::Stop | Signal::Hold | Signal::Rescan => Signal::Hold,
            },
            group: None,
            ..self.faulted()
        }
    }

    /// The change that follows this record if it was confirmed too late.
    ///
    /// A kill between the two leaves the record as judged: see "Known limits" in docs/ARCHITECTURE.md for why.
    fn taken_back(&self, id: Uuid) -> Self {
        self.faulted()
            .change_of(self, Cause::LateCommit, id, (self.at, self.clock_synced))
    }

    /// The same with the reason `journal_fault`.
    fn faulted(&self) -> Self {
        Self {
            reason: Reason::JournalFault,
            message: Reason::JournalFault.sentence().to_owned(),
            action: Reason::JournalFault.action().to_owned(),
            grade: None,
            ..self.clone()
        }
    }

    /// Is it a green that rests on a row of a replica?
    pub fn is_green_by_row(&self) -> bool {
        self.reason.verdict() == Verdict::Ready
            && self.evidence.iter().any(|one| one.row_age.is_some())
    }

    /// The `id` of the scan that a record or a change is about.
    pub fn scan(&self) -> Uuid {
        self.change.as_ref().map_or(self.id, |change| change.scan)
    }
}

/// A green says how old the row is that it rests on, if it is older than this.
const SAID_AGE: Duration = Duration::from_mins(1);

/// The decision's sentence. A serial number that nobody knows may be misread, so it names the letters that Apple does not use.
pub fn message(decision: &Decision) -> String {
    let ages = decision.evidence.iter().filter_map(|one| one.row_age);
    if decision.reason.verdict() == Verdict::Ready
        && let Some(age) = ages.max().filter(|age| *age > SAID_AGE)
    {
        return format!(
            "{} By the station's replica, read {} ago.",
            decision.message(),
            times::lasted(age)
        );
    }
    let doubtful = decision
        .serial
        .as_ref()
        .is_some_and(Serial::has_doubtful_letter);
    if doubtful && matches!(decision.reason, Reason::NotFound | Reason::NotInOrg) {
        return format!(
            "{} It holds the letter I or O, which Apple's serial numbers do not: it may be misread.",
            decision.message()
        );
    }
    decision.message()
}
