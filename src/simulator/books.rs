//! A simulated service with its books: what it holds and knows, which its handle changes while it serves.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    http::{HeaderMap, HeaderName, StatusCode, Uri, header},
};

use super::{Log, Served, faults::Faults, serve};

impl<B> Served<Desk<B>> {
    pub(crate) fn books(&self) -> MutexGuard<'_, B> {
        self.service.books()
    }
}

/// Where its questions are answered. Cheap to clone; the clones are one.
#[derive(Debug)]
pub struct Desk<B> {
    books: Arc<Mutex<B>>,
    pub(crate) log: Log,
}

impl<B> Desk<B> {
    pub(crate) fn books(&self) -> MutexGuard<'_, B> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Clone for Desk<B> {
    fn clone(&self) -> Self {
        Self {
            books: Arc::clone(&self.books),
            log: self.log.clone(),
        }
    }
}

/// Serves what `routes` answers from these books.
///
/// # Errors
/// As [`serve`].
pub(crate) async fn serve_from<B: Send + 'static>(
    books: B,
    routes: Router<Desk<B>>,
    listen: SocketAddr,
    faults: Faults,
) -> io::Result<Served<Desk<B>>> {
    let service = Desk {
        books: Arc::new(Mutex::new(books)),
        log: Log::default(),
    };
    let routes = routes.with_state(service.clone());
    let running = serve(routes, listen, faults, service.log.clone()).await?;
    Ok(Served { running, service })
}

/// A header's value; "": it is not there, or is no text.
pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// What is wrong with the headers that every question has.
pub(crate) fn wrong_with(headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    if text(headers, header::ACCEPT) != "application/json" {
        return Some((StatusCode::NOT_ACCEPTABLE, "Accept is not application/json"));
    }
    let is_fresh = text(headers, header::CACHE_CONTROL).starts_with("no-cache");
    (!is_fresh).then_some((StatusCode::BAD_REQUEST, "Cache-Control is not no-cache"))
}

/// What is asked behind the `?`, as a form is written.
pub(crate) fn query(uri: &Uri) -> Vec<(String, String)> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect()
}
