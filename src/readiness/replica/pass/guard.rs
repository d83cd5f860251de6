//! What a list's pages may not do within one pass. Pure.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use jiff::Timestamp;

use super::super::{ListedRow, Page};
use crate::{
    readiness::http::{CLOCK_TOLERANCE, Fault},
    reason::Reason,
};

/// A list that has still not ended then never will.
const MOST_PAGES: u64 = 50_000;

/// The pages of one pass so far.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Hashes of the cursors and of the pages.
    cursors: HashSet<u64>,
    pages: HashSet<u64>,
    count: u64,
    /// The rows of the largest page.
    largest: u64,
    /// How many records the list has by the newest page that says so.
    pub(super) total: Option<u64>,
}

impl Guard {
    /// Looks at the next page. `now`: the service's time, as the pass carries it on from its first reply.
    pub(super) fn check(&mut self, page: &Page, now: Timestamp) -> Result<(), Fault> {
        if page.date.duration_since(now).unsigned_abs() > CLOCK_TOLERANCE {
            return Err(Fault::with(
                Reason::Stale,
                "A page of the list is of another time.",
            ));
        }
        self.count += 1;
        self.largest = self.largest.max(page.rows.len() as u64);
        self.total = page.total.or(self.total);
        if !page.rows.is_empty() && !self.pages.insert(hash_of_ids(&page.rows)) {
            return Err(garbled("The list brought the same page twice."));
        }
        if let Some(next) = &page.next
            && !self.cursors.insert(hash(next))
        {
            return Err(garbled("The list gave the same cursor twice."));
        }
        // One more than that: the list may grow while it is read.
        let allowed = self
            .total
            .filter(|_| self.largest > 0)
            .map_or(MOST_PAGES, |total| {
                total.div_ceil(self.largest).saturating_add(1)
            });
        if self.count > allowed.min(MOST_PAGES) {
            return Err(garbled("The list has more pages than it says."));
        }
        Ok(())
    }

    /// Is that as many records as the list says it has?
    pub(super) fn is_whole(&self, distinct: u64) -> bool {
        self.total.is_none_or(|total| total == distinct)
    }
}

pub(super) fn garbled(detail: impl Into<String>) -> Fault {
    Fault::with(Reason::GarbledAnswer, detail)
}

fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn hash_of_ids(rows: &[ListedRow]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in rows {
        row.id.hash(&mut hasher);
    }
    hasher.finish()
}

/// Has a list that had `before` records lost more than half of them?
pub(super) const fn has_shrunk(before: u64, now: u64) -> bool {
    now.saturating_mul(2) < before
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::*;
    use crate::label::Serial;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn page(ids: &[&str], total: Option<u64>, next: Option<&str>) -> Page {
        let row = |id: &&str| ListedRow {
            id: (*id).to_owned(),
            serial: Serial::new("C02ABCDEFGH").unwrap(),
            body: Vec::new(),
        };
        Page {
            rows: ids.iter().map(row).collect(),
            total,
            next: next.map(str::to_owned),
            date: NOW,
        }
    }

    /// What the guard says of the last of these pages; the ones before are well.
    fn last(pages: &[Page]) -> Result<(), String> {
        let mut guard = Guard::default();
        let (last, before) = pages.split_last().unwrap();
        for page in before {
            guard.check(page, NOW).unwrap();
        }
        guard
            .check(last, NOW)
            .map_err(|fault| fault.detail.unwrap())
    }

    #[test]
    fn a_list_that_goes_in_a_circle_is_noticed() {
        let one = page(&["1", "2"], None, Some("a"));
        assert_eq!(last(&[one.clone(), page(&["3"], None, None)]), Ok(()));
        let same_cursor = page(&["3"], None, Some("a"));
        assert!(
            last(&[one.clone(), same_cursor])
                .unwrap_err()
                .contains("cursor")
        );
        let same_page = page(&["1", "2"], None, Some("b"));
        assert!(last(&[one, same_page]).unwrap_err().contains("page twice"));
        let empty = [page(&[], None, Some("a")), page(&[], None, Some("b"))];
        assert_eq!(last(&empty), Ok(()), "a server without devices");
    }

    #[test]
    fn a_list_has_no_more_pages_than_its_total_allows() {
        let of = |ids: &[&str], next| page(ids, Some(3), Some(next));
        let mut pages = vec![of(&["1", "2"], "a"), of(&["3"], "b"), of(&["4"], "c")];
        assert_eq!(last(&pages), Ok(()), "it may have grown");
        pages.push(of(&["5"], "d"));
        assert!(last(&pages).unwrap_err().contains("more pages"));
        let endless = |nth: u64| page(&[], None, Some(&nth.to_string()));
        let pages: Vec<Page> = (0..MOST_PAGES).map(endless).collect();
        assert_eq!(last(&pages), Ok(()));
        let pages: Vec<Page> = (0..=MOST_PAGES).map(endless).collect();
        assert!(last(&pages).unwrap_err().contains("more pages"));
    }

    #[test]
    fn a_page_of_another_time_is_old() {
        let mut guard = Guard::default();
        for (seconds, is_old) in [
            (0, false),
            (300, false),
            (301, true),
            (-300, false),
            (-301, true),
        ] {
            let mut page = page(&[], None, None);
            page.date = Timestamp::from_second(seconds).unwrap();
            assert_eq!(guard.check(&page, NOW).is_err(), is_old, "{seconds}");
        }
        let mut page = page(&[], None, None);
        page.date = NOW;
        let fault = guard
            .check(&page, NOW + Duration::from_hours(1))
            .unwrap_err();
        assert_eq!(fault.reason, Reason::Stale);
    }

    #[test]
    fn a_total_counts_each_record_once_and_the_newest_page_counts() {
        let mut guard = Guard::default();
        assert!(guard.is_whole(7), "no total was given");
        guard.check(&page(&["1"], Some(2), Some("a")), NOW).unwrap();
        guard.check(&page(&["2"], Some(3), None), NOW).unwrap();
        assert!(guard.is_whole(3) && !guard.is_whole(2));
        assert!(
            has_shrunk(100, 49) && !has_shrunk(100, 50) && has_shrunk(1, 0) && !has_shrunk(0, 0)
        );
    }
}
