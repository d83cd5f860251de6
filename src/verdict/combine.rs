//! Combining findings about one serial number: the first rule that applies, numbered as in `docs/verdict.md`.

use jiff::{SignedDuration, Timestamp};

use super::{Policy, Testimony};
use crate::{
    readiness::{
        evidence::{Finding, Grade, SourceKind},
        spelling,
    },
    reason::Reason,
    runtime::times,
};

/// The order among several `no`, the most telling first. `already_enrolled` stands before them all (rule 1).
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

/// Place in the order of rule 6: 0 is the first.
pub(super) fn severity(reason: Reason) -> usize {
    ORDER
        .iter()
        .position(|one| *one == reason)
        .unwrap_or(ORDER.len())
}

/// A `no` about the assignment contradicts a `ready`; one about the device stands beside it.
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

type Result = (Reason, Option<String>);

/// Gives the reason and what to add to its sentence. A set in, config order only breaks ties.
pub(super) fn combine(testimonies: &[Testimony], policy: &Policy) -> Result {
    let heard = Heard(testimonies.iter().filter(|one| one.counts).collect());
    rule_1_already_enrolled(&heard)
        .or_else(|| rule_2_apple_token_for_another_server(&heard))
        .or_else(|| rule_3_no_beside_ready(&heard))
        .or_else(|| rule_4_agree_to_wait(&heard))
        .or_else(|| rule_5_mdm_has_not_fetched(&heard))
        .or_else(|| rule_6_any_no(&heard, &heard.nos()))
        .or_else(|| rule_7_any_wait(&heard))
        .or_else(|| rule_8_required_unknown(&heard))
        .or_else(|| rule_9_no_good_proof(&heard, policy))
        .or_else(|| rule_10_settling(&heard, policy))
        .or_else(|| rule_11_changed_since_fetch(&heard))
        .unwrap_or_else(|| rule_12_ready(&heard))
}

struct Heard<'a>(Vec<&'a Testimony>);

impl<'a> Heard<'a> {
    fn nos(&self) -> Vec<(&'a Testimony, Reason)> {
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

    fn ready(&self) -> Vec<(&'a Testimony, Grade)> {
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

    fn of(&self, kind: SourceKind) -> Option<&'a Testimony> {
        self.0.iter().copied().find(|one| one.evidence.kind == kind)
    }

    fn mdm(&self) -> Option<&'a Testimony> {
        self.0
            .iter()
            .copied()
            .find(|one| one.evidence.kind.is_mdm())
    }

    fn required_unknown(&self) -> Option<(&'a Testimony, Reason)> {
        self.0
            .iter()
            .filter(|one| one.required)
            .find_map(|one| match one.finding {
                Finding::Unknown(reason) => Some((*one, reason)),
                _ => None,
            })
    }
}

fn with_detail(one: &Testimony, reason: Reason) -> Result {
    (reason, one.evidence.detail.clone())
}

fn rule_1_already_enrolled(heard: &Heard) -> Option<Result> {
    let (one, reason) = heard
        .nos()
        .into_iter()
        .find(|(_, reason)| *reason == Reason::AlreadyEnrolled)?;
    Some(with_detail(one, reason))
}

fn rule_2_apple_token_for_another_server(heard: &Heard) -> Option<Result> {
    let dep = heard
        .of(SourceKind::AppleDep)
        .filter(|one| one.finding == Finding::No(Reason::NotFound))?;
    let relayed_for_another_server = heard.ready().into_iter().map(|(one, _)| one).find(|one| {
        let servers = (
            one.evidence.server_uuid.as_deref(),
            dep.evidence.server_uuid.as_deref(),
        );
        one.evidence.kind.is_mdm()
            && matches!(servers, (Some(theirs), Some(ours)) if !spelling::same_uuid(theirs, ours))
    });
    if let Some(mdm) = relayed_for_another_server {
        let text = format!(
            "The station's Apple token is for another server than the one {} uses.",
            mdm.evidence.source
        );
        return Some((Reason::Contradiction, Some(text)));
    }
    let business = heard
        .of(SourceKind::AppleBusiness)
        .filter(|one| one.finding == Finding::NoObjection)?;
    Some((Reason::Contradiction, Some(both_sides(business, dep))))
}

fn both_sides(one: &Testimony, other: &Testimony) -> String {
    let side = |one: &Testimony| {
        let word = one.finding.reason().map_or("no objection", Reason::code);
        format!(
            "{} says {} ({word})",
            one.evidence.source,
            one.finding.says()
        )
    };
    format!("{}; {}.", side(one), side(other))
}

fn rule_3_no_beside_ready(heard: &Heard) -> Option<Result> {
    let nos = heard.nos();
    let ready = heard.ready();
    let against: Vec<_> = nos
        .iter()
        .copied()
        .filter(|(_, reason)| about_assignment(*reason))
        .collect();
    let ((first_ready, _), (first_against, _)) = (*ready.first()?, *against.first()?);
    let from_apple = |one: &Testimony| !one.evidence.kind.is_mdm();
    // a. The relay is late: Apple itself says no. The kind decides, not the grade: what was copied once is a copy.
    if ready.iter().all(|(one, _)| one.evidence.kind.keeps_copy())
        && against.iter().any(|(one, _)| from_apple(one))
    {
        return rule_6_first_no(&nos);
    }
    // b. Apple says ready, only the MDM denies it.
    let dep = ready
        .iter()
        .map(|(one, _)| *one)
        .find(|one| one.evidence.kind == SourceKind::AppleDep);
    if let Some(dep) = dep
        && against.iter().all(|(one, _)| one.evidence.kind.is_mdm())
    {
        let assigned = dep.evidence.assigned_at.or(dep.evidence.device_assigned_at);
        let older = |one: &Testimony| matches!((one.evidence.as_of, assigned), (Some(as_of), Some(assigned)) if as_of < assigned);
        if !against.iter().all(|(one, _)| older(one)) {
            return Some((Reason::Contradiction, Some(both_sides(dep, first_against))));
        }
        let others: Vec<_> = nos
            .iter()
            .copied()
            .filter(|(_, reason)| !about_assignment(*reason))
            .collect();
        return match rule_6_any_no(heard, &others) {
            Some(result) => Some(result),
            None => Some((Reason::SyncPending, fetch_sentence(first_against))),
        };
    }
    // c. Apple's two services against each other.
    Some((
        Reason::Contradiction,
        Some(both_sides(first_ready, first_against)),
    ))
}

fn fetch_sentence(mdm: &Testimony) -> Option<String> {
    mdm.evidence.as_of.map(|as_of| {
        format!(
            "{} last fetched from Apple at {}.",
            mdm.evidence.source,
            times::moment(as_of)
        )
    })
}

fn rule_4_agree_to_wait(heard: &Heard) -> Option<Result> {
    let nos = heard.nos();
    let [(only, Reason::NoProfile)] = nos.as_slice() else {
        return None;
    };
    if only.evidence.kind != SourceKind::AppleDep {
        return None;
    }
    let mdm = heard.mdm()?;
    match mdm.finding {
        Finding::Wait(reason @ (Reason::AssignmentPending | Reason::AssignmentThrottled)) => {
            Some(with_detail(mdm, reason))
        }
        _ => None,
    }
}

fn rule_5_mdm_has_not_fetched(heard: &Heard) -> Option<Result> {
    let nos = heard.nos();
    let [(mdm, Reason::NotFound)] = nos.as_slice() else {
        return None;
    };
    let business = heard.of(SourceKind::AppleBusiness)?;
    let applies = mdm.evidence.kind.is_mdm()
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

fn rule_6_any_no(heard: &Heard, nos: &[(&Testimony, Reason)]) -> Option<Result> {
    // The one `no` that does not stand alone: the missing source might have agreed to wait, or contradicted.
    if let [(only, Reason::NotFound | Reason::NoProfile)] = nos
        && only.evidence.kind == SourceKind::AppleDep
        && let Some((unknown, reason)) = heard.required_unknown()
    {
        return Some(with_detail(unknown, reason));
    }
    rule_6_first_no(nos)
}

fn rule_6_first_no(nos: &[(&Testimony, Reason)]) -> Option<Result> {
    let (one, reason) = nos.iter().min_by_key(|(_, reason)| severity(*reason))?;
    Some(with_detail(one, *reason))
}

fn rule_7_any_wait(heard: &Heard) -> Option<Result> {
    heard.0.iter().find_map(|one| match one.finding {
        Finding::Wait(reason) => Some(with_detail(one, reason)),
        _ => None,
    })
}

fn rule_8_required_unknown(heard: &Heard) -> Option<Result> {
    heard
        .required_unknown()
        .map(|(one, reason)| with_detail(one, reason))
}

/// A safety net: a checked config cannot come here.
fn rule_9_no_good_proof(heard: &Heard, policy: &Policy) -> Option<Result> {
    let proven = heard
        .ready()
        .iter()
        .any(|(one, grade)| one.required && *grade >= policy.min_grade);
    (!proven).then_some((Reason::Stale, None))
}

fn rule_10_settling(heard: &Heard, policy: &Policy) -> Option<Result> {
    let newest = heard
        .ready()
        .into_iter()
        .filter_map(|(one, _)| Some((one.evidence.assigned_at?, one)))
        .max_by_key(|(at, _)| *at);
    let (assigned_at, one) = newest?;
    // Without the reply's own clock nobody can say how long ago that was.
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

fn rule_11_changed_since_fetch(heard: &Heard) -> Option<Result> {
    let apple_is_ready = heard
        .ready()
        .iter()
        .any(|(one, _)| one.evidence.kind == SourceKind::AppleDep);
    let (business, mdm) = (heard.of(SourceKind::AppleBusiness)?, heard.mdm()?);
    (!apple_is_ready && changed_after(business.evidence.updated_at, mdm.evidence.as_of))
        .then(|| (Reason::SyncPending, fetch_sentence(mdm)))
}

fn rule_12_ready(heard: &Heard) -> Result {
    let returned = heard.ready().iter().any(|(one, _)| one.evidence.returned);
    // What a source has to add though it agrees: a migration that failed.
    let added = heard.0.iter().find_map(|one| one.evidence.detail.clone());
    (
        if returned {
            Reason::ReturnedStock
        } else {
            Reason::Assigned
        },
        added,
    )
}
