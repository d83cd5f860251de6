//! An MDM that tells only its plan: Intune, alone and beside Apple's services.

use super::*;

fn plan() -> Evidence {
    says(Intune, Ready(Intent))
}

fn of_intent(sources: &[(SourceKind, bool)]) -> Policy {
    Policy {
        min_grade: Intent,
        ..policy_of(sources)
    }
}

fn beside_apple() -> Policy {
    policy_of(&[(Intune, true), (AppleDep, true), (AppleBusiness, true)])
}

#[test]
fn a_plan_alone_is_green_only_where_the_station_says_that_it_is_enough_and_the_message_says_so() {
    for beside in [None, Some(says(AppleBusiness, NoObjection))] {
        let sources = [(Intune, true), (AppleBusiness, true)];
        let policy = of_intent(&sources[..=usize::from(beside.is_some())]);
        let evidence: Vec<Evidence> = [plan()].into_iter().chain(beside).collect();
        let decision = judge(&policy, evidence.clone());
        assert_eq!(
            (decision.reason, decision.grade, decision.detail.as_deref()),
            (
                Reason::Assigned,
                Some(Intent),
                Some("By Intune's plan alone: Apple has not confirmed it.")
            )
        );
        for min_grade in [Relayed, Apple] {
            let policy = Policy {
                min_grade,
                ..policy.clone()
            };
            assert_eq!(reason(&policy, evidence.clone()), Reason::Stale);
        }
    }
}

#[test]
fn beside_apples_word_the_grade_is_apples_and_nothing_is_added() {
    let evidence = vec![
        plan(),
        says(AppleDep, Ready(Apple)),
        says(AppleBusiness, NoObjection),
    ];
    let decision = judge(&beside_apple(), evidence);
    assert_eq!(
        (decision.reason, decision.grade, decision.detail),
        (Reason::Assigned, Some(Apple), None)
    );
}

#[test]
fn a_plan_does_not_prove_what_a_required_source_of_the_wanted_grade_did_not() {
    // apple-dep outside `require` does not count as proof, whatever it says.
    let policy = policy_of(&[(Intune, true), (AppleDep, false)]);
    let evidence = vec![plan(), says(AppleDep, Ready(Apple))];
    assert_eq!(reason(&policy, evidence), Reason::Stale);
    // Required and silent, it is what is not known.
    let policy = policy_of(&[(Intune, true), (AppleDep, true)]);
    for fault in [Reason::Offline, Reason::Stale] {
        let evidence = vec![plan(), says(AppleDep, Unknown(fault))];
        assert_eq!(reason(&policy, evidence), fault);
    }
}

#[test]
fn an_optional_apple_that_cannot_be_asked_leaves_the_plan_and_its_words() {
    let policy = of_intent(&[(Intune, true), (AppleDep, false)]);
    let evidence = vec![plan(), says(AppleDep, Unknown(Reason::Timeout))];
    let decision = judge(&policy, evidence);
    assert_eq!(
        (decision.reason, decision.grade),
        (Reason::Assigned, Some(Intent))
    );
    assert!(
        decision
            .detail
            .is_some_and(|detail| detail.contains("plan alone"))
    );
}

#[test]
fn rule_3a_apples_no_ends_a_plan_with_its_own_reason() {
    for no in [
        Reason::NoProfile,
        Reason::ProfileRemoved,
        Reason::WrongProfile,
        Reason::NotFound,
    ] {
        let policy = policy_of(&[(Intune, true), (AppleDep, true)]);
        let decision = judge(&policy, vec![plan(), says(AppleDep, No(no))]);
        assert_eq!((decision.reason, decision.grade), (no, Some(Intent)));
    }
    for no in [
        Reason::Released,
        Reason::NotInOrg,
        Reason::Unassigned,
        Reason::WrongServer,
    ] {
        let policy = of_intent(&[(Intune, true), (AppleBusiness, true)]);
        let evidence = vec![plan(), says(AppleBusiness, No(no))];
        assert_eq!(reason(&policy, evidence), no);
    }
}

#[test]
fn rule_3b_a_plan_that_is_late_makes_the_box_wait_and_one_that_is_not_contradicts_apple() {
    let apple_at = |moment| {
        let mut evidence = says(AppleDep, Ready(Apple));
        evidence.assigned_at = Some(at(moment));
        evidence
    };
    for no in [
        Reason::NotFound,
        Reason::NoProfile,
        Reason::WrongProfile,
        Reason::Unassigned,
    ] {
        let evidence = |moment| vec![says(Intune, No(no)), apple_at(moment)];
        let policy = policy_of(&[(Intune, true), (AppleDep, true)]);
        assert_eq!(reason(&policy, evidence(AFTER_FETCH)), Reason::SyncPending);
        assert_eq!(reason(&policy, evidence(LONG_AGO)), Reason::Contradiction);
    }
    // What is about the device stands beside an assignment.
    for no in [
        Reason::AlreadyEnrolled,
        Reason::PreviouslyActivated,
        Reason::AssignmentFailed,
    ] {
        let evidence = vec![says(Intune, No(no)), apple_at(LONG_AGO)];
        assert_eq!(reason(&beside_apple(), evidence), no);
    }
}

#[test]
fn rules_5_and_11_go_by_the_plans_last_sync() {
    let mut business = says(AppleBusiness, NoObjection);
    business.updated_at = Some(at(AFTER_FETCH));
    let policy = of_intent(&[(Intune, true), (AppleBusiness, true)]);
    for evidence in [says(Intune, No(Reason::NotFound)), plan()] {
        assert_eq!(
            reason(&policy, vec![evidence, business.clone()]),
            Reason::SyncPending
        );
    }
}
