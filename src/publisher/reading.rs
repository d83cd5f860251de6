//! Reads the journal beside the session: one question at a time, on a thread that may wait for the disk.

use std::time::Duration;

use tokio::{task::JoinHandle, time::Instant};
use uuid::Uuid;

use super::{
    command::{CHUNK, Rest},
    outbox::{Row, Want},
};
use crate::{
    journal::{
        Journal,
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

/// What the journal says.
#[derive(Debug)]
pub(super) enum Answer {
    /// The rows, and whether there may be more.
    Unsent(Want, Vec<Row>, bool),
    /// The first records that are still there, and what is behind them.
    Range(Vec<Recorded>, Rest),
    /// The journal could not be read, in words; the question may be asked again after a while.
    Failed(String),
}

/// The reading side.
#[derive(Debug)]
pub(super) struct Reading {
    journal: Journal,
    reader: Option<Reader>,
    running: Option<JoinHandle<(Reader, Answer)>>,
    not_before: Instant,
}

impl Reading {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            reader: None,
            running: None,
            not_before: Instant::now(),
        }
    }

    /// May a question be asked?
    pub(super) fn is_free(&self, now: Instant) -> bool {
        self.running.is_none() && self.not_before <= now
    }

    /// Is an answer on its way?
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// When a question may be asked again, if the last one failed.
    pub(super) fn retry_at(&self) -> Instant {
        self.not_before
    }

    pub(super) fn ask(&mut self, question: Question) {
        let mut reader = self.reader.take().unwrap_or_else(|| self.journal.reader());
        self.running = Some(tokio::task::spawn_blocking(move || {
            let answer = answer(&mut reader, question);
            (reader, answer)
        }));
    }

    /// The answer. May be dropped and called again.
    pub(super) async fn answered(&mut self) -> Answer {
        let Some(running) = self.running.as_mut() else {
            return std::future::pending().await;
        };
        let joined = running.await;
        self.running = None;
        let answer = match joined {
            Ok((reader, answer)) => {
                self.reader = Some(reader);
                answer
            }
            Err(_) => Answer::Failed("its thread has ended".to_owned()),
        };
        if matches!(answer, Answer::Failed(_)) {
            self.not_before = Instant::now() + AGAIN;
        }
        answer
    }
}

fn answer(reader: &mut Reader, question: Question) -> Answer {
    match question {
        Question::Unsent(want) => match reader.unsent(want.after, want.limit) {
            Ok(stored) => {
                let more = stored.len() >= want.limit;
                let rows = stored
                    .into_iter()
                    .map(|stored| Row {
                        key: stored.row,
                        recorded: stored.recorded,
                    })
                    .collect();
                Answer::Unsent(want, rows, more)
            }
            Err(fault) => Answer::Failed(fault.to_string()),
        },
        Question::Range { epoch, from, to } => match range(reader, epoch, from, to) {
            Ok((found, rest)) => Answer::Range(found, rest),
            Err(fault) => Answer::Failed(fault.to_string()),
        },
    }
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
