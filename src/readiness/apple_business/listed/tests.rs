//! Pages of the organisation's lists, and what is kept of them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};

use super::{super::finding::tests::OURS, *};

#[cfg(feature = "simulate")]
mod simulated;

fn device(serial: &str) -> Value {
    json!({
        "type": "orgDevices", "id": serial, "links": {"self": "PERSONAL"},
        "attributes": {
            "serialNumber": serial, "addedToOrgDateTime": "2025-04-30T22:05:14.192Z", "updatedDateTime": "2026-05-01T15:33:54.164Z",
            "deviceModel": "iMac 21.5\"", "productFamily": "Mac", "productType": "PERSONAL", "deviceCapacity": "PERSONAL", "partNumber": "PERSONAL",
            "orderNumber": "PERSONAL", "color": "PERSONAL", "status": "ASSIGNED", "orderDateTime": "2011-08-15T07:00:00Z",
            "imei": ["PERSONAL"], "meid": ["PERSONAL"], "eid": "PERSONAL", "wifiMacAddress": "PERSONAL", "purchaseSourceId": "PERSONAL",
        }
    })
}

fn link(serial: &str) -> Value {
    json!({"type": "orgDevices", "id": serial})
}

fn page(data: &[Value], paging: Value) -> Value {
    json!({"data": data, "links": {"self": "x", "next": "https://elsewhere.example"}, "meta": {"paging": paging}})
}

#[test]
fn a_page_names_its_devices_and_the_next_page() {
    let (one, other) = ("C02XK0AAJG5H", "C02XK0AAJG5J");
    for (paging, next) in [
        (
            json!({"nextCursor": "c", "limit": 2, "total": 9}),
            Some("c"),
        ),
        (json!({"nextCursor": null}), None),
        (json!({"nextCursor": ""}), None),
        (json!({}), None),
        (json!(null), None),
    ] {
        let devices = wire::devices(&page(&[device(one), device(other)], paging.clone())).unwrap();
        let links = wire::links(&page(&[link(one), link(other)], paging)).unwrap();
        let named: Vec<_> = devices
            .records
            .into_iter()
            .map(|(serial, _)| serial)
            .collect();
        assert_eq!(
            (named, links.records),
            (
                vec![one.to_owned(), other.to_owned()],
                vec![one.to_owned(), other.to_owned()]
            )
        );
        assert_eq!(
            (devices.next.as_deref(), links.next.as_deref()),
            (next, next)
        );
    }
    assert!(
        wire::links(&json!({"data": []}))
            .unwrap()
            .records
            .is_empty()
    );
}

#[test]
fn a_malformed_record_makes_the_whole_page_no_page() {
    let good = || device("C02XK0AAJG5H");
    let with = |path: &str, value: Value| {
        let mut other = device("C02XK0AAJG5J");
        *other.pointer_mut(path).unwrap() = value;
        page(&[good(), other], json!({}))
    };
    for body in [
        json!([]),
        json!({}),
        json!({"data": null}),
        json!({"data": {}}),
        json!({"data": [], "errors": [{"status": "500"}]}),
        page(&[good(), json!(7)], json!({})),
        page(&[good(), good()], json!({})),
        page(&[good()], json!({"nextCursor": 7})),
        page(&[good()], json!([])),
        with("/type", json!("mdmServers")),
        with("/id", json!(null)),
        with("/id", json!(7)),
        with("/attributes", json!(null)),
        with("/attributes/serialNumber", json!("C02XK0AAJG5K")),
        with("/attributes/status", json!(7)),
        with("/attributes/updatedDateTime", json!("yesterday")),
    ] {
        assert!(wire::devices(&body).is_err(), "{body}");
    }
    for record in [
        json!(7),
        json!({"id": "C02XK0AAJG5J"}),
        json!({"type": "orgDevices"}),
        link("C02XK0AAJG5H"),
    ] {
        let body = page(&[link("C02XK0AAJG5H"), record], json!({}));
        assert!(wire::links(&body).is_err(), "{body}");
    }
}

fn kept() -> [Vec<u8>; 3] {
    let page = wire::devices(&page(&[device("C02XK0AAJG5H")], json!({}))).unwrap();
    let (_, device) = page.records.into_iter().next().unwrap();
    let server = json!({"type": "mdmServers", "id": OURS, "attributes": {"serverName": "HQ", "serverType": "MDM", "createdDateTime": "PERSONAL"}});
    [
        compact::written(FORM, &Kept::Device(device)).unwrap(),
        compact::written(FORM, &Kept::Link(Id::from(OURS))).unwrap(),
        compact::written(FORM, &vec![Server::read(&server).unwrap()]).unwrap(),
    ]
}

#[test]
fn a_body_is_small_and_holds_nothing_personal() {
    for (body, most) in kept().iter().zip([60, 20, 60]) {
        assert!(body.len() <= most, "{} bytes", body.len());
        assert!(!body.windows(8).any(|here| here == b"PERSONAL"));
    }
}

/// Files that an earlier version wrote hold bodies of this form.
#[test]
fn the_form_of_a_body_changes_only_with_its_number() {
    let hex = |body: Vec<u8>| {
        body.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    assert_eq!(FORM, 1);
    assert_eq!(
        kept().map(hex),
        [
            "0100010841535349474e4544000001809496b790bbbdab31010a694d61632032312e352201034d6163",
            "0101011f97349736cf4614a94f624e705841ad",
            "0101203146393733343937333643463436313441393446363234453730353834314144024851034d444d",
        ]
    );
}

mod like_live {
    //! What is stored says what the live answer says.

    use std::time::Duration;

    use super::{
        super::super::finding::tests::{OTHER, SERIAL, judged, reply, serial, table},
        *,
    };
    use crate::{
        readiness::replica::ReadAt,
        runtime::{clock::Boot, name::Name},
    };

    fn server(id: &str) -> Server {
        let named = |text: &str| text.to_owned();
        Server {
            id: named(id),
            name: named("HQ"),
            kind: named("MDM"),
        }
    }

    fn stored(kept: &Kept) -> StoredRow {
        StoredRow {
            body: compact::written(FORM, kept).unwrap(),
            read_at: ReadAt {
                boot_id: uuid::Uuid::nil(),
                boot: Boot::from_duration(Duration::ZERO),
                date: now(),
            },
        }
    }

    fn now() -> Timestamp {
        "2026-11-23T09:41:07Z".parse().unwrap()
    }

    fn bare() -> Evidence {
        Evidence::bare(
            Name::new("business").unwrap(),
            SourceKind::AppleBusiness,
            serial(),
            Finding::Unknown(Reason::Stale),
        )
    }

    /// The evidence from the device's record as the list shows it, and from the servers that list it.
    fn from_rows(record: &Value, servers: &[&str]) -> Option<Evidence> {
        from_rows_where(record, servers, servers)
    }

    /// Where Apple's newest list holds the servers `known`.
    fn from_rows_where(record: &Value, servers: &[&str], known: &[&str]) -> Option<Evidence> {
        let page = wire::devices(&json!({ "data": [record] })).ok()?;
        let ours = |(named, device)| (named == SERIAL).then(|| stored(&Kept::Device(device)));
        let mut rows: Vec<_> = page.records.into_iter().filter_map(ours).collect();
        rows.extend(servers.iter().map(|id| stored(&Kept::Link(Id::from(*id)))));
        let known: Vec<Server> = known.iter().copied().map(server).collect();
        Some(judge(bare(), &rows, &[OURS.to_lowercase()], &known))
    }

    #[test]
    fn stored_rows_give_the_finding_of_the_live_answer_in_every_row_of_the_table() {
        let mut judged_alike = 0;
        for (status, body, linked, _, known) in table() {
            let live = judged(Said::read(status, &body, &serial()), linked.clone());
            // What the organisation does not hold is not in its list; and a linkage that is not to be had is in no server's.
            let (Some(record), None | Some(Linked::To(_))) = (body.get("data"), &linked) else {
                continue;
            };
            let servers: Vec<&str> = match &linked {
                Some(Linked::To(id)) => vec![id],
                _ => Vec::new(),
            };
            let Some(copy) = from_rows(record, &servers) else {
                assert_eq!(live.finding, Finding::Unknown(Reason::GarbledAnswer));
                continue;
            };
            let detail = copy.detail.clone();
            let wanted = Evidence {
                as_of: Some(now()),
                replied_at: Some(now()),
                detail: match live.finding {
                    // The live sentence has no names here.
                    Finding::No(Reason::WrongServer) => detail,
                    _ => live.detail.clone(),
                },
                ..live
            };
            if wanted.finding == Finding::Unknown(Reason::StationFault) {
                assert_eq!(
                    copy.finding,
                    Finding::Unknown(Reason::Stale),
                    "under no server"
                );
                continue;
            }
            assert_eq!((&copy, copy.known), (&wanted, known), "{body}");
            judged_alike += 1;
        }
        assert!(judged_alike > 15, "{judged_alike}");
    }

    #[test]
    fn an_assigned_device_under_no_server_or_under_two_is_asked_about_live() {
        let finding = |attributes: Value, servers: &[&str]| {
            let record = reply(&attributes)["data"].clone();
            from_rows(&record, servers).unwrap().finding
        };
        assert_eq!(finding(json!({}), &[OURS]), Finding::NoObjection);
        let asked_live = [
            (finding(json!({}), &[]), Reason::Stale),
            (finding(json!({}), &[OURS, OTHER]), Reason::Contradiction),
            (finding(json!({}), &[OTHER, OURS]), Reason::Contradiction),
            (finding(json!({}), &[OURS, OURS]), Reason::Contradiction),
        ];
        for (finding, reason) in asked_live {
            assert_eq!(finding, Finding::Unknown(reason));
        }
        let unassigned = finding(json!({"status": "UNASSIGNED"}), &[OURS]);
        assert_eq!(unassigned, Finding::No(Reason::Unassigned));
    }

    #[test]
    fn a_device_of_a_server_that_is_gone_from_the_newest_list_is_asked_about_live() {
        let record = reply(&json!({}))["data"].clone();
        let finding = |known: &[&str]| from_rows_where(&record, &[OURS], known).unwrap().finding;
        assert_eq!(finding(&[OTHER, OURS]), Finding::NoObjection);
        assert_eq!(finding(&[&OURS.to_lowercase()]), Finding::NoObjection);
        for known in [&[][..], &[OTHER]] {
            assert_eq!(finding(known), Finding::Unknown(Reason::Stale));
        }
    }

    #[test]
    fn a_server_that_lists_a_device_without_its_record_proves_nothing() {
        let device = || {
            let page = wire::devices(&json!({"data": [reply(&json!({}))["data"]]})).unwrap();
            stored(&Kept::Device(page.records.into_iter().next().unwrap().1))
        };
        let link = || stored(&Kept::Link(Id::from(OURS)));
        let mut damaged = link();
        damaged.body.pop();
        for rows in [
            vec![],
            vec![link()],
            vec![device(), device(), link()],
            vec![device(), link(), damaged],
        ] {
            let evidence = judge(bare(), &rows, &[OURS.to_owned()], &[server(OURS)]);
            assert_eq!(evidence, bare());
        }
    }
}
