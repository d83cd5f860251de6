//! The reading side: its own read-only connection beside the one that writes. Every call blocks on the disk.

mod greens;
mod timeline;
mod today;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, params};
use uuid::Uuid;

use super::{
    files::is_emptied,
    inbox::Shared,
    row::{self, Stored, Unreadable, nanos},
    schema::{self, Found},
    settled::Unsent,
    trouble::Trouble,
};
use crate::{label::Serial, runtime::name::Name};

pub use timeline::{Entry, Unfinished};
pub use today::{Day, Today};

/// Rows read at a time by [`Reader::export`]: a long export must not hold the log back from being written into the file.
const CHUNK: usize = 256;

/// Scans looked at by [`Reader::proofs`], at most: a station is to start soon, however long its record.
const PROOF: usize = 5_000;

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// There is none.
    #[error("there is no journal at {}; has the agent ever run with this state_dir?", .0.display())]
    Absent(PathBuf),
    /// It may not be read by this user.
    #[error("cannot open {}: {why}; run this as the agent's user or as root", path.display())]
    Closed {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Not a journal that this build knows.
    #[error("{} is not a journal that this build can read", .0.display())]
    Foreign(PathBuf),
    /// The disk or the file is damaged; a running agent sets such a file aside by itself.
    #[error("cannot read the journal: {0}")]
    Broken(String),
}

/// Reads the journal. Every method blocks on the disk: call it from a blocking thread.
pub struct Reader {
    source: Source,
    open: Option<(u64, Connection)>,
}

/// Whose journal it is.
enum Source {
    /// This process writes it: its file may be replaced.
    Own(Arc<Shared>),
    /// Another process may.
    File(PathBuf),
}

impl fmt::Debug for Reader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reader")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Reads the journal in `state_dir`, whether or not an agent runs on it. Takes no lock and changes nothing.
    pub fn open(state_dir: &Path) -> Result<Self, ReadFault> {
        let mut reader = Self {
            source: Source::File(state_dir.join("journal.sqlite")),
            open: None,
        };
        reader.conn()?;
        Ok(reader)
    }

    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self {
            source: Source::Own(shared),
            open: None,
        }
    }

    /// The first `limit` rows of the outbox behind `after` (0: from the start), in order of epoch and seq.
    /// Rows set aside are not among them.
    pub fn unsent(&mut self, after: u64, limit: usize) -> Result<Vec<Stored>, ReadFault> {
        self.unsent_until_taken(after, limit).map(Unsent::rows)
    }

    /// As [`Reader::unsent`], for rows that are handed on first: what is settled meanwhile is left out when they are taken.
    pub fn unsent_until_taken(&mut self, after: u64, limit: usize) -> Result<Unsent, ReadFault> {
        let reading = match &self.source {
            Source::Own(shared) => Some(shared.settled.reading()),
            Source::File(_) => None,
        };
        let sql =
            select("delivered_at IS NULL AND aside IS NULL AND row > ?1 ORDER BY row LIMIT ?2");
        let (rows, keys) = self.keyed_rows(&sql, params![after.cast_signed(), limited(limit)])?;
        Ok(Unsent {
            after: keys.last().copied().unwrap_or(after),
            more: keys.len() >= limit,
            rows,
            reading,
        })
    }

    /// The records of one epoch from one seq to another, both included, at most `limit`.
    pub fn range(
        &mut self,
        epoch: Uuid,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, ReadFault> {
        let number: Option<i64> = self.read(|conn| {
            conn.query_row(
                "SELECT number FROM epoch WHERE id = ?1",
                [epoch.as_bytes()],
                |row| row.get(0),
            )
            .optional()
        })?;
        let Some(number) = number else {
            return Ok(Vec::new());
        };
        let key = |seq: u64| schema::row_of(number, seq.min(schema::SEQ_MAX));
        self.rows(
            &select("row BETWEEN ?1 AND ?2 ORDER BY row LIMIT ?3"),
            params![key(from), key(to), limited(limit)],
        )
    }

    /// The record with this `id`, with when it was delivered.
    pub fn find(&mut self, id: Uuid) -> Result<Option<Stored>, ReadFault> {
        let mut found = self.rows(&select("id = ?1"), [id.as_bytes()])?.pop();
        if let (Source::Own(shared), Some(stored)) = (&self.source, &mut found) {
            shared.settled.complete(stored);
        }
        Ok(found)
    }

    /// Everything recorded of one serial number, oldest first.
    pub fn story(&mut self, serial: &Serial) -> Result<Vec<Stored>, ReadFault> {
        let stretches = schema::STRETCHES;
        let of_serial = format!(
            "{stretches} SELECT found.row FROM stretch CROSS JOIN record AS found ON found.row >> 14 = n AND found.serial = ?1"
        );
        self.rows(
            &select(&format!("row IN ({of_serial}) ORDER BY row")),
            [serial.as_str()],
        )
    }

    /// The records at these places that are still there, in order of epoch and seq.
    fn at(&mut self, rows: &[i64]) -> Result<Vec<Stored>, ReadFault> {
        let sql = select("row IN (SELECT value FROM json_each(?1)) ORDER BY row");
        self.rows(&sql, [serde_json::json!(rows).to_string()])
    }

    /// The names of the scanners whose codes arrived without an end key when the agent last ran.
    pub fn unended(&mut self) -> Result<BTreeSet<String>, ReadFault> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT substr(name, 9) FROM counter WHERE name GLOB 'unended *' AND value > 0",
            )?;
            statement.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// When each of these scanners last read a serial number that a source knew; `None`: it read other codes only. A scanner that
    /// read nothing is left out. Looks at the newest 5,000 scans.
    pub fn proofs(
        &mut self,
        scanners: &BTreeSet<Name>,
    ) -> Result<BTreeMap<Name, Option<Timestamp>>, ReadFault> {
        let sql = "SELECT scanner, at, evidence FROM record WHERE cause IS NULL ORDER BY row DESC LIMIT ?1";
        self.read(|conn| {
            let mut proofs = BTreeMap::new();
            let mut statement = conn.prepare_cached(sql)?;
            let mut rows = statement.query([limited(PROOF)])?;
            while let Some(row) = rows.next()? {
                let scanner: String = row.get(0)?;
                let Some(name) = scanners.iter().find(|name| name.as_str() == scanner) else {
                    continue;
                };
                let proof = proofs.entry(name.clone()).or_insert(None);
                if proof.is_none() && row::is_known(&row.get::<_, String>(2)?) {
                    *proof = Some(row::time(row.get(1)?));
                    if proofs.len() == scanners.len() && proofs.values().all(Option::is_some) {
                        break;
                    }
                }
            }
            Ok(proofs)
        })
    }

    /// The newest `limit` records, newest first.
    pub fn newest(&mut self, limit: usize) -> Result<Vec<Stored>, ReadFault> {
        self.rows(
            &select("TRUE ORDER BY row DESC LIMIT ?1"),
            params![limited(limit)],
        )
    }

    /// How many records are unsent, and since when the oldest of them is.
    pub fn outbox(&mut self) -> Result<(u64, Option<Timestamp>), ReadFault> {
        self.read(|conn| {
            let sql =
                "SELECT count(*), min(at) FROM record WHERE delivered_at IS NULL AND aside IS NULL";
            conn.query_row(sql, [], |row| {
                Ok((
                    row.get::<_, i64>(0)?.cast_unsigned(),
                    row.get::<_, Option<i64>>(1)?.map(row::time),
                ))
            })
        })
    }

    /// Records that are set aside: how many, and of the first hundred the seq and why.
    pub fn aside(&mut self) -> Result<(u64, Vec<(u64, String)>), ReadFault> {
        self.read(|conn| {
            let what = "FROM record WHERE aside IS NOT NULL";
            let many = conn
                .query_row(&format!("SELECT count(*) {what}"), [], |row| {
                    row.get::<_, i64>(0)
                })?
                .cast_unsigned();
            let mut statement =
                conn.prepare(&format!("SELECT row, aside {what} ORDER BY row LIMIT 100"))?;
            let rows =
                statement.query_map([], |row| Ok((schema::seq_of(row.get(0)?), row.get(1)?)))?;
            Ok((many, rows.collect::<rusqlite::Result<_>>()?))
        })
    }

    fn path(&self) -> PathBuf {
        match &self.source {
            Source::Own(shared) => shared.path(),
            Source::File(path) => path.clone(),
        }
    }

    /// Reads records. One that this build cannot understand is left out, and set aside if it waits in the outbox:
    /// a single bad row must not hold the others up.
    fn rows(&mut self, sql: &str, params: impl Params) -> Result<Vec<Stored>, ReadFault> {
        self.keyed_rows(sql, params).map(|(found, _)| found)
    }

    /// The records, and the keys of all rows that were looked at.
    fn keyed_rows(
        &mut self,
        sql: &str,
        params: impl Params,
    ) -> Result<(Vec<Stored>, Vec<u64>), ReadFault> {
        let (mut unreadable, mut keys) = (Vec::new(), Vec::new());
        let found = self.read(|conn| {
            let mut found = Vec::new();
            let mut statement = conn.prepare_cached(sql)?;
            let mut rows = statement.query(params)?;
            while let Some(row) = rows.next()? {
                keys.push(row.get::<_, i64>(0)?.cast_unsigned());
                match row::stored(row) {
                    Ok(stored) => found.push(stored),
                    Err(Unreadable::Sqlite(error)) if error.sqlite_error().is_some() => {
                        return Err(error);
                    }
                    Err(error) => {
                        if row.get::<_, Option<i64>>(27)?.is_none() {
                            unreadable.push((row.get::<_, i64>(0)?, error));
                        }
                    }
                }
            }
            Ok(found)
        })?;
        if let Source::Own(shared) = &self.source {
            for (row, error) in unreadable {
                tracing::warn!("setting a row aside: {error}");
                shared.set_aside(row.cast_unsigned(), "unreadable");
            }
        }
        Ok((found, keys))
    }

    fn read<T>(
        &mut self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadFault> {
        let path = self.path();
        let answer = question(self.conn()?);
        answer.map_err(|error| {
            self.open = None;
            if let (Trouble::Corrupt(_), Source::Own(shared)) =
                (Trouble::of(&error, &path), &self.source)
            {
                shared.suspect();
            }
            ReadFault::Broken(error.to_string())
        })
    }

    /// The connection, opened again after the file was replaced.
    fn conn(&mut self) -> Result<&Connection, ReadFault> {
        let path = self.path();
        let (generation, _steady) = match &self.source {
            Source::Own(shared) => {
                let steady = shared
                    .replacing
                    .read()
                    .unwrap_or_else(PoisonError::into_inner);
                (shared.generation(), Some(steady))
            }
            Source::File(_) => (0, None),
        };
        let kept = self.open.take().filter(|(of, _)| *of == generation);
        let open = match kept {
            Some(kept) => kept,
            None => (generation, connect(&path)?),
        };
        Ok(&self.open.insert(open).1)
    }
}

fn connect(path: &Path) -> Result<Connection, ReadFault> {
    if let Err(error) = std::fs::metadata(path) {
        return Err(match error.kind() {
            std::io::ErrorKind::NotFound => ReadFault::Absent(path.to_owned()),
            _ => ReadFault::Closed {
                path: path.to_owned(),
                why: error.to_string(),
            },
        });
    }
    if is_emptied(path) {
        return Err(ReadFault::Absent(path.to_owned()));
    }
    let open = || {
        let conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(Duration::from_secs(2))?;
        conn.pragma_update(None, "trusted_schema", false)?;
        conn.pragma_update(None, "cache_size", -512)?;
        schema::keep_plans(&conn)?;
        let found = schema::look(&conn)?;
        Ok((conn, found))
    };
    match open() {
        Ok((conn, Found::Journal | Found::Newer)) => Ok(conn),
        Ok((_, Found::New)) => Err(ReadFault::Absent(path.to_owned())),
        Ok((_, Found::Foreign)) => Err(ReadFault::Foreign(path.to_owned())),
        Err(error) => {
            let error: rusqlite::Error = error;
            Err(match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) => {
                    ReadFault::Closed {
                        path: path.to_owned(),
                        why: error.to_string(),
                    }
                }
                Some(rusqlite::ErrorCode::NotADatabase) => ReadFault::Foreign(path.to_owned()),
                _ => ReadFault::Broken(error.to_string()),
            })
        }
    }
}

fn select(rest: &str) -> String {
    format!("SELECT {} FROM record WHERE {rest}", row::COLUMNS)
}

fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
