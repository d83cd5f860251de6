//! An OAuth 2 access token: asked for by one caller at a time (unless that one hangs), kept in memory for its life, renewed early and once when it is refused.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::{
    Purpose,
    http::{self, Client, Fault, NoReply, Refused, Reply, Request},
    shape::{Misshaped, Object},
    turn::Turn,
};
use crate::{
    reason::Reason,
    runtime::{clock, credential::Secret},
};

/// So long before its end a token is renewed; one with a short life after half of it.
const EARLY: Duration = Duration::from_mins(5);
/// Services also refuse too many token requests: after a refusal the same secret is not tried again for this long.
const PAUSE: Duration = Duration::from_secs(5);
/// A token is not believed to be good for longer. Usual is an hour.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// Makes the form of a token request, anew each time it is sent.
pub(super) type MakeForm<'a> = Box<dyn Fn() -> String + Send + Sync + 'a>;

/// How one service is asked for a token.
pub(super) trait Grant: Send + Sync + 'static {
    /// Whose token it is, in sentences for people.
    fn service(&self) -> &'static str;

    /// What the station proves itself with, read anew for each token.
    fn secret(&self) -> Result<Secret, Fault>;

    /// Where tokens are given. The next place is asked where one answers 404.
    fn places(&self) -> &[Url];

    /// The key of the config that says where.
    fn config_key(&self) -> &'static str;

    fn form<'a>(&'a self, secret: &'a Secret) -> Result<MakeForm<'a>, Fault>;

    /// What a refusal (400, 401 or 403) means for the technician. Its text may repeat what was sent: only words that are known
    /// beforehand are ever shown.
    fn refused(&self, refused: &Refused) -> (Reason, &'static str);
}

/// The keeper of one token.
pub(super) struct AccessToken<G>(Arc<Shared<G>>);

struct Shared<G> {
    client: Client,
    grant: G,
    making: Turn,
    /// A renewal runs beside the scans.
    renewing: AtomicBool,
    /// Which of the places gave the last token.
    place: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// The last refusal, of which secret, and until when it stands.
    refused: Option<(Fault, Secret, Instant)>,
}

#[derive(Clone)]
struct Live {
    token: Secret,
    asked_at: Instant,
    renew_at: Instant,
    ends_at: Instant,
}

impl Live {
    fn of(granted: &Granted, asked_at: Instant) -> Self {
        let good_for = clock::lasting(granted.expires_in, LONGEST_LIFE);
        // A token of a few minutes would be renewed at once for ever.
        let early = EARLY.min(good_for / 2);
        Self {
            token: Secret::new(&granted.access_token),
            asked_at,
            renew_at: asked_at + good_for.saturating_sub(early),
            ends_at: asked_at + good_for,
        }
    }
}

impl<G: Grant> AccessToken<G> {
    pub(super) fn new(client: Client, grant: G) -> Self {
        Self(Arc::new(Shared {
            client,
            grant,
            making: Turn::default(),
            renewing: AtomicBool::new(false),
            place: AtomicUsize::new(0),
            state: Mutex::default(),
        }))
    }

    pub(super) fn grant(&self) -> &G {
        &self.0.grant
    }

    /// Asks with the token; when that is refused (401), once more with a new one.
    pub(super) async fn send(&self, request: Request, purpose: Purpose) -> Result<Reply, NoReply> {
        let client = &self.0.client;
        self.with(&request, purpose, |request| client.send(request, purpose))
            .await
    }

    /// As [`AccessToken::send`], where `ask` sends the request.
    pub(super) async fn with<T, A>(
        &self,
        request: &Request,
        purpose: Purpose,
        ask: impl Fn(Request) -> A,
    ) -> Result<T, NoReply>
    where
        A: Future<Output = Result<T, NoReply>>,
    {
        let bearing = |token: &Secret| {
            let bearer = format!("Bearer {}", token.reveal());
            request.clone().header("authorization", &bearer)
        };
        let token = self.token(None, purpose).await?;
        match ask(bearing(&token)).await {
            Err(NoReply::Refused(refused)) if refused.status == 401 => {}
            result => return result,
        }
        let token = self.token(Some(&token), purpose).await?;
        ask(bearing(&token)).await
    }

    /// The token to use; `refused` is one that the service does not take any more. One that ends soon is used, and renewed meanwhile.
    async fn token(&self, refused: Option<&Secret>, purpose: Purpose) -> Result<Secret, Fault> {
        let live = {
            let mut state = self.0.locked();
            state
                .live
                .take_if(|live| Some(&live.token) == refused || live.ends_at <= Instant::now());
            state.live.clone()
        };
        let Some(live) = live else {
            return self.0.fetch(purpose).await;
        };
        if live.renew_at <= Instant::now() && !self.0.renewing.swap(true, Ordering::AcqRel) {
            let shared = Arc::clone(&self.0);
            tokio::spawn(async move {
                let renewing = Renewing(&shared.renewing);
                // What fails spoils nothing while the old token lasts.
                if let Err(fault) = shared.fetch(purpose).await {
                    tracing::debug!(
                        service = shared.grant.service(),
                        reason = fault.reason.code(),
                        detail = fault.detail,
                        "token not renewed"
                    );
                }
                drop(renewing);
            });
        }
        Ok(live.token)
    }

    /// In how much time the token is to be renewed; `None` while there is none.
    pub(super) fn renew_in(&self) -> Option<Duration> {
        let state = self.0.locked();
        let live = state.live.as_ref()?;
        Some(live.renew_at.saturating_duration_since(Instant::now()))
    }
}

/// Ends the renewal when it is dropped, however it ends.
struct Renewing<'a>(&'a AtomicBool);

impl Drop for Renewing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<G: Grant> Shared<G> {
    /// A token that need not be renewed yet, from the service unless another caller has got one meanwhile.
    async fn fetch(&self, purpose: Purpose) -> Result<Secret, Fault> {
        let _making = self.making.take().await;
        if let Some(live) = self.locked().live.as_ref()
            && Instant::now() < live.renew_at
        {
            return Ok(live.token.clone());
        }
        let secret = self.grant.secret()?;
        if let Some((fault, of, until)) = self.locked().refused.clone()
            && of == secret
            && Instant::now() < until
        {
            return Err(fault);
        }
        let asked_at = Instant::now();
        match self.ask(&secret, purpose).await {
            Ok(granted) => {
                let live = Live::of(&granted, asked_at);
                let token = live.token.clone();
                let mut state = self.locked();
                state.refused = None;
                // A request that hung may end after a later one.
                if state
                    .live
                    .as_ref()
                    .is_none_or(|kept| kept.asked_at <= asked_at)
                {
                    state.live = Some(live);
                }
                Ok(token)
            }
            Err(fault) => {
                if matches!(
                    fault.reason,
                    Reason::CredentialsRefused | Reason::CredentialsExpired
                ) {
                    let until = Instant::now() + PAUSE;
                    self.locked().refused = Some((fault.clone(), secret, until));
                }
                Err(fault)
            }
        }
    }

    /// Asks at the place that gave the last token, and at the others where it is not there any more.
    async fn ask(&self, secret: &Secret, purpose: Purpose) -> Result<Granted, Fault> {
        let form = self.grant.form(secret)?;
        let places = self.grant.places();
        let known = self.place.load(Ordering::Relaxed);
        let mut absent = Fault::bare(Reason::StationFault);
        for (index, place) in places
            .iter()
            .enumerate()
            .cycle()
            .skip(known)
            .take(places.len())
        {
            let fault = match self.ask_at(place, &form, purpose).await {
                Ok(granted) => {
                    self.place.store(index, Ordering::Relaxed);
                    return Ok(granted);
                }
                Err(NoReply::Refused(refused)) if refused.status == 404 => {
                    absent = self.at(place, NoReply::Refused(refused).into());
                    continue;
                }
                Err(NoReply::Refused(refused)) if matches!(refused.status, 400 | 401 | 403) => {
                    let (reason, detail) = self.grant.refused(&refused);
                    refused.fault(reason, detail)
                }
                Err(no) => no.into(),
            };
            return Err(self.at(place, fault));
        }
        Err(absent)
    }

    async fn ask_at(
        &self,
        place: &Url,
        form: &MakeForm<'_>,
        purpose: Purpose,
    ) -> Result<Granted, NoReply> {
        let request = || {
            Request::post(
                place.clone(),
                "application/x-www-form-urlencoded",
                form().into_bytes(),
            )
            .header("accept", "application/json")
        };
        let reply = self.client.send_made(request, purpose).await?;
        Ok(granted(&reply, self.grant.service())?)
    }

    /// The fault with the address that it came from: the source's other requests go to another one, which may be well.
    fn at(&self, place: &Url, fault: Fault) -> Fault {
        let has_not_left = matches!(fault.reason, Reason::RateLimited | Reason::StationFault)
            && fault.replied_at.is_none();
        if has_not_left {
            return fault;
        }
        let mut detail = fault.detail.map_or_else(String::new, |said| said + " ");
        let key = self.grant.config_key();
        detail += &format!("That was the token endpoint {place} (key `{key}`).");
        Fault {
            detail: Some(detail),
            ..fault
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let granted = Object::read("The access token", body)?;
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

/// A token that can be sent back.
fn granted(reply: &Reply, service: &str) -> Result<Granted, Fault> {
    let granted = reply.read(Granted::read)?;
    if !http::is_word(&granted.access_token) {
        return Err(reply.garbled(&format!(
            "{service}'s token cannot be used: it is empty, or not one line without spaces."
        )));
    }
    let other = |kind: &String| !kind.eq_ignore_ascii_case("bearer");
    if granted.token_type.as_ref().is_some_and(other) {
        return Err(reply.garbled(&format!(
            "{service}'s token is of another type than Bearer."
        )));
    }
    Ok(granted)
}

#[cfg(all(test, feature = "simulate"))]
mod tests;
