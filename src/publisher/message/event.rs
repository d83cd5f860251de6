//! A scan or a change as a structured CloudEvent.

use serde::Serialize;
use uuid::Uuid;

use super::{
    JSON, PAYLOAD_MAX, Queue, Settings, Topics, as_known, clock, is_false, json, milliseconds,
    shortened,
};
use crate::{
    readiness::evidence::{Evidence, Finding},
    reason::Reason,
    record::{Change, Record, Recorded},
    runtime::visible,
};

/// Who speaks, and how much is said.
#[derive(Clone, Debug)]
pub struct Speaker {
    topics: Topics,
    source: String,
    publish_raw: bool,
}

impl Speaker {
    /// The station of `settings`.
    pub fn new(settings: &Settings) -> Self {
        Self {
            topics: Topics::new(settings),
            source: format!("/benchlight/{}/{}", settings.site, settings.station),
            publish_raw: settings.publish_raw,
        }
    }

    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// A record of the journal as a structured CloudEvent for `P/scan` or `P/change`.
    pub fn event(&self, recorded: &Recorded, queue: Queue) -> Vec<u8> {
        self.envelope(
            &recorded.record,
            Some((recorded.epoch, recorded.seq)),
            queue,
        )
    }

    /// A record that could not be written to the journal: `epoch` and `seq` are null.
    pub fn unrecorded(&self, record: &Record) -> Vec<u8> {
        self.envelope(record, None, Queue::Live)
    }

    /// One element of `lookup --json`: a scan's `data` with `epoch` and `seq` null, and the rows of replicas beside it.
    pub fn lookup_data<'a>(
        &self,
        record: &'a Record,
        rows: &[&'a Evidence],
    ) -> impl Serialize + use<'a> {
        let row = |evidence: &&'a Evidence| EvidenceData {
            from: Some("replica"),
            ..EvidenceData::of(evidence, Cut::NONE)
        };
        LookupData {
            data: Data::of(record, None, Queue::Live, self.publish_raw, Cut::NONE),
            rows: rows.iter().map(row).collect(),
        }
    }

    fn envelope(&self, record: &Record, position: Option<(Uuid, u64)>, queue: Queue) -> Vec<u8> {
        // What is cut is decided on the longer of the two forms ("replay":false), so that a repeat is cut in the same way.
        let fits =
            |cut: &Cut| self.serialised(record, position, Queue::Live, *cut).len() <= PAYLOAD_MAX;
        let cut = Cut::STEPS.iter().copied().find(fits).unwrap_or(Cut::MOST);
        self.serialised(record, position, queue, cut)
    }

    fn serialised(
        &self,
        record: &Record,
        position: Option<(Uuid, u64)>,
        queue: Queue,
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
            data: Data::of(record, position, queue, self.publish_raw, cut),
        })
    }
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

    fn shortens_evidence(self, evidence: &[Evidence]) -> bool {
        let mut statuses = evidence.iter().map(|evidence| evidence.status.as_deref());
        evidence.len() > self.evidence || statuses.any(|status| self.shortens(status))
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
        position: Option<(Uuid, u64)>,
        queue: Queue,
        publish_raw: bool,
        cut: Cut,
    ) -> Self {
        let raw = record.raw.as_deref().filter(|_| publish_raw);
        let [message, action] = [&record.message, &record.action].map(|text| visible::text(text));
        let [model, family] =
            [&record.model, &record.family].map(|text| text.as_deref().map(visible::text));
        let texts = [
            Some(message.as_str()),
            Some(&action),
            model.as_deref(),
            family.as_deref(),
            raw,
        ];
        let truncated = cut.shortens_evidence(&record.evidence)
            || texts.into_iter().any(|text| cut.shortens(text));
        let text = |text: &str| shortened(text, cut.text);
        Self {
            epoch: position.map(|(epoch, _)| epoch),
            seq: position.map(|(_, seq)| seq),
            replay: queue == Queue::Backlog,
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
            change: record.change.as_ref().map(ChangeData::of),
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
struct LookupData<'a> {
    #[serde(flatten)]
    data: Data<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<EvidenceData<'a>>,
}

#[derive(Serialize)]
struct ChangeData {
    scan: Uuid,
    cause: &'static str,
    previous_verdict: &'static str,
    previous_reason: &'static str,
}

impl ChangeData {
    fn of(change: &Change) -> Self {
        Self {
            scan: change.scan,
            cause: change.cause.code(),
            previous_verdict: change.previous_reason.verdict().code(),
            previous_reason: change.previous_reason.code(),
        }
    }
}

/// What sources said, as `evidence` of `P/scan`.
pub fn evidence(evidence: &[Evidence]) -> impl Serialize {
    let whole = |one| EvidenceData::of(one, Cut::NONE);
    evidence.iter().map(whole).collect::<Vec<_>>()
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
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<u64>,
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
            from: evidence.row_age.map(|_| "replica"),
            age_s: evidence.row_age.map(|age| age.as_secs()),
        }
    }
}
