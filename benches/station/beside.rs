//! A station with a replica beside one without, beside a pass, and beside the script that a technician would write.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use benchlight::simulator::{faults::Effect, fleet::Fleet};

use crate::{
    report::{Promise, Report, Times},
    rig::{Rig, TOKEN, Way, serial},
    support::{dashboard::Dashboard, free_port, mosquitto::DASHBOARD, system},
    whole::{DARK, GREEN, OnTerminal},
};

/// The service that the script and the station ask.
const SERVICE: Duration = Duration::from_millis(300);

/// How long a service takes for a reply that is still much faster than any real one. Its pages come about as fast as a replica
/// promises to take them.
const FAST: Duration = Duration::from_millis(10);
/// Scans of each kind.
const SCANS: u32 = 300;

/// Scans with a list of a million devices: while it is read for the first time, and when it is there.
pub async fn a_million_rows(report: &mut Report) {
    let devices = env::var("BENCHLIGHT_DEVICES").map_or(1_000_000, |text| text.parse().unwrap());
    let rig = rig("fallback").await;
    rig.kandji.stock(|stock| stock.fleet = Fleet::of(devices));
    let dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    let is_filled = || {
        let health = dashboard.on("health").last().map(|health| health.json());
        health.is_some_and(|health| health["sources"]["kandji"]["replica"]["pass_at"].is_string())
    };
    report.note(&format!("{devices} devices"));
    rig.kandji.faults().all(Effect::Delay(FAST));
    let mut station = OnTerminal::start(&rig);
    let mut beside_a_pass = Measured::default();
    (0..SCANS).for_each(|_| beside_a_pass.scan(&mut station));
    assert!(!is_filled(), "all were made beside the pass");
    beside_a_pass.tell(
        report,
        &format!(
            "asked live, {} ms each, beside the first pass",
            FAST.as_millis()
        ),
    );
    rig.kandji.faults().clear();
    let mut beside_all = Measured::default();
    while !is_filled() && beside_all.lines.count() < 2_000 {
        beside_all.scan(&mut station);
    }
    beside_all.tell(
        report,
        "asked live, at once, beside a first pass as fast as it can be",
    );
    while !is_filled() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.kandji.faults().all(Effect::Delay(FAST));
    let mut without = Measured::default();
    (0..SCANS).for_each(|_| without.scan(&mut station));
    without.tell(
        report,
        &format!("asked live, {} ms each, beside none", FAST.as_millis()),
    );
    rig.kandji.faults().clear();
    report.figure(
        "  result line p99, times as long as beside none",
        beside_a_pass.lines.percentile(99) / without.lines.percentile(99),
        "",
        Promise::Under(1.5),
    );
    drop(station);
    set(&rig, "first");
    let mut station = OnTerminal::start(&rig);
    let mut of_rows = Measured::default();
    for nth in 0..310 {
        of_rows.scan(&mut station);
        // The file is read through first.
        if nth == 9 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            of_rows = Measured::default();
        }
    }
    let scans = dashboard.on("scan");
    let last = scans.last().unwrap().json();
    assert_eq!(last["data"]["evidence"][0]["from"], "replica", "{last}");
    report.figure(
        "answered by rows: result line p50",
        of_rows.lines.median(),
        "ms",
        Promise::Nothing,
    );
    report.figure(
        "  .. p99",
        of_rows.lines.percentile(99),
        "ms",
        Promise::Under(5.0),
    );
    report.figure(
        "  .. green drawn, p99",
        of_rows.lamps.percentile(99),
        "ms",
        Promise::Nothing,
    );
}

/// From the scan to its answer with a service of 300 ms: the script, and a station without a replica and with one.
pub async fn script(report: &mut Report) {
    report.note(&format!("a service that takes {} ms", SERVICE.as_millis()));
    for replica in ["off", "fallback", "first"] {
        let rig = rig(replica).await;
        let _dashboard = Dashboard::connect(rig.mosquitto.plain, DASHBOARD, "benchlight/#").await;
        let mut station = OnTerminal::start(&rig);
        let mut measured = Measured::default();
        (0..20).for_each(|_| measured.scan(&mut station));
        rig.kandji.faults().all(Effect::Delay(SERVICE));
        measured = Measured::default();
        (0..100).for_each(|_| measured.scan(&mut station));
        measured.tell(report, &format!("replica = \"{replica}\""));
    }
    match Script::start().await {
        Ok(mut script) => {
            let mut times = Times::default();
            (0..10).for_each(|nth| {
                script.scan(nth);
            });
            (0..100).for_each(|nth| times.add(script.scan(nth)));
            report.figure(
                "benches/script/scan.py: scan to printed line, p50",
                times.median(),
                "ms",
                Promise::Nothing,
            );
            report.figure("  .. p99", times.percentile(99), "ms", Promise::Nothing);
        }
        Err(why) => report.note(&format!("the script is skipped: {why}")),
    }
}

async fn rig(replica: &str) -> Rig {
    let rig = Rig::new(
        Way::Plain,
        &format!("ready_hold = \"{}ms\"\n", GREEN.as_millis()),
    )
    .await;
    set(&rig, replica);
    rig
}

/// Rewrites the mode in the config.
fn set(rig: &Rig, replica: &str) {
    let lines = fs::read_to_string(rig.home.config()).unwrap();
    let lines = lines.lines().filter(|line| !line.starts_with("replica ="));
    let with = lines.flat_map(|line| {
        let more = line
            .starts_with("token_credential")
            .then(|| format!("replica = \"{replica}\""));
        [Some(line.to_owned()), more]
    });
    let config: Vec<String> = with.flatten().collect();
    fs::write(rig.home.config(), config.join("\n")).unwrap();
}

#[derive(Default)]
struct Measured {
    lines: Times,
    lamps: Times,
    nth: u64,
}

impl Measured {
    /// Scans the next box on a dark lane.
    fn scan(&mut self, station: &mut OnTerminal) {
        std::thread::sleep(GREEN + DARK);
        let (line, lamp) = station.scan(self.nth);
        self.nth += 1;
        self.lines.add(line);
        self.lamps.add(lamp);
    }

    fn tell(&mut self, report: &mut Report, what: &str) {
        report.note(&format!("{what}: {} scans", self.lines.count()));
        report.figure(
            "  scan to result line, p50",
            self.lines.median(),
            "ms",
            Promise::Nothing,
        );
        report.figure(
            "  .. p99",
            self.lines.percentile(99),
            "ms",
            Promise::Nothing,
        );
        report.figure(
            "  scan to green drawn, p50",
            self.lamps.median(),
            "ms",
            Promise::Nothing,
        );
        report.figure(
            "  .. p99",
            self.lamps.percentile(99),
            "ms",
            Promise::Nothing,
        );
    }
}

/// The script, with a broker that lets everybody in.
struct Script {
    rig: Rig,
    broker: Child,
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Script {
    async fn start() -> Result<Self, String> {
        let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        system(&python, &["-c", "import paho.mqtt.client as m, requests; m.CallbackAPIVersion"]).map_err(|_| {
            format!("{python} has no paho-mqtt 2 or no requests (pip install paho-mqtt requests; PYTHON=FILE names another python)")
        })?;
        let rig = rig("off").await;
        rig.kandji.faults().all(Effect::Delay(SERVICE));
        let port = free_port().to_string();
        let quiet = |command: &mut Command| {
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let broker = quiet(Command::new("mosquitto").args(["-p", &port]));
        while tokio::net::TcpStream::connect(format!("127.0.0.1:{port}"))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut child = Command::new(python)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/benches/script/scan.py"
            ))
            .env("KANDJI_URL", rig.kandji.base())
            .env("KANDJI_TOKEN", TOKEN)
            .env("MQTT_HOST", "127.0.0.1")
            .env("MQTT_PORT", &port)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Ok(Self {
            rig,
            broker,
            child,
            lines,
        })
    }

    fn scan(&mut self, nth: u64) -> Duration {
        let begun = Instant::now();
        writeln!(self.child.stdin.as_mut().unwrap(), "{}", serial(nth)).unwrap();
        let line = self.lines.next().unwrap().unwrap();
        assert!(line.contains("\"ready\""), "{line}");
        begun.elapsed()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.rig.kandji.stop();
        for child in [&mut self.child, &mut self.broker] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
