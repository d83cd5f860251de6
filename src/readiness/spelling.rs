//! Reads what services write loosely: timestamps in their several spellings, and texts that a person will see.

use jiff::{Timestamp, civil, tz::TimeZone};

use super::http::CLOCK_TOLERANCE;

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

/// Is this moment of a reply later than clocks that differ a little can explain, by the reply's own `Date`?
pub fn in_future(moment: Timestamp, date: Timestamp) -> bool {
    date.checked_add(CLOCK_TOLERANCE)
        .is_ok_and(|latest| moment > latest)
}

/// Do these two write the same id? Services write a uuid with dashes or without, in either case.
pub fn same_uuid(one: &str, other: &str) -> bool {
    let bare = |text: &str| text.trim().replace('-', "").to_ascii_lowercase();
    bare(one) == bare(other)
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
    fn the_future_begins_after_five_minutes_and_no_calendar_ends_in_a_panic() {
        let date: Timestamp = "2026-01-09T22:01:10Z".parse().unwrap_or_default();
        for (moment, future) in [
            ("2026-01-09T22:06:10Z", false),
            ("2026-01-09T22:06:10.000000001Z", true),
            ("2020-01-01T00:00:00Z", false),
            ("9999-12-30T22:00:00Z", true),
            ("-009999-01-02T01:59:59Z", false),
        ] {
            assert_eq!(
                timestamp(moment).map(|moment| in_future(moment, date)),
                Some(future),
                "{moment}"
            );
        }
        assert!(
            in_future(Timestamp::MAX, Timestamp::MIN) && !in_future(Timestamp::MIN, Timestamp::MAX)
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
}
