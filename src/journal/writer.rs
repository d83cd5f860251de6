//! The one thread that writes: requests that callers wait for, then settled rows, then upkeep in small steps.
//!
//! Reading order: this file is the thread's loop, `state` says whether the file can be written, `commit` writes what callers wait for,
//! `settled` writes settled rows, `file` opens and replaces the file, `upkeep` is all that can wait.

mod commit;
mod file;
mod settled;
mod state;
mod upkeep;

use std::{
    collections::VecDeque,
    fs::File,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    Fault, OpenFault, Settings,
    inbox::{Heard, Queued, Shared},
    machine,
    store::Store,
    trouble::Trouble,
};
use crate::record::Record;
use file::{Blocked, PageCheck, Replaced};
use state::FileState;
use upkeep::{MarkFile, Schedule};

/// How often a journal that cannot be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Opens the journal as far as it can be, and starts the thread.
pub(super) fn start(settings: &Settings, machine: &str) -> Result<Arc<Shared>, OpenFault> {
    let shared =
        Shared::new(settings.clone(), machine::hashed(machine)).map_err(OpenFault::Thread)?;
    let shared = Arc::new(shared);
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

/// The thread's own state.
struct Writer {
    shared: Arc<Shared>,
    /// The directory, locked for life: one agent in each.
    folder: Option<File>,
    state: FileState,
    /// The first opening has closed the scans of the process before.
    interrupted_closed: bool,
    queued: Queued,
    /// Changes that take back what was committed too late.
    late: VecDeque<Vec<Record>>,
    /// What the broker has heard of this journal, until it was compared with it.
    heard: Option<Heard>,
    replaced: Replaced,
    check: PageCheck,
    mark: MarkFile,
    schedule: Schedule,
    closing: bool,
}

impl Writer {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            folder: None,
            state: FileState::Closed { retry: None },
            interrupted_closed: false,
            queued: Queued::default(),
            late: VecDeque::new(),
            heard: None,
            replaced: Replaced::default(),
            check: PageCheck::Idle,
            mark: MarkFile::default(),
            schedule: Schedule::new(Instant::now()),
            closing: false,
        }
    }

    fn run(mut self) {
        while !self.closing {
            let mut work = self.shared.wait(self.due(), self.watch());
            self.closing = work.closing;
            #[cfg(test)]
            self.shared.seam(self.state.store_mut());
            self.queued.take(std::mem::take(&mut work.queued));
            if work.heard.is_some() {
                self.heard = work.heard.take();
            }
            let requests = std::mem::take(&mut work.requests);
            if !requests.is_empty() {
                self.schedule.busy(Instant::now());
            }
            self.commit_requests(requests);
            if self.closing {
                self.all_settled();
            } else {
                self.due_settled();
            }
            self.notes();
            self.answer(work.release, work.flush);
            if let Some(checked) = work.checked {
                self.checked(checked);
            }
            if work.suspected {
                self.check();
            }
            self.look();
            if let Some(written) = work.marked {
                self.mark_written(written);
            }
            self.write_mark();
            self.recover();
            self.compare_with_broker();
            self.upkeep();
        }
        self.end();
    }

    fn end(mut self) {
        // A late request must not be left without its answer.
        let left = self.shared.wait(Instant::now(), None);
        for request in left.requests {
            request.answer(Err(Fault::Broken("it is being closed".to_owned())));
        }
        self.write_last_mark();
        if let Some(mut store) = self.state.close() {
            let _ = store.checkpoint(true);
        }
    }

    /// When the thread must look up without being asked.
    fn due(&self) -> Instant {
        let now = Instant::now();
        if !self.state.is_writable() {
            return self.state.retry().unwrap_or(now);
        }
        if !self.late.is_empty() || self.replaced.is_salvaging() {
            return now;
        }
        [
            self.replaced.due(),
            self.check.due(),
            self.mark.due(),
            self.shared.settled.due(),
            // What the broker has heard could not be compared yet.
            self.heard.is_some().then(|| now + RETRY),
        ]
        .into_iter()
        .flatten()
        .fold(self.schedule.due(self.state.changes()), Instant::min)
    }
}

/// Says that the thread has ended, however it did.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.send_replace(true);
    }
}

fn fault_of(trouble: &Trouble) -> Fault {
    match trouble {
        Trouble::Full => Fault::Full,
        Trouble::ReadOnly => Fault::ReadOnly,
        Trouble::Busy => Fault::Slow,
        Trouble::Corrupt(why) | Trouble::Other(why) => Fault::Broken(why.clone()),
    }
}
