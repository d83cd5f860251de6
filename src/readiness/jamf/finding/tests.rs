//! Every row of the table, and what must not change it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use super::*;
use crate::{label::Serial, readiness::evidence::SourceKind, runtime::name::Name};

const NOW: &str = "2026-11-29T08:00:00Z";
const SYNCED: &str = "2026-11-29T07:50:00Z";
const ASSIGNED: &str = "2026-10-01T08:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn instance(id: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        name: Some(format!("HQ {id}")),
        server_uuid: Some("1f97349736cf4614a94f624e705841ad".to_owned()),
        expires: Expiry::On(at("2027-06-30T00:00:00Z")),
        synced: Some(at(SYNCED)),
    }
}

fn device(status: &str) -> Device {
    Device {
        device_assigned: Some(at(ASSIGNED)),
        profile_assigned: Some(at(ASSIGNED)),
        profile_pushed: None,
        status: Some(status.to_owned()),
        failures: 0,
        model: Some("MacBook Air".to_owned()),
        instance: "1".to_owned(),
    }
}

fn policy() -> Policy {
    Policy {
        instances: Vec::new(),
        max_fetch_age: Duration::from_hours(24),
        expected_prestages: Vec::new(),
    }
}

fn prestage(text: &str) -> Prestage {
    Prestage::read(text).unwrap()
}

struct Case {
    devices: Vec<Device>,
    scopes: Vec<Prestage>,
    instances: Vec<Instance>,
    policy: Policy,
}

fn of(devices: &[Device]) -> Case {
    Case {
        devices: devices.to_vec(),
        scopes: Vec::new(),
        instances: vec![instance("1")],
        policy: policy(),
    }
}

impl Case {
    fn judged(&self) -> Evidence {
        let (name, serial) = (
            Name::new("jamf").unwrap(),
            Serial::new("C02XK0AAJG5H").unwrap(),
        );
        let bare = Evidence::bare(
            name,
            SourceKind::Jamf,
            serial,
            Finding::Unknown(Reason::Stale),
        );
        let records = Records {
            devices: &self.devices,
            scopes: &self.scopes,
            instances: &self.instances,
            now: at(NOW),
            read_at: at("2026-11-29T07:59:00Z"),
        };
        judge(bare, &records, &self.policy)
    }

    fn finding(&self) -> Finding {
        self.judged().judged(false)
    }

    fn says(&self, finding: Finding, words: &str) {
        let judged = self.judged();
        assert_eq!(judged.judged(false), finding, "{judged:?}");
        let detail = judged.detail.unwrap_or_default();
        assert!(detail.contains(words), "{detail:?} has no {words:?}");
    }
}

const READY: Finding = Finding::Ready(Grade::Relayed);

#[test]
fn an_assigned_device_is_ready_with_its_times_and_its_server() {
    let judged = of(&[device("assigned")]).judged();
    assert_eq!(judged.finding, READY);
    assert!(judged.known && !judged.returned);
    assert_eq!(
        (judged.assigned_at, judged.device_assigned_at, judged.as_of),
        (Some(at(ASSIGNED)), Some(at(ASSIGNED)), Some(at(SYNCED)))
    );
    assert_eq!(
        judged.server_uuid.as_deref(),
        Some("1f97349736cf4614a94f624e705841ad")
    );
    assert_eq!(
        (judged.status.as_deref(), judged.model.as_deref()),
        (Some("ASSIGNED"), Some("MacBook Air"))
    );
    let never = Device {
        profile_assigned: None,
        ..device("assigned")
    };
    let judged = of(&[never]).judged();
    assert_eq!((judged.finding, judged.assigned_at), (READY, None));
}

#[test]
fn a_device_of_another_instance_is_on_the_wrong_server() {
    let other = Device {
        instance: "2".to_owned(),
        ..device("assigned")
    };
    let mut case = of(&[other]);
    case.instances.push(instance("2"));
    assert_eq!(case.finding(), READY, "all count");
    case.policy.instances = vec!["1".to_owned()];
    case.says(
        Finding::No(Reason::WrongServer),
        "It is on \"HQ 2\", this station expects \"HQ 1\".",
    );
    // Before its own instance's health: it does not matter here.
    case.instances[1].synced = None;
    assert_eq!(case.finding(), Finding::No(Reason::WrongServer));
}

#[test]
fn an_instance_whose_token_has_ended_or_that_was_never_synced_is_a_broken_link() {
    let broken = Finding::Unknown(Reason::MdmLinkBroken);
    for status in ["assigned", "removed", "empty", "pushed"] {
        let mut case = of(&[device(status)]);
        case.instances[0].expires = Expiry::On(at("2026-11-27T00:00:00Z"));
        case.says(broken, "expired on 2026-11-27");
        case.instances[0].expires = Expiry::On(at("2026-11-28T00:00:00Z"));
        assert_ne!(
            case.finding(),
            broken,
            "yesterday: some time zone still has that day"
        );
        case.instances[0].expires = Expiry::Garbled;
        case.says(broken, "cannot be read");
        case.instances[0].expires = Expiry::Absent;
        assert_ne!(case.finding(), broken);
        case.instances[0].synced = None;
        case.says(broken, "never had a successful sync");
        case.instances.clear();
        case.says(broken, "not in Jamf Pro's list");
    }
}

#[test]
fn an_instance_that_was_synced_too_long_ago_or_in_the_future_is_stale() {
    let stale = Finding::Unknown(Reason::Stale);
    for status in ["assigned", "removed", "empty", "pushed"] {
        let mut case = of(&[device(status)]);
        case.instances[0].synced = Some(at("2026-11-28T07:59:59Z"));
        case.says(stale, "24 h ago");
        case.instances[0].synced = Some(at("2026-11-28T08:00:00Z"));
        assert_ne!(case.finding(), stale);
        case.instances[0].synced = Some(at("2026-11-29T08:05:01Z"));
        case.says(stale, "in the future");
        case.instances[0].synced = Some(at("2026-11-29T08:05:00Z"));
        assert_ne!(case.finding(), stale);
    }
}

#[test]
fn each_status_word_has_its_finding() {
    for (status, finding) in [
        ("removed", Finding::No(Reason::ProfileRemoved)),
        ("empty", Finding::Wait(Reason::AssignmentPending)),
        ("queued", Finding::Unknown(Reason::GarbledAnswer)),
        ("", Finding::Unknown(Reason::GarbledAnswer)),
        ("assigned", READY),
    ] {
        assert_eq!(of(&[device(status)]).finding(), finding, "{status}");
    }
    let none = Device {
        status: None,
        ..device("")
    };
    of(&[none]).says(
        Finding::Unknown(Reason::GarbledAnswer),
        "names no profile status",
    );
    of(&[device("q\u{202e}")]).says(Finding::Unknown(Reason::GarbledAnswer), "Q\\u{202e}");
}

#[test]
fn a_pushed_device_is_ready_only_where_returned_ones_are() {
    let pushed = Device {
        profile_pushed: Some(at(SYNCED)),
        ..device("pushed")
    };
    let judged = of(std::slice::from_ref(&pushed)).judged();
    assert_eq!(
        judged.judged(false),
        Finding::No(Reason::PreviouslyActivated)
    );
    assert_eq!(
        (judged.judged(true), judged.used_at),
        (READY, Some(at(SYNCED)))
    );
    let mut case = of(&[pushed]);
    case.policy.expected_prestages = vec![prestage("computer:1")];
    assert_eq!(
        case.judged().judged(true),
        Finding::No(Reason::WrongProfile),
        "as an assigned one"
    );
}

#[test]
fn failures_spoil_an_empty_status_and_are_only_said_beside_an_assigned_one() {
    let failed = |status: &str| Device {
        failures: 2,
        ..device(status)
    };
    of(&[failed("empty")]).says(Finding::No(Reason::AssignmentFailed), "2 failed");
    of(&[failed("assigned")]).says(READY, "2 failed");
}

#[test]
fn a_box_outside_the_expected_prestages_has_the_wrong_profile() {
    let mut case = of(&[device("assigned")]);
    case.policy.expected_prestages = vec![prestage("computer:1"), prestage("mobile:2")];
    let wrong = Finding::No(Reason::WrongProfile);
    case.says(
        wrong,
        "It is in no PreStage's scope. This station expects computer:1, mobile:2.",
    );
    for (scope, finding) in [
        ("computer:1", READY),
        ("mobile:2", READY),
        ("mobile:1", wrong),
        ("computer:2", wrong),
    ] {
        case.scopes = vec![prestage(scope)];
        assert_eq!(case.finding(), finding, "{scope}");
    }
    case.says(wrong, "in the scope of computer:2");
    case.policy.expected_prestages.clear();
    assert_eq!(case.finding(), READY);
}

#[test]
fn an_assignment_in_the_future_is_garbled() {
    let later = Device {
        profile_assigned: Some(at("2026-11-29T08:05:01Z")),
        ..device("assigned")
    };
    of(&[later]).says(Finding::Unknown(Reason::GarbledAnswer), "in the future");
    let soon = Device {
        profile_assigned: Some(at("2026-11-29T08:05:00Z")),
        ..device("assigned")
    };
    assert_eq!(of(&[soon]).finding(), READY);
}

#[test]
fn a_box_without_a_row_is_not_found_if_all_instances_that_count_are_well() {
    let mut case = of(&[]);
    case.says(
        Finding::No(Reason::NotFound),
        "Jamf Pro's list of 2026-11-29 07:59 UTC does not have it",
    );
    let judged = case.judged();
    assert!(!judged.known);
    assert_eq!(
        (judged.as_of, judged.server_uuid.is_some()),
        (Some(at(SYNCED)), true)
    );
    // Only in a scope: no instance lists it.
    case.scopes = vec![prestage("computer:1")];
    assert_eq!(case.finding(), Finding::No(Reason::NotFound));
    let mut other = instance("2");
    other.synced = Some(at("2026-11-01T08:00:00Z"));
    case.instances.push(other);
    case.says(Finding::Unknown(Reason::Stale), "\"HQ 2\"");
    assert_eq!(
        case.judged().as_of,
        Some(at("2026-11-01T08:00:00Z")),
        "the oldest"
    );
    let mut third = instance("3");
    third.synced = None;
    case.instances.push(third);
    case.says(Finding::Unknown(Reason::MdmLinkBroken), "\"HQ 3\"");
    case.policy.instances = vec!["1".to_owned()];
    assert_eq!(
        case.finding(),
        Finding::No(Reason::NotFound),
        "the others do not count"
    );
    case.policy.instances.push("9".to_owned());
    case.says(
        Finding::Unknown(Reason::MdmLinkBroken),
        "The instance 9 is not in",
    );
    let mut none = of(&[]);
    none.instances.clear();
    none.says(Finding::Unknown(Reason::MdmLinkBroken), "has no instance");
}

#[test]
fn of_several_rows_the_newest_counts_unless_they_disagree() {
    let older = Device {
        device_assigned: None,
        profile_assigned: None,
        ..device("assigned")
    };
    for rows in [
        [device("assigned"), older.clone()],
        [older.clone(), device("assigned")],
    ] {
        let judged = of(&rows).judged();
        assert_eq!(
            (judged.finding, judged.assigned_at),
            (READY, Some(at(ASSIGNED)))
        );
    }
    for status in ["removed", "empty", "pushed", "queued"] {
        let other = Device {
            status: Some(status.to_owned()),
            ..older.clone()
        };
        for rows in [
            [device("assigned"), other.clone()],
            [other.clone(), device("assigned")],
        ] {
            of(&rows).says(Finding::Unknown(Reason::Contradiction), "2 times");
        }
    }
}
