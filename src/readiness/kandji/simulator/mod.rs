//! A Kandji tenant: the ADE device list, the ADE tokens and the device list, asked and answered as the service does.

pub mod demo;
pub mod stock;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::simulator::{
    self, Introduction, Log, Running,
    faults::{Faults, Switch},
};
use stock::Stock;

/// The API token of the demo's tenant.
const TOKEN: &str = "simulated-token";

const ADE_DEVICES: &str = "/api/v1/integrations/apple/ade/devices";
const ADE_TOKENS: &str = "/api/v1/integrations/apple/ade";
const DEVICES: &str = "/api/v1/devices";
/// Rows in one page of the ADE list; the API has no option for it.
const PAGE: usize = 300;
/// Requests of all tokens of a tenant, by the hour.
const HOURLY: u64 = 10_000;

/// What the tenant does about the slash at the end of a path. Both forms occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slash {
    /// Both are answered.
    #[default]
    Either,
    /// Without: redirected to the path with it.
    Wanted,
    /// With: redirected to the path without it.
    Unwanted,
}

/// How a tenant is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// A loopback address; port 0: any free one.
    pub listen: SocketAddr,
    /// The API token that it accepts.
    pub token: String,
    /// What it holds.
    pub stock: Stock,
    /// The faults that belong to single boxes. Others are switched by [`Running::faults`].
    pub switches: Vec<Switch>,
    /// The slash at the end of a path.
    pub slash: Slash,
    /// Requests left in this hour.
    pub quota_left: u64,
}

impl Options {
    /// A tenant on any free port.
    pub fn new(token: &str, stock: Stock) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen,
            token: token.to_owned(),
            stock,
            switches: Vec::new(),
            slash: Slash::default(),
            quota_left: HOURLY,
        }
    }
}

/// A tenant that serves until it is dropped.
#[derive(Debug)]
pub struct Tenant {
    running: Running,
    books: Arc<Mutex<Books>>,
}

impl Tenant {
    /// Changes what the tenant holds.
    pub fn stock<T>(&self, change: impl FnOnce(&mut Stock) -> T) -> T {
        change(&mut locked(&self.books).stock)
    }

    /// From now on only this API token is accepted.
    pub fn accept(&self, token: &str) {
        token.clone_into(&mut locked(&self.books).token);
    }

    /// Sets what is left of this hour's requests.
    pub fn set_quota_left(&self, left: u64) {
        locked(&self.books).quota_left = left;
    }
}

impl Deref for Tenant {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

#[derive(Debug)]
struct Books {
    token: String,
    stock: Stock,
    slash: Slash,
    quota_left: u64,
}

fn locked(books: &Mutex<Books>) -> std::sync::MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Desk {
    books: Arc<Mutex<Books>>,
    log: Log,
}

/// Serves the demo's tenant.
///
/// # Errors
/// As [`simulator::serve`].
pub async fn introduce(listen: SocketAddr) -> io::Result<Introduction> {
    let demo = demo::demo_stock();
    let options = Options {
        listen,
        switches: demo.switches,
        ..Options::new(TOKEN, demo.stock)
    };
    let running = serve(options).await?.running;
    let source = format!(
        "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{}\"\ntoken_credential = \"kandji-token\"\ntokens = {:?}\n# and in [verdict]: expected_blueprints = {:?}",
        running.base(),
        demo.tokens,
        demo.expected_blueprints,
    );
    Ok(Introduction {
        running,
        source,
        credential: ("kandji-token", TOKEN.to_owned()),
        boxes: demo
            .samples
            .iter()
            .map(|sample| (sample.serial, sample.reason, sample.words))
            .collect(),
    })
}

/// Serves a tenant.
///
/// # Errors
/// As [`simulator::serve`].
pub async fn serve(options: Options) -> io::Result<Tenant> {
    let Options {
        listen,
        token,
        stock,
        switches,
        slash,
        quota_left,
    } = options;
    let books = Arc::new(Mutex::new(Books {
        token,
        stock,
        slash,
        quota_left,
    }));
    let desk = Desk {
        books: Arc::clone(&books),
        log: Log::default(),
    };
    let log = desk.log.clone();
    let service = Router::new().fallback(answer).with_state(desk);
    let running = simulator::serve(service, listen, Faults::new(switches), log).await?;
    Ok(Tenant { running, books })
}

async fn answer(State(desk): State<Desk>, request: Request) -> Response {
    let mut books = locked(&desk.books);
    let reset = seconds_left_of_this_hour();
    let mut response = if books.quota_left == 0 {
        let retry_after = [(header::RETRY_AFTER, HeaderValue::from(reset))];
        (
            StatusCode::TOO_MANY_REQUESTS,
            retry_after,
            Json(json!({"message": "API rate limit exceeded", "request_id": "simulated"})),
        )
            .into_response()
    } else {
        books.quota_left -= 1;
        match authorized(&books, request.headers()) {
            Ok(()) => dispatch(&mut books, &request)
                .unwrap_or_else(|refusal| refusal.noted(&desk.log, request.uri())),
            Err(refusal) => refusal.noted(&desk.log, request.uri()),
        }
    };
    let left = books.quota_left;
    drop(books);
    for (name, number) in [
        ("x-ratelimit-limit-hour", HOURLY),
        ("x-ratelimit-remaining-hour", left),
        ("x-ratelimit-limit-second", 50),
        ("x-ratelimit-remaining-second", 49),
        ("ratelimit-reset", reset),
    ] {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from(number));
    }
    response
}

/// A question that the service does not answer. A misunderstanding is noted; a refusal is part of normal life.
enum Refusal {
    Refused(StatusCode, Value),
    Misunderstood(StatusCode, &'static str),
    Elsewhere(String),
}

impl Refusal {
    fn noted(self, log: &Log, asked: &Uri) -> Response {
        match self {
            Self::Refused(status, body) => (status, Json(body)).into_response(),
            Self::Misunderstood(status, why) => {
                log.violation(format!("{why}: {asked}"));
                (status, Json(json!({"detail": why}))).into_response()
            }
            Self::Elsewhere(place) => {
                (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, place)]).into_response()
            }
        }
    }
}

fn authorized(books: &Books, headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let Some(token) = text(header::AUTHORIZATION).strip_prefix("Bearer ") else {
        return Err(Refusal::Misunderstood(
            StatusCode::UNAUTHORIZED,
            "no bearer token",
        ));
    };
    if token != books.token {
        return Err(Refusal::Refused(
            StatusCode::UNAUTHORIZED,
            json!({"detail": "Invalid token."}),
        ));
    }
    if text(header::ACCEPT) != "application/json" {
        return Err(Refusal::Misunderstood(
            StatusCode::NOT_ACCEPTABLE,
            "Accept is not application/json",
        ));
    }
    if !text(header::CACHE_CONTROL).starts_with("no-cache") {
        return Err(Refusal::Misunderstood(
            StatusCode::BAD_REQUEST,
            "Cache-Control is not no-cache",
        ));
    }
    Ok(())
}

fn dispatch(books: &mut Books, request: &Request) -> Result<Response, Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::Misunderstood(
            StatusCode::METHOD_NOT_ALLOWED,
            "the station only reads",
        ));
    }
    let uri = request.uri();
    slash(books.slash, uri)?;
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let value = |wanted: &str| {
        query
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    let only = |names: &[&str]| match query.iter().all(|(name, _)| names.contains(&name.as_str())) {
        true => Ok(()),
        false => Err(Refusal::Misunderstood(
            StatusCode::BAD_REQUEST,
            "unknown query parameter",
        )),
    };
    match uri.path().trim_end_matches('/') {
        ADE_DEVICES => {
            only(&["serial_number", "page"])?;
            if value("serial_number").is_none() && value("page").is_none() {
                return Err(Refusal::Misunderstood(
                    StatusCode::BAD_REQUEST,
                    "neither serial_number nor page",
                ));
            }
            let filter = value("serial_number").map_or(Ok(""), not_empty)?;
            page(
                books.stock.ade_rows(filter),
                filter,
                value("page").unwrap_or("1"),
            )
        }
        ADE_TOKENS => {
            only(&[])?;
            Ok(Json(Value::Array(books.stock.token_rows())).into_response())
        }
        DEVICES => {
            only(&["serial_number", "limit"])?;
            let filter = not_empty(value("serial_number").unwrap_or_default())?;
            devices(&books.stock, filter, value("limit").unwrap_or("300"))
        }
        _ => Err(Refusal::Misunderstood(
            StatusCode::NOT_FOUND,
            "no such path",
        )),
    }
}

fn devices(stock: &Stock, filter: &str, limit: &str) -> Result<Response, Refusal> {
    let limit = limit
        .parse::<usize>()
        .ok()
        .filter(|limit| (1..=PAGE).contains(limit));
    let Some(limit) = limit else {
        return Err(Refusal::Misunderstood(
            StatusCode::BAD_REQUEST,
            "limit is not 1 to 300",
        ));
    };
    let rows = stock.device_rows(filter).into_iter().take(limit);
    Ok(Json(rows.collect::<Value>()).into_response())
}

fn slash(slash: Slash, uri: &Uri) -> Result<(), Refusal> {
    let path = uri.path();
    let wanted = match slash {
        Slash::Either => return Ok(()),
        Slash::Wanted if path.ends_with('/') => return Ok(()),
        Slash::Unwanted if !path.ends_with('/') => return Ok(()),
        Slash::Wanted => format!("{path}/"),
        Slash::Unwanted => path.trim_end_matches('/').to_owned(),
    };
    Err(Refusal::Elsewhere(
        uri.query()
            .map_or(wanted.clone(), |query| format!("{wanted}?{query}")),
    ))
}

/// The service would list the whole fleet for an empty filter.
fn not_empty(filter: &str) -> Result<&str, Refusal> {
    if filter.trim().is_empty() {
        Err(Refusal::Misunderstood(
            StatusCode::BAD_REQUEST,
            "empty serial_number",
        ))
    } else {
        Ok(filter)
    }
}

fn page(rows: Vec<Value>, filter: &str, page: &str) -> Result<Response, Refusal> {
    let count = rows.len();
    let number = page
        .parse::<usize>()
        .ok()
        .filter(|number| *number >= 1 && (*number - 1) * PAGE < count.max(1));
    let Some(number) = number else {
        return Err(Refusal::Refused(
            StatusCode::NOT_FOUND,
            json!({"detail": "Invalid page."}),
        ));
    };
    // As the service documents it: the host is not the one that was asked.
    let link = |number: usize| {
        let filter = if filter.is_empty() {
            String::new()
        } else {
            format!("&serial_number={filter}")
        };
        format!("https://simulated.kandji.io{ADE_DEVICES}?page={number}{filter}")
    };
    let results: Vec<Value> = rows
        .into_iter()
        .skip((number - 1) * PAGE)
        .take(PAGE)
        .collect();
    let next = (number * PAGE < count).then(|| link(number + 1));
    let previous = (number > 1).then(|| link(number - 1));
    Ok(
        Json(json!({"count": count, "next": next, "previous": previous, "results": results}))
            .into_response(),
    )
}

fn seconds_left_of_this_hour() -> u64 {
    let hour = Duration::from_hours(1).as_secs();
    hour - u64::try_from(Timestamp::now().as_second().rem_euclid(3600))
        .unwrap_or_default()
        .min(hour - 1)
}
