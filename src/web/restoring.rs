//! What an earlier run has left for the page, read from the journal in the background.

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{board::ANSWERS, shelves::KEPT_FOR};
use crate::{
    journal::{Journal, reader::ReadFault},
    reason::{Reason, Verdict},
    record::Record,
    runtime::clock::ClockWatch,
};

/// Something that was read.
#[derive(Debug)]
pub(super) enum Restored {
    /// The newest records, newest first.
    Answers(Vec<Record>),
    /// Boxes that are not done with, oldest first, a few at a time.
    Boxes(Vec<Record>),
}

/// Reads all of it beside the start.
pub(super) fn restore(journal: &Journal, clock: ClockWatch) -> mpsc::Receiver<Restored> {
    let (found, restored) = mpsc::channel(1);
    let journal = journal.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(&journal, clock, &found) {
            tracing::warn!(%error, "the page begins without what the journal holds");
        }
    });
    restored
}

fn read(
    journal: &Journal,
    clock: ClockWatch,
    found: &mpsc::Sender<Restored>,
) -> Result<(), ReadFault> {
    let mut reader = journal.reader();
    let newest = reader.newest(ANSWERS)?;
    let newest = newest.into_iter().map(|stored| stored.recorded.record);
    let _ = found.blocking_send(Restored::Answers(newest.collect()));
    let reasons: Vec<Reason> = Reason::ALL
        .iter()
        .copied()
        .filter(|reason| !matches!(reason.verdict(), Verdict::Ready | Verdict::Rescan))
        .collect();
    let (now, synced) = (Timestamp::now(), clock.synced());
    reader.waiting(now, synced, KEPT_FOR, &reasons, |boxes| {
        let boxes = boxes.into_iter().map(|(record, _)| record).collect();
        found.blocking_send(Restored::Boxes(boxes)).is_ok()
    })
}
