//! The organisation's API key, and the assertions that were signed with it.

use std::io;

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

use super::{CLIENT_ID, KEY_ID};

/// For whom an assertion must be meant.
const AUDIENCE: &str = "https://account.apple.com/auth/oauth2/v2/token";
/// The longest that an assertion may be good.
const LONGEST_ASSERTION: i64 = 180 * 86_400;

#[derive(Debug)]
pub(super) struct Key {
    pub(super) pem: String,
    public: Vec<u8>,
}

impl Key {
    pub(super) fn draw() -> io::Result<Self> {
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

    /// The id of an assertion that is good, or what is wrong with it.
    pub(super) fn verified(&self, assertion: &str) -> Result<String, &'static str> {
        let (signed, signature) = assertion.rsplit_once('.').ok_or("not three parts")?;
        let (header, claims) = signed.split_once('.').ok_or("not three parts")?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url");
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public)
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
}
