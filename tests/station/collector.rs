//! `config/examples/collector.py` ends complete, though it never sees much of what is sent.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    scans::World,
    support::{eventually, mosquitto::OPERATOR, tools},
};

const PATIENCE: Duration = Duration::from_secs(240);

/// Runs the script, and throws 40 % of the messages away before it sees them; each leaves a byte in a file. Of health never two in a
/// row: at rest the next one comes after a minute.
const LOSSY: &str = r#"
import random, runpy, sys
import paho.mqtt.client as mqtt
real, lost = mqtt.Client._handle_on_message, open(sys.argv[1], "ab", buffering=0)
health_lost = False
def lossy(self, message):
    global health_lost
    is_health = message.topic.endswith("/health")
    drop = random.random() < 0.4 and not (is_health and health_lost)
    if is_health:
        health_lost = drop
    if drop:
        lost.write(b".")
        self.ack(message.mid, message.qos)
    else:
        real(self, message)
mqtt.Client._handle_on_message = lossy
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"#;

struct Collector(Child);

impl Collector {
    fn start(port: u16, folder: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/collector.py");
        let child = Command::new("python3")
            .args(["-c", LOSSY])
            .arg(folder.join("lost"))
            .args([script, "127.0.0.1", &port.to_string(), OPERATOR.0])
            .arg(folder.join("records.sqlite"))
            .env("MQTT_PASSWORD", OPERATOR.1)
            .env("PYTHONPATH", tools("python"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The seq of every record that was collected, in order, and how many ids there are.
fn collected(folder: &Path) -> rusqlite::Result<(Vec<u64>, u64)> {
    let db = rusqlite::Connection::open(folder.join("records.sqlite"))?;
    let mut seqs = db.prepare("SELECT seq FROM record ORDER BY seq")?;
    let seqs = seqs.query_map([], |row| row.get::<_, i64>(0))?;
    let seqs = seqs
        .map(|seq| seq.map(i64::cast_unsigned))
        .collect::<rusqlite::Result<_>>()?;
    let ids: i64 = db.query_row("SELECT count(DISTINCT id) FROM record", [], |row| {
        row.get(0)
    })?;
    Ok((seqs, ids.cast_unsigned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_collector_ends_complete_though_two_of_five_messages_never_reach_it() {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(false, "");
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(
        home.config(),
        config.replace("[mqtt]\n", "[mqtt]\ncommands = true\n"),
    )
    .unwrap();
    let mut station = home.start();
    let folder = tempfile::tempdir().unwrap();
    let quick = [
        "assigned",
        "profile_removed",
        "assignment_pending",
        "not_found",
    ];
    let samples = world.demo.samples.iter();
    let boxes: Vec<&str> = samples
        .filter(|sample| quick.contains(&sample.reason))
        .map(|sample| sample.serial)
        .collect();
    let mut scan = |times: usize| {
        for nth in 0..times {
            // No code twice in a row: that would be one scan.
            let code = if nth % 2 == 0 {
                boxes[nth / 2 % boxes.len()]
            } else {
                ["490154203237518", "0194252056988"][nth / 2 % 2]
            };
            station.scan(code.as_bytes());
            station.answer();
        }
    };
    let collector = Collector::start(world.mosquitto.plain, folder.path());
    scan(40);
    // It is killed, and what comes meanwhile waits in its session at the broker.
    drop(collector);
    scan(40);
    let _collector = Collector::start(world.mosquitto.plain, folder.path());
    scan(40);

    // Changes may still come: complete up to the newest that health names, whichever that is.
    eventually("all that the station has given out", PATIENCE, || {
        let newest = dashboard
            .on("health")
            .pop()
            .and_then(|health| health.json()["journal"]["seq"].as_u64());
        let (seqs, ids) = collected(folder.path()).unwrap_or_default();
        newest.is_some_and(|newest| {
            newest >= 120
                && seqs.len() as u64 >= newest
                && seqs == (1..=seqs.len() as u64).collect::<Vec<_>>()
        }) && ids == seqs.len() as u64
    })
    .await;
    let lost = fs::metadata(folder.path().join("lost")).unwrap().len();
    assert!(lost > 40, "only {lost} messages were thrown away");
}
