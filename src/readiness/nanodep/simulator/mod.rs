//! NanoDEP on loopback: its key and its DEP name are verified, and what Apple says is passed on with Apple's headers.
//!
//! Written from `cmd/depserver/main.go`, `proxy/proxy.go` and `client/transport.go` of its source.

use std::{collections::HashMap, io, net::SocketAddr};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;

pub use crate::simulator::device_assignment::passed_on::Simulator;
use crate::simulator::{
    Introduction, Order,
    device_assignment::{
        Apple, Code, Failure, JSON, basic,
        passed_on::{self, Server, Service},
    },
    listing::ListFault,
};

/// The user of its API.
const USER: &str = "depserver";
/// The DEP name under which it has a server token.
pub const DEP_NAME: &str = "mdmserver1";

/// Starts the simulator with the demo's boxes.
///
/// # Errors
/// As [`serve`].
pub async fn introduce(order: Order) -> io::Result<Introduction> {
    let dep_name = format!("dep_name = \"{DEP_NAME}\"\n");
    let server = Server {
        kind: "nanodep",
        keys: &dep_name,
        credential: "nanodep-key",
        lists: &["POST /proxy/mdmserver1/server/devices with {\"limit\":1000,\"cursor\":\"..\"}"],
        sees_migrations: true,
    };
    let simulator = serve(order.listen, order.boxes).await?;
    Ok(simulator.introduced(server))
}

/// Starts the simulator with the demo's boxes and so many generated ones.
///
/// # Errors
/// When the address cannot be bound, or is not a loopback one.
pub async fn serve(listen: SocketAddr, boxes: u32) -> io::Result<Simulator> {
    let routes = Router::new()
        .route("/version", get(|| async { r#"{"version":"v0.7.0"}"# }))
        .route("/proxy/{name}/account", get(account))
        .route("/proxy/{name}/devices", post(devices))
        .route("/proxy/{name}/server/devices", post(all_devices))
        .route("/proxy/{name}/profile", get(profile));
    passed_on::serve(routes, listen, boxes).await
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
