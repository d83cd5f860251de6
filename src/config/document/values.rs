//! The values of a section's keys, each of its type and in its range.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::de::DeValue;
use url::Url;

use super::{Found, Section, did_you_mean, kind_of, listed};
use crate::{
    config::units,
    runtime::{name::Name, visible},
};

impl<'t> Section<'_, 't> {
    /// A text that is not empty.
    pub(in crate::config) fn text(
        &self,
        key: &'static str,
        example: &str,
    ) -> Option<Found<&'t str>> {
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
    pub(in crate::config) fn flag(&self, key: &'static str, default: bool) -> Option<bool> {
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
    pub(in crate::config) fn number(
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

    /// A part of a whole: over 0, at most 1.
    pub(in crate::config) fn share(&self, key: &'static str) -> Option<Option<f64>> {
        let text = match self.value(key) {
            None => return Some(None),
            Some((DeValue::Float(float), _)) => float.as_str(),
            Some((DeValue::Integer(integer), _)) => integer.as_str(),
            Some((other, _)) => return self.wrong_type(key, "a number", other, "0.5"),
        };
        match text.parse::<f64>() {
            Ok(share) if share > 0.0 && share <= 1.0 => Some(Some(share)),
            _ => self.wrong(
                key,
                format!("`{key}` is out of range"),
                "use a number over 0.0, at most 1.0",
            ),
        }
    }

    /// A duration in a range.
    pub(in crate::config) fn duration(
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
    pub(in crate::config) fn size(
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
    pub(in crate::config) fn choice<T: Copy>(
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
                    format!("{:?} is not a value of `{key}`", text.value),
                    format!("{hint}use one of {}", listed(&words)),
                )
            }
        }
    }

    /// A list of texts that are not empty.
    pub(in crate::config) fn texts(&self, key: &'static str) -> Option<Vec<Found<&'t str>>> {
        self.list(key, |_| None)
    }

    /// A list of ids: texts, or whole numbers as some services show them.
    pub(in crate::config) fn ids(&self, key: &'static str) -> Option<Vec<Found<&'t str>>> {
        self.list(key, |item| match item {
            // No service writes the sign.
            DeValue::Integer(number) if number.radix() == 10 => {
                Some(number.as_str().trim_start_matches('+'))
            }
            _ => None,
        })
    }

    /// `other`: what is taken besides texts.
    fn list(
        &self,
        key: &'static str,
        other: impl Fn(&'t DeValue<'t>) -> Option<&'t str>,
    ) -> Option<Vec<Found<&'t str>>> {
        const EXAMPLE: &str = "[\"..\"]";
        match self.value(key) {
            None => Some(Vec::new()),
            Some((DeValue::Array(array), _)) => {
                let mut texts = Vec::new();
                let mut whole = true;
                for item in array.iter() {
                    let text = match item.get_ref() {
                        DeValue::String(text) => Some(text.as_ref()),
                        value => other(value),
                    };
                    match (text, item.get_ref()) {
                        (Some(value), _) if !value.trim().is_empty() => texts.push(Found {
                            value,
                            at: item.span(),
                        }),
                        (_, other) => {
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
    pub(in crate::config) fn name(&self, key: &'static str, example: &str) -> Option<Found<Name>> {
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
    pub(in crate::config) fn path(
        &self,
        key: &'static str,
        example: &str,
    ) -> Option<Found<PathBuf>> {
        let text = self.text(key, &format!("\"{example}\""))?;
        Some(Found {
            value: PathBuf::from(text.value),
            at: text.at,
        })
    }

    /// An address and port to listen on.
    pub(in crate::config) fn address(
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
    pub(in crate::config) fn url(
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

    pub(super) fn wrong_type<T>(
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

fn listed_schemes(schemes: &[&str]) -> String {
    schemes
        .iter()
        .map(|scheme| format!("{scheme}://"))
        .collect::<Vec<_>>()
        .join(" or ")
}
