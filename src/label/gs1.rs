//! GS1 element strings: application identifiers with their values. A value has a fixed length or ends with GS.
//!
//! See the GS1 General Specifications, 7.8 (predefined lengths) and 3.2 (the list of application identifiers).

use super::{Field, GS, check_digits};
use crate::reason::Reason;

/// Splits an element string. `None` if any part of it breaks the rules.
pub(super) fn fields(text: &str) -> Option<Vec<Field<'_>>> {
    let mut rest = text.trim_matches(GS);
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (identifier, value) = rest.split_at_checked(identifier_length(rest)?)?;
        let (value, after) = match fixed_length(identifier) {
            Some(length) => value.split_at_checked(length)?,
            None => value.split_at(value.find(GS).unwrap_or(value.len())),
        };
        fields.push(field(identifier, value)?);
        rest = after.strip_prefix(GS).unwrap_or(after);
    }
    if fields.is_empty() {
        None
    } else {
        Some(fields)
    }
}

/// Splits the human-readable form, which some codes contain: `(01)00194252020137(21)C02XK0AAJG5H`.
pub(super) fn fields_in_brackets(text: &str) -> Option<Vec<Field<'_>>> {
    let elements = text.strip_prefix('(')?.split('(');
    elements
        .map(|element| {
            let (identifier, value) = element.split_once(')')?;
            let value = value.trim();
            let whole = identifier_length(identifier)? == identifier.len()
                && fixed_length(identifier).is_none_or(|length| length == value.len());
            if whole {
                field(identifier, value)
            } else {
                None
            }
        })
        .collect()
}

fn field<'a>(identifier: &str, value: &'a str) -> Option<Field<'a>> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    if value.is_empty()
        || value.len() > 90
        || value.contains(|character: char| character.is_ascii_control())
    {
        return None;
    }
    if fixed_length(identifier).is_some() && !digits {
        return None;
    }
    match identifier {
        "00" => check_digits::gs1(value).then_some(Field::Other(Reason::Carton)),
        "01" | "02" | "03" => check_digits::gs1(value).then_some(Field::Other(Reason::Upc)),
        "21" => Some(Field::Serial(value)),
        _ => Some(Field::Ignored),
    }
}

/// How many digits the application identifier at the front of `text` has. The first two digits determine it.
fn identifier_length(text: &str) -> Option<usize> {
    let length = match text.get(..2)?.parse::<u8>().ok()? {
        0..=4 | 10..=13 | 15..=17 | 20..=22 | 30 | 37 | 90..=99 => 2,
        23..=25 | 40..=42 | 71 => 3,
        31..=36 | 39 | 43 | 70 | 72 | 80..=82 => 4,
        _ => return None,
    };
    text.get(..length)?
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(length)
}

/// How many characters the value has, for identifiers whose value needs no separator.
fn fixed_length(identifier: &str) -> Option<usize> {
    match identifier.get(..2)?.parse::<u8>().ok()? {
        0 => Some(18),
        1..=3 => Some(14),
        4 => Some(16),
        11..=19 | 31..=36 => Some(6),
        20 => Some(2),
        41 => Some(13),
        _ => None,
    }
}
