//! The keys of a `[[source]]` of kind `kandji`.

use url::Url;

use super::{Kandji, finding::Policy};
use crate::{
    readiness::{
        http::ClientFault,
        service::{Adapter, Endpoint, Keys, ServiceSettings, WEB_PAGE, any_text},
    },
    runtime::credential::Credential,
};

const EXAMPLE_URL: &str = "https://acme.api.kandji.io";

/// The settings of one tenant.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bearer token.
    pub token: Credential,
    pub policy: Policy,
}

impl ServiceSettings for Settings {
    const EXAMPLE_URL: Option<&'static str> = Some(EXAMPLE_URL);

    fn read(keys: &dyn Keys) -> Option<(Url, Self)> {
        let url = keys.required_url("url", EXAMPLE_URL, not_the_api);
        let token = keys.credential("token_credential", "kandji-token", Self::check);
        let tokens = keys.texts("tokens", any_text);
        let settings = Self {
            token: token?,
            policy: Policy {
                tokens: tokens?,
                max_fetch_age: keys.max_fetch_age()?,
                expected_blueprints: keys.expected_blueprints()?,
            },
        };
        Some((url?, settings))
    }

    fn credential(&self) -> &Credential {
        &self.token
    }

    fn connect(self, to: Endpoint<'_>) -> Result<Box<dyn Adapter>, ClientFault> {
        Ok(Box::new(Kandji::new(self, to)?))
    }
}

/// People copy what stands in their browser, or in the documentation of one call.
fn not_the_api(url: &Url) -> Option<(&'static str, String)> {
    let host = url.host_str()?.trim_end_matches('.');
    let domain = ["kandji.io", "iru.com"]
        .into_iter()
        .find(|domain| host == *domain || host.ends_with(&format!(".{domain}")))?;
    let labels: Vec<&str> = host
        .strip_suffix(domain)?
        .split('.')
        .filter(|label| !label.is_empty())
        .collect();
    let tenant = match labels.as_slice() {
        [] | ["www" | "app" | "support" | "api" | "api-docs", ..] => "your-tenant",
        [tenant, ..] => tenant,
    };
    let region = if labels.contains(&"eu") { ".eu" } else { "" };
    let right = format!("https://{tenant}.api{region}.{domain}");
    if labels.get(1) != Some(&"api") {
        return Some((WEB_PAGE, right));
    }
    (!matches!(url.path(), "" | "/")).then_some(("not the API's base: it has a path", right))
}
