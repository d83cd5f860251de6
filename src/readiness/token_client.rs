//! A client that shows one token, made by a person in the service's console, with every read.

use super::{
    Purpose,
    http::{Client, Fault, NoReply, Reply, Request},
};
use crate::{reason::Reason, runtime::credential::Credential};

pub(super) struct TokenClient {
    pub(super) client: Client,
    pub(super) credential: Credential,
    /// The word before the token in the `Authorization` header.
    pub(super) scheme: &'static str,
    /// What a refusal of the token means, for a person.
    pub(super) refused: &'static str,
}

impl TokenClient {
    /// # Errors
    /// [`NoReply`] when the token cannot be read, the service refuses it, or nothing came that passes the door.
    pub(super) async fn send(&self, request: Request, purpose: Purpose) -> Result<Reply, NoReply> {
        // Read for each request: a new file takes effect without a restart.
        let token = self.credential.read_token().map_err(|fault| {
            Fault::with(
                Reason::CredentialsRefused,
                format!("The station's {fault}."),
            )
        })?;
        let request = request
            .header(
                "authorization",
                &format!("{} {}", self.scheme, token.reveal()),
            )
            .header("accept", "application/json");
        self.client
            .send(request, purpose)
            .await
            .map_err(|no| match no {
                NoReply::Refused(refused) if matches!(refused.status, 401 | 403) => refused
                    .fault(Reason::CredentialsRefused, self.refused)
                    .into(),
                no => no,
            })
    }
}
