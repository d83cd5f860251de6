//! The table of Apple's Device Assignment Services, by Apple itself and by who passes its word on; and each of Apple's refusals.

use std::time::Duration;

use benchlight::{
    readiness::{apple_dep::simulator as apple_dep, micromdm, nanodep},
    simulator::{
        device_assignment::{Apple, Failure},
        faults::Effect,
        stock::{Dep, PROFILE_UUID},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AROUND, Asks, Boxes, Exhibition};

const ANY: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
const OTHER_PROFILE: &str = "0B5C39B9FDCF4E3B8C8F2E5C4F9A0D11";
const HEADING: &str = "Apple's Device Assignment Services";

const NOTHING: &str = "NOT_ACCESSIBLE, NOT_FOUND, or nothing";
const STATUS: &str = "`removed`; `empty` or none; any word but these";
const MIGRATION: &str = "`assigned`, with a deadline of a migration";
const PROFILE: &str = "`assigned`, with a profile outside";
const PUSHED: &str = "`pushed`";
const ASSIGNED: &str = "`assigned` |";

/// What Apple holds of a device, with other fields.
pub(super) struct Held {
    pub(super) serial: String,
    pub(super) dep: Dep,
    pub(super) fields: Option<Value>,
}

pub(super) fn ready(serial: &str) -> Held {
    Held {
        serial: serial.to_owned(),
        dep: Dep::Assigned(Duration::from_hours(48)),
        fields: None,
    }
}

fn says(dep: Dep) -> impl Fn(&mut Held) {
    move |held| held.dep = dep
}

fn fields(fields: Value) -> impl Fn(&mut Held) {
    move |held| held.fields = Some(fields.clone())
}

pub(super) fn put(apple: &Apple, all: Vec<Held>) {
    for one in all {
        apple.put(&one.serial, Some(one.dep));
        if let Some(fields) = one.fields {
            apple.overlay(&one.serial, fields);
        }
    }
}

fn of_table(boxes: &mut Boxes<Held>, sees_migrations: bool) {
    boxes.absent(NOTHING, "not_found", "does not hold it");
    boxes.add(NOTHING, "not_found", "", says(Dep::NotAccessible));
    boxes.add(NOTHING, "not_found", "", fields(Value::Null));
    boxes.add(NOTHING, "not_found", "", |held| {
        held.dep = Dep::NotAccessible;
        held.fields = Some(json!({ "response_status": "NOT_FOUND" }));
    });
    boxes.add(STATUS, "profile_removed", "", says(Dep::Removed));
    boxes.add(STATUS, "no_profile", "", says(Dep::Empty));
    for none in [json!(null), json!("")] {
        boxes.add(
            STATUS,
            "no_profile",
            "",
            fields(json!({ "profile_status": none })),
        );
    }
    let queued = json!({ "profile_status": "queued" });
    boxes.add(STATUS, "garbled_answer", "", fields(queued));
    if sees_migrations {
        boxes.add(MIGRATION, "migration_pending", "", says(Dep::Migrating));
        boxes.add(PUSHED, "previously_activated", "", |held| {
            held.dep = Dep::Pushed;
            held.fields = Some(json!({ "mdm_migration_deadline": "2099-01-01T00:00:00Z" }));
        });
    } else {
        boxes.add(ASSIGNED, "assigned", "", says(Dep::Migrating));
    }
    let other = json!({ "profile_uuid": OTHER_PROFILE });
    boxes.add(PROFILE, "wrong_profile", OTHER_PROFILE, fields(other));
    let unnamed = json!({ "profile_uuid": null });
    boxes.add(PROFILE, "wrong_profile", "not named", fields(unnamed));
    boxes.add(PUSHED, "previously_activated", "", says(Dep::Pushed));
    boxes.add(ASSIGNED, "assigned", "", |_| {});
    let never = json!({ "profile_assign_time": "0001-01-01T00:00:00Z" });
    boxes.add(ASSIGNED, "assigned", "", fields(never));
    for other in [
        json!({ "serial_number": "R0WANOTHER01" }),
        json!({ "serial_number": null }),
        json!({ "response_status": "LATER" }),
        json!({ "response_status": "NOT_ACCESSIBLE" }),
        json!({ "profile_assign_time": (Timestamp::now() + Duration::from_hours(1)).to_string() }),
    ] {
        boxes.add(AROUND, "garbled_answer", "", fields(other));
    }
}

fn of_returned_stock(boxes: &mut Boxes<Held>) {
    boxes.add(PUSHED, "returned_stock", "", says(Dep::Pushed));
    boxes.add(PROFILE, "wrong_profile", "", |held| {
        held.dep = Dep::Pushed;
        held.fields = Some(json!({ "profile_uuid": OTHER_PROFILE }));
    });
}

/// Apple's refusals of a call: status and text.
const REFUSALS: [(u16, &str, &str); 20] = [
    (
        400,
        "oauth_problem_adviceBad Request",
        "credentials_refused",
    ),
    (
        401,
        "oauth_problem_adviceUnauthorized",
        "credentials_refused",
    ),
    (401, "UNAUTHORIZED", "credentials_refused"),
    (403, "FORBIDDEN", "credentials_refused"),
    (403, "T_C_NOT_SIGNED", "terms_not_signed"),
    (403, "\"T_C_NOT_SIGNED\"\n", "terms_not_signed"),
    (403, "ACCESS_DENIED", "credentials_refused"),
    (403, "token_expiredForbidden", "credentials_expired"),
    (401, "token_rejected", "credentials_refused"),
    (403, "token_rejected", "credentials_refused"),
    (400, "USER_AGENT_MISSING", "station_fault"),
    (400, "USER_AGENT_INVALID", "station_fault"),
    (400, "MALFORMED_REQUEST_BODY", "station_fault"),
    (400, "DEVICE_ID_REQUIRED", "station_fault"),
    (400, "PROFILE_UUID_REQUIRED", "station_fault"),
    (400, "NOT_FOUND", "garbled_answer"),
    (404, "PROFILE_NOT_FOUND", "garbled_answer"),
    (429, "TOO_MANY_REQUESTS", "rate_limited"),
    (500, "SERVER_ERROR", "source_error"),
    (503, "T_C_NOT_SIGNED", "source_error"),
];

/// Each in its turn, for a box that is in order.
async fn fail_in_turn(
    all: &mut Exhibition,
    asks: Asks,
    apple: &Apple,
    failures: impl IntoIterator<Item = (Failure, &'static str, &'static str)>,
) {
    let mut boxes = Boxes::new("R0WDEPC0", ready);
    let failures: Vec<_> = failures.into_iter().collect();
    for (_, reason, words) in &failures {
        boxes.add(AROUND, reason, words, |_| {});
    }
    put(apple, boxes.held);
    let mut room = all.open(asks);
    for (one, (failure, ..)) in boxes.shows.iter().zip(failures) {
        apple.fail(Some(failure));
        room.show(one).await;
        apple.fail(None);
    }
    // And then all is well again.
    let mut boxes = Boxes::new("R0WDEPD0", ready);
    boxes.add(ASSIGNED, "assigned", "", |_| {});
    put(apple, boxes.held);
    room.show(&boxes.shows[0]).await;
}

fn calls() -> impl Iterator<Item = (Failure, &'static str, &'static str)> {
    REFUSALS
        .into_iter()
        .map(|(status, text, reason)| (Failure::Call(status, text), reason, ""))
}

/// The table, and the words of a lane that allows returned devices.
async fn of_both_lanes(all: &mut Exhibition, asks: Asks, apple: &Apple, sees_migrations: bool) {
    let mut boxes = Boxes::new("R0WDEPA0", ready);
    of_table(&mut boxes, sees_migrations);
    put(apple, boxes.held);
    all.show(asks.clone(), &boxes.shows).await;
    let mut boxes = Boxes::new("R0WDEPB0", ready);
    of_returned_stock(&mut boxes);
    put(apple, boxes.held);
    all.show(asks.under("allow_returned = true"), &boxes.shows)
        .await;
}

/// Profiles that count by their host.
async fn of_hosts(all: &mut Exhibition, kind: &str, asks: Asks, apple: &Apple) {
    for (host, reason, words) in [
        ("acme.web-api.kandji.io", "assigned", ""),
        ("mdm.example", "wrong_profile", "acme.web-api.kandji.io"),
    ] {
        let row = if reason == "assigned" {
            ASSIGNED
        } else {
            PROFILE
        };
        let mut boxes = Boxes::new("R0WDEPE0", ready);
        boxes.add(row, reason, words, |_| {});
        boxes.add(
            AROUND,
            "garbled_answer",
            "",
            fields(json!({ "profile_uuid": OTHER_PROFILE })),
        );
        put(apple, boxes.held);
        let mut asks = asks.clone();
        let profiles = format!("expected_profiles = [\"{PROFILE_UUID}\"]");
        assert!(asks.sources[0].contains(&profiles), "{kind}");
        asks.sources[0] =
            asks.sources[0].replace(&profiles, &format!("expected_hosts = [\"{host}\"]"));
        all.show(asks, &boxes.shows).await;
    }
}

pub(super) fn asks_apple(server: &apple_dep::Simulator) -> Asks {
    let source = format!(
        "[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\nurl = \"{}\"\ntoken_credential = \"apple-dep-token\"\nexpected_profiles = [\"{PROFILE_UUID}\"]",
        server.base()
    );
    Asks::one(source, ("apple-dep-token", server.credential()))
}

pub(super) fn asks_nanodep(server: &nanodep::simulator::Simulator) -> Asks {
    let source = format!(
        "[[source]]\nname = \"nanodep\"\nkind = \"nanodep\"\nurl = \"{}\"\ndep_name = \"{}\"\nkey_credential = \"nanodep-key\"\nexpected_profiles = [\"{PROFILE_UUID}\"]",
        server.base(),
        nanodep::simulator::DEP_NAME,
    );
    Asks::one(source, ("nanodep-key", server.key().to_owned()))
}

pub(super) fn asks_micromdm(server: &micromdm::simulator::Simulator) -> Asks {
    let source = format!(
        "[[source]]\nname = \"micromdm\"\nkind = \"micromdm\"\nurl = \"{}\"\nkey_credential = \"micromdm-key\"\nexpected_profiles = [\"{PROFILE_UUID}\"]",
        server.base()
    );
    Asks::one(source, ("micromdm-key", server.key().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_apples_table() {
    let mut all = Exhibition::new().await;
    let service = apple_dep::serve(apple_dep::Options::demo()).await.unwrap();
    let asks = asks_apple(&service);
    of_both_lanes(&mut all, asks.clone(), service.apple(), true).await;
    of_hosts(&mut all, "apple-dep", asks.clone(), service.apple()).await;

    let mut boxes = Boxes::new("R0WDEPC0", ready);
    for (status, text, reason) in REFUSALS {
        boxes.add(AROUND, reason, "", |held| {
            let text = text.to_owned();
            service
                .faults()
                .serial(&held.serial, Effect::Say { status, text });
        });
    }
    put(service.apple(), boxes.held);
    all.show(asks.clone(), &boxes.shows).await;
    service.faults().clear();

    // Before the session: it is asked for once, and refused.
    for (status, text, reason) in REFUSALS {
        if !matches!(status, 401 | 403) || matches!(text, "UNAUTHORIZED" | "FORBIDDEN") {
            continue;
        }
        let mut boxes = Boxes::new("R0WDEPD0", ready);
        boxes.add(AROUND, reason, "", |_| {});
        put(service.apple(), boxes.held);
        let text = text.to_owned();
        service
            .faults()
            .path("/session", Effect::Say { status, text });
        all.show(asks.clone(), &boxes.shows).await;
        service.faults().clear();
    }
    all.must_be_whole(HEADING, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_apples_table_by_nanodep() {
    let mut all = Exhibition::new().await;
    let service = nanodep::simulator::serve(ANY.into(), 0).await.unwrap();
    let (asks, apple) = (asks_nanodep(&service), service.apple());
    of_both_lanes(&mut all, asks.clone(), apple, true).await;
    of_hosts(&mut all, "nanodep", asks.clone(), apple).await;
    let session = |text| Failure::Session(403, text);
    let own = [
        (
            session("T_C_NOT_SIGNED"),
            "terms_not_signed",
            "T_C_NOT_SIGNED",
        ),
        (
            session("token_expiredForbidden"),
            "credentials_expired",
            "expired",
        ),
        (session("token_rejected"), "credentials_refused", "revoked"),
        (
            session("ACCESS_DENIED"),
            "credentials_refused",
            "ACCESS_DENIED",
        ),
        (
            session("oauth_problem_adviceUnauthorized"),
            "credentials_refused",
            "signature",
        ),
        (
            session("oauth_problem_adviceBad Request"),
            "credentials_refused",
            "signature",
        ),
        (session("something new"), "source_error", "no session"),
        (Failure::Unreachable, "source_error", "cannot reach Apple"),
        (Failure::NoToken, "source_error", "`dep_name`"),
    ];
    fail_in_turn(&mut all, asks.clone(), apple, calls().chain(own)).await;
    let other = asks.sources[0].replace(nanodep::simulator::DEP_NAME, "mdmserver2");
    let mut boxes = Boxes::new("R0WDEPF0", ready);
    boxes.add(AROUND, "source_error", "`dep_name`", |_| {});
    put(apple, boxes.held);
    let other = Asks::one(other, asks.credentials[0].clone());
    all.show(other, &boxes.shows).await;
    all.must_be_whole(HEADING, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_apples_table_by_micromdm() {
    let mut all = Exhibition::new().await;
    let service = micromdm::simulator::serve(ANY.into(), 0).await.unwrap();
    let (asks, apple) = (asks_micromdm(&service), service.apple());
    of_both_lanes(&mut all, asks.clone(), apple, false).await;
    let session = |status| Failure::Session(status, "");
    let own = [
        (session(400), "credentials_refused", "no session"),
        (session(401), "credentials_refused", "no session"),
        (session(403), "credentials_refused", "terms"),
        (session(429), "rate_limited", ""),
        (session(503), "source_error", "no session"),
        (Failure::Unreachable, "source_error", "log"),
        (Failure::NoToken, "source_error", "no server token"),
    ];
    fail_in_turn(&mut all, asks.clone(), apple, calls().chain(own)).await;
    all.must_be_whole(HEADING, &[(MIGRATION, "migration_pending")]);
}
