//! What Apple keeps of its callers: sessions and the limit of reads.

use std::collections::{HashMap, HashSet};

use axum::http::HeaderMap;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Options, Refused, SESSION, Token};
use crate::simulator::Limit;

#[derive(Debug)]
pub(super) struct Book {
    pub(super) options: Options,
    pub(super) token: Token,
    pub(super) nonces: HashSet<String>,
    /// When each session ends.
    pub(super) sessions: HashMap<String, Instant>,
    pub(super) made: u64,
    pub(super) replies: u64,
    pub(super) recent: Limit,
}

impl Book {
    pub(super) fn within_limit(&mut self) -> Result<(), Refused> {
        self.recent.take().map_err(Refused::TooMany)
    }

    pub(super) fn opened(&mut self) -> String {
        let word = format!("{}{}", Uuid::now_v7().simple(), fastrand::u64(..));
        self.sessions
            .insert(word.clone(), Instant::now() + self.options.session_life);
        word
    }

    pub(super) fn session(&self, headers: &HeaderMap) -> Result<String, Refused> {
        let word = headers
            .get(&SESSION)
            .and_then(|value| value.to_str().ok())
            .ok_or(Refused::Code(403, "FORBIDDEN"))?;
        match self.sessions.get(word) {
            None => Err(Refused::Code(403, "FORBIDDEN")),
            Some(end) if Instant::now() >= *end => Err(Refused::Code(401, "UNAUTHORIZED")),
            Some(_) => Ok(word.to_owned()),
        }
    }

    /// The session's next word, when its turn has come.
    pub(super) fn rotated(&mut self, word: String) -> Option<String> {
        self.replies += 1;
        if self.options.rotate_every == 0 || !self.replies.is_multiple_of(self.options.rotate_every)
        {
            return Some(word);
        }
        self.sessions.remove(&word);
        Some(self.opened())
    }
}
