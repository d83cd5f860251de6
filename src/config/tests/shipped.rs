//! `config/benchlight.toml` names every key, and each with the default that really applies.

use std::collections::BTreeMap;

use super::*;
use crate::readiness::{
    Settings,
    evidence::{Grade, SourceKind},
    replica::Mode,
};

const SHIPPED: &str = include_str!("../../../config/benchlight.toml");

/// Every key with its default; `-`: it has none (it is required, or absent means something of its own).
const DEFAULTS: &str = r#"
station      site -
station      name -
station      state_dir "/var/lib/benchlight"
station      credentials_dir "/etc/benchlight/credentials"
station      exit_at_eof false
scanner hid      name -
scanner hid      kind "hid"
scanner hid      device "auto"
scanner hid      lane "main"
scanner hid      layout "us"
scanner hid      pause "80ms"
scanner serial   name -
scanner serial   kind -
scanner serial   device "auto"
scanner serial   lane "main"
scanner serial   baud 9600
scanner serial   pause "80ms"
scanner tcp      name -
scanner tcp      kind -
scanner tcp      lane "main"
scanner tcp      listen "127.0.0.1:9000"
scanner tcp      pause "500ms"
scanner stdin    name -
scanner stdin    kind -
scanner stdin    lane "main"
scanner web      name -
scanner web      kind -
scanner web      lane "main"
lane         name -
lane         allow_returned false
lane         indicator -
indicator    kind "gpio"
indicator    driver "auto"
indicator    chip "auto"
indicator    green -
indicator    red -
indicator    amber -
indicator    buzzer -
indicator    active_low false
indicator    external_pull false
indicator    ready_hold "3s"
source kandji    name -
source kandji    kind -
source kandji    url -
source kandji    token_credential "kandji-token"
source kandji    tokens []
source kandji    ca_file -
source kandji    reads_per_minute 0
source kandji    replica "off"
source kandji    refresh "10m"
source kandji    max_replica_age "30m"
source kandji    quota_share 1.0
source jamf    name -
source jamf    kind -
source jamf    url -
source jamf    client_id -
source jamf    secret_credential "jamf-secret"
source jamf    instances []
source jamf    expected_prestages []
source jamf    ca_file -
source jamf    reads_per_minute 0
source jamf    refresh "10m"
source jamf    max_replica_age "30m"
source jamf    quota_share 1.0
source fleet    name -
source fleet    kind -
source fleet    url -
source fleet    token_credential "fleet-token"
source fleet    expected_profiles []
source fleet    ca_file -
source fleet    reads_per_minute 0
source fleet    quota_share 1.0
source zentral    name -
source zentral    kind -
source zentral    url -
source zentral    token_credential "zentral-token"
source zentral    servers []
source zentral    ca_file -
source zentral    reads_per_minute 0
source zentral    quota_share 1.0
source intune    name -
source intune    kind -
source intune    url "https://graph.microsoft.com/beta"
source intune    tenant -
source intune    client_id -
source intune    token_url "https://login.microsoftonline.com/8f1c7d2e-3b4a-4c5d-9e6f-0a1b2c3d4e5f/oauth2/v2.0/token"
source intune    secret_credential "intune-secret"
source intune    tokens []
source intune    expected_profiles []
source intune    ca_file -
source intune    reads_per_minute 0
source intune    quota_share 1.0
source apple-dep    name -
source apple-dep    kind -
source apple-dep    url "https://mdmenrollment.apple.com"
source apple-dep    token_credential "apple-dep-token"
source apple-dep    user_agent -
source apple-dep    expected_profiles []
source apple-dep    expected_hosts []
source apple-dep    ca_file -
source apple-dep    reads_per_minute 0
source apple-dep    replica "off"
source apple-dep    refresh "10m"
source apple-dep    max_replica_age "30m"
source apple-dep    quota_share 1.0
source nanodep      name -
source nanodep      kind -
source nanodep      url -
source nanodep      dep_name -
source nanodep      key_credential "nanodep-key"
source nanodep      expected_profiles []
source nanodep      expected_hosts []
source nanodep      ca_file -
source nanodep      reads_per_minute 0
source nanodep      replica "off"
source nanodep      refresh "10m"
source nanodep      max_replica_age "30m"
source nanodep      quota_share 1.0
source micromdm     name -
source micromdm     kind -
source micromdm     url -
source micromdm     key_credential "micromdm-key"
source micromdm     expected_profiles []
source micromdm     ca_file -
source micromdm     reads_per_minute 0
source micromdm     quota_share 1.0
source apple-business    name -
source apple-business    kind -
source apple-business    url "https://api-business.apple.com/v1"
source apple-business    token_url "https://account.apple.com/auth/oauth2/token"
source apple-business    scope "business.api"
source apple-business    client_id -
source apple-business    key_id -
source apple-business    key_credential "apple-business-key"
source apple-business    expected_servers -
source apple-business    ca_file -
source apple-business    reads_per_minute 0
source apple-business    replica "off"
source apple-business    refresh "10m"
source apple-business    max_replica_age "30m"
source apple-business    quota_share 1.0
verdict      require -
verdict      min_grade "relayed"
verdict      deadline "2s"
verdict      max_fetch_age "24h"
verdict      expected_blueprints []
verdict      allow_returned false
verdict      settle "60s"
verdict      recheck "10s"
verdict      recheck_for "24h"
mqtt         url -
mqtt         allow_plaintext false
mqtt         username -
mqtt         password_credential -
mqtt         ca_file -
mqtt         client_cert_file -
mqtt         client_key_credential -
mqtt         topic_prefix "benchlight"
mqtt         keep_alive "30s"
mqtt         replay_per_second 200
mqtt         no_subscriber "keep"
mqtt         publish_raw false
mqtt         commands false
home_assistant discovery_prefix "homeassistant"
web          listen "127.0.0.1:8480"
web          password_credential -
web          metrics_password_credential -
web          hosts []
web          display true
web          metrics true
journal      keep "90d"
journal      keep_raw "7d"
journal      max_bytes "1GiB"
"#;

/// One section of the shipped file: its header and its settings, whether they are switched on or not.
#[derive(Debug)]
struct Block {
    header: String,
    settings: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    key: String,
    value: String,
    /// Written with "#": the value is what applies anyway.
    is_default: bool,
}

impl Block {
    /// `station`, or `scanner hid`.
    fn name(&self) -> String {
        let section = self.header.trim_matches(['[', ']']);
        let kind = self
            .settings
            .iter()
            .find(|setting| setting.key == "kind")
            .map(|setting| setting.value.trim_matches('"'));
        match kind {
            Some(kind) if self.header.starts_with("[[") => format!("{section} {kind}"),
            _ => section.to_owned(),
        }
    }

    /// The block with what has no default, and with `changed` instead of its own line.
    fn text(&self, changed: Option<(&str, &str)>) -> String {
        let mut lines = vec![self.header.clone()];
        for setting in &self.settings {
            match changed {
                Some((key, value)) if key == setting.key => lines.push(format!("{key} = {value}")),
                _ if setting.is_default => {}
                _ => lines.push(format!("{} = {}", setting.key, setting.value)),
            }
        }
        lines.join("\n")
    }
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in SHIPPED.lines() {
        let bare = line.trim_start_matches('#');
        let looks_like_key = bare.split(" = ").next().is_some_and(|key| {
            !key.is_empty()
                && key
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        });
        if bare.starts_with('[') {
            blocks.push(Block {
                header: bare.to_owned(),
                settings: Vec::new(),
            });
        } else if looks_like_key && bare.contains(" = ") {
            let (key, rest) = bare.split_once(" = ").unwrap();
            let (value, example) = match rest.split_once("# (example)") {
                Some((value, _)) => (value.trim(), true),
                None => (rest, false),
            };
            let is_default = line.starts_with('#') && !example;
            blocks.last_mut().unwrap().settings.push(Setting {
                key: key.to_owned(),
                value: value.to_owned(),
                is_default,
            });
        } else {
            assert!(
                line.is_empty() || line == "#" || line.starts_with("# "),
                "neither a setting nor a comment: {line}"
            );
        }
    }
    blocks
}

/// A whole config around one block.
fn around(block: &Block, changed: Option<(&str, &str)>) -> String {
    let section = block.header.trim_matches(['[', ']']);
    let mut text = format!("{}\n", block.text(changed));
    for (other, lines) in [
        ("station", "[station]\nsite = \"a\"\nname = \"b\"\n"),
        ("scanner", "[[scanner]]\nname = \"s\"\nkind = \"stdin\"\n"),
        ("indicator", "[indicator]\nkind = \"terminal\"\n"),
        ("mqtt", "[mqtt]\nurl = \"mqtts://b.example\"\n"),
    ] {
        if other != section {
            text.push_str(lines);
        }
    }
    if block.name() == "scanner web" {
        text.push_str("[web]\n");
    }
    let kind = block.name();
    let kind = kind.strip_prefix("source ").and_then(SourceKind::from_code);
    // A station asks one MDM.
    if !kind.is_some_and(SourceKind::is_mdm) {
        text.push_str(
            "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"https://k.example\"\n",
        );
    }
    if kind == Some(SourceKind::Intune) {
        text.push_str("[verdict]\nmin_grade = \"intent\"\n");
    }
    text
}

#[test]
fn the_file_passes_as_shipped() {
    assert_eq!(good(SHIPPED).warnings, Vec::<String>::new());
}

#[test]
fn the_examples_pass_and_do_what_their_comments_say() {
    let files = [
        include_str!("../../../config/examples/one-bench.toml"),
        include_str!("../../../config/examples/two-lanes.toml"),
        include_str!("../../../config/examples/mutual-tls.toml"),
        include_str!("../../../config/examples/replica.toml"),
        include_str!("../../../config/examples/nanodep.toml"),
        include_str!("../../../config/examples/intune.toml"),
    ];
    let configs = files.map(good);
    assert!(
        configs.iter().all(|config| config.warnings.is_empty()),
        "{configs:?}"
    );
    assert_eq!(
        configs
            .iter()
            .map(|config| config.lanes.len())
            .collect::<Vec<_>>(),
        [1, 2, 1, 1, 1, 1]
    );
    assert_eq!(
        configs[3]
            .sources
            .iter()
            .map(|source| source.replica.mode)
            .collect::<Vec<_>>(),
        [Mode::Fallback, Mode::First]
    );
    assert!(
        configs[1]
            .policy
            .sources
            .iter()
            .all(|source| source.required)
    );
    assert!(
        configs[1].lanes[1].policy.allow_returned && !configs[1].lanes[0].policy.allow_returned
    );
    let nanodep = &configs[4].sources[0];
    assert_eq!(
        (nanodep.kind(), nanodep.replica.mode),
        (SourceKind::NanoDep, Mode::Fallback)
    );
    assert!(configs[2].mqtt.client_certificate.is_some());
    assert_eq!(configs[5].policy.min_grade, Grade::Intent);
    assert_eq!(
        configs[5]
            .sources
            .iter()
            .map(Settings::kind)
            .collect::<Vec<_>>(),
        [SourceKind::Intune, SourceKind::AppleBusiness]
    );
    assert_eq!(
        configs[2]
            .policy
            .sources
            .iter()
            .map(|source| source.required)
            .collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn the_examples_of_other_mdms_pass_and_have_apple_business_beside_them() {
    for (text, kind, grade) in [
        (
            include_str!("../../../config/examples/jamf.toml"),
            SourceKind::Jamf,
            Grade::Relayed,
        ),
        (
            include_str!("../../../config/examples/fleet.toml"),
            SourceKind::Fleet,
            Grade::Apple,
        ),
        (
            include_str!("../../../config/examples/micromdm.toml"),
            SourceKind::MicroMdm,
            Grade::Apple,
        ),
        (
            include_str!("../../../config/examples/zentral.toml"),
            SourceKind::Zentral,
            Grade::Relayed,
        ),
    ] {
        let config = good(text);
        assert_eq!(config.warnings, Vec::<String>::new());
        let kinds: Vec<SourceKind> = config.sources.iter().map(|one| one.kind()).collect();
        assert_eq!(kinds, [kind, SourceKind::AppleBusiness]);
        assert_eq!(config.policy.min_grade, grade);
    }
}

#[test]
fn every_key_is_in_the_file_with_its_documented_default() {
    let documented: BTreeMap<String, &str> = DEFAULTS
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (default, path) = words.split_last().unwrap();
            (path.join(" "), *default)
        })
        .collect();
    let mut shipped = BTreeMap::new();
    for block in &blocks() {
        for setting in &block.settings {
            // The first scanner's kind is the default one and switched off like any default.
            let default = if setting.is_default {
                setting.value.clone()
            } else {
                "-".to_owned()
            };
            shipped.insert(format!("{} {}", block.name(), setting.key), default);
        }
    }
    for (path, default) in &documented {
        assert_eq!(
            shipped.get(path).map(String::as_str),
            Some(*default),
            "{path}"
        );
    }
    assert_eq!(
        shipped.len(),
        documented.len(),
        "a key that is not documented"
    );
}

#[test]
fn each_default_is_what_applies_without_it() {
    let settled = |text: &str| {
        let config = Config {
            warnings: Vec::new(),
            ..good(text)
        };
        format!("{config:?}")
    };
    let mut proven = 0;
    for block in &blocks() {
        let without = settled(&around(block, None));
        for setting in block.settings.iter().filter(|setting| setting.is_default) {
            let with = settled(&around(block, Some((&setting.key, &setting.value))));
            assert_eq!(with, without, "{} {}", block.name(), setting.key);
            proven += 1;
        }
    }
    assert_eq!(
        proven,
        DEFAULTS
            .lines()
            .filter(|line| !line.is_empty() && !line.ends_with(" -"))
            .count()
    );
}

#[test]
fn each_key_counts_and_a_value_of_another_type_is_refused() {
    for block in &blocks() {
        for setting in &block.settings {
            let wrong_values: &[&str] = match setting.value.as_bytes()[0] {
                b'"' => &["1", "true", "[]", "{}", "1.5", "1979-05-27", "\"\""],
                b'[' | b'{' => &["1", "true", "\"text\"", "1.5", "1979-05-27"],
                b't' | b'f' => &["1", "\"true\"", "[]", "{}", "1.5", "1979-05-27"],
                _ => &[
                    "true",
                    "\"17\"",
                    "[]",
                    "{}",
                    "1.5",
                    "1979-05-27",
                    "-1",
                    "99999999999999999999",
                ],
            };
            for value in wrong_values {
                let text = around(block, Some((&setting.key, value)));
                let text = if text.contains(&format!("{} = {value}", setting.key)) {
                    text
                } else {
                    panic!("{text}")
                };
                let line = text
                    .lines()
                    .position(|line| line == format!("{} = {value}", setting.key))
                    .unwrap()
                    + 1;
                let found = problems(&text);
                assert!(
                    found
                        .iter()
                        .any(|problem| problem.starts_with(&format!("{line}: "))),
                    "{} {} = {value}: {found:?}\n{text}",
                    block.name(),
                    setting.key
                );
            }
        }
    }
}

#[test]
fn the_user_agent_names_the_version() {
    let text = format!("{SMALLEST}[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\n");
    let readiness::Service::AppleDep(settings) = &good(&text).sources[1].service else {
        panic!("not apple-dep")
    };
    assert_eq!(
        settings.user_agent,
        format!("benchlight/{}", env!("CARGO_PKG_VERSION"))
    );
}
