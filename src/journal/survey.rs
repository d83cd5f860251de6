//! What a state_dir shows from outside, whoever works in it: an agent, room, and what was set aside.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};

use super::{salvage, writer};

/// Does an agent work in this folder? It locks a file there for as long as it lives.
pub fn in_use(state_dir: &Path) -> bool {
    File::open(state_dir.join(writer::LOCK)).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
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
    let is_one = |name: &str| name.starts_with(salvage::PREFIX) && !name.ends_with("-wal") && !name.ends_with("-shm");
    let mut found: Vec<(PathBuf, u64)> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_one))
        .map(|entry| (entry.path(), entry.metadata().map_or(0, |found| found.len())))
        .collect();
    found.sort();
    found
}
