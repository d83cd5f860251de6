//! A server that passes Apple's word on to whoever has its key: what its simulators share.

use std::{io, net::SocketAddr};

use axum::{
    Router,
    extract::State,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use uuid::Uuid;

use super::{Apple, DIFFERS, boxes};
use crate::simulator::{self, Introduction, Log, Served, faults::Faults, stock};

/// A simulator that serves until it is dropped.
pub type Simulator = Served<Service>;

/// What is peculiar to such a server.
pub(crate) struct Server<'a> {
    /// Its word in the config.
    pub(crate) kind: &'a str,
    /// The lines of its `[[source]]` besides those that every such server has.
    pub(crate) keys: &'a str,
    /// The name of the credential that holds its key.
    pub(crate) credential: &'static str,
    pub(crate) lists: &'static [&'static str],
    pub(crate) sees_migrations: bool,
}

impl Served<Service> {
    /// What Apple holds.
    pub fn apple(&self) -> &Apple {
        &self.service.apple
    }

    /// Its API key.
    pub fn key(&self) -> &str {
        &self.service.key
    }

    pub(crate) fn introduced(self, server: Server<'_>) -> Introduction {
        let Server {
            kind,
            keys,
            credential,
            lists,
            sees_migrations,
        } = server;
        let source = format!(
            "[[source]]\nname = \"{kind}\"\nkind = \"{kind}\"\nurl = \"{}\"\n{keys}key_credential = \"{credential}\"\nexpected_profiles = [\"{}\"]",
            self.base(),
            stock::PROFILE_UUID,
        );
        Introduction {
            credential: (credential, self.service.key),
            running: self.running,
            source,
            boxes: boxes(sees_migrations),
            lists,
            differs: DIFFERS,
        }
    }
}

/// Where its questions are answered.
#[derive(Clone, Debug)]
pub struct Service {
    pub(crate) key: String,
    pub(crate) apple: Apple,
    pub(crate) log: Log,
}

/// Serves `routes` with the demo's boxes and so many generated ones.
///
/// # Errors
/// As [`simulator::serve`].
pub(crate) async fn serve(
    routes: Router<Service>,
    listen: SocketAddr,
    boxes: u32,
) -> io::Result<Simulator> {
    let service = Service {
        key: Uuid::now_v7().simple().to_string(),
        apple: Apple::of_an_mdm(boxes),
        log: Log::default(),
    };
    let routes = routes
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(service.clone());
    let faults = Faults::new(stock::switches());
    let running = simulator::serve(routes, listen, faults, service.log.clone()).await?;
    Ok(Served { running, service })
}

/// A call that the station has no business to make.
async fn unknown(State(service): State<Service>, method: Method, uri: Uri) -> Response {
    service.log.violation(format!("{method} {}", uri.path()));
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}
