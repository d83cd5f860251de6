//! The S rule: which of two candidates the box is, by what the sources know of them.
//!
//! About one random serial number in 34 begins with S, and some labels put the data identifier `S` in front of the number.
//! So S is not simply removed: the sources are asked for both texts, and what they know decides.

use super::Judged;
use crate::{
    label::{Candidates, Serial},
    readiness::evidence::Finding,
    reason::Reason,
};

pub(super) enum Choice {
    /// The box is this candidate, by index.
    Box(usize),
    /// A source does not know about one of them, or not yet: that source's reason.
    Open(Open),
    /// The code is not a device's serial number, or it cannot be decided which of two it is.
    Rescan(Reason),
}

/// One candidate could not be decided on.
pub(super) struct Open {
    /// The candidate that the source does not know about, by index.
    pub(super) asked: usize,
    /// The candidate to show, by index: the known one, otherwise by length.
    pub(super) shown: usize,
    pub(super) reason: Reason,
    pub(super) detail: Option<String>,
}

/// What all sources together know of one candidate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Known,
    NotKnown,
    Open,
}

pub(super) fn choose(candidates: &Candidates, all: &[(&Serial, Vec<Judged>)]) -> Choice {
    let standings: Vec<Standing> = all.iter().map(|(_, judged)| standing(judged)).collect();
    match standings.as_slice() {
        [Standing::NotKnown] => candidates
            .unless_known
            .map_or(Choice::Box(0), Choice::Rescan),
        // It looks like something else, and not every source could be asked. It may not be a device at all, so do not judge a box.
        [Standing::Open] if candidates.unless_known.is_some() => open(0, 0, all),
        // A single candidate: the rules decide, even if a source does not know.
        [Standing::Open | Standing::Known] => Choice::Box(0),
        [Standing::Known, Standing::NotKnown] => Choice::Box(0),
        [Standing::NotKnown, Standing::Known] => Choice::Box(1),
        [Standing::Known, Standing::Known] => Choice::Rescan(Reason::Ambiguous),
        [Standing::NotKnown, Standing::NotKnown] => candidates
            .unless_known
            .map_or(Choice::Box(shown_by_length(candidates)), Choice::Rescan),
        [Standing::Open, Standing::Known] if candidates.is_plain_with_s() => Choice::Box(1),
        [Standing::Open, Standing::Known] => open(0, 1, all),
        [Standing::Known, Standing::Open] => open(1, 0, all),
        [Standing::Open, _] => open(0, shown_by_length(candidates), all),
        [_, Standing::Open] => open(1, shown_by_length(candidates), all),
        _ => Choice::Rescan(Reason::Unreadable),
    }
}

fn standing(judged: &[Judged]) -> Standing {
    if judged.iter().any(|one| one.evidence.known) {
        return Standing::Known;
    }
    let mut counted = judged.iter().filter(|one| one.counts).peekable();
    let any_counts = counted.peek().is_some();
    let denied = |one: &Judged| {
        matches!(
            one.finding,
            Finding::No(Reason::NotFound | Reason::NotInOrg)
        )
    };
    if any_counts && counted.all(denied) {
        Standing::NotKnown
    } else {
        Standing::Open
    }
}

/// If neither is known: 11 characters are S and 10, 12 are taken as they are, 13 are S and 12.
fn shown_by_length(candidates: &Candidates) -> usize {
    let stripped_fits = candidates
        .stripped
        .as_ref()
        .is_some_and(|stripped| matches!(stripped.as_str().len(), 10 | 12));
    usize::from(stripped_fits && candidates.scanned.as_str().len() != 12)
}

fn open(asked: usize, shown: usize, all: &[(&Serial, Vec<Judged>)]) -> Choice {
    let counted = || {
        let judged = all.get(asked).into_iter().flat_map(|(_, judged)| judged);
        judged.filter(|one| one.counts)
    };
    let because = |one: &Judged, reason| (reason, one.evidence.detail.clone());
    let unknown = counted().find_map(|one| match one.finding {
        Finding::Unknown(reason) => Some(because(one, reason)),
        _ => None,
    });
    // A list that must be read again before it says that it does not have the box.
    let waits = || {
        counted().find_map(|one| match one.finding {
            Finding::Wait(reason) => Some(because(one, reason)),
            _ => None,
        })
    };
    let (reason, detail) = unknown
        .or_else(waits)
        .unwrap_or((Reason::StationFault, None));
    Choice::Open(Open {
        asked,
        shown,
        reason,
        detail,
    })
}
