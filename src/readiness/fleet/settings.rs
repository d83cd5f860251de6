//! The keys of a `[[source]]` of kind `fleet`.

use url::Url;

use super::{Fleet, finding::Expected};
use crate::{
    readiness::{
        http::ClientFault,
        service::{Adapter, Endpoint, Keys, ServiceSettings, below_its_pages},
    },
    runtime::credential::Credential,
};

const EXAMPLE_URL: &str = "https://fleet.example";

/// What a browser shows below the server's own address: the first part of a path.
const PAGES: [&str; 6] = ["api", "dashboard", "hosts", "login", "profile", "settings"];

/// The settings of one Fleet server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The API token of an API-only user.
    pub token: Credential,
    pub expected: Expected,
}

impl ServiceSettings for Settings {
    const EXAMPLE_URL: Option<&'static str> = Some(EXAMPLE_URL);

    fn read(keys: &dyn Keys) -> Option<(Url, Self)> {
        let url = keys.required_url("url", EXAMPLE_URL, not_the_server);
        let token = keys.credential("token_credential", "fleet-token", Self::check);
        let profiles = keys.ids("expected_profiles");
        let settings = Self {
            token: token?,
            expected: Expected {
                profiles: profiles?,
            },
        };
        Some((url?, settings))
    }

    fn credential(&self) -> &Credential {
        &self.token
    }

    fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault> {
        Ok(Box::new(Fleet::new(self, to)?))
    }
}

/// A server may have a path of its own (`server.url_prefix` of Fleet), so only what is below one is refused.
fn not_the_server(url: &Url) -> Option<(&'static str, String)> {
    below_its_pages(url, &PAGES)
}
