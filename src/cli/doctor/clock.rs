//! The wall clock, by the kernel and by the services' own clocks.

use jiff::SignedDuration;

use super::{Line, State};
use crate::{
    readiness::http::CLOCK_TOLERANCE,
    runtime::{name::Name, times},
};

/// A clock this far off is worth a word.
const OFF: SignedDuration = SignedDuration::from_secs(30);

pub(super) fn clock(synced: bool, ahead: &[(Name, SignedDuration)]) -> Line {
    const PART: &str = "clock";
    const REMEDY: &str = "let the station reach a time server (UDP port 123): `timedatectl set-ntp true`, `timedatectl timesync-status`";
    let kept = if synced {
        "kept right by a time server"
    } else {
        "not synchronised: nobody keeps it right"
    };
    let worst = ahead.iter().max_by_key(|(_, ahead)| ahead.abs());
    let off = worst.map_or(SignedDuration::ZERO, |(_, ahead)| ahead.abs());
    let finding = match worst {
        Some((name, ahead)) if off > OFF => {
            format!(
                "{kept}; {} {} what {name}'s service says",
                times::length(off),
                if ahead.is_positive() {
                    "behind"
                } else {
                    "ahead of"
                }
            )
        }
        Some(_) => format!("{kept}; agrees with the services' clocks"),
        None => format!("{kept}; no service stated its time"),
    };
    if off.unsigned_abs() > CLOCK_TOLERANCE {
        Line::new(PART, State::Fail, finding, REMEDY)
    } else if off > OFF || !synced {
        Line::new(PART, State::Warn, finding, REMEDY)
    } else {
        Line::ok(PART, finding)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_clock_fails_when_it_is_minutes_off_and_warns_when_nobody_keeps_it() {
        let ahead = |seconds| {
            vec![(
                Name::new("kandji").unwrap(),
                SignedDuration::from_secs(seconds),
            )]
        };
        for (synced, ahead, state, words) in [
            (true, ahead(2), State::Ok, "agrees"),
            (true, vec![], State::Ok, "no service stated"),
            (false, ahead(0), State::Warn, "nobody keeps it right"),
            (true, ahead(45), State::Warn, "45 s behind what kandji"),
            (true, ahead(-301), State::Fail, "5 min ahead of what kandji"),
        ] {
            let line = clock(synced, &ahead);
            assert!(
                line.state == state && line.finding.contains(words),
                "{line:?}"
            );
            assert_eq!(line.remedy.is_empty(), state == State::Ok);
        }
    }
}
