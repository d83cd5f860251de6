//! Credentials and certificates are looked at before anything runs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// A folder of files, and a config that looks for its credentials there.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        bench.write("kandji-token", "hunter2\n", 0o600);
        bench
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    /// The smallest config with `more` at the end of `[mqtt]`.
    fn check(&self, more: &str) -> Result<Config, Problems> {
        let place = format!("[station]\ncredentials_dir = \"{}\"", self.folder.path().display());
        let text = format!("{}{more}", SMALLEST.replace("[station]", &place));
        parse(&text, "bench.toml", &Options { check_files: true, pi_serial: None })
    }

    fn refusal(&self, more: &str) -> String {
        let problems = self.check(more).unwrap_err();
        assert_eq!(problems.list().len(), 1, "{problems}");
        let shown = problems.to_string().replace(&self.folder.path().display().to_string(), "DIR");
        assert!(!shown.contains("hunter2"), "{shown}");
        shown
    }
}

fn certificate(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_good_credential_is_found_and_read_when_needed() {
    let bench = Bench::new();
    let config = bench.check("").unwrap();
    let readiness::Service::Kandji { token, .. } = &config.sources[0].service else { panic!("not Kandji") };
    assert_eq!(token.read().unwrap().reveal(), "hunter2");
}

#[test]
fn a_missing_credential_is_told_where_it_belongs() {
    let bench = Bench::new();
    fs::remove_file(bench.folder.path().join("kandji-token")).unwrap();
    let shown = bench.refusal("");
    assert!(shown.starts_with("bench.toml:10:1: credential \"kandji-token\" is missing\n"), "{shown}");
    assert!(shown.contains("DIR/kandji-token (mode 0600)"), "{shown}");
    assert!(shown.contains("BENCHLIGHT_CREDENTIAL_KANDJI_TOKEN"), "{shown}");
}

#[test]
fn an_empty_exposed_or_unreadable_credential_is_refused() {
    let bench = Bench::new();
    bench.write("kandji-token", "\n", 0o600);
    assert!(bench.refusal("").contains("credential \"kandji-token\" is empty"));
    bench.write("kandji-token", "hunter2", 0o640);
    assert!(bench.refusal("").contains("run: chmod 0600 DIR/kandji-token"));
    bench.write("kandji-token", "hunter2", 0o604);
    assert!(bench.refusal("").contains("can be read by others"));
    fs::remove_file(bench.folder.path().join("kandji-token")).unwrap();
    fs::create_dir(bench.folder.path().join("kandji-token")).unwrap();
    fs::set_permissions(bench.folder.path().join("kandji-token"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(bench.refusal("").contains("credential file DIR/kandji-token cannot be read"));
}

#[test]
fn a_pipe_or_a_device_in_a_files_place_is_refused_at_once_with_a_remedy() {
    let bench = Bench::new();
    let token = bench.folder.path().join("kandji-token");
    for make in ["mkfifo -m 600 \"$0\"", "ln -s /dev/zero \"$0\""] {
        fs::remove_file(&token).unwrap();
        assert!(Command::new("sh").args(["-c", make]).arg(&token).status().unwrap().success());
        let shown = bench.refusal("");
        assert!(shown.contains("credential file DIR/kandji-token cannot be read: it is not a file, but a pipe, a device or a folder"), "{shown}");
        assert!(shown.contains("make it a text file that belongs to the user who runs benchlight, mode 0600"), "{shown}");
    }
    let pipe = bench.folder.path().join("pipe.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let problems = load(&pipe).unwrap_err().to_string();
    assert!(problems.contains("it is not a file, but a pipe") && problems.contains("name the file with --config"), "{problems}");
}

#[test]
fn a_credential_name_cannot_leave_its_folder() {
    let bench = Bench::new();
    for name in ["../kandji-token", "/etc/passwd", ".kandji-token"] {
        let shown = bench.refusal(&format!("username = \"u\"\npassword_credential = \"{name}\""));
        assert!(shown.contains("is not a credential name"), "{shown}");
    }
}

#[test]
fn a_trust_anchor_has_to_be_a_certificate() {
    let bench = Bench::new();
    let (pem, key) = certificate("ca.example");
    let good = bench.write("ca.pem", &pem, 0o644);
    assert_eq!(bench.check(&format!("ca_file = \"{good}\"")).unwrap().mqtt.ca_file.unwrap(), Path::new(&good));
    for (name, content, expected) in [
        ("empty.pem", String::new(), "holds no certificate in PEM"),
        ("key.pem", key, "holds no certificate in PEM"),
        ("text.pem", "hello".to_owned(), "holds no certificate in PEM"),
        ("cut.pem", pem[..pem.len() / 2].to_owned(), "holds no certificate in PEM"),
        ("other.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n".to_owned(), "cannot be a trust anchor"),
    ] {
        let path = bench.write(name, &content, 0o644);
        let shown = bench.refusal(&format!("ca_file = \"{path}\""));
        assert!(shown.starts_with("bench.toml:16:11: ") && shown.contains(expected), "{name}: {shown}");
    }
    let shown = bench.refusal("ca_file = \"/nowhere/ca.pem\"");
    assert!(shown.contains("/nowhere/ca.pem cannot be read: No such file"), "{shown}");
    // A device never ends: it must not be read.
    let endless = bench.folder.path().join("endless.pem");
    symlink("/dev/zero", &endless).unwrap();
    assert!(bench.refusal(&format!("ca_file = \"{}\"", endless.display())).contains("it is not a file"));
}

#[test]
fn a_client_certificate_needs_its_own_key() {
    let bench = Bench::new();
    let ((pem, key), (_, stranger)) = (certificate("bench-1"), certificate("bench-2"));
    let path = bench.write("client.pem", &pem, 0o644);
    let settings = format!("client_cert_file = \"{path}\"\nclient_key_credential = \"mqtt-key\"");
    assert!(bench.refusal(&settings).contains("credential \"mqtt-key\" is missing"));
    bench.write("mqtt-key", "hunter2", 0o600);
    assert!(bench.refusal(&settings).contains("no private key in PEM"));
    bench.write("mqtt-key", &stranger, 0o600);
    assert!(bench.refusal(&settings).contains("the key in credential \"mqtt-key\" does not belong to DIR/client.pem"));
    bench.write("mqtt-key", &key, 0o600);
    let (file, credential) = bench.check(&settings).unwrap().mqtt.client_certificate.unwrap();
    assert_eq!((file.as_path(), credential.name()), (Path::new(&path), "mqtt-key"));
}

#[test]
fn the_demo_is_an_ordinary_config() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    for name in ["apple-dep-token", "apple-business-key"] {
        bench.write(name, "a secret of the demo", 0o600);
    }
    let places =
        demo::Places { kandji_port: 4711, apple_port: 4713, business_port: 4714, broker_port: 4712, state_dir: folder, credentials_dir: folder };
    assert!(!demo::text(&places).replace("two \"@\"", "").contains('@'), "a place was left open");
    let config = demo::config(&places).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!((config.mqtt.url.as_str(), config.sources[0].url.as_str()), ("mqtt://127.0.0.1:4712", "http://127.0.0.1:4711/"));
    assert!(config.exit_at_eof);
    assert_eq!(config.policy.settle, std::time::Duration::from_secs(2));
    assert_eq!(config.scanners[0].kind, scanners::Kind::Stdin);
    assert!(matches!(config.lanes[0].indicator, lamps::Settings::Terminal { .. }));
}
