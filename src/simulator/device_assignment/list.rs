//! `POST /server/devices`: all devices of the server, page by page behind an opaque cursor.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Code, Held, MOST, Shown};
use crate::simulator::{Log, listing::ListFault, stock::written};

/// Devices in one page where the client does not say.
const PAGE: usize = 100;
const CURSOR_LIFE: Duration = Duration::from_hours(7 * 24);

/// What a cursor says to the service alone.
#[derive(Clone, Copy)]
struct Cursor {
    place: usize,
    given_at: Timestamp,
    /// How many times cursors had expired before their time.
    expired: u64,
    /// Is there anything behind it?
    more: bool,
}

impl Cursor {
    fn to_text(self) -> String {
        let given_at = self.given_at.as_millisecond();
        URL_SAFE_NO_PAD.encode(format!(
            "{}:{given_at}:{}:{}",
            self.place, self.expired, self.more
        ))
    }

    fn read(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.split(':');
        let cursor = Self {
            place: parts.next()?.parse().ok()?,
            given_at: Timestamp::from_millisecond(parts.next()?.parse().ok()?).ok()?,
            expired: parts.next()?.parse().ok()?,
            more: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(cursor)
    }
}

/// What the client asked for.
struct Question {
    limit: usize,
    cursor: Option<String>,
}

impl Question {
    /// `Err`: what the service does not understand. Apple documents the names and the largest limit, not what it says to others.
    fn read(body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "not JSON".to_owned())?;
        let fields = body.as_object().ok_or("no object")?;
        let mut question = Self {
            limit: PAGE,
            cursor: None,
        };
        for (name, value) in fields {
            match name.as_str() {
                "limit" => {
                    let limit = value.as_u64().and_then(|limit| usize::try_from(limit).ok());
                    let limit = limit.filter(|limit| (1..=MOST).contains(limit));
                    question.limit = limit.ok_or_else(|| format!("limit {value}"))?;
                }
                "cursor" => {
                    let cursor = value.as_str().ok_or_else(|| format!("cursor {value}"))?;
                    question.cursor = Some(cursor.to_owned());
                }
                name => return Err(format!("unknown field {name}")),
            }
        }
        Ok(question)
    }
}

pub(super) fn page(
    held: &mut Held,
    body: &[u8],
    fault: ListFault,
    log: &Log,
) -> Result<Value, Code> {
    let question = Question::read(body).map_err(|what| {
        log.violation(format!("/server/devices: {what}"));
        Code(400, "MALFORMED_REQUEST_BODY")
    })?;
    let now = Timestamp::now();
    let from = match question.cursor.as_deref().map(Cursor::read) {
        None => 0,
        Some(None) => return Err(Code(400, "INVALID_CURSOR")),
        Some(Some(cursor)) => {
            let age = now.duration_since(cursor.given_at).unsigned_abs();
            if cursor.expired < held.cursors_expired || age > CURSOR_LIFE {
                return Err(Code(400, "EXPIRED_CURSOR"));
            }
            if !cursor.more {
                return Err(Code(400, "EXHAUSTED_CURSOR"));
            }
            cursor.place
        }
    };
    let own = held.own();
    let page = fault.page(from, question.limit, own.len() + held.fleet.count(0));
    let behind = |place: usize| place.saturating_sub(own.len());
    let generated = held
        .fleet
        .serials(0, behind(page.rows.start)..behind(page.rows.end));
    let own = own.into_iter().skip(page.rows.start).take(page.rows.len());
    let devices: Vec<Value> = own
        .chain(generated)
        .map(|serial| held.device(&serial, Shown::Listed))
        .collect();
    let next = Cursor {
        place: page.places.end,
        given_at: now,
        expired: held.cursors_expired,
        more: page.more,
    };
    let cursor = question
        .cursor
        .filter(|_| fault.stuck)
        .unwrap_or_else(|| next.to_text());
    Ok(json!({
        "devices": devices, "cursor": cursor, "more_to_follow": page.more, "fetched_until": written(now),
    }))
}
