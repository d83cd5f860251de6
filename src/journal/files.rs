//! The files of an open journal: private, and watched. Whoever takes one away under the agent, cuts it or writes into it is noticed.

mod watch;

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use super::trouble::Trouble;
use watch::Watch;

/// The log is cut back to this length when it grew longer.
pub(super) const LOG_LIMIT: u64 = 4 << 20;

/// Files beside a database that belong to it. The last one is there while an upgrade writes the file again.
pub(super) const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What somebody has done to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tampered {
    /// The database is not at its name any more: only the open connection leads to it.
    Gone(&'static str),
    /// Database or log lost pages.
    Cut(&'static str),
    /// The database is whole, with what the connection still holds of its log; at their names log or index are not.
    LogGone(&'static str),
    /// Somebody else wrote into the database.
    Written,
}

impl Tampered {
    /// In words.
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Gone(why) | Self::Cut(why) | Self::LogGone(why) => why,
            Self::Written => "somebody else wrote into it",
        }
    }
}

/// The files behind an open connection.
pub(super) struct Files {
    path: PathBuf,
    main: Known,
    /// Held open: its bytes are needed when its name is gone and the database was cut, too.
    log: File,
    log_known: Known,
    index: Option<(u64, u64)>,
    /// `None`: it cannot be had, and they are only looked at now and then.
    watch: Option<Watch>,
}

/// A file as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    id: (u64, u64),
    length: u64,
    written: (i64, i64),
}

impl Known {
    fn of(found: &Metadata) -> Self {
        Self {
            id: id_of(found),
            length: found.len(),
            written: (found.mtime(), found.mtime_nsec()),
        }
    }
}

impl Files {
    /// The files of a connection that has just been opened on `path` and has read from it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        // Before they are looked at: what happens in between is told.
        let watch = Watch::of(path, &wal_of(path)).inspect_err(|error| {
            tracing::debug!(
                "the journal's files cannot be watched, and are looked at now and then: {error}"
            );
        });
        let log = File::open(wal_of(path))?;
        let index = fs::symlink_metadata(beside(path, "-shm"))
            .ok()
            .map(|found| id_of(&found));
        let log_known = Known::of(&log.metadata()?);
        Ok(Self {
            path: path.to_owned(),
            main: Known::of(&fs::symlink_metadata(path)?),
            log,
            log_known,
            index,
            watch: watch.ok(),
        })
    }

    /// What becomes readable when somebody touches them.
    pub(super) fn watch(&self) -> Option<&OwnedFd> {
        self.watch.as_ref().map(Watch::fd)
    }

    /// Did somebody else touch them since this was last asked? `committed`: we have written to the log ourselves.
    pub(super) fn touched(&mut self, committed: bool) -> bool {
        match self.watch.as_ref().map(|watch| watch.touched(committed)) {
            Some(Ok(touched)) => touched,
            Some(Err(error)) => {
                tracing::debug!("the journal's files are not watched any more: {error}");
                self.watch = None;
                true
            }
            None => false,
        }
    }

    /// Looks at the names; costs no more than asking the system for them.
    pub(super) fn look(&mut self) -> Result<Option<Tampered>, Trouble> {
        let main = match fs::symlink_metadata(&self.path) {
            Ok(found) => Known::of(&found),
            Err(error) if is_absent(&error) => {
                return Ok(Some(Tampered::Gone("the file was deleted")));
            }
            Err(error) => return Err(Trouble::of_io(&error, "the journal cannot be found")),
        };
        if main.id != self.main.id {
            return Ok(Some(Tampered::Gone("another file took its place")));
        }
        if main.length < self.main.length {
            return Ok(Some(Tampered::Cut("the file was cut")));
        }
        match fs::symlink_metadata(wal_of(&self.path)) {
            Ok(found) => {
                let log = Known::of(&found);
                if log.id != self.log_known.id {
                    return Ok(Some(Tampered::LogGone(
                        "another log took the place of its own",
                    )));
                }
                if log.length < self.log_known.length.min(LOG_LIMIT) {
                    return Ok(Some(Tampered::Cut("its log was cut")));
                }
                self.log_known = log;
            }
            Err(error) if is_absent(&error) => {
                return Ok(Some(Tampered::LogGone("its log was deleted")));
            }
            Err(error) => return Err(Trouble::of_io(&error, "the journal's log cannot be found")),
        }
        match fs::symlink_metadata(beside(&self.path, "-shm")) {
            Ok(found) if self.index.is_some_and(|index| index != id_of(&found)) => {
                return Ok(Some(Tampered::LogGone(
                    "another index took the place of its own",
                )));
            }
            Err(error) if self.index.is_some() && is_absent(&error) => {
                return Ok(Some(Tampered::LogGone("its index was deleted")));
            }
            _ => {}
        }
        // In a write-ahead journal only a checkpoint writes into the database, and all of them are ours.
        let written = main.written != self.main.written;
        self.main = main;
        Ok(written.then_some(Tampered::Written))
    }

    /// The database has just been written by a checkpoint of ours.
    pub(super) fn checkpointed(&mut self) {
        if let Ok(found) = fs::symlink_metadata(&self.path)
            && id_of(&found) == self.main.id
        {
            self.main = Known::of(&found);
        }
    }

    /// Is the log at its name the one that the connection writes?
    pub(super) fn log_is_there(&self) -> bool {
        fs::symlink_metadata(wal_of(&self.path))
            .is_ok_and(|found| id_of(&found) == self.log_known.id)
    }

    /// Writes the log's bytes to `to`.
    pub(super) fn copy_log(&self, to: &Path) -> io::Result<()> {
        let to = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)?;
        let mut chunk = vec![0; 64 << 10];
        let mut at = 0;
        loop {
            let many = self.log.read_at(&mut chunk, at)?;
            let Some(bytes) = chunk.get(..many).filter(|bytes| !bytes.is_empty()) else {
                return to.sync_all();
            };
            to.write_all_at(bytes, at)?;
            at += many as u64;
        }
    }
}

/// Is a file of the journal's at a name in the way: no plain file, but a link, a directory, a pipe? `None`: no.
pub(super) fn in_the_way(path: &Path) -> Option<&'static str> {
    let odd = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| !found.is_file());
    if odd(path) {
        return Some("it is not a regular file, but a directory, a link or something else");
    }
    COMPANIONS
        .iter()
        .any(|companion| odd(&beside(path, companion)))
        .then_some("its log or index is not a regular file")
}

/// Makes the files private, and the database if it is missing: SQLite would make it readable by all.
pub(super) fn make_private(path: &Path) {
    // What cannot be made or changed is reported by whoever opens it.
    let _ = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    for file in [path.to_owned()]
        .into_iter()
        .chain(COMPANIONS.iter().map(|companion| beside(path, companion)))
    {
        let open_to_others = fs::symlink_metadata(&file)
            .is_ok_and(|found| found.is_file() && found.mode() & 0o077 != 0);
        if open_to_others
            && let Err(error) = fs::set_permissions(&file, Permissions::from_mode(0o600))
        {
            tracing::warn!(
                "others may read {}, and that cannot be changed: {error}",
                file.display()
            );
        }
    }
}

/// Bytes in a file; 0 if there is none.
pub(super) fn length_of(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |found| found.len())
}

/// Is there a file without its first page? Opened by SQLite, even for reading, it would lose its log, and that may be all that is left.
pub(super) fn is_emptied(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() < 512)
}

/// Does `folder` name the directory that was opened as `open`?
pub(super) fn is_same(open: &File, folder: &Path) -> bool {
    match (open.metadata(), fs::metadata(folder)) {
        (Ok(open), Ok(found)) => id_of(&open) == id_of(&found),
        _ => false,
    }
}

fn id_of(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The log beside a database file.
pub(super) fn wal_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// A file whose name is `path` with `suffix`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
