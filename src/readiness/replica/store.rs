//! The replica's file: one for all sources, written by one thread, read beside it.
//!
//! It never fails to open. What is wrong with the file is a fault of the next pass; look-ups then find nothing.

mod beside;
mod bitmap;
mod files;
mod filling;
mod opened;
mod reader;
mod schema;
mod strikes;
mod trouble;
mod writer;

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
};

use rusqlite::ErrorCode;
use tokio::sync::{oneshot, watch};

use super::{ListedRow, ReadAt, StoredFacts, StoredRow};
use crate::{
    label::Serial,
    runtime::{clock::Boot, credential::Secret, name::Name},
};
use opened::OfSource;
use reader::{Reader, Rows};
use strikes::Strikes;
use writer::{Reply, Request, Which, Writer};

pub use beside::{ReadFault, Survey, clear, survey};
pub use filling::Counts;
pub use trouble::StoreFault;

/// Where the replica is.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("replica.sqlite")
}

/// A list without an end must not fill the disk: four million rows.
const LARGEST_FILE: u64 = 1 << 30;

/// The replica of all sources. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    requests: Sender<Request>,
}

/// What look-ups and the thread share.
#[derive(Default)]
struct Shared {
    /// `None`: there is no file that can be trusted.
    reader: Mutex<Option<Reader>>,
    strikes: Mutex<Strikes>,
    /// How many files were deleted.
    emptied: watch::Sender<u64>,
}

impl Shared {
    fn strikes(&self) -> MutexGuard<'_, Strikes> {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Option<Reader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_reading(&self, reader: Reader) {
        *self.reader() = Some(reader);
    }

    fn close_reading(&self) {
        *self.reader() = None;
    }
}

/// What a source's replica says of some serial numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Their `read_at` is the start of the last complete pass.
    pub facts: Arc<StoredFacts>,
    /// For each serial number, in the order in which they were asked for.
    pub held: Vec<Held>,
}

/// What the replica holds of one serial number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// No row.
    Nothing,
    /// A row that must not answer: it is struck or damaged.
    Doubted,
    /// All of its rows.
    Rows(Vec<StoredRow>),
}

/// What is known of a source's replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Rows in the file.
    pub rows: u64,
    /// The last complete pass; `None`: there was none yet.
    pub complete: Option<Complete>,
    /// How many records a later pass has found, if they were too few to be believed.
    pub short: Option<u64>,
}

/// A complete pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete {
    pub start: ReadAt,
    /// Records that it found.
    pub rows: u64,
    /// Requests that it took.
    pub reads: u64,
}

impl Status {
    fn of(source: &OfSource) -> Self {
        Self {
            rows: source.held.count(),
            complete: source.mark.map(|mark| mark.of),
            short: source.short,
        }
    }
}

impl Store {
    /// Opens the file at `path`, or makes it. A file that is damaged or of something else is deleted. It is read through in the
    /// background; until then nothing is found.
    pub fn open(path: &Path) -> Self {
        Self::with_limit(path, LARGEST_FILE)
    }

    /// The replicas of these sources; without one there is no file. Nothing is kept of a source that has no replica any more: that is
    /// deleted, and said once.
    pub fn of(path: &Path, sources: BTreeSet<Name>) -> Option<Self> {
        if !sources.is_empty() {
            let store = Self::open(path);
            let _ = store.requests.send(Request::KeepOnly(sources));
            return Some(store);
        }
        if path.symlink_metadata().is_ok() {
            let (deleted, path) = (Self::delete(path), path.display());
            match deleted {
                Ok(()) => tracing::info!("no source has a replica any more: {path} is deleted"),
                Err(error) => {
                    tracing::warn!(
                        "no source has a replica any more, and {path} cannot be deleted: {error}"
                    );
                }
            }
        }
        None
    }

    fn with_limit(path: &Path, largest: u64) -> Self {
        let (requests, served) = channel();
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(path.to_owned(), largest, Arc::clone(&shared));
        let started = thread::Builder::new()
            .name("replica".to_owned())
            .spawn(move || writer.run(&served));
        if let Err(error) = started {
            tracing::warn!("the replica's thread cannot be started: {error}");
        }
        Self { shared, requests }
    }

    /// Deletes the replica at `path`. Nobody may have it open.
    ///
    /// # Errors
    /// What the system says.
    pub fn delete(path: &Path) -> io::Result<()> {
        files::remove(path)
    }

    /// Begins a pass of a source, which replaces one under way. `start` is the moment before the first request of the pass. What was
    /// filled from another account is deleted first; with another credential the rows answer again, because the account is the same.
    ///
    /// # Errors
    /// [`StoreFault`]: the file cannot be written.
    pub async fn begin(
        &self,
        source: &Name,
        account: &str,
        credential: &Secret,
        start: ReadAt,
    ) -> Result<Pass, StoreFault> {
        let begin = |reply| Request::Begin {
            source: source.clone(),
            account: account.to_owned(),
            credential: credential.reveal().to_owned(),
            start,
            reply,
        };
        let (pass, rows_before) = self.ask(begin).await?;
        Ok(Pass {
            store: self.clone(),
            which: Which {
                source: source.clone(),
                pass,
            },
            rows_before,
            is_over: false,
        })
    }

    /// What is held of these serial numbers. `None`: no pass of the source was complete, it was filled with another credential, or the
    /// file cannot be read. Blocks for as long as some reads of the file take, usually well below a millisecond.
    pub fn look_up(&self, source: &Name, credential: &Secret, serials: &[Serial]) -> Option<Found> {
        let mut reading = self.shared.reader();
        let reader = reading.as_mut()?;
        if !reader.is_there() {
            *reading = None;
            let _ = self
                .requests
                .send(Request::Doubt("its file is gone".to_owned()));
            return None;
        }
        let looked = match reader.look_up(source, credential.reveal(), serials) {
            Ok(looked) => looked?,
            // Somebody else holds the file: that says nothing about it.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                return None;
            }
            Err(error) => {
                *reading = None;
                let _ = self.requests.send(Request::Doubt(error.to_string()));
                return None;
            }
        };
        drop(reading);
        let strikes = self.shared.strikes();
        let held = looked.rows.into_iter().zip(serials).map(|(rows, serial)| {
            let rows = match rows {
                Rows::Damaged => return Held::Doubted,
                Rows::Sound(rows) => rows,
            };
            let struck = |(_, place): &(_, _)| strikes.is_struck(source, serial, *place);
            match rows {
                rows if rows.is_empty() => Held::Nothing,
                rows if rows.iter().any(struck) => Held::Doubted,
                rows => Held::Rows(rows.into_iter().map(|(row, _)| row).collect()),
            }
        });
        Some(Found {
            facts: looked.facts,
            held: held.collect(),
        })
    }

    /// Strikes the rows of a serial number: a live answer that came at `at` says otherwise. They do not answer until a page that was
    /// requested later brings them again. Counts at once, and soon over a restart.
    pub fn strike(&self, source: &Name, serial: &Serial, at: Boot) {
        self.shared.strikes().strike(source, serial, at);
        let _ = self.requests.send(Request::Strikes);
    }

    /// What is known of a source. `None`: it was never filled.
    ///
    /// # Errors
    /// [`StoreFault`]: the file cannot be used.
    pub async fn status(&self, source: &Name) -> Result<Option<Status>, StoreFault> {
        self.ask(|reply| Request::Status(source.clone(), reply))
            .await
    }

    /// Changes when the file was deleted because it could not be trusted: there is no row any more.
    pub fn emptied(&self) -> watch::Receiver<u64> {
        self.shared.emptied.subscribe()
    }

    /// Deletes all rows of a source.
    ///
    /// # Errors
    /// [`StoreFault`]: they may still be there.
    pub async fn clear(&self, source: &Name) -> Result<(), StoreFault> {
        self.ask(|reply| Request::Clear(source.clone(), reply))
            .await
    }

    /// Writes what waits for the disk, so that a look-up finds it.
    ///
    /// # Errors
    /// [`StoreFault`]: it could not be written.
    pub async fn commit(&self) -> Result<(), StoreFault> {
        self.ask(Request::Commit).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreFault> {
        let (reply, answer) = oneshot::channel();
        let gone = || StoreFault::Other("its thread has ended".to_owned());
        self.requests.send(request(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Store")
    }
}

/// A pass under way. Dropped before [`Pass::finish`] it was not complete: it deletes and confirms nothing.
#[derive(Debug)]
pub struct Pass {
    store: Store,
    which: Which,
    rows_before: Option<u64>,
    is_over: bool,
}

impl Pass {
    /// How many records the last complete pass found; `None`: there was none.
    pub const fn rows_before(&self) -> Option<u64> {
        self.rows_before
    }

    /// Writes what a page brought that is new or different. `asked_at`: when the page was requested.
    ///
    /// # Errors
    /// [`StoreFault`]: the pass cannot go on.
    pub async fn page(
        &mut self,
        rows: Vec<ListedRow>,
        asked_at: Boot,
    ) -> Result<Counts, StoreFault> {
        let page = |reply| Request::Page {
            which: self.which.clone(),
            rows,
            asked_at,
            reply,
        };
        self.store.ask(page).await
    }

    /// All pages were read, and so few records that another pass must find the same before they count: it confirms and deletes nothing.
    ///
    /// # Errors
    /// [`StoreFault`]: that it was so is not in the file.
    pub async fn shrunken(mut self, rows: u64) -> Result<(), StoreFault> {
        self.is_over = true;
        let shrunken = |reply| Request::Shrunken(self.which.clone(), rows, reply);
        self.store.ask(shrunken).await
    }

    /// All pages were read, in `reads` requests: deletes the rows that none of them brought, and then confirms the rest. Returns how many
    /// were deleted.
    ///
    /// # Errors
    /// [`StoreFault`]: the pass confirms nothing.
    pub async fn finish(mut self, facts: Vec<u8>, reads: u64) -> Result<u64, StoreFault> {
        self.is_over = true;
        let finish = |reply| Request::Finish {
            which: self.which.clone(),
            facts,
            reads,
            reply,
        };
        self.store.ask(finish).await
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.is_over {
            let abandon = Request::Abandon(self.which.clone());
            let _ = self.store.requests.send(abandon);
        }
    }
}

#[cfg(test)]
mod tests;
