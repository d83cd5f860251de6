//! `[[scanner]]`: where codes come from, and for which lane.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    document::{Found, Section, did_you_mean, listed},
    lane::LaneEntry,
    problems::{Report, Span},
};
use crate::{
    runtime::name::Name,
    scanner::{DeviceFile, Layout, ScannerKind, Settings},
};

#[derive(Clone, Copy)]
enum Word {
    Hid,
    Serial,
    Stdin,
    Tcp,
    Web,
}

const BY_ID_INPUT: &str = "/dev/input/by-id";
const BY_ID_SERIAL: &str = "/dev/serial/by-id";
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);

/// One section as far as it could be read.
struct Entry {
    name: Option<Found<Name>>,
    lane: Option<Name>,
    kind: Option<ScannerKind>,
    /// Where the kind says which device it is.
    kind_at: Span,
    settings: Option<Settings>,
}

impl Entry {
    /// The page's input box stands at the bench of the lane's scanner.
    fn is_input_box(&self) -> bool {
        self.kind == Some(ScannerKind::Web)
    }
}

/// Reads all scanners; `None`: something is wrong and reported.
pub(super) fn read(document: &Section<'_, '_>, lanes: &[LaneEntry]) -> Option<Vec<Settings>> {
    let report = document.report();
    let entries: Vec<Entry> = document
        .sections("scanner")
        .into_iter()
        .map(|section| one(section, lanes))
        .collect();
    if entries.is_empty() && !document.has("scanner") {
        let example =
            "write for example:\n[[scanner]]\nname = \"left\"\nkind = \"hid\"\ndevice = \"auto\"";
        report.absence(
            document.at(),
            "there is no [[scanner]]: where do the codes come from?",
            example,
        );
        return None;
    }
    compare(&entries, report);
    warn_of_lanes_without_scanner(&entries, lanes, report);
    entries.into_iter().map(|entry| entry.settings).collect()
}

/// Names, devices and lanes of each scanner beside those before it.
fn compare(entries: &[Entry], report: &Report) {
    for (index, entry) in entries.iter().enumerate() {
        let earlier = || entries.iter().take(index);
        if let Some(name) = &entry.name
            && earlier().any(|other| {
                other
                    .name
                    .as_ref()
                    .is_some_and(|other| other.value == name.value)
            })
        {
            report.problem(
                &name.at,
                format!("there is already a scanner {:?}", name.value.as_str()),
                "give each scanner a name of its own",
            );
        }
        if let Some(kind) = &entry.kind
            && let Some((message, remedy)) = earlier()
                .filter_map(|other| other.kind.as_ref())
                .find_map(|other| clash(kind, other))
        {
            report.problem(&entry.kind_at, message, remedy);
        }
        if let (Some(lane), Some(name)) = (&entry.lane, &entry.name)
            && !entry.is_input_box()
            && let Some(other) = earlier()
                .find(|other| other.lane.as_ref() == Some(lane) && !other.is_input_box())
                .and_then(|other| other.name.as_ref())
        {
            let message = format!(
                "scanners {:?} and {:?} share lane {:?}: the newer scan takes the lamp over",
                other.value.as_str(),
                name.value.as_str(),
                lane.as_str()
            );
            report.warn(Some(&name.at), message);
        }
    }
}

fn warn_of_lanes_without_scanner(entries: &[Entry], lanes: &[LaneEntry], report: &Report) {
    let all_lanes_known = entries.iter().all(|entry| entry.lane.is_some());
    for name in lanes.iter().filter_map(|lane| lane.name.as_ref()) {
        if all_lanes_known
            && !entries
                .iter()
                .any(|entry| entry.lane.as_ref() == Some(&name.value))
        {
            report.warn(
                Some(&name.at),
                format!(
                    "lane {:?} has no scanner: its lamps will never answer",
                    name.value.as_str()
                ),
            );
        }
    }
}

fn one(section: Section<'_, '_>, lanes: &[LaneEntry]) -> Entry {
    let words = [
        ("hid", Word::Hid),
        ("serial", Word::Serial),
        ("stdin", Word::Stdin),
        ("tcp", Word::Tcp),
        ("web", Word::Web),
    ];
    let name = section.required("name", section.name("name", "left"), "\"left\"");
    let word = section.choice("kind", &words, Some("hid"));
    let lane = lane_of(&section, lanes);
    let (kind, kind_key) = match word.as_ref().map(|word| word.value) {
        Some(Word::Hid) => (hid(&section), "device"),
        Some(Word::Serial) => (serial(&section), "device"),
        Some(Word::Stdin) => {
            section.not_for("stdin", &["device", "layout", "pause", "baud", "listen"]);
            (Some(ScannerKind::Stdin), "kind")
        }
        Some(Word::Tcp) => (tcp(&section), "listen"),
        Some(Word::Web) => {
            section.not_for("web", &["device", "layout", "pause", "baud", "listen"]);
            (Some(ScannerKind::Web), "kind")
        }
        None => (None, "kind"),
    };
    let kind_at = section.place(kind_key);
    if word.is_some() {
        section.finish();
    }
    let settings = (|| {
        Some(Settings {
            name: name.as_ref()?.value.clone(),
            lane: lane.clone()?,
            kind: kind.clone()?,
        })
    })();
    Entry {
        name,
        lane,
        kind,
        kind_at,
        settings,
    }
}

fn lane_of(section: &Section<'_, '_>, lanes: &[LaneEntry]) -> Option<Name> {
    let names: Vec<&str> = lanes
        .iter()
        .filter_map(|lane| lane.name.as_ref())
        .map(|name| name.value.as_str())
        .collect();
    if section.has("lane") {
        let lane = section.name("lane", "left")?;
        // A lane whose name is wrong may be the one that is meant.
        if !names.contains(&lane.value.as_str()) && names.len() == lanes.len() {
            let remedy = format!(
                "{}the lanes are {}; another one needs a [[lane]] of its own",
                did_you_mean(lane.value.as_str(), &names),
                listed(&names)
            );
            return section.wrong(
                "lane",
                format!("there is no lane {:?}", lane.value.as_str()),
                remedy,
            );
        }
        return Some(lane.value);
    }
    match lanes {
        [only] => Some(only.name.as_ref()?.value.clone()),
        _ => {
            let remedy = format!("say which lane it counts for: {}", listed(&names));
            section.report().problem(
                section.at(),
                format!(
                    "`lane` is missing in {}, and there are several lanes",
                    section.title()
                ),
                remedy,
            );
            None
        }
    }
}

fn hid(section: &Section<'_, '_>) -> Option<ScannerKind> {
    let device = device(section, BY_ID_INPUT);
    let layout = section.choice(
        "layout",
        &[("us", Layout::Us), ("de", Layout::De), ("fr", Layout::Fr)],
        Some("us"),
    );
    let pause = pause(section, 80);
    section.not_for("hid", &["baud", "listen"]);
    Some(ScannerKind::Hid {
        device: device?,
        layout: layout?.value,
        pause: pause?,
    })
}

fn serial(section: &Section<'_, '_>) -> Option<ScannerKind> {
    let device = device(section, BY_ID_SERIAL);
    let baud = section.optional("baud", section.number("baud", 50..=4_000_000, 9600));
    let pause = pause(section, 80);
    section.not_for("serial", &["layout", "listen"]);
    Some(ScannerKind::Serial {
        device: device?,
        baud: baud?.map_or(9600, |found| found.value),
        pause: pause?,
    })
}

fn tcp(section: &Section<'_, '_>) -> Option<ScannerKind> {
    let listen = section.address("listen", DEFAULT_LISTEN);
    // A network hands a code over in pieces more often than a cable does.
    let pause = pause(section, 500);
    section.not_for("tcp", &["device", "layout", "baud"]);
    let listen = listen?.value;
    if !listen.ip().is_loopback() {
        section.report().warn(
            Some(&section.place("listen")),
            format!("{listen} takes scans from everybody who reaches it over the network"),
        );
    }
    Some(ScannerKind::Tcp {
        listen,
        pause: pause?,
    })
}

fn pause(section: &Section<'_, '_>, default_ms: u64) -> Option<Duration> {
    section.duration(
        "pause",
        Duration::from_millis(default_ms),
        Duration::from_millis(5)..=Duration::from_secs(5),
    )
}

/// A device file; a bare name or glob counts in the folder of stable names.
fn device(section: &Section<'_, '_>, by_id: &str) -> Option<DeviceFile> {
    if !section.has("device") {
        return Some(DeviceFile::Auto);
    }
    let text = section.text("device", "\"auto\"")?.value;
    Some(if text == "auto" {
        DeviceFile::Auto
    } else {
        DeviceFile::Path(Path::new(by_id).join(PathBuf::from(text)))
    })
}

/// Two scanners that cannot be open at the same time.
fn clash(kind: &ScannerKind, other: &ScannerKind) -> Option<(String, &'static str)> {
    match (kind, other) {
        (ScannerKind::Hid { device, .. }, ScannerKind::Hid { device: other, .. }) | (ScannerKind::Serial { device, .. }, ScannerKind::Serial { device: other, .. })
            if device == other =>
        {
            Some(match device {
                DeviceFile::Auto => (
                    "\"auto\" is the only scanner of its kind, and another scanner is \"auto\" already".to_owned(),
                    "name both devices: `ls /dev/input/by-id /dev/serial/by-id` shows them",
                ),
                DeviceFile::Path(path) => (format!("another scanner is {} already", path.display()), "give each scanner a device of its own"),
            })
        }
        (ScannerKind::Stdin, ScannerKind::Stdin) => Some(("another scanner reads standard input already".to_owned(), "keep one of them")),
        (ScannerKind::Web, ScannerKind::Web) => Some(("another scanner is the page's input box already".to_owned(), "keep one of them")),
        (ScannerKind::Tcp { listen, .. }, ScannerKind::Tcp { listen: other, .. }) => {
            let overlap = listen.port() != 0
                && listen.port() == other.port()
                && (listen.ip() == other.ip() || listen.ip().is_unspecified() || other.ip().is_unspecified());
            overlap.then(|| (format!("another scanner listens on {other} already"), "give each scanner a port of its own"))
        }
        _ => None,
    }
}
