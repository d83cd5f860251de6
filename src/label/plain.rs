//! A code without named fields, recognised by its length, its characters and its check digit.

use super::{Candidates, Meaning, Serial, check_digits, group};
use crate::reason::Reason;

/// Reads an upper-case text without control characters.
pub(super) fn read(text: &str) -> Meaning {
    if let Some(reason) = other_code(text) {
        return Meaning::Wrong(reason);
    }
    if let Some(candidates) = candidates(text) {
        return Meaning::Serials(vec![candidates]);
    }
    // A two-dimensional code that lists serial numbers. Every entry must be one.
    let entries = || {
        text.split([',', ';'])
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
    };
    if entries().nth(1).is_some() {
        return group(entries().map(|entry| {
            candidates(entry).filter(|candidates| {
                candidates.unless_known.is_none() && other_code(entry).is_none()
            })
        }));
    }
    Meaning::Wrong(Reason::Unreadable)
}

/// A code that cannot be mistaken for a serial number.
fn other_code(text: &str) -> Option<Reason> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.len() {
            12 | 13 if check_digits::gs1(text) => Some(Reason::Upc),
            15 if check_digits::luhn(text) => Some(Reason::Imei),
            18 if check_digits::gs1(text) => Some(Reason::Carton),
            32 if text.starts_with("89") && check_digits::modulo_97_is_1(text) => Some(Reason::Eid),
            // An ICCID, a MEID in digits, or a misread code: none of them has its own reason.
            _ => None,
        };
    }
    if is_part_number(text.strip_prefix("1P").unwrap_or(text)) {
        return Some(Reason::PartNumber);
    }
    let parcel = text.strip_prefix("1Z").is_some_and(|rest| {
        rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    parcel.then_some(Reason::Tracking)
}

/// Apple's part numbers as printed on boxes: `MHDH3QN/A`.
fn is_part_number(text: &str) -> bool {
    text.split_once('/').is_some_and(|(number, revision)| {
        (5..=12).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && number.bytes().any(|byte| byte.is_ascii_alphabetic())
            && revision.len() == 1
            && revision.bytes().all(|byte| byte.is_ascii_alphabetic())
    })
}

/// The serial numbers that this may be. A leading `S` or `1S` may be the label's data identifier or part of the number (about one
/// random number in 34 begins with S), so both are candidates and the services decide.
fn candidates(text: &str) -> Option<Candidates> {
    let stripped = text
        .strip_prefix("1S")
        .or_else(|| text.strip_prefix('S'))
        .and_then(Serial::new);
    match (Serial::new(text), stripped) {
        (Some(scanned), stripped) => Some(Candidates {
            scanned,
            stripped,
            unless_known: unless_known(text),
        }),
        // 14 characters after a data identifier: together they are too long to be a serial number.
        (None, Some(stripped)) => Some(Candidates::one(stripped)),
        (None, None) => None,
    }
}

/// Other codes that look like a serial number. The sources are asked all the same: a service may know such a serial number.
pub(super) fn unless_known(text: &str) -> Option<Reason> {
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mac = hexadecimal && text.len() == 12;
    let meid = hexadecimal
        && text.len() == 14
        && text.starts_with(|first: char| first.is_ascii_uppercase());
    if mac || meid {
        Some(Reason::Unreadable)
    } else if is_postal_number(text) {
        Some(Reason::Tracking)
    } else {
        None
    }
}

/// A postal S10 number (`RR473124829GB`) with a correct check digit.
fn is_postal_number(text: &str) -> bool {
    let letters = |part: Option<&str>| {
        part.is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_uppercase()))
    };
    text.len() == 13
        && letters(text.get(..2))
        && letters(text.get(11..))
        && text.get(2..11).is_some_and(check_digits::s10)
}
