//! What a state_dir shows from outside, whoever works in it: an agent, room, and what was set aside.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, OFlags, access, statvfs};

use super::{files::COMPANIONS, salvage};

/// Does an agent work in this folder? It locks the folder for as long as it lives.
///
/// # Errors
/// It cannot be determined, usually for lack of permission. Whoever then touches what an agent may hold could darken its lamps.
pub fn in_use(state_dir: &Path) -> io::Result<bool> {
    match open_folder(state_dir) {
        Ok(folder) => match folder.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Opens a folder to lock it. Anything else is refused: a pipe would make the caller wait.
pub(super) fn open_folder(path: &Path) -> io::Result<File> {
    let folder = i32::try_from(OFlags::DIRECTORY.bits()).unwrap_or_default();
    OpenOptions::new()
        .read(true)
        .custom_flags(folder)
        .open(path)
}

/// May this user write there? Nothing is written to find out.
///
/// # Errors
/// What the system says.
pub fn writable(state_dir: &Path) -> io::Result<()> {
    Ok(access(state_dir, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Bytes that are free where the folder lies.
///
/// # Errors
/// What the system says.
pub fn free(state_dir: &Path) -> io::Result<u64> {
    let filesystem = statvfs(state_dir)?;
    Ok(filesystem.f_bavail.saturating_mul(filesystem.f_frsize))
}

/// Journals that were damaged, foreign or newer and were set aside here: a name and its bytes.
pub fn set_aside(state_dir: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(state_dir).into_iter().flatten().flatten();
    let is_one = |name: &str| {
        name.starts_with(salvage::PREFIX)
            && !COMPANIONS.iter().any(|companion| name.ends_with(companion))
    };
    let mut found: Vec<(PathBuf, u64)> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_one))
        .map(|entry| {
            (
                entry.path(),
                entry.metadata().map_or(0, |found| found.len()),
            )
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn an_agent_shows_and_what_cannot_be_told_is_not_taken_for_no_agent() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!in_use(folder.path()).unwrap());
        assert!(!in_use(&folder.path().join("none")).unwrap());
        let held = File::open(folder.path()).unwrap();
        held.lock().unwrap();
        assert!(in_use(folder.path()).unwrap());
        drop(held);
        assert!(!in_use(folder.path()).unwrap());
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(
            !in_use(&folder.path().join("file")).unwrap(),
            "no agent works in a file"
        );
        // As good as no right to it: it is there and cannot be opened.
        let loops = folder.path().join("loop");
        std::os::unix::fs::symlink(&loops, &loops).unwrap();
        in_use(&loops).unwrap_err();
    }

    #[test]
    fn journals_that_were_set_aside_are_found_without_their_logs() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "journal.sqlite",
            "journal.corrupt-1",
            "journal.corrupt-1-wal",
            "journal.corrupt-1-shm",
            "journal.corrupt-2",
        ] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let found = set_aside(folder.path());
        let names: Vec<_> = found
            .iter()
            .map(|(path, bytes)| (path.file_name().unwrap().to_str().unwrap(), *bytes))
            .collect();
        assert_eq!(
            names,
            [("journal.corrupt-1", 17), ("journal.corrupt-2", 17)]
        );
    }
}
