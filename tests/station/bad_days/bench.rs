//! The bench of a bad day: services, a broker, a dashboard, and a station whose lamps are watched.

use std::{
    cell::RefCell,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use benchlight::{
    readiness::{
        apple_business::simulator as apple_business,
        apple_dep::simulator as apple_dep,
        kandji::simulator::stock::{Device, HQ, Token},
    },
    simulator::stock::{Business, Dep},
};
use serde_json::Value;

use super::{Able, Answers, Row, Seen};
pub use crate::support::system;
use crate::{
    scans::World,
    support::{
        clocks::Clocks,
        dashboard::{Dashboard, Received},
        install_crypto,
        lamps::{Lamps, Lit},
        mosquitto::{DASHBOARD, TELEGRAF},
        station::{Home, ResultLine, Station},
    },
};

/// Patience for a machine with two busy cores. Promised times are measured and printed.
pub const PATIENCE: Duration = Duration::from_secs(40);
const HEALTH: &str = "benchlight/v1/test/bench-1/health";

pub struct Bench {
    pub row: &'static Row,
    pub world: World,
    pub apple: Option<apple_dep::Simulator>,
    pub business: Option<apple_business::Simulator>,
    pub home: Home,
    pub dashboard: Dashboard,
    pub answers: Vec<ResultLine>,
    pub seen: Seen,
    pub clock: Option<Clocks>,
    serials: usize,
    broken: Instant,
    /// The terminal of the station's newest process.
    newest: RefCell<Lamps>,
}

/// A running station and its lamps.
pub struct Running {
    pub station: Station,
    pub lamps: Lamps,
}

impl Bench {
    pub async fn new(row: &'static Row) -> Self {
        Self::in_world(row, World::new().await).await
    }

    pub async fn in_world(row: &'static Row, world: World) -> Self {
        install_crypto();
        let home = world.home(false, "");
        // A token of its own, which a day may damage, and not the demo's boxes.
        world.kandji.stock(|stock| {
            stock.tokens = vec![Token::healthy(
                HQ,
                "Acme MDM",
                "0123456789abcdef0123456789abcdef",
            )]
        });
        let dashboard = Dashboard::connect(world.mosquitto.plain, DASHBOARD, "benchlight/#").await;
        let bench = Self {
            row,
            world,
            apple: None,
            business: None,
            home,
            dashboard,
            answers: Vec::new(),
            seen: Seen::default(),
            clock: None,
            serials: 0,
            broken: Instant::now(),
            newest: RefCell::default(),
        };
        bench.configure("keep_alive", |text| {
            text.replace("[mqtt]\n", "[mqtt]\nkeep_alive = \"2s\"\n")
        });
        bench
    }

    /// Changes the config. Panics if there is nothing to change.
    pub fn configure(&self, what: &str, change: impl FnOnce(String) -> String) {
        let before = fs::read_to_string(self.home.config()).unwrap();
        let after = change(before.clone());
        assert!(
            after != before,
            "the config has nothing to change for {what}"
        );
        fs::write(self.home.config(), after).unwrap();
    }

    /// Starts the station and waits until health says `able`.
    pub async fn start(&self) -> Running {
        let known = self.dashboard.count("health");
        let running = self.start_in_trouble();
        self.dashboard
            .wait("health of the new process", PATIENCE, |all| {
                all.iter().filter(|one| one.channel() == "health").count() > known
            })
            .await;
        self.health("able at the start", |health| {
            health["able"] == true && health["broker"]["state"] == "connected"
        })
        .await;
        running
    }

    /// Starts the station.
    pub fn start_in_trouble(&self) -> Running {
        self.start_as(self.home.command(&["run"]))
    }

    /// Starts the station with another command.
    pub fn start_as(&self, mut command: Command) -> Running {
        if let Some(clock) = &self.clock {
            clock.for_command(&mut command);
        }
        let (lamps, terminal) = Lamps::open();
        self.newest.replace(lamps.clone());
        command
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "info,benchlight=debug")
            .stderr(terminal);
        Running {
            station: Station::of(command),
            lamps,
        }
    }

    /// The serial number of a box that is ready in every service.
    pub fn ready_box(&mut self) -> String {
        self.serials += 1;
        let serial = format!("KXBAD{:05}", self.serials);
        self.world
            .kandji
            .stock(|stock| stock.put(Device::ready(&serial)));
        if let Some(apple) = &self.apple {
            apple
                .apple()
                .put(&serial, Some(Dep::Assigned(Duration::from_hours(48))));
        }
        if let Some(business) = &self.business {
            business.put(&serial, Some(Business::Ours));
        }
        serial
    }

    /// Scans a ready box and returns the answer.
    pub fn scan(&mut self, running: &mut Running) -> ResultLine {
        let serial = self.ready_box();
        running.station.scan(serial.as_bytes());
        self.answer(running)
    }

    /// The next answer that is not a change.
    pub fn answer(&mut self, running: &Running) -> ResultLine {
        loop {
            let answer = running
                .station
                .answer_within(PATIENCE)
                .unwrap_or_else(|| panic!("an answer; the log:\n{}", tail(&running.lamps)));
            if !answer.change {
                self.answers.push(answer.clone());
                return answer;
            }
        }
    }

    /// A scan as on an ordinary day: ready, and green once.
    pub async fn scan_is_green(&mut self, running: &mut Running) {
        let greens = running.lamps.greens();
        let answer = self.scan(running);
        assert_eq!(
            (answer.verdict.as_str(), answer.reason.as_str()),
            ("ready", "assigned"),
            "{answer:?}\n{}",
            tail(&running.lamps)
        );
        self.lamps(running, "green", |lamps| lamps.greens() == greens + 1)
            .await;
    }

    /// A scan with the answer and the lamps that the row says.
    pub async fn scan_is_as_told(&mut self, running: &mut Running) {
        match self.row.answers {
            Answers::AsAlways => self.scan_is_green(running).await,
            Answers::Unknown(reason) => {
                let greens = running.lamps.greens();
                let answer = self.scan(running);
                assert_eq!(
                    (answer.verdict.as_str(), answer.reason.as_str()),
                    ("unknown", reason),
                    "{answer:?}\n{}",
                    tail(&running.lamps)
                );
                self.lamps(running, "amber for hold", |lamps| {
                    lamps.now().0 == Lit::AMBER
                })
                .await;
                assert_eq!(running.lamps.greens(), greens, "never green");
            }
            Answers::Rescan(_) | Answers::Nothing => {}
        }
    }

    /// Marks the time of the fault.
    pub fn break_it(&mut self) {
        self.broken = Instant::now();
    }

    /// Health says what the row says, both live and retained.
    pub async fn health_is_as_expected(&mut self) {
        let able = self.row.able;
        let is_told = move |health: &Value| is_told(able, health);
        self.health("what the row tells of health", is_told).await;
        self.seen.reported = Some(self.broken.elapsed());
        let late = Dashboard::connect(self.world.mosquitto.plain, TELEGRAF, HEALTH).await;
        late.wait("retained health", PATIENCE, |all| !all.is_empty())
            .await;
        let first = &late.all()[0];
        assert!(first.retained && is_told(&first.json()), "{}", first.text());
    }

    /// The signal for a wrong barcode ends after two seconds; then idle lamps show whether the station is able.
    pub async fn idle_lamps_are_as_told(&mut self, running: &mut Running) {
        // Sooner after a serial number it would count as a slip, and show nothing.
        tokio::time::sleep(Duration::from_millis(600)).await;
        running.station.scan(b"490154203237518");
        assert_eq!(self.answer(running).reason, "imei");
        self.idle_lamps(running).await;
    }

    /// The lamps of an idle station. A hold signal before that ends by itself after 30 s.
    pub async fn idle_lamps(&self, running: &Running) {
        let wanted = if matches!(self.row.able, Able::No(_)) {
            Lit::RED
        } else {
            Lit::DARK
        };
        // Longer than any lit or dark part of a signal.
        self.lamps(running, "the idle lamps", |lamps| {
            lamps.now().0 == wanted && lamps.now().1 > Duration::from_millis(1_100)
        })
        .await;
        self.seen.lamps.set(true);
    }

    /// Time since the fault or its repair.
    pub fn since(&self) -> Duration {
        self.broken.elapsed()
    }

    /// Marks the time of the repair. The station must recover without a restart.
    pub fn mend(&mut self) {
        self.broken = Instant::now();
    }

    /// Health says that everything works, without a scan, and the next box is green.
    pub async fn well_by_itself(&mut self, running: &mut Running) {
        self.health("able again", |health| health["able"] == true)
            .await;
        self.seen.mended = Some(self.broken.elapsed());
        self.scan_is_green(running).await;
    }

    /// The next box is green, and health says that everything works.
    pub async fn well_by_a_scan(&mut self, running: &mut Running) {
        self.scan_is_green(running).await;
        self.seen.mended = Some(self.broken.elapsed());
        self.health("able again", |health| health["able"] == true)
            .await;
    }

    /// Every answer so far has arrived and is the same as on the terminal, and `seq` has no gap in any epoch.
    pub async fn nothing_is_lost(&self) {
        self.arrived(&self.answers).await;
        let mut places: std::collections::BTreeMap<String, Vec<u64>> =
            std::collections::BTreeMap::new();
        for (epoch, seq) in self.dashboard.places().into_keys() {
            places.entry(epoch).or_default().push(seq);
        }
        for (epoch, mut seqs) in places {
            seqs.sort_unstable();
            assert_eq!(
                seqs,
                (1..=seqs.len() as u64).collect::<Vec<_>>(),
                "seq has no gap in {epoch}"
            );
        }
    }

    /// Waits until every answer so far has arrived. A station that reconnects before the dashboard learns that nobody subscribes, and
    /// tries again with the next box; so boxes are scanned until everything has arrived.
    pub async fn arrived_with_the_next_boxes(&mut self, running: &mut Running) {
        let answers = self.answers.clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            for _ in 0..150 {
                let scans: Vec<Value> = self
                    .dashboard
                    .on("scan")
                    .iter()
                    .map(Received::json)
                    .collect();
                if answers
                    .iter()
                    .all(|answer| scans.iter().any(|event| event["id"] == answer.id.as_str()))
                {
                    return self.arrived(&answers).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(
                Instant::now() < deadline,
                "{}: every answer arrives; the log:\n{}",
                self.row.name,
                tail(&running.lamps)
            );
            self.scan_is_green(running).await;
        }
    }

    /// Waits until these answers have arrived, each with its lamp signal.
    pub async fn arrived(&self, answers: &[ResultLine]) {
        let is_there = |all: &[Received], answer: &ResultLine| {
            all.iter()
                .any(|one| one.channel() == "scan" && one.json()["id"] == answer.id.as_str())
        };
        self.dashboard
            .wait("every answered scan", PATIENCE, |all| {
                answers.iter().all(|answer| is_there(all, answer))
            })
            .await;
        for answer in answers {
            let event = self.event(&answer.id);
            let lamp = match answer.verdict.as_str() {
                "ready" => "ready",
                "unknown" | "wait" => "hold",
                "rescan" => "rescan",
                _ => "stop",
            };
            let data = &event["data"];
            assert_eq!(
                (
                    data["verdict"].as_str(),
                    data["reason"].as_str(),
                    data["lamp"].as_str()
                ),
                (
                    Some(answer.verdict.as_str()),
                    Some(answer.reason.as_str()),
                    Some(lamp)
                )
            );
        }
    }

    /// The message of the scan with that id.
    pub fn event(&self, id: &str) -> Value {
        self.dashboard
            .on("scan")
            .iter()
            .map(Received::json)
            .find(|event| event["id"] == id)
            .expect("it arrived")
    }

    /// Waits until the newest health satisfies `wanted`.
    pub async fn health(&self, what: &str, condition: impl Fn(&Value) -> bool) {
        let newest = |all: &[Received]| {
            all.iter()
                .rev()
                .find(|one| one.channel() == "health")
                .map(Received::json)
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let health = newest(&self.dashboard.all());
            if health.as_ref().is_some_and(&condition) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{}: {what}: health is {health:#?}; the log:\n{}",
                self.row.name,
                tail(&self.newest.borrow())
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the lamps satisfy `wanted`.
    pub async fn lamps(&self, running: &Running, what: &str, condition: impl Fn(&Lamps) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(&running.lamps) {
            assert!(
                Instant::now() < deadline,
                "{}: {what}: lamps show {:?}\n{}",
                self.row.name,
                running.lamps.now(),
                tail(&running.lamps)
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A whole day on which something outside fails and is repaired.
    pub async fn end(self) -> Seen {
        self.nothing_is_lost().await;
        self.seen
    }
}

/// Does health say what the row says?
pub fn is_told(able: Able, health: &Value) -> bool {
    match able {
        Able::Yes => health["able"] == true && health["reason"].is_null(),
        Able::Alarm(alarm) => {
            health["able"] == true
                && health["alarms"]
                    .as_array()
                    .is_some_and(|alarms| alarms.iter().any(|one| one == alarm))
        }
        Able::Lamps(state) => health["able"] == true && health["lamps"]["main"] == state,
        Able::No(reason) => health["able"] == false && health["reason"] == reason,
        Able::Offline => true,
    }
}

/// The end of the log, without the drawn lamps.
pub fn tail(lamps: &Lamps) -> String {
    let text = lamps.text();
    // A drawing is between \x1b7 and \x1b8.
    let log: String = text
        .split("\x1b7")
        .map(|part| part.split_once("\x1b8").map_or(part, |(_, after)| after))
        .collect();
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A small filesystem, unmounted when dropped.
pub struct SmallDisk(String);

impl SmallDisk {
    pub fn mount(place: &Path, size: &str) -> Result<Self, String> {
        fs::create_dir_all(place).unwrap();
        let place = place.to_str().unwrap().to_owned();
        system(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=700"),
                "tmpfs",
                &place,
            ],
        )
        .map_err(|why| format!("needs the right to mount: {why}"))?;
        Ok(Self(place))
    }

    pub fn remount(&self, how: &str) {
        system("mount", &["-o", &format!("remount,{how}"), &self.0]).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = system("umount", &["-l", &self.0]);
    }
}
