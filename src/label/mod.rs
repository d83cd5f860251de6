//! What the bytes of a barcode mean: a serial number (or two candidates), or which wrong code it was. Pure; accepts any bytes.

mod aim;
mod check_digits;
mod eci;
mod envelope;
mod gs1;
mod plain;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt, sync::Arc};

use crate::{reason::Reason, runtime::visible};
use aim::Symbology;

/// Longest text that is read, in bytes: the most a scanner delivers.
const LONGEST: usize = 4_096;

/// Most serial numbers in one code, and so in one group of records.
const MOST_SERIALS: usize = 256;

/// ASCII "group separator": ends a field in GS1 element strings and ISO 15434 envelopes.
const GS: char = '\x1d';
/// ASCII "record separator": ends an envelope of ISO 15434.
const RS: char = '\x1e';
/// ASCII "end of transmission": ends an ISO 15434 message.
const EOT: char = '\x04';

/// A text that can be a serial number: 8 to 14 of `A-Z0-9` with at least one letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Arc<str>);

impl Serial {
    /// `None` if the text cannot be a serial number. Expects upper case.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (8..=14).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            && text.bytes().any(|byte| byte.is_ascii_uppercase());
        fits.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is `other` the same serial number? Case and surrounding spaces are ignored: services differ in both.
    pub fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other.trim())
    }

    /// Does it contain an I or an O? Apple's serial numbers have neither, so it was probably mistyped or misread. This is only
    /// mentioned beside `not_found`, never refused: Apple promises nothing about its random serial numbers.
    pub fn has_doubtful_letter(&self) -> bool {
        self.0.contains(['I', 'O'])
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The serial numbers that one code may mean: as scanned, and without a leading data identifier `S` or `1S`.
/// What the sources know of them decides which it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidates {
    pub scanned: Serial,
    /// The text after `S` or `1S`, if it begins with one and the rest can be a serial number.
    pub stripped: Option<Serial>,
    /// Set if the code looks like something else (a MAC, a MEID, a postal number): the `rescan` reason if no source knows it.
    pub unless_known: Option<Reason>,
}

impl Candidates {
    pub fn one(serial: Serial) -> Self {
        Self {
            scanned: serial,
            stripped: None,
            unless_known: None,
        }
    }

    /// Candidates from what was asked for before, in the order of [`Self::iter`]. `None` for an empty list.
    pub fn asked_before(asked: &[Serial]) -> Option<Self> {
        let (scanned, rest) = asked.split_first()?;
        Some(Self {
            unless_known: plain::unless_known(scanned.as_str()),
            stripped: rest.first().cloned(),
            scanned: scanned.clone(),
        })
    }

    /// Is what was scanned the other candidate, of 10 or 12 characters as most serial numbers have, with `S` in front?
    pub fn is_plain_with_s(&self) -> bool {
        self.stripped.as_ref().is_some_and(|stripped| {
            matches!(stripped.as_str().len(), 10 | 12)
                && self.scanned.as_str().strip_prefix('S') == Some(stripped.as_str())
        })
    }

    /// The candidates in order: as scanned, then stripped. Answers follow this order.
    pub fn iter(&self) -> impl Iterator<Item = &Serial> {
        std::iter::once(&self.scanned).chain(self.stripped.as_ref())
    }
}

/// What one code means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// One serial number, or those of a batch code, which are one group. Never empty, no duplicates, at most 256.
    Serials(Vec<Candidates>),
    /// Another code of the box, with its `rescan` reason.
    Wrong(Reason),
}

/// One field of a code that names its fields (a GS1 element string or an ISO 15434 envelope).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field<'a> {
    /// A serial number with its own identifier (`S`, AI 21).
    Serial(&'a str),
    /// Another number of the same item (`1S`, `25S`), used only if the code has no [`Field::Serial`].
    SecondSerial(&'a str),
    /// Something else on the box that has its own `rescan` reason.
    Other(Reason),
    /// Anything else: a date, a quantity.
    Ignored,
}

/// Reads a code as it came from a scanner, without its end key. Any bytes have a meaning, found in linear time.
pub fn read(bytes: &[u8]) -> Meaning {
    // No code on a box contains anything but ASCII, and what is refused here is never sent to a service.
    let Some(text) = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.is_ascii())
    else {
        return Meaning::Wrong(Reason::Unreadable);
    };
    let (symbology, text) = aim::split(trimmed(text));
    let text = eci::dropped(text);
    let text = trimmed(&text);
    if text.len() > LONGEST
        || text.contains(|character: char| {
            character.is_ascii_control() && ![GS, RS, EOT].contains(&character)
        })
    {
        return Meaning::Wrong(Reason::Unreadable);
    }
    let text = text.to_ascii_uppercase();
    match symbology {
        Symbology::Ean if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => {
            Meaning::Wrong(Reason::Upc)
        }
        // An EAN contains only digits. With letters, the scanner is set up wrongly.
        Symbology::Ean => Meaning::Wrong(Reason::Unreadable),
        Symbology::Gs1 | Symbology::Any => read_upper_case(&text, symbology),
    }
}

fn read_upper_case(text: &str, symbology: Symbology) -> Meaning {
    let fields = if let Some(message) = text.strip_prefix(envelope::HEADER) {
        envelope::fields(message)
    } else if text.contains([GS, RS, EOT]) {
        gs1::fields(text).or_else(|| envelope::fields_without_header(text))
    } else if text.starts_with('(') {
        gs1::fields_in_brackets(text)
    } else {
        let meaning = plain::read(text);
        // Without separators, an element string is recognised by its AIM identifier, or because it begins with a carton's or an
        // article's number with a correct check digit.
        let as_gs1 = match symbology {
            Symbology::Gs1 => gs1::fields(text),
            Symbology::Ean | Symbology::Any => gs1::fields(text).filter(|_| {
                meaning == Meaning::Wrong(Reason::Unreadable)
                    && (text.starts_with("00") || text.starts_with("01"))
            }),
        };
        return as_gs1.map_or(meaning, |fields| from_fields(&fields));
    };
    fields.map_or(Meaning::Wrong(Reason::Unreadable), |fields| {
        from_fields(&fields)
    })
}

/// What several named fields mean together. If one should be a serial number and cannot be one, the whole code is unreadable:
/// otherwise that box of a batch would go unchecked.
fn from_fields(fields: &[Field<'_>]) -> Meaning {
    let mut values: Vec<&str> = fields
        .iter()
        .filter_map(|field| {
            if let Field::Serial(value) = field {
                Some(*value)
            } else {
                None
            }
        })
        .collect();
    if values.is_empty() {
        values = fields
            .iter()
            .filter_map(|field| {
                if let Field::SecondSerial(value) = field {
                    Some(*value)
                } else {
                    None
                }
            })
            .collect();
    }
    match values.as_slice() {
        [] => {
            let other = fields.iter().find_map(|field| {
                if let Field::Other(reason) = field {
                    Some(*reason)
                } else {
                    None
                }
            });
            Meaning::Wrong(other.unwrap_or(Reason::Unreadable))
        }
        // The identifier has been removed already, so a leading S is part of the number.
        [value] => match (Serial::new(value), plain::read(value)) {
            (Some(serial), _) => Meaning::Serials(vec![Candidates::one(serial)]),
            (None, Meaning::Wrong(reason)) => Meaning::Wrong(reason),
            (None, Meaning::Serials(_)) => Meaning::Wrong(Reason::Unreadable),
        },
        values => group(
            values
                .iter()
                .map(|value| Serial::new(value).map(Candidates::one)),
        ),
    }
}

/// The members of one code, each once. Unreadable if one cannot be a serial number, or if there are too many.
fn group(members: impl Iterator<Item = Option<Candidates>>) -> Meaning {
    let mut seen = HashSet::new();
    let mut serials = Vec::new();
    for member in members {
        let Some(member) = member else {
            return Meaning::Wrong(Reason::Unreadable);
        };
        if seen.insert(member.clone()) {
            serials.push(member);
        }
    }
    if serials.is_empty() || serials.len() > MOST_SERIALS {
        Meaning::Wrong(Reason::Unreadable)
    } else {
        Meaning::Serials(serials)
    }
}

/// The text by which a repeated scan is recognised: trimmed, in upper case, without AIM identifier, lossy.
/// It always means the same as the scanned bytes. If removing the identifier would change the meaning (`]E0`: never a serial
/// number), or upper case would turn an unknown identifier into a known one, the text stays as it is.
pub fn normalised(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = trimmed(&text);
    let (_, rest) = aim::split(text);
    let bare = trimmed(rest).to_ascii_uppercase();
    if read(bare.as_bytes()) == read(bytes) {
        bare
    } else {
        text.to_owned()
    }
}

/// The scanned text for people: lossy, with invisible characters made visible.
pub fn visible(bytes: &[u8]) -> String {
    visible::text(&String::from_utf8_lossy(bytes))
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}
