//! One section of the TOML document: reads its keys with their types, ranges and defaults, and notes what is wrong.
//!
//! The walk goes by hand over `toml`'s spanned document. Serde's `Spanned` loses its place inside tagged enums and
//! flattened tables, and serde stops at the first problem; here every value knows where it stands and all problems come
//! out together. `toml-span` would do as well, but is a second TOML parser in a tree that has one.

mod values;

use std::{cell::RefCell, path::PathBuf};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    problems::{Report, Span},
    secrets,
};
use crate::runtime::visible;

/// A value with its place in the text, for checks across sections.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) at: Span,
}

/// One section. Every key that is asked for counts as known; `finish` reports the others.
pub(super) struct Section<'r, 't> {
    report: &'r Report,
    title: String,
    at: Span,
    table: Option<&'t DeTable<'t>>,
    /// Something else stands in its place, and that has been reported: nothing is said to be missing.
    reported: bool,
    known: RefCell<Vec<&'static str>>,
    /// The keys that name a credential here, each with the file where one would put it.
    credentials: RefCell<Vec<(&'static str, PathBuf)>>,
}

impl<'r, 't> Section<'r, 't> {
    /// The whole document.
    pub(super) fn document(report: &'r Report, table: &'t DeTable<'t>) -> Self {
        Self {
            title: "the file".to_owned(),
            table: Some(table),
            ..Self::absent(report)
        }
    }

    /// A section that is not in the file: every key has its default.
    fn absent(report: &'r Report) -> Self {
        Self {
            report,
            title: String::new(),
            at: report.end(),
            table: None,
            reported: false,
            known: RefCell::default(),
            credentials: RefCell::default(),
        }
    }

    pub(super) fn report(&self) -> &'r Report {
        self.report
    }

    /// Where the section begins.
    pub(super) fn at(&self) -> &Span {
        &self.at
    }

    /// How people call the section.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Is the section in the file, in whatever form?
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some() || self.reported
    }

    /// Is the key in the section?
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.look(key).is_some()
    }

    /// Where the key's value stands; the section's place if it is absent.
    pub(super) fn place(&self, key: &'static str) -> Span {
        self.look(key)
            .map_or_else(|| self.at.clone(), Spanned::span)
    }

    /// Notes that `key` names a credential here, and where that lies as a rule.
    pub(super) fn note_credential(&self, key: &'static str, place: PathBuf) {
        self.credentials.borrow_mut().push((key, place));
    }

    /// The key's value if it is a text, whatever is in it.
    pub(super) fn string(&self, key: &'static str) -> Option<&'t str> {
        self.look(key)?.get_ref().as_str()
    }

    /// Notes a problem with the value of `key`, and yields nothing.
    pub(super) fn wrong<T>(
        &self,
        key: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        self.report.problem(&self.place(key), message, remedy);
        None
    }

    /// `found`, or a problem if the key is absent. (A value of the wrong form has been reported already.)
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        found: Option<T>,
        example: &str,
    ) -> Option<T> {
        if !self.has(key) && !self.reported {
            self.report.absence(
                &self.at,
                format!("`{key}` is missing in {}", self.title),
                format!("write for example: {key} = {example}"),
            );
        }
        found
    }

    /// `Some(None)` if the key is absent; `None` if its value is wrong and has been reported.
    pub(super) fn optional<T>(&self, key: &'static str, found: Option<T>) -> Option<Option<T>> {
        if self.has(key) {
            found.map(Some)
        } else {
            Some(None)
        }
    }

    /// A section of the document, `[key]`; absent, it has its defaults.
    pub(super) fn section(&self, key: &'static str) -> Section<'r, 't> {
        let title = format!("[{key}]");
        match self.value(key) {
            Some((DeValue::Table(table), at)) => Section {
                title,
                at,
                table: Some(table),
                ..Section::absent(self.report)
            },
            Some((other, at)) => {
                let message = match other {
                    DeValue::Array(_) => format!("there is only one {title}"),
                    other => format!("`{key}` is a section, found {}", kind_of(other)),
                };
                self.report.problem(
                    &at,
                    message,
                    format!("write {title} on a line of its own, once, in single brackets"),
                );
                Section {
                    title,
                    at,
                    reported: true,
                    ..Section::absent(self.report)
                }
            }
            None => Section {
                title,
                ..Section::absent(self.report)
            },
        }
    }

    /// A table as a value, `key = { .. }` or `[section.key]`; `None` if absent or wrong.
    pub(super) fn inner(&self, key: &'static str, title: String) -> Option<Section<'r, 't>> {
        match self.value(key)? {
            (DeValue::Table(table), at) => Some(Section {
                title,
                at,
                table: Some(table),
                ..Section::absent(self.report)
            }),
            (other, _) => self.wrong_type(key, "a table", other, "{ kind = \"terminal\" }"),
        }
    }

    /// The sections `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'r, 't>> {
        let remedy = format!("write [[{key}]] on a line of its own, once for each");
        let tables = match self.value(key) {
            Some((DeValue::Array(array), _)) => array.iter().collect(),
            Some((DeValue::Table(_), at)) => {
                self.report.problem(
                    &at,
                    format!("there may be several of `{key}`: it needs double brackets"),
                    remedy.as_str(),
                );
                Vec::new()
            }
            Some((other, at)) => {
                self.report.problem(
                    &at,
                    format!("`{key}` is a section, found {}", kind_of(other)),
                    remedy.as_str(),
                );
                Vec::new()
            }
            None => Vec::new(),
        };
        let mut sections = Vec::new();
        for value in tables {
            match value.get_ref() {
                DeValue::Table(table) => {
                    let name = table
                        .get("name")
                        .and_then(|name| name.get_ref().as_str())
                        .map(|name| format!(" {name:?}"))
                        .unwrap_or_default();
                    let title = format!("[[{key}]]{name}");
                    sections.push(Section {
                        title,
                        at: value.span(),
                        table: Some(table),
                        ..Section::absent(self.report)
                    });
                }
                other => self.report.problem(
                    &value.span(),
                    format!("`{key}` is a section, found {}", kind_of(other)),
                    remedy.as_str(),
                ),
            }
        }
        sections
    }

    /// Reports the keys of other kinds: `keys` mean nothing to this one.
    pub(super) fn not_for(&self, kind: &str, keys: &[&'static str]) {
        for key in keys {
            if let Some((name, _)) = self.table.and_then(|table| table.get_key_value(*key)) {
                let message = format!("`{key}` means nothing to kind {kind:?}");
                self.report.problem(
                    &name.span(),
                    message,
                    format!("remove it, or set the `kind` in {} that has it", self.title),
                );
            }
            self.note(key);
        }
    }

    /// Reports every unknown key.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for (key, value) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let near = did_you_mean(name, &known);
            if secrets::sounds_secret(name)
                && !value.get_ref().is_table()
                && !near.contains("_credential`")
            {
                let message = format!(
                    "`{}` is a secret, and secrets are never in this file",
                    visible::word(name)
                );
                self.report
                    .problem(&key.span(), message, self.place_of_secret(name));
                continue;
            }
            let thing = if value.get_ref().is_table()
                || value.get_ref().is_array() && self.title == "the file"
            {
                "section"
            } else {
                "key"
            };
            let remedy = if near.is_empty() {
                format!("known here: {}", listed(&known))
            } else {
                near.trim_end().to_owned()
            };
            self.report.problem(
                &key.span(),
                format!(
                    "unknown {thing} `{}` in {}",
                    visible::word(name),
                    self.title
                ),
                remedy,
            );
        }
    }

    /// Where the secret under the key `name` belongs.
    fn place_of_secret(&self, name: &str) -> String {
        let credentials = self.credentials.borrow();
        let like = |wanted: &str| credentials.iter().find(|(key, _)| key.contains(wanted));
        let is = |words: &[&str]| {
            words
                .iter()
                .any(|word| name.to_ascii_lowercase().contains(word))
        };
        let meant = if is(&["pass", "pw"]) {
            like("password")
        } else if is(&["key", "pem", "private"]) {
            like("key")
        } else {
            like("token")
        };
        match meant.or(credentials.first()) {
            Some((key, place)) => {
                let file = place.file_name().unwrap_or_default().to_string_lossy();
                format!("write it to {} (mode 0600), and here: {key} = \"{file}\"; make a new one if others have read this config", place.display())
            }
            None => "remove it; a source or [mqtt] names the file that holds its secret with a key that ends in _credential".to_owned(),
        }
    }

    fn look(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.note(key);
        self.table?.get(key)
    }

    fn value(&self, key: &'static str) -> Option<(&'t DeValue<'t>, Span)> {
        self.look(key).map(|value| (value.get_ref(), value.span()))
    }

    fn note(&self, key: &'static str) {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
    }
}

/// `"a", "b"`.
pub(super) fn listed(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// "did you mean `left`? ", or nothing when no word is near.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    let most = (word.chars().count() / 3).max(1);
    let nearest = known
        .iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min();
    nearest
        .map(|(_, candidate)| format!("did you mean `{candidate}`? "))
        .unwrap_or_default()
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_offered() {
        let known = ["site", "name", "state_dir", "credentials_dir"];
        for (typed, meant) in [
            ("naem", "name"),
            ("Site", "site"),
            ("statedir", "state_dir"),
            ("credential_dir", "credentials_dir"),
        ] {
            assert_eq!(
                did_you_mean(typed, &known),
                format!("did you mean `{meant}`? "),
                "{typed}"
            );
        }
        for typed in ["colour", "", "x", "ünïcödé"] {
            assert_eq!(did_you_mean(typed, &known), "", "{typed}");
        }
    }

    #[test]
    fn a_swap_of_neighbours_is_one_mistake() {
        for (typed, offered) in [
            ("lnae", true),
            ("lane", true),
            ("plane", true),
            ("bane", true),
            ("enal", false),
            ("", false),
        ] {
            assert_eq!(
                !did_you_mean(typed, &["lane"]).is_empty(),
                offered,
                "{typed}"
            );
        }
    }
}
