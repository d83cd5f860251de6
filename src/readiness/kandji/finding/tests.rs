//! The table, row by row, in the order in which its rows apply.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::{readiness::evidence::SourceKind, runtime::name::Name};

pub(in super::super) const SERIAL: &str = "TESTKANDJ001";
const NOW: &str = "2026-11-23T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A row that is ready, with changes.
fn row(changes: Value) -> Row {
    let mut row = json!({
        "id": "0b7c0f6e-0000-4000-8000-000000000001", "serial_number": SERIAL,
        "profile_status": "assigned", "profile_assign_time": "2026-11-20T08:00:00Z", "profile_push_time": null,
        "last_assignment_status": "SUCCESS", "failed_assignment_attempts": 0, "assignment_status_received_at": "2026-11-20T08:00:01.123456Z",
        "mdm_device": null, "blueprint_id": "b1", "blueprint": {"id": "b1", "name": "Bench"}, "use_blueprint_routing": false,
        "user_id": 7, "user": null, "dep_account": {"id": "t1", "server_name": "HQ"},
        "asset_tag": "", "model": "MacBook Air", "device_family": "Mac", "os": "OSX", "color": "SILVER", "description": "MBA",
        "device_assigned_by": "somebody@example.com", "device_assigned_date": "2026-11-19T08:00:00Z", "one_more": {"field": [1]},
    });
    merge(&mut row, changes);
    Row::read(&row).unwrap()
}

/// A healthy token, with changes.
fn token(changes: Value) -> Token {
    let mut token = json!({
        "id": "t1", "server_name": "HQ", "server_uuid": "A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0", "access_token_expiry": "2027-01-01T00:00:00Z",
        "days_left": 39, "status": "SUCCESS", "status_reason": null, "last_device_sync": "2026-11-23T11:30:00.000001Z",
    });
    merge(&mut token, changes.clone());
    // Another token is for another server, unless a case says otherwise.
    if token["id"] != "t1" && changes.get("server_uuid").is_none() {
        token["server_uuid"] = json!("B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0");
    }
    Token::read(&token).unwrap()
}

fn device(serial: &str, is_removed: bool) -> Device {
    Device {
        serial_number: serial.to_owned(),
        is_removed,
    }
}

fn merge(value: &mut Value, changes: Value) {
    for (key, change) in changes.as_object().unwrap() {
        match change {
            Value::String(word) if word == "ABSENT" => {
                drop(value.as_object_mut().unwrap().remove(key))
            }
            change => value[key] = change.clone(),
        }
    }
}

pub(in super::super) fn bare(reason: Reason) -> Evidence {
    Evidence::bare(
        Name::new("kandji").unwrap(),
        SourceKind::Kandji,
        Serial::new(SERIAL).unwrap(),
        Finding::Unknown(reason),
    )
}

fn any_policy() -> Policy {
    Policy {
        tokens: Vec::new(),
        max_fetch_age: Duration::from_hours(24),
        expected_blueprints: Vec::new(),
    }
}

/// What was read, with everything well.
#[derive(Clone, Debug)]
pub(in super::super) struct Given {
    pub(in super::super) rows: Vec<Row>,
    pub(in super::super) tokens: Result<Vec<Token>, Fault>,
    devices: Result<Vec<Device>, Fault>,
    pub(in super::super) now: Option<Timestamp>,
    pub(in super::super) tokens_now: Option<Timestamp>,
    pub(in super::super) policy: Policy,
}

impl Given {
    fn rows(rows: Vec<Row>) -> Self {
        Self {
            rows,
            tokens: Ok(vec![token(json!({}))]),
            devices: Ok(Vec::new()),
            now: Some(now()),
            tokens_now: Some(now()),
            policy: any_policy(),
        }
    }

    fn row(changes: Value) -> Self {
        Self::rows(vec![row(changes)])
    }

    fn token(self, changes: Value) -> Self {
        Self {
            tokens: Ok(vec![token(changes)]),
            ..self
        }
    }

    pub(in super::super) fn judged(&self) -> Evidence {
        let bare = bare(Reason::StationFault);
        let records = Records {
            rows: &self.rows,
            now: self.now,
            tokens: self.tokens.as_ref().map(|list| Tokens {
                list,
                now: self.tokens_now,
            }),
            devices: self.devices.as_deref(),
        };
        judge(bare, &records, &self.policy)
    }
}

const READY: Finding = Finding::Ready(Grade::Relayed);
const ACTIVATED: Finding = Finding::No(Reason::PreviouslyActivated);

/// The case, the finding without `allow_returned`, and with it.
pub(in super::super) fn table() -> Vec<(&'static str, Given, Finding, Finding)> {
    use Finding::{No, Unknown, Wait};

    let both = |name, given, finding| (name, given, finding, finding);
    let fault = || Fault::with(Reason::CredentialsRefused, "Refused.");
    vec![
        // several exact rows
        both(
            "several exact rows: the newest device_assigned_date counts",
            Given::rows(vec![
                row(json!({"device_assigned_date": "2026-11-01T08:00:00Z", "profile_status": "removed"})),
                row(json!({"device_assigned_date": "2026-11-02 08:00:00+00:00", "profile_status": "empty", "failed_assignment_attempts": 2})),
            ]),
            No(Reason::AssignmentFailed),
        ),
        both(
            "several exact rows: another verdict",
            Given::rows(vec![row(json!({})), row(json!({"profile_status": "removed", "device_assigned_date": "2026-11-01T08:00:00Z"}))]),
            Unknown(Reason::Contradiction),
        ),
        both(
            "several exact rows: another verdict only under allow_returned",
            Given::rows(vec![row(json!({"profile_status": "pushed"})), row(json!({"profile_status": "removed", "device_assigned_date": null}))]),
            Unknown(Reason::Contradiction),
        ),
        (
            "several exact rows: both returned",
            Given::rows(vec![row(json!({"profile_status": "pushed"})), row(json!({"mdm_device": {"is_removed": true}}))]),
            ACTIVATED,
            READY,
        ),
        // enrolled
        both("mdm_device set", Given::row(json!({"mdm_device": {"id": "d", "is_removed": false}})), No(Reason::AlreadyEnrolled)),
        both("mdm_device set, pushed", Given::row(json!({"profile_status": "pushed", "mdm_device": {"id": "d"}})), No(Reason::AlreadyEnrolled)),
        both("mdm_device set, is_removed null", Given::row(json!({"mdm_device": {"is_removed": null}})), No(Reason::AlreadyEnrolled)),
        both(
            "mdm_device set comes before the token list",
            Given { tokens: Err(fault()), ..Given::row(json!({"mdm_device": {"id": "d"}})) },
            No(Reason::AlreadyEnrolled),
        ),
        // the token list
        both("the token list was not had", Given { tokens: Err(fault()), ..Given::row(json!({})) }, Unknown(Reason::CredentialsRefused)),
        both(
            "the token list was not had, pushed",
            Given { tokens: Err(fault()), ..Given::row(json!({"profile_status": "pushed"})) },
            Unknown(Reason::CredentialsRefused),
        ),
        // outside tokens
        both(
            "the row's token is outside tokens",
            Given {
                tokens: Ok(vec![token(json!({})), token(json!({"id": "t2", "server_name": "Old"}))]),
                policy: Policy { tokens: vec!["T1".into()], ..any_policy() },
                ..Given::row(json!({"dep_account": {"id": "t2", "server_name": "Old"}}))
            },
            No(Reason::WrongServer),
        ),
        both(
            "the row's token is inside tokens",
            Given { policy: Policy { tokens: vec!["T1".into()], ..any_policy() }, ..Given::row(json!({})) },
            READY,
        ),
        both("the row names no token", Given::row(json!({"dep_account": null})), Unknown(Reason::GarbledAnswer)),
        // the link
        both("the row's token is not in the list", Given::row(json!({"dep_account": {"id": "gone"}})), Unknown(Reason::MdmLinkBroken)),
        both(
            "the row's token is BROKEN",
            Given::row(json!({})).token(json!({"status": "BROKEN", "status_reason": "FORBIDDEN"})),
            Unknown(Reason::MdmLinkBroken),
        ),
        both(
            "the row's token is BROKEN, pushed",
            Given::row(json!({"profile_status": "pushed"})).token(json!({"status": "BROKEN"})),
            Unknown(Reason::MdmLinkBroken),
        ),
        both(
            "the row's token expired",
            Given::row(json!({})).token(json!({"access_token_expiry": "2026-11-23T12:00:00Z"})),
            Unknown(Reason::MdmLinkBroken),
        ),
        both(
            "the row's token expired by days_left",
            Given::row(json!({})).token(json!({"access_token_expiry": null, "days_left": -1})),
            Unknown(Reason::MdmLinkBroken),
        ),
        both(
            "the row's token expires on a date that cannot be read",
            Given::row(json!({})).token(json!({"access_token_expiry": "soon"})),
            Unknown(Reason::GarbledAnswer),
        ),
        both(
            "the row's token is BROKEN and its other words are strange",
            Given::row(json!({})).token(json!({"status": "BROKEN", "access_token_expiry": "soon", "last_device_sync": null})),
            Unknown(Reason::MdmLinkBroken),
        ),
        both("the row's token has no status", Given::row(json!({})).token(json!({"status": null})), Unknown(Reason::GarbledAnswer)),
        both(
            "the row's token has no status and has never fetched",
            Given::row(json!({})).token(json!({"status": null, "last_device_sync": null})),
            Unknown(Reason::Stale),
        ),
        both(
            "another token for the same server is BROKEN",
            Given {
                tokens: Ok(vec![
                    token(json!({})),
                    token(json!({"id": "t2", "server_uuid": "a0a0a0a0-a0a0-a0a0-a0a0-a0a0a0a0a0a0", "status": "BROKEN"})),
                ]),
                ..Given::row(json!({}))
            },
            Unknown(Reason::MdmLinkBroken),
        ),
        both(
            "another token, for another server, is BROKEN",
            Given {
                tokens: Ok(vec![token(json!({})), token(json!({"id": "t2", "server_uuid": "B0", "status": "BROKEN"}))]),
                ..Given::row(json!({}))
            },
            READY,
        ),
        both(
            "of two tokens for the server one is stale and one BROKEN",
            Given {
                tokens: Ok(vec![
                    token(json!({"last_device_sync": null})),
                    token(json!({"id": "t2", "server_uuid": "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0", "status": "BROKEN"})),
                ]),
                ..Given::row(json!({}))
            },
            Unknown(Reason::MdmLinkBroken),
        ),
        both(
            "of two tokens for the server one is stale and one not understood",
            Given {
                tokens: Ok(vec![
                    token(json!({"last_device_sync": null})),
                    token(json!({"id": "t2", "server_uuid": "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0", "status": "PAUSED"})),
                ]),
                ..Given::row(json!({}))
            },
            Unknown(Reason::GarbledAnswer),
        ),
        both("the row's token expires today", Given::row(json!({})).token(json!({"access_token_expiry": null, "days_left": 0})), READY),
        both("the row's token has an unknown word", Given::row(json!({})).token(json!({"status": "PAUSED"})), Unknown(Reason::GarbledAnswer)),
        both("the token list without days_left", Given::row(json!({})).token(json!({"days_left": "ABSENT"})), READY),
        // stale
        both("the last fetch is too old", Given::row(json!({})).token(json!({"last_device_sync": "2026-11-22T11:59:59Z"})), Unknown(Reason::Stale)),
        both("the last fetch is just young enough", Given::row(json!({})).token(json!({"last_device_sync": "2026-11-22 12:00:00+00:00"})), READY),
        both("the last fetch is null", Given::row(json!({})).token(json!({"last_device_sync": null})), Unknown(Reason::Stale)),
        both("the last fetch cannot be read", Given::row(json!({})).token(json!({"last_device_sync": "yesterday"})), Unknown(Reason::Stale)),
        both(
            "the last fetch lies in the future",
            Given::row(json!({})).token(json!({"last_device_sync": "2026-11-23T12:05:01Z"})),
            Unknown(Reason::Stale),
        ),
        both("the last fetch lies a little ahead", Given::row(json!({})).token(json!({"last_device_sync": "2026-11-23T12:05:00Z"})), READY),
        both("the reply has no Date", Given { now: None, ..Given::row(json!({})) }, Unknown(Reason::Stale)),
        both("the token list has no Date", Given { tokens_now: None, ..Given::row(json!({})) }, Unknown(Reason::Stale)),
        both("stale, pushed", Given::row(json!({"profile_status": "pushed"})).token(json!({"last_device_sync": null})), Unknown(Reason::Stale)),
        // the status
        both("status word unknown", Given::row(json!({"profile_status": "queued"})), Unknown(Reason::GarbledAnswer)),
        both("status word in another case", Given::row(json!({"profile_status": "ASSIGNED"})), Unknown(Reason::GarbledAnswer)),
        ("pushed", Given::row(json!({"profile_status": "pushed", "profile_push_time": "2026-11-21T08:00:00Z"})), ACTIVATED, READY),
        ("assigned, removed from the MDM", Given::row(json!({"mdm_device": {"id": "d", "is_removed": true}})), ACTIVATED, READY),
        ("pushed, removed from the MDM", Given::row(json!({"profile_status": "pushed", "mdm_device": {"is_removed": true}})), ACTIVATED, READY),
        (
            "pushed, last assignment THROTTLED",
            Given::row(json!({"profile_status": "pushed", "last_assignment_status": "THROTTLED"})),
            ACTIVATED,
            Wait(Reason::AssignmentThrottled),
        ),
        (
            "pushed, assigned in the future",
            Given::row(json!({"profile_status": "pushed", "profile_assign_time": "2027-11-23T12:00:00Z"})),
            ACTIVATED,
            Unknown(Reason::GarbledAnswer),
        ),
        both("removed", Given::row(json!({"profile_status": "removed"})), No(Reason::ProfileRemoved)),
        both(
            "removed, removed from the MDM",
            Given::row(json!({"profile_status": "removed", "mdm_device": {"is_removed": true}})),
            No(Reason::ProfileRemoved),
        ),
        both(
            "empty, THROTTLED",
            Given::row(json!({"profile_status": "empty", "last_assignment_status": "THROTTLED", "failed_assignment_attempts": 3})),
            Wait(Reason::AssignmentThrottled),
        ),
        both(
            "null, THROTTLED",
            Given::row(json!({"profile_status": null, "last_assignment_status": "THROTTLED"})),
            Wait(Reason::AssignmentThrottled),
        ),
        both("empty, FAILED", Given::row(json!({"profile_status": "empty", "last_assignment_status": "FAILED"})), No(Reason::AssignmentFailed)),
        both(
            "empty, NOT_ACCESSIBLE",
            Given::row(json!({"profile_status": "empty", "last_assignment_status": "NOT_ACCESSIBLE"})),
            No(Reason::AssignmentFailed),
        ),
        both(
            "empty, attempts",
            Given::row(json!({"profile_status": "empty", "last_assignment_status": null, "failed_assignment_attempts": 1})),
            No(Reason::AssignmentFailed),
        ),
        both(
            "empty, nothing recorded",
            Given::row(json!({"profile_status": "empty", "last_assignment_status": null})),
            Wait(Reason::AssignmentPending),
        ),
        both("empty, SUCCESS", Given::row(json!({"profile_status": "empty", "failed_assignment_attempts": null})), Wait(Reason::AssignmentPending)),
        both("null, nothing recorded", Given::row(json!({"profile_status": null, "last_assignment_status": ""})), Wait(Reason::AssignmentPending)),
        both(
            "absent, nothing recorded",
            Given::row(json!({"profile_status": "ABSENT", "last_assignment_status": "ABSENT", "failed_assignment_attempts": "ABSENT"})),
            Wait(Reason::AssignmentPending),
        ),
        both("assigned, last THROTTLED", Given::row(json!({"last_assignment_status": "THROTTLED"})), Wait(Reason::AssignmentThrottled)),
        both("assigned, last FAILED", Given::row(json!({"last_assignment_status": "FAILED"})), No(Reason::AssignmentFailed)),
        both("assigned, last an unknown word", Given::row(json!({"last_assignment_status": "PERHAPS"})), No(Reason::AssignmentFailed)),
        both("assigned, last SUCCESS with a space", Given::row(json!({"last_assignment_status": " SUCCESS"})), No(Reason::AssignmentFailed)),
        both("assigned, last null", Given::row(json!({"last_assignment_status": null})), READY),
        // blueprints
        both(
            "another blueprint",
            Given { policy: Policy { expected_blueprints: vec!["b2".into()], ..any_policy() }, ..Given::row(json!({})) },
            No(Reason::WrongBlueprint),
        ),
        both(
            "the expected blueprint, in another case",
            Given { policy: Policy { expected_blueprints: vec!["b2".into(), "B1".into()], ..any_policy() }, ..Given::row(json!({})) },
            READY,
        ),
        both(
            "another blueprint, routing on",
            Given { policy: Policy { expected_blueprints: vec!["b2".into()], ..any_policy() }, ..Given::row(json!({"use_blueprint_routing": true})) },
            No(Reason::WrongBlueprint),
        ),
        both(
            "no blueprint, no routing",
            Given {
                policy: Policy { expected_blueprints: vec!["b1".into()], ..any_policy() },
                ..Given::row(json!({"blueprint_id": null, "blueprint": null, "use_blueprint_routing": "ABSENT"}))
            },
            No(Reason::WrongBlueprint),
        ),
        both(
            "no blueprint, routing on",
            Given {
                policy: Policy { expected_blueprints: vec!["b1".into()], ..any_policy() },
                ..Given::row(json!({"blueprint_id": null, "blueprint": "ABSENT", "use_blueprint_routing": true}))
            },
            READY,
        ),
        both(
            "the blueprint as a bare id",
            Given {
                policy: Policy { expected_blueprints: vec!["b1".into()], ..any_policy() },
                ..Given::row(json!({"blueprint_id": "ABSENT", "blueprint": "b1"}))
            },
            READY,
        ),
        both(
            "two blueprints in one row",
            Given { policy: Policy { expected_blueprints: vec!["b1".into()], ..any_policy() }, ..Given::row(json!({"blueprint": {"id": "b2"}})) },
            Unknown(Reason::GarbledAnswer),
        ),
        both(
            "an empty blueprint id is none",
            Given { policy: Policy { expected_blueprints: vec!["b1".into()], ..any_policy() }, ..Given::row(json!({"blueprint_id": ""})) },
            READY,
        ),
        both("no blueprint expected", Given::row(json!({"blueprint_id": null, "blueprint": null})), READY),
        // ready
        both("assigned", Given::row(json!({})), READY),
        both("assigned, the serial number in lower case", Given::row(json!({"serial_number": SERIAL.to_lowercase()})), READY),
        both("assigned, no time", Given::row(json!({"profile_assign_time": null})), READY),
        both(
            "assigned, given to the server in the future",
            Given::row(json!({"device_assigned_date": "2026-11-23T12:05:01Z"})),
            Unknown(Reason::GarbledAnswer),
        ),
        both("assigned in the future", Given::row(json!({"profile_assign_time": "2026-11-23T12:05:01Z"})), Unknown(Reason::GarbledAnswer)),
        both("assigned, our clock a little behind", Given::row(json!({"profile_assign_time": "2026-11-23T12:05:00Z"})), READY),
        // no row
        both("no row, /devices has it", Given { devices: Ok(vec![device(SERIAL, false)]), ..Given::rows(vec![]) }, No(Reason::AlreadyEnrolled)),
        both("no row, /devices has it removed", Given { devices: Ok(vec![device(SERIAL, true)]), ..Given::rows(vec![]) }, No(Reason::NotFound)),
        both(
            "no row, /devices has one that contains it",
            Given { devices: Ok(vec![device("STESTKANDJ001", false)]), ..Given::rows(vec![]) },
            No(Reason::NotFound),
        ),
        both("no row, /devices fails", Given { devices: Err(Fault::bare(Reason::SourceError)), ..Given::rows(vec![]) }, Unknown(Reason::SourceError)),
        both(
            "no row, the token list fails",
            Given { tokens: Err(fault()), devices: Ok(vec![device(SERIAL, false)]), ..Given::rows(vec![]) },
            Unknown(Reason::CredentialsRefused),
        ),
        both("no row, no token", Given { tokens: Ok(vec![]), ..Given::rows(vec![]) }, Unknown(Reason::MdmLinkBroken)),
        both(
            "no row, a token that counts is missing",
            Given { policy: Policy { tokens: vec!["t1".into(), "t9".into()], ..any_policy() }, ..Given::rows(vec![]) },
            Unknown(Reason::MdmLinkBroken),
        ),
        both(
            "no row, any token BROKEN",
            Given { tokens: Ok(vec![token(json!({})), token(json!({"id": "t2", "status": "BROKEN"}))]), ..Given::rows(vec![]) },
            Unknown(Reason::MdmLinkBroken),
        ),
        both(
            "no row, any token expired",
            Given {
                tokens: Ok(vec![token(json!({})), token(json!({"id": "t2", "access_token_expiry": "2026-01-01 00:00:00"}))]),
                ..Given::rows(vec![])
            },
            Unknown(Reason::MdmLinkBroken),
        ),
        both(
            "no row, a token that does not count is BROKEN",
            Given {
                tokens: Ok(vec![token(json!({})), token(json!({"id": "t2", "status": "BROKEN"}))]),
                policy: Policy { tokens: vec!["t1".into()], ..any_policy() },
                ..Given::rows(vec![])
            },
            No(Reason::NotFound),
        ),
        both(
            "no row, any token stale",
            Given { tokens: Ok(vec![token(json!({})), token(json!({"id": "t2", "last_device_sync": null}))]), ..Given::rows(vec![]) },
            Unknown(Reason::Stale),
        ),
        both("no row", Given::rows(vec![]), No(Reason::NotFound)),
        both(
            "only rows that contain it",
            Given::rows(vec![row(json!({"serial_number": "STESTKANDJ001"})), row(json!({"serial_number": "TESTKANDJ0012"}))]),
            No(Reason::NotFound),
        ),
    ]
}

#[test]
fn every_row_of_the_table_gives_its_finding() {
    for (name, given, strict, allowed) in table() {
        let evidence = given.judged();
        assert_eq!(
            evidence.judged(false),
            strict,
            "{name}, returned devices not allowed: {evidence:?}"
        );
        assert_eq!(
            evidence.judged(true),
            allowed,
            "{name}, returned devices allowed: {evidence:?}"
        );
    }
}

#[test]
fn a_row_that_only_contains_the_serial_number_is_no_row_of_it() {
    let serial = Serial::new(SERIAL).unwrap();
    let rows = |texts: &[&str]| -> Vec<Row> {
        texts
            .iter()
            .map(|text| row(json!({ "serial_number": text })))
            .collect()
    };
    assert!(has_row(&serial, &rows(&["STESTKANDJ001", "testkandj001"])));
    assert!(!has_row(
        &serial,
        &rows(&["STESTKANDJ001", "TESTKANDJ0012"])
    ));
    assert!(!has_row(&serial, &[]));
}

#[test]
fn a_serial_number_is_known_where_any_record_names_it() {
    for (name, given, ..) in table() {
        let exact = |serial: &String| serial.eq_ignore_ascii_case(SERIAL);
        let expected = given.rows.iter().any(|row| exact(&row.serial_number))
            || given
                .devices
                .as_ref()
                .is_ok_and(|all| all.iter().any(|device| exact(&device.serial_number)));
        assert_eq!(given.judged().known, expected, "{name}");
    }
}

#[test]
fn nothing_personal_is_kept_and_the_rest_is() {
    let evidence = Given::row(json!({})).judged();
    assert!(!format!("{evidence:?}").contains("example.com"));
    assert_eq!(evidence.status.as_deref(), Some("assigned"));
    assert_eq!(evidence.model.as_deref(), Some("MacBook Air"));
    assert_eq!(evidence.family.as_deref(), Some("Mac"));
    assert_eq!(evidence.assigned_at, "2026-11-20T08:00:00Z".parse().ok());
    assert_eq!(
        evidence.device_assigned_at,
        "2026-11-19T08:00:00Z".parse().ok()
    );
    assert_eq!(evidence.as_of, "2026-11-23T11:30:00.000001Z".parse().ok());
    assert_eq!(
        evidence.server_uuid.as_deref(),
        Some("A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0")
    );
    assert_eq!(evidence.replied_at, Some(now()));
    assert_eq!(evidence.detail, None);
}

#[test]
fn the_words_name_what_the_person_must_look_at() {
    let two = || {
        vec![
            token(json!({})),
            token(
                json!({"id": "t2", "server_name": "Old", "last_device_sync": "2026-11-23T06:00:00Z"}),
            ),
        ]
    };
    let cases = [
        (
            Given {
                tokens: Ok(two()),
                ..Given::rows(vec![])
            },
            "Last fetch 2026-11-23 06:00 UTC.",
        ),
        (
            Given {
                tokens: Ok(two()),
                policy: Policy {
                    tokens: vec!["t1".into()],
                    ..any_policy()
                },
                ..Given::row(json!({"dep_account": {"id": "t2"}}))
            },
            "It is on \"Old\", this station expects \"HQ\".",
        ),
        (
            Given::row(json!({})).token(json!({"status": "BROKEN", "status_reason": "FORBIDDEN"})),
            "The ADE token \"HQ\" is BROKEN (FORBIDDEN).",
        ),
        (
            Given::row(json!({})).token(json!({"access_token_expiry": "2026-11-01T00:00:00Z"})),
            "The ADE token \"HQ\" expired on 2026-11-01 00:00 UTC.",
        ),
        (
            Given::row(json!({})).token(json!({"last_device_sync": "2026-11-22T06:00:00Z"})),
            "Last fetch 2026-11-22 06:00 UTC by \"HQ\", 30 h ago.",
        ),
        (
            Given::row(json!({})).token(json!({"last_device_sync": "2026-11-20T06:00:00Z"})),
            "Last fetch 2026-11-20 06:00 UTC by \"HQ\", 3 days ago.",
        ),
        (
            Given {
                policy: Policy {
                    max_fetch_age: Duration::from_mins(20),
                    ..any_policy()
                },
                ..Given::row(json!({}))
            },
            "Last fetch 2026-11-23 11:30 UTC by \"HQ\", 30 min ago.",
        ),
        (
            Given::rows(vec![
                row(json!({})),
                row(json!({"profile_status": "removed"})),
            ]),
            "Kandji lists it 2 times, and the rows disagree.",
        ),
        (
            Given::row(json!({"last_assignment_status": "FAILED"})),
            "An older profile is in place.",
        ),
        (
            Given {
                tokens: Err(Fault::with(
                    Reason::RateLimited,
                    "Try again at 12:00:30 UTC.",
                )),
                ..Given::row(json!({}))
            },
            "Try again at 12:00:30 UTC.",
        ),
    ];
    for (given, expected) in cases {
        assert_eq!(given.judged().detail.as_deref(), Some(expected));
    }
}

#[test]
fn the_as_of_without_a_row_is_the_oldest_fetch_that_counts() {
    let two = vec![
        token(json!({})),
        token(json!({"id": "t2", "last_device_sync": "2026-11-23T06:00:00Z"})),
    ];
    let all = Given {
        tokens: Ok(two.clone()),
        ..Given::rows(vec![])
    }
    .judged();
    assert_eq!(
        (all.as_of, all.server_uuid),
        ("2026-11-23T06:00:00Z".parse().ok(), None),
        "two servers: none of them is the box's"
    );
    let one = Given {
        tokens: Ok(two),
        policy: Policy {
            tokens: vec!["t1".into()],
            ..any_policy()
        },
        ..Given::rows(vec![])
    }
    .judged();
    assert_eq!(one.as_of, "2026-11-23T11:30:00.000001Z".parse().ok());
    assert!(one.server_uuid.is_some());
}

#[test]
fn days_left_are_those_of_the_first_token_to_expire() {
    let (soon, later) = (
        token(json!({"access_token_expiry": "2026-11-30T11:00:00Z", "days_left": 7})),
        token(json!({})),
    );
    assert_eq!(days_left(&[&soon, &later], Some(now())), Some(6));
    assert_eq!(days_left(&[&later], None), Some(39));
    assert_eq!(
        days_left(
            &[&token(
                json!({"access_token_expiry": "2026-11-23T11:00:00Z"})
            )],
            Some(now())
        ),
        Some(-1)
    );
    assert_eq!(days_left(&[], Some(now())), None);
}

pub(in super::super) mod properties {
    //! Whatever Kandji says, ready needs everything at once.

    use proptest::{prelude::*, sample::select};

    use super::*;

    fn word() -> impl Strategy<Value = Value> {
        select(vec![
            json!("assigned"),
            json!("pushed"),
            json!("removed"),
            json!("empty"),
            json!(""),
            json!(null),
            json!("ABSENT"),
            json!("Assigned"),
            json!("x"),
        ])
    }

    fn moment() -> impl Strategy<Value = Value> {
        let offset = prop_oneof![-200_000_i64..200_000, -301_i64..302];
        prop_oneof![
            4 => offset.prop_map(|seconds| json!(now().checked_add(SignedDuration::from_secs(seconds)).unwrap().to_string())),
            1 => select(vec![json!(null), json!("ABSENT"), json!("")]),
        ]
    }

    /// Of a token, where a text that is no moment spoils that token alone.
    fn any_text() -> impl Strategy<Value = Value> {
        prop_oneof![9 => moment(), 1 => Just(json!("soon"))]
    }

    prop_compose! {
        fn any_row()(
            serial in select(vec![SERIAL, SERIAL, SERIAL, "STESTKANDJ001", "testkandj001", " TESTKANDJ001 "]),
            status in word(), assigned in moment(), given in moment(),
            last in select(vec![json!("SUCCESS"), json!(null), json!(""), json!("FAILED"), json!("THROTTLED"), json!("ABSENT"), json!("?")]),
            attempts in select(vec![json!(0), json!(1), json!(null), json!("ABSENT")]),
            device in select(vec![json!(null), json!(null), json!({"id": "d"}), json!({"is_removed": true}), json!({"is_removed": false}), json!("ABSENT")]),
            blueprint in select(vec![json!("b1"), json!("b2"), json!(null), json!("ABSENT")]),
            routing in select(vec![json!(true), json!(false), json!(null), json!("ABSENT")]),
            account in select(vec![json!({"id": "t1"}), json!({"id": "t2"}), json!(null), json!({"id": "T1"})]),
            model in select(vec![json!("Mac"), json!(null)]),
        ) -> Row {
            row(json!({
                "serial_number": serial, "profile_status": status, "profile_assign_time": assigned, "device_assigned_date": given,
                "last_assignment_status": last, "failed_assignment_attempts": attempts, "mdm_device": device, "blueprint_id": blueprint,
                "blueprint": null, "use_blueprint_routing": routing, "dep_account": account, "model": model,
            }))
        }
    }

    prop_compose! {
        fn any_token()(
            id in select(vec!["t1", "t1", "T1", "t2"]), server in select(vec!["A0", "B0"]), status in select(vec![json!("SUCCESS"), json!("SUCCESS"), json!("BROKEN"), json!(null), json!("?")]),
            fetched in any_text(), expiry in any_text(), days in select(vec![json!(9), json!(-1), json!("ABSENT")]),
        ) -> Token {
            token(json!({"id": id, "server_uuid": server, "status": status, "last_device_sync": fetched, "access_token_expiry": expiry, "days_left": days}))
        }
    }

    prop_compose! {
        pub(in super::super::super) fn any_given()(
            rows in prop::collection::vec(any_row(), 0..4), tokens in prop::collection::vec(any_token(), 0..4), tokens_fail in prop::bool::weighted(0.1),
            enrolled in any::<bool>(), date in prop::bool::weighted(0.9), tokens_date in prop::bool::weighted(0.9),
            counted in select(vec![vec![], vec!["t1".to_owned()], vec!["t1".to_owned(), "t2".to_owned()]]),
            blueprints in select(vec![vec![], vec!["b1".to_owned()]]),
        ) -> Given {
            Given {
                rows,
                tokens: if tokens_fail { Err(Fault::bare(Reason::SourceError)) } else { Ok(tokens) },
                devices: Ok(if enrolled { vec![device(SERIAL, false)] } else { Vec::new() }),
                now: date.then(now),
                tokens_now: tokens_date.then(now),
                policy: Policy { tokens: counted, max_fetch_age: Duration::from_hours(24), expected_blueprints: blueprints },
            }
        }
    }

    /// Everything that green rests on, said a second time in other words.
    fn proven(row: &Row, given: &Given, allow_returned: bool) -> bool {
        let Some((id, _)) = &row.dep_account else {
            return false;
        };
        let new =
            row.profile_status.as_deref() == Some("assigned") && row.mdm_device == Enrolled::No;
        let returned = matches!(row.profile_status.as_deref(), Some("assigned" | "pushed"))
            && row.mdm_device != Enrolled::Yes;
        let (Ok(all), Some(now), Some(_)) = (&given.tokens, given.now, given.tokens_now) else {
            return false;
        };
        let named = |token: &Token| token.id.eq_ignore_ascii_case(id);
        let ours = |token: &Token| {
            named(token)
                || all
                    .iter()
                    .any(|one| named(one) && one.server_uuid == token.server_uuid)
        };
        let good = |token: &Token| {
            let fetched = token
                .last_device_sync
                .known()
                .is_some_and(|at| (-300..=86_400).contains(&now.duration_since(at).as_secs()));
            // A token whose two words on its end disagree is not in force.
            let in_force = token.access_token_expiry.known().is_none_or(|at| at > now)
                && token.days_left.is_none_or(|days| days >= 0);
            fetched
                && in_force
                && token.access_token_expiry != Moment::Garbled
                && token.status.as_deref() == Some("SUCCESS")
        };
        let past = |moment: Option<Timestamp>| {
            moment.is_none_or(|at| at.duration_since(now).as_secs() <= 300)
        };
        (new || (allow_returned && returned))
            && (given.policy.tokens.is_empty()
                || given
                    .policy
                    .tokens
                    .iter()
                    .any(|counted| counted.eq_ignore_ascii_case(id)))
            && all.iter().any(named)
            && all.iter().filter(|token| ours(token)).all(good)
            && matches!(
                row.last_assignment_status.as_deref(),
                None | Some("SUCCESS")
            )
            && past(row.profile_assign_time)
            && past(row.device_assigned_date)
            && (given.policy.expected_blueprints.is_empty()
                || row.blueprint_id.as_deref() == Some("b1")
                || (row.blueprint_id.is_none() && row.use_blueprint_routing))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ready_needs_every_proof_in_every_row_of_the_serial_number(given in any_given(), allow_returned in any::<bool>()) {
            let evidence = given.judged();
            let exact: Vec<&Row> = given.rows.iter().filter(|row| row.serial_number.trim().eq_ignore_ascii_case(SERIAL)).collect();
            if evidence.judged(allow_returned) == READY {
                prop_assert!(!exact.is_empty());
                for row in exact {
                    prop_assert!(proven(row, &given, allow_returned), "{row:?}");
                }
            } else if let [only] = exact.as_slice() {
                prop_assert!(!proven(only, &given, allow_returned), "a box that is ready is told so: {evidence:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_of_rows_and_tokens_never_changes_the_evidence(
            (given, rows, tokens) in any_given().prop_flat_map(|given| {
                let tokens = given.tokens.clone().unwrap_or_default();
                (Just(given.clone()), Just(given.rows).prop_shuffle(), Just(tokens).prop_shuffle())
            })
        ) {
            let shuffled = Given { rows, tokens: given.tokens.clone().map(|_| tokens), ..given.clone() };
            prop_assert_eq!(given.judged(), shuffled.judged());
        }
    }
}
