//! The server's instances, devices and PreStages, written as Jamf Pro writes them.

use std::{ops::Range, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::simulator::{
    fleet::{self, Fleet, Held},
    overlay,
    stock::{DEMO, DemoBox, Mdm, OTHER_SERVER_NAME, OTHER_SERVER_UUID, Own, SERVER_UUID},
};

/// The instance that devices belong to unless they say otherwise.
pub const HQ: &str = "1";
/// The PreStage in whose scope computers are unless they say otherwise.
pub const PRESTAGE: &str = "computer:1";
/// Of another department.
pub const OTHER: &str = "2";
/// The one list of a [`Fleet`].
const LISTED: usize = 0;
const LONG_AGO: Duration = Duration::from_hours(45 * 24);
/// Nobody sees in a list which box is scanned: what should be assigned a while after its scan is assigned so long after the start.
pub const SOON: Duration = Duration::from_mins(2);

/// An Automated Device Enrollment instance.
#[derive(Clone, Debug)]
pub struct Instance {
    pub id: String,
    pub name: String,
    pub server_uuid: String,
    /// Until its token expires; negative: it has expired.
    pub days_left: i64,
    /// How long ago its syncs were, newest first, each with its state.
    pub syncs: Vec<(&'static str, Duration)>,
}

impl Instance {
    /// It was synced ten minutes ago, as often as one looks.
    pub fn healthy(id: &str, name: &str, server_uuid: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            server_uuid: server_uuid.to_owned(),
            days_left: 300,
            syncs: vec![
                ("SUCCESSFUL", Duration::from_mins(10)),
                ("SUCCESSFUL", Duration::from_hours(12)),
            ],
        }
    }

    pub(super) fn row(&self) -> Value {
        let day = before(Duration::ZERO)
            .checked_add(jiff::SignedDuration::from_hours(24 * self.days_left))
            .unwrap_or(Timestamp::MAX);
        json!({
            "id": self.id, "name": self.name, "supervisionIdentityId": "-1", "siteId": "-1", "serverName": self.name,
            "serverUuid": self.server_uuid, "adminId": "admin@example.com", "orgName": "Acme", "orgEmail": "it@example.com",
            "orgPhone": "", "orgAddress": "", "tokenExpirationDate": day.strftime("%Y-%m-%d").to_string(),
        })
    }

    pub(super) fn sync_rows(&self) -> Vec<Value> {
        let row = |(state, age): &(&str, Duration)| json!({"syncState": state, "instanceId": self.id, "timestamp": stamped(before(*age))});
        self.syncs.iter().map(row).collect()
    }
}

/// A device of the server.
#[derive(Clone, Debug)]
pub struct Device {
    pub serial: String,
    /// The id of its instance.
    pub instance: String,
    /// `profileStatus`.
    pub status: String,
    /// `profileAssignTime`; `None`: the year 1.
    pub assigned_at: Option<Timestamp>,
    /// `profilePushTime`; `None`: the year 1.
    pub pushed_at: Option<Timestamp>,
    /// `deviceAssignedDate`.
    pub given_at: Timestamp,
    /// `syncState.failureCount`.
    pub failures: u32,
    pub model: String,
    /// In whose scope it is ("computer:1"); `None`: in none.
    pub prestage: Option<String>,
    /// It becomes assigned so long after it was put in.
    pub ready_after: Option<Duration>,
    pub put_at: Instant,
    /// Fields of its row that are others.
    pub other: Option<Value>,
}

impl Device {
    /// A new device whose profile was assigned long ago.
    pub fn ready(serial: &str) -> Self {
        Self::ready_at(serial, Timestamp::now())
    }

    fn ready_at(serial: &str, now: Timestamp) -> Self {
        let then = now.checked_sub(LONG_AGO).unwrap_or(now);
        Self {
            serial: serial.to_owned(),
            instance: HQ.to_owned(),
            status: "ASSIGNED".to_owned(),
            assigned_at: Some(then),
            pushed_at: None,
            given_at: then,
            failures: 0,
            model: "MacBook Air (13-inch, M4, 2025)".to_owned(),
            prestage: Some(PRESTAGE.to_owned()),
            ready_after: None,
            put_at: Instant::now(),
            other: None,
        }
    }

    /// A device with another status, assigned or not.
    pub fn with_status(serial: &str, status: &str) -> Self {
        let ready = Self::ready(serial);
        Self {
            assigned_at: ready.assigned_at.filter(|_| status != "EMPTY"),
            pushed_at: ready.assigned_at.filter(|_| status == "PUSHED"),
            status: status.to_owned(),
            ..ready
        }
    }

    /// What the server lists of a box of the demo; two for one that is listed twice.
    fn of_demo(demo: &DemoBox) -> Vec<Self> {
        let Mdm::Own(own) = demo.mdm else {
            let told = Self::of(demo, demo.serial, Timestamp::now());
            return told.into_iter().collect();
        };
        let (ready, empty) = (
            Self::ready(demo.serial),
            Self::with_status(demo.serial, "EMPTY"),
        );
        let one = match own {
            Own::None | Own::EnrolledByHand | Own::Fails => return Vec::new(),
            Own::Twice => {
                let removed = Self::with_status(demo.serial, "REMOVED");
                return vec![ready, removed];
            }
            Own::Assigned | Own::JustNow | Own::Returned => ready,
            Own::Soon(_) => Self {
                ready_after: Some(SOON),
                ..empty
            },
            // Jamf Pro does not tell that Apple slows the assignment down.
            Own::Pending | Own::Throttled => empty,
            Own::Failed => Self {
                failures: 3,
                ..empty
            },
            Own::OtherServer => Self {
                instance: OTHER.to_owned(),
                ..ready
            },
            Own::OtherProfile => Self {
                prestage: Some("computer:7".to_owned()),
                ..ready
            },
            Own::Removed => Self::with_status(demo.serial, "REMOVED"),
            // Whether a device is enrolled is not in this list.
            Own::Pushed | Own::Enrolled => Self::with_status(demo.serial, "PUSHED"),
            Own::Odd => Self::with_status(demo.serial, "QUEUED"),
        };
        vec![Self {
            model: demo.model.to_owned(),
            ..one
        }]
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn moved_on(&self) -> Self {
        let is_ready = self
            .ready_after
            .is_some_and(|after| self.put_at.elapsed() >= after);
        if !is_ready {
            return self.clone();
        }
        let at = self
            .put_at
            .elapsed()
            .saturating_sub(self.ready_after.unwrap_or_default());
        Self {
            status: "ASSIGNED".to_owned(),
            assigned_at: Some(before(at)),
            ready_after: None,
            ..self.clone()
        }
    }

    fn row(&self, record: usize) -> Value {
        let device = self.moved_on();
        let moment = |at: Option<Timestamp>| {
            at.map_or_else(|| "0001-01-01T00:00:00.000+0000".to_owned(), stamped)
        };
        let prestage = device
            .prestage
            .as_deref()
            .and_then(|prestage| prestage.split(':').nth(1));
        let mut row = json!({
            "id": format!("{}{}", id_of(&device.serial), record), "deviceEnrollmentProgramInstanceId": device.instance,
            "prestageId": prestage.unwrap_or("0"), "serialNumber": device.serial, "description": "MBA 13.6 SILVER", "model": device.model,
            "color": "SILVER", "assetTag": "", "profileStatus": device.status,
            "syncState": {"id": 1, "serialNumber": device.serial, "profileUUID": "88FC4E378B4B4E3B9E7C5E0C9B7E5E6B",
                "syncStatus": if device.failures > 0 { "ASSIGN_FAIL" } else { "ASSIGN_SUCCESS" }, "failureCount": device.failures, "timestamp": 1_555_509_286},
            "profileAssignTime": moment(device.assigned_at), "profilePushTime": moment(device.pushed_at),
            "deviceAssignedDate": stamped(device.given_at),
        });
        overlay(&mut row, device.other.as_ref());
        row
    }
}

impl Held for Device {
    const LISTS: usize = 1;

    fn of(story: &DemoBox, serial: &str, at: Timestamp) -> Option<Self> {
        let ready = Self::ready_at(serial, at);
        let other = |status: &str| Self {
            status: status.to_owned(),
            ..ready.clone()
        };
        let device = match story.mdm {
            Mdm::None | Mdm::NotFetchedYet | Mdm::Own(_) => return None,
            Mdm::Assigned => ready,
            Mdm::Pending | Mdm::Throttled => Self {
                assigned_at: None,
                ..other("EMPTY")
            },
            Mdm::Failed => Self {
                assigned_at: None,
                failures: 3,
                ..other("EMPTY")
            },
            Mdm::Removed => other("REMOVED"),
            Mdm::Pushed | Mdm::Enrolled => Self {
                pushed_at: ready.assigned_at,
                ..other("PUSHED")
            },
        };
        Some(Self {
            model: story.model.to_owned(),
            ..device
        })
    }

    fn is_on(&self, _: usize) -> bool {
        true
    }
}

/// Everything on the server.
#[derive(Debug)]
pub struct Stock {
    pub devices: Vec<Device>,
    pub instances: Vec<Instance>,
    /// Generated devices of the instance [`HQ`], behind the others.
    pub fleet: Fleet<Device>,
}

impl Stock {
    /// These devices behind one healthy instance.
    pub fn of(devices: Vec<Device>) -> Self {
        Self {
            devices,
            instances: vec![Instance::healthy(HQ, "HQ", SERVER_UUID)],
            fleet: Fleet::default(),
        }
    }

    /// The boxes of the demo, and as many generated ones.
    pub fn demo(boxes: u32) -> Self {
        let other = Instance::healthy(OTHER, OTHER_SERVER_NAME, OTHER_SERVER_UUID);
        let mut stock = Self::of(DEMO.iter().flat_map(Device::of_demo).collect());
        stock.instances.push(other);
        stock.fleet = Fleet::of(boxes);
        stock
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

    pub(super) fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.id == id)
    }

    fn own<'a>(&'a self, instance: &'a str) -> impl Iterator<Item = &'a Device> {
        self.devices
            .iter()
            .filter(move |device| device.instance == instance)
    }

    pub(super) fn count(&self, instance: &str) -> usize {
        let generated = if instance == HQ {
            self.fleet.count(LISTED)
        } else {
            0
        };
        self.own(instance).count() + generated
    }

    /// The rows at those places of an instance's list.
    pub(super) fn rows(&self, instance: &str, places: Range<usize>) -> Vec<Value> {
        let own = self.own(instance).count();
        let behind = |place: usize| place.saturating_sub(own);
        let generated = if instance == HQ {
            self.fleet
                .serials(LISTED, behind(places.start)..behind(places.end))
        } else {
            Vec::new()
        };
        let generated = generated.iter().filter_map(|serial| self.fleet.get(serial));
        let before = |place: usize, serial: &str| {
            self.own(instance)
                .take(place)
                .filter(|other| other.serial == serial)
                .count()
        };
        let own = self
            .own(instance)
            .enumerate()
            .skip(places.start)
            .take(places.len());
        let own = own.map(|(place, device)| device.row(before(place, &device.serial)));
        own.chain(generated.map(|device| device.row(0))).collect()
    }

    /// The scopes of the PreStages of a kind ("computer"), as name and value of each entry, from place `from` of all devices.
    pub(super) fn scopes(&self, kind: &str, places: Range<usize>) -> Vec<(String, String)> {
        let own = self.devices.len();
        let behind = |place: usize| place.saturating_sub(own);
        let generated = self
            .fleet
            .serials(LISTED, behind(places.start)..behind(places.end));
        let generated = generated.iter().filter_map(|serial| self.fleet.get(serial));
        // An object has each name once, though a device may be listed twice.
        let is_first = |place: usize, serial: &str| {
            let mut before = self.devices.iter().take(place);
            !before.any(|other| other.serial == serial)
        };
        let own = self.devices.iter().enumerate();
        let own = own.skip(places.start).take(places.len());
        let own = own
            .filter(|(place, device)| is_first(*place, &device.serial))
            .map(|(_, device)| device.clone());
        let scope = |device: Device| {
            let (of, id) = device.prestage.as_deref()?.split_once(':')?;
            (of == kind).then(|| (device.serial.clone(), id.to_owned()))
        };
        own.chain(generated).filter_map(scope).collect()
    }

    /// Places of [`Self::scopes`].
    pub(super) fn all(&self) -> usize {
        self.devices.len() + self.fleet.count(LISTED)
    }
}

/// What a station says of a box that asks Jamf Pro alone.
pub(super) fn alone(demo: &DemoBox) -> &'static str {
    let is_twin = |other: &&DemoBox| demo.serial.strip_prefix('S') == Some(other.serial);
    match demo.mdm {
        Mdm::Own(Own::Assigned) if DEMO.iter().any(|other| is_twin(&other)) => "ambiguous",
        Mdm::Assigned | Mdm::Own(Own::Assigned | Own::JustNow | Own::Returned) => "assigned",
        Mdm::None | Mdm::NotFetchedYet | Mdm::Own(Own::None | Own::EnrolledByHand | Own::Fails) => {
            "not_found"
        }
        Mdm::Pending | Mdm::Throttled | Mdm::Own(Own::Pending | Own::Throttled | Own::Soon(_)) => {
            "assignment_pending"
        }
        Mdm::Failed | Mdm::Own(Own::Failed) => "assignment_failed",
        Mdm::Removed | Mdm::Own(Own::Removed) => "profile_removed",
        Mdm::Pushed | Mdm::Enrolled | Mdm::Own(Own::Pushed | Own::Enrolled) => {
            "previously_activated"
        }
        Mdm::Own(Own::OtherServer) => "wrong_server",
        Mdm::Own(Own::OtherProfile) => "wrong_profile",
        Mdm::Own(Own::Odd) => "garbled_answer",
        Mdm::Own(Own::Twice) => "contradiction",
    }
}

fn before(age: Duration) -> Timestamp {
    let now = Timestamp::now();
    now.checked_sub(age).unwrap_or(now)
}

/// A moment as the server writes it: "2019-04-17T14:08:06.706+0000".
fn stamped(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}

/// A number for a serial number, the same whatever else is listed.
fn id_of(serial: &str) -> u64 {
    serial
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
