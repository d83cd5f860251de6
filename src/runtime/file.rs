//! Small files of the station's own: read whole, and only where they are plain files.

use std::{
    fs::{self, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

/// Reads a plain file of at most `most` bytes.
///
/// Anything else is refused unread: a pipe would make the caller wait for a writer, a device may never end.
///
/// # Errors
/// What the system says, or that this is no plain file, or a far too large one.
pub fn read(path: &Path, most: u64) -> io::Result<(Vec<u8>, Metadata)> {
    // Before it is opened: opening some devices does something. And again afterwards: it may be another file by then.
    plain(&fs::metadata(path)?)?;
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    plain(&metadata)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} KiB", most >> 10)));
    }
    Ok((bytes, metadata))
}

fn plain(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file, but a pipe, a device or a folder")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::process::Command;

    use super::*;

    #[test]
    fn a_plain_file_is_read_and_everything_else_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        assert_eq!(read(&path("file"), 4).unwrap().0, b"text");
        assert_eq!(read(&path("file"), 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        for odd in [path("pipe"), folder.path().to_owned(), "/dev/zero".into(), "/dev/null".into()] {
            assert!(read(&odd, 1 << 20).unwrap_err().to_string().contains("a pipe, a device or a folder"), "{}", odd.display());
        }
        assert_eq!(read(&path("none"), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
