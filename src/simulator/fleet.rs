//! Stock of any size: each box is made from its number, so a simulator lists a million of them and stores a few bits for each.

use std::{collections::HashMap, ops::Range, sync::LazyLock, time::Duration};

use jiff::Timestamp;

use super::stock::{Business, DEMO, DemoBox, Dep, Mdm};

/// The most boxes in a fleet.
pub const MOST: u32 = 1_000_000;

/// What stands in a generated serial number: no vowels, and no letter that looks like a digit. The letters come last.
const CHARACTERS: &[u8; 28] = b"0123456789CDFGHJKLMNPQRTVWXY";
const LETTERS: u64 = 18;
const DIGITS: u64 = 10;
/// Characters after the first, which is a letter.
const PLACES: u32 = 9;
const SERIALS: u128 = LETTERS as u128 * 28_u128.pow(PLACES);
/// Numbers that follow each other have serial numbers that do not: this far apart among all [`SERIALS`].
const STEP: u128 = 117_681_215_898_599;
const FIRST: u128 = 59_819_759_117_189;
/// The inverse of [`STEP`]: it leads from a serial number back to the number.
const BACK: u128 = 150_457_937_059_799;

/// The stories of so many boxes in a row come again for the next ones.
const ROUND: u32 = 500;
/// Of a round: the boxes that are enrolled.
const ENROLLED: usize = 60;
/// Of a round: the boxes of each other story that is not [`HEALTHY`].
const EACH: usize = 2;

const HEALTHY: &str = "assigned";
/// Besides the demo's stories: the MDM, too, says that the profile was removed.
const REMOVED_EVERYWHERE: DemoBox = DemoBox {
    serial: "",
    story: "the profile was removed, and the MDM says so",
    expected: "profile_removed",
    model: "MacBook Air 13\" (M4, 2025)",
    family: "Mac",
    mdm: Mdm::Removed,
    dep: Dep::Removed,
    business: Business::Ours,
};

/// The serial number of the box of that number. It looks like Apple's random ones, and no two boxes have the same.
pub fn serial(number: u32) -> String {
    let mut rest = u64::try_from((u128::from(number) * STEP + FIRST) % SERIALS).unwrap_or_default();
    let mut text = String::with_capacity(10);
    for place in (0..=PLACES).rev() {
        let size = 28_u64.pow(place);
        let digit = rest / size + if place == PLACES { DIGITS } else { 0 };
        let character = usize::try_from(digit)
            .ok()
            .and_then(|digit| CHARACTERS.get(digit));
        text.push(char::from(character.copied().unwrap_or(b'0')));
        rest %= size;
    }
    text
}

/// The number of the box of that serial number; `None`: no fleet has it.
pub fn number(serial: &str) -> Option<u32> {
    let mut characters = serial.bytes().map(|byte| {
        let byte = byte.to_ascii_uppercase();
        CHARACTERS
            .iter()
            .position(|character| *character == byte)
            .and_then(|digit| u64::try_from(digit).ok())
    });
    let first = characters.next()??.checked_sub(DIGITS)?;
    let place =
        characters.try_fold(first, |sum, digit| sum.checked_mul(28)?.checked_add(digit?))?;
    let place = u128::from(place);
    if serial.len() != 10 || place >= SERIALS {
        return None;
    }
    u32::try_from((place + SERIALS - FIRST) * BACK % SERIALS).ok()
}

/// What happened to the box of that number, for every service.
pub fn story(number: u32) -> &'static DemoBox {
    static ROUND_OF_STORIES: LazyLock<Vec<&DemoBox>> =
        LazyLock::new(|| (0..ROUND).map(told_in_round).collect());

    let place = usize::try_from(number % ROUND).unwrap_or_default();
    ROUND_OF_STORIES
        .get(place)
        .copied()
        .unwrap_or(&REMOVED_EVERYWHERE)
}

fn told_in_round(number: u32) -> &'static DemoBox {
    let told = || DEMO.iter().filter(|demo| !matches!(demo.mdm, Mdm::Own(_)));
    let mut others = told()
        .chain([&REMOVED_EVERYWHERE])
        .filter(|demo| demo.expected != HEALTHY && demo.mdm != Mdm::Enrolled)
        // What is not ours is in no service's list.
        .filter(|demo| (demo.mdm, demo.business) != (Mdm::None, Business::None));
    let healthy: Vec<&DemoBox> = told().filter(|demo| demo.expected == HEALTHY).collect();
    // Spread over the round: 307 has no divisor in common with it.
    let place = usize::try_from(number * 307 % ROUND).unwrap_or_default();
    let is_enrolled = usize::try_from(ROUND).is_ok_and(|round| place + ENROLLED >= round);
    let enrolled = || told().find(|demo| is_enrolled && demo.mdm == Mdm::Enrolled);
    let other = others.nth(place / EACH).or_else(enrolled);
    let healthy = || healthy.get(place % healthy.len().max(1)).copied();
    other.or_else(healthy).unwrap_or(&REMOVED_EVERYWHERE)
}

/// The story of a serial number that the demo or a fleet has.
pub(crate) fn told(serial: &str) -> Option<&'static DemoBox> {
    let of_demo = DEMO.iter().find(|demo| demo.serial == serial);
    of_demo.or_else(|| Some(story(number(serial).filter(|number| *number < MOST)?)))
}

/// What one service holds of a box.
pub trait Held: Clone {
    /// The service's lists that a box can be on.
    const LISTS: usize;

    /// What it holds where nothing but the story happened, with its times counted back from `at`; `None`: it knows nothing of the box.
    fn of(story: &DemoBox, serial: &str, at: Timestamp) -> Option<Self>;

    fn is_on(&self, list: usize) -> bool;
}

/// Puts a box in: a generated one in its place, another one in the place of those of the same serial number in `others`.
pub(crate) fn put<T: Held>(
    fleet: &mut Fleet<T>,
    others: &mut Vec<T>,
    serial_of: fn(&T) -> &str,
    held: T,
) {
    let serial = serial_of(&held).to_owned();
    if fleet.has(&serial) {
        return fleet.put(&serial, Some(held));
    }
    let is_same = |other: &T| serial_of(other) == serial;
    let place = others.iter().position(is_same);
    others.retain(|other| !is_same(other));
    others.insert(place.unwrap_or(others.len()), held);
}

impl Held for Dep {
    const LISTS: usize = 1;

    fn of(story: &DemoBox, _: &str, _: Timestamp) -> Option<Self> {
        Some(story.dep)
    }

    fn is_on(&self, _: usize) -> bool {
        *self != Self::NotAccessible
    }
}

/// The generated boxes of one service.
#[derive(Clone, Debug)]
pub struct Fleet<T> {
    boxes: u32,
    made_at: Timestamp,
    /// For each list one bit for each box.
    lists: Vec<Vec<u64>>,
    /// What was put in the place of what the story tells; `None`: the box is gone.
    changed: HashMap<u32, Option<T>>,
}

impl<T: Held> Default for Fleet<T> {
    fn default() -> Self {
        Self::of(0)
    }
}

impl<T: Held> Fleet<T> {
    /// So many boxes, [`MOST`] at most.
    pub fn of(boxes: u32) -> Self {
        let (boxes, made_at) = (boxes.min(MOST), Timestamp::now());
        let round: Vec<Option<T>> = (0..ROUND)
            .map(|number| T::of(story(number), "", made_at))
            .collect();
        let lists = (0..T::LISTS).map(|list| {
            let on = |held: &Option<T>| held.as_ref().is_some_and(|held| held.is_on(list));
            let on: Vec<bool> = round.iter().map(on).collect();
            let mut bits = vec![0; words(boxes)];
            for (number, _) in (0..boxes).zip(on.iter().cycle()).filter(|(_, on)| **on) {
                set(&mut bits, number, true);
            }
            bits
        });
        Self {
            boxes,
            made_at,
            lists: lists.collect(),
            changed: HashMap::new(),
        }
    }

    /// How many boxes are on a list.
    pub fn count(&self, list: usize) -> usize {
        let bits = self.lists.get(list).into_iter().flatten();
        bits.map(|word| ones(*word)).sum()
    }

    /// The serial numbers at those places of a list.
    pub fn serials(&self, list: usize, places: Range<usize>) -> Vec<String> {
        let mut skip = places.start;
        let mut found = Vec::new();
        let bits = self.lists.get(list).into_iter().flatten();
        for (base, word) in (0..).step_by(64).zip(bits) {
            let here = ones(*word);
            if skip >= here {
                skip -= here;
                continue;
            }
            for bit in (0..64).filter(|bit| word >> bit & 1 == 1).skip(skip) {
                if found.len() == places.len() {
                    return found;
                }
                found.push(serial(base + bit));
            }
            skip = 0;
        }
        found
    }

    /// The serial numbers on a list that contain `part`.
    pub fn containing(&self, list: usize, part: &str) -> Vec<String> {
        let part = part.to_ascii_uppercase();
        if part.len() >= 10 {
            let whole = self.place(&part).filter(|_| part.len() == 10);
            let listed = |serial: &String| self.get(serial).is_some_and(|held| held.is_on(list));
            return whole.map(serial).into_iter().filter(listed).collect();
        }
        let all = self.serials(list, 0..usize::MAX);
        all.into_iter()
            .filter(|serial| serial.contains(&part))
            .collect()
    }

    /// Is it the serial number of one of these boxes, even of one that is gone?
    pub fn has(&self, serial: &str) -> bool {
        self.place(serial).is_some()
    }

    /// What the service holds of a box now.
    pub fn get(&self, serial: &str) -> Option<T> {
        let number = self.place(serial)?;
        match self.changed.get(&number) {
            Some(changed) => changed.clone(),
            None => T::of(story(number), &self::serial(number), self.made_at),
        }
    }

    /// From now on the service holds this of a box, in the same place of its lists; `None`: the box is gone. Another's box is left alone.
    pub fn put(&mut self, serial: &str, held: Option<T>) {
        let Some(number) = self.place(serial) else {
            return;
        };
        for (list, bits) in self.lists.iter_mut().enumerate() {
            let on = held.as_ref().is_some_and(|held| held.is_on(list));
            set(bits, number, on);
        }
        self.changed.insert(number, held);
    }

    fn place(&self, serial: &str) -> Option<u32> {
        number(serial).filter(|number| *number < self.boxes)
    }
}

fn words(boxes: u32) -> usize {
    usize::try_from(boxes.div_ceil(64)).unwrap_or_default()
}

fn ones(word: u64) -> usize {
    usize::try_from(word.count_ones()).unwrap_or_default()
}

fn set(bits: &mut [u64], number: u32, on: bool) {
    let bit = 1 << (number % 64);
    if let Some(word) = usize::try_from(number / 64)
        .ok()
        .and_then(|place| bits.get_mut(place))
    {
        *word = if on { *word | bit } else { *word & !bit };
    }
}

/// The moments from which the ages of the boxes count. A record that nobody changed says the same whenever it is read.
#[derive(Debug)]
pub(crate) struct Ages {
    started: Timestamp,
    put: HashMap<String, Timestamp>,
}

impl Ages {
    pub(crate) fn from_now() -> Self {
        Self {
            started: Timestamp::now(),
            put: HashMap::new(),
        }
    }

    /// From now on the box is another one.
    pub(crate) fn put(&mut self, serial: &str) {
        self.put.insert(serial.to_owned(), Timestamp::now());
    }

    /// The moment `age` before the box was put in, or before the start. What is minutes old in the demo stays so, however long it runs.
    pub(crate) fn before(&self, serial: &str, age: Duration) -> Timestamp {
        let from = match self.put.get(serial) {
            Some(put) => *put,
            None if age < Duration::from_hours(24) && number(serial).is_none() => Timestamp::now(),
            None => self.started,
        };
        from.checked_sub(age).unwrap_or(from)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use std::collections::{BTreeMap, HashSet};

    use super::*;
    use crate::label::{self, Meaning};

    #[test]
    fn a_serial_number_is_unique_leads_back_to_its_number_and_can_be_scanned() {
        let mut seen = HashSet::new();
        for number in (0..20_000).chain(MOST - 1_000..MOST + 10) {
            let text = serial(number);
            assert_eq!(super::number(&text), Some(number), "{text}");
            assert_eq!(super::number(&text.to_lowercase()), Some(number), "{text}");
            match label::read(text.as_bytes()) {
                Meaning::Serials(read) => assert!(
                    read.len() == 1
                        && read[0].scanned.as_str() == text
                        && read[0].stripped.is_none()
                        && read[0].unless_known.is_none(),
                    "{text}"
                ),
                Meaning::Wrong(reason) => panic!("{text} is read as {}", reason.code()),
            }
            assert!(seen.insert(text));
        }
        assert_eq!(serial(0), "JM9DLR5YN1", "the same on every machine");
        assert_eq!(serial(MOST - 1), "R94XTHWYXR");
    }

    #[test]
    fn no_other_serial_number_is_taken_for_a_generated_one() {
        for demo in DEMO {
            assert!(
                number(demo.serial).is_none_or(|number| number >= MOST),
                "{}",
                demo.serial
            );
        }
        for text in [
            "",
            "J",
            "JM9DLR5YN",
            "JM9DLR5YN11",
            "0M9DLR5YN1",
            "JM9DLR5YNS",
            "JM9DLR5YNé",
        ] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn every_story_that_a_service_lists_is_told_in_every_round() {
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        for number in 7..7 + ROUND {
            *told.entry(story(number).story).or_default() += 1;
        }
        for demo in DEMO.iter().filter(|demo| !matches!(demo.mdm, Mdm::Own(_))) {
            let listed = (demo.mdm, demo.business) != (Mdm::None, Business::None);
            assert_eq!(told.contains_key(demo.story), listed, "{}", demo.story);
        }
        assert_eq!(told["enrolled"], ENROLLED);
        assert_eq!(told["moved to another MDM server"], EACH);
        assert!(told["healthy new stock"] > 300, "{told:?}");
    }

    /// The boxes that Apple's Device Assignment Services list.
    fn fleet() -> (Fleet<Dep>, Vec<String>) {
        let listed = |number: &u32| story(*number).dep != Dep::NotAccessible;
        let serials = (0..1_000).filter(listed).map(serial).collect();
        (Fleet::of(1_000), serials)
    }

    #[test]
    fn a_list_is_the_same_however_it_is_cut_into_pages() {
        let (fleet, serials) = fleet();
        assert_eq!(fleet.count(0), serials.len());
        assert!((900..1_000).contains(&serials.len()));
        for size in [1, 63, 64, 65, 300, 5_000] {
            let pages = (0..serials.len()).step_by(size);
            let read: Vec<String> = pages
                .flat_map(|from| fleet.serials(0, from..from + size))
                .collect();
            assert_eq!(read, serials, "{size}");
        }
        assert_eq!(fleet.serials(0, serials.len()..usize::MAX), [""; 0]);
        assert_eq!(Fleet::<Dep>::of(0).serials(0, 0..10), [""; 0]);
    }

    #[test]
    fn a_box_that_is_put_keeps_its_place_and_one_that_leaves_closes_the_gap() {
        let (mut fleet, mut serials) = fleet();
        let changed = serials[70].clone();
        fleet.put(&changed, Some(Dep::Removed));
        assert_eq!(fleet.get(&changed), Some(Dep::Removed));
        assert_eq!(fleet.serials(0, 0..usize::MAX), serials);
        let moved = serials.remove(3);
        fleet.put(&moved, Some(Dep::NotAccessible));
        let gone = serials.remove(100);
        fleet.put(&gone, None);
        assert_eq!(fleet.serials(0, 0..usize::MAX), serials);
        assert_eq!((fleet.count(0), fleet.get(&gone)), (serials.len(), None));
        assert!(fleet.has(&gone) && !fleet.has(&serial(1_000)));
        fleet.put(&gone, Some(Dep::Empty));
        assert_eq!(
            fleet.serials(0, 100..101),
            [gone],
            "it is back where it was"
        );
        fleet.put(&serial(1_000), Some(Dep::Empty));
        assert_eq!(fleet.get(&serial(1_000)), None, "not a box of this fleet");
    }

    #[test]
    fn boxes_are_found_by_a_part_of_their_serial_number() {
        let (fleet, serials) = fleet();
        let part = &serials[5][2..6].to_lowercase();
        let found = fleet.containing(0, part);
        assert!(found.contains(&serials[5]) && found.len() < 10, "{found:?}");
        assert_eq!(fleet.containing(0, &serials[5]), [serials[5].clone()]);
        assert_eq!(fleet.containing(0, &format!("{}0", serials[5])), [""; 0]);
        let hidden = (0..1_000).map(serial).find(|one| !serials.contains(one));
        assert_eq!(fleet.containing(0, &hidden.unwrap()), [""; 0]);
    }
}
