//! The one check of every reply: an answer is current, complete and unambiguous; anything else becomes a fault with its reason.
//!
//! A source cannot reach a body by another way: it gets a [`Reply`], a [`Refused`] whose text only explains, or a [`Fault`].

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

use super::{
    fault::{Fault, under_clock},
    host_time::{Clocks, Dated, Measure, NotOfNow},
    http_date,
    json::{self, JsonFault},
};
use crate::{
    readiness::spelling,
    reason::Reason,
    runtime::{
        clock::{Boot, ClockWatch},
        times,
    },
};

/// The most seconds that an answer may have spent in a cache.
const OLDEST: u64 = 60;

/// An answer: a documented status, current, complete, JSON. `Debug` does not show its body.
#[derive(Clone)]
pub struct Reply {
    /// The HTTP status, one of those that the request named.
    pub status: u16,
    /// The reply's own `Date`.
    pub date: Timestamp,
    body: Value,
    headers: HeaderMap,
    clock: ClockWatch,
}

impl Reply {
    /// A header's value, by its lower-case name; `None` as well where it is there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        once(&self.headers, name).ok()?
    }

    /// The body.
    pub const fn body(&self) -> &Value {
        &self.body
    }

    /// What `shape` makes of the body.
    ///
    /// # Errors
    /// `garbled_answer` with its words where it cannot.
    pub fn read<T, E: fmt::Display>(
        &self,
        shape: impl FnOnce(&Value) -> Result<T, E>,
    ) -> Result<T, Fault> {
        shape(&self.body).map_err(|wrong| self.garbled(&wrong.to_string()))
    }

    /// A fault that this reply stands for, under the rule of the clock.
    pub fn fault(&self, reason: Reason, detail: &str) -> Fault {
        fault(reason, detail, self.clock, Some(self.date))
    }

    /// It has not the form of an answer to this question.
    pub fn garbled(&self, detail: &str) -> Fault {
        self.fault(Reason::GarbledAnswer, detail)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Reply({})", self.status)
    }
}

/// A reply with status 4xx, a 5xx whose text the request wants, or an undocumented one. It explains why there is no answer and says nothing about a box.
#[derive(Clone)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    headers: HeaderMap,
    text: Vec<u8>,
    is_page: bool,
    host: String,
    date: Option<Timestamp>,
    clock: ClockWatch,
}

impl Refused {
    /// A header's value, by its lower-case name; `None` as well where it is there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        once(&self.headers, name).ok()?
    }

    /// The beginning of its text, in which a service's own code may stand. Never to be shown. Empty for a web page: whatever words
    /// stand there are not the service's.
    pub fn text(&self) -> String {
        if self.is_page {
            String::new()
        } else {
            String::from_utf8_lossy(&self.text).into_owned()
        }
    }

    /// The fault it means, under the rule of the clock. For a web page, which the service did not write, the text says so instead of `detail`.
    pub fn fault(&self, reason: Reason, detail: &str) -> Fault {
        let likelier = match reason {
            Reason::CredentialsRefused => {
                "a web filter or a proxy in between is likelier than a refused credential"
            }
            Reason::GarbledAnswer => {
                "look for a web filter or a proxy in between, and at the address in the config"
            }
            _ => return fault(reason, detail, self.clock, self.date),
        };
        if !self.is_page {
            return fault(reason, detail, self.clock, self.date);
        }
        let page = format!(
            "A web page came in the place of {}'s answer ({}): {likelier}.",
            self.host, self.status
        );
        fault(reason, &page, self.clock, self.date)
    }
}

/// Under which name the clock of a host is known.
pub(super) fn clock_of(url: &Url) -> String {
    format!(
        "{}:{}",
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or_default()
    )
}

impl fmt::Debug for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Refused({})", self.status)
    }
}

/// Why there is no [`Reply`].
#[derive(Clone, Debug)]
pub enum NoReply {
    /// Nothing that could be one.
    Fault(Fault),
    /// The service says no.
    Refused(Refused),
}

impl From<Fault> for NoReply {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a refusal stands for where the service has no word of its own for it.
impl From<NoReply> for Fault {
    fn from(no: NoReply) -> Self {
        match no {
            NoReply::Fault(fault) => fault,
            NoReply::Refused(refused) => match refused.status {
                401 | 403 => refused.fault(Reason::CredentialsRefused, &format!("{} answered {}.", refused.host, refused.status)),
                200..=299 => refused.fault(
                    Reason::GarbledAnswer,
                    &format!(
                        "{} answered {}, which does not answer this question: look for a proxy that changes replies.",
                        refused.host, refused.status
                    ),
                ),
                500..=599 => refused.fault(Reason::SourceError, &format!("The service answered {}.", refused.status)),
                status => refused.fault(Reason::GarbledAnswer, &format!("{} answered {status}.", refused.host)),
            },
        }
    }
}

fn fault(reason: Reason, detail: &str, clock: ClockWatch, replied_at: Option<Timestamp>) -> Fault {
    let judged = under_clock(reason, clock, replied_at);
    let detail = if judged == reason {
        detail
    } else {
        "This station's clock is not synchronised."
    };
    Fault {
        replied_at,
        ..Fault::with(judged, detail)
    }
}

/// A reply as it came from `url`, with the boot-time clock at its request and at its head.
pub(super) struct Came {
    pub(super) url: Url,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) sent: Boot,
    pub(super) came: Boot,
}

impl Came {
    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whose time it is.
    pub(super) fn clock_of(&self) -> String {
        clock_of(&self.url)
    }

    fn no(&self, reason: Reason, detail: String) -> Fault {
        Fault {
            replied_at: self.dated_at(),
            ..Fault::with(reason, detail)
        }
    }

    /// Its `Date`, whatever else is wrong with it.
    pub(super) fn dated_at(&self) -> Option<Timestamp> {
        self.date().ok().flatten()
    }

    /// Its `Date`; `None`: there is none that can be read. `Err`: there are two.
    fn date(&self) -> Result<Option<Timestamp>, ()> {
        Ok(once(&self.headers, "date")?.and_then(http_date))
    }

    /// It is a refusal, whatever it says.
    pub(super) fn refused(self, text: Vec<u8>, clock: ClockWatch) -> Refused {
        let is_page = is_page(&self.headers, &text);
        Refused {
            status: self.status,
            is_page,
            host: self.host().to_owned(),
            date: self.dated_at(),
            headers: self.headers,
            text,
            clock,
        }
    }

    /// It has a status that the request named, and this body, which came whole: is it an answer?
    pub(super) fn answer(self, body: &[u8], clocks: &Clocks) -> Result<Reply, Fault> {
        let date = self.dated()?;
        self.plain(body)?;
        let value = json::whole(body)
            .map_err(|fault| self.no(Reason::GarbledAnswer, self.no_json(fault, body)))?;
        self.says_no_error(&value)?;
        // Last, so that only what is an answer tells the host's time.
        self.is_of_now(date, clocks)?;
        Ok(Reply {
            status: self.status,
            date,
            body: value,
            headers: self.headers,
            clock: clocks.own,
        })
    }

    /// It has a status that the request named, and a body that begins so and is read as it comes: may it be an answer? Gives its `Date`.
    pub(super) fn begins(&self, body: &[u8], clocks: &Clocks) -> Result<Timestamp, Fault> {
        let date = self.dated()?;
        self.plain(body)?;
        if body.trim_ascii_start().first() != Some(&b'{') {
            let detail = self.no_json(JsonFault::NotJson, body);
            return Err(self.no(Reason::GarbledAnswer, detail));
        }
        self.is_of_now(date, clocks)?;
        Ok(date)
    }

    fn is_of_now(&self, date: Timestamp, clocks: &Clocks) -> Result<(), Fault> {
        let dated = Dated {
            date,
            sent: self.sent,
            came: self.came,
        };
        clocks
            .judge(&self.clock_of(), dated)
            .map_err(|not| self.no(Reason::Stale, self.not_of_now(not)))
    }

    /// Its one `Date`, if no cache has kept it for long.
    fn dated(&self) -> Result<Timestamp, Fault> {
        let host = self.host();
        let twice = |name: &str| {
            self.no(Reason::GarbledAnswer, format!("{host}'s reply has more than one {name}: a proxy or gateway in front of it is at fault."))
        };
        let date = self.date().map_err(|()| twice("Date"))?;
        let age = once(&self.headers, "age").map_err(|()| twice("Age"))?;
        if let Some(age) = age {
            let digits = !age.is_empty() && age.bytes().all(|byte| byte.is_ascii_digit());
            if !digits {
                return Err(self.no(
                    Reason::Stale,
                    format!(
                        "A proxy or cache in front of {host} answered, and its Age cannot be read."
                    ),
                ));
            }
            // A number beyond all bounds is an old one.
            let seconds = age.parse().unwrap_or(u64::MAX);
            if seconds > OLDEST {
                let old = times::length(SignedDuration::from_secs(
                    i64::try_from(seconds).unwrap_or(i64::MAX),
                ));
                return Err(self.no(
                    Reason::Stale,
                    format!(
                        "A proxy or cache in front of {host} answered: this reply is {old} old."
                    ),
                ));
            }
        }
        date.ok_or_else(|| {
            self.no(Reason::Stale, format!("{host}'s reply carries no date that can be read, so nobody can tell its age: look for a proxy or cache."))
        })
    }

    /// Its body is as it is, not packed.
    fn plain(&self, body: &[u8]) -> Result<(), Fault> {
        const GZIP: &[u8] = &[0x1f, 0x8b];
        // One word that takes nothing from the body: hyper has put the chunks together.
        let harmless = |name: &str, word: &[u8]| {
            let mut values = self.headers.get_all(name).iter();
            values
                .next()
                .is_none_or(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(word))
                && values.next().is_none()
        };
        let (content, transfer) = (
            harmless("content-encoding", b"identity"),
            harmless("transfer-encoding", b"chunked"),
        );
        let coding = match (content && transfer, body.starts_with(GZIP)) {
            (true, false) => return Ok(()),
            (true, true) => "gzip".to_owned(),
            (false, _) => {
                let values = self.headers.get_all(if content {
                    "transfer-encoding"
                } else {
                    "content-encoding"
                });
                let stated: Vec<_> = values
                    .iter()
                    .map(|value| String::from_utf8_lossy(value.as_bytes()))
                    .collect();
                spelling::shown(&stated.join(", "))
            }
        };
        Err(self.no(
            Reason::GarbledAnswer,
            format!("{}'s reply is packed (\"{coding}\") though nobody asked for it: look for a proxy that changes replies.", self.host()),
        ))
    }

    /// No service documents an error beside an answer: one of the two is not true.
    fn says_no_error(&self, value: &Value) -> Result<(), Fault> {
        if !matches!(self.status, 200..=299) {
            return Ok(());
        }
        let named = |name: &&str| value.get(name).is_some_and(|error| is_error(name, error));
        match ERRORS.into_iter().find(named) {
            Some(name) => Err(self.no(Reason::GarbledAnswer, names_error(self.host(), name))),
            None => Ok(()),
        }
    }

    fn no_json(&self, fault: JsonFault, body: &[u8]) -> String {
        let host = self.host();
        if is_page(&self.headers, body) {
            return format!(
                "A web page came in the place of {host}'s answer: look for a web filter, a proxy or a network that wants a sign-in."
            );
        }
        no_json(host, fault)
    }

    fn not_of_now(&self, NotOfNow { ahead, by }: NotOfNow) -> String {
        let host = self.host();
        let long = times::length(ahead.abs());
        match (ahead.is_negative(), by) {
            (true, Measure::OwnClock) => {
                format!(
                    "A proxy or cache in front of {host} answered: this reply is {long} old by this station's clock. Else one of the two clocks is wrong."
                )
            }
            (true, Measure::Host | Measure::Disk) => {
                format!("A proxy or cache in front of {host} answered: this reply is {long} old.")
            }
            (false, Measure::OwnClock) => format!(
                "{host}'s reply is dated {long} ahead of this station's clock: one of the two clocks is wrong."
            ),
            (false, Measure::Host | Measure::Disk) => {
                format!(
                    "{host}'s reply is dated {long} ahead of what it said before: its clock was set, or a proxy or cache answered before."
                )
            }
        }
    }
}

/// Fields in which services name an error.
const ERRORS: [&str; 4] = ["error", "errors", "detail", "message"];

/// Does a field of a reply name an error?
pub(super) fn is_error(name: &str, value: &Value) -> bool {
    ERRORS.contains(&name) && !value.is_null()
}

pub(super) fn names_error(host: &str, name: &str) -> String {
    format!("{host}'s answer names an error ({name:?}) beside what it says.")
}

pub(super) fn no_json(host: &str, fault: JsonFault) -> String {
    match fault {
        JsonFault::NameTwice => {
            format!("{host}'s answer gives one name twice, so it can be taken in two ways.")
        }
        JsonFault::TooMuch => format!("{host}'s answer holds more than any list does."),
        JsonFault::NotJson => format!("{host}'s answer is not JSON, or not whole."),
    }
}

pub(super) fn cut_off(host: &str) -> String {
    format!("{host}'s answer was cut off before its end.")
}

pub(super) fn too_large(host: &str, mebibytes: u64) -> String {
    format!("{host}'s answer is larger than {mebibytes} MiB.")
}

/// The value of a header that may occur once; `Err`: it occurs twice. A value that is not text reads as "".
fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values
        .next()
        .map(|value| value.to_str().unwrap_or_default().trim());
    if values.next().is_some() {
        Err(())
    } else {
        Ok(first)
    }
}

/// A page for people, not a program's answer.
fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers
        .get("content-type")
        .map_or(&b""[..], |value| value.as_bytes())
        .trim_ascii_start()
        .to_ascii_lowercase();
    let text = body
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .trim_ascii_start();
    [&b"text/html"[..], b"application/xhtml"]
        .iter()
        .any(|page| kind.starts_with(page))
        || text.starts_with(b"<")
}
