//! The keys of a `[[source]]` of kind `intune`.

use url::Url;

use super::{Intune, finding::Policy};
use crate::{
    readiness::{
        http::ClientFault,
        service::{Adapter, Endpoint, Keys, ServiceSettings, WEB_PAGE},
    },
    runtime::credential::{Credential, CredentialFault},
};

const URL: &str = "https://graph.microsoft.com/beta";
const LOGIN: &str = "https://login.microsoftonline.com";
const TENANT: &str = "8f1c7d2e-3b4a-4c5d-9e6f-0a1b2c3d4e5f";
const CLIENT: &str = "2d4f6a8c-1e3b-4d5f-8a7c-9b0d1e2f3a4b";

/// The settings of one tenant.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where access tokens are given.
    pub token_url: Url,
    pub client_id: String,
    /// The client secret.
    pub secret: Credential,
    pub policy: Policy,
}

impl ServiceSettings for Settings {
    const EXAMPLE_URL: Option<&'static str> = None;

    fn read(keys: &dyn Keys) -> Option<(Url, Self)> {
        let url = keys.url("url", URL, not_the_api);
        let tenant = keys.required_text("tenant", TENANT);
        let default = token_url(tenant.as_deref().unwrap_or(TENANT));
        let token_url = keys.url("token_url", &default, not_the_token_url);
        let client_id = keys.required_text("client_id", CLIENT);
        let secret = keys.credential("secret_credential", "intune-secret", Self::check);
        let tokens = keys.ids("tokens");
        let expected_profiles = keys.ids("expected_profiles");
        tenant?;
        let settings = Self {
            token_url: token_url?,
            client_id: client_id?,
            secret: secret?,
            policy: Policy {
                tokens: tokens?,
                max_fetch_age: keys.max_fetch_age()?,
                expected_profiles: expected_profiles?,
            },
        };
        Some((url?, settings))
    }

    fn credential(&self) -> &Credential {
        &self.secret
    }

    fn check(credential: &Credential) -> Result<(), CredentialFault> {
        let secret = credential.read_token()?;
        // Entra's console shows both side by side, and the id for ever.
        if is_uuid(secret.reveal()) {
            return Err(credential.malformed(
                "is the id of a client secret and not its value",
                "copy the column Value, which Entra shows only once: if it is gone, make a new client secret",
            ));
        }
        Ok(())
    }

    fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault> {
        Ok(Box::new(Intune::new(self, to)?))
    }
}

fn token_url(tenant: &str) -> String {
    format!(
        "{LOGIN}/{}/oauth2/v2.0/token",
        crate::readiness::spelling::encoded(tenant.trim())
    )
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// People copy what stands in their browser, or take the version whose API lacks what is asked.
fn not_the_api(url: &Url) -> Option<(&'static str, String)> {
    let host = url.host_str()?.trim_end_matches('.');
    if [
        "intune.microsoft.com",
        "endpoint.microsoft.com",
        "entra.microsoft.com",
        "portal.azure.com",
        "developer.microsoft.com",
    ]
    .contains(&host)
    {
        return Some((WEB_PAGE, URL.to_owned()));
    }
    if host.starts_with("login.") {
        return Some(("the address of the sign-in, not of the API", URL.to_owned()));
    }
    let of_graph = host == "graph.microsoft.com" || super::NATIONAL_CLOUDS.contains(&host);
    (of_graph && url.path().trim_end_matches('/') != "/beta").then(|| {
        (
            "not the API's base: what is asked is in the version /beta alone",
            format!("https://{host}/beta"),
        )
    })
}

fn not_the_token_url(url: &Url) -> Option<(&'static str, String)> {
    let host = url.host_str()?.trim_end_matches('.');
    let right = token_url(TENANT);
    if host.starts_with("graph.") {
        return Some(("the address of the API, not of the sign-in", right));
    }
    let of_entra = host.starts_with("login.microsoftonline")
        || host.starts_with("login.partner.microsoftonline");
    (of_entra && !url.path().ends_with("/oauth2/v2.0/token")).then_some((
        "not the whole address: it ends in /oauth2/v2.0/token, with your tenant before it",
        right,
    ))
}
