//! How often an MDM fetches from Apple, as the station's own record has seen it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{Line, State};
use crate::{
    journal::Stored,
    runtime::{name::Name, times},
};

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
            for evidence in record
                .evidence
                .iter()
                .filter(|evidence| evidence.source == *source)
            {
                let Some(as_of) = evidence.as_of else {
                    continue;
                };
                fetches
                    .entry(evidence.server_uuid.as_deref())
                    .or_default()
                    .insert(as_of);
                seen.ages.push(
                    evidence
                        .replied_at
                        .unwrap_or(record.at)
                        .duration_since(as_of),
                );
            }
        }
        for fetches in fetches.values() {
            seen.fetches += fetches.len();
            seen.gaps.extend(
                fetches
                    .iter()
                    .zip(fetches.iter().skip(1))
                    .map(|(one, next)| next.duration_since(*one)),
            );
        }
        seen.since = fetches
            .values()
            .filter_map(|fetches| fetches.first())
            .min()
            .copied();
        seen.gaps.sort();
        seen.ages.sort();
        seen
    }

    fn usual_gap(&self) -> Option<SignedDuration> {
        if self.fetches < FETCHES {
            None
        } else {
            self.gaps.get(self.gaps.len() / 2).copied()
        }
    }

    fn older_than(&self, age: SignedDuration) -> usize {
        self.ages.iter().filter(|seen| **seen > age).count()
    }
}

/// What is said of the rhythm, with the advice that follows from it. `records`: newest first.
pub(super) fn line(source: &Name, records: &[Stored], max_fetch_age: Duration) -> Line {
    let part = format!("source {source}, fetch rhythm");
    let seen = Seen::of(source, records);
    let (Some(gap), Some(since), Some(oldest)) = (seen.usual_gap(), seen.since, seen.ages.last())
    else {
        let finding = format!(
            "{} of the MDM's fetches from Apple seen so far: no rhythm yet",
            seen.fetches
        );
        return Line::ok(part, finding);
    };
    let finding = format!(
        "{} fetches from Apple seen since {}, mostly {} apart; the oldest an answer rested on was {} old",
        seen.fetches,
        times::moment(since),
        times::length(gap),
        times::length(*oldest)
    );
    let limit = SignedDuration::try_from(max_fetch_age).unwrap_or(SignedDuration::MAX);
    let advised = STEPS.iter().find(|(_, minutes)| {
        i64::try_from(*minutes).is_ok_and(|minutes| SignedDuration::from_mins(minutes) >= gap * 3)
    });
    match advised {
        Some((text, minutes)) if Duration::from_secs(minutes * 60) * 2 <= max_fetch_age => {
            let then = seen.older_than(SignedDuration::from_mins(
                i64::try_from(*minutes).unwrap_or(i64::MAX),
            ));
            let remedy = format!(
                "a tighter max_fetch_age = \"{text}\" fits this rhythm; {then} of the {} answers seen would have been stale with it",
                seen.ages.len()
            );
            Line::new(part, State::Ok, finding, remedy)
        }
        Some((text, _)) if gap >= limit => {
            let remedy = format!(
                "boxes are stale most of the time: have the MDM's link to Apple looked at, or set max_fetch_age = \"{text}\""
            );
            Line::new(part, State::Warn, finding, remedy)
        }
        _ => Line::ok(part, finding),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )]

    use uuid::Uuid;

    use super::*;
    use crate::{
        label::Serial,
        readiness::evidence::{Evidence, Finding, Grade, SourceKind},
        reason::Reason,
        record::{Record, Recorded},
    };

    const DAY: Duration = Duration::from_hours(24);

    fn moment(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minute * 60).unwrap()
    }

    /// A record of a scan at one minute that rested on a fetch at another, through the link to one server.
    fn look(at: i64, as_of: i64, server: &str) -> Stored {
        let serial = Serial::new("C02XK0AAJG5H").unwrap();
        let mut evidence = Evidence::bare(
            Name::new("kandji").unwrap(),
            SourceKind::Kandji,
            serial.clone(),
            Finding::Ready(Grade::Relayed),
        );
        evidence.as_of = Some(moment(as_of));
        evidence.replied_at = Some(moment(at));
        evidence.server_uuid = Some(server.to_owned());
        let bare = Record::bare(
            Uuid::now_v7(),
            moment(at),
            Name::new("main").unwrap(),
            Reason::Assigned,
        );
        let record = Record {
            serial: Some(serial),
            evidence: vec![evidence],
            ..bare
        };
        Stored {
            row: 1,
            recorded: Recorded::committed(Uuid::nil(), 1, record),
            delivered_at: None,
            set_aside: None,
        }
    }

    fn told(records: &[Stored], max_fetch_age: Duration) -> Line {
        line(&Name::new("kandji").unwrap(), records, max_fetch_age)
    }

    /// A fetch every `every` minutes, each seen by two scans.
    fn steady(fetches: i64, every: i64, server: &str) -> Vec<Stored> {
        (0..fetches)
            .flat_map(|count| {
                [
                    look(count * every + 1, count * every, server),
                    look(count * every + every - 1, count * every, server),
                ]
            })
            .collect()
    }

    #[test]
    fn a_steady_rhythm_brings_the_advice_of_a_tighter_age_and_its_cost() {
        let mut records = steady(10, 50, "A");
        // One long pause in the night.
        records.push(look(2_000, 450, "A"));
        let line = told(&records, DAY);
        assert_eq!(line.state, State::Ok);
        assert!(
            line.finding
                .contains("10 fetches from Apple seen since 2023-11-14 22:13 UTC, mostly 50 min apart; the oldest an answer rested on was 26 h old"),
            "{}",
            line.finding
        );
        assert_eq!(
            line.remedy,
            "a tighter max_fetch_age = \"3h\" fits this rhythm; 1 of the 21 answers seen would have been stale with it"
        );
        assert_eq!(
            told(&records, Duration::from_hours(3)).remedy,
            "",
            "tight enough already"
        );
    }

    #[test]
    fn two_links_are_two_rhythms() {
        let mut records = steady(6, 240, "A");
        records.extend(steady(6, 240, "B").into_iter().map(|mut stored| {
            // Fetched half-way between the other's fetches.
            let evidence = &mut stored.recorded.record.evidence[0];
            evidence.as_of = evidence
                .as_of
                .map(|at| at.checked_add(SignedDuration::from_mins(120)).unwrap());
            stored
        }));
        assert!(
            told(&records, DAY).finding.contains("mostly 4 h apart"),
            "{}",
            told(&records, DAY).finding
        );
    }

    #[test]
    fn few_fetches_are_no_rhythm_and_another_sources_do_not_count() {
        assert!(
            told(&steady(5, 30, "A"), DAY)
                .finding
                .starts_with("5 of the MDM's fetches")
        );
        let other = line(&Name::new("other").unwrap(), &steady(9, 30, "A"), DAY);
        assert!(other.finding.starts_with("0 of") && other.remedy.is_empty());
    }

    #[test]
    fn an_mdm_that_fetches_more_rarely_than_is_allowed_is_told() {
        let line = told(&steady(8, 600, "A"), Duration::from_hours(6));
        assert_eq!(line.state, State::Warn);
        assert!(
            line.remedy.contains("max_fetch_age = \"36h\""),
            "{}",
            line.remedy
        );
    }
}
