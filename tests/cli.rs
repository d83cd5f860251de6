//! The commands through the real binary: what they print, and their exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use benchlight::{
    config,
    readiness::{Source, evidence::SourceKind, replica::store::Store},
    runtime::{clock::ClockWatch, pulse::Pulse},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How a command ended.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

fn benchlight(arguments: &[&str], environment: &[(&str, &Path)]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_benchlight"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("RUST_LOG");
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A credentials folder as systemd makes it for the unit, and the files that the examples expect in /etc/benchlight.
fn folder_of_credentials() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["bench-3".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem();
    for name in [
        "kandji-token",
        "fleet-token",
        "zentral-token",
        "intune-secret",
        "jamf-secret",
        "nanodep-key",
        "micromdm-key",
    ] {
        write_private(&folder.path().join(name), "made-for-this-test\n");
    }
    write_private(&folder.path().join("mqtt-password"), "made for this test\n");
    let token = r#"{"consumer_key":"CK","consumer_secret":"CS","access_token":"AT","access_secret":"AS","access_token_expiry":"2999-01-01T00:00:00Z"}"#;
    write_private(&folder.path().join("apple-dep-token"), token);
    for name in ["apple-business-key", "mqtt-key"] {
        write_private(&folder.path().join(name), &key.serialize_pem());
    }
    fs::write(folder.path().join("ca.pem"), &certificate).unwrap();
    fs::write(folder.path().join("client.pem"), &certificate).unwrap();
    folder
}

#[test]
fn check_passes_every_shipped_config_once_its_credentials_are_there() {
    let credentials = folder_of_credentials();
    let place = credentials.path().display().to_string();
    let copies = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for folder in ["config", "config/examples"] {
        for entry in fs::read_dir(repository(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("\"/etc/benchlight/", &format!("\"{place}/"));
            let text = text
                .replace("@KANDJI_PORT@", "4711")
                .replace("@BROKER_PORT@", "4712")
                .replace("@PAGE_PORT@", "4715")
                .replace("@APPLE_DEP_PORT@", "4713")
                .replace("@APPLE_BUSINESS_PORT@", "4714")
                .replace("@STATE_DIR@", &place)
                .replace("@CREDENTIALS_DIR@", &place);
            let copy = copies.path().join(path.file_name().unwrap());
            fs::write(&copy, text).unwrap();
            let outcome = benchlight(
                &["check", "--config", &copy.display().to_string()],
                &[("CREDENTIALS_DIRECTORY", credentials.path())],
            );
            assert_eq!(
                (outcome.code, outcome.err.as_str()),
                (0, ""),
                "{}",
                path.display()
            );
            assert!(outcome.out.contains(": good: station "), "{}", outcome.out);
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} configs found");
}

#[test]
fn check_refuses_the_shipped_config_without_its_credential() {
    let empty = tempfile::tempdir().unwrap();
    let config = repository("config/benchlight.toml").display().to_string();
    let outcome = benchlight(
        &["check", "--config", &config],
        &[("CREDENTIALS_DIRECTORY", empty.path())],
    );
    assert_eq!((outcome.code, outcome.out.as_str()), (78, ""));
    assert!(
        outcome
            .err
            .contains("credential \"kandji-token\" is missing"),
        "{}",
        outcome.err
    );
    // Without a file.
    let secret = Path::new("made-for-this-test");
    let outcome = benchlight(
        &["check", "--config", &config],
        &[("BENCHLIGHT_CREDENTIAL_KANDJI_TOKEN", secret)],
    );
    assert_eq!(outcome.code, 0, "{}", outcome.err);
}

#[test]
fn every_command_that_needs_the_config_ends_with_78_when_it_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bench.toml");
    fs::write(&config, "[station]\nsite = 1\n").unwrap();
    let config = config.display().to_string();
    for arguments in [
        &["check"][..],
        &["run"],
        &["lookup", "C02XK0AAJG5H"],
        &["doctor"],
        &["lamps", "test"],
        &["lamps", "off"],
        &["replica", "status"],
        &["replica", "clear"],
    ] {
        let outcome = benchlight(&[arguments, &["--config", &config]].concat(), &[]);
        assert_eq!(outcome.code, 78, "{arguments:?}: {}", outcome.err);
        assert!(
            outcome.err.contains(&format!(
                "{config}:2:8: `site` is a text, found a whole number\n2 | site = 1\n"
            )),
            "{}",
            outcome.err
        );
    }
}

#[test]
fn a_usage_error_is_64_and_leaves_standard_output_alone() {
    for arguments in [
        &[][..],
        &["bogus"],
        &["check", "--bogus"],
        &["journal"],
        &["journal", "export", "--since", "yesterday"],
        &["replica"],
        &["replica", "clear", "kandji", "apple"],
        &["lookup"],
        &["simulate", "mosyle"],
        &["simulate", "kandji", "--fault", "gremlins"],
        &["simulate", "kandji", "--boxes", "1000001"],
    ] {
        let outcome = benchlight(arguments, &[]);
        assert_eq!(
            (outcome.code, outcome.out.as_str()),
            (64, ""),
            "{arguments:?}"
        );
        assert!(!outcome.err.is_empty());
    }
}

#[test]
fn help_and_version_are_results() {
    for arguments in [&["--help"][..], &["help"], &["journal", "export", "--help"]] {
        let outcome = benchlight(arguments, &[]);
        assert_eq!(
            (outcome.code, outcome.err.as_str()),
            (0, ""),
            "{arguments:?}"
        );
        assert!(outcome.out.contains("Usage: benchlight"), "{}", outcome.out);
    }
    let outcome = benchlight(&["--version"], &[]);
    assert_eq!(outcome.code, 0);
    assert!(
        outcome
            .out
            .starts_with(&format!("benchlight {} (build ", env!("CARGO_PKG_VERSION"))),
        "{}",
        outcome.out
    );
}

#[test]
fn packagers_get_completions_and_a_manual() {
    for shell in ["bash", "zsh", "fish"] {
        let outcome = benchlight(&["completions", shell], &[]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
        assert!(
            outcome.out.contains("import-apple-token") && outcome.out.contains("explain"),
            "{shell}"
        );
    }
}

#[test]
fn the_manual_is_one_page_with_every_command_and_names_no_page_that_does_not_exist() {
    let manual = benchlight(&["man"], &[]).out;
    assert_eq!(manual.matches(".TH ").count(), 1);
    for part in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "COMMANDS",
        "OPTIONS",
        "LAMPS",
        "\"EXIT STATUS\"",
        "FILES",
        "\"SEE ALSO\"",
    ] {
        assert!(
            manual.contains(&format!("\n.SH {part}\n")),
            "{part}: {manual}"
        );
    }
    let plain = manual
        .replace("\\-", "-")
        .replace("\\fB", "")
        .replace("\\fR", "");
    for command in [
        "run",
        "lookup SERIAL",
        "check",
        "doctor",
        "journal export",
        "journal why SERIAL",
        "lamps test",
        "replica status",
        "replica clear [SOURCE]",
        "explain [WORD]",
        "simulate KIND",
    ] {
        assert!(
            plain.contains(&format!("\nbenchlight {command}\n")),
            "{command}: {plain}"
        );
    }
    for word in [
        "--since T",
        "/etc/benchlight/benchlight.toml",
        "\nunable\n",
        "\n78\n",
    ] {
        assert!(plain.contains(word), "{word}");
    }
    let is_section = |rest: &str| {
        rest.starts_with(|digit: char| digit.is_ascii_digit()) && rest[1..].starts_with(')')
    };
    let named: Vec<&str> = plain
        .split('(')
        .zip(plain.split('(').skip(1))
        .filter(|(_, rest)| is_section(rest))
        .filter_map(|(before, _)| before.rsplit([' ', '\n']).next())
        .collect();
    assert_eq!(
        named,
        ["systemctl", "journalctl", "systemd.exec"],
        "these are in Debian's package systemd"
    );
}

#[test]
fn the_help_of_every_command_fits_the_smallest_terminal() {
    let commands = [
        "",
        "run",
        "demo",
        "lookup",
        "check",
        "doctor",
        "journal",
        "journal export",
        "journal why",
        "lamps",
        "lamps test",
        "replica",
        "replica status",
        "replica clear",
        "credential",
        "credential import-apple-token",
        "simulate",
        "simulate kandji",
        "simulate apple-business",
        "explain",
        "completions",
        "man",
    ];
    for command in commands {
        for help in ["-h", "--help"] {
            let words: Vec<&str> = command.split_whitespace().chain([help]).collect();
            let outcome = benchlight(&words, &[]);
            assert_eq!(outcome.code, 0, "{command}");
            for line in outcome.out.lines() {
                assert!(line.chars().count() <= 80, "{command} {help}: {line}");
            }
        }
    }
}

#[test]
fn a_word_is_explained_and_an_unknown_one_is_answered_with_its_neighbours() {
    let outcome = benchlight(&["explain", "wrong-server"], &[]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""));
    assert!(
        outcome
            .out
            .starts_with("wrong_server: a reason of the verdict not_ready\n")
            && outcome.out.contains("Do: Assign the device"),
        "{}",
        outcome.out
    );
    assert!(
        benchlight(&["explain", "journal.unsent"], &[])
            .out
            .contains("acknowledgement")
    );
    let lamps = benchlight(&["explain"], &[]);
    assert!(
        lamps.code == 0
            && lamps.out.contains("\nunable   Red, steady")
            && lamps.out.contains("two_readers_one_lane"),
        "{}",
        lamps.out
    );
    let unknown = benchlight(&["explain", "asigned"], &[]);
    assert_eq!((unknown.code, unknown.out.as_str()), (1, ""));
    assert!(
        unknown.err.contains("did you mean assigned"),
        "{}",
        unknown.err
    );
    assert_eq!(benchlight(&["explain", "two", "words"], &[]).code, 64);
}

#[test]
fn both_licences_are_there_in_full_and_go_into_the_package() {
    let read = |path: &str| fs::read_to_string(repository(path)).unwrap();
    let (mit, apache, manifest) = (
        read("LICENSE-MIT"),
        read("LICENSE-APACHE"),
        read("Cargo.toml"),
    );
    assert!(manifest.contains("\nlicense = \"MIT OR Apache-2.0\"\n"));
    assert!(
        mit.starts_with("MIT License\n\nCopyright (c) 2026 ")
            && mit.contains("THE SOFTWARE IS PROVIDED \"AS IS\"")
    );
    assert!(
        apache.contains("Version 2.0, January 2004")
            && apache.contains("END OF TERMS AND CONDITIONS")
            && apache.contains("9. Accepting Warranty")
    );
    assert!(read("systemd/debian/install").contains("\nLICENSE-* usr/share/doc/benchlight\n"));
    // Debian's form, which contains every word of the shorter one.
    let debian = read("systemd/debian/copyright");
    assert!(
        debian.contains("\nLicense: MIT or Apache-2.0\n")
            && debian.contains("/usr/share/common-licenses/Apache-2.0")
    );
    let words = |text: &str| {
        text.split_whitespace()
            .filter(|word| *word != ".")
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert!(words(&debian).contains(&words(mit.split_once("authors\n").unwrap().1)));
}

#[test]
fn lamps_go_dark_whatever_else_is_wrong_with_the_config() {
    // Lamps on a terminal need not be switched off, so only the rest of `off` runs: the only error is the missing broker.
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bench.toml");
    let text = "[station]\nsite = \"a\"\nname = \"b\"\n[[scanner]]\nname = \"s\"\n[indicator]\nkind = \"terminal\"\n[[source]]\nname = \"k\"\nkind = \"kandji\"\nurl = \"https://k.example\"\n[mqtt]\nurl = \"mqtts://b.example\"\n";
    fs::write(&config, text).unwrap();
    let arguments = ["lamps", "off", "--config", config.to_str().unwrap()];
    assert_eq!(
        benchlight(&arguments, &[]).code,
        0,
        "a missing credential is not the lamps' business"
    );
    fs::write(&config, text.replace("url = \"mqtts://b.example\"", "")).unwrap();
    let outcome = benchlight(&arguments, &[]);
    assert_eq!(outcome.code, 78);
    assert!(
        outcome.err.contains("`url` is missing in [mqtt]"),
        "{}",
        outcome.err
    );
}

#[test]
fn lamps_are_not_tested_beside_a_running_agent() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bench.toml");
    let text = format!(
        "[station]\nsite = \"a\"\nname = \"b\"\nstate_dir = \"{}\"\n[[scanner]]\nname = \"s\"\n[indicator]\nkind = \"terminal\"\n[[source]]\nname = \"k\"\nkind = \"kandji\"\nurl = \"https://k.example\"\n[mqtt]\nurl = \"mqtts://b.example\"\n",
        folder.path().display()
    );
    fs::write(&config, &text).unwrap();
    // Lock the folder itself, as the agent does, because a lock file can be deleted.
    let lock = fs::File::open(folder.path()).unwrap();
    lock.lock().unwrap();
    let arguments = ["lamps", "test", "--config", config.to_str().unwrap()];
    let outcome = benchlight(&arguments, &[]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.err.contains("in use by benchlight"),
        "{}",
        outcome.err
    );
    lock.unlock().unwrap();
    let outcome = benchlight(&arguments, &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    // Without lamps there is nothing to test.
    fs::write(
        &config,
        text.replace("kind = \"terminal\"", "kind = \"none\""),
    )
    .unwrap();
    let outcome = benchlight(&arguments, &[]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.err.contains("no lamps are configured"),
        "{}",
        outcome.err
    );
}

#[test]
fn an_apple_token_becomes_a_credential_that_check_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token.json");
    let out = folder.path().join("apple-dep-token");
    let json = "{\"consumer_key\":\"CK_1\",\"consumer_secret\":\"CS_1\",\"access_token\":\"AT_1\",\"access_secret\":\"AS_1\",\"access_token_expiry\":\"2999-01-01T00:00:00Z\"}";
    fs::write(&token, json).unwrap();
    let outcome = benchlight(
        &[
            "credential",
            "import-apple-token",
            "--p7m",
            token.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ],
        &[],
    );
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(
        outcome.out.contains("it expires on 2999-01-01"),
        "{}",
        outcome.out
    );
    assert!(!outcome.out.contains("CS_1"));
    assert_eq!(
        fs::metadata(&out).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::write(&token, "{}").unwrap();
    assert_eq!(
        benchlight(
            &[
                "credential",
                "import-apple-token",
                "--p7m",
                token.to_str().unwrap(),
                "--out",
                out.to_str().unwrap()
            ],
            &[]
        )
        .code,
        1
    );
}

/// A simulator started by its command, and what it printed.
struct Simulated {
    process: Child,
    printed: String,
}

impl Simulated {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_benchlight"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut printed = String::new();
        // The boxes are printed last, so the port is open by then.
        while !printed.contains("# boxes to scan:\n#   ") {
            assert_ne!(
                lines.read_line(&mut printed).unwrap(),
                0,
                "it ended: {printed}"
            );
        }
        Self { process, printed }
    }

    fn url(&self) -> &str {
        self.printed
            .lines()
            .find_map(|line| line.strip_prefix("url = \"http://"))
            .unwrap()
            .split(['"', '/'])
            .next()
            .unwrap()
    }

    /// The status line of the reply.
    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.url()).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.url()
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.lines().next().unwrap_or_default().to_owned()
    }

    fn stop(mut self, signal: Signal) -> i32 {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap().code().unwrap()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_simulator_prints_the_part_of_a_config_that_asks_it() {
    let services = [
        ("kandji", "kandji-token"),
        ("jamf", "jamf-secret"),
        ("intune", "intune-secret"),
        ("fleet", "fleet-token"),
        ("zentral", "zentral-token"),
        ("nanodep", "nanodep-key"),
        ("micromdm", "micromdm-key"),
        ("apple-dep", "apple-dep-token"),
        ("apple-business", "apple-business-key"),
    ];
    for kind in SourceKind::ALL {
        let tried = services.iter().any(|(service, _)| *service == kind.code());
        assert!(tried, "{} is tried", kind.code());
    }
    for (service, credential) in services {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        let simulated = Simulated::start(&["simulate", service, "--credentials", place]);
        assert_eq!(
            fs::metadata(folder.path().join(credential))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        // apple-business alone does not prove that a profile is assigned: it needs another source.
        let other = if service == "apple-business" {
            "[[source]]\nname = \"other\"\nkind = \"kandji\"\nurl = \"https://k.example\"\n"
        } else {
            ""
        };
        // What Intune says is enough only where the config says so.
        let alone = if service == "intune" {
            "[verdict]\nmin_grade = \"intent\"\n"
        } else {
            ""
        };
        write_private(
            &folder.path().join(if other.is_empty() {
                "unused"
            } else {
                "kandji-token"
            }),
            "token",
        );
        let config = folder.path().join("bench.toml");
        let text = format!(
            "[station]\nsite = \"a\"\nname = \"b\"\ncredentials_dir = \"{place}\"\n[[scanner]]\nname = \"s\"\n[indicator]\nkind = \"none\"\n[mqtt]\nurl = \"mqtt://localhost\"\n{other}{}{alone}",
            simulated.printed
        );
        fs::write(&config, text).unwrap();
        let outcome = benchlight(&["check", "--config", config.to_str().unwrap()], &[]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{service}");
        assert_eq!(simulated.stop(Signal::TERM), 0);
    }
}

#[test]
fn a_simulator_has_the_faults_it_is_told() {
    let simulated = Simulated::start(&[
        "simulate",
        "kandji",
        "--fault",
        "/broken=503",
        "--fault",
        "C02XK0AAJG5H=500*1",
    ]);
    assert!(
        simulated
            .printed
            .contains("# its credential \"kandji-token\" (mode 0600):\n#   simulated-token\n"),
        "{}",
        simulated.printed
    );
    assert!(simulated.get("/broken").contains(" 503 "));
    assert!(
        simulated
            .get("/api/v1/devices?serial_number=C02XK0AAJG5H")
            .contains(" 500 ")
    );
    assert!(
        simulated
            .get("/api/v1/devices?serial_number=C02XK0AAJG5H")
            .contains(" 401 "),
        "no token was sent"
    );
    assert_eq!(simulated.stop(Signal::INT), 0);
}

#[test]
fn a_simulator_names_its_lists_and_its_generated_boxes() {
    for (service, list) in [
        (
            "kandji",
            "GET /api/v1/integrations/apple/ade/devices?page=N",
        ),
        ("apple-dep", "POST /server/devices with {\"limit\":1000"),
        (
            "apple-business",
            "GET /v1/mdmServers/ID/relationships/devices?limit=1000",
        ),
    ] {
        let simulated = Simulated::start(&["simulate", service, "--boxes", "1000", "--limits"]);
        let printed = &simulated.printed;
        for line in [
            format!("#   {list}"),
            "# 1000 generated boxes, such as:\n#   JM9DLR5YN1     ".to_owned(),
        ] {
            assert!(printed.contains(&line), "{line}: {printed}");
        }
        assert_eq!(simulated.stop(Signal::TERM), 0);
    }
}

#[test]
fn a_simulator_serves_this_machine_only() {
    let outcome = benchlight(&["simulate", "kandji", "--listen", "0.0.0.0:0"], &[]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.err.contains("not a loopback address"),
        "{}",
        outcome.err
    );
}

/// A config whose one source is a simulated Kandji with a replica, beside its `state_dir`.
struct Replicated {
    folder: TempDir,
    _kandji: Simulated,
}

impl Replicated {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_str().unwrap();
        let kandji = Simulated::start(&[
            "simulate",
            "kandji",
            "--boxes",
            "700",
            "--credentials",
            place,
        ]);
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        let text = format!(
            "[station]\nsite = \"a\"\nname = \"b\"\nstate_dir = \"{}\"\ncredentials_dir = \"{place}\"\n[[scanner]]\nname = \"s\"\nkind = \"stdin\"\n[indicator]\nkind = \"none\"\n[mqtt]\nurl = \"mqtt://localhost:1\"\n{}replica = \"first\"\n",
            state.display(),
            kandji.printed
        );
        fs::write(folder.path().join("bench.toml"), text).unwrap();
        Self {
            folder,
            _kandji: kandji,
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn file(&self) -> PathBuf {
        self.state().join("replica.sqlite")
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let config = self.folder.path().join("bench.toml");
        let more = ["--config", config.to_str().unwrap()];
        benchlight(&[arguments, &more].concat(), &[])
    }

    /// What the doctor says of the replica: state, finding, remedy.
    fn doctor(&self) -> [String; 3] {
        let lines: serde_json::Value =
            serde_json::from_str(&self.run(&["doctor", "--json"]).out).unwrap();
        let line = lines
            .as_array()
            .unwrap()
            .iter()
            .find(|line| line["part"] == "source kandji, replica")
            .unwrap();
        ["state", "finding", "remedy"].map(|key| line[key].as_str().unwrap().to_owned())
    }

    /// One complete pass, as the agent makes it. The file stays open as long as the store is there.
    fn fill(&self) -> Store {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = config::load(&self.folder.path().join("bench.toml")).unwrap();
        let store = Store::open(&self.file());
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let settings = config.sources.first().unwrap().clone();
            let source = Source::with_replica(settings, ClockWatch::Kernel, &store).unwrap();
            let (passed, mut complete) = tokio::sync::mpsc::channel(1);
            let passes = tokio::spawn(source.run_passes(passed, Pulse::default()));
            complete.recv().await.unwrap();
            passes.abort();
            let _ = passes.await;
        });
        store
    }
}

#[test]
fn a_replica_is_shown_by_status_doctor_and_lookup_and_cleared_only_without_an_agent() {
    const READY: &str = "C02XK0AAJG5H";
    let bench = Replicated::new();
    let outcome = bench.run(&["replica", "status"]);
    assert_eq!(
        (outcome.code, outcome.out.as_str()),
        (
            0,
            "kandji  filling  0 rows; no complete pass yet, so no row answers\n"
        )
    );
    assert!(!bench.file().exists(), "looking makes no file");
    let [state, finding, remedy] = bench.doctor();
    assert_eq!(
        (state.as_str(), remedy.as_str()),
        ("warn", "start the agent: it reads the service's whole list"),
        "{finding}"
    );
    let outcome = bench.run(&["lookup", READY]);
    assert!(
        outcome.code == 0
            && outcome
                .out
                .contains("kandji: no row of its replica answers"),
        "{} {}",
        outcome.out,
        outcome.err
    );

    let store = bench.fill();
    // As the agent does.
    let agent = fs::File::open(bench.state()).unwrap();
    agent.lock().unwrap();
    let outcome = bench.run(&["replica", "status"]);
    let said = outcome.out.trim_end();
    assert!(
        outcome.code == 0
            && said.starts_with("kandji  ok  7")
            && said.contains(" rows; last complete pass ")
            && said.contains(" s ago); a pass takes 4 reads, 24 an hour: 0.3 % of the 10000"),
        "{said} {}",
        outcome.err
    );
    let [state, finding, _] = bench.doctor();
    assert_eq!(state, "ok", "{finding}");
    assert!(finding.contains("a pass takes 4 reads"), "{finding}");

    let outcome = bench.run(&["lookup", READY]);
    assert!(
        outcome.code == 0
            && outcome.out.contains(" kandji, row ")
            && outcome.out.contains(" s old")
            && !outcome.out.contains("answers no scan"),
        "{}",
        outcome.out
    );
    let outcome = bench.run(&["lookup", "--json", READY]);
    let json: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
    let [live, row] = [&json[0]["evidence"][0], &json[0]["rows"][0]];
    assert_eq!(live["from"], serde_json::Value::Null, "asked live");
    assert!(row["from"] == "replica" && row["age_s"].is_u64(), "{row}");
    assert_eq!(
        (&row["says"], &live["says"]),
        (&"ready".into(), &"ready".into())
    );
    let outcome = bench.run(&["lookup", "C02ZZZZZZZZZ"]);
    assert!(
        outcome.out.contains("its replica has no row of this box"),
        "{}",
        outcome.out
    );

    let before = fs::read(bench.file()).unwrap();
    for clear in [&["replica", "clear"][..], &["replica", "clear", "kandji"]] {
        let outcome = bench.run(clear);
        assert_eq!(outcome.code, 1);
        assert!(
            outcome.err.contains("in use by benchlight"),
            "{}",
            outcome.err
        );
    }
    assert_eq!(fs::read(bench.file()).unwrap(), before);
    drop(store);
    agent.unlock().unwrap();
    let log = bench.state().join("replica.sqlite-wal");
    while log.exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }

    let outcome = bench.run(&["replica", "clear", "kanji"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome
            .err
            .contains("no source \"kanji\"; there are: kandji"),
        "{}",
        outcome.err
    );
    let outcome = bench.run(&["replica", "clear", "kandji"]);
    assert!(
        outcome.code == 0 && outcome.out.starts_with("kandji: 7"),
        "{} {}",
        outcome.out,
        outcome.err
    );
    let outcome = bench.run(&["replica", "status"]);
    assert!(outcome.out.starts_with("kandji  filling  0 rows"));
    let outcome = bench.run(&["replica", "clear"]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(!bench.file().exists());
    let outcome = bench.run(&["replica", "clear"]);
    assert!(outcome.code == 0 && outcome.out.starts_with("there is no replica"));
}
