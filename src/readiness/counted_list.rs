//! A list that comes in pages and says how many records it has.
//!
//! `count`, `next`, `previous`, `results`. Its links are never followed: they name another host, so the pages are counted.

use std::collections::HashSet;

use serde_json::Value;

use super::shape::{Misshaped, Object};

/// One page.
pub(super) struct CountedPage<'a> {
    name: &'static str,
    pub(super) count: i64,
    pub(super) records: &'a [Value],
    /// There is one more page.
    pub(super) next: bool,
}

impl<'a> CountedPage<'a> {
    /// `name`: as people know the list ("Kandji's list"); `first`: the first page was asked for.
    pub(super) fn read(
        name: &'static str,
        page: &'a Value,
        first: bool,
    ) -> Result<Self, Misshaped> {
        let page = Object::read(name, page)?;
        let count = page
            .number("count", 0..=i64::MAX)?
            .ok_or_else(|| page.lacks("count"))?;
        let link = |link| match page.text(link)? {
            Some(_) => Ok(true),
            None if page.has(link) && page.value(link).is_none() => Ok(false),
            None => Err(page.lacks(link)),
        };
        let (next, previous) = (link("next")?, link("previous")?);
        if previous == first {
            return Err(Misshaped(format!(
                "{name} came with another page than the one asked for."
            )));
        }
        Ok(Self {
            name,
            count,
            records: page.list("results")?,
            next,
        })
    }

    /// With this page the list holds as many records as `held`.
    pub(super) fn misfit(&self, held: i64) -> Misshaped {
        let (count, further) = (self.count, if self.next { "a" } else { "no" });
        Misshaped(format!(
            "{} does not add up: its count is {count}, it holds {held} rows and names {further} further page.",
            self.name
        ))
    }
}

/// The records of all pages, held to what the list says of itself.
#[derive(Debug)]
pub(super) struct CountedList {
    name: &'static str,
    pages: u32,
    count: i64,
    records: Vec<Value>,
}

impl CountedList {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            pages: 0,
            count: 0,
            records: Vec::new(),
        }
    }

    /// Takes the page that was asked for next; is there one more?
    pub(super) fn take(&mut self, page: &Value) -> Result<bool, Misshaped> {
        let page = CountedPage::read(self.name, page, self.pages == 0)?;
        let CountedPage { count, next, .. } = page;
        if self.pages > 0 && count != self.count {
            return Err(Misshaped(format!(
                "The count of {} changed from {} to {count} between two pages.",
                self.name, self.count
            )));
        }
        self.records.extend_from_slice(page.records);
        self.pages += 1;
        self.count = count;
        let held = i64::try_from(self.records.len()).unwrap_or(i64::MAX);
        if (next && held < count) || (!next && held == count) {
            return Ok(next);
        }
        Err(page.misfit(held))
    }

    /// The records of all pages taken.
    pub(super) fn records(&self) -> &[Value] {
        &self.records
    }

    /// The same, none of them twice by its `id`.
    pub(super) fn distinct(&self) -> Result<&[Value], Misshaped> {
        none_twice(self.name, &self.records, "id")?;
        Ok(&self.records)
    }
}

/// A record that comes twice stands in the place of one that does not come: pages that repeat, a list that changed while it was read.
pub(super) fn none_twice(name: &'static str, records: &[Value], id: &str) -> Result<(), Misshaped> {
    let mut seen = HashSet::new();
    // A record without an id is compared as a whole.
    let key = |record: &Value| match record.get(id) {
        Some(Value::String(id)) => id.to_ascii_lowercase(),
        Some(Value::Number(id)) => id.to_string(),
        _ => record.to_string(),
    };
    if records.iter().all(|record| seen.insert(key(record))) {
        return Ok(());
    }
    Err(Misshaped(format!("{name} holds a record twice.")))
}
