//! Values that the publisher's tests share.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{NoSubscriber, Settings, message::Meta};
use crate::{
    health::{
        ByVerdict, Health, JournalHealth, LampCondition, LinkCondition, ScannerCondition,
        ScannerHealth, SourceHealth, Unable,
    },
    label::Serial,
    readiness::evidence::{Evidence, Finding, Grade, SourceKind},
    reason::Reason,
    record::{Cause, Change, Record, Recorded},
    runtime::name::Name,
};

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn id(last: u8) -> Uuid {
    Uuid::from_u128(0x019a_b0c2_6d1e_7c3a_9f00_3f2b_6c1d_9e00 | u128::from(last))
}

pub(super) fn settings() -> Settings {
    Settings {
        site: name("ams1"),
        station: name("bench-1"),
        url: "mqtt://127.0.0.1:1883".parse().unwrap(),
        username: None,
        password: None,
        ca_file: None,
        client_certificate: None,
        topic_prefix: "benchlight".to_owned(),
        keep_alive: Duration::from_secs(30),
        replay_per_second: 200,
        no_subscriber: NoSubscriber::Keep,
        publish_raw: false,
        commands: false,
        discovery_prefix: None,
    }
}

/// The scan of the product's sample.
pub(super) fn scan() -> Record {
    let serial = Serial::new("C02XK0AAJG5H").unwrap();
    let evidence = Evidence {
        status: Some("assigned".to_owned()),
        assigned_at: Some(at("2026-01-09T22:01:10Z")),
        as_of: Some(at("2026-11-23T09:00:00Z")),
        took: Duration::from_micros(84_900),
        ..Evidence::bare(
            name("kandji"),
            SourceKind::Kandji,
            serial.clone(),
            Finding::Ready(Grade::Relayed),
        )
    };
    Record {
        serial: Some(serial.clone()),
        asked: vec![serial],
        grade: Some(Grade::Relayed),
        model: Some("MacBook Air".to_owned()),
        family: Some("Mac".to_owned()),
        assigned_at: Some(at("2026-01-09T22:01:10Z")),
        took_ms: 91,
        policy: "9f2c41d0".to_owned(),
        evidence: vec![evidence],
        ..Record::bare(
            id(0x10),
            at("2026-11-23T09:41:07.123456Z"),
            name("left"),
            Reason::Assigned,
        )
    }
}

/// A scan with that `seq`.
pub(super) fn recorded(seq: u64) -> Recorded {
    let record = Record {
        id: Uuid::from_u128(u128::from(seq) + 1),
        ..scan()
    };
    Recorded::committed(id(1), seq, record)
}

/// A change with that `seq`.
pub(super) fn change(seq: u64) -> Recorded {
    let mut recorded = recorded(seq);
    recorded.record.change = Some(Change {
        scan: id(0x10),
        cause: Cause::Recheck,
        previous_reason: Reason::SyncPending,
    });
    recorded
}

/// The health of the product's sample.
pub(super) fn health() -> Health {
    Health {
        unable: Some(Unable::Reason(Reason::Offline)),
        alarms: vec!["not_found_streak"],
        scanners: [(
            name("left"),
            ScannerHealth {
                state: ScannerCondition::Ok,
                proven: true,
                unended: false,
            },
        )]
        .into(),
        lamps: [(name("left"), LampCondition::Ok)].into(),
        sources: [(
            name("kandji"),
            SourceHealth {
                failing: Some(Reason::Offline),
                since: Some(at("2026-11-23T09:40:00.5Z")),
                as_of: Some(at("2026-11-23T09:00:00Z")),
                credential_days: Some(112),
                credential_expires: Some(at("2027-03-15T08:00:00Z")),
                quota_left: Some(8990),
                quota_limit: Some(10000),
                replica: None,
                rows_answer: false,
            },
        )]
        .into(),
        broker: LinkCondition::Connected,
        nobody_listens: false,
        journal: JournalHealth {
            set_aside: vec![(7, "packet_too_large".to_owned())],
            interrupted: 1,
            seq: 1234,
            ..JournalHealth::sound(id(1))
        },
        unheard_faults: 0,
        clock_synced: true,
        waiting: 3,
        today: Some(ByVerdict::default()),
        log_dropped: 0,
        results_dropped: 0,
        web: None,
    }
}

/// What the product's sample says of itself.
pub(super) fn meta() -> Meta {
    Meta {
        version: "0.1.0".to_owned(),
        site: name("ams1"),
        station: name("bench-1"),
        epoch: id(1),
        policy: "9f2c41d0".to_owned(),
        commands: false,
        lanes: vec![name("left")],
        scanners: vec![(name("left"), "hid", name("left"))],
        sources: vec![(name("kandji"), "kandji", true)],
    }
}
