//! A sample record for the targets that need one.

use benchlight::{label::Serial, reason::Reason, record::Record, runtime::name::Name};
use uuid::Uuid;

/// The record of a ready box. Another `id` makes another record.
pub fn record(id: u128) -> Record {
    let name = Name::new("left").expect("a name");
    let serial = Serial::new("C02XK0AAJG5H").expect("a serial number");
    Record {
        serial: Some(serial.clone()),
        asked: vec![serial],
        model: Some("MacBook Air".to_owned()),
        family: Some("Mac".to_owned()),
        took_ms: 91,
        policy: "9f2c41d0".to_owned(),
        ..Record::bare(
            Uuid::from_u128(id),
            "2026-11-23T09:41:07Z".parse().expect("a moment"),
            name,
            Reason::Assigned,
        )
    }
}
