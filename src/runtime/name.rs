//! A checked identifier: sites, stations, lanes, scanners and sources are named with it, and it is safe in a topic.

use std::{fmt, sync::Arc};

/// 1 to 32 characters of `a-z`, `0-9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// The text is not a [`Name`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a name: use 1 to 32 characters of a-z, 0-9 and -")]
pub struct NotAName(pub String);

impl Name {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, NotAName> {
        let fits = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(NotAName(text.to_owned()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
