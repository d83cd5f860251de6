//! The access token: asked for by one caller at a time (unless that one hangs), kept for its hour, renewed five minutes early and once when it is refused.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    assertion::{self, ApiKey},
    settings::Identity,
};
use crate::{
    readiness::{
        Purpose,
        http::{self, Client, Fault, NoReply, Refused, Reply, Request},
        shape::{Misshaped, Object},
        turn::Turn,
    },
    reason::Reason,
    runtime::{clock, credential::Secret},
};

/// So long before its end a token is renewed.
const EARLY: Duration = Duration::from_mins(5);
/// Apple also refuses too many token requests: after a refusal the same key is not tried again for this long.
const PAUSE: Duration = Duration::from_secs(5);
/// A token is not believed to be good for longer; Apple's is for an hour.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// The keeper of the one token.
pub(super) struct Bearer {
    client: Client,
    identity: Identity,
    making: Turn,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// The last refusal, of which key, and until when it stands.
    refused: Option<(Fault, Secret, Instant)>,
}

struct Live {
    token: Secret,
    renew_at: Instant,
    ends_at: Instant,
}

impl Live {
    fn of(granted: &Granted) -> Self {
        let good_for = clock::lasting(granted.expires_in, LONGEST_LIFE);
        // A token of a few minutes would be renewed at once for ever.
        let early = EARLY.min(good_for / 2);
        Self {
            token: Secret::new(&granted.access_token),
            renew_at: Instant::now() + good_for.saturating_sub(early),
            ends_at: Instant::now() + good_for,
        }
    }
}

struct Granted {
    access_token: String,
    /// Seconds.
    expires_in: f64,
    token_type: Option<String>,
}

impl Granted {
    fn read(body: &Value) -> Result<Self, Misshaped> {
        let granted = Object::read("Apple's token", body)?;
        let text = |field| granted.typed(field, "text", Value::as_str);
        let needed = |field| text(field)?.ok_or_else(|| granted.lacks(field));
        Ok(Self {
            access_token: needed("access_token")?.to_owned(),
            expires_in: granted
                .typed("expires_in", "a number", Value::as_f64)?
                .ok_or_else(|| granted.lacks("expires_in"))?,
            token_type: text("token_type")?.map(str::to_owned),
        })
    }
}

impl Bearer {
    pub(super) fn new(client: Client, identity: Identity) -> Self {
        Self {
            client,
            identity,
            making: Turn::default(),
            state: Mutex::default(),
        }
    }

    pub(super) fn client_id(&self) -> &str {
        &self.identity.client_id
    }

    /// The token to use; `refused` is one that the service does not take any more.
    pub(super) async fn token(
        &self,
        refused: Option<&Secret>,
        purpose: Purpose,
    ) -> Result<Secret, Fault> {
        let _making = self.making.take().await;
        if refused.is_some() {
            let mut state = self.locked();
            state.live = state
                .live
                .take()
                .filter(|live| Some(&live.token) != refused);
        }
        if let Some(live) = self.locked().live.as_ref()
            && Instant::now() < live.renew_at
        {
            return Ok(live.token.clone());
        }
        let unusable = |detail: String| Fault::with(Reason::CredentialsRefused, detail);
        let pem = self
            .identity
            .key
            .read()
            .map_err(|fault| unusable(format!("The API key cannot be used: {fault}.")))?;
        if let Some((fault, key, until)) = self.locked().refused.clone()
            && key == pem
            && Instant::now() < until
        {
            return Err(fault);
        }
        let key = ApiKey::read(pem.reveal()).map_err(|fault| {
            unusable(format!(
                "The API key cannot be used: {}.",
                fault.of(&self.identity.key)
            ))
        })?;
        match self.ask(&key, purpose).await {
            Ok(granted) => {
                let live = Live::of(&granted);
                let token = live.token.clone();
                *self.locked() = State {
                    live: Some(live),
                    refused: None,
                };
                Ok(token)
            }
            Err(fault) => {
                let mut state = self.locked();
                if fault.reason == Reason::CredentialsRefused {
                    state.refused = Some((fault.clone(), pem, Instant::now() + PAUSE));
                }
                // An early renewal that fails spoils nothing while the old token lasts.
                let lasting = state
                    .live
                    .as_ref()
                    .filter(|live| Instant::now() < live.ends_at);
                lasting.map(|live| live.token.clone()).ok_or(fault)
            }
        }
    }

    /// In how much time the token is to be renewed; `None` while there is none.
    pub(super) fn renew_in(&self) -> Option<Duration> {
        self.locked()
            .live
            .as_ref()
            .map(|live| live.renew_at.saturating_duration_since(Instant::now()))
    }

    async fn ask(&self, key: &ApiKey, purpose: Purpose) -> Result<Granted, Fault> {
        let Identity {
            client_id,
            key_id,
            scope,
            token_url,
            ..
        } = &self.identity;
        let client = assertion::Client {
            id: client_id,
            key_id,
        };
        // An assertion is used once.
        let signed = || {
            let assertion = key.assertion(
                &client,
                Timestamp::now().as_second(),
                &Uuid::now_v7().to_string(),
            );
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_id", client_id)
                .append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                )
                .append_pair("client_assertion", &assertion)
                .append_pair("scope", scope)
                .finish();
            Request::post(
                token_url.clone(),
                "application/x-www-form-urlencoded",
                form.into_bytes(),
            )
            .header("accept", "application/json")
        };
        let reply = self
            .client
            .send_made(signed, purpose)
            .await
            .map_err(|no| match no {
                // The body may repeat the assertion: of it only a word that is known beforehand is ever shown.
                NoReply::Refused(refused) if matches!(refused.status, 400 | 401 | 403) => {
                    refused.fault(Reason::CredentialsRefused, meaning(&refused))
                }
                no => no.into(),
            })?;
        granted(&reply)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token that can be sent back.
fn granted(reply: &Reply) -> Result<Granted, Fault> {
    let granted = Granted::read(reply.body())
        .map_err(|misshaped| reply.fault(Reason::GarbledAnswer, &misshaped.to_string()))?;
    if !http::is_word(&granted.access_token) {
        return Err(reply.fault(
            Reason::GarbledAnswer,
            "Apple's token cannot be used: it is empty, or not one line without spaces.",
        ));
    }
    if granted
        .token_type
        .as_ref()
        .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        return Err(reply.fault(
            Reason::GarbledAnswer,
            "Apple's token is of another type than Bearer.",
        ));
    }
    Ok(granted)
}

/// What the token endpoint's refusal means for the technician.
fn meaning(refused: &Refused) -> &'static str {
    let body = refused.text();
    [
        ("invalid_client", "Apple refuses the API key (invalid_client): check client_id, key_id and the key, and that the key was not revoked."),
        ("invalid_scope", "Apple refuses the scope (invalid_scope): business.api is for Apple Business, school.api for Apple School Manager."),
        ("unauthorized_client", "Apple refuses the API account (unauthorized_client): check its role."),
        ("invalid_grant", "Apple refuses the assertion (invalid_grant)."),
        ("invalid_request", "Apple refuses the token request (invalid_request)."),
    ]
    .into_iter()
    .find(|(code, _)| body.contains(code))
    .map_or("Apple gives this API key no token.", |(_, meaning)| meaning)
}
