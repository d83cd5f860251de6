//! The client assertion: an ES256 JWT by which Apple Business and School Manager know an API client. Pure: the time and the id are handed in.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::{
    SecretKey,
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::DecodePrivateKey as _,
};
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use serde::Serialize;

use crate::runtime::credential::{Credential, CredentialFault};

/// For whom the assertion is meant: Apple's word for its token endpoint, which differs from the endpoint's own URL.
const AUDIENCE: &str = "https://account.apple.com/auth/oauth2/v2/token";

/// How long an assertion is good. Apple allows 180 days; it is used within the second.
const GOOD_FOR_SECONDS: i64 = 15 * 60;

/// The private key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyFault {
    NoPem,
    ExplicitCurve,
    NotP256,
}

impl KeyFault {
    /// The fault as one of the credential that holds the text: what is wrong, the remedy, and nothing of the key.
    pub(super) fn of(self, credential: &Credential) -> CredentialFault {
        const AS_DOWNLOADED: &str = "use the file as it was downloaded";
        match self {
            Self::NoPem => credential.malformed("holds no private key in PEM form", AS_DOWNLOADED),
            Self::ExplicitCurve => credential.malformed(
                "holds a key that spells its curve out",
                "write it anew with its curve by name: openssl pkey -in apple.pem -ec_param_enc named_curve -out key.pem",
            ),
            Self::NotP256 => credential.malformed("holds no P-256 key", AS_DOWNLOADED),
        }
    }
}

/// A key that signs assertions. It has no `Debug`.
pub(super) struct ApiKey(SigningKey);

impl ApiKey {
    /// Reads the downloaded PEM. Its label says `EC PRIVATE KEY` and its content is PKCS#8, reportedly: so the label counts for
    /// nothing, PKCS#8 is tried first and SEC1 then.
    pub(super) fn read(pem: &str) -> Result<Self, KeyFault> {
        let keys = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()).flatten();
        let mut fault = KeyFault::NoPem;
        for (_, der) in keys
            .filter(|(kind, _)| matches!(kind, SectionKind::EcPrivateKey | SectionKind::PrivateKey))
        {
            if let Ok(key) =
                SecretKey::from_pkcs8_der(&der).or_else(|_| SecretKey::from_sec1_der(&der))
            {
                return Ok(Self(SigningKey::from(key)));
            }
            fault = if spells_curve_out(&der) {
                KeyFault::ExplicitCurve
            } else {
                KeyFault::NotP256
            };
        }
        Err(fault)
    }

    /// A signed assertion.
    pub(super) fn assertion(&self, client: &Client<'_>, issued_at: i64, id: &str) -> String {
        let header = Header {
            alg: "ES256",
            kid: client.key_id,
            typ: "JWT",
        };
        let claims = Claims {
            iss: client.id,
            sub: client.id,
            aud: AUDIENCE,
            iat: issued_at,
            exp: issued_at.saturating_add(GOOD_FOR_SECONDS),
            jti: id,
        };
        // Texts and numbers always make JSON.
        let part = |json: Result<String, serde_json::Error>| {
            URL_SAFE_NO_PAD.encode(json.unwrap_or_default())
        };
        let signed = format!(
            "{}.{}",
            part(serde_json::to_string(&header)),
            part(serde_json::to_string(&claims))
        );
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{signature}")
    }

    fn sign(&self, text: &[u8]) -> String {
        let signature: Signature = self.0.sign(text);
        URL_SAFE_NO_PAD.encode(signature.to_bytes())
    }
}

/// Who asks.
pub(super) struct Client<'a> {
    /// Client id.
    pub(super) id: &'a str,
    /// Key id.
    pub(super) key_id: &'a str,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    typ: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
}

/// Explicit parameters describe the prime field, by its object identifier 1.2.840.10045.1.1; a named curve never does.
fn spells_curve_out(der: &[u8]) -> bool {
    const PRIME_FIELD: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x01, 0x01];
    der.windows(PRIME_FIELD.len())
        .any(|window| window == PRIME_FIELD)
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

    use std::process::Command;

    use base64::engine::general_purpose::STANDARD;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;
    use crate::runtime::credential::CredentialStore;

    fn vectors() -> Value {
        let all: Value =
            serde_json::from_str(include_str!("../../../tests/data/signatures.json")).unwrap();
        all["es256"].clone()
    }

    fn armoured(label: &str, base64: &str) -> String {
        let lines: Vec<&str> = base64
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            lines.join("\n")
        )
    }

    fn key() -> ApiKey {
        ApiKey::read(&armoured(
            "PRIVATE KEY",
            vectors()["pkcs8_der_b64"].as_str().unwrap(),
        ))
        .unwrap()
    }

    #[test]
    fn the_signature_is_the_one_of_rfc_6979() {
        let vectors = vectors();
        let part = |name: &str| URL_SAFE_NO_PAD.encode(vectors[name].as_str().unwrap());
        let signed = format!("{}.{}", part("header"), part("payload"));
        assert_eq!(
            key().sign(signed.as_bytes()),
            vectors["signature_rfc6979"].as_str().unwrap()
        );
    }

    #[test]
    fn an_assertion_says_who_asks_and_another_library_believes_it() {
        let client = Client {
            id: "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152",
            key_id: "d136aa66-0c3b-4bd4-9892-c20e8db024ab",
        };
        let assertion = key().assertion(
            &client,
            1_767_225_600,
            "3f6d2f4e-0c9b-4b0e-9d6a-8d6c5a1e7b42",
        );
        let parts: Vec<&str> = assertion.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            panic!("three parts")
        };
        let json = |part: &str| {
            serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(
            json(header),
            serde_json::json!({"alg": "ES256", "kid": client.key_id, "typ": "JWT"})
        );
        assert_eq!(
            json(claims),
            serde_json::json!({"iss": client.id, "sub": client.id, "aud": AUDIENCE, "iat": 1_767_225_600, "exp": 1_767_226_500, "jti": "3f6d2f4e-0c9b-4b0e-9d6a-8d6c5a1e7b42"})
        );
        let pkcs8 = STANDARD
            .decode(vectors()["pkcs8_der_b64"].as_str().unwrap())
            .unwrap();
        let public = &pkcs8[pkcs8.len() - 65..];
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
            .verify(
                format!("{header}.{claims}").as_bytes(),
                &URL_SAFE_NO_PAD.decode(signature).unwrap(),
            )
            .unwrap();
    }

    #[test]
    fn a_key_is_read_whatever_its_label_says() {
        let vectors = vectors();
        for der in ["pkcs8_der_b64", "sec1_der_b64"] {
            for label in ["EC PRIVATE KEY", "PRIVATE KEY"] {
                let pem = armoured(label, vectors[der].as_str().unwrap());
                assert!(ApiKey::read(&pem).is_ok(), "{der} as {label}");
                assert!(
                    ApiKey::read(&pem.replace('\n', "\r\n")).is_ok(),
                    "{der} as {label} from Windows"
                );
            }
        }
    }

    fn made_by_openssl(arguments: &[&str]) -> String {
        let output = Command::new("openssl")
            .args(arguments)
            .output()
            .expect("openssl is installed (tests/run does it)");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_remedy() {
        let fault = |pem: &str| ApiKey::read(pem).err();
        assert_eq!(fault(""), Some(KeyFault::NoPem));
        assert_eq!(fault("hello"), Some(KeyFault::NoPem));
        assert_eq!(
            fault(&armoured("CERTIFICATE", "TUlJ")),
            Some(KeyFault::NoPem)
        );
        assert_eq!(
            fault(&armoured("EC PRIVATE KEY", "TUlJ")),
            Some(KeyFault::NotP256)
        );
        let explicit = made_by_openssl(&[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-param_enc",
            "explicit",
        ]);
        assert_eq!(fault(&explicit), Some(KeyFault::ExplicitCurve));
        let credential =
            CredentialStore::new(std::path::Path::new("/nowhere")).credential("apple-business-key");
        let told = KeyFault::ExplicitCurve.of(&credential).to_string();
        assert!(
            told.contains("openssl pkey -in apple.pem -ec_param_enc named_curve -out key.pem"),
            "{told}"
        );
        assert_eq!(
            fault(&made_by_openssl(&[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-384"
            ])),
            Some(KeyFault::NotP256)
        );
        // With the curve's name before it, as `openssl ecparam -genkey` writes it.
        assert!(
            ApiKey::read(&made_by_openssl(&[
                "ecparam",
                "-name",
                "prime256v1",
                "-genkey"
            ]))
            .is_ok()
        );
    }
}
