//! The tables of `docs/operating.md`: every word that the station says, what it means and what to do. Pure.
//!
//! `explain` shows them, and the page takes its sentences about broken parts from here.

const MANUAL: &str = include_str!("../docs/operating.md");

/// One word of the manual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub word: String,
    /// What kind of word it is.
    pub kind: String,
    /// What it means, paragraph by paragraph.
    pub means: Vec<String>,
    pub action: String,
}

/// The manual's tables: lamps, answers, alarms, health.
pub fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for part in MANUAL.split("\n## ") {
        let mut verdict = String::new();
        for line in part.lines() {
            if let Some(heading) = line.strip_prefix("### ") {
                verdict = plain(heading);
            } else if heading_of_verdict(&mut entries, &verdict, line) {
                continue;
            }
            let cells: Vec<String> = line
                .trim()
                .trim_matches('|')
                .split(" | ")
                .map(plain)
                .collect();
            let entry = match (
                part.split('\n').next().unwrap_or_default(),
                cells.as_slice(),
            ) {
                ("The lamps", [word, lamps, buzzer, says, hand]) if word != "signal" => {
                    let looks = if buzzer == "-" {
                        sentence(lamps)
                    } else {
                        format!("{} Buzzer: {buzzer}.", sentence(lamps))
                    };
                    Entry::new(word, SIGNAL, vec![looks, sentence(says)], &sentence(hand))
                }
                ("The answers", [word, says, meaning, next]) if word != "reason" => Entry::new(
                    word,
                    &format!("a reason of the verdict {verdict}"),
                    vec![says.clone(), meaning.clone()],
                    next,
                ),
                ("Alarms", [word, means, action]) if word != "alarm" => Entry::new(
                    word,
                    "an alarm in health and log",
                    vec![sentence(means)],
                    &sentence(action),
                ),
                ("Changes", [word, means, action]) if word != "cause" => {
                    Entry::new(word, CAUSE, vec![sentence(means)], &sentence(action))
                }
                ("The words of health", [word, of, means, action]) if word != "word" => Entry::new(
                    word,
                    &format!("a word of health ({of})"),
                    vec![sentence(means)],
                    &sentence(action),
                ),
                _ => continue,
            };
            if !entry.word.is_empty() && !entry.word.starts_with("---") {
                entries.push(entry);
            }
        }
    }
    entries
}

/// The first line below a verdict's heading says what it means.
fn heading_of_verdict(entries: &mut Vec<Entry>, verdict: &str, line: &str) -> bool {
    let is_new = !verdict.is_empty()
        && !line.is_empty()
        && !entries
            .iter()
            .any(|entry| entry.word == verdict && entry.kind == VERDICT);
    if is_new {
        entries.push(Entry::new(verdict, VERDICT, vec![plain(line)], ""));
    }
    is_new
}

pub const SIGNAL: &str = "a signal of the lamps";
pub const VERDICT: &str = "a verdict";
pub const CAUSE: &str = "a cause of a change";

impl Entry {
    fn new(word: &str, kind: &str, means: Vec<String>, action: &str) -> Self {
        Self {
            word: word.to_owned(),
            kind: kind.to_owned(),
            means,
            action: action.to_owned(),
        }
    }
}

/// Text of the manual without its marks.
fn plain(text: &str) -> String {
    text.trim().replace(['`', '*'], "")
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(char::to_uppercase)
        .into_iter()
        .flatten();
    let end = if text.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    first.chain(characters).chain(end.chars()).collect()
}
