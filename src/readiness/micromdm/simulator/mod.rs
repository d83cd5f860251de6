//! MicroMDM on loopback: its key is verified, and what Apple says is written out again in the form of its own fields.
//!
//! Written from `dep/devices.go`, `dep/client.go`, `platform/dep/get_dep_device.go` and `pkg/httputil/httputil.go` of its source.

use std::{io, net::SocketAddr};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Map, Value, json};

pub use crate::simulator::device_assignment::passed_on::Simulator;
use crate::simulator::{
    Introduction, Order,
    device_assignment::{
        Code, Failure, basic,
        passed_on::{self, Server, Service},
    },
};

/// The user of its API.
const USER: &str = "micromdm";
/// What Go writes for a time that is not there.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// The texts of a device that are written even where they are empty, and the others.
const TEXTS: [&str; 5] = [
    "serial_number",
    "model",
    "description",
    "color",
    "profile_status",
];
const TEXTS_IF_ANY: [&str; 6] = [
    "asset_tag",
    "profile_uuid",
    "device_assigned_by",
    "os",
    "device_family",
    "response_status",
];
/// Its times. The deadline of a migration is not among its fields.
const TIMES: [&str; 4] = [
    "profile_assign_time",
    "profile_push_time",
    "device_assigned_date",
    "op_date",
];

/// Starts the simulator with the demo's boxes.
///
/// # Errors
/// As [`serve`].
pub async fn introduce(order: Order) -> io::Result<Introduction> {
    let simulator = serve(order.listen, order.boxes).await?;
    Ok(simulator.introduced(Server {
        kind: "micromdm",
        keys: "",
        credential: "micromdm-key",
        lists: &[],
        sees_migrations: false,
    }))
}

/// Starts the simulator with the demo's boxes and so many generated ones.
///
/// # Errors
/// When the address cannot be bound, or is not a loopback one.
pub async fn serve(listen: SocketAddr, boxes: u32) -> io::Result<Simulator> {
    let routes = Router::new().route("/v1/dep/devices", post(devices));
    passed_on::serve(routes, listen, boxes).await
}

async fn devices(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Response {
    if !basic(&headers, USER, &service.key) {
        let wanted = [(header::WWW_AUTHENTICATE, "Basic realm=\"micromdm\"")];
        return (wanted, written(401, &json!({ "error": "Unauthorized" }))).into_response();
    }
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"application/json")) {
        let what = format!("the header content-type is {kind:?}");
        service.log.violation(what);
    }
    let session = "get session for request to https://mdmenrollment.apple.com: creating new auth session for dep: establishing DEP session";
    let error = match service.apple.failure() {
        None => match service.apple.devices("serials", &body, &service.log) {
            Ok(reply) => return written(200, &in_own_fields(&reply)),
            Err(Code(status, code)) => of_call(status, code),
        },
        Some(Failure::Call(status, text)) => of_call(status, text),
        Some(Failure::Session(status, _)) => {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            format!("get device details: {session}: {status}")
        }
        Some(Failure::Unreachable) => {
            "get device details: perform dep request: Post \"https://mdmenrollment.apple.com/devices\": dial tcp: lookup mdmenrollment.apple.com: no such host".to_owned()
        }
        Some(Failure::NoToken) => {
            "DEP not configured yet. add a DEP token to enable DEP".to_owned()
        }
    };
    written(500, &json!({ "error": error }))
}

fn of_call(status: u16, text: &str) -> String {
    format!("get device details: unexpected dep response. status={status} DEP API Error: {text}")
}

/// As it writes its replies: indented, with a newline.
fn written(status: u16, value: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, kind, format!("{value:#}\n")).into_response()
}

/// Apple's devices, each as MicroMDM's structure of them is written: what Apple leaves out or says as null is there and empty.
fn in_own_fields(reply: &Value) -> Value {
    let devices = reply.get("devices").and_then(Value::as_object);
    let devices: Map<String, Value> = devices
        .into_iter()
        .flatten()
        .map(|(serial, record)| (serial.clone(), own_fields(record)))
        .collect();
    json!({ "devices": devices })
}

fn own_fields(record: &Value) -> Value {
    let text = |name: &str| {
        let text = record.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let time = |name: &str| {
        let time = record.get(name).filter(|time| !time.is_null());
        time.cloned().unwrap_or_else(|| json!(NEVER))
    };
    let texts = TEXTS.map(|name| (name.to_owned(), json!(text(name))));
    let others = TEXTS_IF_ANY
        .into_iter()
        .filter(|name| !text(name).is_empty());
    let others = others.map(|name| (name.to_owned(), json!(text(name))));
    let times = TIMES.map(|name| (name.to_owned(), time(name)));
    Value::Object(texts.into_iter().chain(others).chain(times).collect())
}
