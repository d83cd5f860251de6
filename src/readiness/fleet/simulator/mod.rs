//! A Fleet server on loopback: the host by its identifier, and Apple's word about it, asked and answered as the service does.

pub mod stock;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::simulator::{
    Introduction, Log, Order, Served,
    books::{Desk, serve_from, text, wrong_with},
    faults::{Faults, Switch},
    fleet::Fleet,
    stock as bench,
};
use stock::{Said, Stock};

/// The API token of the demo's server.
const TOKEN: &str = "simulated-token";

const HOSTS: &str = "/api/v1/fleet/hosts/";

/// How a server is set up.
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
    /// Without it the server has no call that asks Apple, as older ones.
    pub asks_apple: bool,
}

impl Options {
    /// A server on any free port.
    pub fn new(token: &str, stock: Stock) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: token.to_owned(),
            stock,
            switches: Vec::new(),
            asks_apple: true,
        }
    }

    /// The demo's server.
    pub fn demo() -> Self {
        Self {
            switches: bench::switches(),
            ..Self::new(TOKEN, Stock::demo())
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

    /// From now on only this API token is accepted.
    pub fn accept(&self, token: &str) {
        token.clone_into(&mut self.books().token);
    }
}

/// What it holds and knows.
#[derive(Debug)]
pub struct Books {
    token: String,
    stock: Stock,
    asks_apple: bool,
}

/// Serves the demo's server.
///
/// # Errors
/// As [`simulator::serve`](crate::simulator::serve).
pub async fn introduce(order: Order) -> io::Result<Introduction> {
    let mut options = Options {
        listen: order.listen,
        ..Options::demo()
    };
    options.stock.generated = Fleet::of(order.boxes);
    let running = serve(options).await?.running;
    let source = format!(
        "[[source]]\nname = \"fleet\"\nkind = \"fleet\"\nurl = \"{}\"\ntoken_credential = \"fleet-token\"\nexpected_profiles = [\"{}\"]",
        running.base(),
        bench::PROFILE_UUID,
    );
    Ok(Introduction {
        running,
        source,
        credential: ("fleet-token", TOKEN.to_owned()),
        lists: &[],
        boxes: bench::DEMO
            .iter()
            .map(|demo| (demo.serial, stock::alone(demo), demo.story))
            .collect(),
        differs: &[
            // Fleet says of a device without a profile that it waits for one, and apple-dep agrees.
            ("C02NP6GGJG5L", "assignment_pending"),
            // Only this source is told which profiles count.
            ("DEMOBLUE0011", "contradiction"),
            // Of a device that came back Fleet knows no more than Apple.
            ("DEMOBACK0015", "assigned"),
            // Fleet gives one host for an identifier.
            ("DEMOTWICE019", "assigned"),
        ],
    })
}

/// Serves a Fleet server.
///
/// # Errors
/// As [`simulator::serve`](crate::simulator::serve).
pub async fn serve(options: Options) -> io::Result<Server> {
    let Options {
        listen,
        token,
        stock,
        switches,
        asks_apple,
    } = options;
    let books = Books {
        token,
        stock,
        asks_apple,
    };
    let routes = Router::new().fallback(answer);
    serve_from(books, routes, listen, Faults::new(switches)).await
}

async fn answer(State(desk): State<Desk<Books>>, request: Request) -> Response {
    let mut books = desk.books();
    let asked = request.uri().clone();
    authorized(&books, &request)
        .and_then(|()| dispatch(&mut books, request.method(), &asked))
        .unwrap_or_else(|refusal| refusal.noted(&desk.log, &asked))
}

/// A question that the service does not answer. A misunderstanding is noted; a refusal is part of normal life.
enum Refusal {
    /// With the service's own error.
    Refused(StatusCode, &'static str, &'static str),
    Misunderstood(StatusCode, &'static str),
    /// No such call: what a Go server says.
    NoSuchPath,
}

impl Refusal {
    fn noted(self, log: &Log, asked: &Uri) -> Response {
        match self {
            Self::Refused(status, message, reason) => failed(status, message, reason),
            Self::Misunderstood(status, why) => {
                log.violation(format!("{why}: {asked}"));
                failed(status, "Bad request", why)
            }
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
        }
    }
}

fn failed(status: StatusCode, message: &str, reason: &str) -> Response {
    let body = json!({
        "message": message,
        "errors": [{"name": "base", "reason": reason}],
        "uuid": "d4d9f7c0-0000-4000-8000-000000000001",
    });
    (status, Json(body)).into_response()
}

fn authorized(books: &Books, request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    let Some(token) = text(headers, header::AUTHORIZATION).strip_prefix("Bearer ") else {
        return Err(Refusal::Misunderstood(
            StatusCode::UNAUTHORIZED,
            "no bearer token",
        ));
    };
    if token != books.token {
        return Err(Refusal::Refused(
            StatusCode::UNAUTHORIZED,
            "Authentication required",
            "Authentication required",
        ));
    }
    match wrong_with(headers) {
        Some((status, why)) => Err(Refusal::Misunderstood(status, why)),
        None => Ok(()),
    }
}

const NO_HOST: Refusal = Refusal::Refused(
    StatusCode::NOT_FOUND,
    "Resource Not Found",
    "Host was not found in the datastore",
);

fn dispatch(books: &mut Books, method: &Method, uri: &Uri) -> Result<Response, Refusal> {
    if method != Method::GET {
        return Err(Refusal::Misunderstood(
            StatusCode::METHOD_NOT_ALLOWED,
            "the station only reads",
        ));
    }
    let path = uri.path().strip_prefix(HOSTS).unwrap_or_default();
    if let Some(identifier) = path.strip_prefix("identifier/") {
        if uri.query() != Some("exclude_software=true") {
            return Err(Refusal::Misunderstood(
                StatusCode::BAD_REQUEST,
                "a host is asked for with its software",
            ));
        }
        let host = books.stock.host(identifier).ok_or(NO_HOST)?;
        return Ok(Json(json!({ "host": host })).into_response());
    }
    let Some(id) = path.strip_suffix("/dep_assignment") else {
        return Err(Refusal::Misunderstood(
            StatusCode::NOT_FOUND,
            "no such path",
        ));
    };
    if !books.asks_apple {
        return Err(Refusal::NoSuchPath);
    }
    if uri.query().is_some() {
        return Err(Refusal::Misunderstood(
            StatusCode::BAD_REQUEST,
            "unknown query parameter",
        ));
    }
    let Ok(id) = id.parse() else {
        return Err(Refusal::NoSuchPath);
    };
    match books.stock.assignment(id) {
        Said::Of(body) => Ok(Json(body).into_response()),
        Said::NoHost => Err(NO_HOST),
    }
}

/// As the service writes a moment of its own database.
fn of_database(moment: jiff::Timestamp) -> Value {
    json!(moment.strftime("%Y-%m-%d %H:%M:%S").to_string())
}
