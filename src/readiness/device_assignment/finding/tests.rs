//! Every row of the table from Apple's reply to a finding.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{readiness::evidence::SourceKind, runtime::name::Name};

pub(in super::super) const SERIAL: &str = "C02XK0AAJG5H";
pub(in super::super) const UUID: &str = "88FC4E378B4B4E3B9E7C5E0C9B7E5E6B";

pub(in super::super) fn now() -> Timestamp {
    "2026-11-23T09:41:07Z".parse().unwrap()
}

pub(in super::super) fn device(fields: &Value) -> Value {
    let mut device = json!({
        "serial_number": SERIAL, "model": "MacBook Air", "description": "MacBook Air 13 inch, 2024", "color": "MIDNIGHT", "asset_tag": "",
        "device_family": "Mac", "os": "OSX", "profile_status": "assigned", "profile_uuid": UUID, "profile_assign_time": "2026-01-09T22:01:10Z",
        "device_assigned_by": "admin@example.com", "device_assigned_date": "2026-01-09T21:00:00Z", "response_status": "SUCCESS"
    });
    for (key, value) in fields.as_object().unwrap() {
        device[key] = value.clone();
    }
    device
}

pub(in super::super) fn judged(body: &Value, profile: &Profile, expected: &Expected) -> Evidence {
    let serial = Serial::new(SERIAL).unwrap();
    let mut evidence = Evidence::bare(
        Name::new("apple").unwrap(),
        SourceKind::AppleDep,
        serial.clone(),
        Finding::Unknown(Reason::StationFault),
    );
    evidence.replied_at = Some(now());
    match Devices::read(body, &[SERIAL], Nothing::Null) {
        Ok(devices) => judge(&mut evidence, devices.device(&serial), profile, expected),
        Err(_) => evidence.finding = Finding::Unknown(Reason::GarbledAnswer),
    }
    evidence
}

pub(in super::super) fn with(fields: &Value) -> Evidence {
    judged(
        &json!({ "devices": { SERIAL: device(fields) } }),
        &Profile::NotAsked,
        &Expected::default(),
    )
}

/// The record, the finding with returned devices allowed, and whether the device is known.
pub(in super::super) fn table() -> Vec<(Value, Finding, bool)> {
    let of = |finding, known, records: &[Value]| -> Vec<(Value, Finding, bool)> {
        let row = |record: &Value| (record.clone(), finding, known);
        records.iter().map(row).collect()
    };
    let garbled = Finding::Unknown(Reason::GarbledAnswer);
    [
        of(Finding::Ready(Grade::Apple), true, &[
            json!({}),
            json!({"profile_assign_time": ""}),
            json!({"profile_assign_time": null, "device_assigned_date": null}),
            json!({"mdm_migration_deadline": ""}),
            json!({"mdm_migration_deadline": "0001-01-01T00:00:00Z"}),
            json!({"profile_assign_time": "2026-01-09 22:01:10"}),
            json!({"device_assigned_date": "2026-11-23T09:46:07Z"}),
            json!({"profile_assign_time": "2026-11-23T09:46:07Z"}),
        ]),
        of(Finding::No(Reason::MigrationPending), true, &[
            json!({"mdm_migration_deadline": "2026-12-24T00:00:00Z"}),
            json!({"mdm_migration_deadline": "soon"}),
        ]),
        of(Finding::No(Reason::ProfileRemoved), true, &[
            json!({"profile_status": "removed"}),
            json!({"profile_status": "removed", "mdm_migration_deadline": "2026-12-24T00:00:00Z"}),
        ]),
        of(Finding::No(Reason::NoProfile), true, &[
            json!({"profile_status": "empty"}),
            json!({"profile_status": ""}),
            json!({"profile_status": null}),
        ]),
        of(garbled, true, &[
            json!({"profile_status": "ASSIGNED"}),
            json!({"profile_status": "reassigned"}),
            json!({"profile_status": "assigned\u{7}"}),
            json!({"device_assigned_date": "2026-11-23T09:46:08Z"}),
            json!({"profile_assign_time": "2026-11-23T09:46:08Z"}),
        ]),
        of(garbled, false, &[
            json!({"profile_status": 1}),
            json!({"profile_assign_time": 7}),
            json!({"profile_assign_time": "yesterday"}),
            json!({"device_assigned_date": "yesterday"}),
            json!({"mdm_migration_deadline": false}),
            json!({"profile_uuid": 7}),
            json!({"serial_number": "C02XK0AAJG5J"}),
            json!({"serial_number": "c02xk0aajg5h"}),
            json!({"serial_number": null}),
            json!({"response_status": "NOT_ACCESSIBLE"}),
            json!({"response_status": "NOT_FOUND", "profile_status": null, "serial_number": "C02XK0AAJG5J"}),
            json!({"response_status": "FAILED"}),
            json!({"response_status": null}),
        ]),
        of(Finding::No(Reason::NotFound), false, &[
            json!({"response_status": "NOT_ACCESSIBLE", "profile_status": ""}),
            json!({"response_status": "NOT_FOUND", "profile_status": null}),
        ]),
    ]
    .concat()
}

#[test]
fn every_row_of_the_table() {
    for (fields, finding, known) in table() {
        let evidence = with(&fields);
        assert_eq!(
            (evidence.judged(false), evidence.known),
            (finding, known),
            "{fields}"
        );
        assert_eq!(evidence.judged(true), finding, "{fields}");
    }
}

#[test]
fn a_pushed_profile_is_ready_only_where_returned_devices_are_allowed() {
    let evidence = with(&json!({"profile_status": "pushed"}));
    assert_eq!(
        evidence.judged(false),
        Finding::No(Reason::PreviouslyActivated)
    );
    assert_eq!(evidence.judged(true), Finding::Ready(Grade::Apple));

    let migrating = with(
        &json!({"profile_status": "pushed", "mdm_migration_deadline": "2026-12-24T00:00:00Z"}),
    );
    assert_eq!(
        migrating.judged(false),
        Finding::No(Reason::PreviouslyActivated)
    );
    assert_eq!(
        migrating.judged(true),
        Finding::No(Reason::MigrationPending)
    );
}

#[test]
fn a_removed_profile_proves_nothing_by_its_uuid() {
    let evidence = with(&json!({"profile_status": "removed"}));
    assert_eq!(evidence.finding, Finding::No(Reason::ProfileRemoved));
    assert_eq!(evidence.status.as_deref(), Some("removed"));
}

#[test]
fn a_device_that_the_reply_does_not_hold_is_not_found() {
    for body in [json!({"devices": {}}), json!({"devices": {SERIAL: null}})] {
        assert_eq!(
            judged(&body, &Profile::NotAsked, &Expected::default()).finding,
            Finding::No(Reason::NotFound),
            "{body}"
        );
    }
}

/// A null of Apple's, written out by a program with fixed fields.
fn blank() -> Value {
    json!({
        "serial_number": "", "model": "", "description": "", "color": "", "profile_status": "",
        "profile_assign_time": "0001-01-01T00:00:00Z", "profile_push_time": "0001-01-01T00:00:00Z",
        "device_assigned_date": "0001-01-01T00:00:00Z", "op_date": "0001-01-01T00:00:00Z",
    })
}

#[test]
fn a_record_that_names_nothing_is_a_null_only_where_nulls_are_written_so() {
    let serial = Serial::new(SERIAL).unwrap();
    let finding = |record: &Value, nothing| {
        let body = json!({"devices": {SERIAL: record}});
        let devices = Devices::read(&body, &[SERIAL], nothing).unwrap();
        let mut evidence = Evidence {
            replied_at: Some(now()),
            ..with(&json!({}))
        };
        judge(
            &mut evidence,
            devices.device(&serial),
            &Profile::NotAsked,
            &Expected::default(),
        );
        evidence.finding
    };
    let garbled = Finding::Unknown(Reason::GarbledAnswer);
    let not_found = Finding::No(Reason::NotFound);
    for record in [blank(), json!({})] {
        assert_eq!(finding(&record, Nothing::Null), garbled, "{record}");
        assert_eq!(
            finding(&record, Nothing::NullOrBlank),
            not_found,
            "{record}"
        );
    }
    for nothing in [Nothing::Null, Nothing::NullOrBlank] {
        assert_eq!(finding(&json!(null), nothing), not_found);
        assert_eq!(
            finding(&device(&json!({})), nothing),
            Finding::Ready(Grade::Apple)
        );
    }
    for (name, value) in [
        ("serial_number", json!(SERIAL)),
        ("profile_status", json!("assigned")),
        ("profile_uuid", json!(UUID)),
        ("model", json!("MacBook Air")),
        ("description", json!("MacBook Air")),
        ("response_status", json!("MAYBE")),
        ("response_status", json!(7)),
    ] {
        let mut record = blank();
        record[name] = value;
        assert_eq!(finding(&record, Nothing::NullOrBlank), garbled, "{record}");
    }
    assert_eq!(finding(&json!([]), Nothing::NullOrBlank), garbled);
    let mut refused = blank();
    refused["response_status"] = json!("NOT_ACCESSIBLE");
    assert_eq!(finding(&refused, Nothing::NullOrBlank), not_found);
}

#[test]
fn the_year_1_is_no_time() {
    let never = "0001-01-01T00:00:00Z";
    let evidence = with(&json!({
        "profile_assign_time": never, "device_assigned_date": never, "profile_push_time": never,
    }));
    assert_eq!(evidence.finding, Finding::Ready(Grade::Apple));
    let times = (
        evidence.assigned_at,
        evidence.device_assigned_at,
        evidence.used_at,
    );
    assert_eq!(times, (None, None, None));
}

#[test]
fn whose_server_does_not_hold_it_is_said() {
    let body = json!({"devices": {}});
    let detail = |kind| {
        let serial = Serial::new(SERIAL).unwrap();
        let unknown = Finding::Unknown(Reason::StationFault);
        let mut evidence = Evidence::bare(Name::new("a").unwrap(), kind, serial.clone(), unknown);
        let devices = Devices::read(&body, &[SERIAL], Nothing::Null).unwrap();
        let said = devices.device(&serial);
        judge(
            &mut evidence,
            said,
            &Profile::NotAsked,
            &Expected::default(),
        );
        evidence.detail.unwrap()
    };
    assert!(detail(SourceKind::AppleDep).contains("of this station's token"));
    assert!(detail(SourceKind::NanoDep).contains("of NanoDEP's token"));
    assert!(detail(SourceKind::MicroMdm).contains("of MicroMDM's token"));
}

#[test]
fn a_reply_about_another_device_is_never_taken_for_not_found() {
    let other =
        json!({"devices": {"C02XK0AAJG5J": device(&json!({"serial_number": "C02XK0AAJG5J"}))}});
    let lower = json!({"devices": {"c02xk0aajg5h": device(&json!({}))}});
    let number = json!({"devices": {SERIAL: 7}});
    let beside = json!({"devices": {SERIAL: device(&json!({})), "C02XK0AAJG5J": {"response_status": "NOT_ACCESSIBLE"}}});
    let twice =
        json!({"devices": {SERIAL: device(&json!({})), SERIAL.to_lowercase(): device(&json!({}))}});
    for body in [other, lower, number, beside, twice] {
        let evidence = judged(&body, &Profile::NotAsked, &Expected::default());
        assert_eq!(
            (evidence.finding, evidence.known),
            (Finding::Unknown(Reason::GarbledAnswer), false),
            "{body}"
        );
    }
}

#[test]
fn a_body_that_is_no_reply_is_refused() {
    for body in [
        json!(null),
        json!([]),
        json!({}),
        json!({"devices": []}),
        json!({"devices": null}),
        json!([{}]),
    ] {
        for nothing in [Nothing::Null, Nothing::NullOrBlank] {
            assert!(Devices::read(&body, &[SERIAL], nothing).is_err(), "{body}");
        }
    }
}

#[test]
fn only_an_expected_profile_is_ready() {
    let expected = |profiles: &[&str]| Expected {
        profiles: profiles.iter().map(|&uuid| uuid.to_owned()).collect(),
        hosts: vec![],
    };
    let body = |uuid: Value| json!({"devices": {SERIAL: device(&json!({"profile_uuid": uuid}))}});
    let judge = |uuid: Value, profiles: &[&str]| {
        judged(&body(uuid), &Profile::NotAsked, &expected(profiles)).finding
    };
    assert_eq!(
        judge(json!(UUID), &["0000", &UUID.to_lowercase()]),
        Finding::Ready(Grade::Apple)
    );
    let (first, rest) = UUID.split_at(8);
    let with_dashes = format!(" {first}-{rest} ");
    assert_eq!(
        judge(json!(UUID), &[&with_dashes]),
        Finding::Ready(Grade::Apple),
        "as a console may show it"
    );
    assert_eq!(
        judge(json!(UUID), &["0000"]),
        Finding::No(Reason::WrongProfile)
    );
    assert_eq!(
        judge(json!(format!("{UUID}\u{7}")), &[UUID]),
        Finding::No(Reason::WrongProfile),
        "nothing is taken away before it is compared"
    );
    assert_eq!(judge(json!(""), &[UUID]), Finding::No(Reason::WrongProfile));
    assert_eq!(
        judge(json!(null), &[UUID]),
        Finding::No(Reason::WrongProfile)
    );
}

#[test]
fn the_profile_is_asked_for_only_where_it_is_in_place() {
    let asked = |status: &str| {
        Device::read(&Object::read("It", &json!({ "profile_status": status })).unwrap())
            .unwrap()
            .has_profile()
    };
    assert!(asked("assigned") && asked("pushed"));
    assert!(!asked("removed") && !asked("empty") && !asked(""));
}

#[test]
fn only_an_expected_host_is_ready() {
    let expected = Expected {
        profiles: vec![],
        hosts: vec!["mdm.example.com".to_owned()],
    };
    let body = json!({"devices": {SERIAL: device(&json!({}))}});
    let judge = |profile: &Profile| judged(&body, profile, &expected).finding;
    assert_eq!(
        judge(&Profile::Host("MDM.example.com".to_owned())),
        Finding::Ready(Grade::Apple)
    );
    assert_eq!(
        judge(&Profile::Host("mdm.example.org".to_owned())),
        Finding::No(Reason::WrongProfile)
    );
    assert_eq!(
        judge(&Profile::Unread(Reason::Timeout, None)),
        Finding::Unknown(Reason::Timeout)
    );
    assert_eq!(
        judge(&Profile::NotAsked),
        Finding::Unknown(Reason::StationFault)
    );
}

#[test]
fn a_host_is_taken_only_from_the_profile_that_was_asked_for() {
    let of = |body: Value| host_of(&body, UUID);
    let url = "https://MDM.example.com:8443/enroll";
    assert_eq!(
        of(json!({"profile_uuid": UUID.to_lowercase(), "url": url})).unwrap(),
        "mdm.example.com"
    );
    for body in [
        json!({"profile_uuid": "0000", "url": url}),
        json!({"profile_uuid": UUID, "url": "mdm.example.com"}),
        json!({"profile_uuid": UUID, "url": "data:,"}),
        json!({"profile_uuid": UUID}),
        json!({"url": url}),
        json!([]),
    ] {
        assert!(of(body.clone()).is_err(), "{body}");
    }
}

#[test]
fn a_record_of_another_device_is_named_as_that() {
    let evidence = with(&json!({"serial_number": "C02XK0AAJG5J"}));
    assert_eq!(evidence.detail.as_deref(), Some(ANOTHER));
}

#[test]
fn an_answer_without_a_date_is_never_ready() {
    let serial = Serial::new(SERIAL).unwrap();
    let mut evidence = Evidence::bare(
        Name::new("apple").unwrap(),
        SourceKind::AppleDep,
        serial.clone(),
        Finding::Unknown(Reason::StationFault),
    );
    let body = json!({ "devices": { SERIAL: device(&json!({})) } });
    let devices = Devices::read(&body, &[SERIAL], Nothing::Null).unwrap();
    judge(
        &mut evidence,
        devices.device(&serial),
        &Profile::NotAsked,
        &Expected::default(),
    );
    assert_eq!(evidence.finding, Finding::Unknown(Reason::Stale));
}

#[test]
fn a_profile_is_believed_for_an_hour_at_most() {
    let at = |minutes: u64| Boot::from_duration(Duration::from_mins(minutes));
    let mut hosts = Hosts::default();
    hosts.keep(UUID, "mdm.example.com", at(10));
    assert_eq!(hosts.of(UUID, at(69)).as_deref(), Some("mdm.example.com"));
    assert_eq!(
        (hosts.of(UUID, at(70)), hosts.of("other", at(10))),
        (None, None)
    );
    hosts.keep("young", "mdm.example.net", at(69));
    hosts.keep("other", "mdm.example.org", at(70));
    assert_eq!(hosts.0.len(), 2, "only what is old is dropped");
    assert_eq!(
        hosts.of("young", at(70)).as_deref(),
        Some("mdm.example.net")
    );
}

#[test]
fn what_is_shown_and_judged_beside_the_finding_is_there_and_nothing_personal() {
    let evidence = with(&json!({}));
    assert_eq!(
        evidence.assigned_at,
        Some("2026-01-09T22:01:10Z".parse().unwrap())
    );
    assert_eq!(
        evidence.device_assigned_at,
        Some("2026-01-09T21:00:00Z".parse().unwrap())
    );
    assert_eq!(evidence.model.as_deref(), Some("MacBook Air 13 inch, 2024"));
    assert_eq!(evidence.family.as_deref(), Some("Mac"));
    assert_eq!(evidence.status.as_deref(), Some("assigned"));
    assert!(!format!("{evidence:?}").contains("admin@example.com"));
}

proptest! {
    #[test]
    fn no_reply_but_apples_own_assigned_makes_ready(status in "[a-z]{0,8}", response in "[A-Z_]{0,14}", serial in "[A-Z0-9]{12}") {
        let evidence = with(&json!({"profile_status": status, "response_status": response, "serial_number": serial}));
        prop_assert!(!matches!(evidence.judged(false), Finding::Ready(_)) || (status == "assigned" && response == "SUCCESS" && serial == SERIAL));
    }

    #[test]
    fn the_order_of_fields_and_devices_never_changes_the_finding(shuffled in Just(device(&json!({})).as_object().unwrap().clone().into_iter().collect::<Vec<_>>()).prop_shuffle()) {
        let text = shuffled.iter().map(|(name, value)| format!("{name:?}:{value}")).collect::<Vec<_>>().join(",");
        let body: Value = serde_json::from_str(&format!("{{\"devices\":{{\"{SERIAL}\":{{{text}}}}}}}")).unwrap();
        prop_assert_eq!(judged(&body, &Profile::NotAsked, &Expected::default()), with(&json!({})));
    }
}
