//! What an earlier run has left in the journal for the station.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    config::Config,
    journal::Journal,
    reason::Reason,
    record::Record,
    runtime::{clock::ClockWatch, name::Name},
    station::{confirming, waiting},
};

/// The scanners that had yielded a known serial number in an earlier run.
pub(super) async fn proven(config: &Config, journal: &Journal) -> BTreeSet<Name> {
    let scanners = config.scanners.iter().map(|scanner| scanner.name.clone());
    let (mut reader, scanners) = (journal.reader(), scanners.collect());
    let reading = move || {
        let proofs = reader.proofs(&scanners).unwrap_or_default();
        proofs
            .into_iter()
            .filter_map(|(scanner, proof)| proof.map(|_| scanner))
            .collect()
    };
    tokio::task::spawn_blocking(reading)
        .await
        .unwrap_or_default()
}

/// Reads the boxes that may still be asked again, beside the start: a scan need not wait for thousands of them.
pub(super) fn waited(
    config: &Config,
    journal: &Journal,
    clock: ClockWatch,
) -> mpsc::Receiver<Vec<(Record, Duration)>> {
    let (found, waited) = mpsc::channel(1);
    let followed_for = waiting::followed_for(config.policy.recheck_for);
    let has_replica = config.sources.iter().any(|source| source.replica.is_on());
    let mut reader = journal.reader();
    let (now, synced) = (Timestamp::now(), clock.synced());
    let reasons: Vec<Reason> = Reason::ALL
        .iter()
        .copied()
        .filter(|reason| waiting::is_asked_again(*reason))
        .collect();
    tokio::task::spawn_blocking(move || {
        let mut hand = |boxes| found.blocking_send(boxes).is_ok();
        let mut read = reader.waiting(now, synced, followed_for, &reasons, &mut hand);
        if has_replica && read.is_ok() {
            read = reader.greens_by_row(now, confirming::FOLLOWED, hand);
        }
        if let Err(error) = read {
            warn!(%error, "the boxes that waited before the start could not be read; scan them again");
        }
    });
    waited
}
