//! Reads what services write loosely: timestamps in their several spellings, and texts that a person will see; and writes what stands in a URL.

use std::borrow::Cow;

use jiff::{Timestamp, civil, tz::TimeZone};

/// A service's text as it may be shown.
pub use crate::runtime::visible::word as shown;

/// A moment as services write it: `T` or a space between date and time, `Z`, an offset, or none at all (then UTC), a fraction of any
/// length. What is below a nanosecond is dropped.
pub fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let text = text.strip_suffix("UTC").map_or(text, str::trim_end);
    let text = to_nanoseconds(text);
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    // Without an offset. (A date alone is not a moment.)
    let has_time = text.contains(':');
    let civil = text.parse::<civil::DateTime>().ok().filter(|_| has_time)?;
    TimeZone::UTC.to_timestamp(civil).ok()
}

/// RFC 3339 sets no limit to the digits of a fraction; nine are all that can be kept.
fn to_nanoseconds(text: &str) -> Cow<'_, str> {
    const DIGITS: usize = 9;
    let cut = || {
        let (whole, rest) = text.split_once('.')?;
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (fraction, zone) = rest.split_at_checked(length)?;
        let kept = fraction.get(..DIGITS).filter(|_| length > DIGITS)?;
        Some(format!("{whole}.{kept}{zone}"))
    };
    cut().map_or(Cow::Borrowed(text), Cow::Owned)
}

/// In some services the year 1 stands for a moment that never was.
pub fn is_never(moment: Timestamp) -> bool {
    // Whatever the offset: the year 2 is none either.
    TimeZone::UTC.to_datetime(moment).year() <= 1
}

/// For a URL (RFC 3986, and as RFC 5849 signs it): everything but letters, digits and `-._~` as upper-case `%XX`.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// An id in one spelling. Services write a uuid with dashes or without, in either case.
pub fn bare_uuid(text: &str) -> String {
    text.trim().replace('-', "").to_ascii_lowercase()
}

/// Do these two write the same id?
pub fn same_uuid(one: &str, other: &str) -> bool {
    bare_uuid(one) == bare_uuid(other)
}

/// The sentence about a profile's uuid that is none of those that count; "": it is not named. No list: any counts.
pub fn unexpected_profile(uuid: &str, expected: &[String]) -> Option<String> {
    if expected.is_empty() || expected.iter().any(|one| same_uuid(one, uuid)) {
        return None;
    }
    let named = if uuid.is_empty() {
        "not named".to_owned()
    } else {
        shown(uuid)
    };
    Some(format!("The profile on it is {named}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_moment_is_read() {
        let expected: Timestamp = "2026-01-09T22:01:10Z".parse().ok().unwrap_or_default();
        for text in [
            "2026-01-09T22:01:10Z",
            "2026-01-09 22:01:10Z",
            "2026-01-09T22:01:10+00:00",
            "2026-01-09 22:01:10+00:00",
            "2026-01-09T23:01:10+01:00",
            "2026-01-09T22:01:10+0000",
            "2026-01-09T22:01:10",
            "2026-01-09 22:01:10 UTC",
            " 2026-01-09T22:01:10.000000Z ",
            "2026-01-09T22:01:10.000000",
        ] {
            assert_eq!(timestamp(text), Some(expected), "{text}");
        }
        assert_eq!(
            timestamp("2026-01-09T22:01:10.123456Z").map(Timestamp::as_microsecond),
            Some(expected.as_microsecond() + 123_456)
        );
    }

    /// .NET writes seven digits and Go nine; RFC 3339 permits any number.
    #[test]
    fn a_fraction_of_any_length_is_read_and_cut_to_nanoseconds() {
        let nanosecond = |text: &str| timestamp(text).map(Timestamp::subsec_nanosecond);
        let long = "9".repeat(300);
        for (text, expected) in [
            ("2026-01-09T22:01:10.1Z", 100_000_000),
            ("2026-01-09T22:01:10.1234567Z", 123_456_700),
            ("2026-01-09T22:01:10.123456789Z", 123_456_789),
            ("2026-01-09T22:01:10.1234567890Z", 123_456_789),
            ("2026-01-09T22:01:10.1234567899+02:00", 123_456_789),
            ("2026-01-09T22:01:10.123456789999999+0000", 123_456_789),
            ("2026-01-09 22:01:10.000000000001 UTC", 0),
            (&format!("2026-01-09T22:01:10.{long}Z"), 999_999_999),
            (&format!("2026-01-09T22:01:10.{long}"), 999_999_999),
        ] {
            assert_eq!(nanosecond(text), Some(expected), "{text}");
        }
        for text in ["2026-01-09T22:01:10.Z", "2026-01-09T22:01:10.12345678901x"] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn whatever_rfc_3339_permits_is_read() {
        let expected = timestamp("2016-12-31T23:59:59Z");
        assert!(expected.is_some());
        for text in [
            "2016-12-31t23:59:59z",
            "2016-12-31T23:59:59-00:00",
            "2016-12-31T18:29:59-05:30",
            // A leap second.
            "2016-12-31T23:59:60Z",
            "2016-12-31T15:59:60-08:00",
        ] {
            assert_eq!(timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "never",
            "2026-01-09",
            "22:01:10",
            "2026-13-09T22:01:10Z",
            "0",
            "null",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn the_year_one_is_never() {
        for (text, never) in [
            ("0001-01-01T00:00:00Z", true),
            ("0001-01-01T00:00:00-08:00", true),
            ("0001-01-01T00:00:00+14:00", true),
            ("0001-01-01 00:00:00", true),
            ("0002-01-01T00:00:00Z", false),
            ("2026-01-09T22:01:10Z", false),
        ] {
            assert_eq!(timestamp(text).map(is_never), Some(never), "{text}");
        }
    }

    #[test]
    fn a_url_is_left_no_character_with_a_meaning() {
        assert_eq!(
            encoded("contains(serialNumber,'O''X') & é"),
            "contains%28serialNumber%2C%27O%27%27X%27%29%20%26%20%C3%A9"
        );
    }

    #[test]
    fn a_uuid_is_the_same_with_dashes_or_without_in_either_case() {
        assert!(same_uuid(
            "1F973497-36CF-4614-A94F-624E705841AD",
            " 1f97349736cf4614a94f624e705841ad"
        ));
        assert!(!same_uuid("1F973497", "1F973498") && !same_uuid("HQ", ""));
    }

    #[test]
    fn a_profile_counts_by_its_uuid_in_any_spelling_or_where_any_does() {
        let expected = ["88FC4E37-8B4B-4E3B-9E7C-5E0C9B7E5E6B".to_owned()];
        let ours = "88fc4e378b4b4e3b9e7c5e0c9b7e5e6b";
        assert_eq!(unexpected_profile(ours, &expected), None);
        assert_eq!(unexpected_profile("other", &[]), None);
        for (uuid, sentence) in [
            ("other", "The profile on it is other."),
            ("", "The profile on it is not named."),
        ] {
            assert_eq!(
                unexpected_profile(uuid, &expected).as_deref(),
                Some(sentence)
            );
        }
    }
}
