//! Apple's Device Assignment Services on loopback: signature, nonce, time, session and headers are verified, every state of a device is served.
//!
//! It verifies with `ring` what the source signs with the RustCrypto crates, so that a fault of the one is no fault of the other.

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
    extract::{Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Log, Running,
    faults::{Faults, Switch},
    stock::{self, Dep},
};

const SESSION: HeaderName = HeaderName::from_static("x-adm-auth-session");
const JSON: &str = "application/json;charset=UTF8";
/// A timestamp this far from the service's clock is refused.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// The most devices in one request.
const MOST: usize = 1000;

/// How the simulator is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The faults that belong to single boxes. Others are switched by [`Running::faults`].
    pub switches: Vec<Switch>,
    /// The devices, by serial number.
    pub devices: HashMap<String, Dep>,
    /// How long a session lives.
    pub session_life: Duration,
    /// Every so many replies the session's word changes, and the one before is dead at once; 0: never.
    pub rotate_every: u64,
    /// Replies within a minute before 429; 0: no limit.
    pub reads_per_minute: usize,
    /// How far the service's clock is ahead of ours.
    pub clock_ahead: SignedDuration,
    /// When the server token expires.
    pub token_expiry: Timestamp,
}

impl Options {
    /// The demo's bench on a free port.
    pub fn demo() -> Self {
        let now = Timestamp::now();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            switches: Vec::new(),
            devices: stock::DEMO
                .iter()
                .map(|demo| (demo.serial.to_owned(), demo.dep))
                .collect(),
            session_life: Duration::from_mins(10),
            rotate_every: 50,
            reads_per_minute: 0,
            clock_ahead: SignedDuration::ZERO,
            token_expiry: now
                .checked_add(SignedDuration::from_hours(300 * 24))
                .unwrap_or(now),
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
/// When the address cannot be bound, or is not a loopback one.
pub async fn serve(options: Options) -> io::Result<Simulator> {
    let log = Log::default();
    let (listen, faults) = (options.listen, Faults::new(options.switches.clone()));
    let service = Service::new(options, log.clone());
    let running = super::serve(routes(service.clone()), listen, faults, log).await?;
    Ok(Simulator { running, service })
}

impl Simulator {
    /// The server token, as the station's credential holds it.
    pub fn credential(&self) -> String {
        self.service.locked().token.to_json()
    }

    /// Apple gives out another server token: the one before is dead, and its sessions with it.
    pub fn replace_token(&self) {
        let mut state = self.service.locked();
        state.token = Token::draw(state.options.token_expiry);
        state.sessions.clear();
    }

    /// Puts a device into a state; `None` takes it away.
    pub fn put(&self, serial: &str, device: Option<Dep>) {
        let mut state = self.service.locked();
        match device {
            Some(device) => state.options.devices.insert(serial.to_owned(), device),
            None => state.options.devices.remove(serial),
        };
    }

    /// A reply's fields that differ from what the device's state gives; `null` takes a field away.
    pub fn overlay(&self, serial: &str, fields: Value) {
        self.service
            .locked()
            .overlays
            .insert(serial.to_owned(), fields);
    }

    /// All sessions end: the next request meets 401.
    pub fn expire_sessions(&self) {
        for session in self.service.locked().sessions.values_mut() {
            *session = Instant::now();
        }
    }

    /// All sessions are forgotten: the next request meets 403.
    pub fn forget_sessions(&self) {
        self.service.locked().sessions.clear();
    }

    /// Sessions given out so far.
    pub fn sessions_made(&self) -> u64 {
        self.service.locked().made
    }
}

/// The five fields.
#[derive(Clone, Debug)]
struct Token {
    consumer_key: String,
    consumer_secret: String,
    access_token: String,
    access_secret: String,
    expiry: Timestamp,
}

impl Token {
    fn draw(expiry: Timestamp) -> Self {
        let draw = |prefix: &str| format!("{prefix}_{}", Uuid::now_v7().simple());
        Self {
            consumer_key: draw("CK"),
            consumer_secret: draw("CS"),
            access_token: draw("AT"),
            access_secret: draw("AS"),
            expiry,
        }
    }

    fn to_json(&self) -> String {
        json!({
            "consumer_key": self.consumer_key, "consumer_secret": self.consumer_secret, "access_token": self.access_token,
            "access_secret": self.access_secret, "access_token_expiry": self.expiry.to_string(),
        })
        .to_string()
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
    token: Token,
    overlays: HashMap<String, Value>,
    first_asked: HashMap<String, (Instant, Timestamp)>,
    nonces: HashSet<String>,
    /// When each session ends.
    sessions: HashMap<String, Instant>,
    made: u64,
    replies: u64,
    recent: VecDeque<Instant>,
}

/// A refusal in Apple's plain text.
struct Refused(u16, &'static str);

impl Service {
    fn new(options: Options, log: Log) -> Self {
        let token = Token::draw(options.token_expiry);
        let book = Book {
            options,
            token,
            overlays: HashMap::new(),
            first_asked: HashMap::new(),
            nonces: HashSet::new(),
            sessions: HashMap::new(),
            made: 0,
            replies: 0,
            recent: VecDeque::new(),
        };
        Self {
            state: Arc::new(Mutex::new(book)),
            log,
        }
    }

    fn locked(&self) -> MutexGuard<'_, Book> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply to a request that must be within a session.
    fn within_session(
        &self,
        headers: &HeaderMap,
        answer: impl FnOnce(&mut Book) -> Result<Value, Refused>,
    ) -> Response {
        let result = self.headers(headers).and_then(|()| {
            let mut book = self.locked();
            book.within_limit()?;
            let word = book.session(headers)?;
            let value = answer(&mut book)?;
            Ok((value, book.rotated(word)))
        });
        match result {
            Ok((value, word)) => self.reply(
                word,
                (
                    StatusCode::OK,
                    [(header::CONTENT_TYPE, JSON)],
                    value.to_string(),
                )
                    .into_response(),
            ),
            Err(refused) => self.refuse(&refused),
        }
    }

    fn reply(&self, word: Option<String>, mut response: Response) -> Response {
        if let Some(value) = word.and_then(|word| HeaderValue::from_str(&word).ok()) {
            response.headers_mut().insert(SESSION, value);
        }
        let ahead = self.locked().options.clock_ahead;
        let shown = Timestamp::now()
            .checked_add(ahead)
            .ok()
            .map(|now| now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        if let Some(value) = shown.and_then(|date| HeaderValue::from_str(&date).ok()) {
            response.headers_mut().insert(header::DATE, value);
        }
        response
    }

    /// Apple's codes come bare and in double quotes with a newline: in turns here.
    fn refuse(&self, Refused(status, code): &Refused) -> Response {
        let quoted = {
            let mut book = self.locked();
            book.replies += 1;
            book.replies.is_multiple_of(2)
        };
        let body = if quoted {
            format!("\"{code}\"\n")
        } else {
            (*code).to_owned()
        };
        let mut response = (
            StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            body,
        )
            .into_response();
        if *status == 429 {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
        }
        self.reply(None, response)
    }

    /// The headers of every request.
    fn headers(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        match text("user-agent") {
            None => return Err(self.not_understood(400, "USER_AGENT_MISSING")),
            Some(agent) if agent.trim().is_empty() || agent == "invalid" => {
                return Err(self.not_understood(400, "USER_AGENT_INVALID"));
            }
            Some(_) => {}
        }
        for (name, wanted) in [
            ("x-server-protocol-version", "10"),
            ("content-type", JSON),
            ("accept", JSON),
        ] {
            if text(name) != Some(wanted) {
                self.log
                    .violation(format!("the header {name} is {:?}", text(name)));
                return Err(Refused(400, "MALFORMED_REQUEST_BODY"));
            }
        }
        Ok(())
    }

    fn not_understood(&self, status: u16, code: &'static str) -> Refused {
        self.log.violation(code);
        Refused(status, code)
    }

    /// The OAuth 1.0a header of `GET /session`.
    fn signed(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let malformed = || self.not_understood(400, "oauth_problem_adviceBad Request");
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let fields = text("authorization")
            .and_then(|header| header.strip_prefix("OAuth "))
            .and_then(fields)
            .ok_or_else(malformed)?;
        let field = |name: &str| {
            fields
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value.as_str())
        };
        for (name, wanted) in [
            ("realm", "ADM"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_version", "1.0"),
        ] {
            if field(name) != Some(wanted) {
                return Err(malformed());
            }
        }
        let nonce = field("oauth_nonce")
            .filter(|nonce| !nonce.is_empty())
            .ok_or_else(malformed)?
            .to_owned();
        let stamp = field("oauth_timestamp")
            .and_then(|text| text.parse().ok())
            .and_then(|seconds| Timestamp::from_second(seconds).ok());
        let (stamp, signature) = (
            stamp.ok_or_else(malformed)?,
            field("oauth_signature").ok_or_else(malformed)?,
        );

        let mut book = self.locked();
        let refused = || Refused(401, "oauth_problem_adviceUnauthorized");
        let now = Timestamp::now()
            .checked_add(book.options.clock_ahead)
            .map_err(|_| refused())?;
        if field("oauth_consumer_key") != Some(&book.token.consumer_key)
            || field("oauth_token") != Some(&book.token.access_token)
        {
            return Err(refused());
        }
        if now.duration_since(stamp).abs() > WINDOW {
            return Err(refused());
        }
        let host = text("host").unwrap_or_default().to_ascii_lowercase();
        let base = base_string(
            method,
            &format!("http://{host}{}", uri.path()),
            uri.query(),
            &fields,
        );
        let key = format!(
            "{}&{}",
            escaped(&book.token.consumer_secret),
            escaped(&book.token.access_secret)
        );
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
        let given = STANDARD.decode(signature).map_err(|_| refused())?;
        ring::hmac::verify(&key, base.as_bytes(), &given).map_err(|_| refused())?;
        if !book.nonces.insert(nonce) {
            self.log.violation("a nonce was used twice");
            return Err(refused());
        }
        if book.token.expiry <= now {
            Err(Refused(403, "token_expiredForbidden"))
        } else {
            Ok(())
        }
    }
}

impl Book {
    fn within_limit(&mut self) -> Result<(), Refused> {
        let now = Instant::now();
        while self
            .recent
            .front()
            .is_some_and(|at| now.duration_since(*at) >= Duration::from_mins(1))
        {
            self.recent.pop_front();
        }
        if self.options.reads_per_minute > 0 && self.recent.len() >= self.options.reads_per_minute {
            return Err(Refused(429, "TOO_MANY_REQUESTS"));
        }
        self.recent.push_back(now);
        Ok(())
    }

    fn opened(&mut self) -> String {
        let word = format!("{}{}", Uuid::now_v7().simple(), fastrand::u64(..));
        self.sessions
            .insert(word.clone(), Instant::now() + self.options.session_life);
        word
    }

    fn session(&self, headers: &HeaderMap) -> Result<String, Refused> {
        let word = headers
            .get(&SESSION)
            .and_then(|value| value.to_str().ok())
            .ok_or(Refused(403, "FORBIDDEN"))?;
        match self.sessions.get(word) {
            None => Err(Refused(403, "FORBIDDEN")),
            Some(end) if Instant::now() >= *end => Err(Refused(401, "UNAUTHORIZED")),
            Some(_) => Ok(word.to_owned()),
        }
    }

    /// The session's next word, when its turn has come.
    fn rotated(&mut self, word: String) -> Option<String> {
        self.replies += 1;
        if self.options.rotate_every == 0 || !self.replies.is_multiple_of(self.options.rotate_every)
        {
            return Some(word);
        }
        self.sessions.remove(&word);
        Some(self.opened())
    }

    fn device(&mut self, serial: &str) -> Value {
        let now = Timestamp::now();
        let ago = |age: Duration| Some(now.checked_sub(age).unwrap_or(now));
        let days = |days: u64| ago(Duration::from_hours(24 * days));
        let (since, first) = *self
            .first_asked
            .entry(serial.to_owned())
            .or_insert_with(|| (Instant::now(), now));
        let (status, assigned_at) = match self.options.devices.get(serial) {
            None | Some(Dep::NotAccessible) => {
                return self.overlaid(serial, json!({ "response_status": "NOT_ACCESSIBLE" }));
            }
            Some(Dep::Empty) => ("empty", None),
            Some(Dep::Soon(after)) if since.elapsed() < *after => ("empty", None),
            Some(Dep::Soon(after)) => {
                ("assigned", Some(first.checked_add(*after).unwrap_or(first)))
            }
            Some(Dep::JustNow) => (
                "assigned",
                Some(first.checked_sub(Duration::from_secs(1)).unwrap_or(first)),
            ),
            Some(Dep::Assigned(age)) => ("assigned", ago(*age)),
            Some(Dep::Migrating) => ("assigned", days(45)),
            Some(Dep::Pushed) => ("pushed", days(300)),
            Some(Dep::Removed) => ("removed", days(45)),
        };
        let demo = stock::DEMO.iter().find(|demo| demo.serial == serial);
        let (model, family) = demo.map_or(("MacBook Air", "Mac"), |demo| (demo.model, demo.family));
        let mut device = json!({
            "serial_number": serial, "model": model, "description": model, "color": "SILVER", "asset_tag": "", "device_family": family,
            "os": if family == "Mac" { "OSX" } else { "iOS" }, "profile_status": status, "device_assigned_by": "admin@example.com",
            "device_assigned_date": stock::before(assigned_at.unwrap_or(now), Duration::from_mins(2)),
            "response_status": "SUCCESS",
        });
        let mut set = |name: &str, value: Value| {
            if let Some(fields) = device.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
        };
        if let Some(at) = assigned_at {
            set("profile_uuid", json!(stock::PROFILE_UUID));
            set(
                "profile_assign_time",
                json!(stock::before(at, Duration::ZERO)),
            );
        }
        match self.options.devices.get(serial) {
            Some(Dep::Pushed) => set(
                "profile_push_time",
                json!(stock::before(now, Duration::from_hours(200 * 24))),
            ),
            Some(Dep::Migrating) => set("mdm_migration_deadline", json!("2099-01-01T00:00:00Z")),
            _ => {}
        }
        self.overlaid(serial, device)
    }

    fn overlaid(&self, serial: &str, mut device: Value) -> Value {
        if let (Some(Value::Object(overlay)), Some(fields)) =
            (self.overlays.get(serial), device.as_object_mut())
        {
            for (name, value) in overlay {
                if value.is_null() {
                    fields.remove(name);
                } else {
                    fields.insert(name.clone(), value.clone());
                }
            }
        }
        device
    }
}

fn routes(service: Service) -> Router {
    Router::new()
        .route("/session", get(session))
        .route("/account", get(account))
        .route("/devices", post(devices))
        .route("/profile", get(profile))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(service)
}

async fn session(
    State(service): State<Service>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let verified = service
        .headers(&headers)
        .and_then(|()| service.locked().within_limit())
        .and_then(|()| service.signed(&method, &uri, &headers));
    match verified {
        Ok(()) => {
            let word = {
                let mut book = service.locked();
                book.made += 1;
                book.opened()
            };
            let body = json!({ "auth_session_token": word }).to_string();
            service.reply(
                None,
                (StatusCode::OK, [(header::CONTENT_TYPE, JSON)], body).into_response(),
            )
        }
        Err(refused) => service.refuse(&refused),
    }
}

async fn account(State(service): State<Service>, headers: HeaderMap) -> Response {
    service.within_session(&headers, |_| {
        Ok(json!({
            "server_name": stock::SERVER_NAME, "server_uuid": stock::SERVER_UUID, "admin_id": "admin@example.com", "org_name": "Acme",
            "org_email": "it@example.com", "org_phone": "", "org_address": "", "org_id": "1", "org_type": "org", "org_version": "v2",
            "urls": [{ "uri": "/profile", "http_method": ["GET"] }, { "uri": "/devices", "http_method": ["POST"] }],
        }))
    })
}

async fn devices(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let log = service.log.clone();
    service.within_session(&headers, move |book| {
        let asked = serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|body| body.get("devices").and_then(Value::as_array).cloned());
        let asked: Option<Vec<String>> = asked.and_then(|asked| {
            asked
                .iter()
                .map(|serial| serial.as_str().map(str::to_owned))
                .collect()
        });
        match asked {
            None => {
                log.violation("MALFORMED_REQUEST_BODY");
                Err(Refused(400, "MALFORMED_REQUEST_BODY"))
            }
            Some(asked) if asked.is_empty() || asked.len() > MOST => {
                log.violation(format!("{} devices in one request", asked.len()));
                Err(Refused(400, "DEVICE_ID_REQUIRED"))
            }
            Some(asked) => {
                let devices: serde_json::Map<String, Value> = asked
                    .into_iter()
                    .map(|serial| (serial.clone(), book.device(&serial)))
                    .collect();
                Ok(json!({ "devices": devices }))
            }
        }
    })
}

async fn profile(
    State(service): State<Service>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    service.within_session(&headers, |_| match query.get("profile_uuid") {
        None => Err(Refused(400, "PROFILE_UUID_REQUIRED")),
        Some(uuid) if uuid == stock::PROFILE_UUID => Ok(json!({
            "profile_uuid": uuid, "profile_name": "Automated Device Enrollment", "url": stock::PROFILE_URL, "is_mandatory": true,
            "is_mdm_removable": false, "allow_pairing": true, "skip_setup_items": [], "anchor_certs": [], "supervising_host_certs": [],
        })),
        Some(_) => Err(Refused(404, "PROFILE_NOT_FOUND")),
    })
}

async fn unknown(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    service.log.violation(format!("{method} {}", uri.path()));
    service.refuse(&Refused(404, "NOT_FOUND"))
}

/// The fields of an OAuth header, decoded.
fn fields(header: &str) -> Option<Vec<(String, String)>> {
    header
        .split(',')
        .map(|field| {
            let (name, value) = field.trim().split_once('=')?;
            Some((
                name.to_owned(),
                unescaped(value.strip_prefix('"')?.strip_suffix('"')?)?,
            ))
        })
        .collect()
}

/// RFC 5849 3.4.1. The realm and the signature itself are not part of it.
fn base_string(
    method: &Method,
    address: &str,
    query: Option<&str>,
    fields: &[(String, String)],
) -> String {
    let mut all: Vec<(String, String)> = fields
        .iter()
        .filter(|(name, _)| name != "realm" && name != "oauth_signature")
        .map(|(name, value)| (escaped(name), escaped(value)))
        .collect();
    all.extend(
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .map(|(name, value)| (escaped(&name), escaped(&value))),
    );
    all.sort_unstable();
    let joined = all
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&");
    [method.as_str(), &escaped(address), &escaped(&joined)].join("&")
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out + char::from(byte).encode_utf8(&mut [0; 4])
        } else {
            out + &format!("%{byte:02X}")
        }
    })
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (
                char::from(rest.next()?).to_digit(16)?,
                char::from(rest.next()?).to_digit(16)?,
            );
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
