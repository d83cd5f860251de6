//! The file beside whoever writes it, for the commands: what it holds is read without a change, and cleared while no agent runs.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc::channel},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    LARGEST_FILE, Shared, Status, Store,
    files::{self, Files},
    opened::{self, InFile, Opened},
    reader::Reader,
    schema::{self, Found},
    trouble::{StoreFault, Trouble},
};
use crate::runtime::name::Name;

/// Why a replica cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    #[error("there is no replica at {}", .0.display())]
    Absent(PathBuf),
    #[error("cannot open {}: {why}", path.display())]
    Closed { path: PathBuf, why: String },
    /// An agent deletes such a file at its start, and fills a new one.
    #[error("the replica {} is damaged or of another build", .0.display())]
    Broken(PathBuf),
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// With its log.
    pub bytes: u64,
    pub sources: BTreeMap<Name, Status>,
}

/// Says what the replica at `path` holds, whether or not an agent runs on it.
///
/// # Errors
/// [`ReadFault`].
pub fn survey(path: &Path) -> Result<Survey, ReadFault> {
    let sources = read(path, |conn| Ok(opened::load(conn)?.sources))?;
    Ok(Survey {
        bytes: files::size(path),
        sources: sources
            .iter()
            .map(|(name, source)| (name.clone(), Status::of(source)))
            .collect(),
    })
}

/// Deletes all rows of a source. No agent may run.
///
/// # Errors
/// [`StoreFault`]: they may still be there.
pub fn clear(path: &Path, source: &Name) -> Result<(), StoreFault> {
    let wipe = || -> Result<(), Trouble> {
        let mut open = Opened::open(path, LARGEST_FILE)?;
        open.wipe(source, &Shared::default())?;
        Ok(())
    };
    match wipe() {
        Ok(()) => Ok(()),
        // What cannot be trusted goes as a whole, as at the next start.
        Err(Trouble::Discard(_)) => {
            Store::delete(path).map_err(|error| StoreFault::Other(error.to_string()))
        }
        Err(Trouble::Close(fault) | Trouble::Refuse(fault)) => Err(fault),
    }
}

impl Store {
    /// The replica as it is now, for look-ups alone: nothing is written, neither here nor there.
    ///
    /// # Errors
    /// [`ReadFault`].
    pub fn beside(path: &Path) -> Result<Self, ReadFault> {
        let (reader, strikes) = read(path, |conn| {
            let InFile { strikes, .. } = opened::load(conn)?;
            // The log is there as long as `conn` is.
            let files = Files::of(path).map_err(|_| schema::damaged())?;
            Ok((Reader::open(path, files)?, strikes))
        })?;
        let shared = Shared::default();
        shared.strikes().load(strikes);
        shared.open_reading(reader);
        // Nobody serves requests.
        let (requests, _) = channel();
        Ok(Self {
            shared: Arc::new(shared),
            requests,
        })
    }
}

/// Reads one state of the file.
fn read<T>(
    path: &Path,
    with: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, ReadFault> {
    let closed = |why: String| ReadFault::Closed {
        path: path.to_owned(),
        why,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => {
            return Err(ReadFault::Absent(path.to_owned()));
        }
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(ReadFault::Broken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReadFault::Absent(path.to_owned()));
        }
        Err(error) => return Err(closed(error.to_string())),
    }
    let read = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(Duration::from_secs(2))?;
        conn.pragma_update(None, "trusted_schema", false)?;
        let state = conn.unchecked_transaction()?;
        match schema::look(&state)? {
            Found::Replica => with(&state).map(Some),
            Found::New | Found::Foreign => Ok(None),
        }
    };
    match read() {
        Ok(Some(read)) => Ok(read),
        Ok(None) => Err(ReadFault::Broken(path.to_owned())),
        Err(error) => Err(match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::DatabaseBusy) => {
                closed(error.to_string())
            }
            _ => ReadFault::Broken(path.to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests;
