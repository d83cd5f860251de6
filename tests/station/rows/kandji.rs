//! Kandji's table.

use std::time::Duration;

use benchlight::{
    readiness::kandji::simulator::{
        self as simulator, Options, Tenant,
        stock::{AssignedAt, BLUEPRINT, Device, Enrollment, HQ, Stock, Token},
    },
    simulator::{
        faults::Effect,
        stock::{OTHER_SERVER_NAME, OTHER_SERVER_UUID, SERVER_NAME},
    },
};
use jiff::Timestamp;

use super::{AROUND, Asks, Boxes, Exhibition};

const SECRET: &str = "kandji-secret-token";
const OTHER: &str = "4d6f1c1e-8f5a-4a53-9d0e-000000000002";
const BROKEN: &str = "4d6f1c1e-8f5a-4a53-9d0e-000000000003";
const EXPIRED: &str = "4d6f1c1e-8f5a-4a53-9d0e-000000000004";
const LATE: &str = "4d6f1c1e-8f5a-4a53-9d0e-000000000005";
const NEW: &str = "4d6f1c1e-8f5a-4a53-9d0e-000000000006";
const ODD: &str = "4d6f1c1e-8f5a-4a53-9d0e-000000000007";
const GONE: &str = "4d6f1c1e-8f5a-4a53-9d0e-000000000008";
const OTHER_BLUEPRINT: &str = "7a0cb2c4-52d1-4f0b-8a55-00000000b099";

const ENROLLED: &str = "enrolled";
const UNREAD: &str = "the list of ADE tokens cannot be read";
const ELSEWHERE: &str = "its ADE token is outside `tokens`";
const LINK: &str = "its ADE token is not in the list, BROKEN or expired";
const USED: &str = "`pushed`; `assigned` of a device that was removed";
const REMOVED: &str = "`removed`";
const EMPTY: &str = "`empty` or nothing";
const OLDER: &str = "`assigned`, and the last assignment THROTTLED";
const BLUEPRINTS: &str = "`assigned`, on another blueprint";
const ASSIGNED: &str = "`assigned`; any other word";
const BY_HAND: &str = "not in the ADE list, and its list of devices has it";
const NOWHERE_FOR_SURE: &str = "in neither list, and one of the ADE tokens";
const NOWHERE: &str = "in neither list |";

fn tokens() -> Vec<Token> {
    let healthy = |id: &str, name: &str| Token::healthy(id, name, &id.replace('-', ""));
    vec![
        Token::healthy(OTHER, OTHER_SERVER_NAME, OTHER_SERVER_UUID),
        Token {
            status: "BROKEN".to_owned(),
            status_reason: Some("FORBIDDEN".to_owned()),
            ..healthy(BROKEN, "Broken")
        },
        Token {
            expires_at: Timestamp::now() - Duration::from_hours(1),
            ..healthy(EXPIRED, "Expired")
        },
        Token {
            fetched_ago: Some(Duration::from_hours(25)),
            ..healthy(LATE, "Late")
        },
        Token {
            fetched_ago: None,
            ..healthy(NEW, "New")
        },
        Token {
            status: "PAUSED".to_owned(),
            ..healthy(ODD, "Odd")
        },
    ]
}

/// A tenant with these devices, and these tokens besides the one that is well.
pub(super) async fn tenant(devices: Vec<Device>, tokens: Vec<Token>) -> Tenant {
    let mut stock = Stock::of(devices);
    stock.tokens.extend(tokens);
    simulator::serve(Options::new(SECRET, stock)).await.unwrap()
}

pub(super) fn asks(tenant: &Tenant, tokens: &[&str]) -> Asks {
    let source = format!(
        "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{}\"\ntoken_credential = \"kandji-token\"\ntokens = {tokens:?}",
        tenant.base(),
    );
    Asks::one(source, ("kandji-token", SECRET.to_owned()))
        .under(&format!("expected_blueprints = [{BLUEPRINT:?}]"))
}

fn on(token: &'static str) -> impl Fn(&mut Device) {
    move |device| token.clone_into(&mut device.token)
}

fn status(word: &'static str) -> impl Fn(&mut Device) {
    move |device| device.profile_status = Some(word.to_owned())
}

/// Its last assignment ended so.
fn last(word: &'static str) -> impl Fn(&mut Device) {
    move |device| device.last_assignment = Some(word.to_owned())
}

fn empty(device: &mut Device) {
    *device = Device::pending(&device.serial);
}

fn of_links(boxes: &mut Boxes<Device>) {
    boxes.add(ENROLLED, "already_enrolled", "", |device| {
        device.enrollment = Enrollment::Enrolled;
        status("pushed")(device);
    });
    boxes.add(ENROLLED, "already_enrolled", "", |device| {
        device.enrollment = Enrollment::Enrolled;
        on(BROKEN)(device);
    });
    boxes.add(ELSEWHERE, "wrong_server", OTHER_SERVER_NAME, on(OTHER));
    boxes.add(ELSEWHERE, "wrong_server", SERVER_NAME, on(OTHER));
    for (token, reason, words) in [
        (GONE, "mdm_link_broken", "is not in Kandji's list"),
        (
            BROKEN,
            "mdm_link_broken",
            "\"Broken\" is BROKEN (FORBIDDEN)",
        ),
        (EXPIRED, "mdm_link_broken", "\"Expired\" expired on"),
        (LATE, "stale", "by \"Late\", 25 h ago"),
        (NEW, "stale", "\"New\" names no last fetch"),
    ] {
        boxes.add(LINK, reason, words, on(token));
    }
    // What is only known through such a token is not known.
    boxes.add(LINK, "mdm_link_broken", "", |device| {
        on(BROKEN)(device);
        status("removed")(device);
    });
    boxes.add(AROUND, "garbled_answer", "PAUSED", on(ODD));
    boxes.absent(NOWHERE_FOR_SURE, "mdm_link_broken", "ADE token");
}

fn of_statuses(boxes: &mut Boxes<Device>) {
    boxes.add(USED, "previously_activated", "", status("pushed"));
    boxes.add(USED, "previously_activated", "", |device| {
        device.enrollment = Enrollment::Removed;
    });
    boxes.add(REMOVED, "profile_removed", "", status("removed"));
    boxes.add(EMPTY, "assignment_pending", "", empty);
    for word in [None, Some("")] {
        boxes.add(EMPTY, "assignment_pending", "", |device| {
            empty(device);
            device.profile_status = word.map(str::to_owned);
        });
    }
    for (word, reason) in [
        ("THROTTLED", "assignment_throttled"),
        ("FAILED", "assignment_failed"),
        ("NOT_ACCESSIBLE", "assignment_failed"),
        ("LATER", "assignment_failed"),
    ] {
        boxes.add(EMPTY, reason, "", |device| {
            empty(device);
            last(word)(device);
        });
    }
    boxes.add(EMPTY, "assignment_failed", "", |device| {
        empty(device);
        device.failed_attempts = 1;
    });
    let older = "An older profile is in place.";
    boxes.add(OLDER, "assignment_throttled", older, last("THROTTLED"));
    boxes.add(OLDER, "assignment_failed", older, last("FAILED"));
    boxes.add(BLUEPRINTS, "wrong_blueprint", OTHER_BLUEPRINT, |device| {
        device.blueprint = Some(OTHER_BLUEPRINT.to_owned());
    });
    boxes.add(BLUEPRINTS, "wrong_blueprint", "It has none.", |device| {
        device.blueprint = None;
    });
    boxes.add(ASSIGNED, "assigned", "", |_| {});
    boxes.add(ASSIGNED, "assigned", "", |device| {
        device.blueprint = None;
        device.blueprint_routing = true;
    });
    boxes.add(ASSIGNED, "assigned", "", |device| {
        device.last_assignment = None;
        device.assigned_at = AssignedAt::Never;
    });
    boxes.add(ASSIGNED, "garbled_answer", "queued", status("queued"));
    boxes.add(AROUND, "garbled_answer", "in the future", |device| {
        device.assigned_at = AssignedAt::At(Timestamp::now() + Duration::from_hours(1));
    });
    boxes.add(BY_HAND, "already_enrolled", "", |device| {
        device.in_ade = false;
        device.enrollment = Enrollment::Enrolled;
    });
    boxes.twice("assigned", "", |_| {}, |device| device.failed_attempts = 1);
    boxes.twice("contradiction", "2 times", |_| {}, status("removed"));
}

fn of_misses(boxes: &mut Boxes<Device>) {
    boxes.absent(NOWHERE, "not_found", "Last fetch ");
    boxes.add(NOWHERE, "not_found", "Last fetch ", |device| {
        device.in_ade = false;
        device.enrollment = Enrollment::Removed;
    });
}

fn of_returned_stock(boxes: &mut Boxes<Device>) {
    boxes.add(USED, "returned_stock", "", status("pushed"));
    boxes.add(USED, "returned_stock", "", |device| {
        device.enrollment = Enrollment::Removed;
    });
    boxes.add(ENROLLED, "already_enrolled", "", |device| {
        device.enrollment = Enrollment::Enrolled;
        status("pushed")(device);
    });
    boxes.add(OLDER, "assignment_failed", "", |device| {
        status("pushed")(device);
        last("FAILED")(device);
    });
    boxes.add(BLUEPRINTS, "wrong_blueprint", "", |device| {
        status("pushed")(device);
        device.blueprint = Some(OTHER_BLUEPRINT.to_owned());
    });
}

/// While the token list, or the list of devices, answers 500.
fn of_failing_lists() -> (Boxes<Device>, Boxes<Device>) {
    let mut tokens = Boxes::new("R0WKANE0", Device::ready);
    tokens.add(UNREAD, "source_error", "", |_| {});
    tokens.add(UNREAD, "source_error", "", status("removed"));
    tokens.absent(UNREAD, "source_error", "");
    tokens.add(ENROLLED, "already_enrolled", "", |device| {
        device.enrollment = Enrollment::Enrolled;
    });
    let mut devices = Boxes::new("R0WKANF0", Device::ready);
    devices.add(ASSIGNED, "assigned", "", |_| {});
    devices.absent(AROUND, "source_error", "");
    (tokens, devices)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_kandjis_table() {
    let mut all = Exhibition::new().await;
    let mut boxes = Boxes::new("R0WKANA0", Device::ready);
    of_links(&mut boxes);
    of_statuses(&mut boxes);
    let service = tenant(boxes.held, tokens()).await;
    let counted = [HQ, BROKEN, EXPIRED, LATE, NEW, ODD, GONE];
    all.show(asks(&service, &counted), &boxes.shows).await;

    let mut boxes = Boxes::new("R0WKANB0", Device::ready);
    of_misses(&mut boxes);
    let service = tenant(boxes.held, tokens()).await;
    all.show(asks(&service, &[HQ, OTHER]), &boxes.shows).await;

    // The box may be behind the token that fetched too long ago, that is not there, or there is none at all.
    for (counted, reason, words) in [
        (&[HQ, LATE][..], "stale", "Last fetch"),
        (&[HQ, GONE], "mdm_link_broken", "is not in Kandji's list"),
        (&[HQ, EXPIRED], "mdm_link_broken", "\"Expired\" expired on"),
    ] {
        let mut boxes = Boxes::new("R0WKANC0", Device::ready);
        boxes.absent(NOWHERE_FOR_SURE, reason, words);
        all.show(asks(&service, counted), &boxes.shows).await;
    }
    service.stock(|stock| stock.tokens.clear());
    let mut boxes = Boxes::new("R0WKANC0", Device::ready);
    boxes.absent(
        NOWHERE_FOR_SURE,
        "mdm_link_broken",
        "Kandji has no ADE token",
    );
    all.show(asks(&service, &[]), &boxes.shows).await;

    let mut boxes = Boxes::new("R0WKAND0", Device::ready);
    of_returned_stock(&mut boxes);
    let service = tenant(boxes.held, Vec::new()).await;
    let returned = asks(&service, &[HQ]).under("allow_returned = true");
    all.show(returned, &boxes.shows).await;

    let (tokens, devices) = of_failing_lists();
    for (boxes, path) in [
        (tokens, "/api/v1/integrations/apple/ade"),
        (devices, "/api/v1/devices"),
    ] {
        let service = tenant(boxes.held, Vec::new()).await;
        service.faults().path(path, Effect::Status(500));
        all.show(asks(&service, &[HQ]), &boxes.shows).await;
    }
    all.must_be_whole("Kandji", &[]);
}
