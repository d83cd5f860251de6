//! One section of the TOML document: reads its keys with their types, ranges and defaults, and notes what is wrong.
//!
//! The walk goes by hand over `toml`'s spanned document. Serde's `Spanned` loses its place inside tagged enums and
//! flattened tables, and serde stops at the first problem; here every value knows where it stands and all problems come
//! out together. `toml-span` would do as well, but is a second TOML parser in a tree that has one.

use std::{cell::RefCell, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use url::Url;

use super::{
    problems::{Report, Span},
    secrets, units,
};
use crate::runtime::{name::Name, visible};

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

    /// A text that is not empty.
    pub(super) fn text(&self, key: &'static str, example: &str) -> Option<Found<&'t str>> {
        match self.value(key)? {
            (DeValue::String(text), _) if text.trim().is_empty() => self.wrong(
                key,
                format!("`{key}` is empty"),
                format!("write for example: {key} = {example}"),
            ),
            (DeValue::String(text), _) if visible::text(text) != *text => self.wrong(
                key,
                format!("`{key}` holds a character that cannot be seen"),
                "type it anew, as one line of plain text",
            ),
            (DeValue::String(text), at) => Some(Found {
                value: text.as_ref(),
                at,
            }),
            (other, _) => self.wrong_type(key, "a text", other, example),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> Option<bool> {
        match self.value(key) {
            None => Some(default),
            Some((DeValue::Boolean(flag), _)) => Some(*flag),
            Some((other, _)) => self.wrong_type(
                key,
                "true or false",
                other,
                if default { "true" } else { "false" },
            ),
        }
    }

    /// A whole number in a range.
    pub(super) fn number(
        &self,
        key: &'static str,
        range: RangeInclusive<u32>,
        example: u32,
    ) -> Option<Found<u32>> {
        match self.value(key)? {
            (DeValue::Integer(integer), at) => {
                match i128::from_str_radix(integer.as_str(), integer.radix())
                    .ok()
                    .and_then(|number| u32::try_from(number).ok())
                {
                    Some(value) if range.contains(&value) => Some(Found { value, at }),
                    _ => self.wrong(
                        key,
                        format!("`{key}` is out of range"),
                        format!(
                            "use a whole number from {} to {}",
                            range.start(),
                            range.end()
                        ),
                    ),
                }
            }
            (other, _) => self.wrong_type(key, "a whole number", other, &example.to_string()),
        }
    }

    /// A duration in a range.
    pub(super) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let example = format!("\"{}\"", units::duration_text(default));
        match self.value(key) {
            None => Some(default),
            Some((DeValue::String(text), _)) => match units::duration(text) {
                Some(value) if range.contains(&value) => Some(value),
                Some(_) => {
                    let (least, most) = (
                        units::duration_text(*range.start()),
                        units::duration_text(*range.end()),
                    );
                    self.wrong(
                        key,
                        format!("`{key}` is out of range"),
                        format!("use a duration from \"{least}\" to \"{most}\""),
                    )
                }
                None => self.wrong(
                    key,
                    format!("`{key}` is not a duration"),
                    format!("use a whole number with ms, s, m, h or d, such as {example}"),
                ),
            },
            Some((other, _)) => self.wrong_type(key, "a duration", other, &example),
        }
    }

    /// A size in bytes in a range.
    pub(super) fn size(
        &self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let example = format!("\"{}\"", units::size_text(default));
        match self.value(key) {
            None => Some(default),
            Some((DeValue::String(text), _)) => match units::size(text) {
                Some(value) if range.contains(&value) => Some(value),
                Some(_) => {
                    let (least, most) = (
                        units::size_text(*range.start()),
                        units::size_text(*range.end()),
                    );
                    self.wrong(
                        key,
                        format!("`{key}` is out of range"),
                        format!("use a size from \"{least}\" to \"{most}\""),
                    )
                }
                None => self.wrong(
                    key,
                    format!("`{key}` is not a size"),
                    format!("use a whole number with B, KiB, MiB or GiB, such as {example}"),
                ),
            },
            Some((other, _)) => self.wrong_type(key, "a size", other, &example),
        }
    }

    /// One of a closed set of words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&'static str, T)],
        default: Option<&str>,
    ) -> Option<Found<T>> {
        let of_word = |word: &str| {
            choices
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, value)| *value)
        };
        let words: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        if !self.has(key) {
            return of_word(default?).map(|value| Found {
                value,
                at: self.at.clone(),
            });
        }
        let text = self.text(
            key,
            &format!("\"{}\"", words.first().copied().unwrap_or_default()),
        )?;
        match of_word(text.value) {
            Some(value) => Some(Found { value, at: text.at }),
            None if key == "kind" => {
                let hint = did_you_mean(text.value, &words);
                self.wrong(
                    key,
                    format!("{:?} is not in this build", text.value),
                    format!("{hint}use one of {}", listed(&words)),
                )
            }
            None => {
                let hint = did_you_mean(text.value, &words);
                self.wrong(
                    key,
                    format!("{:?} is no value of `{key}`", text.value),
                    format!("{hint}use one of {}", listed(&words)),
                )
            }
        }
    }

    /// A list of texts that are not empty.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<Found<&'t str>>> {
        const EXAMPLE: &str = "[\"..\"]";
        match self.value(key) {
            None => Some(Vec::new()),
            Some((DeValue::Array(array), _)) => {
                let mut texts = Vec::new();
                let mut whole = true;
                for item in array.iter() {
                    match item.get_ref() {
                        DeValue::String(text) if !text.trim().is_empty() => texts.push(Found {
                            value: text.as_ref(),
                            at: item.span(),
                        }),
                        other => {
                            whole = false;
                            let found = if other.is_str() {
                                "an empty one"
                            } else {
                                kind_of(other)
                            };
                            let message =
                                format!("`{key}` is a list of texts, found {found} in it");
                            self.report.problem(
                                &item.span(),
                                message,
                                format!("write for example: {key} = {EXAMPLE}"),
                            );
                        }
                    }
                }
                whole.then_some(texts)
            }
            Some((other, _)) => self.wrong_type(key, "a list of texts", other, EXAMPLE),
        }
    }

    /// A name: a-z, 0-9 and `-`.
    pub(super) fn name(&self, key: &'static str, example: &str) -> Option<Found<Name>> {
        let text = self.text(key, &format!("\"{example}\""))?;
        match Name::new(text.value) {
            Ok(value) => Some(Found { value, at: text.at }),
            Err(fault) => self.wrong(
                key,
                fault.to_string(),
                format!("write for example: {key} = \"{example}\""),
            ),
        }
    }

    /// A path.
    pub(super) fn path(&self, key: &'static str, example: &str) -> Option<Found<PathBuf>> {
        let text = self.text(key, &format!("\"{example}\""))?;
        Some(Found {
            value: PathBuf::from(text.value),
            at: text.at,
        })
    }

    /// An address and port to listen on.
    pub(super) fn address(
        &self,
        key: &'static str,
        default: SocketAddr,
    ) -> Option<Found<SocketAddr>> {
        if !self.has(key) {
            return Some(Found {
                value: default,
                at: self.at.clone(),
            });
        }
        let text = self.text(key, &format!("\"{default}\""))?;
        match text.value.parse() {
            Ok(value) => Some(Found { value, at: text.at }),
            Err(_) => self.wrong(
                key,
                format!("`{key}` is not an address with a port"),
                format!("write for example: {key} = \"{default}\""),
            ),
        }
    }

    /// A URL of one of `schemes`, with a host and without user, query or fragment.
    pub(super) fn url(
        &self,
        key: &'static str,
        schemes: &[&str],
        example: &str,
    ) -> Option<Found<Url>> {
        let example = format!("\"{example}\"");
        let text = self.text(key, &example)?;
        let remedy = format!("write for example: {key} = {example}");
        let url = match Url::parse(text.value) {
            Ok(url) if url.has_host() && url.host_str().is_some_and(|host| !host.is_empty()) => url,
            Ok(_) => return self.wrong(key, format!("`{key}` names no host"), remedy),
            Err(error) => return self.wrong(key, format!("`{key}` is not a URL: {error}"), remedy),
        };
        if !schemes.contains(&url.scheme()) {
            return self.wrong(
                key,
                format!("`{key}` may not begin with {}://", url.scheme()),
                format!("use {}", listed_schemes(schemes)),
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            return self.wrong(
                key,
                format!("`{key}` holds a user name or password"),
                "secrets are never in this file: use the *_credential keys",
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return self.wrong(
                key,
                format!("`{key}` has a query or fragment"),
                "end it before ? or #",
            );
        }
        Some(Found {
            value: url,
            at: text.at,
        })
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

    /// Reports every key that nobody asked for.
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

    fn wrong_type<T>(
        &self,
        key: &'static str,
        wanted: &str,
        found: &DeValue<'_>,
        example: &str,
    ) -> Option<T> {
        self.wrong(
            key,
            format!("`{key}` is {wanted}, found {}", kind_of(found)),
            format!("write for example: {key} = {example}"),
        )
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
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min();
    nearest
        .map(|(_, candidate)| format!("did you mean `{candidate}`? "))
        .unwrap_or_default()
}

fn listed_schemes(schemes: &[&str]) -> String {
    schemes
        .iter()
        .map(|scheme| format!("{scheme}://"))
        .collect::<Vec<_>>()
        .join(" or ")
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

/// How many letters must be changed, added, dropped or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (
        left.chars().take(64).collect(),
        right.chars().take(64).collect(),
    );
    // Three rows of the usual table: `two_up` is needed for swapped neighbours.
    let mut two_up: Vec<usize> = Vec::new();
    let mut up: Vec<usize> = (0..=right.len()).collect();
    for (row, &left_char) in left.iter().enumerate() {
        let mut here = vec![row + 1];
        for (column, &right_char) in right.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut least = (at(&up, column) + usize::from(left_char != right_char))
                .min(at(&up, column + 1) + 1)
                .min(at(&here, column) + 1);
            let swapped = row > 0
                && column > 0
                && left.get(row - 1) == Some(&right_char)
                && right.get(column - 1) == Some(&left_char);
            if swapped {
                least = least.min(at(&two_up, column - 1) + 1);
            }
            here.push(least);
        }
        two_up = std::mem::replace(&mut up, here);
    }
    up.last().copied().unwrap_or_default()
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
        for (left, right, mistakes) in [
            ("lane", "lnae", 1),
            ("lane", "lane", 0),
            ("lane", "", 4),
            ("", "lane", 4),
            ("lane", "plane", 1),
            ("kind", "bind", 1),
        ] {
            assert_eq!(distance(left, right), mistakes, "{left} {right}");
        }
    }
}
