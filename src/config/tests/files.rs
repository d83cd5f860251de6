//! Credentials and certificates are looked at before anything runs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};
use tempfile::TempDir;

use super::*;

/// A folder of files, and a config that looks for its credentials there.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        bench.write("kandji-token", "hunter2\n", 0o600);
        bench
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    /// The smallest config with `more` at the end of `[mqtt]`, or with that MDM in the place of its own.
    fn check(&self, more: &str) -> Result<Config, Problems> {
        let text = match more {
            NANODEP | MICROMDM => asking(&[more]),
            _ => format!("{SMALLEST}{more}"),
        };
        let place = format!(
            "[station]\ncredentials_dir = \"{}\"",
            self.folder.path().display()
        );
        parse(
            &text.replace("[station]", &place),
            "bench.toml",
            &Options {
                check_files: true,
                pi_serial: None,
            },
        )
    }

    fn refusal(&self, more: &str) -> String {
        let problems = self.check(more).unwrap_err();
        assert_eq!(problems.list().len(), 1, "{problems}");
        let shown = problems
            .to_string()
            .replace(&self.folder.path().display().to_string(), "DIR");
        assert!(!shown.contains("hunter2"), "{shown}");
        shown
    }
}

/// What is in every secret of these tests, so that no diagnostic can repeat one unseen.
const APPLE_TOKEN: &str = r#"{"consumer_key":"CK_hunter2","consumer_secret":"CS_hunter2","access_token":"AT_hunter2","access_secret":"AS_hunter2","access_token_expiry":"2099-01-09T22:01:10Z"}"#;

const DEP: &str = "\n[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\n";
const BUSINESS: &str = "\n[[source]]\nname = \"business\"\nkind = \"apple-business\"\nclient_id = \"c\"\nkey_id = \"k\"\nexpected_servers = [\"1F97349736CF4614A94F624E705841AD\"]\n";
const PASSWORD: &str = "username = \"u\"\npassword_credential = \"mqtt-password\"\n";

fn certificate(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (
        CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem(),
        key.serialize_pem(),
    )
}

#[test]
fn a_good_credential_is_found_and_read_when_needed() {
    let bench = Bench::new();
    let config = bench.check("").unwrap();
    let token = config.sources[0].service.credential();
    assert_eq!(token.read().unwrap().reveal(), "hunter2");
}

#[test]
fn a_missing_credential_is_told_where_it_belongs() {
    let bench = Bench::new();
    fs::remove_file(bench.folder.path().join("kandji-token")).unwrap();
    let shown = bench.refusal("");
    assert!(
        shown.starts_with("bench.toml:10:1: credential \"kandji-token\" is missing\n"),
        "{shown}"
    );
    assert!(shown.contains("DIR/kandji-token (mode 0600)"), "{shown}");
    assert!(
        shown.contains("BENCHLIGHT_CREDENTIAL_KANDJI_TOKEN"),
        "{shown}"
    );
}

#[test]
fn an_empty_exposed_or_unreadable_credential_is_refused() {
    let bench = Bench::new();
    bench.write("kandji-token", "\n", 0o600);
    assert!(
        bench
            .refusal("")
            .contains("credential \"kandji-token\" is empty")
    );
    bench.write("kandji-token", "hunter2", 0o640);
    assert!(
        bench
            .refusal("")
            .contains("run: chmod 0600 DIR/kandji-token")
    );
    bench.write("kandji-token", "hunter2", 0o604);
    assert!(bench.refusal("").contains("can be read by others"));
    fs::remove_file(bench.folder.path().join("kandji-token")).unwrap();
    fs::create_dir(bench.folder.path().join("kandji-token")).unwrap();
    fs::set_permissions(
        bench.folder.path().join("kandji-token"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    assert!(
        bench
            .refusal("")
            .contains("credential file DIR/kandji-token cannot be read")
    );
}

#[test]
fn a_pipe_or_a_device_in_a_files_place_is_refused_at_once_with_a_remedy() {
    let bench = Bench::new();
    let token = bench.folder.path().join("kandji-token");
    for make in ["mkfifo -m 600 \"$0\"", "ln -s /dev/zero \"$0\""] {
        fs::remove_file(&token).unwrap();
        assert!(
            Command::new("sh")
                .args(["-c", make])
                .arg(&token)
                .status()
                .unwrap()
                .success()
        );
        let shown = bench.refusal("");
        assert!(shown.contains("credential file DIR/kandji-token cannot be read: it is not a file, but a pipe, a device or a folder"), "{shown}");
        assert!(
            shown.contains(
                "make it a text file that belongs to the user who runs benchlight, mode 0600"
            ),
            "{shown}"
        );
    }
    let pipe = bench.folder.path().join("pipe.toml");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let problems = load(&pipe).unwrap_err().to_string();
    assert!(
        problems.contains("it is not a file, but a pipe")
            && problems.contains("name the file with --config"),
        "{problems}"
    );
}

#[test]
fn a_credential_name_cannot_leave_its_folder() {
    let bench = Bench::new();
    for name in ["../kandji-token", "/etc/passwd", ".kandji-token"] {
        let shown = bench.refusal(&format!(
            "username = \"u\"\npassword_credential = \"{name}\""
        ));
        assert!(shown.contains("is not a credential name"), "{shown}");
    }
}

#[test]
fn a_trust_anchor_has_to_be_a_certificate() {
    let bench = Bench::new();
    let (pem, key) = certificate("ca.example");
    let good = bench.write("ca.pem", &pem, 0o644);
    assert_eq!(
        bench
            .check(&format!("ca_file = \"{good}\""))
            .unwrap()
            .mqtt
            .ca_file
            .unwrap(),
        Path::new(&good)
    );
    for (name, content, expected) in [
        ("empty.pem", String::new(), "holds no certificate in PEM"),
        ("key.pem", key, "holds no certificate in PEM"),
        (
            "text.pem",
            "hello".to_owned(),
            "holds no certificate in PEM",
        ),
        (
            "cut.pem",
            pem[..pem.len() / 2].to_owned(),
            "holds no certificate in PEM",
        ),
        (
            "other.pem",
            "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n".to_owned(),
            "cannot be a trust anchor",
        ),
    ] {
        let path = bench.write(name, &content, 0o644);
        let shown = bench.refusal(&format!("ca_file = \"{path}\""));
        assert!(
            shown.starts_with("bench.toml:16:11: ") && shown.contains(expected),
            "{name}: {shown}"
        );
    }
    let shown = bench.refusal("ca_file = \"/nowhere/ca.pem\"");
    assert!(
        shown.contains("/nowhere/ca.pem cannot be read: No such file"),
        "{shown}"
    );
    // A device never ends: it must not be read.
    let endless = bench.folder.path().join("endless.pem");
    symlink("/dev/zero", &endless).unwrap();
    assert!(
        bench
            .refusal(&format!("ca_file = \"{}\"", endless.display()))
            .contains("it is not a file")
    );
}

#[test]
fn a_client_certificate_needs_its_own_key() {
    let bench = Bench::new();
    let ((pem, key), (_, stranger)) = (certificate("bench-1"), certificate("bench-2"));
    let path = bench.write("client.pem", &pem, 0o644);
    let settings = format!("client_cert_file = \"{path}\"\nclient_key_credential = \"mqtt-key\"");
    assert!(
        bench
            .refusal(&settings)
            .contains("credential \"mqtt-key\" is missing")
    );
    bench.write("mqtt-key", "hunter2", 0o600);
    assert!(bench.refusal(&settings).contains("no private key in PEM"));
    bench.write("mqtt-key", &stranger, 0o600);
    assert!(
        bench
            .refusal(&settings)
            .contains("credential \"mqtt-key\" holds a key that does not belong to DIR/client.pem")
    );
    bench.write("mqtt-key", &key, 0o600);
    let (file, credential) = bench
        .check(&settings)
        .unwrap()
        .mqtt
        .client_certificate
        .unwrap();
    assert_eq!(
        (file.as_path(), credential.name()),
        (Path::new(&path), "mqtt-key")
    );
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_is_an_ordinary_config() {
    use crate::readiness::evidence::SourceKind;

    let bench = Bench::new();
    let folder = bench.folder.path();
    bench.write("apple-dep-token", APPLE_TOKEN, 0o600);
    bench.write("apple-business-key", &certificate("x").1, 0o600);
    let places = demo::Places {
        mdm: None,
        source_ports: &[
            (SourceKind::Kandji, 4711),
            (SourceKind::AppleDep, 4713),
            (SourceKind::AppleBusiness, 4714),
        ],
        broker_port: 4712,
        page_port: 4713,
        state_dir: folder,
        credentials_dir: folder,
    };
    assert!(
        !demo::text(&places).replace("two \"@\"", "").contains('@'),
        "a place was left open"
    );
    let config = demo::config(&places).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(
        (config.mqtt.url.as_str(), config.sources[0].url.as_str()),
        ("mqtt://127.0.0.1:4712", "http://127.0.0.1:4711/")
    );
    assert!(config.exit_at_eof);
    assert_eq!(config.policy.settle, Duration::from_secs(2));
    assert_eq!(config.scanners[0].kind, scanners::ScannerKind::Stdin);
    assert!(matches!(
        config.lanes[0].indicator,
        lamps::Settings::Terminal { .. }
    ));
}

#[test]
fn the_form_of_every_credential_is_looked_at() {
    let bench = Bench::new();
    let other_curve = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)
        .unwrap()
        .serialize_pem();
    let without_expiry = APPLE_TOKEN.replace("access_token_expiry", "expiry");
    let (_, key) = certificate("x");
    for (name, more, good, bad) in [
        (
            "kandji-token",
            "",
            "hunter2\n",
            vec![
                ("hunter2 again", "is not one line without spaces"),
                ("hunter2\nagain", "is not one line without spaces"),
                ("Bearer hunter2", "begins with the word Bearer"),
                ("\u{200b}hunter2", "visible ASCII"),
                (APPLE_TOKEN, ""),
            ],
        ),
        (
            "apple-dep-token",
            DEP,
            APPLE_TOKEN,
            vec![
                ("hunter2", "not a JSON object"),
                ("[\"hunter2\"]", "not a JSON object"),
                (&without_expiry, "no access_token_expiry"),
                ("{\"consumer_key\":\"hunter2\"}", "no consumer_secret"),
            ],
        ),
        (
            "apple-business-key",
            BUSINESS,
            &key,
            vec![
                ("hunter2", "no private key in PEM"),
                (&other_curve, "no P-256 key"),
                (
                    "-----BEGIN PRIVATE KEY-----\nhunter2\n",
                    "no private key in PEM",
                ),
            ],
        ),
        (
            "nanodep-key",
            NANODEP,
            "hunter 2",
            vec![
                ("hunter2\nhunter2", "is not one line of text"),
                ("hunter2\u{7}", "is not one line of text"),
            ],
        ),
        (
            "micromdm-key",
            MICROMDM,
            "hunter 2",
            vec![("hunter2\nhunter2", "is not one line of text")],
        ),
        (
            "mqtt-password",
            PASSWORD,
            "hunter 2",
            vec![
                ("hunter2\nhunter2", "is not one line of text"),
                ("hunter2\u{7}", "is not one line of text"),
            ],
        ),
    ] {
        for mark in ["", "\u{feff}"] {
            bench.write(name, &format!("{mark}{good}"), 0o600);
            bench
                .check(more)
                .unwrap_or_else(|problems| panic!("{name}: {problems}"));
        }
        for (content, words) in bad.into_iter().filter(|(_, words)| !words.is_empty()) {
            bench.write(name, content, 0o600);
            let shown = bench.refusal(more);
            assert!(
                shown.contains(&format!("credential {name:?}")) && shown.contains(words),
                "{name}: {shown}"
            );
        }
        let wide: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::write(
            bench.folder.path().join(name),
            [b"\xff\xfe".as_slice(), &wide].concat(),
        )
        .unwrap();
        let shown = bench.refusal(more);
        assert!(
            shown.contains("UTF-16") && shown.contains("= save it as UTF-8"),
            "{name}: {shown}"
        );
        bench.write(name, good, 0o600);
    }
}

#[test]
fn a_folder_in_which_others_can_exchange_a_credential_is_refused() {
    let bench = Bench::new();
    let set = |mode: u32| {
        fs::set_permissions(bench.folder.path(), fs::Permissions::from_mode(mode)).unwrap()
    };
    for (mode, what) in [
        (0o777, "everybody"),
        (0o1777, "everybody"),
        (0o702, "everybody"),
        (0o770, "group"),
        (0o775, "group"),
    ] {
        set(mode);
        let shown = bench.refusal("");
        assert!(
            shown.contains(&format!(
                "can be written by {}",
                if what == "group" { "its group" } else { what }
            )),
            "{mode:o}: {shown}"
        );
        assert!(shown.contains("chmod go-w"), "{shown}");
    }
    for mode in [0o700, 0o755, 0o500, 0o550] {
        set(mode);
        bench
            .check("")
            .unwrap_or_else(|problems| panic!("{mode:o}: {problems}"));
    }
    set(0o700);
}

#[test]
fn a_state_dir_that_everybody_may_write_is_refused_and_one_of_a_group_is_named() {
    let bench = Bench::new();
    let state = bench.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let check = |mode: u32| {
        fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
        let place = format!(
            "[station]\ncredentials_dir = \"{}\"\nstate_dir = \"{}\"",
            bench.folder.path().display(),
            state.display()
        );
        parse(
            &SMALLEST.replace("[station]", &place),
            "bench.toml",
            &Options {
                check_files: true,
                pi_serial: None,
            },
        )
    };
    assert_eq!(check(0o700).unwrap().warnings, Vec::<String>::new());
    assert_eq!(check(0o755).unwrap().warnings, Vec::<String>::new());
    let warnings = check(0o770).unwrap().warnings;
    assert!(
        warnings.len() == 1 && warnings[0].contains("can be written by its group"),
        "{warnings:?}"
    );
    let problems = check(0o777).unwrap_err().to_string();
    assert!(
        problems.starts_with("bench.toml:3:13: ") && problems.contains("run: chmod 0700"),
        "{problems}"
    );
}

#[test]
fn a_config_is_read_with_a_byte_order_mark_and_refused_as_utf_16_or_where_everybody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.toml");
    let load = || load_readable(&path, false);
    fs::write(&path, format!("\u{feff}{SMALLEST}")).unwrap();
    assert!(load().unwrap().problems.is_none());
    fs::write(
        &path,
        SMALLEST
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    let problems = load().unwrap_err().to_string();
    assert!(
        problems.contains("UTF-16") && problems.contains("save it as UTF-8"),
        "{problems}"
    );
    fs::write(&path, SMALLEST).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(
        load()
            .unwrap_err()
            .to_string()
            .contains("can be written by everybody")
    );
}

#[test]
fn a_secret_in_the_place_of_a_credentials_name_is_told_where_it_belongs_and_not_repeated() {
    let bench = Bench::new();
    let source = |value: &str| format!("{DEP}token_credential = {value}\n");
    for value in [
        "\"d8f7a6c9-hunter2-4bcd-9e0f-1a2b3c4d5e6f\"",
        "\"eyJhbGciOiJFUzI1NiJ9.hunter2\"",
        "\"hunter2/+==\"",
        "\"hunter2 and more\"",
        "\"Xhunter2X\"",
    ] {
        let shown = bench.refusal(&source(value));
        assert!(
            shown.contains("this looks like the secret itself")
                && shown.contains("DIR/apple-dep-token (mode 0600)"),
            "{value}: {shown}"
        );
        assert!(shown.contains("token_credential = …"), "{value}: {shown}");
    }
    let shown = bench.refusal(&source(
        "\"\"\"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\"\"\"",
    ));
    assert!(
        shown.contains("this looks like the secret itself"),
        "{shown}"
    );
    // Too short to be sure of, and not repeated all the same.
    let shown = bench.refusal(&source("\"hunter2\""));
    assert!(
        shown.contains("a credential is missing (its name is not shown"),
        "{shown}"
    );
    // A file of such a name is a name.
    bench.write("hunter2-in-its-file-1a2b3c4d", APPLE_TOKEN, 0o600);
    bench
        .check(&source("\"hunter2-in-its-file-1a2b3c4d\""))
        .unwrap();
}
