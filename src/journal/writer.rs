//! The one thread that writes: outcomes first and together, then marks, then upkeep in small steps while nobody waits.

mod keep;
mod upkeep;

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Fault, OpenFault, Settings, Stored,
    inbox::{Inbox, Request, Seen, Shared},
    machine,
    mark::Place,
    retention,
    salvage::{Salvage, TakenAway},
    schema,
    store::{Batch, Fate, Store, Trouble, Written},
};
use crate::{
    health::JournalHealth,
    reason::{Reason, Signal},
    record::{Cause, Change, RawScan, Record},
};
use keep::Blocked;

/// How often a journal that cannot be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Rows changed before the log is written back while nobody waits, and after which it is done all the same. A scan that comes
/// just then waits for it: much more at once took a busy disk over a second.
const CHECKPOINT_IDLE: u64 = 500;
const CHECKPOINT_NOW: u64 = 2_000;
/// How long nobody must have come before the log is written back.
const IDLE: Duration = Duration::from_millis(300);
/// For how long health names a salvage.
const ALARM: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Marks written in one transaction.
const MARKS: usize = 256;

/// Opens the journal as far as it can be, and starts the thread.
pub(super) fn start(settings: &Settings, machine: &str) -> Result<Arc<Shared>, OpenFault> {
    let shared = Arc::new(Shared::new(settings.clone(), machine::hashed(machine)));
    let mut writer = Writer::new(Arc::clone(&shared));
    match writer.open() {
        Ok(()) => writer.well(),
        Err(Blocked::InUse) => return Err(OpenFault::InUse(settings.state_dir.clone())),
        Err(Blocked::Trouble(trouble)) => writer.unwell(&trouble),
    }
    let ended = Ended(Arc::clone(&shared));
    let thread = thread::Builder::new().name("journal".to_owned());
    thread
        .spawn(move || {
            // After the writer with its lock is gone.
            let _ended = ended;
            writer.run();
        })
        .map_err(OpenFault::Thread)?;
    Ok(shared)
}

/// What became of one group of records in a commit.
type Group = Result<Vec<Stored>, String>;

/// The thread's own state.
struct Writer {
    shared: Arc<Shared>,
    /// The directory, locked for life: one agent in each.
    lock: Option<File>,
    store: Option<Store>,
    /// The first opening has closed the scans of the process before.
    interrupted_closed: bool,
    scans: VecDeque<RawScan>,
    fates: Vec<(Uuid, Fate)>,
    sent: VecDeque<u64>,
    aside: Vec<(u64, String)>,
    notes: BTreeMap<String, bool>,
    faulted: u64,
    overflowed: u64,
    /// Changes that take back what was committed too late.
    late: VecDeque<Vec<Record>>,
    retry_at: Option<Instant>,
    upkeep_at: Instant,
    busy_at: Instant,
    /// `total_changes` at the last checkpoint.
    checkpointed: u64,
    /// What else is in the log, in changes: pages that retention moved, and what the process before left behind.
    unwritten_before: u64,
    /// When the files are looked at again.
    look_at: Instant,
    /// Connections whose files have lost their names: what they hold goes over, and ends with this process.
    taken_away: Vec<TakenAway>,
    /// What the mark says, a mark on its way to the disk, and when one is tried again that could not be written.
    marked: Option<Place>,
    marking: Option<(Place, JoinHandle<io::Result<()>>)>,
    mark_again: Option<Instant>,
    /// What the broker has heard of this journal, until it was held against it.
    seen: Option<Seen>,
    salvage: Option<Salvage>,
    /// A file set aside could not be opened for a passing reason: when to try again.
    salvage_due: Option<Instant>,
    salvaged_at: Option<Instant>,
    checking: bool,
    /// When every page is to be looked at.
    check_due: Option<Instant>,
    closing: bool,
}

impl Writer {
    fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            lock: None,
            store: None,
            interrupted_closed: false,
            scans: VecDeque::new(),
            fates: Vec::new(),
            sent: VecDeque::new(),
            aside: Vec::new(),
            notes: BTreeMap::new(),
            faulted: 0,
            overflowed: 0,
            late: VecDeque::new(),
            retry_at: None,
            upkeep_at: now,
            busy_at: now,
            checkpointed: 0,
            unwritten_before: 0,
            look_at: now,
            taken_away: Vec::new(),
            marked: None,
            marking: None,
            mark_again: None,
            seen: None,
            salvage: None,
            salvage_due: None,
            salvaged_at: None,
            checking: false,
            check_due: None,
            closing: false,
        }
    }

    fn run(mut self) {
        while !self.closing {
            let due = self.due();
            let mut work = self.shared.wait(due);
            self.closing = work.closing;
            let requests = self.keep(&mut work);
            if !requests.is_empty() {
                self.busy_at = Instant::now();
            }
            self.outcomes(requests);
            self.marks();
            self.answer(work.release, work.flush);
            if let Some(checked) = work.checked {
                self.checked(checked);
            }
            if work.suspected {
                self.check();
            }
            self.look();
            self.mark();
            self.recover();
            self.confirm();
            self.upkeep();
        }
        // A late request must not be left without its answer.
        let left = self.shared.wait(Some(Instant::now()));
        for request in left.requests {
            request.answer(Err(Fault::Broken("it is being closed".to_owned())));
        }
        self.last_mark();
        if let Some(mut store) = self.store.take() {
            let _ = store.checkpoint(true);
        }
    }

    /// Takes over what may have to wait for the disk; returns the requests.
    fn keep(&mut self, work: &mut Inbox) -> VecDeque<Request> {
        self.scans.append(&mut work.scans);
        self.fates.append(&mut work.fates);
        self.sent.extend(work.sent.drain(..));
        self.aside.append(&mut work.aside);
        self.notes.append(&mut work.notes);
        self.faulted += work.faulted;
        self.overflowed += work.overflowed;
        if work.seen.is_some() {
            self.seen = work.seen.take();
        }
        std::mem::take(&mut work.requests)
    }

    /// When the thread must look up without being asked.
    fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        if self.store.is_none() || self.retry_at.is_some() {
            return Some(self.retry_at.unwrap_or(now + RETRY));
        }
        if !self.late.is_empty() || self.salvage.is_some() {
            return Some(now);
        }
        let checkpoint = (self.unwritten() >= CHECKPOINT_IDLE).then_some(self.busy_at + IDLE);
        [
            Some(self.upkeep_at),
            Some(self.look_at),
            self.salvage_due,
            self.check_due,
            checkpoint,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Writes everything that callers and lamps wait for. Every request is answered, except those that gave up.
    fn outcomes(&mut self, requests: VecDeque<Request>) {
        let Err((requests, mut trouble)) = self.commit(requests, true) else {
            return;
        };
        // Each alone, with nothing beside it: what one cannot write must not spoil the others.
        let mut failed = Vec::new();
        for request in requests {
            if let Err((requests, its)) = self.commit(VecDeque::from([request]), false) {
                failed.extend(requests);
                trouble = its;
            }
        }
        self.unwell(&trouble);
        for request in failed {
            request.answer(Err(fault_of(&trouble)));
        }
    }

    /// Commits `requests` together, with all that waits (`rest`) or without. Gives back what could not be written.
    fn commit(
        &mut self,
        mut requests: VecDeque<Request>,
        rest: bool,
    ) -> Result<(), (VecDeque<Request>, Trouble)> {
        loop {
            requests = self.answer_expired(requests);
            let late = if rest {
                std::mem::take(&mut self.late)
            } else {
                VecDeque::new()
            };
            let counts = [
                ("faulted", self.faulted),
                ("scans_overflowed", self.overflowed),
            ];
            let anything = rest
                && !(self.scans.is_empty()
                    && self.fates.is_empty()
                    && self.faulted + self.overflowed == 0);
            if requests.is_empty() && late.is_empty() && !anything {
                return Ok(());
            }
            if let Err(trouble) = self.opened() {
                self.late = late;
                return Err((requests, trouble));
            }
            let Some(store) = self.store.as_mut() else {
                self.late = late;
                return Err((requests, Trouble::Other("it is not open".to_owned())));
            };
            let groups = late
                .iter()
                .map(Vec::as_slice)
                .chain(requests.iter().map(|request| request.records.as_slice()))
                .collect();
            let batch = if rest {
                Batch {
                    scans: Some(&self.scans),
                    fates: &self.fates,
                    groups,
                    counts: &counts,
                }
            } else {
                Batch {
                    groups,
                    ..Batch::default()
                }
            };
            #[cfg(test)]
            if let Some(sql) = self
                .shared
                .seam
                .lock()
                .ok()
                .and_then(|mut seam| seam.run.take())
            {
                store.conn.execute_batch(&sql).ok();
            }
            let wanted = || {
                let wanted = !requests.iter().any(Request::expired);
                #[cfg(test)]
                if let Some(time) = self
                    .shared
                    .seam
                    .lock()
                    .ok()
                    .and_then(|mut seam| seam.commit_takes.take())
                {
                    thread::sleep(time);
                }
                wanted
            };
            match store.write(&batch, wanted) {
                Ok(Written::Committed(mut written)) => {
                    if rest {
                        self.scans.clear();
                        self.shared.hold_back(0);
                        self.fates.clear();
                        (self.faulted, self.overflowed) = (0, 0);
                    }
                    let answers = written.split_off(late.len().min(written.len()));
                    // What a filesystem said of its syncs counts only if it could still be written by then.
                    let unsure = store.writable().err();
                    self.committed(written, requests, answers, unsure.as_ref());
                    // A commit that came too late left changes to write, at once.
                    requests = VecDeque::new();
                    if self.late.is_empty() || !rest {
                        return Ok(());
                    }
                }
                Ok(Written::GivenUp) => self.late = late,
                Err(Trouble::Busy) if !requests.is_empty() => self.late = late,
                Err(Trouble::Corrupt(why)) => {
                    self.late = late;
                    if let Err(trouble) = self.replace(&why) {
                        return Err((requests, trouble));
                    }
                }
                Err(trouble) => {
                    self.late = late;
                    return Err((requests, trouble));
                }
            }
        }
    }

    /// Answers the callers of a commit, and takes back what nobody waits for any more.
    fn committed(
        &mut self,
        late: Vec<Group>,
        requests: VecDeque<Request>,
        written: Vec<Group>,
        unsure: Option<&Trouble>,
    ) {
        let rows = late.iter().chain(&written).flatten().flatten().count() as u64;
        let newest = late
            .iter()
            .chain(&written)
            .flatten()
            .flatten()
            .map(|stored| stored.row)
            .max();
        for error in late.into_iter().filter_map(Result::err) {
            tracing::error!("a change to journal_fault could not be recorded: {error}");
        }
        let mut answers = Vec::with_capacity(requests.len());
        for (request, group) in requests.into_iter().zip(written) {
            let answer = match group {
                Ok(stored)
                    if request
                        .ticket
                        .as_ref()
                        .is_none_or(|ticket| unsure.is_none() && ticket.done()) =>
                {
                    Ok(stored.into_iter().map(|stored| stored.recorded).collect())
                }
                Ok(stored) => {
                    self.late.push_back(
                        stored
                            .into_iter()
                            .map(|stored| taken_back(stored.recorded.record))
                            .collect(),
                    );
                    Err(unsure.map_or(Fault::Slow, fault_of))
                }
                Err(error) => Err(Fault::Broken(error)),
            };
            answers.push((request, answer));
        }
        if let Some(newest) = newest {
            self.shared.health.send_modify(|health| {
                health.unsent += rows;
                health.seq = schema::seq_of(newest.cast_signed());
            });
            self.shared
                .newest
                .send_if_modified(|known| std::mem::replace(known, newest.max(*known)) < newest);
        }
        if !self.late.is_empty() {
            self.shared.gave_up();
        } else if answers.iter().any(|(_, answer)| answer.is_ok()) {
            self.well();
        }
        for (request, answer) in answers {
            request.answer(answer);
        }
    }

    fn answer_expired(&self, requests: VecDeque<Request>) -> VecDeque<Request> {
        let (expired, waiting): (VecDeque<_>, VecDeque<_>) =
            requests.into_iter().partition(Request::expired);
        if !expired.is_empty() {
            self.shared.gave_up();
        }
        for request in expired {
            request.answer(Err(Fault::Slow));
        }
        waiting
    }

    /// Writes what the publisher reported, a batch at a time, behind whoever waits for a lamp; then what the doctor may ask for.
    fn marks(&mut self) {
        while !(self.sent.is_empty() && self.aside.is_empty()) {
            let Some(store) = self.store.as_mut() else {
                return;
            };
            let rows: Vec<u64> = self.sent.iter().take(MARKS).copied().collect();
            let marked = store
                .mark_sent(&rows, Timestamp::now())
                .and_then(|marked| store.set_aside(&self.aside).map(|()| marked));
            match marked {
                Ok(marked) => {
                    self.sent.drain(..rows.len());
                    if self.aside.is_empty() && self.shared.health.borrow().set_aside.is_empty() {
                        self.shared.health.send_if_modified(|health| {
                            health.unsent = health.unsent.saturating_sub(marked);
                            marked > 0
                        });
                    } else {
                        self.aside.clear();
                        self.tell();
                    }
                }
                Err(Trouble::Corrupt(why)) => {
                    // The rows are in the file set aside now; those that are salvaged as unsent are delivered once more.
                    self.sent.clear();
                    self.aside.clear();
                    if let Err(trouble) = self.replace(&why) {
                        self.unwell(&trouble);
                    }
                    return;
                }
                Err(trouble) => {
                    self.unwell(&trouble);
                    return;
                }
            }
            if !self.closing && self.shared.hurried() {
                // The rest goes on after the scan: `due` brings the thread back at once.
                self.upkeep_at = Instant::now();
                return;
            }
        }
        if let Some(store) = self.store.as_mut().filter(|_| !self.notes.is_empty()) {
            match store.note(&self.notes) {
                Ok(()) => self.notes.clear(),
                // Whatever is wrong is met by the next record, too, and told then.
                Err(trouble) => {
                    tracing::debug!("a note for the doctor is written later: {trouble:?}")
                }
            }
        }
    }

    fn answer(&mut self, release: Vec<oneshot::Sender<u64>>, flush: Vec<oneshot::Sender<()>>) {
        if !release.is_empty() {
            let released = self
                .store
                .as_mut()
                .and_then(|store| store.release().ok())
                .unwrap_or(0);
            if released > 0 {
                self.tell();
                self.shared.backlog.send_modify(|count| *count += 1);
            }
            for waiting in release {
                let _ = waiting.send(released);
            }
        }
        if !flush.is_empty() {
            self.marks();
            for waiting in flush {
                let _ = waiting.send(());
            }
        }
    }

    /// Tries a journal that cannot be written, once a second.
    fn recover(&mut self) {
        self.shared.hold_back(self.scans.len());
        let unwell = self.shared.health.borrow().state != "ok";
        if !unwell && self.store.is_some() {
            self.retry_at = None;
            return;
        }
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = Some(now + RETRY);
        let tried = self.opened().and_then(|()| match self.store.as_mut() {
            Some(store) => store.probe(),
            None => Ok(()),
        });
        match tried {
            // A disk that answers slowly is not well yet.
            Ok(()) if now.elapsed() < RETRY => {
                self.well();
                self.outcomes(VecDeque::new());
            }
            Ok(()) => {}
            Err(Trouble::Corrupt(why)) => {
                if let Err(trouble) = self.replace(&why) {
                    self.unwell(&trouble);
                }
            }
            Err(trouble) => {
                if trouble == Trouble::Full
                    && let Some(store) = &self.store
                {
                    let _ = retention::remove_copies(store, &self.shared.settings, true);
                }
                self.unwell(&trouble);
            }
        }
    }

    /// Takes the file's own numbers into health.
    fn tell(&self) {
        let Some(store) = &self.store else { return };
        let mut health = self.shared.health.borrow().clone();
        match store.tell(&mut health, alarm_since()) {
            Ok(()) => self.told(health),
            Err(trouble) => tracing::debug!("the journal's numbers cannot be read: {trouble:?}"),
        }
    }

    fn told(&self, mut health: JournalHealth) {
        health.faulted = health.faulted.saturating_add(self.faulted);
        self.shared.health.send_modify(|known| {
            // The callers change these two themselves.
            health.state = std::mem::take(&mut known.state);
            health.faulted = health.faulted.max(known.faulted);
            *known = health;
        });
    }

    fn well(&mut self) {
        self.retry_at = None;
        self.shared.health.send_if_modified(|health| {
            let unwell = health.state != "ok";
            if unwell {
                tracing::info!("the journal can be written again");
                health.state = "ok".to_owned();
            }
            unwell
        });
    }

    fn unwell(&mut self, trouble: &Trouble) {
        let fault = fault_of(trouble);
        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
        self.shared.health.send_if_modified(|health| {
            let new = health.state != fault.code();
            if new {
                tracing::error!(
                    "{fault}; scans are answered journal_fault until it can be written"
                );
                health.state = fault.code().to_owned();
            }
            new
        });
    }
}

/// Says that the thread has ended, however it did.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

/// The change that follows a record whose commit came too late: the lamp had said `journal_fault` by then.
///
/// A kill between the two leaves the record as judged: see "Known limits" in docs/ARCHITECTURE.md for why.
fn taken_back(record: Record) -> Record {
    let scan = record
        .change
        .as_ref()
        .map_or(record.id, |change| change.scan);
    Record {
        id: Uuid::now_v7(),
        raw_scan: None,
        change: Some(Change {
            scan,
            cause: Cause::LateCommit,
            previous_reason: record.reason,
        }),
        at: Timestamp::now(),
        reason: Reason::JournalFault,
        message: Reason::JournalFault.sentence().to_owned(),
        action: Reason::JournalFault.action().to_owned(),
        grade: None,
        lamp: Signal::None,
        previous: None,
        ..record
    }
}

/// Salvages since then are named in health.
fn alarm_since() -> Timestamp {
    Timestamp::now()
        .checked_sub(ALARM)
        .unwrap_or(Timestamp::MIN)
}

fn fault_of(trouble: &Trouble) -> Fault {
    match trouble {
        Trouble::Full => Fault::Full,
        Trouble::ReadOnly => Fault::ReadOnly,
        Trouble::Busy => Fault::Slow,
        Trouble::Corrupt(why) | Trouble::Other(why) => Fault::Broken(why.clone()),
    }
}
