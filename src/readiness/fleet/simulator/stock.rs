//! The server's hosts, and what Apple says of each, written as Fleet writes them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::of_database;
use crate::simulator::{
    fleet::{self, Fleet, Held},
    overlay,
    stock::{DEMO, DemoBox, Dep, Mdm, Own, PROFILE_UUID, written},
};

/// Another profile than the one that the station expects.
const OTHER_PROFILE: &str = "0DD0FF1CE0000000000000000000BEEF";
/// Fleet's time for what never happened.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Fleet's words where Apple does not know the device.
const NOT_ON_SERVER: &str = "Fleet can't find this host in Apple Business. It may have been removed or assigned to a different MDM server.";

/// One host.
#[derive(Clone, Debug)]
pub struct Host {
    pub serial: String,
    /// `mdm.enrollment_status`.
    pub enrollment: &'static str,
    /// Is it in Fleet's list from Apple, and how did Apple answer the last assignment there?
    pub listed: Option<Option<&'static str>>,
    /// Apple's word at this moment.
    pub apple: Apple,
    pub profile_uuid: &'static str,
    /// In the place of fields of `dep_device`; null takes one away.
    pub device: Value,
    /// In the place of fields of the second reply; null takes one away.
    pub reply: Value,
    /// When it was asked for first; `None`: not yet.
    first_asked: Option<(Instant, Timestamp)>,
    made_at: Timestamp,
}

/// What Apple tells Fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apple {
    Says(Dep),
    /// Apple is not reached; the sentence of `dep_device_error`, which older servers leave out.
    Fails(Option<&'static str>),
}

impl Host {
    /// A host that waits for its first start, with this word of Apple's.
    pub fn new(serial: &str, dep: Dep) -> Self {
        Self {
            serial: serial.to_owned(),
            enrollment: "Pending",
            listed: Some(Some("SUCCESS")),
            apple: Apple::Says(dep),
            profile_uuid: PROFILE_UUID,
            device: json!({}),
            reply: json!({}),
            first_asked: None,
            made_at: Timestamp::now(),
        }
    }

    /// New stock whose profile was assigned two days ago.
    pub fn ready(serial: &str) -> Self {
        Self::new(serial, Dep::Assigned(Duration::from_hours(48)))
    }

    fn number(&self) -> u64 {
        let digits = self.serial.bytes().fold(7_u64, |sum, byte| {
            sum.wrapping_mul(131).wrapping_add(u64::from(byte))
        });
        1 + digits % 1_000_000_007
    }

    fn record(&self) -> Value {
        json!({
            "id": self.number(), "hardware_serial": self.serial, "hostname": format!("{}.local", self.serial), "uuid": "",
            "platform": "darwin", "display_name": self.serial, "team_id": null, "status": "online",
            "created_at": written(self.made_at), "updated_at": written(self.made_at), "last_enrolled_at": "2000-01-01T00:00:00Z",
            "mdm": {"enrollment_status": self.enrollment, "dep_profile_error": false, "server_url": "https://fleet.example/mdm/apple/mdm", "name": "Fleet"},
            "end_users": [{"idp_username": "somebody@example.com"}],
        })
    }

    /// The second reply. The first question about a host makes the time run for one that changes.
    fn assignment(&mut self) -> Value {
        let (since, at) = *self
            .first_asked
            .get_or_insert_with(|| (Instant::now(), Timestamp::now()));
        let (device, error) = match self.apple {
            Apple::Says(Dep::NotAccessible) => (Value::Null, Some(NOT_ON_SERVER)),
            Apple::Says(dep) => (self.dep_device(dep, since, at), None),
            Apple::Fails(sentence) => (Value::Null, sentence),
        };
        let assigned = self.listed.map(|response| {
            json!({
                "assign_profile_response": response, "profile_uuid": response.map(|_| self.profile_uuid),
                "response_updated_at": response.map(|_| of_database(self.made_at)), "added_at": of_database(self.made_at),
                "deleted_at": null, "abm_token_id": 1, "mdm_migration_deadline": null, "mdm_migration_completed": null,
            })
        });
        let mut reply = json!({
            "id": self.number(), "dep_device": device, "dep_device_error": error, "host_dep_assignment": assigned,
        });
        overlay(&mut reply, Some(&self.reply));
        reply
    }

    fn dep_device(&self, dep: Dep, since: Instant, asked_at: Timestamp) -> Value {
        let ago = |age: Duration| self.made_at.checked_sub(age).unwrap_or(self.made_at);
        let days = |days: u64| Some(ago(Duration::from_hours(24 * days)));
        let second_before = asked_at.checked_sub(Duration::from_secs(1)).ok();
        let (status, assigned_at) = match dep {
            Dep::Empty | Dep::NotAccessible => ("empty", None),
            Dep::Assigned(age) => ("assigned", Some(ago(age))),
            Dep::JustNow => ("assigned", second_before),
            Dep::Soon(after) if since.elapsed() < after => ("empty", None),
            Dep::Soon(after) => ("assigned", asked_at.checked_add(after).ok()),
            Dep::Migrating => ("assigned", days(45)),
            Dep::Pushed => ("pushed", days(400)),
            Dep::Removed => ("removed", days(45)),
        };
        let told = fleet::told(&self.serial);
        let (model, family) = told.map_or(("MacBook Air", "Mac"), |demo| (demo.model, demo.family));
        let moment = |at: Option<Timestamp>| at.map_or_else(|| NEVER.to_owned(), written);
        let given_at = assigned_at.or(days(45));
        let mut device = json!({
            "serial_number": self.serial, "model": model, "description": model, "color": "SILVER", "asset_tag": "", "device_family": family,
            "os": if family == "Mac" { "OSX" } else { "iOS" }, "profile_status": status,
            "profile_uuid": if assigned_at.is_some() { self.profile_uuid } else { "" },
            "profile_assign_time": moment(assigned_at),
            "profile_push_time": moment(days(200).filter(|_| dep == Dep::Pushed)),
            "device_assigned_by": "somebody@example.com", "device_assigned_date": moment(given_at),
            "mdm_migration_deadline": (dep == Dep::Migrating).then_some("2099-01-01T00:00:00Z"),
        });
        overlay(&mut device, Some(&self.device));
        device
    }
}

impl Held for Host {
    const LISTS: usize = 1;

    fn of(demo: &DemoBox, serial: &str, at: Timestamp) -> Option<Self> {
        let made = Self {
            made_at: at,
            ..Self::new(serial, demo.dep)
        };
        let answered = |response| Self {
            listed: Some(response),
            ..made.clone()
        };
        Some(match demo.mdm {
            Mdm::Own(own) => return of_own(own, &made),
            Mdm::None | Mdm::NotFetchedYet => return None,
            Mdm::Assigned | Mdm::Removed | Mdm::Pushed => made,
            Mdm::Pending => answered(None),
            Mdm::Failed => answered(Some("FAILED")),
            Mdm::Throttled => answered(Some("THROTTLED")),
            Mdm::Enrolled => Self {
                enrollment: "On (automatic)",
                ..made
            },
        })
    }

    fn is_on(&self, _: usize) -> bool {
        true
    }
}

fn of_own(own: Own, made: &Host) -> Option<Host> {
    let made = made.clone();
    Some(match own {
        // Another MDM server is none of Fleet's, and of a box that fails nobody knows anything.
        Own::None | Own::OtherServer | Own::Fails => return None,
        // Fleet gives one host for an identifier, and knows no more of one that came back than Apple.
        Own::Assigned | Own::JustNow | Own::Removed | Own::Pushed | Own::Returned | Own::Twice => {
            made
        }
        Own::Soon(_) | Own::Pending => Host {
            listed: Some(None),
            ..made
        },
        Own::Throttled => Host {
            listed: Some(Some("THROTTLED")),
            ..made
        },
        Own::Failed => Host {
            listed: Some(Some("FAILED")),
            ..made
        },
        Own::OtherProfile => Host {
            profile_uuid: OTHER_PROFILE,
            ..made
        },
        Own::Enrolled => Host {
            enrollment: "On (automatic)",
            ..made
        },
        Own::EnrolledByHand => Host {
            enrollment: "On (manual)",
            listed: None,
            ..made
        },
        Own::Odd => Host {
            device: json!({"profile_status": "queued"}),
            ..made
        },
    })
}

/// The reason that a station gives which asks Fleet alone.
pub(super) fn alone(demo: &DemoBox) -> &'static str {
    match demo.mdm {
        Mdm::Own(own) => alone_of_own(own, demo),
        Mdm::None | Mdm::NotFetchedYet => "not_found",
        Mdm::Enrolled => "already_enrolled",
        Mdm::Failed => "assignment_failed",
        Mdm::Throttled => "assignment_throttled",
        Mdm::Assigned | Mdm::Pending | Mdm::Removed | Mdm::Pushed => match demo.dep {
            Dep::Empty | Dep::Soon(_) => "assignment_pending",
            Dep::Assigned(_) => "assigned",
            Dep::JustNow => "settling",
            Dep::Migrating => "migration_pending",
            Dep::Pushed => "previously_activated",
            Dep::Removed => "profile_removed",
            Dep::NotAccessible => "not_found",
        },
    }
}

fn alone_of_own(own: Own, demo: &DemoBox) -> &'static str {
    match own {
        Own::Assigned if demo.expected == "ambiguous" => "ambiguous",
        Own::Assigned | Own::Returned | Own::Twice => "assigned",
        Own::Soon(_) | Own::Pending => "assignment_pending",
        Own::Throttled => "assignment_throttled",
        Own::JustNow => "settling",
        Own::None | Own::OtherServer => "not_found",
        Own::Removed => "profile_removed",
        Own::Failed => "assignment_failed",
        Own::OtherProfile => "wrong_profile",
        Own::Enrolled | Own::EnrolledByHand => "already_enrolled",
        Own::Pushed => "previously_activated",
        Own::Odd => "garbled_answer",
        Own::Fails => demo.expected,
    }
}

/// Everything on the server.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// Generated ones besides.
    pub generated: Fleet<Host>,
}

/// What the second call brings.
pub(super) enum Said {
    Of(Value),
    NoHost,
}

impl Stock {
    /// These hosts.
    pub fn of(hosts: Vec<Host>) -> Self {
        Self {
            hosts,
            generated: Fleet::default(),
        }
    }

    /// The demo's boxes.
    pub fn demo() -> Self {
        let now = Timestamp::now();
        let host = |demo: &DemoBox| Host::of(demo, demo.serial, now);
        Self::of(DEMO.iter().filter_map(host).collect())
    }

    /// Puts a host in, in the place of the one of the same serial number.
    pub fn put(&mut self, host: Host) {
        self.hosts.retain(|other| other.serial != host.serial);
        self.hosts.push(host);
    }

    /// The first host of that serial number or host name, in any case.
    pub(super) fn host(&mut self, identifier: &str) -> Option<Value> {
        let is_it = |host: &Host| {
            let name = format!("{}.local", host.serial);
            [&host.serial, &name]
                .into_iter()
                .any(|one| one.eq_ignore_ascii_case(identifier))
        };
        if let Some(host) = self.hosts.iter().find(|host| is_it(host)) {
            return Some(host.record());
        }
        let serial = identifier.to_ascii_uppercase();
        let host = self.generated.get(&serial)?;
        let record = host.record();
        // The second call names the host by its number alone.
        self.hosts.push(host);
        Some(record)
    }

    pub(super) fn assignment(&mut self, id: u64) -> Said {
        let found = self.hosts.iter_mut().find(|host| host.number() == id);
        found.map_or(Said::NoHost, |host| Said::Of(host.assignment()))
    }
}
