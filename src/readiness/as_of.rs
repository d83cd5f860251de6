//! How old an MDM's own word may be, and what is dated ahead: by the dates of its replies and never by our clock. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::http;
use crate::runtime::times;

/// Why an as-of cannot be trusted; `None`: it can, by every one of the dates.
pub(super) fn doubt(
    as_of: Option<Timestamp>,
    dates: impl IntoIterator<Item = Timestamp>,
    most: Duration,
) -> Option<Doubt> {
    let Some(as_of) = as_of else {
        return Some(Doubt::Never);
    };
    let most = SignedDuration::try_from(most).unwrap_or(SignedDuration::MAX);
    dates.into_iter().find_map(|date| {
        let age = date.duration_since(as_of);
        if age > most {
            Some(Doubt::TooOld(as_of, age))
        } else {
            http::in_future(as_of, date).then_some(Doubt::Ahead(as_of))
        }
    })
}

/// The sentence about the first of these moments that lies in the future at `now`, or that nothing tells not to.
pub(super) fn dated_ahead<const N: usize>(
    moments: [(&str, Option<Timestamp>); N],
    now: Option<Timestamp>,
) -> Option<String> {
    let is_ahead = |moment: &Timestamp| now.is_none_or(|now| http::in_future(*moment, now));
    moments.into_iter().find_map(|(what, moment)| {
        let moment = times::moment(moment.filter(is_ahead)?);
        Some(format!("The {what} is dated {moment}, in the future."))
    })
}

/// What is wrong with an as-of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// There is none.
    Never,
    TooOld(Timestamp, SignedDuration),
    /// It lies in the future.
    Ahead(Timestamp),
}

impl Doubt {
    /// A sentence. `event`: what the MDM calls it ("Last fetch"); `whose`: the token, in quotes.
    pub(super) fn sentence(self, event: &str, whose: &str) -> String {
        match self {
            Self::Never => {
                let event = event.to_lowercase();
                format!("The ADE token {whose} names no {event}.")
            }
            Self::TooOld(at, age) => format!(
                "{event} {} by {whose}, {} ago.",
                times::moment(at),
                times::length(age)
            ),
            Self::Ahead(at) => {
                format!(
                    "{event} {} by {whose} lies in the future.",
                    times::moment(at)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap_or_default()
    }

    #[test]
    fn an_as_of_is_trusted_up_to_its_age_and_a_little_ahead() {
        let date = at("2026-11-23T12:00:00Z");
        for (as_of, doubted) in [
            ("2026-11-23T11:00:00Z", None),
            (
                "2026-11-23T10:59:59Z",
                Some(Doubt::TooOld(
                    at("2026-11-23T10:59:59Z"),
                    SignedDuration::from_secs(3601),
                )),
            ),
            ("2026-11-23T12:05:00Z", None),
            (
                "2026-11-23T12:05:01Z",
                Some(Doubt::Ahead(at("2026-11-23T12:05:01Z"))),
            ),
        ] {
            assert_eq!(doubt(Some(at(as_of)), [date], HOUR), doubted, "{as_of}");
        }
        assert_eq!(doubt(None, [date], HOUR), Some(Doubt::Never));
        let later = at("2026-11-23T13:30:00Z");
        assert!(
            doubt(Some(date), [date, later], HOUR).is_some(),
            "by any of the dates"
        );
        assert_eq!(
            doubt(Some(Timestamp::MIN), [Timestamp::MAX], Duration::MAX),
            None
        );
    }

    #[test]
    fn the_first_moment_ahead_is_named_and_a_little_ahead_is_none() {
        let now = at("2026-11-23T12:00:00Z");
        let ahead = |first: &str, second: &str, now| {
            dated_ahead(
                [("first", Some(at(first))), ("second", Some(at(second)))],
                now,
            )
        };
        let (past, near, far) = (
            "2026-11-23T10:00:00Z",
            "2026-11-23T12:05:00Z",
            "2026-11-23T12:05:01Z",
        );
        assert_eq!(ahead(past, near, Some(now)), None);
        assert_eq!(dated_ahead([("first", None)], None), None);
        let said = ahead(near, far, Some(now));
        let sentence = "The second is dated 2026-11-23 12:05 UTC, in the future.";
        assert_eq!(said.as_deref(), Some(sentence));
        let said = ahead(past, far, None).unwrap_or_default();
        assert!(said.starts_with("The first is"), "without a date: {said}");
    }

    #[test]
    fn the_sentence_names_what_and_whose() {
        let doubt = Doubt::TooOld(at("2026-11-23T10:00:00Z"), SignedDuration::from_hours(30));
        assert_eq!(
            doubt.sentence("Last sync", "\"HQ\""),
            "Last sync 2026-11-23 10:00 UTC by \"HQ\", 30 h ago."
        );
        assert_eq!(
            Doubt::Never.sentence("Last sync", "\"HQ\""),
            "The ADE token \"HQ\" names no last sync."
        );
    }
}
