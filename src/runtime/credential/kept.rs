//! The last secret that was read, for as long as its file and the folders around it stay as they were.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::Secret;
use crate::runtime::file;

/// A file that has just been written may be written once more without a new time: the clock of a filesystem moves in steps of
/// some milliseconds.
const SETTLED: Duration = Duration::from_millis(100);

/// A secret, and what it was read from.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    file: FileStamp,
    /// Whose rights decide who could put another file in its place.
    folders: Vec<(PathBuf, FolderStamp)>,
    secret: Secret,
}

/// Another one means another file, another content, or other rights.
#[derive(Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Of content, owner or rights. Nobody can set it back.
    changed: (i64, i64),
}

#[derive(Debug, PartialEq, Eq)]
struct FolderStamp {
    device: u64,
    inode: u64,
    mode: u32,
    owner: u32,
}

impl Kept {
    /// What was read of the file with that `metadata`; `None`: it has to be read again in any case.
    pub(super) fn of(path: &Path, metadata: &Metadata, secret: &Secret) -> Option<Self> {
        let changed = Duration::new(
            u64::try_from(metadata.ctime()).ok()?,
            u32::try_from(metadata.ctime_nsec()).ok()?,
        );
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed);
        if since.ok()? < SETTLED {
            return None;
        }
        let folders = file::folders_around(path)?
            .into_iter()
            .map(|folder| {
                let stamp = FolderStamp::of(&fs::metadata(&folder.path).ok()?);
                Some((folder.path, stamp))
            })
            .collect::<Option<_>>()?;
        Some(Self {
            path: path.to_owned(),
            file: FileStamp::of(metadata),
            folders,
            secret: secret.clone(),
        })
    }

    /// Is it still what a reading of `path` would give?
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let is_same = |(folder, stamp): &(PathBuf, FolderStamp)| {
            fs::metadata(folder).is_ok_and(|metadata| FolderStamp::of(&metadata) == *stamp)
        };
        self.path == path
            && fs::metadata(path).is_ok_and(|metadata| FileStamp::of(&metadata) == self.file)
            && self.folders.iter().all(is_same)
    }

    pub(super) fn secret(&self) -> Secret {
        self.secret.clone()
    }
}

impl FileStamp {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl FolderStamp {
    fn of(folder: &Metadata) -> Self {
        Self {
            device: folder.dev(),
            inode: folder.ino(),
            mode: folder.mode(),
            owner: folder.uid(),
        }
    }
}
