//! The station with a replica of a service's list, on good days and on bad ones.

mod answers;
mod changes;
mod clocks;
mod file;
mod kills;
mod lists;
mod sharing;

use std::{fs, time::Duration};

use benchlight::{
    readiness::{
        apple_business::simulator::{self as apple_business, Simulator},
        kandji::simulator::{
            self as kandji, Tenant,
            stock::{Device, Stock},
        },
    },
    simulator::{
        faults::{Effect, Scope, Switch},
        fleet::Fleet,
        stock::SERVER_UUID,
    },
};
use serde_json::Value;

use crate::support::{
    clocks::Clocks,
    dashboard::Dashboard,
    eventually,
    mosquitto::{DASHBOARD, Mosquitto, STATION},
    station::{Home, ResultLine, Station, scanned},
};

const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "kandji-secret-token";
const READY: &str = "C02XK0AAJG5H";
const OTHER: &str = "C02XK0AAJG6J";
const PENDING: &str = "C02XK0AAJG7K";
/// The tenant's list, asked by a pass and by a scan.
const LIST: &str = "/api/v1/integrations/apple/ade/devices";

/// Seldom enough that no second pass comes while a test runs.
const SELDOM: &str = "refresh = \"1h\"\nmax_replica_age = \"2h\"";
/// The clocks run so many times as fast: a pass each two seconds, at its most frequent.
const RATE: u32 = 5;
/// As often as it may be.
const OFTEN: &str = "refresh = \"10s\"\nmax_replica_age = \"20s\"";

struct World {
    kandji: Tenant,
    mosquitto: Mosquitto,
    dashboard: Dashboard,
}

impl World {
    async fn new() -> Self {
        Self::with_boxes(0).await
    }

    /// With so many generated boxes besides.
    async fn with_boxes(boxes: u32) -> Self {
        let devices = vec![
            Device::ready(READY),
            Device::ready(OTHER),
            Device::pending(PENDING),
        ];
        let mut stock = Stock::of(devices);
        stock.fleet = Fleet::of(boxes);
        let options = kandji::Options::new(TOKEN, stock);
        let mosquitto = Mosquitto::start();
        Self {
            kandji: kandji::serve(options).await.unwrap(),
            dashboard: Dashboard::connect(mosquitto.plain, DASHBOARD, "benchlight/#").await,
            mosquitto,
        }
    }

    fn home(&self, replica: &str) -> Home {
        self.home_with(replica, "")
    }

    /// `more`: further lines of `[verdict]`.
    fn home_with(&self, replica: &str, more: &str) -> Home {
        let source = format!(
            "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{}\"\ntoken_credential = \"kandji-token\"\n{replica}\n",
            self.kandji.base()
        );
        let mqtt = self.mosquitto.section();
        let verdict = format!("[verdict]\nsettle = \"0s\"\n{more}\n");
        let home = Home::new(false, &source, &mqtt, &verdict);
        home.credential("kandji-token", TOKEN);
        home.credential("mqtt-password", STATION.1);
        home
    }

    /// A station whose replica is filled.
    async fn filled(&self, home: &Home) -> Station {
        let station = home.start();
        self.until_filled().await;
        station
    }

    /// The same with clocks that a test sets.
    async fn filled_under(&self, home: &Home, clocks: &Clocks) -> Station {
        let station = home.start_with(clocks);
        self.until_filled().await;
        station
    }

    /// Waits until the replicas of Kandji and of an Apple Business beside it are filled.
    async fn until_both_filled(&self) {
        self.until_health("both are filled", |_, health| {
            ["kandji", "business"]
                .iter()
                .all(|name| health["sources"][name]["replica"]["pass_at"].is_string())
        })
        .await;
    }

    async fn until_filled(&self) {
        self.until_health("the replica is filled", |kandji, _| {
            kandji["replica"]["state"] == "ok" && kandji["replica"]["pass_at"].is_string()
        })
        .await;
    }

    /// The newest health.
    fn health(&self) -> Value {
        let health = self.dashboard.on("health");
        health.last().map_or(Value::Null, |message| message.json())
    }

    /// Waits for a health message about the source that fits.
    async fn until_health(&self, what: &str, fits: impl Fn(&Value, &Value) -> bool) {
        let mut last = Value::Null;
        for _ in 0..PATIENCE.as_millis() / 10 {
            last = self.health();
            if fits(&last["sources"]["kandji"], &last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within {PATIENCE:?}: {what}; health is {last:#}");
    }

    /// Waits for health about the replica: its state, and the reason of its fault.
    async fn until_replica(&self, state: &str, fault: Option<&str>) {
        let what = format!("the replica is {state} with the fault {fault:?}");
        self.until_health(&what, |kandji, _| {
            kandji["replica"]["state"] == state && kandji["replica"]["fault"].as_str() == fault
        })
        .await;
    }

    /// When the last complete pass began.
    fn pass_at(&self) -> String {
        let health = self.health();
        let pass_at = &health["sources"]["kandji"]["replica"]["pass_at"];
        pass_at.as_str().unwrap_or_default().to_owned()
    }

    /// Waits for a complete pass after this one.
    async fn until_pass_after(&self, pass_at: &str) {
        self.until_health("another complete pass", |kandji, _| {
            let replica = &kandji["replica"];
            replica["pass_at"].as_str().is_some_and(|at| at > pass_at) && replica["state"] == "ok"
        })
        .await;
    }

    /// The scan with that id, or the newest of that serial number, on the broker.
    async fn event_of(&self, scan: &str) -> Value {
        let of_serial = || {
            let scans = self.dashboard.on("scan");
            let mut events = scans.iter().rev().map(|scan| scan.json());
            let found = events.find(|event| event["id"] == scan || event["data"]["serial"] == scan);
            found.map(|event| event["data"].clone())
        };
        eventually("the scan is on the broker", PATIENCE, || {
            of_serial().is_some()
        })
        .await;
        of_serial().unwrap()
    }

    /// The evidence of that scan, or of the newest of that serial number, on the broker.
    async fn evidence_of(&self, scan: &str) -> Value {
        self.event_of(scan).await["evidence"][0].clone()
    }

    /// Scans a box, which is ready, and returns the evidence.
    async fn scan_is_ready(&self, station: &mut Station, serial: &str) -> Value {
        let answer = scanned(station, serial);
        assert_eq!(answer.reason, "assigned", "{answer:?}");
        self.evidence_of(&answer.id).await
    }

    /// The first change on the broker.
    async fn change(&self) -> Value {
        eventually("a change is on the broker", PATIENCE, || {
            self.dashboard.count("change") > 0
        })
        .await;
        self.dashboard.on("change")[0].json()["data"].clone()
    }

    fn lose_profile(&self, serial: &str) {
        self.change_device(serial, |device| Device {
            profile_status: Some("removed".to_owned()),
            ..device
        });
    }

    fn change_device(&self, serial: &str, change: impl FnOnce(Device) -> Device) {
        self.kandji.stock(|stock| {
            let device = stock.device(serial).unwrap();
            stock.put(change(device));
        });
    }

    /// Faults of the pages of the list: the first `spared` requests for it are well.
    fn spoil_list(&self, effect: Effect, spared: u32) {
        self.kandji.faults().add(Switch {
            spared,
            ..Switch::new(Scope::Path(LIST.to_owned()), effect)
        });
    }

    /// Every scan on the broker was delivered once, with the answer that stood on the terminal, and without a gap.
    async fn nothing_is_lost(&self, answers: &[ResultLine]) {
        self.dashboard
            .wait("every answered scan", PATIENCE, |all| {
                answers.iter().filter(|one| !one.change).all(|answer| {
                    all.iter().any(|message| {
                        let event = message.json();
                        event["id"] == answer.id.as_str()
                            && event["data"]["reason"] == answer.reason.as_str()
                    })
                })
            })
            .await;
        let mut seqs: Vec<u64> = self
            .dashboard
            .places()
            .into_keys()
            .map(|(_, seq)| seq)
            .collect();
        seqs.sort_unstable();
        let all: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, all, "seq has no gap");
    }
}

/// Scans a box; its verdict and reason.
fn scan(station: &mut Station, serial: &str) -> (String, String) {
    let answer = scanned(station, serial);
    (answer.verdict, answer.reason)
}

/// The pair that `scan` returns.
fn answered(verdict: &str, reason: &str) -> (String, String) {
    (verdict.to_owned(), reason.to_owned())
}

/// A world with so many generated boxes, and a station whose clocks run [`RATE`] times as fast. `None`: not on this machine, and it
/// is said.
async fn fast_world(boxes: u32, replica: &str) -> Option<(World, Home, Clocks)> {
    let world = World::with_boxes(boxes).await;
    let home = world.home_with(replica, "deadline = \"10s\"");
    let clocks = fast(&home, RATE)?;
    Some((world, home, clocks))
}

/// An Apple Business beside the MDM; `keys`: further ones of its.
fn business_beside(apple: &Simulator, keys: &str) -> String {
    format!(
        "[[source]]\nname = \"business\"\nkind = \"apple-business\"\nurl = \"{}\"\ntoken_url = \"{}\"\nclient_id = \"{}\"\nkey_id = \"{}\"\n\
         key_credential = \"apple-business-key\"\nexpected_servers = [\"{}\"]\n{keys}",
        apple.api(),
        apple.token_url(),
        apple_business::CLIENT_ID,
        apple_business::KEY_ID,
        SERVER_UUID,
    )
}

/// Clocks that run so many times as fast. `None`: not on this machine, and it is said.
fn fast(home: &Home, rate: u32) -> Option<Clocks> {
    possible(Clocks::fast(&home.path(""), rate))
}

fn possible<T>(result: Result<T, String>) -> Option<T> {
    result.map_err(|why| println!("SKIPPED: {why}")).ok()
}

/// The files of the replica.
fn files(home: &Home) -> [std::path::PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| home.path(&format!("state/replica.sqlite{end}")))
}

/// Bytes of the replica's file.
fn size(home: &Home) -> u64 {
    fs::metadata(&files(home)[0]).map_or(0, |found| found.len())
}
