//! Who may come in: under which host, from which page, with which password, and how many at once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::http::{
    HeaderMap, Method, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN},
    uri::Authority,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    hmac::{self, HMAC_SHA256},
    rand::SystemRandom,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Settings;
use crate::runtime::credential::Credential;

/// Connections at the same time ..
const PLACES: usize = 32;
/// .. of which so many are kept for this machine.
const KEPT: usize = 8;
/// A wrong password is answered after this time.
pub(super) const WRONG_PASSWORD: Duration = Duration::from_secs(1);
/// Who sees the page and scans.
const PEOPLE: &str = "benchlight";
/// Who reads the metrics.
const METRICS: &str = "metrics";

/// The places of connections.
#[derive(Clone, Debug)]
pub(super) struct Places {
    open: Arc<Semaphore>,
    kept: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            open: Arc::new(Semaphore::new(PLACES - KEPT)),
            kept: Arc::new(Semaphore::new(KEPT)),
        }
    }
}

impl Places {
    /// A place for a connection from `peer`, if there is one.
    pub(super) fn take(&self, peer: SocketAddr) -> Option<OwnedSemaphorePermit> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let is_here = peer.ip().to_canonical().is_loopback();
        take(&self.open).or_else(|| take(&self.kept).filter(|_| is_here))
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was made under another name.
    Host,
    /// It comes from another page, or from none.
    Origin,
    /// It is not JSON.
    NotJson,
    /// It has no password.
    NoPassword,
    /// It has a wrong one.
    WrongPassword,
}

/// What a path is open to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// Everybody.
    All,
    /// The page and scans.
    People,
    /// The metrics.
    Metrics,
}

/// The rules of one server.
#[derive(Debug)]
pub(super) struct Door {
    password: Option<Credential>,
    metrics_password: Option<Credential>,
    hosts: Vec<String>,
    /// What two passwords are compared under.
    key: hmac::Key,
}

impl Door {
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new(settings: &Settings) -> Result<Self, ring::error::Unspecified> {
        Ok(Self {
            password: settings.password.clone(),
            metrics_password: settings.metrics_password.clone(),
            hosts: settings.hosts.clone(),
            key: hmac::Key::generate(HMAC_SHA256, &SystemRandom::new())?,
        })
    }

    /// Looks at a request that came in on the address `local`.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn pass(
        &self,
        local: SocketAddr,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        open: Open,
    ) -> Result<(), Refusal> {
        let host = self.host(local, uri, headers).ok_or(Refusal::Host)?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            if !is_json(headers) {
                return Err(Refusal::NotJson);
            }
            if !self.is_own_page(&host, headers) {
                return Err(Refusal::Origin);
            }
        }
        self.password(headers, open)
    }

    /// Under which host the request was made, if that is one of ours. A page elsewhere can point its own name here.
    fn host(&self, local: SocketAddr, uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
        let mut named = headers.get_all(HOST).iter();
        let host: Authority = named.next()?.to_str().ok()?.parse().ok()?;
        let in_line = uri.authority().is_none_or(|named| *named == host);
        (named.next().is_none()
            && in_line
            && !host.as_str().contains('@')
            && self.is_ours(local, host.host()))
        .then_some(host)
    }

    fn is_ours(&self, local: SocketAddr, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<std::net::IpAddr>();
        address.is_ok_and(|address| address.is_loopback() || address == local.ip().to_canonical())
            || host.eq_ignore_ascii_case("localhost")
            || self.is_named(host)
    }

    fn is_named(&self, host: &str) -> bool {
        self.hosts
            .iter()
            .any(|named| named.eq_ignore_ascii_case(host))
    }

    /// Does the request come from a page of this server? The scheme is not compared: TLS may stand in front.
    fn is_own_page(&self, host: &Authority, headers: &HeaderMap) -> bool {
        let mut named = headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (named.next(), named.next()) else {
            return false;
        };
        let Some((scheme, rest)) = origin.to_str().ok().and_then(|text| text.split_once("://"))
        else {
            return false;
        };
        let usual = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        let Ok(origin) = rest.parse::<Authority>() else {
            return false;
        };
        let port = |of: &Authority| of.port_u16().unwrap_or(usual);
        let same = origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(host);
        !rest.contains('@') && (same || self.is_named(origin.host()))
    }

    fn password(&self, headers: &HeaderMap, open: Open) -> Result<(), Refusal> {
        let needed: &[(&str, &Option<Credential>)] = match open {
            Open::All => return Ok(()),
            Open::People => &[(PEOPLE, &self.password)],
            Open::Metrics => &[(PEOPLE, &self.password), (METRICS, &self.metrics_password)],
        };
        if needed.iter().all(|(_, credential)| credential.is_none()) {
            return Ok(());
        }
        let Some(given) = headers.get(AUTHORIZATION) else {
            return Err(Refusal::NoPassword);
        };
        let given = given.to_str().unwrap_or_default();
        let given = given
            .get(..6)
            .filter(|word| word.eq_ignore_ascii_case("basic "))
            .and_then(|_| given.get(6..));
        let given = given.and_then(|given| BASE64_STANDARD.decode(given.trim()).ok());
        let given = given.unwrap_or_default();
        let is_right = needed
            .iter()
            .filter_map(|(user, credential)| {
                Some((user, credential.as_ref()?.read_password().ok()?))
            })
            .any(|(user, password)| {
                let right = format!("{user}:{}", password.reveal());
                self.is_equal(right.as_bytes(), &given)
            });
        if is_right {
            Ok(())
        } else {
            Err(Refusal::WrongPassword)
        }
    }

    /// Takes as long for one difference as for another.
    fn is_equal(&self, right: &[u8], given: &[u8]) -> bool {
        let right = hmac::sign(&self.key, right);
        hmac::verify(&self.key, given, right.as_ref()).is_ok()
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(CONTENT_TYPE).iter();
    named
        .next()
        .filter(|_| named.next().is_none())
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
