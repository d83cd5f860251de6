//! Reading a damaged table as far as its tree leads.

use rusqlite::{Connection, ErrorCode, Row, params};

use super::Trouble;

/// Is this no damage, but something that passes?
pub(super) fn passes(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OutOfMemory
        )
    )
}

/// Walks over a damaged table by its key, and leaps over what cannot be read.
pub(super) struct Walk {
    select: String,
    next: i64,
    pub(super) ended: bool,
}

impl Walk {
    pub(super) fn new(table: &str, key: &str, columns: &str, which: &str) -> Self {
        let select = format!(
            "SELECT {columns} FROM {table} WHERE {which} AND {key} >= ?1 ORDER BY {key} LIMIT ?2"
        );
        Self {
            select,
            next: 0,
            ended: false,
        }
    }

    /// Hands at most `limit` rows over; sets `ended` when there is nothing behind them. `Trouble::Busy`: nothing counts, try again.
    pub(super) fn read(
        &mut self,
        source: &Connection,
        limit: usize,
        mut take: impl FnMut(&Row<'_>),
    ) -> Result<(), Trouble> {
        let mut count = 0;
        let mut next = self.next;
        let whole = self.query(source, self.next, limit, |row| {
            count += 1;
            next = row
                .get::<_, i64>(0)
                .map_or(next, |key| key.saturating_add(1));
            take(row);
        });
        match whole {
            Ok(()) => {
                self.next = next;
                self.ended = count < limit;
            }
            Err(error) if passes(&error) => return Err(Trouble::Busy),
            Err(_) => {
                self.next = next;
                self.leap(source);
            }
        }
        Ok(())
    }

    fn query(
        &self,
        source: &Connection,
        from: i64,
        limit: usize,
        mut take: impl FnMut(&Row<'_>),
    ) -> rusqlite::Result<()> {
        let mut statement = source.prepare_cached(&self.select)?;
        let mut rows = statement.query(params![from, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            take(row);
        }
        Ok(())
    }

    /// Finds the nearest key behind the damage from which reading goes on.
    fn leap(&mut self, source: &Connection) {
        let base = self.next;
        let reads = |step: i64| {
            self.query(source, base.saturating_add(step), 1, |_| {})
                .is_ok()
        };
        let Some(mut good) = (0..63).map(|bits| 1_i64 << bits).find(|step| reads(*step)) else {
            self.ended = true;
            return;
        };
        let mut bad = good / 2;
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if reads(middle) {
                good = middle
            } else {
                bad = middle
            }
        }
        self.next = base.saturating_add(good);
    }
}
