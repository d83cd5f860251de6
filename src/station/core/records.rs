//! How a record comes to be and what may follow it: judged, not recorded, changed, taken back.

use uuid::Uuid;

use super::Now;
use crate::{
    label::Serial,
    reason::{Reason, Signal, Verdict},
    record::{Cause, Change, Record},
    verdict::Decision,
};

/// `before` with a new decision in it; the rest stays. `took_ms` becomes the slowest source's time.
pub(super) fn renewed(before: &Record, decision: &Decision, policy: &str) -> Record {
    Record {
        serial: decision.serial.clone(),
        reason: decision.reason,
        message: message(decision),
        action: decision.reason.action().to_owned(),
        grade: decision.grade,
        model: decision.model.clone().or_else(|| before.model.clone()),
        family: decision.family.clone().or_else(|| before.family.clone()),
        assigned_at: decision.assigned_at,
        took_ms: decision
            .evidence
            .iter()
            .map(|one| u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX))
            .max()
            .unwrap_or(0),
        policy: policy.to_owned(),
        evidence: decision.evidence.clone(),
        ..before.clone()
    }
}

/// `after` as a change of the recorded `before`.
pub(super) fn change(after: Record, before: &Record, cause: Cause, id: Uuid, now: Now) -> Record {
    let lost_green = cause == Cause::LateAnswer && before.reason.verdict() == Verdict::Ready;
    Record {
        id,
        raw_scan: None,
        change: Some(Change {
            scan: scan_of(before),
            cause,
            previous_reason: before.reason,
        }),
        at: now.moment.wall,
        clock_synced: now.clock_synced,
        lamp: if lost_green {
            Signal::Alarm
        } else {
            Signal::None
        },
        previous: None,
        group: before.group,
        // Whatever the new decision says, the change is about the box that was recorded.
        serial: after.serial.or_else(|| before.serial.clone()),
        raw: None,
        ..after
    }
}

/// What a scan ends in when `record` could not be recorded.
pub(super) fn not_recorded(record: &Record, id: Uuid) -> Record {
    Record {
        id,
        lamp: match record.lamp {
            Signal::None | Signal::Alarm => record.lamp,
            Signal::Ready | Signal::Stop | Signal::Hold | Signal::Rescan => Signal::Hold,
        },
        group: None,
        ..faulted(record)
    }
}

/// `record` with the reason `journal_fault` in place of its own.
fn faulted(record: &Record) -> Record {
    Record {
        reason: Reason::JournalFault,
        message: Reason::JournalFault.sentence().to_owned(),
        action: Reason::JournalFault.action().to_owned(),
        grade: None,
        ..record.clone()
    }
}

/// The `id` of the scan that a record or a change is about.
pub(super) fn scan_of(record: &Record) -> Uuid {
    record
        .change
        .as_ref()
        .map_or(record.id, |change| change.scan)
}

/// The decision's sentence. A serial number that nobody knows may be misread, so it names the letters that Apple does not use.
pub(super) fn message(decision: &Decision) -> String {
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
