//! `P/health`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{PAYLOAD_MAX, as_known, clock, is_false, is_zero, json, milliseconds, shortened};
use crate::{
    health::{ByVerdict, Health, JournalHealth, ReplicaHealth, ScannerHealth, SourceHealth},
    reason::Reason,
    runtime::visible,
};

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
    let scanners = health.scanners.iter().filter(|_| parts);
    let lamps = health.lamps.iter().filter(|_| parts);
    let sources = health.sources.iter().filter(|_| parts);
    HealthMessage {
        time: milliseconds(at),
        able: health.unable.is_none(),
        reason: health.unable.map(|unable| unable.code()),
        alarms: &health.alarms,
        scanners: scanners
            .map(|(name, scanner)| (name.as_str(), HealthScanner::of(scanner)))
            .collect(),
        lamps: lamps
            .map(|(name, state)| (name.as_str(), state.code()))
            .collect(),
        sources: sources
            .map(|(name, source)| (name.as_str(), HealthSource::of(source)))
            .collect(),
        broker: HealthBroker {
            state: health.broker.code(),
            nobody_listens: health.nobody_listens,
            refused_topic,
        },
        journal: HealthJournal::of(&health.journal, health.unheard_faults, listed),
        web: health.web.map(|web| HealthWeb { state: web.code() }),
        clock: clock(health.clock_synced),
        waiting: health.waiting,
        today: health.today.as_ref().map(today),
        problems: health.troubles(refused_topic.is_some()).len(),
        log_dropped: health.log_dropped,
        results_dropped: health.results_dropped,
        version,
        truncated: !parts,
    }
}

#[derive(Serialize)]
struct HealthMessage<'a> {
    time: String,
    able: bool,
    reason: Option<&'static str>,
    alarms: &'a [&'static str],
    scanners: BTreeMap<&'a str, HealthScanner>,
    lamps: BTreeMap<&'a str, &'static str>,
    sources: BTreeMap<&'a str, HealthSource>,
    broker: HealthBroker<'a>,
    journal: HealthJournal,
    #[serde(skip_serializing_if = "Option::is_none")]
    web: Option<HealthWeb>,
    clock: &'static str,
    waiting: usize,
    today: Option<BTreeMap<&'static str, u64>>,
    problems: usize,
    log_dropped: u64,
    results_dropped: u64,
    version: &'a str,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

fn today(boxes: &ByVerdict) -> BTreeMap<&'static str, u64> {
    let counts = boxes.iter();
    counts
        .map(|(verdict, many)| (verdict.code(), many))
        .collect()
}

#[derive(Serialize)]
struct HealthScanner {
    state: &'static str,
    proven: bool,
    /// Its codes arrive without an end key.
    #[serde(skip_serializing_if = "is_false")]
    unended: bool,
}

impl HealthScanner {
    fn of(scanner: &ScannerHealth) -> Self {
        Self {
            state: scanner.state.code(),
            proven: scanner.proven,
            unended: scanner.unended,
        }
    }
}

#[derive(Serialize)]
struct HealthSource {
    state: &'static str,
    since: Option<String>,
    as_of: Option<String>,
    credential_days: Option<i64>,
    credential_expires: Option<String>,
    quota_left: Option<u64>,
    quota_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<HealthReplica>,
}

#[derive(Serialize)]
struct HealthReplica {
    state: &'static str,
    rows: u64,
    pass_at: Option<String>,
    fault: Option<&'static str>,
}

impl HealthReplica {
    fn of(replica: &ReplicaHealth) -> Self {
        Self {
            state: replica.state.code(),
            rows: replica.rows,
            pass_at: replica.pass_at.map(as_known),
            fault: replica.fault.map(Reason::code),
        }
    }
}

impl HealthSource {
    fn of(source: &SourceHealth) -> Self {
        Self {
            state: source.failing.map_or("ok", Reason::code),
            since: source.since.map(milliseconds),
            as_of: source.as_of.map(as_known),
            credential_days: source.credential_days,
            credential_expires: source.credential_expires.map(as_known),
            quota_left: source.quota_left,
            quota_limit: source.quota_limit,
            replica: source.replica.as_ref().map(HealthReplica::of),
        }
    }
}

#[derive(Serialize)]
struct HealthBroker<'a> {
    state: &'static str,
    nobody_listens: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_topic: Option<&'a str>,
}

#[derive(Serialize)]
struct HealthWeb {
    state: &'static str,
}

#[derive(Serialize)]
struct HealthJournal {
    state: &'static str,
    epoch: Uuid,
    seq: u64,
    unsent: u64,
    set_aside: Vec<SetAside>,
    #[serde(skip_serializing_if = "is_zero")]
    set_aside_more: u64,
    dropped: u64,
    interrupted: u64,
    faulted: u64,
    /// Of these, how many made room before they could be sent.
    #[serde(skip_serializing_if = "is_zero")]
    faulted_dropped: u64,
    /// Records that came over from a journal that could not be used, and those known to be lost with it; null: nobody can say how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    salvaged: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<Option<u64>>,
}

impl HealthJournal {
    /// With so many of the rows set aside.
    fn of(journal: &JournalHealth, faulted_dropped: u64, listed: usize) -> Self {
        let set_aside = journal.set_aside.iter().take(listed);
        Self {
            state: journal.state.code(),
            epoch: journal.epoch,
            seq: journal.seq,
            unsent: journal.unsent,
            set_aside: set_aside
                .map(|(seq, why)| SetAside {
                    seq: *seq,
                    why: shortened(&visible::text(why), 64),
                })
                .collect(),
            set_aside_more: journal.set_aside.len().saturating_sub(listed) as u64,
            dropped: journal.dropped,
            interrupted: journal.interrupted,
            faulted: journal.faulted,
            faulted_dropped,
            salvaged: journal.salvaged.then_some(journal.salvaged_rows),
            lost: journal.salvaged.then_some(journal.lost_rows),
        }
    }
}

#[derive(Serialize)]
struct SetAside {
    seq: u64,
    why: String,
}
