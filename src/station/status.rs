//! What a lane shows, as a state: newest wins, so a slow lamp never lags behind the station.

use crate::{reason::Signal, runtime::clock::Boot};

/// One lane as its lamps must show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// Counts the scans that took the lane over; 0: none since the start. A new number darkens the lane at once.
    pub scan: u64,
    /// When the newest of them was scanned.
    pub scanned_at: Boot,
    /// The answer to the newest scan, once it is safe on disk.
    pub answer: Option<Signal>,
    /// Counts the alarms: news of an earlier box.
    pub alarms: u64,
    /// The station can answer no scan now.
    pub unable: bool,
}

impl LaneStatus {
    /// A dark lane at the start.
    pub const fn at_start(now: Boot) -> Self {
        Self {
            scan: 0,
            scanned_at: now,
            answer: None,
            alarms: 0,
            unable: false,
        }
    }
}
