//! The keys of a `[[source]]` of kind `jamf`.

use url::Url;

use super::{Jamf, finding::Policy, wire::Prestage};
use crate::{
    readiness::{
        http::ClientFault,
        service::{Adapter, Endpoint, Keys, ServiceSettings, WEB_PAGE, Wrong},
    },
    runtime::credential::Credential,
};

const EXAMPLE_URL: &str = "https://acme.jamfcloud.com";

/// The settings of one Jamf Pro server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the API client.
    pub client_id: String,
    pub secret: Credential,
    pub policy: Policy,
}

impl ServiceSettings for Settings {
    const EXAMPLE_URL: Option<&'static str> = Some(EXAMPLE_URL);

    fn read(keys: &dyn Keys) -> Option<(Url, Self)> {
        let url = keys.required_url("url", EXAMPLE_URL, not_the_server);
        let client_id = keys.required_text("client_id", "2b1f7a5e-3c60-4f3c-9a5b-1d4f0a6c7e21");
        let secret = keys.credential("secret_credential", "jamf-secret", Self::check);
        let instances = keys.ids("instances");
        let prestages = keys.texts("expected_prestages", no_prestage);
        let settings = Self {
            client_id: client_id?,
            secret: secret?,
            policy: Policy {
                instances: instances?,
                max_fetch_age: keys.max_fetch_age()?,
                expected_prestages: prestages?
                    .iter()
                    .filter_map(|text| Prestage::read(text))
                    .collect(),
            },
        };
        Some((url?, settings))
    }

    fn credential(&self) -> &Credential {
        &self.secret
    }

    fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault> {
        Ok(Box::new(Jamf::new(self, to)?))
    }
}

/// People copy what stands in their browser, or in the documentation of one call.
fn not_the_server(url: &Url) -> Option<(&'static str, String)> {
    let host = url.host_str()?.trim_end_matches('.');
    if matches!(host, "jamf.com" | "jamfcloud.com" | "www.jamfcloud.com")
        || host.ends_with(".jamf.com")
    {
        return Some((WEB_PAGE, EXAMPLE_URL.to_owned()));
    }
    let path = url.path().trim_end_matches('/');
    let first = path.split('/').find(|segment| !segment.is_empty())?;
    let is_of_a_call = matches!(first, "api" | "uapi" | "JSSResource") || path.ends_with("/api");
    let is_page = first.ends_with(".html") || path.ends_with(".html") || first == "view";
    if !is_of_a_call && !is_page {
        return None;
    }
    let mut right = url.clone();
    right.set_path("");
    right.set_query(None);
    right.set_fragment(None);
    let right = right.as_str().trim_end_matches('/').to_owned();
    let what = if is_page {
        WEB_PAGE
    } else {
        "the address of one call, not of the server"
    };
    Some((what, right))
}

fn no_prestage(text: &str) -> Option<Wrong> {
    if Prestage::read(text).is_some() {
        return None;
    }
    Some(Wrong {
        message: format!("{text:?} is no PreStage enrollment: computers and mobile devices are numbered apart"),
        remedy: "write \"computer:1\" or \"mobile:1\": the number is the `id` in the address of the PreStage's page in Jamf Pro".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_address_of_a_page_or_of_one_call_is_not_taken_for_the_server() {
        let right = |text: &str| not_the_server(&Url::parse(text).unwrap()).map(|(_, right)| right);
        for good in [
            EXAMPLE_URL,
            "https://acme.jamfcloud.com/",
            "https://jamf.acme.example:8443",
            "https://acme.example/jamf",
            "http://127.0.0.1:8080",
        ] {
            assert_eq!(right(good), None, "{good}");
        }
        for (wrong, server) in [
            ("https://www.jamf.com/", EXAMPLE_URL),
            ("https://account.jamf.com/login", EXAMPLE_URL),
            (
                "https://acme.jamfcloud.com/api",
                "https://acme.jamfcloud.com",
            ),
            (
                "https://acme.jamfcloud.com/api/v1/device-enrollments",
                "https://acme.jamfcloud.com",
            ),
            (
                "https://acme.jamfcloud.com/JSSResource/computers",
                "https://acme.jamfcloud.com",
            ),
            (
                "https://acme.jamfcloud.com:8443/computers.html?q=1",
                "https://acme.jamfcloud.com:8443",
            ),
            (
                "https://acme.jamfcloud.com/view/settings/x",
                "https://acme.jamfcloud.com",
            ),
        ] {
            assert_eq!(right(wrong).as_deref(), Some(server), "{wrong}");
        }
    }

    #[test]
    fn a_prestage_is_named_with_its_kind() {
        for good in ["computer:1", "mobile:12", " Mobile:3 "] {
            assert_eq!(no_prestage(good), None, "{good}");
        }
        for bad in [
            "1",
            "computer",
            "computer:",
            "mac:1",
            "computer:1:2",
            "computer:x y",
        ] {
            assert!(no_prestage(bad).is_some(), "{bad}");
        }
    }
}
