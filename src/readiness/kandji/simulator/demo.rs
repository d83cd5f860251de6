//! A box for every answer that Kandji can give, each with words for what it is. All serial numbers are made up.

use std::time::Duration;

use super::stock::{AssignedAt, BLUEPRINT, Device, Enrollment, HQ, Stock, Token};
use crate::simulator::{
    faults::Switch,
    stock::{self, DEMO, OTHER_SERVER_NAME, OTHER_SERVER_UUID},
};

/// The MDM server of which the station expects no device.
const OTHER: &str = "4d6f1c1e-8f5a-4a53-9d0e-000000000002";

/// One box to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What to scan.
    pub serial: &'static str,
    /// The stable code of the reason that Kandji's answer leads to.
    pub reason: &'static str,
    /// What the box is.
    pub words: &'static str,
}

/// A tenant for the demo, and what the station's config must say for the samples to end as listed.
#[derive(Clone, Debug)]
pub struct Demo {
    /// What the tenant holds.
    pub stock: Stock,
    /// The faults that some of the boxes show.
    pub switches: Vec<Switch>,
    /// The boxes.
    pub samples: Vec<Sample>,
    /// `tokens` of the source.
    pub tokens: Vec<String>,
    /// `expected_blueprints`.
    pub expected_blueprints: Vec<String>,
}

/// The demo's tenant: the samples below, and Kandji's view of the other boxes in the common table of all three simulators.
/// The table tells what Apple says of the samples, and so what they come to where all three services are asked.
///
/// A token that is broken or stale would spoil the answer for every box that is not listed (it might be behind that
/// token), so the box for `stale` gets a reply that a cache has kept, and none is there for `mdm_link_broken`.
pub fn demo_stock() -> Demo {
    let mut boxes = Boxes::default();
    healthy(&mut boxes);
    somebody_must_act(&mut boxes);
    nobody_can_say(&mut boxes);
    candidates(&mut boxes);
    let common = DEMO.iter().filter_map(Device::of_demo);
    let mut stock = Stock::of(boxes.devices.into_iter().chain(common).collect());
    stock
        .tokens
        .push(Token::healthy(OTHER, OTHER_SERVER_NAME, OTHER_SERVER_UUID));
    Demo {
        stock,
        switches: stock::switches(),
        samples: boxes.samples,
        tokens: vec![HQ.to_owned()],
        expected_blueprints: vec![BLUEPRINT.to_owned()],
    }
}

#[derive(Default)]
struct Boxes {
    devices: Vec<Device>,
    samples: Vec<Sample>,
}

impl Boxes {
    fn tell(&mut self, serial: &'static str, reason: &'static str, words: &'static str) {
        self.samples.push(Sample {
            serial,
            reason,
            words,
        });
    }

    fn add(
        &mut self,
        serial: &'static str,
        reason: &'static str,
        words: &'static str,
        change: impl FnOnce(&mut Device),
    ) {
        let mut device = Device::ready(serial);
        change(&mut device);
        self.devices.push(device);
        self.tell(serial, reason, words);
    }

    fn fails(&mut self, serial: &'static str, reason: &'static str, words: &'static str) {
        self.add(serial, reason, words, |device| device.in_ade = false);
    }
}

fn pending(device: &mut Device) {
    *device = Device::pending(&device.serial);
}

fn status(word: &'static str) -> impl FnOnce(&mut Device) {
    move |device| device.profile_status = Some(word.to_owned())
}

fn healthy(boxes: &mut Boxes) {
    boxes.add(
        "DEMOREADY001",
        "assigned",
        "new, its profile is assigned",
        |_| {},
    );
    boxes.add(
        "DEMOIPAD0002",
        "assigned",
        "an iPad, its profile is assigned",
        |device| {
            "iPad (A16)".clone_into(&mut device.model);
            "iPad".clone_into(&mut device.family);
        },
    );
    boxes.add(
        "DEMOSOON0003",
        "assignment_pending",
        "Pending, and assigned 20 seconds after the first scan",
        |device| {
            pending(device);
            device.ready_after = Some(Duration::from_secs(20));
        },
    );
    boxes.add(
        "DEMOWAIT0004",
        "assignment_pending",
        "Pending for good",
        pending,
    );
    boxes.add(
        "DEMOSLOW0005",
        "assignment_throttled",
        "Apple slows the assignment down",
        |device| {
            pending(device);
            device.last_assignment = Some("THROTTLED".to_owned());
        },
    );
    boxes.add(
        "DEMOFRESH006",
        "settling",
        "assigned a second before the first scan",
        |device| device.assigned_at = AssignedAt::JustNow,
    );
}

fn somebody_must_act(boxes: &mut Boxes) {
    boxes.tell("DEMOABSENT07", "not_found", "not in Kandji at all");
    boxes.add(
        "DEMOOTHER008",
        "wrong_server",
        "on the MDM server \"Old MDM\"",
        |device| OTHER.clone_into(&mut device.token),
    );
    boxes.add(
        "DEMOGONE0009",
        "profile_removed",
        "its profile was removed",
        status("removed"),
    );
    boxes.add(
        "DEMOFAIL0010",
        "assignment_failed",
        "its assignment Failed",
        |device| {
            pending(device);
            device.last_assignment = Some("FAILED".to_owned());
            device.failed_attempts = 3;
        },
    );
    boxes.add(
        "DEMOBLUE0011",
        "wrong_blueprint",
        "on another blueprint",
        |device| device.blueprint = Some("7a0cb2c4-52d1-4f0b-8a55-00000000b099".to_owned()),
    );
    boxes.add(
        "DEMOINUSE012",
        "already_enrolled",
        "Enrolled already",
        |device| {
            device.profile_status = Some("pushed".to_owned());
            device.enrollment = Enrollment::Enrolled;
        },
    );
    boxes.add(
        "DEMOHAND0013",
        "already_enrolled",
        "Enrolled by hand, not in the ADE list",
        |device| {
            device.in_ade = false;
            device.enrollment = Enrollment::Enrolled;
        },
    );
    boxes.add(
        "DEMOUSED0014",
        "previously_activated",
        "Pushed once: activated before, not new stock",
        status("pushed"),
    );
    boxes.add(
        "DEMOBACK0015",
        "previously_activated",
        "came back: removed from Kandji, its profile is assigned again",
        |device| device.enrollment = Enrollment::Removed,
    );
}

fn nobody_can_say(boxes: &mut Boxes) {
    boxes.fails(
        "DEMOSTALE016",
        "stale",
        "a cache answers in Kandji's place, three days old",
    );
    boxes.add(
        "DEMOODD00018",
        "garbled_answer",
        "Kandji says a word that nobody knows",
        status("queued"),
    );
    boxes.add(
        "DEMOTWICE019",
        "contradiction",
        "listed twice, and the rows disagree",
        |_| {},
    );
    boxes.devices.push(Device {
        profile_status: Some("removed".to_owned()),
        ..Device::ready("DEMOTWICE019")
    });
    boxes.fails("DEMOERROR020", "source_error", "Kandji fails with 500");
    boxes.fails(
        "DEMOQUIET021",
        "timeout",
        "Kandji is silent for eight seconds",
    );
    boxes.fails("DEMORESET022", "offline", "the connection breaks");
    boxes.fails(
        "DEMOLIMIT023",
        "rate_limited",
        "Kandji's request limit is used up",
    );
    boxes.fails(
        "DEMODENY0024",
        "credentials_refused",
        "Kandji refuses the API token",
    );
    boxes.fails(
        "DEMOGUEST025",
        "garbled_answer",
        "a guest network answers in Kandji's place",
    );
}

fn candidates(boxes: &mut Boxes) {
    boxes.add(
        "SDEMOBOX0026",
        "assigned",
        "its own serial number begins with S",
        |_| {},
    );
    boxes.tell(
        "SDEMOREADY001",
        "assigned",
        "a label with the S of \"(S) Serial No.\" in front",
    );
    boxes.add(
        "SDEMOTWIN027",
        "ambiguous",
        "two devices, with and without the S",
        |_| {},
    );
    boxes.devices.push(Device::ready("DEMOTWIN027"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_box_of_the_mdms_own_demo_is_forgotten() {
        let demo = demo_stock();
        let devices = demo
            .stock
            .devices
            .iter()
            .map(|device| device.serial.as_str());
        // A label with the S of "(S) Serial No." in front is not another box.
        let scanned = demo
            .samples
            .iter()
            .map(|sample| sample.serial)
            .filter(|serial| *serial != "SDEMOREADY001");
        for serial in devices.chain(scanned) {
            assert!(DEMO.iter().any(|row| row.serial == serial), "{serial}");
        }
    }
}
