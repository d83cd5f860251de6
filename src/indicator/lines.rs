//! The result lines on standard output: one flushed line for each answer, written by a thread of their own.
//!
//! Whoever reads them may be slow, stopped or gone. The station must not wait: lines are queued, and dropped and counted when the
//! queue is full.

use std::{
    fmt,
    io::{self, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use uuid::Uuid;

use crate::{
    reason::{Reason, Verdict},
    record::Record,
    runtime::visible,
};

/// Lines that may wait for a reader: some megabytes.
const QUEUE: usize = 16_384;

/// One result as people and scripts read it: `<id> <serial or -> <verdict> <reason> <message>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// A recorded box changed its verdict; the line begins with `change`.
    pub change: bool,
    /// The record's id.
    pub id: Uuid,
    /// The serial number, if it was one.
    pub serial: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// The reason.
    pub reason: Reason,
    /// The sentence for the person.
    pub message: String,
}

impl Line {
    /// The line of a record.
    pub fn of(record: &Record) -> Self {
        Self {
            change: record.change.is_some(),
            id: record.id,
            serial: record.serial.as_ref().map(|serial| serial.as_str().to_owned()),
            verdict: record.reason.verdict(),
            reason: record.reason,
            message: record.message.clone(),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.change {
            out.write_str("change ")?;
        }
        let serial = visible::text(self.serial.as_deref().unwrap_or("-"));
        write!(out, "{} {serial} {} {} {}", self.id, self.verdict.code(), self.reason.code(), visible::text(&self.message))
    }
}

/// Writes result lines without ever making the station wait.
pub struct Printer {
    queue: SyncSender<Line>,
    done: Receiver<bool>,
    dropped: AtomicU64,
}

impl Printer {
    /// A printer on standard output.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn stdout() -> io::Result<Self> {
        Self::on(io::stdout(), QUEUE)
    }

    fn on(out: impl Write + Send + 'static, queue: usize) -> io::Result<Self> {
        let (sender, lines) = sync_channel(queue);
        let (alive, done) = sync_channel(1);
        thread::Builder::new().name("results".to_owned()).spawn(move || {
            let _ = alive.send(write_all(out, &lines));
        })?;
        Ok(Self { queue: sender, done, dropped: AtomicU64::new(0) })
    }

    /// Queues a line. It is dropped when the reader is gone, or so slow that the queue is full.
    pub fn print(&self, line: Line) {
        // A reader that is gone was told of by the thread when it ended.
        if let Err(TrySendError::Full(_)) = self.queue.try_send(line)
            && self.dropped.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!("standard output is not read: result lines are dropped (records and messages are not)");
        }
    }

    /// Waits until everything queued is written, but not for longer than `patience`. Says whether every line was written.
    pub fn finish(self, patience: Duration) -> bool {
        let Self { queue, done, dropped } = self;
        drop(queue);
        done.recv_timeout(patience).unwrap_or(false) && dropped.into_inner() == 0
    }
}

/// Writes until the printer is finished or the reader is gone; `true`: all was written.
fn write_all(mut out: impl Write, lines: &Receiver<Line>) -> bool {
    for line in lines {
        if let Err(error) = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()) {
            tracing::warn!(%error, "standard output is gone: no more result lines (records and messages go on)");
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
