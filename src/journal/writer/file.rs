//! The writer's file: the directory and its lock, opening, setting a bad file aside, and the check of every page.

use std::{
    fs::{DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{RETRY, Writer, state::alarm_since};
use crate::journal::{
    files::{Tampered, is_emptied, is_same, wal_of},
    inbox::{Checked, Shared},
    mark::{self, Mark},
    salvage::{self, Salvage, TakenAway},
    store::{COMPARE_FROM, Fate, Store, note_loss},
    survey,
    trouble::Trouble,
};

/// A file that is damaged again so soon after a salvage says that the disk is, not the file.
const SALVAGE_PAUSE: Duration = Duration::from_secs(30);
/// How long after a start from a clean end every page is looked at.
const CHECK: Duration = Duration::from_secs(60);
/// The same after a kill or a power cut.
const CHECK_UNCLEAN: Duration = Duration::from_secs(5);
/// How long another's lock is waited for: a doctor that looks whether an agent is there holds it for a moment.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Files taken away whose open connections are read at the same time, at most.
const LEFT_OPEN: usize = 4;

/// Why the journal is not open.
pub(super) enum Blocked {
    InUse,
    Trouble(Trouble),
}

impl Blocked {
    /// What it means for an agent that runs already.
    fn trouble(self) -> Trouble {
        match self {
            Self::InUse => Trouble::Other("another benchlight uses the directory".to_owned()),
            Self::Trouble(trouble) => trouble,
        }
    }
}

impl From<Trouble> for Blocked {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// Files that were replaced while this process runs, and the rescue of their records.
#[derive(Default)]
pub(super) struct Replaced {
    /// Connections whose files have lost their names: what they hold goes over, and ends with this process.
    taken_away: Vec<TakenAway>,
    salvage: Option<Salvage>,
    /// A file set aside could not be opened for a passing reason: when to try again.
    salvage_due: Option<Instant>,
    /// When a damaged file was last replaced.
    at: Option<Instant>,
}

impl Replaced {
    pub(super) fn is_salvaging(&self) -> bool {
        self.salvage.is_some()
    }

    /// Is it of a file that has lost its name, and ends with this process?
    pub(super) fn is_salvaging_open(&self) -> bool {
        self.salvage.as_ref().is_some_and(Salvage::is_of_open)
    }

    /// When the next salvage is to begin.
    pub(super) fn due(&self) -> Option<Instant> {
        self.salvage_due
    }

    /// One small step; `true`: that file is done with.
    pub(super) fn step(&mut self, store: &mut Store) -> Result<bool, Trouble> {
        let Some(salvage) = &mut self.salvage else {
            return Ok(false);
        };
        let finished = salvage.step(store)?;
        if finished {
            self.salvage = None;
        }
        Ok(finished)
    }
}

/// The check of every page.
#[derive(Clone, Copy)]
pub(super) enum PageCheck {
    Idle,
    Due(Instant),
    Running,
    /// One runs, and the file it looks at has been replaced: the next one begins then.
    RunningThenDue(Instant),
}

impl PageCheck {
    /// When one must begin.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Due(at) => Some(at),
            Self::Idle | Self::Running | Self::RunningThenDue(_) => None,
        }
    }

    /// Another file is open and must be checked then.
    fn opened(&mut self, at: Instant) {
        *self = match self {
            Self::Idle | Self::Due(_) => Self::Due(at),
            Self::Running | Self::RunningThenDue(_) => Self::RunningThenDue(at),
        };
    }

    /// `false`: one runs already.
    fn begin(&mut self) -> bool {
        let idle = matches!(self, Self::Idle | Self::Due(_));
        if idle {
            *self = Self::Running;
        }
        idle
    }

    fn ended(&mut self) {
        *self = match self {
            Self::RunningThenDue(at) => Self::Due(*at),
            _ => Self::Idle,
        };
    }
}

impl Writer {
    /// Makes sure that the file is open.
    pub(super) fn opened(&mut self) -> Result<(), Trouble> {
        self.open().map_err(Blocked::trouble)
    }

    pub(super) fn open(&mut self) -> Result<(), Blocked> {
        if self.state.is_open() {
            return Ok(());
        }
        self.take_directory()?;
        let state_dir = self.shared.settings.state_dir.clone();
        let path = self.shared.path();
        let mark = mark::read(&state_dir);
        // The power may have gone between setting a file aside and making the new one.
        let floor = match salvage::copies(&state_dir).last() {
            _ if path.exists() => 1,
            Some(copy) => salvage::floor_above(copy),
            None if mark == Mark::Absent => 1,
            None => salvage::UNKNOWN_FLOOR,
        };
        let opened = Store::open(&path, &self.shared.machine, floor, mark)
            .and_then(|store| self.take_into_use(store, "it was found set aside"));
        match opened {
            Err(Trouble::Corrupt(why)) => Ok(self.replace(&why)?),
            opened => Ok(opened?),
        }
    }

    /// Makes the directory if it is missing, and locks it if that one is not locked yet.
    pub(super) fn take_directory(&mut self) -> Result<(), Blocked> {
        let state_dir = &self.shared.settings.state_dir;
        make_directory(state_dir)?;
        if !self
            .folder
            .as_ref()
            .is_some_and(|folder| is_same(folder, state_dir))
        {
            self.folder = Some(lock(state_dir)?);
        }
        Ok(())
    }

    /// Takes a file into use.
    fn take_into_use(&mut self, mut store: Store, cause: &str) -> Result<(), Trouble> {
        if let Some(why) = store.renewed {
            tracing::error!(
                "the journal must not go on counting ({why}); it goes on in a new epoch"
            );
        }
        if store.forgotten && self.replaced.at.is_none() {
            tracing::error!(
                "there is no journal, though its mark says that there was one; beginning a new one"
            );
        }
        salvage::adopt(&mut store, &self.shared.settings.state_dir, cause)?;
        if !self.interrupted_closed {
            let closed = store.close_interrupted()?;
            if closed > 0 {
                tracing::warn!(
                    scans = closed,
                    "scans were interrupted when the agent last ended; box and answer are unknown"
                );
            }
            let seq = store.seq().map_err(|error| store.trouble(&error))?;
            if !store.drawn
                && store
                    .fact(COMPARE_FROM)
                    .map_err(|error| store.trouble(&error))?
                    .is_none()
            {
                store.remember(COMPARE_FROM, seq)?;
            }
        }
        let newest = store.newest()?;
        let unclean = store.unclean;
        // A log that an ended process left behind is written back first of all. Else it would grow from one power cut to the next.
        self.schedule.opened(store.changes(), unclean);
        // What cannot be counted is damaged where a scan would meet it.
        let mut health = self.shared.health.borrow().clone();
        store.tell(&mut health, alarm_since())?;
        if store.drawn {
            self.shared.compared();
        } else if !self.interrupted_closed {
            self.shared.await_comparison();
        }
        self.state.opened(store);
        self.told(health);
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        self.shared
            .newest
            .send_if_modified(|known| std::mem::replace(known, newest) != newest);
        self.next_salvage();
        self.interrupted_closed = true;
        self.mark.opened();
        self.write_mark();
        // A check of a big journal keeps a card busy for many seconds: never while the station starts.
        let wait = if unclean { CHECK_UNCLEAN } else { CHECK };
        self.check.opened(Instant::now() + wait);
        Ok(())
    }

    /// Moves the open file away and goes on in a new one. What only the open connection leads to is read from it.
    pub(super) fn replace(&mut self, why: &str) -> Result<(), Trouble> {
        self.take_directory().map_err(Blocked::trouble)?;
        let tampered = self
            .state
            .store_mut()
            .and_then(|store| store.files.look().ok().flatten());
        if let Some(Tampered::LogGone(why)) = tampered
            && self.mended(why)?
        {
            return Ok(());
        }
        let taken_away = matches!(tampered, Some(Tampered::Gone(_) | Tampered::LogGone(_)));
        self.may_replace(why, taken_away)?;
        let path = self.shared.path();
        let shared = Arc::clone(&self.shared);
        let _replacing = shared
            .replacing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let floor = self.put_aside(&path, why, taken_away)?;
        let store = Store::open(&path, &self.shared.machine, floor, Mark::Absent)?;
        self.take_into_use(store, why)
    }

    /// Closes what is open and renames what lies there. The least number for the next epoch.
    fn put_aside(&mut self, path: &Path, why: &str, taken_away: bool) -> Result<i64, Trouble> {
        let mut floor = 1;
        let (mut files, mut own_log) = (None, false);
        // SQLite looks for a log beside the file that a link leads to.
        let mut with_log = !path.is_symlink();
        if let Some(old) = self.state.close() {
            keep_log(&old.conn);
            floor = old.epoch.0.saturating_add(1);
            own_log = taken_away && old.files.log_is_there();
            with_log &= !own_log;
            if taken_away {
                self.replaced.taken_away.push(TakenAway {
                    conn: old.conn,
                    log: None,
                    why: why.to_owned(),
                });
            }
            files = Some(old.files);
        }
        let aside = salvage::put_aside(path, with_log, Timestamp::now())
            .map_err(|error| Trouble::of_io(&error, "the journal cannot be renamed"))?;
        if let Some(taken) = self.replaced.taken_away.last_mut().filter(|_| own_log) {
            taken.log = aside.log;
        }
        let copy = aside.copy;
        if let (Some(copy), Some(files), false) = (&copy, &files, taken_away)
            && !wal_of(copy).exists()
            && let Err(error) = files.copy_log(&wal_of(copy))
        {
            tracing::error!(
                "the log of {} is deleted and cannot be copied: {error}",
                copy.display()
            );
        }
        Ok(floor.max(
            copy.as_deref()
                .map_or(salvage::UNKNOWN_FLOOR, salvage::floor_above),
        ))
    }

    /// Moves what the open log holds into the file, which is whole, and goes on with a new log. `false`: that cannot be done now.
    fn mended(&mut self, why: &str) -> Result<bool, Trouble> {
        let shared = Arc::clone(&self.shared);
        let _replacing = shared
            .replacing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(store) = self.state.store_mut() else {
            return Ok(false);
        };
        if !store.write_back() {
            return Ok(false);
        }
        let path = store.path.clone();
        let log = if store.files.log_is_there() {
            std::fs::remove_file(wal_of(&path))
        } else {
            Ok(())
        };
        let cleared = log.and_then(|()| salvage::put_log_aside(&path, Timestamp::now()));
        cleared
            .map_err(|error| Trouble::of_io(&error, "the journal's log cannot be taken away"))?;
        tracing::error!(
            "{why} while the agent runs; what it held is safe, and the journal goes on with a new one"
        );
        if let Some(old) = self.state.close() {
            keep_log(&old.conn);
        }
        let mut store = Store::open(
            &path,
            &self.shared.machine,
            1,
            mark::read(&self.shared.settings.state_dir),
        )?;
        store.unsynced(|transaction| note_loss(transaction, why, Some(0)))?;
        self.take_into_use(store, why).map(|()| true)
    }

    fn may_replace(&mut self, why: &str, taken_away: bool) -> Result<(), Trouble> {
        if !taken_away
            && self
                .replaced
                .at
                .is_some_and(|at| at.elapsed() < SALVAGE_PAUSE)
        {
            return Err(Trouble::Other(format!(
                "damaged again right after it was made anew, check the disk: {why}"
            )));
        }
        if taken_away && self.replaced.taken_away.len() >= LEFT_OPEN {
            return Err(Trouble::Other(format!(
                "taken away again and again, end whatever does that: {why}"
            )));
        }
        tracing::error!(
            "the journal cannot be used ({why}); setting it aside as journal.corrupt-<time> and going on in a new epoch"
        );
        if !taken_away {
            self.replaced.at = Some(Instant::now());
        }
        Ok(())
    }

    /// Begins with what was taken away, if there is something, then with the next file that was set aside.
    pub(super) fn next_salvage(&mut self) {
        let replaced = &mut self.replaced;
        replaced
            .taken_away
            .extend(replaced.salvage.take().and_then(Salvage::into_taken_away));
        let Some(store) = self.state.store_mut() else {
            return;
        };
        replaced.salvage_due = None;
        let ended = (!self.interrupted_closed).then_some(Fate::Interrupted);
        let next = match replaced.taken_away.last() {
            Some(taken) => salvage::note_taken_away(store, &taken.why).map(|number| {
                let taken = replaced.taken_away.pop();
                taken.map(|taken| Salvage::of_open(number, taken))
            }),
            None => Salvage::next(store, &self.shared.settings.state_dir, ended),
        };
        match next {
            Ok(next) => {
                let only_noted_now = next.as_ref().is_some_and(Salvage::is_of_open);
                replaced.salvage = next;
                if only_noted_now {
                    self.tell();
                }
            }
            Err(_) => replaced.salvage_due = Some(Instant::now() + RETRY),
        }
    }

    /// Reads every page of the file, on its own thread and connection: that takes seconds for a big journal.
    pub(super) fn check(&mut self) {
        if !self.check.begin() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let generation = shared.generation();
        let spawned = thread::Builder::new()
            .name("journal-check".to_owned())
            .spawn(move || {
                let damage = damage_in(&shared);
                shared.checked(Checked { generation, damage });
            });
        if spawned.is_err() {
            self.check.ended();
        }
    }

    pub(super) fn checked(&mut self, checked: Checked) {
        self.check.ended();
        if let Some(damage) = checked.damage
            && checked.generation == self.shared.generation()
        {
            self.replace_or_unwell(&damage);
        }
    }
}

/// Closing it must neither write into a damaged file nor delete a log by a name that is another file's by then.
fn keep_log(conn: &Connection) {
    let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}

fn make_directory(state_dir: &Path) -> Result<(), Trouble> {
    if state_dir.is_dir() {
        return Ok(());
    }
    let trouble = |error: io::Error| {
        Trouble::of_io(
            &error,
            &format!("cannot make the directory {}", state_dir.display()),
        )
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(trouble)?;
    // The directory's own entry must survive a power cut, or the journal in it would not.
    if let Some(parent) = state_dir.parent()
        && let Ok(parent) = File::open(parent)
    {
        let _ = parent.sync_all();
    }
    Ok(())
}

/// Takes the directory for this agent, for as long as it stays open. The lock is on the directory itself: a lock file could be deleted,
/// and the next agent would lock another one.
fn lock(state_dir: &Path) -> Result<File, Blocked> {
    let what =
        |error: &io::Error| Trouble::of_io(error, &format!("cannot lock {}", state_dir.display()));
    let folder = survey::open_folder(state_dir).map_err(|error| what(&error))?;
    for _ in 0..LOCK_TRIES {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(what(&error).into()),
        }
    }
    Err(Blocked::InUse)
}

const LOWEST_PRIORITY: i32 = 19;
const UNSENT_IS_TRUE: &str = "SELECT (SELECT total(unsent) FROM epoch) = \
    (SELECT count(*) FROM record WHERE delivered_at IS NULL AND aside IS NULL)";

/// Reads every page of a journal and compares the indexes with the tables: a row missing from an index would never be delivered.
/// `None`: nothing is wrong, or the check could not be made.
fn damage_in(shared: &Shared) -> Option<String> {
    let path = shared.path();
    let open = || {
        let _steady = shared
            .replacing
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if is_emptied(&path) {
            return Err(rusqlite::Error::InvalidPath(path.clone()));
        }
        let conn = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.pragma_update(None, "cache_size", -512)?;
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(conn)
    };
    // On Linux that is this thread's own priority: scans go first.
    let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
    let checked = open().and_then(|conn| {
        let pages: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        let counted: bool = conn.query_row(UNSENT_IS_TRUE, [], |row| row.get(0))?;
        Ok(if counted || pages != "ok" {
            pages
        } else {
            "it does not count its unsent records rightly".to_owned()
        })
    });
    match checked {
        Ok(word) if word == "ok" => None,
        Ok(damage) => Some(damage),
        Err(error) => match Trouble::of(&error, &path) {
            Trouble::Corrupt(why) => Some(why),
            _ => None,
        },
    }
}
