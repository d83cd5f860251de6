//! How often an MDM fetches from Apple, as the station's own record has seen it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Line, State};
use crate::{journal::Stored, readiness::lenient, runtime::name::Name};

/// Fewer fetches tell no rhythm.
const FETCHES: usize = 6;
/// What may be advised, as the config writes it.
const STEPS: [(&str, u64); 15] = [
    ("15m", 15),
    ("30m", 30),
    ("45m", 45),
    ("1h", 60),
    ("90m", 90),
    ("2h", 120),
    ("3h", 180),
    ("4h", 240),
    ("6h", 360),
    ("8h", 480),
    ("12h", 720),
    ("18h", 1_080),
    ("24h", 1_440),
    ("36h", 2_160),
    ("48h", 2_880),
];

/// What the record tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Different fetches.
    fetches: usize,
    /// Since when.
    since: Option<Timestamp>,
    /// Times between a fetch and the next that was seen, shortest first. A fetch that no scan saw makes one longer.
    gaps: Vec<SignedDuration>,
    /// How old the fetch was at each answer, youngest first.
    ages: Vec<SignedDuration>,
}

impl Seen {
    fn of(source: &Name, records: &[Stored]) -> Self {
        // One rhythm for each of the MDM's links to Apple.
        let mut fetches: BTreeMap<Option<&str>, BTreeSet<Timestamp>> = BTreeMap::new();
        let mut seen = Self::default();
        for record in records.iter().map(|stored| &stored.recorded.record) {
            for evidence in record.evidence.iter().filter(|evidence| evidence.source == *source) {
                let Some(as_of) = evidence.as_of else { continue };
                fetches.entry(evidence.server_uuid.as_deref()).or_default().insert(as_of);
                seen.ages.push(evidence.replied_at.unwrap_or(record.at).duration_since(as_of));
            }
        }
        for fetches in fetches.values() {
            seen.fetches += fetches.len();
            seen.gaps.extend(fetches.iter().zip(fetches.iter().skip(1)).map(|(one, next)| next.duration_since(*one)));
        }
        seen.since = fetches.values().filter_map(|fetches| fetches.first()).min().copied();
        seen.gaps.sort();
        seen.ages.sort();
        seen
    }

    fn usual_gap(&self) -> Option<SignedDuration> {
        if self.fetches < FETCHES { None } else { self.gaps.get(self.gaps.len() / 2).copied() }
    }

    fn older_than(&self, age: SignedDuration) -> usize {
        self.ages.iter().filter(|seen| **seen > age).count()
    }
}

/// What is said of the rhythm, with the advice that follows from it. `records`: newest first.
pub(super) fn line(source: &Name, records: &[Stored], max_fetch_age: Duration) -> Line {
    let part = format!("source {source}, fetch rhythm");
    let seen = Seen::of(source, records);
    let (Some(gap), Some(since), Some(oldest)) = (seen.usual_gap(), seen.since, seen.ages.last()) else {
        let finding = format!("{} of the MDM's fetches from Apple seen so far: no rhythm yet", seen.fetches);
        return Line::ok(part, finding);
    };
    let finding = format!(
        "{} fetches from Apple seen since {}, mostly {} apart; the oldest an answer rested on was {} old",
        seen.fetches,
        lenient::spoken(since),
        spoken(gap),
        spoken(*oldest)
    );
    let limit = SignedDuration::try_from(max_fetch_age).unwrap_or(SignedDuration::MAX);
    let advised = STEPS.iter().find(|(_, minutes)| i64::try_from(*minutes).is_ok_and(|minutes| SignedDuration::from_mins(minutes) >= gap * 3));
    match advised {
        Some((text, minutes)) if Duration::from_secs(minutes * 60) * 2 <= max_fetch_age => {
            let then = seen.older_than(SignedDuration::from_mins(i64::try_from(*minutes).unwrap_or(i64::MAX)));
            let remedy = format!(
                "a tighter max_fetch_age = \"{text}\" fits this rhythm; {then} of the {} answers seen would have been stale with it",
                seen.ages.len()
            );
            Line::new(part, State::Ok, finding, remedy)
        }
        Some((text, _)) if gap >= limit => {
            let remedy = format!("boxes are stale most of the time: have the MDM's link to Apple looked at, or set max_fetch_age = \"{text}\"");
            Line::new(part, State::Warn, finding, remedy)
        }
        _ => Line::ok(part, finding),
    }
}

/// A length of time for a person.
pub(super) fn spoken(length: SignedDuration) -> String {
    match length.as_secs().unsigned_abs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
