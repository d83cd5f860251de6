//! The metrics of a real station, read by a real Prometheus; the shipped alerts and the shipped dashboard live on them.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::scans::World;
use crate::support::{eventually, free_port, http::Server};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PATIENCE: Duration = Duration::from_secs(30);

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// What `promtool` says; it must be content.
fn promtool(words: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(words)
        .current_dir(ROOT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of the package prometheus");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {words:?}: {said}");
    said
}

/// The names of all metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.split(|character| !is_of_name(character))
        .filter(|word| word.starts_with("benchlight_"))
        .map(str::to_owned)
        .collect()
}

/// The rows of the table of alerts: what they name in the last column.
fn alerts_of_the_docs() -> Vec<String> {
    let docs = shipped("docs/dashboards.md");
    let part = docs
        .split("\n## ")
        .find(|part| part.starts_with("Alert rules"));
    part.unwrap()
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            cells.last().unwrap().trim().trim_matches('`').to_owned()
        })
        .collect()
}

#[test]
fn every_row_of_the_table_of_alerts_is_a_rule_that_fires_when_it_should() {
    let rules = shipped("config/prometheus/rules.yml");
    let shipped_rules: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert_eq!(shipped_rules, alerts_of_the_docs(), "docs/dashboards.md");
    promtool(&["check", "rules", "config/prometheus/rules.yml"], "");
    promtool(&["test", "rules", "tests/prometheus/rules_test.yml"], "");
    let tests = shipped("tests/prometheus/rules_test.yml");
    for rule in shipped_rules {
        let of_it = tests.split("  - interval: 1m").filter(|test| {
            let mut lines = test.lines();
            lines.any(|line| line.trim() == format!("alertname: {rule}"))
        });
        let quiet = of_it.clone().filter(|test| test.contains("exp_alerts: []"));
        assert_eq!((of_it.count(), quiet.count()), (2, 1), "{rule}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_what_prometheus_reads_and_name_no_box() {
    let world = World::new().await;
    let page = Server::on(free_port());
    let home = world.home(false, &format!("\n[web]\nlisten = \"{}\"\n", page.0));
    let mut station = home.start();
    page.awaited();
    let before = page.get("/metrics").body;
    let samples = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    for serial in [
        "DEMOREADY001",
        "DEMOWAIT0004",
        "DEMOERROR020",
        "490154203237518",
    ] {
        station.scan(serial.as_bytes());
        station.answer();
        // Each lamp is lit, and the wrong barcode takes the lane.
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let mut text = String::new();
    eventually("the lamp is counted", PATIENCE, || {
        text = page.get("/metrics").body;
        text.contains("benchlight_lamp_duration_seconds_count{lane=\"main\"} 4")
    })
    .await;
    for line in [
        "benchlight_scans_total{lane=\"main\",verdict=\"ready\",reason=\"assigned\"} 1",
        "benchlight_scans_total{lane=\"main\",verdict=\"wait\",reason=\"assignment_pending\"} 1",
        "benchlight_scans_total{lane=\"main\",verdict=\"unknown\",reason=\"source_error\"} 1",
        "benchlight_scans_total{lane=\"main\",verdict=\"rescan\",reason=\"imei\"} 1",
        "benchlight_scan_duration_seconds_count 4",
        "benchlight_source_duration_seconds_count{source=\"kandji\"} 3",
        "benchlight_source_failures_total{source=\"kandji\",reason=\"source_error\"} 1",
        "benchlight_scanner_scans_total{scanner=\"pipe\"} 4",
        "benchlight_part_ok{part=\"web\",name=\"\"} 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
    }
    let said = promtool(&["check", "metrics"], &text);
    assert_eq!(said, "", "promtool has nothing to say");
    let counters = |text: &str| -> BTreeSet<String> {
        let all = samples(text).into_iter();
        all.filter(|name| name.contains("_total")).collect()
    };
    assert_eq!(
        counters(&before),
        counters(&text),
        "every label from the start"
    );
    for serial in ["DEMOREADY001", "DEMOWAIT0004", "490154203237518"] {
        assert!(!text.contains(serial), "no box in a label");
    }
    let reply = page.get("/metrics");
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    drop(station);
}

/// A Prometheus that reads one station.
struct Prometheus {
    child: Child,
    server: Server,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn of(station: Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: benchlight\n    static_configs: [{{targets: [\"{}\"]}}]\n",
            station.0
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let server = Server::on(free_port());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={}", server.0))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus, of the package of that name");
        let server = server.awaited();
        Self {
            child,
            server,
            _folder: folder,
        }
    }

    fn ask(&self, expression: &str) -> Value {
        let query = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        let query: String = expression.bytes().map(query).collect();
        let reply = self.server.get(&format!("/api/v1/query?query={query}"));
        let reply: Value = serde_json::from_str(reply.body.trim()).unwrap_or_default();
        assert_eq!(reply["status"], "success", "{expression}: {reply}");
        reply["data"]["result"].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The queries of the dashboard's panels, as Grafana sends them.
fn queries_of_the_dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&shipped("config/grafana/bench.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut all = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$bench", ".*")
                .replace("$__rate_interval", "1m");
            all.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute: a real Prometheus scrapes a real station"]
async fn every_panel_and_every_alert_has_an_answer_in_a_real_prometheus() {
    let world = World::new().await;
    let page = Server::on(free_port());
    let more = format!("\n[web]\nlisten = \"{}\"\n", page.0);
    let home = world.home(false, &more);
    // The source is the last section of its kind: its replica is one key more.
    let config = fs::read_to_string(home.config()).unwrap();
    let with_replica = config.replace(
        "kind = \"kandji\"\n",
        "kind = \"kandji\"\nreplica = \"fallback\"\n",
    );
    fs::write(home.config(), with_replica).unwrap();
    let mut station = home.start();
    let page = page.awaited();
    let prometheus = Prometheus::of(page);
    for round in 0..8 {
        for serial in [
            "DEMOREADY001",
            "DEMOWAIT0004",
            "DEMOERROR020",
            "490154203237518",
        ] {
            station.scan(serial.as_bytes());
            station.answer();
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        println!("round {round}");
    }
    for (panel, query) in queries_of_the_dashboard() {
        let answer = prometheus.ask(&query);
        let values = answer.as_array().unwrap();
        assert!(!values.is_empty(), "{panel}: {query} has no answer");
        let is_number = |value: &Value| {
            value["value"][1]
                .as_str()
                .is_some_and(|number| number != "NaN")
        };
        assert!(values.iter().any(is_number), "{panel}: {query}: {answer}");
    }
    let known = named(&page.get("/metrics").body);
    let rules = shipped("config/prometheus/rules.yml");
    let gone: Vec<_> = named(&rules).difference(&known).cloned().collect();
    assert_eq!(
        gone, [""; 0],
        "the alerts name metrics that the station does not have"
    );
}
