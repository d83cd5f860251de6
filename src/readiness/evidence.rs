//! One source's answer about one serial number, as a finding with what it rests on. Plain values, no I/O.

use std::time::Duration;

use jiff::Timestamp;

pub use super::kind::{Grade, SourceKind, without_source};
use crate::{
    label::Serial,
    reason::Reason,
    runtime::{clock::Boot, name::Name},
};

/// What one source says about one serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// Profile assigned, not yet handed out. When: [`Evidence::assigned_at`].
    Ready(Grade),
    /// Cannot prove a profile and sees nothing against it (apple-business).
    NoObjection,
    /// Certain, from a well-formed and fresh reply: it will be ready by itself.
    Wait(Reason),
    /// Certain, from a well-formed and fresh reply: somebody must act.
    No(Reason),
    /// Anything else. Not knowing is a value, never an error.
    Unknown(Reason),
}

impl Finding {
    /// The stable word in messages (`says`).
    pub const fn says(self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::NoObjection => "no_objection",
            Self::Wait(_) => "wait",
            Self::No(_) => "no",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The reason; `None` for `no_objection`.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Ready(_) => Some(Reason::Assigned),
            Self::NoObjection => None,
            Self::Wait(reason) | Self::No(reason) | Self::Unknown(reason) => Some(reason),
        }
    }
}

/// A finding about one serial number and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The source's name in the config.
    pub source: Name,
    /// The source's kind.
    pub kind: SourceKind,
    /// The serial number asked for.
    pub serial: Serial,
    /// What it says, as if returned devices were allowed; see `returned`.
    pub finding: Finding,
    /// The device was activated before, so the finding counts only under `allow_returned`;
    /// without it the finding is `no(previously_activated)`. See [`Evidence::judged`].
    pub returned: bool,
    /// The source holds a record of this serial number, whatever its finding.
    pub known: bool,
    /// The service's own status word ("assigned", "pushed", "ASSIGNED"), for people.
    pub status: Option<String>,
    /// When the profile was assigned.
    pub assigned_at: Option<Timestamp>,
    /// When the device was given to this MDM server at Apple.
    pub device_assigned_at: Option<Timestamp>,
    /// When the source last heard from Apple (an MDM's own last fetch).
    pub as_of: Option<Timestamp>,
    /// When Apple's record of the device last changed (apple-business `updatedDateTime`).
    pub updated_at: Option<Timestamp>,
    /// The MDM server that the source's token is for, 32 hex digits.
    pub server_uuid: Option<String>,
    /// The reply's own `Date`: ages are counted from it, not from our clock.
    pub replied_at: Option<Timestamp>,
    /// Model name, for display.
    pub model: Option<String>,
    /// Device family, for display.
    pub family: Option<String>,
    /// What to add to the reason's sentence ("Last fetch 2026-01-09 22:01 UTC."). A whole sentence for a person, nothing personal.
    pub detail: Option<String>,
    /// When the profile was handed out or the device enrolled (the service's own time for it).
    pub used_at: Option<Timestamp>,
    /// A reply about this very serial number came, whatever else could not be read. Not kept in the journal.
    pub heard: bool,
    /// How old the row of the replica was that answered in the place of the service; `None`: the service itself answered.
    pub row_age: Option<Duration>,
    /// How long the source took.
    pub took: Duration,
}

impl Evidence {
    /// Evidence with a finding and nothing else known.
    pub fn bare(source: Name, kind: SourceKind, serial: Serial, finding: Finding) -> Self {
        Self {
            source,
            kind,
            serial,
            finding,
            returned: false,
            known: false,
            status: None,
            assigned_at: None,
            device_assigned_at: None,
            as_of: None,
            updated_at: None,
            server_uuid: None,
            replied_at: None,
            model: None,
            family: None,
            detail: None,
            used_at: None,
            heard: false,
            row_age: None,
            took: Duration::ZERO,
        }
    }

    /// What the last of several records of one serial number says; where others lead to another verdict, `unknown(contradiction)`
    /// with what `disagree` says of so many records. `None`: there is no record.
    pub fn agreed(mut records: Vec<Self>, disagree: impl FnOnce(usize) -> String) -> Option<Self> {
        let many = records.len();
        let last = records.pop()?;
        let verdicts = |one: &Self| {
            [true, false].map(|allow_returned| {
                let reason = one.judged(allow_returned).reason();
                reason.map(Reason::verdict)
            })
        };
        if records.iter().all(|one| verdicts(one) == verdicts(&last)) {
            return Some(last);
        }
        Some(Self {
            returned: false,
            detail: Some(disagree(many)),
            finding: Finding::Unknown(Reason::Contradiction),
            ..last
        })
    }

    /// The finding under the lane's policy for returned devices.
    pub fn judged(&self, allow_returned: bool) -> Finding {
        if self.returned && !allow_returned {
            Finding::No(Reason::PreviouslyActivated)
        } else {
            self.finding
        }
    }
}

/// On what terms rows may answer a scan.
#[derive(Clone, Debug, PartialEq)]
pub struct RowTerms {
    /// Only these sources are asked, and their rows answer only in the place of the service; `None`: all sources.
    pub again: Option<Vec<Name>>,
    /// When the scan's answer is given at the latest.
    pub deadline: Boot,
    pub allow_returned: bool,
    pub min_grade: Grade,
}

/// Whose word an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// The service's, just now.
    #[default]
    Service,
    /// A row's, at once: the service was not asked.
    Row,
    /// A row's, in the place of the service's, which did not come.
    Substitute,
}

/// One source's whole answer to one question: evidence for each candidate, in the candidates' order.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The source's name in the config.
    pub source: Name,
    pub by: By,
    /// One entry for each candidate, in [`crate::label::Candidates::iter`]'s order.
    pub evidence: Vec<Evidence>,
}

impl Answer {
    /// Is it by a row, and by one of this serial number?
    pub fn is_of(&self, serial: &Serial) -> bool {
        let mut rows = self.evidence.iter().filter(|one| one.row_age.is_some());
        rows.any(|one| one.serial == *serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_has_its_word_and_its_reason() {
        let rows = [
            (
                Finding::Ready(Grade::Apple),
                "ready",
                Some(Reason::Assigned),
            ),
            (Finding::NoObjection, "no_objection", None),
            (
                Finding::Wait(Reason::SyncPending),
                "wait",
                Some(Reason::SyncPending),
            ),
            (Finding::No(Reason::NotFound), "no", Some(Reason::NotFound)),
            (
                Finding::Unknown(Reason::Offline),
                "unknown",
                Some(Reason::Offline),
            ),
        ];
        for (finding, word, reason) in rows {
            assert_eq!((finding.says(), finding.reason()), (word, reason));
        }
    }
}
