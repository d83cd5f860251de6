//! What the folder of one service provides: its settings, read from the config's keys, and its client.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use url::Url;

pub(super) use super::{Pending, replica::Listed};
use super::{
    Purpose,
    evidence::{Evidence, Finding},
    examination::Examination,
    http::{Allowed, Client, ClientFault, ClientSettings, Clocks, Fault, Limits, QuotaHeaders},
    keeper::Vitals,
    replica::rule::is_half_of,
};
use crate::{
    label::{Candidates, Serial},
    runtime::{
        credential::{Credential, CredentialFault},
        name::Name,
    },
};

/// What a client calls itself.
pub(super) const USER_AGENT: &str = concat!("benchlight/", env!("CARGO_PKG_VERSION"));

/// Asked by a probe: too long for a serial number, so that it finds nothing and costs little.
pub(super) const NO_SERIAL: &str = "BENCHLIGHT0PROBE";

/// Why a value cannot be used, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub message: String,
    pub remedy: String,
}

/// What is wrong with a text of a service's own form.
pub type CheckText = fn(&str) -> Option<Wrong>;

/// For a URL that people mistake for the API's: what it is, and the right one.
pub type CheckUrl = fn(&Url) -> Option<(&'static str, String)>;

/// What people copy from their browser.
pub(super) const WEB_PAGE: &str = "the address of a web page for people, not of the API";

/// For the URL of a server: is it the address of one of its pages, or calls? `pages`: the first parts of their paths.
pub(super) fn below_its_pages(url: &Url, pages: &[&str]) -> Option<(&'static str, String)> {
    let (right, first) = base_before(url, pages)?;
    let what = if first == "api" {
        "the address of one of its calls, not of the server"
    } else {
        "the address of a web page for people, not of the server"
    };
    Some((what, right))
}

/// For an address that goes on behind the server's base with one of these words, the first part of its own paths: the base, and the word.
pub(super) fn base_before<'a>(url: &'a Url, first: &[&str]) -> Option<(String, &'a str)> {
    let parts: Vec<&str> = url.path().split('/').collect();
    let place = parts.iter().position(|part| first.contains(part))?;
    let mut base = url.clone();
    base.set_path(&parts.get(..place)?.join("/"));
    base.set_query(None);
    base.set_fragment(None);
    let base = base.as_str().trim_end_matches('/').to_owned();
    Some((base, parts.get(place)?))
}

/// For a text of any form.
pub(super) fn any_text(_: &str) -> Option<Wrong> {
    None
}

/// For the name of a host.
pub(super) fn not_a_host(text: &str) -> Option<Wrong> {
    let is_host = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (!is_host).then(|| Wrong {
        message: format!("{text:?} is not a host name"),
        remedy: "write it without https://, port or path: \"mdm.example\"".to_owned(),
    })
}

/// The keys of one `[[source]]`. Whoever implements it reports what is wrong, with its place, and returns `None`.
///
/// A service asks for all of its keys before it gives up on any, so that all problems are reported at once and no key
/// of its own is taken for another service's.
pub trait Keys {
    /// A URL with https, or with http to this machine.
    fn url(&self, key: &'static str, default: &str, check: CheckUrl) -> Option<Url>;
    fn required_url(&self, key: &'static str, example: &str, check: CheckUrl) -> Option<Url>;
    fn text(&self, key: &'static str, default: &str, check: CheckText) -> Option<String>;
    fn required_text(&self, key: &'static str, example: &str) -> Option<String>;
    fn required_checked(
        &self,
        key: &'static str,
        example: &str,
        check: CheckText,
    ) -> Option<String>;
    /// A list of texts; an absent key is an empty list. Texts that `check` refuses are reported and kept, so that the
    /// doctor can examine the rest of the source.
    fn texts(&self, key: &'static str, check: CheckText) -> Option<Vec<String>>;
    /// A list of ids, as texts or as whole numbers; an absent key is an empty list.
    fn ids(&self, key: &'static str) -> Option<Vec<String>>;
    /// A list of texts that must be there and not empty.
    fn required_texts(
        &self,
        key: &'static str,
        example: &str,
        empty: Wrong,
        check: CheckText,
    ) -> Option<Vec<String>>;
    /// The file of a secret, called `usual` where the config names none.
    fn credential(
        &self,
        key: &'static str,
        usual: &'static str,
        check: fn(&Credential) -> Result<(), CredentialFault>,
    ) -> Option<Credential>;
    /// `[verdict] max_fetch_age`.
    fn max_fetch_age(&self) -> Option<Duration>;
    /// `[verdict] expected_blueprints`.
    fn expected_blueprints(&self) -> Option<Vec<String>>;
}

/// The settings of one service.
pub(super) trait ServiceSettings: Sized {
    /// The URL in the shipped config, which has to be replaced.
    const EXAMPLE_URL: Option<&'static str>;

    /// The API's base URL and the rest.
    fn read(keys: &dyn Keys) -> Option<(Url, Self)>;

    fn credential(&self) -> &Credential;

    /// Whether the credential is there and of the form that the service wants. Only the service knows whether it accepts it.
    fn check(credential: &Credential) -> Result<(), CredentialFault> {
        credential.read_token().map(drop)
    }

    fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault>;
}

/// Where a service is, and what any client needs besides.
pub(super) struct Endpoint<'a> {
    pub(super) name: Name,
    pub(super) url: Url,
    pub(super) ca_file: Option<&'a Path>,
    pub(super) reads_per_minute: u32,
    pub(super) quota_share: f64,
    pub(super) clocks: Clocks,
    pub(super) limits: Limits,
}

impl Endpoint<'_> {
    /// A client that may send the requests in `allow` and no others.
    pub(super) fn client(
        &self,
        allow: Vec<Allowed>,
        user_agent: &str,
        quota: Option<QuotaHeaders>,
    ) -> Result<Client, ClientFault> {
        Client::new(ClientSettings {
            allow,
            user_agent,
            ca_file: self.ca_file,
            reads_per_minute: self.reads_per_minute,
            quota_share: self.quota_share,
            quota,
            clocks: self.clocks.clone(),
            limits: self.limits,
        })
    }
}

/// What has come about boxes while their question is still under way.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    /// A reply after which no row may answer.
    is_noted: bool,
    halves: Vec<Evidence>,
}

impl Heard {
    pub(super) fn note(&self) {
        self.said().is_noted = true;
    }

    /// Half of an answer: what the answer is if the other half does not come.
    pub(super) fn note_half(&self, half: Evidence) {
        self.said().halves.push(half);
    }

    /// May these rows answer beside it?
    pub(super) fn gives_way_to(&self, rows: &[Evidence]) -> bool {
        let said = self.said();
        !said.is_noted && said.halves.iter().all(|half| is_half_of(half, rows))
    }

    /// The question ended without its answer: puts into `unknown` what has been heard.
    pub(super) fn tell(&self, unknown: &mut Evidence) {
        let said = self.said();
        match said
            .halves
            .iter()
            .find(|half| half.serial == unknown.serial)
        {
            Some(half) => unknown.clone_from(half),
            None => unknown.heard = said.is_noted,
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks about each candidate by itself, side by side.
pub(super) async fn ask_each<'a, F: Future<Output = Evidence>>(
    candidates: &'a Candidates,
    one: impl Fn(&'a Serial) -> F,
) -> Vec<Evidence> {
    let stripped = async {
        match &candidates.stripped {
            Some(serial) => Some(one(serial).await),
            None => None,
        }
    };
    let (scanned, stripped) = tokio::join!(one(&candidates.scanned), stripped);
    std::iter::once(scanned).chain(stripped).collect()
}

/// What is known where a question brought no answer.
pub(super) fn unanswered(bare: Evidence, fault: &Fault) -> Evidence {
    Evidence {
        finding: Finding::Unknown(fault.reason),
        detail: fault.detail.clone(),
        replied_at: fault.replied_at,
        ..bare
    }
}

/// The client of one service.
pub(super) trait Adapter: Send + Sync {
    /// Evidence for each candidate, in their order; the caller fills in `took`. `heard` is noted as soon as a reply about one of them
    /// is there, for the rest of the question may hang.
    fn look_up<'a>(
        &'a self,
        candidates: &'a Candidates,
        purpose: Purpose,
        heard: &'a Heard,
    ) -> Pending<'a, Vec<Evidence>>;

    /// The cheapest reads that show whether a scan can be answered.
    fn probe(&self) -> Pending<'_, Result<(), Fault>>;

    /// What the service says of itself and of the credential's rights, without a device.
    fn examine(&self) -> Pending<'_, Examination>;

    fn client(&self) -> &Client;

    /// What is known besides the findings; the caller fills in the quota.
    fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    /// How soon its background knowledge must be read again; `None`: it keeps none.
    fn refresh_in(&self) -> Option<Duration> {
        None
    }

    /// Its list of all devices; `None`: it cannot have a replica.
    fn listed(&self) -> Option<&dyn Listed> {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_base_is_found_in_the_address_of_a_call() {
        let base = |url: &str| {
            let url = url.parse().unwrap();
            base_before(&url, &["proxy", "v1"]).map(|(base, _)| base)
        };
        for (url, wanted) in [
            ("https://a.example/proxy/x/devices?y#z", "https://a.example"),
            ("https://a.example:8443/v1", "https://a.example:8443"),
            ("https://a.example/hub/v1/tokens", "https://a.example/hub"),
        ] {
            assert_eq!(base(url).as_deref(), Some(wanted), "{url}");
        }
        for url in [
            "https://a.example",
            "https://a.example/hub/",
            "https://v1.example",
        ] {
            assert_eq!(base(url), None, "{url}");
        }
    }
}
