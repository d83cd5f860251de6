//! What SQLite's errors mean for a file that can be deleted and filled again.

use rusqlite::{ErrorCode, ffi};

/// Why the replica cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    #[error("No space is left for the replica: free some on the disk of state_dir")]
    Full,
    #[error("The replica cannot be written, because the disk of state_dir is read-only")]
    ReadOnly,
    /// Its file was deleted, or could not be written meanwhile.
    #[error("The replica was closed during the pass")]
    Lost,
    #[error("The replica cannot be used: {0}")]
    Other(String),
}

/// What to do after an error.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Delete the file and begin a new one: why.
    Discard(String),
    /// Close it; the next pass tries again.
    Close(StoreFault),
    /// Nothing: the caller is wrong.
    Refuse(StoreFault),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let extended = error.sqlite_extended_error_code().unwrap_or(0);
        let unreadable = matches!(
            extended,
            ffi::SQLITE_IOERR_READ
                | ffi::SQLITE_IOERR_SHORT_READ
                | ffi::SQLITE_IOERR_CORRUPTFS
                | ffi::SQLITE_IOERR_DATA
                | ffi::SQLITE_READONLY_DBMOVED
        );
        match error.sqlite_error_code() {
            _ if unreadable => Self::Discard(error.to_string()),
            Some(ErrorCode::DiskFull) => Self::Close(StoreFault::Full),
            Some(ErrorCode::ReadOnly) => Self::Close(StoreFault::ReadOnly),
            // SQLITE_ERROR: a table or column is not there. None: a value is of another kind than was written.
            None
            | Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Self::Discard(error.to_string())
            }
            Some(_) => Self::Close(StoreFault::Other(error.to_string())),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Close(match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreFault::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => StoreFault::ReadOnly,
            _ => StoreFault::Other(error.to_string()),
        })
    }
}
