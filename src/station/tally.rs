//! What the station has answered since its start, in numbers. Counting never waits.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    readiness::evidence::Finding,
    reason::Reason,
    record::{Cause, Record},
    runtime::{histogram::Histogram, name::Name},
};

/// A number for each reason, in the order of [`Reason::ALL`].
#[derive(Debug)]
pub struct ByReason(Vec<AtomicU64>);

impl Default for ByReason {
    fn default() -> Self {
        Self(Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl ByReason {
    fn count(&self, reason: Reason) {
        if let Some(number) = Reason::ALL
            .iter()
            .position(|one| *one == reason)
            .and_then(|nth| self.0.get(nth))
        {
            number.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every reason with its number.
    pub fn all(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL
            .iter()
            .zip(&self.0)
            .map(|(reason, number)| (*reason, number.load(Ordering::Relaxed)))
    }
}

/// What one source has said of boxes that were recorded.
#[derive(Debug, Default)]
pub struct OfSource {
    pub took: Histogram,
    /// What it did not know, by reason.
    pub failures: ByReason,
}

/// The numbers. Lanes, scanners and sources are there from the start.
#[derive(Debug, Default)]
pub struct Tally {
    pub lanes: BTreeMap<Name, ByReason>,
    pub scanners: BTreeMap<Name, AtomicU64>,
    pub sources: BTreeMap<Name, OfSource>,
    /// From the scan until its answer was recorded, every answer.
    pub took: Histogram,
    changes: [AtomicU64; Cause::ALL.len()],
}

impl Tally {
    pub fn new(
        lanes: impl IntoIterator<Item = Name>,
        scanners: impl IntoIterator<Item = Name>,
        sources: impl IntoIterator<Item = Name>,
    ) -> Self {
        let nothing = |name| (name, ByReason::default());
        Self {
            lanes: lanes.into_iter().map(nothing).collect(),
            scanners: scanners
                .into_iter()
                .map(|name| (name, AtomicU64::new(0)))
                .collect(),
            sources: sources
                .into_iter()
                .map(|name| (name, OfSource::default()))
                .collect(),
            ..Self::default()
        }
    }

    /// Counts one finished scan or change; `took`: from the scan until it was recorded.
    pub fn count(&self, record: &Record, took: Option<Duration>) {
        if let Some(took) = took {
            self.took.count(took);
        }
        match &record.change {
            None => {
                if let Some(lane) = self.lanes.get(&record.lane) {
                    lane.count(record.reason);
                }
                if let Some(scanner) = self.scanners.get(&record.scanner) {
                    scanner.fetch_add(1, Ordering::Relaxed);
                }
            }
            Some(change) => {
                let of_cause = Cause::ALL.iter().zip(&self.changes);
                for (_, number) in of_cause.filter(|(cause, _)| **cause == change.cause) {
                    number.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        for evidence in &record.evidence {
            let Some(source) = self.sources.get(&evidence.source) else {
                continue;
            };
            // What a row of the replica says is no answer of the service.
            if evidence.row_age.is_none() {
                source.took.count(evidence.took);
                if let Finding::Unknown(reason) = evidence.finding {
                    source.failures.count(reason);
                }
            }
        }
    }

    /// Changes by cause.
    pub fn changes(&self) -> impl Iterator<Item = (Cause, u64)> {
        Cause::ALL
            .iter()
            .zip(&self.changes)
            .map(|(cause, number)| (*cause, number.load(Ordering::Relaxed)))
    }
}
