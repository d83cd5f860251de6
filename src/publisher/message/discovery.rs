//! The message by which Home Assistant finds the station: its device, and each part of it as an entity. Pure.
//!
//! Home Assistant drops the whole message if its root, `dev` or `o` has a key that it does not know. Keys are written in its
//! abbreviations. An entity's `uniq_id` never changes: automations hang on it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Meta, Topics, json};
use crate::{health::Health, reason::Verdict, record::Cause, runtime::name::Name};

/// Without health for so many seconds an entity is unavailable: health comes every minute.
const SILENT: u32 = 180;

/// The entities of a station by their keys.
pub type Components = BTreeMap<String, Component>;

/// One entity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Component(Map<String, Value>);

impl Component {
    fn new(platform: &str, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self(Map::new())
            .with("p", platform)
            .with("name", name.into())
            .with("val_tpl", value.into())
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// A sensor that is told by health.
    fn sensor(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new("sensor", name, value).with("exp_aft", SILENT)
    }

    fn number(name: impl Into<String>, value: &str) -> Self {
        Self::sensor(name, format!("{{{{ {value} }}}}")).with("stat_cla", "measurement")
    }

    /// On or off, by health.
    fn binary(name: impl Into<String>, class: &str, on: &str) -> Self {
        let value = format!("{{{{ 'ON' if {on} else 'OFF' }}}}");
        Self::new("binary_sensor", name, value)
            .with("exp_aft", SILENT)
            .with("dev_cla", class)
            .diagnostic()
    }

    fn diagnostic(self) -> Self {
        self.with("ent_cat", "diagnostic")
    }

    /// With attributes from the message on `topic`. Home Assistant drops those with words of its own, such as `state`.
    fn attributes(self, topic: &str, value: &str) -> Self {
        self.with("json_attr_t", topic)
            .with("json_attr_tpl", format!("{{{{ {value} | tojson }}}}"))
    }
}

/// The message. `removed` are the keys and platforms of entities that an earlier message had: Home Assistant removes what it is told
/// to remove, not what is left out.
pub fn discovery(
    meta: &Meta,
    topics: &Topics,
    model: Option<&str>,
    components: &Components,
    removed: &BTreeMap<String, String>,
) -> Vec<u8> {
    let mut device = Map::new();
    let mut about = |key: &str, value: Value| device.insert(key.to_owned(), value);
    about(
        "ids",
        json!([format!("benchlight-{}-{}", meta.site, meta.station)]),
    );
    about("name", title(&meta.station).into());
    about("mf", "Benchlight".into());
    about("sw", meta.version.as_str().into());
    if let Some(model) = model {
        about("mdl", model.into());
    }
    let present = components.iter().map(|(key, component)| {
        let id = format!("benchlight_{}_{}_{key}", meta.site, meta.station);
        (key, component.clone().with("uniq_id", id))
    });
    let removed = removed
        .iter()
        .map(|(key, platform)| (key, Component(Map::new()).with("p", platform.as_str())));
    let components: BTreeMap<_, _> = removed.chain(present).collect();
    json(&json!({
        "dev": device,
        "o": {"name": "benchlight", "sw": meta.version},
        "avty_t": topics.availability,
        "stat_t": topics.health,
        "qos": 1,
        "cmps": components,
    }))
}

/// The entities that an earlier message had, with their platforms; what it removed is not among them.
pub fn entities_of(message: &[u8]) -> BTreeMap<String, String> {
    let message: Value = serde_json::from_slice(message).unwrap_or_default();
    let components = message.get("cmps").and_then(Value::as_object);
    let kept = components
        .into_iter()
        .flatten()
        .filter_map(|(key, component)| {
            let platform = component.get("p")?.as_str()?.to_owned();
            (component.as_object()?.len() > 1).then(|| (key.clone(), platform))
        });
    kept.collect()
}

/// The entities of this station. `earlier`: those that Home Assistant knows; a source whose quota or expiry is not known
/// right now keeps their entities.
pub fn components(
    meta: &Meta,
    topics: &Topics,
    health: &Health,
    earlier: &BTreeMap<String, String>,
) -> Components {
    let mut all = of_station(topics);
    all.extend(of_scans(topics));
    for (scanner, _, _) in &meta.scanners {
        let state = format!("value_json.scanners['{scanner}']");
        let there = format!("{state}.state in ['ok','starting']");
        let component = Component::binary(format!("Scanner {scanner}"), "connectivity", &there)
            .attributes(
                &topics.health,
                &format!("{{'condition': {state}.state, 'proven': {state}.proven}}"),
            );
        all.insert(format!("scanner_{scanner}"), component);
    }
    for lane in &meta.lanes {
        let state = format!("value_json.lamps['{lane}']");
        let broken = format!("{state} not in ['ok','none']");
        let component = Component::binary(format!("Lamps {lane}"), "problem", &broken)
            .attributes(&topics.health, &format!("{{'condition': {state}}}"));
        all.insert(format!("lane_{lane}"), component);
    }
    for (source, _, _) in &meta.sources {
        all.extend(of_source(source, topics, health, earlier));
    }
    all
}

fn of_station(topics: &Topics) -> Components {
    let unsent = Component::number("Unsent records", "value_json.journal.unsent").diagnostic();
    let able = Component::binary("Able", "running", "value_json.able").attributes(
        &topics.health,
        "{'reason': value_json.reason, 'alarms': value_json.alarms}",
    );
    let counted = |verdict: Verdict| {
        let (rescans, name) = (verdict == Verdict::Rescan, word(verdict).replace('_', " "));
        let many = format!("value_json.today.{}", verdict.code());
        let component = Component::number(format!("Today {name}"), &many)
            .with("unit_of_meas", if rescans { "scans" } else { "boxes" });
        (format!("today_{}", word(verdict)), component)
    };
    let rest = [
        ("able", able),
        (
            "clock",
            Component::binary("Clock", "problem", "value_json.clock != 'synced'"),
        ),
        (
            "problems",
            Component::number("Problems", "value_json.problems").diagnostic(),
        ),
        ("unsent", unsent),
        (
            "waiting",
            Component::number("Waiting boxes", "value_json.waiting").with("unit_of_meas", "boxes"),
        ),
    ];
    let rest = rest.map(|(key, component)| (key.to_owned(), component));
    rest.into_iter().chain(Verdict::ALL.map(counted)).collect()
}

fn of_scans(topics: &Topics) -> Components {
    let verdicts: Vec<&str> = Verdict::ALL.into_iter().map(word).collect();
    let causes: Vec<&str> = Cause::ALL.into_iter().map(Cause::code).collect();
    let verdict = "{'unknown':'undecided'}.get(value_json.data.verdict, value_json.data.verdict)";
    let about = ["reason", "serial", "message", "action", "lane", "model"]
        .map(|field| format!("'{field}': value_json.data.{field}"));
    let event = |name: &str, kind: &str, topic: &str| {
        let data = format!("dict(value_json.data, event_type={kind}) | tojson");
        let value = format!("{{% if not value_json.data.replay %}}{{{{ {data} }}}}{{% endif %}}");
        Component::new("event", name, value).with("stat_t", topic)
    };
    let last = Component::new("sensor", "Last verdict", format!("{{{{ {verdict} }}}}"))
        .with("stat_t", topics.last.as_str())
        .with("dev_cla", "enum")
        .with("ops", verdicts.clone())
        .with("frc_upd", true)
        .attributes(&topics.last, &format!("{{{}}}", about.join(", ")));
    let when = Component::new("sensor", "Last scan", "{{ value_json.time }}")
        .with("stat_t", topics.last.as_str())
        .with("dev_cla", "timestamp");
    let scan = event("Scan", verdict, &topics.scan).with("evt_typ", verdicts);
    let change = event("Change", "value_json.data.cause", &topics.change).with("evt_typ", causes);
    [
        ("verdict", last),
        ("last_scan", when),
        ("scan", scan),
        ("change", change),
    ]
    .map(|(key, component)| (key.to_owned(), component))
    .into()
}

fn of_source(
    name: &Name,
    topics: &Topics,
    health: &Health,
    earlier: &BTreeMap<String, String>,
) -> Components {
    let source = format!("value_json.sources['{name}']");
    let told = health.sources.get(name);
    let about = [
        ("condition", "state"),
        ("since", "since"),
        ("as_of", "as_of"),
    ]
    .map(|(name, field)| format!("'{name}': {source}.{field}"));
    let failing = Component::binary(
        format!("Source {name}"),
        "problem",
        &format!("{source}.state != 'ok'"),
    )
    .attributes(&topics.health, &format!("{{{}}}", about.join(", ")));
    let mut all = Components::from([(format!("source_{name}"), failing)]);
    let quota = format!("quota_{name}");
    if earlier.contains_key(&quota) || told.is_some_and(|told| told.quota_left.is_some()) {
        let left = Component::number(
            format!("Quota left {name}"),
            &format!("{source}.quota_left"),
        );
        all.insert(quota, left.diagnostic());
    }
    let expiry = format!("expiry_{name}");
    if earlier.contains_key(&expiry) || told.is_some_and(|told| told.credential_expires.is_some()) {
        let at = format!("{{{{ {source}.credential_expires }}}}");
        let expires = Component::sensor(format!("Credential expiry {name}"), at);
        all.insert(expiry, expires.with("dev_cla", "timestamp").diagnostic());
    }
    if told.is_some_and(|told| told.replica.is_some()) {
        let minutes = "((as_timestamp(value_json.time) - as_timestamp(at)) / 60) | round(0) | int";
        let age =
            format!("{{% set at = {source}.replica.pass_at %}}{{{{ {minutes} if at else None }}}}");
        let component = Component::sensor(format!("Replica age {name}"), age)
            .with("dev_cla", "duration")
            .with("unit_of_meas", "min")
            .with("stat_cla", "measurement");
        all.insert(format!("replica_{name}"), component.diagnostic());
    }
    all
}

/// The verdict `unknown` has another word: Home Assistant takes that one for a sensor without a value.
const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown => "undecided",
        other => other.code(),
    }
}

/// A station's name as a person writes it: `bench-1` is "Bench 1".
fn title(station: &Name) -> String {
    let words = station.as_str().replace('-', " ");
    let mut letters = words.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}
