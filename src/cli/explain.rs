//! `explain`: what a word means and what to do, from the tables of `docs/operating.md`.

use std::io::{self, Write};

use super::{FAILED, OK, fitted::wrapped};
use crate::{
    config::did_you_mean,
    manual::{CAUSE, Entry, SIGNAL, VERDICT, entries},
};

/// As wide as the smallest terminal.
const WIDTH: usize = 80;

/// Explains `word`, or shows the lamps and names all words.
pub(super) fn explain(word: Option<&str>) -> anyhow::Result<u8> {
    let entries = entries();
    let Some(word) = word else {
        io::stdout()
            .lock()
            .write_all(overview(&entries).as_bytes())?;
        return Ok(OK);
    };
    // As it stands in a message: journal.unsent.
    let last = word.trim().rsplit('.').next().unwrap_or_default();
    let wanted = last.to_ascii_lowercase().replace(['-', ' '], "_");
    let found: Vec<String> = entries
        .iter()
        .filter(|entry| entry.word == wanted)
        .map(shown)
        .collect();
    if found.is_empty() {
        writeln!(
            io::stderr().lock(),
            "benchlight: {}",
            near(&wanted, &entries)
        )?;
        return Ok(FAILED);
    }
    io::stdout().lock().write_all(found.join("\n").as_bytes())?;
    Ok(OK)
}

fn shown(entry: &Entry) -> String {
    let mut out = format!("{}: {}\n", entry.word, entry.kind);
    for paragraph in &entry.means {
        out.push_str(&wrapped(paragraph, "  ", WIDTH));
    }
    if !entry.action.is_empty() {
        out.push_str(&wrapped(&format!("Do: {}", entry.action), "  ", WIDTH));
    }
    out
}

/// Each signal of the lamps: its name; how it looks, what it says, and what to do.
pub(super) fn lamps() -> Vec<(String, String)> {
    let signals = entries().into_iter().filter(|entry| entry.kind == SIGNAL);
    signals
        .map(
            |Entry {
                 word,
                 means,
                 action,
                 ..
             }| (word, [means, vec![action]].concat().join(" ")),
        )
        .collect()
}

/// The table of the lamps, and every other word.
fn overview(entries: &[Entry]) -> String {
    const INDENT: &str = "         ";
    let row = |title: &str, text: &str| {
        wrapped(text, INDENT, WIDTH).replacen(INDENT, &format!("{title:<9}"), 1)
    };
    let mut out = String::from(
        "Green means: power this box on. Everything else: do not. No light: not checked.\n\n",
    );
    for (signal, text) in lamps() {
        out.push_str(&row(&signal, &text));
    }
    out.push_str("\nbenchlight explain WORD says what a word means and what to do:\n");
    for (title, kind) in [
        ("verdicts", VERDICT),
        ("reasons", "a reason"),
        ("alarms", "an alarm"),
        ("changes", CAUSE),
        ("health", "a word"),
    ] {
        let words: Vec<&str> = entries
            .iter()
            .filter(|entry| entry.kind.starts_with(kind))
            .map(|entry| entry.word.as_str())
            .collect();
        out.push_str(&row(title, &words.join(" ")));
    }
    out
}

/// What to try instead of an unknown word.
fn near(word: &str, entries: &[Entry]) -> String {
    let known: Vec<&str> = entries.iter().map(|entry| entry.word.as_str()).collect();
    let shares = |known: &str| {
        known
            .split('_')
            .any(|part| part.len() >= 4 && !did_you_mean(word, &[part]).is_empty())
    };
    let mut alike: Vec<&str> = known
        .iter()
        .copied()
        .filter(|known| {
            word.len() >= 3 && (known.contains(word) || word.contains(known) || shares(known))
        })
        .collect();
    alike.sort_unstable();
    alike.dedup();
    let hint = match alike.as_slice() {
        [] => did_you_mean(word, &known),
        alike => format!("did you mean {}? ", alike.join(", ")),
    };
    format!(
        "{:?} is not the name of a lamp signal, a verdict, a reason, an alarm, a cause of a change or a health word: {hint}`benchlight explain` lists them",
        crate::runtime::visible::word(word)
    )
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use std::collections::BTreeSet;

    use crate::reason::{Reason, Signal, Verdict};

    use super::*;

    fn of_kind(kind: &str) -> Vec<Entry> {
        entries()
            .into_iter()
            .filter(|entry| entry.kind.starts_with(kind))
            .collect()
    }

    #[test]
    fn every_reason_signal_and_verdict_is_explained_in_the_words_that_the_station_uses() {
        let entries = entries();
        let found = |word: &str, kind: &str| {
            let mut all = entries
                .iter()
                .filter(|entry| entry.word == word && entry.kind.starts_with(kind));
            let first = all
                .next()
                .unwrap_or_else(|| panic!("{word} is not explained"));
            assert_eq!(all.next(), None, "{word} twice");
            first
        };
        for reason in Reason::ALL {
            let entry = found(reason.code(), "a reason");
            assert_eq!(
                entry.kind,
                format!("a reason of the verdict {}", reason.verdict().code())
            );
            assert_eq!(
                (entry.means.first().unwrap().as_str(), entry.action.as_str()),
                (reason.sentence(), reason.action())
            );
            assert_eq!(entry.means.len(), 2, "what it means, too");
        }
        for signal in [
            Signal::Ready,
            Signal::Stop,
            Signal::Hold,
            Signal::Rescan,
            Signal::Alarm,
        ] {
            found(signal.code(), SIGNAL);
        }
        for signal in ["working", "unable"] {
            found(signal, SIGNAL);
        }
        for verdict in [
            Verdict::Ready,
            Verdict::Wait,
            Verdict::NotReady,
            Verdict::Unknown,
            Verdict::Rescan,
        ] {
            assert!(found(verdict.code(), VERDICT).means.first().unwrap().len() > 10);
        }
        assert_eq!(
            (
                of_kind("a reason").len(),
                of_kind(SIGNAL).len(),
                of_kind(VERDICT).len()
            ),
            (Reason::ALL.len(), 7, 5)
        );
    }

    #[test]
    fn every_word_of_health_is_explained() {
        use crate::health::{
            Health, JournalHealth, LampCondition, LinkCondition, ReplicaCondition, ReplicaHealth,
            ScannerCondition, ScannerHealth, SourceHealth, WebCondition,
        };
        let name = |text: &str| crate::runtime::name::Name::new(text).unwrap();
        let source = SourceHealth {
            replica: Some(ReplicaHealth {
                total: None,
                state: ReplicaCondition::Behind,
                rows: 1,
                pass_at: Some(jiff::Timestamp::UNIX_EPOCH),
                fault: Some(Reason::Offline),
            }),
            rows_answer: true,
            ..SourceHealth::default()
        };
        let mut journal = JournalHealth::sound(uuid::Uuid::nil());
        (journal.salvaged, journal.faulted, journal.set_aside) =
            (true, 1, vec![(1, "why".to_owned())]);
        let health = Health {
            unable: None,
            alarms: Vec::new(),
            scanners: [(
                name("a"),
                ScannerHealth {
                    state: ScannerCondition::Ok,
                    proven: false,
                    unended: true,
                },
            )]
            .into(),
            lamps: [(name("a"), LampCondition::Ok)].into(),
            sources: [(name("a"), source)].into(),
            broker: LinkCondition::Away,
            nobody_listens: true,
            journal,
            unheard_faults: 1,
            today: Some(crate::health::ByVerdict::default()),
            log_dropped: 1,
            results_dropped: 1,
            web: Some(WebCondition::Busy),
            clock_synced: false,
            waiting: 0,
        };
        let message = crate::publisher::message::health(
            &health,
            Some("topic"),
            "1",
            jiff::Timestamp::UNIX_EPOCH,
        );
        let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
        let mut keys = BTreeSet::new();
        for (key, value) in message.as_object().unwrap() {
            // Scanners and the like have a name below them.
            let inner = value
                .as_object()
                .and_then(|parts| parts.get("a").map_or(Some(parts), |part| part.as_object()));
            match inner {
                Some(inner) => keys.extend(inner.keys().cloned()),
                None if value.is_object() => {}
                None => drop(keys.insert(key.clone())),
            }
        }
        let replica = message["sources"]["a"]["replica"].as_object().unwrap();
        keys.extend(replica.keys().cloned());
        // What explains itself, or is itself a list of words.
        let known: BTreeSet<String> = entries()
            .into_iter()
            .map(|entry| entry.word)
            .chain(
                [
                    "time", "reason", "alarms", "clock", "version", "state", "seq",
                ]
                .map(str::to_owned),
            )
            .collect();
        let missing: Vec<&String> = keys.difference(&known).collect();
        assert_eq!(
            missing,
            Vec::<&String>::new(),
            "docs/operating.md, \"The words of health\", lacks them"
        );
        for alarm in crate::health::ALARMS {
            assert!(
                of_kind("an alarm").iter().any(|entry| entry.word == alarm),
                "{alarm}"
            );
        }
        let states = [
            "ok",
            "starting",
            "absent",
            "no_right",
            "busy",
            "ended",
            "fault",
            "none",
            "missing",
            "connected",
            "away",
            "full",
            "read_only",
            "slow",
            "synced",
            "unsynced",
            "no_scanner",
            "filling",
            "behind",
            "shrunken",
            "in_use",
            "warn",
            "fail",
        ];
        for state in states {
            assert!(known.contains(state), "{state}");
        }
    }

    #[test]
    fn every_cause_of_a_change_is_explained() {
        use crate::record::Cause;
        let mut known: Vec<String> = of_kind(CAUSE).into_iter().map(|entry| entry.word).collect();
        let mut causes = Cause::ALL.map(|cause| cause.code().to_owned());
        known.sort_unstable();
        causes.sort_unstable();
        assert_eq!(known, causes);
    }

    #[test]
    fn everything_fits_the_smallest_terminal() {
        let all = entries();
        for text in all.iter().map(shown).chain([overview(&all)]) {
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
                assert!(!line.contains(['`', '*', '|']), "{line}");
            }
        }
    }

    #[test]
    fn a_word_that_nobody_knows_is_answered_with_those_near_it() {
        let near = |word: &str| near(word, &entries());
        assert!(
            near("assignment")
                .contains("assignment_failed, assignment_pending, assignment_throttled?"),
            "{}",
            near("assignment")
        );
        assert!(
            near("not_fuond").contains("not_found"),
            "{}",
            near("not_fuond")
        );
        assert!(
            near("credental").contains("credential_days"),
            "{}",
            near("credental")
        );
        assert!(
            !near("xyzzy").contains("did you mean")
                && near("xyzzy").contains("`benchlight explain` lists them")
        );
    }
}
