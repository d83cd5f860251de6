//! What Apple holds: tokens, the limit of reads, each device's record and its MDM server.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Options, key::Key};
use crate::simulator::{
    Limit,
    fleet::{self, Ages, Fleet, Held},
    overlay,
    stock::{self, Business, DemoBox, written},
};

#[derive(Debug)]
pub(super) struct Book {
    pub(super) options: Options,
    pub(super) key: Key,
    /// Generated devices, behind the others in every list.
    pub(super) fleet: Fleet<Business>,
    pub(super) ages: Ages,
    /// From when on the assigned server of a device is to be had.
    pub(super) linked_from: HashMap<String, Instant>,
    pub(super) overlays: HashMap<String, Value>,
    /// The ids of the assertions so far.
    pub(super) used: HashSet<String>,
    /// When each token ends.
    pub(super) tokens: HashMap<String, Instant>,
    pub(super) granted: u64,
    pub(super) recent: Limit,
}

impl Book {
    fn state(&self, serial: &str) -> Option<Business> {
        let own = self.options.devices.get(serial).copied();
        own.or_else(|| self.fleet.get(serial))
            .filter(|state| *state != Business::None)
    }

    /// How many devices are on a list of [`Held`].
    pub(super) fn count(&self, list: usize) -> usize {
        self.own(list).len() + self.fleet.count(list)
    }

    /// The serial numbers at those places of a list.
    pub(super) fn serials(&self, list: usize, places: &Range<usize>) -> Vec<String> {
        let own = self.own(list);
        let behind = |place: usize| place.saturating_sub(own.len());
        let generated = self
            .fleet
            .serials(list, behind(places.start)..behind(places.end));
        let own = own.into_iter().skip(places.start).take(places.len());
        own.chain(generated).collect()
    }

    /// The devices of a list that were put in one by one.
    fn own(&self, list: usize) -> Vec<String> {
        let devices = self.options.devices.iter();
        let listed = devices.filter(|(serial, state)| {
            state.is_on(list) && (list == ALL || self.server_of(serial).is_some())
        });
        let mut own: Vec<String> = listed.map(|(serial, _)| serial.clone()).collect();
        own.sort_unstable();
        own
    }

    pub(super) fn device(&self, serial: &str, whole: Whole) -> Option<Value> {
        let state = self.state(serial)?;
        let told = fleet::told(serial);
        let (model, family) = told.map_or(("MacBook Air", "Mac"), |demo| (demo.model, demo.family));
        let updated = if state == Business::OursJustNow {
            Duration::from_mins(3)
        } else {
            Duration::from_hours(45 * 24)
        };
        let before = |age: Duration| written(self.ages.before(serial, age));
        let mut attributes = json!({
            "addedToOrgDateTime": before(Duration::from_hours(60 * 24)), "updatedDateTime": before(updated),
            "deviceModel": model, "productFamily": family, "productType": "Mac16,12", "color": "SILVER", "partNumber": "MC7X4LL/A",
            "orderNumber": "1234567890", "purchaseSourceType": "APPLE", "imei": [], "meid": [], "eid": "",
            "status": if matches!(state, Business::Unassigned | Business::Released) { "UNASSIGNED" } else { "ASSIGNED" },
        });
        let fields = attributes.as_object_mut()?;
        // The single read lacks it.
        if whole == Whole::List {
            fields.insert("serialNumber".to_owned(), json!(serial));
        }
        match state {
            Business::Released => fields.insert(
                "releasedFromOrgDateTime".to_owned(),
                json!(before(Duration::from_hours(24))),
            ),
            Business::Migrating => {
                fields.insert("mdmMigrationStatus".to_owned(), json!("REQUESTED"))
            }
            _ => None,
        };
        overlay(&mut attributes, self.overlays.get(serial));
        Some(
            json!({ "type": "orgDevices", "id": serial, "attributes": attributes, "links": { "self": format!("/v1/orgDevices/{serial}") } }),
        )
    }

    pub(super) fn server_of(&self, serial: &str) -> Option<Server> {
        if self
            .linked_from
            .get(serial)
            .is_some_and(|from| Instant::now() < *from)
        {
            return None;
        }
        server_of(self.state(serial)?)
    }
}

/// The list of all devices; those of the servers follow, in the order of [`SERVERS`].
pub(super) const ALL: usize = 0;

impl Held for Business {
    const LISTS: usize = 1 + SERVERS.len();

    fn of(story: &DemoBox, _: &str, _: Timestamp) -> Option<Self> {
        Some(story.business)
    }

    fn is_on(&self, list: usize) -> bool {
        match list.checked_sub(1).and_then(|place| SERVERS.get(place)) {
            Some(server) => server_of(*self).as_ref() == Some(server),
            None => *self != Self::None,
        }
    }
}

fn server_of(state: Business) -> Option<Server> {
    let [ours, other, configurator] = SERVERS;
    match state {
        Business::Ours | Business::OursJustNow | Business::Migrating => Some(ours),
        Business::Other => Some(other),
        Business::Configurator => Some(configurator),
        Business::None | Business::Lagging | Business::Unassigned | Business::Released => None,
    }
}

/// Which read shows a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    One,
    List,
}

/// Id, name and type.
pub(super) type Server = (&'static str, &'static str, &'static str);

pub(super) const SERVERS: [Server; 3] = [
    (stock::SERVER_UUID, stock::SERVER_NAME, "MDM"),
    (stock::OTHER_SERVER_UUID, stock::OTHER_SERVER_NAME, "MDM"),
    (
        stock::CONFIGURATOR_UUID,
        stock::CONFIGURATOR_NAME,
        "APPLE_CONFIGURATOR",
    ),
];
