//! What is wrong with the station now, in the words of the manual. Pure.

use std::sync::LazyLock;

use super::shapes::{ScannerIs, SourceIs, Station, Trouble};
use crate::{
    health::Health,
    manual::{self, Entry},
    publisher::message::Meta,
    runtime::name::Name,
};

static MANUAL: LazyLock<Vec<Entry>> = LazyLock::new(manual::entries);

/// The station: its health as `message` says it, what is wrong, worst first, and its parts as configured.
pub(super) fn station(
    health: &Health,
    refused_topic: Option<&str>,
    message: &[u8],
    meta: &Meta,
) -> Station {
    let problems = health.troubles(refused_topic.is_some()).into_iter();
    Station {
        health: serde_json::from_slice(message).unwrap_or_default(),
        problems: problems
            .map(|one| told(one.part, one.name.as_ref(), one.word))
            .collect(),
        sources: meta
            .sources
            .iter()
            .map(|(name, kind, required)| SourceIs {
                name: name.as_str().to_owned(),
                kind,
                required: *required,
            })
            .collect(),
        scanners: meta
            .scanners
            .iter()
            .map(|(name, kind, lane)| ScannerIs {
                name: name.as_str().to_owned(),
                kind,
                lane: lane.as_str().to_owned(),
            })
            .collect(),
    }
}

/// One word about a part, with what the manual says of it.
fn told(part: &'static str, name: Option<&Name>, word: &str) -> Trouble {
    let of_part = match part {
        "lane" => "lamps",
        part => part,
    };
    let fits = |entry: &&Entry| entry.kind.contains(of_part) || entry.kind.contains("any part");
    let found = MANUAL.iter().filter(|entry| entry.word == word);
    let entry = found.clone().find(fits).or_else(|| found.clone().next());
    Trouble {
        part,
        name: name.map(|name| name.as_str().to_owned()),
        word: word.to_owned(),
        sentence: entry.and_then(|entry| entry.means.first().cloned()),
        remedy: entry.map(|entry| entry.action.clone()),
    }
}
