//! `docs/install.md`, "The broker": its commands, in order and word for word, up to the first message.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{mosquitto::OF_DEBIAN, system};

/// Replaces a command that a test cannot run.
const STAND_INS: [(&str, &str); 4] = [
    ("sudo", r#"exec "$@""#),
    // What the package would install is on this machine already.
    (
        "apt",
        r#"[ "$1 $2" = "install -y" ] && shift 2 && for name; do case "$name" in mosquitto|mosquitto-clients|openssl) ;; *) exit 1 ;; esac; done"#,
    ),
    (
        "scp",
        r#"for word; do shift; set -- "$@" "${word/#broker.example:/$HOME/}"; done; exec cp "$@""#,
    ),
    (
        "systemctl",
        r#"case "$*" in
daemon-reload) ;;
"restart mosquitto")
    # As mosquitto.service has it.
    mkdir -m 740 -p /var/log/mosquitto /run/mosquitto && chown mosquitto /var/log/mosquitto /run/mosquitto
    /usr/sbin/mosquitto -c /etc/mosquitto/mosquitto.conf & echo $! > /run/mosquitto.started
    for try in $(seq 200); do
        kill -0 "$(cat /run/mosquitto.started)" || exit 1
        ! bash -c ': < /dev/tcp/127.0.0.1/8883' 2>/dev/null || exit 0
        sleep 0.05
    done
    exit 1 ;;
"restart benchlight")
    place=/run/credentials/benchlight.service
    mkdir -p -m 0700 $place
    sed -n 's/^LoadCredential=//p' /etc/systemd/system/benchlight.service.d/*.conf | while IFS=: read -r name file; do install -m 0400 "$file" "$place/$name"; done
    CREDENTIALS_DIRECTORY=$place "$BENCHLIGHT" run 2>"$SCRATCH/agent.log" & ;;
*) exit 1 ;;
esac"#,
    ),
];

/// A separate machine: its only network is its own loopback, and nothing written there is kept. The checkout
/// is visible wherever it lies.
const MACHINE: &str = r#"
set -e
ip link set lo up
cp -a /etc "$SCRATCH/etc"
rm -rf "$SCRATCH/etc/mosquitto" "$SCRATCH/etc/benchlight" "$SCRATCH/etc/systemd/system/benchlight.service.d"
mkdir -p "$SCRATCH/etc/mosquitto/conf.d" "$SCRATCH/etc/systemd/system" "$SCRATCH/lib/mosquitto" "$SCRATCH/log" "$SCRATCH/tmp" "$SCRATCH/home"
install -d -m 0700 "$SCRATCH/etc/benchlight" "$SCRATCH/etc/benchlight/credentials"
chmod 0755 "$SCRATCH/etc/benchlight"
cp "$SCRATCH/mosquitto.conf" "$SCRATCH/etc/mosquitto/"
chown mosquitto "$SCRATCH/lib/mosquitto"
for bound in etc:/etc lib:/var/lib log:/var/log tmp:/tmp; do
    from="$SCRATCH/${bound%:*}" to="${bound#*:}"
    case "$REPOSITORY" in "$to"/*)
        mkdir -p "$from${REPOSITORY#"$to"}"
        mount --bind "$REPOSITORY" "$from${REPOSITORY#"$to"}" ;;
    esac
    mount --rbind "$from" "$to"
done
mount -t tmpfs tmpfs /run
echo "127.0.0.1 broker.example" >> /etc/hosts
"#;

/// The page's blocks of commands with their type: "sh", "sh broker" and so on.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    page.split("\n```")
        .skip(1)
        .step_by(2)
        .map(|fence| fence.split_once('\n').unwrap())
        .collect()
}

/// Runs the chapter on a separate machine. Returns its output, and whether all commands succeeded. `Err`: why that is not possible here.
fn run(scratch: &Path) -> Result<(String, bool), String> {
    system(
        "unshare",
        &["--mount", "--net", "--pid", "--fork", "ip", "link"],
    )
    .map_err(|why| format!("needs namespaces of its own: {why}"))?;
    let repository = env!("CARGO_MANIFEST_DIR");
    let page = fs::read_to_string(Path::new(repository).join("docs/install.md")).unwrap();
    let chapter = page
        .split("\n## ")
        .find(|part| part.starts_with("The broker\n"))
        .unwrap();
    fs::create_dir(scratch.join("bin")).unwrap();
    for (name, text) in STAND_INS {
        let file = scratch.join("bin").join(name);
        fs::write(&file, format!("#!/bin/bash\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(scratch.join("mosquitto.conf"), OF_DEBIAN).unwrap();
    let mut script = MACHINE.to_owned();
    let mut add = |number: usize, text: &str| {
        let file = scratch.join(format!("block-{number}"));
        fs::write(&file, text).unwrap();
        // What a person pastes. The blocks of the scanner and the token also ask for input.
        let pasted = if text.contains("mqtt-password") && text.contains("/dev/stdin") {
            "sed -n 's/^bench-1://p' \"$HOME/benchlight-broker/passwords.txt\""
        } else {
            "echo made-for-this-test"
        };
        let at = if text.contains("config/mosquitto") {
            repository
        } else {
            "$HOME"
        };
        writeln!(
            script,
            "echo \"== $(head -n 3 {0})\"; cd \"{at}\"; {pasted} | bash -e {0}",
            file.display()
        )
        .unwrap();
    };
    // First a station as the earlier chapters set it up, then this chapter.
    let before = blocks(&page);
    let set_up = [
        "tee /etc/benchlight/benchlight.toml",
        "/dev/stdin /etc/benchlight/credentials/kandji-token",
        "LoadCredential=kandji-token",
    ];
    let station = set_up.map(|what| {
        before
            .iter()
            .find(|(kind, text)| *kind == "sh" && text.contains(what))
            .unwrap()
            .1
    });
    let chapter = blocks(chapter);
    assert!(
        chapter
            .iter()
            .all(|(kind, _)| matches!(*kind, "sh broker" | "sh your-computer")),
        "{chapter:?}"
    );
    for (number, text) in station
        .into_iter()
        .chain(chapter.into_iter().map(|(_, text)| text))
        .enumerate()
    {
        add(number, text);
    }
    script.push_str("echo OWNERS; stat -c '%U:%G %a %n' /etc/mosquitto/benchlight /etc/mosquitto/benchlight/*; ps -o user= -p \"$(cat /run/mosquitto.started)\"\n");
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--net",
            "--pid",
            "--mount-proc",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            &script,
        ])
        .env("REPOSITORY", repository)
        .env("SCRATCH", scratch)
        .env("HOME", scratch.join("home"))
        .env("BENCHLIGHT", env!("CARGO_BIN_EXE_benchlight"))
        .env(
            "PATH",
            format!(
                "{}:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
                scratch.join("bin").display()
            ),
        )
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let log = |name: &str| fs::read_to_string(scratch.join(name)).unwrap_or_default();
    let printed = [
        &String::from_utf8_lossy(&output.stdout),
        &*String::from_utf8_lossy(&output.stderr),
    ]
    .concat();
    let logs = format!("{}{}", log("log/mosquitto/mosquitto.log"), log("agent.log"));
    println!("{printed}\n{logs}");
    Ok((printed, output.status.success()))
}

#[test]
fn the_brokers_chapter_leads_from_an_authority_to_the_first_message_word_for_word() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (printed, well) = match run(scratch.path()) {
        Ok(ran) => ran,
        Err(why) => return println!("SKIPPED: {why}"),
    };
    assert!(well, "a command failed, see above");
    assert!(
        printed.contains("server.pem: OK"),
        "the certificate is good for its name"
    );
    assert!(
        printed.contains("\nbenchlight/v1/ams1/bench-1/availability online\n"),
        "the first message"
    );
    let owners = printed.split_once("OWNERS\n").unwrap().1;
    assert!(
        owners.contains("mosquitto:mosquitto 700 /etc/mosquitto/benchlight\n")
            && owners.contains("mosquitto:mosquitto 600 /etc/mosquitto/benchlight/server.key\n"),
        "{owners}"
    );
    assert!(
        owners.contains("\nmosquitto\n"),
        "mosquitto runs as its own user: {owners}"
    );
    let passwords =
        fs::read_to_string(scratch.path().join("home/benchlight-broker/passwords.txt")).unwrap();
    assert!(
        passwords.lines().count() == 4
            && passwords
                .lines()
                .all(|line| !printed.contains(line.split_once(':').unwrap().1)),
        "no password is shown"
    );
}
