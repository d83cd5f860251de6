//! Moments and lengths of time as people read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// "2026-01-09 22:01 UTC".
pub fn moment(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// "45 s", "5 min", "30 h", "3 days": without a sign, to the nearest unit below a day.
pub fn length(length: SignedDuration) -> String {
    match length.as_secs().unsigned_abs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", (seconds + 30) / 60),
        seconds @ ..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// As [`length`].
pub fn lasted(time: Duration) -> String {
    length(SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_given_in_the_unit_that_fits() {
        for (seconds, text) in [
            (1, "1 s"),
            (-45, "45 s"),
            (301, "5 min"),
            (7_199, "120 min"),
            (71_999, "20 h"),
            (172_799, "48 h"),
            (172_800, "2 days"),
            (3 * 86_400 + 6 * 3_600, "3 days"),
        ] {
            assert_eq!(length(SignedDuration::from_secs(seconds)), text);
        }
        assert!(length(SignedDuration::MIN).ends_with(" days"));
    }
}
