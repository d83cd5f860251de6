//! How a record lies in its row: the columns, the JSON of the evidence, and the way back.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{CachedStatement, Row, named_params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schema;
use crate::{
    label::Serial,
    readiness::evidence::{Evidence, Finding, Grade, SourceKind},
    reason::{Reason, Signal},
    record::{Cause, Change, Record, Recorded},
    runtime::name::Name,
};

/// The columns in the order that [`stored`] reads them.
pub(super) const COLUMNS: &str = "row, epoch, id, raw_scan, scan, cause, previous_reason, at, clock_synced, lane, scanner, serial, asked, raw, \
    reason, message, action, grade, model, family, assigned_at, took_ms, lamp, previous, grouped, policy, evidence, delivered_at, aside";

/// Writes one record into its row.
pub(super) const INSERT: &str = "INSERT INTO record (row, epoch, id, raw_scan, scan, cause, previous_reason, at, clock_synced, lane, scanner, serial, \
    asked, raw, reason, message, action, grade, model, family, assigned_at, took_ms, lamp, previous, grouped, policy, evidence, delivered_at, aside) \
    VALUES (:row, :epoch, :id, :raw_scan, :scan, :cause, :previous_reason, :at, :clock_synced, :lane, :scanner, :serial, :asked, :raw, :reason, \
    :message, :action, :grade, :model, :family, :assigned_at, :took_ms, :lamp, :previous, :grouped, :policy, :evidence, :delivered_at, :aside)";

/// A record as the journal holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its number, which gives the order of delivery over all epochs: what `delivered` and `set_aside` take, and where `unsent` goes on.
    pub row: u64,
    /// The record with its epoch and seq.
    pub recorded: Recorded,
    /// When the broker acknowledged it, by this machine's clock.
    pub delivered_at: Option<Timestamp>,
    /// Why it is not offered to the broker for now.
    pub set_aside: Option<String>,
}

/// A row that holds no record that this build can read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// SQLite could not deliver it.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A column holds what it never should.
    #[error("row {row} of the journal holds an unknown {column}")]
    Column {
        /// The row's key.
        row: i64,
        /// The column.
        column: &'static str,
    },
}

/// Nanoseconds since 1970. Our own clock only, so the 292 years to each side are enough.
pub(super) fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at.as_nanosecond() < 0 {
        i64::MIN
    } else {
        i64::MAX
    })
}

/// The way back; every `i64` is within a timestamp's range.
pub(super) fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Writes `stored` with a prepared [`INSERT`].
pub(super) fn insert(statement: &mut CachedStatement<'_>, stored: &Stored) -> rusqlite::Result<()> {
    let Recorded { epoch, record, .. } = &stored.recorded;
    let asked: Vec<&str> = record.asked.iter().map(Serial::as_str).collect();
    let change = record.change.as_ref();
    statement.execute(named_params! {
        ":row": stored.row.cast_signed(),
        ":epoch": epoch.as_bytes(),
        ":id": record.id.as_bytes(),
        ":raw_scan": record.raw_scan.as_ref().map(Uuid::as_bytes),
        ":scan": change.map(|change| change.scan.as_bytes()),
        ":cause": change.map(|change| change.cause.code()),
        ":previous_reason": change.map(|change| change.previous_reason.code()),
        ":at": nanos(record.at),
        ":clock_synced": record.clock_synced,
        ":lane": record.lane.as_str(),
        ":scanner": record.scanner.as_str(),
        ":serial": record.serial.as_ref().map(Serial::as_str),
        ":asked": asked.join(" "),
        ":raw": record.raw,
        ":reason": record.reason.code(),
        ":message": record.message,
        ":action": record.action,
        ":grade": record.grade.map(Grade::code),
        ":model": record.model,
        ":family": record.family,
        ":assigned_at": record.assigned_at.map(|at| at.to_string()),
        ":took_ms": i64::try_from(record.took_ms).unwrap_or(i64::MAX),
        ":lamp": record.lamp.code(),
        ":previous": record.previous.as_ref().map(Uuid::as_bytes),
        ":grouped": record.group.as_ref().map(Uuid::as_bytes),
        ":policy": record.policy,
        ":evidence": evidence_text(&record.evidence),
        ":delivered_at": stored.delivered_at.map(nanos),
        ":aside": stored.set_aside,
    })?;
    Ok(())
}

/// Reads a row that was selected with [`COLUMNS`].
pub(super) fn stored(row: &Row<'_>) -> Result<Stored, Unreadable> {
    let key: i64 = row.get(0)?;
    let unknown = |column: &'static str| Unreadable::Column { row: key, column };
    let serial = row
        .get::<_, Option<String>>(11)?
        .map(|text| Serial::new(&text).ok_or(unknown("serial")))
        .transpose()?;
    let asked = row
        .get::<_, String>(12)?
        .split_ascii_whitespace()
        .map(|text| Serial::new(text).ok_or(unknown("asked")))
        .collect::<Result<_, _>>()?;
    let record = Record {
        id: uuid(row, 2)?.ok_or(unknown("id"))?,
        raw_scan: uuid(row, 3)?,
        change: change(row, key)?,
        at: time(row.get(7)?),
        clock_synced: row.get(8)?,
        lane: Name::new(&row.get::<_, String>(9)?).map_err(|_| unknown("lane"))?,
        scanner: Name::new(&row.get::<_, String>(10)?).map_err(|_| unknown("scanner"))?,
        serial,
        asked,
        raw: row.get(13)?,
        reason: Reason::from_code(&row.get::<_, String>(14)?).ok_or(unknown("reason"))?,
        message: row.get(15)?,
        action: row.get(16)?,
        grade: row
            .get::<_, Option<String>>(17)?
            .map(|code| Grade::from_code(&code).ok_or(unknown("grade")))
            .transpose()?,
        model: row.get(18)?,
        family: row.get(19)?,
        assigned_at: row
            .get::<_, Option<String>>(20)?
            .map(|text| text.parse().map_err(|_| unknown("assigned_at")))
            .transpose()?,
        took_ms: u64::try_from(row.get::<_, i64>(21)?).map_err(|_| unknown("took_ms"))?,
        lamp: Signal::from_code(&row.get::<_, String>(22)?).ok_or(unknown("lamp"))?,
        previous: uuid(row, 23)?,
        group: uuid(row, 24)?,
        policy: row.get(25)?,
        evidence: evidence_of(&row.get::<_, String>(26)?).ok_or(unknown("evidence"))?,
    };
    Ok(Stored {
        row: key.cast_unsigned(),
        recorded: Recorded::committed(
            uuid(row, 1)?.ok_or(unknown("epoch"))?,
            schema::seq_of(key),
            record,
        ),
        delivered_at: row.get::<_, Option<i64>>(27)?.map(time),
        set_aside: row.get(28)?,
    })
}

/// The change that the row `key` is, unless it is a scan's first record.
fn change(row: &Row<'_>, key: i64) -> Result<Option<Change>, Unreadable> {
    let unknown = |column: &'static str| Unreadable::Column { row: key, column };
    let cause: Option<String> = row.get(5)?;
    match (uuid(row, 4)?, cause, row.get::<_, Option<String>>(6)?) {
        (None, None, None) => Ok(None),
        (Some(scan), Some(cause), Some(previous)) => Ok(Some(Change {
            scan,
            cause: Cause::from_code(&cause).ok_or(unknown("cause"))?,
            previous_reason: Reason::from_code(&previous).ok_or(unknown("previous_reason"))?,
        })),
        _ => Err(unknown("change")),
    }
}

/// A UUID column.
pub(super) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Uuid>> {
    Ok(row
        .get::<_, Option<[u8; 16]>>(column)?
        .map(Uuid::from_bytes))
}

/// One piece of evidence in the column `evidence`. Keys are never reused; a key that a later build adds is optional.
#[derive(Serialize, Deserialize)]
struct EvidenceJson {
    source: String,
    kind: String,
    serial: String,
    says: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grade: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    returned: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    known: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assigned_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_assigned_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_uuid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replied_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_at: Option<String>,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    row_age: Option<u64>,
    /// Whole seconds and nanoseconds.
    took: (u64, u32),
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn is_false(value: &bool) -> bool {
    !value
}

impl EvidenceJson {
    fn of(evidence: &Evidence) -> Self {
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let (reason, grade) = match evidence.finding {
            Finding::Ready(grade) => (None, Some(grade.code().to_owned())),
            Finding::NoObjection => (None, None),
            Finding::Wait(reason) | Finding::No(reason) | Finding::Unknown(reason) => {
                (Some(reason.code().to_owned()), None)
            }
        };
        Self {
            source: evidence.source.to_string(),
            kind: evidence.kind.code().to_owned(),
            serial: evidence.serial.to_string(),
            says: evidence.finding.says().to_owned(),
            reason,
            grade,
            returned: evidence.returned,
            known: evidence.known,
            status: evidence.status.clone(),
            assigned_at: text(evidence.assigned_at),
            device_assigned_at: text(evidence.device_assigned_at),
            as_of: text(evidence.as_of),
            updated_at: text(evidence.updated_at),
            server_uuid: evidence.server_uuid.clone(),
            replied_at: text(evidence.replied_at),
            model: evidence.model.clone(),
            family: evidence.family.clone(),
            detail: evidence.detail.clone(),
            used_at: text(evidence.used_at),
            row_age: evidence
                .row_age
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            took: (evidence.took.as_secs(), evidence.took.subsec_nanos()),
        }
    }

    fn evidence(self) -> Option<Evidence> {
        let reason = self.reason.as_deref().map(Reason::from_code);
        let finding = match (self.says.as_str(), reason) {
            ("ready", None) => Finding::Ready(Grade::from_code(self.grade.as_deref()?)?),
            ("no_objection", None) => Finding::NoObjection,
            ("wait", Some(reason)) => Finding::Wait(reason?),
            ("no", Some(reason)) => Finding::No(reason?),
            ("unknown", Some(reason)) => Finding::Unknown(reason?),
            _ => return None,
        };
        let time =
            |text: Option<String>| text.map(|text| text.parse::<Timestamp>()).transpose().ok();
        Some(Evidence {
            source: Name::new(&self.source).ok()?,
            kind: SourceKind::from_code(&self.kind)?,
            serial: Serial::new(&self.serial)?,
            finding,
            returned: self.returned,
            known: self.known,
            status: self.status,
            assigned_at: time(self.assigned_at)?,
            device_assigned_at: time(self.device_assigned_at)?,
            as_of: time(self.as_of)?,
            updated_at: time(self.updated_at)?,
            server_uuid: self.server_uuid,
            replied_at: time(self.replied_at)?,
            model: self.model,
            family: self.family,
            detail: self.detail,
            used_at: time(self.used_at)?,
            heard: false,
            row_age: self.row_age.map(Duration::from_millis),
            took: Duration::new(self.took.0, self.took.1.min(999_999_999)),
        })
    }
}

fn evidence_text(evidence: &[Evidence]) -> String {
    let json: Vec<EvidenceJson> = evidence.iter().map(EvidenceJson::of).collect();
    // Texts, numbers and flags only: this cannot fail.
    serde_json::to_string(&json).unwrap_or_else(|_| "[]".to_owned())
}

/// Does the column `evidence` say that a source knows the serial number?
pub(super) fn is_known(text: &str) -> bool {
    evidence_of(text).is_some_and(|all| all.iter().any(|evidence| evidence.known))
}

fn evidence_of(text: &str) -> Option<Vec<Evidence>> {
    let json: Vec<EvidenceJson> = serde_json::from_str(text).ok()?;
    json.into_iter().map(EvidenceJson::evidence).collect()
}
