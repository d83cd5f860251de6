//! A page of a list, and how a list can change or lie while it is read page by page.

use std::{fmt, ops::Range, str::FromStr};

/// What is wrong with a list. As text one or more of `shift=ROWS`, `total=ROWS`, `keep=ROWS` and `stuck`, with commas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListFault {
    /// Below zero: so many rows at the beginning of the list are gone since the page before, and this page skips as many. Above zero:
    /// so many were added there, and the page repeats as many.
    pub shift: isize,
    /// The total that the service tells is off by so many rows.
    pub total: isize,
    /// The list has only so many of its rows.
    pub keep: Option<usize>,
    /// The list never ends: the page before comes again, or the same cursor.
    pub stuck: bool,
}

/// What one reply shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The rows, by their places in the true list.
    pub(crate) rows: Range<usize>,
    /// The places in the list as the client sees it.
    pub(crate) places: Range<usize>,
    pub(crate) total: usize,
    pub(crate) more: bool,
}

impl ListFault {
    /// The page of `size` rows that begins at place `from` of a list of `rows` rows.
    pub(crate) fn page(self, from: usize, size: usize, rows: usize) -> Page {
        let seen = rows
            .saturating_add_signed(self.shift)
            .min(self.keep.unwrap_or(usize::MAX));
        let end = from.saturating_add(size).min(seen);
        let true_place = |place: usize| {
            place
                .saturating_add_signed(self.shift.saturating_neg())
                .min(rows)
        };
        let first = true_place(from);
        Page {
            rows: first..true_place(end).max(first),
            places: from..end.max(from),
            total: seen.saturating_add_signed(self.total),
            more: self.stuck || end < seen,
        }
    }
}

impl FromStr for ListFault {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        fn number<N: FromStr + Default + PartialEq>(text: &str) -> Result<N, ()> {
            text.parse().map_err(|_| ())
        }
        let mut fault = Self::default();
        for part in text.split(',') {
            let before = fault;
            match part.split_once('=').unwrap_or((part, "")) {
                ("shift", rows) => fault.shift = number(rows)?,
                ("total", rows) => fault.total = number(rows)?,
                ("keep", rows) => fault.keep = Some(number(rows)?),
                ("stuck", "") => fault.stuck = true,
                _ => return Err(()),
            }
            // A part that says nothing, or says it twice, is a mistake.
            if fault == before {
                return Err(());
            }
        }
        Ok(fault)
    }
}

impl fmt::Display for ListFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &str, rows: isize| (rows != 0).then(|| format!("{name}={rows}"));
        let parts = [
            shown("shift", self.shift),
            shown("total", self.total),
            self.keep.map(|rows| format!("keep={rows}")),
            self.stuck.then(|| "stuck".to_owned()),
        ];
        out.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Rows, total and whether there are more.
    fn page(text: &str, from: usize, size: usize, rows: usize) -> (Range<usize>, usize, bool) {
        let page = text.parse::<ListFault>().unwrap().page(from, size, rows);
        (page.rows, page.total, page.more)
    }

    #[test]
    fn a_list_without_a_fault_is_shown_to_its_end() {
        let page = |from, rows| {
            let page = ListFault::default().page(from, 10, rows);
            (page.rows, page.total, page.more)
        };
        assert_eq!(page(0, 25), (0..10, 25, true));
        assert_eq!(page(20, 25), (20..25, 25, false));
        assert_eq!(page(10, 20), (10..20, 20, false));
        assert_eq!(page(30, 25), (25..25, 25, false));
        assert_eq!(page(0, 0), (0..0, 0, false));
    }

    #[test]
    fn a_list_that_shifts_skips_rows_or_repeats_them() {
        assert_eq!(
            page("shift=-1", 10, 10, 25),
            (11..21, 24, true),
            "row 10 is skipped"
        );
        assert_eq!(page("shift=-1", 20, 10, 25), (21..25, 24, false));
        assert_eq!(
            page("shift=1", 10, 10, 25),
            (9..19, 26, true),
            "row 9 again"
        );
        assert_eq!(page("shift=1", 20, 10, 25), (19..25, 26, false));
        assert_eq!(page("shift=1,total=-1", 20, 10, 25), (19..25, 25, false));
    }

    #[test]
    fn a_list_shrinks_or_lies_about_its_length_or_its_end() {
        assert_eq!(page("keep=12", 0, 10, 25), (0..10, 12, true));
        assert_eq!(page("keep=12", 10, 10, 25), (10..12, 12, false));
        assert_eq!(page("keep=0", 0, 10, 25), (0..0, 0, false));
        assert_eq!(page("keep=0", 10, 10, 25), (10..10, 0, false));
        assert_eq!(page("total=3", 20, 10, 25), (20..25, 28, false));
        assert_eq!(page("stuck", 20, 10, 25), (20..25, 25, true));
    }
}
