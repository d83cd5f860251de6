//! What Apple holds: tokens, the limit of reads, each device's record and its MDM server.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Options, key::Key};
use crate::simulator::{
    PerMinute, overlay,
    stock::{self, Business},
};

#[derive(Debug)]
pub(super) struct Book {
    pub(super) options: Options,
    pub(super) key: Key,
    /// From when on the assigned server of a device is to be had.
    pub(super) linked_from: HashMap<String, Instant>,
    pub(super) overlays: HashMap<String, Value>,
    /// The ids of the assertions so far.
    pub(super) used: HashSet<String>,
    /// When each token ends.
    pub(super) tokens: HashMap<String, Instant>,
    pub(super) granted: u64,
    pub(super) recent: PerMinute,
}

impl Book {
    pub(super) fn device(&self, serial: &str, whole: Whole) -> Option<Value> {
        let state = *self
            .options
            .devices
            .get(serial)
            .filter(|state| **state != Business::None)?;
        let now = Timestamp::now();
        let demo = stock::DEMO.iter().find(|demo| demo.serial == serial);
        let (model, family) = demo.map_or(("MacBook Air", "Mac"), |demo| (demo.model, demo.family));
        let updated = if state == Business::OursJustNow {
            Duration::from_mins(3)
        } else {
            Duration::from_hours(45 * 24)
        };
        let mut attributes = json!({
            "addedToOrgDateTime": stock::before(now, Duration::from_hours(60 * 24)), "updatedDateTime": stock::before(now, updated),
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
                json!(stock::before(now, Duration::from_hours(24))),
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
        let [ours, other, configurator] = SERVERS;
        match self.options.devices.get(serial)? {
            Business::Ours | Business::OursJustNow | Business::Migrating => Some(ours),
            Business::Other => Some(other),
            Business::Configurator => Some(configurator),
            Business::None | Business::Lagging | Business::Unassigned | Business::Released => None,
        }
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
