//! The wire format: records, health and meta as JSON, and the topics they go to. Pure: no clock, no I/O.
//!
//! A message is at most 8 KiB with its topic and properties; only the one for Home Assistant grows with the station's parts. What would be longer is shortened in steps, the free texts first
//! (each ends in `…`), then the list of evidence; the message then says `"truncated": true`. The same record always gives the
//! same bytes, `replay` aside, so that a repeat can be recognised.
//!
//! What people read of a message (`message`, `action`, `model`, `family`, the reasons of health and of answers) is `visible`. What a program
//! compares stays as it was recorded: `serial`, `raw`, `evidence[].status`, ids, times and codes. (JSON itself escapes control characters.)

mod backfill;
mod discovery;
mod event;
mod health;
mod meta;

use jiff::Timestamp;
use serde::Serialize;

use super::Settings;
use crate::record::Record;
pub use backfill::{BackfillDone, refusal};
pub use discovery::{Components, components, discovery, entities_of};
pub use event::{Speaker, evidence};
pub use health::health;
pub use meta::{Meta, meta};

/// The MQTT content type of `P/scan`, `P/change` and `P/last`.
pub const CLOUD_EVENT: &str = "application/cloudevents+json";
/// The MQTT content type of everything else that is JSON.
pub const JSON: &str = "application/json";

/// Bytes of a payload: 8 KiB, less what topic and properties may take.
pub const PAYLOAD_MAX: usize = 8 * 1024 - 512;

/// The text of `P/availability` while the station is there.
pub const ONLINE: &str = "online";
/// The text of `P/availability` after a clean stop, and of the will.
pub const OFFLINE: &str = "offline";

/// The topics of one station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// `P/availability`
    pub availability: String,
    /// `P/meta`
    pub meta: String,
    /// `P/health`
    pub health: String,
    /// `P/scan`
    pub scan: String,
    /// `P/change`
    pub change: String,
    /// `P/last`
    pub last: String,
    /// `P/cmd/backfill`
    pub backfill: String,
    /// `P/rsp/backfill`
    pub backfill_answer: String,
}

impl Topics {
    /// The topics under `<topic_prefix>/v1/<site>/<station>`.
    pub fn new(settings: &Settings) -> Self {
        let topic = |channel: &str| {
            format!(
                "{}/v1/{}/{}/{channel}",
                settings.topic_prefix, settings.site, settings.station
            )
        };
        Self {
            availability: topic("availability"),
            meta: topic("meta"),
            health: topic("health"),
            scan: topic("scan"),
            change: topic("change"),
            last: topic("last"),
            backfill: topic("cmd/backfill"),
            backfill_answer: topic("rsp/backfill"),
        }
    }

    /// Where a record goes.
    pub fn of(&self, record: &Record) -> &str {
        if record.change.is_some() {
            &self.change
        } else {
            &self.scan
        }
    }
}

/// The two queues in which rows wait on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Rows recorded since the link is up, sent for the first time: `"replay": false`.
    Live,
    /// The backlog, which is all older rows, and repeats and backfills: `"replay": true`.
    Backlog,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

const fn clock(synced: bool) -> &'static str {
    if synced { "synced" } else { "unsynced" }
}

/// The station's own times: always with milliseconds.
fn milliseconds(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A service's times: as precise as the service was, at most milliseconds.
fn as_known(at: Timestamp) -> String {
    if at.subsec_nanosecond() == 0 {
        format!("{at:.0}")
    } else {
        format!("{at:.3}")
    }
}

/// At most `limit` characters, the last of them `…` when something is missing.
fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars()
        .take(limit.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// These types have string keys and finite numbers only, so serialising cannot fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
