//! Two clocks: the boot-time clock that counts a sleeping machine too, and the wall clock with the kernel's word on whether it is right.

use std::{path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// `seconds` from outside as a time, at most `most`: negative ones, and what is no number, are none.
///
/// Every number that a service or a file names goes through here or through [`later`]: the sums of the standard library panic on some.
pub fn lasting(seconds: f64, most: Duration) -> Duration {
    if seconds.is_nan() || seconds <= 0.0 {
        Duration::ZERO
    } else {
        Duration::try_from_secs_f64(seconds).map_or(most, |time| time.min(most))
    }
}

/// `by` after `moment`, at most the end of the calendar.
pub fn later(moment: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| moment.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

/// A reading of the boot-time clock (`CLOCK_BOOTTIME`): never set back, and it goes on while the machine sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot(Duration);

impl Boot {
    /// The clock now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        Self(Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ))
    }

    /// A reading made by hand, for the pure parts' tests.
    pub const fn from_duration(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Milliseconds since the machine was started.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// This moment and `more`.
    pub fn plus(self, more: Duration) -> Self {
        Self(self.0.saturating_add(more))
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Boot-time clock, for deadlines.
    pub boot: Boot,
    /// Wall clock, for records.
    pub wall: Timestamp,
}

impl Moment {
    /// Both clocks now.
    pub fn now() -> Self {
        Self {
            boot: Boot::now(),
            wall: Timestamp::now(),
        }
    }
}

/// Who says whether the wall clock is synchronised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockWatch {
    /// The kernel (`adjtimex`), or systemd-timesyncd's flag file.
    #[default]
    Kernel,
    /// A fixed answer, for tests of an unsynchronised station.
    Fixed {
        /// The answer.
        synced: bool,
    },
}

impl ClockWatch {
    /// Is the wall clock synchronised?
    pub fn synced(self) -> bool {
        match self {
            Self::Kernel => {
                kernel_synced() || Path::new("/run/systemd/timesync/synchronized").exists()
            }
            Self::Fixed { synced } => synced,
        }
    }
}

/// The kernel lets its error estimate grow to 16 s when nobody disciplines the clock; below that somebody does.
/// (The flag `STA_UNSYNC` alone would call a clock kept by chrony without RTC sync unsynchronised.)
#[cfg(target_pointer_width = "64")]
fn kernel_synced() -> bool {
    use rtime_clock::adjtime::{Timex, adjtimex};

    let mut timex = Timex::new();
    adjtimex(&mut timex).is_ok() && timex.0.maxerror < 16_000_000
}

/// On a 32-bit Pi only systemd-timesyncd's flag file tells: rtime-clock 0.15 does not compile there (it takes `time_t` for
/// 64 bits), and no other crate reads the kernel's estimate without `unsafe`.
#[cfg(not(target_pointer_width = "64"))]
const fn kernel_synced() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_from_outside_is_longer_than_it_may_be_or_ends_anything() {
        const DAY: Duration = Duration::from_hours(24);
        for (seconds, expected) in [
            (3600.0, Duration::from_hours(1)),
            (0.5, Duration::from_millis(500)),
            (0.0, Duration::ZERO),
            (-0.0, Duration::ZERO),
            (-1.0, Duration::ZERO),
            (f64::MIN, Duration::ZERO),
            (f64::NEG_INFINITY, Duration::ZERO),
            (f64::NAN, Duration::ZERO),
            (86_401.0, DAY),
            (9_223_372_036_854_775_808.0, DAY),
            (18_446_744_073_709_551_615.0, DAY),
            (1e308, DAY),
            (f64::INFINITY, DAY),
        ] {
            assert_eq!(lasting(seconds, DAY), expected, "{seconds}");
        }
    }

    #[test]
    fn no_moment_is_later_than_the_calendar() {
        let start = Timestamp::UNIX_EPOCH;
        assert_eq!(later(start, Duration::from_secs(1)).as_second(), 1);
        for by in [
            Duration::MAX,
            Duration::from_secs(u64::MAX),
            Duration::from_secs(1 << 63),
        ] {
            assert_eq!(
                (later(start, by), later(Timestamp::MIN, by)),
                (Timestamp::MAX, Timestamp::MAX)
            );
        }
        assert_eq!(
            later(Timestamp::MAX, Duration::from_nanos(1)),
            Timestamp::MAX
        );
        assert_eq!(
            Boot::from_duration(Duration::MAX).plus(Duration::MAX),
            Boot::from_duration(Duration::MAX)
        );
    }
}
