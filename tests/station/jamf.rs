//! The station with Jamf Pro, which can only be listed: its last complete pass is its word, the bad news included.

use std::time::Duration;

use benchlight::{
    readiness::jamf::simulator::{
        self as jamf, Options, Server,
        stock::{Device, Stock},
    },
    simulator::faults::Effect,
};
use serde_json::Value;

use crate::support::{
    clocks::Clocks,
    dashboard::{Dashboard, Received},
    eventually,
    mosquitto::{DASHBOARD, Mosquitto, STATION},
    station::{Home, scanned},
};

const PATIENCE: Duration = Duration::from_secs(40);
const READY: &str = "C02XK0AAJG5H";
const REMOVED: &str = "C02RM8JJJG5N";
const LATER: &str = "C02TH5FFJG5K";
const ABSENT: &str = "C02NO4PPJG5V";
/// Seldom enough that no second pass comes by itself while a test runs.
const SELDOM: &str = "refresh = \"1h\"\nmax_replica_age = \"2h\"";
/// As often as it may be.
const OFTEN: &str = "refresh = \"10s\"\nmax_replica_age = \"20s\"";
/// The clocks run so many times as fast: a pass that is wanted comes after 12 s at the latest.
const RATE: u32 = 5;

struct World {
    server: Server,
    mosquitto: Mosquitto,
    dashboard: Dashboard,
}

impl World {
    async fn new() -> Self {
        let devices = vec![
            Device::ready(READY),
            Device::with_status(REMOVED, "REMOVED"),
        ];
        let mosquitto = Mosquitto::start();
        Self {
            server: jamf::serve(Options::new(Stock::of(devices))).await.unwrap(),
            dashboard: Dashboard::connect(mosquitto.plain, DASHBOARD, "benchlight/#").await,
            mosquitto,
        }
    }

    fn home(&self, keys: &str) -> Home {
        let source = format!(
            "[[source]]\nname = \"jamf\"\nkind = \"jamf\"\nurl = \"{}\"\nclient_id = \"{}\"\nsecret_credential = \"jamf-secret\"\n{keys}\n",
            self.server.base(),
            self.server.client_id()
        );
        let mqtt = self.mosquitto.section();
        let home = Home::new(false, &source, &mqtt, "[verdict]\nsettle = \"0s\"\n");
        home.credential("jamf-secret", &self.server.secret());
        home.credential("mqtt-password", STATION.1);
        home
    }

    /// The newest health of the source, and whether the station is able.
    fn health(&self) -> (Value, Value) {
        let health = self.dashboard.on("health");
        let health = health.last().map_or(Value::Null, |message| message.json());
        (health["sources"]["jamf"].clone(), health)
    }

    async fn until_health(&self, what: &str, fits: impl Fn(&Value, &Value) -> bool) {
        eventually(what, PATIENCE, || {
            let (jamf, health) = self.health();
            fits(&jamf, &health)
        })
        .await;
    }

    async fn until_filled(&self) {
        self.until_health("the list is read", |jamf, _| {
            jamf["replica"]["pass_at"].is_string()
        })
        .await;
    }

    /// The change of that scan on the broker.
    async fn change_of(&self, scan: &str, reason: &str) -> Value {
        let find = || {
            let changes = self.dashboard.on("change");
            let mut events = changes.iter().map(Received::json);
            events.find(|event| event["data"]["scan"] == scan && event["data"]["reason"] == reason)
        };
        eventually("the change is on the broker", PATIENCE, || find().is_some()).await;
        find().unwrap()["data"].clone()
    }

    async fn evidence_of(&self, scan: &str) -> Value {
        let find = || {
            let scans = self.dashboard.on("scan");
            scans
                .iter()
                .map(Received::json)
                .find(|event| event["id"] == scan)
        };
        eventually("the scan is on the broker", PATIENCE, || find().is_some()).await;
        find().unwrap()["data"]["evidence"][0].clone()
    }
}

/// Its clocks, if a test can set any on this machine.
fn fast(home: &Home) -> Option<Clocks> {
    match Clocks::fast(&home.path(""), RATE) {
        Ok(clocks) => Some(clocks),
        Err(why) => {
            println!("not tried: {why}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_answers_at_once_with_its_time_and_a_scan_right_after_the_start_waits_for_it() {
    let world = World::new().await;
    let home = world.home(SELDOM);
    let mut station = home.start();
    let ready = scanned(&mut station, READY);
    assert_eq!(
        (&*ready.verdict, &*ready.reason),
        ("ready", "assigned"),
        "{}",
        home.log()
    );
    let evidence = world.evidence_of(&ready.id).await;
    assert_eq!(evidence["from"], "replica", "{evidence}");
    assert!(
        evidence["as_of"].is_string() && evidence["age_s"].is_number(),
        "{evidence}"
    );
    let removed = scanned(&mut station, REMOVED);
    assert_eq!(
        (&*removed.verdict, &*removed.reason),
        ("not_ready", "profile_removed")
    );
    let absent = scanned(&mut station, ABSENT);
    assert_eq!(
        (&*absent.verdict, &*absent.reason),
        ("not_ready", "not_found")
    );
    let detail = world.evidence_of(&absent.id).await;
    assert_eq!(detail["from"], "replica", "{detail}");
    let asked = world.server.requests();
    assert!(asked.iter().all(|one| {
        ![READY, REMOVED, ABSENT]
            .iter()
            .any(|serial| one.contains(serial))
    }));
    assert_eq!(world.server.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_in_an_older_list_waits_for_a_pass_and_is_judged_by_it() {
    let world = World::new().await;
    let home = world.home(SELDOM);
    let Some(clocks) = fast(&home) else {
        return;
    };
    let mut station = home.start_with(&clocks);
    world.until_filled().await;
    // More than a minute passes on the station's clocks.
    tokio::time::sleep(Duration::from_secs(14)).await;
    world.server.stock(|stock| stock.put(Device::ready(LATER)));
    let later = scanned(&mut station, LATER);
    assert_eq!(
        (&*later.verdict, &*later.reason),
        ("wait", "sync_pending"),
        "{}",
        home.log()
    );
    let change = world.change_of(&later.id, "assigned").await;
    assert_eq!(
        (&change["verdict"], &change["cause"]),
        (&"ready".into(), &"recheck".into()),
        "{change}"
    );
    // In that list a box that is nowhere is missed at once.
    let absent = scanned(&mut station, ABSENT);
    assert_eq!(
        (&*absent.verdict, &*absent.reason),
        ("not_ready", "not_found")
    );
    tokio::time::sleep(Duration::from_secs(14)).await;
    let again = scanned(&mut station, ABSENT);
    assert_eq!((&*again.verdict, &*again.reason), ("wait", "sync_pending"));
    let change = world.change_of(&again.id, "not_found").await;
    assert_eq!(change["verdict"], "not_ready", "{change}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_removed_between_two_passes_is_recalled_by_the_next_one() {
    let world = World::new().await;
    let home = world.home(OFTEN);
    let Some(clocks) = fast(&home) else {
        return;
    };
    let mut station = home.start_with(&clocks);
    world.until_filled().await;
    let ready = scanned(&mut station, READY);
    assert_eq!(ready.reason, "assigned");
    world
        .server
        .stock(|stock| stock.put(Device::with_status(READY, "REMOVED")));
    let change = world.change_of(&ready.id, "profile_removed").await;
    assert_eq!(
        (&change["verdict"], &change["cause"]),
        (&"not_ready".into(), &"recall".into()),
        "{change}"
    );
    assert_eq!(world.dashboard.count("change"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_leaves_its_last_word_until_that_is_too_old_and_no_box_is_ever_not_ready()
 {
    let world = World::new().await;
    let home = world.home(OFTEN);
    let Some(clocks) = fast(&home) else {
        return;
    };
    let mut station = home.start_with(&clocks);
    world.until_filled().await;
    world.server.faults().all(Effect::Status(500));
    world
        .until_health("the passes fail", |jamf, _| {
            jamf["failing"] == "source_error" || jamf["replica"]["fault"] == "source_error"
        })
        .await;
    world
        .until_health("the word is too old", |_, health| health["able"] == false)
        .await;
    for serial in [READY, REMOVED, ABSENT] {
        let answer = scanned(&mut station, serial);
        assert_eq!(
            (&*answer.verdict, &*answer.reason),
            ("unknown", "source_error"),
            "{serial}"
        );
    }
    world.server.faults().clear();
    world
        .until_health("it is well again", |_, health| health["able"] == true)
        .await;
    assert_eq!(scanned(&mut station, REMOVED).reason, "profile_removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_is_too_old_is_stale_while_a_pass_hangs() {
    let world = World::new().await;
    let home = world.home(OFTEN);
    let Some(clocks) = fast(&home) else {
        return;
    };
    let mut station = home.start_with(&clocks);
    world.until_filled().await;
    world.server.faults().path(
        "/api/v1/device-enrollments/1/devices",
        Effect::Silence(Duration::from_secs(60)),
    );
    tokio::time::sleep(Duration::from_secs(7)).await;
    for serial in [READY, ABSENT] {
        let answer = scanned(&mut station, serial);
        assert_eq!(
            (&*answer.verdict, &*answer.reason),
            ("unknown", "stale"),
            "{serial}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lookup_and_doctor_read_the_list_themselves_or_take_the_agents() {
    let world = World::new().await;
    let home = world.home(SELDOM);
    let lookup = |serial: &str| {
        let output = home
            .command(&["lookup", "--json", serial])
            .output()
            .unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        found[0].clone()
    };
    let doctor = || {
        let output = home.command(&["doctor", "--json"]).output().unwrap();
        let lines: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let of_jamf = |line: &Value| line["part"].as_str().unwrap().starts_with("source jamf");
        lines.into_iter().filter(of_jamf).collect::<Vec<_>>()
    };
    let part = |lines: &[Value], part: &str| {
        let mut found = lines.iter().filter(|line| line["part"] == part);
        found
            .next()
            .unwrap_or_else(|| panic!("no {part}: {lines:?}"))
            .clone()
    };
    assert_eq!(lookup(READY)["reason"], "assigned");
    assert_eq!(lookup(REMOVED)["reason"], "profile_removed");
    assert_eq!(lookup(ABSENT)["reason"], "not_found");
    let lines = doctor();
    let list = part(&lines, "source jamf, list");
    assert_eq!(list["state"], "ok", "{list}");
    assert!(
        list["finding"]
            .as_str()
            .unwrap()
            .starts_with("2 devices listed"),
        "{list}"
    );
    let instance = part(&lines, "source jamf, instance \"HQ\"");
    assert_eq!(instance["state"], "ok", "{instance}");
    world
        .server
        .faults()
        .path("/api/v1/device-enrollments/1/devices", Effect::CutBody);
    assert_eq!(lookup(READY)["reason"], "garbled_answer");
    let list = part(&doctor(), "source jamf, list");
    assert_eq!(list["state"], "fail", "{list}");
    world.server.faults().clear();

    let mut station = home.start();
    world.until_filled().await;
    assert_eq!(scanned(&mut station, READY).reason, "assigned");
    world.server.forget();
    assert_eq!(lookup(READY)["reason"], "assigned");
    assert_eq!(lookup(ABSENT)["reason"], "not_found");
    assert_eq!(
        world.server.requests(),
        [""; 0],
        "beside the agent its list answers"
    );
    let lines = doctor();
    assert_eq!(
        part(&lines, "source jamf, replica")["state"],
        "ok",
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|line| line["part"] != "source jamf, list"),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lookup_and_doctor_say_why_the_agent_has_no_list() {
    let world = World::new().await;
    let home = world.home(SELDOM);
    let list = "/api/v1/device-enrollments/1/devices";
    world.server.faults().path(list, Effect::Status(403));
    let mut station = home.start();
    assert_eq!(scanned(&mut station, READY).reason, "credentials_refused");
    let lookup = home.command(&["lookup", "--json", READY]).output().unwrap();
    let found: Value = serde_json::from_slice(&lookup.stdout).unwrap();
    assert_eq!(found[0]["reason"], "credentials_refused", "{found}");
    let doctor = home.command(&["doctor", "--json"]).output().unwrap();
    let lines: Vec<Value> = serde_json::from_slice(&doctor.stdout).unwrap();
    let line = lines
        .iter()
        .find(|line| line["part"] == "source jamf, list");
    assert_eq!(line.unwrap()["state"], "fail", "{lines:?}");
}
