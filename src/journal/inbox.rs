//! What waits for the writing thread, and the agreement by which a caller gives up.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::{Fault, Settings, mark::Position, settled::SettledRows, store::Fate};
use crate::{
    health::{JournalCondition, JournalHealth},
    record::{RawScan, Record, Recorded},
    runtime::clock::Boot,
};

/// How long a caller waits for the disk: it must have its answer within a second.
pub(super) const PATIENCE: Duration = Duration::from_millis(950);

/// Scans whose bytes may wait for the disk.
pub(super) const SCANS_WAITING: usize = 1024;

/// Requests that may wait before those that were given up are cleared away.
const REQUESTS_WAITING: usize = 256;

/// The agreement between one caller and the writer: exactly one of "given up" and "done" happens.
#[derive(Debug)]
pub(super) struct Ticket {
    state: AtomicU8,
    asked: Boot,
}

const OPEN: u8 = 0;
const GIVEN_UP: u8 = 1;
const DONE: u8 = 2;

impl Ticket {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(OPEN),
            asked: Boot::now(),
        }
    }

    /// The caller stops waiting. `false`: too late, the record is done and its answer is on the way.
    pub(super) fn give_up(&self) -> bool {
        self.state
            .compare_exchange(OPEN, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The record is on disk. `false`: too late, nobody waits for it any more.
    ///
    /// The writer looks at the boot-time clock itself: after a sleep of the whole machine or process the caller's timer
    /// may be the later one of the two.
    pub(super) fn done(&self) -> bool {
        if Boot::now().since(self.asked) >= PATIENCE {
            self.give_up();
        }
        self.state
            .compare_exchange(OPEN, DONE, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Has its time passed?
    pub(super) fn expired(&self) -> bool {
        self.state.load(Ordering::Acquire) != OPEN || Boot::now().since(self.asked) >= PATIENCE
    }
}

/// A group of records on its way to the disk. Without a ticket nobody waits for it and it must be written.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) records: Vec<Record>,
    /// What follows each of them, if it is confirmed too late.
    pub(super) if_late: Vec<Record>,
    pub(super) ticket: Option<Arc<Ticket>>,
    pub(super) answer: Option<oneshot::Sender<Result<Vec<Recorded>, Fault>>>,
}

impl Request {
    /// Has the caller's time passed?
    pub(super) fn expired(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.expired())
    }

    /// The commit has returned, and is `sure` to be on the disk. `false`: nobody waits for it any more, or it may not be relied on.
    pub(super) fn is_done(&self, sure: bool) -> bool {
        self.ticket
            .as_ref()
            .is_none_or(|ticket| sure && ticket.done())
    }

    /// Answers the caller, if it still listens.
    pub(super) fn answer(self, result: Result<Vec<Recorded>, Fault>) {
        if let Some(answer) = self.answer {
            let _ = answer.send(result);
        }
    }
}

/// What a check of every page found.
#[derive(Debug)]
pub(super) struct Checked {
    /// The file that was looked at, counted as [`Shared::generation`] does.
    pub(super) generation: u64,
    /// What is wrong with it.
    pub(super) damage: Option<String>,
}

/// What the broker has heard of this journal, as far as anybody knows.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) newest: Option<Position>,
    pub(super) answer: Option<oneshot::Sender<()>>,
}

/// What is to be written and for which nobody waits.
#[derive(Debug, Default)]
pub(super) struct Queued {
    pub(super) scans: VecDeque<RawScan>,
    pub(super) fates: Vec<(Uuid, Fate)>,
    /// Facts for the doctor, by their counter's name: on or off.
    pub(super) notes: BTreeMap<String, bool>,
    /// Scans answered `journal_fault`, not counted on disk yet.
    pub(super) faulted: u64,
    /// Scans whose bytes found no place, not counted on disk yet.
    pub(super) overflowed: u64,
}

impl Queued {
    /// Takes over what came later.
    pub(super) fn take(&mut self, mut later: Self) {
        self.scans.append(&mut later.scans);
        self.fates.append(&mut later.fates);
        self.notes.append(&mut later.notes);
        self.faulted += later.faulted;
        self.overflowed += later.overflowed;
    }

    /// Is there anything that goes with the next commit?
    pub(super) fn has_news(&self) -> bool {
        !self.scans.is_empty() || !self.fates.is_empty() || self.faulted + self.overflowed > 0
    }

    /// All but the notes is written.
    pub(super) fn committed(&mut self) {
        self.scans.clear();
        self.fates.clear();
        (self.faulted, self.overflowed) = (0, 0);
    }
}

/// Everything that waits.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) requests: VecDeque<Request>,
    pub(super) queued: Queued,
    pub(super) release: Vec<oneshot::Sender<u64>>,
    pub(super) flush: Vec<oneshot::Sender<()>>,
    pub(super) checked: Option<Checked>,
    /// The mark that was being written is written, or could not be.
    pub(super) marked: Option<bool>,
    pub(super) heard: Option<Heard>,
    /// A reader met damage.
    pub(super) suspected: bool,
    pub(super) closing: bool,
    /// Something changed that the writer must look at.
    nudged: bool,
    /// Scans that the writer holds back because it could not write them.
    held_back: usize,
}

impl Inbox {
    fn urgent(&self) -> bool {
        !self.requests.is_empty()
            || !self.queued.scans.is_empty()
            || !self.queued.fates.is_empty()
            || !self.queued.notes.is_empty()
            || !self.release.is_empty()
            || !self.flush.is_empty()
            || self.checked.is_some()
            || self.marked.is_some()
            || self.heard.is_some()
            || self.suspected
            || self.nudged
            || self.closing
    }
}

/// What the handles, the readers and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) machine: String,
    pub(super) health: watch::Sender<JournalHealth>,
    pub(super) newest: watch::Sender<u64>,
    /// Counts the times that older rows came into the outbox again.
    pub(super) returned: watch::Sender<u64>,
    pub(super) ended: watch::Sender<bool>,
    /// Counts the files: another number means that readers must open the file again.
    pub(super) generation: AtomicU64,
    /// The journal goes on in an epoch of an earlier process, and it has not been compared with what the broker has heard.
    awaits_comparison: AtomicBool,
    /// Held for writing while the file is replaced. A connection opens database and log by name, one after the other: in
    /// between they must not become another file's.
    pub(super) replacing: RwLock<()>,
    /// Rows that are settled where the file does not say so yet.
    pub(super) settled: Arc<SettledRows>,
    inbox: Mutex<Inbox>,
    /// Readable while the inbox may hold something new (eventfd).
    woken: OwnedFd,
    #[cfg(test)]
    pub(super) seam: Mutex<Seam>,
}

/// For bad days that a test cannot make from outside: what is done, once, to the writing connection before anything else.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Seam(pub(super) Option<BadDay>);

#[cfg(test)]
pub(super) type BadDay = Box<dyn FnOnce(&mut rusqlite::Connection) + Send>;

#[cfg(test)]
impl std::fmt::Debug for Seam {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Seam")
    }
}

impl Shared {
    /// # Errors
    /// The system gives no eventfd.
    pub(super) fn new(settings: Settings, machine: String) -> io::Result<Self> {
        Ok(Self {
            settings,
            machine,
            health: watch::Sender::new(JournalHealth::sound(Uuid::nil())),
            newest: watch::Sender::new(0),
            returned: watch::Sender::new(0),
            ended: watch::Sender::new(false),
            generation: AtomicU64::new(0),
            awaits_comparison: AtomicBool::new(false),
            replacing: RwLock::default(),
            settled: Arc::default(),
            inbox: Mutex::default(),
            woken: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            #[cfg(test)]
            seam: Mutex::default(),
        })
    }

    /// The database file.
    pub(super) fn path(&self) -> std::path::PathBuf {
        self.settings.state_dir.join("journal.sqlite")
    }

    /// Waits until there is something to do, `due` has come or `files` can be read, and takes everything.
    pub(super) fn wait(&self, due: Instant, files: Option<&OwnedFd>) -> Inbox {
        let mut touched = false;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let mut inbox = self.lock();
            if inbox.urgent() || touched || left.is_zero() {
                let held_back = inbox.held_back + inbox.queued.scans.len();
                let closing = inbox.closing;
                return std::mem::replace(
                    &mut *inbox,
                    Inbox {
                        held_back,
                        closing,
                        ..Inbox::default()
                    },
                );
            }
            drop(inbox);
            touched = self.sleep(left, files);
        }
    }

    /// Sleeps until somebody tells something, the time is over or `files` can be read; `true`: they can.
    fn sleep(&self, time: Duration, files: Option<&OwnedFd>) -> bool {
        let time = Timespec::try_from(time).ok();
        let mut woken = [
            PollFd::new(&self.woken, PollFlags::IN),
            PollFd::new(files.unwrap_or(&self.woken), PollFlags::IN),
        ];
        // A signal ends it early: whoever waits goes on waiting.
        let _ = poll(&mut woken, time.as_ref());
        let [told, touched] = woken.map(|fd| !fd.revents().is_empty());
        if told {
            let _ = rustix::io::read(&self.woken, &mut [0; 8]);
        }
        touched && files.is_some()
    }

    /// Is a caller waiting for the disk?
    pub(super) fn hurried(&self) -> bool {
        let inbox = self.lock();
        !inbox.requests.is_empty() || !inbox.queued.scans.is_empty() || inbox.closing
    }

    /// The writer holds this many scans back: they count against the bound.
    pub(super) fn hold_back(&self, scans: usize) {
        self.lock().held_back = scans;
    }

    pub(super) fn scanned(&self, scan: RawScan) {
        self.tell(|inbox| {
            if inbox.queued.scans.len() + inbox.held_back < SCANS_WAITING {
                inbox.queued.scans.push_back(scan);
            } else {
                inbox.queued.overflowed += 1;
            }
        });
    }

    pub(super) fn end_scans(&self, fates: Vec<(Uuid, Fate)>) {
        self.tell(|inbox| {
            // While the disk is away these queue up like the scans, and are bounded like them.
            let room = SCANS_WAITING.saturating_sub(inbox.queued.fates.len());
            inbox.queued.fates.extend(fates.into_iter().take(room));
        });
    }

    pub(super) fn request(&self, request: Request) {
        self.tell(|inbox| {
            // A disk that hangs for hours must not fill the memory with what nobody waits for.
            if inbox.requests.len() >= REQUESTS_WAITING {
                inbox.requests.retain(|waiting| !waiting.expired());
            }
            inbox.requests.push_back(request);
        });
    }

    pub(super) fn delivered(&self, rows: Vec<u64>) {
        let news = self.settled.delivered(rows, Instant::now());
        self.tell_unsent();
        if news {
            self.nudge();
        }
    }

    pub(super) fn set_aside(&self, row: u64, why: &str) {
        self.settled.set_aside(row, why.to_owned(), Instant::now());
        self.tell_unsent();
        self.nudge();
    }

    /// Takes the number of unsent rows into health.
    pub(super) fn tell_unsent(&self) {
        self.health.send_if_modified(|health| {
            let unsent = self.settled.unsent();
            std::mem::replace(&mut health.unsent, unsent) != unsent
        });
    }

    pub(super) fn note(&self, name: String, on: bool) {
        self.tell(|inbox| {
            inbox.queued.notes.insert(name, on);
        });
    }

    pub(super) async fn release(&self) -> Option<u64> {
        let (done, released) = oneshot::channel();
        self.tell(|inbox| inbox.release.push(done));
        released.await.ok()
    }

    pub(super) async fn flush(&self) -> Option<()> {
        let (done, flushed) = oneshot::channel();
        self.tell(|inbox| inbox.flush.push(done));
        flushed.await.ok()
    }

    pub(super) async fn heard(&self, newest: Option<Position>) -> Option<()> {
        let (done, compared) = oneshot::channel();
        self.tell(|inbox| {
            inbox.heard = Some(Heard {
                newest,
                answer: Some(done),
            })
        });
        compared.await.ok()
    }

    pub(super) fn await_comparison(&self) {
        self.awaits_comparison.store(true, Ordering::Release);
    }

    pub(super) fn compared(&self) {
        self.awaits_comparison.store(false, Ordering::Release);
    }

    pub(super) fn awaits_comparison(&self) -> bool {
        self.awaits_comparison.load(Ordering::Acquire)
    }

    pub(super) fn checked(&self, checked: Checked) {
        self.tell(|inbox| inbox.checked = Some(checked));
    }

    pub(super) fn marked(&self, written: bool) {
        self.tell(|inbox| inbox.marked = Some(written));
    }

    pub(super) fn suspect(&self) {
        self.tell(|inbox| inbox.suspected = true);
    }

    pub(super) fn close(&self) {
        self.tell(|inbox| inbox.closing = true);
    }

    /// A caller's second passed.
    pub(super) fn gave_up(&self) {
        self.health.send_if_modified(|health| {
            let well = health.state == JournalCondition::Ok;
            if well {
                health.state = JournalCondition::Slow;
                tracing::warn!("the disk did not confirm a record within a second; scans are answered journal_fault until it does");
            }
            well
        });
        self.nudge();
    }

    pub(super) fn faulted(&self, records: u64) {
        self.lock().queued.faulted += records;
        self.health
            .send_modify(|health| health.faulted = health.faulted.saturating_add(records));
    }

    /// The file now open, for readers.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Lets the writer look up.
    fn nudge(&self) {
        self.tell(|inbox| inbox.nudged = true);
    }

    #[cfg(test)]
    pub(super) fn seam(&self, store: Option<&mut super::store::Store>) {
        if let Some(store) = store
            && let Some(seam) = self
                .seam
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .0
                .take()
        {
            seam(&mut store.conn);
        }
    }

    fn tell(&self, say: impl FnOnce(&mut Inbox)) {
        say(&mut self.lock());
        // Fails only while 2^64 - 1 others have told something, too.
        let _ = rustix::io::write(&self.woken, &1u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
