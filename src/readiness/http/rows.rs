//! A reply that is one long list, read record by record: it passes the same door, and is never held as a whole.

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::{
    Limits,
    cutter::{Cutter, Piece},
    door,
    fault::Fault,
    json::JsonFault,
};
use crate::{
    reason::Reason,
    runtime::clock::{self, Boot},
};

/// Such a list may be so many times as large as another reply: 2 GiB.
const LARGER: u64 = 256;
/// The service may think about it for so many times as long as about another question: a minute ..
pub(super) const SLOWER: u32 = 6;
/// .. and may be silent in between for half of that, ..
const SILENT: u32 = 3;
/// .. and the whole list takes a quarter of an hour at most.
const WHOLE: u32 = 90;

/// The list of one reply, as far as it has come. Its head has passed the door.
#[derive(Debug)]
pub struct Rows {
    response: reqwest::Response,
    chunk: Bytes,
    cutter: Cutter,
    limits: Limits,
    host: String,
    date: Timestamp,
    came: Boot,
    left: u64,
    ends_at: Instant,
}

/// What a list is read from.
pub(super) struct Opened {
    pub(super) response: reqwest::Response,
    /// Its first bytes.
    pub(super) chunk: Bytes,
    pub(super) host: String,
    pub(super) date: Timestamp,
    pub(super) came: Boot,
}

impl Rows {
    pub(super) fn new(opened: Opened, list: &'static str, limits: Limits) -> Self {
        let body = u64::try_from(limits.body).unwrap_or(u64::MAX);
        Self {
            response: opened.response,
            chunk: opened.chunk,
            cutter: Cutter::new(list),
            host: opened.host,
            date: opened.date,
            came: opened.came,
            left: body.saturating_mul(LARGER),
            ends_at: Instant::now() + limits.total * WHOLE,
            limits,
        }
    }

    /// The host's time now, by the reply's own `Date`.
    pub fn now(&self) -> Timestamp {
        clock::later(self.date, Boot::now().since(self.came))
    }

    /// The next part; `None`: the reply has come to its end, and is whole.
    ///
    /// # Errors
    /// What is wrong with the reply, or how it broke off. What came before is no whole list.
    pub async fn next(&mut self) -> Result<Option<Piece>, Fault> {
        loop {
            if let Some(piece) = self.cut()? {
                return match piece {
                    Piece::Field(name, value) if door::is_error(&name, &value) => {
                        Err(self.garbled(&door::names_error(&self.host, &name)))
                    }
                    piece => Ok(Some(piece)),
                };
            }
            match self.more().await? {
                Some(chunk) => self.chunk = chunk,
                None if self.cutter.is_whole() => return Ok(None),
                None => return Err(self.no_json(JsonFault::NotJson)),
            }
        }
    }

    /// Has the list begun? A reply without one is no empty list.
    pub const fn has_list(&self) -> bool {
        self.cutter.has_list()
    }

    fn cut(&mut self) -> Result<Option<Piece>, Fault> {
        let mut piece = Ok(None);
        let mut taken = 0;
        for byte in self.chunk.iter().copied() {
            taken += 1;
            piece = self.cutter.take(byte);
            if !matches!(piece, Ok(None)) {
                break;
            }
        }
        let _ = self.chunk.split_to(taken);
        piece.map_err(|fault| self.no_json(fault))
    }

    async fn more(&mut self) -> Result<Option<Bytes>, Fault> {
        let until = self
            .ends_at
            .min(Instant::now() + self.limits.total * SILENT);
        let chunk = match timeout_at(until, self.response.chunk()).await {
            Err(_) => return Err(Fault::bare(Reason::Timeout)),
            Ok(Err(error)) if error.is_timeout() => return Err(Fault::bare(Reason::Timeout)),
            Ok(Err(_)) => return Err(self.garbled(&door::cut_off(&self.host))),
            Ok(Ok(chunk)) => chunk,
        };
        let came = chunk.as_ref().map_or(0, Bytes::len);
        let came = u64::try_from(came).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(came).ok_or_else(|| {
            let mebibytes = self.limits.body as u64 * LARGER / (1024 * 1024);
            self.garbled(&door::too_large(&self.host, mebibytes))
        })?;
        Ok(chunk)
    }

    fn no_json(&self, fault: JsonFault) -> Fault {
        self.garbled(&door::no_json(&self.host, fault))
    }

    /// A fault of what the reply says.
    pub fn garbled(&self, detail: &str) -> Fault {
        Fault {
            replied_at: Some(self.date),
            ..Fault::with(Reason::GarbledAnswer, detail)
        }
    }
}
