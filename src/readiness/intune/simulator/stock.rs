//! The tenant's ADE tokens, their profiles and devices, written as Graph writes them; and the demo's boxes as Intune can say them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

pub use crate::simulator::stock::AssignedAt;
use crate::simulator::{
    fleet::{Fleet, Held},
    stock::{self, DEMO, DemoBox, Dep, Mdm, Own, written},
};

/// The ADE token that devices belong to unless they say otherwise.
pub const HQ: &str = "5b9e0a3c-6d1f-4c2e-8a7b-000000000001";
/// The ADE token of another department, which the station does not ask.
pub const OTHER: &str = "5b9e0a3c-6d1f-4c2e-8a7b-000000000002";
/// The profile that devices have unless they say otherwise.
pub const PROFILE: &str =
    "5b9e0a3c-6d1f-4c2e-8a7b-000000000001_c7f2a1d4-9b3e-4f60-8c5d-0000000000a1";
/// Another one of the same token.
pub const OTHER_PROFILE: &str =
    "5b9e0a3c-6d1f-4c2e-8a7b-000000000001_c7f2a1d4-9b3e-4f60-8c5d-0000000000a2";

const DAY: Duration = Duration::from_hours(24);

/// One record of a device.
#[derive(Clone, Debug)]
pub struct Device {
    pub serial: String,
    /// The ADE token's id.
    pub token: String,
    /// `requestedEnrollmentProfileId`.
    pub profile: String,
    pub assigned_at: AssignedAt,
    /// `enrollmentState`.
    pub state: String,
    pub is_deleted: bool,
    /// `macOS` or `ios`.
    pub platform: &'static str,
    /// It gets [`PROFILE`] this long after the first request for it.
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
        Self {
            serial: serial.to_owned(),
            token: HQ.to_owned(),
            profile: PROFILE.to_owned(),
            assigned_at: AssignedAt::At(now.checked_sub(DAY * 2).unwrap_or(now)),
            state: "notContacted".to_owned(),
            is_deleted: false,
            platform: "macOS",
            ready_after: None,
            first_asked: None,
        }
    }

    /// A device to which no profile was assigned.
    pub fn without_profile(self) -> Self {
        Self {
            profile: String::new(),
            assigned_at: AssignedAt::Never,
            ..self
        }
    }

    fn in_state(self, state: &str) -> Self {
        Self {
            state: state.to_owned(),
            ..self
        }
    }

    fn asked(&mut self) {
        let (since, at) = *self
            .first_asked
            .get_or_insert_with(|| (Instant::now(), Timestamp::now()));
        self.assigned_at = self.assigned_at.asked(at);
        if self
            .ready_after
            .is_some_and(|after| since.elapsed() >= after)
        {
            self.ready_after = None;
            PROFILE.clone_into(&mut self.profile);
            self.assigned_at = AssignedAt::At(Timestamp::now());
        }
    }

    /// The record of that number among those of its serial number.
    fn row(&self, record: usize) -> Value {
        let assigned_at = match self.assigned_at {
            AssignedAt::At(moment) => written(moment),
            AssignedAt::Never | AssignedAt::JustNow => "0001-01-01T00:00:00Z".to_owned(),
        };
        let name = format!("{}/{record}", self.serial);
        json!({
            "@odata.type": "#microsoft.graph.importedAppleDeviceIdentity",
            "id": id_of(&name),
            "serialNumber": self.serial,
            "requestedEnrollmentProfileId": self.profile,
            "requestedEnrollmentProfileAssignmentDateTime": assigned_at,
            "isSupervised": true,
            "discoverySource": "deviceEnrollmentProgram",
            "isDeleted": self.is_deleted,
            "createdDateTime": "2026-01-09T22:01:10.1234567Z",
            "lastContactedDateTime": "0001-01-01T00:00:00Z",
            "description": "of somebody@example.com",
            "enrollmentState": self.state,
            "platform": self.platform,
        })
    }
}

/// Shaped like the service's, and the same each time.
fn id_of(name: &str) -> String {
    let number = name.bytes().fold(7_u128, |sum, byte| {
        sum.wrapping_mul(1_099_511_628_211)
            .wrapping_add(u128::from(byte))
    });
    Uuid::from_u128(number).to_string()
}

impl Held for Device {
    const LISTS: usize = 1;

    fn of(demo: &DemoBox, serial: &str, at: Timestamp) -> Option<Self> {
        let ready = Self {
            platform: if demo.family == "Mac" { "macOS" } else { "ios" },
            ..Self::ready_at(serial, at)
        };
        // Who assigns a profile does it in Intune first.
        let assigned_at = match demo.dep {
            Dep::Assigned(ago) => AssignedAt::At(at.checked_sub(ago).unwrap_or(at)),
            _ => ready.assigned_at,
        };
        let ready = Self {
            assigned_at,
            ..ready
        };
        Some(match demo.mdm {
            Mdm::None | Mdm::NotFetchedYet => return None,
            // Intune has its plan, whatever comes of it at Apple.
            Mdm::Assigned | Mdm::Throttled => ready,
            Mdm::Pending | Mdm::Removed => ready.without_profile(),
            Mdm::Failed => ready.in_state("blocked"),
            Mdm::Pushed => ready.in_state("failed"),
            Mdm::Enrolled => ready.in_state("enrolled"),
            Mdm::Own(own) => return ready.shows(own),
        })
    }

    fn is_on(&self, _: usize) -> bool {
        self.token == HQ
    }
}

impl Device {
    fn shows(self, own: Own) -> Option<Self> {
        Some(match own {
            Own::None | Own::EnrolledByHand | Own::Fails => return None,
            // That it came back shows nowhere: the record is new.
            Own::Assigned | Own::Throttled | Own::Returned | Own::Twice => self,
            Own::Soon(after) => Self {
                ready_after: Some(after),
                ..self.without_profile()
            },
            Own::Pending | Own::Removed => self.without_profile(),
            Own::JustNow => Self {
                assigned_at: AssignedAt::JustNow,
                ..self
            },
            Own::OtherServer => Self {
                token: OTHER.to_owned(),
                ..self
            },
            Own::Failed => self.in_state("blocked"),
            Own::OtherProfile => Self {
                profile: OTHER_PROFILE.to_owned(),
                ..self
            },
            Own::Enrolled => self.in_state("enrolled"),
            Own::Pushed => self.in_state("failed"),
            Own::Odd => self.in_state("queued"),
        })
    }
}

/// One ADE token: the tenant's link to one MDM server at Apple.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: String,
    pub name: String,
    pub expires_at: Timestamp,
    /// How long ago Intune synced with Apple; `None`: never.
    pub synced_ago: Option<Duration>,
    /// `lastSyncErrorCode`.
    pub error: i64,
    /// Ids and names.
    pub profiles: Vec<(String, String)>,
}

impl Token {
    /// A token that synced five minutes ago and expires in 200 days.
    pub fn healthy(id: &str, name: &str) -> Self {
        let now = Timestamp::now();
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            expires_at: now.checked_add(DAY * 200).unwrap_or(now),
            synced_ago: Some(Duration::from_mins(5)),
            error: 0,
            profiles: Vec::new(),
        }
    }

    fn row(&self) -> Value {
        let now = Timestamp::now();
        let synced = self.synced_ago.and_then(|ago| now.checked_sub(ago).ok());
        let synced = synced.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), written);
        json!({
            "id": self.id,
            "appleIdentifier": "somebody@example.com",
            "tokenExpirationDateTime": written(self.expires_at),
            "lastModifiedDateTime": "2026-01-09T22:01:10Z",
            "lastSuccessfulSyncDateTime": synced,
            "lastSyncTriggeredDateTime": synced,
            "shareTokenWithSchoolDataSyncService": false,
            "lastSyncErrorCode": self.error,
            "tokenType": "dep",
            "tokenName": self.name,
            "syncedDeviceCount": 0,
            "dataSharingConsentGranted": true,
            "roleScopeTagIds": ["0"],
        })
    }
}

/// Everything in the tenant.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    pub devices: Vec<Device>,
    pub tokens: Vec<Token>,
    /// Generated devices, behind the others in the list of [`HQ`].
    pub fleet: Fleet<Device>,
}

impl Stock {
    /// These devices behind one healthy token.
    pub fn of(devices: Vec<Device>) -> Self {
        let profiles = [(PROFILE, "Staging"), (OTHER_PROFILE, "Kiosk")];
        let profiles = profiles.map(|(id, name)| (id.to_owned(), name.to_owned()));
        let token = Token {
            profiles: profiles.to_vec(),
            ..Token::healthy(HQ, "HQ")
        };
        Self {
            devices,
            tokens: vec![token],
            fleet: Fleet::default(),
        }
    }

    /// The boxes of the demo, and a second token.
    pub fn demo() -> Self {
        let now = Timestamp::now();
        let mut devices: Vec<Device> = DEMO
            .iter()
            .filter_map(|demo| Device::of(demo, demo.serial, now))
            .collect();
        let is_twice = |demo: &&DemoBox| demo.mdm == Mdm::Own(Own::Twice);
        let second = DEMO.iter().filter(is_twice);
        devices.extend(second.map(|demo| Device::ready(demo.serial).without_profile()));
        let mut stock = Self::of(devices);
        stock
            .tokens
            .push(Token::healthy(OTHER, stock::OTHER_SERVER_NAME));
        stock
    }

    /// Puts a device in, in the place of those of the same serial number.
    pub fn put(&mut self, device: Device) {
        self.remove(&device.serial);
        self.devices.push(device);
    }

    /// Takes a device out.
    pub fn remove(&mut self, serial: &str) {
        self.devices.retain(|device| device.serial != serial);
    }

    /// The token of that id.
    pub fn token(&mut self, id: &str) -> Option<&mut Token> {
        self.tokens.iter_mut().find(|token| token.id == id)
    }

    pub(super) fn token_rows(&self) -> Vec<Value> {
        self.tokens.iter().map(Token::row).collect()
    }

    /// The profiles of a token; `None`: there is no such token.
    pub(super) fn profile_rows(&self, id: &str) -> Option<Vec<Value>> {
        let token = self.tokens.iter().find(|token| token.id == id)?;
        let row = |(id, name): &(String, String)| json!({"@odata.type": "#microsoft.graph.depMacOSEnrollmentProfile", "id": id, "displayName": name, "isDefault": false});
        Some(token.profiles.iter().map(row).collect())
    }

    /// The records of a token whose serial number contains `part`; `None`: there is no such token.
    pub(super) fn rows(&mut self, id: &str, part: &str) -> Option<Vec<Value>> {
        self.tokens.iter().find(|token| token.id == id)?;
        let part = part.to_ascii_uppercase();
        let mut rows = Vec::new();
        for device in &mut self.devices {
            if device.token == id && device.serial.to_ascii_uppercase().contains(&part) {
                device.asked();
                rows.push(device.row(rows.len()));
            }
        }
        if id == HQ {
            let generated = self.fleet.containing(0, &part);
            let generated = generated.iter().filter_map(|serial| self.fleet.get(serial));
            rows.extend(generated.map(|device| device.row(0)));
        }
        Some(rows)
    }
}

/// The boxes of the demo that get another reason than with Kandji beside Apple's two services.
pub const DIFFERS: &[(&str, &str)] = &[
    // Intune knows no waiting: no profile is assigned, or its plan stands and Apple has none.
    ("C02PD4EEJG5J", "no_profile"),
    ("C02TH5FFJG5K", "no_profile"),
    ("DEMOSOON0003", "no_profile"),
    ("DEMOWAIT0004", "no_profile"),
    ("DEMOSLOW0005", "no_profile"),
    // Apple has another profile for long, and Intune another plan.
    ("DEMOBLUE0011", "contradiction"),
    // Intune has no record, and Apple none for our server.
    ("DEMOHAND0013", "unassigned"),
    // That it came back shows nowhere.
    ("DEMOBACK0015", "assigned"),
];

/// Boxes to scan where Intune alone is asked: serial number, reason, words.
pub const ALONE: &[(&str, &str, &str)] = &[
    ("C02XK0AAJG5H", "assigned", "healthy new stock"),
    (
        "K7QW2CCPX9",
        "assigned",
        "an iPhone, its profile is assigned",
    ),
    (
        "DEMOSOON0003",
        "no_profile",
        "no profile, and one 20 seconds after the first scan",
    ),
    ("DEMOWAIT0004", "no_profile", "no profile is assigned"),
    (
        "DEMOFRESH006",
        "settling",
        "assigned a second before the first scan",
    ),
    (
        "C02RM8JJJG5N",
        "assigned",
        "removed at Apple, which Intune's plan does not show",
    ),
    (
        "C02RL2MMJG5R",
        "assigned",
        "released at Apple, and listed by Intune for up to 45 days",
    ),
    ("DEMOABSENT07", "not_found", "not in Intune at all"),
    (
        "DEMOOTHER008",
        "not_found",
        "behind an ADE token that is not asked",
    ),
    (
        "DEMOBLUE0011",
        "wrong_profile",
        "another profile than the expected one",
    ),
    ("DEMOFAIL0010", "assignment_failed", "blocked in Intune"),
    ("DEMOINUSE012", "already_enrolled", "enrolled"),
    (
        "DEMOUSED0014",
        "previously_activated",
        "its enrollment failed: activated before",
    ),
    (
        "DEMOODD00018",
        "garbled_answer",
        "Intune says a word that nobody knows",
    ),
    (
        "DEMOTWICE019",
        "contradiction",
        "listed twice, and the records disagree",
    ),
    (
        "DEMOSTALE016",
        "stale",
        "a cache answers in Graph's place, three days old",
    ),
    ("DEMOERROR020", "source_error", "Graph fails with 500"),
    (
        "DEMOQUIET021",
        "timeout",
        "Graph is silent for eight seconds",
    ),
    ("DEMORESET022", "offline", "the connection breaks"),
    ("DEMOLIMIT023", "rate_limited", "Graph answers 429"),
    (
        "DEMODENY0024",
        "credentials_refused",
        "Graph refuses with 403",
    ),
    (
        "DEMOGUEST025",
        "garbled_answer",
        "a guest network answers in Graph's place",
    ),
    (
        "SDEMOBOX0026",
        "assigned",
        "its own serial number begins with S",
    ),
    (
        "SDEMOTWIN027",
        "ambiguous",
        "two devices, with and without the S",
    ),
];
