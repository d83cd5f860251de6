//! Reads what services write loosely: timestamps in their several spellings, and texts that a person will see.

use jiff::{Timestamp, civil, tz::TimeZone};

/// A service's text as it may be shown.
pub use crate::runtime::visible::word as shown;

/// A moment as services write it: `T` or a space between date and time, `Z`, an offset, or none at all (then UTC), any fraction.
pub fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let text = text.strip_suffix("UTC").map_or(text, str::trim_end);
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    // Without an offset. (A date alone is not a moment.)
    let has_time = text.contains(':');
    let civil = text.parse::<civil::DateTime>().ok().filter(|_| has_time)?;
    TimeZone::UTC.to_timestamp(civil).ok()
}

/// An id in one spelling. Services write a uuid with dashes or without, in either case.
pub fn bare_uuid(text: &str) -> String {
    text.trim().replace('-', "").to_ascii_lowercase()
}

/// Do these two write the same id?
pub fn same_uuid(one: &str, other: &str) -> bool {
    bare_uuid(one) == bare_uuid(other)
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
    fn a_uuid_is_the_same_with_dashes_or_without_in_either_case() {
        assert!(same_uuid(
            "1F973497-36CF-4614-A94F-624E705841AD",
            " 1f97349736cf4614a94f624e705841ad"
        ));
        assert!(!same_uuid("1F973497", "1F973498") && !same_uuid("HQ", ""));
    }
}
