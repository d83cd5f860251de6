//! Codes that can be read as two serial numbers, or as none, with every service that can prove a profile.

use benchlight::{
    readiness::evidence::SourceKind,
    simulator::{faults::Effect, fleet as generated},
};

use super::{AROUND, Exhibition, Shows, faults};

/// Ten and twelve characters, of no box.
const TEN: &str = "R0WCAN0001";
const TWELVE: &str = "R0WCAN000001";
const LOST: &str = "R0WCAN0002";

fn shows(serial: &str, reason: &'static str) -> Shows {
    Shows {
        row: AROUND,
        serial: serial.to_owned(),
        reason,
        words: "",
    }
}

async fn every_way_to_read_a_code(kind: SourceKind) {
    let mut all = Exhibition::new().await;
    let service = faults::simulated(kind).await;
    let healthy = (0..).find(|number| generated::story(*number).expected == "assigned");
    let healthy = generated::serial(healthy.unwrap());
    let mut room = all.open(faults::asks(&service, kind, None));
    // First what a list has not: after a minute another list is asked for.
    for (code, serial) in [
        (format!("S{TEN}"), TEN),
        (format!("1S{TEN}"), "1SR0WCAN0001"),
        (format!("S{TWELVE}"), TWELVE),
        ("SR0WCAN00001".to_owned(), "SR0WCAN00001"),
    ] {
        room.show_code(&code, &shows(serial, "not_found")).await;
    }
    for (code, reason) in [
        // A MAC address, a MEID, and a postal number with a good check digit.
        ("A1B2C3D4E5F6", "unreadable"),
        ("A0000012345678", "unreadable"),
        ("RR123456785GB", "tracking"),
    ] {
        room.show_code(code, &shows("", reason)).await;
    }
    for prefix in ["S", "1S"] {
        let code = format!("{prefix}{healthy}");
        room.show_code(&code, &shows(&healthy, "assigned")).await;
    }
    room.show_code("SDEMOTWIN027", &shows("", "ambiguous"))
        .await;
    // Nobody asks a service about a box that can only be listed.
    if !kind.is_list_only() {
        service.running.faults().serial(LOST, Effect::Status(500));
        room.show_code(&format!("S{LOST}"), &shows(LOST, "source_error"))
            .await;
    }
    drop(room);
    assert_eq!(all.wrong, [""; 0], "{}", kind.code());
}

of_each! {
    every_way_to_read_a_code, |kind| kind.proves().is_some() =>
    kandji Kandji,
    jamf Jamf,
    intune Intune,
    fleet Fleet,
    zentral Zentral,
    nanodep NanoDep,
    micromdm MicroMdm,
    apple_dep AppleDep,
}
