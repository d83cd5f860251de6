//! The tenant's devices and ADE tokens, written as Kandji writes them.

use std::{ops::Range, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use crate::simulator::stock::AssignedAt;
use crate::simulator::{
    fleet::{self, Fleet, Held},
    stock::{DemoBox, Dep, Mdm, SERVER_NAME, SERVER_UUID, written},
};

/// The ADE token that devices belong to unless they say otherwise.
pub const HQ: &str = "4d6f1c1e-8f5a-4a53-9d0e-000000000001";
/// The blueprint that devices have unless they say otherwise.
pub const BLUEPRINT: &str = "7a0cb2c4-52d1-4f0b-8a55-00000000b001";

/// The lists of a [`Fleet`].
const ADE: usize = 0;
const ENROLLED: usize = 1;

/// Is the device in the MDM?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrollment {
    /// Awaiting enrollment.
    Awaiting,
    /// Enrolled.
    Enrolled,
    /// Once enrolled, its record removed.
    Removed,
}

/// One device of the tenant.
#[derive(Clone, Debug)]
pub struct Device {
    /// Serial number.
    pub serial: String,
    /// `profile_status`; `None`: null.
    pub profile_status: Option<String>,
    /// `profile_assign_time`.
    pub assigned_at: AssignedAt,
    /// `last_assignment_status`.
    pub last_assignment: Option<String>,
    /// `failed_assignment_attempts`.
    pub failed_attempts: i64,
    /// `mdm_device`.
    pub enrollment: Enrollment,
    /// `blueprint_id`.
    pub blueprint: Option<String>,
    /// `use_blueprint_routing`.
    pub blueprint_routing: bool,
    /// The ADE token's id.
    pub token: String,
    /// `device_assigned_date`.
    pub given_at: Timestamp,
    /// Model.
    pub model: String,
    /// Device family.
    pub family: String,
    /// Does the ADE list hold it? (An enrolled device need not be in it.)
    pub in_ade: bool,
    /// It becomes assigned this long after the first request for it.
    pub ready_after: Option<Duration>,
    /// When it was asked for first; `None`: not yet.
    pub first_asked: Option<(Instant, Timestamp)>,
}

impl Device {
    /// A new device whose profile was assigned two days ago.
    pub fn ready(serial: &str) -> Self {
        Self::ready_at(serial, Timestamp::now())
    }

    fn ready_at(serial: &str, now: Timestamp) -> Self {
        let days = |days: u64| {
            now.checked_sub(Duration::from_hours(24 * days))
                .unwrap_or(now)
        };
        Self {
            serial: serial.to_owned(),
            profile_status: Some("assigned".to_owned()),
            assigned_at: AssignedAt::At(days(2)),
            last_assignment: Some("SUCCESS".to_owned()),
            failed_attempts: 0,
            enrollment: Enrollment::Awaiting,
            blueprint: Some(BLUEPRINT.to_owned()),
            blueprint_routing: false,
            token: HQ.to_owned(),
            given_at: days(3),
            model: "MacBook Air (13-inch, M4, 2025)".to_owned(),
            family: "Mac".to_owned(),
            in_ade: true,
            ready_after: None,
            first_asked: None,
        }
    }

    /// A device that still waits for its assignment.
    pub fn pending(serial: &str) -> Self {
        Self {
            profile_status: Some("empty".to_owned()),
            assigned_at: AssignedAt::Never,
            last_assignment: None,
            ..Self::ready(serial)
        }
    }

    /// What Kandji lists of a box of the demo's common table; `None`: nothing, or what the demo itself says.
    pub fn of_demo(demo: &DemoBox) -> Option<Self> {
        Self::of(demo, demo.serial, Timestamp::now())
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    /// Notes the first question, and moves on with the time.
    fn asked(&mut self) {
        self.first_asked
            .get_or_insert_with(|| (Instant::now(), Timestamp::now()));
        self.moved_on();
    }

    /// Assigns what was to become ready by now. Until it is asked for by its serial number a device stays as it was.
    fn moved_on(&mut self) {
        let Some((since, at)) = self.first_asked else {
            return;
        };
        self.assigned_at = self.assigned_at.asked(at);
        if self
            .ready_after
            .is_some_and(|after| since.elapsed() >= after)
        {
            self.ready_after = None;
            self.profile_status = Some("assigned".to_owned());
            self.last_assignment = Some("SUCCESS".to_owned());
            self.assigned_at = AssignedAt::At(Timestamp::now());
        }
    }

    /// The row of the record of that number among those of its serial number.
    fn ade_row(&self, record: usize, tokens: &[Token]) -> Value {
        let (status, assigned_at) = match self.assigned_at {
            AssignedAt::At(moment) => (self.profile_status.as_deref(), Some(written(moment))),
            AssignedAt::Never => (self.profile_status.as_deref(), None),
            AssignedAt::JustNow => (Some("empty"), None),
        };
        let enrolled = |removed: bool| {
            json!({"id": id_of(&self.serial, record), "enrolled_at": written(self.given_at), "name": format!("Mac of {}", self.serial), "enrollment_status": 2,
                   "deferred_install": false, "is_missing": false, "is_removed": removed})
        };
        let token = tokens.iter().find(|token| token.id == self.token);
        json!({
            "id": id_of(&self.serial, record),
            "serial_number": self.serial,
            "profile_status": status,
            "profile_assign_time": assigned_at,
            "profile_push_time": (status == Some("pushed")).then(|| written(self.given_at)),
            "last_assignment_status": self.last_assignment,
            "failed_assignment_attempts": self.failed_attempts,
            "assignment_status_received_at": self.last_assignment.as_ref().map(|_| self.given_at.strftime("%Y-%m-%d %H:%M:%S.123456+00:00").to_string()),
            "mdm_device": match self.enrollment { Enrollment::Awaiting => Value::Null, Enrollment::Enrolled => enrolled(false), Enrollment::Removed => enrolled(true) },
            "blueprint_id": self.blueprint,
            "blueprint": self.blueprint.as_ref().map(|id| json!({"id": id, "name": "Staging", "icon": "ss-files"})),
            "use_blueprint_routing": self.blueprint_routing,
            "user_id": null,
            "user": null,
            "dep_account": {"id": self.token, "server_name": token.map_or("Unknown", |token| token.server_name.as_str())},
            "asset_tag": "",
            "model": self.model,
            "device_family": self.family,
            "os": "OSX",
            "color": "SILVER",
            "description": self.model.to_ascii_uppercase(),
            "device_assigned_by": "somebody@example.com",
            "device_assigned_date": written(self.given_at),
        })
    }

    fn device_row(&self, record: usize) -> Value {
        json!({
            "device_id": id_of(&self.serial, record), "device_name": format!("Mac of {}", self.serial), "model": self.model, "serial_number": self.serial,
            "platform": self.family, "os_version": "26.1", "last_check_in": written(self.given_at), "user": {"email": "somebody@example.com"},
            "asset_tag": null, "blueprint_id": self.blueprint, "mdm_enabled": true, "agent_installed": true, "is_missing": false,
            "is_removed": self.enrollment == Enrollment::Removed, "first_enrollment": written(self.given_at), "lost_mode_status": "",
        })
    }
}

impl Held for Device {
    const LISTS: usize = 2;

    fn of(demo: &DemoBox, serial: &str, at: Timestamp) -> Option<Self> {
        let ready = Self {
            model: demo.model.to_owned(),
            family: demo.family.to_owned(),
            ..Self::ready_at(serial, at)
        };
        let pending = |last: Option<&str>, failed_attempts| {
            let last_assignment = last.map(str::to_owned);
            Self {
                profile_status: Some("empty".to_owned()),
                assigned_at: AssignedAt::Never,
                last_assignment,
                failed_attempts,
                ..ready.clone()
            }
        };
        let status = |word: &str| Self {
            profile_status: Some(word.to_owned()),
            ..ready.clone()
        };
        let assigned_at = match demo.dep {
            // Kandji relays Apple's word, so both name the same moment.
            Dep::Assigned(ago) => AssignedAt::At(at.checked_sub(ago).unwrap_or_default()),
            _ => ready.assigned_at,
        };
        Some(match demo.mdm {
            Mdm::Own(_) | Mdm::None | Mdm::NotFetchedYet => return None,
            Mdm::Assigned => Self {
                assigned_at,
                ..ready
            },
            Mdm::Pending => pending(None, 0),
            Mdm::Failed => pending(Some("FAILED"), 3),
            Mdm::Throttled => pending(Some("THROTTLED"), 0),
            Mdm::Removed => status("removed"),
            Mdm::Pushed => status("pushed"),
            Mdm::Enrolled => Self {
                enrollment: Enrollment::Enrolled,
                ..status("pushed")
            },
        })
    }

    fn is_on(&self, list: usize) -> bool {
        match list {
            ADE => self.in_ade,
            _ => self.enrollment != Enrollment::Awaiting,
        }
    }
}

/// One ADE token: the tenant's link to one MDM server at Apple.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its id, which the devices name.
    pub id: String,
    /// The MDM server's name at Apple.
    pub server_name: String,
    /// The MDM server's id at Apple, 32 hex digits.
    pub server_uuid: String,
    /// `SUCCESS` or `BROKEN`.
    pub status: String,
    /// Why it is `BROKEN`.
    pub status_reason: Option<String>,
    /// How long ago it fetched from Apple; `None`: never.
    pub fetched_ago: Option<Duration>,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Token {
    /// A token that fetched five minutes ago and expires in 200 days.
    pub fn healthy(id: &str, server_name: &str, server_uuid: &str) -> Self {
        let now = Timestamp::now();
        Self {
            id: id.to_owned(),
            server_name: server_name.to_owned(),
            server_uuid: server_uuid.to_owned(),
            status: "SUCCESS".to_owned(),
            status_reason: None,
            fetched_ago: Some(Duration::from_mins(5)),
            expires_at: now
                .checked_add(Duration::from_hours(24 * 200))
                .unwrap_or(now),
        }
    }

    fn row(&self) -> Value {
        let now = Timestamp::now();
        json!({
            "id": self.id, "server_name": self.server_name, "server_uuid": self.server_uuid, "admin_id": "somebody@example.com", "org_name": "Example",
            "access_token_expiry": written(self.expires_at),
            "days_left": self.expires_at.duration_since(now).as_hours().div_euclid(24),
            "status": self.status, "status_reason": self.status_reason, "status_received_at": written(now),
            "last_device_sync": self.fetched_ago.and_then(|ago| now.checked_sub(ago).ok()).map(written),
            "device_counts": {"total": 0},
        })
    }
}

/// Everything in the tenant.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    /// The devices.
    pub devices: Vec<Device>,
    /// The ADE tokens.
    pub tokens: Vec<Token>,
    /// Generated devices, behind the others in every list.
    pub fleet: Fleet<Device>,
}

impl Stock {
    /// These devices behind one healthy token.
    pub fn of(devices: Vec<Device>) -> Self {
        Self {
            devices,
            tokens: vec![Token::healthy(HQ, SERVER_NAME, SERVER_UUID)],
            fleet: Fleet::default(),
        }
    }

    /// The device of that serial number.
    pub fn device(&self, serial: &str) -> Option<Device> {
        let own = self.devices.iter().find(|device| device.serial == serial);
        own.cloned().or_else(|| self.fleet.get(serial))
    }

    /// Puts a device in, in the place of those of the same serial number.
    pub fn put(&mut self, device: Device) {
        fleet::put(&mut self.fleet, &mut self.devices, Device::serial, device);
    }

    /// Takes a device out.
    pub fn remove(&mut self, serial: &str) {
        self.devices.retain(|device| device.serial != serial);
        self.fleet.put(serial, None);
    }

    /// The rows of the ADE list whose serial number contains `filter`.
    pub(super) fn ade_rows(&mut self, filter: &str) -> Vec<Value> {
        for device in &mut self.devices {
            if device.in_ade && contains(&device.serial, filter) {
                device.asked();
            }
        }
        for serial in self.fleet.containing(ADE, filter) {
            // What a story tells does not move; what was put there may.
            if let Some(mut device) = self.fleet.get(&serial)
                && (device.ready_after.is_some() || device.assigned_at == AssignedAt::JustNow)
            {
                device.asked();
                self.fleet.put(&serial, Some(device));
            }
        }
        let own = self
            .own(|device| device.in_ade && contains(&device.serial, filter))
            .map(|(place, device)| device.ade_row(self.record(place), &self.tokens));
        let generated = self.fleet.containing(ADE, filter);
        own.chain(self.generated(generated, |device| device.ade_row(0, &self.tokens)))
            .collect()
    }

    /// How many rows the whole ADE list has.
    pub fn ade_count(&self) -> usize {
        self.devices.iter().filter(|device| device.in_ade).count() + self.fleet.count(ADE)
    }

    /// The rows at those places of the whole ADE list.
    pub(super) fn ade_page(&mut self, places: Range<usize>) -> Vec<Value> {
        for device in &mut self.devices {
            device.moved_on();
        }
        let own = self.own(|device| device.in_ade).count();
        let behind = |place: usize| place.saturating_sub(own);
        let generated = self
            .fleet
            .serials(ADE, behind(places.start)..behind(places.end));
        let row = |mut device: Device| {
            device.moved_on();
            device.ade_row(0, &self.tokens)
        };
        self.own(|device| device.in_ade)
            .skip(places.start)
            .take(places.len())
            .map(|(place, device)| device.ade_row(self.record(place), &self.tokens))
            .chain(self.generated(generated, row))
            .collect()
    }

    /// The rows of the device list whose serial number contains `filter`.
    pub(super) fn device_rows(&self, filter: &str) -> Vec<Value> {
        self.own(|device| device.is_on(ENROLLED) && contains(&device.serial, filter))
            .map(|(place, device)| device.device_row(self.record(place)))
            .chain(
                self.generated(self.fleet.containing(ENROLLED, filter), |device| {
                    device.device_row(0)
                }),
            )
            .collect()
    }

    /// The devices that were put in one by one and fit, with their places.
    fn own(&self, fits: impl Fn(&Device) -> bool) -> impl Iterator<Item = (usize, &Device)> {
        self.devices
            .iter()
            .enumerate()
            .filter(move |(_, device)| fits(device))
    }

    /// Which record of its serial number the device at that place is.
    fn record(&self, place: usize) -> usize {
        let serial = self.devices.get(place).map(|device| &device.serial);
        let before = self.devices.iter().take(place);
        before.filter(|other| Some(&other.serial) == serial).count()
    }

    fn generated(
        &self,
        serials: Vec<String>,
        row: impl Fn(Device) -> Value,
    ) -> impl Iterator<Item = Value> {
        serials
            .into_iter()
            .filter_map(|serial| self.fleet.get(&serial))
            .map(row)
    }

    pub(super) fn token_rows(&self) -> Vec<Value> {
        self.tokens.iter().map(Token::row).collect()
    }
}

fn contains(serial: &str, filter: &str) -> bool {
    serial
        .to_ascii_uppercase()
        .contains(&filter.to_ascii_uppercase())
}

/// A record's id, shaped like the service's. It stays the same when others come or go; two records of one serial number have two.
fn id_of(serial: &str, record: usize) -> String {
    let number = serial.bytes().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(131).wrapping_add(u64::from(byte))
    });
    let record = u64::try_from(record).unwrap_or_default();
    format!(
        "{:08x}-{record:04x}-4000-8000-{:012x}",
        number >> 32,
        number & 0xffff_ffff_ffff
    )
}
