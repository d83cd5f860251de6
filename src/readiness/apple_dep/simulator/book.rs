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
    Limit,
    fleet::{self, Ages, Fleet},
    overlay,
    stock::{self, Dep, written},
};

#[derive(Debug)]
pub(super) struct Book {
    pub(super) options: Options,
    pub(super) token: Token,
    /// Generated devices, behind the others in the list.
    pub(super) fleet: Fleet<Dep>,
    pub(super) ages: Ages,
    pub(super) overlays: HashMap<String, Value>,
    pub(super) first_asked: HashMap<String, (Instant, Timestamp)>,
    pub(super) nonces: HashSet<String>,
    /// When each session ends.
    pub(super) sessions: HashMap<String, Instant>,
    pub(super) made: u64,
    pub(super) replies: u64,
    pub(super) recent: Limit,
    /// The cursors of how many times have expired before their time.
    pub(super) cursors_expired: u64,
}

/// Which call shows a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// The one that asks for it, which makes the time run for a device that changes.
    Asked,
    Listed,
}

impl Book {
    pub(super) fn within_limit(&mut self) -> Result<(), Refused> {
        self.recent.take().map_err(Refused::TooMany)
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
            .ok_or(Refused::Code(403, "FORBIDDEN"))?;
        match self.sessions.get(word) {
            None => Err(Refused::Code(403, "FORBIDDEN")),
            Some(end) if Instant::now() >= *end => Err(Refused::Code(401, "UNAUTHORIZED")),
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

    /// The devices of the list that were put in one by one.
    pub(super) fn own(&self) -> Vec<String> {
        let listed = self.options.devices.iter();
        let listed = listed.filter(|(_, state)| **state != Dep::NotAccessible);
        let mut own: Vec<String> = listed.map(|(serial, _)| serial.clone()).collect();
        own.sort_unstable();
        own
    }

    pub(super) fn device(&mut self, serial: &str, shown: Shown) -> Value {
        let state = self.options.devices.get(serial).copied();
        let state = state.or_else(|| self.fleet.get(serial));
        if shown == Shown::Asked {
            self.first_asked
                .entry(serial.to_owned())
                .or_insert_with(|| (Instant::now(), Timestamp::now()));
        }
        let Some(state) = state.filter(|state| *state != Dep::NotAccessible) else {
            let mut device = json!({ "response_status": "NOT_ACCESSIBLE" });
            overlay(&mut device, self.overlays.get(serial));
            return device;
        };
        let ago = |age: Duration| self.ages.before(serial, age);
        let days = |days: u64| ago(Duration::from_hours(24 * days));
        let (status, assigned_at) = self.status(serial, state);
        let told = fleet::told(serial);
        let (model, family) = told.map_or(("MacBook Air", "Mac"), |demo| (demo.model, demo.family));
        let given_at = assigned_at.unwrap_or_else(|| days(45)) - Duration::from_mins(2);
        let mut device = json!({
            "serial_number": serial, "model": model, "description": model, "color": "SILVER", "asset_tag": "", "device_family": family,
            "os": if family == "Mac" { "OSX" } else { "iOS" }, "profile_status": status, "device_assigned_by": "admin@example.com",
            "device_assigned_date": written(given_at),
        });
        let mut set = |name: &str, value: Value| {
            if let Some(fields) = device.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
        };
        if shown == Shown::Asked {
            set("response_status", json!("SUCCESS"));
        }
        if let Some(at) = assigned_at {
            set("profile_uuid", json!(stock::PROFILE_UUID));
            set("profile_assign_time", json!(written(at)));
        }
        match state {
            Dep::Pushed => set("profile_push_time", json!(written(days(200)))),
            Dep::Migrating => set("mdm_migration_deadline", json!("2099-01-01T00:00:00Z")),
            _ => {}
        }
        overlay(&mut device, self.overlays.get(serial));
        device
    }

    /// The profile's status, and when it was assigned.
    fn status(&self, serial: &str, state: Dep) -> (&'static str, Option<Timestamp>) {
        let days = |days: u64| Some(self.ages.before(serial, Duration::from_hours(24 * days)));
        // What changes with the first question is as before until that comes.
        let first_asked = self.first_asked.get(serial);
        match (state, first_asked) {
            (Dep::Empty | Dep::NotAccessible, _) | (Dep::Soon(_) | Dep::JustNow, None) => {
                ("empty", None)
            }
            (Dep::Soon(after), Some((since, _))) if since.elapsed() < after => ("empty", None),
            (Dep::Soon(after), Some((_, first))) => ("assigned", first.checked_add(after).ok()),
            (Dep::JustNow, Some((_, first))) => {
                ("assigned", first.checked_sub(Duration::from_secs(1)).ok())
            }
            (Dep::Assigned(age), _) => ("assigned", Some(self.ages.before(serial, age))),
            (Dep::Migrating, _) => ("assigned", days(45)),
            (Dep::Pushed, _) => ("pushed", days(300)),
            (Dep::Removed, _) => ("removed", days(45)),
        }
    }
}
