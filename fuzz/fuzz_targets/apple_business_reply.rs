//! Any two bodies as replies about a device and its assigned server: `cargo +nightly fuzz run apple_business_reply`.
#![no_main]

use benchlight::{
    label::Serial,
    readiness::{apple_business, evidence::Finding},
    reason::Reason,
    runtime::name::Name,
};
use serde_json::Value;

const BOX: &str = "C02XK0AAJG5H";
const OURS: &str = "1F97349736CF4614A94F624E705841AD";

// The first byte selects the statuses of the two replies; a NUL separates their bodies.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (Some(serial), Ok(source), Some((kind, bodies))) =
        (Serial::new(BOX), Name::new("business"), input.split_first())
    else {
        return;
    };
    let mut bodies = bodies.splitn(2, |byte| *byte == 0);
    let (device, linkage) = (
        bodies.next().unwrap_or_default(),
        bodies.next().unwrap_or_default(),
    );
    let status = |bit: u8| if kind & bit == 0 { 200 } else { 404 };
    let evidence = apple_business::judged(
        (status(1), device),
        (status(2), linkage),
        &serial,
        &[OURS.to_owned()],
        source,
    );
    let read = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap_or_default();
    let (device, linkage) = (read(device), read(linkage));
    assert!(
        !matches!(evidence.finding, Finding::Ready(_)),
        "it knows nothing of profiles"
    );
    if evidence.finding == Finding::No(Reason::NotInOrg) {
        let errors = device["errors"]
            .as_array()
            .expect("only by Apple's own 404");
        assert!(
            status(1) == 404
                && !errors.is_empty()
                && device["data"].is_null()
                && errors.iter().all(|error| error["status"] == "404")
        );
        return;
    }
    let said = !matches!(evidence.finding, Finding::Unknown(_));
    if said || evidence.known {
        // Checked on the JSON itself, not with our own types.
        let record = &device["data"];
        assert!(
            status(1) == 200
                && device["errors"].is_null()
                && record["type"] == "orgDevices"
                && record["id"] == BOX,
            "not this box's record"
        );
        let attributes = &record["attributes"];
        assert!(
            attributes["serialNumber"].is_null()
                || attributes["serialNumber"] == BOX
                || attributes["serialNumber"] == ""
        );
        for field in [
            "status",
            "releasedFromOrgDateTime",
            "mdmMigrationStatus",
            "updatedDateTime",
            "deviceModel",
            "productFamily",
        ] {
            assert!(
                attributes[field].is_null() || attributes[field].is_string(),
                "{field} of another type"
            );
        }
    }
    let migration = device["data"]["attributes"]["mdmMigrationStatus"]
        .as_str()
        .unwrap_or_default();
    match evidence.finding {
        Finding::NoObjection | Finding::No(Reason::WrongServer) => {
            let server = &linkage["data"];
            assert!(
                device["data"]["attributes"]["status"] == "ASSIGNED"
                    && ["", "SUCCESS", "FAILED"].contains(&migration)
            );
            assert!(
                status(2) == 200 && linkage["errors"].is_null() && server["type"] == "mdmServers",
                "no word of Apple's on the server"
            );
            let ours = server["id"]
                .as_str()
                .expect("a server")
                .eq_ignore_ascii_case(OURS);
            assert_eq!(ours, evidence.finding == Finding::NoObjection);
        }
        Finding::No(Reason::MigrationPending) => {
            assert!(["REQUESTED", "STARTED"].contains(&migration))
        }
        _ => {}
    }
});
