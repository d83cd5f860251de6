//! Every row of the table from the organisation's record to a finding.
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
pub(in super::super) const OURS: &str = "1F97349736CF4614A94F624E705841AD";
pub(in super::super) const OTHER: &str = "0123456789ABCDEF0123456789ABCDEF";

pub(in super::super) fn serial() -> Serial {
    Serial::new(SERIAL).unwrap()
}

pub(in super::super) fn reply(attributes: &Value) -> Value {
    let mut all = json!({
        "serialNumber": SERIAL, "addedToOrgDateTime": "2025-04-30T22:05:14.192Z", "updatedDateTime": "2026-05-01T15:33:54.164Z",
        "deviceModel": "iMac 21.5\"", "productFamily": "Mac", "productType": "Mac16,10", "deviceCapacity": "750GB", "partNumber": "FD311LL/A",
        "orderNumber": "1234567890", "color": "SILVER", "status": "ASSIGNED", "orderDateTime": "2011-08-15T07:00:00Z", "imei": [], "meid": [], "eid": ""
    });
    for (key, value) in attributes.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({"data": {"type": "orgDevices", "id": SERIAL, "attributes": all}, "links": {"self": "x"}})
}

fn error(status: &Value) -> Value {
    json!({"errors": [{"id": "x", "status": status, "code": "NOT_FOUND", "title": "Not found", "detail": "There is no such resource"}]})
}

pub(in super::super) fn judged(said: Said, linked: Option<Linked>) -> Evidence {
    let mut evidence = Evidence::bare(
        Name::new("business").unwrap(),
        SourceKind::AppleBusiness,
        serial(),
        Finding::Unknown(Reason::StationFault),
    );
    judge(&mut evidence, said, linked, &[OURS.to_lowercase()], None);
    evidence
}

fn ours() -> Option<Linked> {
    Some(Linked::read(
        200,
        &json!({"data": {"type": "mdmServers", "id": OURS}}),
        &serial(),
    ))
}

/// The reply's status and body, the linkage, the finding, and whether the device is known.
pub(in super::super) fn table() -> Vec<(u16, Value, Option<Linked>, Finding, bool)> {
    let other = Some(Linked::To(OTHER.to_owned()));
    vec![
        (
            404,
            error(&json!("404")),
            None,
            Finding::No(Reason::NotInOrg),
            false,
        ),
        (
            200,
            reply(&json!({"releasedFromOrgDateTime": "2026-01-01T00:00:00Z"})),
            ours(),
            Finding::No(Reason::Released),
            true,
        ),
        (
            200,
            reply(
                &json!({"releasedFromOrgDateTime": "2026-01-01T00:00:00Z", "status": "UNASSIGNED"}),
            ),
            None,
            Finding::No(Reason::Released),
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": "REQUESTED"})),
            ours(),
            Finding::No(Reason::MigrationPending),
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": "STARTED"})),
            ours(),
            Finding::No(Reason::MigrationPending),
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": "COMPLETED"})),
            ours(),
            Finding::Unknown(Reason::GarbledAnswer),
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": "COMPLETED", "status": "UNASSIGNED"})),
            None,
            Finding::Unknown(Reason::GarbledAnswer),
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": "COMPLETED", "releasedFromOrgDateTime": "x"})),
            None,
            Finding::No(Reason::Released),
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": "STARTED", "status": "UNASSIGNED"})),
            None,
            Finding::No(Reason::MigrationPending),
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": "FAILED", "status": "UNASSIGNED"})),
            None,
            Finding::No(Reason::Unassigned),
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": "SUCCESS"})),
            ours(),
            Finding::NoObjection,
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": "FAILED"})),
            ours(),
            Finding::NoObjection,
            true,
        ),
        (
            200,
            reply(&json!({"mdmMigrationStatus": null})),
            ours(),
            Finding::NoObjection,
            true,
        ),
        (
            200,
            reply(&json!({"status": "UNASSIGNED"})),
            None,
            Finding::No(Reason::Unassigned),
            true,
        ),
        (
            200,
            reply(&json!({})),
            other,
            Finding::No(Reason::WrongServer),
            true,
        ),
        (
            200,
            reply(&json!({})),
            Some(Linked::NotYet),
            Finding::Wait(Reason::SyncPending),
            true,
        ),
        (
            200,
            reply(&json!({})),
            Some(Linked::Unread(Reason::Timeout, None)),
            Finding::Unknown(Reason::Timeout),
            true,
        ),
        (
            200,
            reply(&json!({})),
            None,
            Finding::Unknown(Reason::StationFault),
            true,
        ),
        (200, reply(&json!({})), ours(), Finding::NoObjection, true),
        (
            200,
            reply(&json!({"serialNumber": null})),
            ours(),
            Finding::NoObjection,
            true,
        ),
        (
            200,
            reply(&json!({"releasedFromOrgDateTime": null})),
            ours(),
            Finding::NoObjection,
            true,
        ),
        (
            200,
            reply(&json!({"serialNumber": "C02XK0AAJG5J"})),
            ours(),
            Finding::Unknown(Reason::GarbledAnswer),
            false,
        ),
        (
            200,
            reply(&json!({"status": "PENDING"})),
            ours(),
            Finding::Unknown(Reason::GarbledAnswer),
            true,
        ),
        (
            200,
            reply(&json!({"status": null})),
            ours(),
            Finding::Unknown(Reason::GarbledAnswer),
            true,
        ),
    ]
}

#[test]
fn every_row_of_the_table() {
    for (status, body, linked, finding, known) in table() {
        let evidence = judged(Said::read(status, &body, &serial()), linked);
        assert_eq!(
            (evidence.finding, evidence.known),
            (finding, known),
            "{status} {body}"
        );
    }
}

#[test]
fn nothing_here_ever_proves_a_profile() {
    for status in ["ASSIGNED", "UNASSIGNED", "assigned", ""] {
        let evidence = judged(
            Said::read(200, &reply(&json!({"status": status})), &serial()),
            ours(),
        );
        assert!(!matches!(evidence.finding, Finding::Ready(_)));
    }
}

#[test]
fn only_apples_own_404_says_not_in_the_organisation() {
    for body in [
        json!(null),
        json!({}),
        json!([]),
        json!({"errors": []}),
        json!({"errors": {}}),
        json!({"message": "no Route matched"}),
        json!({"errors": [{"status": "404", "code": "NOT_FOUND"}], "data": {}}),
        json!({"errors": [{"status": "404", "code": "NOT_FOUND"}, {"status": "403", "code": "FORBIDDEN"}]}),
        json!({"errors": [{"status": "404", "code": ""}]}),
        error(&json!("403")),
        error(&json!(404)),
    ] {
        let evidence = judged(Said::read(404, &body, &serial()), None);
        assert_eq!(
            (evidence.finding, evidence.known),
            (Finding::Unknown(Reason::GarbledAnswer), false),
            "{body}"
        );
    }
}

#[test]
fn another_devices_record_is_never_taken() {
    let other = json!({"data": {"type": "orgDevices", "id": "C02XK0AAJG5J", "attributes": {"status": "ASSIGNED"}}});
    let none = json!({"data": {"type": "orgDevices", "attributes": {"status": "ASSIGNED"}}});
    let list = json!({"data": [{"type": "orgDevices", "id": SERIAL, "attributes": {"status": "ASSIGNED"}}]});
    for body in [
        other,
        none,
        list,
        json!({"data": null}),
        json!({}),
        json!([]),
    ] {
        let evidence = judged(Said::read(200, &body, &serial()), ours());
        assert_eq!(
            (evidence.finding, evidence.known),
            (Finding::Unknown(Reason::GarbledAnswer), false),
            "{body}"
        );
    }
}

#[test]
fn a_linkage_that_lags_is_waited_for_and_a_strange_one_is_not_guessed_at() {
    let not_yet = [
        json!({"data": null}),
        json!({"data": {}}),
        json!({"data": {"type": "mdmServers", "id": ""}}),
        json!({"data": {"id": null}}),
    ];
    for body in not_yet {
        assert_eq!(
            Linked::read(200, &body, &serial()),
            Linked::NotYet,
            "{body}"
        );
    }
    assert_eq!(
        Linked::read(404, &error(&json!("404")), &serial()),
        Linked::NotYet
    );
    let link = |serial: &str| json!({"self": format!("https://api-business.apple.com/v1/orgDevices/{serial}/relationships/assignedServer")});
    let linked = |links: Value| json!({"data": {"type": "mdmServers", "id": OURS}, "links": links});
    for (status, body) in [
        (404, json!(null)),
        (200, json!({})),
        (200, json!([])),
        (200, json!({"data": []})),
        (200, json!({"data": {"id": 7}})),
        (200, json!({"data": {"type": "orgDevices", "id": OURS}})),
        (200, json!({"data": {"id": OURS}})),
        (200, json!({"data": null, "errors": [{"status": "500"}]})),
        (200, linked(link("C02XK0AAJG5J"))),
        (200, linked(json!([]))),
    ] {
        assert!(
            matches!(
                Linked::read(status, &body, &serial()),
                Linked::Unread(Reason::GarbledAnswer, _)
            ),
            "{status} {body}"
        );
    }
    for links in [
        link(SERIAL),
        json!({"self": "https://api-business.apple.com/v1"}),
        json!({}),
        json!(null),
    ] {
        assert_eq!(
            Linked::read(200, &linked(links.clone()), &serial()),
            Linked::To(OURS.to_owned()),
            "{links}"
        );
    }
}

#[test]
fn the_server_is_asked_for_only_where_it_matters() {
    let wants = |attributes| Said::read(200, &reply(&attributes), &serial()).wants_server();
    assert!(wants(json!({})));
    assert!(!wants(json!({"status": "UNASSIGNED"})));
    assert!(!wants(
        json!({"releasedFromOrgDateTime": "2026-01-01T00:00:00Z"})
    ));
    assert!(!wants(json!({"mdmMigrationStatus": "STARTED"})));
    assert!(!wants(json!({"mdmMigrationStatus": "PAUSED"})));
    assert!(wants(json!({"mdmMigrationStatus": "FAILED"})));
    assert!(!Said::NotInOrg.wants_server());
}

#[test]
fn what_is_judged_beside_the_finding_is_there() {
    let evidence = judged(Said::read(200, &reply(&json!({})), &serial()), ours());
    assert_eq!(
        evidence.updated_at,
        Some("2026-05-01T15:33:54.164Z".parse().unwrap())
    );
    assert_eq!(evidence.status.as_deref(), Some("ASSIGNED"));
    assert_eq!(evidence.family.as_deref(), Some("Mac"));
    assert_eq!(
        evidence.assigned_at, None,
        "assigned to a server is no assigned profile"
    );
}

#[test]
fn a_failed_migration_is_said_whatever_else_there_is_to_say() {
    let detail = |attributes: Value, linked| {
        judged(Said::read(200, &reply(&attributes), &serial()), linked)
            .detail
            .unwrap_or_default()
    };
    let failed = json!({"mdmMigrationStatus": "FAILED"});
    let sentence = "Apple says that its last migration to another MDM server FAILED.";
    assert_eq!(detail(failed.clone(), ours()), sentence);
    assert_eq!(
        detail(failed, Some(Linked::To(OTHER.to_owned()))),
        format!("It is assigned to server {OTHER}. {sentence}")
    );
    assert_eq!(detail(json!({}), ours()), "");
}

/// Any JSON, and a good answer with one value of it replaced.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|flag| json!(flag)),
        any::<i64>().prop_map(|number| json!(number)),
        "[A-Za-z0-9]{0,12}".prop_map(|text| json!(text))
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|list| json!(list)),
            proptest::collection::btree_map(
                "data|errors|id|type|attributes|status|links|self",
                inner,
                0..4
            )
            .prop_map(|object| json!(object)),
        ]
    })
}

proptest! {
    #[test]
    fn only_a_good_answer_in_both_replies_is_no_objection(
        strange in any_json(), status in prop_oneof![Just(200_u16), Just(404)],
        path in proptest::sample::select(vec!["/data", "/data/type", "/data/id", "/data/attributes", "/data/attributes/status", "/data/attributes/updatedDateTime"]),
    ) {
        prop_assert_ne!(judged(Said::read(status, &strange, &serial()), ours()).finding, Finding::NoObjection);
        prop_assert_ne!(judged(Said::read(200, &reply(&json!({})), &serial()), Some(Linked::read(status, &strange, &serial()))).finding, Finding::NoObjection);
        let mut changed = reply(&json!({}));
        let known = changed.pointer(path).unwrap().clone();
        *changed.pointer_mut(path).unwrap() = strange.clone();
        // Without that time, or with another one, it is the answer that it was.
        let a_time = path.ends_with("Time") && (strange.is_null() || strange == "" || strange.as_str().and_then(spelling::timestamp).is_some());
        let good = strange == known || a_time;
        prop_assert_eq!(judged(Said::read(200, &changed, &serial()), ours()).finding == Finding::NoObjection, good, "{}", changed);
    }
}
