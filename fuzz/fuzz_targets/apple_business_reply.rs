//! Any two bodies that may come for a device and its assigned server: `cargo +nightly fuzz run apple_business_reply`.
#![no_main]

use benchlight::{
    label::Serial,
    readiness::{apple_business, evidence::Finding},
    reason::Reason,
    runtime::name::Name,
};

const OURS: &str = "1F97349736CF4614A94F624E705841AD";

// The first byte says which statuses the two replies have, a NUL parts their bodies.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (Some(serial), Ok(source), Some((kind, bodies))) = (Serial::new("C02XK0AAJG5H"), Name::new("business"), input.split_first()) else { return };
    let mut bodies = bodies.splitn(2, |byte| *byte == 0);
    let (device, linkage) = (bodies.next().unwrap_or_default(), bodies.next().unwrap_or_default());
    let status = |bit: u8| if kind & bit == 0 { 200 } else { 404 };
    let evidence = apple_business::judged((status(1), device), (status(2), linkage), &serial, &[OURS.to_owned()], source);
    let stands = |body: &[u8], word: &str| String::from_utf8_lossy(body).contains(word) || body.contains(&b'\\');
    match evidence.finding {
        Finding::Ready(_) => panic!("it knows nothing of profiles"),
        Finding::NoObjection => {
            assert!(stands(device, "C02XK0AAJG5H") && stands(device, "ASSIGNED"));
            assert!(String::from_utf8_lossy(linkage).to_ascii_uppercase().contains(OURS) || linkage.contains(&b'\\'), "on our server by its own word");
        }
        Finding::No(Reason::NotInOrg) => assert!(status(1) == 404 && stands(device, "404"), "only by Apple's own 404"),
        _ => {}
    }
});
