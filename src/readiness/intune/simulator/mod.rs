//! An Intune tenant behind Microsoft Graph, and the sign-in at Entra: asked and answered as the services do.

mod entra;
pub mod stock;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::simulator::{
    Introduction, Limit, Order, Served,
    books::{Desk, serve_from, text, wrong_with},
    faults::{Faults, Switch},
    fleet::Fleet,
    listing::ListFault,
    stock::switches,
};
use stock::{HQ, PROFILE, Stock};

/// The directory of the simulated organisation.
pub const TENANT: &str = "8f1c7d2e-3b4a-4c5d-9e6f-0a1b2c3d4e5f";
/// The app that the station is.
pub const CLIENT_ID: &str = "2d4f6a8c-1e3b-4d5f-8a7c-9b0d1e2f3a4b";
/// Its client secret.
const SECRET: &str = "sim~8Q.simulated-client-secret_0";
/// Records in one page.
const PAGE: usize = 1_000;
/// Requests of an app in one tenant within 20 seconds, by Microsoft's documentation of Intune's limits.
const LIMIT: (usize, Duration) = (1_000, Duration::from_secs(20));

const FILTER: (&str, &str) = (
    "discoverySource eq 'deviceEnrollmentProgram' and contains(serialNumber,'",
    "')",
);

/// How a tenant is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// A loopback address; port 0: any free one.
    pub listen: SocketAddr,
    /// What it holds.
    pub stock: Stock,
    /// The faults that belong to single boxes. Others are switched by [`crate::simulator::Running::faults`].
    pub switches: Vec<Switch>,
    /// The client secret that is accepted.
    pub secret: String,
    /// How long an access token lives.
    pub token_life: Duration,
    /// Records in one page.
    pub page: usize,
    /// Requests within 20 seconds before 429; 0: no limit. The service has 1,000.
    pub limit: usize,
}

impl Options {
    /// A tenant on any free port.
    pub fn new(stock: Stock) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            stock,
            switches: Vec::new(),
            secret: SECRET.to_owned(),
            token_life: Duration::from_secs(3_599),
            page: PAGE,
            limit: 0,
        }
    }

    /// The demo's bench.
    pub fn demo() -> Self {
        Self {
            switches: switches(),
            ..Self::new(Stock::demo())
        }
    }
}

/// A tenant that serves until it is dropped.
pub type Tenant = Served<Desk<Books>>;

impl Served<Desk<Books>> {
    /// The API's base URL.
    pub fn api(&self) -> String {
        format!("{}/beta", self.base())
    }

    /// Where access tokens are given.
    pub fn token_url(&self) -> String {
        format!("{}/{TENANT}/oauth2/v2.0/token", self.base())
    }

    /// The client secret that the demo's tenant accepts.
    pub fn secret(&self) -> String {
        self.books().options.secret.clone()
    }

    /// From now on another client secret is accepted. Access tokens live on.
    pub fn accept(&self, secret: &str) {
        secret.clone_into(&mut self.books().options.secret);
    }

    /// From now on the client secret counts as expired.
    pub fn expire_secret(&self) {
        self.books().secret_expired = true;
    }

    /// Is the app allowed to read what it asks?
    pub fn permit(&self, permitted: bool) {
        self.books().permitted = permitted;
    }

    /// All access tokens end: the next read meets 401.
    pub fn end_tokens(&self) {
        self.books().tokens.clear();
    }

    /// Access tokens given out so far.
    pub fn tokens_granted(&self) -> u64 {
        self.books().granted
    }

    /// Changes what the tenant holds.
    pub fn stock<T>(&self, change: impl FnOnce(&mut Stock) -> T) -> T {
        change(&mut self.books().options.stock)
    }
}

/// What it holds and knows.
#[derive(Debug)]
pub struct Books {
    options: Options,
    secret_expired: bool,
    permitted: bool,
    /// When each access token ends.
    tokens: HashMap<String, Instant>,
    granted: u64,
    recent: Limit,
}

type Service = Desk<Books>;

/// Serves the demo's tenant.
///
/// # Errors
/// As [`simulator::serve`](crate::simulator::serve).
pub async fn introduce(order: Order) -> io::Result<Introduction> {
    let mut options = Options {
        listen: order.listen,
        limit: if order.limits { LIMIT.0 } else { 0 },
        ..Options::demo()
    };
    options.stock.fleet = Fleet::of(order.boxes);
    let tenant = serve(options).await?;
    let source = format!(
        "[[source]]\nname = \"intune\"\nkind = \"intune\"\nurl = \"{}\"\ntoken_url = \"{}\"\ntenant = \"{TENANT}\"\nclient_id = \"{CLIENT_ID}\"\nsecret_credential = \"intune-secret\"\ntokens = [\"{HQ}\"]\nexpected_profiles = [\"{PROFILE}\"]\n# and in [verdict], where nothing stronger is required: min_grade = \"intent\"",
        tenant.api(),
        tenant.token_url(),
    );
    Ok(Introduction {
        credential: ("intune-secret", tenant.secret()),
        running: tenant.running,
        source,
        lists: &[],
        boxes: stock::ALONE.to_vec(),
        differs: stock::DIFFERS,
    })
}

/// Serves a tenant.
///
/// # Errors
/// As [`simulator::serve`](crate::simulator::serve).
pub async fn serve(options: Options) -> io::Result<Tenant> {
    let (listen, faults) = (options.listen, Faults::new(options.switches.clone()));
    let books = Books {
        recent: Limit::new(options.limit, LIMIT.1),
        options,
        secret_expired: false,
        permitted: true,
        tokens: HashMap::new(),
        granted: 0,
    };
    let routes = Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(entra::token))
        .route("/beta/deviceManagement/depOnboardingSettings", get(tokens))
        .route(
            "/beta/deviceManagement/depOnboardingSettings/{id}/importedAppleDeviceIdentities",
            get(devices),
        )
        .route(
            "/beta/deviceManagement/depOnboardingSettings/{id}/enrollmentProfiles",
            get(profiles),
        )
        .fallback(unknown)
        .method_not_allowed_fallback(unknown);
    serve_from(books, routes, listen, faults).await
}

async fn tokens(
    State(service): State<Service>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let host = text(&headers, header::HOST);
    service.read(&headers, |books| {
        let asked = Asked::read(query.as_deref(), false)?;
        Ok(books.page(
            &asked,
            (host, &uri),
            &books.options.stock.token_rows(),
            ListFault::default(),
        ))
    })
}

async fn profiles(
    State(service): State<Service>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let host = text(&headers, header::HOST);
    service.read(&headers, |books| {
        let asked = Asked::read(query.as_deref(), false)?;
        let rows = books
            .options
            .stock
            .profile_rows(&id)
            .ok_or(Refusal::NotFound)?;
        Ok(books.page(&asked, (host, &uri), &rows, ListFault::default()))
    })
}

async fn devices(
    State(service): State<Service>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    fault: Option<axum::Extension<ListFault>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let host = text(&headers, header::HOST);
    service.read(&headers, |books| {
        let asked = Asked::read(query.as_deref(), true)?;
        let serial = asked.serial.clone().unwrap_or_default();
        let rows = books
            .options
            .stock
            .rows(&id, &serial)
            .ok_or(Refusal::NotFound)?;
        let fault = fault.map_or_else(ListFault::default, |fault| fault.0);
        Ok(books.page(&asked, (host, &uri), &rows, fault))
    })
}

async fn unknown(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    service.log.violation(format!("{method} {}", uri.path()));
    error(
        404,
        "ResourceNotFound",
        "Resource not found for the segment.",
    )
}

/// A question that Graph does not answer.
enum Refusal {
    NotFound,
    /// It would not have been understood.
    Misunderstood(&'static str),
}

/// What a query asks.
struct Asked {
    /// The filter as it was written, and the serial number in it.
    filter: Option<String>,
    serial: Option<String>,
    from: usize,
}

impl Asked {
    /// Graph takes a `+` for itself and not for a space, so that the query is read as a URL's and not as a form's.
    fn read(query: Option<&str>, filtered: bool) -> Result<Self, Refusal> {
        let mut asked = Self {
            filter: None,
            serial: None,
            from: 0,
        };
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).ok_or(Refusal::Misunderstood(
                "a query that is not percent-encoded",
            ))?;
            match name {
                "$filter" if filtered => {
                    let serial = value
                        .strip_prefix(FILTER.0)
                        .and_then(|rest| rest.strip_suffix(FILTER.1))
                        .filter(|serial| {
                            !serial.is_empty() && !serial.replace("''", "").contains('\'')
                        })
                        .ok_or(Refusal::Misunderstood(
                            "another $filter than that of one serial number",
                        ))?;
                    asked.serial = Some(serial.replace("''", "'"));
                    asked.filter = Some(pair.to_owned());
                }
                "$skiptoken" => {
                    asked.from = value
                        .strip_prefix("from-")
                        .and_then(|from| from.parse().ok())
                        .ok_or(Refusal::Misunderstood("a $skiptoken that was not given"))?;
                }
                _ => return Err(Refusal::Misunderstood("unknown query option")),
            }
        }
        if filtered && asked.serial.is_none() {
            return Err(Refusal::Misunderstood(
                "no $filter: that would list the fleet",
            ));
        }
        Ok(asked)
    }
}

/// The text without `%XX`; `None`: it has characters that are not allowed to stand there.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' | b'\'' | b' ' => return None,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

impl Books {
    fn page(
        &self,
        asked: &Asked,
        (host, uri): (&str, &Uri),
        rows: &[Value],
        fault: ListFault,
    ) -> Response {
        let page = fault.page(asked.from, self.options.page, rows.len());
        let value: Vec<&Value> = rows
            .iter()
            .skip(page.rows.start)
            .take(page.rows.len())
            .collect();
        let next = page.more.then(|| {
            let from = if fault.stuck {
                asked.from
            } else {
                page.places.end
            };
            let filter = asked
                .filter
                .as_ref()
                .map_or_else(String::new, |filter| format!("{filter}&"));
            format!("http://{host}{}?{filter}$skiptoken=from-{from}", uri.path())
        });
        let context = uri.path().trim_start_matches("/beta/");
        let context = format!("https://graph.microsoft.com/beta/$metadata#{context}");
        let body = match next {
            Some(next) => {
                json!({"@odata.context": context, "@odata.nextLink": next, "value": value})
            }
            None => json!({"@odata.context": context, "value": value}),
        };
        reply(200, &body)
    }
}

impl Service {
    /// The reply to a read with an access token.
    fn read(
        &self,
        headers: &HeaderMap,
        answer: impl FnOnce(&mut Books) -> Result<Response, Refusal>,
    ) -> Response {
        let mut books = self.books();
        if books.recent.take().is_err() {
            // It may tell when to come back, and may not.
            return error(429, "TooManyRequests", "Too many requests.");
        }
        let token = text(headers, header::AUTHORIZATION).strip_prefix("Bearer ");
        let ends_at = token.and_then(|token| books.tokens.get(token));
        if ends_at.is_none_or(|end| Instant::now() >= *end) {
            return error(
                401,
                "InvalidAuthenticationToken",
                "Lifetime validation failed, the token is expired.",
            );
        }
        if !books.permitted {
            return error(
                403,
                "Forbidden",
                "Application is not authorized to perform this operation. Application must have one of the following scopes: DeviceManagementServiceConfig.Read.All, DeviceManagementServiceConfig.ReadWrite.All",
            );
        }
        if let Some((_, why)) = wrong_with(headers) {
            self.log.violation(why);
        }
        match answer(&mut books) {
            Ok(response) => response,
            Err(Refusal::NotFound) => error(404, "ResourceNotFound", "Resource not found."),
            Err(Refusal::Misunderstood(why)) => {
                self.log.violation(why);
                error(400, "BadRequest", why)
            }
        }
    }
}

/// As Graph writes its errors.
fn error(status: u16, code: &str, message: &str) -> Response {
    let id = Uuid::now_v7().to_string();
    let inner = json!({"date": "2026-11-23T12:00:00", "request-id": id, "client-request-id": id});
    reply(
        status,
        &json!({"error": {"code": code, "message": message, "innerError": inner}}),
    )
}

fn reply(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}
