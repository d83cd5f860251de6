//! What the replicas hold of the boxes that are looked up.

use super::row;
use crate::{
    config::Config,
    label::{self, Meaning, Serial},
    readiness::{
        Settings, Source,
        asking::Row,
        evidence::Evidence,
        replica::store::{self, ReadFault, Store},
    },
    record::Record,
    runtime::{clock::Boot, name::Name, times},
    verdict::Policy,
};

/// What one source's replica says of one serial number.
pub(super) struct KeptRow {
    source: Name,
    serial: Serial,
    /// `None`: no row of the source can answer.
    row: Option<Row>,
}

/// The replica's file, if a source has one that can be read.
pub(super) fn store(config: &Config) -> Option<Store> {
    config
        .sources
        .iter()
        .find(|source| source.replica.is_on())?;
    let path = store::path(&config.journal.state_dir);
    match Store::beside(&path) {
        Ok(store) => Some(store),
        Err(ReadFault::Absent(_)) => None,
        Err(fault) => {
            tracing::warn!("{fault}: its rows are not shown");
            None
        }
    }
}

/// Of a source that can only be listed the row is the answer.
fn is_kept(source: &Settings) -> bool {
    source.replica.is_on() && !source.kind().is_list_only()
}

/// The rows of a code, of each source that keeps a replica.
pub(super) async fn of(
    code: &str,
    settings: &[Settings],
    sources: &[Source],
    policy: &Policy,
) -> Vec<KeptRow> {
    let Meaning::Serials(all) = label::read(code.as_bytes()) else {
        return Vec::new();
    };
    let terms = policy.row_terms(Boot::now());
    let mut kept = Vec::new();
    for (_, source) in settings
        .iter()
        .zip(sources)
        .filter(|(settings, _)| is_kept(settings))
    {
        for candidates in &all {
            let mut rows = source.rows(candidates, &terms).await.map(Vec::into_iter);
            kept.extend(candidates.iter().map(|serial| KeptRow {
                source: source.name().clone(),
                serial: serial.clone(),
                row: rows.as_mut().and_then(Iterator::next),
            }));
        }
    }
    kept
}

/// Those of the record's box.
pub(super) fn of_record<'a>(
    record: &'a Record,
    kept: &'a [KeptRow],
) -> impl Iterator<Item = &'a KeptRow> {
    kept.iter()
        .filter(|kept| record.serial.as_ref() == Some(&kept.serial))
}

/// The same as evidence.
pub(super) fn evidence<'a>(record: &'a Record, kept: &'a [KeptRow]) -> Vec<&'a Evidence> {
    of_record(record, kept)
        .filter_map(KeptRow::evidence)
        .collect()
}

impl KeptRow {
    fn evidence(&self) -> Option<&Evidence> {
        match &self.row {
            Some(Row::Said { evidence, .. }) => Some(evidence),
            _ => None,
        }
    }

    pub(super) fn is_of(&self, evidence: &Evidence) -> bool {
        self.source == evidence.source
    }

    /// Beside the live answer; in the place of the time it took stands its age.
    pub(super) fn cells(&self) -> Option<[String; 8]> {
        let evidence = self.evidence()?;
        let [
            question,
            source,
            says,
            reason,
            status,
            assigned_at,
            as_of,
            _,
        ] = row(evidence);
        let age = evidence.row_age.map_or_else(
            || "age not known".to_owned(),
            |age| format!("{} old", times::lasted(age)),
        );
        Some([
            question,
            format!("{source}, row"),
            says,
            reason,
            status,
            assigned_at,
            as_of,
            age,
        ])
    }

    /// Why it would not answer a scan; `None`: it would.
    pub(super) fn note(&self) -> Option<String> {
        let why = match &self.row {
            Some(Row::Said { answers: true, .. }) => return None,
            Some(Row::Said { .. }) => "this row answers no scan: it is no good news, or too old",
            Some(Row::Nothing) => "its replica has no row of this box",
            Some(Row::Doubted) => {
                "its row answers no scan: a newer live answer says otherwise, or it is damaged; the next pass reads it again"
            }
            None => {
                "no row of its replica answers: there was no complete pass with this credential yet"
            }
        };
        Some(format!("{}: {why}", self.source))
    }
}
