//! The paths: what each one answers, and who may ask for it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State, rejection::PathRejection},
    http::{
        HeaderName, HeaderValue, StatusCode, Uri,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    Settings,
    assets::assets,
    door::{Door, Open, Refusal, WRONG_PASSWORD},
    live::{Live, json},
    metrics::{self, Known},
    shapes::{Answer, time},
};
use crate::{
    health::{Health, JournalHealth, Unable},
    journal::{Journal, Stored, reader::ReadFault},
    publisher::{State as BrokerState, message},
    runtime::{clock::Moment, name::Name, visible},
    scanner::{ScanSender, ScannedCode},
    station::{lamp_feed::LampFeed, tally::Tally},
};

/// Bytes of a scan's body.
const BODY: usize = 8 * 1024;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Characters of a scanned text.
const TEXT: usize = 4_096;
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Came {
    pub(super) local: SocketAddr,
    /// Ends the connection.
    pub(super) let_go: Arc<Notify>,
}

/// What the paths answer from. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Web(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    door: Door,
    behind: Behind,
    input_box: Option<ScanSender>,
    display: bool,
    metrics: bool,
}

/// The parts of the station behind the paths.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) live: Arc<Live>,
    pub(super) journal: Journal,
    /// The journal's own counts when the process began.
    pub(super) at_start: JournalHealth,
    pub(super) health: watch::Receiver<Health>,
    pub(super) link: watch::Receiver<BrokerState>,
    pub(super) tally: Arc<Tally>,
    pub(super) lamps: Vec<(Name, LampFeed)>,
}

impl Web {
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new(
        settings: &Settings,
        behind: Behind,
        input_box: Option<ScanSender>,
    ) -> Result<Self, ring::error::Unspecified> {
        Ok(Self(Arc::new(Shared {
            door: Door::new(settings)?,
            behind,
            input_box,
            display: settings.display,
            metrics: settings.metrics,
        })))
    }
}

pub(super) fn routes(web: Web) -> Router {
    let mut routes = Router::new().route("/healthz", get(healthz));
    if web.0.metrics {
        routes = routes.route("/metrics", get(metrics));
    }
    if web.0.display {
        routes = routes
            .route("/events", get(events))
            .route("/api/state", get(state))
            .route("/api/scan", post(scan))
            .route("/api/answers/{id}", get(answer))
            .fallback(asset);
    }
    routes
        .method_not_allowed_fallback(async || not_so())
        .layer(from_fn_with_state(web.clone(), guard))
        .with_state(web)
}

fn open(path: &str) -> Open {
    match path {
        "/healthz" => Open::All,
        "/metrics" => Open::Metrics,
        _ => Open::People,
    }
}

/// Lets a request pass or refuses it, and says to the browser what the answer may do.
async fn guard(
    State(web): State<Web>,
    Extension(came): Extension<Came>,
    request: Request,
    next: Next,
) -> Response {
    let passed = web.0.door.pass(
        came.local,
        request.method(),
        request.uri(),
        request.headers(),
        open(request.uri().path()),
    );
    let mut response = match passed {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(refusal).await,
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Host => trouble(
            StatusCode::MISDIRECTED_REQUEST,
            "this station is not reached under that name",
            "use its address, or add the name to `hosts` in [web]",
        ),
        Refusal::Origin => trouble(
            StatusCode::FORBIDDEN,
            "the request comes from another page, or from none",
            "send it from the station's own page, with its Origin",
        ),
        Refusal::NotJson => trouble(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is not JSON",
            "send it with Content-Type: application/json",
        ),
        Refusal::NoPassword | Refusal::WrongPassword => {
            if refusal == Refusal::WrongPassword {
                sleep(WRONG_PASSWORD).await;
            }
            let asked = [(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"benchlight\", charset=\"UTF-8\""),
            )];
            let answer = trouble(
                StatusCode::UNAUTHORIZED,
                "this needs a user and a password",
                "the user is benchlight, or metrics for /metrics",
            );
            (asked, answer).into_response()
        }
    }
}

#[derive(Serialize)]
struct TroubleIs<'a> {
    error: &'a str,
    remedy: &'a str,
}

fn trouble(status: StatusCode, error: &str, remedy: &str) -> Response {
    (status, of_json(json(&TroubleIs { error, remedy }))).into_response()
}

fn not_so() -> Response {
    trouble(
        StatusCode::METHOD_NOT_ALLOWED,
        "this is not done with that method",
        "use POST for /api/scan, and GET for all else",
    )
}

fn of_json(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn asset(uri: Uri, headers: axum::http::HeaderMap, method: axum::http::Method) -> Response {
    let found = assets().find(uri.path());
    let Some(asset) = found else {
        return trouble(
            StatusCode::NOT_FOUND,
            "there is nothing here",
            "the page is at /",
        );
    };
    if !matches!(method, axum::http::Method::GET | axum::http::Method::HEAD) {
        return not_so();
    }
    let kept: [(HeaderName, &str); 2] = [(ETAG, &asset.etag), (CACHE_CONTROL, "no-cache")];
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| {
        let mut tags = tags
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == asset.etag)
    });
    if is_known {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, [(CONTENT_TYPE, asset.kind)], asset.bytes.clone()).into_response()
}

async fn state(State(web): State<Web>) -> Response {
    of_json(web.0.behind.live.state())
}

async fn events(State(web): State<Web>, Extension(came): Extension<Came>) -> Response {
    let kind = [(CONTENT_TYPE, "text/event-stream")];
    (kind, Body::new(web.0.behind.live.connect(came.let_go))).into_response()
}

#[derive(Serialize)]
struct Able {
    able: bool,
    reason: Option<&'static str>,
}

async fn healthz(State(web): State<Web>) -> Response {
    let unable = web.0.behind.health.borrow().unable;
    let body = of_json(json(&Able {
        able: unable.is_none(),
        reason: unable.map(Unable::code),
    }));
    match unable {
        None => body,
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, body).into_response(),
    }
}

async fn metrics(State(web): State<Web>) -> Response {
    let behind = &web.0.behind;
    let health = behind.health.borrow().clone();
    let oldest_unsent = match health.journal.unsent {
        0 => None,
        _ => {
            let mut reader = behind.journal.reader();
            let first = tokio::task::spawn_blocking(move || reader.unsent(0, 1));
            let first = first.await.ok().and_then(Result::ok);
            first.and_then(|rows| Some(rows.first()?.recorded.record.at))
        }
    };
    let text = metrics::text(&Known {
        version: crate::VERSION,
        health: &health,
        topic_refused: behind.link.borrow().refused_topic.is_some(),
        tally: &behind.tally,
        lamps: &behind.lamps,
        at_start: &behind.at_start,
        oldest_unsent,
        open_pages: behind.live.readers(),
    });
    ([(CONTENT_TYPE, metrics::KIND)], text).into_response()
}

#[derive(Deserialize)]
struct Order {
    text: String,
}

#[derive(Serialize)]
struct Taken {
    id: Uuid,
}

async fn scan(State(web): State<Web>, request: Request) -> Response {
    let Some(input_box) = &web.0.input_box else {
        return trouble(
            StatusCode::NOT_FOUND,
            "this station takes no scans from the page",
            "add a [[scanner]] with kind = \"web\"",
        );
    };
    let text = match text_of(request).await {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let busy = || {
        trouble(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many scans are under way",
            "scan again in a moment",
        )
    };
    let Some(told) = input_box.try_send(ScannedCode::Whole(text.into_bytes())) else {
        return busy();
    };
    match told.await {
        Ok(id) => (StatusCode::ACCEPTED, of_json(json(&Taken { id }))).into_response(),
        Err(_) => busy(),
    }
}

/// The scanned text of a request, or its refusal.
async fn text_of(request: Request) -> Result<String, Response> {
    let too_long = || {
        trouble(
            StatusCode::PAYLOAD_TOO_LARGE,
            "that is too long for a code",
            "send at most 4096 characters",
        )
    };
    let no_text = || {
        trouble(
            StatusCode::BAD_REQUEST,
            "there is no text in it",
            "send {\"text\":\"..\"}",
        )
    };
    let body = timeout(BODY_TIME, to_bytes(request.into_body(), BODY)).await;
    let Ok(body) = body else {
        return Err(trouble(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come",
            "send it at once",
        ));
    };
    let body = body.map_err(|_| too_long())?;
    let order: Order = serde_json::from_slice(&body).map_err(|_| no_text())?;
    // A list would pass for an object with one field.
    if !body.trim_ascii_start().starts_with(b"{") || order.text.trim().is_empty() {
        return Err(no_text());
    }
    if order.text.chars().count() > TEXT {
        return Err(too_long());
    }
    Ok(order.text)
}

/// One answer with all that is known of it.
#[derive(Serialize)]
struct Why<E> {
    v: u32,
    answer: Answer,
    evidence: E,
    delivered_at: Option<String>,
    set_aside: Option<String>,
    changes: Vec<Answer>,
}

async fn answer(State(web): State<Web>, id: Result<Path<String>, PathRejection>) -> Response {
    let id = id.ok().and_then(|Path(id)| id.parse::<Uuid>().ok());
    let Some(id) = id else {
        return trouble(
            StatusCode::BAD_REQUEST,
            "that is no id",
            "use the id of an answer",
        );
    };
    let journal = web.0.behind.journal.clone();
    match tokio::task::spawn_blocking(move || why(&journal, id)).await {
        Ok(Ok(Some(why))) => of_json(why),
        Ok(Ok(None)) => trouble(
            StatusCode::NOT_FOUND,
            "the journal does not have that answer",
            "it was not recorded, or is older than `keep`",
        ),
        Ok(Err(_)) | Err(_) => trouble(
            StatusCode::SERVICE_UNAVAILABLE,
            "the journal cannot be read",
            "run sudo benchlight doctor",
        ),
    }
}

/// Blocks on the disk.
fn why(journal: &Journal, id: Uuid) -> Result<Option<Vec<u8>>, ReadFault> {
    let mut reader = journal.reader();
    let Some(stored) = reader.find(id)? else {
        return Ok(None);
    };
    let record = &stored.recorded.record;
    let story = match &record.serial {
        Some(serial) => reader.story(serial)?,
        None => Vec::new(),
    };
    let now = Moment::now();
    let is_its_change = |other: &&Stored| {
        let other = &other.recorded.record;
        other.change.is_some() && other.scan() == record.scan() && other.id != record.id
    };
    let changes = story.iter().filter(is_its_change);
    Ok(Some(json(&Why {
        v: 1,
        answer: Answer::kept(record, now),
        evidence: message::evidence(&record.evidence),
        delivered_at: stored.delivered_at.map(time),
        set_aside: stored.set_aside.as_deref().map(visible::text),
        changes: changes
            .map(|change| Answer::kept(&change.recorded.record, now))
            .collect(),
    })))
}
