#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test fails by panicking"
)]
//! Every rule by name, and the promise that holds for the whole cross product of findings.

use super::*;
use crate::label::{self, Meaning};
use crate::readiness::evidence::{
    By,
    Finding::{No, NoObjection, Ready, Unknown, Wait},
    Grade::{Apple, Intent, Relayed},
    SourceKind::{AppleBusiness, AppleDep, Fleet, Intune, Kandji, MicroMdm, NanoDep, Zentral},
};

const FETCH: &str = "2026-11-23T08:00:00Z";
const REPLY: &str = "2026-11-23T09:00:00Z";
const LONG_AGO: &str = "2026-01-09T22:01:10Z";
const AFTER_FETCH: &str = "2026-11-23T08:30:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn serial(text: &str) -> Serial {
    Serial::new(text).unwrap()
}

fn source_name(kind: SourceKind) -> Name {
    name(match kind {
        AppleDep => "apple",
        AppleBusiness => "business",
        mdm => mdm.code(),
    })
}

fn policy_of(sources: &[(SourceKind, bool)]) -> Policy {
    Policy {
        sources: sources
            .iter()
            .map(|(kind, required)| PolicySource {
                name: source_name(*kind),
                kind: *kind,
                required: *required,
                refresh: None,
            })
            .collect(),
        min_grade: Relayed,
        deadline: Duration::from_secs(2),
        allow_returned: false,
        settle: Duration::from_secs(60),
        recheck: Duration::from_secs(10),
        recheck_for: Duration::from_secs(86_400),
        hash: "9f2c41d0".to_owned(),
    }
}

fn all_three() -> Policy {
    policy_of(&[(Kandji, true), (AppleDep, true), (AppleBusiness, true)])
}

fn says_of(kind: SourceKind, finding: Finding, serial: Serial) -> Evidence {
    let mut evidence = Evidence::bare(source_name(kind), kind, serial, finding);
    evidence.known = !matches!(
        finding,
        Unknown(_) | No(Reason::NotFound | Reason::NotInOrg)
    );
    evidence.replied_at = Some(at(REPLY));
    if matches!(finding, Ready(_)) {
        evidence.assigned_at = Some(at(LONG_AGO));
    }
    match kind {
        Kandji | SourceKind::Jamf => {
            evidence.as_of = Some(at(FETCH));
            evidence.server_uuid = Some("AAAA".to_owned());
        }
        AppleDep | NanoDep | MicroMdm => evidence.server_uuid = Some("aaaa".to_owned()),
        AppleBusiness => evidence.updated_at = Some(at(LONG_AGO)),
        // It asks Apple at each question; only what is not in its list rests on a fetch.
        Fleet if finding == No(Reason::NotFound) => evidence.as_of = Some(at(FETCH)),
        Fleet | Zentral => {}
        Intune => evidence.as_of = Some(at(FETCH)),
    }
    evidence
}

fn says(kind: SourceKind, finding: Finding) -> Evidence {
    says_of(kind, finding, serial("C02XK0AAJG5H"))
}

fn answer(evidence: Evidence) -> Answer {
    Answer {
        by: By::Service,
        source: evidence.source.clone(),
        evidence: vec![evidence],
    }
}

fn judge(policy: &Policy, evidence: Vec<Evidence>) -> Decision {
    let answers: Vec<Answer> = evidence.into_iter().map(answer).collect();
    let decision = decide(&Candidates::one(serial("C02XK0AAJG5H")), &answers, policy);
    let reversed: Vec<Answer> = answers.into_iter().rev().collect();
    let again = decide(&Candidates::one(serial("C02XK0AAJG5H")), &reversed, policy);
    assert_eq!(decision, again, "the order of the answers never matters");
    decision
}

fn reason(policy: &Policy, evidence: Vec<Evidence>) -> Reason {
    judge(policy, evidence).reason
}

/// The rows of "how the views disagree", with all three sources asked.
#[test]
fn each_way_the_three_views_disagree_has_its_verdict() {
    use Reason::*;
    let healthy = Ready(Relayed);
    let dep_ready = Ready(Apple);
    let rows: &[(&str, Finding, Finding, Finding, Reason)] = &[
        ("healthy, new", healthy, dep_ready, NoObjection, Assigned),
        (
            "no profile yet",
            Wait(AssignmentPending),
            No(NoProfile),
            NoObjection,
            AssignmentPending,
        ),
        (
            "no profile yet, throttled",
            Wait(AssignmentThrottled),
            No(NoProfile),
            NoObjection,
            AssignmentThrottled,
        ),
        (
            "no profile, the MDM says assigned",
            healthy,
            No(NoProfile),
            NoObjection,
            NoProfile,
        ),
        (
            "no profile, the MDM has no row",
            No(NotFound),
            No(NoProfile),
            NoObjection,
            NoProfile,
        ),
        (
            "profile removed",
            healthy,
            No(ProfileRemoved),
            NoObjection,
            ProfileRemoved,
        ),
        (
            "moved to another server",
            healthy,
            No(NotFound),
            No(WrongServer),
            WrongServer,
        ),
        (
            "unassigned",
            healthy,
            No(NotFound),
            No(Unassigned),
            Unassigned,
        ),
        (
            "gone from the organisation",
            healthy,
            No(NotFound),
            No(NotInOrg),
            NotInOrg,
        ),
        ("released", healthy, No(NotFound), No(Released), Released),
        (
            "typo, not ours",
            No(NotFound),
            No(NotFound),
            No(NotInOrg),
            NotInOrg,
        ),
        (
            "Apple Configurator",
            No(NotFound),
            No(NotFound),
            No(WrongServer),
            WrongServer,
        ),
        (
            "migration ordered",
            healthy,
            No(MigrationPending),
            No(MigrationPending),
            MigrationPending,
        ),
        (
            "migration ordered, DEP has no deadline",
            healthy,
            dep_ready,
            No(MigrationPending),
            MigrationPending,
        ),
        (
            "activated before",
            No(PreviouslyActivated),
            No(PreviouslyActivated),
            NoObjection,
            PreviouslyActivated,
        ),
        (
            "enrolled already",
            No(AlreadyEnrolled),
            No(PreviouslyActivated),
            NoObjection,
            AlreadyEnrolled,
        ),
        (
            "Apple's two services disagree",
            healthy,
            dep_ready,
            No(Unassigned),
            Contradiction,
        ),
        (
            "the assigned server is ours, DEP denies",
            healthy,
            No(NotFound),
            NoObjection,
            Contradiction,
        ),
        (
            "DEP denies, the MDM waits",
            Wait(AssignmentPending),
            No(NotFound),
            NoObjection,
            Contradiction,
        ),
        (
            "DEP denies, the MDM has none",
            No(NotFound),
            No(NotFound),
            NoObjection,
            Contradiction,
        ),
    ];
    for (what, kandji, dep, business, expected) in rows {
        let got = reason(
            &all_three(),
            vec![
                says(Kandji, *kandji),
                says(AppleDep, *dep),
                says(AppleBusiness, *business),
            ],
        );
        assert_eq!(got, *expected, "{what}");
    }
    // Assigned minutes ago, and the MDM has not fetched since: no row there, its as-of is older than the assignment.
    let mut dep = says(AppleDep, dep_ready);
    dep.assigned_at = Some(at(AFTER_FETCH));
    assert_eq!(
        reason(
            &all_three(),
            vec![
                says(Kandji, No(NotFound)),
                dep,
                says(AppleBusiness, NoObjection)
            ]
        ),
        SyncPending
    );
}

#[test]
fn rule_1_an_enrolled_device_is_never_ready() {
    let decision = judge(
        &all_three(),
        vec![
            says(Kandji, No(Reason::AlreadyEnrolled)),
            says(AppleDep, Ready(Apple)),
            says(AppleBusiness, NoObjection),
        ],
    );
    assert_eq!(decision.reason, Reason::AlreadyEnrolled);
    // Before rule 2: it does not matter that Apple's views contradict each other.
    let evidence = vec![
        says(Kandji, No(Reason::AlreadyEnrolled)),
        says(AppleDep, No(Reason::NotFound)),
        says(AppleBusiness, NoObjection),
    ];
    assert_eq!(reason(&all_three(), evidence), Reason::AlreadyEnrolled);
}

#[test]
fn rule_2_an_apple_token_for_another_server_is_said_so() {
    let mut dep = says(AppleDep, No(Reason::NotFound));
    dep.server_uuid = Some("BBBB".to_owned());
    let decision = judge(
        &policy_of(&[(Kandji, true), (AppleDep, true)]),
        vec![says(Kandji, Ready(Relayed)), dep],
    );
    assert_eq!(decision.reason, Reason::Contradiction);
    assert!(
        decision.message().contains("token is for another server"),
        "{}",
        decision.message()
    );
    // The same server, spelled differently: then Apple's `no` counts.
    let decision = judge(
        &policy_of(&[(Kandji, true), (AppleDep, true)]),
        vec![
            says(Kandji, Ready(Relayed)),
            says(AppleDep, No(Reason::NotFound)),
        ],
    );
    assert_eq!(decision.reason, Reason::NotFound);
}

#[test]
fn rule_3a_the_relay_is_late_when_apple_says_no() {
    let policy = policy_of(&[(Kandji, true), (AppleBusiness, true)]);
    for no in [
        Reason::Released,
        Reason::NotInOrg,
        Reason::Unassigned,
        Reason::WrongServer,
    ] {
        assert_eq!(
            reason(
                &policy,
                vec![says(Kandji, Ready(Relayed)), says(AppleBusiness, No(no))]
            ),
            no
        );
    }
}

#[test]
fn rule_3a_goes_by_the_kind_of_source_not_by_its_grade() {
    let policy = policy_of(&[(Kandji, true), (AppleBusiness, true)]);
    assert_eq!(
        reason(
            &policy,
            vec![
                says(Kandji, Ready(Apple)),
                says(AppleBusiness, No(Reason::Unassigned))
            ]
        ),
        Reason::Unassigned,
        "a copy is a copy"
    );
    let policy = policy_of(&[(AppleDep, true), (AppleBusiness, true)]);
    assert_eq!(
        reason(
            &policy,
            vec![
                says(AppleDep, Ready(Relayed)),
                says(AppleBusiness, No(Reason::Unassigned))
            ]
        ),
        Reason::Contradiction
    );
    // Several `no`: the first in the order of rule 6, including those about the device. A source that cannot be asked changes nothing.
    let evidence = vec![
        says(Kandji, Ready(Relayed)),
        says(AppleDep, No(Reason::NoProfile)),
        says(AppleBusiness, No(Reason::MigrationPending)),
    ];
    assert_eq!(reason(&all_three(), evidence), Reason::NoProfile);
    let evidence = vec![
        says(Kandji, Ready(Relayed)),
        says(AppleDep, No(Reason::NoProfile)),
        says(AppleBusiness, Unknown(Reason::Offline)),
    ];
    assert_eq!(reason(&all_three(), evidence), Reason::NoProfile);
}

#[test]
fn rule_3b_an_mdm_that_has_not_fetched_since_the_assignment_makes_the_box_wait() {
    let policy = policy_of(&[(Kandji, true), (AppleDep, true)]);
    let dep = |assigned: Option<&str>, given: Option<&str>| {
        let mut dep = says(AppleDep, Ready(Apple));
        dep.assigned_at = assigned.map(at);
        dep.device_assigned_at = given.map(at);
        dep
    };
    let kandji = |no| says(Kandji, No(no));
    assert_eq!(
        reason(
            &policy,
            vec![kandji(Reason::NotFound), dep(Some(AFTER_FETCH), None)]
        ),
        Reason::SyncPending
    );
    assert_eq!(
        reason(
            &policy,
            vec![kandji(Reason::ProfileRemoved), dep(Some(AFTER_FETCH), None)]
        ),
        Reason::SyncPending
    );
    let message = judge(
        &policy,
        vec![kandji(Reason::NotFound), dep(Some(AFTER_FETCH), None)],
    )
    .message();
    assert!(
        message.contains("kandji last fetched from Apple at 2026-11-23 08:00 UTC."),
        "{message}"
    );
    assert_eq!(
        reason(
            &policy,
            vec![kandji(Reason::NotFound), dep(Some(LONG_AGO), None)]
        ),
        Reason::Contradiction
    );
    assert_eq!(
        reason(
            &policy,
            vec![kandji(Reason::NotFound), dep(None, Some(AFTER_FETCH))]
        ),
        Reason::SyncPending
    );
    assert_eq!(
        reason(&policy, vec![kandji(Reason::NotFound), dep(None, None)]),
        Reason::Contradiction
    );
    assert_eq!(
        reason(
            &policy,
            vec![kandji(Reason::NotFound), dep(Some(FETCH), None)]
        ),
        Reason::Contradiction,
        "the same time is not older"
    );
    let mut without_as_of = kandji(Reason::NotFound);
    without_as_of.as_of = None;
    assert_eq!(
        reason(&policy, vec![without_as_of, dep(Some(AFTER_FETCH), None)]),
        Reason::Contradiction
    );
    // Older, but there is a `no` about the device: that is the reason.
    let three = all_three();
    let evidence = vec![
        kandji(Reason::NotFound),
        dep(Some(AFTER_FETCH), None),
        says(AppleBusiness, No(Reason::MigrationPending)),
    ];
    assert_eq!(reason(&three, evidence), Reason::MigrationPending);
}

#[test]
fn rule_3c_apples_services_against_each_other_are_a_contradiction_with_both_sides() {
    let policy = policy_of(&[(AppleDep, true), (AppleBusiness, true)]);
    let decision = judge(
        &policy,
        vec![
            says(AppleDep, Ready(Apple)),
            says(AppleBusiness, No(Reason::Released)),
        ],
    );
    assert_eq!(decision.reason, Reason::Contradiction);
    let message = decision.message();
    assert!(
        message.contains("apple says ready") && message.contains("business says no (released)"),
        "{message}"
    );
    // A `no` about the device does not contradict an assignment.
    assert_eq!(
        reason(
            &policy,
            vec![
                says(AppleDep, Ready(Apple)),
                says(AppleBusiness, No(Reason::MigrationPending))
            ]
        ),
        Reason::MigrationPending
    );
}

#[test]
fn rule_4_needs_that_there_is_no_other_no() {
    let evidence = vec![
        says(Kandji, Wait(Reason::AssignmentPending)),
        says(AppleDep, No(Reason::NoProfile)),
        says(AppleBusiness, No(Reason::Unassigned)),
    ];
    assert_eq!(reason(&all_three(), evidence), Reason::Unassigned);
    // Only `no_profile` agrees with waiting.
    let two = policy_of(&[(Kandji, true), (AppleDep, true)]);
    for no in [Reason::NotFound, Reason::ProfileRemoved] {
        assert_eq!(
            reason(
                &two,
                vec![
                    says(Kandji, Wait(Reason::AssignmentPending)),
                    says(AppleDep, No(no))
                ]
            ),
            no
        );
    }
}

#[test]
fn rule_5_apple_has_it_and_the_mdm_has_not_fetched_yet() {
    let policy = policy_of(&[(Kandji, true), (AppleBusiness, true)]);
    assert_eq!(
        reason(
            &policy,
            vec![
                says(Kandji, No(Reason::NotFound)),
                says(AppleBusiness, Wait(Reason::SyncPending))
            ]
        ),
        Reason::SyncPending
    );
    let mut later = says(AppleBusiness, NoObjection);
    later.updated_at = Some(at(AFTER_FETCH));
    assert_eq!(
        reason(&policy, vec![says(Kandji, No(Reason::NotFound)), later]),
        Reason::SyncPending
    );
    assert_eq!(
        reason(
            &policy,
            vec![
                says(Kandji, No(Reason::NotFound)),
                says(AppleBusiness, NoObjection)
            ]
        ),
        Reason::NotFound
    );
    let mut together = says(AppleBusiness, NoObjection);
    together.updated_at = Some(at(FETCH));
    assert_eq!(
        reason(&policy, vec![says(Kandji, No(Reason::NotFound)), together]),
        Reason::NotFound,
        "the same time is not later"
    );
    let evidence = vec![
        says(Kandji, No(Reason::NotFound)),
        says(AppleDep, No(Reason::NoProfile)),
        says(AppleBusiness, Wait(Reason::SyncPending)),
    ];
    assert_eq!(
        reason(&all_three(), evidence),
        Reason::NoProfile,
        "another no goes before"
    );
    assert_eq!(
        reason(
            &policy,
            vec![
                says(Kandji, No(Reason::WrongServer)),
                says(AppleBusiness, Wait(Reason::SyncPending))
            ]
        ),
        Reason::WrongServer
    );
    // A late fetch does not explain Apple's own `not_found`.
    let apple_alone = policy_of(&[(AppleDep, true), (AppleBusiness, true)]);
    assert_eq!(
        reason(
            &apple_alone,
            vec![
                says(AppleDep, No(Reason::NotFound)),
                says(AppleBusiness, Wait(Reason::SyncPending))
            ]
        ),
        Reason::NotFound
    );
}

#[test]
fn rule_6_the_most_telling_no_is_the_reason() {
    use Reason::*;
    let order = [
        Released,
        NotInOrg,
        Unassigned,
        WrongServer,
        WrongProfile,
        ProfileRemoved,
        NoProfile,
        AssignmentFailed,
        MigrationPending,
        PreviouslyActivated,
        WrongBlueprint,
        NotFound,
    ];
    for (nth, first) in order.iter().enumerate() {
        for second in &order[nth..] {
            let policy = policy_of(&[(Kandji, true), (AppleBusiness, true)]);
            assert_eq!(
                reason(
                    &policy,
                    vec![says(Kandji, No(*second)), says(AppleBusiness, No(*first))]
                ),
                *first
            );
            assert_eq!(
                reason(
                    &policy,
                    vec![says(Kandji, No(*first)), says(AppleBusiness, No(*second))]
                ),
                *first
            );
        }
    }
}

#[test]
fn rule_6_a_certain_no_stands_when_another_source_cannot_be_asked_with_one_exception() {
    let two = policy_of(&[(Kandji, true), (AppleDep, true)]);
    assert_eq!(
        reason(
            &two,
            vec![
                says(Kandji, No(Reason::WrongBlueprint)),
                says(AppleDep, Unknown(Reason::Offline))
            ]
        ),
        Reason::WrongBlueprint
    );
    assert_eq!(
        reason(
            &two,
            vec![
                says(Kandji, No(Reason::NotFound)),
                says(AppleDep, Unknown(Reason::Offline))
            ]
        ),
        Reason::NotFound
    );
    for only in [Reason::NotFound, Reason::NoProfile] {
        assert_eq!(
            reason(
                &two,
                vec![
                    says(Kandji, Unknown(Reason::Offline)),
                    says(AppleDep, No(only))
                ]
            ),
            Reason::Offline
        );
        let optional = policy_of(&[(Kandji, false), (AppleDep, true)]);
        assert_eq!(
            reason(
                &optional,
                vec![
                    says(Kandji, Unknown(Reason::Offline)),
                    says(AppleDep, No(only))
                ]
            ),
            only
        );
    }
    assert_eq!(
        reason(
            &two,
            vec![
                says(Kandji, Unknown(Reason::Offline)),
                says(AppleDep, No(Reason::ProfileRemoved))
            ]
        ),
        Reason::ProfileRemoved
    );
}

#[test]
fn rule_7_and_8_wait_goes_before_unknown_and_each_takes_the_first_in_config_order() {
    let policy = all_three();
    let evidence = |kandji, dep, business| {
        vec![
            says(Kandji, kandji),
            says(AppleDep, dep),
            says(AppleBusiness, business),
        ]
    };
    assert_eq!(
        reason(
            &policy,
            evidence(
                Unknown(Reason::Offline),
                Ready(Apple),
                Wait(Reason::SyncPending)
            )
        ),
        Reason::SyncPending,
        "a wait is certain"
    );
    assert_eq!(
        reason(
            &policy,
            evidence(
                Unknown(Reason::Stale),
                Unknown(Reason::Offline),
                NoObjection
            )
        ),
        Reason::Stale
    );
    assert_eq!(
        reason(
            &policy,
            evidence(Ready(Relayed), Ready(Apple), Unknown(Reason::RateLimited))
        ),
        Reason::RateLimited
    );
    let turned = policy_of(&[(AppleBusiness, true), (AppleDep, true), (Kandji, true)]);
    assert_eq!(
        reason(
            &turned,
            evidence(
                Unknown(Reason::Stale),
                Unknown(Reason::Offline),
                Unknown(Reason::SourceError)
            )
        ),
        Reason::SourceError
    );
}

#[test]
fn a_required_source_without_an_answer_is_a_timeout() {
    let decision = judge(
        &policy_of(&[(Kandji, true), (AppleDep, true)]),
        vec![says(Kandji, Ready(Relayed))],
    );
    assert_eq!(decision.reason, Reason::Timeout);
    assert_eq!(decision.evidence.len(), 2);
}

#[test]
fn the_policy_says_which_answers_are_waited_for() {
    let policy = policy_of(&[(Kandji, true), (AppleDep, true), (AppleBusiness, false)]);
    let from = |kinds: &[SourceKind]| -> Vec<Answer> {
        kinds
            .iter()
            .map(|kind| answer(says(*kind, Unknown(Reason::Offline))))
            .collect()
    };
    let required =
        [Kandji, AppleDep, AppleBusiness].map(|kind| policy.requires(&source_name(kind)));
    assert_eq!(
        (required, policy.requires(&name("elsewhere"))),
        ([true, true, false], false)
    );
    for (kinds, complete, exhausted) in [
        (&[][..], false, false),
        (&[Kandji], false, false),
        (&[Kandji, AppleBusiness], false, false),
        (&[AppleDep, Kandji], true, false),
        (&[AppleDep, Kandji, AppleBusiness], true, true),
    ] {
        assert_eq!(
            (
                policy.required_have_answered(&from(kinds)),
                policy.all_have_answered(&from(kinds))
            ),
            (complete, exhausted),
            "{kinds:?}"
        );
    }
}

#[test]
fn a_source_outside_require_never_makes_a_box_ready_and_its_unknown_is_ignored() {
    let policy = policy_of(&[(Kandji, true), (AppleDep, false)]);
    assert_eq!(
        reason(
            &policy,
            vec![
                says(Kandji, Ready(Relayed)),
                says(AppleDep, Unknown(Reason::Offline))
            ]
        ),
        Reason::Assigned
    );
    let alone = judge(&policy, vec![says(Kandji, Ready(Relayed))]);
    assert_eq!(
        (alone.reason, alone.evidence.len()),
        (Reason::Assigned, 1),
        "what has not answered says nothing"
    );
    assert_eq!(
        reason(
            &policy,
            vec![
                says(Kandji, Unknown(Reason::Offline)),
                says(AppleDep, Ready(Apple))
            ]
        ),
        Reason::Offline
    );
    assert_eq!(
        reason(
            &policy,
            vec![
                says(Kandji, Ready(Relayed)),
                says(AppleDep, No(Reason::ProfileRemoved))
            ]
        ),
        Reason::ProfileRemoved
    );
}

#[test]
fn rule_9_a_weak_proof_is_never_enough() {
    let mut policy = policy_of(&[(Kandji, true), (AppleDep, false)]);
    policy.min_grade = Apple;
    assert_eq!(
        reason(
            &policy,
            vec![says(Kandji, Ready(Relayed)), says(AppleDep, Ready(Apple))]
        ),
        Reason::Stale
    );
    let business_alone = policy_of(&[(AppleBusiness, true)]);
    assert_eq!(
        reason(&business_alone, vec![says(AppleBusiness, NoObjection)]),
        Reason::Stale
    );
}

#[test]
fn rule_10_a_fresh_assignment_settles_by_the_replys_own_clock() {
    let policy = policy_of(&[(Kandji, true)]);
    let assigned = |text: Option<&str>, reply: Option<&str>| {
        let mut kandji = says(Kandji, Ready(Relayed));
        kandji.assigned_at = text.map(at);
        kandji.replied_at = reply.map(at);
        reason(&policy, vec![kandji])
    };
    assert_eq!(
        assigned(Some("2026-11-23T08:59:01Z"), Some(REPLY)),
        Reason::Settling
    );
    assert_eq!(
        assigned(Some("2026-11-23T08:59:00Z"), Some(REPLY)),
        Reason::Assigned
    );
    assert_eq!(
        assigned(Some("2026-11-23T09:00:30Z"), Some(REPLY)),
        Reason::Settling
    );
    assert_eq!(assigned(None, Some(REPLY)), Reason::Assigned);
    assert_eq!(
        assigned(Some(LONG_AGO), None),
        Reason::Settling,
        "it is not known how long ago that was"
    );
    for (end, expected) in [
        (Timestamp::MIN, Reason::Assigned),
        (Timestamp::MAX, Reason::Settling),
    ] {
        let mut kandji = says(Kandji, Ready(Relayed));
        (kandji.assigned_at, kandji.replied_at) = (Some(end), Some(at(REPLY)));
        assert_eq!(reason(&policy, vec![kandji]), expected, "{end}");
    }
    // The newest of several assignments counts.
    let mut dep = says(AppleDep, Ready(Apple));
    dep.assigned_at = Some(at("2026-11-23T08:59:30Z"));
    assert_eq!(
        reason(
            &policy_of(&[(Kandji, true), (AppleDep, true)]),
            vec![says(Kandji, Ready(Relayed)), dep]
        ),
        Reason::Settling
    );
}

#[test]
fn rule_11_something_changed_at_apple_since_the_mdm_looked() {
    let mut business = says(AppleBusiness, NoObjection);
    business.updated_at = Some(at(AFTER_FETCH));
    let two = policy_of(&[(Kandji, true), (AppleBusiness, true)]);
    assert_eq!(
        reason(&two, vec![says(Kandji, Ready(Relayed)), business.clone()]),
        Reason::SyncPending
    );
    assert_eq!(
        reason(
            &all_three(),
            vec![
                says(Kandji, Ready(Relayed)),
                says(AppleDep, Ready(Apple)),
                business.clone()
            ]
        ),
        Reason::Assigned
    );
    business.updated_at = Some(at(FETCH));
    assert_eq!(
        reason(&two, vec![says(Kandji, Ready(Relayed)), business]),
        Reason::Assigned,
        "the same time is not later"
    );
}

/// Fleet's `ready` is Apple's word just now.
#[test]
fn rules_2_and_3c_take_fleets_ready_for_apples_own() {
    let beside = |kind, no| {
        reason(
            &policy_of(&[(Fleet, true), (kind, true)]),
            vec![says(Fleet, Ready(Apple)), says(kind, No(no))],
        )
    };
    for no in [
        Reason::Released,
        Reason::NotInOrg,
        Reason::Unassigned,
        Reason::WrongServer,
    ] {
        assert_eq!(
            beside(AppleBusiness, no),
            Reason::Contradiction,
            "no late relay"
        );
    }
    for no in [
        Reason::NotFound,
        Reason::NoProfile,
        Reason::ProfileRemoved,
        Reason::WrongProfile,
    ] {
        assert_eq!(beside(AppleDep, no), Reason::Contradiction);
    }
    assert_eq!(
        beside(AppleDep, Reason::MigrationPending),
        Reason::MigrationPending,
        "about the device"
    );
    let three = policy_of(&[(Fleet, true), (AppleDep, true), (AppleBusiness, true)]);
    let evidence = |business| {
        vec![
            says(Fleet, Ready(Apple)),
            says(AppleDep, No(Reason::NotFound)),
            says(AppleBusiness, business),
        ]
    };
    assert_eq!(reason(&three, evidence(NoObjection)), Reason::Contradiction);
    assert_eq!(
        reason(&three, evidence(No(Reason::WrongServer))),
        Reason::Contradiction
    );
    // Were its server known, rule 2 would tell why.
    let mut fleet = says(Fleet, Ready(Apple));
    fleet.server_uuid = Some("BBBB".to_owned());
    let decision = judge(
        &policy_of(&[(Fleet, true), (AppleDep, true)]),
        vec![fleet, says(AppleDep, No(Reason::NotFound))],
    );
    assert!(decision.message().contains("token is for another server"));
    // Both agree.
    let healthy = vec![
        says(Fleet, Ready(Apple)),
        says(AppleDep, Ready(Apple)),
        says(AppleBusiness, NoObjection),
    ];
    let decision = judge(&three, healthy);
    assert_eq!(
        (decision.reason, decision.grade),
        (Reason::Assigned, Some(Apple))
    );
}

/// Fleet's `no` is an MDM's.
#[test]
fn rules_3b_4_5_and_6_take_fleets_no_for_an_mdms() {
    let two = policy_of(&[(Fleet, true), (AppleDep, true)]);
    let dep = |assigned: &str| {
        let mut dep = says(AppleDep, Ready(Apple));
        dep.assigned_at = Some(at(assigned));
        dep
    };
    for (no, assigned, expected) in [
        (Reason::NotFound, AFTER_FETCH, Reason::SyncPending),
        (Reason::NotFound, LONG_AGO, Reason::Contradiction),
        // Asked just now, Apple gave two answers.
        (Reason::ProfileRemoved, AFTER_FETCH, Reason::Contradiction),
        (Reason::WrongProfile, AFTER_FETCH, Reason::Contradiction),
        (
            Reason::AssignmentFailed,
            AFTER_FETCH,
            Reason::AssignmentFailed,
        ),
    ] {
        assert_eq!(
            reason(&two, vec![says(Fleet, No(no)), dep(assigned)]),
            expected,
            "{no:?} {assigned}"
        );
    }
    for wait in [Reason::AssignmentPending, Reason::AssignmentThrottled] {
        let evidence = vec![
            says(Fleet, Wait(wait)),
            says(AppleDep, No(Reason::NoProfile)),
        ];
        assert_eq!(reason(&two, evidence), wait);
    }
    let business = policy_of(&[(Fleet, true), (AppleBusiness, true)]);
    let beside = |finding, updated: &str| {
        let mut business_says = says(AppleBusiness, finding);
        business_says.updated_at = Some(at(updated));
        reason(
            &business,
            vec![says(Fleet, No(Reason::NotFound)), business_says],
        )
    };
    assert_eq!(
        beside(Wait(Reason::SyncPending), LONG_AGO),
        Reason::SyncPending
    );
    assert_eq!(beside(NoObjection, AFTER_FETCH), Reason::SyncPending);
    assert_eq!(beside(NoObjection, LONG_AGO), Reason::NotFound);
    // It stands when the other source cannot be asked: the exception is apple-dep's alone.
    for unknown in [AppleDep, AppleBusiness] {
        let policy = policy_of(&[(Fleet, true), (unknown, true)]);
        let evidence = vec![
            says(Fleet, No(Reason::NotFound)),
            says(unknown, Unknown(Reason::Offline)),
        ];
        assert_eq!(reason(&policy, evidence), Reason::NotFound);
    }
}

#[test]
fn rule_11_does_not_apply_where_fleet_is_ready() {
    let policy = policy_of(&[(Fleet, true), (AppleBusiness, true)]);
    let mut business = says(AppleBusiness, NoObjection);
    business.updated_at = Some(at(AFTER_FETCH));
    let decision = judge(&policy, vec![says(Fleet, Ready(Apple)), business]);
    assert_eq!(
        (decision.reason, decision.grade),
        (Reason::Assigned, Some(Apple))
    );
    let mut alone = policy_of(&[(Fleet, true)]);
    alone.min_grade = Apple;
    assert_eq!(
        reason(&alone, vec![says(Fleet, Ready(Apple))]),
        Reason::Assigned
    );
}

#[test]
fn rules_3_and_5_take_zentral_for_a_copy_without_an_age() {
    let business = policy_of(&[(Zentral, true), (AppleBusiness, true)]);
    for no in [
        Reason::Released,
        Reason::NotInOrg,
        Reason::Unassigned,
        Reason::WrongServer,
    ] {
        let evidence = vec![says(Zentral, Ready(Relayed)), says(AppleBusiness, No(no))];
        assert_eq!(reason(&business, evidence), no, "3a: the relay is late");
    }
    let dep = policy_of(&[(Zentral, true), (AppleDep, true)]);
    for no in [Reason::NoProfile, Reason::ProfileRemoved, Reason::NotFound] {
        let evidence = vec![says(Zentral, Ready(Relayed)), says(AppleDep, No(no))];
        assert_eq!(reason(&dep, evidence), no, "3a");
    }
    // 3b: nobody knows whether it looked before the assignment.
    let mut ready = says(AppleDep, Ready(Apple));
    ready.assigned_at = Some(at(AFTER_FETCH));
    let evidence = vec![says(Zentral, No(Reason::NotFound)), ready];
    assert_eq!(reason(&dep, evidence), Reason::Contradiction);
    let mut newer = says(AppleBusiness, NoObjection);
    newer.updated_at = Some(at(AFTER_FETCH));
    let evidence = vec![says(Zentral, No(Reason::NotFound)), newer];
    assert_eq!(
        reason(&business, evidence),
        Reason::NotFound,
        "5: no as-of to compare with"
    );
    let evidence = vec![
        says(Zentral, No(Reason::NotFound)),
        says(AppleBusiness, Wait(Reason::SyncPending)),
    ];
    assert_eq!(reason(&business, evidence), Reason::SyncPending, "5");
}

#[test]
fn rule_11_compares_zentral_by_the_time_of_the_assignment() {
    let policy = policy_of(&[(Zentral, true), (AppleBusiness, true)]);
    let with_all_times = |assigned: Option<&str>, given: Option<&str>, updated: Option<&str>| {
        let mut zentral = says(Zentral, Ready(Relayed));
        zentral.assigned_at = assigned.map(at);
        zentral.device_assigned_at = given.map(at);
        let mut business = says(AppleBusiness, NoObjection);
        business.updated_at = updated.map(at);
        vec![zentral, business]
    };
    for (assigned, given, updated, expected) in [
        (Some(FETCH), None, Some(AFTER_FETCH), Reason::SyncPending),
        (Some(FETCH), None, Some(FETCH), Reason::Assigned),
        (Some(FETCH), None, Some(LONG_AGO), Reason::Assigned),
        (Some(FETCH), None, None, Reason::Assigned),
        // Without that time: by when the device was given to the server.
        (None, Some(FETCH), Some(AFTER_FETCH), Reason::SyncPending),
        (None, Some(FETCH), Some(FETCH), Reason::Assigned),
        (Some(FETCH), Some(LONG_AGO), Some(FETCH), Reason::Assigned),
        // Without any, it may not have heard of the change.
        (None, None, Some(LONG_AGO), Reason::SyncPending),
        (None, None, None, Reason::Assigned),
    ] {
        assert_eq!(
            reason(&policy, with_all_times(assigned, given, updated)),
            expected,
            "{assigned:?} {given:?} {updated:?}"
        );
    }
    let with_times = |assigned, updated| with_all_times(assigned, None, Some(updated));
    let three = policy_of(&[(Zentral, true), (AppleDep, true), (AppleBusiness, true)]);
    let mut evidence = with_times(Some(FETCH), AFTER_FETCH);
    evidence.push(says(AppleDep, Ready(Apple)));
    assert_eq!(
        reason(&three, evidence),
        Reason::Assigned,
        "Apple is ready itself"
    );
}

#[test]
fn rule_12_returned_stock_is_green_only_where_it_is_allowed() {
    let mut kandji = says(Kandji, Ready(Relayed));
    kandji.returned = true;
    let mut policy = policy_of(&[(Kandji, true)]);
    let refused = judge(&policy, vec![kandji.clone()]);
    assert_eq!(refused.reason, Reason::PreviouslyActivated);
    assert_eq!(
        refused.evidence[0].finding,
        No(Reason::PreviouslyActivated),
        "the evidence is shown as judged"
    );
    policy.allow_returned = true;
    assert_eq!(reason(&policy, vec![kandji]), Reason::ReturnedStock);
}

#[test]
fn rule_12_says_what_a_source_has_to_add_though_it_agrees() {
    let mut business = says(AppleBusiness, NoObjection);
    business.detail = Some("Its last migration FAILED.".to_owned());
    let decision = judge(
        &policy_of(&[(Kandji, true), (AppleBusiness, true)]),
        vec![says(Kandji, Ready(Relayed)), business],
    );
    assert_eq!(decision.reason, Reason::Assigned);
    assert!(
        decision.message().contains("FAILED"),
        "{}",
        decision.message()
    );
}

#[test]
fn the_two_conditions_are_each_a_line_of_evidence_and_the_grade_is_the_best() {
    let decision = judge(
        &all_three(),
        vec![
            says(Kandji, Ready(Relayed)),
            says(AppleDep, Ready(Apple)),
            says(AppleBusiness, NoObjection),
        ],
    );
    assert_eq!(
        (decision.reason, decision.grade, decision.evidence.len()),
        (Reason::Assigned, Some(Apple), 3)
    );
    assert_eq!(decision.assigned_at, Some(at(LONG_AGO)));
}

/// The S rule. Columns: what Kandji says of the text as scanned, and without S.
#[test]
fn the_sources_decide_whether_a_leading_s_belongs_to_the_serial_number() {
    use Reason::*;
    let ready = Ready(Relayed);
    let rows: &[(&str, &str, &str, Finding, Finding, Reason, Option<&str>)] = &[
        (
            "one known: without S",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            No(NotFound),
            ready,
            Assigned,
            Some("C02XK0AAJG"),
        ),
        (
            "one known: with S",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            ready,
            No(NotFound),
            Assigned,
            Some("SC02XK0AAJG"),
        ),
        (
            "both known",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            ready,
            ready,
            Ambiguous,
            None,
        ),
        (
            "none known: 11 is S and 10",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            No(NotFound),
            No(NotFound),
            NotFound,
            Some("C02XK0AAJG"),
        ),
        (
            "none known: 12 characters are taken as they are",
            "SC02XK0AAJGA",
            "C02XK0AAJGA",
            No(NotFound),
            No(NotFound),
            NotFound,
            Some("SC02XK0AAJGA"),
        ),
        (
            "none known: 13 is S and 12",
            "SC02XK0AAJG5H",
            "C02XK0AAJG5H",
            No(NotFound),
            No(NotFound),
            NotFound,
            Some("C02XK0AAJG5H"),
        ),
        (
            "both open",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            Unknown(Offline),
            Unknown(Offline),
            Offline,
            Some("C02XK0AAJG"),
        ),
        (
            "both open: 10 characters are taken as they are",
            "SX0Q000028",
            "X0Q000028",
            Unknown(Offline),
            Unknown(Offline),
            Offline,
            Some("SX0Q000028"),
        ),
        (
            "10 known, 9 open",
            "SX0Q000028",
            "X0Q000028",
            ready,
            Unknown(GarbledAnswer),
            GarbledAnswer,
            Some("SX0Q000028"),
        ),
        (
            "known without S, open with S",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            Unknown(Stale),
            ready,
            Assigned,
            Some("C02XK0AAJG"),
        ),
        (
            "known with S, open without",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            ready,
            Unknown(Stale),
            Stale,
            Some("SC02XK0AAJG"),
        ),
        (
            "12 known, 13 open",
            "SC02XK0AAJG5H",
            "C02XK0AAJG5H",
            Unknown(Stale),
            ready,
            Assigned,
            Some("C02XK0AAJG5H"),
        ),
        (
            "known has 11 characters, open is it with S",
            "SC02XK0AAJGA",
            "C02XK0AAJGA",
            Unknown(Stale),
            ready,
            Stale,
            Some("C02XK0AAJGA"),
        ),
        (
            "one open, one not known",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            No(NotFound),
            Unknown(SourceError),
            SourceError,
            Some("C02XK0AAJG"),
        ),
        (
            "one open, one not known, turned",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            Unknown(SourceError),
            No(NotFound),
            SourceError,
            Some("C02XK0AAJG"),
        ),
        (
            "both open for different reasons: the first one's",
            "SC02XK0AAJG",
            "C02XK0AAJG",
            Unknown(Stale),
            Unknown(Offline),
            Stale,
            Some("C02XK0AAJG"),
        ),
        (
            "known without 1S, open with it: not S in front",
            "1SC02XK0AAJG",
            "C02XK0AAJG",
            Unknown(Stale),
            ready,
            Stale,
            Some("C02XK0AAJG"),
        ),
    ];
    for (what, scanned, stripped, first, second, expected, shown) in rows {
        let candidates = Candidates {
            scanned: serial(scanned),
            stripped: Some(serial(stripped)),
            unless_known: None,
        };
        let evidence = vec![
            says_of(Kandji, *first, serial(scanned)),
            says_of(Kandji, *second, serial(stripped)),
        ];
        let decision = decide(
            &candidates,
            &[Answer {
                by: By::Service,
                source: source_name(Kandji),
                evidence,
            }],
            &policy_of(&[(Kandji, true)]),
        );
        assert_eq!(decision.reason, *expected, "{what}");
        assert_eq!(
            decision.serial.as_ref().map(Serial::as_str),
            *shown,
            "{what}"
        );
    }
}

/// A scanner that has read a known serial number is proven: its layout and prefix are right.
#[test]
fn a_box_is_known_whatever_is_decided_about_it() {
    let decided = |first: Finding, second: Finding| {
        let texts = ["SC02XK0AAJG", "C02XK0AAJG"].map(serial);
        let evidence = [first, second]
            .iter()
            .zip(&texts)
            .map(|(finding, text)| says_of(Kandji, *finding, text.clone()))
            .collect();
        let [scanned, stripped] = texts;
        let candidates = Candidates {
            scanned,
            stripped: Some(stripped),
            unless_known: None,
        };
        decide(
            &candidates,
            &[Answer {
                by: By::Service,
                source: source_name(Kandji),
                evidence,
            }],
            &policy_of(&[(Kandji, true)]),
        )
    };
    let (known, open, absent) = (Ready(Relayed), Unknown(Reason::Stale), No(Reason::NotFound));
    for (first, second, expected) in [
        (known, known, true),
        (known, open, true),
        (open, known, true),
        (open, open, false),
        (absent, open, false),
        (absent, absent, false),
    ] {
        let decision = decided(first, second);
        assert_eq!(
            decision.known, expected,
            "{first:?} {second:?}: {:?}",
            decision.reason
        );
    }
}

#[test]
fn a_stale_record_is_still_known() {
    let candidates = Candidates {
        scanned: serial("SC02XK0AAJG"),
        stripped: Some(serial("C02XK0AAJG")),
        unless_known: None,
    };
    let mut stale = says_of(Kandji, Unknown(Reason::Stale), serial("C02XK0AAJG"));
    stale.known = true;
    let evidence = vec![
        says_of(Kandji, No(Reason::NotFound), serial("SC02XK0AAJG")),
        stale,
    ];
    let decision = decide(
        &candidates,
        &[Answer {
            by: By::Service,
            source: source_name(Kandji),
            evidence,
        }],
        &policy_of(&[(Kandji, true)]),
    );
    assert_eq!(
        (decision.reason, decision.serial),
        (Reason::Stale, Some(serial("C02XK0AAJG")))
    );
}

#[test]
fn a_code_that_looks_like_something_else_is_a_rescan_unless_a_source_knows_it() {
    let policy = policy_of(&[(Kandji, true), (AppleBusiness, true)]);
    // 12 hex digits (a MAC), 14 that begin with A to F (a MEID), a postal number with a correct check digit.
    for (code, doubt) in [
        ("A0B1C2D3E4F5", Reason::Unreadable),
        ("A0000012345678", Reason::Unreadable),
        ("RR473124829GB", Reason::Tracking),
    ] {
        let Meaning::Serials(members) = label::read(code.as_bytes()) else {
            panic!("{code} is asked for")
        };
        assert_eq!(members.len(), 1, "{code}");
        let judge = |kandji, business| {
            let one = |kind, finding| Answer {
                by: By::Service,
                source: source_name(kind),
                evidence: vec![says_of(kind, finding, serial(code))],
            };
            decide(
                &members[0],
                &[one(Kandji, kandji), one(AppleBusiness, business)],
                &policy,
            )
        };
        let rescan = judge(No(Reason::NotFound), No(Reason::NotInOrg));
        assert_eq!(
            (rescan.reason, rescan.serial, rescan.evidence.len()),
            (doubt, None, 0),
            "{code}"
        );
        assert_eq!(
            judge(Ready(Relayed), NoObjection).reason,
            Reason::Assigned,
            "{code}"
        );
        // This may not be a box at all, so none is judged: a fault of a service must never look like a fault of a box.
        assert_eq!(
            judge(Unknown(Reason::Offline), No(Reason::NotInOrg)).reason,
            Reason::Offline,
            "{code}"
        );
        assert_eq!(
            judge(No(Reason::NotFound), Unknown(Reason::SourceError)).reason,
            Reason::SourceError,
            "{code}"
        );
        assert_eq!(
            judge(Unknown(Reason::Offline), NoObjection).reason,
            Reason::Offline,
            "{code}"
        );
    }
    // An ordinary serial number that one source knows is not ours: that answer stands, whichever source is down.
    assert_eq!(
        reason(
            &policy,
            vec![
                says(Kandji, Unknown(Reason::Offline)),
                says(AppleBusiness, No(Reason::NotInOrg))
            ]
        ),
        Reason::NotInOrg
    );
}

#[test]
fn worst_first_is_not_ready_unknown_wait_rescan_ready() {
    use Reason::*;
    let order = [
        AlreadyEnrolled,
        Released,
        NotFound,
        Offline,
        AssignmentPending,
        Imei,
        Assigned,
    ];
    for (nth, first) in order.iter().enumerate() {
        assert!(!worse(*first, *first), "{first:?} is as bad as itself");
        for second in &order[nth + 1..] {
            assert!(
                worse(*first, *second) && !worse(*second, *first),
                "{first:?} {second:?}"
            );
            assert_eq!(worst([*second, *first]), Some(*first));
        }
    }
}

fn findings(kind: SourceKind) -> Vec<Evidence> {
    use Reason::*;
    let nos: &[Reason] = match kind {
        Kandji | SourceKind::Jamf => &[
            AlreadyEnrolled,
            WrongServer,
            PreviouslyActivated,
            ProfileRemoved,
            AssignmentFailed,
            WrongBlueprint,
            NotFound,
        ],
        Intune => &[
            AlreadyEnrolled,
            PreviouslyActivated,
            AssignmentFailed,
            Unassigned,
            NoProfile,
            WrongProfile,
            NotFound,
        ],
        AppleDep | NanoDep | MicroMdm => &[
            MigrationPending,
            WrongProfile,
            PreviouslyActivated,
            ProfileRemoved,
            NoProfile,
            NotFound,
        ],
        AppleBusiness => &[
            NotInOrg,
            Released,
            MigrationPending,
            Unassigned,
            WrongServer,
        ],
        Fleet => &[
            AlreadyEnrolled,
            MigrationPending,
            PreviouslyActivated,
            ProfileRemoved,
            AssignmentFailed,
            WrongProfile,
            NotFound,
        ],
        Zentral => &[
            Unassigned,
            WrongServer,
            PreviouslyActivated,
            ProfileRemoved,
            NotFound,
        ],
    };
    let mut all: Vec<Finding> = nos.iter().map(|no| No(*no)).collect();
    all.extend([
        Unknown(Offline),
        Unknown(Timeout),
        Unknown(CredentialsRefused),
        Unknown(GarbledAnswer),
    ]);
    match kind {
        Kandji | SourceKind::Jamf => all.extend([
            Ready(Relayed),
            Wait(AssignmentPending),
            Wait(AssignmentThrottled),
            Unknown(Stale),
            Unknown(MdmLinkBroken),
        ]),
        Intune => all.extend([Ready(Intent), Unknown(Stale), Unknown(MdmLinkBroken)]),
        AppleDep | NanoDep | MicroMdm => all.push(Ready(Apple)),
        AppleBusiness => all.extend([NoObjection, Wait(SyncPending)]),
        Fleet => all.extend([
            Ready(Apple),
            Wait(AssignmentPending),
            Wait(AssignmentThrottled),
            Unknown(MdmLinkBroken),
        ]),
        Zentral => all.extend([Ready(Relayed), Wait(AssignmentPending)]),
    }
    let mut evidence: Vec<Evidence> = all.into_iter().map(|finding| says(kind, finding)).collect();
    // The same findings, with the times on the other side of what the rules compare them with.
    let mut later = evidence.clone();
    for one in &mut later {
        match kind {
            Kandji | Intune | SourceKind::Jamf => one.as_of = None,
            AppleDep | NanoDep | MicroMdm => {
                (one.assigned_at, one.server_uuid) = (
                    one.assigned_at.map(|_| at(AFTER_FETCH)),
                    Some("bbbb".to_owned()),
                )
            }
            AppleBusiness => one.updated_at = Some(at(AFTER_FETCH)),
            Fleet | Zentral => {
                (one.as_of, one.assigned_at) = (None, one.assigned_at.map(|_| at(AFTER_FETCH)));
            }
        }
    }
    let returned: Vec<Evidence> = evidence
        .iter()
        .filter(|one| matches!(one.finding, Ready(_)))
        .map(|one| Evidence {
            returned: true,
            ..one.clone()
        })
        .collect();
    evidence.extend(later);
    evidence.extend(returned);
    evidence
}

/// The whole cross product: every finding of each of three sources, both values of every compared time, every choice of required
/// sources, and returned devices allowed or not.
#[test]
fn no_finding_replaced_by_unknown_ever_makes_a_box_ready() {
    for mdm in [Kandji, Fleet, Zentral, Intune] {
        walk_the_cross_product(mdm);
    }
}

fn walk_the_cross_product(mdm: SourceKind) {
    let mut walked = 0_u64;
    let mut ready = 0_u64;
    for required in [
        [true, true, true],
        [true, true, false],
        [true, false, false],
        [false, true, false],
        [true, false, true],
        [false, true, true],
    ] {
        for allow_returned in [false, true] {
            let kinds = [mdm, AppleDep, AppleBusiness];
            let mut policy = policy_of(&[
                (mdm, required[0]),
                (AppleDep, required[1]),
                (AppleBusiness, required[2]),
            ]);
            policy.allow_returned = allow_returned;
            policy.min_grade = mdm.proves().unwrap().min(Relayed);
            for of_mdm in findings(mdm) {
                for dep in findings(AppleDep) {
                    for business in findings(AppleBusiness) {
                        let given = [of_mdm.clone(), dep.clone(), business];
                        let before = reason_of(&policy, &given);
                        walked += 1;
                        if before.verdict() == Verdict::Ready {
                            ready += 1;
                            continue;
                        }
                        for (nth, kind) in kinds.iter().enumerate() {
                            let mut replaced = given.clone();
                            replaced[nth] = says(*kind, Unknown(Reason::Offline));
                            // A source that is not required is ignored when it does not know, so only required ones count here.
                            if required[nth] {
                                let after = reason_of(&policy, &replaced);
                                assert_ne!(
                                    after.verdict(),
                                    Verdict::Ready,
                                    "{before:?} became ready by losing {kind:?}: {given:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(
        walked > 30_000 && ready > 0,
        "{mdm:?}: {walked} walked, {ready} ready"
    );
}

/// Each rule that names apple-dep, by number, with what the sources say and what comes of it.
fn rules_that_name_apple_dep(apple: SourceKind) -> Vec<(&'static str, Vec<Evidence>, Reason)> {
    let changed = |kind, finding, change: &dyn Fn(&mut Evidence)| {
        let mut evidence = says(kind, finding);
        change(&mut evidence);
        evidence
    };
    let other_server = |one: &mut Evidence| one.server_uuid = Some("BBBB".to_owned());
    let after_fetch = |one: &mut Evidence| one.assigned_at = Some(at(AFTER_FETCH));
    let updated = |one: &mut Evidence| one.updated_at = Some(at(AFTER_FETCH));
    let kandji = |finding| says(Kandji, finding);
    let business = |finding| says(AppleBusiness, finding);
    let says_no = |no| says(apple, No(no));
    let ready = || says(apple, Ready(Apple));
    let no_objection = || business(NoObjection);
    let pending = || kandji(Wait(Reason::AssignmentPending));
    vec![
        (
            "2a",
            vec![says_no(Reason::NotFound), no_objection()],
            Reason::Contradiction,
        ),
        (
            "2b",
            vec![
                kandji(Ready(Relayed)),
                changed(apple, No(Reason::NotFound), &other_server),
            ],
            Reason::Contradiction,
        ),
        (
            "3a",
            vec![kandji(Ready(Relayed)), says_no(Reason::ProfileRemoved)],
            Reason::ProfileRemoved,
        ),
        (
            "3b",
            vec![
                kandji(No(Reason::NotFound)),
                changed(apple, Ready(Apple), &after_fetch),
            ],
            Reason::SyncPending,
        ),
        (
            "3b",
            vec![kandji(No(Reason::NotFound)), ready()],
            Reason::Contradiction,
        ),
        (
            "3c",
            vec![ready(), business(No(Reason::Unassigned))],
            Reason::Contradiction,
        ),
        (
            "4",
            vec![pending(), says_no(Reason::NoProfile), no_objection()],
            Reason::AssignmentPending,
        ),
        (
            "6",
            vec![
                says_no(Reason::NotFound),
                business(Unknown(Reason::Timeout)),
            ],
            Reason::Timeout,
        ),
        (
            "6",
            vec![
                says_no(Reason::NoProfile),
                business(Unknown(Reason::Timeout)),
            ],
            Reason::Timeout,
        ),
        (
            "6",
            vec![
                says_no(Reason::ProfileRemoved),
                business(Unknown(Reason::Timeout)),
            ],
            Reason::ProfileRemoved,
        ),
        (
            "11",
            vec![
                kandji(Ready(Relayed)),
                ready(),
                changed(AppleBusiness, NoObjection, &updated),
            ],
            Reason::Assigned,
        ),
        (
            "11",
            vec![ready(), changed(AppleBusiness, NoObjection, &updated)],
            Reason::Assigned,
        ),
    ]
}

#[test]
fn wherever_a_rule_names_apple_dep_it_means_an_mdm_that_passes_its_word_on_too() {
    for apple in [AppleDep, NanoDep, MicroMdm] {
        for (rule, evidence, wanted) in rules_that_name_apple_dep(apple) {
            let kinds: Vec<_> = evidence.iter().map(|one| (one.kind, true)).collect();
            let found = reason(&policy_of(&kinds), evidence);
            assert_eq!(found, wanted, "rule {rule} with {}", apple.code());
        }
    }
}

/// The same for every combination of findings, not only for those that a rule names.
#[test]
fn an_mdm_that_passes_apples_word_on_never_changes_what_comes_of_it() {
    let mut walked = 0;
    for other in [NanoDep, MicroMdm] {
        let policy = policy_of(&[(Kandji, true), (other, true), (AppleBusiness, true)]);
        for (kandji, business) in findings(Kandji).iter().flat_map(|kandji| {
            findings(AppleBusiness)
                .into_iter()
                .map(move |one| (kandji, one))
        }) {
            for (dep, passed_on) in findings(AppleDep).into_iter().zip(findings(other)) {
                let with = |one| [kandji.clone(), one, business.clone()];
                let wanted = reason_of(&all_three(), &with(dep));
                assert_eq!(reason_of(&policy, &with(passed_on)), wanted);
                walked += 1;
            }
        }
    }
    assert!(walked > 5_000, "{walked}");
}

fn reason_of(policy: &Policy, evidence: &[Evidence]) -> Reason {
    let answers: Vec<Answer> = evidence.iter().cloned().map(answer).collect();
    decide(&Candidates::one(serial("C02XK0AAJG5H")), &answers, policy).reason
}

#[test]
fn the_next_action_names_the_mdm_that_passes_apples_word_on() {
    let policy = policy_of(&[(NanoDep, true)]);
    let decision = judge(&policy, vec![says(NanoDep, No(Reason::NoProfile))]);
    assert_eq!(
        decision.action(),
        "Assign an enrollment profile to the device in NanoDEP."
    );
}

#[test]
fn a_healthy_ready_box_under_faults_alone_and_in_pairs_is_only_ever_unknown() {
    let faults = [
        Reason::Offline,
        Reason::Timeout,
        Reason::SourceError,
        Reason::RateLimited,
        Reason::CredentialsRefused,
        Reason::CredentialsExpired,
        Reason::TermsNotSigned,
        Reason::TlsUntrusted,
        Reason::MdmLinkBroken,
        Reason::Stale,
        Reason::GarbledAnswer,
        Reason::ClockUnsynced,
        Reason::StationFault,
    ];
    let healthy = [
        says(Kandji, Ready(Relayed)),
        says(AppleDep, Ready(Apple)),
        says(AppleBusiness, NoObjection),
    ];
    let policy = all_three();
    assert_eq!(reason_of(&policy, &healthy), Reason::Assigned);
    for first in 0..3 {
        for second in 0..3 {
            for one in faults {
                for other in faults {
                    let mut given = healthy.clone();
                    given[first].finding = Unknown(one);
                    given[second].finding = Unknown(other);
                    assert_eq!(reason_of(&policy, &given).verdict(), Verdict::Unknown);
                }
            }
        }
    }
}

mod intent;
