//! Times as they are given to commands: RFC 3339, a date, or how long ago.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::config::units;

/// Reads a time given to a command.
///
/// # Errors
/// A sentence with the three forms.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    moment_at(text, Timestamp::now(), &TimeZone::system())
}

fn moment_at(text: &str, now: Timestamp, here: &TimeZone) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    // `Date` alone would take a whole date and time and drop the time.
    if text.len() == 10
        && let Ok(date) = text.parse::<Date>()
        && let Ok(midnight) = date.to_zoned_datetime(here.clone())
    {
        return Ok(midnight.timestamp());
    }
    let ago = units::duration(text).and_then(|ago| now.checked_sub(ago).ok());
    ago.ok_or_else(|| {
        "use RFC 3339 (2026-11-23T09:41:07Z), a date (2026-11-23), or how long ago (2h)".to_owned()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_time_has_three_forms() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let here = TimeZone::fixed(jiff::tz::offset(1));
        for (text, expected) in [
            ("2026-11-23T09:41:07Z", "2026-11-23T09:41:07Z"),
            ("2026-11-23T09:41:07.5+01:00", "2026-11-23T08:41:07.5Z"),
            ("2026-11-23", "2026-11-22T23:00:00Z"),
            ("2h", "2026-11-23T10:00:00Z"),
            ("90d", "2026-08-25T12:00:00Z"),
        ] {
            assert_eq!(
                moment_at(text, now, &here).unwrap(),
                expected.parse::<Timestamp>().unwrap(),
                "{text}"
            );
        }
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-23T09:41:07",
            "2 h",
            "-2h",
            "99999999d",
            "20261123",
        ] {
            assert!(moment_at(text, now, &here).is_err(), "{text}");
        }
    }
}
