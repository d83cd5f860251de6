//! A source of kind `intune`: its keys, and what its plan is enough for.

use url::Url;

use super::*;
use crate::{
    readiness::{self, Service},
    runtime::credential::CredentialFault,
};

const TENANT: &str = "8f1c7d2e-3b4a-4c5d-9e6f-0a1b2c3d4e5f";
const DEP: &str = "[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\n";
const BUSINESS: &str = "[[source]]\nname = \"business\"\nkind = \"apple-business\"\nclient_id = \"B.1\"\nkey_id = \"k\"\nexpected_servers = [\"1F97349736CF4614A94F624E705841AD\"]\n";
const INTENT: &str = "[verdict]\nmin_grade = \"intent\"\n";

/// The smallest config with Intune in Kandji's place, and with more lines for that source.
fn with_intune(keys: &str, more: &str) -> String {
    let kandji = "name = \"kandji\"\nkind = \"kandji\"\nurl = \"https://acme.api.kandji.io\"\n";
    let intune = format!(
        "name = \"intune\"\nkind = \"intune\"\ntenant = \"{TENANT}\"\nclient_id = \"c\"\n{keys}"
    );
    assert!(SMALLEST.contains(kandji));
    format!("{}{more}", SMALLEST.replace(kandji, &intune))
}

fn settings(text: &str) -> (Url, readiness::intune::Settings) {
    let source = good(text).sources.remove(0);
    let Service::Intune(settings) = source.service else {
        panic!("not intune")
    };
    (source.url, settings)
}

#[test]
fn a_plan_is_enough_only_where_the_config_says_so_or_apple_is_required_too() {
    const TOO_WEAK: &str = "the required MDM tells only what it means to do, and not whether Apple has the profile: no lamp would ever be green";
    let said = |more: &str| problems(&with_intune("", more));
    assert_eq!(said(""), [format!("15: {TOO_WEAK}")]);
    assert_eq!(
        said("[verdict]\nmin_grade = \"relayed\"\n"),
        [format!("17: {TOO_WEAK}")]
    );
    assert_eq!(
        said("[verdict]\nmin_grade = \"apple\"\n"),
        [format!("17: {TOO_WEAK}")]
    );
    assert_eq!(said(INTENT), [""; 0]);
    // apple-business proves nothing.
    assert_eq!(said(BUSINESS).len(), 1);
    assert_eq!(said(&format!("{BUSINESS}{INTENT}")), [""; 0]);
    // Beside a required apple-dep nothing has to be said, and the plan may not be enough.
    for min_grade in [
        "",
        "[verdict]\nmin_grade = \"relayed\"\n",
        "[verdict]\nmin_grade = \"apple\"\n",
    ] {
        assert_eq!(said(&format!("{DEP}{min_grade}")), [""; 0]);
    }
    let optional = |min_grade| format!("{DEP}[verdict]\nrequire = [\"intune\"]\n{min_grade}");
    assert_eq!(said(&optional("")).len(), 1);
    assert_eq!(said(&optional("min_grade = \"intent\"\n")), [""; 0]);
    let shown = check(&with_intune("", "")).unwrap_err().to_string();
    assert!(shown.contains("write min_grade = \"intent\""), "{shown}");
    assert!(
        shown.contains("require a source of kind `apple-dep` as well"),
        "{shown}"
    );
}

#[test]
fn its_defaults_are_graph_beta_and_the_tenants_own_sign_in() {
    let (url, settings) = settings(&with_intune("", INTENT));
    assert_eq!(
        (
            url.as_str(),
            settings.token_url.as_str(),
            settings.secret.name()
        ),
        (
            "https://graph.microsoft.com/beta",
            "https://login.microsoftonline.com/8f1c7d2e-3b4a-4c5d-9e6f-0a1b2c3d4e5f/oauth2/v2.0/token",
            "intune-secret"
        )
    );
    assert!(settings.policy.tokens.is_empty() && settings.policy.expected_profiles.is_empty());
    assert_eq!(settings.policy.max_fetch_age, Duration::from_hours(24));
    let keys = "url = \"https://graph.microsoft.us/beta/\"\ntoken_url = \"https://login.microsoftonline.us/t/oauth2/v2.0/token\"\nsecret_credential = \"other\"\ntokens = [\"a\", 7]\nexpected_profiles = [\"p_1\"]\n";
    let (url, settings) = self::settings(&with_intune(
        keys,
        "[verdict]\nmin_grade = \"intent\"\nmax_fetch_age = \"13h\"\n",
    ));
    assert_eq!(url.host_str(), Some("graph.microsoft.us"));
    assert_eq!(
        settings.token_url.host_str(),
        Some("login.microsoftonline.us")
    );
    assert_eq!(settings.secret.name(), "other");
    assert_eq!(settings.policy.tokens, ["a", "7"]);
    assert_eq!(settings.policy.expected_profiles, ["p_1"]);
    assert_eq!(settings.policy.max_fetch_age, Duration::from_hours(13));
    // A tenant's name is no part of a path of its own.
    let odd = with_intune("", INTENT).replace(TENANT, "acme.example/../x?y");
    let (_, settings) = self::settings(&odd);
    assert_eq!(
        settings.token_url.as_str(),
        "https://login.microsoftonline.com/acme.example%2F..%2Fx%3Fy/oauth2/v2.0/token"
    );
}

#[test]
fn what_is_not_the_api_is_named_with_the_right_address() {
    for (key, wrong, message) in [
        (
            "url",
            "https://intune.microsoft.com",
            "`url` is the address of a web page for people, not of the API",
        ),
        (
            "url",
            "https://graph.microsoft.com/v1.0",
            "`url` is not the API's base: what is asked is in the version /beta alone",
        ),
        (
            "url",
            "https://graph.microsoft.com",
            "`url` is not the API's base: what is asked is in the version /beta alone",
        ),
        (
            "url",
            "https://login.microsoftonline.com",
            "`url` is the address of the sign-in, not of the API",
        ),
        (
            "url",
            "http://graph.example/beta",
            "http:// is not encrypted, and the service is not on this machine",
        ),
        (
            "token_url",
            "https://login.microsoftonline.com/t",
            "`token_url` is not the whole address: it ends in /oauth2/v2.0/token, with your tenant before it",
        ),
        (
            "token_url",
            "https://graph.microsoft.com/beta",
            "`token_url` is the address of the API, not of the sign-in",
        ),
    ] {
        let text = with_intune(&format!("{key} = \"{wrong}\"\n"), INTENT);
        assert_eq!(problems(&text), [format!("14: {message}")], "{wrong}");
    }
    for right in [
        "https://graph.microsoft.com/beta/",
        "https://dod-graph.microsoft.us/beta",
        "https://proxy.example/graph",
    ] {
        let text = with_intune(&format!("url = \"{right}\"\n"), INTENT);
        assert_eq!(problems(&text), [""; 0], "{right}");
    }
}

#[test]
fn its_keys_are_its_own_and_it_has_no_replica() {
    for (keys, problem) in [
        (
            "token_credential = \"x\"\n",
            "14: `token_credential` means nothing to kind \"intune\"",
        ),
        (
            "expected_hosts = []\n",
            "14: `expected_hosts` means nothing to kind \"intune\"",
        ),
        (
            "replica = \"fallback\"\n",
            "14: a source of kind \"intune\" has no list of all its devices that could be copied",
        ),
        (
            "replica = \"first\"\n",
            "14: a source of kind \"intune\" has no list of all its devices that could be copied",
        ),
        (
            "quota_share = 0.5\n",
            "14: `quota_share` is a share of no limit: intune tells none",
        ),
        (
            "tokens = [1.5]\n",
            "14: `tokens` is a list of texts, found a number with a fraction in it",
        ),
    ] {
        let found = problems(&with_intune(keys, INTENT));
        assert_eq!(found, [problem], "{keys}");
    }
    assert_eq!(
        problems(&with_intune("replica = \"off\"\n", INTENT)),
        [""; 0]
    );
    for (key, line) in [("tenant", 12), ("client_id", 13)] {
        let text = with_intune("", INTENT);
        let without: Vec<&str> = text.lines().filter(|one| !one.starts_with(key)).collect();
        let found = problems(&without.join("\n"));
        assert_eq!(
            found,
            [format!("9: `{key}` is missing in [[source]] \"intune\"")],
            "{line}"
        );
    }
    let both = format!(
        "[[source]]\nname = \"k\"\nkind = \"kandji\"\nurl = \"https://k.example\"\n{INTENT}"
    );
    assert_eq!(
        problems(&with_intune("", &both)),
        ["18: there is already an MDM, \"intune\": a station asks one"]
    );
}

#[test]
fn the_id_of_a_secret_is_not_its_value() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let station = format!("[station]\ncredentials_dir = {:?}\n", folder.path());
    let text = with_intune("", INTENT).replace("[station]\n", &station);
    let service = good(&text).sources.remove(0).service;
    let checked = |text: &str| {
        let path = folder.path().join("intune-secret");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        service.check_credential()
    };
    for right in ["Abc8Q~simulated.client-secret_value0", "short\n"] {
        assert!(checked(right).is_ok(), "{right}");
    }
    for wrong in [
        "2d4f6a8c-1e3b-4d5f-8a7c-9b0d1e2f3a4b",
        "2D4F6A8C-1E3B-4D5F-8A7C-9B0D1E2F3A4B\n",
        "two words",
        "Bearer abc",
    ] {
        let fault = checked(wrong);
        assert!(
            matches!(fault, Err(CredentialFault::Malformed { .. })),
            "{wrong}"
        );
    }
}
