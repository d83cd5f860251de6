//! Settled rows are written in batches, behind whoever waits for a lamp. A few go with each record, see `commit`.

use std::time::Instant;

use tokio::sync::oneshot;

use super::{Trouble, Writer};
use crate::journal::settled::{BATCH, Settled};

impl Writer {
    /// Writes those that have waited long enough, or are many.
    pub(super) fn due_settled(&mut self) {
        while self.shared.settled.is_due(Instant::now()) && self.settle_batch() {
            if self.shared.hurried() {
                // The rest goes on after the scan: `due` brings the thread back at once.
                return;
            }
        }
    }

    /// Writes all of them.
    pub(super) fn all_settled(&mut self) {
        while !self.shared.settled.is_empty() && self.settle_batch() {}
    }

    /// `false`: they cannot be written now.
    fn settle_batch(&mut self) -> bool {
        let Some(store) = self.state.store_mut() else {
            return false;
        };
        let rows = self.shared.settled.first(BATCH);
        match store.settle(&rows) {
            Ok(fewer) => {
                self.settled(&rows, fewer);
                return true;
            }
            // The rows are in the file that was moved away. Those that are salvaged as unsent are delivered once more.
            Err(Trouble::Corrupt(why)) => self.replace_or_unwell(&why),
            Err(trouble) => self.unwell(&trouble),
        }
        false
    }

    /// The file holds these now. It has `fewer` unsent rows less than before.
    pub(super) fn settled(&self, rows: &[(u64, Settled)], fewer: u64) {
        if rows.is_empty() {
            return;
        }
        self.shared.settled.written(rows, fewer);
        let aside = rows
            .iter()
            .any(|(_, settled)| matches!(settled, Settled::Aside(_)));
        if aside || !self.shared.health.borrow().set_aside.is_empty() {
            self.tell();
        } else {
            self.shared.tell_unsent();
        }
    }

    /// What the doctor may ask for, behind everything else.
    pub(super) fn notes(&mut self) {
        if self.queued.notes.is_empty() {
            return;
        }
        let Some(store) = self.state.store_mut() else {
            return;
        };
        match store.note(&self.queued.notes) {
            Ok(()) => self.queued.notes.clear(),
            // The next record meets the same fault and reports it.
            Err(trouble) => tracing::debug!("a note for the doctor is written later: {trouble:?}"),
        }
    }

    pub(super) fn answer(
        &mut self,
        release: Vec<oneshot::Sender<u64>>,
        flush: Vec<oneshot::Sender<()>>,
    ) {
        if !release.is_empty() {
            // A row that is set aside just now is offered again, too.
            self.all_settled();
            let released = self
                .state
                .store_mut()
                .and_then(|store| store.release().ok())
                .unwrap_or(0);
            if released > 0 {
                self.tell();
                self.shared.returned.send_modify(|count| *count += 1);
            }
            for waiting in release {
                let _ = waiting.send(released);
            }
        }
        if !flush.is_empty() {
            self.all_settled();
            for waiting in flush {
                let _ = waiting.send(());
            }
        }
    }
}
