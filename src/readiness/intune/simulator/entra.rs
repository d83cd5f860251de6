//! The sign-in at Entra: an access token for the app's id and secret.

use std::{collections::HashMap, time::Duration};

use axum::{
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::Response,
};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Books, CLIENT_ID, Service, TENANT, reply};
use crate::simulator::{Log, books::text};

const SCOPE: &str = "https://graph.microsoft.com/.default";

pub(super) async fn token(
    State(service): State<Service>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let sent = |name: &str| form.get(name).map_or("", String::as_str);
    let mut books = service.books();
    if let Err(no) =
        misunderstood(&headers, sent, &service.log).and_then(|()| refused(&books, &tenant, sent))
    {
        return no.told();
    }
    let token = format!(
        "eyJ0eXAi.{}.{:016x}",
        Uuid::now_v7().simple(),
        fastrand::u64(..)
    );
    let life: Duration = books.options.token_life;
    books.tokens.insert(token.clone(), Instant::now() + life);
    books.granted += 1;
    reply(
        200,
        &json!({"token_type": "Bearer", "expires_in": life.as_secs(), "ext_expires_in": life.as_secs(), "access_token": token}),
    )
}

/// A refusal: status, error, Entra's code, words.
struct No(u16, &'static str, u32, String);

impl No {
    fn told(self) -> Response {
        let Self(status, error, code, words) = self;
        let trace = Uuid::now_v7().to_string();
        let body = json!({
            "error": error,
            "error_description": format!("AADSTS{code}: {words} Trace ID: {trace} Correlation ID: {trace}"),
            "error_codes": [code], "timestamp": "2026-11-23 12:00:00Z", "trace_id": trace, "correlation_id": trace,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        reply(status, &body)
    }
}

/// What no client of the service may send.
fn misunderstood<'a>(
    headers: &HeaderMap,
    sent: impl Fn(&str) -> &'a str,
    log: &Log,
) -> Result<(), No> {
    if text(headers, header::CONTENT_TYPE) != "application/x-www-form-urlencoded" {
        log.violation("a token call that is no form");
        let words = "The request body must contain the following parameter: 'grant_type'.";
        return Err(No(400, "invalid_request", 900_144, words.to_owned()));
    }
    if sent("grant_type") != "client_credentials" {
        log.violation("a token call of another kind");
        let words = "The app requested an unsupported grant type.";
        return Err(No(400, "unsupported_grant_type", 70_003, words.to_owned()));
    }
    Ok(())
}

/// What a client may send and is refused for.
fn refused<'a>(books: &Books, tenant: &str, sent: impl Fn(&str) -> &'a str) -> Result<(), No> {
    if tenant != TENANT {
        let words = format!("Tenant '{tenant}' not found.");
        return Err(No(400, "invalid_request", 90_002, words));
    }
    if sent("scope") != SCOPE {
        let words = "The provided value for scope is not valid.";
        return Err(No(400, "invalid_scope", 1_002_012, words.to_owned()));
    }
    if sent("client_id") != CLIENT_ID {
        let words = format!(
            "Application with identifier '{}' was not found in the directory.",
            sent("client_id")
        );
        return Err(No(400, "unauthorized_client", 700_016, words));
    }
    if sent("client_secret") != books.options.secret {
        let words = "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.";
        return Err(No(401, "invalid_client", 7_000_215, words.to_owned()));
    }
    if books.secret_expired {
        let words = "The provided client secret keys for app are expired.";
        return Err(No(401, "invalid_client", 7_000_222, words.to_owned()));
    }
    Ok(())
}
