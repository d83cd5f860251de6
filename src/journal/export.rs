//! `journal export`: one row for each scan, change and unfinished scan, as CSV or as JSON lines.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    reader::{Entry, ReadFault, Reader, Unfinished},
    row::Stored,
};
use crate::{
    label,
    readiness::evidence::Grade,
    reason::{Reason, Signal},
};

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a line of names.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportFault {
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadFault),
    /// The output cannot be written.
    #[error("cannot write the export")]
    Write(#[from] io::Error),
}

/// Writes every scan and change from `since` on and before `until`, in order of time. Blocks on the disk and on `out`.
///
/// Open scans are left out: they get their row when they end.
pub fn export(reader: &mut Reader, since: Option<Timestamp>, until: Option<Timestamp>, format: Format, out: impl Write) -> Result<(), ExportFault> {
    match format {
        Format::Csv => {
            let mut table = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            table.write_record(COLUMNS).map_err(bare)?;
            reader.export(since, until, |entry| {
                let line = Line::of(&entry);
                table.write_record(line.cells().map(for_a_spreadsheet)).map_err(bare)?;
                Ok::<(), ExportFault>(())
            })?;
            table.flush()?;
        }
        Format::Jsonl => {
            let mut out = io::BufWriter::new(out);
            reader.export(since, until, |entry| {
                serde_json::to_writer(&mut out, &Line::of(&entry)).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
                Ok::<(), ExportFault>(())
            })?;
            out.flush()?;
        }
    }
    Ok(())
}

/// The output's own error without the CSV writer around it: a reader that has gone (`| head`) must be known as such.
fn bare(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// The columns, in their order.
pub const COLUMNS: [&str; 18] = [
    "time",
    "kind",
    "id",
    "epoch",
    "seq",
    "lane",
    "scanner",
    "serial",
    "raw",
    "verdict",
    "reason",
    "grade",
    "assigned_at",
    "took_ms",
    "lamp",
    "scan",
    "cause",
    "delivered_at",
];

/// One row: the keys in JSON lines, and the cells in CSV.
#[derive(Default, Serialize)]
struct Line {
    time: String,
    kind: &'static str,
    id: String,
    epoch: Option<String>,
    seq: Option<u64>,
    lane: String,
    scanner: String,
    serial: Option<String>,
    raw: Option<String>,
    verdict: Option<&'static str>,
    reason: Option<&'static str>,
    grade: Option<&'static str>,
    assigned_at: Option<String>,
    took_ms: Option<u64>,
    lamp: Option<&'static str>,
    scan: Option<String>,
    cause: Option<&'static str>,
    delivered_at: Option<String>,
}

impl Line {
    fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Record(stored) => Self::of_record(stored),
            Entry::Unfinished(scan) => Self::of_unfinished(scan),
        }
    }

    fn of_record(stored: &Stored) -> Self {
        let record = &stored.recorded.record;
        let change = record.change.as_ref();
        Self {
            time: time(record.at),
            kind: if change.is_some() { "change" } else { "scan" },
            id: record.id.to_string(),
            epoch: Some(stored.recorded.epoch.to_string()),
            seq: Some(stored.recorded.seq),
            lane: record.lane.to_string(),
            scanner: record.scanner.to_string(),
            serial: record.serial.as_ref().map(ToString::to_string),
            raw: record.raw.clone(),
            verdict: Some(record.reason.verdict().code()),
            reason: Some(record.reason.code()),
            grade: record.grade.map(Grade::code),
            assigned_at: record.assigned_at.map(|at| at.to_string()),
            took_ms: Some(record.took_ms),
            lamp: Some(record.lamp.code()),
            scan: change.map(|change| change.scan.to_string()),
            cause: change.map(|change| change.cause.code()),
            delivered_at: stored.delivered_at.map(time),
        }
    }

    /// A scan that was answered `journal_fault` has no place in the journal's count, but it had an answer.
    fn of_unfinished(scan: &Unfinished) -> Self {
        let answer = scan.faulted.then_some(Reason::JournalFault);
        Self {
            time: time(scan.at),
            kind: if scan.faulted { "scan" } else { "interrupted" },
            id: scan.id.to_string(),
            lane: scan.lane.clone(),
            scanner: scan.scanner.clone(),
            raw: scan.bytes.as_deref().map(label::visible),
            verdict: answer.map(|reason| reason.verdict().code()),
            reason: answer.map(Reason::code),
            lamp: Some(answer.map_or(Signal::None, |reason| reason.verdict().signal()).code()),
            ..Self::default()
        }
    }

    fn cells(self) -> impl Iterator<Item = String> {
        let text = |text: Option<&'static str>| text.unwrap_or_default().to_owned();
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        [
            self.time,
            self.kind.to_owned(),
            self.id,
            self.epoch.unwrap_or_default(),
            number(self.seq),
            self.lane,
            self.scanner,
            self.serial.unwrap_or_default(),
            self.raw.unwrap_or_default(),
            text(self.verdict),
            text(self.reason),
            text(self.grade),
            self.assigned_at.unwrap_or_default(),
            number(self.took_ms),
            text(self.lamp),
            self.scan.unwrap_or_default(),
            text(self.cause),
            self.delivered_at.unwrap_or_default(),
        ]
        .into_iter()
    }
}

fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A barcode may hold anything, a formula too, and a spreadsheet runs what begins like one: such a cell gets an apostrophe
/// in front. JSON lines have the text as it was.
fn for_a_spreadsheet(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_and_the_keys_are_the_same_in_the_same_order() {
        let json = serde_json::to_string(&Line::default()).unwrap_or_default();
        let keys: Vec<&str> = json.split(',').filter_map(|part| part.split('"').nth(1)).collect();
        assert_eq!(keys, COLUMNS);
        assert_eq!(Line::default().cells().count(), COLUMNS.len());
    }

    #[test]
    fn a_cell_that_a_spreadsheet_would_run_is_defused() {
        assert_eq!(for_a_spreadsheet("=cmd|' /C calc'!A0".to_owned()), "'=cmd|' /C calc'!A0");
        assert_eq!(for_a_spreadsheet("C02XK0AAJG5H".to_owned()), "C02XK0AAJG5H");
    }
}
