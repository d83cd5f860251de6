//! What the page is sent, as JSON. Every field is described in `docs/display.md`. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    health::ByVerdict,
    journal::reader::Day,
    reason::{Reason, Signal},
    record::Record,
    runtime::{
        clock::{Boot, Moment},
        visible,
    },
};

/// A scanned text is shown up to here.
const SCANNED: usize = 100;

/// One answer to a scan, or one change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Answer {
    pub(super) id: Uuid,
    pub(super) scan: Option<Uuid>,
    pub(super) cause: Option<&'static str>,
    lane: String,
    scanner: String,
    serial: Option<String>,
    raw: Option<String>,
    verdict: &'static str,
    reason: &'static str,
    message: String,
    detail: Option<String>,
    action: String,
    model: Option<String>,
    signal: &'static str,
    at: String,
    pub(super) at_ms: Option<i64>,
    took_ms: u64,
    age_s: Option<u64>,
    previous_verdict: Option<&'static str>,
    previous_reason: Option<&'static str>,
    pub(super) group: Option<Uuid>,
    #[serde(skip)]
    pub(super) badness_rank: u8,
}

impl Answer {
    /// One that the station has just given.
    pub(super) fn live(record: &Record, now: Boot) -> Self {
        let took = if record.change.is_none() {
            record.took_ms
        } else {
            0
        };
        let at = signed(now.as_millis().saturating_sub(took));
        Self::of(record, Some(at))
    }

    /// One of the journal.
    pub(super) fn kept(record: &Record, now: Moment) -> Self {
        Self::of(record, boot_ms(record, now))
    }

    fn of(record: &Record, at_ms: Option<i64>) -> Self {
        let change = record.change.as_ref();
        let age = record.evidence.iter().filter_map(|one| one.row_age).max();
        Self {
            id: record.id,
            scan: change.map(|change| change.scan),
            cause: change.map(|change| change.cause.code()),
            lane: record.lane.as_str().to_owned(),
            scanner: record.scanner.as_str().to_owned(),
            serial: record
                .serial
                .as_ref()
                .map(|serial| serial.as_str().to_owned()),
            raw: record.raw.as_deref().map(scanned_text),
            verdict: record.reason.verdict().code(),
            reason: record.reason.code(),
            message: visible::text(&record.message),
            detail: detail(record.reason, &record.message),
            action: visible::text(&record.action),
            model: record.model.as_deref().map(visible::text),
            signal: shown_as(record).code(),
            at: time(record.at),
            at_ms,
            took_ms: record.took_ms,
            age_s: age.map(|age| age.as_secs()),
            previous_verdict: change.map(|change| change.previous_reason.verdict().code()),
            previous_reason: change.map(|change| change.previous_reason.code()),
            group: record.group,
            badness_rank: record.reason.verdict().badness_rank(),
        }
    }
}

/// What a message adds to the sentence of its reason.
pub(super) fn detail(reason: Reason, message: &str) -> Option<String> {
    let more = message.strip_prefix(reason.sentence())?.trim();
    (!more.is_empty()).then(|| visible::text(more))
}

/// The signal of the verdict; an alarm, where the record raised one.
fn shown_as(record: &Record) -> Signal {
    match record.lamp {
        Signal::Alarm => Signal::Alarm,
        _ => record.reason.verdict().signal(),
    }
}

/// When the record was made, by the station's boot-time clock; before the start of the machine it is negative. `None`: nobody kept
/// the clock by which it is dated.
pub(super) fn boot_ms(record: &Record, now: Moment) -> Option<i64> {
    let age = now.wall.duration_since(record.at).as_millis();
    let age = i64::try_from(age).ok()?;
    (record.clock_synced && age >= 0).then(|| signed(now.boot.as_millis()).saturating_sub(age))
}

pub(super) fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// As people may see it, and not longer than a person reads.
pub(super) fn scanned_text(text: &str) -> String {
    visible::text(text).chars().take(SCANNED).collect()
}

pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// What was scanned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Scanned {
    pub(super) text: String,
    pub(super) at_ms: u64,
}

/// One lane as its lamps show it, with what belongs to that.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Lane {
    pub(super) lane: String,
    pub(super) show: Option<&'static str>,
    pub(super) since_ms: Option<u64>,
    pub(super) until_ms: Option<u64>,
    pub(super) scanned: Option<Scanned>,
    pub(super) answer: Option<Answer>,
    pub(super) alarm: Option<Answer>,
    pub(super) repeat: u64,
}

/// One box on a shelf.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Boxed {
    pub(super) serial: String,
    pub(super) lane: String,
    pub(super) reason: &'static str,
    pub(super) verdict: &'static str,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) action: String,
    pub(super) since: String,
    pub(super) since_ms: Option<i64>,
    pub(super) asked_again: bool,
    pub(super) turned: bool,
    pub(super) model: Option<String>,
    pub(super) scan: Uuid,
}

/// The first boxes of a shelf.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Shelf {
    pub(super) total: usize,
    pub(super) boxes: Vec<Boxed>,
}

/// Both shelves.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct BothShelves {
    pub(super) waiting: Shelf,
    pub(super) problem: Shelf,
}

/// Numbers by the verdict's code.
type Numbers = BTreeMap<&'static str, u64>;

fn numbers(boxes: &ByVerdict) -> Numbers {
    boxes
        .iter()
        .map(|(verdict, many)| (verdict.code(), many))
        .collect()
}

/// The numbers of one hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Hour {
    hour: i8,
    #[serde(flatten)]
    by_verdict: Numbers,
}

/// The day so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Today {
    date: String,
    utc_offset_minutes: i32,
    by_verdict: Numbers,
    hours: Vec<Hour>,
}

impl Today {
    pub(super) fn of(day: &Day) -> Self {
        let hours = day.hours.iter().map(|(hour, boxes)| Hour {
            hour: *hour,
            by_verdict: numbers(boxes),
        });
        Self {
            date: day.date.to_string(),
            utc_offset_minutes: day.utc_offset_minutes,
            by_verdict: numbers(&day.boxes),
            hours: hours.collect(),
        }
    }
}

/// What is wrong with a part now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Trouble {
    pub(super) part: &'static str,
    pub(super) name: Option<String>,
    pub(super) word: String,
    /// `None`: the manual does not know the word.
    pub(super) sentence: Option<String>,
    pub(super) remedy: Option<String>,
}

/// A source as configured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SourceIs {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) required: bool,
}

/// A scanner as configured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ScannerIs {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) lane: String,
}

/// The station and what is wrong with it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Station {
    pub(super) health: serde_json::Value,
    pub(super) problems: Vec<Trouble>,
    pub(super) sources: Vec<SourceIs>,
    pub(super) scanners: Vec<ScannerIs>,
}

/// One of the demo's boxes to click.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DemoBox {
    pub serial: String,
    pub what: String,
    pub signal: &'static str,
}

/// The lane of the page's input box.
#[derive(Clone, Debug, Serialize)]
pub(super) struct InputBox {
    pub(super) lane: String,
}

/// All the page needs.
#[derive(Debug, Serialize)]
pub(super) struct State<'a> {
    pub(super) v: u32,
    pub(super) build: &'a str,
    pub(super) version: &'a str,
    pub(super) now_ms: u64,
    pub(super) site: &'a str,
    pub(super) name: &'a str,
    /// The vendor of the MDM that is asked.
    pub(super) mdm: Option<&'static str>,
    pub(super) scan: Option<InputBox>,
    pub(super) demo: &'a [DemoBox],
    pub(super) lanes: Vec<&'a Lane>,
    #[serde(flatten)]
    pub(super) shelves: BothShelves,
    pub(super) today: Option<Today>,
    pub(super) answers: Vec<&'a Answer>,
    pub(super) station: Station,
}

/// One event's data: when it was made, and what it says.
#[derive(Debug, Serialize)]
pub(super) struct Made<'a, T> {
    pub(super) now_ms: u64,
    #[serde(flatten)]
    pub(super) what: &'a T,
}

/// A sign of life.
#[derive(Debug, Serialize)]
pub(super) struct Beat<'a> {
    pub(super) build: &'a str,
}
