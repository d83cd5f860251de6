//! A set of row numbers, one bit for each. Pure.

const BITS: u64 = 64;

/// Row numbers are small and dense: a million of them take 125 KB.
#[derive(Clone, Debug, Default)]
pub(super) struct Bitmap {
    words: Vec<u64>,
    count: u64,
}

impl Bitmap {
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn contains(&self, row: u32) -> bool {
        let (word, bit) = place(row);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(super) fn insert(&mut self, row: u32) {
        let (word, bit) = place(row);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            self.count += u64::from(*word & bit == 0);
            *word |= bit;
        }
    }

    pub(super) fn remove(&mut self, row: u32) {
        let (word, bit) = place(row);
        if let Some(word) = self.words.get_mut(word) {
            self.count -= u64::from(*word & bit != 0);
            *word &= !bit;
        }
    }

    /// Some of the rows that are here and not in `other`, at most `most`.
    pub(super) fn without(&self, other: &Self, most: usize) -> Vec<u32> {
        let rows = self.words.iter().zip(0_u32..).flat_map(|(word, place)| {
            (0..u64::BITS)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| place * u64::BITS + bit)
        });
        rows.filter(|row| !other.contains(*row))
            .take(most)
            .collect()
    }
}

fn place(row: u32) -> (usize, u64) {
    let row = u64::from(row);
    (
        usize::try_from(row / BITS).unwrap_or(usize::MAX),
        1 << (row % BITS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_once_and_the_difference_is_found() {
        let mut held = Bitmap::default();
        for row in [1, 63, 64, 65, 1_000_000, 64] {
            held.insert(row);
        }
        assert_eq!(held.count(), 5);
        let mut seen = Bitmap::default();
        seen.insert(64);
        seen.insert(7);
        assert_eq!(held.without(&seen, 10), [1, 63, 65, 1_000_000]);
        assert_eq!(held.without(&seen, 2), [1, 63]);
        held.remove(63);
        held.remove(63);
        held.remove(2_000_000);
        assert_eq!((held.count(), held.contains(63)), (4, false));
        assert!(held.contains(1_000_000) && !held.contains(999_999));
    }
}
