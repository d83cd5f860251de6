//! The S rule: which of two candidates the box is, by what the sources know of them.
//!
//! About one random serial number in 34 begins with S, and some labels put the data identifier `S` before it.
//! So nothing is stripped blindly: both texts are asked for, and the sources decide.

use super::Testimony;
use crate::{
    label::{Candidates, Serial},
    readiness::evidence::Finding,
    reason::Reason,
};

/// What the sources make of the candidates.
pub(super) enum Choice {
    /// It is this one, by its place among the candidates.
    Box(usize),
    /// A source could not say of one of them: `unknown` with that source's reason.
    Open(Open),
    /// It is no device's serial number, or nobody can say which of two.
    Rescan(Reason),
}

/// A code of which a source could not say which box it is, or what of it.
pub(super) struct Open {
    /// The candidate that the source could not speak of, by its place.
    pub(super) asked: usize,
    /// The candidate that the box is shown as: the one that is known, else by length.
    pub(super) shown: usize,
    pub(super) reason: Reason,
    pub(super) detail: Option<String>,
}

/// What the sources together know of one candidate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Known,
    NotKnown,
    Open,
}

pub(super) fn choose(candidates: &Candidates, all: &[(&Serial, Vec<Testimony>)]) -> Choice {
    let standings: Vec<Standing> = all.iter().map(|(_, heard)| standing(heard)).collect();
    match standings.as_slice() {
        [Standing::NotKnown] => candidates
            .unless_known
            .map_or(Choice::Box(0), Choice::Rescan),
        // What looks like something else and could not be asked for everywhere may be no device at all: nothing is said of a box.
        [Standing::Open] if candidates.unless_known.is_some() => open(0, 0, all),
        // A single candidate that is open: the rule itself weighs what is there.
        [Standing::Open | Standing::Known] => Choice::Box(0),
        [Standing::Known, Standing::NotKnown] => Choice::Box(0),
        [Standing::NotKnown, Standing::Known] => Choice::Box(1),
        [Standing::Known, Standing::Known] => Choice::Rescan(Reason::Ambiguous),
        [Standing::NotKnown, Standing::NotKnown] => candidates
            .unless_known
            .map_or(Choice::Box(shown_by_length(candidates)), Choice::Rescan),
        [Standing::Open, Standing::Known] if is_plain_with_s(candidates) => Choice::Box(1),
        [Standing::Open, Standing::Known] => open(0, 1, all),
        [Standing::Known, Standing::Open] => open(1, 0, all),
        [Standing::Open, _] => open(0, shown_by_length(candidates), all),
        [_, Standing::Open] => open(1, shown_by_length(candidates), all),
        _ => Choice::Rescan(Reason::Unreadable),
    }
}

fn standing(heard: &[Testimony]) -> Standing {
    if heard.iter().any(|one| one.evidence.known) {
        return Standing::Known;
    }
    let mut counted = heard.iter().filter(|one| one.counts).peekable();
    let heard_any = counted.peek().is_some();
    let denied = |one: &Testimony| {
        matches!(
            one.finding,
            Finding::No(Reason::NotFound | Reason::NotInOrg)
        )
    };
    if heard_any && counted.all(denied) {
        Standing::NotKnown
    } else {
        Standing::Open
    }
}

/// The known one has 10 or 12 characters and the open one is it with `S` in front.
fn is_plain_with_s(candidates: &Candidates) -> bool {
    candidates.stripped.as_ref().is_some_and(|stripped| {
        matches!(stripped.as_str().len(), 10 | 12)
            && candidates.scanned.as_str().strip_prefix('S') == Some(stripped.as_str())
    })
}

/// Neither is known: 11 characters are S and 10, 12 stand as they are, 13 are S and 12.
fn shown_by_length(candidates: &Candidates) -> usize {
    let stripped_fits = candidates
        .stripped
        .as_ref()
        .is_some_and(|stripped| matches!(stripped.as_str().len(), 10 | 12));
    usize::from(stripped_fits && candidates.scanned.as_str().len() != 12)
}

fn open(asked: usize, shown: usize, all: &[(&Serial, Vec<Testimony>)]) -> Choice {
    let unknown = all
        .get(asked)
        .into_iter()
        .flat_map(|(_, heard)| heard)
        .filter(|one| one.counts)
        .find_map(|one| match one.finding {
            Finding::Unknown(reason) => Some((reason, one.evidence.detail.clone())),
            _ => None,
        });
    let (reason, detail) = unknown.unwrap_or((Reason::StationFault, None));
    Choice::Open(Open {
        asked,
        shown,
        reason,
        detail,
    })
}
