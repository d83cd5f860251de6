//! The one HTTP client: it refuses whatever a source may not ask, keeps the services' limits, and names every fault.
//!
//! A source's credential can often do more than read. So each client holds a list of what it may ask, and a request that is
//! not on it ends here, before a byte leaves. Redirects are followed by hand, where they differ in a trailing slash only: a credential
//! never reaches another host. Nothing here logs a header or a body. What comes back passes through the one door (`door`).

mod budget;
mod connections;
mod cookies;
mod cutter;
mod door;
mod fault;
#[cfg(fuzzing)]
mod fuzzing;
mod host_time;
mod json;
mod request;
mod rows;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;
use url::Url;

use super::Purpose;
use crate::{
    reason::Reason,
    runtime::{
        certificate::CertificateFault,
        clock::{self, Boot},
        loopback::is_loopback,
    },
};
pub use budget::Quota;
use budget::{Budget, Refusal};
use connections::Connections;
use cookies::Cookies;
pub use cutter::Piece;
use door::Came;
pub use door::{NoReply, Refused, Reply};
pub use fault::{CLOCK_TOLERANCE, Fault, affects_every_box, in_future, under_clock};
#[cfg(fuzzing)]
pub use fuzzing::judged;
pub use host_time::Clocks;
pub use request::{Allowed, Method, Request, below};
use request::{built, redirected};
pub use rows::Rows;

/// Hops that a redirect may take (a trailing slash needs one).
const MAX_HOPS: usize = 3;
/// So much of a refusal's text is read: a service's own code stands in the first line.
const REFUSAL_TEXT: usize = 64 * 1024;
/// Why a client cannot be made. The texts name the object and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// The additional trust anchor cannot be used.
    #[error("ca_file {0}")]
    CaFile(CertificateFault),
    /// Plain http to another machine would show the credential to the network.
    #[error("{url} is plain http to another machine: use https")]
    PlainHttp {
        /// The base URL.
        url: Url,
    },
    /// A URL that no request can be made from.
    #[error("{url} is not an http or https URL with a host")]
    NotHttp {
        /// The base URL.
        url: Url,
    },
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    /// The HTTP library refused the settings.
    #[error("the HTTP client cannot be made: {0}")]
    Build(reqwest::Error),
}

/// How long and how much a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// For the whole exchange, redirects included.
    pub total: Duration,
    /// Bytes of a body.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            total: Duration::from_secs(10),
            body: 8 * 1024 * 1024,
        }
    }
}

/// The headers in which a service tells its quota, as numbers.
#[derive(Clone, Copy, Debug)]
pub struct QuotaHeaders {
    /// Requests left in the window.
    pub left: &'static str,
    /// The size of the window.
    pub limit: &'static str,
}

/// What a client is made from.
#[derive(Debug)]
pub struct ClientSettings<'a> {
    /// Everything that may be asked.
    pub allow: Vec<Allowed>,
    /// `User-Agent`.
    pub user_agent: &'a str,
    /// A trust anchor beside the system's.
    pub ca_file: Option<&'a Path>,
    /// Own limit; 0: none.
    pub reads_per_minute: u32,
    /// The part of the service's limit that may be used, else of `reads_per_minute`; over 0 to 1.
    pub quota_share: f64,
    /// Where the service tells its quota, if it does.
    pub quota: Option<QuotaHeaders>,
    /// Our clock, and the hosts'.
    pub clocks: Clocks,
    /// How long and how much.
    pub limits: Limits,
}

/// A text as JSON, as the door reads it; `None`: it is none.
#[cfg(any(test, fuzzing))]
pub fn json(text: &[u8]) -> Option<serde_json::Value> {
    json::whole(text).ok()
}

/// A reply that is one long list as [`Client::rows`] reads it: its parts, and whether it has the list; `None`: it is not whole.
#[cfg(any(test, fuzzing))]
pub fn pieces(text: &[u8], list: &'static str) -> Option<(Vec<Piece>, bool)> {
    let mut cutter = cutter::Cutter::new(list);
    let mut pieces = Vec::new();
    for byte in text {
        pieces.extend(cutter.take(*byte).ok()?);
    }
    cutter.is_whole().then(|| (pieces, cutter.has_list()))
}

/// A source's way to its service. Cheap to clone; the clones share limits and connections.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connections: Connections,
    allow: Vec<Allowed>,
    quota: Option<QuotaHeaders>,
    clocks: Clocks,
    limits: Limits,
    budget: Mutex<Budget>,
    reads_of_passes: AtomicU64,
    cookies: Cookies,
    ahead: Mutex<Option<SignedDuration>>,
}

impl Client {
    /// A client that asks what is allowed and nothing else.
    ///
    /// # Errors
    /// [`ClientFault`] when a base URL or the `ca_file` cannot be used.
    pub fn new(settings: ClientSettings<'_>) -> Result<Self, ClientFault> {
        for Allowed { base: url, .. } in &settings.allow {
            match url.scheme() {
                _ if !url.has_host() => return Err(ClientFault::NotHttp { url: url.clone() }),
                "https" => {}
                "http" if is_loopback(url) => {}
                "http" => return Err(ClientFault::PlainHttp { url: url.clone() }),
                _ => return Err(ClientFault::NotHttp { url: url.clone() }),
            }
        }
        let shared = Shared {
            connections: Connections::new(
                settings.ca_file,
                settings.user_agent,
                settings.limits.connect,
            )?,
            allow: settings.allow,
            quota: settings.quota,
            clocks: settings.clocks,
            limits: settings.limits,
            budget: Mutex::new(Budget::new(settings.reads_per_minute, settings.quota_share)),
            reads_of_passes: AtomicU64::new(0),
            cookies: Cookies::default(),
            ahead: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Asks, within [`Limits::total`].
    ///
    /// # Errors
    /// [`NoReply`] when the request may not leave (`station_fault`, `rate_limited`), or brought nothing that passes the door.
    pub async fn send(&self, request: Request, purpose: Purpose) -> Result<Reply, NoReply> {
        self.send_made(|| request.clone(), purpose).await
    }

    /// As [`Client::send`], for a request that must be built again each time it is sent, because its signature is used once.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_made(
        &self,
        make: impl Fn() -> Request + Send + Sync,
        purpose: Purpose,
    ) -> Result<Reply, NoReply> {
        let first = make();
        let request = format!("{first:?}");
        let answer = async {
            let (request, headed) = self.head(first, &make, purpose).await?;
            let Headed { response, came } = headed;
            let (end, body) = body(response, self.shared.limits.body).await;
            end.map_err(|reason| Fault {
                replied_at: came.dated_at(),
                ..self.cut(&request, reason)
            })?;
            Ok(came.answer(&body, &self.shared.clocks)?)
        };
        let result = within(self.shared.limits.total, answer).await;
        log(&request, &result, |reply| reply.status);
        result
    }

    /// Asks for a reply that is one long list, the field `list`, and is read as it comes. Only for a list that has no pages.
    ///
    /// # Errors
    /// As [`Client::send`], by the head of the reply and its first bytes.
    pub async fn rows(
        &self,
        request: Request,
        purpose: Purpose,
        list: &'static str,
    ) -> Result<Rows, NoReply> {
        let shown = format!("{request:?}");
        let make = || request.clone();
        let opened = async {
            let (request, headed) = self.head(make(), &make, purpose).await?;
            let Headed { mut response, came } = headed;
            let host = request.url.host_str().unwrap_or_default().to_owned();
            let no = |end| Fault {
                replied_at: came.dated_at(),
                ..self.cut(&request, end)
            };
            let chunk = first_of(&mut response).await.map_err(no)?;
            let date = came.begins(&chunk, &self.shared.clocks)?;
            let came = came.came;
            let opened = rows::Opened {
                response,
                chunk,
                host,
                date,
                came,
            };
            Ok(Rows::new(opened, list, self.shared.limits))
        };
        let result = within(self.shared.limits.total * rows::SLOWER, opened).await;
        log(&shown, &result, |_| 200);
        result
    }

    /// From now on replies' cookies are sent back, beginning with none. Only for a client that asks one host.
    pub fn begin_cookies(&self) {
        self.shared.cookies.begin();
    }

    /// How many requests for passes have left.
    pub fn reads_of_passes(&self) -> u64 {
        self.shared.reads_of_passes.load(Ordering::Relaxed)
    }

    /// How long no request may leave because of the service's `Retry-After`; `None`: one may.
    pub fn held_for(&self) -> Option<Duration> {
        self.budget(|budget| budget.held_for(Boot::now()))
    }

    /// The service's quota by its last reply.
    pub fn quota(&self) -> Option<Quota> {
        self.budget(|budget| budget.quota(Boot::now()))
    }

    /// Is over half of what may be used of the service's limit still left? `None`: no limit is known.
    pub fn over_half_left(&self) -> Option<bool> {
        self.budget(|budget| budget.over_half_left(Boot::now()))
    }

    /// The service's time now; `None`: it was not heard since the machine started, and nobody keeps our clock.
    pub fn service_now(&self) -> Option<Timestamp> {
        let base = &self.shared.allow.first()?.base;
        self.shared.clocks.at(&door::clock_of(base), Boot::now())
    }

    /// How far the service's clock was ahead of ours at its last reply, to the second; `None`: no reply with a `Date` yet.
    pub fn service_ahead(&self) -> Option<SignedDuration> {
        *self
            .shared
            .ahead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn budget<T>(&self, with: impl FnOnce(&mut Budget) -> T) -> T {
        with(
            &mut self
                .shared
                .budget
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Asks until the reply is neither a redirect nor a fault nor a refusal.
    async fn head(
        &self,
        first: Request,
        make: &(impl Fn() -> Request + Sync),
        purpose: Purpose,
    ) -> Result<(Request, Headed), NoReply> {
        let mut next = first;
        for _ in 0..=MAX_HOPS {
            let (request, response, [sent, came]) = self.exchange(next, make, purpose).await?;
            let status = response.status().as_u16();
            let date = self.note_head(status, response.headers());
            let no = |fault: Fault| {
                NoReply::Fault(Fault {
                    replied_at: date,
                    ..fault
                })
            };
            match status {
                300..=399 => {
                    let url = redirected(&request, status, response.headers()).map_err(no)?;
                    next = make().at(url);
                }
                429 => {
                    return Err(no(rate_limited(
                        "The service asks for fewer requests.",
                        self.held_for(),
                    )));
                }
                500..=599 if !request.explained.contains(&status) => {
                    return Err(no(Fault::with(
                        Reason::SourceError,
                        format!("The service answered {status}."),
                    )));
                }
                _ => {
                    let reply = Came {
                        url: request.url.clone(),
                        status,
                        headers: response.headers().clone(),
                        sent,
                        came,
                    };
                    if request.documented.contains(&status) {
                        let came = reply;
                        return Ok((request, Headed { response, came }));
                    }
                    // Of a refusal that is cut there is what came of it.
                    let text = body(response, REFUSAL_TEXT).await.1;
                    return Err(NoReply::Refused(
                        reply.refused(text, self.shared.clocks.own),
                    ));
                }
            }
        }
        Err(Fault::with(Reason::GarbledAnswer, "The service redirects in a circle.").into())
    }

    fn cut(&self, request: &Request, end: BodyEnd) -> Fault {
        let host = request.url.host_str().unwrap_or_default();
        match end {
            BodyEnd::Timeout => Fault::bare(Reason::Timeout),
            BodyEnd::Cut => Fault::with(Reason::GarbledAnswer, door::cut_off(host)),
            BodyEnd::TooLong => {
                let mebibytes = self.shared.limits.body as u64 / (1024 * 1024);
                Fault::with(Reason::GarbledAnswer, door::too_large(host, mebibytes))
            }
        }
    }

    fn may_leave(&self, request: &Request, purpose: Purpose) -> Result<(), Fault> {
        if !self
            .shared
            .allow
            .iter()
            .any(|allowed| allowed.fits(request.method, &request.url))
        {
            tracing::error!(?request, "refused a request that this source may not make");
            return Err(Fault::with(
                Reason::StationFault,
                "The station refused to make a request that this source may not make.",
            ));
        }
        self.budget(|budget| budget.take(purpose, Boot::now()))
            .map_err(|refusal| {
                let why = match refusal {
                    Refusal::Held(_) => "The service asks for fewer requests.",
                    Refusal::OwnLimit(_) => {
                        "The station's own limit of requests a minute is used up."
                    }
                    Refusal::Share(_) => {
                        "The station's share of the service's limit (quota_share) is used up."
                    }
                    Refusal::KeptForScans(_) => "What is left of the limit is kept for scans.",
                };
                rate_limited(why, Some(refusal.wait()))
            })?;
        if purpose == Purpose::Pass {
            self.shared.reads_of_passes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sends the request, and once more on a new connection where a kept one died before a head came.
    async fn exchange(
        &self,
        request: Request,
        make: &(impl Fn() -> Request + Sync),
        purpose: Purpose,
    ) -> Result<(Request, reqwest::Response, [Boot; 2]), Fault> {
        let failed = |error: &reqwest::Error| fault::of_exchange(error, self.shared.clocks.own);
        let (connections, cookies) = (&self.shared.connections, &self.shared.cookies);
        let kept = connections.kept();
        self.may_leave(&request, purpose)?;
        let sent = Boot::now();
        match connections.ask(&kept, built(&request, cookies)?).await {
            Ok(response) => Ok((request, response, [sent, Boot::now()])),
            Err(error) if !error.is_connect() && failed(&error).reason == Reason::Offline => {
                let fresh = connections.fresh().map_err(|error| failed(&error))?;
                let request = make().at(request.url);
                self.may_leave(&request, purpose)?;
                let sent = Boot::now();
                let result = fresh.execute(built(&request, cookies)?).await;
                connections.give_up(&kept, Some(fresh));
                Ok((
                    request,
                    result.map_err(|error| failed(&error))?,
                    [sent, Boot::now()],
                ))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Keeps what the head tells of limits, and gives the reply's `Date`.
    fn note_head(&self, status: u16, headers: &HeaderMap) -> Option<Timestamp> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let number = |name: &str| text(name).and_then(|text| text.trim().parse::<u64>().ok());
        let date = text("date").and_then(http_date);
        self.shared.cookies.note(headers);
        if let Some(date) = date {
            *self
                .shared
                .ahead
                .lock()
                .unwrap_or_else(PoisonError::into_inner) =
                Some(date.duration_since(Timestamp::now()));
        }
        let now = Boot::now();
        if let Some(names) = self.shared.quota
            && let (Some(left), Some(limit)) = (number(names.left), number(names.limit))
        {
            self.budget(|budget| budget.note_quota(Quota { left, limit }, now));
        }
        let wait =
            text("retry-after").and_then(|text| budget::retry_after(text, date, Timestamp::now()));
        self.budget(|budget| match (status, wait) {
            (429 | 500..=599, Some(wait)) => budget.hold(wait, now),
            (429, None) => budget.strain(now),
            _ => budget.relax(),
        });
        date
    }
}

/// A reply whose status is documented, before its body.
struct Headed {
    response: reqwest::Response,
    came: Came,
}

/// What comes of a question within `limit`.
async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, NoReply>>,
) -> Result<T, NoReply> {
    match tokio::time::timeout(limit, asked).await {
        Ok(result) => result,
        Err(_) => Err(Fault::bare(Reason::Timeout).into()),
    }
}

fn log<T>(request: &str, result: &Result<T, NoReply>, status: impl Fn(&T) -> u16) {
    match result {
        Ok(reply) => tracing::debug!(request, status = status(reply), "asked"),
        Err(NoReply::Refused(refused)) => {
            tracing::debug!(request, status = refused.status, "asked");
        }
        Err(NoReply::Fault(fault)) => tracing::debug!(
            request,
            reason = fault.reason.code(),
            detail = fault.detail,
            "asked in vain"
        ),
    }
}

/// The first bytes of a body; none: it is empty.
async fn first_of(response: &mut reqwest::Response) -> Result<Bytes, BodyEnd> {
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(Bytes::new()),
            Ok(Some(chunk)) if chunk.is_empty() => {}
            Ok(Some(chunk)) => return Ok(chunk),
            Err(error) if error.is_timeout() => return Err(BodyEnd::Timeout),
            Err(_) => return Err(BodyEnd::Cut),
        }
    }
}

/// How a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyEnd {
    Timeout,
    Cut,
    TooLong,
}

/// What came of a body, and whether that is all of it.
async fn body(mut response: reqwest::Response, limit: usize) -> (Result<(), BodyEnd>, Vec<u8>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return (Ok(()), body),
            Ok(Some(chunk)) => {
                let room = limit.saturating_sub(body.len());
                body.extend_from_slice(&chunk.slice(..chunk.len().min(room)));
                if chunk.len() > room {
                    return (Err(BodyEnd::TooLong), body);
                }
            }
            Err(error) if error.is_timeout() => return (Err(BodyEnd::Timeout), body),
            Err(_) => return (Err(BodyEnd::Cut), body),
        }
    }
}

fn rate_limited(why: &str, wait: Option<Duration>) -> Fault {
    let retry_at = wait.map(|wait| clock::later(Timestamp::now(), wait));
    let detail = match retry_at {
        Some(at) => format!("{why} Try again at {}.", at.strftime("%H:%M:%S UTC")),
        None => why.to_owned(),
    };
    Fault {
        retry_at,
        ..Fault::with(Reason::RateLimited, detail)
    }
}

/// Can a word that a service gave, a token, be sent back to it in a header?
pub fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads an HTTP date ("Sun, 06 Nov 1994 08:49:37 GMT").
pub fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text.trim())
        .ok()
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
pub(super) mod tests;
