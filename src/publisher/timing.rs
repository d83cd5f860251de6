//! How long the publisher waits for what. The defaults are the product's; tests are quicker.

use std::time::Duration;

/// All of its times.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub reconnect: ReconnectTimes,
    pub silence: SilenceTimes,
    pub rows: RowTimes,
    pub health: HealthTimes,
    pub takeovers: TakeoverTimes,
    /// How long the first row of a start waits for what the broker has retained of this station.
    pub kept: Duration,
    /// Somebody else's `offline` is answered with `online` after this time.
    pub say_online_again: Duration,
    /// Clean stop: how long to wait for outstanding PUBACKs.
    pub stop: Duration,
}

/// From a lost link to the next.
#[derive(Clone, Copy, Debug)]
pub struct ReconnectTimes {
    /// A lost link is tried again within this time, a failed try ..
    pub first: Duration,
    /// .. within this time ..
    pub next: Duration,
    /// .. until the broker has been away for this long. Then the time doubles ..
    pub often: Duration,
    /// .. up to this.
    pub most: Duration,
    /// A link that lasted this long ends an outage.
    pub stable: Duration,
    /// Name, connection, TLS and CONNACK together get this long at least ..
    pub connect_least: Duration,
    /// .. and this long at most.
    pub connect_most: Duration,
}

/// When a silent link is given up.
#[derive(Clone, Copy, Debug)]
pub struct SilenceTimes {
    /// A message without its PUBACK for this long.
    pub unacknowledged: Duration,
    /// Nothing heard for twice the keep-alive and this.
    pub grace: Duration,
}

/// When a row that the broker did not take is offered again.
#[derive(Clone, Copy, Debug)]
pub struct RowTimes {
    /// First delay after a refusal.
    pub first: Duration,
    /// Longest of these delays.
    pub most: Duration,
    /// While nobody listens, one row is offered this often.
    pub probe: Duration,
    /// Rows set aside are offered again this often.
    pub aside: Duration,
}

/// How often health goes out.
#[derive(Clone, Copy, Debug)]
pub struct HealthTimes {
    /// At most once in this time when it changes ..
    pub least: Duration,
    /// .. and at least once in this time.
    pub most: Duration,
}

/// The alarm that a second station has this one's name.
#[derive(Clone, Copy, Debug)]
pub struct TakeoverTimes {
    /// Two sessions taken over within this time raise it; a link that lasts this long ends it.
    pub quiet: Duration,
    /// Back-off under it.
    pub backoff: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            reconnect: ReconnectTimes {
                first: Duration::from_millis(500),
                next: Duration::from_secs(4),
                often: Duration::from_secs(120),
                most: Duration::from_secs(60),
                stable: Duration::from_secs(60),
                connect_least: Duration::from_secs(2),
                connect_most: Duration::from_secs(10),
            },
            silence: SilenceTimes {
                unacknowledged: Duration::from_secs(60),
                grace: Duration::from_secs(5),
            },
            rows: RowTimes {
                first: Duration::from_secs(1),
                most: Duration::from_secs(120),
                probe: Duration::from_secs(60),
                aside: Duration::from_secs(3_600),
            },
            health: HealthTimes {
                least: Duration::from_secs(5),
                most: Duration::from_secs(60),
            },
            takeovers: TakeoverTimes {
                quiet: Duration::from_secs(600),
                backoff: Duration::from_secs(300),
            },
            kept: Duration::from_secs(2),
            say_online_again: Duration::from_secs(1),
            stop: Duration::from_secs(2),
        }
    }
}
