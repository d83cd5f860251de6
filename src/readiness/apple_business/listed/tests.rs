//! Pages of the organisation's lists, and what is kept of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};

use super::*;

#[cfg(feature = "simulate")]
mod simulated;

const OURS: &str = "1F97349736CF4614A94F624E705841AD";

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
