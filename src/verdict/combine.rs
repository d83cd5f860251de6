//! Combines the findings about one serial number: the first rule that applies. The numbers are those of `docs/verdict.md`.

use jiff::{SignedDuration, Timestamp};

use super::{Judged, Policy};
use crate::{
    readiness::{
        evidence::{Finding, Grade, SourceKind},
        spelling,
    },
    reason::Reason,
    runtime::times,
};

/// Which of several `no` gives the reason: the first in this list. `already_enrolled` comes before all others (rule 1).
const ORDER: [Reason; 13] = [
    Reason::AlreadyEnrolled,
    Reason::Released,
    Reason::NotInOrg,
    Reason::Unassigned,
    Reason::WrongServer,
    Reason::WrongProfile,
    Reason::ProfileRemoved,
    Reason::NoProfile,
    Reason::AssignmentFailed,
    Reason::MigrationPending,
    Reason::PreviouslyActivated,
    Reason::WrongBlueprint,
    Reason::NotFound,
];

/// Index in the order of rule 6: 0 is the worst.
pub(super) fn severity(reason: Reason) -> usize {
    ORDER
        .iter()
        .position(|one| *one == reason)
        .unwrap_or(ORDER.len())
}

/// A `no` about the assignment contradicts a `ready`; one about the device does not.
const fn about_assignment(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Released
            | Reason::NotInOrg
            | Reason::Unassigned
            | Reason::WrongServer
            | Reason::WrongProfile
            | Reason::ProfileRemoved
            | Reason::NoProfile
            | Reason::NotFound
    )
}

/// A reason, and what to add to its sentence.
type Ruling = (Reason, Option<String>);

/// The order of the sources in the config only breaks ties.
pub(super) fn combine(judged: &[Judged], policy: &Policy) -> Ruling {
    let counted = Counted(judged.iter().filter(|one| one.counts).collect());
    rule_1_already_enrolled(&counted)
        .or_else(|| rule_2_apple_token_for_another_server(&counted))
        .or_else(|| rule_3_no_beside_ready(&counted))
        .or_else(|| rule_4_agree_to_wait(&counted))
        .or_else(|| rule_5_mdm_has_not_fetched(&counted))
        .or_else(|| rule_6_any_no(&counted, &counted.nos()))
        .or_else(|| rule_7_any_wait(&counted))
        .or_else(|| rule_8_required_unknown(&counted))
        .or_else(|| rule_9_no_good_proof(&counted, policy))
        .or_else(|| rule_10_settling(&counted, policy))
        .or_else(|| rule_11_changed_since_fetch(&counted))
        .unwrap_or_else(|| rule_12_ready(&counted))
}

/// The evidence that counts.
struct Counted<'a>(Vec<&'a Judged>);

impl<'a> Counted<'a> {
    fn nos(&self) -> Vec<(&'a Judged, Reason)> {
        self.0
            .iter()
            .filter_map(|one| {
                if let Finding::No(reason) = one.finding {
                    Some((*one, reason))
                } else {
                    None
                }
            })
            .collect()
    }

    fn ready(&self) -> Vec<(&'a Judged, Grade)> {
        self.0
            .iter()
            .filter_map(|one| {
                if let Finding::Ready(grade) = one.finding {
                    Some((*one, grade))
                } else {
                    None
                }
            })
            .collect()
    }

    fn find(&self, wanted: impl Fn(SourceKind) -> bool) -> Option<&'a Judged> {
        self.0.iter().copied().find(|one| wanted(one.evidence.kind))
    }

    /// apple-dep, or what the rule takes for it.
    fn dep(&self) -> Option<&'a Judged> {
        self.find(SourceKind::speaks_for_apple)
    }

    fn business(&self) -> Option<&'a Judged> {
        self.find(|kind| kind == SourceKind::AppleBusiness)
    }

    fn mdm(&self) -> Option<&'a Judged> {
        self.find(SourceKind::speaks_for_mdm)
    }

    fn required_unknown(&self) -> Option<(&'a Judged, Reason)> {
        self.0
            .iter()
            .filter(|one| one.required)
            .find_map(|one| match one.finding {
                Finding::Unknown(reason) => Some((*one, reason)),
                _ => None,
            })
    }
}

fn with_detail(one: &Judged, reason: Reason) -> Ruling {
    (reason, one.evidence.detail.clone())
}

fn rule_1_already_enrolled(counted: &Counted) -> Option<Ruling> {
    let (one, reason) = counted
        .nos()
        .into_iter()
        .find(|(_, reason)| *reason == Reason::AlreadyEnrolled)?;
    Some(with_detail(one, reason))
}

fn rule_2_apple_token_for_another_server(counted: &Counted) -> Option<Ruling> {
    let dep = counted
        .dep()
        .filter(|one| one.finding == Finding::No(Reason::NotFound))?;
    let relayed_for_another_server = counted.ready().into_iter().map(|(one, _)| one).find(|one| {
        let servers = (
            one.evidence.server_uuid.as_deref(),
            dep.evidence.server_uuid.as_deref(),
        );
        one.evidence.kind.speaks_for_mdm()
            && matches!(servers, (Some(theirs), Some(ours)) if !spelling::same_uuid(theirs, ours))
    });
    if let Some(mdm) = relayed_for_another_server {
        let text = format!(
            "The station's Apple token is for another server than the one {} uses.",
            mdm.evidence.source
        );
        return Some((Reason::Contradiction, Some(text)));
    }
    let business = counted
        .business()
        .filter(|one| one.finding == Finding::NoObjection)?;
    Some((Reason::Contradiction, Some(both_sides(business, dep))))
}

fn both_sides(one: &Judged, other: &Judged) -> String {
    let side = |one: &Judged| {
        let word = one.finding.reason().map_or("no objection", Reason::code);
        format!(
            "{} says {} ({word})",
            one.evidence.source,
            one.finding.says()
        )
    };
    format!("{}; {}.", side(one), side(other))
}

fn rule_3_no_beside_ready(counted: &Counted) -> Option<Ruling> {
    let nos = counted.nos();
    let ready = counted.ready();
    let against: Vec<_> = nos
        .iter()
        .copied()
        .filter(|(_, reason)| about_assignment(*reason))
        .collect();
    let ((first_ready, _), (first_against, _)) = (*ready.first()?, *against.first()?);
    let from_apple = |one: &Judged| !one.evidence.kind.speaks_for_mdm();
    // a. The relay is late: Apple itself says no. The kind decides and not the grade, because a copy stays a copy.
    if ready.iter().all(|(one, _)| one.evidence.kind.keeps_copy())
        && against.iter().any(|(one, _)| from_apple(one))
    {
        return rule_6_first_no(&nos);
    }
    // b. Apple says ready and only the MDM says no.
    let dep = ready
        .iter()
        .map(|(one, _)| *one)
        .find(|one| one.evidence.kind.ready_is_apples());
    if let Some(dep) = dep
        && !against.iter().any(|(one, _)| from_apple(one))
    {
        let assigned = dep.evidence.assigned_at.or(dep.evidence.device_assigned_at);
        let older = |one: &Judged| matches!((one.evidence.as_of, assigned), (Some(as_of), Some(assigned)) if as_of < assigned);
        if !against.iter().all(|(one, _)| older(one)) {
            return Some((Reason::Contradiction, Some(both_sides(dep, first_against))));
        }
        let others: Vec<_> = nos
            .iter()
            .copied()
            .filter(|(_, reason)| !about_assignment(*reason))
            .collect();
        return match rule_6_any_no(counted, &others) {
            Some(result) => Some(result),
            None => Some((Reason::SyncPending, fetch_sentence(first_against))),
        };
    }
    // c. Apple's two services contradict each other.
    Some((
        Reason::Contradiction,
        Some(both_sides(first_ready, first_against)),
    ))
}

fn fetch_sentence(mdm: &Judged) -> Option<String> {
    mdm.evidence.as_of.map(|as_of| {
        format!(
            "{} last fetched from Apple at {}.",
            mdm.evidence.source,
            times::moment(as_of)
        )
    })
}

fn rule_4_agree_to_wait(counted: &Counted) -> Option<Ruling> {
    let nos = counted.nos();
    let [(only, Reason::NoProfile)] = nos.as_slice() else {
        return None;
    };
    if !only.evidence.kind.speaks_for_apple() {
        return None;
    }
    let mdm = counted.mdm()?;
    match mdm.finding {
        Finding::Wait(reason @ (Reason::AssignmentPending | Reason::AssignmentThrottled)) => {
            Some(with_detail(mdm, reason))
        }
        _ => None,
    }
}

fn rule_5_mdm_has_not_fetched(counted: &Counted) -> Option<Ruling> {
    let nos = counted.nos();
    let [(mdm, Reason::NotFound)] = nos.as_slice() else {
        return None;
    };
    let business = counted.business()?;
    let applies = mdm.evidence.kind.speaks_for_mdm()
        && match business.finding {
            Finding::Wait(Reason::SyncPending) => true,
            Finding::NoObjection => changed_after(business.evidence.updated_at, mdm.evidence.as_of),
            _ => false,
        };
    applies.then(|| (Reason::SyncPending, fetch_sentence(mdm)))
}

fn changed_after(updated_at: Option<Timestamp>, as_of: Option<Timestamp>) -> bool {
    matches!((updated_at, as_of), (Some(updated_at), Some(as_of)) if updated_at > as_of)
}

fn rule_6_any_no(counted: &Counted, nos: &[(&Judged, Reason)]) -> Option<Ruling> {
    // The only `no` that another source must confirm: the one that cannot be asked might say wait, or contradict it.
    if let [(only, Reason::NotFound | Reason::NoProfile)] = nos
        && only.evidence.kind.speaks_for_apple()
        && let Some((unknown, reason)) = counted.required_unknown()
    {
        return Some(with_detail(unknown, reason));
    }
    rule_6_first_no(nos)
}

fn rule_6_first_no(nos: &[(&Judged, Reason)]) -> Option<Ruling> {
    let (one, reason) = nos.iter().min_by_key(|(_, reason)| severity(*reason))?;
    Some(with_detail(one, *reason))
}

fn rule_7_any_wait(counted: &Counted) -> Option<Ruling> {
    counted.0.iter().find_map(|one| match one.finding {
        Finding::Wait(reason) => Some(with_detail(one, reason)),
        _ => None,
    })
}

fn rule_8_required_unknown(counted: &Counted) -> Option<Ruling> {
    counted
        .required_unknown()
        .map(|(one, reason)| with_detail(one, reason))
}

/// A safety net: with a checked config this never applies.
fn rule_9_no_good_proof(counted: &Counted, policy: &Policy) -> Option<Ruling> {
    let proven = counted
        .ready()
        .iter()
        .any(|(one, grade)| one.required && *grade >= policy.min_grade);
    (!proven).then_some((Reason::Stale, None))
}

fn rule_10_settling(counted: &Counted, policy: &Policy) -> Option<Ruling> {
    let newest = counted
        .ready()
        .into_iter()
        .filter_map(|(one, _)| Some((one.evidence.assigned_at?, one)))
        .max_by_key(|(at, _)| *at);
    let (assigned_at, one) = newest?;
    // Without the reply's own time it is not known how long ago that was.
    let settled = one.evidence.replied_at.is_some_and(|replied_at| {
        let ago: SignedDuration = replied_at.duration_since(assigned_at);
        SignedDuration::try_from(policy.settle).is_ok_and(|settle| ago >= settle)
    });
    (!settled).then(|| {
        (
            Reason::Settling,
            Some(format!("Assigned at {}.", times::moment(assigned_at))),
        )
    })
}

fn rule_11_changed_since_fetch(counted: &Counted) -> Option<Ruling> {
    let apple_is_ready = counted
        .ready()
        .iter()
        .any(|(one, _)| one.evidence.kind.ready_is_apples());
    let (business, mdm) = (counted.business()?, counted.mdm()?);
    // An MDM that does not say when it last heard from Apple had heard of the assignment at least, or of the device. One that gives no
    // time at all may not have heard of the change.
    let heard = mdm.evidence.as_of.or(mdm.evidence.assigned_at);
    let heard = heard.or(mdm.evidence.device_assigned_at);
    let is_late = match heard {
        None => business.evidence.updated_at.is_some(),
        heard => changed_after(business.evidence.updated_at, heard),
    };
    (!apple_is_ready && is_late).then(|| (Reason::SyncPending, fetch_sentence(mdm)))
}

fn rule_12_ready(counted: &Counted) -> Ruling {
    let ready = counted.ready();
    let returned = ready.iter().any(|(one, _)| one.evidence.returned);
    // A source may agree and still have something to say: a migration that failed.
    let added = counted.0.iter().find_map(|one| one.evidence.detail.clone());
    let said: Vec<String> = by_plan_alone(&ready).into_iter().chain(added).collect();
    (
        if returned {
            Reason::ReturnedStock
        } else {
            Reason::Assigned
        },
        (!said.is_empty()).then(|| said.join(" ")),
    )
}

/// That nobody but an MDM's own plan says so; `None`: somebody has it from Apple.
fn by_plan_alone(ready: &[(&Judged, Grade)]) -> Option<String> {
    let is_plan = |(_, grade): &&(&Judged, Grade)| *grade == Grade::Intent;
    let plans: Vec<_> = ready.iter().filter(is_plan).collect();
    let (first, _) = plans.first()?;
    let mdm = first.evidence.kind.mdm()?;
    (plans.len() == ready.len()).then(|| {
        format!(
            "By {}'s plan alone: Apple has not confirmed it.",
            mdm.console
        )
    })
}
