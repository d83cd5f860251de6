//! The writer's file: the directory and its lock, opening, setting a bad file aside, and the check of every page.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{CHECKPOINT_NOW, RETRY, Writer, alarm_since};
use crate::journal::{
    inbox::{Checked, Shared},
    salvage::{self, Salvage},
    store::{Fate, Store, Trouble},
};

/// A file that is damaged again so soon after a salvage says that the disk is, not the file.
const SALVAGE_PAUSE: Duration = Duration::from_secs(30);
/// How long after a start from a clean end every page is looked at.
const CHECK: Duration = Duration::from_secs(60);
/// The file that an agent locks for as long as it lives.
pub(in crate::journal) const LOCK: &str = "journal.lock";

/// Why the journal is not open.
pub(super) enum Blocked {
    InUse,
    Trouble(Trouble),
}

impl From<Trouble> for Blocked {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Writer {
    /// Makes sure that the file is open.
    pub(super) fn opened(&mut self) -> Result<(), Trouble> {
        match self.open() {
            Ok(()) => Ok(()),
            Err(Blocked::InUse) => Err(Trouble::Other("another benchlight uses the directory".to_owned())),
            Err(Blocked::Trouble(trouble)) => Err(trouble),
        }
    }

    pub(super) fn open(&mut self) -> Result<(), Blocked> {
        if self.store.is_some() {
            return Ok(());
        }
        let state_dir = self.shared.settings.state_dir.clone();
        make_directory(&state_dir)?;
        if self.lock.is_none() {
            self.lock = Some(lock(&state_dir)?);
        }
        let path = self.shared.path();
        // The power may have gone between setting a file aside and making the new one.
        let floor = if path.exists() { 1 } else { salvage::copies(&state_dir).last().map_or(1, |copy| salvage::floor_above(copy)) };
        let opened = Store::open(&path, &self.shared.machine, floor).and_then(|store| self.settle(store, "it was found set aside"));
        match opened {
            Err(Trouble::Corrupt(why)) => Ok(self.replace(&why)?),
            opened => Ok(opened?),
        }
    }

    /// Takes a file into use.
    fn settle(&mut self, mut store: Store, cause: &str) -> Result<(), Trouble> {
        if store.moved {
            tracing::warn!("the journal was written by another machine; this one goes on in a new epoch");
        }
        salvage::adopt(&mut store, &self.shared.settings.state_dir, cause)?;
        if !self.interrupted_closed {
            let closed = store.close_interrupted()?;
            if closed > 0 {
                tracing::warn!(scans = closed, "scans were interrupted when the agent last ended; box and answer are unknown");
            }
        }
        let newest = store.newest()?;
        let unclean = store.unclean;
        self.checkpointed = store.conn.total_changes();
        // A log that an ended process left behind is written back first of all. Else it would grow from one power cut to the next.
        self.unwritten_before = if unclean { CHECKPOINT_NOW } else { 0 };
        // What cannot be counted is damaged where a scan would meet it.
        let mut health = self.shared.health.borrow().clone();
        store.tell(&mut health, alarm_since())?;
        self.store = Some(store);
        self.told(health);
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        self.shared.newest.send_if_modified(|known| std::mem::replace(known, newest) != newest);
        self.next_salvage();
        self.interrupted_closed = true;
        self.upkeep_at = Instant::now();
        // A check of a big journal keeps a card busy for many seconds: only after an unclean end it is worth that at the start.
        self.check_due = Some(Instant::now() + if unclean { Duration::ZERO } else { CHECK });
        Ok(())
    }

    /// Sets the open file aside and goes on in a new one.
    pub(super) fn replace(&mut self, why: &str) -> Result<(), Trouble> {
        self.may_replace(why)?;
        self.salvaged_at = Some(Instant::now());
        let path = self.shared.path();
        let shared = Arc::clone(&self.shared);
        let _replacing = shared.replacing.write().unwrap_or_else(PoisonError::into_inner);
        let old = self.store.take();
        if let Some(old) = &old {
            // Closing it must neither write into the damaged file nor delete a log by a name that is another file's by then.
            let _ = old.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        let copy = salvage::put_aside(&path, Timestamp::now()).map_err(|error| Trouble::of_io(&error, "the journal cannot be renamed"))?;
        let floor = copy.as_deref().map_or(1, salvage::floor_above).max(old.as_ref().map_or(1, |old| old.epoch.0.saturating_add(1)));
        drop(old);
        let store = Store::open(&path, &self.shared.machine, floor)?;
        self.settle(store, why)
    }

    fn may_replace(&self, why: &str) -> Result<(), Trouble> {
        if self.salvaged_at.is_some_and(|at| at.elapsed() < SALVAGE_PAUSE) {
            return Err(Trouble::Other(format!("damaged again right after it was made anew, check the disk: {why}")));
        }
        tracing::error!("the journal cannot be used ({why}); setting it aside as journal.corrupt-<time> and going on in a new epoch");
        Ok(())
    }

    /// Begins with the next file that was set aside, if there is one.
    pub(super) fn next_salvage(&mut self) {
        let Some(store) = &self.store else { return };
        let ended = (!self.interrupted_closed).then_some(Fate::Interrupted);
        match Salvage::next(store, &self.shared.settings.state_dir, ended) {
            Ok(next) => (self.salvage, self.salvage_due) = (next, None),
            Err(_) => (self.salvage, self.salvage_due) = (None, Some(Instant::now() + RETRY)),
        }
    }

    /// Reads every page of the file on a thread and a connection of its own: that takes seconds for a big journal.
    pub(super) fn check(&mut self) {
        self.check_due = None;
        if std::mem::replace(&mut self.checking, true) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let generation = shared.generation();
        let spawned = thread::Builder::new().name("journal-check".to_owned()).spawn(move || {
            let damage = damage_in(&shared);
            shared.checked(Checked { generation, damage });
        });
        self.checking = spawned.is_ok();
    }

    pub(super) fn checked(&mut self, checked: Checked) {
        self.checking = false;
        if let Some(damage) = checked.damage
            && checked.generation == self.shared.generation()
            && let Err(trouble) = self.replace(&damage)
        {
            self.unwell(&trouble);
        }
    }
}

fn make_directory(state_dir: &Path) -> Result<(), Trouble> {
    if state_dir.is_dir() {
        return Ok(());
    }
    let trouble = |error: std::io::Error| Trouble::of_io(&error, &format!("cannot make the directory {}", state_dir.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(trouble)?;
    // The directory's own entry must survive a power cut, or the journal in it would not.
    if let Some(parent) = state_dir.parent()
        && let Ok(parent) = File::open(parent)
    {
        let _ = parent.sync_all();
    }
    Ok(())
}

/// Takes the directory for this agent, for as long as the file stays open.
fn lock(state_dir: &Path) -> Result<File, Blocked> {
    let path = state_dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    // An existing file can be locked on a disk that is read-only now.
    let file = file.or_else(|error| File::open(&path).map_err(|_| error));
    let file = file.map_err(|error| Trouble::of_io(&error, &format!("cannot open {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Blocked::InUse),
        Err(TryLockError::Error(error)) => Err(Trouble::of_io(&error, &format!("cannot lock {}", path.display())).into()),
    }
}

/// Reads every page of a journal, and holds the indexes against the tables: a row that an index has lost would never be delivered. `None`: nothing is wrong with it, or it could not be told.
fn damage_in(shared: &Shared) -> Option<String> {
    let path = shared.path();
    let open = || {
        let _steady = shared.replacing.read().unwrap_or_else(PoisonError::into_inner);
        let conn = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.pragma_update(None, "cache_size", -512)?;
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(conn)
    };
    let checked = open().and_then(|conn| conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)));
    match checked {
        Ok(word) if word == "ok" => None,
        Ok(damage) => Some(damage),
        Err(error) => match Trouble::of(&error, &path) {
            Trouble::Corrupt(why) => Some(why),
            _ => None,
        },
    }
}
