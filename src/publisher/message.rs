//! The wire format: records, health and meta as JSON, and the topics they go to. Pure: no clock, no I/O.
//!
//! A message is at most 8 KiB with its topic and properties. What would be longer is shortened in steps, the free texts first
//! (each ends in `…`), then the list of evidence; the message then says `"truncated": true`. The same record always gives the
//! same bytes, `replay` aside, so that a repeat can be recognised.
//!
//! What people read of a message (`message`, `action`, `model`, `family`, the reasons of health and of answers) is [`visible`]. What a program
//! compares stays as it was recorded: `serial`, `raw`, `evidence[].status`, ids, times and codes. (JSON itself escapes control characters.)

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::Settings;
use crate::{
    health::{Health, SourceHealth},
    readiness::evidence::{Evidence, Finding},
    reason::Reason,
    record::{Record, Recorded},
    runtime::{name::Name, visible},
};

/// The MQTT content type of `P/scan`, `P/change` and `P/last`.
pub const CLOUD_EVENT: &str = "application/cloudevents+json";
/// The MQTT content type of everything else that is JSON.
pub const JSON: &str = "application/json";

/// Bytes of a payload: 8 KiB, less what topic and properties may take.
pub const PAYLOAD_MAX: usize = 8 * 1024 - 512;

/// The text of `P/availability` while the station is there.
pub const ONLINE: &str = "online";
/// The text of `P/availability` after a clean stop, and of the will.
pub const OFFLINE: &str = "offline";

/// The topics of one station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// `P/availability`
    pub availability: String,
    /// `P/meta`
    pub meta: String,
    /// `P/health`
    pub health: String,
    /// `P/scan`
    pub scan: String,
    /// `P/change`
    pub change: String,
    /// `P/last`
    pub last: String,
    /// `P/cmd/backfill`
    pub backfill: String,
    /// `P/rsp/backfill`
    pub backfill_answer: String,
}

impl Topics {
    /// The topics under `<topic_prefix>/v1/<site>/<station>`.
    pub fn new(settings: &Settings) -> Self {
        let topic = |channel: &str| {
            format!(
                "{}/v1/{}/{}/{channel}",
                settings.topic_prefix, settings.site, settings.station
            )
        };
        Self {
            availability: topic("availability"),
            meta: topic("meta"),
            health: topic("health"),
            scan: topic("scan"),
            change: topic("change"),
            last: topic("last"),
            backfill: topic("cmd/backfill"),
            backfill_answer: topic("rsp/backfill"),
        }
    }

    /// Where a record goes.
    pub fn of(&self, record: &Record) -> &str {
        if record.change.is_some() {
            &self.change
        } else {
            &self.scan
        }
    }
}

/// Is a record sent for the first time while it is new, or again, or late?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Recorded since the link is up.
    Live,
    /// The backlog, a repeat or a backfill: `"replay": true`.
    Replay,
}

/// Who speaks, and how much is said.
#[derive(Clone, Debug)]
pub struct Speaker {
    source: String,
    publish_raw: bool,
}

impl Speaker {
    /// The station of `settings`.
    pub fn new(settings: &Settings) -> Self {
        Self {
            source: format!("/benchlight/{}/{}", settings.site, settings.station),
            publish_raw: settings.publish_raw,
        }
    }

    /// A record of the journal as a structured CloudEvent for `P/scan` or `P/change`.
    pub fn event(&self, recorded: &Recorded, lane: Lane) -> Vec<u8> {
        self.envelope(&recorded.record, Some((recorded.epoch, recorded.seq)), lane)
    }

    /// A record that could not be written to the journal: `epoch` and `seq` are null.
    pub fn unrecorded(&self, record: &Record) -> Vec<u8> {
        self.envelope(record, None, Lane::Live)
    }

    /// One element of `lookup --json`: a scan's `data` with `epoch` and `seq` null.
    pub fn lookup_data<'a>(&self, record: &'a Record) -> impl Serialize + 'a {
        Data::of(record, None, Lane::Live, self.publish_raw, Cut::NONE)
    }

    fn envelope(&self, record: &Record, place: Option<(Uuid, u64)>, lane: Lane) -> Vec<u8> {
        // What is cut is decided on the longer of the two forms ("replay":false), so that a repeat is cut in the same way.
        let fits =
            |cut: &Cut| self.serialised(record, place, Lane::Live, *cut).len() <= PAYLOAD_MAX;
        let cut = Cut::STEPS.iter().copied().find(fits).unwrap_or(Cut::MOST);
        self.serialised(record, place, lane, cut)
    }

    fn serialised(
        &self,
        record: &Record,
        place: Option<(Uuid, u64)>,
        lane: Lane,
        cut: Cut,
    ) -> Vec<u8> {
        json(&Event {
            specversion: "1.0",
            id: record.id,
            source: &self.source,
            kind: if record.change.is_some() {
                "io.benchlight.change.v1"
            } else {
                "io.benchlight.scan.v1"
            },
            time: milliseconds(record.at),
            subject: record.serial.as_ref().map(|serial| serial.as_str()),
            datacontenttype: JSON,
            data: Data::of(record, place, lane, self.publish_raw, cut),
        })
    }
}

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
    /// The lanes.
    pub lanes: Vec<Name>,
    /// Name, kind and lane of each scanner.
    pub scanners: Vec<(Name, &'static str, Name)>,
    /// Name and kind of each source, and whether it must agree.
    pub sources: Vec<(Name, &'static str, bool)>,
}

/// `P/meta`.
pub fn meta(meta: &Meta) -> Vec<u8> {
    let full = MetaMessage {
        schema: 1,
        version: &meta.version,
        site: meta.site.as_str(),
        station: meta.station.as_str(),
        epoch: meta.epoch,
        policy: &meta.policy,
        lanes: meta.lanes.iter().map(Name::as_str).collect(),
        scanners: meta
            .scanners
            .iter()
            .map(|(name, kind, lane)| MetaScanner {
                name: name.as_str(),
                kind,
                lane: lane.as_str(),
            })
            .collect(),
        sources: meta
            .sources
            .iter()
            .map(|(name, kind, required)| MetaSource {
                name: name.as_str(),
                kind,
                required: *required,
            })
            .collect(),
        truncated: false,
    };
    let bytes = json(&full);
    if bytes.len() <= PAYLOAD_MAX {
        return bytes;
    }
    // More than a hundred lanes, scanners and sources together: say what cannot be long, and that there is more.
    json(&MetaMessage {
        lanes: Vec::new(),
        scanners: Vec::new(),
        sources: Vec::new(),
        truncated: true,
        ..full
    })
}

/// `P/health` at the time `at`; `refused_topic` is a topic that the broker does not let the station write.
pub fn health(
    health: &Health,
    refused_topic: Option<&str>,
    version: &str,
    at: Timestamp,
) -> Vec<u8> {
    // (rows of the set-aside list, parts by name)
    let steps = [(usize::MAX, true), (32, true), (8, true), (8, false)];
    let mut bytes = Vec::new();
    for (listed, parts) in steps {
        bytes = json(&health_message(
            health,
            refused_topic,
            version,
            at,
            listed,
            parts,
        ));
        if bytes.len() <= PAYLOAD_MAX {
            break;
        }
    }
    bytes
}

fn health_message<'a>(
    health: &'a Health,
    refused_topic: Option<&'a str>,
    version: &'a str,
    at: Timestamp,
    listed: usize,
    parts: bool,
) -> HealthMessage<'a> {
    let journal = &health.journal;
    HealthMessage {
        time: milliseconds(at),
        able: health.unable.is_none(),
        reason: health.unable.map(|unable| unable.code()),
        alarms: &health.alarms,
        scanners: health
            .scanners
            .iter()
            .filter(|_| parts)
            .map(|(name, scanner)| {
                (
                    name.as_str(),
                    HealthScanner {
                        state: scanner.state.code(),
                        proven: scanner.proven,
                        unended: scanner.unended,
                    },
                )
            })
            .collect(),
        lamps: health
            .lamps
            .iter()
            .filter(|_| parts)
            .map(|(name, state)| (name.as_str(), state.code()))
            .collect(),
        sources: health
            .sources
            .iter()
            .filter(|_| parts)
            .map(|(name, source)| (name.as_str(), HealthSource::of(source)))
            .collect(),
        broker: HealthBroker {
            state: health.broker.code(),
            nobody_listens: health.nobody_listens,
            refused_topic,
        },
        journal: HealthJournal {
            state: journal.state.code(),
            epoch: journal.epoch,
            seq: journal.seq,
            unsent: journal.unsent,
            set_aside: journal
                .set_aside
                .iter()
                .take(listed)
                .map(|(seq, why)| SetAside {
                    seq: *seq,
                    why: shortened(&visible::text(why), 64),
                })
                .collect(),
            set_aside_more: journal.set_aside.len().saturating_sub(listed),
            dropped: journal.dropped,
            interrupted: journal.interrupted,
            faulted: journal.faulted,
            faulted_dropped: health.unheard_faults,
            salvaged: journal.salvaged.then_some(journal.salvaged_rows),
            lost: journal.salvaged.then_some(journal.lost_rows),
        },
        clock: clock(health.clock_synced),
        waiting: health.waiting,
        log_dropped: health.log_dropped,
        results_dropped: health.results_dropped,
        version,
        truncated: !parts,
    }
}

/// How a backfill went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillDone {
    /// The epoch asked for.
    pub epoch: Uuid,
    /// First `seq` asked for.
    pub from: u64,
    /// Last `seq` asked for.
    pub to: u64,
    /// Records that the broker took.
    pub sent: u64,
    /// Records of that range that the journal holds no longer.
    pub gone: u64,
    /// Records that the broker would not take.
    pub failed: u64,
}

/// The answer to a backfill command that was carried out.
pub fn backfill_done(done: &BackfillDone) -> Vec<u8> {
    json(&BackfillAnswer {
        epoch: done.epoch,
        from: done.from,
        to: done.to,
        sent: done.sent,
        gone: done.gone,
        failed: done.failed,
    })
}

/// The answer to a command that cannot be carried out; `why` names the remedy.
pub fn refusal(why: &str) -> Vec<u8> {
    json(&Refusal {
        error: &shortened(&visible::text(why), 512),
    })
}

/// One step of shortening a record.
#[derive(Clone, Copy, Debug)]
struct Cut {
    text: usize,
    evidence: usize,
}

impl Cut {
    const NONE: Self = Self {
        text: usize::MAX,
        evidence: usize::MAX,
    };
    const MOST: Self = Self {
        text: 40,
        evidence: 4,
    };
    const STEPS: [Self; 5] = [
        Self::NONE,
        Self {
            text: 600,
            evidence: usize::MAX,
        },
        Self {
            text: 160,
            evidence: usize::MAX,
        },
        Self {
            text: 80,
            evidence: 12,
        },
        Self::MOST,
    ];

    fn shortens(self, text: Option<&str>) -> bool {
        text.is_some_and(|text| text.chars().count() > self.text)
    }
}

#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: Uuid,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    epoch: Option<Uuid>,
    seq: Option<u64>,
    replay: bool,
    clock: &'static str,
    lane: &'a str,
    scanner: &'a str,
    serial: Option<&'a str>,
    verdict: &'static str,
    reason: &'static str,
    message: String,
    action: String,
    grade: Option<&'static str>,
    model: Option<String>,
    family: Option<String>,
    assigned_at: Option<String>,
    took_ms: u64,
    lamp: &'static str,
    previous: Option<Uuid>,
    group: Option<Uuid>,
    policy: String,
    raw: Option<String>,
    #[serde(flatten)]
    change: Option<ChangeData>,
    evidence: Vec<EvidenceData<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

impl<'a> Data<'a> {
    fn of(
        record: &'a Record,
        place: Option<(Uuid, u64)>,
        lane: Lane,
        publish_raw: bool,
        cut: Cut,
    ) -> Self {
        let raw = record.raw.as_deref().filter(|_| publish_raw);
        let [message, action] = [&record.message, &record.action].map(|text| visible::text(text));
        let [model, family] =
            [&record.model, &record.family].map(|text| text.as_deref().map(visible::text));
        let record_texts = [
            Some(message.as_str()),
            Some(&action),
            model.as_deref(),
            family.as_deref(),
            raw,
        ];
        let truncated = record.evidence.len() > cut.evidence
            || record_texts
                .into_iter()
                .chain(
                    record
                        .evidence
                        .iter()
                        .map(|evidence| evidence.status.as_deref()),
                )
                .any(|text| cut.shortens(text));
        let text = |text: &str| shortened(text, cut.text);
        Self {
            epoch: place.map(|(epoch, _)| epoch),
            seq: place.map(|(_, seq)| seq),
            replay: lane == Lane::Replay,
            clock: clock(record.clock_synced),
            lane: record.lane.as_str(),
            scanner: record.scanner.as_str(),
            serial: record.serial.as_ref().map(|serial| serial.as_str()),
            verdict: record.reason.verdict().code(),
            reason: record.reason.code(),
            message: text(&message),
            action: text(&action),
            grade: record.grade.map(|grade| grade.code()),
            model: model.as_deref().map(text),
            family: family.as_deref().map(text),
            assigned_at: record.assigned_at.map(as_known),
            took_ms: record.took_ms,
            lamp: record.lamp.code(),
            previous: record.previous,
            group: record.group,
            policy: shortened(&record.policy, 64),
            raw: raw.map(text),
            change: record.change.as_ref().map(|change| ChangeData {
                scan: change.scan,
                cause: change.cause.code(),
                previous_verdict: change.previous_reason.verdict().code(),
                previous_reason: change.previous_reason.code(),
            }),
            evidence: record
                .evidence
                .iter()
                .take(cut.evidence)
                .map(|evidence| EvidenceData::of(evidence, cut))
                .collect(),
            truncated,
        }
    }
}

#[derive(Serialize)]
struct ChangeData {
    scan: Uuid,
    cause: &'static str,
    previous_verdict: &'static str,
    previous_reason: &'static str,
}

#[derive(Serialize)]
struct EvidenceData<'a> {
    source: &'a str,
    kind: &'static str,
    says: &'static str,
    reason: Option<&'static str>,
    status: Option<String>,
    assigned_at: Option<String>,
    as_of: Option<String>,
    took_ms: u64,
}

impl<'a> EvidenceData<'a> {
    fn of(evidence: &'a Evidence, cut: Cut) -> Self {
        let reason = match evidence.finding {
            Finding::Ready(_) if evidence.returned => Some(Reason::ReturnedStock),
            finding => finding.reason(),
        };
        Self {
            source: evidence.source.as_str(),
            kind: evidence.kind.code(),
            says: evidence.finding.says(),
            reason: reason.map(Reason::code),
            status: evidence
                .status
                .as_deref()
                .map(|status| shortened(status, cut.text)),
            assigned_at: evidence.assigned_at.map(as_known),
            as_of: evidence.as_of.map(as_known),
            took_ms: u64::try_from(evidence.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[derive(Serialize)]
struct MetaMessage<'a> {
    schema: u32,
    version: &'a str,
    site: &'a str,
    station: &'a str,
    epoch: Uuid,
    policy: &'a str,
    lanes: Vec<&'a str>,
    scanners: Vec<MetaScanner<'a>>,
    sources: Vec<MetaSource<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

#[derive(Serialize)]
struct MetaScanner<'a> {
    name: &'a str,
    kind: &'static str,
    lane: &'a str,
}

#[derive(Serialize)]
struct MetaSource<'a> {
    name: &'a str,
    kind: &'static str,
    required: bool,
}

#[derive(Serialize)]
struct HealthMessage<'a> {
    time: String,
    able: bool,
    reason: Option<&'static str>,
    alarms: &'a [&'static str],
    scanners: BTreeMap<&'a str, HealthScanner<'a>>,
    lamps: BTreeMap<&'a str, &'a str>,
    sources: BTreeMap<&'a str, HealthSource>,
    broker: HealthBroker<'a>,
    journal: HealthJournal<'a>,
    clock: &'static str,
    waiting: usize,
    log_dropped: u64,
    results_dropped: u64,
    version: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

#[derive(Serialize)]
struct HealthScanner<'a> {
    state: &'a str,
    proven: bool,
    /// Its codes arrive without an end key.
    #[serde(skip_serializing_if = "is_false")]
    unended: bool,
}

#[derive(Serialize)]
struct HealthSource {
    state: &'static str,
    since: Option<String>,
    as_of: Option<String>,
    credential_days: Option<i64>,
    quota_left: Option<u64>,
    quota_limit: Option<u64>,
}

impl HealthSource {
    fn of(source: &SourceHealth) -> Self {
        Self {
            state: source.failing.map_or("ok", Reason::code),
            since: source.since.map(milliseconds),
            as_of: source.as_of.map(as_known),
            credential_days: source.credential_days,
            quota_left: source.quota_left,
            quota_limit: source.quota_limit,
        }
    }
}

#[derive(Serialize)]
struct HealthBroker<'a> {
    state: &'a str,
    nobody_listens: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_topic: Option<&'a str>,
}

#[derive(Serialize)]
struct HealthJournal<'a> {
    state: &'a str,
    epoch: Uuid,
    seq: u64,
    unsent: u64,
    set_aside: Vec<SetAside>,
    #[serde(skip_serializing_if = "is_zero")]
    set_aside_more: usize,
    dropped: u64,
    interrupted: u64,
    faulted: u64,
    /// Of these, how many made room before they could be sent.
    #[serde(skip_serializing_if = "is_zero_u64")]
    faulted_dropped: u64,
    /// Records that came over from a journal that could not be used, and those known to be lost with it; null: nobody can say how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    salvaged: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Option<u64>>,
}

#[derive(Serialize)]
struct SetAside {
    seq: u64,
    why: String,
}

#[derive(Serialize)]
struct BackfillAnswer {
    epoch: Uuid,
    from: u64,
    to: u64,
    sent: u64,
    gone: u64,
    #[serde(skip_serializing_if = "is_zero_u64")]
    failed: u64,
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(value: &usize) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero_u64(value: &u64) -> bool {
    *value == 0
}

const fn clock(synced: bool) -> &'static str {
    if synced { "synced" } else { "unsynced" }
}

/// The station's own times: always with milliseconds.
fn milliseconds(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A service's times: as precise as the service was, at most milliseconds.
fn as_known(at: Timestamp) -> String {
    if at.subsec_nanosecond() == 0 {
        format!("{at:.0}")
    } else {
        format!("{at:.3}")
    }
}

/// At most `limit` characters, the last of them `…` when something is missing.
fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars()
        .take(limit.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// These types have string keys and finite numbers only, so serialising cannot fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
