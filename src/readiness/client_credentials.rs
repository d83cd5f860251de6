//! OAuth 2 client credentials: an access token for an id and its secret.

use url::Url;

use super::{
    access_token::{Grant, MakeForm},
    http::{Fault, Refused},
};
use crate::{
    reason::Reason,
    runtime::credential::{Credential, Secret},
};

/// What a token is asked with.
pub(super) struct ClientCredentials {
    pub(super) client_id: String,
    /// The client secret.
    pub(super) secret: Credential,
    /// `None`: the service wants none.
    pub(super) scope: Option<&'static str>,
    /// Where tokens are given. The next place is asked where one answers 404.
    pub(super) places: Vec<Url>,
    /// The key of the config that says where.
    pub(super) config_key: &'static str,
    pub(super) words: &'static Words,
}

/// How a service refuses a token.
pub(super) struct Words {
    /// The service, in sentences for people.
    pub(super) service: &'static str,
    /// A word in the refusal, the reason that it stands for, and what it means for the technician. The first that is there counts.
    pub(super) meanings: &'static [(&'static str, Reason, &'static str)],
    /// Where none of them is there.
    pub(super) otherwise: &'static str,
}

impl Grant for ClientCredentials {
    fn service(&self) -> &'static str {
        self.words.service
    }

    fn secret(&self) -> Result<Secret, Fault> {
        self.secret.read_token().map_err(|fault| {
            Fault::with(
                Reason::CredentialsRefused,
                format!("The client secret cannot be used: {fault}."),
            )
        })
    }

    fn places(&self) -> &[Url] {
        &self.places
    }

    fn config_key(&self) -> &'static str {
        self.config_key
    }

    fn form<'a>(&'a self, secret: &'a Secret) -> Result<MakeForm<'a>, Fault> {
        Ok(Box::new(|| {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "client_credentials")
                .append_pair("client_id", &self.client_id)
                .append_pair("client_secret", secret.reveal());
            if let Some(scope) = self.scope {
                form.append_pair("scope", scope);
            }
            form.finish()
        }))
    }

    fn refused(&self, refused: &Refused) -> (Reason, &'static str) {
        let body = refused.text();
        let mut meanings = self.words.meanings.iter();
        meanings.find(|(word, ..)| body.contains(word)).map_or(
            (Reason::CredentialsRefused, self.words.otherwise),
            |(_, reason, words)| (*reason, *words),
        )
    }
}
