//! What a source may ask, and one question as it goes out.

use std::fmt;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::{cookies::Cookies, fault::Fault};
use crate::{reason::Reason, runtime::credential::Secret};

/// Sent with every request: no cached answer, no compression.
const OF_NOW_AND_PLAIN: [(&str, &str); 3] = [
    ("accept-encoding", "identity"),
    ("cache-control", "no-cache, no-store"),
    ("pragma", "no-cache"),
];

/// The methods that a source may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A plain read.
    Get,
    /// A read that carries its question in the body, or a token call.
    Post,
}

/// One kind of request that a source may make; everything else is refused before it leaves.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// The method.
    pub method: Method,
    /// Scheme, host, port and leading path.
    pub base: Url,
    /// The path below `base`, without a leading slash; `*` stands for exactly one segment, "" for `base` itself.
    pub path: &'static str,
    /// The query names that may occur.
    pub query: &'static [&'static str],
}

impl Allowed {
    /// A read below `base`.
    pub fn get(base: &Url, path: &'static str, query: &'static [&'static str]) -> Self {
        Self {
            method: Method::Get,
            base: base.clone(),
            path,
            query,
        }
    }

    /// A question in a body, below `base`.
    pub fn post(base: &Url, path: &'static str) -> Self {
        Self {
            method: Method::Post,
            base: base.clone(),
            path,
            query: &[],
        }
    }

    pub(super) fn fits(&self, method: Method, url: &Url) -> bool {
        method == self.method
            && same_origin(&self.base, url)
            && self.path_fits(url)
            && url
                .query_pairs()
                .all(|(name, _)| self.query.contains(&&*name))
    }

    fn path_fits(&self, url: &Url) -> bool {
        let below = segments(self.base.path()).chain(segments(self.path));
        let mut asked = segments(url.path());
        // Nothing that a server could decode into another path.
        let harmless = |segment: &str| {
            segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
        };
        below.into_iter().all(|wanted| {
            asked.next().is_some_and(|segment| {
                if wanted == "*" {
                    harmless(segment)
                } else {
                    wanted == segment
                }
            })
        }) && asked.next().is_none()
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// The URL of `path` below `base`, whether or not `base` ends in a slash.
pub fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!(
        "{}/{}",
        base.path().trim_end_matches('/'),
        path.trim_start_matches('/')
    ));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// One question to a service. Its header values are secrets to everybody but the service.
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    headers: Vec<(&'static str, Secret)>,
    body: Vec<u8>,
    pub(super) documented: &'static [u16],
    pub(super) explained: &'static [u16],
}

impl Request {
    /// A plain read.
    pub const fn get(url: Url) -> Self {
        Self {
            method: Method::Get,
            url,
            headers: Vec::new(),
            body: Vec::new(),
            documented: &[200],
            explained: &[],
        }
    }

    /// A question in a body (JSON or a form, as `content_type` says).
    pub fn post(url: Url, content_type: &str, body: Vec<u8>) -> Self {
        Self {
            method: Method::Post,
            url,
            headers: vec![("content-type", Secret::new(content_type))],
            body,
            documented: &[200],
            explained: &[],
        }
    }

    /// The same question at another place.
    pub(super) fn at(self, url: Url) -> Self {
        Self { url, ..self }
    }

    /// Adds a header, by its lower-case name.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, Secret::new(value)));
        self
    }

    /// Names the statuses that are an answer by the service's documents; without it 200 alone is one.
    #[must_use]
    pub const fn documented(mut self, statuses: &'static [u16]) -> Self {
        self.documented = statuses;
        self
    }

    /// Names the 5xx whose text says why there is no answer: they come as refusals. Without it no such text is read.
    #[must_use]
    pub const fn explained(mut self, statuses: &'static [u16]) -> Self {
        self.explained = statuses;
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {}", self.method, self.url)
    }
}

pub(super) fn built(request: &Request, cookies: &Cookies) -> Result<reqwest::Request, Fault> {
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
    };
    let mut built = reqwest::Request::new(method, request.url.clone());
    let cookies = cookies.sent().map(|text| ("cookie", Secret::new(&text)));
    for (name, value) in request.headers.iter().chain(&cookies) {
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| {
            Fault::with(
                Reason::StationFault,
                format!("The header {name} holds characters that cannot be sent."),
            )
        })?;
        value.set_sensitive(true);
        built
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    for (name, value) in OF_NOW_AND_PLAIN {
        built.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    if request.method == Method::Post {
        *built.body_mut() = Some(request.body.clone().into());
    }
    Ok(built)
}

/// The same question with or without the slash at the end of its path, as the service wants it. Any other place is refused: another
/// host must not get the credential, and another question (a dropped filter lists the fleet) must not pass for ours.
pub(super) fn redirected(
    request: &Request,
    status: u16,
    headers: &HeaderMap,
) -> Result<Url, Fault> {
    let place = headers
        .get("location")
        .and_then(|value| value.to_str().ok())
        .and_then(|text| request.url.join(text).ok());
    let detail = match place {
        Some(url) if !same_origin(&request.url, &url) => {
            "The service redirects to another host.".to_owned()
        }
        Some(url)
            if request.method == Method::Get && matches!(status, 301 | 302 | 303 | 307 | 308) =>
        {
            if segments(url.path()).eq(segments(request.url.path()))
                && url.query() == request.url.query()
            {
                return Ok(url);
            }
            "The service redirects to another question.".to_owned()
        }
        _ => format!("The service answered {status}."),
    };
    Err(Fault::with(Reason::GarbledAnswer, detail))
}
