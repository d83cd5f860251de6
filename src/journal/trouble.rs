//! Why a journal's file cannot be written: what SQLite, the file and its filesystem say, in one word.

use std::{fs, path::Path};

use rusqlite::{ErrorCode, ffi};

/// Why the file cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No space left.
    Full,
    /// The file or its filesystem is read-only.
    ReadOnly,
    /// Another process holds the file.
    Busy,
    /// The file cannot be this station's journal any more: what is wrong with it.
    Corrupt(String),
    /// Anything else, in words.
    Other(String),
}

impl Trouble {
    /// What `error` means for the file at `path`.
    pub(super) fn of(error: &rusqlite::Error, path: &Path) -> Self {
        let extended = error.sqlite_extended_error_code().unwrap_or(0);
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly) if extended == ffi::SQLITE_READONLY_DBMOVED => {
                Self::Corrupt("the file was moved away".to_owned())
            }
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            // SQLITE_ERROR: a table or column is not there, so this is not a journal.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Self::Corrupt(error.to_string())
            }
            Some(ErrorCode::SystemIoFailure)
                if matches!(
                    extended,
                    ffi::SQLITE_IOERR_READ
                        | ffi::SQLITE_IOERR_SHORT_READ
                        | ffi::SQLITE_IOERR_CORRUPTFS
                        | ffi::SQLITE_IOERR_DATA
                ) =>
            {
                Self::Corrupt(error.to_string())
            }
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
                Self::of_filesystem(path).unwrap_or_else(|| Self::Other(error.to_string()))
            }
            None => Self::Corrupt(error.to_string()),
            Some(_) => Self::Other(error.to_string()),
        }
    }

    /// What the filesystem says of itself when a file on it cannot be written.
    fn of_filesystem(path: &Path) -> Option<Self> {
        let folder = path.parent()?;
        let filesystem = rustix::fs::statvfs(folder).ok()?;
        if filesystem
            .f_flag
            .contains(rustix::fs::StatVfsMountFlags::RDONLY)
        {
            return Some(Self::ReadOnly);
        }
        if filesystem.f_bavail == 0 {
            return Some(Self::Full);
        }
        // A filesystem that met an error takes no more writes and need not show it in its flags (ext4 on recent kernels); a quota is not in
        // its numbers. Trying tells.
        let probe = folder.join("journal.probe");
        let tried = fs::write(&probe, [0; 4096]);
        let _ = fs::remove_file(&probe);
        match tried.err()?.kind() {
            std::io::ErrorKind::ReadOnlyFilesystem => Some(Self::ReadOnly),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Some(Self::Full),
            _ => None,
        }
    }

    /// What an operation on the directory or the lock file ran into.
    pub(super) fn of_io(error: &std::io::Error, what: &str) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Other(format!("{what}: {error}")),
        }
    }
}
