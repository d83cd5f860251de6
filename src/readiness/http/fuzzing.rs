//! The door as the fuzz target drives it.

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::{
    door::Came,
    host_time::{Clocks, Dated},
};
use crate::runtime::clock::{Boot, ClockWatch};

/// The answer that the door makes of a reply to a question which documents 200, of a host whose time is `now`.
pub fn judged(status: u16, headers: &[(&str, &str)], body: &[u8], now: Timestamp) -> Option<Value> {
    let url = Url::parse("https://mdm.example").ok()?;
    let header = |(name, value): &(&str, &str)| {
        Some((
            HeaderName::from_bytes(name.as_bytes()).ok()?,
            HeaderValue::from_str(value).ok()?,
        ))
    };
    let mut kept = HeaderMap::new();
    for (name, value) in headers.iter().filter_map(header) {
        kept.append(name, value);
    }
    let [sent, came] = [Boot::now(); 2];
    let clocks = Clocks::from(ClockWatch::Fixed { synced: false });
    let came = Came {
        url,
        status,
        headers: kept,
        sent,
        came,
    };
    clocks
        .judge(
            &came.clock_of(),
            Dated {
                date: now,
                sent,
                came: came.came,
            },
        )
        .ok()?;
    (status == 200)
        .then(|| came.answer(body, &clocks).ok())
        .flatten()
        .map(|reply| reply.body().clone())
}
