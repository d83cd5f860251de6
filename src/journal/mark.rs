//! The mark: a small file beside the journal that says in which epoch it was and how far `seq` had come.
//!
//! A journal that is behind its mark is an older copy of itself. It would give out numbers a second time, so it goes on in a new
//! epoch. The mark lags: it is written at the start, at a clean stop and every [`EVERY`] records.

use std::{io, path::Path};

use uuid::Uuid;

use super::schema;
use crate::runtime::file;

/// Its name in the state_dir.
pub(super) const NAME: &str = "journal.mark";
/// Records after which it is written again.
pub(super) const EVERY: u64 = 256;

/// An epoch, and the highest `seq` that was given out in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: Uuid,
    pub(super) seq: u64,
}

/// What stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// No such file.
    Absent,
    /// It cannot be read, or not understood.
    Damaged,
    /// A good one.
    At(Position),
}

/// Reads the mark of `state_dir`.
pub(super) fn read(state_dir: &Path) -> Mark {
    match file::read(&state_dir.join(NAME), 256) {
        Ok((bytes, _)) => std::str::from_utf8(&bytes)
            .ok()
            .and_then(position_of)
            .map_or(Mark::Damaged, Mark::At),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Mark::Absent,
        Err(_) => Mark::Damaged,
    }
}

/// Writes the mark, synced to disk.
///
/// # Errors
/// What the system says; the mark before is still there then.
pub(super) fn write(state_dir: &Path, position: Position) -> io::Result<()> {
    file::write_private(&state_dir.join(NAME), &text_of(position))
}

fn text_of(Position { epoch, seq }: Position) -> String {
    let said = format!("{epoch} {seq}");
    let check = check_of(&said);
    format!("{said} {check}\n")
}

fn position_of(text: &str) -> Option<Position> {
    let (said, check) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    let (epoch, seq) = said.split_once(' ')?;
    let position = Position {
        epoch: epoch.parse().ok()?,
        seq: seq.parse().ok()?,
    };
    (check == check_of(said) && position.seq <= schema::SEQ_MAX).then_some(position)
}

/// Damage on a card must not pass for a number.
fn check_of(said: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, said.as_bytes());
    digest
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn what_was_written_is_read_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), Mark::Absent);
        for seq in [0, 1, 256, schema::SEQ_MAX] {
            let position = Position {
                epoch: Uuid::now_v7(),
                seq,
            };
            write(folder.path(), position).unwrap();
            assert_eq!(read(folder.path()), Mark::At(position));
        }
        assert_eq!(
            fs::metadata(folder.path().join(NAME))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing else is left there"
        );
    }

    #[test]
    fn a_link_in_the_place_of_the_mark_leads_nobody_to_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "mine").unwrap();
        symlink(&other, folder.path().join("journal.mark.new")).unwrap();
        symlink(&other, folder.path().join(NAME)).unwrap();
        let position = Position {
            epoch: Uuid::now_v7(),
            seq: 7,
        };
        write(folder.path(), position).unwrap();
        assert_eq!(
            (
                read(folder.path()),
                fs::read_to_string(&other).unwrap().as_str()
            ),
            (Mark::At(position), "mine")
        );
    }

    #[test]
    fn every_bit_that_turns_over_and_every_absurd_number_is_damage() {
        let good = text_of(Position {
            epoch: Uuid::now_v7(),
            seq: 1_234,
        });
        assert!(position_of(&good).is_some());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                std::str::from_utf8(&bytes)
                    .ok()
                    .and_then(position_of)
                    .is_none(),
                "{:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
        let epoch = Uuid::now_v7();
        for seq in [
            "-1",
            "9223372036854775808",
            "18446744073709551616",
            "1e400",
            "NaN",
            "seven",
            "",
        ] {
            let said = format!("{epoch} {seq}");
            assert_eq!(
                position_of(&format!("{said} {}\n", check_of(&said))),
                None,
                "{seq}"
            );
        }
        for text in ["", "\n", " ", "a b c d\n"] {
            assert_eq!(position_of(text), None);
        }
    }

    #[test]
    fn what_is_no_small_file_is_damage_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(read(folder.path()), Mark::Damaged);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(read(folder.path()), Mark::Damaged);
        fs::remove_dir(&path).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(read(folder.path()), Mark::Damaged);
    }
}
