//! A Kandji tenant: the ADE device list, the ADE tokens and the device list, asked and answered as the service does.

pub mod demo;
pub mod stock;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::simulator::{
    Introduction, Limit, Log, Order, Served,
    books::{Desk, query, serve_from, text, wrong_with},
    faults::{Faults, Switch},
    fleet::Fleet,
    listing::{ListFault, Page},
};
use stock::Stock;

/// The API token of the demo's tenant.
const TOKEN: &str = "simulated-token";

const ADE_DEVICES: &str = "/api/v1/integrations/apple/ade/devices";
const ADE_TOKENS: &str = "/api/v1/integrations/apple/ade";
const DEVICES: &str = "/api/v1/devices";
/// Rows in one page of the ADE list; the API has no option for it.
const PAGE: usize = 300;
/// Requests of all tokens of a tenant, by the hour and by the second.
const HOURLY: u64 = 10_000;
const BY_SECOND: usize = 50;
const HOUR: Duration = Duration::from_hours(1);

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
    /// The faults that belong to single boxes. Others are switched by [`crate::simulator::Running::faults`].
    pub switches: Vec<Switch>,
    /// The slash at the end of a path.
    pub slash: Slash,
    /// Requests left in the first hour; later ones have 10,000.
    pub quota_left: u64,
    /// Requests within a second before 429; 0: no limit. The service has 50.
    pub by_second: usize,
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
            by_second: 0,
        }
    }
}

/// A tenant that serves until it is dropped.
pub type Tenant = Served<Desk<Books>>;

impl Served<Desk<Books>> {
    /// Changes what the tenant holds.
    pub fn stock<T>(&self, change: impl FnOnce(&mut Stock) -> T) -> T {
        change(&mut self.books().stock)
    }

    /// From now on only this API token is accepted.
    pub fn accept(&self, token: &str) {
        token.clone_into(&mut self.books().token);
    }

    /// Sets what is left of this hour's requests.
    pub fn set_quota_left(&self, left: u64) {
        self.books().quota_left = left;
    }
}

/// What it holds and knows.
#[derive(Debug)]
pub struct Books {
    token: String,
    stock: Stock,
    slash: Slash,
    quota_left: u64,
    hour_began: Instant,
    by_second: Limit,
}

impl Books {
    /// Counts a request.
    ///
    /// # Errors
    /// It is one too many: seconds until the next one fits.
    fn within_limits(&mut self) -> Result<(), u64> {
        if self.hour_began.elapsed() >= HOUR {
            self.hour_began = Instant::now();
            self.quota_left = HOURLY;
        }
        if self.quota_left == 0 {
            return Err(self.left_of_this_hour());
        }
        self.by_second.take()?;
        self.quota_left -= 1;
        Ok(())
    }

    fn left_of_this_hour(&self) -> u64 {
        HOUR.saturating_sub(self.hour_began.elapsed())
            .as_secs()
            .max(1)
    }
}

/// Serves the demo's tenant.
///
/// # Errors
/// As [`simulator::serve`](crate::simulator::serve).
pub async fn introduce(order: Order) -> io::Result<Introduction> {
    let mut demo = demo::demo_stock();
    demo.stock.fleet = Fleet::of(order.boxes);
    let options = Options {
        listen: order.listen,
        switches: demo.switches,
        by_second: if order.limits { BY_SECOND } else { 0 },
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
        lists: &["GET /api/v1/integrations/apple/ade/devices?page=N"],
        boxes: demo
            .samples
            .iter()
            .map(|sample| (sample.serial, sample.reason, sample.words))
            .collect(),
        differs: &[],
    })
}

/// Serves a tenant.
///
/// # Errors
/// As [`simulator::serve`](crate::simulator::serve).
pub async fn serve(options: Options) -> io::Result<Tenant> {
    let Options {
        listen,
        token,
        stock,
        switches,
        slash,
        quota_left,
        by_second,
    } = options;
    let books = Books {
        token,
        stock,
        slash,
        quota_left,
        hour_began: Instant::now(),
        by_second: Limit::new(by_second, Duration::from_secs(1)),
    };
    let routes = Router::new().fallback(answer);
    serve_from(books, routes, listen, Faults::new(switches)).await
}

async fn answer(State(desk): State<Desk<Books>>, request: Request) -> Response {
    let mut books = desk.books();
    let mut response = if let Err(seconds) = books.within_limits() {
        let retry_after = [(header::RETRY_AFTER, HeaderValue::from(seconds))];
        (
            StatusCode::TOO_MANY_REQUESTS,
            retry_after,
            Json(json!({"message": "API rate limit exceeded", "request_id": "simulated"})),
        )
            .into_response()
    } else {
        match authorized(&books, request.headers()) {
            Ok(()) => dispatch(&mut books, &request)
                .unwrap_or_else(|refusal| refusal.noted(&desk.log, request.uri())),
            Err(refusal) => refusal.noted(&desk.log, request.uri()),
        }
    };
    let (left, reset) = (books.quota_left, books.left_of_this_hour());
    let left_by_second = books.by_second.left().unwrap_or(BY_SECOND - 1);
    drop(books);
    for (name, number) in [
        ("x-ratelimit-limit-hour", HOURLY),
        ("x-ratelimit-remaining-hour", left),
        ("x-ratelimit-limit-second", to_u64(BY_SECOND)),
        ("x-ratelimit-remaining-second", to_u64(left_by_second)),
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
    let Some(token) = text(headers, header::AUTHORIZATION).strip_prefix("Bearer ") else {
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
    match wrong_with(headers) {
        Some((status, why)) => Err(Refusal::Misunderstood(status, why)),
        None => Ok(()),
    }
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
    let query = query(uri);
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
            let filter = value("serial_number").map(not_empty).transpose()?;
            let fault = request.extensions().get().copied();
            let number = value("page").unwrap_or("1");
            ade_list(&mut books.stock, filter, number, fault.unwrap_or_default())
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

/// One page of the ADE list, whole or filtered.
fn ade_list(
    stock: &mut Stock,
    filter: Option<&str>,
    number: &str,
    fault: ListFault,
) -> Result<Response, Refusal> {
    let no_page = || Refusal::Refused(StatusCode::NOT_FOUND, json!({"detail": "Invalid page."}));
    let number = number.parse::<usize>().map_err(|_| no_page())?;
    let place = number.checked_sub(1).ok_or_else(no_page)?;
    // The pages are counted by the client: a list without an end gives the page before again.
    let place = if fault.stuck {
        place.saturating_sub(1)
    } else {
        place
    };
    let from = place.checked_mul(PAGE).ok_or_else(no_page)?;
    let matching = filter.map(|filter| stock.ade_rows(filter));
    let rows = matching
        .as_ref()
        .map_or_else(|| stock.ade_count(), Vec::len);
    let page = fault.page(from, PAGE, rows);
    if page.places.is_empty() && place > 0 {
        return Err(no_page());
    }
    let results = match matching {
        Some(rows) => rows
            .into_iter()
            .skip(page.rows.start)
            .take(page.rows.len())
            .collect(),
        None => stock.ade_page(page.rows.clone()),
    };
    Ok(shown(&page, results, number, filter))
}

fn shown(page: &Page, results: Vec<Value>, number: usize, filter: Option<&str>) -> Response {
    // As the service documents it: the host is not the one that was asked.
    let link = |number: usize| {
        let filter = filter.map_or_else(String::new, |filter| format!("&serial_number={filter}"));
        format!("https://simulated.kandji.io{ADE_DEVICES}?page={number}{filter}")
    };
    let next = page.more.then(|| link(number + 1));
    let previous = (number > 1).then(|| link(number - 1));
    Json(json!({"count": page.total, "next": next, "previous": previous, "results": results}))
        .into_response()
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_hour_has_its_ten_thousand_requests() {
        let mut books = Books {
            token: String::new(),
            stock: Stock::default(),
            slash: Slash::Either,
            quota_left: 2,
            hour_began: Instant::now(),
            by_second: Limit::new(BY_SECOND, Duration::from_secs(1)),
        };
        assert_eq!([(); 2].map(|()| books.within_limits()), [Ok(()); 2]);
        tokio::time::advance(Duration::from_mins(20)).await;
        assert_eq!(books.within_limits(), Err(2_400));
        tokio::time::advance(Duration::from_mins(40)).await;
        for second in 0..200 {
            assert_eq!(
                [(); BY_SECOND].map(|()| books.within_limits()),
                [Ok(()); BY_SECOND]
            );
            if second == 0 {
                assert_eq!(books.within_limits(), Err(1), "the 51st of a second");
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(
            books.within_limits(),
            Err(3_400),
            "the 10,001st of the hour"
        );
    }
}
