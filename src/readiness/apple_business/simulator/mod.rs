//! Apple Business Manager's API and its token endpoint on loopback: assertion and token are verified, every state of a device is served.
//!
//! It verifies with `ring` what the source signs with `p256`, and draws its own key pair: no key is ever kept.

mod book;
mod key;
mod list;

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::simulator::{
    self, Introduction, Limit, Log, Order, Served,
    faults::{Effect, Faults, Scope, Switch},
    fleet::{Ages, Fleet},
    stock::{self, Business},
};
use book::{Book, Server, Whole};
use key::Key;

/// The client of the simulated organisation.
pub const CLIENT_ID: &str = "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152";
/// Its key.
pub const KEY_ID: &str = "d136aa66-0c3b-4bd4-9892-c20e8db024ab";
/// Reads within a minute, as one client measured the service's limit. Apple documents none.
pub const MEASURED: usize = 20;
/// The scope of Apple Business.
pub const SCOPE: &str = "business.api";

/// How the simulator is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The faults that belong to single boxes. Others are switched by [`simulator::Running::faults`].
    pub switches: Vec<Switch>,
    /// The devices, by serial number.
    pub devices: HashMap<String, Business>,
    /// Generated devices besides.
    pub boxes: u32,
    /// For how long the assigned server of a device that is put is not to be had.
    pub linkage_lag: Duration,
    /// How long a token lives.
    pub token_life: Duration,
    /// Reads within a minute before 429; 0: no limit. See [`MEASURED`].
    pub reads_per_minute: usize,
    /// The scope that a client must ask for.
    pub scope: String,
}

impl Options {
    /// The demo's bench on a free port.
    pub fn demo() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            switches: vec![Switch::new(
                Scope::Serial(stock::NOT_TO_BE_ASKED.to_owned()),
                Effect::Status(500),
            )],
            devices: stock::DEMO
                .iter()
                .map(|demo| (demo.serial.to_owned(), demo.business))
                .collect(),
            boxes: 0,
            linkage_lag: Duration::ZERO,
            token_life: Duration::from_hours(1),
            reads_per_minute: 0,
            scope: SCOPE.to_owned(),
        }
    }
}

/// A simulator that serves until it is dropped.
pub type Simulator = Served<Service>;

/// Starts the simulator with the demo's boxes.
///
/// # Errors
/// As [`simulator::serve`], or no key can be drawn.
pub async fn introduce(order: Order) -> io::Result<Introduction> {
    let options = Options {
        listen: order.listen,
        boxes: order.boxes,
        reads_per_minute: if order.limits { MEASURED } else { 0 },
        ..Options::demo()
    };
    let simulator = serve(options).await?;
    let source = format!(
        "[[source]]\nname = \"business\"\nkind = \"apple-business\"\nurl = \"{}\"\ntoken_url = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nkey_id = \"{KEY_ID}\"\nkey_credential = \"apple-business-key\"\nexpected_servers = [\"{}\"]",
        simulator.api(),
        simulator.token_url(),
        stock::SERVER_UUID,
    );
    Ok(Introduction {
        credential: ("apple-business-key", simulator.credential()),
        lists: &[
            "GET /v1/orgDevices?limit=1000&cursor=..",
            "GET /v1/mdmServers",
            "GET /v1/mdmServers/ID/relationships/devices?limit=1000&cursor=..",
        ],
        running: simulator.running,
        source,
        boxes: stock::boxes(),
        differs: &[],
    })
}

/// Starts the simulator.
///
/// # Errors
/// When the address cannot be bound, is not a loopback one, or no key can be drawn.
pub async fn serve(options: Options) -> io::Result<Simulator> {
    let log = Log::default();
    let (listen, faults) = (options.listen, Faults::new(options.switches.clone()));
    let book = Book {
        recent: Limit::new(options.reads_per_minute, Duration::from_mins(1)),
        fleet: Fleet::of(options.boxes),
        options,
        key: Key::draw()?,
        ages: Ages::from_now(),
        linked_from: HashMap::new(),
        overlays: HashMap::new(),
        used: HashSet::new(),
        tokens: HashMap::new(),
        granted: 0,
    };
    let service = Service {
        state: Arc::new(Mutex::new(book)),
        log: log.clone(),
    };
    let running = simulator::serve(routes(service.clone()), listen, faults, log).await?;
    Ok(Served { running, service })
}

impl Served<Service> {
    /// The base URL of the API.
    pub fn api(&self) -> String {
        format!("{}/v1", self.base())
    }

    /// The token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/auth/oauth2/token", self.base())
    }

    /// The private key as Apple gives it out: PKCS#8 under the label `EC PRIVATE KEY`.
    pub fn credential(&self) -> String {
        self.service.locked().key.pem.clone()
    }

    /// The key is revoked and another one given out: the tokens of the one before are dead.
    ///
    /// # Errors
    /// When no key can be drawn.
    pub fn replace_key(&self) -> io::Result<()> {
        let key = Key::draw()?;
        let mut book = self.service.locked();
        book.key = key;
        book.tokens.clear();
        Ok(())
    }

    /// All tokens end: the next read meets 401.
    pub fn expire_tokens(&self) {
        self.service.locked().tokens.clear();
    }

    /// Tokens given out so far.
    pub fn tokens_granted(&self) -> u64 {
        self.service.locked().granted
    }

    /// Puts a device into a state, from now on; `None` takes it away.
    pub fn put(&self, serial: &str, device: Option<Business>) {
        let mut book = self.service.locked();
        book.ages.put(serial);
        let from = Instant::now() + book.options.linkage_lag;
        book.linked_from.insert(serial.to_owned(), from);
        if book.fleet.has(serial) {
            return book.fleet.put(serial, device);
        }
        match device {
            Some(device) => book.options.devices.insert(serial.to_owned(), device),
            None => book.options.devices.remove(serial),
        };
    }

    /// Attributes that differ from what the device's state gives; `null` takes one away.
    pub fn overlay(&self, serial: &str, attributes: Value) {
        self.service
            .locked()
            .overlays
            .insert(serial.to_owned(), attributes);
    }
}

/// Where its questions are answered.
#[derive(Clone, Debug)]
pub struct Service {
    state: Arc<Mutex<Book>>,
    log: Log,
}

fn routes(service: Service) -> Router {
    Router::new()
        .route("/auth/oauth2/token", post(token))
        .route("/v1/orgDevices", get(list::devices))
        .route("/v1/orgDevices/{serial}", get(device))
        .route(
            "/v1/orgDevices/{serial}/relationships/assignedServer",
            get(linkage),
        )
        .route(
            "/v1/orgDevices/{serial}/assignedServer",
            get(assigned_server),
        )
        .route("/v1/mdmServers", get(list::servers))
        .route(
            "/v1/mdmServers/{id}/relationships/devices",
            get(list::of_server),
        )
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(service)
}

async fn token(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    // As reported of the service: its refusal repeats what was sent.
    let refused = |error: &str| {
        let body = json!({ "error": error, "error_description": format!("client_assertion: {}", form.get("client_assertion").map_or("", String::as_str)) });
        json_reply(400, &body)
    };
    if headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        != Some("application/x-www-form-urlencoded")
    {
        service.log.violation("a token call that is no form");
        return refused("invalid_request");
    }
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    if field("grant_type") != "client_credentials"
        || field("client_assertion_type")
            != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    {
        service.log.violation("a token call of another kind");
        return refused("invalid_request");
    }
    let mut book = service.locked();
    if let Err(wait) = book.recent.take() {
        return too_many(wait);
    }
    if field("scope") != book.options.scope {
        return refused("invalid_scope");
    }
    if field("client_id") != CLIENT_ID {
        return refused("invalid_client");
    }
    let id = match book.key.verified(field("client_assertion")) {
        Ok(id) => id,
        Err(what) => {
            tracing::info!(what, "an assertion was refused");
            return refused("invalid_client");
        }
    };
    if !book.used.insert(id) {
        service.log.violation("an assertion was used twice");
        return refused("invalid_client");
    }
    let token = format!("{}.{}", Uuid::now_v7().simple(), fastrand::u64(..));
    let life = book.options.token_life;
    book.tokens.insert(token.clone(), Instant::now() + life);
    book.granted += 1;
    json_reply(
        200,
        &json!({ "access_token": token, "token_type": "Bearer", "expires_in": life.as_secs(), "scope": book.options.scope }),
    )
}

async fn device(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(serial): Path<String>,
) -> Response {
    service.read(&headers, |book| {
        book.device(&serial, Whole::One)
            .map_or_else(not_found, |data| json_reply(200, &json!({ "data": data })))
    })
}

async fn linkage(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(serial): Path<String>,
) -> Response {
    service.read(&headers, |book| {
        book.server_of(&serial).map_or_else(not_found, |(id, ..)| {
            let device = format!("https://elsewhere.example/v1/orgDevices/{serial}");
            let links = json!({ "self": format!("{device}/relationships/assignedServer"), "related": format!("{device}/assignedServer") });
            json_reply(200, &json!({ "data": { "type": "mdmServers", "id": id }, "links": links }))
        })
    })
}

async fn assigned_server(
    State(service): State<Service>,
    headers: HeaderMap,
    Path(serial): Path<String>,
) -> Response {
    service.read(&headers, |book| {
        book.server_of(&serial).map_or_else(not_found, |server| {
            json_reply(200, &json!({ "data": server_json(server) }))
        })
    })
}

async fn unknown(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    service.log.violation(format!("{method} {}", uri.path()));
    (
        StatusCode::NOT_FOUND,
        [(header::CONTENT_TYPE, "text/html")],
        "<html><body>404 Not Found</body></html>",
    )
        .into_response()
}

impl Service {
    fn locked(&self) -> MutexGuard<'_, Book> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply to a read with a token.
    fn read(&self, headers: &HeaderMap, answer: impl FnOnce(&Book) -> Response) -> Response {
        if headers.get(header::USER_AGENT).is_none() {
            self.log.violation("no User-Agent");
        }
        let mut book = self.locked();
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        if token
            .and_then(|token| book.tokens.get(token))
            .is_none_or(|end| Instant::now() >= *end)
        {
            return error(
                401,
                "NOT_AUTHORIZED",
                "Authentication credentials are missing or invalid.",
            );
        }
        match book.recent.take() {
            Ok(()) => answer(&book),
            Err(wait) => too_many(wait),
        }
    }
}

fn server_json((id, name, kind): Server) -> Value {
    json!({ "type": "mdmServers", "id": id, "attributes": { "serverName": name, "serverType": kind } })
}

fn too_many(wait: u64) -> Response {
    let mut response = error(429, "RATE_LIMIT_EXCEEDED", "Too many requests.");
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(wait));
    response
}

fn not_found() -> Response {
    error(404, "NOT_FOUND", "The specified resource does not exist.")
}

fn error(status: u16, code: &str, title: &str) -> Response {
    json_reply(
        status,
        &json!({ "errors": [{ "id": Uuid::now_v7().to_string(), "status": status.to_string(), "code": code, "title": title, "detail": title }] }),
    )
}

fn json_reply(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}
