//! What callers and lamps wait for: committed together, and each answered as its time allows.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::{Trouble, Writer, fault_of};
use crate::{
    journal::{
        Fault, Stored,
        inbox::Request,
        schema,
        settled::RIDING,
        store::{Batch, Written},
    },
    record::Record,
};

/// What became of one group of records in a commit.
type Group = Result<Vec<Stored>, String>;

/// Requests that could not be written, and why.
type Unwritten = (VecDeque<Request>, Trouble);

impl Writer {
    /// Writes everything that callers and lamps wait for. Every request is answered, except those that gave up.
    pub(super) fn commit_requests(&mut self, requests: VecDeque<Request>) {
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
    fn commit(&mut self, mut requests: VecDeque<Request>, rest: bool) -> Result<(), Unwritten> {
        loop {
            requests = self.answer_expired(requests);
            let waits = rest && (!self.late.is_empty() || self.queued.has_news());
            if requests.is_empty() && !waits {
                return Ok(());
            }
            if let Err(trouble) = self.opened() {
                return Err((requests, trouble));
            }
            match self.write(&requests, rest) {
                Ok(Some(groups)) => {
                    self.committed(requests, groups, rest);
                    // A commit that came too late left changes to write, at once.
                    requests = VecDeque::new();
                    if self.late.is_empty() || !rest {
                        return Ok(());
                    }
                }
                // Somebody's time passed on the way.
                Ok(None) => {}
                Err(Trouble::Busy) if !requests.is_empty() => {}
                Err(Trouble::Corrupt(why)) => {
                    if let Err(trouble) = self.replace(&why) {
                        return Err((requests, trouble));
                    }
                }
                Err(trouble) => return Err((requests, trouble)),
            }
        }
    }

    /// One transaction: the late changes (if `rest`), then the requests. `None`: a caller gave up before the commit.
    fn write(
        &mut self,
        requests: &VecDeque<Request>,
        rest: bool,
    ) -> Result<Option<Vec<Group>>, Trouble> {
        let Some(store) = self.state.store_mut() else {
            return Err(Trouble::Other("it is not open".to_owned()));
        };
        let late = self.late.iter().filter(|_| rest).map(Vec::as_slice);
        let groups: Vec<&[Record]> = late
            .chain(requests.iter().map(|request| request.records.as_slice()))
            .collect();
        let mut batch = Batch {
            groups,
            ..Batch::default()
        };
        let (settled, counts);
        if rest {
            batch.scans = Some(&self.queued.scans);
            batch.fates = &self.queued.fates;
            counts = [
                ("faulted", self.queued.faulted),
                ("scans_overflowed", self.queued.overflowed),
            ];
            batch.counts = &counts;
            if !batch.groups.is_empty() {
                settled = self.shared.settled.first(RIDING);
                batch.settled = &settled;
            }
        }
        let written = store.write(&batch, || !requests.iter().any(Request::expired))?;
        let settled = batch.settled.to_vec();
        Ok(match written {
            Written::Committed { groups, fewer } => {
                self.settled(&settled, fewer);
                Some(groups)
            }
            Written::GivenUp => None,
        })
    }

    /// Answers the callers of a commit. What came too late for its caller is followed by what was decided for that case.
    fn committed(&mut self, requests: VecDeque<Request>, mut groups: Vec<Group>, rest: bool) {
        let news = self.count(&groups);
        if rest {
            self.queued.committed();
            self.shared.hold_back(0);
            let late = std::mem::take(&mut self.late);
            for error in groups
                .drain(..late.len().min(groups.len()))
                .filter_map(Result::err)
            {
                tracing::error!("a change to journal_fault could not be recorded: {error}");
            }
        }
        // A successful sync means nothing if the filesystem has since turned read-only.
        let unsure = self.state.store().and_then(|store| store.writable().err());
        let mut answers = Vec::with_capacity(requests.len());
        for (mut request, group) in requests.into_iter().zip(groups) {
            let answer = match group {
                Ok(stored) if request.is_done(unsure.is_none()) => {
                    Ok(stored.into_iter().map(|stored| stored.recorded).collect())
                }
                Ok(_) => {
                    let at = Timestamp::now();
                    let changes = std::mem::take(&mut request.if_late).into_iter();
                    self.late
                        .push_back(changes.map(|change| Record { at, ..change }).collect());
                    Err(unsure.as_ref().map_or(Fault::Slow, fault_of))
                }
                Err(error) => Err(Fault::Broken(error)),
            };
            answers.push((request, answer));
        }
        if !self.late.is_empty() {
            self.shared.gave_up();
        } else if answers.iter().any(|(_, answer)| answer.is_ok()) {
            self.well();
        }
        for (request, answer) in answers {
            request.answer(answer);
        }
        // After the answers: waking the publisher would make the lamps later.
        if news {
            self.shared.health.send_modify(|_| {});
            self.shared.newest.send_modify(|_| {});
        }
    }

    /// Counts new rows for health and the publisher, without waking them; `false`: there are none.
    fn count(&self, groups: &[Group]) -> bool {
        let rows: Vec<Stored> = groups.iter().flatten().flatten().cloned().collect();
        let Some(newest) = rows.last().map(|stored| stored.row) else {
            return false;
        };
        let after = *self.shared.newest.borrow();
        self.shared.settled.recorded(after, rows);
        self.shared.health.send_if_modified(|health| {
            health.unsent = self.shared.settled.unsent();
            health.seq = schema::seq_of(newest.cast_signed());
            false
        });
        self.shared.newest.send_if_modified(|known| {
            *known = newest.max(*known);
            false
        });
        true
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
}
