//! A Jamf Pro server: token, instances, syncs, devices and scopes, asked and answered as the service does.

pub mod stock;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::simulator::{
    Introduction, Log, Order, Served,
    books::{Desk, query, serve_from, text, wrong_with},
    faults::Faults,
    listing::ListFault,
    stock::DEMO,
};
use stock::Stock;

/// The API client of the demo's server.
const CLIENT_ID: &str = "2b1f7a5e-3c60-4f3c-9a5b-1d4f0a6c7e21";
const SECRET: &str = "simulated-secret";
/// The shortest life of a token that an administrator can set.
const TOKEN_LASTS: Duration = Duration::from_mins(1);

/// What the API role may hold.
pub const INSTANCES: &str = "Read Device Enrollment Program Instances";
pub const COMPUTER_PRESTAGES: &str = "Read Computer PreStage Enrollments";
pub const MOBILE_PRESTAGES: &str = "Read Mobile Device PreStage Enrollments";

/// Instances on a page, unless it is asked for others.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 2_000;
/// Devices that are written at once.
const CHUNK: usize = 500;

/// How a server is set up.
#[derive(Debug)]
pub struct Options {
    /// A loopback address; port 0: any free one.
    pub listen: SocketAddr,
    pub client_id: String,
    pub secret: String,
    pub token_lasts: Duration,
    /// Of the API role.
    pub privileges: Vec<&'static str>,
    /// It has only `/oauth/token`, as older servers.
    pub is_old: bool,
    /// What it holds.
    pub stock: Stock,
}

impl Options {
    /// A server on any free port.
    pub fn new(stock: Stock) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            client_id: CLIENT_ID.to_owned(),
            secret: SECRET.to_owned(),
            token_lasts: TOKEN_LASTS,
            privileges: vec![INSTANCES, COMPUTER_PRESTAGES, MOBILE_PRESTAGES],
            is_old: false,
            stock,
        }
    }
}

/// A server that serves until it is dropped.
pub type Server = Served<Desk<Books>>;

impl Served<Desk<Books>> {
    /// Changes what the server holds.
    pub fn stock<T>(&self, change: impl FnOnce(&mut Stock) -> T) -> T {
        change(&mut self.books().stock)
    }

    /// No token that was given out is good any more.
    pub fn end_tokens(&self) {
        self.books().tokens.clear();
    }

    /// From now on only this secret is accepted.
    pub fn accept(&self, secret: &str) {
        let mut books = self.books();
        secret.clone_into(&mut books.secret);
        books.tokens.clear();
    }

    /// The secret of the API client.
    pub fn secret(&self) -> String {
        self.books().secret.clone()
    }

    pub fn client_id(&self) -> String {
        self.books().client_id.clone()
    }

    /// How many requests came without the load balancer's cookie, so that any node could have answered.
    pub fn led_anywhere(&self) -> u64 {
        self.books().led_anywhere
    }
}

/// What it holds and knows.
#[derive(Debug)]
pub struct Books {
    client_id: String,
    secret: String,
    token_lasts: Duration,
    privileges: Vec<&'static str>,
    is_old: bool,
    stock: Stock,
    /// Each token and when it ends.
    tokens: HashMap<String, Instant>,
    given: u64,
    led_anywhere: u64,
}

/// Serves the demo's server.
///
/// # Errors
/// As [`simulator::serve`](crate::simulator::serve).
pub async fn introduce(order: Order) -> io::Result<Introduction> {
    let options = Options {
        listen: order.listen,
        ..Options::new(Stock::demo(order.boxes))
    };
    let running = serve(options).await?.running;
    let source = format!(
        "[[source]]\nname = \"jamf\"\nkind = \"jamf\"\nurl = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nsecret_credential = \"jamf-secret\"\ninstances = [\"{}\"]\nexpected_prestages = [\"{}\"]",
        running.base(),
        stock::HQ,
        stock::PRESTAGE,
    );
    let boxes = DEMO
        .iter()
        .map(|demo| (demo.serial, stock::alone(demo), demo.story));
    Ok(Introduction {
        running,
        source,
        credential: ("jamf-secret", SECRET.to_owned()),
        lists: &["GET /api/v1/device-enrollments/1/devices (the whole list: it has no pages)"],
        boxes: boxes.collect(),
        differs: &DIFFERS,
    })
}

/// Where Jamf Pro says less than the table's MDM: it tells neither that Apple slows an assignment down nor whether a device is enrolled.
/// No fault of one box hits a list: a box that no list has is a contradiction to Apple's word.
const DIFFERS: [(&str, &str); 14] = [
    ("C02TH5FFJG5K", "assignment_pending"),
    ("C02EN8TTJG5Y", "previously_activated"),
    ("DEMOSLOW0005", "assignment_pending"),
    ("DEMOBLUE0011", "contradiction"),
    ("DEMOINUSE012", "previously_activated"),
    ("DEMOHAND0013", "unassigned"),
    ("DEMOBACK0015", "assigned"),
    ("DEMOSTALE016", "contradiction"),
    ("DEMOERROR020", "contradiction"),
    ("DEMOQUIET021", "contradiction"),
    ("DEMORESET022", "contradiction"),
    ("DEMOLIMIT023", "contradiction"),
    ("DEMODENY0024", "contradiction"),
    ("DEMOGUEST025", "contradiction"),
];

/// Serves a server.
///
/// # Errors
/// As [`simulator::serve`](crate::simulator::serve).
pub async fn serve(options: Options) -> io::Result<Server> {
    let listen = options.listen;
    let books = Books {
        client_id: options.client_id,
        secret: options.secret,
        token_lasts: options.token_lasts,
        privileges: options.privileges,
        is_old: options.is_old,
        stock: options.stock,
        tokens: HashMap::new(),
        given: 0,
        led_anywhere: 0,
    };
    let routes = Router::new().fallback(answer);
    serve_from(books, routes, listen, Faults::default()).await
}

/// A question that the service does not answer. A misunderstanding is noted; a refusal is part of normal life.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    /// What the service would not have understood.
    wrong: Option<&'static str>,
}

const fn refused(status: StatusCode, code: &'static str) -> Refusal {
    Refusal {
        status,
        code,
        wrong: None,
    }
}

const fn misunderstood(status: StatusCode, why: &'static str) -> Refusal {
    Refusal {
        status,
        code: "INVALID_REQUEST",
        wrong: Some(why),
    }
}

impl Refusal {
    fn noted(self, log: &Log, asked: &Uri) -> Response {
        if let Some(why) = self.wrong {
            log.violation(format!("{why}: {asked}"));
        }
        let body = json!({
            "httpStatus": self.status.as_u16(),
            "errors": [{"code": self.code, "field": null, "description": self.wrong.unwrap_or("refused"), "id": "0"}],
        });
        (self.status, Json(body)).into_response()
    }
}

async fn answer(State(desk): State<Desk<Books>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 64 * 1024).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let fault = parts
        .extensions
        .get::<ListFault>()
        .copied()
        .unwrap_or_default();
    let path = parts
        .uri
        .path()
        .strip_prefix("/api/")
        .unwrap_or_default()
        .to_owned();
    let result = if matches!(path.as_str(), "v1/oauth/token" | "oauth/token") {
        token(
            &mut desk.books(),
            &path,
            &parts.method,
            &parts.headers,
            &body,
        )
    } else {
        let allowed = authorized(&mut desk.books(), &parts.headers);
        allowed.and_then(|()| dispatch(&desk, &parts.method, &path, &parts.uri, fault))
    };
    let mut response = result.unwrap_or_else(|refusal| refusal.noted(&desk.log, &parts.uri));
    lead_back(&mut desk.books(), &parts.headers, &mut response);
    response
}

/// As Jamf Cloud's load balancer, which leads a client that sends this cookie to the same node.
fn lead_back(books: &mut Books, headers: &HeaderMap, response: &mut Response) {
    if text(headers, header::COOKIE).contains("APBALANCEID=") {
        return;
    }
    books.led_anywhere += 1;
    let cookie = format!(
        "APBALANCEID=node-{}; Path=/; HttpOnly; Secure",
        books.led_anywhere
    );
    if let Ok(cookie) = cookie.parse() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

fn token(
    books: &mut Books,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, Refusal> {
    if books.is_old && path.starts_with("v1/") {
        return Err(refused(StatusCode::NOT_FOUND, "NOT_FOUND"));
    }
    if method != Method::POST
        || text(headers, header::CONTENT_TYPE) != "application/x-www-form-urlencoded"
    {
        return Err(misunderstood(
            StatusCode::BAD_REQUEST,
            "the token is asked for with a form",
        ));
    }
    let form: HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if field("grant_type") != "client_credentials" || form.len() != 3 {
        return Err(misunderstood(
            StatusCode::BAD_REQUEST,
            "not a form of client credentials",
        ));
    }
    if (field("client_id"), field("client_secret")) != (&*books.client_id, &*books.secret) {
        return Err(refused(StatusCode::UNAUTHORIZED, "invalid_client"));
    }
    books.given += 1;
    let token = format!("simulated.{}.token", books.given);
    books
        .tokens
        .insert(token.clone(), Instant::now() + books.token_lasts);
    let seconds = books.token_lasts.as_secs();
    Ok(Json(json!({"access_token": token, "scope": "api-role:1", "token_type": "Bearer", "expires_in": seconds})).into_response())
}

fn authorized(books: &mut Books, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = text(headers, header::AUTHORIZATION).strip_prefix("Bearer ") else {
        return Err(misunderstood(StatusCode::UNAUTHORIZED, "no bearer token"));
    };
    let now = Instant::now();
    books.tokens.retain(|_, ends| *ends > now);
    if !books.tokens.contains_key(token) {
        return Err(refused(StatusCode::UNAUTHORIZED, "INVALID_TOKEN"));
    }
    match wrong_with(headers) {
        Some((status, why)) => Err(misunderstood(status, why)),
        None => Ok(()),
    }
}

fn dispatch(
    desk: &Desk<Books>,
    method: &Method,
    path: &str,
    uri: &Uri,
    fault: ListFault,
) -> Result<Response, Refusal> {
    if method != Method::GET {
        return Err(misunderstood(
            StatusCode::METHOD_NOT_ALLOWED,
            "the station only reads",
        ));
    }
    let query: HashMap<String, String> = query(uri).into_iter().collect();
    let segments: Vec<&str> = path.split('/').collect();
    if segments.as_slice() != ["v1", "device-enrollments"] && !query.is_empty() {
        return Err(misunderstood(
            StatusCode::BAD_REQUEST,
            "unknown query parameter",
        ));
    }
    let may = |privilege| match desk.books().privileges.contains(&privilege) {
        true => Ok(()),
        false => Err(refused(StatusCode::FORBIDDEN, "INVALID_PRIVILEGE")),
    };
    match segments.as_slice() {
        ["v1", "device-enrollments"] => {
            may(INSTANCES)?;
            instances(&desk.books().stock, &query)
        }
        ["v1", "device-enrollments", id, rest @ ..] => {
            may(INSTANCES)?;
            if desk.books().stock.instance(id).is_none() {
                return Err(refused(StatusCode::NOT_FOUND, "INVALID_ID"));
            }
            match rest {
                ["devices"] => Ok(devices(desk.clone(), id, fault)),
                ["syncs"] => Ok(Json(syncs(&desk.books().stock, id)).into_response()),
                ["syncs", "latest"] => match syncs(&desk.books().stock, id).into_iter().next() {
                    Some(sync) => Ok(Json(sync).into_response()),
                    None => Err(refused(StatusCode::NOT_FOUND, "INVALID_ID")),
                },
                _ => Err(misunderstood(StatusCode::NOT_FOUND, "no such path")),
            }
        }
        ["v2", "computer-prestages", "scope"] => {
            may(COMPUTER_PRESTAGES)?;
            Ok(scope(desk.clone(), "computer"))
        }
        ["v2", "mobile-device-prestages", "scope"] => {
            may(MOBILE_PRESTAGES)?;
            Ok(scope(desk.clone(), "mobile"))
        }
        _ => Err(misunderstood(StatusCode::NOT_FOUND, "no such path")),
    }
}

fn syncs(stock: &Stock, id: &str) -> Vec<Value> {
    stock
        .instance(id)
        .map(stock::Instance::sync_rows)
        .unwrap_or_default()
}

fn instances(stock: &Stock, query: &HashMap<String, String>) -> Result<Response, Refusal> {
    let number = |name: &str, default: usize| match query.get(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| misunderstood(StatusCode::BAD_REQUEST, "not a number")),
    };
    if query
        .keys()
        .any(|name| !matches!(name.as_str(), "page" | "page-size"))
    {
        return Err(misunderstood(
            StatusCode::BAD_REQUEST,
            "unknown query parameter",
        ));
    }
    let (page, size) = (number("page", 0)?, number("page-size", PAGE)?);
    if !(1..=LARGEST_PAGE).contains(&size) {
        return Err(misunderstood(
            StatusCode::BAD_REQUEST,
            "page-size is not 1 to 2000",
        ));
    }
    let rows = stock
        .instances
        .iter()
        .skip(page.saturating_mul(size))
        .take(size);
    let rows: Vec<Value> = rows.map(stock::Instance::row).collect();
    Ok(Json(json!({"totalCount": stock.instances.len(), "results": rows})).into_response())
}

/// All devices of an instance, written while they are read.
fn devices(desk: Desk<Books>, id: &str, fault: ListFault) -> Response {
    let id = id.to_owned();
    let page = fault.page(0, usize::MAX, desk.books().stock.count(&id));
    let head = format!("{{\"totalCount\":{},\"results\":[", page.total);
    written(head, "]}", page.rows, move |places| {
        let rows = desk.books().stock.rows(&id, places);
        rows.iter().map(Value::to_string).collect()
    })
}

fn scope(desk: Desk<Books>, kind: &'static str) -> Response {
    let all = desk.books().stock.all();
    let head = "{\"serialsByPrestageId\":{".to_owned();
    written(head, "}}", 0..all, move |places| {
        let scopes = desk.books().stock.scopes(kind, places);
        scopes
            .iter()
            .map(|(serial, id)| format!("{}:{}", json!(serial), json!(id)))
            .collect()
    })
}

/// A list that is written piece by piece: `part` gives the records at some places.
fn written(
    head: String,
    tail: &'static str,
    places: Range<usize>,
    part: impl Fn(Range<usize>) -> Vec<String> + Send + 'static,
) -> Response {
    let parts = (places.start..places.end).step_by(CHUNK);
    let end = places.end;
    let mut is_first = true;
    let parts = parts.filter_map(move |from| {
        let records = part(from..(from + CHUNK).min(end));
        if records.is_empty() {
            return None;
        }
        let comma = if std::mem::take(&mut is_first) {
            ""
        } else {
            ","
        };
        Some(format!("{comma}{}", records.join(",")))
    });
    let all = std::iter::once(head).chain(parts).chain([tail.to_owned()]);
    let body = Body::from_stream(stream::iter(all.map(Ok::<_, io::Error>)));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
