//! The keys of Fleet and Zentral: MDMs that are asked in Kandji's place.

use super::*;
use crate::readiness::{Service, evidence::SourceKind};

const KANDJI: &str =
    "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"https://acme.api.kandji.io\"\n";
const BUSINESS: &str = "[[source]]\nname = \"business\"\nkind = \"apple-business\"\nclient_id = \"B.1\"\nkey_id = \"k\"\nexpected_servers = [\"1F97349736CF4614A94F624E705841AD\"]\n";

/// The smallest config with that MDM, and these further lines.
fn with(kind: &str, more: &str) -> String {
    let source = format!(
        "[[source]]\nname = \"mdm\"\nkind = \"{kind}\"\nurl = \"https://mdm.example\"\n{more}"
    );
    let text = SMALLEST.replace(KANDJI, &source);
    assert_ne!(text, SMALLEST);
    text
}

#[test]
fn each_has_keys_of_its_own() {
    let text = with("fleet", "expected_profiles = [\"762C4D36\", 12]\n");
    match &good(&text).sources[0].service {
        Service::Fleet(settings) => {
            assert_eq!(settings.expected.profiles, ["762C4D36", "12"]);
            assert_eq!(settings.token.name(), "fleet-token");
        }
        other => panic!("{other:?}"),
    }
    let text = with(
        "zentral",
        "servers = [7, \"8\", +9]\ntoken_credential = \"z\"\n",
    );
    match &good(&text).sources[0].service {
        Service::Zentral(settings) => {
            assert_eq!(settings.policy.servers, ["7", "8", "9"]);
            assert_eq!(settings.token.name(), "z");
        }
        other => panic!("{other:?}"),
    }
    for (kind, key, of) in [
        ("fleet", "servers = [7]", "`servers`"),
        ("fleet", "tokens = []", "`tokens`"),
        ("zentral", "expected_profiles = []", "`expected_profiles`"),
    ] {
        assert_eq!(
            problems(&with(kind, &format!("{key}\n"))),
            [format!("13: {of} means nothing to kind {kind:?}")]
        );
    }
}

#[test]
fn neither_has_a_replica_and_a_station_asks_one_mdm() {
    for kind in ["fleet", "zentral"] {
        for mode in ["first", "fallback"] {
            assert_eq!(
                problems(&with(kind, &format!("replica = \"{mode}\"\n"))),
                [format!(
                    "13: a source of kind {kind:?} has no list of all its devices that could be copied"
                )]
            );
        }
        good(&with(kind, "replica = \"off\"\n"));
        good(&with(kind, BUSINESS));
        assert_eq!(
            problems(&with(kind, KANDJI)),
            [format!(
                "15: there is already an MDM, {kind:?}: a station asks one"
            )]
        );
        assert_eq!(
            problems(&with(kind, "quota_share = 0.5\n")),
            [format!(
                "13: `quota_share` is a share of no limit: {kind} tells none"
            )]
        );
    }
}

/// Fleet passes on Apple's own word; Zentral has a copy of it.
#[test]
fn fleet_alone_can_prove_what_min_grade_apple_asks_for() {
    let strict = "[verdict]\nmin_grade = \"apple\"\n";
    good(&with("fleet", strict));
    let found = problems(&with("zentral", strict));
    assert!(
        found.len() == 1 && found[0].contains("needs Apple's own word"),
        "{found:?}"
    );
    assert_eq!(
        [SourceKind::Fleet, SourceKind::Zentral]
            .map(SourceKind::mdm)
            .map(|mdm| mdm.unwrap().console),
        ["Fleet", "Zentral"]
    );
}

#[test]
fn the_address_of_a_page_or_of_a_call_is_told_from_the_servers() {
    for (kind, url, right) in [
        (
            "fleet",
            "https://mdm.example/dashboard",
            "https://mdm.example",
        ),
        (
            "fleet",
            "https://mdm.example/hosts/manage/",
            "https://mdm.example",
        ),
        (
            "fleet",
            "https://mdm.example/fleet/api/v1/fleet",
            "https://mdm.example/fleet",
        ),
        (
            "zentral",
            "https://mdm.example/mdm/dep/devices/",
            "https://mdm.example",
        ),
        (
            "zentral",
            "https://mdm.example/api/mdm/dep/devices/",
            "https://mdm.example",
        ),
    ] {
        let text = with(kind, "").replace("https://mdm.example", url);
        assert_eq!(problems(&text).len(), 1, "{url}");
        let shown = check(&text).unwrap_err().to_string();
        let remedy = format!("url = \"{right}\"");
        assert!(shown.contains(&remedy), "{url}: {shown}");
    }
    for url in [
        "https://mdm.example/",
        "https://mdm.example/fleet",
        "http://127.0.0.1:8080",
    ] {
        for kind in ["fleet", "zentral"] {
            good(&with(kind, "").replace("https://mdm.example", url));
        }
    }
    let plain = with("fleet", "").replace("https://mdm", "http://mdm");
    assert_eq!(
        problems(&plain),
        ["12: http:// is not encrypted, and the service is not on this machine"]
    );
}
