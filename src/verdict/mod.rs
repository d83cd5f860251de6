//! The rule: all answers and the policy give one verdict, with its reason and message. Pure.

mod candidates;
mod combine;

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    label::{Candidates, Serial},
    readiness::evidence::{Answer, Evidence, Finding, Grade, RowTerms, SourceKind},
    reason::{Reason, Verdict},
    runtime::{clock::Boot, name::Name},
};

/// The station's policy (`[verdict]`) with one lane's overrides.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// In config order.
    pub sources: Vec<PolicySource>,
    /// The weakest grade with which a box can be ready.
    pub min_grade: Grade,
    /// How long the sources may take, counted from the scan.
    pub deadline: Duration,
    /// Devices whose profile was once pushed, or that were removed from the MDM, may be ready.
    pub allow_returned: bool,
    /// A profile assigned more recently than this is still settling.
    pub settle: Duration,
    /// When a waiting box is asked for again the first time.
    pub recheck: Duration,
    /// How long a waiting box is asked for again.
    pub recheck_for: Duration,
    /// Hash of `[verdict]` and the lane's overrides, 8 hex digits.
    pub hash: String,
}

/// What the rule needs to know of one configured source.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySource {
    pub name: Name,
    pub kind: SourceKind,
    /// Must it agree before a box is ready?
    pub required: bool,
    /// How often its replica is read; `None`: it has none.
    pub refresh: Option<Duration>,
}

impl Policy {
    /// Must this source agree before a box is ready?
    pub fn requires(&self, source: &Name) -> bool {
        self.sources
            .iter()
            .any(|one| one.name == *source && one.required)
    }

    /// Have some sources a replica and others none?
    pub fn is_mixed(&self) -> bool {
        let has_replica = |source: &PolicySource| source.refresh.is_some();
        self.sources.iter().any(has_replica) && !self.sources.iter().all(has_replica)
    }

    /// How rows of replicas may answer a scan of that moment.
    pub fn row_terms(&self, scanned: Boot) -> RowTerms {
        RowTerms {
            again: None,
            deadline: scanned.plus(self.deadline),
            allow_returned: self.allow_returned,
            min_grade: self.min_grade,
        }
    }

    /// Have all required sources answered? Then a scan waits no longer.
    pub fn required_have_answered(&self, answers: &[Answer]) -> bool {
        self.sources
            .iter()
            .filter(|source| source.required)
            .all(|source| answers.iter().any(|answer| answer.source == source.name))
    }

    /// Have all sources answered, required or not?
    pub fn all_have_answered(&self, answers: &[Answer]) -> bool {
        self.sources
            .iter()
            .all(|source| answers.iter().any(|answer| answer.source == source.name))
    }
}

/// The verdict on one box and what it rests on.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Determines the verdict.
    pub reason: Reason,
    /// `None` for a `rescan`.
    pub serial: Option<Serial>,
    /// Added to the reason's sentence.
    pub detail: Option<String>,
    /// Does any source have a record of the serial number?
    pub known: bool,
    /// The best grade among the ready findings.
    pub grade: Option<Grade>,
    /// The newest assignment among the ready findings.
    pub assigned_at: Option<Timestamp>,
    /// The first one that a source gave.
    pub model: Option<String>,
    /// The first one that a source gave.
    pub family: Option<String>,
    /// In config order, as judged by the lane's policy; empty for a `rescan`.
    pub evidence: Vec<Evidence>,
}

impl Decision {
    /// A decision made without any answer.
    pub fn unasked(reason: Reason, serial: Option<Serial>, detail: Option<String>) -> Self {
        Self {
            reason,
            serial,
            detail,
            known: false,
            grade: None,
            assigned_at: None,
            model: None,
            family: None,
            evidence: Vec::new(),
        }
    }

    /// The next action, in the words of the MDM that was asked.
    pub fn action(&self) -> String {
        let mdm = self.evidence.iter().find_map(|one| one.kind.mdm());
        mdm.map_or_else(
            || self.reason.action().to_owned(),
            |mdm| mdm.action(self.reason),
        )
    }

    /// The sentence for the person at the bench.
    pub fn message(&self) -> String {
        self.reason.message(self.detail.as_deref())
    }
}

/// Gives the verdict on one code's candidates from the answers so far.
///
/// A required source without an answer counts as `unknown(timeout)`. A source that is not required and has no answer, or an
/// unknown one, is ignored.
pub fn decide(candidates: &Candidates, answers: &[Answer], policy: &Policy) -> Decision {
    let all: Vec<(&Serial, Vec<Judged>)> = candidates
        .iter()
        .enumerate()
        .map(|(nth, serial)| (serial, judge(serial, nth, answers, policy)))
        .collect();
    match candidates::choose(candidates, &all) {
        candidates::Choice::Box(nth) => match all.get(nth) {
            Some((serial, judged)) => conclude(serial, judged, combine::combine(judged, policy)),
            None => Decision::unasked(Reason::StationFault, None, None),
        },
        candidates::Choice::Open(open) => match (all.get(open.shown), all.get(open.asked)) {
            (Some((serial, shown)), Some((_, asked))) => {
                let known = shown.iter().any(|one| one.evidence.known);
                Decision {
                    known,
                    ..conclude(serial, asked, (open.reason, open.detail))
                }
            }
            _ => Decision::unasked(Reason::StationFault, None, None),
        },
        candidates::Choice::Rescan(reason) => Decision {
            known: all
                .iter()
                .any(|(_, judged)| judged.iter().any(|one| one.evidence.known)),
            ..Decision::unasked(reason, None, None)
        },
    }
}

/// What replica rows say together, for what the services then confirm. A row is `relayed`, whatever the service itself could prove.
pub fn decide_by_rows(candidates: &Candidates, rows: &[Answer], policy: &Policy) -> Decision {
    let policy = Policy {
        min_grade: Grade::Relayed,
        ..policy.clone()
    };
    decide(candidates, rows, &policy)
}

/// One source's evidence about one candidate, judged by the lane's policy.
#[derive(Clone, Debug)]
struct Judged {
    evidence: Evidence,
    /// The finding after the policy for returned devices.
    finding: Finding,
    required: bool,
    /// False for an unknown from a source that is not required: it is shown, but decides nothing.
    counts: bool,
}

fn judge(serial: &Serial, nth: usize, answers: &[Answer], policy: &Policy) -> Vec<Judged> {
    let one = |source: &PolicySource| {
        let given = answers
            .iter()
            .find(|answer| answer.source == source.name)
            .and_then(|answer| answer.evidence.get(nth))
            .cloned();
        let evidence = match given {
            Some(evidence) => evidence,
            None if source.required => {
                let mut evidence = Evidence::bare(
                    source.name.clone(),
                    source.kind,
                    serial.clone(),
                    Finding::Unknown(Reason::Timeout),
                );
                evidence.took = policy.deadline;
                evidence
            }
            None => return None,
        };
        let finding = evidence.judged(policy.allow_returned);
        let counts = source.required || !matches!(finding, Finding::Unknown(_));
        Some(Judged {
            evidence,
            finding,
            required: source.required,
            counts,
        })
    };
    policy.sources.iter().filter_map(one).collect()
}

fn conclude(
    serial: &Serial,
    judged: &[Judged],
    (reason, detail): (Reason, Option<String>),
) -> Decision {
    let ready = || {
        judged
            .iter()
            .filter(|one| matches!(one.finding, Finding::Ready(_)))
    };
    Decision {
        reason,
        serial: Some(serial.clone()),
        detail,
        known: judged.iter().any(|one| one.evidence.known),
        grade: ready()
            .filter_map(|one| {
                if let Finding::Ready(grade) = one.finding {
                    Some(grade)
                } else {
                    None
                }
            })
            .max(),
        assigned_at: ready().filter_map(|one| one.evidence.assigned_at).max(),
        model: judged.iter().find_map(|one| one.evidence.model.clone()),
        family: judged.iter().find_map(|one| one.evidence.family.clone()),
        evidence: judged
            .iter()
            .map(|one| Evidence {
                finding: one.finding,
                ..one.evidence.clone()
            })
            .collect(),
    }
}

/// Is `this` worse than `that`? Worst first: not_ready (in the order of its reasons), unknown, wait, rescan, ready.
pub fn worse(this: Reason, that: Reason) -> bool {
    rank(this) < rank(that)
}

/// The worst of several reasons: what the lamp of a group shows.
pub fn worst(reasons: impl IntoIterator<Item = Reason>) -> Option<Reason> {
    reasons.into_iter().min_by_key(|reason| rank(*reason))
}

fn rank(reason: Reason) -> (u8, usize) {
    let among = if reason.verdict() == Verdict::NotReady {
        combine::severity(reason)
    } else {
        0
    };
    (reason.verdict().badness_rank(), among)
}

#[cfg(test)]
mod tests;
