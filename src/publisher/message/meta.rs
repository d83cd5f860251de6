//! `P/meta`.

use serde::Serialize;
use uuid::Uuid;

use super::{PAYLOAD_MAX, is_false, json};
use crate::runtime::name::Name;

/// What the station is, said once at birth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Benchlight's version.
    pub version: String,
    /// The site's name.
    pub site: Name,
    /// The station's name.
    pub station: Name,
    /// The journal's epoch.
    pub epoch: Uuid,
    /// Hash of the policy.
    pub policy: String,
    /// Does it answer commands?
    pub commands: bool,
    /// The lanes.
    pub lanes: Vec<Name>,
    /// Name, kind and lane of each scanner.
    pub scanners: Vec<(Name, &'static str, Name)>,
    /// Name and kind of each source, and whether it must agree.
    pub sources: Vec<(Name, &'static str, bool)>,
}

/// `P/meta`.
pub fn meta(meta: &Meta) -> Vec<u8> {
    let whole = Wire {
        schema: 1,
        version: &meta.version,
        site: meta.site.as_str(),
        station: meta.station.as_str(),
        epoch: meta.epoch,
        policy: &meta.policy,
        commands: meta.commands,
        lanes: meta.lanes.iter().map(Name::as_str).collect(),
        scanners: meta
            .scanners
            .iter()
            .map(|(name, kind, lane)| Scanner {
                name: name.as_str(),
                kind,
                lane: lane.as_str(),
            })
            .collect(),
        sources: meta
            .sources
            .iter()
            .map(|(name, kind, required)| Source {
                name: name.as_str(),
                kind,
                required: *required,
            })
            .collect(),
        truncated: false,
    };
    let bytes = json(&whole);
    if bytes.len() <= PAYLOAD_MAX {
        return bytes;
    }
    // More than a hundred lanes, scanners and sources together: say what cannot be long, and that there is more.
    json(&Wire {
        lanes: Vec::new(),
        scanners: Vec::new(),
        sources: Vec::new(),
        truncated: true,
        ..whole
    })
}

#[derive(Serialize)]
struct Wire<'a> {
    schema: u32,
    version: &'a str,
    site: &'a str,
    station: &'a str,
    epoch: Uuid,
    policy: &'a str,
    commands: bool,
    lanes: Vec<&'a str>,
    scanners: Vec<Scanner<'a>>,
    sources: Vec<Source<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

#[derive(Serialize)]
struct Scanner<'a> {
    name: &'a str,
    kind: &'static str,
    lane: &'a str,
}

#[derive(Serialize)]
struct Source<'a> {
    name: &'a str,
    kind: &'static str,
    required: bool,
}
