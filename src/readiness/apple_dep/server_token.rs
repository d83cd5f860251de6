//! The server token: the five fields by which Apple knows a DEP client, as the credential holds them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::runtime::credential::{Credential, CredentialFault, Secret};

/// The five fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerToken {
    /// Who asks.
    pub consumer_key: String,
    /// Signs.
    pub consumer_secret: Secret,
    /// For which MDM server.
    pub access_token: Secret,
    /// Signs.
    pub access_secret: Secret,
    /// One year after it was downloaded. It is dead earlier when Apple's new terms are not accepted.
    pub access_token_expiry: Timestamp,
}

/// The text is not a server token. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not JSON, or not an object.
    #[error("the server token is not a JSON object: {REMEDY}")]
    NotJson,
    /// A field is missing or empty.
    #[error("the server token has no {0}: {REMEDY}")]
    Missing(&'static str),
    /// The expiry is not a date.
    #[error("the server token's access_token_expiry is not an RFC 3339 date: {REMEDY}")]
    BadExpiry,
}

/// What to do about each of them.
const REMEDY: &str = "import Apple's .p7m file with `benchlight credential import-apple-token`";

impl TokenFault {
    /// The fault as one of the credential that holds the text.
    pub fn of(self, credential: &Credential) -> CredentialFault {
        let what = match self {
            Self::NotJson => "is not an Apple server token (not a JSON object)".to_owned(),
            Self::Missing(field) => format!("is not a complete Apple server token (no {field})"),
            Self::BadExpiry => {
                "is not an Apple server token (its access_token_expiry is not an RFC 3339 date)"
                    .to_owned()
            }
        };
        credential.malformed(what, REMEDY)
    }
}

#[derive(Deserialize, Serialize)]
struct Wire {
    #[serde(default)]
    consumer_key: String,
    #[serde(default)]
    consumer_secret: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    access_secret: String,
    #[serde(default)]
    access_token_expiry: String,
}

impl ServerToken {
    /// Reads the credential's JSON.
    ///
    /// # Errors
    /// [`TokenFault`], which names what is wrong and none of the content.
    pub fn parse(text: &str) -> Result<Self, TokenFault> {
        let text = text.trim();
        // A list of five texts would do as well.
        let wire: Wire = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|_| TokenFault::NotJson)?
        } else {
            return Err(TokenFault::NotJson);
        };
        let present = |value: String, name| {
            if value.trim().is_empty() {
                Err(TokenFault::Missing(name))
            } else {
                Ok(value.trim().to_owned())
            }
        };
        Ok(Self {
            consumer_key: present(wire.consumer_key, "consumer_key")?,
            consumer_secret: Secret::new(&present(wire.consumer_secret, "consumer_secret")?),
            access_token: Secret::new(&present(wire.access_token, "access_token")?),
            access_secret: Secret::new(&present(wire.access_secret, "access_secret")?),
            access_token_expiry: present(wire.access_token_expiry, "access_token_expiry")?
                .parse()
                .map_err(|_| TokenFault::BadExpiry)?,
        })
    }

    /// The credential's JSON, for the one place that writes it.
    pub(super) fn to_json(&self) -> String {
        let wire = Wire {
            consumer_key: self.consumer_key.clone(),
            consumer_secret: self.consumer_secret.reveal().to_owned(),
            access_token: self.access_token.reveal().to_owned(),
            access_secret: self.access_secret.reveal().to_owned(),
            access_token_expiry: self.access_token_expiry.to_string(),
        };
        // Five texts always make JSON.
        serde_json::to_string_pretty(&wire).unwrap_or_default() + "\n"
    }

    /// Whole days until it expires, counted down; negative when it has.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.access_token_expiry.as_second() - now.as_second()).div_euclid(86_400)
    }

    /// Has it expired?
    pub fn expired(&self, now: Timestamp) -> bool {
        self.access_token_expiry <= now
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const WHOLE: &str = r#"{"consumer_key":"CK_1","consumer_secret":"CS_1","access_token":"AT_1","access_secret":"AS_1","access_token_expiry":"2027-01-09T22:01:10Z"}"#;

    #[test]
    fn the_five_fields_are_read_and_written_back() {
        let token = ServerToken::parse(WHOLE).unwrap();
        assert_eq!(token.access_secret.reveal(), "AS_1");
        assert_eq!(ServerToken::parse(&token.to_json()).unwrap(), token);
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_repeated() {
        for field in [
            "consumer_key",
            "consumer_secret",
            "access_token",
            "access_secret",
            "access_token_expiry",
        ] {
            let mut json: serde_json::Value = serde_json::from_str(WHOLE).unwrap();
            json.as_object_mut().unwrap().remove(field);
            let fault = ServerToken::parse(&json.to_string()).unwrap_err();
            assert_eq!(fault, TokenFault::Missing(field));
            assert!(!fault.to_string().contains("_1"));
        }
        for text in [
            "-----BEGIN MESSAGE-----",
            "",
            "null",
            r#"["CK_1","CS_1","AT_1","AS_1","2027-01-09T22:01:10Z"]"#,
        ] {
            assert_eq!(
                ServerToken::parse(text).unwrap_err(),
                TokenFault::NotJson,
                "{text}"
            );
        }
        assert_eq!(
            ServerToken::parse(&WHOLE.replace("2027-01-09T22:01:10Z", "soon")).unwrap_err(),
            TokenFault::BadExpiry
        );
    }

    #[test]
    fn the_days_until_expiry_are_counted_down_to_the_hour_it_dies() {
        let token = ServerToken::parse(WHOLE).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(token.days_left(at("2027-01-07T22:01:10Z")), 2);
        assert_eq!(token.days_left(at("2027-01-09T22:01:09Z")), 0);
        assert!(!token.expired(at("2027-01-09T22:01:09Z")));
        assert!(token.expired(at("2027-01-09T22:01:10Z")));
        assert_eq!(token.days_left(at("2027-01-10T00:00:00Z")), -1);
    }

    #[test]
    fn a_debug_print_shows_no_secret() {
        let shown = format!("{:?}", ServerToken::parse(WHOLE).unwrap());
        assert!(!shown.contains("CS_1") && !shown.contains("AS_1") && !shown.contains("AT_1"));
    }
}
