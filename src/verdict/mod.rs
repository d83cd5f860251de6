//! The rule: the set of answers and the policy give one verdict, with its reason and words. Pure.

mod candidates;
mod combine;

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    label::{Candidates, Serial},
    readiness::evidence::{Answer, Evidence, Finding, Grade, SourceKind},
    reason::{Reason, Verdict},
    runtime::name::Name,
};

/// The station's policy (`[verdict]`), as one lane sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The sources in config order, with their kind.
    pub sources: Vec<PolicySource>,
    /// The weakest grade that makes a box ready.
    pub min_grade: Grade,
    /// How long the sources may take, from the scan.
    pub deadline: Duration,
    /// Devices once pushed, or removed from the MDM, may be green again.
    pub allow_returned: bool,
    /// A profile assigned less than this ago is still settling.
    pub settle: Duration,
    /// First re-check of a waiting box.
    pub recheck: Duration,
    /// For how long a waiting box is asked again.
    pub recheck_for: Duration,
    /// Hash of the `[verdict]` section and the lane's overrides, 8 hex digits.
    pub hash: String,
}

/// One configured source as the rule sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySource {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: SourceKind,
    /// Must it agree before a box is ready?
    pub required: bool,
}

impl Policy {
    /// Must this source agree before a box is ready?
    pub fn requires(&self, source: &Name) -> bool {
        self.sources
            .iter()
            .any(|one| one.name == *source && one.required)
    }

    /// Have all required sources answered? Then nothing more is waited for.
    pub fn complete(&self, answers: &[Answer]) -> bool {
        self.sources
            .iter()
            .filter(|source| source.required)
            .all(|source| answers.iter().any(|answer| answer.source == source.name))
    }

    /// Have all sources answered, those outside `require` too?
    pub fn exhausted(&self, answers: &[Answer]) -> bool {
        self.sources
            .iter()
            .all(|source| answers.iter().any(|answer| answer.source == source.name))
    }
}

/// What the answers come to for one box.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The reason, and with it the verdict.
    pub reason: Reason,
    /// The serial number; `None` for a `rescan`.
    pub serial: Option<Serial>,
    /// What to add to the reason's sentence.
    pub detail: Option<String>,
    /// Some source holds a record of the serial number.
    pub known: bool,
    /// Best grade among the ready findings.
    pub grade: Option<Grade>,
    /// Newest assignment among the ready findings.
    pub assigned_at: Option<Timestamp>,
    /// Model name, the first that a source gave.
    pub model: Option<String>,
    /// Device family, the first that a source gave.
    pub family: Option<String>,
    /// What each source said, in config order, as judged by the lane's policy; empty for a `rescan`.
    pub evidence: Vec<Evidence>,
}

impl Decision {
    /// A decision that rests on no answer.
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

    /// The sentence for the person.
    pub fn message(&self) -> String {
        self.reason.message(self.detail.as_deref())
    }
}

/// Gives the verdict for one code's candidates from the answers that are there.
///
/// A required source without an answer counts as `unknown(timeout)`; one outside `require` without an answer,
/// or with an unknown, counts for nothing.
pub fn decide(candidates: &Candidates, answers: &[Answer], policy: &Policy) -> Decision {
    let all: Vec<(&Serial, Vec<Testimony>)> = candidates
        .iter()
        .enumerate()
        .map(|(nth, serial)| (serial, hear(serial, nth, answers, policy)))
        .collect();
    match candidates::choose(candidates, &all) {
        candidates::Choice::Box(nth) => match all.get(nth) {
            Some((serial, testimonies)) => {
                conclude(serial, testimonies, combine::combine(testimonies, policy))
            }
            None => Decision::unasked(Reason::StationFault, None, None),
        },
        candidates::Choice::Open(open) => match (all.get(open.shown), all.get(open.asked)) {
            (Some((serial, heard)), Some((_, testimonies))) => {
                let known = heard.iter().any(|one| one.evidence.known);
                Decision {
                    known,
                    ..conclude(serial, testimonies, (open.reason, open.detail))
                }
            }
            _ => Decision::unasked(Reason::StationFault, None, None),
        },
        candidates::Choice::Rescan(reason) => Decision {
            known: all
                .iter()
                .any(|(_, heard)| heard.iter().any(|one| one.evidence.known)),
            ..Decision::unasked(reason, None, None)
        },
    }
}

/// One source's evidence about one candidate, as the rule hears it.
#[derive(Clone, Debug)]
struct Testimony {
    evidence: Evidence,
    /// The finding as judged by the lane's policy for returned devices.
    finding: Finding,
    required: bool,
    /// An unknown from a source outside `require` is shown and otherwise ignored.
    counts: bool,
}

fn hear(serial: &Serial, nth: usize, answers: &[Answer], policy: &Policy) -> Vec<Testimony> {
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
        Some(Testimony {
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
    testimonies: &[Testimony],
    (reason, detail): (Reason, Option<String>),
) -> Decision {
    let ready = || {
        testimonies
            .iter()
            .filter(|one| matches!(one.finding, Finding::Ready(_)))
    };
    Decision {
        reason,
        serial: Some(serial.clone()),
        detail,
        known: testimonies.iter().any(|one| one.evidence.known),
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
        model: testimonies
            .iter()
            .find_map(|one| one.evidence.model.clone()),
        family: testimonies
            .iter()
            .find_map(|one| one.evidence.family.clone()),
        evidence: testimonies
            .iter()
            .map(|one| Evidence {
                finding: one.finding,
                ..one.evidence.clone()
            })
            .collect(),
    }
}

/// Is `this` worse for the person than `that`? Worst first: not_ready (in the order of its reasons), unknown, wait, rescan, ready.
pub fn worse(this: Reason, that: Reason) -> bool {
    rank(this) < rank(that)
}

/// The worst of several reasons: a group's one lamp.
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
