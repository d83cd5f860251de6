//! Verifies the headers of a request and the OAuth 1.0a signature of `GET /session`.

use axum::http::{HeaderMap, Method, Uri};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};

use super::{Refused, Service, Token};
use crate::simulator::device_assignment::JSON;

/// A timestamp this far from the service's clock is refused.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);

impl Service {
    /// The headers of every request.
    pub(super) fn headers(&self, headers: &HeaderMap) -> Result<(), Refused> {
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
                return Err(Refused::Code(400, "MALFORMED_REQUEST_BODY"));
            }
        }
        Ok(())
    }

    fn not_understood(&self, status: u16, code: &'static str) -> Refused {
        self.log.violation(code);
        Refused::Code(status, code)
    }

    /// The OAuth 1.0a header of `GET /session`.
    pub(super) fn signed(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Refused> {
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
        let refused = || Refused::Code(401, "oauth_problem_adviceUnauthorized");
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
        let address = format!("http://{host}{}", uri.path());
        let base = base_string(method, &address, uri.query(), &fields);
        if !is_signature(signature, &base, &book.token) {
            return Err(refused());
        }
        if !book.nonces.insert(nonce) {
            self.log.violation("a nonce was used twice");
            return Err(refused());
        }
        if book.token.expiry <= now {
            Err(Refused::Code(403, "token_expiredForbidden"))
        } else {
            Ok(())
        }
    }
}

/// RFC 5849 3.4.2.
fn is_signature(given: &str, base: &str, token: &Token) -> bool {
    let key = format!(
        "{}&{}",
        escaped(&token.consumer_secret),
        escaped(&token.access_secret)
    );
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    STANDARD
        .decode(given)
        .is_ok_and(|given| ring::hmac::verify(&key, base.as_bytes(), &given).is_ok())
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
