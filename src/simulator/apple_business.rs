//! Apple Business Manager's API and its token endpoint on loopback: assertion and token are verified, every state of a device is served.
//!
//! It verifies with `ring` what the source signs with `p256`, and draws its own key pair: no key is ever kept.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    net::SocketAddr,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Log, Running,
    faults::{Effect, Faults, Scope, Switch},
    stock::{self, Business},
};

/// For whom an assertion must be meant.
const AUDIENCE: &str = "https://account.apple.com/auth/oauth2/v2/token";
/// The longest that an assertion may be good.
const LONGEST_ASSERTION: i64 = 180 * 86_400;
/// The client of the simulated organisation.
pub const CLIENT_ID: &str = "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152";
/// Its key.
pub const KEY_ID: &str = "d136aa66-0c3b-4bd4-9892-c20e8db024ab";
/// The scope of Apple Business.
pub const SCOPE: &str = "business.api";

/// How the simulator is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The faults that belong to single boxes. Others are switched by [`Running::faults`].
    pub switches: Vec<Switch>,
    /// The devices, by serial number.
    pub devices: HashMap<String, Business>,
    /// For how long the assigned server of a device that is put is not to be had.
    pub linkage_lag: Duration,
    /// How long a token lives.
    pub token_life: Duration,
    /// Reads within a minute before 429; 0: no limit. One client measured about 20.
    pub reads_per_minute: usize,
    /// The scope that a client must ask for.
    pub scope: String,
}

impl Options {
    /// The demo's bench on a free port.
    pub fn demo() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            switches: vec![Switch {
                scope: Scope::Serial(stock::NOT_TO_BE_ASKED.to_owned()),
                effect: Effect::Status(500),
                times: None,
            }],
            devices: stock::DEMO
                .iter()
                .map(|demo| (demo.serial.to_owned(), demo.business))
                .collect(),
            linkage_lag: Duration::ZERO,
            token_life: Duration::from_hours(1),
            reads_per_minute: 0,
            scope: SCOPE.to_owned(),
        }
    }
}

/// A simulator that serves until it is dropped.
#[derive(Debug)]
pub struct Simulator {
    running: Running,
    service: Service,
}

/// It can do what every simulator can.
impl Deref for Simulator {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

/// Starts the simulator.
///
/// # Errors
/// When the address cannot be bound, is not a loopback one, or no key can be drawn.
pub async fn serve(options: Options) -> io::Result<Simulator> {
    let log = Log::default();
    let (listen, faults) = (options.listen, Faults::new(options.switches.clone()));
    let book = Book {
        options,
        key: Key::draw()?,
        linked_from: HashMap::new(),
        overlays: HashMap::new(),
        used: HashSet::new(),
        tokens: HashMap::new(),
        granted: 0,
        recent: VecDeque::new(),
    };
    let service = Service {
        state: Arc::new(Mutex::new(book)),
        log: log.clone(),
    };
    let running = super::serve(routes(service.clone()), listen, faults, log).await?;
    Ok(Simulator { running, service })
}

impl Simulator {
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
        match device {
            Some(device) => {
                let from = Instant::now() + book.options.linkage_lag;
                book.linked_from.insert(serial.to_owned(), from);
                book.options.devices.insert(serial.to_owned(), device);
            }
            None => {
                book.options.devices.remove(serial);
            }
        }
    }

    /// Attributes that differ from what the device's state gives; `null` takes one away.
    pub fn overlay(&self, serial: &str, attributes: Value) {
        self.service
            .locked()
            .overlays
            .insert(serial.to_owned(), attributes);
    }
}

#[derive(Debug)]
struct Key {
    pem: String,
    public: Vec<u8>,
}

impl Key {
    fn draw() -> io::Result<Self> {
        let random = SystemRandom::new();
        let failed = |_| io::Error::other("no key could be drawn");
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(failed)?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
                .map_err(|_| io::Error::other("no key could be drawn"))?;
        let base64 = STANDARD.encode(pkcs8.as_ref());
        let mut pem = "-----BEGIN EC PRIVATE KEY-----\n".to_owned();
        for (place, char) in base64.chars().enumerate() {
            if place > 0 && place % 64 == 0 {
                pem.push('\n');
            }
            pem.push(char);
        }
        pem.push_str("\n-----END EC PRIVATE KEY-----\n");
        Ok(Self {
            pem,
            public: pair.public_key().as_ref().to_vec(),
        })
    }
}

#[derive(Clone, Debug)]
struct Service {
    state: Arc<Mutex<Book>>,
    log: Log,
}

#[derive(Debug)]
struct Book {
    options: Options,
    key: Key,
    /// From when on the assigned server of a device is to be had.
    linked_from: HashMap<String, Instant>,
    overlays: HashMap<String, Value>,
    /// The ids of the assertions so far.
    used: HashSet<String>,
    /// When each token ends.
    tokens: HashMap<String, Instant>,
    granted: u64,
    recent: VecDeque<Instant>,
}

fn routes(service: Service) -> Router {
    Router::new()
        .route("/auth/oauth2/token", post(token))
        .route("/v1/orgDevices", get(devices))
        .route("/v1/orgDevices/{serial}", get(device))
        .route(
            "/v1/orgDevices/{serial}/relationships/assignedServer",
            get(linkage),
        )
        .route(
            "/v1/orgDevices/{serial}/assignedServer",
            get(assigned_server),
        )
        .route("/v1/mdmServers", get(servers))
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
    if let Some(limited) = book.limited() {
        return limited;
    }
    if field("scope") != book.options.scope {
        return refused("invalid_scope");
    }
    if field("client_id") != CLIENT_ID {
        return refused("invalid_client");
    }
    let id = match book.verified(field("client_assertion")) {
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

async fn devices(
    State(service): State<Service>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    service.read(&headers, |book| {
        let mut serials: Vec<String> = book.options.devices.keys().cloned().collect();
        serials.sort();
        let all: Vec<Value> = serials
            .iter()
            .filter_map(|serial| book.device(serial, Whole::List))
            .collect();
        paged(all, &query)
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

async fn servers(
    State(service): State<Service>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    service.read(&headers, |_| {
        paged(
            SERVERS.iter().map(|server| server_json(*server)).collect(),
            &query,
        )
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
        book.limited().unwrap_or_else(|| answer(&book))
    }
}

impl Book {
    /// Counts a request; a reply instead of the answer when there were too many.
    fn limited(&mut self) -> Option<Response> {
        let now = Instant::now();
        while self
            .recent
            .front()
            .is_some_and(|at| now.duration_since(*at) >= Duration::from_mins(1))
        {
            self.recent.pop_front();
        }
        if self.options.reads_per_minute > 0 && self.recent.len() >= self.options.reads_per_minute {
            let mut response = error(429, "RATE_LIMIT_EXCEEDED", "Too many requests.");
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
            return Some(response);
        }
        self.recent.push_back(now);
        None
    }

    /// The id of an assertion that is good, or what is wrong with it.
    fn verified(&self, assertion: &str) -> Result<String, &'static str> {
        let (signed, signature) = assertion.rsplit_once('.').ok_or("not three parts")?;
        let (header, claims) = signed.split_once('.').ok_or("not three parts")?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url");
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.key.public)
            .verify(signed.as_bytes(), &bytes(signature)?)
            .map_err(|_| "signature")?;
        let object = |part: &str| {
            serde_json::from_slice::<Map<String, Value>>(&bytes(part)?).map_err(|_| "not JSON")
        };
        let (header, claims) = (object(header)?, object(claims)?);
        if header.get("alg") != Some(&json!("ES256")) || header.get("kid") != Some(&json!(KEY_ID)) {
            return Err("header");
        }
        for (name, wanted) in [("iss", CLIENT_ID), ("sub", CLIENT_ID), ("aud", AUDIENCE)] {
            if claims.get(name) != Some(&json!(wanted)) {
                return Err("iss, sub or aud");
            }
        }
        let number = |name: &str| {
            claims
                .get(name)
                .and_then(Value::as_i64)
                .ok_or("no iat or exp")
        };
        let (now, issued, ends) = (Timestamp::now().as_second(), number("iat")?, number("exp")?);
        if issued > now.saturating_add(300)
            || ends <= now
            || ends.saturating_sub(issued) > LONGEST_ASSERTION
        {
            return Err("time");
        }
        claims
            .get("jti")
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .ok_or("no jti")
    }

    fn device(&self, serial: &str, whole: Whole) -> Option<Value> {
        let state = *self
            .options
            .devices
            .get(serial)
            .filter(|state| **state != Business::None)?;
        let now = Timestamp::now();
        let demo = stock::DEMO.iter().find(|demo| demo.serial == serial);
        let (model, family) = demo.map_or(("MacBook Air", "Mac"), |demo| (demo.model, demo.family));
        let updated = if state == Business::OursJustNow {
            Duration::from_mins(3)
        } else {
            Duration::from_hours(45 * 24)
        };
        let mut attributes = json!({
            "addedToOrgDateTime": stock::before(now, Duration::from_hours(60 * 24)), "updatedDateTime": stock::before(now, updated),
            "deviceModel": model, "productFamily": family, "productType": "Mac16,12", "color": "SILVER", "partNumber": "MC7X4LL/A",
            "orderNumber": "1234567890", "purchaseSourceType": "APPLE", "imei": [], "meid": [], "eid": "",
            "status": if matches!(state, Business::Unassigned | Business::Released) { "UNASSIGNED" } else { "ASSIGNED" },
        });
        let fields = attributes.as_object_mut()?;
        // The single read lacks it.
        if whole == Whole::List {
            fields.insert("serialNumber".to_owned(), json!(serial));
        }
        match state {
            Business::Released => fields.insert(
                "releasedFromOrgDateTime".to_owned(),
                json!(stock::before(now, Duration::from_hours(24))),
            ),
            Business::Migrating => {
                fields.insert("mdmMigrationStatus".to_owned(), json!("REQUESTED"))
            }
            _ => None,
        };
        if let Some(Value::Object(overlay)) = self.overlays.get(serial) {
            for (name, value) in overlay {
                if value.is_null() {
                    fields.remove(name);
                } else {
                    fields.insert(name.clone(), value.clone());
                }
            }
        }
        Some(
            json!({ "type": "orgDevices", "id": serial, "attributes": attributes, "links": { "self": format!("/v1/orgDevices/{serial}") } }),
        )
    }

    fn server_of(&self, serial: &str) -> Option<Server> {
        if self
            .linked_from
            .get(serial)
            .is_some_and(|from| Instant::now() < *from)
        {
            return None;
        }
        let [ours, other, configurator] = SERVERS;
        match self.options.devices.get(serial)? {
            Business::Ours | Business::OursJustNow | Business::Migrating => Some(ours),
            Business::Other => Some(other),
            Business::Configurator => Some(configurator),
            Business::None | Business::Lagging | Business::Unassigned | Business::Released => None,
        }
    }
}

/// Which read shows a device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    One,
    List,
}

/// Id, name and type.
type Server = (&'static str, &'static str, &'static str);

const SERVERS: [Server; 3] = [
    (stock::SERVER_UUID, stock::SERVER_NAME, "MDM"),
    (stock::OTHER_SERVER_UUID, stock::OTHER_SERVER_NAME, "MDM"),
    (
        stock::CONFIGURATOR_UUID,
        stock::CONFIGURATOR_NAME,
        "APPLE_CONFIGURATOR",
    ),
];

fn server_json((id, name, kind): Server) -> Value {
    json!({ "type": "mdmServers", "id": id, "attributes": { "serverName": name, "serverType": kind } })
}

/// One page of a list; the cursor is opaque to the client.
fn paged(all: Vec<Value>, query: &HashMap<String, String>) -> Response {
    let limit = query
        .get("limit")
        .and_then(|limit| limit.parse::<usize>().ok())
        .unwrap_or(100)
        .clamp(1, 1000);
    let from = match query.get("cursor").map(|cursor| {
        cursor
            .strip_prefix("after-")
            .and_then(|from| from.parse::<usize>().ok())
    }) {
        None => 0,
        Some(Some(from)) => from,
        Some(None) => return error(400, "PARAMETER_ERROR.INVALID", "The cursor is not valid."),
    };
    let total = all.len();
    let page: Vec<Value> = all.into_iter().skip(from).take(limit).collect();
    let next = from.saturating_add(page.len());
    let mut paging = json!({ "total": total, "limit": limit });
    if let (true, Some(paging)) = (next < total, paging.as_object_mut()) {
        paging.insert("nextCursor".to_owned(), json!(format!("after-{next}")));
    }
    json_reply(
        200,
        &json!({ "data": page, "links": { "self": "https://elsewhere.example/v1" }, "meta": { "paging": paging } }),
    )
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
