//! How Apple is asked for an access token: with an assertion that the API key signs.

use jiff::Timestamp;
use url::Url;
use uuid::Uuid;

use super::{
    assertion::{self, ApiKey},
    settings::Identity,
};
use crate::{
    readiness::{
        access_token::{Grant, MakeForm},
        http::{Fault, Refused},
    },
    reason::Reason,
    runtime::credential::Secret,
};

impl Grant for Identity {
    fn service(&self) -> &'static str {
        "Apple"
    }

    fn secret(&self) -> Result<Secret, Fault> {
        self.key.read().map_err(|fault| unusable(&fault))
    }

    fn places(&self) -> &[Url] {
        std::slice::from_ref(&self.token_url)
    }

    fn config_key(&self) -> &'static str {
        "token_url"
    }

    fn form<'a>(&'a self, pem: &'a Secret) -> Result<MakeForm<'a>, Fault> {
        let key = ApiKey::read(pem.reveal()).map_err(|fault| unusable(&fault.of(&self.key)))?;
        // An assertion is used once.
        Ok(Box::new(move || {
            let client = assertion::Client {
                id: &self.client_id,
                key_id: &self.key_id,
            };
            let assertion = key.assertion(
                &client,
                Timestamp::now().as_second(),
                &Uuid::now_v7().to_string(),
            );
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_id", &self.client_id)
                .append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                )
                .append_pair("client_assertion", &assertion)
                .append_pair("scope", &self.scope)
                .finish()
        }))
    }

    fn refused(&self, refused: &Refused) -> (Reason, &'static str) {
        let body = refused.text();
        let meaning = [
            ("invalid_client", "Apple refuses the API key (invalid_client): check client_id, key_id and the key, and that the key was not revoked."),
            ("invalid_scope", "Apple refuses the scope (invalid_scope): business.api is for Apple Business, school.api for Apple School Manager."),
            ("unauthorized_client", "Apple refuses the API account (unauthorized_client): check its role."),
            ("invalid_grant", "Apple refuses the assertion (invalid_grant)."),
            ("invalid_request", "Apple refuses the token request (invalid_request)."),
        ]
        .into_iter()
        .find(|(code, _)| body.contains(code))
        .map_or("Apple gives this API key no token.", |(_, meaning)| meaning);
        (Reason::CredentialsRefused, meaning)
    }
}

fn unusable(fault: &dyn std::fmt::Display) -> Fault {
    Fault::with(
        Reason::CredentialsRefused,
        format!("The API key cannot be used: {fault}."),
    )
}
