//! OAuth 1.0a with HMAC-SHA1 (RFC 5849), as `GET /session` wants it: the signature and the one header that carries it. Pure.
//!
//! The kept crates do not fit: oauth1-request has rested for years, oauth10a signs with SHA-512 inside a client of its own.
//! The rules are a page, and RFC 5849's own examples hold them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use url::Url;

use super::server_token::ServerToken;
use crate::readiness::spelling::encoded;

/// When a request was signed, and the word that makes it unique.
pub(super) struct Stamp {
    /// Seconds since 1970.
    pub(super) timestamp: i64,
    /// Used once.
    pub(super) nonce: String,
}

/// The `Authorization` header of one request.
pub(super) fn authorization(method: &str, url: &Url, token: &ServerToken, stamp: &Stamp) -> String {
    let timestamp = stamp.timestamp.to_string();
    let parameters = [
        ("oauth_consumer_key", token.consumer_key.as_str()),
        ("oauth_token", token.access_token.reveal()),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", timestamp.as_str()),
        ("oauth_nonce", stamp.nonce.as_str()),
        ("oauth_version", "1.0"),
    ];
    let signature = signature(
        method,
        url,
        &parameters,
        token.consumer_secret.reveal(),
        token.access_secret.reveal(),
    );
    // Apple's own clients name this realm. It is sent and, by RFC 5849 3.4.1.3.1, never signed.
    let mut header = "OAuth realm=\"ADM\"".to_owned();
    for (name, value) in parameters
        .into_iter()
        .chain([("oauth_signature", signature.as_str())])
    {
        header.push_str(&format!(", {name}=\"{}\"", encoded(value)));
    }
    header
}

/// The signature over a request and its `oauth_` parameters.
fn signature(
    method: &str,
    url: &Url,
    parameters: &[(&str, &str)],
    consumer_secret: &str,
    token_secret: &str,
) -> String {
    let key = format!("{}&{}", encoded(consumer_secret), encoded(token_secret));
    // Legacy, says ring of SHA-1. The service takes nothing else.
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    let tag = hmac::sign(&key, base_string(method, url, parameters).as_bytes());
    STANDARD.encode(tag)
}

/// RFC 5849 3.4.1: the method, the URL without query and default port, and all parameters, sorted after encoding.
fn base_string(method: &str, url: &Url, parameters: &[(&str, &str)]) -> String {
    let mut all: Vec<(String, String)> = url
        .query_pairs()
        .map(|(name, value)| (encoded(&name), encoded(&value)))
        .collect();
    all.extend(
        parameters
            .iter()
            .map(|(name, value)| (encoded(name), encoded(value))),
    );
    all.sort();
    let all: Vec<String> = all
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut address = url.clone();
    address.set_query(None);
    address.set_fragment(None);
    format!(
        "{}&{}&{}",
        method.to_ascii_uppercase(),
        encoded(address.as_str()),
        encoded(&all.join("&"))
    )
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use serde::Deserialize;

    use super::*;
    use crate::runtime::credential::Secret;

    #[derive(Deserialize)]
    struct Vectors {
        oauth1: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        method: String,
        url: String,
        #[serde(default)]
        query: Vec<(String, String)>,
        #[serde(default)]
        extra: Vec<(String, String)>,
        consumer_key: String,
        consumer_secret: String,
        token: Option<String>,
        token_secret: Option<String>,
        timestamp: String,
        nonce: String,
        version: Option<String>,
        signature: String,
    }

    #[test]
    fn every_published_signature_is_reproduced() {
        let vectors: Vectors =
            serde_json::from_str(include_str!("../../../tests/data/signatures.json")).unwrap();
        assert!(vectors.oauth1.len() >= 3);
        for vector in vectors.oauth1 {
            let mut url = Url::parse(&vector.url).unwrap();
            if !vector.query.is_empty() {
                url.query_pairs_mut().extend_pairs(&vector.query);
            }
            let mut parameters = vec![
                ("oauth_consumer_key", vector.consumer_key.as_str()),
                ("oauth_signature_method", "HMAC-SHA1"),
                ("oauth_timestamp", vector.timestamp.as_str()),
                ("oauth_nonce", vector.nonce.as_str()),
            ];
            parameters.extend(vector.token.as_deref().map(|token| ("oauth_token", token)));
            parameters.extend(
                vector
                    .version
                    .as_deref()
                    .map(|version| ("oauth_version", version)),
            );
            parameters.extend(
                vector
                    .extra
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            );
            let found = signature(
                &vector.method,
                &url,
                &parameters,
                &vector.consumer_secret,
                vector.token_secret.as_deref().unwrap_or(""),
            );
            assert_eq!(found, vector.signature, "{}", vector.name);
        }
    }

    #[test]
    fn the_base_string_is_the_one_of_rfc_5849() {
        let url =
            Url::parse("http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b").unwrap();
        let parameters = [
            ("oauth_consumer_key", "9djdj82h48djs9d2"),
            ("oauth_token", "kkk9d7dh3k39sjv7"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131201"),
            ("oauth_nonce", "7d8f3e4a"),
            ("c2", ""),
            ("a3", "2 q"),
        ];
        assert_eq!(
            base_string("post", &url, &parameters),
            "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26\
             oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
        );
    }

    #[test]
    fn a_port_of_its_own_is_signed() {
        let url = Url::parse("https://example.net:8080/session").unwrap();
        assert!(base_string("GET", &url, &[]).contains("example.net%3A8080%2Fsession"));
    }

    #[test]
    fn the_realm_is_sent_and_not_signed() {
        let vectors: Vectors =
            serde_json::from_str(include_str!("../../../tests/data/signatures.json")).unwrap();
        let vector = vectors
            .oauth1
            .into_iter()
            .find(|vector| vector.name == "dep-session-V1")
            .unwrap();
        let token = ServerToken {
            consumer_key: vector.consumer_key,
            consumer_secret: Secret::new(&vector.consumer_secret),
            access_token: Secret::new(&vector.token.unwrap()),
            access_secret: Secret::new(&vector.token_secret.unwrap()),
            access_token_expiry: jiff::Timestamp::MAX,
        };
        let stamp = Stamp {
            timestamp: vector.timestamp.parse().unwrap(),
            nonce: vector.nonce,
        };
        let header = authorization("GET", &Url::parse(&vector.url).unwrap(), &token, &stamp);
        assert!(header.starts_with("OAuth realm=\"ADM\", oauth_consumer_key=\"CK_"));
        assert!(
            header.ends_with(&format!(
                "oauth_signature=\"{}\"",
                encoded(&vector.signature)
            )),
            "{header}"
        );
    }
}
