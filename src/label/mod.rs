//! What the bytes of a barcode mean: a serial number (or two candidates), or which wrong code it was. Pure and total.

use std::{fmt, sync::Arc};

use crate::reason::Reason;

/// A text that can be a serial number: 8 to 14 of `A-Z0-9` with at least one letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Arc<str>);

impl Serial {
    /// Checks an upper-case text.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (8..=14).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            && text.bytes().any(|byte| byte.is_ascii_uppercase());
        fits.then(|| Self(text.into()))
    }

    /// The serial number as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is `other` the same serial number, ASCII case and surrounding space ignored? Services differ in both.
    pub fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other.trim())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The serial numbers that one code may mean: as scanned, and without a leading data identifier `S` or `1S`.
/// The sources decide which of the two it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidates {
    /// The text as scanned.
    pub scanned: Serial,
    /// The text after `S` or `1S`, if it began so and the rest can be a serial number.
    pub stripped: Option<Serial>,
    /// A code that looks like something else (a MAC, a MEID, a postal number): the `rescan` reason if no source knows it.
    pub unless_known: Option<Reason>,
}

impl Candidates {
    /// A single serial number.
    pub fn one(serial: Serial) -> Self {
        Self { scanned: serial, stripped: None, unless_known: None }
    }

    /// The candidates in order: as scanned, then stripped. Answers follow this order.
    pub fn iter(&self) -> impl Iterator<Item = &Serial> {
        std::iter::once(&self.scanned).chain(self.stripped.as_ref())
    }
}

/// What one code says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// One or several serial numbers (several: a batch code, one group).
    Serials(Vec<Candidates>),
    /// Another code of the box: the `rescan` reason.
    Wrong(Reason),
}
