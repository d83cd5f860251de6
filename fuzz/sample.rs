//! A record for the targets that need one.

use benchlight::{
    label::Serial,
    reason::{Reason, Signal},
    record::Record,
    runtime::name::Name,
};
use uuid::Uuid;

/// The record of a ready box. `id` makes it another one.
pub fn record(id: u128) -> Record {
    let name = || Name::new("left").expect("a name");
    let serial = Serial::new("C02XK0AAJG5H").expect("a serial number");
    Record {
        id: Uuid::from_u128(id),
        raw_scan: None,
        change: None,
        at: "2026-11-23T09:41:07Z".parse().expect("a moment"),
        clock_synced: true,
        lane: name(),
        scanner: name(),
        serial: Some(serial.clone()),
        asked: vec![serial],
        raw: None,
        reason: Reason::Assigned,
        message: Reason::Assigned.sentence().to_owned(),
        action: Reason::Assigned.action().to_owned(),
        grade: None,
        model: Some("MacBook Air".to_owned()),
        family: Some("Mac".to_owned()),
        assigned_at: None,
        took_ms: 91,
        lamp: Signal::Ready,
        previous: None,
        group: None,
        policy: "9f2c41d0".to_owned(),
        evidence: Vec::new(),
    }
}
