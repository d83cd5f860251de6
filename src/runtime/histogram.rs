//! How often something took how long, counted by anybody at any time: nobody waits for a reader.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper ends of the classes, in milliseconds. The last class, without an end, is not listed.
const ENDS_MS: [u64; 14] = [
    1, 2, 5, 10, 20, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 30_000,
];

/// Counts durations by class.
#[derive(Debug, Default)]
pub struct Histogram {
    classes: [AtomicU64; ENDS_MS.len()],
    longer: AtomicU64,
    micros: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// The upper end of each class in seconds, with how many took at most so long.
    pub at_most: Vec<(f64, u64)>,
    pub count: u64,
    /// All together, in seconds.
    pub sum: f64,
}

impl Histogram {
    pub fn count(&self, took: Duration) {
        let class = ENDS_MS
            .iter()
            .zip(&self.classes)
            .find(|(end, _)| took <= Duration::from_millis(**end))
            .map_or(&self.longer, |(_, class)| class);
        class.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn counted(&self) -> Counted {
        let mut count = 0;
        let at_most = ENDS_MS
            .iter()
            .zip(&self.classes)
            .map(|(end, class)| {
                count += class.load(Ordering::Relaxed);
                (Duration::from_millis(*end).as_secs_f64(), count)
            })
            .collect();
        Counted {
            at_most,
            count: count + self.longer.load(Ordering::Relaxed),
            sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn each_duration_is_in_its_class_and_in_all_longer_ones() {
        let histogram = Histogram::default();
        for ms in [0, 1, 3, 20, 21, 60_000] {
            histogram.count(Duration::from_millis(ms));
        }
        let counted = histogram.counted();
        let counts: Vec<u64> = counted.at_most.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts[..6], [2, 2, 3, 3, 4, 5]);
        assert_eq!((counted.at_most[0].0, counts[13]), (0.001, 5));
        assert_eq!((counted.count, counted.sum), (6, 60.045));
    }
}
