//! The kernel's word that somebody touched the files of an open journal (inotify): nobody has to look again and again.

use std::{io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

/// Tells that something happened to a journal's files or to their folder, not what.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    /// What events about the log are marked with.
    log: i32,
}

impl Watch {
    /// Watches the journal at `path` and its `log`, which are there, and the names in their folder.
    ///
    /// # Errors
    /// The system's limit of watches is reached, or it has none.
    pub(super) fn of(path: &Path, log: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let names = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        inotify::add_watch(&inotify, folder, names)?;
        // Of the folder's other files, the replica and the mark are written often, and not the journal's.
        inotify::add_watch(&inotify, path, WatchFlags::MODIFY)?;
        let log = inotify::add_watch(&inotify, log, WatchFlags::MODIFY)?;
        Ok(Self { inotify, log })
    }

    /// What becomes readable when something happened.
    pub(super) const fn fd(&self) -> &OwnedFd {
        &self.inotify
    }

    /// Did something happen since this was last asked? With `committed` we have written to the log ourselves, and a log that was
    /// only written to does not count.
    ///
    /// # Errors
    /// It can tell nothing any more.
    pub(super) fn touched(&self, committed: bool) -> io::Result<bool> {
        let mut touched = false;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    let log_written = event.wd() == self.log && event.events() == ReadFlags::MODIFY;
                    touched |= !(committed && log_written);
                }
                Err(Errno::AGAIN) => return Ok(touched),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn whatever_happens_to_the_files_is_told_once_and_what_happens_to_others_is_not() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("state");
        fs::create_dir(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        for name in ["journal.sqlite", "journal.sqlite-wal", "replica.sqlite"] {
            fs::write(at(name), "something").unwrap();
        }
        let watch = Watch::of(&at("journal.sqlite"), &at("journal.sqlite-wal")).unwrap();
        let told = |what: &str| {
            assert!(watch.touched(true).unwrap(), "{what}");
            assert!(!watch.touched(false).unwrap(), "{what}: once");
        };
        let log_written = || {
            let log = fs::File::options()
                .append(true)
                .open(at("journal.sqlite-wal"));
            log.unwrap().write_all(b"a page").unwrap();
        };
        assert!(!watch.touched(false).unwrap(), "nothing happened yet");
        fs::write(at("replica.sqlite"), "something else").unwrap();
        fs::read(at("journal.sqlite")).unwrap();
        assert!(!watch.touched(false).unwrap(), "not about the journal");
        log_written();
        assert!(watch.touched(false).unwrap(), "somebody wrote to the log");
        log_written();
        assert!(!watch.touched(true).unwrap(), "that was our commit");
        fs::write(at("journal.sqlite"), "something else").unwrap();
        told("written");
        fs::File::options()
            .write(true)
            .open(at("journal.sqlite-wal"))
            .unwrap()
            .set_len(0)
            .unwrap();
        assert!(watch.touched(false).unwrap(), "the log cut");
        fs::write(at("journal.sqlite-shm"), "").unwrap();
        told("a file made");
        fs::rename(at("journal.sqlite-shm"), at("elsewhere")).unwrap();
        told("a name gone");
        fs::rename(at("elsewhere"), at("journal.sqlite-wal")).unwrap();
        told("another log in its place");
        fs::remove_file(at("journal.sqlite")).unwrap();
        told("deleted");
        fs::rename(&folder, place.path().join("away")).unwrap();
        told("the folder renamed");
    }

    #[test]
    fn what_cannot_be_watched_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite");
        Watch::of(&path, &path).unwrap_err();
    }
}
