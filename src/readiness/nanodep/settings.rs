//! The keys of a `[[source]]` of kind `nanodep`.

use url::Url;

use super::{Expected, Key, connected};
use crate::{
    readiness::{
        apple_hosts,
        http::ClientFault,
        service::{Adapter, Endpoint, Keys, ServiceSettings, Wrong, base_before, not_a_host},
    },
    runtime::credential::{Credential, CredentialFault},
};

const EXAMPLE_URL: &str = "https://nanodep.example.com";
/// The user of every NanoDEP.
const USER: &str = "depserver";

/// The settings of one DEP name's view.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Under which NanoDEP keeps the server token that it asks Apple with.
    pub dep_name: String,
    pub key: Key,
    pub expected: Expected,
}

impl Settings {
    /// Settings with the key in `credential`.
    pub fn new(dep_name: &str, credential: Credential, expected: Expected) -> Self {
        Self {
            dep_name: dep_name.to_owned(),
            key: Key {
                user: USER,
                credential,
            },
            expected,
        }
    }
}

impl ServiceSettings for Settings {
    const EXAMPLE_URL: Option<&'static str> = Some(EXAMPLE_URL);

    fn read(keys: &dyn Keys) -> Option<(Url, Self)> {
        let url = keys.required_url("url", EXAMPLE_URL, not_the_base);
        let dep_name = keys.required_checked("dep_name", "mdmserver1", not_a_name);
        let key = keys.credential("key_credential", "nanodep-key", Self::check);
        let profiles = keys.ids("expected_profiles");
        let hosts = keys.texts("expected_hosts", not_a_host);
        let expected = Expected {
            profiles: profiles?,
            hosts: hosts?,
        };
        Some((url?, Self::new(&dep_name?, key?, expected)))
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
    let host = url.host_str()?.trim_end_matches('.');
    if host == apple_hosts::DEVICE_ASSIGNMENT {
        let what = "Apple's own Device Assignment Services, another source (kind = \"apple-dep\")";
        return Some((what, EXAMPLE_URL.to_owned()));
    }
    base_before(url, &["proxy", "v1", "version"])
        .map(|(base, _)| ("the address of one call, not NanoDEP's base", base))
}

/// A name is one part of a path.
fn not_a_name(name: &str) -> Option<Wrong> {
    let is_part = !matches!(name, "" | "." | "..")
        && !name.contains(['/', '\\', '%'])
        && !name.chars().any(char::is_control);
    (!is_part).then(|| Wrong {
        message: format!("{name:?} cannot be a DEP name: NanoDEP takes it from a path"),
        remedy: "write the name under which NanoDEP has your server token, for example: dep_name = \"mdmserver1\"".to_owned(),
    })
}
