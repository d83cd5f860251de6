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
    runtime::visible,
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
pub fn export(
    reader: &mut Reader,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    format: Format,
    out: impl Write,
) -> Result<(), ExportFault> {
    match format {
        Format::Csv => {
            let mut table = csv::WriterBuilder::new()
                .has_headers(false)
                .from_writer(out);
            table.write_record(COLUMNS).map_err(bare)?;
            reader.export(since, until, |entry| {
                let line = Line::of(&entry);
                table
                    .write_record(line.cells().map(|cell| for_a_spreadsheet(&cell)))
                    .map_err(bare)?;
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
            lamp: Some(
                answer
                    .map_or(Signal::None, |reason| reason.verdict().signal())
                    .code(),
            ),
            ..Self::default()
        }
    }

    fn cells(self) -> impl Iterator<Item = String> {
        let text = |text: Option<&'static str>| text.unwrap_or_default().to_owned();
        let number =
            |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
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

/// Where a spreadsheet that opens the file may begin to read a formula. It cuts the text as its locale or its user says: at `,`, `;`, a tab, `|`,
/// a space; and it takes the wide forms of the signs for the signs.
const BEGINS_A_FORMULA: [char; 12] = [
    '=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}', '\u{fe66}', '\u{fe62}',
    '\u{fe63}', '\u{fe6b}',
];

/// A barcode may hold anything, a formula too, and a spreadsheet runs what begins like one. So an apostrophe goes before each sign that begins
/// a formula, unless a letter, a digit or another such sign stands before it: at the beginning of the cell, and wherever another separator
/// could begin a cell. Whoever drops an apostrophe before each such sign has the text as it was. JSON lines have it in any case.
fn for_a_spreadsheet(cell: &str) -> String {
    let mut safe = String::with_capacity(cell.len());
    let mut inside = false;
    for character in visible::text(cell).chars() {
        let sign = BEGINS_A_FORMULA.contains(&character);
        if sign && !inside {
            safe.push('\'');
        }
        safe.push(character);
        inside = sign || character.is_alphanumeric();
    }
    safe
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_columns_and_the_keys_are_the_same_in_the_same_order() {
        let json = serde_json::to_string(&Line::default()).unwrap_or_default();
        let keys: Vec<&str> = json
            .split(',')
            .filter_map(|part| part.split('"').nth(1))
            .collect();
        assert_eq!(keys, COLUMNS);
        assert_eq!(Line::default().cells().count(), COLUMNS.len());
    }

    #[test]
    fn no_spreadsheet_of_any_locale_runs_a_barcode() {
        for (barcode, cell) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("x;=cmd|' /C calc'!A0;", "x;'=cmd|' /C calc'!A0;"),
            ("x,+1\u{b7};-2|@SUM(1)", "x,'+1·;'-2|'@SUM(1)"),
            ("x; =1", "x; '=1"),
            ("x\";=1", "x\";'=1"),
            ("x';=1", "x';'=1"),
            ("'=1", "''=1"),
            // A line break or a tab in a cell begins one in a spreadsheet that is told to cut there; here they are pictures.
            ("\t=1\r=2\n=3", "␉'=1␍'=2␊'=3"),
            (
                "x;\u{ff1d}1;\u{ff0b}1;\u{ff0d}1;\u{ff20}1",
                "x;'\u{ff1d}1;'\u{ff0b}1;'\u{ff0d}1;'\u{ff20}1",
            ),
            ("\u{200b}=1", "\\u{200b}'=1"),
            // What is no formula stays as it is.
            ("C02XK0AAJG5H", "C02XK0AAJG5H"),
            (
                "019ab0c2-6d1e-7c3a-9f00-3f2b6c1d9e10",
                "019ab0c2-6d1e-7c3a-9f00-3f2b6c1d9e10",
            ),
            ("2026-11-23T09:41:07.123Z", "2026-11-23T09:41:07.123Z"),
            ("a=b", "a=b"),
        ] {
            assert_eq!(for_a_spreadsheet(barcode), cell);
        }
    }

    /// Cells as a spreadsheet may cut them: at any separator, quoted or not, with the blanks and quotes around them dropped.
    fn cells(text: &str) -> impl Iterator<Item = &str> {
        text.split([',', ';', '\t', '|', ':', ' ', '\n', '\r'])
            .map(|cell| cell.trim_start_matches(['"', ' ', '\u{a0}', '\u{3000}']))
    }

    proptest! {
        #[test]
        fn however_it_is_cut_no_cell_begins_a_formula_and_the_text_comes_back(text in "[a1=+@＝；;,|: \"'\t\n-]{0,24}", any_text in any::<String>()) {
            for text in [text, any_text] {
                let safe = for_a_spreadsheet(&text);
                let mut table = csv::Writer::from_writer(Vec::new());
                table.write_record([safe.as_str(), "x"]).unwrap();
                let line = String::from_utf8(table.into_inner().unwrap()).unwrap();
                for cell in cells(&line) {
                    prop_assert!(!cell.starts_with(BEGINS_A_FORMULA), "{cell:?} of {line:?}");
                }
                let back = BEGINS_A_FORMULA.iter().fold(safe, |text, sign| text.replace(&format!("'{sign}"), &sign.to_string()));
                prop_assert_eq!(back, visible::text(&text));
            }
        }
    }
}
