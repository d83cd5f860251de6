//! What is done while no caller waits: watching the files, writing the mark, and salvage, retention and checkpoints in small steps.

use std::{
    os::fd::OwnedFd,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Trouble, Writer, file::Blocked};
use crate::{
    journal::{
        files::{Tampered, is_same},
        mark::{self, Position},
        retention::{self, Step},
        store::{COMPARE_FROM, HAS_MARK},
    },
    runtime::clock::ClockWatch,
};

/// How often ages and sizes are looked at.
const UPKEEP: Duration = Duration::from_secs(60);
/// How long after somebody else touched the files they are looked at: removing or overwriting them takes several steps.
const TOUCHED: Duration = Duration::from_millis(100);
/// How often they are looked at although nothing was reported. The kernel does not report that a filesystem turned read-only or that a folder above
/// was renamed, and where files cannot be watched it reports nothing.
const LOOK: Duration = Duration::from_secs(30);
/// When a mark that could not be written is tried again.
const MARK_AGAIN: Duration = Duration::from_secs(10);
/// Rows changed before a checkpoint (SQLite writes its log back into the file): while no caller comes, and in any case. 4,000 rows
/// are about 4 MB of log. A scan that comes meanwhile waits for it; much more at once took a busy disk over a second.
const CHECKPOINT_IDLE: u64 = 4_000;
const CHECKPOINT_NOW: u64 = 6_000;
/// How long no caller may have come before a checkpoint.
const IDLE: Duration = Duration::from_millis(300);

/// The times of the work that can wait.
pub(super) struct Schedule {
    /// When ages and sizes are looked at again.
    upkeep_at: Instant,
    /// When a caller last came.
    busy_at: Instant,
    /// When the files are looked at again.
    look_at: Instant,
    /// Rows changed by the connection when it was last asked who touched the files.
    asked: u64,
    /// Rows changed by the connection at the last checkpoint.
    checkpointed: u64,
    /// What else is in SQLite's log, counted as changes: pages that retention moved, and what an earlier process left behind.
    unwritten_before: u64,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            upkeep_at: now,
            busy_at: now,
            look_at: now,
            asked: 0,
            checkpointed: 0,
            unwritten_before: 0,
        }
    }

    /// A caller has come.
    pub(super) fn busy(&mut self, now: Instant) {
        self.busy_at = now;
    }

    /// Somebody else has touched the files.
    fn touched(&mut self, now: Instant) {
        self.look_at = self.look_at.min(now + TOUCHED);
    }

    /// Has the connection committed something since this was last asked? `changes`: rows changed by it.
    fn committed(&mut self, changes: u64) -> bool {
        std::mem::replace(&mut self.asked, changes) != changes
    }

    /// Is a look at the files about to come?
    fn is_look_near(&self, now: Instant) -> bool {
        self.look_at <= now + TOUCHED
    }

    /// Another file was opened; its connection has made `changes`. `unclean`: an ended process has left its log behind.
    pub(super) fn opened(&mut self, changes: u64, unclean: bool) {
        self.upkeep_at = Instant::now();
        self.checkpointed = changes;
        self.unwritten_before = if unclean { CHECKPOINT_NOW } else { 0 };
    }

    /// When there is something to do. `changes`: rows changed by the connection.
    pub(super) fn due(&self, changes: u64) -> Instant {
        let due = self.upkeep_at.min(self.look_at);
        if self.unwritten(changes) >= CHECKPOINT_IDLE {
            due.min(self.busy_at + IDLE)
        } else {
            due
        }
    }

    /// Rows changed since the last checkpoint.
    fn unwritten(&self, changes: u64) -> u64 {
        changes.saturating_sub(self.checkpointed) + self.unwritten_before
    }

    fn is_checkpoint_due(&self, changes: u64, now: Instant) -> bool {
        let unwritten = self.unwritten(changes);
        let idle = now.saturating_duration_since(self.busy_at) >= IDLE;
        unwritten >= CHECKPOINT_NOW || (unwritten >= CHECKPOINT_IDLE && idle)
    }
}

/// The mark beside the journal: the position it holds, one that is being written, and when a failed write is tried again.
#[derive(Default)]
pub(super) struct MarkFile {
    written: Option<Position>,
    writing: Option<(Position, JoinHandle<bool>)>,
    again: Option<Instant>,
}

impl MarkFile {
    /// Another file was opened: a failed write no longer delays its mark.
    pub(super) fn opened(&mut self) {
        self.again = None;
    }

    /// When a failed write is tried again. A write under way wakes the writer when it ends.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again.filter(|_| self.writing.is_none())
    }
}

impl Writer {
    /// What tells that somebody touched the files, unless they are looked at in a moment anyway.
    pub(super) fn watch(&self) -> Option<&OwnedFd> {
        self.state
            .store()
            .filter(|_| !self.schedule.is_look_near(Instant::now()))
            .and_then(|store| store.files.watch())
    }

    /// Notices, also without a scan, when the files are removed, replaced or written by others.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        let committed = self.schedule.committed(self.state.changes());
        if self
            .state
            .store_mut()
            .is_some_and(|store| store.files.touched(committed))
        {
            self.schedule.touched(now);
        }
        if now < self.schedule.look_at || self.closing {
            return;
        }
        self.schedule.look_at = now + LOOK;
        if self
            .folder
            .as_ref()
            .is_some_and(|folder| !is_same(folder, &self.shared.settings.state_dir))
            && let Err(Blocked::InUse) = self.take_directory()
        {
            // The folder was replaced, and another agent has already taken it.
            self.state.close();
        }
        let Some(store) = self.state.store_mut() else {
            return;
        };
        let done = match store.files.look() {
            Ok(None) => store.writable(),
            Ok(Some(Tampered::Written)) => {
                tracing::warn!(
                    "somebody else has written into the journal's file; every page of it is looked at"
                );
                self.check();
                Ok(())
            }
            Ok(Some(tampered)) => self.replace(tampered.why()),
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = done {
            self.unwell(&trouble);
        }
    }

    /// Compares the newest record that the broker knows with the journal, once in each process. An older copy continues in a new epoch.
    pub(super) fn compare_with_broker(&mut self) {
        let Some(heard) = &self.heard else { return };
        let Some(store) = self.state.store_mut() else {
            return;
        };
        let newest = heard
            .newest
            .filter(|position| position.epoch == store.epoch.1);
        let from = match store.fact(COMPARE_FROM) {
            Ok(from) => from,
            Err(error) => {
                return tracing::debug!("what the broker has heard is looked at later: {error}");
            }
        };
        let missing = newest
            .zip(from)
            .map_or(0, |(position, from)| position.seq.saturating_sub(from));
        let done = match from {
            Some(from) if missing > 0 => store.renew(&self.shared.machine, from, missing),
            _ => store.compared(),
        };
        let trouble = done.err();
        if missing > 0 && trouble.is_none() {
            tracing::error!(
                missing,
                "the journal is an older copy: the broker has heard of later records; going on in a new epoch"
            );
            if let Ok(newest) = store.newest() {
                self.shared.newest.send_replace(newest);
            }
            self.tell();
            self.shared.returned.send_modify(|count| *count += 1);
            self.write_mark();
        }
        // A number that was given out twice must not leave. Else the rows may, and only the note is written later.
        if (missing == 0 || trouble.is_none())
            && let Some(heard) = &mut self.heard
        {
            self.shared.compared();
            if let Some(answer) = heard.answer.take() {
                let _ = answer.send(());
            }
        }
        match trouble {
            None => self.heard = None,
            Some(Trouble::Busy) => {}
            Some(trouble) => self.unwell(&trouble),
        }
    }

    /// Writes the mark when it is time, on its own thread: no scan waits for its sync.
    pub(super) fn write_mark(&mut self) {
        if self.mark.writing.is_some() {
            return;
        }
        let now = Instant::now();
        let position = self.position();
        let due = match self.mark.written {
            Some(marked) => {
                position.epoch != marked.epoch
                    || position.seq >= marked.seq.saturating_add(mark::EVERY)
            }
            None => true,
        };
        if !self.state.is_open() || !due || self.mark.again.is_some_and(|at| now < at) {
            return;
        }
        let state_dir = self.shared.settings.state_dir.clone();
        let shared = Arc::clone(&self.shared);
        let written = thread::Builder::new()
            .name("journal-mark".to_owned())
            .spawn(move || {
                let written = mark::write(&state_dir, position).is_ok();
                shared.marked(written);
                written
            });
        match written {
            Ok(marking) => self.mark.writing = Some((position, marking)),
            Err(_) => self.mark.again = Some(now + MARK_AGAIN),
        }
    }

    /// Writes the mark of a clean stop.
    pub(super) fn write_last_mark(&mut self) {
        if let Some((position, marking)) = self.mark.writing.take() {
            self.marked(position, marking.join().is_ok_and(|written| written));
        }
        let position = self.position();
        if self.state.is_open() && self.mark.written != Some(position) {
            let written = mark::write(&self.shared.settings.state_dir, position);
            self.marked(position, written.is_ok());
        }
    }

    /// The mark that was being written is written, or could not be.
    pub(super) fn mark_written(&mut self, written: bool) {
        if let Some((position, _)) = self.mark.writing.take() {
            self.marked(position, written);
        }
    }

    fn marked(&mut self, position: Position, written: bool) {
        if !written {
            if self
                .mark
                .again
                .replace(Instant::now() + MARK_AGAIN)
                .is_none()
            {
                let path = self.shared.settings.state_dir.join(mark::NAME);
                tracing::warn!(
                    "cannot write {}; an older copy of the journal may not be noticed: free some space, or remove what lies there",
                    path.display()
                );
            }
            return;
        }
        (self.mark.written, self.mark.again) = (Some(position), None);
        // Only now: a journal that says it has a mark is not trusted without one.
        if let Some(store) = self
            .state
            .store_mut()
            .filter(|store| store.epoch.1 == position.epoch)
            && store.fact(HAS_MARK).is_ok_and(|known| known.is_none())
            && let Err(trouble) = store.remember(HAS_MARK, 1)
        {
            // The next mark brings it.
            tracing::debug!("the journal does not know of its mark yet: {trouble:?}");
        }
    }

    /// The journal's newest epoch and `seq`.
    fn position(&self) -> Position {
        let health = self.shared.health.borrow();
        Position {
            epoch: health.epoch,
            seq: health.seq,
        }
    }

    /// Salvage, retention and checkpoints, one small step at a time.
    pub(super) fn upkeep(&mut self) {
        // First the rows of a file that only this process can still read: a kill would lose them.
        let waits = self.shared.hurried() && !self.replaced.is_salvaging_open();
        if !self.state.is_writable() || self.closing || waits {
            return;
        }
        let now = Instant::now();
        if self.replaced.due().is_some_and(|due| now >= due) {
            self.next_salvage();
        }
        if self.check.due().is_some_and(|due| now >= due) {
            self.check();
        }
        let done = if self.replaced.is_salvaging() {
            self.salvage()
        } else if now >= self.schedule.upkeep_at {
            self.retain(now)
        } else {
            Ok(())
        };
        match done.and_then(|()| self.checkpoint(now)) {
            Ok(()) | Err(Trouble::Busy) => {}
            Err(Trouble::Corrupt(why)) => self.replace_or_unwell(&why),
            Err(trouble) => self.unwell(&trouble),
        }
    }

    fn salvage(&mut self) -> Result<(), Trouble> {
        let Some(store) = self.state.store_mut() else {
            return Ok(());
        };
        if self.replaced.step(store)? {
            self.tell();
            self.shared.returned.send_modify(|count| *count += 1);
            self.next_salvage();
        }
        Ok(())
    }

    fn retain(&mut self, now: Instant) -> Result<(), Trouble> {
        let settled = self.shared.settled.is_empty();
        let Some(store) = self.state.store_mut() else {
            return Ok(());
        };
        let synced = ClockWatch::default().synced();
        match retention::step(store, &self.shared.settings, synced, settled)? {
            Step::Done => {
                self.schedule.upkeep_at = now + UPKEEP;
                retention::remove_copies(store, &self.shared.settings, false)?;
            }
            Step::More => {}
            Step::Vacuumed => {
                self.schedule.unwritten_before += u64::from(retention::VACUUM_STEP);
            }
            Step::Dropped => self.tell(),
            Step::Unsettled => self.all_settled(),
        }
        Ok(())
    }

    fn checkpoint(&mut self, now: Instant) -> Result<(), Trouble> {
        if self.schedule.is_checkpoint_due(self.state.changes(), now)
            && let Some(store) = self.state.store_mut()
        {
            store.checkpoint(false)?;
            self.schedule.checkpointed = store.changes();
            self.schedule.unwritten_before = 0;
        }
        Ok(())
    }
}
