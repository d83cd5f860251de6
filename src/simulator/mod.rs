//! What the simulators of all services share: the server on loopback, the faults, and the boxes of the demo.
//!
//! The simulator of a service stands in its folder, `readiness/<service>/simulator/`, and does not share the station's
//! understanding of that service.
//!
//! A simulator verifies what it is asked as strictly as it answers, and notes what the service would not have
//! understood ([`Running::violations`]). Any fault of the way can be switched on, for everything, for one path or
//! for one serial number: by flag, through the handle, or by `PUT /_simulator/faults` while it runs.

pub mod books;
pub mod device_assignment;
pub mod faults;
pub mod fleet;
pub mod listing;
pub mod stock;
mod wire;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, time::Instant};

use faults::{Effect, Faults};
use wire::{Door, End, Wire};

/// The requests of which the last ones are kept.
const REMEMBERED: usize = 10_000;
/// Requests are small; a larger one is refused.
const LARGEST_QUESTION: usize = 1024 * 1024;

/// A simulator that serves until it is dropped or stopped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    faults: Faults,
    log: Log,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a trailing slash.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The switches.
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The requests that came, oldest first, as "GET /path?query".
    pub fn requests(&self) -> Vec<String> {
        self.log.with(|log| log.requests.iter().cloned().collect())
    }

    /// How many requests came, how many are being answered, and the most there were at once.
    pub fn counts(&self) -> Counts {
        self.log.with(|log| log.counts)
    }

    /// What was asked otherwise than the service would have understood.
    pub fn violations(&self) -> Vec<String> {
        self.log.with(|log| log.violations.clone())
    }

    /// Forgets the requests and counts so far.
    pub fn forget(&self) {
        self.log.with(|log| {
            log.requests.clear();
            log.violations.clear();
            log.counts = Counts {
                total: 0,
                under_way: log.counts.under_way,
                most_under_way: log.counts.under_way,
                too_many: 0,
            };
        });
    }

    /// Stops; connections under way are cut.
    pub fn stop(&self) {
        let _ = self.stop.send(true);
    }
}

/// A simulated service that serves until it is dropped, and what its handle can change of it.
#[derive(Debug)]
pub struct Served<S> {
    pub(crate) running: Running,
    pub(crate) service: S,
}

/// It can do what every simulator can.
impl<S> Deref for Served<S> {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A running simulator with the demo's boxes, and what a station needs to ask it.
#[derive(Debug)]
pub struct Introduction {
    pub running: Running,
    /// Its `[[source]]`; every line is TOML.
    pub source: String,
    /// The credential's name and content.
    pub credential: (&'static str, String),
    /// The calls that list everything, page by page.
    pub lists: &'static [&'static str],
    /// Boxes to scan: serial number, reason, words.
    pub boxes: Vec<(&'static str, &'static str, &'static str)>,
    /// Where this MDM stands in Kandji's place: the boxes of [`stock::DEMO`] that get another reason, and that reason.
    pub differs: &'static [(&'static str, &'static str)],
}

/// For what a simulator is started by hand.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub listen: SocketAddr,
    /// Generated boxes besides the demo's.
    pub boxes: u32,
    /// Does it keep the limits that the service is known to keep?
    pub limits: bool,
}

/// A limit of requests within a time.
#[derive(Debug)]
pub(crate) struct Limit {
    /// 0: none.
    most: usize,
    within: Duration,
    recent: VecDeque<Instant>,
}

impl Limit {
    pub(crate) const fn new(most: usize, within: Duration) -> Self {
        Self {
            most,
            within,
            recent: VecDeque::new(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// It is one too many: seconds until the next one fits, for `Retry-After`.
    pub(crate) fn take(&mut self) -> Result<(), u64> {
        let now = Instant::now();
        while self
            .recent
            .front()
            .is_some_and(|at| now.duration_since(*at) >= self.within)
        {
            self.recent.pop_front();
        }
        if self.most > 0 && self.recent.len() >= self.most {
            let passed = self.recent.front().map_or(Duration::ZERO, Instant::elapsed);
            let wait = self.within.saturating_sub(passed).as_secs_f64();
            // Rounded up, so that a request after it fits.
            return Err(Duration::from_secs_f64(wait.ceil().max(1.0)).as_secs());
        }
        // Without a limit nothing is remembered.
        if self.most > 0 {
            self.recent.push_back(now);
        }
        Ok(())
    }

    /// How many more fit now; `None`: any number.
    pub(crate) fn left(&self) -> Option<usize> {
        (self.most > 0).then(|| self.most.saturating_sub(self.recent.len()))
    }
}

/// Puts the fields of `other` in the place of the record's own; a null takes one away.
pub(crate) fn overlay(record: &mut Value, other: Option<&Value>) {
    if let (Some(Value::Object(other)), Some(fields)) = (other, record.as_object_mut()) {
        for (name, value) in other {
            if value.is_null() {
                fields.remove(name);
            } else {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Numbers of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that came.
    pub total: u64,
    /// Being answered now.
    pub under_way: u64,
    /// The most that were being answered at once.
    pub most_under_way: u64,
    /// Answered with 429.
    pub too_many: u64,
}

/// What a simulator was asked. Cheap to clone; the clones are one log.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    requests: VecDeque<String>,
    violations: Vec<String>,
    counts: Counts,
}

impl Log {
    /// Notes a request that the service would not have understood.
    pub fn violation(&self, what: impl Into<String>) {
        let what = what.into();
        tracing::warn!(
            what,
            "the simulator was asked what the service does not understand"
        );
        self.with(|log| log.violations.push(what));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self, request: String) -> UnderWay {
        self.with(|log| {
            if log.requests.len() >= REMEMBERED {
                log.requests.pop_front();
            }
            log.requests.push_back(request);
            log.counts.total += 1;
            log.counts.under_way += 1;
            log.counts.most_under_way = log.counts.most_under_way.max(log.counts.under_way);
        });
        UnderWay(self.clone())
    }
}

/// Counts a request as under way until it is dropped.
struct UnderWay(Log);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0
            .with(|log| log.counts.under_way = log.counts.under_way.saturating_sub(1));
    }
}

/// Serves `service` on a loopback address, with faults in front of it.
///
/// # Errors
/// When the address is not a loopback one, or cannot be bound.
pub async fn serve(
    service: Router,
    listen: SocketAddr,
    faults: Faults,
    log: Log,
) -> io::Result<Running> {
    if !listen.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{listen} is not a loopback address: a simulator serves this machine only"),
        ));
    }
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let (stop, mut stopped) = watch::channel(false);
    let front = Front {
        faults: faults.clone(),
        log: log.clone(),
    };
    let app = service
        .layer(middleware::from_fn_with_state(front, answer))
        .into_make_service_with_connect_info::<Wire>();
    let door = Door::new(listener, stop.subscribe());
    tokio::spawn(async move {
        tokio::select! {
            result = async { axum::serve(door, app).await } => if let Err(error) = result { tracing::error!(%error, "the simulator stopped") },
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    });
    Ok(Running {
        address,
        faults,
        log,
        stop,
    })
}

#[derive(Clone)]
struct Front {
    faults: Faults,
    log: Log,
}

/// Everything passes here: the control of the faults, the log, and the faults themselves.
async fn answer(
    State(front): State<Front>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_QUESTION).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let asked = parts
        .uri
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    if parts.uri.path() == "/_simulator/faults" {
        return control(&front, &parts.method, &body);
    }
    let _under_way = front.log.begin(format!("{} {asked}", parts.method));
    let [of_box, switched] = front.faults.effects_on(parts.uri.path(), &asked, &body);
    // The service itself cuts its list into pages.
    if let Some(Effect::List(fault)) = &switched {
        parts.extensions.insert(*fault);
    }
    let served = next.run(Request::from_parts(parts, Body::from(body)));
    let served = async {
        match switched {
            None => served.await,
            Some(effect) => under(effect, &asked, &wire, served).await,
        }
    };
    let response = match of_box {
        None => served.await,
        Some(effect) => under(effect, &asked, &wire, served).await,
    };
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        front.log.with(|log| log.counts.too_many += 1);
    }
    response
}

async fn under(
    effect: Effect,
    asked: &str,
    wire: &Wire,
    served: impl Future<Output = Response>,
) -> Response {
    match effect {
        Effect::Status(status) => fault_status(status),
        Effect::Say { status, text } => said(status, text),
        Effect::TooMany { retry_after } => {
            let mut response = fault_status(429);
            if let Some(value) = retry_after.and_then(|text| HeaderValue::from_str(&text).ok()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            response
        }
        Effect::Html => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "text/html")],
            "<!doctype html><title>Sign in to the guest network</title>",
        )
            .into_response(),
        Effect::Huge { bytes } => (
            [(header::CONTENT_TYPE, "application/json")],
            Body::new(wire::Flood::of_spaces(bytes)),
        )
            .into_response(),
        Effect::Silence(time) | Effect::Delay(time) => {
            tokio::time::sleep(time).await;
            served.await
        }
        Effect::Reset => ended(wire, End::Reset),
        Effect::Drop => ended(wire, End::Close),
        Effect::Redirect(target) => redirect(&format!("{}{asked}", target.trim_end_matches('/'))),
        changed => change(changed, served.await).await,
    }
}

/// The true answer, changed.
async fn change(effect: Effect, mut response: Response) -> Response {
    match effect {
        Effect::CutJson | Effect::CutBody => {
            let (mut parts, body) = response.into_parts();
            let whole = axum::body::to_bytes(body, usize::MAX)
                .await
                .unwrap_or_default();
            let half = whole.slice(..whole.len() / 2);
            if effect == Effect::CutJson {
                parts.headers.remove(header::CONTENT_LENGTH);
                return Response::from_parts(parts, Body::from(half));
            }
            parts
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
            Response::from_parts(parts, Body::new(wire::Flood::cut_after(half)))
        }
        Effect::Date(text) => dated(response, &text),
        Effect::Clock(off) => {
            let shown = response
                .headers()
                .get(header::DATE)
                .and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
            let true_time = shown.map_or_else(Timestamp::now, |date| date.timestamp());
            dated(
                response,
                &http_date(true_time.checked_add(off).unwrap_or(true_time)),
            )
        }
        Effect::As(status) => {
            *response.status_mut() =
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            response
        }
        Effect::Header { name, value } => {
            // The server writes a date only where none is.
            if !response.headers().contains_key(header::DATE) {
                response = dated(response, &http_date(Timestamp::now()));
            }
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(&value))
            {
                response.headers_mut().append(name, value);
            }
            response
        }
        Effect::Replace { from, to } => {
            let (mut parts, body) = response.into_parts();
            let whole = axum::body::to_bytes(body, usize::MAX)
                .await
                .unwrap_or_default();
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(
                parts,
                Body::from(String::from_utf8_lossy(&whole).replace(&from, &to)),
            )
        }
        _ => response,
    }
}

fn dated(mut response: Response, date: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(date) {
        response.headers_mut().insert(header::DATE, value);
    }
    response
}

fn http_date(moment: Timestamp) -> String {
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The connection ends instead of a reply: what is written here meets a wire that lets nothing through any more.
fn ended(wire: &Wire, end: End) -> Response {
    wire.end(end);
    StatusCode::NO_CONTENT.into_response()
}

fn fault_status(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        r#"{"message":"simulated fault"}"#,
    )
        .into_response()
}

fn said(status: u16, text: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = match text.trim_start().chars().next() {
        Some('<') => "text/html",
        Some('{') => "application/json",
        _ => "text/plain",
    };
    (status, [(header::CONTENT_TYPE, kind)], text).into_response()
}

fn redirect(target: &str) -> Response {
    match HeaderValue::from_str(target) {
        Ok(value) => (StatusCode::FOUND, [(header::LOCATION, value)]).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `GET` shows what is switched on, one a line; `PUT` replaces it; `DELETE` mends it. The boxes' own faults stay.
fn control(front: &Front, method: &Method, body: &Bytes) -> Response {
    let changed = match *method {
        Method::GET => return front.faults.to_string().into_response(),
        Method::DELETE => front.faults.replace_by(b""),
        Method::PUT => front.faults.replace_by(body),
        _ => {
            return (
                StatusCode::METHOD_NOT_ALLOWED,
                [(header::ALLOW, "GET, PUT, DELETE")],
                "use GET, PUT or DELETE\n",
            )
                .into_response();
        }
    };
    match changed {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(words) => (StatusCode::BAD_REQUEST, format!("{words}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_tells_when_the_next_request_fits_and_keeps_its_word() {
        let mut limit = Limit::new(2, Duration::from_mins(1));
        assert_eq!(limit.left(), Some(2));
        assert_eq!(limit.take(), Ok(()));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!((limit.take(), limit.left()), (Ok(()), Some(0)));
        let Err(wait) = limit.take() else {
            unreachable!("a third request within a minute")
        };
        assert_eq!(wait, 40);
        tokio::time::advance(Duration::from_secs(wait)).await;
        assert_eq!(limit.take(), Ok(()));
        assert!(limit.take().is_err(), "the second one still counts");
        let mut none = Limit::new(0, Duration::from_mins(1));
        assert!((0..1_000).all(|_| none.take().is_ok()));
        assert_eq!(none.left(), None);
    }
}
