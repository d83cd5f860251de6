//! Reads the journal beside the session: one question at a time, on a thread that may wait for the disk.
//!
//! The rows of the newest commit are at hand, and no thread is needed for them.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time::Instant};
use uuid::Uuid;

use super::{
    command::{CHUNK, Rest},
    outbox::{Key, Page, Row, Want},
};
use crate::{
    journal::{
        Journal, Unsent,
        reader::{ReadFault, Reader},
    },
    record::Recorded,
};

/// After a failed read.
const AGAIN: Duration = Duration::from_secs(1);

/// A question to the journal.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// Rows of the outbox.
    Unsent(Want),
    /// Records for a backfill, both ends included.
    Range { epoch: Uuid, from: u64, to: u64 },
}

/// Why the journal is to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewRow {
    /// A row was recorded; this is the newest one.
    Newest(Key),
    /// Older rows are unsent again: salvaged, or no longer set aside.
    Older,
}

/// How the publisher hears that there is something to read.
#[derive(Debug)]
pub(super) struct NewRows {
    newest: watch::Receiver<u64>,
    returned: watch::Receiver<u64>,
}

impl NewRows {
    pub(super) fn new(journal: &Journal) -> Self {
        Self {
            newest: journal.newest(),
            returned: journal.returned(),
        }
    }

    /// The newest row. Rows from before this call are not reported as new.
    pub(super) fn newest(&mut self) -> Key {
        *self.newest.borrow_and_update()
    }

    /// As [`Self::newest`], on a link that reads all older rows anyway.
    pub(super) fn link_up(&mut self) -> Key {
        self.returned.mark_unchanged();
        self.newest()
    }

    /// Resolves when there is something to read. May be dropped and called again.
    pub(super) async fn next(&mut self) -> NewRow {
        tokio::select! {
            Ok(()) = self.newest.changed() => NewRow::Newest(*self.newest.borrow_and_update()),
            Ok(()) = self.returned.changed() => NewRow::Older,
            else => std::future::pending().await,
        }
    }
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// Rows of the outbox.
    Unsent(Want, Page),
    /// The first records that are still there, and what is behind them.
    Range(Vec<Recorded>, Rest),
}

/// What the thread brings: rows are taken from it as late as possible, so that none is among them that has been settled meanwhile.
#[derive(Debug)]
enum Read {
    Unsent(Want, Unsent),
    Range(Vec<Recorded>, Rest),
}

/// The journal as the publisher reads it.
#[derive(Debug)]
pub(super) struct JournalReading {
    journal: Journal,
    reader: Option<Reader>,
    running: Option<JoinHandle<(Reader, Result<Read, ReadFault>)>>,
    /// What no thread had to read.
    at_hand: Option<Read>,
    not_before: Instant,
    /// The last reading failed.
    failing: bool,
}

impl JournalReading {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            reader: None,
            running: None,
            at_hand: None,
            not_before: Instant::now(),
            failing: false,
        }
    }

    /// May a question be asked?
    pub(super) fn is_free(&self, now: Instant) -> bool {
        !self.is_answering() && self.not_before <= now
    }

    /// Is an answer on its way?
    pub(super) fn is_answering(&self) -> bool {
        self.running.is_some() || self.at_hand.is_some()
    }

    /// When a question may be asked again, if the last one failed.
    pub(super) fn retry_at(&self) -> Instant {
        self.not_before
    }

    pub(super) fn ask(&mut self, question: Question) {
        if let Question::Unsent(want) = question
            && let Some(unsent) = self.journal.at_hand(want.after, want.limit)
        {
            self.at_hand = Some(Read::Unsent(want, unsent));
            return;
        }
        let mut reader = self.reader.take().unwrap_or_else(|| self.journal.reader());
        self.running = Some(tokio::task::spawn_blocking(move || {
            let read = read(&mut reader, question);
            (reader, read)
        }));
    }

    /// What was found; `None`: the journal cannot be read, and the question may be asked again after a while. May be dropped and
    /// called again.
    pub(super) async fn found(&mut self) -> Option<Found> {
        if let Some(read) = self.at_hand.take() {
            return Some(read.into());
        }
        let Some(running) = self.running.as_mut() else {
            return std::future::pending().await;
        };
        let joined = running.await;
        self.running = None;
        let read = match joined {
            Ok((reader, read)) => {
                self.reader = Some(reader);
                read.map_err(|fault| fault.to_string())
            }
            Err(_) => Err("its thread has ended".to_owned()),
        };
        match read {
            Ok(read) => {
                self.failing = false;
                Some(read.into())
            }
            Err(words) => {
                self.not_before = Instant::now() + AGAIN;
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%words, "the journal cannot be read for the broker; trying again");
                }
                None
            }
        }
    }
}

impl From<Read> for Found {
    fn from(read: Read) -> Self {
        match read {
            Read::Unsent(want, unsent) => {
                let (after, more) = (unsent.after, unsent.more);
                let rows = unsent.rows().into_iter();
                let rows = rows.map(|stored| Row {
                    key: stored.row,
                    recorded: stored.recorded,
                });
                Self::Unsent(
                    want,
                    Page {
                        rows: rows.collect(),
                        after,
                        more,
                    },
                )
            }
            Read::Range(records, rest) => Self::Range(records, rest),
        }
    }
}

fn read(reader: &mut Reader, question: Question) -> Result<Read, ReadFault> {
    Ok(match question {
        Question::Unsent(want) => {
            Read::Unsent(want, reader.unsent_until_taken(want.after, want.limit)?)
        }
        Question::Range { epoch, from, to } => {
            let (records, rest) = range(reader, epoch, from, to)?;
            Read::Range(records, rest)
        }
    })
}

fn range(
    reader: &mut Reader,
    epoch: Uuid,
    from: u64,
    to: u64,
) -> Result<(Vec<Recorded>, Rest), ReadFault> {
    let found: Vec<Recorded> = reader
        .range(epoch, from, to, CHUNK)?
        .into_iter()
        .map(|stored| stored.recorded)
        .collect();
    if found.len() >= CHUNK {
        return Ok((found, Rest::More));
    }
    let later = to < u64::MAX && !reader.range(epoch, to + 1, u64::MAX, 1)?.is_empty();
    let known = later || !reader.range(epoch, 1, u64::MAX, 1)?.is_empty();
    Ok((
        found,
        if later || !known {
            Rest::Gone
        } else {
            Rest::NotYet
        },
    ))
}
