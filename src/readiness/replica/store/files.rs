//! The replica's files: private, deleted as freely as made, and recognised when somebody exchanges them.

use std::{
    fs::{self, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The database and its log, as they were when the connection was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    path: PathBuf,
    ids: [(u64, u64); 2],
}

impl Files {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            ids: ids(path)?,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Do their names still lead to them? What is written to others is lost.
    pub(super) fn are_there(&self) -> bool {
        ids(&self.path).is_ok_and(|found| found == self.ids)
    }
}

fn ids(path: &Path) -> io::Result<[(u64, u64); 2]> {
    let id = |path: &Path| fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()));
    Ok([id(path)?, id(&beside(path, "-wal"))?])
}

/// Makes room for a private file: what is no plain file is removed, and a log without its database. A missing one is made, because
/// SQLite would make it readable by all; it gives its companions the same rights.
pub(super) fn prepare(path: &Path) -> io::Result<()> {
    let found = |path: &PathBuf| fs::symlink_metadata(path);
    let odd = |path: &PathBuf| found(path).is_ok_and(|found| !found.is_file());
    if found(&path.to_owned()).is_err() || all(path).iter().any(odd) {
        remove(path)?;
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for file in all(path) {
        if found(&file).is_ok_and(|found| found.mode() & 0o077 != 0) {
            fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

/// Deletes the replica; one that is not there is deleted already.
///
/// # Errors
/// What the system says; some of the files may be left.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    // The database first: without its log it would be an earlier state, and a log without its database is nothing.
    for file in all(path) {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Bytes of the replica with its log.
pub(super) fn size(path: &Path) -> u64 {
    let sizes = [path.to_owned(), beside(path, "-wal")].map(fs::symlink_metadata);
    sizes.into_iter().flatten().map(|found| found.len()).sum()
}

fn all(path: &Path) -> Vec<PathBuf> {
    let companions = COMPANIONS.iter().map(|companion| beside(path, companion));
    [path.to_owned()].into_iter().chain(companions).collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
