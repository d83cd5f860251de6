//! What is measured: the optimised program with a simulated Kandji and a real broker, and a typical record.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use benchlight::{
    journal,
    label::Serial,
    readiness::{
        evidence::{Evidence, Finding, Grade, SourceKind},
        kandji::simulator::{
            self as kandji, Tenant,
            stock::{Device, HQ, Stock},
        },
    },
    reason::Reason,
    record::Record,
    runtime::name::Name,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::support::{
    certificates::Validity,
    mosquitto::{Mosquitto, STATION},
    station::Home,
    tls_terminator::TlsTerminator,
};

pub const TOKEN: &str = "kandji-token-of-the-benchmark";
/// Boxes that are scanned in turn, so that none comes again while that would count as a repeat of its last scan.
const BOXES: u64 = 20;

/// How the station reaches its service and its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Unencrypted, on loopback.
    Plain,
    /// Encrypted, as on a real bench.
    Tls,
}

pub struct Rig {
    pub kandji: Tenant,
    pub mosquitto: Mosquitto,
    pub home: Home,
    /// In front of Kandji, while this is alive.
    _tls: Option<TlsTerminator>,
}

impl Rig {
    /// `more` is added to `[indicator]`.
    pub async fn new(way: Way, more: &str) -> Self {
        Self::with_boxes(way, more, []).await
    }

    /// With further boxes that are ready.
    pub async fn with_boxes(
        way: Way,
        more: &str,
        further: impl IntoIterator<Item = String>,
    ) -> Self {
        let mosquitto = Mosquitto::start();
        let boxes = (0..BOXES)
            .map(serial)
            .chain(further)
            .map(|serial| Device::ready(&serial))
            .collect();
        let kandji = kandji::serve(kandji::Options::new(TOKEN, Stock::of(boxes)))
            .await
            .unwrap();
        let ca_file = format!("ca_file = {:?}\n", mosquitto.path("ca.pem"));
        let (tls, url, broker, ca_file) = match way {
            Way::Plain => (
                None,
                kandji.base(),
                format!("mqtt://127.0.0.1:{}", mosquitto.plain),
                String::new(),
            ),
            Way::Tls => {
                let certificate = mosquitto.authority.server("localhost", Validity::Now);
                let tls = TlsTerminator::start(kandji.address(), &certificate).await;
                let url = format!("https://localhost:{}", tls.port);
                let broker = format!("mqtts://localhost:{}", mosquitto.tls);
                (Some(tls), url, broker, ca_file)
            }
        };
        let home = Home::on_disk(
            false,
            &format!(
                "[[scanner]]\nname = \"pipe\"\nkind = \"stdin\"\n\n[indicator]\nkind = \"terminal\"\n{more}\n\
                 [[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{url}\"\ntoken_credential = \"kandji-token\"\ntokens = [\"{HQ}\"]\n{ca_file}\n\
                 [mqtt]\nurl = \"{broker}\"\nusername = \"{}\"\npassword_credential = \"mqtt-password\"\nreplay_per_second = 0\n{ca_file}",
                STATION.0
            ),
        );
        home.credential("kandji-token", TOKEN);
        home.credential("mqtt-password", STATION.1);
        Self {
            kandji,
            mosquitto,
            home,
            _tls: tls,
        }
    }

    /// The program under measurement: `BENCHLIGHT=FILE` measures another build beside this one.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.home.command(words);
        if let Some(program) = env::var_os("BENCHLIGHT") {
            let mut other = Command::new(program);
            other.args(command.get_args());
            command = other;
        }
        command
    }

    /// Starts the station and returns how long it took to be ready.
    pub fn time_to_ready(&self) -> (Started, Duration) {
        let mut command = self.command(&["run"]);
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("benchlight is ready") {
            line.clear();
            assert!(
                log.read_line(&mut line).unwrap() > 0,
                "the station ended before it was ready"
            );
        }
        let took = begun.elapsed();
        // Read the log, so that none of it is dropped.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        (Started(child), took)
    }
}

/// A station whose results are not read. It is killed on drop.
pub struct Started(Child);

impl Started {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn serial(nth: u64) -> String {
    format!("BXQ{:07}", nth % BOXES)
}

pub fn journal_settings(state_dir: &Path) -> journal::Settings {
    journal::Settings {
        state_dir: state_dir.to_owned(),
        keep: Duration::from_hours(24 * 90),
        keep_raw: Duration::from_hours(24 * 7),
        max_bytes: 1 << 30,
    }
}

/// The record of a green scan, with one source's evidence.
pub fn record(nth: u64) -> Record {
    let name = |text: &str| Name::new(text).unwrap();
    let serial = Serial::new(&format!("BXQ{nth:07}")).unwrap();
    let assigned_at = Some(Timestamp::now());
    let model = Some("MacBook Air (13-inch, M4, 2025)".to_owned());
    let evidence = Evidence {
        known: true,
        status: Some("assigned".to_owned()),
        assigned_at,
        as_of: assigned_at,
        replied_at: assigned_at,
        model: model.clone(),
        family: Some("Mac".to_owned()),
        detail: Some("Last fetch 2026-01-09 22:01 UTC.".to_owned()),
        took: Duration::from_millis(84),
        ..Evidence::bare(
            name("kandji"),
            SourceKind::Kandji,
            serial.clone(),
            Finding::Ready(Grade::Relayed),
        )
    };
    Record {
        scanner: name("pipe"),
        serial: Some(serial.clone()),
        asked: vec![serial],
        grade: Some(Grade::Relayed),
        model,
        family: Some("Mac".to_owned()),
        assigned_at,
        took_ms: 91,
        policy: "9f2c41d0".to_owned(),
        evidence: vec![evidence],
        ..Record::bare(
            Uuid::now_v7(),
            Timestamp::now(),
            name("main"),
            Reason::Assigned,
        )
    }
}
