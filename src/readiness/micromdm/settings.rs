//! The keys of a `[[source]]` of kind `micromdm`.

use url::Url;

use super::{Expected, Key, connected};
use crate::{
    readiness::{
        http::ClientFault,
        service::{Adapter, Endpoint, Keys, ServiceSettings, base_before},
    },
    runtime::credential::{Credential, CredentialFault},
};

const EXAMPLE_URL: &str = "https://micromdm.example.com";
/// The user of every MicroMDM.
const USER: &str = "micromdm";

/// The settings of one MicroMDM.
#[derive(Clone, Debug)]
pub struct Settings {
    pub key: Key,
    pub expected: Expected,
}

impl Settings {
    /// Settings with the key in `credential`, and the uuids of the profiles that count; empty: any.
    pub fn new(credential: Credential, profiles: Vec<String>) -> Self {
        Self {
            key: Key {
                user: USER,
                credential,
            },
            expected: Expected {
                profiles,
                hosts: Vec::new(),
            },
        }
    }
}

impl ServiceSettings for Settings {
    const EXAMPLE_URL: Option<&'static str> = Some(EXAMPLE_URL);

    fn read(keys: &dyn Keys) -> Option<(Url, Self)> {
        let url = keys.required_url("url", EXAMPLE_URL, not_the_base);
        let key = keys.credential("key_credential", "micromdm-key", Self::check);
        let profiles = keys.ids("expected_profiles");
        Some((url?, Self::new(key?, profiles?)))
    }

    fn credential(&self) -> &Credential {
        &self.key.credential
    }

    fn check(credential: &Credential) -> Result<(), CredentialFault> {
        Key::check(credential)
    }

    fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault> {
        Ok(Box::new(connected(self, to)?))
    }
}

/// People copy the address of one call.
fn not_the_base(url: &Url) -> Option<(&'static str, String)> {
    base_before(url, &["v1", "version"])
        .map(|(base, _)| ("the address of one call, not MicroMDM's base", base))
}
