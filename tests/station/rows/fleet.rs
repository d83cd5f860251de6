//! Fleet's table.

use std::time::Duration;

use benchlight::{
    readiness::fleet::simulator::{
        Options, Server, serve,
        stock::{Apple, Host, Stock},
    },
    simulator::{
        faults::Effect,
        stock::{Dep, PROFILE_UUID},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AROUND, Asks, Boxes, Exhibition};

const SECRET: &str = "fleet-secret-token";
const OTHER_PROFILE: &str = "0DD0FF1CE0000000000000000000BEEF";

const ABSENT: &str = "it does not list the serial number";
const ENROLLED: &str = "enrolled (`On ..`)";
const OLD: &str = "its server has no call that asks Apple";
const NOT_FROM_APPLE: &str = "it has the host, and not from Apple";
const ANOTHER: &str = "its second reply names neither the host nor the serial number";
const SENTENCE: &str = "Apple refused Fleet, by Fleet's sentence";
const WORD: &str = "Apple's own word on the question";
const MIGRATION: &str = "a deadline of a migration";
const STATUS: &str = "`pushed`; `removed`; an unknown word";
const RESPONSE: &str = "the last assignment: FAILED; THROTTLED";
const PROFILE: &str = "`assigned`, another profile";
const READY: &str = "no status, `empty`; `assigned`";

pub(super) async fn server(hosts: Vec<Host>) -> Server {
    serve(Options::new(SECRET, Stock::of(hosts))).await.unwrap()
}

pub(super) fn asks(server: &Server) -> Asks {
    let source = format!(
        "[[source]]\nname = \"fleet\"\nkind = \"fleet\"\nurl = \"{}\"\ntoken_credential = \"fleet-token\"\nexpected_profiles = [\"{PROFILE_UUID}\"]",
        server.base(),
    );
    Asks::one(source, ("fleet-token", SECRET.to_owned()))
}

fn says(dep: Dep) -> impl Fn(&mut Host) {
    move |host| host.apple = Apple::Says(dep)
}

fn answered(response: Option<&'static str>, dep: Dep) -> impl Fn(&mut Host) {
    move |host| {
        host.listed = Some(response);
        host.apple = Apple::Says(dep);
    }
}

/// With these fields of Apple's record.
fn device(fields: Value) -> impl Fn(&mut Host) {
    move |host| host.device = fields.clone()
}

/// With these fields of the second reply.
fn reply(fields: Value) -> impl Fn(&mut Host) {
    move |host| host.reply = fields.clone()
}

fn of_fleets_own(boxes: &mut Boxes<Host>) {
    boxes.absent(ABSENT, "not_found", "Fleet does not list it");
    for word in ["On (automatic)", "On (manual)", "on"] {
        boxes.add(ENROLLED, "already_enrolled", "", |host| {
            host.enrollment = word
        });
    }
    boxes.add(NOT_FROM_APPLE, "not_found", "not from Apple", |host| {
        host.listed = None
    });
    let deleted =
        json!({ "assign_profile_response": "SUCCESS", "deleted_at": "2026-01-09 22:01:10" });
    let deleted = reply(json!({ "host_dep_assignment": deleted }));
    boxes.add(NOT_FROM_APPLE, "not_found", "not from Apple", deleted);
    boxes.add(
        ANOTHER,
        "garbled_answer",
        "another host",
        reply(json!({ "id": 7 })),
    );
    let another = device(json!({ "serial_number": "R0WANOTHER01" }));
    boxes.add(ANOTHER, "garbled_answer", "another device", another);
    boxes.add(ANOTHER, "garbled_answer", "does not name", |host| {
        host.device = json!({ "serial_number": null });
        host.reply = json!({ "id": null });
    });
    for (sentence, reason) in [
        (
            Some("Fleet can't retrieve data. An admin must renew the AB token."),
            "mdm_link_broken",
        ),
        (
            Some("An admin must accept Apple's new Terms and Conditions."),
            "terms_not_signed",
        ),
        (
            Some("Fleet can\u{2019}t find this host in Apple Business."),
            "not_found",
        ),
        (
            Some("Apple is temporarily unavailable. Try again later."),
            "source_error",
        ),
        (
            Some("Fleet can\u{2019}t retrieve data from Apple Business."),
            "source_error",
        ),
        (Some("Something new."), "mdm_link_broken"),
        (None, "mdm_link_broken"),
    ] {
        boxes.add(SENTENCE, reason, "", |host| {
            host.apple = Apple::Fails(sentence)
        });
    }
    for word in ["NOT_ACCESSIBLE", "NOT_FOUND"] {
        let fields = json!({ "response_status": word, "profile_status": null });
        boxes.add(WORD, "not_found", "not on its MDM server", device(fields));
        let fields = json!({ "response_status": word });
        boxes.add(
            WORD,
            "garbled_answer",
            "names its profile's state",
            device(fields),
        );
    }
    boxes.add(
        WORD,
        "garbled_answer",
        "response_status",
        device(json!({ "response_status": "LATER" })),
    );
    boxes.add(WORD, "not_found", "", says(Dep::NotAccessible));
}

fn of_apples(boxes: &mut Boxes<Host>) {
    let long_ago = Dep::Assigned(Duration::from_hours(48));
    boxes.add(MIGRATION, "migration_pending", "", says(Dep::Migrating));
    boxes.add(STATUS, "previously_activated", "", says(Dep::Pushed));
    boxes.add(STATUS, "profile_removed", "", says(Dep::Removed));
    boxes.add(
        STATUS,
        "garbled_answer",
        "",
        device(json!({ "profile_status": "queued" })),
    );
    let older = "An older profile is in place.";
    for (dep, words) in [(Dep::Empty, ""), (long_ago, older)] {
        boxes.add(
            RESPONSE,
            "assignment_failed",
            words,
            answered(Some("FAILED"), dep),
        );
        boxes.add(
            RESPONSE,
            "assignment_throttled",
            words,
            answered(Some("THROTTLED"), dep),
        );
        boxes.add(
            RESPONSE,
            "not_found",
            "",
            answered(Some("NOT_ACCESSIBLE"), dep),
        );
        boxes.add(RESPONSE, "garbled_answer", "", answered(Some("LATER"), dep));
    }
    boxes.add(PROFILE, "wrong_profile", OTHER_PROFILE, |host| {
        host.profile_uuid = OTHER_PROFILE;
    });
    boxes.add(READY, "assignment_pending", "", answered(None, Dep::Empty));
    boxes.add(
        READY,
        "assignment_pending",
        "",
        answered(Some("SUCCESS"), Dep::Empty),
    );
    for status in [json!(null), json!(""), json!("EMPTY")] {
        boxes.add(
            READY,
            "assignment_pending",
            "",
            device(json!({ "profile_status": status })),
        );
    }
    boxes.add(READY, "assigned", "", |_| {});
    boxes.add(READY, "assigned", "", answered(None, long_ago));
    let never =
        json!({ "profile_status": "Assigned", "profile_assign_time": "0001-01-01T00:00:00Z" });
    boxes.add(READY, "assigned", "", device(never));
    let later = (Timestamp::now() + Duration::from_hours(1)).to_string();
    let later = device(json!({ "profile_assign_time": later }));
    boxes.add(AROUND, "garbled_answer", "in the future", later);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_fleets_table() {
    let mut all = Exhibition::new().await;
    let mut boxes = Boxes::new("R0WFLTA0", Host::ready);
    of_fleets_own(&mut boxes);
    of_apples(&mut boxes);
    // Fleet also looks for host names: another host comes then.
    boxes.add(
        AROUND,
        "garbled_answer",
        "it also looks for host names",
        |_| {},
    );
    let named = boxes.shows.last().unwrap().serial.clone();
    let service = server(boxes.held).await;
    service.faults().serial(
        &named,
        Effect::Replace {
            from: format!("\"hardware_serial\":\"{named}\""),
            to: "\"hardware_serial\":\"R0WANOTHER01\"".to_owned(),
        },
    );
    all.show(asks(&service), &boxes.shows).await;

    let mut boxes = Boxes::new("R0WFLTB0", Host::ready);
    boxes.add(AROUND, "returned_stock", "", says(Dep::Pushed));
    boxes.add(PROFILE, "wrong_profile", "", |host| {
        says(Dep::Pushed)(host);
        host.device = json!({ "profile_uuid": OTHER_PROFILE });
    });
    let service = server(boxes.held).await;
    let returned = asks(&service).under("allow_returned = true");
    all.show(returned, &boxes.shows).await;

    let mut boxes = Boxes::new("R0WFLTC0", Host::ready);
    boxes.add(OLD, "source_error", "it is too old", |_| {});
    boxes.absent(ABSENT, "not_found", "");
    let options = Options {
        asks_apple: false,
        ..Options::new(SECRET, Stock::of(boxes.held))
    };
    let service = serve(options).await.unwrap();
    all.show(asks(&service), &boxes.shows).await;
    all.must_be_whole("Fleet", &[]);
}
