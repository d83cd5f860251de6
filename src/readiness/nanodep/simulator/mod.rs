//! NanoDEP on loopback: its key and its DEP name are verified, and what Apple says is passed on with Apple's headers.
//!
//! Written from `cmd/depserver/main.go`, `proxy/proxy.go` and `client/transport.go` of its source.

use std::{collections::HashMap, io, net::SocketAddr, ops::Deref};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;
use uuid::Uuid;

use crate::simulator::{
    self, Introduction, Log, Order, Running,
    device_assignment::{self, Apple, Code, Failure, JSON, basic},
    faults::Faults,
    listing::ListFault,
    stock,
};

/// The user of its API.
const USER: &str = "depserver";
/// The DEP name under which it has a server token.
pub const DEP_NAME: &str = "mdmserver1";

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

#[derive(Clone, Debug)]
struct Service {
    key: String,
    apple: Apple,
    log: Log,
}

/// Starts the simulator with the demo's boxes.
///
/// # Errors
/// As [`simulator::serve`].
pub async fn introduce(order: Order) -> io::Result<Introduction> {
    let simulator = serve(order.listen, order.boxes).await?;
    let source = format!(
        "[[source]]\nname = \"nanodep\"\nkind = \"nanodep\"\nurl = \"{}\"\ndep_name = \"{DEP_NAME}\"\nkey_credential = \"nanodep-key\"\nexpected_profiles = [\"{}\"]",
        simulator.base(),
        stock::PROFILE_UUID,
    );
    Ok(Introduction {
        credential: ("nanodep-key", simulator.key().to_owned()),
        lists: &["POST /proxy/mdmserver1/server/devices with {\"limit\":1000,\"cursor\":\"..\"}"],
        running: simulator.running,
        source,
        boxes: device_assignment::boxes(true),
        differs: device_assignment::DIFFERS,
    })
}

/// Starts the simulator with the demo's boxes and so many generated ones.
///
/// # Errors
/// When the address cannot be bound, or is not a loopback one.
pub async fn serve(listen: SocketAddr, boxes: u32) -> io::Result<Simulator> {
    let log = Log::default();
    let service = Service {
        key: Uuid::now_v7().simple().to_string(),
        apple: Apple::of_an_mdm(boxes),
        log: log.clone(),
    };
    let faults = Faults::new(stock::switches());
    let running = simulator::serve(routes(service.clone()), listen, faults, log).await?;
    Ok(Simulator { running, service })
}

impl Simulator {
    /// What Apple holds.
    pub fn apple(&self) -> &Apple {
        &self.service.apple
    }

    /// Its API key.
    pub fn key(&self) -> &str {
        &self.service.key
    }
}

fn routes(service: Service) -> Router {
    Router::new()
        .route("/version", get(|| async { r#"{"version":"v0.7.0"}"# }))
        .route("/proxy/{name}/account", get(account))
        .route("/proxy/{name}/devices", post(devices))
        .route("/proxy/{name}/server/devices", post(all_devices))
        .route("/proxy/{name}/profile", get(profile))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(service)
}

impl Service {
    /// The reply to a request that is for Apple: NanoDEP's own refusal, or what Apple says.
    fn proxied(
        &self,
        name: &str,
        headers: &HeaderMap,
        answer: impl FnOnce(&Apple) -> Result<Value, Code>,
    ) -> Response {
        if !basic(headers, USER, &self.key) {
            let wanted = [(header::WWW_AUTHENTICATE, "Basic realm=\"depserver\"")];
            return (StatusCode::UNAUTHORIZED, wanted, "Unauthorized\n").into_response();
        }
        if name != DEP_NAME {
            return StatusCode::BAD_GATEWAY.into_response();
        }
        match self.apple.failure() {
            None => {}
            Some(Failure::Call(status, text)) => return as_apple(status, text.to_owned()),
            Some(Failure::Session(_, text)) => {
                return (StatusCode::BAD_GATEWAY, text).into_response();
            }
            Some(Failure::Unreachable | Failure::NoToken) => {
                return StatusCode::BAD_GATEWAY.into_response();
            }
        }
        let answered = self.headers(headers).and_then(|()| answer(&self.apple));
        match answered {
            Ok(value) => as_apple(200, value.to_string()),
            Err(Code(status, code)) => as_apple(status, code.to_owned()),
        }
    }

    /// What Apple verifies of what NanoDEP passes on. NanoDEP would send version 7 where the caller sends none.
    fn headers(&self, headers: &HeaderMap) -> Result<(), Code> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if text("user-agent").is_none_or(|agent| agent.trim().is_empty()) {
            self.log.violation("USER_AGENT_MISSING");
            return Err(Code(400, "USER_AGENT_MISSING"));
        }
        let wanted = [
            ("x-server-protocol-version", Some("10")),
            ("content-type", Some(JSON)),
            ("accept", Some(JSON)),
            // The session is NanoDEP's own.
            ("x-adm-auth-session", None),
        ];
        for (name, wanted) in wanted {
            if text(name) != wanted {
                let what = format!("the header {name} is {:?}", text(name));
                self.log.violation(what);
                return Err(Code(400, "MALFORMED_REQUEST_BODY"));
            }
        }
        Ok(())
    }
}

/// A reply of Apple's, which NanoDEP passes on with the word of its own session.
fn as_apple(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [
        (header::CONTENT_TYPE.as_str(), JSON),
        ("x-adm-auth-session", "a-session-of-nanodep"),
    ];
    (status, headers, Body::from(body)).into_response()
}

async fn account(
    State(service): State<Service>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    service.proxied(&name, &headers, |_| Ok(Apple::account()))
}

async fn devices(
    State(service): State<Service>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = |apple: &Apple| apple.devices("devices", &body, &service.log);
    service.proxied(&name, &headers, answer)
}

async fn all_devices(
    State(service): State<Service>,
    Path(name): Path<String>,
    fault: Option<Extension<ListFault>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = fault.map(|Extension(fault)| fault).unwrap_or_default();
    let answer = |apple: &Apple| apple.page(&body, fault, &service.log);
    service.proxied(&name, &headers, answer)
}

async fn profile(
    State(service): State<Service>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let uuid = query.get("profile_uuid").map(String::as_str);
    service.proxied(&name, &headers, |_| Apple::profile(uuid))
}

/// A call that the station has no business to make.
async fn unknown(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    service.log.violation(format!("{method} {}", uri.path()));
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}
