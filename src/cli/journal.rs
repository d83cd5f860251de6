//! `journal`: the station's own record, read beside a running agent or without one.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    FAILED, OK,
    arguments::{Export, Format, Journal},
    fitted::{columns, fitted},
};
use crate::{
    config,
    journal::{export, reader::Reader, story},
    label::{self, Meaning, Serial},
};

/// Reads what `order` asks for from the journal of the station that the config at `path` describes.
pub(super) fn journal(path: &Path, order: &Journal) -> anyhow::Result<u8> {
    let state_dir = state_dir(path)?;
    let mut reader = Reader::open(&state_dir)?;
    match order {
        Journal::Export(order) => export(&mut reader, order),
        Journal::Why { serial } => why(&mut reader, serial),
    }
}

/// A mistake elsewhere in the config must not hide the record; a text that is no config at all may mean another folder.
fn state_dir(path: &Path) -> anyhow::Result<PathBuf> {
    let config = config::load_readable(path, false)?;
    match (config.state_dir, config.problems) {
        (Some(state_dir), None) => Ok(state_dir),
        (Some(state_dir), Some(_)) if state_dir.join("journal.sqlite").exists() => Ok(state_dir),
        (_, Some(problems)) => Err(problems.into()),
        (None, None) => anyhow::bail!("the config names no state_dir"),
    }
}

fn export(reader: &mut Reader, order: &Export) -> anyhow::Result<u8> {
    let format = match order.format {
        Format::Csv => export::Format::Csv,
        Format::Jsonl => export::Format::Jsonl,
    };
    export::export(
        reader,
        order.since,
        order.until,
        format,
        io::stdout().lock(),
    )?;
    Ok(OK)
}

fn why(reader: &mut Reader, code: &str) -> anyhow::Result<u8> {
    let Meaning::Serials(all) = label::read(code.as_bytes()) else {
        anyhow::bail!(
            "{:?} is not a serial number",
            label::visible(code.as_bytes())
        );
    };
    let mut out = io::stdout().lock();
    let mut seen = false;
    let candidates: Vec<&Serial> = all.iter().flat_map(label::Candidates::iter).collect();
    for serial in &candidates {
        let rows = reader.story(serial)?;
        if !rows.is_empty() {
            // With and without its leading S: two boxes, two stories.
            let pause = if seen { "\n" } else { "" };
            let story = fitted(&story::story(serial, &rows), columns());
            write!(out, "{pause}{story}")?;
            seen = true;
        }
    }
    if !seen && let Some(serial) = candidates.first() {
        write!(out, "{}", story::story(serial, &[]))?;
    }
    Ok(if seen { OK } else { FAILED })
}
