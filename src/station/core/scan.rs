//! One scan in progress: its members, their answers, and the records they end in.

use uuid::Uuid;

use super::{Action, Now, lane::Lane};
use crate::{
    label::{self, Candidates},
    readiness::{
        Purpose,
        evidence::{Answer, By, RowTerms},
    },
    reason::{Reason, Signal, Verdict},
    record::{RawScan, Record, message},
    runtime::{
        clock::{Boot, Moment},
        name::Name,
    },
    verdict::{self, Decision, Policy},
};

pub(super) struct ScanInProgress {
    pub(super) raw: RawScan,
    pub(super) at: Moment,
    pub(super) lane: Name,
    /// `false`: a wrong barcode of a serial number's trigger pull; the lamp is not its.
    pub(super) took_lane: bool,
    /// A wrong barcode that a serial number of the same trigger pull replaced: no alarm.
    pub(super) excused: bool,
    /// One, or a group's.
    pub(super) members: Vec<Member>,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Asking,
    Recording,
    /// Recorded; sources outside `require` may still make it worse.
    Late,
}

pub(super) struct Member {
    /// Under which number it is asked for; `None`: nobody is asked.
    pub(super) question: Option<Uuid>,
    pub(super) candidates: Option<Candidates>,
    pub(super) answers: Vec<Answer>,
    pub(super) decision: Option<Decision>,
    /// Its newest record.
    pub(super) record: Option<Record>,
}

impl Member {
    pub(super) const fn open(question: Uuid, candidates: Candidates) -> Self {
        Self {
            question: Some(question),
            candidates: Some(candidates),
            answers: Vec::new(),
            decision: None,
            record: None,
        }
    }

    pub(super) fn wrong(reason: Reason, why: Option<&str>) -> Self {
        let detail = why.map(|why| format!("({why})"));
        Self {
            question: None,
            candidates: None,
            answers: Vec::new(),
            decision: Some(Decision::unasked(reason, None, detail)),
            record: None,
        }
    }

    pub(super) fn overloaded(candidates: Candidates) -> Self {
        let detail = Some("Too many scans at once.".to_owned());
        let decision = Decision::unasked(
            Reason::StationFault,
            Some(candidates.scanned.clone()),
            detail,
        );
        Self {
            question: None,
            candidates: Some(candidates),
            answers: Vec::new(),
            decision: Some(decision),
            record: None,
        }
    }

    /// Decides it, if all required sources have answered or it is `over`. A result that is not ready never rests on a row that
    /// answered at once: gives the question to those services then.
    pub(super) fn decide(&mut self, policy: &Policy, scanned: Boot, over: bool) -> Option<Action> {
        let candidates = self.candidates.as_ref()?;
        if self.decision.is_some() || !(over || policy.required_have_answered(&self.answers)) {
            return None;
        }
        let decision = verdict::decide(candidates, &self.answers, policy);
        let by_row = |answer: &Answer| answer.by == By::Row;
        if decision.reason.verdict() == Verdict::Ready || !self.answers.iter().any(by_row) {
            self.decision = Some(decision);
            return None;
        }
        let rows = self.answers.iter().filter(|answer| by_row(answer));
        let again = rows.map(|answer| answer.source.clone()).collect();
        self.answers.retain(|answer| !by_row(answer));
        if over {
            self.decision = Some(verdict::decide(candidates, &self.answers, policy));
            return None;
        }
        Some(Action::Ask {
            question: self.question?,
            candidates: candidates.clone(),
            purpose: Purpose::Scan,
            rows: Some(RowTerms {
                again: Some(again),
                ..policy.row_terms(scanned)
            }),
        })
    }

    /// What it says about its scanner: was a source's own serial number read, and how did it end?
    pub(super) fn seen(&self) -> Option<(bool, Reason)> {
        self.decision
            .as_ref()
            .map(|decision| (decision.known, decision.reason))
    }
}

impl ScanInProgress {
    /// The records of all members, decided by now. The first has the scan's own id.
    pub(super) fn make_records(
        &mut self,
        lane: &Lane,
        draw_id: fn() -> Uuid,
        now: Now,
    ) -> Vec<Record> {
        let decisions = || {
            self.members
                .iter()
                .filter_map(|member| member.decision.as_ref())
        };
        let worst = verdict::worst(decisions().map(|decision| decision.reason))
            .unwrap_or(Reason::StationFault);
        let lamp = self.lamp(lane, worst.verdict());
        let group = (self.members.len() > 1).then_some(self.raw.id);
        let records: Vec<Record> = self
            .members
            .iter()
            .enumerate()
            .filter_map(|(nth, member)| {
                let id = if nth == 0 { self.raw.id } else { draw_id() };
                Some(Record {
                    id,
                    lamp,
                    group,
                    ..self.make_record(member, member.decision.as_ref()?, lane, now)
                })
            })
            .collect();
        for (member, record) in self.members.iter_mut().zip(&records) {
            member.record = Some(record.clone());
        }
        records
    }

    /// A record of one member's decision, which closes the raw scan. Its id and its lamp are the caller's.
    pub(super) fn make_record(
        &self,
        member: &Member,
        decision: &Decision,
        lane: &Lane,
        now: Now,
    ) -> Record {
        Record {
            clock_synced: now.clock_synced,
            scanner: self.raw.scanner.clone(),
            serial: decision.serial.clone(),
            asked: member
                .candidates
                .iter()
                .flat_map(|candidates| candidates.iter().cloned())
                .collect(),
            raw: (decision.reason.verdict() == Verdict::Rescan)
                .then(|| label::visible(&self.raw.bytes)),
            message: message(decision),
            action: decision.action(),
            grade: decision.grade,
            model: decision.model.clone(),
            family: decision.family.clone(),
            assigned_at: decision.assigned_at,
            took_ms: u64::try_from(now.moment.boot.since(self.at.boot).as_millis())
                .unwrap_or(u64::MAX),
            policy: lane.policy.hash.clone(),
            evidence: decision.evidence.clone(),
            ..Record::bare(self.raw.id, self.raw.at, self.lane.clone(), decision.reason)
        }
    }

    /// The signal that the lane gets for this verdict. (A newer scan may still take the lane over while the record is on its way to disk.)
    fn lamp(&self, lane: &Lane, verdict: Verdict) -> Signal {
        if !self.took_lane {
            Signal::None
        } else if lane.belongs_to(self.raw.id) {
            verdict.signal()
        } else if verdict == Verdict::Ready {
            Signal::None
        } else {
            Signal::Alarm
        }
    }

    /// The records of a scan that could not be recorded, each under an id of its own.
    pub(super) fn faulted_records(&self, draw_id: fn() -> Uuid) -> Vec<Record> {
        self.members
            .iter()
            .filter_map(|member| member.record.as_ref())
            .map(|record| record.not_recorded(draw_id()))
            .collect()
    }
}
