//! What an earlier run has left for the page, read from the journal in the background.

use std::time::Duration;

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
    /// Boxes that are not done with, those that turned ready among them, oldest first, a few at a time.
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
    let mut hand = |boxes: Vec<(Record, Duration)>| {
        let boxes = boxes.into_iter().map(|(record, _)| record).collect();
        found.blocking_send(Restored::Boxes(boxes)).is_ok()
    };
    reader.waiting(now, synced, KEPT_FOR, &reasons, &mut hand)?;
    reader.turned(now, KEPT_FOR, hand)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use uuid::Uuid;

    use super::*;
    use crate::{
        journal,
        label::Serial,
        record::{Cause, Change},
        runtime::name::Name,
        web::shelves::Shelves,
    };

    /// A scan of a box so long ago, and what it was changed to since.
    fn box_of(
        serial: &str,
        ago: u64,
        reason: Reason,
        changed: Option<(Cause, Reason)>,
    ) -> Vec<Record> {
        let at = |ago| {
            Timestamp::now()
                .checked_sub(Duration::from_secs(ago))
                .unwrap()
        };
        let lane = || Name::new("left").unwrap();
        let scan = Record {
            serial: Serial::new(serial),
            ..Record::bare(Uuid::now_v7(), at(ago), lane(), reason)
        };
        let change = changed.map(|(cause, to)| Record {
            serial: scan.serial.clone(),
            raw_scan: None,
            change: Some(Change {
                scan: scan.id,
                cause,
                previous_reason: reason,
            }),
            ..Record::bare(Uuid::now_v7(), at(ago - 60), lane(), to)
        });
        [Some(scan), change].into_iter().flatten().collect()
    }

    #[tokio::test]
    async fn a_box_that_turned_ready_lies_on_the_waiting_shelf_until_it_is_scanned_again() {
        const PENDING: Reason = Reason::AssignmentPending;
        const WEEK: u64 = 7 * 24 * 3600;
        let turned = Some((Cause::Recheck, Reason::Assigned));
        let folder = tempfile::tempdir().unwrap();
        let settings = journal::Settings {
            state_dir: folder.path().to_owned(),
            keep: Duration::from_hours(24 * 90),
            keep_raw: Duration::from_hours(24),
            max_bytes: 1 << 30,
        };
        let journal = Journal::open(&settings, "machine-1").unwrap();
        let mut unkept = box_of("C02UNKEPT001", 2 * WEEK, Reason::Assigned, None);
        unkept
            .iter_mut()
            .for_each(|record| record.clock_synced = false);
        for records in [
            box_of("C02LONGAGO01", WEEK + 600, PENDING, turned),
            box_of("C02TURNED001", 7000, PENDING, turned),
            box_of(
                "C02BACK00001",
                6900,
                PENDING,
                Some((Cause::Recheck, Reason::ReturnedStock)),
            ),
            // Years off, as before the first contact with a time server.
            unkept,
            box_of("C02AGAIN0001", 6800, PENDING, turned),
            box_of("C02AGAIN0001", 6000, Reason::Assigned, None),
            box_of("C02GREEN0001", 5000, Reason::Assigned, None),
            box_of("C02WAITS0001", 4000, PENDING, None),
            box_of(
                "C02LATE00001",
                3000,
                Reason::Released,
                Some((Cause::LateAnswer, Reason::Assigned)),
            ),
        ] {
            for record in records {
                journal.record(vec![record]).await.unwrap();
            }
        }
        let mut restored = restore(&journal, ClockWatch::Fixed { synced: true });
        let mut shelves = Shelves::default();
        while let Some(found) = restored.recv().await {
            if let Restored::Boxes(records) = found {
                for record in records {
                    shelves.restored(&record, None, crate::runtime::clock::Boot::now());
                }
            }
        }
        let now = crate::runtime::clock::Boot::now();
        let both = shelves.both(None, KEPT_FOR, now);
        let lie: Vec<_> = both
            .waiting
            .boxes
            .iter()
            .map(|one| (one.serial.as_str(), one.turned))
            .collect();
        assert_eq!(
            lie,
            [
                ("C02TURNED001", true),
                ("C02BACK00001", true),
                ("C02WAITS0001", false),
            ]
        );
        assert_eq!(both.problem.total, 0);
    }
}
