//! The session: one per server token, made by one caller at a time, renewed once when Apple refuses it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::{
    oauth::{self, Stamp},
    server_token::ServerToken,
};
use crate::{
    readiness::{
        Purpose,
        device_assignment::{Refusal, refusal, with_headers},
        http::{self, Client, Fault, NoReply, Refused, Reply, Request},
        shape::{Misshaped, Object},
        turn::Turn,
    },
    reason::Reason,
    runtime::{
        clock::ClockWatch,
        credential::{Credential, Secret},
    },
};

/// In requests, and in any reply.
const SESSION_HEADER: &str = "x-adm-auth-session";
/// A call may meet a session that another call has renewed or seen rotated meanwhile; it never makes more than one itself.
const ATTEMPTS: usize = 3;

/// The way to Apple through one session.
pub(super) struct Session {
    client: Client,
    base: Url,
    credential: Credential,
    clock: ClockWatch,
    state: Mutex<State>,
    /// Parallel sessions of one token may not be supported: one is made at a time, unless its making hangs.
    making: Turn,
}

#[derive(Default)]
struct State {
    /// The credential as last read; another text is another token, and ends the session.
    credential: Option<Secret>,
    current: Option<Live>,
    made: u64,
}

#[derive(Clone, PartialEq, Eq)]
struct Live {
    word: Secret,
    /// Which session it is: a late reply to an older one must not replace the word of a newer one.
    number: u64,
}

impl Session {
    pub(super) fn new(
        client: Client,
        base: Url,
        credential: Credential,
        clock: ClockWatch,
    ) -> Self {
        Self {
            client,
            base,
            credential,
            clock,
            state: Mutex::default(),
            making: Turn::default(),
        }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Asks within the session.
    pub(super) async fn call(&self, request: Request, purpose: Purpose) -> Result<Reply, Fault> {
        let (mut live, _) = self.live(None, purpose).await?;
        let mut renewed = false;
        for attempt in 1.. {
            let refused = match self
                .client
                .send(
                    request.clone().header(SESSION_HEADER, live.word.reveal()),
                    purpose,
                )
                .await
            {
                Ok(reply) => {
                    self.follow(&live, reply.header(SESSION_HEADER));
                    return Ok(reply);
                }
                Err(NoReply::Refused(refused)) if !matches!(refused.status, 200..=299) => refused,
                Err(no) => return Err(no.into()),
            };
            self.follow(&live, refused.header(SESSION_HEADER));
            let refusal = refusal(refused.status, &refused.text());
            let replaced = self
                .locked()
                .current
                .as_ref()
                .is_some_and(|current| *current != live);
            if !refusal.session || attempt >= ATTEMPTS || (renewed && !replaced) {
                return Err(refused.fault(refusal.reason, refusal.detail));
            }
            let made;
            (live, made) = self.live(Some(&live), purpose).await?;
            renewed |= made;
        }
        Err(Fault::bare(Reason::StationFault))
    }

    /// The server token. A new credential counts at once and ends the session of the old one.
    pub(super) fn token(&self) -> Result<ServerToken, Fault> {
        let unusable = |fault: &dyn std::fmt::Display| {
            Fault::with(
                Reason::CredentialsRefused,
                format!("The server token cannot be used: {fault}."),
            )
        };
        let text = self.credential.read().map_err(|fault| unusable(&fault))?;
        let token = ServerToken::parse(text.reveal())
            .map_err(|fault| unusable(&fault.of(&self.credential)))?;
        let mut state = self.locked();
        if state.credential.as_ref() != Some(&text) {
            state.credential = Some(text);
            state.current = None;
        }
        Ok(token)
    }

    /// The session that lives, and whether this caller has just made it. `refused` is one that Apple does not take any more.
    async fn live(&self, refused: Option<&Live>, purpose: Purpose) -> Result<(Live, bool), Fault> {
        let _making = self.making.take().await;
        let token = self.token()?;
        // By our own clock only while somebody keeps it right; else Apple says so itself.
        if token.expired(Timestamp::now()) && self.clock.synced() {
            return Err(Fault::with(
                Reason::CredentialsExpired,
                "Renew the server token in Apple Business or School Manager.",
            ));
        }
        let (current, number) = {
            let state = self.locked();
            (state.current.clone(), state.made)
        };
        if let Some(live) = current.filter(|live| Some(live) != refused) {
            return Ok((live, false));
        }
        let url = http::below(&self.base, "session");
        let signed = || {
            let stamp = Stamp {
                timestamp: Timestamp::now().as_second(),
                nonce: Uuid::now_v7().simple().to_string(),
            };
            with_headers(Request::get(url.clone())).header(
                "authorization",
                &oauth::authorization("GET", &url, &token, &stamp),
            )
        };
        let reply = self
            .client
            .send_made(signed, purpose)
            .await
            .map_err(|no| match no {
                NoReply::Refused(refused) if !matches!(refused.status, 200..=299) => {
                    let refusal = refused_session(&refused);
                    refused.fault(refusal.reason, refusal.detail)
                }
                no => no.into(),
            })?;
        let made = reply.read(made)?;
        let word = reply.header(SESSION_HEADER).map_or(made, str::to_owned);
        if !http::is_word(&word) {
            return Err(reply.garbled("Apple's session has no token that can be used."));
        }
        let mut state = self.locked();
        // While this one hung another was made, and is in use.
        if let Some(live) = state.current.clone().filter(|_| state.made != number) {
            return Ok((live, false));
        }
        state.made += 1;
        let live = Live {
            word: Secret::new(&word),
            number: state.made,
        };
        state.current = Some(live.clone());
        Ok((live, true))
    }

    /// Any reply may carry the session's next word.
    fn follow(&self, used: &Live, word: Option<&str>) {
        let Some(word) = word.filter(|word| http::is_word(word)) else {
            return;
        };
        if let Some(current) = self
            .locked()
            .current
            .as_mut()
            .filter(|current| current.number == used.number)
        {
            current.word = Secret::new(word);
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The word of a new session.
fn made(body: &Value) -> Result<String, Misshaped> {
    const FIELD: &str = "auth_session_token";
    let session = Object::read("Apple's session", body)?;
    session
        .typed(FIELD, "text", Value::as_str)?
        .map(str::to_owned)
        .ok_or_else(|| session.lacks(FIELD))
}

/// A session that is not given is a matter of the credential, whatever the text of a 400.
fn refused_session(refused: &Refused) -> Refusal {
    let refusal = refusal(refused.status, &refused.text());
    match (refusal.reason, refused.status) {
        (Reason::GarbledAnswer, 400) => Refusal {
            reason: Reason::CredentialsRefused,
            detail: "Apple refuses to open a session.",
            session: false,
        },
        _ => refusal,
    }
}
