//! What Apple holds: sessions, the limit of reads, and each device's record.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Options, Refused, SESSION, Token};
use crate::simulator::{
    PerMinute, overlay,
    stock::{self, Dep},
};

#[derive(Debug)]
pub(super) struct Book {
    pub(super) options: Options,
    pub(super) token: Token,
    pub(super) overlays: HashMap<String, Value>,
    pub(super) first_asked: HashMap<String, (Instant, Timestamp)>,
    pub(super) nonces: HashSet<String>,
    /// When each session ends.
    pub(super) sessions: HashMap<String, Instant>,
    pub(super) made: u64,
    pub(super) replies: u64,
    pub(super) recent: PerMinute,
}

impl Book {
    pub(super) fn within_limit(&mut self) -> Result<(), Refused> {
        if self.recent.take() {
            Ok(())
        } else {
            Err(Refused(429, "TOO_MANY_REQUESTS"))
        }
    }

    pub(super) fn opened(&mut self) -> String {
        let word = format!("{}{}", Uuid::now_v7().simple(), fastrand::u64(..));
        self.sessions
            .insert(word.clone(), Instant::now() + self.options.session_life);
        word
    }

    pub(super) fn session(&self, headers: &HeaderMap) -> Result<String, Refused> {
        let word = headers
            .get(&SESSION)
            .and_then(|value| value.to_str().ok())
            .ok_or(Refused(403, "FORBIDDEN"))?;
        match self.sessions.get(word) {
            None => Err(Refused(403, "FORBIDDEN")),
            Some(end) if Instant::now() >= *end => Err(Refused(401, "UNAUTHORIZED")),
            Some(_) => Ok(word.to_owned()),
        }
    }

    /// The session's next word, when its turn has come.
    pub(super) fn rotated(&mut self, word: String) -> Option<String> {
        self.replies += 1;
        if self.options.rotate_every == 0 || !self.replies.is_multiple_of(self.options.rotate_every)
        {
            return Some(word);
        }
        self.sessions.remove(&word);
        Some(self.opened())
    }

    pub(super) fn device(&mut self, serial: &str) -> Value {
        let now = Timestamp::now();
        let ago = |age: Duration| Some(now.checked_sub(age).unwrap_or(now));
        let days = |days: u64| ago(Duration::from_hours(24 * days));
        let (since, first) = *self
            .first_asked
            .entry(serial.to_owned())
            .or_insert_with(|| (Instant::now(), now));
        let (status, assigned_at) = match self.options.devices.get(serial) {
            None | Some(Dep::NotAccessible) => {
                let mut device = json!({ "response_status": "NOT_ACCESSIBLE" });
                overlay(&mut device, self.overlays.get(serial));
                return device;
            }
            Some(Dep::Empty) => ("empty", None),
            Some(Dep::Soon(after)) if since.elapsed() < *after => ("empty", None),
            Some(Dep::Soon(after)) => {
                ("assigned", Some(first.checked_add(*after).unwrap_or(first)))
            }
            Some(Dep::JustNow) => (
                "assigned",
                Some(first.checked_sub(Duration::from_secs(1)).unwrap_or(first)),
            ),
            Some(Dep::Assigned(age)) => ("assigned", ago(*age)),
            Some(Dep::Migrating) => ("assigned", days(45)),
            Some(Dep::Pushed) => ("pushed", days(300)),
            Some(Dep::Removed) => ("removed", days(45)),
        };
        let demo = stock::DEMO.iter().find(|demo| demo.serial == serial);
        let (model, family) = demo.map_or(("MacBook Air", "Mac"), |demo| (demo.model, demo.family));
        let mut device = json!({
            "serial_number": serial, "model": model, "description": model, "color": "SILVER", "asset_tag": "", "device_family": family,
            "os": if family == "Mac" { "OSX" } else { "iOS" }, "profile_status": status, "device_assigned_by": "admin@example.com",
            "device_assigned_date": stock::before(assigned_at.unwrap_or(now), Duration::from_mins(2)),
            "response_status": "SUCCESS",
        });
        let mut set = |name: &str, value: Value| {
            if let Some(fields) = device.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
        };
        if let Some(at) = assigned_at {
            set("profile_uuid", json!(stock::PROFILE_UUID));
            set(
                "profile_assign_time",
                json!(stock::before(at, Duration::ZERO)),
            );
        }
        match self.options.devices.get(serial) {
            Some(Dep::Pushed) => set(
                "profile_push_time",
                json!(stock::before(now, Duration::from_hours(200 * 24))),
            ),
            Some(Dep::Migrating) => set("mdm_migration_deadline", json!("2099-01-01T00:00:00Z")),
            _ => {}
        }
        overlay(&mut device, self.overlays.get(serial));
        device
    }
}
