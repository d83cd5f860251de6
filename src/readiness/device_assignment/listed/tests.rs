//! Pages of Apple's list, and what is kept of a record.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::json;

use super::*;

#[cfg(feature = "simulate")]
mod simulated;

fn record(serial: &str) -> Value {
    json!({
        "serial_number": serial, "model": "PERSONAL", "description": "MacBook Air 13 inch, 2024", "color": "PERSONAL", "asset_tag": "PERSONAL",
        "device_family": "Mac", "os": "PERSONAL", "profile_status": "assigned", "profile_uuid": "88FC4E378B4B4E3B9E7C5E0C9B7E5E6B",
        "profile_assign_time": "2026-01-09T22:01:10Z", "profile_push_time": "2026-01-09T22:01:11Z", "device_assigned_by": "PERSONAL",
        "device_assigned_date": "2026-01-09T21:00:00Z", "mdm_migration_deadline": "2026-12-24T00:00:00Z", "is_replacement_device": false,
        "wifi_mac_address": "PERSONAL", "bluetooth_mac_address": "PERSONAL", "eid": "PERSONAL", "imei": ["PERSONAL"], "meid": ["PERSONAL"],
    })
}

fn page(changes: Value) -> Value {
    let mut page = json!({
        "devices": [record("C02XK0AAJG5H"), record("C02XK0AAJG5J")],
        "cursor": "MDowOjE=", "more_to_follow": true, "fetched_until": "2026-11-23T09:41:07Z",
    });
    for (name, value) in changes.as_object().unwrap() {
        page[name] = value.clone();
    }
    page
}

#[test]
fn a_page_names_its_devices_and_the_next_page() {
    let read = |changes| {
        let page = ListPage::read(&page(changes)).unwrap();
        let serials = page.devices.iter().map(|(serial, _)| serial.to_string());
        (serials.collect::<Vec<_>>().join(" "), page.next)
    };
    let both = "C02XK0AAJG5H C02XK0AAJG5J";
    assert_eq!(
        read(json!({})),
        (both.to_owned(), Some("MDowOjE=".to_owned()))
    );
    for cursor in [json!("MDowOjE="), json!(""), json!(null)] {
        let last = json!({"more_to_follow": false, "cursor": cursor});
        assert_eq!(read(last), (both.to_owned(), None));
    }
    let last = json!({"devices": [], "more_to_follow": false});
    assert_eq!(read(last), (String::new(), None));
    let no_code =
        json!({"devices": [record("0123456789"), record("C02XK0AAJG5H"), record("c02xk0aajg5j")]});
    assert_eq!(
        read(no_code).0,
        "C02XK0AAJG5H",
        "no code on a box names the others"
    );
}

#[test]
fn a_malformed_record_makes_the_whole_page_no_page() {
    let with = |name: &str, value: Value| {
        let mut other = record("C02XK0AAJG5J");
        other[name] = value;
        json!({"devices": [record("C02XK0AAJG5H"), other]})
    };
    for changes in [
        json!({"devices": null}),
        json!({"devices": {}}),
        json!({"devices": [record("C02XK0AAJG5H"), 7]}),
        json!({"devices": [record("C02XK0AAJG5H"), record("C02XK0AAJG5H")]}),
        json!({"cursor": null}),
        json!({"cursor": ""}),
        json!({"cursor": 7}),
        json!({"more_to_follow": null}),
        json!({"more_to_follow": "true"}),
        with("serial_number", json!(null)),
        with("serial_number", json!(7)),
        with("profile_status", json!(1)),
        with("profile_uuid", json!([])),
        with("profile_assign_time", json!("yesterday")),
        with("device_assigned_date", json!(7)),
        with("mdm_migration_deadline", json!(false)),
    ] {
        assert!(ListPage::read(&page(changes.clone())).is_err(), "{changes}");
    }
    assert!(ListPage::read(&json!([])).is_err());
}

fn kept() -> Kept {
    let page = ListPage::read(&page(json!({}))).unwrap();
    let (_, device) = page.devices.into_iter().next().unwrap();
    (device, Some("mdm.example.com".to_owned()))
}

#[test]
fn a_body_is_small_and_holds_nothing_personal() {
    let body = compact::written(FORM, &kept()).unwrap();
    let holds = |text: &str| body.windows(text.len()).any(|here| here == text.as_bytes());
    assert!(holds("MacBook Air") && holds("mdm.example.com"));
    assert!(!holds("PERSONAL") && !holds("C02XK0AAJG5H"));
    assert!(body.len() <= 120, "{} bytes", body.len());
}

/// Files that an earlier version wrote hold bodies of this form.
#[test]
fn the_form_of_a_body_changes_only_with_its_number() {
    let body = compact::written(FORM, &kept()).unwrap();
    let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(FORM, 1);
    assert_eq!(
        hex,
        "01010861737369676e6564010188fc4e378b4b4e3b9e7c5e0c9b7e5e6b0180f097cadec3978931018080b9f98eee9589310101194d6163426f6f6b2041697220313320696e63682c203230323401034d6163010f6d646d2e6578616d706c652e636f6d"
    );
}

mod like_live {
    //! What is stored says what the live answer says.

    use std::time::Duration;

    use super::{
        super::super::finding::{
            Devices, Nothing,
            tests::{SERIAL, UUID, device, judged, now, table, with},
        },
        *,
    };
    use crate::{
        readiness::{
            evidence::{Finding, Grade, SourceKind},
            replica::ReadAt,
        },
        runtime::{clock::Boot, name::Name},
    };

    fn bare() -> Evidence {
        Evidence::bare(
            Name::new("apple").unwrap(),
            SourceKind::AppleDep,
            Serial::new(SERIAL).unwrap(),
            Finding::Unknown(Reason::Stale),
        )
    }

    /// The evidence from the same record as the list shows it and the replica keeps it, read just now, beside the live one. `None`: the
    /// whole page is refused.
    fn stored(fields: &Value, host: Option<&str>, expected: &Expected) -> Option<[Evidence; 2]> {
        let mut record = device(fields);
        record.as_object_mut().unwrap().remove("response_status");
        let page =
            ListPage::read(&json!({"devices": [record], "cursor": "c", "more_to_follow": false}));
        let rows: Vec<StoredRow> = page
            .ok()?
            .devices
            .into_iter()
            .filter(|(serial, _)| serial.as_str() == SERIAL)
            .map(|(_, device)| StoredRow {
                body: compact::written(FORM, &Kept::from((device, host.map(str::to_owned))))
                    .unwrap(),
                read_at: ReadAt {
                    boot_id: uuid::Uuid::nil(),
                    boot: Boot::from_duration(Duration::ZERO),
                    date: now(),
                },
            })
            .collect();
        let live = json!({ "devices": { SERIAL: device(fields) } });
        let serial = Serial::new(SERIAL).unwrap();
        let said = Devices::read(&live, &[SERIAL], Nothing::Null);
        let said = said.map(|devices| devices.device(&serial));
        let profile = match said {
            Ok(Said::Device(device)) => match expected.wanted_profile(&device) {
                Ok(_) => host.map_or(Profile::Unread(Reason::Stale, None), |host| {
                    Profile::Host(host.to_owned())
                }),
                Err(profile) => profile,
            },
            _ => Profile::NotAsked,
        };
        let copy = judge(bare(), &rows, now(), expected);
        Some([copy, judged(&live, &profile, expected)])
    }

    #[test]
    fn a_stored_record_gives_the_finding_of_the_live_answer_in_every_row_of_the_table() {
        let expected = |profiles: &[&str], hosts: &[&str]| Expected {
            profiles: profiles.iter().map(|&one| one.to_owned()).collect(),
            hosts: hosts.iter().map(|&one| one.to_owned()).collect(),
        };
        let policies = [
            expected(&[], &[]),
            expected(&[UUID], &[]),
            expected(&["0000"], &[]),
            expected(&[], &["mdm.example.com"]),
            expected(&["0000"], &["mdm.example.com"]),
        ];
        // Only the reply to a question about single devices has this field.
        let mut fields: Vec<Value> = table().into_iter().map(|(fields, ..)| fields).collect();
        fields.retain(|fields| fields.get("response_status").is_none());
        fields.extend([
            json!({"profile_status": "pushed"}),
            json!({"profile_status": "pushed", "mdm_migration_deadline": "2026-12-24T00:00:00Z"}),
            json!({"profile_uuid": ""}),
            json!({"profile_uuid": "abc"}),
        ]);
        let (mut ready, mut others) = (0, 0);
        for policy in &policies {
            for host in [None, Some("MDM.example.com"), Some("mdm.example.org")] {
                for fields in &fields {
                    let Some([copy, live]) = stored(fields, host, policy) else {
                        assert_eq!(
                            with(fields).finding,
                            Finding::Unknown(Reason::GarbledAnswer),
                            "{fields}"
                        );
                        continue;
                    };
                    let wanted = match live.finding {
                        Finding::Ready(_) => Finding::Ready(Grade::Relayed),
                        finding => finding,
                    };
                    if fields.get("serial_number").is_some() {
                        assert_eq!((copy, live.known), (bare(), false), "{fields}");
                        continue;
                    }
                    ready += u32::from(wanted == Finding::Ready(Grade::Relayed));
                    others += u32::from(wanted != Finding::Ready(Grade::Relayed));
                    let wanted = Evidence {
                        finding: wanted,
                        as_of: Some(now()),
                        used_at: None,
                        ..live
                    };
                    assert_eq!(copy, wanted, "{fields} {host:?} {policy:?}");
                }
            }
        }
        assert!(ready > 50 && others > 150, "{ready} ready, {others} others");
    }
}
