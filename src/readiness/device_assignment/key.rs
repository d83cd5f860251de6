//! The API key of a server that stands between the station and Apple, as HTTP Basic wants it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    readiness::http::{Fault, Request},
    reason::Reason,
    runtime::credential::{Credential, CredentialFault, Secret},
};

/// A key with the user that the server always has.
#[derive(Clone, Debug)]
pub struct Key {
    pub(in crate::readiness) user: &'static str,
    pub(in crate::readiness) credential: Credential,
}

impl Key {
    /// A key is one line, as whoever runs the server has chosen it.
    pub(in crate::readiness) fn check(credential: &Credential) -> Result<(), CredentialFault> {
        credential.read_password().map(drop)
    }

    /// Read for each request: a new file takes effect without a restart.
    pub(in crate::readiness) fn read(&self) -> Result<Secret, Fault> {
        self.credential.read_password().map_err(|fault| {
            Fault::with(
                Reason::CredentialsRefused,
                format!("The station's {fault}."),
            )
        })
    }

    /// The request with the key.
    pub(in crate::readiness) fn sign(&self, request: Request) -> Result<Request, Fault> {
        let words = format!("{}:{}", self.user, self.read()?.reveal());
        let value = format!("Basic {}", STANDARD.encode(words));
        Ok(request.header("authorization", &value))
    }
}
