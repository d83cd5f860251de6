//! Small text files of the station's own: read whole, only where they are plain files, and what others may change of them.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, process::geteuid};

/// What to do about a file that is not in the right coding.
const SAVE_AS_UTF8: &str =
    "save it as UTF-8 (an editor's encoding \"UTF-8\", or: iconv -f UTF-16 -t UTF-8 OLD > NEW)";

/// Reads a plain text file of at most `most` bytes. A byte order mark, which editors on Windows leave, is dropped.
///
/// Anything else is refused unread: a pipe would make the caller wait for a writer, a device may never end.
///
/// # Errors
/// What the system says, or that this is no plain file, a far too large one, or UTF-16 text.
pub fn read(path: &Path, most: u64) -> io::Result<(Vec<u8>, Metadata)> {
    // Before it is opened: opening some devices does something. And again afterwards: it may be another file by then.
    plain(&fs::metadata(path)?)?;
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    let metadata = file.metadata()?;
    plain(&metadata)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {} KiB", most >> 10),
        ));
    }
    Ok((unmarked(bytes)?, metadata))
}

/// Writes a private file (mode 0600) whole or not at all, synced to disk: beside its name first, then under it.
///
/// It belongs to the owner of the file before, else of the folder: an administrator writes it, and the service's user
/// must be able to read it.
///
/// # Errors
/// What the system says; the file before is still there then.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    if path.file_name().is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "give the name of a file",
        ));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Never into a file that is there: it may be a link to somewhere else, or have another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        let owner = fs::metadata(path).or_else(|_| fs::metadata(folder))?;
        let ours = file.metadata()?;
        if (owner.uid(), owner.gid()) != (ours.uid(), ours.gid()) && geteuid().is_root() {
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // What is left of it may hold a secret.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// The bytes without UTF-8's byte order marks.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`]: they are UTF-16 text.
pub fn unmarked(mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let zeros = |first: usize| {
        bytes.len() > 3
            && bytes
                .iter()
                .skip(first)
                .step_by(2)
                .take(32)
                .all(|byte| *byte == 0)
    };
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || zeros(0) || zeros(1) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is UTF-16 text, as Windows writes it, and not UTF-8",
        ));
    }
    while bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    Ok(bytes)
}

/// The bytes as text.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`]: they are not UTF-8; the line is named.
pub fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let line = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to())
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is not UTF-8 text (line {line})"),
        )
    })
}

/// What to do about a file that [`read`] or [`text`] refused; `otherwise` where its coding is not the cause.
pub fn remedy<'a>(error: &io::Error, otherwise: &'a str) -> &'a str {
    if error.kind() == io::ErrorKind::InvalidData {
        SAVE_AS_UTF8
    } else {
        otherwise
    }
}

fn plain(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a file, but a pipe, a device or a folder",
        ))
    }
}

/// Everybody may write: whoever has any account on the machine.
pub const fn everybody_writes(mode: u32) -> bool {
    mode & 0o002 != 0
}

/// A folder in which somebody else could put another file in the place of `path`, with what is wrong with it. `None`, too, where the
/// folders cannot be looked at: then the file cannot be read either.
pub fn exposing_folder(path: &Path) -> Option<(PathBuf, &'static str)> {
    let us = geteuid().as_raw();
    folders_around(path)?.into_iter().find_map(|folder| {
        let metadata = fs::metadata(&folder.path).ok()?;
        let what = exposed(metadata.mode(), metadata.uid(), us, folder.is_above)?;
        Some((folder.path, what))
    })
}

/// A folder on the way to a file.
pub struct Around {
    pub path: PathBuf,
    /// It is the one above the file's own.
    pub is_above: bool,
}

/// The folders whose rights decide who can exchange the file at `path`: its own and the one above it, before and after links are
/// followed. `None`: they cannot be found.
pub fn folders_around(path: &Path) -> Option<Vec<Around>> {
    let real = path.canonicalize().ok()?;
    let mut around: Vec<Around> = Vec::new();
    for folder in [path.parent(), real.parent()].into_iter().flatten() {
        let own = folder.canonicalize().ok()?;
        if around
            .iter()
            .any(|known| !known.is_above && known.path == own)
        {
            continue;
        }
        let above = own.parent().map(Path::to_owned);
        around.push(Around {
            path: own,
            is_above: false,
        });
        around.extend(above.map(|path| Around {
            path,
            is_above: true,
        }));
    }
    Some(around)
}

/// What lets others change what lies in a folder, and whether that is everybody. (Whose the folder is, the agent finds out when it writes.)
pub fn exposed_folder(metadata: &Metadata) -> Option<(&'static str, bool)> {
    let mode = metadata.mode();
    exposed(mode, 0, 0, false).map(|what| (what, everybody_writes(mode)))
}

/// What lets somebody else than root and `us` exchange the files of a folder, or the folder itself (`is_above`: of its parent).
fn exposed(mode: u32, owner: u32, us: u32, is_above: bool) -> Option<&'static str> {
    // In a folder that all may write to but with this bit, nobody can rename or remove what is another's.
    let sticky = mode & 0o1000 != 0;
    match is_above {
        true if everybody_writes(mode) && !sticky => Some("can be written by everybody"),
        false if everybody_writes(mode) => Some("can be written by everybody"),
        false if mode & 0o020 != 0 => Some("can be written by its group"),
        // Root looks at the files of the agent's user.
        _ if owner != 0 && owner != us && us != 0 => Some("belongs to another user"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        os::unix::fs::{PermissionsExt, symlink},
        process::Command,
    };

    use super::*;

    #[test]
    fn a_plain_file_is_read_and_everything_else_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        assert_eq!(read(&path("file"), 4).unwrap().0, b"text");
        assert_eq!(
            read(&path("file"), 3).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert!(
            Command::new("mkfifo")
                .arg(path("pipe"))
                .status()
                .unwrap()
                .success()
        );
        for odd in [
            path("pipe"),
            folder.path().to_owned(),
            "/dev/zero".into(),
            "/dev/null".into(),
        ] {
            assert!(
                read(&odd, 1 << 20)
                    .unwrap_err()
                    .to_string()
                    .contains("a pipe, a device or a folder"),
                "{}",
                odd.display()
            );
        }
        assert_eq!(
            read(&path("none"), 1).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_byte_order_mark_is_dropped_and_utf_16_is_named() {
        let utf_16 = |text: &str, mark: &[u8]| {
            [
                mark,
                &text
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect::<Vec<_>>(),
            ]
            .concat()
        };
        let big = |text: &str| {
            text.encode_utf16()
                .flat_map(u16::to_be_bytes)
                .collect::<Vec<_>>()
        };
        for (bytes, read) in [
            (b"\xef\xbb\xbftoken".to_vec(), b"token".to_vec()),
            (b"\xef\xbb\xbf\xef\xbb\xbftoken".to_vec(), b"token".to_vec()),
            (b"token\xef\xbb\xbf".to_vec(), b"token\xef\xbb\xbf".to_vec()),
            (b"caf\xe9".to_vec(), b"caf\xe9".to_vec()),
            (b"".to_vec(), b"".to_vec()),
            (b"\xef\xbb\xbf".to_vec(), b"".to_vec()),
        ] {
            assert_eq!(unmarked(bytes).unwrap(), read);
        }
        for bytes in [
            utf_16("token", b"\xff\xfe"),
            utf_16("token", b""),
            big("token"),
            [b"\xfe\xff".to_vec(), big("token")].concat(),
            b"\xff\xfe".to_vec(),
        ] {
            let error = unmarked(bytes).unwrap_err();
            assert!(
                error.to_string().contains("UTF-16") && remedy(&error, "").contains("UTF-8"),
                "{error}"
            );
        }
        let error = text(b"one\ntwo\ncaf\xe9".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "it is not UTF-8 text (line 3)");
        assert_eq!(
            remedy(&io::Error::from(io::ErrorKind::NotFound), "look"),
            "look"
        );
    }

    #[test]
    fn only_root_and_we_ourselves_may_exchange_a_file() {
        const US: u32 = 990;
        for (mode, owner, us, of_the_folder, of_the_one_above) in [
            (0o40700, US, US, None, None),
            (0o40755, 0, US, None, None),
            // systemd's copies belong to root; its access list shows as the group's right to read.
            (0o40500, 0, US, None, None),
            (0o40550, 0, US, None, None),
            (0o40777, 0, US, Some("everybody"), Some("everybody")),
            (0o41777, 0, US, Some("everybody"), None),
            (0o40770, 0, US, Some("group"), None),
            (0o40730, US, US, Some("group"), None),
            (0o40702, US, US, Some("everybody"), Some("everybody")),
            (
                0o40700,
                1000,
                US,
                Some("another user"),
                Some("another user"),
            ),
            (0o40700, 1000, 0, None, None),
        ] {
            for (is_above, expected) in [(false, of_the_folder), (true, of_the_one_above)] {
                let found = exposed(mode, owner, us, is_above);
                assert_eq!(
                    found.is_some(),
                    expected.is_some(),
                    "{mode:o} of {owner} for {us}, above: {is_above}: {found:?}"
                );
                assert!(
                    found.is_none_or(|found| found.contains(expected.unwrap_or("-"))),
                    "{found:?}"
                );
            }
        }
    }

    #[test]
    fn a_link_does_not_hide_the_folder_that_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let set = |name: &str, mode: u32| {
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap()
        };
        for name in ["good", "open", "open/below"] {
            fs::create_dir(path(name)).unwrap();
            set(name, 0o700);
        }
        for file in ["good/token", "open/token", "open/below/token"] {
            fs::write(path(file), "x").unwrap();
        }
        symlink("../open/token", path("good/link")).unwrap();
        symlink("good", path("alias")).unwrap();
        set("open", 0o777);
        assert_eq!(exposing_folder(&path("good/token")), None);
        assert_eq!(exposing_folder(&path("alias/token")), None);
        for exposed in ["open/token", "good/link", "open/below/token"] {
            assert_eq!(
                exposing_folder(&path(exposed)).unwrap().0,
                path("open").canonicalize().unwrap(),
                "{exposed}"
            );
        }
        assert_eq!(exposing_folder(&path("none/token")), None);
    }
}
