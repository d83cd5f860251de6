//! Durations (`"1500ms"`, `"90d"`) and sizes (`"1GiB"`) as they are written in the config. Pure.

use std::time::Duration;

const MILLISECONDS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const BYTES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a whole number with one of the units `ms`, `s`, `m`, `h`, `d`. `None`: not of this form, or too large.
pub fn duration(text: &str) -> Option<Duration> {
    with_unit(text, &MILLISECONDS).map(Duration::from_millis)
}

/// Writes a duration in the largest unit that says it exactly.
pub fn duration_text(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    in_largest_unit(milliseconds, &MILLISECONDS)
}

/// Reads a whole number with one of the units `B`, `KiB`, `MiB`, `GiB`, `TiB` (or `kB`, `MB`, `GB`, `TB`: thousands).
/// `None`: not of this form, or too large.
pub fn size(text: &str) -> Option<u64> {
    with_unit(text, &BYTES)
}

/// Writes a size in bytes in the largest unit that says it exactly.
pub fn size_text(bytes: u64) -> String {
    in_largest_unit(bytes, &BYTES)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) =
        text.split_at_checked(text.find(|character: char| !character.is_ascii_digit())?)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn in_largest_unit(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| amount >= *factor && amount.is_multiple_of(*factor);
    let (name, factor) = units
        .iter()
        .filter(fits)
        .max_by_key(|(_, factor)| *factor)
        .or(units.first())
        .copied()
        .unwrap_or(("", 1));
    format!("{}{name}", amount / factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_one_form() {
        for (text, milliseconds) in [
            ("1500ms", 1_500),
            ("2s", 2_000),
            ("15m", 900_000),
            ("24h", 86_400_000),
            ("90d", 7_776_000_000),
            ("0s", 0),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "5",
            "1.5s",
            "-1s",
            "+1s",
            "1 s",
            " 1s",
            "1s ",
            "1S",
            "1min",
            "1m30s",
            "١s",
            "99999999999999999999d",
            "999999999999999d",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_have_one_form() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("1GiB", 1 << 30),
            ("1GB", 1_000_000_000),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "1", "1G", "1gib", "1.5GiB", "-1B", "99999999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(amount in any::<u32>(), unit in 0_usize..5) {
            let milliseconds = u64::from(amount) * MILLISECONDS.get(unit).unwrap().1;
            prop_assert_eq!(duration(&duration_text(Duration::from_millis(milliseconds))), Some(Duration::from_millis(milliseconds)));
            prop_assert_eq!(size(&size_text(milliseconds)), Some(milliseconds));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,24}") {
            let _ = (duration(&text), size(&text));
        }
    }
}
