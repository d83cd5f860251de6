//! The keys of a `[[source]]` of kind `apple-dep`.

use url::Url;

use super::{Expected, connected, server_token::ServerToken};
use crate::{
    readiness::{
        apple_hosts,
        http::ClientFault,
        service::{
            Adapter, Endpoint, Keys, ServiceSettings, USER_AGENT, WEB_PAGE, Wrong, any_text,
            not_a_host,
        },
    },
    runtime::credential::{Credential, CredentialFault},
};

const URL: &str = "https://mdmenrollment.apple.com";

/// The settings of one server token's view.
#[derive(Clone, Debug)]
pub struct Settings {
    /// JSON with Apple's five token fields.
    pub token: Credential,
    /// `User-Agent` header.
    pub user_agent: String,
    pub expected: Expected,
}

impl ServiceSettings for Settings {
    const EXAMPLE_URL: Option<&'static str> = None;

    fn read(keys: &dyn Keys) -> Option<(Url, Self)> {
        let url = keys.url("url", URL, not_the_api);
        let token = keys.credential("token_credential", "apple-dep-token", Self::check);
        let user_agent = keys.text("user_agent", USER_AGENT, not_for_a_header);
        let profiles = keys.texts("expected_profiles", any_text);
        let hosts = keys.texts("expected_hosts", not_a_host);
        let settings = Self {
            token: token?,
            user_agent: user_agent?,
            expected: Expected {
                profiles: profiles?,
                hosts: hosts?,
            },
        };
        Some((url?, settings))
    }

    fn credential(&self) -> &Credential {
        &self.token
    }

    /// The server token must be whole, and say when it expires.
    fn check(credential: &Credential) -> Result<(), CredentialFault> {
        ServerToken::parse(credential.read()?.reveal())
            .map(drop)
            .map_err(|fault| fault.of(credential))
    }

    fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault> {
        Ok(Box::new(connected(self, to)?))
    }
}

fn not_the_api(url: &Url) -> Option<(&'static str, String)> {
    let host = url.host_str()?.trim_end_matches('.');
    let other = "the API of Apple Business or School Manager, which is another source (kind = \"apple-business\")";
    let what = if apple_hosts::is_console(host) {
        WEB_PAGE
    } else if host.starts_with("api-") && host.ends_with(".apple.com") {
        other
    } else {
        return None;
    };
    Some((what, URL.to_owned()))
}

fn not_for_a_header(text: &str) -> Option<Wrong> {
    (!text.is_ascii()).then(|| Wrong {
        message: "`user_agent` goes into an HTTP header, which is ASCII".to_owned(),
        remedy: format!("write for example: user_agent = \"{USER_AGENT}\""),
    })
}
