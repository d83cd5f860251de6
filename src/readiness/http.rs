//! The one HTTP client: it refuses whatever a source may not ask, keeps the services' limits, and names every fault.
//!
//! A source's credential can often do more than read. So each client holds a list of what it may ask, and a request that is
//! not on it ends here, before a byte leaves. Redirects are followed by hand, where they differ in a trailing slash only: a credential
//! never reaches another host. Nothing here logs a header or a body.

mod budget;
mod fault;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::{
    CertificateDer,
    pem::{self, PemObject},
};
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::Purpose;
use crate::{
    reason::Reason,
    runtime::{
        clock::{Boot, ClockWatch},
        credential::Secret,
        file,
    },
};
pub use budget::Quota;
use budget::{Budget, Refusal};
pub use fault::{CLOCK_TOLERANCE, Fault, is_of_the_way, under_clock};

/// Hops that a redirect may take (a trailing slash needs one).
const MAX_HOPS: usize = 3;
/// Shorter than the idle time of the gateways in front of the services (60 s and more), so that a request rarely
/// meets a connection that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// Connections that are kept. After a change of the network each kept one may be dead without saying so, and cost a scan its answer.
const POOL_KEPT: usize = 4;

/// A whole system bundle has some hundred kilobytes.
const LARGEST_CA_FILE: u64 = 4 << 20;

/// Why a client cannot be made. The texts name the object and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// The additional trust anchor cannot be read.
    #[error("ca_file {} cannot be read: {error}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// The file holds no usable certificate.
    #[error("ca_file {} holds no certificate: give a PEM file with the authority's certificate", path.display())]
    CaEmpty {
        /// The file.
        path: PathBuf,
    },
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

/// The methods that a source may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A plain read.
    Get,
    /// A read that carries its question in the body, or a token call.
    Post,
}

/// One kind of request that a source may make; everything else is refused before it leaves.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// The method.
    pub method: Method,
    /// Scheme, host, port and leading path.
    pub base: Url,
    /// The path below `base`, without a leading slash; `*` stands for exactly one segment, "" for `base` itself.
    pub path: &'static str,
    /// The query names that may occur.
    pub query: &'static [&'static str],
}

impl Allowed {
    /// A read below `base`.
    pub fn get(base: &Url, path: &'static str, query: &'static [&'static str]) -> Self {
        Self { method: Method::Get, base: base.clone(), path, query }
    }

    /// A question in a body, below `base`.
    pub fn post(base: &Url, path: &'static str) -> Self {
        Self { method: Method::Post, base: base.clone(), path, query: &[] }
    }

    fn fits(&self, method: Method, url: &Url) -> bool {
        method == self.method
            && same_origin(&self.base, url)
            && self.path_fits(url)
            && url.query_pairs().all(|(name, _)| self.query.contains(&&*name))
    }

    fn path_fits(&self, url: &Url) -> bool {
        let below = segments(self.base.path()).chain(segments(self.path));
        let mut asked = segments(url.path());
        // Nothing that a server could decode into another path.
        let harmless = |segment: &str| segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
        below.into_iter().all(|wanted| asked.next().is_some_and(|segment| if wanted == "*" { harmless(segment) } else { wanted == segment }))
            && asked.next().is_none()
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

/// The URL of `path` below `base`, whether or not `base` ends in a slash.
pub fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Does plain http to this URL stay on this machine?
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
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
        Self { connect: Duration::from_secs(10), total: Duration::from_secs(10), body: 8 * 1024 * 1024 }
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
    /// Where the service tells its quota, if it does.
    pub quota: Option<QuotaHeaders>,
    /// Who says whether our clock is right.
    pub clock: ClockWatch,
    /// How long and how much.
    pub limits: Limits,
}

/// One question to a service. Its header values are secrets to everybody but the service.
#[derive(Clone)]
pub struct Request {
    method: Method,
    url: Url,
    headers: Vec<(&'static str, Secret)>,
    body: Vec<u8>,
    repeatable: bool,
}

impl Request {
    /// A plain read.
    pub const fn get(url: Url) -> Self {
        Self { method: Method::Get, url, headers: Vec::new(), body: Vec::new(), repeatable: false }
    }

    /// A question in a body (JSON or a form, as `content_type` says).
    pub fn post(url: Url, content_type: &str, body: Vec<u8>) -> Self {
        Self { method: Method::Post, url, headers: vec![("content-type", Secret::new(content_type))], body, repeatable: false }
    }

    /// Adds a header, by its lower-case name.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, Secret::new(value)));
        self
    }

    /// May be sent once more, as it is, when a kept connection was closed under it. Not for what is signed with a nonce.
    #[must_use]
    pub const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {}", self.method, self.url)
    }
}

/// A complete reply that is neither 429, 5xx nor a redirect. Its body is never shown by `Debug`.
#[derive(Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The reply's own `Date`.
    pub date: Option<Timestamp>,
    /// The body, at most [`Limits::body`] bytes.
    pub body: Vec<u8>,
    headers: HeaderMap,
    clock: ClockWatch,
}

impl Reply {
    /// A header's value, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON of one shape.
    ///
    /// # Errors
    /// `garbled_answer` when it is not. The text of the reply stays out of the fault.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = if error.is_data() { "The answer lacks what it must hold" } else { "The answer is not JSON" };
            self.fault(Reason::GarbledAnswer, &format!("{what} (line {}, column {}).", error.line(), error.column()))
        })
    }

    /// The reply itself when its status is 2xx; else the fault that the status stands for where a service
    /// has no word of its own for it.
    ///
    /// # Errors
    /// `credentials_refused` for 401 and 403 (`clock_unsynced` where the clock may be the cause), `garbled_answer` else.
    pub fn accepted(self) -> Result<Self, Fault> {
        match self.status {
            200..=299 => Ok(self),
            401 | 403 => Err(self.fault(Reason::CredentialsRefused, &format!("The service answered {}.", self.status))),
            status => Err(self.fault(Reason::GarbledAnswer, &format!("The service answered {status}."))),
        }
    }

    /// A fault that this reply stands for, under the rule of the clock.
    pub fn fault(&self, reason: Reason, detail: &str) -> Fault {
        let judged = under_clock(reason, self.clock, self.date);
        let detail = if judged == reason { detail } else { "This station's clock is not synchronised." };
        Fault { replied_at: self.date, ..Fault::with(judged, detail) }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Reply({}, {} bytes)", self.status, self.body.len())
    }
}

/// A source's way to its service. Cheap to clone; the clones share limits and connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    allow: Vec<Allowed>,
    quota: Option<QuotaHeaders>,
    clock: ClockWatch,
    limits: Limits,
    budget: Mutex<Budget>,
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
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(settings.ca_file)?)
            // The environment of a service manager or a shell must not send a credential another way.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(settings.user_agent)
            .connect_timeout(settings.limits.connect)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_KEPT)
            .tcp_nodelay(true)
            .build()
            .map_err(ClientFault::Build)?;
        let shared = Shared {
            allow: settings.allow,
            quota: settings.quota,
            clock: settings.clock,
            limits: settings.limits,
            budget: Mutex::new(Budget::new(settings.reads_per_minute)),
            ahead: Mutex::default(),
        };
        Ok(Self { http, shared: Arc::new(shared) })
    }

    /// Asks, within [`Limits::total`]. Every status but 429, 5xx and redirects comes back as a [`Reply`], because services
    /// put words of their own into the bodies of some; [`Reply::accepted`] judges the others.
    ///
    /// # Errors
    /// [`Fault`] when the request may not leave (`station_fault`, `rate_limited`) or brought no complete reply.
    pub async fn send(&self, request: Request, purpose: Purpose) -> Result<Reply, Fault> {
        let result = match tokio::time::timeout(self.shared.limits.total, self.follow(request.clone(), purpose)).await {
            Ok(result) => result,
            Err(_) => Err(Fault::bare(Reason::Timeout)),
        };
        match &result {
            Ok(reply) => tracing::debug!(?request, status = reply.status, "asked"),
            Err(fault) => tracing::debug!(?request, reason = fault.reason.code(), detail = fault.detail, "asked in vain"),
        }
        result
    }

    /// How long no request may leave because of the service's `Retry-After`; `None`: one may.
    pub fn held_for(&self) -> Option<Duration> {
        self.budget(|budget| budget.held_for(Boot::now()))
    }

    /// The service's quota as last told.
    pub fn quota(&self) -> Option<Quota> {
        self.budget(|budget| budget.quota(Boot::now()))
    }

    /// How far the service's clock was ahead of ours at its last reply, to the second; `None`: no reply with a `Date` yet.
    pub fn service_ahead(&self) -> Option<SignedDuration> {
        *self.shared.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budget<T>(&self, with: impl FnOnce(&mut Budget) -> T) -> T {
        with(&mut self.shared.budget.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn follow(&self, mut request: Request, purpose: Purpose) -> Result<Reply, Fault> {
        for _ in 0..=MAX_HOPS {
            self.may_leave(&request, purpose)?;
            let response = self.exchange(&request).await?;
            let status = response.status().as_u16();
            let date = self.note_head(status, response.headers());
            match status {
                300..=399 => request = redirected(request, status, response.headers(), date)?,
                429 => return Err(Fault { replied_at: date, ..rate_limited("The service asks for fewer requests.", self.held_for()) }),
                500..=599 => return Err(Fault { replied_at: date, ..Fault::with(Reason::SourceError, format!("The service answered {status}.")) }),
                _ => return self.whole(response, date).await.map_err(|fault| Fault { replied_at: date, ..fault }),
            }
        }
        Err(Fault::with(Reason::GarbledAnswer, "The service redirects in a circle."))
    }

    fn may_leave(&self, request: &Request, purpose: Purpose) -> Result<(), Fault> {
        if !self.shared.allow.iter().any(|allowed| allowed.fits(request.method, &request.url)) {
            tracing::error!(?request, "refused a request that this source may not make");
            return Err(Fault::with(Reason::StationFault, "The station refused to make a request that this source may not make."));
        }
        self.budget(|budget| budget.take(purpose, Boot::now())).map_err(|refusal| {
            let why = match refusal {
                Refusal::Held(_) => "The service asks for fewer requests.",
                Refusal::OwnLimit(_) => "The station's own limit of requests a minute is used up.",
                Refusal::KeptForScans(_) => "What is left of the limit is kept for scans.",
            };
            rate_limited(why, Some(refusal.wait()))
        })
    }

    async fn exchange(&self, request: &Request) -> Result<reqwest::Response, Fault> {
        let failed = |error: &reqwest::Error| fault::of_exchange(error, self.shared.clock);
        match self.http.execute(built(request)?).await {
            Ok(response) => Ok(response),
            // A kept connection that the service closes just now looks like this.
            Err(error) if request.repeatable && !error.is_connect() && failed(&error).reason == Reason::Offline => {
                self.http.execute(built(request)?).await.map_err(|error| failed(&error))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Keeps what the head tells of limits, and gives the reply's `Date`.
    fn note_head(&self, status: u16, headers: &HeaderMap) -> Option<Timestamp> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let number = |name: &str| text(name).and_then(|text| text.trim().parse::<u64>().ok());
        let date = text("date").and_then(http_date);
        if let Some(date) = date {
            *self.shared.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(date.duration_since(Timestamp::now()));
        }
        let now = Boot::now();
        if let Some(names) = self.shared.quota
            && let (Some(left), Some(limit)) = (number(names.left), number(names.limit))
        {
            self.budget(|budget| budget.note_quota(Quota { left, limit }, now));
        }
        if matches!(status, 429 | 503)
            && let Some(wait) = text("retry-after").and_then(|text| budget::retry_after(text, date, Timestamp::now()))
        {
            self.budget(|budget| budget.hold(wait, now));
        }
        date
    }

    async fn whole(&self, mut response: reqwest::Response, date: Option<Timestamp>) -> Result<Reply, Fault> {
        let limit = self.shared.limits.body;
        let too_big = || Fault::with(Reason::GarbledAnswer, format!("The answer is larger than {} MiB.", limit / (1024 * 1024)));
        if response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
            return Err(too_big());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| fault::of_body(&error))? {
            if body.len().saturating_add(chunk.len()) > limit {
                return Err(too_big());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status: response.status().as_u16(), date, body, headers: response.headers().clone(), clock: self.shared.clock })
    }
}

fn rate_limited(why: &str, wait: Option<Duration>) -> Fault {
    let retry_at = wait.and_then(|wait| Timestamp::now().checked_add(wait).ok());
    let detail = match retry_at {
        Some(at) => format!("{why} Try again at {}.", at.strftime("%H:%M:%S UTC")),
        None => why.to_owned(),
    };
    Fault { retry_at, ..Fault::with(Reason::RateLimited, detail) }
}

fn built(request: &Request) -> Result<reqwest::Request, Fault> {
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
    };
    let mut built = reqwest::Request::new(method, request.url.clone());
    for (name, value) in &request.headers {
        let mut value = HeaderValue::from_str(value.reveal())
            .map_err(|_| Fault::with(Reason::StationFault, format!("The header {name} holds characters that cannot be sent.")))?;
        value.set_sensitive(true);
        built.headers_mut().insert(HeaderName::from_static(name), value);
    }
    if request.method == Method::Post {
        *built.body_mut() = Some(request.body.clone().into());
    }
    Ok(built)
}

/// The same question with or without the slash at the end of its path, as the service wants it. Any other place is refused: another
/// host must not get the credential, and another question (a dropped filter lists the fleet) must not pass for ours.
fn redirected(request: Request, status: u16, headers: &HeaderMap, date: Option<Timestamp>) -> Result<Request, Fault> {
    let place = headers.get("location").and_then(|value| value.to_str().ok()).and_then(|text| request.url.join(text).ok());
    let detail = match place {
        Some(url) if !same_origin(&request.url, &url) => "The service redirects to another host.".to_owned(),
        Some(url) if request.method == Method::Get && matches!(status, 301 | 302 | 303 | 307 | 308) => {
            if segments(url.path()).eq(segments(request.url.path())) && url.query() == request.url.query() {
                return Ok(Request { url, ..request });
            }
            "The service redirects to another question.".to_owned()
        }
        _ => format!("The service answered {status}."),
    };
    Err(Fault { replied_at: date, ..Fault::with(Reason::GarbledAnswer, detail) })
}

/// Reads an HTTP date ("Sun, 06 Nov 1994 08:49:37 GMT").
pub fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|zoned| zoned.timestamp())
}

/// TLS with the system's trust anchors and, if given, one file of further ones.
fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, ClientFault> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        tracing::warn!("the system has no trusted certificates: install ca-certificates");
    }
    if let Some(path) = ca_file {
        let fault = |error| ClientFault::CaFile { path: path.to_owned(), error };
        let (pem, _) = file::read(path, LARGEST_CA_FILE).map_err(|error| fault(pem::Error::Io(error)))?;
        let own: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(fault)?;
        if own.is_empty() || roots.add_parsable_certificates(own).0 == 0 {
            return Err(ClientFault::CaEmpty { path: path.to_owned() });
        }
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ClientFault::Tls)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests;
