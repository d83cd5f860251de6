//! Which rows a newer live answer has struck: at once in memory, soon in the file. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::schema::Place;
use crate::{
    label::Serial,
    runtime::{clock::Boot, name::Name},
};

/// Serial numbers struck one by one; beyond that all rows of the source are struck.
const MOST: usize = 65_536;

/// Before the file is open the newest pass is not known: all that is in it is struck.
const NOT_KNOWN: Place = Place {
    pass: i64::MAX,
    ms: i64::MAX,
};

/// A strike of one source: a serial number (`None`: all of them), whose rows do not answer if they were read no later than there.
pub(super) type Strike = (Option<Serial>, Place);

/// Of all sources.
#[derive(Debug, Default)]
pub(super) struct Strikes {
    sources: BTreeMap<Name, OfSource>,
    /// The file has been read.
    loaded: bool,
}

#[derive(Debug, Default)]
struct OfSource {
    /// The newest pass that began, and when, if that was in this process.
    newest: Option<(i64, Option<Boot>)>,
    serials: HashMap<Serial, Place>,
    all: Option<Place>,
    /// Not in the file yet.
    unwritten: HashSet<Option<Serial>>,
}

impl OfSource {
    /// What has been read by `at`; `None`: by the end of the newest pass.
    fn place(&self, at: Option<Boot>) -> Option<Place> {
        let (pass, start) = self.newest?;
        let since = start.zip(at).map(|(start, at)| at.since(start).as_millis());
        // Rounded up: a page of the same millisecond may be the older one.
        let ms = since.map_or(i64::MAX, |ms| {
            i64::try_from(ms).map_or(i64::MAX, |ms| ms.saturating_add(1))
        });
        Some(Place { pass, ms })
    }

    fn strike(&mut self, (serial, place): Strike) {
        let one_more = serial
            .as_ref()
            .is_some_and(|serial| !self.serials.contains_key(serial));
        match serial {
            Some(serial) if !one_more || self.serials.len() < MOST => {
                let struck = self.serials.entry(serial).or_insert(place);
                *struck = place.max(*struck);
            }
            _ => {
                let newest = self.serials.drain().map(|(_, place)| place).max();
                self.all = self.all.max(newest).max(Some(place));
            }
        }
    }

    fn note_unwritten(&mut self, serial: Serial) {
        if self.serials.contains_key(&serial) {
            self.unwritten.insert(Some(serial));
        } else {
            self.unwritten = HashSet::from([None]);
        }
    }
}

impl Strikes {
    /// Strikes the rows of a serial number: a live answer that came at `at` says otherwise.
    pub(super) fn strike(&mut self, source: &Name, serial: &Serial, at: Boot) {
        let of_source = self.sources.entry(source.clone()).or_default();
        let place = match of_source.place(Some(at)) {
            None if self.loaded => return,
            place => place.unwrap_or(NOT_KNOWN),
        };
        of_source.strike((Some(serial.clone()), place));
        of_source.note_unwritten(serial.clone());
    }

    /// Is a row that was read there struck?
    pub(super) fn is_struck(&self, source: &Name, serial: &Serial, read: Place) -> bool {
        self.sources.get(source).is_some_and(|of_source| {
            let one = of_source.serials.get(serial).copied();
            one.max(of_source.all).is_some_and(|struck| read <= struck)
        })
    }

    /// A pass begins.
    pub(super) fn begin(&mut self, source: &Name, pass: i64, start: Boot) {
        self.sources.entry(source.clone()).or_default().newest = Some((pass, Some(start)));
    }

    /// The number of the newest pass that began.
    pub(super) fn newest(&self, source: &Name) -> i64 {
        let newest = self.sources.get(source).and_then(|known| known.newest);
        newest.map_or(0, |(pass, _)| pass)
    }

    /// Takes over what the file has: for each source its newest pass and its strikes.
    pub(super) fn load(&mut self, mut file: BTreeMap<Name, (i64, Vec<Strike>)>) {
        self.sources.retain(|name, _| file.contains_key(name));
        for (name, of_source) in &mut self.sources {
            let (newest, strikes) = file.remove(name).unwrap_or_default();
            of_source.load(newest, strikes);
        }
        for (name, (newest, strikes)) in file {
            self.sources.entry(name).or_default().load(newest, strikes);
        }
        self.loaded = true;
    }

    /// The file was deleted: there are no rows that could be struck.
    pub(super) fn forget(&mut self) {
        *self = Self {
            loaded: true,
            ..Self::default()
        };
    }

    /// The same for one source.
    pub(super) fn forget_source(&mut self, source: &Name) {
        if let Some(of_source) = self.sources.get_mut(source) {
            *of_source = OfSource {
                newest: of_source.newest,
                ..OfSource::default()
            };
        }
    }

    /// A complete pass has brought all rows again, so earlier strikes are over.
    pub(super) fn complete(&mut self, source: &Name, pass: i64) {
        if let Some(of_source) = self.sources.get_mut(source) {
            of_source.serials.retain(|_, struck| struck.pass >= pass);
            of_source.all = of_source.all.filter(|struck| struck.pass >= pass);
        }
    }

    /// What is not in the file yet.
    pub(super) fn unwritten(&self) -> Vec<(Name, Strike)> {
        let mut found = Vec::new();
        for (name, of_source) in &self.sources {
            for serial in &of_source.unwritten {
                let place = serial.as_ref().map_or(of_source.all, |serial| {
                    of_source.serials.get(serial).copied()
                });
                found.extend(place.map(|place| (name.clone(), (serial.clone(), place))));
            }
        }
        found
    }

    /// They are in the file now.
    pub(super) fn written(&mut self, strikes: &[(Name, Strike)]) {
        for (name, (serial, place)) in strikes {
            let Some(of_source) = self.sources.get_mut(name) else {
                continue;
            };
            let now = serial.as_ref().map_or(of_source.all, |serial| {
                of_source.serials.get(serial).copied()
            });
            if now.is_none_or(|now| now == *place) {
                of_source.unwritten.remove(serial);
            }
        }
    }
}

impl OfSource {
    fn load(&mut self, newest: i64, strikes: Vec<Strike>) {
        if self.newest.is_none_or(|(pass, _)| pass < newest) {
            self.newest = Some((newest, None));
        }
        let end = self.place(None);
        let known = |place: Place| match end {
            Some(end) if place == NOT_KNOWN => end,
            _ => place,
        };
        for struck in self.serials.values_mut().chain(&mut self.all) {
            *struck = known(*struck);
        }
        for strike in strikes {
            self.strike(strike);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::*;

    const START: Boot = Boot::from_duration(Duration::from_secs(100));

    fn at(ms: u64) -> Boot {
        START.plus(Duration::from_millis(ms))
    }

    fn serial(nth: usize) -> Serial {
        Serial::new(&format!("C{nth:09}")).unwrap()
    }

    fn place(pass: i64, ms: i64) -> Place {
        Place { pass, ms }
    }

    fn kandji() -> Name {
        Name::new("kandji").unwrap()
    }

    #[test]
    fn a_page_of_a_later_request_lifts_a_strike_and_no_other() {
        let (mut strikes, name) = (Strikes::default(), kandji());
        strikes.load(BTreeMap::new());
        strikes.begin(&name, 3, START);
        strikes.strike(&name, &serial(1), at(500));
        strikes.strike(&name, &serial(1), at(200));
        let struck = |pass, ms| strikes.is_struck(&name, &serial(1), place(pass, ms));
        assert!(struck(2, i64::MAX) && struck(3, 0) && struck(3, 500) && struck(3, 501));
        assert!(!struck(3, 502) && !struck(4, 0));
        assert!(!strikes.is_struck(&name, &serial(2), place(1, 0)));
    }

    #[test]
    fn what_is_struck_before_the_file_is_read_is_struck_up_to_its_newest_pass() {
        let (mut strikes, name) = (Strikes::default(), kandji());
        strikes.strike(&name, &serial(1), at(0));
        strikes.strike(&Name::new("other").unwrap(), &serial(1), at(0));
        assert!(strikes.is_struck(&name, &serial(1), place(9, 9)));
        let file = BTreeMap::from([(name.clone(), (7, vec![(Some(serial(2)), place(6, 1))]))]);
        strikes.load(file);
        assert!(strikes.is_struck(&name, &serial(1), place(7, 1 << 40)));
        assert!(!strikes.is_struck(&name, &serial(1), place(8, 0)));
        assert!(strikes.is_struck(&name, &serial(2), place(6, 1)));
        let unwritten = [(name, (Some(serial(1)), place(7, i64::MAX)))];
        assert_eq!(strikes.unwritten(), unwritten);
        strikes.written(&unwritten);
        assert_eq!(strikes.unwritten(), []);
    }

    #[test]
    fn a_complete_pass_ends_the_strikes_before_it_and_memory_is_bounded() {
        let (mut strikes, name) = (Strikes::default(), kandji());
        strikes.load(BTreeMap::new());
        strikes.begin(&name, 1, START);
        for nth in 0..MOST {
            strikes.strike(&name, &serial(nth), at(1));
        }
        assert!(!strikes.is_struck(&name, &serial(MOST), place(1, 0)));
        strikes.strike(&name, &serial(MOST), at(2));
        assert!(
            strikes.is_struck(&name, &serial(MOST + 1), place(1, 3)),
            "all are"
        );
        assert_eq!(strikes.unwritten(), [(name.clone(), (None, place(1, 3)))]);
        strikes.begin(&name, 2, START);
        strikes.strike(&name, &serial(1), at(1));
        strikes.complete(&name, 2);
        assert!(!strikes.is_struck(&name, &serial(2), place(1, 0)));
        assert!(strikes.is_struck(&name, &serial(1), place(1, 0)));
    }

    #[test]
    fn a_strike_that_moves_on_while_it_is_written_is_written_again() {
        let (mut strikes, name) = (Strikes::default(), kandji());
        strikes.load(BTreeMap::new());
        strikes.begin(&name, 1, START);
        strikes.strike(&name, &serial(1), at(1));
        let writing = strikes.unwritten();
        strikes.strike(&name, &serial(1), at(5));
        strikes.written(&writing);
        assert_eq!(
            strikes.unwritten(),
            [(name, (Some(serial(1)), place(1, 6)))]
        );
    }
}
