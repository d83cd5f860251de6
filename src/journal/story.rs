//! `journal why`: the story of one box as text, from its rows. Pure.

use std::fmt::{self, Write};

use jiff::Timestamp;

use super::row::Stored;
use crate::{
    label::Serial,
    readiness::evidence::{Evidence, Finding},
    reason::{Reason, Signal},
    record::{Cause, Record},
    runtime::{times, visible},
};

/// Tells what happened to the box with this serial number, oldest first. `rows` as [`super::reader::Reader::story`] gives
/// them; without rows it says that the box was never seen.
pub fn story(serial: &Serial, rows: &[Stored]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = tell(&mut text, serial, rows);
    text
}

fn tell(out: &mut String, serial: &Serial, rows: &[Stored]) -> fmt::Result {
    let Some(newest) = rows.last() else {
        return writeln!(out, "{serial} was never seen at this station.");
    };
    let newest = &newest.recorded.record;
    let model = newest
        .model
        .as_deref()
        .map(|model| format!(" ({})", visible::text(model)))
        .unwrap_or_default();
    writeln!(out, "{serial}{model}: {}", words(newest.reason))?;
    for stored in rows {
        writeln!(out)?;
        tell_row(out, stored)?;
    }
    Ok(())
}

fn tell_row(out: &mut String, stored: &Stored) -> fmt::Result {
    let record = &stored.recorded.record;
    tell_answer(out, record)?;
    writeln!(out, "  message    {}", visible::text(&record.message))?;
    writeln!(out, "  next       {}", visible::text(&record.action))?;
    writeln!(out, "  lamp       {}", lamp(record))?;
    for evidence in &record.evidence {
        writeln!(out, "  {:<10} {}", evidence.source.as_str(), said(evidence))?;
    }
    if let Some(group) = record.group.filter(|group| *group != record.id) {
        writeln!(
            out,
            "  group      one code held several serial numbers, the first is scan {group}"
        )?;
    }
    if let Some(previous) = record.previous {
        writeln!(out, "  before     {previous}")?;
    }
    writeln!(
        out,
        "  recorded   {} as seq {} of epoch {}, policy {}",
        record.id, stored.recorded.seq, stored.recorded.epoch, record.policy
    )?;
    match (&stored.delivered_at, &stored.set_aside) {
        (Some(at), _) => writeln!(out, "  delivered  {}", time(*at)),
        (None, Some(why)) => writeln!(
            out,
            "  delivered  not yet; set aside: {}",
            visible::text(why)
        ),
        (None, None) => writeln!(out, "  delivered  not yet"),
    }
}

fn tell_answer(out: &mut String, record: &Record) -> fmt::Result {
    let unsynced = if record.clock_synced {
        ""
    } else {
        ", by a clock that was not synchronised"
    };
    match &record.change {
        None => {
            writeln!(
                out,
                "{}  scanned on lane {} by {}{unsynced}",
                time(record.at),
                record.lane,
                record.scanner
            )?;
            writeln!(
                out,
                "  answer     {} after {} ms",
                words(record.reason),
                record.took_ms
            )
        }
        Some(change) => {
            writeln!(
                out,
                "{}  changed: {}{unsynced}",
                time(record.at),
                cause(change.cause)
            )?;
            writeln!(
                out,
                "  answer     {}, until then {}",
                words(record.reason),
                words(change.previous_reason)
            )?;
            writeln!(out, "  concerns   scan {}", change.scan)
        }
    }
}

/// What one source said, and what that rests on.
fn said(evidence: &Evidence) -> String {
    let mut words = vec![match evidence.finding {
        Finding::Ready(grade) => format!("ready ({})", grade.code()),
        Finding::NoObjection => "no objection".to_owned(),
        Finding::Wait(reason) | Finding::No(reason) | Finding::Unknown(reason) => {
            format!("{}: {}", evidence.finding.says(), reason.code())
        }
    }];
    let times = [
        ("assigned", evidence.assigned_at),
        ("given to its server", evidence.device_assigned_at),
        ("last fetch", evidence.as_of),
        ("changed at Apple", evidence.updated_at),
    ];
    words.extend(
        evidence
            .status
            .as_ref()
            .map(|status| format!("status \"{}\"", visible::text(status))),
    );
    words.extend(
        times
            .into_iter()
            .filter_map(|(name, at)| Some(format!("{name} {}", time(at?)))),
    );
    words.extend(evidence.returned.then(|| "activated before".to_owned()));
    words.extend(
        evidence
            .row_age
            .map(|age| format!("from the replica, read {} before", times::lasted(age))),
    );
    words.push(format!("{} ms", evidence.took.as_millis()));
    let detail = evidence
        .detail
        .as_deref()
        .map(|detail| format!(". {}", visible::text(detail)))
        .unwrap_or_default();
    format!("{}{detail}", words.join(", "))
}

fn words(reason: Reason) -> String {
    format!("{} ({})", reason.verdict().code(), reason.code())
}

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Recheck => "the station asked again",
        Cause::LateAnswer => "a source answered after the verdict",
        Cause::Recall => "the services did not confirm a green that rested on the replica",
        Cause::LateCommit => "the disk confirmed the record after the lamp had said journal_fault",
    }
}

fn lamp(record: &Record) -> &'static str {
    match record.lamp {
        Signal::Ready => "ready: green",
        Signal::Stop => "stop: red on and off",
        Signal::Hold => "hold: amber, or a red wink",
        Signal::Rescan => "rescan: red double flash",
        Signal::Alarm => "alarm: red, fast",
        Signal::None if record.change.is_some() => "none",
        Signal::None => "none: another scan had taken the lane over",
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
