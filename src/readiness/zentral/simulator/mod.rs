//! A Zentral on loopback: the list of devices from Apple, asked and answered as the service does.

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
    books::{Desk, query, serve_from, text, wrong_with},
    faults::{Faults, Switch},
    fleet::Fleet,
    stock as bench,
};
use stock::{OURS, Stock};

/// The API token of the demo's Zentral.
const TOKEN: &str = "simulated-token";

const DEVICES: &str = "/api/mdm/dep/devices/";
/// Rows in one page where the question names no number.
const PAGE: usize = 50;

/// How a Zentral is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// A loopback address; port 0: any free one.
    pub listen: SocketAddr,
    /// The API token that it accepts.
    pub token: String,
    /// May the token's account see devices?
    pub may_view: bool,
    /// What it holds.
    pub stock: Stock,
    /// The faults that belong to single boxes. Others are switched by [`crate::simulator::Running::faults`].
    pub switches: Vec<Switch>,
}

impl Options {
    /// A Zentral on any free port.
    pub fn new(token: &str, stock: Stock) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: token.to_owned(),
            may_view: true,
            stock,
            switches: Vec::new(),
        }
    }

    /// The demo's Zentral.
    pub fn demo() -> Self {
        Self {
            switches: bench::switches(),
            ..Self::new(TOKEN, Stock::demo())
        }
    }
}

/// A Zentral that serves until it is dropped.
pub type Server = Served<Desk<Books>>;

impl Served<Desk<Books>> {
    /// Changes what it holds.
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
    may_view: bool,
    stock: Stock,
}

/// Serves the demo's Zentral.
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
        "[[source]]\nname = \"zentral\"\nkind = \"zentral\"\nurl = \"{}\"\ntoken_credential = \"zentral-token\"\nservers = [{OURS}]",
        running.base(),
    );
    Ok(Introduction {
        running,
        source,
        credential: ("zentral-token", TOKEN.to_owned()),
        lists: &[],
        boxes: bench::DEMO
            .iter()
            .map(|demo| (demo.serial, stock::alone(demo), demo.story))
            .collect(),
        differs: &[
            // Of a device without a profile Zentral knows nothing more, neither a failure nor that Apple slows it down.
            ("C02TH5FFJG5K", "assignment_pending"),
            ("C02FL7HHJG5M", "assignment_pending"),
            ("DEMOSLOW0005", "assignment_pending"),
            ("DEMOFAIL0010", "assigned"),
            // The list from Apple does not tell what is enrolled.
            ("C02EN8TTJG5Y", "previously_activated"),
            ("DEMOINUSE012", "previously_activated"),
            ("DEMOHAND0013", "unassigned"),
            ("DEMOBACK0015", "assigned"),
            // It does not say when it last heard from Apple.
            ("C02SY9VVJG60", "contradiction"),
            // It has no blueprints for new devices.
            ("DEMOBLUE0011", "assigned"),
        ],
    })
}

/// Serves a Zentral.
///
/// # Errors
/// As [`simulator::serve`](crate::simulator::serve).
pub async fn serve(options: Options) -> io::Result<Server> {
    let Options {
        listen,
        token,
        may_view,
        stock,
        switches,
    } = options;
    let books = Books {
        token,
        may_view,
        stock,
    };
    let routes = Router::new().fallback(answer);
    serve_from(books, routes, listen, Faults::new(switches)).await
}

async fn answer(State(desk): State<Desk<Books>>, request: Request) -> Response {
    let mut books = desk.books();
    let asked = request.uri().clone();
    let elsewhere = format!("{}/", asked.path());
    if elsewhere == DEVICES {
        let place = asked
            .query()
            .map_or(elsewhere.clone(), |query| format!("{elsewhere}?{query}"));
        return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, place)]).into_response();
    }
    authorized(&books, &request)
        .and_then(|()| dispatch(&mut books, request.method(), &asked))
        .unwrap_or_else(|refusal| refusal.noted(&desk.log, &asked))
}

/// A question that the service does not answer. A misunderstanding is noted; a refusal is part of normal life.
enum Refusal {
    Refused(StatusCode, &'static str),
    Misunderstood(StatusCode, &'static str),
}

impl Refusal {
    fn noted(self, log: &Log, asked: &Uri) -> Response {
        let (status, why) = match self {
            Self::Refused(status, why) => (status, why),
            Self::Misunderstood(status, why) => {
                log.violation(format!("{why}: {asked}"));
                (status, why)
            }
        };
        (status, Json(json!({"detail": why}))).into_response()
    }
}

fn authorized(books: &Books, request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    let Some(token) = text(headers, header::AUTHORIZATION).strip_prefix("Token ") else {
        return Err(Refusal::Misunderstood(
            StatusCode::UNAUTHORIZED,
            "Authentication credentials were not provided.",
        ));
    };
    if token != books.token {
        return Err(Refusal::Refused(StatusCode::UNAUTHORIZED, "Invalid token."));
    }
    if !books.may_view {
        return Err(Refusal::Refused(
            StatusCode::FORBIDDEN,
            "You do not have permission to perform this action.",
        ));
    }
    match wrong_with(headers) {
        Some((status, why)) => Err(Refusal::Misunderstood(status, why)),
        None => Ok(()),
    }
}

fn dispatch(books: &mut Books, method: &Method, uri: &Uri) -> Result<Response, Refusal> {
    if method != Method::GET {
        return Err(Refusal::Misunderstood(
            StatusCode::METHOD_NOT_ALLOWED,
            "the station only reads",
        ));
    }
    if uri.path() != DEVICES {
        return Err(Refusal::Misunderstood(
            StatusCode::NOT_FOUND,
            "no such path",
        ));
    }
    let query = query(uri);
    let [(name, filter)] = query.as_slice() else {
        return Err(Refusal::Misunderstood(
            StatusCode::BAD_REQUEST,
            "not one serial number",
        ));
    };
    // The service would list everything.
    if name != "serial_number" || filter.is_empty() {
        return Err(Refusal::Misunderstood(
            StatusCode::BAD_REQUEST,
            "no filter by serial number",
        ));
    }
    let rows = books.stock.rows(filter);
    let count = rows.len();
    let next = (count > PAGE).then(|| {
        format!("http://zentral.example{DEVICES}?limit={PAGE}&offset={PAGE}&serial_number={filter}")
    });
    let results: Value = rows.into_iter().take(PAGE).collect();
    Ok(
        Json(json!({"count": count, "next": next, "previous": null, "results": results}))
            .into_response(),
    )
}
