//! Every row of the table from the organisation's record to a finding.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    readiness::{evidence::SourceKind, http},
    runtime::name::Name,
};

const SERIAL: &str = "C02XK0AAJG5H";
const OURS: &str = "1F97349736CF4614A94F624E705841AD";
const OTHER: &str = "0123456789ABCDEF0123456789ABCDEF";

fn serial() -> Serial {
    Serial::new(SERIAL).unwrap()
}

fn reply(attributes: &Value) -> Value {
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

fn judged(said: Said, linked: Option<Linked>) -> Evidence {
    let mut evidence = Evidence::bare(Name::new("business").unwrap(), SourceKind::AppleBusiness, serial(), Finding::Unknown(Reason::StationFault));
    judge(&mut evidence, said, linked, &[OURS.to_lowercase()], None);
    evidence
}

fn ours() -> Option<Linked> {
    Some(Linked::read(200, &json!({"data": {"type": "mdmServers", "id": OURS}})))
}

#[test]
fn every_row_of_the_table() {
    let other = Some(Linked::To(OTHER.to_owned()));
    let table = [
        (404, error(&json!("404")), None, Finding::No(Reason::NotInOrg), false),
        (200, reply(&json!({"releasedFromOrgDateTime": "2026-01-01T00:00:00Z"})), ours(), Finding::No(Reason::Released), true),
        (200, reply(&json!({"releasedFromOrgDateTime": "2026-01-01T00:00:00Z", "status": "UNASSIGNED"})), None, Finding::No(Reason::Released), true),
        (200, reply(&json!({"mdmMigrationStatus": "REQUESTED"})), ours(), Finding::No(Reason::MigrationPending), true),
        (200, reply(&json!({"mdmMigrationStatus": "STARTED"})), ours(), Finding::No(Reason::MigrationPending), true),
        (200, reply(&json!({"mdmMigrationStatus": "COMPLETED"})), ours(), Finding::NoObjection, true),
        (200, reply(&json!({"status": "UNASSIGNED"})), None, Finding::No(Reason::Unassigned), true),
        (200, reply(&json!({})), other, Finding::No(Reason::WrongServer), true),
        (200, reply(&json!({})), Some(Linked::NotYet), Finding::Wait(Reason::SyncPending), true),
        (200, reply(&json!({})), Some(Linked::Unread(Reason::Timeout, None)), Finding::Unknown(Reason::Timeout), true),
        (200, reply(&json!({})), None, Finding::Unknown(Reason::StationFault), true),
        (200, reply(&json!({})), ours(), Finding::NoObjection, true),
        (200, reply(&json!({"serialNumber": null})), ours(), Finding::NoObjection, true),
        (200, reply(&json!({"releasedFromOrgDateTime": null})), ours(), Finding::NoObjection, true),
        (200, reply(&json!({"serialNumber": "C02XK0AAJG5J"})), ours(), Finding::Unknown(Reason::GarbledAnswer), false),
        (200, reply(&json!({"status": "PENDING"})), ours(), Finding::Unknown(Reason::GarbledAnswer), true),
        (200, reply(&json!({"status": null})), ours(), Finding::Unknown(Reason::GarbledAnswer), true),
    ];
    for (status, body, linked, finding, known) in table {
        let evidence = judged(Said::read(status, &body, &serial()), linked);
        assert_eq!((evidence.finding, evidence.known), (finding, known), "{status} {body}");
    }
}

#[test]
fn nothing_here_ever_proves_a_profile() {
    for status in ["ASSIGNED", "UNASSIGNED", "assigned", ""] {
        let evidence = judged(Said::read(200, &reply(&json!({"status": status})), &serial()), ours());
        assert!(!matches!(evidence.finding, Finding::Ready(_)));
    }
}

#[test]
fn only_apples_own_404_says_not_in_the_organisation() {
    for body in
        [json!(null), json!([]), json!({}), json!({"errors": []}), json!({"message": "no Route matched"}), error(&json!("403")), error(&json!(404))]
    {
        let evidence = judged(Said::read(404, &body, &serial()), None);
        assert_eq!((evidence.finding, evidence.known), (Finding::Unknown(Reason::GarbledAnswer), false), "{body}");
    }
}

#[test]
fn another_devices_record_is_never_taken() {
    let other = json!({"data": {"type": "orgDevices", "id": "C02XK0AAJG5J", "attributes": {"status": "ASSIGNED"}}});
    let none = json!({"data": {"type": "orgDevices", "attributes": {"status": "ASSIGNED"}}});
    let list = json!({"data": [{"type": "orgDevices", "id": SERIAL, "attributes": {"status": "ASSIGNED"}}]});
    for body in [other, none, list, json!({"data": null}), json!({}), json!([])] {
        let evidence = judged(Said::read(200, &body, &serial()), ours());
        assert_eq!((evidence.finding, evidence.known), (Finding::Unknown(Reason::GarbledAnswer), false), "{body}");
    }
}

#[test]
fn a_linkage_that_lags_is_waited_for_and_a_strange_one_is_not_guessed_at() {
    let not_yet = [json!({"data": null}), json!({"data": {}}), json!({"data": {"type": "mdmServers", "id": ""}}), json!({"data": {"id": null}})];
    for body in not_yet {
        assert_eq!(Linked::read(200, &body), Linked::NotYet, "{body}");
    }
    assert_eq!(Linked::read(404, &error(&json!("404"))), Linked::NotYet);
    for (status, body) in
        [(404, json!({})), (200, json!({})), (200, json!([])), (200, json!({"data": []})), (200, json!({"data": {"id": 7}})), (200, json!(null))]
    {
        assert!(matches!(Linked::read(status, &body), Linked::Unread(Reason::GarbledAnswer, _)), "{status} {body}");
    }
}

#[test]
fn the_server_is_asked_for_only_where_it_matters() {
    let wants = |attributes| Said::read(200, &reply(&attributes), &serial()).wants_server();
    assert!(wants(json!({})));
    assert!(!wants(json!({"status": "UNASSIGNED"})));
    assert!(!wants(json!({"releasedFromOrgDateTime": "2026-01-01T00:00:00Z"})));
    assert!(!wants(json!({"mdmMigrationStatus": "STARTED"})));
    assert!(!Said::NotInOrg.wants_server());
}

#[test]
fn what_is_judged_beside_the_finding_is_there() {
    let evidence = judged(Said::read(200, &reply(&json!({})), &serial()), ours());
    assert_eq!(evidence.updated_at, Some("2026-05-01T15:33:54.164Z".parse().unwrap()));
    assert_eq!(evidence.status.as_deref(), Some("ASSIGNED"));
    assert_eq!(evidence.family.as_deref(), Some("Mac"));
    assert_eq!(evidence.assigned_at, None, "assigned to a server is no assigned profile");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200), status in prop_oneof![Just(200_u16), Just(404)]) {
        let body = http::json(&body).unwrap_or_default();
        let _ = Said::read(status, &body, &serial());
        let _ = Linked::read(status, &body);
    }
}
