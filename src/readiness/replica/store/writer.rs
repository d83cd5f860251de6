//! The thread that owns the file: opens it, writes what passes bring, and begins a new file when this one cannot be trusted.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
};

use tokio::sync::oneshot;

use super::{
    super::{ListedRow, ReadAt},
    Shared, Status, files,
    filling::{Counts, Fillings},
    opened::Opened,
    reader::Reader,
    trouble::{StoreFault, Trouble},
};
use crate::runtime::{clock::Boot, name::Name};

/// What comes back to a caller.
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreFault>>;

/// The pass `pass` of a source.
#[derive(Clone, Debug)]
pub(super) struct Which {
    pub(super) source: Name,
    pub(super) pass: i64,
}

/// What the thread is asked.
pub(super) enum Request {
    Begin {
        source: Name,
        account: String,
        credential: String,
        start: ReadAt,
        reply: Reply<(i64, Option<u64>)>,
    },
    Page {
        which: Which,
        rows: Vec<ListedRow>,
        asked_at: Boot,
        reply: Reply<Counts>,
    },
    Finish {
        which: Which,
        facts: Vec<u8>,
        reads: u64,
        reply: Reply<u64>,
    },
    Abandon(Which),
    /// The pass has found so many records, too few to be believed.
    Shrunken(Which, u64, Reply<()>),
    Status(Name, Reply<Option<Status>>),
    Clear(Name, Reply<()>),
    KeepOnly(BTreeSet<Name>),
    /// Commits what waits.
    Commit(Reply<()>),
    /// Something was struck: it is written after each request.
    Strikes,
    /// A look-up could not read the file: why.
    Doubt(String),
}

pub(super) struct Writer {
    path: PathBuf,
    /// Bytes, at most.
    largest: u64,
    shared: Arc<Shared>,
    open: Option<Opened>,
    fillings: Fillings,
    /// The last fault that was logged; it is said once.
    said: Option<StoreFault>,
}

impl Writer {
    pub(super) fn new(path: PathBuf, largest: u64, shared: Arc<Shared>) -> Self {
        Self {
            path,
            largest,
            shared,
            open: None,
            fillings: Fillings::new(),
            said: None,
        }
    }

    /// Serves until the last caller is gone.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let _ = self.opened();
        loop {
            let request = match self.open.as_ref().and_then(Opened::due_in) {
                None => requests.recv().map_err(RecvTimeoutError::from),
                Some(due) => requests.recv_timeout(due),
            };
            match request {
                Ok(request) => self.serve(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.after_each();
        }
        // The writing connection goes last: it takes the log into the file.
        self.shared.close_reading();
        if let Some(open) = &mut self.open {
            let _ = open.commit();
        }
    }

    /// Writes strikes at once, and rows when it is time.
    fn after_each(&mut self) {
        if self.open.is_none() && !self.shared.strikes().unwritten().is_empty() {
            let _ = self.opened();
            self.keep_strikes();
        }
        let _ = self.try_work(|open, _, shared| {
            open.write_strikes(shared)?;
            if open.due_in().is_some_and(|due| due.is_zero()) {
                open.commit()?;
            }
            Ok(())
        });
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Begin {
                source,
                account,
                credential,
                start,
                reply,
            } => {
                let _ = reply.send(self.begin(source, (&account, &credential), start));
            }
            Request::Page {
                which,
                rows,
                asked_at,
                reply,
            } => {
                let _ = reply.send(self.page(&which, &rows, asked_at));
            }
            Request::Finish {
                which,
                facts,
                reads,
                reply,
            } => {
                let _ = reply.send(self.finish(&which, (&facts, reads)));
            }
            Request::Abandon(which) => self.abandon(&which),
            Request::Status(source, reply) => {
                let status = self.opened().and_then(|()| {
                    self.try_work(|open, _, _| Ok(open.sources.get(&source).map(Status::of)))
                });
                let _ = reply.send(status);
            }
            Request::Clear(source, reply) => {
                self.fillings.remove(&source);
                let cleared = self.opened().and_then(|()| {
                    self.try_work(|open, _, shared| Ok(open.wipe(&source, shared)?))
                });
                let _ = reply.send(cleared);
            }
            Request::KeepOnly(kept) => {
                if self.opened().is_ok() {
                    let _ = self.try_work(|open, _, shared| Ok(open.keep_only(&kept, shared)?));
                }
            }
            Request::Shrunken(which, rows, reply) => {
                self.abandon(&which);
                let noted = self.try_work(|open, _, _| open.shrunken(&which.source, rows));
                let _ = reply.send(noted);
            }
            Request::Commit(reply) => {
                let _ = reply.send(self.try_work(|open, _, _| Ok(open.commit()?)));
            }
            Request::Strikes => {}
            Request::Doubt(why) => self.doubt(&why),
        }
    }

    /// A file that was exchanged is deleted, because strikes may be missing in it. Opening the own one again finds out whether it is
    /// sound.
    fn doubt(&mut self, why: &str) {
        if self.try_work(|_, _, _| Ok(())).is_ok() {
            tracing::warn!("the replica could not be read and is looked through: {why}");
            self.close();
            let _ = self.opened();
        }
    }

    fn abandon(&mut self, which: &Which) {
        self.fillings
            .retain(|source, filling| *source != which.source || filling.pass != which.pass);
    }

    fn begin(
        &mut self,
        source: Name,
        whose: (&str, &str),
        start: ReadAt,
    ) -> Result<(i64, Option<u64>), StoreFault> {
        self.opened()?;
        self.try_work(|open, fillings, shared| {
            let (filling, rows) = open.begin(&source, whose, start, shared)?;
            let pass = filling.pass;
            fillings.insert(source, filling);
            Ok((pass, rows))
        })
    }

    fn page(
        &mut self,
        which: &Which,
        rows: &[ListedRow],
        asked_at: Boot,
    ) -> Result<Counts, StoreFault> {
        self.try_work(|open, fillings, shared| {
            let filling = fillings
                .get_mut(&which.source)
                .filter(|filling| filling.pass == which.pass)
                .ok_or(Trouble::Refuse(StoreFault::Lost))?;
            open.page(&which.source, filling, rows, asked_at, shared)
        })
    }

    fn finish(&mut self, which: &Which, read: (&[u8], u64)) -> Result<u64, StoreFault> {
        self.try_work(|open, fillings, shared| {
            match fillings.get(&which.source) {
                Some(filling) if filling.pass == which.pass => {
                    let deleted = open.finish(&which.source, filling, read, shared)?;
                    fillings.remove(&which.source);
                    Ok(deleted)
                }
                // Another pass has taken its place, and goes on.
                _ => Err(Trouble::Refuse(StoreFault::Lost)),
            }
        })
    }

    /// Does something with the open file; what goes wrong is dealt with.
    fn try_work<T>(
        &mut self,
        work: impl FnOnce(&mut Opened, &mut Fillings, &Shared) -> Result<T, Trouble>,
    ) -> Result<T, StoreFault> {
        let Some(open) = &mut self.open else {
            return Err(self.said.clone().unwrap_or(StoreFault::Lost));
        };
        let done = if open.files.are_there() {
            work(open, &mut self.fillings, &self.shared)
        } else {
            Err(Trouble::Discard("somebody deleted or exchanged it".into()))
        };
        done.map_err(|trouble| self.bear(trouble))
    }

    /// Opens the file, unless it is open. One that cannot be trusted is deleted, once.
    pub(super) fn opened(&mut self) -> Result<(), StoreFault> {
        if self.open.is_some() {
            return Ok(());
        }
        let open = |writer: &Self| Opened::open(&writer.path, writer.largest);
        let opened = match open(self) {
            Err(Trouble::Discard(why)) => self.discard(&why).and_then(|()| open(self)),
            opened => opened,
        };
        let opened = opened.and_then(|mut opened| {
            let reader = Reader::open(&self.path, opened.files.clone())?;
            if opened.is_new {
                self.shared.strikes().forget();
            } else {
                let in_file = std::mem::take(&mut opened.in_file);
                self.shared.strikes().load(in_file);
            }
            // Before anything can be looked up.
            opened.write_strikes(&self.shared)?;
            Ok((opened, reader))
        });
        match opened {
            Ok((opened, reader)) => {
                self.shared.open_reading(reader);
                self.open = Some(opened);
                self.said = None;
                Ok(())
            }
            Err(Trouble::Discard(why)) => Err(self.close_with(StoreFault::Other(why))),
            Err(Trouble::Close(fault) | Trouble::Refuse(fault)) => Err(self.close_with(fault)),
        }
    }

    /// Deals with trouble; returns what the caller is answered.
    pub(super) fn bear(&mut self, trouble: Trouble) -> StoreFault {
        match trouble {
            Trouble::Refuse(fault) => fault,
            Trouble::Discard(why) => {
                self.close();
                let begun = self.discard(&why).map_err(|trouble| match trouble {
                    Trouble::Discard(why) => StoreFault::Other(why),
                    Trouble::Close(fault) | Trouble::Refuse(fault) => fault,
                });
                match begun.and_then(|()| self.opened()) {
                    Ok(()) => StoreFault::Lost,
                    Err(fault) => self.close_with(fault),
                }
            }
            Trouble::Close(fault) => {
                self.close();
                self.keep_strikes();
                self.close_with(fault)
            }
        }
    }

    /// Deletes a closed file if there are strikes that are not in it: after a restart the struck rows would answer again.
    fn keep_strikes(&mut self) {
        if self.open.is_none() && !self.shared.strikes().unwritten().is_empty() {
            let _ = self.discard("a row could not be struck");
        }
    }

    fn discard(&mut self, why: &str) -> Result<(), Trouble> {
        let path = self.path.display();
        tracing::warn!("the replica {path} is deleted and filled again: {why}");
        files::remove(&self.path)?;
        self.shared.strikes().forget();
        self.shared.emptied.send_modify(|files| *files += 1);
        Ok(())
    }

    fn close_with(&mut self, fault: StoreFault) -> StoreFault {
        self.close();
        if self.said.as_ref() != Some(&fault) {
            tracing::warn!("{fault}; until that is mended no scan is answered from the replica");
        }
        self.said = Some(fault.clone());
        fault
    }

    fn close(&mut self) {
        self.shared.close_reading();
        self.fillings.clear();
        self.open = None;
    }
}
