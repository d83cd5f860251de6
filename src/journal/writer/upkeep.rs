//! What is done while nobody waits: watching the files, writing the mark, and salvage, retention and checkpoints in small steps.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{CHECKPOINT_IDLE, CHECKPOINT_NOW, IDLE, Trouble, Writer, keep::Blocked};
use crate::{
    journal::{
        files::{Tampered, is_same},
        mark::{self, Place},
        retention::{self, Step},
        store::{HAS_MARK, UNCONFIRMED},
    },
    runtime::clock::ClockWatch,
};

/// How often ages and sizes are looked at.
const UPKEEP: Duration = Duration::from_secs(60);
/// How often the files are looked at while no scan comes: what was taken away is saved while it is still open.
const LOOK: Duration = Duration::from_millis(500);
/// When a mark that could not be written is tried again.
const MARK_AGAIN: Duration = Duration::from_secs(10);

impl Writer {
    /// Notices, without a scan, what became of the files.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        if now < self.look_at || self.closing {
            return;
        }
        self.look_at = now + LOOK;
        if self
            .lock
            .as_ref()
            .is_some_and(|lock| !is_same(lock, &self.shared.settings.state_dir))
            && let Err(Blocked::InUse) = self.take_directory()
        {
            // The folder was replaced, and another agent was quicker.
            self.store = None;
        }
        let Some(store) = self.store.as_mut() else {
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

    /// Holds what the broker has heard against the journal, once in the life of a process. An older copy goes on in a new epoch.
    pub(super) fn confirm(&mut self) {
        let Some(seen) = &self.seen else { return };
        let Some(store) = self.store.as_mut() else {
            return;
        };
        let heard = seen.heard.filter(|place| place.epoch == store.epoch.1);
        let from = match store.fact(UNCONFIRMED) {
            Ok(from) => from,
            Err(error) => {
                return tracing::debug!("what the broker has heard is looked at later: {error}");
            }
        };
        let missing = heard
            .zip(from)
            .map_or(0, |(place, from)| place.seq.saturating_sub(from));
        let done = match from {
            Some(from) if missing > 0 => store.renew(&self.shared.machine, from, missing),
            _ => store.confirmed(),
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
            self.shared.backlog.send_modify(|count| *count += 1);
            self.mark();
        }
        // A number that was given out twice must not leave. Else the rows may, and only the note is written later.
        if (missing == 0 || trouble.is_none())
            && let Some(seen) = &mut self.seen
        {
            self.shared.confirmed();
            if let Some(answer) = seen.answer.take() {
                let _ = answer.send(());
            }
        }
        match trouble {
            None => self.seen = None,
            Some(Trouble::Busy) => {}
            Some(trouble) => self.unwell(&trouble),
        }
    }

    /// Writes the mark when it is time, on a thread of its own: no scan waits for its sync.
    pub(super) fn mark(&mut self) {
        if let Some((place, marking)) = self.marking.take() {
            if !marking.is_finished() {
                self.marking = Some((place, marking));
                return;
            }
            self.marked_at(place, marking.join().is_ok_and(|written| written.is_ok()));
        }
        let now = Instant::now();
        let place = self.place();
        let due = match self.marked {
            Some(marked) => {
                place.epoch != marked.epoch || place.seq >= marked.seq.saturating_add(mark::EVERY)
            }
            None => true,
        };
        if self.store.is_none() || !due || self.mark_again.is_some_and(|at| now < at) {
            return;
        }
        let state_dir = self.shared.settings.state_dir.clone();
        let written = thread::Builder::new()
            .name("journal-mark".to_owned())
            .spawn(move || mark::write(&state_dir, place));
        match written {
            Ok(marking) => self.marking = Some((place, marking)),
            Err(_) => self.mark_again = Some(now + MARK_AGAIN),
        }
    }

    /// The mark of a clean stop.
    pub(super) fn last_mark(&mut self) {
        if let Some((place, marking)) = self.marking.take() {
            self.marked_at(place, marking.join().is_ok_and(|written| written.is_ok()));
        }
        let place = self.place();
        if self.store.is_some() && self.marked != Some(place) {
            let written = mark::write(&self.shared.settings.state_dir, place);
            self.marked_at(place, written.is_ok());
        }
    }

    fn marked_at(&mut self, place: Place, written: bool) {
        if !written {
            if self
                .mark_again
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
        (self.marked, self.mark_again) = (Some(place), None);
        // Only now: a journal that says it has a mark is not believed without one.
        if let Some(store) = self
            .store
            .as_mut()
            .filter(|store| store.epoch.1 == place.epoch)
            && store.fact(HAS_MARK).is_ok_and(|known| known.is_none())
            && let Err(trouble) = store.remember(HAS_MARK, 1)
        {
            // The next mark brings it.
            tracing::debug!("the journal does not know of its mark yet: {trouble:?}");
        }
    }

    /// Where the journal is.
    fn place(&self) -> Place {
        let health = self.shared.health.borrow();
        Place {
            epoch: health.epoch,
            seq: health.seq,
        }
    }

    /// Salvage, retention and checkpoints, one small step at a time.
    pub(super) fn upkeep(&mut self) {
        if self.retry_at.is_some() || self.closing || self.shared.hurried() {
            return;
        }
        let now = Instant::now();
        if self.salvage_due.is_some_and(|due| now >= due) {
            self.next_salvage();
        }
        if self.check_due.is_some_and(|due| now >= due) {
            self.check();
        }
        let Some(store) = self.store.as_mut() else {
            return;
        };
        let done = if let Some(salvage) = self.salvage.as_mut() {
            salvage.step(store).map(|finished| {
                if finished {
                    self.salvage_finished();
                }
            })
        } else if now >= self.upkeep_at {
            retention::step(store, &self.shared.settings, ClockWatch::default().synced()).and_then(
                |step| {
                    match step {
                        Step::Done => {
                            self.upkeep_at = now + UPKEEP;
                            if let Some(store) = &self.store {
                                retention::remove_copies(store, &self.shared.settings, false)?;
                            }
                        }
                        Step::More => {}
                        Step::Vacuumed => {
                            self.unwritten_before += u64::from(retention::VACUUM_STEP)
                        }
                        Step::Dropped => self.tell(),
                    }
                    Ok(())
                },
            )
        } else {
            Ok(())
        };
        let done = done.and_then(|()| self.checkpoint(now));
        match done {
            Ok(()) | Err(Trouble::Busy) => {}
            Err(Trouble::Corrupt(why)) => {
                if let Err(trouble) = self.replace(&why) {
                    self.unwell(&trouble);
                }
            }
            Err(trouble) => self.unwell(&trouble),
        }
    }

    fn salvage_finished(&mut self) {
        self.salvage = None;
        self.tell();
        self.shared.backlog.send_modify(|count| *count += 1);
        self.next_salvage();
    }

    /// Rows changed since the log was written back.
    pub(super) fn unwritten(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| {
            store.conn.total_changes().saturating_sub(self.checkpointed) + self.unwritten_before
        })
    }

    fn checkpoint(&mut self, now: Instant) -> Result<(), Trouble> {
        let unwritten = self.unwritten();
        let idle = now.saturating_duration_since(self.busy_at) >= IDLE;
        if (unwritten >= CHECKPOINT_NOW || (unwritten >= CHECKPOINT_IDLE && idle))
            && let Some(store) = &mut self.store
        {
            store.checkpoint(false)?;
            self.checkpointed = store.conn.total_changes();
            self.unwritten_before = 0;
        }
        Ok(())
    }
}
