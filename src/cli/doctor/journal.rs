//! The journal and the disk under it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use jiff::{SignedDuration, Timestamp};

use super::{Line, State};
use crate::{
    journal::{
        self, Stored,
        reader::{ReadFault, Reader},
        survey,
    },
    runtime::{name::Name, times},
};

const PART: &str = "journal";
/// Records looked at for the rhythm of fetches.
const RECORDS: usize = 5_000;
/// So many of a list are shown.
const SHOWN: usize = 8;
/// Below this much room, records are in danger soon ..
const LITTLE: u64 = 128 << 20;
/// .. and now.
const NEXT_TO_NOTHING: u64 = 8 << 20;

/// When each scanner last read a known serial number, see [`Reader::proofs`].
pub(super) type Proofs = BTreeMap<Name, Option<Timestamp>>;

/// What the journal and its folder showed.
pub(super) struct JournalSeen {
    pub(super) lines: Vec<Line>,
    /// The newest records, newest first; `None`: no journal can be read.
    pub(super) records: Option<Vec<Stored>>,
    /// The proof of each scanner; `None` likewise.
    pub(super) proofs: Option<Proofs>,
    /// Scanners whose codes arrive without an end key.
    pub(super) unended: BTreeSet<String>,
    /// How long the oldest record that the broker has not got has been waiting.
    pub(super) waits: Option<SignedDuration>,
}

impl JournalSeen {
    /// That line and nothing else.
    pub(super) fn of(line: Line) -> Self {
        Self {
            lines: vec![line],
            records: None,
            proofs: None,
            unended: BTreeSet::new(),
            waits: None,
        }
    }
}

/// The journal and the disk under it, and what stands in it of these scanners.
pub(super) fn journal(
    state_dir: Option<&Path>,
    settings: Option<&journal::Settings>,
    agent: bool,
    scanners: &BTreeSet<Name>,
) -> JournalSeen {
    let Some(dir) = state_dir else {
        return JournalSeen::of(Line::new(
            PART,
            State::Fail,
            "`state_dir` is wrong in the config",
            "mend the config first",
        ));
    };
    if !dir.exists() {
        return JournalSeen::of(not_there(dir));
    }
    let mut lines = Vec::new();
    let (mut records, mut proofs, mut unended, mut waits) = (None, None, BTreeSet::new(), None);
    let mut reader = Reader::open(dir);
    let waiting = match &mut reader {
        Ok(reader) => {
            records = reader.newest(RECORDS).ok();
            proofs = reader.proofs(scanners).ok();
            unended = reader.unended().unwrap_or_default();
            waits = reader
                .outbox()
                .ok()
                .and_then(|(_, since)| Some(Timestamp::now().duration_since(since?)));
            read(reader, agent, &mut lines)
        }
        Err(fault) => unreadable(dir, fault),
    };
    let journal = match survey::writable(dir) {
        Err(error) if !agent => {
            let remedy = "make it the agent's own (chown benchlight, mode 0700); if the disk is read-only, check the card";
            Line::new(
                PART,
                State::Fail,
                format!("{} cannot be written: {error}", dir.display()),
                remedy,
            )
        }
        _ => waiting,
    };
    lines.insert(0, journal);
    lines.extend(salvaged(dir));
    lines.push(room(dir, settings));
    JournalSeen {
        lines,
        records,
        proofs,
        unended,
        waits,
    }
}

fn not_there(dir: &Path) -> Line {
    let parent = dir
        .ancestors()
        .find(|parent| parent.is_dir())
        .unwrap_or(Path::new("/"));
    match survey::writable(parent) {
        Ok(()) => Line::ok(
            PART,
            format!("{} is made at the first start", dir.display()),
        ),
        Err(_) => Line::new(
            PART,
            State::Warn,
            format!(
                "{} is not there yet, and this user may not make it",
                dir.display()
            ),
            "the service makes it at its start; by hand: create it with mode 0700 for the agent's user",
        ),
    }
}

fn unreadable(dir: &Path, fault: &ReadFault) -> Line {
    match fault {
        ReadFault::Absent(_) => Line::ok(
            PART,
            format!(
                "{} holds no journal yet; the first start makes it",
                dir.display()
            ),
        ),
        ReadFault::Closed { .. } => Line::new(
            PART,
            State::Fail,
            fault.to_string(),
            "run this as root: sudo benchlight doctor",
        ),
        fault => Line::new(
            PART,
            State::Warn,
            fault.to_string(),
            "nothing: the agent sets such a file aside by itself and saves what can be read",
        ),
    }
}

/// What the reader tells; records that were set aside are a line of their own.
fn read(reader: &mut Reader, agent: bool, lines: &mut Vec<Line>) -> Line {
    let (outbox, aside) = match (reader.outbox(), reader.aside()) {
        (Ok(outbox), Ok(aside)) => (outbox, aside),
        (Err(fault), _) | (_, Err(fault)) => {
            let remedy = "start the agent: it sets a damaged file aside and saves what can be read";
            return Line::new(PART, State::Warn, fault.to_string(), remedy);
        }
    };
    let (many, listed) = aside;
    if many > 0 {
        let list: Vec<String> = listed
            .iter()
            .take(SHOWN)
            .map(|(seq, why)| format!("seq {seq} ({why})"))
            .collect();
        let more = if listed.len() > SHOWN { ", .." } else { "" };
        let finding = format!(
            "{} that the broker does not take: {}{more}",
            records(many),
            list.join(", ")
        );
        let remedy = "mend the broker's limits or rights; they are offered again at the next start and every hour";
        lines.push(Line::new(
            "journal, set aside",
            State::Warn,
            finding,
            remedy,
        ));
    }
    let unsent = match outbox {
        (0, _) => "everything is delivered".to_owned(),
        (many, Some(since)) => format!(
            "{} waiting for the broker, the oldest since {}",
            records(many),
            times::moment(since)
        ),
        (many, None) => format!("{} waiting for the broker", records(many)),
    };
    match (agent, outbox.0) {
        (true, _) => Line::in_use(PART, &format!("; {unsent}")),
        (false, 0) => Line::ok(PART, format!("can be read and written; {unsent}")),
        (false, _) => Line::new(
            PART,
            State::Warn,
            format!("can be read and written; {unsent}"),
            "start the agent: it delivers them",
        ),
    }
}

fn records(many: u64) -> String {
    format!("{many} record{}", if many == 1 { "" } else { "s" })
}

fn salvaged(dir: &Path) -> Option<Line> {
    let files = survey::set_aside(dir);
    if files.is_empty() {
        return None;
    }
    let list: Vec<String> = files
        .iter()
        .take(SHOWN)
        .map(|(path, bytes)| format!("{} ({})", path.display(), size(*bytes)))
        .collect();
    let remedy = "what could be read of them is in the journal already; health says how many records were lost (journal.lost, null: nobody can say); copy them elsewhere if their loss matters, then delete them. A card that damages files wants replacing";
    Some(Line::new(
        "journal, salvaged",
        State::Warn,
        format!("damaged or foreign journals lie here: {}", list.join(", ")),
        remedy,
    ))
}

fn room(dir: &Path, settings: Option<&journal::Settings>) -> Line {
    const PART: &str = "disk";
    let remedy = "free some space, or set a smaller [journal] max_bytes";
    match survey::free(dir) {
        Err(error) => Line::new(
            PART,
            State::Fail,
            format!("its free space cannot be determined: {error}"),
            "check the filesystem of `state_dir`",
        ),
        Ok(free) => {
            let bound = settings
                .map(|settings| format!("; the journal may grow to {}", size(settings.max_bytes)))
                .unwrap_or_default();
            let finding = format!("{} free at {}{bound}", size(free), dir.display());
            match free {
                ..NEXT_TO_NOTHING => Line::new(PART, State::Fail, finding, remedy),
                NEXT_TO_NOTHING..LITTLE => Line::new(PART, State::Warn, finding, remedy),
                _ => Line::ok(PART, finding),
            }
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        ..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_round_numbers() {
        assert_eq!(
            [900, 2_048, 5 << 20, 3 << 30].map(size),
            ["900 bytes", "2 KiB", "5 MiB", "3 GiB"]
        );
    }
}
