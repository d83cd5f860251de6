//! A journal that goes back in time or loses its files, between two runs of the agent or during one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use benchlight::readiness::kandji::simulator::stock::Device;
use serde_json::Value;

use super::scans::World;
use crate::support::{
    dashboard::{Dashboard, Received},
    station::{Home, Station},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A station, what its lamp answered, and a dashboard.
struct Bench {
    world: World,
    home: Home,
    dashboard: Dashboard,
    /// Each answer's id with its serial number.
    answered: BTreeMap<String, String>,
    scans: u32,
}

impl Bench {
    async fn new() -> Self {
        let world = World::new().await;
        let home = world.home(false, "");
        let dashboard = world.dashboard().await;
        Self {
            world,
            home,
            dashboard,
            answered: BTreeMap::new(),
            scans: 0,
        }
    }

    fn file(&self, end: &str) -> PathBuf {
        self.home.path(&format!("state/journal.sqlite{end}"))
    }

    fn scan(&mut self, station: &mut Station, many: u32) {
        for _ in 0..many {
            let serial = format!("GB{:010}", self.scans);
            self.scans += 1;
            self.world
                .kandji
                .stock(|stock| stock.put(Device::ready(&serial)));
            station.scan(serial.as_bytes());
            let answer = station.answer();
            assert_eq!(
                (answer.serial.as_str(), answer.reason.as_str()),
                (serial.as_str(), "assigned"),
                "{}",
                self.home.log()
            );
            self.answered.insert(answer.id, serial);
        }
    }

    /// The newest health that satisfies `wanted`.
    async fn health(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let newest = |all: &[Received]| {
            all.iter()
                .filter(|one| one.channel() == "health")
                .map(Received::json)
                .next_back()
                .unwrap_or_default()
        };
        self.dashboard
            .wait(what, PATIENCE, |all| wanted(&newest(all)))
            .await;
        newest(&self.dashboard.all())
    }

    /// Everything that was answered arrives, and no two records have the same number.
    async fn all_is_delivered(&self) {
        let arrived = |all: &[Received]| -> BTreeSet<String> {
            all.iter()
                .filter(|one| one.channel() == "scan")
                .filter_map(|one| Some(one.json()["id"].as_str()?.to_owned()))
                .collect()
        };
        self.dashboard
            .wait("every answered scan", PATIENCE, |all| {
                arrived(all).is_superset(&self.answered.keys().cloned().collect())
            })
            .await;
        let mut owners: BTreeMap<(String, u64), BTreeSet<String>> = BTreeMap::new();
        for one in self
            .dashboard
            .on("scan")
            .into_iter()
            .chain(self.dashboard.on("change"))
        {
            let id = one.json()["id"].as_str().unwrap().to_owned();
            owners.entry(one.place().unwrap()).or_default().insert(id);
        }
        let shared: Vec<_> = owners.iter().filter(|(_, ids)| ids.len() > 1).collect();
        assert!(
            shared.is_empty(),
            "one number for several records: {shared:?}"
        );
    }

    async fn alarm(&self) -> Value {
        self.health("the alarm", |health| {
            health["alarms"]
                .as_array()
                .is_some_and(|alarms| alarms.contains(&"journal_salvaged".into()))
        })
        .await
    }

    /// Restores a file, as `cp` does.
    fn copy(&self, from: &str, to: &str) {
        assert!(
            Command::new("cp")
                .arg(self.file(from))
                .arg(self.file(to))
                .status()
                .unwrap()
                .success()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_put_back_within_the_marks_lag_is_seen_by_the_stations_own_retained_health() {
    let mut bench = Bench::new().await;
    let mut station = bench.home.start();
    bench.scan(&mut station, 3);
    bench.all_is_delivered().await;
    station.signal("TERM");
    assert!(
        station.ended_within(PATIENCE).unwrap().success(),
        "{}",
        bench.home.log()
    );
    bench.copy("", ".copy");
    let mut station = bench.home.start();
    bench.scan(&mut station, 3);
    bench.all_is_delivered().await;
    let before = bench
        .health("six records reported", |health| {
            health["journal"]["seq"] == 6
        })
        .await;
    station.kill();
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(bench.file(end));
    }
    bench.copy(".copy", "");

    // The broker is away at first: scans are answered at once, but the broker does not retain their numbers.
    bench.world.mosquitto.stop();
    let mut station = bench.home.start();
    bench.scan(&mut station, 2);
    station.kill();
    let mut station = bench.home.start();
    bench.scan(&mut station, 1);
    bench.world.mosquitto.run();
    let after = bench.alarm().await;
    assert_ne!(
        after["journal"]["epoch"], before["journal"]["epoch"],
        "{after}"
    );
    bench.scan(&mut station, 1);
    bench.all_is_delivered().await;
    bench
        .health("four in the new epoch", |health| {
            health["journal"]["seq"] == 4 && health["journal"]["lost"] == 3
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_put_back_after_more_scans_goes_on_in_a_new_epoch_without_a_broker_too() {
    let mut bench = Bench::new().await;
    let mut station = bench.home.start();
    bench.scan(&mut station, 2);
    station.signal("TERM");
    assert!(station.ended_within(PATIENCE).unwrap().success());
    bench.copy("", ".copy");
    let mut station = bench.home.start();
    bench.scan(&mut station, 2);
    station.signal("TERM");
    assert!(station.ended_within(PATIENCE).unwrap().success());
    bench.copy(".copy", "");
    bench.world.mosquitto.stop();
    let mut station = bench.home.start();
    bench.scan(&mut station, 2);
    station.kill();
    bench.world.mosquitto.run();
    let _station = bench.home.start();
    bench.alarm().await;
    bench.all_is_delivered().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_emptied_or_deleted_after_a_kill_delivers_what_its_log_holds() {
    for deleted in [false, true] {
        let mut bench = Bench::new().await;
        let mut station = bench.home.start();
        bench.scan(&mut station, 1);
        bench.all_is_delivered().await;
        bench.world.mosquitto.stop();
        bench.scan(&mut station, 5);
        station.kill();
        if deleted {
            fs::remove_file(bench.file("")).unwrap();
        } else {
            fs::File::create(bench.file("")).unwrap();
        }
        bench.world.mosquitto.run();
        let mut station = bench.home.start();
        bench.scan(&mut station, 1);
        bench.all_is_delivered().await;
        let health = bench.alarm().await;
        assert!(
            health["journal"]["lost"].is_null(),
            "nobody can say how many there were: {health}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_taken_away_under_the_agent_cost_no_answer_also_if_it_is_killed_then() {
    let log = |bench: &Bench| fs::remove_file(bench.file("-wal")).unwrap();
    let index = |bench: &Bench| fs::remove_file(bench.file("-shm")).unwrap();
    let main = |bench: &Bench| fs::remove_file(bench.file("")).unwrap();
    let replaced = |bench: &Bench| fs::rename(bench.file(".copy"), bench.file("")).unwrap();
    let folder = |bench: &Bench| {
        fs::rename(bench.home.path("state"), bench.home.path("state-away")).unwrap()
    };
    for (what, spoil) in [
        ("log", &log as &dyn Fn(&Bench)),
        ("index", &index),
        ("database", &main),
        ("a copy in its place", &replaced),
        ("the folder", &folder),
    ] {
        let mut bench = Bench::new().await;
        let mut station = bench.home.start();
        bench.scan(&mut station, 2);
        bench.all_is_delivered().await;
        bench.copy("", ".copy");
        bench.world.mosquitto.stop();
        bench.scan(&mut station, 4);
        spoil(&bench);
        let began = Instant::now();
        // It is noticed without a scan; then comes the next one.
        while !bench
            .home
            .log()
            .contains(if matches!(what, "log" | "index") {
                "goes on with a new one"
            } else {
                "cannot be used"
            })
        {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{what}: not noticed: {}",
                bench.home.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.scan(&mut station, 1);
        station.kill();
        bench.world.mosquitto.run();
        let mut station = bench.home.start();
        bench.scan(&mut station, 1);
        bench.all_is_delivered().await;
        bench.alarm().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_is_refused_whatever_is_deleted_in_the_folder_and_all_of_it_is_private() {
    let mut bench = Bench::new().await;
    let mut station = bench.home.start();
    bench.scan(&mut station, 1);
    let state = bench.home.path("state");
    assert_eq!(
        fs::metadata(&state).unwrap().permissions().mode() & 0o777,
        0o700
    );
    for entry in fs::read_dir(&state).unwrap().map(Result::unwrap) {
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            entry.file_name()
        );
        if !entry
            .file_name()
            .to_str()
            .unwrap()
            .starts_with("journal.sqlite")
        {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let second = bench.home.command(&["run"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("is in use by another benchlight"),
        "{second:?}"
    );
    let lamps = bench.home.command(&["lamps", "test"]).output().unwrap();
    assert!(
        lamps.status.code() == Some(1)
            && String::from_utf8_lossy(&lamps.stderr).contains("in use by benchlight"),
        "{lamps:?}"
    );
    assert_eq!(
        bench
            .home
            .command(&["journal", "export"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(0),
        "reading takes no lock"
    );
    bench.scan(&mut station, 1);
    station.kill();
    // The lock is released when its agent ends.
    let mut station = bench.home.start();
    bench.scan(&mut station, 1);
}
