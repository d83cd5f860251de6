//! `[[source]]`: the services that are asked.

use url::Url;

use super::{
    document::{Found, Section},
    files::Files,
    problems::Span,
    verdict::Verdict,
};
use crate::{
    readiness::{self, Service, Settings, evidence::SourceKind},
    runtime::{
        loopback::{self, is_loopback},
        name::Name,
    },
};

const DEP_URL: &str = "https://mdmenrollment.apple.com";
const BUSINESS_URL: &str = "https://api-business.apple.com/v1";
const BUSINESS_TOKEN_URL: &str = "https://account.apple.com/auth/oauth2/token";
const BUSINESS_SCOPE: &str = "business.api";

/// One section; what is wrong is `None`.
pub(super) struct Source {
    pub(super) at: Span,
    pub(super) name: Option<Found<Name>>,
    pub(super) kind: Option<Found<SourceKind>>,
    pub(super) settings: Option<Settings>,
}

pub(super) fn read(
    document: &Section<'_, '_>,
    verdict: &Verdict<'_>,
    files: &Files,
) -> Vec<Source> {
    let sources: Vec<Source> = document
        .sections("source")
        .into_iter()
        .map(|section| one(section, verdict, files))
        .collect();
    if sources.is_empty() && !document.has("source") {
        let example = "write for example:\n[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"https://acme.api.kandji.io\"\ntoken_credential = \"kandji-token\"";
        document.report().absence(
            document.at(),
            "there is no [[source]]: who is asked about a box?",
            example,
        );
    }
    for (index, source) in sources.iter().enumerate() {
        let earlier = || sources.iter().take(index);
        if let Some(name) = &source.name
            && earlier().any(|other| {
                other
                    .name
                    .as_ref()
                    .is_some_and(|other| other.value == name.value)
            })
        {
            document.report().problem(
                &name.at,
                format!("there is already a source {:?}", name.value.as_str()),
                "give each source a name of its own",
            );
        }
        if let Some(kind) = &source.kind
            && earlier().any(|other| {
                other
                    .kind
                    .as_ref()
                    .is_some_and(|other| other.value == kind.value)
            })
        {
            let message = format!("there is already a source of kind {:?}", kind.value.code());
            document.report().problem(
                &kind.at,
                message,
                "one source of each kind: remove the other",
            );
        }
    }
    sources
}

fn one(section: Section<'_, '_>, verdict: &Verdict<'_>, files: &Files) -> Source {
    let choices = [
        SourceKind::Kandji,
        SourceKind::AppleDep,
        SourceKind::AppleBusiness,
    ]
    .map(|kind| (kind.code(), kind));
    let name = section.required("name", section.name("name", "kandji"), "\"kandji\"");
    let kind = section.required("kind", section.choice("kind", &choices, None), "\"kandji\"");
    let ca_file = files.trust_anchors(&section, "ca_file");
    let reads_per_minute = section.optional(
        "reads_per_minute",
        section.number("reads_per_minute", 0..=1_000_000, 0),
    );
    let parts = kind.as_ref().and_then(|kind| match kind.value {
        SourceKind::Kandji => kandji(&section, verdict, files),
        SourceKind::AppleDep => apple_dep(&section, files),
        SourceKind::AppleBusiness => apple_business(&section, files),
    });
    if section.has("ca_file")
        && parts
            .as_ref()
            .is_some_and(|(url, _)| url.scheme() == "http")
    {
        section.report().warn(
            Some(&section.place("ca_file")),
            "`ca_file` counts only with https://",
        );
    }
    let at = section.at().clone();
    // Which keys are good depends on the kind: without it, none can be called unknown.
    if kind.is_some() {
        section.finish();
    }
    let settings = (|| {
        let (url, service) = parts?;
        let reads_per_minute = reads_per_minute?.map_or(0, |found| found.value);
        Some(Settings {
            name: name.as_ref()?.value.clone(),
            url,
            ca_file: ca_file?,
            reads_per_minute,
            service,
        })
    })();
    Source {
        at,
        name,
        kind,
        settings,
    }
}

fn kandji(
    section: &Section<'_, '_>,
    verdict: &Verdict<'_>,
    files: &Files,
) -> Option<(Url, Service)> {
    const EXAMPLE: &str = "https://acme.api.kandji.io";
    let url = section.required(
        "url",
        service_url(section, "url", EXAMPLE),
        &format!("\"{EXAMPLE}\""),
    );
    let url = unmistaken(section, "url", url, not_kandjis_api);
    let token = files.credential(section, "token_credential", "kandji-token", true, |token| {
        readiness::check_credential(SourceKind::Kandji, token)
    });
    let tokens = section.texts("tokens").map(owned);
    section.not_for(
        SourceKind::Kandji.code(),
        &["user_agent", "expected_profiles", "expected_hosts"],
    );
    section.not_for(SourceKind::Kandji.code(), &BUSINESS_KEYS);
    let service = Service::Kandji {
        token: token?,
        tokens: tokens?,
        max_fetch_age: verdict.max_fetch_age?,
        expected_blueprints: verdict.expected_blueprints.clone()?,
    };
    Some((url?, service))
}

fn apple_dep(section: &Section<'_, '_>, files: &Files) -> Option<(Url, Service)> {
    let url = unmistaken(
        section,
        "url",
        url_or(section, "url", DEP_URL),
        not_apple_deps_api,
    );
    let token = files.credential(
        section,
        "token_credential",
        "apple-dep-token",
        true,
        |token| readiness::check_credential(SourceKind::AppleDep, token),
    );
    let user_agent = header_text(
        section,
        "user_agent",
        concat!("benchlight/", env!("CARGO_PKG_VERSION")),
    );
    let expected_profiles = section.texts("expected_profiles").map(owned);
    let expected_hosts = hosts(section, "expected_hosts");
    section.not_for(SourceKind::AppleDep.code(), &["tokens"]);
    section.not_for(SourceKind::AppleDep.code(), &BUSINESS_KEYS);
    let service = Service::AppleDep {
        token: token?,
        user_agent: user_agent?,
        expected_profiles: expected_profiles?,
        expected_hosts: expected_hosts?,
    };
    Some((url?, service))
}

const BUSINESS_KEYS: [&str; 6] = [
    "token_url",
    "scope",
    "client_id",
    "key_id",
    "key_credential",
    "expected_servers",
];

fn apple_business(section: &Section<'_, '_>, files: &Files) -> Option<(Url, Service)> {
    let url = unmistaken(
        section,
        "url",
        url_or(section, "url", BUSINESS_URL),
        not_apple_businesss_api,
    );
    let token_url = unmistaken(
        section,
        "token_url",
        url_or(section, "token_url", BUSINESS_TOKEN_URL),
        not_apples_token_url,
    );
    let scope = match section.has("scope") {
        true => section
            .text("scope", "\"business.api\"")
            .map(|found| found.value.to_owned()),
        false => Some(BUSINESS_SCOPE.to_owned()),
    };
    let client_id = "\"BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152\"";
    let client_id = section.required("client_id", section.text("client_id", client_id), client_id);
    let key_id = "\"d136aa66-0c3b-4bd4-9892-c20e8db024ab\"";
    let key_id = section.required("key_id", section.text("key_id", key_id), key_id);
    let key = files.credential(
        section,
        "key_credential",
        "apple-business-key",
        true,
        |key| readiness::check_credential(SourceKind::AppleBusiness, key),
    );
    let expected_servers = servers(section);
    section.not_for(
        SourceKind::AppleBusiness.code(),
        &[
            "token_credential",
            "tokens",
            "user_agent",
            "expected_profiles",
            "expected_hosts",
        ],
    );
    let service = Service::AppleBusiness {
        token_url: token_url?,
        scope: scope?,
        client_id: client_id?.value.to_owned(),
        key_id: key_id?.value.to_owned(),
        key: key?,
        expected_servers: expected_servers?,
    };
    Some((url?, service))
}

fn servers(section: &Section<'_, '_>) -> Option<Vec<String>> {
    const KEY: &str = "expected_servers";
    const EXAMPLE: &str = "[\"1F97349736CF4614A94F624E705841AD\"]";
    let servers = section.required(KEY, section.texts(KEY), EXAMPLE)?;
    if section.has(KEY) && servers.is_empty() {
        section.wrong::<()>(
            KEY,
            "`expected_servers` is empty: any server would do",
            format!("name your MDM servers' ids: {KEY} = {EXAMPLE}"),
        );
    }
    for server in &servers {
        if server.value.len() != 32 || !server.value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message = format!("{:?} is not the id of an MDM server", server.value);
            section.report().problem(
                &server.at,
                message,
                "use its 32 hex digits; `benchlight doctor` lists the servers of the account",
            );
        }
    }
    // What is reported keeps the config from passing. The doctor needs the rest of the source to list the account's servers.
    Some(owned(servers))
}

fn hosts(section: &Section<'_, '_>, key: &'static str) -> Option<Vec<String>> {
    let hosts = section.texts(key)?;
    let mut good = true;
    for host in &hosts {
        let is_host = host
            .value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !is_host {
            section.report().problem(
                &host.at,
                format!("{:?} is not a host name", host.value),
                "write it without https://, port or path: \"mdm.example\"",
            );
            good = false;
        }
    }
    good.then(|| owned(hosts))
}

fn owned(texts: Vec<Found<&str>>) -> Vec<String> {
    texts
        .into_iter()
        .map(|text| text.value.to_owned())
        .collect()
}

fn header_text(section: &Section<'_, '_>, key: &'static str, default: &str) -> Option<String> {
    if !section.has(key) {
        return Some(default.to_owned());
    }
    let text = section.text(key, &format!("\"{default}\""))?;
    if !text.value.is_ascii() {
        return section.wrong(
            key,
            format!("`{key}` goes into an HTTP header, which is ASCII"),
            format!("write for example: {key} = \"{default}\""),
        );
    }
    Some(text.value.to_owned())
}

fn url_or(section: &Section<'_, '_>, key: &'static str, default: &str) -> Option<Url> {
    if section.has(key) {
        service_url(section, key, default)
    } else {
        Url::parse(default).ok()
    }
}

/// `https://`, or `http://` to this machine.
fn service_url(section: &Section<'_, '_>, key: &'static str, example: &str) -> Option<Url> {
    let url = section.url(key, &["https", "http"], example)?.value;
    if url.scheme() == "http" && !is_loopback(&url) {
        let remedy = format!("use https://{}", loopback::hint(&url));
        return section.wrong(
            key,
            "http:// is not encrypted, and the service is not on this machine",
            remedy,
        );
    }
    Some(url)
}

/// A URL of the service that people mistake for its API's: what it is, and what to write.
type Mistake = fn(&Url) -> Option<(&'static str, String)>;

/// `url`, unless it is the address of something else.
fn unmistaken(
    section: &Section<'_, '_>,
    key: &'static str,
    url: Option<Url>,
    mistake: Mistake,
) -> Option<Url> {
    let url = url?;
    match mistake(&url) {
        Some((what, right)) if section.has(key) => section.wrong(
            key,
            format!("`{key}` is {what}"),
            format!("write the API's: {key} = \"{right}\""),
        ),
        _ => Some(url),
    }
}

const CONSOLE: &str = "the address of a web page for people, not of the API";

/// Kandji: people copy what stands in their browser, or in the documentation of one call.
fn not_kandjis_api(url: &Url) -> Option<(&'static str, String)> {
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
        return Some((CONSOLE, right));
    }
    (!matches!(url.path(), "" | "/")).then_some(("not the API's base: it has a path", right))
}

/// What stands in the browser of who manages Apple devices.
fn is_apples_console(host: &str) -> bool {
    [
        "business.apple.com",
        "school.apple.com",
        "deploy.apple.com",
        "ws.business.apple.com",
        "appleid.apple.com",
    ]
    .contains(&host)
}

fn not_apple_deps_api(url: &Url) -> Option<(&'static str, String)> {
    let host = url.host_str()?.trim_end_matches('.');
    let other = "the API of Apple Business or School Manager, which is another source (kind = \"apple-business\")";
    let what = if is_apples_console(host) {
        CONSOLE
    } else if host.starts_with("api-") && host.ends_with(".apple.com") {
        other
    } else {
        return None;
    };
    Some((what, DEP_URL.to_owned()))
}

fn not_apple_businesss_api(url: &Url) -> Option<(&'static str, String)> {
    let host = url.host_str()?.trim_end_matches('.');
    let right = if host.contains("school") {
        BUSINESS_URL.replace("business", "school")
    } else {
        BUSINESS_URL.to_owned()
    };
    let what = if is_apples_console(host) {
        CONSOLE
    } else if DEP_URL.ends_with(host) {
        "the API of the Device Assignment Services, which is another source (kind = \"apple-dep\")"
    } else if matches!(host, "api-business.apple.com" | "api-school.apple.com")
        && url.path().trim_end_matches('/') != "/v1"
    {
        "not the API's base: that ends in /v1"
    } else {
        return None;
    };
    Some((what, right))
}

fn not_apples_token_url(url: &Url) -> Option<(&'static str, String)> {
    is_apples_console(url.host_str()?.trim_end_matches('.'))
        .then(|| (CONSOLE, BUSINESS_TOKEN_URL.to_owned()))
}
