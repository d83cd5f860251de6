//! Jamf Pro's table. Its rows of a list that is not of now need other clocks: `tests/station/jamf.rs` shows them.

use std::time::Duration;

use benchlight::{
    readiness::jamf::simulator::{
        Options, Server, serve,
        stock::{Device, HQ, Instance, OTHER, PRESTAGE, Stock},
    },
    simulator::{faults::Effect, stock::OTHER_SERVER_UUID},
};
use jiff::Timestamp;
use serde_json::json;

use super::{AROUND, Asks, Boxes, Exhibition};

const EXPIRED: &str = "3";
const NEVER: &str = "4";
const LATE: &str = "5";
const YESTERDAY: &str = "6";
const GONE: &str = "7";
const LIST: &str = "/api/v1/device-enrollments/1/devices";

const PASS: &str = "no complete pass yet";
const ELSEWHERE: &str = "an instance outside `instances`";
const LINK: &str = "the instance's token expired before yesterday";
const STATUS: &str = "PUSHED; REMOVED; any unknown word";
const EMPTY: &str = "EMPTY with failures counted; EMPTY";
const SCOPE: &str = "ASSIGNED, and in the scope of none";
const ASSIGNED: &str = "ASSIGNED |";
const NOWHERE_FOR_SURE: &str = "no row, and an instance";
const NOWHERE: &str = "no row; where the pass is older";

pub(super) async fn server(devices: Vec<Device>) -> Server {
    let mut stock = Stock::of(devices);
    let healthy = |id, name| Instance::healthy(id, name, OTHER_SERVER_UUID);
    let hours = Duration::from_hours;
    stock.instances.extend([
        healthy(OTHER, "Old MDM"),
        Instance {
            days_left: -2,
            ..healthy(EXPIRED, "Expired")
        },
        Instance {
            syncs: vec![("FAILED", hours(1)), ("RUNNING", hours(2))],
            ..healthy(NEVER, "Never")
        },
        Instance {
            syncs: vec![("FAILED", hours(1)), ("SUCCESSFUL", hours(25))],
            ..healthy(LATE, "Late")
        },
        Instance {
            days_left: -1,
            ..healthy(YESTERDAY, "Yesterday")
        },
    ]);
    serve(Options::new(stock)).await.unwrap()
}

pub(super) fn asks(server: &Server, instances: &[&str]) -> Asks {
    let source = format!(
        "[[source]]\nname = \"jamf\"\nkind = \"jamf\"\nurl = \"{}\"\nclient_id = \"{}\"\nsecret_credential = \"jamf-secret\"\ninstances = {instances:?}\nexpected_prestages = [\"{PRESTAGE}\", \"mobile:4\"]\nrefresh = \"1h\"\nmax_replica_age = \"2h\"",
        server.base(),
        server.client_id(),
    );
    Asks::one(source, ("jamf-secret", server.secret()))
}

fn on(instance: &'static str) -> impl Fn(&mut Device) {
    move |device| instance.clone_into(&mut device.instance)
}

fn status(word: &'static str) -> impl Fn(&mut Device) {
    move |device| *device = Device::with_status(&device.serial, word)
}

fn scope(prestage: Option<&'static str>) -> impl Fn(&mut Device) {
    move |device| device.prestage = prestage.map(str::to_owned)
}

fn of_rows(boxes: &mut Boxes<Device>) {
    boxes.add(ELSEWHERE, "wrong_server", "\"Old MDM\"", on(OTHER));
    boxes.add(ELSEWHERE, "wrong_server", "\"HQ\"", on(OTHER));
    for (instance, reason, words) in [
        (EXPIRED, "mdm_link_broken", "\"Expired\" expired on"),
        (
            NEVER,
            "mdm_link_broken",
            "\"Never\" never had a successful sync",
        ),
        (LATE, "stale", "sync of the instance \"Late\""),
    ] {
        boxes.add(LINK, reason, words, on(instance));
    }
    // What is only known through such an instance is not known.
    boxes.add(LINK, "mdm_link_broken", "", |device| {
        status("REMOVED")(device);
        on(NEVER)(device);
    });
    boxes.add(STATUS, "previously_activated", "", status("PUSHED"));
    boxes.add(STATUS, "profile_removed", "", status("REMOVED"));
    boxes.add(STATUS, "garbled_answer", "QUEUED", status("QUEUED"));
    boxes.add(
        STATUS,
        "garbled_answer",
        "names no profile status",
        |device| {
            device.other = Some(json!({ "profileStatus": null }));
        },
    );
    boxes.add(EMPTY, "assignment_pending", "", status("EMPTY"));
    boxes.add(
        EMPTY,
        "assignment_failed",
        "3 failed assignments",
        |device| {
            status("EMPTY")(device);
            device.failures = 3;
        },
    );
    boxes.add(
        SCOPE,
        "wrong_profile",
        "computer:7",
        scope(Some("computer:7")),
    );
    boxes.add(SCOPE, "wrong_profile", "mobile:1", scope(Some("mobile:1")));
    boxes.add(
        SCOPE,
        "wrong_profile",
        "in no PreStage's scope",
        scope(None),
    );
    boxes.add(ASSIGNED, "assigned", "", |_| {});
    boxes.add(ASSIGNED, "assigned", "", status("assigned"));
    boxes.add(ASSIGNED, "assigned", "", scope(Some("mobile:4")));
    boxes.add(ASSIGNED, "assigned", "", |device| device.assigned_at = None);
    boxes.add(ASSIGNED, "assigned", "2 failed assignments", |device| {
        device.failures = 2;
    });
    boxes.add(ASSIGNED, "assigned", "", on(YESTERDAY));
    boxes.add(AROUND, "garbled_answer", "in the future", |device| {
        device.assigned_at = Some(Timestamp::now() + Duration::from_hours(1));
    });
    boxes.absent(NOWHERE_FOR_SURE, "mdm_link_broken", "instance");
    boxes.twice("assigned", "", |_| {}, on(YESTERDAY));
    boxes.twice(
        "contradiction",
        "2 times",
        |_| {},
        |device| {
            status("REMOVED")(device);
            on(YESTERDAY)(device);
        },
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_jamf_pros_table() {
    let mut all = Exhibition::new().await;
    let mut boxes = Boxes::new("R0WJAMA0", Device::ready);
    of_rows(&mut boxes);
    let service = server(boxes.held).await;
    let counted = [HQ, EXPIRED, NEVER, LATE, YESTERDAY];
    all.show(asks(&service, &counted), &boxes.shows).await;

    let mut boxes = Boxes::new("R0WJAMB0", Device::ready);
    boxes.absent(NOWHERE, "not_found", "Jamf Pro's list of ");
    boxes.add(STATUS, "returned_stock", "", status("PUSHED"));
    boxes.add(SCOPE, "wrong_profile", "", |device| {
        status("PUSHED")(device);
        scope(None)(device);
    });
    let service = server(boxes.held).await;
    let returned = asks(&service, &[HQ, OTHER]).under("allow_returned = true");
    all.show(returned, &boxes.shows).await;

    for (counted, reason, words) in [
        (&[HQ, LATE][..], "stale", "sync of the instance \"Late\""),
        (&[HQ, EXPIRED], "mdm_link_broken", "\"Expired\" expired on"),
        (
            &[HQ, GONE],
            "mdm_link_broken",
            "instance 7 is not in Jamf Pro's list",
        ),
    ] {
        let mut boxes = Boxes::new("R0WJAMC0", Device::ready);
        boxes.absent(NOWHERE_FOR_SURE, reason, words);
        all.show(asks(&service, counted), &boxes.shows).await;
    }
    service.stock(|stock| stock.instances.clear());
    let mut boxes = Boxes::new("R0WJAMC0", Device::ready);
    boxes.absent(
        NOWHERE_FOR_SURE,
        "mdm_link_broken",
        "Jamf Pro has no instance",
    );
    all.show(asks(&service, &[]), &boxes.shows).await;

    for (effect, reason) in [
        (Effect::Status(500), "source_error"),
        (Effect::Status(403), "credentials_refused"),
        (Effect::TooMany { retry_after: None }, "rate_limited"),
        (Effect::CutBody, "garbled_answer"),
        (Effect::Html, "garbled_answer"),
        (Effect::Reset, "offline"),
    ] {
        let mut boxes = Boxes::new("R0WJAMD0", Device::ready);
        boxes.add(PASS, reason, "was not read completely yet", |_| {});
        boxes.add(PASS, reason, "", status("REMOVED"));
        boxes.absent(PASS, reason, "");
        let service = server(boxes.held).await;
        service.faults().path(LIST, effect);
        all.show(asks(&service, &[HQ]), &boxes.shows).await;
    }
    let mut boxes = Boxes::new("R0WJAMD0", Device::ready);
    boxes.add(PASS, "credentials_refused", "", |_| {});
    let service = server(boxes.held).await;
    let mut others = asks(&service, &[HQ]);
    others.credentials[0].1 = "another-secret".to_owned();
    all.show(others, &boxes.shows).await;
    let elsewhere = [(PASS, "stale"), (NOWHERE, "sync_pending")];
    all.must_be_whole("Jamf Pro", &elsewhere);
}
