//! What Apple's Device Assignment Services hold of the boxes, for the simulators of Apple itself and of those that pass its word on.

mod list;
pub mod passed_on;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Log,
    fleet::{self, Ages, Fleet},
    listing::ListFault,
    overlay,
    stock::{self, Dep, Mdm, Own, written},
};

/// Of requests and replies.
pub(crate) const JSON: &str = "application/json;charset=UTF8";
/// The most devices in one request.
const MOST: usize = 1000;
/// The profile of the box that has another one than the expected.
const OTHER_PROFILE_UUID: &str = "0B5C39B9FDCF4E3B8C8F2E5C4F9A0D11";

/// A refusal in Apple's plain text: the status and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u16, pub(crate) &'static str);

/// How Apple fails a server that passes questions on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Every call gets that status and text.
    Call(u16, &'static str),
    /// No session is opened, with that status and text.
    Session(u16, &'static str),
    /// Nobody answers there.
    Unreachable,
    /// The server has no token of Apple's.
    NoToken,
}

/// Does the request carry that user and that key?
pub(crate) fn basic(headers: &HeaderMap, user: &str, key: &str) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|words| STANDARD.decode(words).ok());
    given.is_some_and(|given| given == format!("{user}:{key}").into_bytes())
}

/// One MDM server at Apple. Cheap to clone; the clones are one.
#[derive(Clone, Debug)]
pub struct Apple(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    devices: HashMap<String, Dep>,
    /// Generated devices, behind the others in the list.
    fleet: Fleet<Dep>,
    ages: Ages,
    overlays: HashMap<String, Value>,
    first_asked: HashMap<String, (Instant, Timestamp)>,
    /// Devices that the list lacks.
    unlisted: HashSet<String>,
    /// The cursors of how many times have expired before their time.
    cursors_expired: u64,
    failure: Option<Failure>,
}

/// Which call shows a device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The one that asks for it, which makes the time run for a device that changes.
    Asked,
    Listed,
}

impl Apple {
    pub(crate) fn of(devices: HashMap<String, Dep>, boxes: u32) -> Self {
        Self(Arc::new(Mutex::new(Held {
            devices,
            fleet: Fleet::of(boxes),
            ages: Ages::from_now(),
            overlays: HashMap::new(),
            first_asked: HashMap::new(),
            unlisted: HashSet::new(),
            cursors_expired: 0,
            failure: None,
        })))
    }

    /// The demo's bench, with what its MDM's own boxes are there to show where Apple's form can say it.
    pub(crate) fn of_an_mdm(boxes: u32) -> Self {
        let apple = Self::of(stock::dep(), boxes);
        {
            let mut held = apple.locked();
            for demo in stock::DEMO {
                let serial = || demo.serial.to_owned();
                let other = match demo.mdm {
                    Mdm::Own(Own::Odd) => json!({ "profile_status": "queued" }),
                    Mdm::Own(Own::OtherProfile) => json!({ "profile_uuid": OTHER_PROFILE_UUID }),
                    Mdm::Own(Own::Fails) => {
                        held.unlisted.insert(serial());
                        continue;
                    }
                    _ => continue,
                };
                held.overlays.insert(serial(), other);
            }
        }
        apple
    }

    /// Puts a device into a state, from now on; `None` takes it away.
    pub fn put(&self, serial: &str, device: Option<Dep>) {
        let mut held = self.locked();
        held.ages.put(serial);
        if held.fleet.has(serial) {
            return held.fleet.put(serial, device);
        }
        match device {
            Some(device) => held.devices.insert(serial.to_owned(), device),
            None => held.devices.remove(serial),
        };
    }

    /// A reply's fields that differ from what the device's state gives; `null` takes a field away, and in the place of them all the record.
    pub fn overlay(&self, serial: &str, fields: Value) {
        self.locked().overlays.insert(serial.to_owned(), fields);
    }

    /// The cursors given out so far are older than seven days.
    pub fn expire_cursors(&self) {
        self.locked().cursors_expired += 1;
    }

    /// From now on every question fails so; `None`: none does. Of a server that passes questions on.
    pub fn fail(&self, failure: Option<Failure>) {
        self.locked().failure = failure;
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.locked().failure.clone()
    }

    /// `GET /account`.
    pub(crate) fn account() -> Value {
        json!({
            "server_name": stock::SERVER_NAME, "server_uuid": stock::SERVER_UUID, "admin_id": "admin@example.com", "org_name": "Acme",
            "org_email": "it@example.com", "org_phone": "", "org_address": "", "org_id": "1", "org_type": "org", "org_version": "v2",
            "urls": [{ "uri": "/profile", "http_method": ["GET"] }, { "uri": "/devices", "http_method": ["POST"] }],
        })
    }

    /// `GET /profile?profile_uuid=`.
    pub(crate) fn profile(uuid: Option<&str>) -> Result<Value, Code> {
        match uuid {
            None => Err(Code(400, "PROFILE_UUID_REQUIRED")),
            Some(uuid) if uuid == stock::PROFILE_UUID => Ok(json!({
                "profile_uuid": uuid, "profile_name": "Automated Device Enrollment", "url": stock::PROFILE_URL, "is_mandatory": true,
                "is_mdm_removable": false, "allow_pairing": true, "skip_setup_items": [], "anchor_certs": [], "supervising_host_certs": [],
            })),
            Some(_) => Err(Code(404, "PROFILE_NOT_FOUND")),
        }
    }

    /// `POST /devices`, where `field` of the body lists the serial numbers.
    pub(crate) fn devices(&self, field: &str, body: &[u8], log: &Log) -> Result<Value, Code> {
        let body: Option<Value> = serde_json::from_slice(body).ok();
        let asked = body.as_ref().and_then(|body| body.get(field)?.as_array());
        let asked: Option<Vec<&str>> =
            asked.and_then(|asked| asked.iter().map(Value::as_str).collect());
        let Some(asked) = asked else {
            log.violation("MALFORMED_REQUEST_BODY");
            return Err(Code(400, "MALFORMED_REQUEST_BODY"));
        };
        if asked.is_empty() || asked.len() > MOST {
            log.violation(format!("{} devices in one request", asked.len()));
            return Err(Code(400, "DEVICE_ID_REQUIRED"));
        }
        let mut held = self.locked();
        let devices: Map<String, Value> = asked
            .into_iter()
            .map(|serial| (serial.to_owned(), held.device(serial, Shown::Asked)))
            .collect();
        Ok(json!({ "devices": devices }))
    }

    /// `POST /server/devices`.
    pub(crate) fn page(&self, body: &[u8], fault: ListFault, log: &Log) -> Result<Value, Code> {
        list::page(&mut self.locked(), body, fault, log)
    }

    fn locked(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The devices of the list that were put in one by one.
    fn own(&self) -> Vec<String> {
        let listed = self.devices.iter().filter(|(serial, state)| {
            **state != Dep::NotAccessible && !self.unlisted.contains(*serial)
        });
        let mut own: Vec<String> = listed.map(|(serial, _)| serial.clone()).collect();
        own.sort_unstable();
        own
    }

    fn device(&mut self, serial: &str, shown: Shown) -> Value {
        let state = self.devices.get(serial).copied();
        let state = state.or_else(|| self.fleet.get(serial));
        if shown == Shown::Asked {
            self.first_asked
                .entry(serial.to_owned())
                .or_insert_with(|| (Instant::now(), Timestamp::now()));
        }
        let Some(state) = state.filter(|state| *state != Dep::NotAccessible) else {
            return self.overlaid(serial, json!({ "response_status": "NOT_ACCESSIBLE" }));
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
        self.overlaid(serial, device)
    }

    fn overlaid(&self, serial: &str, mut device: Value) -> Value {
        match self.overlays.get(serial) {
            Some(Value::Null) => return Value::Null,
            other => overlay(&mut device, other),
        }
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

/// The boxes of the demo with the reason of a station that asks nobody but an MDM that passes Apple's word on.
pub(crate) fn boxes(sees_migrations: bool) -> Vec<(&'static str, &'static str, &'static str)> {
    let reason = |demo: &stock::DemoBox| match (demo.mdm, demo.dep) {
        // Two devices, with and without the first letter.
        _ if demo.expected == "ambiguous" => demo.expected,
        (Mdm::Own(Own::Fails), _) => demo.expected,
        (Mdm::Own(Own::Odd), _) => "garbled_answer",
        (Mdm::Own(Own::OtherProfile), _) => "wrong_profile",
        (_, Dep::Migrating) if sees_migrations => "migration_pending",
        (_, Dep::Assigned(_) | Dep::Migrating) => "assigned",
        (_, Dep::JustNow) => "settling",
        (_, Dep::Empty | Dep::Soon(_)) => "no_profile",
        (_, Dep::Pushed) => "previously_activated",
        (_, Dep::Removed) => "profile_removed",
        (_, Dep::NotAccessible) => "not_found",
    };
    let all = stock::DEMO.iter();
    all.map(|demo| (demo.serial, reason(demo), demo.story))
        .collect()
}

/// The boxes that end otherwise than with Kandji where such an MDM and apple-business are asked: Apple knows nothing of what only an
/// MDM knows. A migration is seen by apple-business.
pub(crate) const DIFFERS: &[(&str, &str)] = &[
    ("C02PD4EEJG5J", "no_profile"),
    ("C02TH5FFJG5K", "no_profile"),
    ("C02EN8TTJG5Y", "previously_activated"),
    ("C02SY9VVJG60", "assigned"),
    ("DEMOSOON0003", "no_profile"),
    ("DEMOWAIT0004", "no_profile"),
    ("DEMOSLOW0005", "no_profile"),
    (stock::NOT_TO_BE_ASKED, "source_error"),
    ("DEMOFAIL0010", "assigned"),
    ("DEMOBLUE0011", "wrong_profile"),
    ("DEMOINUSE012", "previously_activated"),
    ("DEMOHAND0013", "unassigned"),
    ("DEMOBACK0015", "assigned"),
    ("DEMOTWICE019", "assigned"),
];
