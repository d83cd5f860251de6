//! Zentral's table.

use std::time::Duration;

use benchlight::readiness::zentral::simulator::{
    Options, Server, serve,
    stock::{Assigned, Device, OTHER, OURS, Stock},
};
use jiff::Timestamp;
use serde_json::json;

use super::{AROUND, Asks, Boxes, Exhibition};

pub(super) const SECRET: &str = "zentral-secret-token";

const GONE: &str = "disowned, or deleted from its virtual server";
const ELSEWHERE: &str = "a virtual server outside `servers`";
const STATUS: &str = "`pushed`; `removed`; `empty`; any other word";
const ASSIGNED: &str = "`assigned`";
const NOWHERE: &str = "no row";

pub(super) fn asks(server: &Server, secret: &str) -> Asks {
    let source = format!(
        "[[source]]\nname = \"zentral\"\nkind = \"zentral\"\nurl = \"{}\"\ntoken_credential = \"zentral-token\"\nservers = [{OURS}]",
        server.base(),
    );
    Asks::one(source, ("zentral-token", secret.to_owned()))
}

pub(super) async fn server(devices: Vec<Device>) -> Server {
    serve(Options::new(SECRET, Stock::of(devices)))
        .await
        .unwrap()
}

fn status(word: &'static str) -> impl Fn(&mut Device) {
    move |device| device.status = word
}

fn disowned(device: &mut Device) {
    device.disowned_at = Some(Timestamp::now() - Duration::from_hours(1));
}

fn of_rows(boxes: &mut Boxes<Device>) {
    boxes.add(GONE, "unassigned", "taken from its MDM server", disowned);
    boxes.add(GONE, "unassigned", "taken from its MDM server", |device| {
        device.last_op = "deleted";
    });
    boxes.add(GONE, "unassigned", "", |device| {
        disowned(device);
        device.virtual_server = OTHER;
    });
    let elsewhere = "virtual server 2, this station expects 1";
    boxes.add(ELSEWHERE, "wrong_server", elsewhere, |device| {
        device.virtual_server = OTHER;
    });
    boxes.add(ELSEWHERE, "wrong_server", "", |device| {
        device.virtual_server = OTHER;
        device.status = "removed";
    });
    for (word, reason) in [
        ("pushed", "previously_activated"),
        ("removed", "profile_removed"),
        ("REMOVED", "profile_removed"),
        ("empty", "assignment_pending"),
        ("queued", "garbled_answer"),
        ("", "garbled_answer"),
    ] {
        boxes.add(STATUS, reason, "", status(word));
    }
    boxes.add(STATUS, "garbled_answer", "", |device| {
        device.row = json!({ "profile_status": null });
    });
    boxes.add(ASSIGNED, "assigned", "", |_| {});
    boxes.add(ASSIGNED, "assigned", "", status("Assigned"));
    boxes.add(ASSIGNED, "assigned", "", |device| {
        device.assigned = Assigned::Never
    });
    boxes.add(AROUND, "garbled_answer", "in the future", |device| {
        let later = Timestamp::now() + Duration::from_hours(1);
        device.row = json!({ "profile_assign_time": later.to_string() });
    });
    boxes.add(
        AROUND,
        "garbled_answer",
        "names no virtual server",
        |device| {
            device.row = json!({ "virtual_server": null });
        },
    );
    boxes.absent(
        NOWHERE,
        "not_found",
        "does not tell when it last heard from Apple",
    );
    boxes.twice("assigned", "", disowned, |_| {});
    boxes.twice("contradiction", "2 times", |_| {}, status("removed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_zentrals_table() {
    let mut all = Exhibition::new().await;
    let mut boxes = Boxes::new("R0WZENA0", Device::ready);
    of_rows(&mut boxes);
    let service = server(boxes.held).await;
    all.show(asks(&service, SECRET), &boxes.shows).await;

    let mut boxes = Boxes::new("R0WZENB0", Device::ready);
    boxes.add(AROUND, "returned_stock", "", status("pushed"));
    boxes.add(GONE, "unassigned", "", |device| {
        status("pushed")(device);
        disowned(device);
    });
    let service = server(boxes.held).await;
    let returned = asks(&service, SECRET).under("allow_returned = true");
    all.show(returned, &boxes.shows).await;

    // A token that ended, and one whose account may not see devices.
    for (may_view, secret) in [(true, "another-token"), (false, SECRET)] {
        let mut boxes = Boxes::new("R0WZENC0", Device::ready);
        boxes.add(AROUND, "credentials_refused", "mdm.view_depdevice", |_| {});
        boxes.absent(AROUND, "credentials_refused", "mdm.view_depdevice");
        let options = Options {
            may_view,
            ..Options::new(SECRET, Stock::of(boxes.held))
        };
        let service = serve(options).await.unwrap();
        all.show(asks(&service, secret), &boxes.shows).await;
    }
    all.must_be_whole("Zentral", &[]);
}
