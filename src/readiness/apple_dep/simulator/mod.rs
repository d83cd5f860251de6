//! Apple's Device Assignment Services on loopback: signature, nonce, time, session and headers are verified, every state of a device is served.
//!
//! It verifies with `ring` what the source signs with the RustCrypto crates, so that both cannot share a mistake.

mod book;
mod verify;

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::simulator::{
    self, Introduction, Limit, Log, Order, Served,
    device_assignment::{Apple, Code, JSON},
    faults::{Faults, Switch},
    listing::ListFault,
    stock::{self, Dep},
};
use book::Book;

const SESSION: HeaderName = HeaderName::from_static("x-adm-auth-session");

/// How the simulator is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The faults that belong to single boxes. Others are switched by [`simulator::Running::faults`].
    pub switches: Vec<Switch>,
    /// The devices, by serial number.
    pub devices: HashMap<String, Dep>,
    /// Generated devices besides.
    pub boxes: u32,
    /// How long a session lives.
    pub session_life: Duration,
    /// After this many replies the session's word changes, and the old one is invalid at once; 0: never.
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
            devices: stock::dep(),
            boxes: 0,
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
pub type Simulator = Served<Service>;

/// Starts the simulator with the demo's boxes.
///
/// # Errors
/// As [`simulator::serve`].
pub async fn introduce(order: Order) -> io::Result<Introduction> {
    let options = Options {
        listen: order.listen,
        boxes: order.boxes,
        ..Options::demo()
    };
    let simulator = serve(options).await?;
    let source = format!(
        "[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\nurl = \"{}\"\ntoken_credential = \"apple-dep-token\"",
        simulator.base()
    );
    Ok(Introduction {
        credential: ("apple-dep-token", simulator.credential()),
        lists: &["POST /server/devices with {\"limit\":1000,\"cursor\":\"..\"}"],
        running: simulator.running,
        source,
        boxes: stock::boxes(),
        differs: &[],
    })
}

/// Starts the simulator.
///
/// # Errors
/// When the address cannot be bound, or is not a loopback one.
pub async fn serve(options: Options) -> io::Result<Simulator> {
    let log = Log::default();
    let (listen, faults) = (options.listen, Faults::new(options.switches.clone()));
    let service = Service::new(options, log.clone());
    let running = simulator::serve(routes(service.clone()), listen, faults, log).await?;
    Ok(Served { running, service })
}

impl Served<Service> {
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

    /// The devices.
    pub fn apple(&self) -> &Apple {
        &self.service.apple
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

/// Where its questions are answered.
#[derive(Clone, Debug)]
pub struct Service {
    apple: Apple,
    state: Arc<Mutex<Book>>,
    log: Log,
}

/// A refusal in Apple's plain text.
enum Refused {
    Code(u16, &'static str),
    /// With the seconds until the next request fits.
    TooMany(u64),
}

impl From<Code> for Refused {
    fn from(Code(status, code): Code) -> Self {
        Self::Code(status, code)
    }
}

impl Service {
    fn new(options: Options, log: Log) -> Self {
        let token = Token::draw(options.token_expiry);
        let apple = Apple::of(options.devices.clone(), options.boxes);
        let recent = Limit::new(options.reads_per_minute, Duration::from_mins(1));
        let book = Book {
            options,
            token,
            nonces: HashSet::new(),
            sessions: HashMap::new(),
            made: 0,
            replies: 0,
            recent,
        };
        Self {
            apple,
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
        answer: impl FnOnce(&Apple) -> Result<Value, Code>,
    ) -> Response {
        let result = self.headers(headers).and_then(|()| {
            let mut book = self.locked();
            book.within_limit()?;
            let word = book.session(headers)?;
            let value = answer(&self.apple)?;
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
    fn refuse(&self, refused: &Refused) -> Response {
        let (status, code) = match refused {
            Refused::Code(status, code) => (*status, *code),
            Refused::TooMany(_) => (429, "TOO_MANY_REQUESTS"),
        };
        let quoted = {
            let mut book = self.locked();
            book.replies += 1;
            book.replies.is_multiple_of(2)
        };
        let body = if quoted {
            format!("\"{code}\"\n")
        } else {
            code.to_owned()
        };
        let mut response = (
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            body,
        )
            .into_response();
        if let Refused::TooMany(wait) = refused {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(*wait));
        }
        self.reply(None, response)
    }
}

fn routes(service: Service) -> Router {
    Router::new()
        .route("/session", get(session))
        .route("/account", get(account))
        .route("/devices", post(devices))
        .route("/server/devices", post(all_devices))
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
    service.within_session(&headers, |_| Ok(Apple::account()))
}

async fn devices(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = |apple: &Apple| apple.devices("devices", &body, &service.log);
    service.within_session(&headers, answer)
}

async fn all_devices(
    State(service): State<Service>,
    fault: Option<Extension<ListFault>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = fault.map(|Extension(fault)| fault).unwrap_or_default();
    let answer = |apple: &Apple| apple.page(&body, fault, &service.log);
    service.within_session(&headers, answer)
}

async fn profile(
    State(service): State<Service>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let uuid = query.get("profile_uuid").map(String::as_str);
    service.within_session(&headers, |_| Apple::profile(uuid))
}

async fn unknown(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    service.log.violation(format!("{method} {}", uri.path()));
    service.refuse(&Refused::Code(404, "NOT_FOUND"))
}
