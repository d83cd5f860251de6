//! The keys of Jamf Pro, which can only be listed.

use std::time::Duration;

use super::*;
use crate::readiness::{Service, replica::Mode};

const KANDJI: &str =
    "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"https://acme.api.kandji.io\"\n";

/// The smallest config with Jamf Pro, and these further lines.
fn with(more: &str) -> String {
    let source = format!(
        "[[source]]\nname = \"mdm\"\nkind = \"jamf\"\nurl = \"https://acme.jamfcloud.com\"\nclient_id = \"c\"\n{more}"
    );
    let text = SMALLEST.replace(KANDJI, &source);
    assert_ne!(text, SMALLEST);
    text
}

#[test]
fn it_has_keys_of_its_own_and_its_copy_always_answers() {
    let text = with(
        "instances = [1, \"2\"]\nexpected_prestages = [\"computer:1\", \"mobile:3\"]\nrefresh = \"5m\"\nmax_replica_age = \"20m\"\n",
    );
    let config = good(&text);
    let source = &config.sources[0];
    let Service::Jamf(settings) = &source.service else {
        panic!("{source:?}");
    };
    assert_eq!(settings.client_id, "c");
    assert_eq!(settings.secret.name(), "jamf-secret");
    assert_eq!(settings.policy.instances, ["1", "2"]);
    let expected: Vec<String> = settings
        .policy
        .expected_prestages
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(expected, ["computer:1", "mobile:3"]);
    assert_eq!(source.replica.mode, Mode::Only);
    assert_eq!(source.replica.refresh, Duration::from_mins(5));
    assert_eq!(source.replica.max_replica_age, Duration::from_mins(20));
    assert_eq!(
        config.policy.sources[0].refresh,
        Some(Duration::from_mins(5))
    );
    let config = good(&with(""));
    assert_eq!(config.sources[0].replica.refresh, Duration::from_mins(10));
}

#[test]
fn a_mode_of_the_replica_is_no_key_of_it() {
    for mode in ["\"first\"", "\"fallback\"", "\"off\"", "7"] {
        assert_eq!(
            problems(&with(&format!("replica = {mode}\n"))),
            [
                "14: `replica` is no key of this kind: the service can only be listed, so its copy always answers"
            ]
        );
    }
    let least = problems(&with("refresh = \"20m\"\nmax_replica_age = \"30m\"\n"));
    assert!(least[0].contains("less than twice `refresh`"), "{least:?}");
}

#[test]
fn what_is_missing_or_means_something_else_is_said() {
    let whole = with("");
    for (text, says) in [
        (
            whole.replace("client_id = \"c\"\n", ""),
            "10: `client_id` is missing in [[source]] \"mdm\"",
        ),
        (
            whole.replace(
                "https://acme.jamfcloud.com",
                "https://acme.jamfcloud.com/api",
            ),
            "12: `url` is the address of one call, not of the server",
        ),
        (
            whole.replace("https://acme.jamfcloud.com", "http://acme.jamfcloud.com"),
            "12: http:// is not encrypted, and the service is not on this machine",
        ),
        (
            with("expected_prestages = [\"1\"]\n"),
            "14: \"1\" is no PreStage enrollment: computers and mobile devices are numbered apart",
        ),
        (
            with("tokens = []\n"),
            "14: `tokens` means nothing to kind \"jamf\"",
        ),
        (
            with(KANDJI),
            "16: there is already an MDM, \"jamf\": a station asks one",
        ),
    ] {
        let problems = problems(&text);
        assert!(
            problems.len() == 1
                && problems[0].split(':').skip(1).collect::<String>()
                    == says.split(':').skip(1).collect::<String>(),
            "{problems:?}, not {says:?}"
        );
    }
}
