//! Stores records: one SQLite thread commits each one before the lamp answers.
//!
//! [`Journal`] is the writing side: a handle to the thread that owns the file. [`reader::Reader`] is the reading side, with
//! a connection of its own. A journal that cannot be written is a state, not an error: scans are answered `journal_fault`,
//! and the thread tries again every second.

pub mod export;
mod files;
mod inbox;
mod machine;
mod mark;
mod pages;
pub mod reader;
mod retention;
mod row;
mod salvage;
mod schema;
mod settled;
mod store;
pub mod story;
pub mod survey;
#[cfg(test)]
mod tests;
mod trouble;
mod upgrade;
mod writer;

pub use row::Stored;
pub use settled::Unsent;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use uuid::Uuid;

use crate::{
    health::{JournalCondition, JournalHealth},
    record::{RawScan, Record, Recorded, ToRecord},
    runtime::name::Name,
};
use inbox::{Request, Shared, Ticket};
use reader::Reader;
use store::Fate;

/// `[journal]`, with where it lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `journal.sqlite` lives here; made with mode 0700 if missing.
    pub state_dir: PathBuf,
    /// Delivered rows are kept this long.
    pub keep: Duration,
    /// The scanned text of what was no serial number is kept this long.
    pub keep_raw: Duration,
    /// Bound of the journal in bytes.
    pub max_bytes: u64,
}

/// Why a journal was not opened. A bad file, a full or a read-only disk is none of these.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// Another agent works on it.
    #[error("{} is in use by another benchlight; stop that one, or give this one a state_dir of its own", .0.display())]
    InUse(PathBuf),
    /// The system gives no thread.
    #[error("cannot start the journal's thread")]
    Thread(#[source] std::io::Error),
}

/// Why a record is not safe on disk. The answer to its scan is `unknown/journal_fault`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No space left.
    #[error("the disk is full; free some space")]
    Full,
    /// The disk or the file is read-only.
    #[error("the disk is read-only; check the card and its filesystem")]
    ReadOnly,
    /// The disk did not confirm within a second.
    #[error("the disk did not confirm the record within a second")]
    Slow,
    /// Anything else, in words.
    #[error("the journal cannot be written: {0}")]
    Broken(String),
}

impl Fault {
    /// What health says of it.
    pub const fn condition(&self) -> JournalCondition {
        match self {
            Self::Full => JournalCondition::Full,
            Self::ReadOnly => JournalCondition::ReadOnly,
            Self::Slow => JournalCondition::Slow,
            Self::Broken(_) => JournalCondition::Fault,
        }
    }
}

/// The writing side of the journal. Clones share one thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    _last: Arc<Closing>,
}

/// Tells the thread to end when the last handle goes.
#[derive(Debug)]
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Journal {
    /// Opens the journal in `state_dir` for the machine named `machine` (see [`crate::runtime::machine::identity`]) and starts its thread.
    ///
    /// A file that is damaged, foreign or newer is moved away, what reads of it is salvaged, and the journal works on in a new
    /// epoch. A directory that cannot be written leaves a journal that answers [`Fault`] until it can be.
    /// Blocks for some milliseconds.
    pub fn open(settings: &Settings, machine: &str) -> Result<Self, OpenFault> {
        let shared = writer::start(settings, machine)?;
        Ok(Self {
            _last: Arc::new(Closing(Arc::clone(&shared))),
            shared,
        })
    }

    /// Queues the bytes of a scan. Never blocks and never fails: beyond 1,024 waiting scans the bytes are dropped and counted.
    ///
    /// A scan without a record at the next start counts as interrupted; its record closes it.
    pub fn scanned(&self, scan: RawScan) {
        self.shared.scanned(scan);
    }

    /// Writes `records` in one transaction, each with the next `seq`, and syncs it to disk.
    ///
    /// Resolves within one second of being called, whatever the disk does. After an error none of them counts: if the disk
    /// confirms them later all the same, each is followed by what `if_late` holds for it. So it is when this future is dropped.
    pub async fn record(&self, records: impl Into<ToRecord>) -> Result<Vec<Recorded>, Fault> {
        let ToRecord { records, if_late } = records.into();
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let many = records.len() as u64;
        let scans: Vec<(Uuid, Fate)> = records
            .iter()
            .filter_map(|record| record.raw_scan)
            .map(|scan| (scan, Fate::Faulted))
            .collect();
        let ticket = Arc::new(Ticket::new());
        let _unheard = GiveUp(Arc::clone(&ticket));
        let (answer, mut answered) = oneshot::channel();
        self.shared.request(Request {
            records,
            if_late,
            ticket: Some(Arc::clone(&ticket)),
            answer: Some(answer),
        });

        let gone = || Fault::Broken("its thread has ended".to_owned());
        let result = match timeout(inbox::PATIENCE, &mut answered).await {
            Ok(answered) => answered.unwrap_or_else(|_| Err(gone())),
            Err(_) if ticket.give_up() => {
                self.shared.gave_up();
                Err(Fault::Slow)
            }
            // The commit returned in the same moment; its answer is on the way.
            Err(_) => answered.await.unwrap_or_else(|_| Err(gone())),
        };
        if result.is_err() {
            self.shared.faulted(many);
            self.shared.end_scans(scans);
        }
        result
    }

    /// Rows (see [`Stored::row`]) that the broker has acknowledged. They wait for nobody from now on. The file says so with the next
    /// record, or half a minute later: a kill in between repeats them and loses none.
    pub fn delivered(&self, rows: Vec<u64>) {
        self.shared.delivered(rows);
    }

    /// Sets a row aside: it stays, is listed in health, and is not offered until
    /// [`Journal::release_set_aside`].
    pub fn set_aside(&self, row: u64, why: &str) {
        self.shared.set_aside(row, why);
    }

    /// Remembers for the doctor whether this scanner's codes arrive without an end key. Written behind everything else.
    pub fn unended(&self, scanner: &Name, unended: bool) {
        self.shared.note(format!("unended {scanner}"), unended);
    }

    /// Does this journal continue an epoch of an earlier process, without a call of [`Journal::heard`] since? Until then no row may be
    /// sent: the journal may be an older copy, and its numbers may have been used.
    pub fn awaits_comparison(&self) -> bool {
        self.shared.awaits_comparison()
    }

    /// Compares the newest epoch and `seq` that the broker has heard of this station (`None`: it has none) with the journal. If the broker
    /// knows later records than the journal had when this process began, the journal continues in a new epoch, with what was recorded
    /// since. Resolves when rows may be sent.
    pub async fn heard(&self, newest: Option<(Uuid, u64)>) {
        let position = newest
            .filter(|(_, seq)| *seq <= schema::SEQ_MAX)
            .map(|(epoch, seq)| mark::Position { epoch, seq });
        let _ = self.shared.heard(position).await;
    }

    /// Offers every row that was set aside again. Returns how many there were; 0 too when the journal cannot be written.
    pub async fn release_set_aside(&self) -> u64 {
        self.shared.release().await.unwrap_or(0)
    }

    /// Waits until everything that [`Journal::delivered`] and [`Journal::set_aside`] have taken is written; 2 seconds at most.
    pub async fn flush(&self) {
        let _ = timeout(Duration::from_secs(2), self.shared.flush()).await;
    }

    /// The row of the newest record. It only grows: a publisher waits for it to change.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }

    /// Changes when older rows have come into the outbox again (salvaged, or no longer set aside): a publisher then reads
    /// [`reader::Reader::unsent`] from the start once more.
    pub fn returned(&self) -> watch::Receiver<u64> {
        self.shared.returned.subscribe()
    }

    /// The journal's health, as it changes.
    pub fn health(&self) -> watch::Receiver<JournalHealth> {
        self.shared.health.subscribe()
    }

    /// The current epoch; nil while the journal could not be opened yet. A salvage draws a new one.
    pub fn epoch(&self) -> Uuid {
        self.shared.health.borrow().epoch
    }

    /// The rows behind `after`, if they are those of the newest commit and `limit` at most: then nobody need read them from the file.
    /// They are given out once.
    pub fn at_hand(&self, after: u64, limit: usize) -> Option<Unsent> {
        self.shared.settled.at_hand(after, limit)
    }

    /// The reading side, with a connection of its own that is opened at the first question.
    pub fn reader(&self) -> Reader {
        Reader::of(Arc::clone(&self.shared))
    }

    /// Writes what is queued, closes the file and ends the thread; 3 seconds at most.
    pub async fn close(&self) {
        self.shared.close();
        let _ = timeout(Duration::from_secs(3), self.ended()).await;
    }

    /// Resolves when the journal's thread has ended. Before [`Journal::close`] that is a fault of this program.
    pub async fn ended(&self) {
        let mut ended = self.shared.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// With ids drawn now for what follows a late commit.
impl From<Vec<Record>> for ToRecord {
    fn from(records: Vec<Record>) -> Self {
        Self::new(records, Uuid::now_v7)
    }
}

/// A caller that is gone cannot light a lamp, so its record must not stand as shown.
struct GiveUp(Arc<Ticket>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.give_up();
    }
}
