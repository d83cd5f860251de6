//! One pass into the open file: changed rows as they come, deletions and the mark at its end.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use super::{
    super::{ListedRow, ReadAt},
    Complete, Shared,
    bitmap::Bitmap,
    opened::{LARGEST_ROW, Mark, OfSource, Opened, row_number, sum_of_source, sum_of_strike},
    schema::{self, Place},
    strikes::Strike,
    trouble::Trouble,
};
use crate::runtime::{clock::Boot, name::Name};

/// Rows deleted in one transaction.
const CHUNK: usize = 10_000;
/// Free pages given back to the filesystem in one transaction.
const PAGES: u32 = 2_000;

/// A pass under way.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) pass: i64,
    start: ReadAt,
    /// The rows that its pages have brought so far.
    seen: Bitmap,
    /// It has written a row, and so itself.
    is_written: bool,
}

/// What the pages of a pass have brought so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records, each counted once.
    pub distinct: u64,
    /// Rows that were new or different in this page.
    pub changed: u64,
}

/// The passes under way, at most one for each source.
pub(super) type Fillings = BTreeMap<Name, Filling>;

impl Opened {
    /// Begins a pass; returns its number and how many rows the last complete one had. What another account had is deleted first.
    pub(super) fn begin(
        &mut self,
        name: &Name,
        (account, credential): (&str, &str),
        start: ReadAt,
        shared: &Shared,
    ) -> Result<(Filling, Option<u64>), Trouble> {
        let account = schema::hidden(&self.key, "account", account);
        let credential = schema::hidden(&self.key, "credential", credential);
        let known = self.sources.get(name);
        if known.is_some_and(|known| known.account != account) {
            tracing::info!(source = %name, "the replica is of another account: its rows are deleted");
            self.wipe(name, shared)?;
        }
        let same = self
            .sources
            .get(name)
            .is_some_and(|known| (known.account, known.credential) == (account, credential));
        if !same {
            self.put_source(name, account, credential)?;
        }
        let pass = shared.strikes().newest(name) + 1;
        shared.strikes().begin(name, pass, start.boot);
        let mark = self.sources.get(name).and_then(|known| known.mark);
        let filling = Filling {
            pass,
            start,
            seen: Bitmap::default(),
            is_written: false,
        };
        Ok((filling, mark.map(|mark| mark.of.rows)))
    }

    fn put_source(
        &mut self,
        name: &Name,
        account: [u8; 32],
        credential: [u8; 32],
    ) -> rusqlite::Result<()> {
        let known = self.sources.get(name).map(|known| known.number);
        let number = known.unwrap_or_else(|| {
            let numbers = self.sources.values().map(|known| known.number);
            numbers.max().unwrap_or(0) + 1
        });
        let sum = sum_of_source(number, name.as_str(), &account, &credential);
        self.at_once(|conn| {
            conn.execute(
                "INSERT OR REPLACE INTO source (number, name, account, credential, sum) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![number, name.as_str(), account, credential, sum],
            )
        })?;
        let of_source = self.sources.entry(name.clone()).or_insert(OfSource {
            number,
            account,
            credential,
            mark: None,
            short: None,
            held: Bitmap::default(),
        });
        (of_source.account, of_source.credential) = (account, credential);
        Ok(())
    }

    /// Writes those rows of a page that are new or different, or that were struck.
    pub(super) fn page(
        &mut self,
        name: &Name,
        filling: &mut Filling,
        rows: &[ListedRow],
        asked_at: Boot,
        shared: &Shared,
    ) -> Result<Counts, Trouble> {
        let mut room = Some(self.has_room());
        self.write()?;
        let Some(of_source) = self.sources.get_mut(name) else {
            return Err(Trouble::Discard("a source is missing".into()));
        };
        let ms = asked_at.since(filling.start.boot).as_millis();
        let place = Place {
            pass: filling.pass,
            ms: i64::try_from(ms).unwrap_or(i64::MAX),
        };
        let mut changed = 0;
        for row in rows {
            let key = schema::key_of(of_source.number, &row.id);
            let kept = kept(&self.conn, of_source.number, &key, row)?;
            let number = match kept {
                Some((number, Some(read)))
                    if !shared.strikes().is_struck(name, &row.serial, read) =>
                {
                    number
                }
                _ => {
                    room.take().unwrap_or(Ok(()))?;
                    if !filling.is_written {
                        put_pass(&self.conn, of_source.number, filling)?;
                        filling.is_written = true;
                    }
                    changed += 1;
                    let over = kept.map(|(number, _)| number);
                    put_row(&self.conn, of_source.number, (over, &key), row, place)?
                }
            };
            if number >= LARGEST_ROW {
                return Err(Trouble::Discard("its row numbers are used up".into()));
            }
            of_source.held.insert(number);
            filling.seen.insert(number);
        }
        self.note(changed);
        Ok(Counts {
            distinct: filling.seen.count(),
            changed,
        })
    }

    /// Ends a complete pass: deletes the rows that it has not seen, then sets its mark. Returns how many were deleted.
    pub(super) fn finish(
        &mut self,
        name: &Name,
        filling: &Filling,
        (facts, reads): (&[u8], u64),
        shared: &Shared,
    ) -> Result<u64, Trouble> {
        let deleted = self.delete_unseen(name, &filling.seen)?;
        let Some(number) = self.sources.get(name).map(|known| known.number) else {
            return Err(Trouble::Discard("a source is missing".into()));
        };
        let mark = Mark {
            pass: filling.pass,
            of: Complete {
                start: filling.start,
                rows: filling.seen.count(),
                reads,
            },
        };
        self.at_once(|conn| put_mark(conn, number, &mark, facts))?;
        if let Some(of_source) = self.sources.get_mut(name) {
            (of_source.mark, of_source.short) = (Some(mark), None);
        }
        shared.strikes().complete(name, mark.pass);
        Ok(deleted)
    }

    /// Notes that a pass has found so few records that another must find the same before it counts.
    pub(super) fn shrunken(&mut self, name: &Name, rows: u64) -> Result<(), Trouble> {
        let Some(of_source) = self.sources.get_mut(name) else {
            return Err(Trouble::Discard("a source is missing".into()));
        };
        of_source.short = Some(rows);
        let values = [of_source.number, rows.cast_signed()];
        let sql = "INSERT OR REPLACE INTO short (source, rows) VALUES (?1, ?2)";
        self.at_once(|conn| conn.execute(sql, values))?;
        Ok(())
    }

    /// Deletes the rows of all sources but these.
    pub(super) fn keep_only(
        &mut self,
        kept: &BTreeSet<Name>,
        shared: &Shared,
    ) -> rusqlite::Result<()> {
        let others = self.sources.keys().filter(|name| !kept.contains(name));
        for name in others.cloned().collect::<Vec<_>>() {
            self.wipe(&name, shared)?;
            tracing::info!(source = %name, "it has no replica any more: its rows are deleted");
        }
        Ok(())
    }

    fn delete_unseen(&mut self, name: &Name, seen: &Bitmap) -> rusqlite::Result<u64> {
        let mut deleted = 0;
        loop {
            let Some(of_source) = self.sources.get(name) else {
                return Ok(deleted);
            };
            let rows = of_source.held.without(seen, CHUNK);
            if rows.is_empty() {
                self.commit()?;
                return Ok(deleted);
            }
            self.at_once(|conn| {
                let mut delete = conn.prepare_cached("DELETE FROM row WHERE row = ?1")?;
                for row in &rows {
                    delete.execute([row])?;
                }
                Ok(())
            })?;
            deleted += rows.len() as u64;
            if let Some(of_source) = self.sources.get_mut(name) {
                for row in rows {
                    of_source.held.remove(row);
                }
            }
        }
    }

    /// Deletes all that is known of a source.
    pub(super) fn wipe(&mut self, name: &Name, shared: &Shared) -> rusqlite::Result<()> {
        let Some(number) = self.sources.get(name).map(|known| known.number) else {
            return Ok(());
        };
        // The mark first: without it no row answers, whenever this is interrupted.
        self.at_once(|conn| {
            for table in ["mark", "short", "pass", "strike"] {
                conn.execute(&format!("DELETE FROM {table} WHERE source = ?1"), [number])?;
            }
            Ok(())
        })?;
        if let Some(of_source) = self.sources.get_mut(name) {
            of_source.mark = None;
        }
        shared.strikes().forget_source(name);
        self.delete_unseen(name, &Bitmap::default())?;
        self.at_once(|conn| conn.execute("DELETE FROM source WHERE number = ?1", [number]))?;
        self.sources.remove(name);
        self.give_back()
    }

    /// Returns free pages to the filesystem, with what stood in them.
    fn give_back(&mut self) -> rusqlite::Result<()> {
        let free = |conn: &Connection| -> rusqlite::Result<u32> {
            conn.query_row("PRAGMA freelist_count", [], |row| row.get(0))
        };
        let mut left = free(&self.conn)?;
        while left > 0 {
            self.conn
                .execute_batch(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
            let now = free(&self.conn)?;
            if now >= left {
                break;
            }
            left = now;
        }
        Ok(())
    }

    /// Writes what was struck since the last time.
    pub(super) fn write_strikes(&mut self, shared: &Shared) -> rusqlite::Result<()> {
        let unwritten = shared.strikes().unwritten();
        if unwritten.is_empty() {
            return Ok(());
        }
        // A name that is not in the file has no rows.
        let numbered: Vec<(i64, Strike)> = unwritten
            .iter()
            .filter_map(|(name, strike)| Some((self.sources.get(name)?.number, strike.clone())))
            .collect();
        // Synced: after a power cut the struck rows would answer again. What else a power cut takes is only read again.
        self.commit()?;
        self.conn.pragma_update(None, "synchronous", "full")?;
        self.at_once(|conn| {
            numbered
                .iter()
                .try_for_each(|(source, strike)| put_strike(conn, *source, strike))
        })?;
        self.conn.pragma_update(None, "synchronous", "normal")?;
        shared.strikes().written(&unwritten);
        Ok(())
    }
}

/// The stored row with this key: its number, and where it was read if it is the same and sound.
fn kept(
    conn: &Connection,
    source: i64,
    key: &[u8; 16],
    row: &ListedRow,
) -> rusqlite::Result<Option<(u32, Option<Place>)>> {
    let sql = "SELECT row, source, serial, body, pass, ms, sum FROM row WHERE key = ?1";
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query([key])?;
    let Some(kept) = found.next()? else {
        return Ok(None);
    };
    let [serial, body] = [kept.get_ref(2)?, kept.get_ref(3)?].map(schema::bytes);
    let place = Place {
        pass: kept.get(4)?,
        ms: kept.get(5)?,
    };
    let sum = schema::sum_of_row(kept.get(1)?, key, serial, body, place);
    let is_same = serial == row.serial.as_str().as_bytes() && body == row.body;
    let is_sound = kept.get::<_, i64>(6)? == sum && kept.get::<_, i64>(1)? == source;
    let number = row_number(kept.get(0)?)?;
    Ok(Some((number, (is_same && is_sound).then_some(place))))
}

/// Writes a row over the one with the number `over`, or as a new one; returns its number.
fn put_row(
    conn: &Connection,
    source: i64,
    (over, key): (Option<u32>, &[u8; 16]),
    row: &ListedRow,
    place: Place,
) -> rusqlite::Result<u32> {
    let serial = row.serial.as_str();
    let sum = schema::sum_of_row(source, key, serial.as_bytes(), &row.body, place);
    let (pass, ms) = (place.pass, place.ms);
    let sql = match over {
        None => {
            "INSERT INTO row (row, source, key, serial, body, pass, ms, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        }
        Some(_) => {
            "UPDATE row SET source = ?2, key = ?3, serial = ?4, body = ?5, pass = ?6, ms = ?7, sum = ?8 WHERE row = ?1"
        }
    };
    conn.prepare_cached(sql)?
        .execute(params![over, source, key, serial, row.body, pass, ms, sum])?;
    over.map_or_else(|| row_number(conn.last_insert_rowid()), Ok)
}

fn put_pass(conn: &Connection, source: i64, filling: &Filling) -> rusqlite::Result<()> {
    let (pass, start) = (filling.pass, &filling.start);
    conn.execute(
        "INSERT OR REPLACE INTO pass (source, number, boot_id, boot, date, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            source,
            pass,
            start.boot_id.as_bytes(),
            schema::nanos_of_boot(start.boot),
            schema::nanos_of(start.date),
            schema::sum_of_moment(&[source, pass], start, &[])
        ],
    )?;
    Ok(())
}

fn put_mark(conn: &Connection, source: i64, mark: &Mark, facts: &[u8]) -> rusqlite::Result<()> {
    let Complete { start, rows, reads } = &mark.of;
    conn.execute(
        "INSERT OR REPLACE INTO mark (source, pass, boot_id, boot, date, rows, reads, facts, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            source,
            mark.pass,
            start.boot_id.as_bytes(),
            schema::nanos_of_boot(start.boot),
            schema::nanos_of(start.date),
            rows.cast_signed(),
            reads.cast_signed(),
            facts,
            mark.sum(source, facts)
        ],
    )?;
    conn.execute("DELETE FROM short WHERE source = ?1", [source])?;
    conn.execute("DELETE FROM pass WHERE source = ?1", [source])?;
    conn.execute(
        "DELETE FROM strike WHERE source = ?1 AND pass < ?2",
        [source, mark.pass],
    )?;
    Ok(())
}

fn put_strike(conn: &Connection, source: i64, (serial, place): &Strike) -> rusqlite::Result<()> {
    let serial = serial.as_ref().map_or("", |serial| serial.as_str());
    if serial.is_empty() {
        conn.execute("DELETE FROM strike WHERE source = ?1", [source])?;
    }
    conn.prepare_cached(
        "INSERT OR REPLACE INTO strike (source, serial, pass, ms, sum) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        source,
        serial,
        place.pass,
        place.ms,
        sum_of_strike(source, serial, *place)
    ])?;
    Ok(())
}
