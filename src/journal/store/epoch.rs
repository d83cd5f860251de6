//! Which epoch a journal goes on in: no `seq` of an epoch is ever given out twice, also not by an older copy of the journal.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::Store;
use crate::journal::{
    mark::{Mark, Position},
    row, schema,
    trouble::Trouble,
};

/// The journal has had a mark: without one it is not to be trusted any more.
pub(in crate::journal) const HAS_MARK: &str = "has_mark";
/// The highest `seq` when the first process since the last comparison with the broker started. If the broker knows of a later one, the
/// journal is an older copy and would give out those numbers a second time. The name in the file is older.
pub(in crate::journal) const COMPARE_FROM: &str = "unconfirmed_from";

impl Store {
    /// Is every number one that this product can have written? What follows from others has no end: rows that are never read,
    /// counters that cannot grow.
    pub(super) fn counts_soundly(&self) -> rusqlite::Result<bool> {
        let sql = "SELECT count(*) FROM epoch WHERE abs(number) > ?1 OR next_seq NOT BETWEEN 1 AND ?2 OR removed NOT BETWEEN 0 AND ?2 OR unsent NOT BETWEEN 0 AND ?2";
        let odd: i64 = self.conn.query_row(
            sql,
            [schema::EPOCH_MAX, schema::SEQ_MAX.cast_signed()],
            |found| found.get(0),
        )?;
        let sql = "SELECT (SELECT max(number) FROM epoch), (SELECT min(row) FROM record), (SELECT max(row) FROM record)";
        let (newest, first, last): (Option<i64>, Option<i64>, Option<i64>) =
            self.conn.query_row(sql, [], |found| {
                Ok((found.get(0)?, found.get(1)?, found.get(2)?))
            })?;
        let within = |row: i64| {
            row >= 0 && newest.is_some_and(|newest| schema::epoch_number_of(row) <= newest)
        };
        Ok(odd == 0 && first.is_none_or(within) && last.is_none_or(within))
    }

    /// Goes on in the newest epoch if it is this machine's and not behind its mark, else draws a new one.
    pub(super) fn settle_epoch(
        &mut self,
        machine: &str,
        floor: i64,
        mark: Mark,
    ) -> rusqlite::Result<()> {
        let newest = self
            .conn
            .query_row(
                "SELECT number, id, machine, next_seq FROM epoch ORDER BY number DESC LIMIT 1",
                [],
                |found| {
                    Ok((
                        found.get::<_, i64>(0)?,
                        found.get::<_, [u8; 16]>(1)?,
                        found.get::<_, String>(2)?,
                        found.get::<_, i64>(3)?,
                    ))
                },
            )
            .optional()?;
        let Some((number, id, of, next_seq)) = newest else {
            (self.drawn, self.forgotten) = (true, mark != Mark::Absent);
            let transaction =
                Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            self.epoch = (floor, draw_epoch(&transaction, floor, machine)?);
            return transaction.commit();
        };
        self.epoch = (number, Uuid::from_bytes(id));
        let last: Option<i64> =
            self.conn
                .query_row("SELECT max(row) FROM record", [], |found| found.get(0))?;
        let least = last
            .filter(|row| schema::epoch_number_of(*row) == number)
            .map_or(1, |row| schema::seq_of(row).cast_signed() + 1);
        if next_seq < least {
            self.conn.execute(
                "UPDATE epoch SET next_seq = ?2 WHERE number = ?1",
                params![number, least],
            )?;
        }
        let old = if of == machine {
            self.held_against(mark)?
        } else {
            Some(("another machine wrote it", Some(0)))
        };
        if let Some((cause, lost)) = old {
            let number = number.saturating_add(1).max(floor);
            let transaction =
                Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            let id = draw_epoch(&transaction, number, machine)?;
            transaction.execute("DELETE FROM counter WHERE name = ?1", [COMPARE_FROM])?;
            note_loss(&transaction, cause, lost)?;
            transaction.commit()?;
            self.epoch = (number, id);
            (self.drawn, self.renewed) = (true, Some(cause));
        }
        Ok(())
    }

    /// Why the newest epoch must not go on, and how many of its records are not here; `None`: it may.
    ///
    /// A mark that is missing says nothing of a journal that never had one (an older build's), and of any other that it, too, was
    /// put back or tampered with. One of an earlier epoch is only late.
    fn held_against(&self, mark: Mark) -> rusqlite::Result<Option<(&'static str, Option<u64>)>> {
        Ok(match mark {
            Mark::Absent => self.fact(HAS_MARK)?.map(|_| ("its mark is gone", None)),
            Mark::Damaged => Some(("its mark is damaged", None)),
            Mark::At(Position { epoch, seq }) if epoch == self.epoch.1 => {
                let missing = seq.saturating_sub(self.seq()?);
                (missing > 0).then_some(("an older copy took its place", Some(missing)))
            }
            Mark::At(Position { epoch, .. }) => {
                let known = self
                    .conn
                    .prepare("SELECT 1 FROM epoch WHERE id = ?1")?
                    .exists([epoch.as_bytes()])?;
                (!known).then_some(("another journal took its place", None))
            }
        })
    }

    /// The highest `seq` given out in the current epoch.
    pub(in crate::journal) fn seq(&self) -> rusqlite::Result<u64> {
        let next: i64 = self
            .conn
            .prepare_cached("SELECT next_seq FROM epoch WHERE number = ?1")?
            .query_row([self.epoch.0], |found| found.get(0))?;
        Ok(u64::try_from(next - 1).unwrap_or(0))
    }

    /// A number that the journal keeps of itself.
    pub(in crate::journal) fn fact(&self, name: &str) -> rusqlite::Result<Option<u64>> {
        let found: Option<i64> = self
            .conn
            .query_row("SELECT value FROM counter WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()?;
        Ok(found.map(|value| u64::try_from(value).unwrap_or(0)))
    }

    /// Goes on in a new epoch, and takes along what was recorded behind `from`: a later state of this journal has given those numbers out
    /// before. Synced, for they are delivered next.
    pub(in crate::journal) fn renew(
        &mut self,
        machine: &str,
        from: u64,
        lost: u64,
    ) -> Result<(), Trouble> {
        self.sync(true).map_err(|error| self.trouble(&error))?;
        let (old, next) = (self.epoch.0, self.epoch.0.saturating_add(1));
        let renew = || {
            let transaction =
                Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
            let id = draw_epoch(&transaction, next, machine)?;
            let rows: Vec<i64> = transaction
                .prepare("SELECT row FROM record WHERE row > ?1 AND row < ?2 ORDER BY row")?
                .query_map(
                    [schema::row_of(old, from), schema::row_of(next, 0)],
                    |found| found.get(0),
                )?
                .collect::<rusqlite::Result<_>>()?;
            for row in rows {
                let moved_to = schema::row_of(next, next_seq(&transaction, next)?);
                transaction
                    .prepare_cached("UPDATE record SET row = ?2, epoch = ?3 WHERE row = ?1")?
                    .execute(params![row, moved_to, id.as_bytes()])?;
            }
            transaction.execute(
                "UPDATE epoch SET next_seq = ?2 WHERE number = ?1",
                params![old, from.cast_signed() + 1],
            )?;
            transaction.execute("DELETE FROM counter WHERE name = ?1", [COMPARE_FROM])?;
            note_loss(
                &transaction,
                "the broker has heard of records that are not in it",
                Some(lost),
            )?;
            transaction.commit()?;
            Ok(id)
        };
        self.epoch = (next, renew().map_err(|error| self.trouble(&error))?);
        Ok(())
    }

    /// Remembers a number of its own.
    pub(in crate::journal) fn remember(&mut self, name: &str, value: u64) -> Result<(), Trouble> {
        self.unsynced(|transaction| {
            let sql = "INSERT INTO counter (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
            transaction.execute(sql, params![name, value.cast_signed()]).map(|_| ())
        })
    }

    /// The broker knows of no later record. Synced: the next health names later numbers, and after a power cut they must not be compared
    /// with the start of an earlier process.
    pub(in crate::journal) fn compared(&mut self) -> Result<(), Trouble> {
        self.sync(true).map_err(|error| self.trouble(&error))?;
        let forgotten = self
            .conn
            .execute("DELETE FROM counter WHERE name = ?1", [COMPARE_FROM]);
        forgotten.map(|_| ()).map_err(|error| self.trouble(&error))
    }
}

/// Begins an epoch.
fn draw_epoch(transaction: &Transaction<'_>, number: i64, machine: &str) -> rusqlite::Result<Uuid> {
    let id = Uuid::now_v7();
    let now = row::nanos(Timestamp::now());
    transaction.execute(
        "INSERT INTO epoch (number, id, machine, created_at, next_seq, removed) VALUES (?1, ?2, ?3, ?4, 1, 0)",
        params![number, id.as_bytes(), machine, now],
    )?;
    Ok(id)
}

/// Gives out the next number of an epoch.
pub(in crate::journal) fn next_seq(conn: &Connection, epoch: i64) -> rusqlite::Result<u64> {
    let sql = "UPDATE epoch SET next_seq = next_seq + 1 WHERE number = ?1 RETURNING next_seq - 1";
    let seq: i64 = conn
        .prepare_cached(sql)?
        .query_row([epoch], |found| found.get(0))?;
    Ok(seq.cast_unsigned())
}

/// Notes something that the journal went through, for the alarm: of what is lost for good, nothing is left to read.
pub(in crate::journal) fn note_loss(
    transaction: &Transaction<'_>,
    cause: &str,
    lost: Option<u64>,
) -> rusqlite::Result<()> {
    let now = row::nanos(Timestamp::now());
    let sql = "INSERT INTO salvage (at, file, cause, saved, lost, done_at) VALUES (?1, NULL, ?2, 0, ?3, ?1)";
    transaction
        .execute(sql, params![now, cause, lost.map(u64::cast_signed)])
        .map(|_| ())
}
