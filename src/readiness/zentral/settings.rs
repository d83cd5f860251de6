//! The keys of a `[[source]]` of kind `zentral`.

use url::Url;

use super::{Zentral, finding::Policy};
use crate::{
    readiness::{
        http::ClientFault,
        service::{Adapter, Endpoint, Keys, ServiceSettings, below_its_pages},
    },
    runtime::credential::Credential,
};

const EXAMPLE_URL: &str = "https://zentral.example";

/// What a browser shows below the server's own address: the first part of a path.
const PAGES: [&str; 4] = ["accounts", "api", "inventory", "mdm"];

/// The settings of one Zentral.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The API token of a service account.
    pub token: Credential,
    pub policy: Policy,
}

impl ServiceSettings for Settings {
    const EXAMPLE_URL: Option<&'static str> = Some(EXAMPLE_URL);

    fn read(keys: &dyn Keys) -> Option<(Url, Self)> {
        let url = keys.required_url("url", EXAMPLE_URL, not_the_server);
        let token = keys.credential("token_credential", "zentral-token", Self::check);
        let servers = keys.ids("servers");
        let settings = Self {
            token: token?,
            policy: Policy { servers: servers? },
        };
        Some((url?, settings))
    }

    fn credential(&self) -> &Credential {
        &self.token
    }

    fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault> {
        Ok(Box::new(Zentral::new(self, to)?))
    }
}

fn not_the_server(url: &Url) -> Option<(&'static str, String)> {
    below_its_pages(url, &PAGES)
}
