//! Zentral's devices from Apple, written as Zentral writes them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::simulator::{
    fleet::{Fleet, Held},
    overlay,
    stock::{DEMO, DemoBox, Dep, Mdm, Own, PROFILE_UUID},
};

/// The virtual server that the station expects.
pub const OURS: u64 = 1;
/// The other one.
pub const OTHER: u64 = 2;

/// One device on one virtual server.
#[derive(Clone, Debug)]
pub struct Device {
    pub serial: String,
    pub virtual_server: u64,
    /// `profile_status`.
    pub status: &'static str,
    pub assigned: Assigned,
    /// `last_op_type`.
    pub last_op: &'static str,
    pub disowned_at: Option<Timestamp>,
    pub model: &'static str,
    pub family: &'static str,
    /// In the place of its fields; null takes one away.
    pub row: Value,
    /// When it was asked for first; `None`: not yet.
    first_asked: Option<(Instant, Timestamp)>,
    made_at: Timestamp,
}

/// When the profile was assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// Null.
    Never,
    Ago(Duration),
    /// A second before it was asked for first.
    JustNow,
    /// So long after it was asked for first; `empty` until then.
    Soon(Duration),
}

impl Device {
    /// New stock whose profile was assigned two days ago.
    pub fn ready(serial: &str) -> Self {
        Self {
            serial: serial.to_owned(),
            virtual_server: OURS,
            status: "assigned",
            assigned: Assigned::Ago(Duration::from_hours(48)),
            last_op: "added",
            disowned_at: None,
            model: "MacBook Air",
            family: "Mac",
            row: json!({}),
            first_asked: None,
            made_at: Timestamp::now(),
        }
    }

    /// A device that still waits for its assignment.
    pub fn pending(serial: &str) -> Self {
        Self {
            status: "empty",
            assigned: Assigned::Never,
            ..Self::ready(serial)
        }
    }

    fn row(&mut self, id: usize) -> Value {
        let (since, at) = *self
            .first_asked
            .get_or_insert_with(|| (Instant::now(), Timestamp::now()));
        let ago = |age: Duration| self.made_at.checked_sub(age).unwrap_or(self.made_at);
        let (status, assigned_at) = match self.assigned {
            Assigned::Never => (self.status, None),
            Assigned::Ago(age) => (self.status, Some(ago(age))),
            Assigned::JustNow => (self.status, at.checked_sub(Duration::from_secs(1)).ok()),
            Assigned::Soon(after) if since.elapsed() < after => ("empty", None),
            Assigned::Soon(after) => (self.status, at.checked_add(after).ok()),
        };
        // As the service writes a moment: with the fractions that its database keeps.
        let written = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let given_at = ago(Duration::from_hours(24 * 46));
        let mut row = json!({
            "id": id, "virtual_server": self.virtual_server, "serial_number": self.serial, "asset_tag": "", "color": "SILVER",
            "description": self.model, "device_family": self.family, "model": self.model, "os": if self.family == "Mac" { "OSX" } else { "iOS" },
            "device_assigned_by": "somebody@example.com", "device_assigned_date": written(given_at),
            "last_op_type": self.last_op, "last_op_date": written(given_at),
            "profile_status": status, "profile_uuid": (status != "empty").then_some(PROFILE_UUID),
            "profile_assign_time": assigned_at.map(written),
            "profile_push_time": (status == "pushed").then(|| written(ago(Duration::from_hours(24 * 40)))),
            "enrollment": null, "disowned_at": self.disowned_at.map(written), "created_at": written(given_at), "updated_at": written(given_at),
        });
        overlay(&mut row, Some(&self.row));
        row
    }
}

impl Held for Device {
    const LISTS: usize = 1;

    fn of(demo: &DemoBox, serial: &str, at: Timestamp) -> Option<Self> {
        let ready = Self {
            model: demo.model,
            family: demo.family,
            made_at: at,
            ..Self::ready(serial)
        };
        let status = |status| Self {
            status,
            ..ready.clone()
        };
        let waiting = || Self {
            assigned: Assigned::Never,
            ..status("empty")
        };
        // Zentral relays Apple's word, so both name the same moment.
        let assigned = match demo.dep {
            Dep::Assigned(age) => Assigned::Ago(age),
            _ => ready.assigned,
        };
        Some(match demo.mdm {
            Mdm::Own(own) => {
                let ready = Self { assigned, ..ready };
                return of_own(own, &ready);
            }
            Mdm::None | Mdm::NotFetchedYet => return None,
            Mdm::Assigned => Self { assigned, ..ready },
            // Neither a failure nor that Apple slows an assignment down is in its list.
            Mdm::Pending | Mdm::Failed | Mdm::Throttled => waiting(),
            Mdm::Removed => status("removed"),
            // The list does not tell what is enrolled.
            Mdm::Pushed | Mdm::Enrolled => status("pushed"),
        })
    }

    fn is_on(&self, _: usize) -> bool {
        true
    }
}

fn of_own(own: Own, ready: &Device) -> Option<Device> {
    let ready = ready.clone();
    let status = |status| Device {
        status,
        ..ready.clone()
    };
    Some(match own {
        Own::None | Own::EnrolledByHand | Own::Fails => return None,
        // What was assigned once shows as assigned, whatever came of the last assignment. The other row of the two is the stock's.
        Own::Assigned | Own::Failed | Own::OtherProfile | Own::Returned | Own::Twice => ready,
        Own::Soon(after) => Device {
            assigned: Assigned::Soon(after),
            ..ready
        },
        Own::Pending | Own::Throttled => Device {
            assigned: Assigned::Never,
            ..status("empty")
        },
        Own::JustNow => Device {
            assigned: Assigned::JustNow,
            ..ready
        },
        Own::OtherServer => Device {
            virtual_server: OTHER,
            ..ready
        },
        Own::Removed => status("removed"),
        Own::Enrolled | Own::Pushed => status("pushed"),
        Own::Odd => status("queued"),
    })
}

/// The reason that a station gives which asks Zentral alone.
pub(super) fn alone(demo: &DemoBox) -> &'static str {
    match demo.mdm {
        Mdm::Own(own) => match own {
            Own::Assigned if demo.expected == "ambiguous" => "ambiguous",
            Own::Assigned | Own::Failed | Own::OtherProfile | Own::Returned => "assigned",
            Own::Soon(_) | Own::Pending | Own::Throttled => "assignment_pending",
            Own::JustNow => "settling",
            Own::None | Own::EnrolledByHand => "not_found",
            Own::OtherServer => "wrong_server",
            Own::Removed => "profile_removed",
            Own::Enrolled | Own::Pushed => "previously_activated",
            Own::Odd => "garbled_answer",
            Own::Twice => "contradiction",
            Own::Fails => demo.expected,
        },
        Mdm::None | Mdm::NotFetchedYet => "not_found",
        Mdm::Assigned => "assigned",
        Mdm::Pending | Mdm::Failed | Mdm::Throttled => "assignment_pending",
        Mdm::Removed => "profile_removed",
        Mdm::Pushed | Mdm::Enrolled => "previously_activated",
    }
}

/// Everything in it.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    /// The devices, a row each.
    pub devices: Vec<Device>,
    /// Generated ones besides.
    pub generated: Fleet<Device>,
}

impl Stock {
    /// These devices.
    pub fn of(devices: Vec<Device>) -> Self {
        Self {
            devices,
            generated: Fleet::default(),
        }
    }

    /// The demo's boxes.
    pub fn demo() -> Self {
        let now = Timestamp::now();
        let device = |demo: &DemoBox| Device::of(demo, demo.serial, now);
        let second = |demo: &&DemoBox| demo.mdm == Mdm::Own(Own::Twice);
        let second = DEMO.iter().filter(second).map(|demo| Device {
            status: "removed",
            ..Device::ready(demo.serial)
        });
        Self::of(DEMO.iter().filter_map(device).chain(second).collect())
    }

    /// Puts a device in, in the place of those of the same serial number.
    pub fn put(&mut self, device: Device) {
        self.devices.retain(|other| other.serial != device.serial);
        self.devices.push(device);
    }

    /// The rows of exactly that serial number, newest first.
    pub(super) fn rows(&mut self, filter: &str) -> Vec<Value> {
        let own = self.devices.iter_mut().enumerate();
        let mut rows: Vec<Value> = own
            .filter(|(_, device)| device.serial == filter)
            .map(|(place, device)| device.row(place + 1))
            .collect();
        let generated = self.generated.get(filter);
        let generated = generated.filter(|device| device.serial == filter);
        let place = self.devices.len() + 1;
        rows.extend(generated.map(|mut device| device.row(place)));
        rows.reverse();
        rows
    }
}
