//! `lookup`: asks the configured sources once and shows what each of them says side by side, with what their replicas hold.

mod rows;

use std::io::{self, Write};

use anyhow::Context;
use jiff::Timestamp;

use super::{
    FAILED, OK,
    fitted::{columns, fitted},
    lists::{self, OwnLists},
};
use crate::{
    config::Config,
    publisher::message::Speaker,
    readiness::{Source, evidence::Evidence, http::Clocks, replica::store::Store},
    reason::Verdict,
    record::Record,
    runtime::{clock::ClockWatch, name::Name, times, visible},
    station::{core::LaneSettings, look_up::look_up},
};
use rows::KeptRow;

/// Nobody could say, or it was no serial number.
const UNKNOWN: u8 = 2;

/// Looks all `codes` up, prints what came of them, and gives the exit code: 0 all ready; 2 any unknown or rescan; else 1.
///
/// # Errors
/// A source that cannot be used as configured, or standard output that is gone.
pub(super) async fn run(config: &Config, codes: &[String], json: bool) -> anyhow::Result<u8> {
    let clock = ClockWatch::Kernel;
    let clocks = Clocks::reading(clock, &config.journal.state_dir);
    let store = rows::store(config);
    let own = OwnLists::wanted(&config.sources, &config.journal.state_dir)
        .context("cannot make a folder for the lists that are read")?;
    let sources = sources(config, &clocks, store.as_ref(), own.as_ref()).await?;
    let Some(lane) = config.lanes.first() else {
        anyhow::bail!("the config has no lane")
    };
    let lane = LaneSettings {
        name: lane.name.clone(),
        policy: lane.policy.clone(),
    };
    let scanner = Name::new("lookup")?;
    let (mut records, mut kept) = (Vec::new(), Vec::new());
    for code in codes {
        // First: the live answer strikes rows that say otherwise.
        let of_code = rows::of(code, &config.sources, &sources, &lane.policy).await;
        let found = look_up(code, lane.clone(), &scanner, &sources, clock).await;
        if !json {
            for record in &found {
                print(code, record, &of_code)?;
            }
        }
        records.extend(found);
        kept.extend(of_code);
    }
    if json {
        let speaker = Speaker::new(&config.mqtt);
        let all: Vec<_> = records
            .iter()
            .map(|record| speaker.lookup_data(record, &rows::evidence(record, &kept)))
            .collect();
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &all)?;
        writeln!(out)?;
    }
    Ok(exit_code(&records))
}

/// Shows one record on standard output, in its columns.
fn print(code: &str, record: &Record, kept: &[KeptRow]) -> io::Result<()> {
    let (mut text, columns) = (Vec::new(), columns());
    show(&mut text, code, record, kept, columns)?;
    let text = fitted(&String::from_utf8_lossy(&text), columns);
    io::stdout().lock().write_all(text.as_bytes())
}

/// The sources; those that can only be listed have been read, where `own` has a place for their lists.
async fn sources(
    config: &Config,
    clocks: &Clocks,
    store: Option<&Store>,
    own: Option<&OwnLists>,
) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for settings in &config.sources {
        let own = own.filter(|_| lists::is_list_only(settings));
        let source = match own.map(|own| &own.store).or(store) {
            Some(store) => Source::with_replica(settings.clone(), clocks.clone(), store),
            None => Source::new(settings.clone(), clocks.clone()),
        }?;
        if own.is_some() {
            lists::read(&source).await;
        }
        sources.push(source);
    }
    Ok(sources)
}

fn exit_code(records: &[Record]) -> u8 {
    let any = |wanted: &[Verdict]| {
        records
            .iter()
            .any(|record| wanted.contains(&record.reason.verdict()))
    };
    if any(&[Verdict::Unknown, Verdict::Rescan]) {
        UNKNOWN
    } else if any(&[Verdict::NotReady, Verdict::Wait]) {
        FAILED
    } else {
        OK
    }
}

/// In so many columns; `None`: as many as it takes.
fn show(
    out: &mut impl Write,
    code: &str,
    record: &Record,
    kept: &[KeptRow],
    columns: Option<usize>,
) -> io::Result<()> {
    let shown = record.serial.as_ref().map_or_else(
        || crate::label::visible(code.as_bytes()),
        ToString::to_string,
    );
    let model = record
        .model
        .as_deref()
        .map(|model| format!("  {}", visible::text(model)))
        .unwrap_or_default();
    writeln!(
        out,
        "{shown}  {} / {}{model}",
        record.reason.verdict().code(),
        record.reason.code()
    )?;
    writeln!(out, "  {}", visible::text(&record.message))?;
    writeln!(out, "  {}", visible::text(&record.action))?;
    if record.evidence.is_empty() {
        return writeln!(out);
    }
    let header = [
        "question",
        "source",
        "says",
        "reason",
        "status",
        "assigned at",
        "as of",
        "took",
    ]
    .map(str::to_owned);
    let kept: Vec<&KeptRow> = rows::of_record(record, kept).collect();
    let mut rows = vec![header];
    for evidence in &record.evidence {
        rows.push(row(evidence));
        let same = kept.iter().filter(|kept| kept.is_of(evidence));
        rows.extend(same.filter_map(|kept| kept.cells()));
    }
    if columns.is_some_and(|columns| table_width(&rows) > columns) {
        list(out, &rows)?;
    } else {
        table(out, &rows)?;
    }
    for note in kept.iter().filter_map(|kept| kept.note()) {
        writeln!(out, "  {note}")?;
    }
    for evidence in &record.evidence {
        if let Some(detail) = &evidence.detail {
            writeln!(out, "  {}: {}", evidence.source, visible::text(detail))?;
        }
    }
    writeln!(out)
}

type Cells = [String; 8];

fn width_of(rows: &[Cells], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column));
    cells
        .map(|cell| cell.chars().count())
        .max()
        .unwrap_or_default()
}

fn table_width(rows: &[Cells]) -> usize {
    (0..8).map(|column| width_of(rows, column) + 2).sum()
}

fn table(out: &mut impl Write, rows: &[Cells]) -> io::Result<()> {
    for row in rows {
        write!(out, " ")?;
        for (column, cell) in row.iter().enumerate() {
            let width = width_of(rows, column);
            write!(out, " {cell:width$}")?;
            write!(out, " ")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The same where the table does not fit: each source with what it says, without the empty cells.
fn list(out: &mut impl Write, rows: &[Cells]) -> io::Result<()> {
    let width = width_of(rows, 1);
    for [
        question,
        source,
        says,
        reason,
        status,
        assigned,
        as_of,
        took,
    ] in rows.iter().skip(1)
    {
        write!(out, "  {source:width$}  {question}: {says}")?;
        for (label, cell) in [
            ("", reason),
            ("status ", status),
            ("assigned at ", assigned),
            ("as of ", as_of),
            ("", took),
        ] {
            if cell != "-" {
                write!(out, ", {label}{cell}")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn row(evidence: &Evidence) -> [String; 8] {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), times::moment);
    [
        evidence.kind.question().to_owned(),
        evidence.source.to_string(),
        evidence.finding.says().to_owned(),
        evidence
            .finding
            .reason()
            .map_or("-", crate::reason::Reason::code)
            .to_owned(),
        evidence
            .status
            .as_deref()
            .map_or_else(|| "-".to_owned(), visible::text),
        time(evidence.assigned_at),
        time(evidence.as_of),
        format!("{} ms", evidence.took.as_millis()),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::{
        label::Serial,
        readiness::evidence::{Finding, SourceKind},
        reason::Reason,
    };

    #[test]
    fn what_a_service_said_is_shown_and_not_obeyed() {
        let (name, serial) = (
            Name::new("kandji").unwrap(),
            Serial::new("C02XK0AAJG5H").unwrap(),
        );
        let evidence = Evidence {
            status: Some("assigned\u{200b}".to_owned()),
            detail: Some("\"HQ\u{1b}[2J\"".to_owned()),
            ..Evidence::bare(
                name.clone(),
                SourceKind::Kandji,
                serial.clone(),
                Finding::Unknown(Reason::Stale),
            )
        };
        let bare = Record::bare(
            uuid::Uuid::nil(),
            Timestamp::UNIX_EPOCH,
            name,
            Reason::Stale,
        );
        let message = "of \"HQ\u{202e}\"".to_owned();
        let record = Record {
            serial: Some(serial),
            model: Some("Mac\u{e0041}".to_owned()),
            message,
            evidence: vec![evidence],
            ..bare
        };
        let mut out = Vec::new();
        show(&mut out, "C02XK0AAJG5H\u{202e}", &record, &[], None).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("question           source  says"), "{text}");
        for words in [
            "Mac\\u{e0041}",
            "of \"HQ\\u{202e}\"",
            "assigned\\u{200b}",
            "kandji: \"HQ␛[2J\"",
        ] {
            assert!(text.contains(words), "{words} is not in:\n{text}");
        }
        assert!(
            !text.contains(['\u{1b}', '\u{202e}', '\u{200b}', '\u{e0041}']),
            "{text:?}"
        );
        // Where the table is too wide, each source is one line, which may go on below.
        let mut out = Vec::new();
        show(&mut out, "C02XK0AAJG5H", &record, &[], Some(60)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = "  kandji  Status in the MDM: unknown, stale, status assigned\\u{200b}, 0 ms\n";
        assert!(text.contains(line), "{text}");
    }
}
