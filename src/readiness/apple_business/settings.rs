//! The keys of a `[[source]]` of kind `apple-business`.

use url::Url;

use super::{AppleBusiness, assertion::ApiKey};
use crate::{
    readiness::{
        apple_hosts,
        http::ClientFault,
        service::{Adapter, Endpoint, Keys, ServiceSettings, WEB_PAGE, Wrong, any_text},
    },
    runtime::credential::{Credential, CredentialFault},
};

const URL: &str = "https://api-business.apple.com/v1";
const TOKEN_URL: &str = "https://account.apple.com/auth/oauth2/token";
const SCOPE: &str = "business.api";

/// The settings of one organisation's view.
#[derive(Clone, Debug)]
pub struct Settings {
    pub identity: Identity,
    /// Ids of the organisation's MDM servers that count.
    pub expected_servers: Vec<String>,
}

/// What a token is asked with.
#[derive(Clone, Debug)]
pub struct Identity {
    pub token_url: Url,
    /// Of OAuth.
    pub scope: String,
    pub client_id: String,
    pub key_id: String,
    /// The downloaded PEM.
    pub key: Credential,
}

impl ServiceSettings for Settings {
    const EXAMPLE_URL: Option<&'static str> = None;

    fn read(keys: &dyn Keys) -> Option<(Url, Self)> {
        const SERVERS: &str = "[\"1F97349736CF4614A94F624E705841AD\"]";
        let url = keys.url("url", URL, not_the_api);
        let token_url = keys.url("token_url", TOKEN_URL, not_the_token_url);
        let scope = keys.text("scope", SCOPE, any_text);
        let client_id = keys.required_text(
            "client_id",
            "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152",
        );
        let key_id = keys.required_text("key_id", "d136aa66-0c3b-4bd4-9892-c20e8db024ab");
        let key = keys.credential("key_credential", "apple-business-key", Self::check);
        let empty = Wrong {
            message: "`expected_servers` is empty: any server would do".to_owned(),
            remedy: format!("name your MDM servers' ids: expected_servers = {SERVERS}"),
        };
        let expected_servers =
            keys.required_texts("expected_servers", SERVERS, empty, not_a_server);
        let settings = Self {
            identity: Identity {
                token_url: token_url?,
                scope: scope?,
                client_id: client_id?,
                key_id: key_id?,
                key: key?,
            },
            expected_servers: expected_servers?,
        };
        Some((url?, settings))
    }

    fn credential(&self) -> &Credential {
        &self.identity.key
    }

    /// The API key must be one that can sign.
    fn check(credential: &Credential) -> Result<(), CredentialFault> {
        ApiKey::read(credential.read()?.reveal())
            .map(drop)
            .map_err(|fault| fault.of(credential))
    }

    fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault> {
        Ok(Box::new(AppleBusiness::new(self, to)?))
    }
}

fn not_the_api(url: &Url) -> Option<(&'static str, String)> {
    let host = url.host_str()?.trim_end_matches('.');
    let right = if host.contains("school") {
        URL.replace("business", "school")
    } else {
        URL.to_owned()
    };
    let what = if apple_hosts::is_console(host) {
        WEB_PAGE
    } else if host == apple_hosts::DEVICE_ASSIGNMENT {
        "the API of the Device Assignment Services, which is another source (kind = \"apple-dep\")"
    } else if matches!(host, "api-business.apple.com" | "api-school.apple.com")
        && url.path().trim_end_matches('/') != "/v1"
    {
        "not the API's base: that ends in /v1"
    } else {
        return None;
    };
    Some((what, right))
}

fn not_the_token_url(url: &Url) -> Option<(&'static str, String)> {
    apple_hosts::is_console(url.host_str()?.trim_end_matches('.'))
        .then(|| (WEB_PAGE, TOKEN_URL.to_owned()))
}

fn not_a_server(text: &str) -> Option<Wrong> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!is_id).then(|| Wrong {
        message: format!("{text:?} is not the id of an MDM server"),
        remedy: "use its 32 hex digits; `benchlight doctor` lists the servers of the account"
            .to_owned(),
    })
}
