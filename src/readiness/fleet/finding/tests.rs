//! The table row by row, and a good answer that is ready only whole.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};

use super::*;
use crate::{
    label::Serial,
    readiness::{
        evidence::SourceKind,
        testing::{spoilt, without},
    },
    runtime::name::Name,
};

const SERIAL: &str = "TESTFLEET001";
const NOW: &str = "2026-11-23T09:41:07Z";
const READY: Finding = Finding::Ready(Grade::Apple);

fn serial() -> Serial {
    Serial::new(SERIAL).unwrap()
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn host() -> Value {
    json!({"host": {"id": 32, "hardware_serial": SERIAL, "hostname": "mac.local", "mdm": {"enrollment_status": "Pending", "name": "Fleet"}}})
}

/// Apple's word with that status, and Fleet's record of its last assignment.
fn assignment(status: Value, response: Value) -> Value {
    json!({
        "id": 32,
        "dep_device": {"serial_number": SERIAL, "description": "MacBook Air", "device_family": "Mac", "profile_status": status,
            "profile_uuid": "762C4D36550103CCC53AA212A8D31CDD", "profile_assign_time": "2026-01-29T21:17:25Z",
            "profile_push_time": "0001-01-01T00:00:00Z", "device_assigned_date": "2026-01-28T21:17:25Z", "mdm_migration_deadline": null},
        "host_dep_assignment": {"assign_profile_response": response, "added_at": "2025-12-04 01:35:27", "deleted_at": null, "abm_token_id": 1},
    })
}

fn with(mut value: Value, path: &str, field: Value) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[name] = field;
    value
}

fn bare() -> Evidence {
    let name = Name::new("fleet").unwrap();
    let garbled = Finding::Unknown(Reason::GarbledAnswer);
    Evidence::bare(name, SourceKind::Fleet, serial(), garbled)
}

/// What the two replies say, the first one under that status; what is not in Fleet's form is garbled.
fn judged(status: u16, host: &Value, assignment: &Value) -> Evidence {
    let Ok(host) = Host::read(status, host, &serial()) else {
        return bare();
    };
    let known = of_host(bare(), host.as_ref(), now());
    let Some(host) = host.filter(|host| !host.is_enrolled()) else {
        return known;
    };
    match Assignment::read(assignment, host.id, &serial()) {
        Ok(said) => judge(known, &said, now(), &Expected::default()),
        Err(_) => known,
    }
}

fn judged_of(host: &Value, assignment: &Value) -> Evidence {
    judged(200, host, assignment)
}

fn said(assignment: &Value) -> Evidence {
    judged_of(&host(), assignment)
}

#[test]
fn the_first_call_tells_who_is_not_there_and_who_is_enrolled() {
    let nobody = |body: Value| judged(404, &body, &json!(null));
    let error = json!({"message": "Resource Not Found", "errors": [{"name": "base", "reason": "Host was not found"}], "uuid": "x"});
    let evidence = nobody(error.clone());
    assert_eq!(evidence.finding, Finding::No(Reason::NotFound));
    assert!(!evidence.known);
    assert_eq!(
        evidence.as_of.unwrap().to_string(),
        "2026-11-23T09:36:07Z",
        "its list is filled every minute"
    );
    for strange in [
        json!({"detail": "Not found."}),
        json!({"message": "Resource Not Found"}),
        json!({"message": "Resource Not Found", "errors": []}),
        json!({"errors": error["errors"]}),
        json!({"message": "x", "errors": ["x"]}),
        json!({"message": "x", "errors": error["errors"], "host": {"id": 1}}),
        json!([]),
    ] {
        let evidence = nobody(strange.clone());
        assert_eq!(
            evidence.finding,
            Finding::Unknown(Reason::GarbledAnswer),
            "{strange}"
        );
    }
    let ready = assignment(json!("assigned"), json!("SUCCESS"));
    for (word, enrolled) in [
        (json!("On (automatic)"), true),
        (json!("On (manual)"), true),
        (json!("on (personal)"), true),
        (json!("Off"), false),
        (json!("Pending"), false),
        (json!(null), false),
        (json!(""), false),
    ] {
        let host = with(host(), "/host/mdm/enrollment_status", word.clone());
        let evidence = judged_of(&host, &ready);
        let expected = if enrolled {
            Finding::No(Reason::AlreadyEnrolled)
        } else {
            READY
        };
        assert_eq!(
            (evidence.finding, evidence.known),
            (expected, true),
            "{word}"
        );
    }
}

#[test]
fn a_reply_about_another_host_or_device_is_garbled() {
    let ready = assignment(json!("assigned"), json!("SUCCESS"));
    assert_eq!(said(&ready).finding, READY);
    let other = with(host(), "/host/hardware_serial", json!("TESTFLEET002"));
    let garbled = Finding::Unknown(Reason::GarbledAnswer);
    assert_eq!(judged_of(&other, &ready).finding, garbled);
    assert!(!judged_of(&other, &ready).known);
    let spaced = with(host(), "/host/hardware_serial", json!(" testfleet001 "));
    assert_eq!(judged_of(&spaced, &ready).finding, READY);
    for (path, value) in [
        ("/id", json!(33)),
        ("/dep_device/serial_number", json!("TESTFLEET002")),
    ] {
        assert_eq!(
            said(&with(ready.clone(), path, value)).finding,
            garbled,
            "{path}"
        );
    }
    let text = with(host(), "/host/id", json!("32"));
    assert_eq!(judged_of(&text, &ready).finding, READY);
    for id in [
        json!("../1"),
        json!("x"),
        json!(-1),
        json!(null),
        json!(1.5),
    ] {
        let host = with(host(), "/host/id", id.clone());
        assert_eq!(judged_of(&host, &ready).finding, garbled, "{id}");
    }
}

#[test]
fn a_second_reply_that_names_nobody_is_nobodys() {
    let without = |names: &[(&str, &str)]| {
        let mut reply = assignment(json!("assigned"), json!("SUCCESS"));
        for (parent, name) in names {
            let fields = reply.pointer_mut(parent).unwrap().as_object_mut();
            fields.unwrap().remove(*name);
        }
        said(&reply).finding
    };
    let (host, serial) = (("", "id"), ("/dep_device", "serial_number"));
    assert_eq!(without(&[host]), READY);
    assert_eq!(without(&[serial]), READY);
    assert_eq!(
        without(&[host, serial]),
        Finding::Unknown(Reason::GarbledAnswer)
    );
}

#[test]
fn apples_own_word_on_the_question_counts_where_fleet_passes_it_on() {
    let garbled = Finding::Unknown(Reason::GarbledAnswer);
    let not_found = Finding::No(Reason::NotFound);
    for (status, word, finding) in [
        ("assigned", json!("SUCCESS"), READY),
        ("assigned", json!("success"), READY),
        ("assigned", json!(""), READY),
        ("assigned", json!(null), READY),
        ("", json!("NOT_ACCESSIBLE"), not_found),
        ("", json!("not_found"), not_found),
        ("assigned", json!("NOT_ACCESSIBLE"), garbled),
        ("empty", json!("NOT_ACCESSIBLE"), garbled),
        ("assigned", json!("FAILED"), garbled),
        ("", json!("MAYBE"), garbled),
        ("assigned", json!(7), garbled),
    ] {
        let reply = assignment(json!(status), json!("SUCCESS"));
        let evidence = said(&with(reply, "/dep_device/response_status", word.clone()));
        assert_eq!(evidence.finding, finding, "{status} {word}");
        assert_eq!(evidence.as_of.is_some(), finding == not_found);
    }
}

#[test]
fn what_is_not_in_fleets_list_from_apple_is_not_found() {
    let ready = assignment(json!("assigned"), json!("SUCCESS"));
    let never = with(
        ready.clone(),
        "/host_dep_assignment/deleted_at",
        json!("0001-01-01T00:00:00Z"),
    );
    assert_eq!(said(&never).finding, READY, "never deleted");
    for gone in [
        with(ready.clone(), "/host_dep_assignment", json!(null)),
        with(
            ready.clone(),
            "/host_dep_assignment/deleted_at",
            json!("2025-12-04 01:35:27"),
        ),
    ] {
        let evidence = said(&gone);
        assert_eq!(evidence.finding, Finding::No(Reason::NotFound), "{gone}");
        assert!(evidence.known && evidence.as_of.is_some());
    }
    let mut without = ready;
    without
        .as_object_mut()
        .unwrap()
        .remove("host_dep_assignment");
    assert_eq!(
        said(&without).finding,
        Finding::Unknown(Reason::GarbledAnswer)
    );
}

#[test]
fn where_apple_gives_no_record_its_sentence_tells_why() {
    use Reason::*;

    for (sentence, finding) in [
        (
            json!("Fleet can't connect to Apple Business. An admin needs to renew the AB token."),
            Finding::Unknown(MdmLinkBroken),
        ),
        (
            json!("Apple Business terms/conditions have changed. An admin must accept them."),
            Finding::Unknown(TermsNotSigned),
        ),
        (
            json!(
                "Fleet can't find this host in Apple Business. It may have been removed or assigned to a different MDM server."
            ),
            Finding::No(NotFound),
        ),
        (
            json!("Fleet can\u{2019}t find this host in Apple Business."),
            Finding::No(NotFound),
        ),
        (
            json!("Apple's servers are temporarily unavailable. Please try again later."),
            Finding::Unknown(SourceError),
        ),
        (
            json!("FLEET CAN'T RETRIEVE DATA from Apple right now. Please try again later."),
            Finding::Unknown(SourceError),
        ),
        (
            json!("Something nobody has heard of."),
            Finding::Unknown(MdmLinkBroken),
        ),
        (json!(""), Finding::Unknown(MdmLinkBroken)),
        (json!(null), Finding::Unknown(MdmLinkBroken)),
        (json!(7), Finding::Unknown(GarbledAnswer)),
    ] {
        let refused = with(
            assignment(json!(null), json!("SUCCESS")),
            "/dep_device",
            json!(null),
        );
        let evidence = said(&with(refused, "/dep_device_error", sentence.clone()));
        assert_eq!(
            (evidence.finding, evidence.known),
            (finding, true),
            "{sentence}"
        );
        assert!(
            evidence
                .detail
                .as_deref()
                .is_none_or(|detail| detail.is_ascii()),
            "never the reply's own text"
        );
        assert_eq!(evidence.as_of.is_some(), finding == Finding::No(NotFound));
    }
    let older = with(
        assignment(json!(null), json!("SUCCESS")),
        "/dep_device",
        json!(null),
    );
    assert_eq!(said(&older).finding, Finding::Unknown(MdmLinkBroken));
    let both = with(
        assignment(json!("assigned"), json!("SUCCESS")),
        "/dep_device_error",
        json!("Apple's servers are temporarily unavailable."),
    );
    assert_eq!(said(&both).finding, Finding::Unknown(GarbledAnswer));
}

#[test]
fn apples_status_and_its_last_response_decide() {
    use Reason::*;

    let pending = Finding::Wait(AssignmentPending);
    let throttled = Finding::Wait(AssignmentThrottled);
    let failed = Finding::No(AssignmentFailed);
    let garbled = Finding::Unknown(GarbledAnswer);
    let not_found = Finding::No(NotFound);
    let (removed, activated) = (
        Finding::No(ProfileRemoved),
        Finding::No(PreviouslyActivated),
    );
    // The status, the response, and the finding for new stock.
    for (status, response, finding) in [
        ("assigned", "SUCCESS", READY),
        ("Assigned", "success", READY),
        ("assigned", "", READY),
        ("assigned", "FAILED", failed),
        ("assigned", "THROTTLED", throttled),
        ("assigned", "NOT_ACCESSIBLE", not_found),
        ("assigned", "MAYBE", garbled),
        ("pushed", "SUCCESS", activated),
        ("PUSHED", "FAILED", activated),
        ("pushed", "MAYBE", activated),
        ("removed", "SUCCESS", removed),
        ("removed", "FAILED", removed),
        ("queued", "SUCCESS", garbled),
        ("queued", "FAILED", garbled),
        ("empty", "SUCCESS", pending),
        ("", "SUCCESS", pending),
        ("empty", "", pending),
        ("empty", "FAILED", failed),
        ("", "THROTTLED", throttled),
        ("empty", "NOT_ACCESSIBLE", not_found),
        ("empty", "MAYBE", garbled),
    ] {
        let evidence = said(&assignment(json!(status), json!(response)));
        assert_eq!(evidence.judged(false), finding, "{status} {response}");
        let older = evidence.detail.as_deref() == Some("An older profile is in place.");
        let noted =
            status.eq_ignore_ascii_case("assigned") && matches!(response, "FAILED" | "THROTTLED");
        assert_eq!(older && status != "PUSHED", noted, "{status} {response}");
    }
    for status in [json!(null), json!("")] {
        assert_eq!(said(&assignment(status, json!(null))).finding, pending);
    }
    let mut without = assignment(json!("assigned"), json!("SUCCESS"));
    without["dep_device"]
        .as_object_mut()
        .unwrap()
        .remove("profile_status");
    assert_eq!(said(&without).finding, pending);
}

/// Re-assigned in Apple's portal to the same server: the uuid still names the profile that is gone.
#[test]
fn the_status_decides_and_never_the_uuid() {
    let removed = assignment(json!("removed"), json!("SUCCESS"));
    assert_eq!(said(&removed).finding, Finding::No(Reason::ProfileRemoved));
}

#[test]
fn a_migration_goes_before_all_and_returned_stock_is_ready_only_where_it_is_allowed() {
    let deadline = |status: &str, time: Value| {
        let assigned = assignment(json!(status), json!("FAILED"));
        said(&with(assigned, "/dep_device/mdm_migration_deadline", time))
    };
    let migration = Finding::No(Reason::MigrationPending);
    for status in ["assigned", "pushed", "removed", "empty", "queued"] {
        let evidence = deadline(status, json!("2099-01-01T00:00:00Z"));
        assert_eq!(evidence.judged(false), migration, "{status}");
    }
    assert_eq!(
        deadline("assigned", json!("0001-01-01T00:00:00Z")).finding,
        Finding::No(Reason::AssignmentFailed),
        "year 1 is no deadline"
    );
    let returned = said(&assignment(json!("pushed"), json!("SUCCESS")));
    assert_eq!(returned.judged(true), READY);
    let failed = said(&assignment(json!("pushed"), json!("FAILED")));
    assert_eq!(failed.judged(true), Finding::No(Reason::AssignmentFailed));
}

#[test]
fn only_an_expected_profile_is_ready_and_no_moment_lies_in_the_future() {
    let host = Host::read(200, &host(), &serial()).unwrap().unwrap();
    let judged_by = |profiles: &[&str], body: &Value| {
        let said = Assignment::read(body, host.id, &serial()).unwrap();
        let expected = Expected {
            profiles: profiles.iter().map(|uuid| (*uuid).to_owned()).collect(),
        };
        judge(bare(), &said, now(), &expected)
    };
    let ready = assignment(json!("assigned"), json!("SUCCESS"));
    let wrong = Finding::No(Reason::WrongProfile);
    for (profiles, finding) in [
        (&[][..], READY),
        (&["762c4d36550103ccc53aa212a8d31cdd"], READY),
        (&["762C4D36-5501-03CC-C53A-A212A8D31CDD"], READY),
        (&["other", "762C4D36550103CCC53AA212A8D31CDD"], READY),
        (&["other"], wrong),
    ] {
        assert_eq!(judged_by(profiles, &ready).finding, finding, "{profiles:?}");
    }
    let unnamed = with(ready.clone(), "/dep_device/profile_uuid", json!(null));
    assert_eq!(judged_by(&["other"], &unnamed).finding, wrong);
    for (field, time, finding) in [
        ("profile_assign_time", "2026-11-23T09:46:07Z", READY),
        (
            "profile_assign_time",
            "2026-11-23T09:46:08Z",
            Finding::Unknown(Reason::GarbledAnswer),
        ),
        (
            "device_assigned_date",
            "2026-11-23T09:46:08Z",
            Finding::Unknown(Reason::GarbledAnswer),
        ),
    ] {
        let path = format!("/dep_device/{field}");
        assert_eq!(
            said(&with(ready.clone(), &path, json!(time))).finding,
            finding,
            "{field} {time}"
        );
    }
    for never in [json!(null), json!("0001-01-01T00:00:00Z")] {
        let evidence = said(&with(
            ready.clone(),
            "/dep_device/profile_assign_time",
            never,
        ));
        assert_eq!((evidence.finding, evidence.assigned_at), (READY, None));
    }
    let evidence = said(&ready);
    assert_eq!(
        evidence.assigned_at.unwrap().to_string(),
        "2026-01-29T21:17:25Z"
    );
    assert_eq!((evidence.as_of, evidence.used_at), (None, None));
    assert_eq!(
        (
            evidence.model.as_deref(),
            evidence.family.as_deref(),
            evidence.status.as_deref()
        ),
        (Some("MacBook Air"), Some("Mac"), Some("assigned"))
    );
}

/// Damages a good answer: each known field in turn is removed, made null, or given a value of every other type.
#[test]
fn only_a_good_answer_is_ready_whichever_field_is_changed() {
    let good = json!([
        host(),
        with(
            assignment(json!("assigned"), json!("SUCCESS")),
            "/dep_device_error",
            json!(null)
        )
    ]);
    let finding = |bodies: &Value| judged_of(&bodies[0], &bodies[1]).finding;
    assert_eq!(finding(&good), READY);
    // The field, of which type it may be instead, and whether it may be absent or null.
    let fields = [
        ("/0/host", "", false),
        ("/0/host/id", "number", false),
        ("/0/host/hardware_serial", "", false),
        ("/0/host/mdm", "object", true),
        ("/0/host/mdm/enrollment_status", "text", true),
        ("/1/id", "", true),
        ("/1/dep_device", "", false),
        ("/1/dep_device_error", "", true),
        ("/1/dep_device/serial_number", "", true),
        ("/1/dep_device/profile_status", "", false),
        ("/1/dep_device/profile_uuid", "text", true),
        ("/1/dep_device/profile_assign_time", "", true),
        ("/1/dep_device/profile_push_time", "text", true),
        ("/1/dep_device/device_assigned_date", "", true),
        ("/1/dep_device/mdm_migration_deadline", "", true),
        ("/1/dep_device/description", "text", true),
        ("/1/dep_device/device_family", "text", true),
        ("/1/host_dep_assignment", "object", false),
        ("/1/host_dep_assignment/assign_profile_response", "", true),
        ("/1/host_dep_assignment/deleted_at", "", true),
    ];
    for (path, kind, optional) in fields {
        assert_eq!(
            finding(&without(&good, path)) == READY,
            optional,
            "without {path}"
        );
        for (changed, value, of) in spoilt(&good, path) {
            let good_still = match of {
                "null" => optional,
                // The second reply names the host by its number: another one is another host.
                "number" => false,
                of => of == kind,
            };
            assert_eq!(finding(&changed) == READY, good_still, "{path} is {value}");
        }
    }
}
