//! The table, row by row, in the order in which its rows apply.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};

use super::{super::wire::List, *};
use crate::{readiness::evidence::SourceKind, runtime::name::Name};

const SERIAL: &str = "TESTINTUN001";
const NOW: &str = "2026-11-23T12:00:00Z";
const SYNCED: &str = "2026-11-23T06:00:00Z";
const ASSIGNED: &str = "2026-11-20T08:00:00Z";
const PROFILE: &str = "c7f2a1d4-9b3e-4f60-8c5d-0000000000a1";
const READY: Finding = Finding::Ready(Grade::Intent);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn list(records: &[Value]) -> List {
    let mut list = List::default();
    assert_eq!(list.take(&json!({"value": records})), Ok(None));
    list
}

fn merged(mut value: Value, changes: Value) -> Value {
    for (key, change) in changes.as_object().unwrap() {
        match change {
            Value::String(word) if word == "ABSENT" => {
                value.as_object_mut().unwrap().remove(key);
            }
            change => value[key] = change.clone(),
        }
    }
    value
}

/// A healthy token, with changes.
fn token(changes: Value) -> Token {
    let token = json!({
        "id": "t1", "appleIdentifier": "somebody@example.com", "tokenExpirationDateTime": "2027-01-01T00:00:00Z",
        "lastSuccessfulSyncDateTime": SYNCED, "lastSyncErrorCode": 0, "tokenType": "dep", "tokenName": "HQ", "one_more": {"field": [1]},
    });
    list(&[merged(token, changes)]).tokens().unwrap().remove(0)
}

/// A record that is ready, with changes.
fn record(id: &str, changes: Value) -> Value {
    let record = json!({
        "id": id, "serialNumber": SERIAL, "requestedEnrollmentProfileId": PROFILE, "requestedEnrollmentProfileAssignmentDateTime": ASSIGNED,
        "isSupervised": true, "discoverySource": "deviceEnrollmentProgram", "isDeleted": false, "createdDateTime": ASSIGNED,
        "lastContactedDateTime": "0001-01-01T00:00:00Z", "description": "somebody's", "enrollmentState": "notContacted", "platform": "macOS",
    });
    merged(record, changes)
}

/// What was read, with everything well.
struct Given {
    tokens: Vec<(Token, Result<Vec<Row>, Fault>)>,
    now: Timestamp,
    policy: Policy,
}

impl Given {
    fn records(records: &[Value]) -> Self {
        Self {
            tokens: vec![(token(json!({})), Ok(list(records).rows(SERIAL).unwrap()))],
            now: at(NOW),
            policy: Policy {
                tokens: Vec::new(),
                max_fetch_age: Duration::from_hours(24),
                expected_profiles: Vec::new(),
            },
        }
    }

    fn record(changes: Value) -> Self {
        Self::records(&[record("r1", changes)])
    }

    fn with(mut self, changes: Value) -> Self {
        self.tokens[0].0 = token(changes);
        self
    }

    fn and(mut self, token: Token, rows: Result<&[Value], Reason>) -> Self {
        let rows = rows
            .map(|records| list(records).rows(SERIAL).unwrap())
            .map_err(|reason| Fault::with(reason, "It failed."));
        self.tokens.push((token, rows));
        self
    }

    fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    fn judge(&self) -> Evidence {
        let once = self.judged(self.tokens.iter());
        let again = self.judged(self.tokens.iter().rev());
        assert_eq!(once, again, "the order of the tokens never matters");
        once
    }

    fn judged<'a>(
        &'a self,
        tokens: impl Iterator<Item = &'a (Token, Result<Vec<Row>, Fault>)>,
    ) -> Evidence {
        let asked: Vec<Asked<'_>> = tokens
            .map(|(token, rows)| Asked {
                token,
                rows: rows.as_ref().map(|rows| (rows.as_slice(), self.now)),
            })
            .collect();
        let records = Records {
            listed_now: self.now,
            asked: &asked,
        };
        let bare = Evidence::bare(
            Name::new("intune").unwrap(),
            SourceKind::Intune,
            Serial::new(SERIAL).unwrap(),
            Finding::Unknown(Reason::GarbledAnswer),
        );
        judge(bare, &records, &self.policy)
    }

    #[track_caller]
    fn is(&self, finding: Finding, words: &str) {
        let evidence = self.judge();
        assert_eq!(
            (
                evidence.finding,
                evidence.detail.as_deref().unwrap_or_default()
            ),
            (finding, words)
        );
    }
}

fn other_token() -> Token {
    token(json!({"id": "t2", "tokenName": "Other"}))
}

#[test]
fn a_new_box_with_a_profile_is_ready_by_intunes_plan() {
    let evidence = Given::record(json!({})).judge();
    assert_eq!(evidence.finding, READY);
    assert_eq!(
        (
            evidence.known,
            evidence.status.as_deref(),
            evidence.assigned_at,
            evidence.as_of,
            evidence.replied_at,
            evidence.family.as_deref(),
            evidence.returned,
        ),
        (
            true,
            Some("notContacted"),
            Some(at(ASSIGNED)),
            Some(at(SYNCED)),
            Some(at(NOW)),
            Some("Mac"),
            false
        )
    );
    assert_eq!(
        (evidence.detail, evidence.server_uuid, evidence.model),
        (None, None, None)
    );
    // Words without regard to case, serial numbers trimmed and without case.
    for changes in [
        json!({"enrollmentState": "NOTCONTACTED"}),
        json!({"serialNumber": " testintun001 "}),
        json!({"platform": "ios"}),
        json!({"platform": null, "isDeleted": null, "discoverySource": "ABSENT"}),
    ] {
        assert_eq!(Given::record(changes).judge().finding, READY);
    }
}

#[test]
fn an_assignment_without_a_time_is_ready_without_one() {
    for time in [
        json!(null),
        json!(""),
        json!("ABSENT"),
        json!("0001-01-01T00:00:00Z"),
        json!("0001-01-01T00:00:00-08:00"),
    ] {
        let given = Given::record(json!({"requestedEnrollmentProfileAssignmentDateTime": time}));
        let evidence = given.judge();
        assert_eq!(
            (evidence.finding, evidence.assigned_at),
            (READY, None),
            "{time}"
        );
    }
    Given::record(json!({"requestedEnrollmentProfileAssignmentDateTime": "2026-11-23T12:05:01Z"}))
        .is(
            Finding::Unknown(Reason::GarbledAnswer),
            "The assignment is dated 2026-11-23 12:05 UTC, in the future.",
        );
}

#[test]
fn a_token_that_could_not_be_read_leaves_everything_open() {
    for records in [
        vec![],
        vec![record("r1", json!({}))],
        vec![record("r1", json!({"enrollmentState": "enrolled"}))],
    ] {
        for fault in [
            Reason::Offline,
            Reason::Timeout,
            Reason::SourceError,
            Reason::RateLimited,
            Reason::CredentialsRefused,
            Reason::GarbledAnswer,
        ] {
            Given::records(&records)
                .and(other_token(), Err(fault))
                .is(Finding::Unknown(fault), "It failed.");
        }
        Given::records(&records)
            .policy(|policy| policy.tokens = vec!["t1".to_owned(), "t9".to_owned()])
            .is(
                Finding::Unknown(Reason::MdmLinkBroken),
                "The ADE token t9 is not in Intune's list.",
            );
    }
    let mut none = Given::records(&[]);
    none.tokens.clear();
    none.is(
        Finding::Unknown(Reason::MdmLinkBroken),
        "Intune has no ADE token.",
    );
    let two = Given::record(json!({}))
        .and(other_token(), Err(Reason::Timeout))
        .and(token(json!({"id": "t3"})), Err(Reason::Offline));
    let evidence = two.judge();
    assert_eq!(evidence.finding, Finding::Unknown(Reason::Offline));
    assert!(evidence.known, "it has a record");
}

#[test]
fn a_record_behind_a_link_that_is_broken_or_late_is_not_known() {
    let enrolled = json!({"enrollmentState": "enrolled"});
    for record in [json!({}), enrolled, json!({"isDeleted": true})] {
        let given = |changes| Given::record(record.clone()).with(changes);
        given(json!({"tokenExpirationDateTime": NOW})).is(
            Finding::Unknown(Reason::MdmLinkBroken),
            "The ADE token \"HQ\" expired on 2026-11-23 12:00 UTC.",
        );
        given(json!({"lastSyncErrorCode": 403})).is(
            Finding::Unknown(Reason::MdmLinkBroken),
            "Intune's last sync of the ADE token \"HQ\" failed (error 403).",
        );
        given(json!({"lastSuccessfulSyncDateTime": "2026-11-22T06:00:00Z"})).is(
            Finding::Unknown(Reason::Stale),
            "Last sync 2026-11-22 06:00 UTC by \"HQ\", 30 h ago.",
        );
        for never in [json!(null), json!("ABSENT"), json!("0001-01-01T00:00:00Z")] {
            given(json!({"lastSuccessfulSyncDateTime": never})).is(
                Finding::Unknown(Reason::Stale),
                "The ADE token \"HQ\" names no last sync.",
            );
        }
        given(json!({"lastSuccessfulSyncDateTime": "2026-11-23T12:06:00Z"})).is(
            Finding::Unknown(Reason::Stale),
            "Last sync 2026-11-23 12:06 UTC by \"HQ\" lies in the future.",
        );
    }
    // An expiry or an error that is not told is none; both spellings of the id and a token without a name do.
    let untold =
        json!({"tokenExpirationDateTime": null, "lastSyncErrorCode": null, "tokenName": null});
    assert_eq!(Given::record(json!({})).with(untold).judge().finding, READY);
    assert_eq!(
        Given::record(json!({}))
            .policy(|policy| policy.tokens = vec![" T1 ".to_owned()])
            .judge()
            .finding,
        READY
    );
    // Another token's trouble is not this record's.
    let broken = token(json!({"id": "t2", "lastSyncErrorCode": 1}));
    assert_eq!(
        Given::record(json!({}))
            .and(broken, Ok(&[]))
            .judge()
            .finding,
        READY
    );
}

#[test]
fn a_deleted_device_and_each_state_have_their_finding() {
    Given::record(json!({"isDeleted": true, "enrollmentState": "enrolled"}))
        .is(Finding::No(Reason::Unassigned), "Intune has deleted it.");
    for (state, finding, words) in [
        ("enrolled", Finding::No(Reason::AlreadyEnrolled), ""),
        ("pendingReset", Finding::No(Reason::AlreadyEnrolled), ""),
        (
            "failed",
            Finding::No(Reason::PreviouslyActivated),
            "Its enrollment in Intune failed.",
        ),
        (
            "blocked",
            Finding::No(Reason::AssignmentFailed),
            "It is blocked in Intune.",
        ),
        (
            "unknown",
            Finding::Unknown(Reason::GarbledAnswer),
            "Intune says \"unknown\", which this station does not know.",
        ),
        (
            "queued",
            Finding::Unknown(Reason::GarbledAnswer),
            "Intune says \"queued\", which this station does not know.",
        ),
        (
            "",
            Finding::Unknown(Reason::GarbledAnswer),
            "Intune gives no enrollment state.",
        ),
        (
            "ABSENT",
            Finding::Unknown(Reason::GarbledAnswer),
            "Intune gives no enrollment state.",
        ),
    ] {
        // Whatever its profile is.
        for profile in [PROFILE, ""] {
            Given::record(
                json!({"enrollmentState": state, "requestedEnrollmentProfileId": profile}),
            )
            .is(finding, words);
        }
    }
    let evidence = Given::record(json!({"enrollmentState": "enrolled"})).judge();
    assert!(evidence.known && !evidence.returned);
}

#[test]
fn no_profile_and_another_profile_are_told_apart() {
    for none in [
        json!(""),
        json!(null),
        json!("ABSENT"),
        json!("00000000-0000-0000-0000-000000000000"),
        json!("t1_00000000-0000-0000-0000-000000000000"),
        json!(" "),
    ] {
        Given::record(json!({"requestedEnrollmentProfileId": none}))
            .policy(|policy| policy.expected_profiles = vec![PROFILE.to_owned()])
            .is(
                Finding::No(Reason::NoProfile),
                "Intune means to give it none.",
            );
    }
    let expects = |there: &str, expected: &str| {
        Given::record(json!({"requestedEnrollmentProfileId": there}))
            .policy(|policy| {
                policy.expected_profiles = vec!["another".to_owned(), expected.to_owned()]
            })
            .judge()
            .finding
    };
    for (there, expected) in [
        (PROFILE, PROFILE),
        ("ABC", " abc "),
        ("t1_abc", "ABC"),
        ("abc", "t1_abc"),
        ("t1_abc", "T1_abc"),
    ] {
        assert_eq!(expects(there, expected), READY, "{there} for {expected}");
    }
    for (there, expected) in [("abc", "abd"), ("t1_abc", "t2_abc"), ("abc", "abc_d")] {
        assert_eq!(
            expects(there, expected),
            Finding::No(Reason::WrongProfile),
            "{there} for {expected}"
        );
    }
    Given::record(json!({}))
        .policy(|policy| policy.expected_profiles = vec!["p1".to_owned(), "p2".to_owned()])
        .is(
            Finding::No(Reason::WrongProfile),
            &format!("It has {PROFILE}, this station expects p1 or p2."),
        );
}

#[test]
fn without_a_record_every_token_must_be_well() {
    let given = || Given::records(&[]).and(other_token(), Ok(&[]));
    let evidence = given().judge();
    assert_eq!(
        (
            evidence.finding,
            evidence.detail.as_deref(),
            evidence.known,
            evidence.as_of
        ),
        (
            Finding::No(Reason::NotFound),
            Some("Last sync 2026-11-23 06:00 UTC."),
            false,
            Some(at(SYNCED))
        )
    );
    let late = json!({"lastSuccessfulSyncDateTime": "2026-11-22T06:00:00Z"});
    given().with(late.clone()).is(
        Finding::Unknown(Reason::Stale),
        "Last sync 2026-11-22 06:00 UTC by \"HQ\", 30 h ago.",
    );
    // A broken link goes before a late one.
    let broken = token(json!({"id": "t3", "tokenName": "Third", "lastSyncErrorCode": 7}));
    given().with(late).and(broken, Ok(&[])).is(
        Finding::Unknown(Reason::MdmLinkBroken),
        "Intune's last sync of the ADE token \"Third\" failed (error 7).",
    );
    // The oldest sync is the as-of.
    let older = json!({"lastSuccessfulSyncDateTime": "2026-11-23T01:00:00Z"});
    assert_eq!(
        given().with(older).judge().as_of,
        Some(at("2026-11-23T01:00:00Z"))
    );
    // A record of another device that the filter gave is none.
    let longer = record("r1", json!({"serialNumber": format!("X{SERIAL}")}));
    assert_eq!(
        Given::records(&[longer]).judge().finding,
        Finding::No(Reason::NotFound)
    );
}

#[test]
fn of_several_records_live_ones_go_before_deleted_ones_then_the_newest_assignment() {
    let deleted = json!({"isDeleted": true, "requestedEnrollmentProfileAssignmentDateTime": "2026-11-22T08:00:00Z"});
    let both = [record("r1", json!({})), record("r2", deleted.clone())];
    for records in [both.clone(), [both[1].clone(), both[0].clone()]] {
        assert_eq!(Given::records(&records).judge().finding, READY);
    }
    // Behind two tokens too: the device was moved from one to the other.
    let moved = Given::records(&both[1..]).and(other_token(), Ok(&both[..1]));
    assert_eq!(moved.judge().finding, READY);
    let all_deleted = [
        record("r1", json!({"isDeleted": true})),
        record("r2", deleted),
    ];
    Given::records(&all_deleted).is(Finding::No(Reason::Unassigned), "Intune has deleted it.");
    // The same verdict: the newest one's reason and time.
    let newer = json!({"requestedEnrollmentProfileAssignmentDateTime": "2026-11-22T08:00:00Z", "enrollmentState": "blocked"});
    let older = json!({"enrollmentState": "failed"});
    let evidence = Given::records(&[record("r1", newer), record("r2", older)]).judge();
    assert_eq!(
        (evidence.finding, evidence.assigned_at),
        (
            Finding::No(Reason::AssignmentFailed),
            Some(at("2026-11-22T08:00:00Z"))
        )
    );
}

#[test]
fn records_that_disagree_are_a_contradiction() {
    for other in [
        json!({"requestedEnrollmentProfileId": ""}),
        json!({"enrollmentState": "enrolled"}),
        json!({"enrollmentState": "queued"}),
    ] {
        let records = [record("r1", json!({})), record("r2", other.clone())];
        Given::records(&records).is(
            Finding::Unknown(Reason::Contradiction),
            "Intune lists it 2 times, and the records disagree.",
        );
        Given::records(&records[..1])
            .and(other_token(), Ok(&records[1..]))
            .is(
                Finding::Unknown(Reason::Contradiction),
                "Intune lists it 2 times, and the records disagree.",
            );
    }
    // One that is only known through a bad link is not known, and may say otherwise.
    let late = token(json!({"id": "t2", "lastSuccessfulSyncDateTime": null}));
    let records = [record("r1", json!({}))];
    assert_eq!(
        Given::records(&records)
            .and(late, Ok(&[record("r2", json!({}))]))
            .judge()
            .finding,
        Finding::Unknown(Reason::Contradiction)
    );
}

#[test]
fn a_reply_that_does_not_answer_the_question_is_none() {
    for records in [
        vec![record("r1", json!({"serialNumber": "TESTINTUN002"}))],
        vec![record("r1", json!({"serialNumber": null}))],
        vec![record("r1", json!({"discoverySource": "adminImport"}))],
        vec![record("r1", json!({})), record("R1", json!({}))],
        vec![json!([])],
    ] {
        assert!(list(&records).rows(SERIAL).is_err(), "{records:?}");
    }
    for page in [
        json!({"value": [], "@odata.count": 1}),
        json!({"value": [record("r1", json!({}))], "@odata.count": 0}),
    ] {
        let mut list = List::default();
        assert_eq!(list.take(&page), Ok(None));
        assert!(list.rows(SERIAL).is_err(), "{page}");
    }
    for page in [
        json!([]),
        json!({}),
        json!({"value": {}}),
        json!({"value": [], "@odata.nextLink": 7}),
    ] {
        assert!(List::default().take(&page).is_err(), "{page}");
    }
    for id in ["", "a/b", "..", "a b", "a%2Fb", "é"] {
        assert!(list(&[json!({"id": id})]).tokens().is_err(), "{id}");
    }
}
