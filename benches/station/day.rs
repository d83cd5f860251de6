//! A day of stations that share the limits of their services, with time made fast: three with Kandji, with replicas and without, and
//! one with Jamf Pro.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, process,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use benchlight::{
    readiness::{
        apple_business::simulator::{self as business, Simulator},
        jamf::simulator as jamf,
        kandji::simulator::{
            self as kandji, Tenant,
            stock::{Device, Enrollment, HQ, Stock},
        },
    },
    simulator::{
        Running,
        faults::Effect,
        fleet::{self, Fleet},
        stock::{Business, SERVER_UUID},
    },
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    report::{Promise, Report, Times, number},
    rig::TOKEN,
    support::{clocks::Clocks, station::Home},
};

/// So many times as fast all clocks of this bench run, usually.
const FACTOR: u32 = 35;
const STATIONS: u32 = 3;
/// Usually.
const DEVICES: u32 = 10_000;
const CHANGES: usize = 200;
/// From one scan to the next: 2,000 an hour.
const PACE: Duration = Duration::from_millis(1_800);
/// How long a service takes to answer.
const SERVICE: Duration = Duration::from_millis(300);
/// Usually: an hour of Kandji's limit, in which over half of the devices are scanned, each once.
const MINUTES: u32 = 60;
/// After the last scan: another pass, and what it takes back.
const AFTER: Duration = Duration::from_mins(15);
const UNDER: &str = "BENCHLIGHT_DAY_UNDER_FAST_CLOCKS";

/// A size that the caller may change, to see in short time that all of it works.
fn asked(name: &str, usual: u32) -> u32 {
    env::var(name).map_or(usual, |text| text.parse().unwrap())
}

fn factor() -> u32 {
    asked("BENCHLIGHT_DAY_FACTOR", FACTOR)
}

fn devices() -> u32 {
    asked("BENCHLIGHT_DEVICES", DEVICES)
}

pub async fn day(report: &mut Report) {
    if env::var_os(UNDER).is_some() {
        return both(report).await;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let clocks = match Clocks::fast(folder.path(), factor()) {
        Ok(clocks) => clocks,
        Err(why) => return report.note(&format!("skipped: {why}")),
    };
    clocks.set(0, Some(true));
    // All of it once more, stations and services, under these clocks.
    let mut command = process::Command::new(env::current_exe().unwrap());
    clocks.for_command(&mut command);
    let done = command.args(["day", "--bench"]).env(UNDER, "1").status();
    assert!(done.unwrap().success());
}

async fn both(report: &mut Report) {
    let minutes = asked("BENCHLIGHT_DAY_MINUTES", MINUTES);
    let (factor, devices) = (factor(), devices());
    let scans = minutes * 60_000 / 1_800;
    report.note(&format!(
        "time runs {factor} times as fast: {minutes} minutes, {scans} scans a station, {devices} devices, {CHANGES} of which change;"
    ));
    report.note(&format!(
        "Kandji allows 10,000 requests an hour and 50 a second, Apple Business {} a minute; both take {} ms; a third of each for a station",
        business::MEASURED,
        SERVICE.as_millis()
    ));
    report.note(&format!(
        "times are of the day: 1 ms of this machine's own work counts {factor} ms"
    ));
    for (what, stations, replica) in [
        (
            "Kandji and Apple Business, replica = \"first\"",
            STATIONS,
            "first",
        ),
        (
            "Kandji and Apple Business, replica = \"off\"",
            STATIONS,
            "off",
        ),
        (
            "Jamf Pro, and Apple Business with replica = \"first\"",
            1,
            "first",
        ),
    ] {
        report.note(&format!("{what}; {stations} stations"));
        let begun = Instant::now();
        let mdm: Box<dyn Mdm> = if stations == 1 {
            Box::new(Jamf::new().await)
        } else {
            Box::new(Kandji::new().await)
        };
        let world = World::new(mdm, stations).await;
        let told = world.live(replica, scans).await;
        told.judge(report, &world, replica == "first");
        report.figure(
            "  wall time",
            begun.elapsed().as_secs_f64() / f64::from(factor),
            "s",
            Promise::Nothing,
        );
    }
}

/// The simulated MDM of a day.
trait Mdm {
    fn running(&self) -> &Running;
    /// Its `[[source]]`, in which `replica` stands where it has one; name and content of its credential.
    fn source(&self, replica: &str) -> (String, (&'static str, String));
    /// Is that device assigned and not enrolled?
    fn is_ready(&self, serial: &str) -> bool;
    fn remove_profile(&self, serial: &str);
    fn enrol(&self, serial: &str);
}

struct Kandji(Tenant);

impl Kandji {
    async fn new() -> Self {
        let mut stock = Stock::of(Vec::new());
        stock.fleet = Fleet::of(devices());
        let options = kandji::Options {
            by_second: 50,
            ..kandji::Options::new(TOKEN, stock)
        };
        Self(kandji::serve(options).await.unwrap())
    }

    fn change(&self, serial: &str, change: impl FnOnce(Device) -> Device) {
        self.0.stock(|stock| {
            let device = stock.device(serial).unwrap();
            stock.put(change(device));
        });
    }
}

impl Mdm for Kandji {
    fn running(&self) -> &Running {
        &self.0
    }

    fn source(&self, replica: &str) -> (String, (&'static str, String)) {
        let source = format!(
            "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{}\"\ntoken_credential = \"kandji-token\"\ntokens = [\"{HQ}\"]\n{replica}\nquota_share = 0.33",
            self.0.base()
        );
        (source, ("kandji-token", TOKEN.to_owned()))
    }

    fn is_ready(&self, serial: &str) -> bool {
        let device = self.0.stock(|stock| stock.device(serial));
        device.is_some_and(|device| {
            device.enrollment == Enrollment::Awaiting
                && device.profile_status.as_deref() == Some("assigned")
        })
    }

    fn remove_profile(&self, serial: &str) {
        self.change(serial, |device| Device {
            profile_status: Some("removed".to_owned()),
            ..device
        });
    }

    fn enrol(&self, serial: &str) {
        self.change(serial, |device| Device {
            enrollment: Enrollment::Enrolled,
            profile_status: Some("pushed".to_owned()),
            // Its times of pushing and enrolling, too.
            given_at: Timestamp::now(),
            ..device
        });
    }
}

struct Jamf(jamf::Server);

impl Jamf {
    async fn new() -> Self {
        let mut stock = jamf::stock::Stock::of(Vec::new());
        stock.fleet = Fleet::of(devices());
        Self(jamf::serve(jamf::Options::new(stock)).await.unwrap())
    }

    fn device(&self, serial: &str) -> Option<jamf::stock::Device> {
        self.0.stock(|stock| stock.fleet.get(serial))
    }
}

impl Mdm for Jamf {
    fn running(&self) -> &Running {
        &self.0
    }

    fn source(&self, _: &str) -> (String, (&'static str, String)) {
        let source = format!(
            "[[source]]\nname = \"jamf\"\nkind = \"jamf\"\nurl = \"{}\"\nclient_id = \"{}\"\nsecret_credential = \"jamf-secret\"",
            self.0.base(),
            self.0.client_id()
        );
        (source, ("jamf-secret", self.0.secret()))
    }

    fn is_ready(&self, serial: &str) -> bool {
        self.device(serial)
            .is_some_and(|device| device.status == "ASSIGNED")
    }

    fn remove_profile(&self, serial: &str) {
        let mut device = self.device(serial).unwrap();
        "REMOVED".clone_into(&mut device.status);
        self.0.stock(|stock| stock.put(device));
    }

    fn enrol(&self, serial: &str) {
        let mut device = self.device(serial).unwrap();
        "PUSHED".clone_into(&mut device.status);
        device.pushed_at = Some(Timestamp::now());
        self.0.stock(|stock| stock.put(device));
    }
}

struct World {
    mdm: Box<dyn Mdm>,
    business: Simulator,
    stations: u32,
}

/// What happened to a device, and when.
type Changed = BTreeMap<String, Timestamp>;

struct Told {
    /// Of each station.
    records: Vec<Vec<Value>>,
    changed: Changed,
}

impl World {
    async fn new(mdm: Box<dyn Mdm>, stations: u32) -> Self {
        let options = business::Options {
            boxes: devices(),
            reads_per_minute: business::MEASURED,
            ..business::Options::demo()
        };
        let business = business::serve(options).await.unwrap();
        mdm.running().faults().all(Effect::Delay(SERVICE));
        business.faults().all(Effect::Delay(SERVICE));
        Self {
            mdm,
            business,
            stations,
        }
    }

    fn home(&self, replica: &str) -> Home {
        let replica = format!("replica = \"{replica}\"");
        let (mdm, (name, secret)) = self.mdm.source(&replica);
        // Its limit is not told, so each station gets its part of the one that was measured.
        let share = 1.0 / f64::from(self.stations);
        let home = Home::on_disk(
            false,
            &format!(
                "[[scanner]]\nname = \"pipe\"\nkind = \"stdin\"\n\n[indicator]\nkind = \"terminal\"\n\n\
                 {mdm}\n\n\
                 [[source]]\nname = \"business\"\nkind = \"apple-business\"\nurl = \"{}\"\ntoken_url = \"{}\"\nclient_id = \"{}\"\nkey_id = \"{}\"\n\
                 key_credential = \"apple-business-key\"\nexpected_servers = [\"{SERVER_UUID}\"]\nreads_per_minute = {}\n{replica}\nquota_share = {share:.2}\n\n\
                 [mqtt]\nurl = \"mqtt://127.0.0.1:9\"\n",
                self.business.api(),
                self.business.token_url(),
                business::CLIENT_ID,
                business::KEY_ID,
                business::MEASURED,
            ),
        );
        home.credential(name, &secret);
        home.credential("apple-business-key", &self.business.credential());
        home
    }

    async fn live(&self, replica: &str, scans: u32) -> Told {
        let homes: Vec<Home> = (0..self.stations).map(|_| self.home(replica)).collect();
        let stations: Vec<_> = homes.iter().map(Home::start).collect();
        let begun = Instant::now();
        let is_filled = |home: &Home| home.log().matches("the replica is filled").count() == 2;
        while replica != "off" && !homes.iter().all(is_filled) {
            assert!(
                begun.elapsed() < Duration::from_hours(1),
                "not filled: {}",
                homes[0].log()
            );
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        let (green, greens) = channel();
        let workers: Vec<_> = stations
            .into_iter()
            .zip(0..)
            .map(|(mut station, first)| {
                let (green, stations) = (green.clone(), self.stations);
                thread::spawn(move || {
                    let begun = Instant::now();
                    for nth in 0..scans {
                        let at = begun + PACE * nth;
                        thread::sleep(at.saturating_duration_since(Instant::now()));
                        station.scan(fleet::serial(first + stations * nth).as_bytes());
                        for line in station
                            .so_far()
                            .into_iter()
                            .filter(|line| !line.change && line.verdict == "ready")
                        {
                            let _ = green.send(line.serial);
                        }
                    }
                    station
                })
            })
            .collect();
        drop(green);
        let changed = self.change(&greens, PACE * scans).await;
        tokio::time::sleep(AFTER.min(PACE * scans)).await;
        for worker in workers {
            let mut station = worker.join().unwrap();
            station.signal("TERM");
            assert!(
                station.ended_within(Duration::from_mins(20)).is_some(),
                "it ends"
            );
        }
        Told {
            records: homes.iter().map(records).collect(),
            changed,
        }
    }

    /// Changes devices, and enrols those that were green, until all scans are made.
    async fn change(&self, greens: &Receiver<String>, time: Duration) -> Changed {
        let begun = Instant::now();
        let mut changed = Changed::new();
        let mut to_enrol: BTreeSet<(Instant, String)> = BTreeSet::new();
        while begun.elapsed() < time {
            let due = number(CHANGES as u64) * begun.elapsed().div_duration_f64(time);
            if number(changed.len() as u64) < due {
                self.change_one(&mut changed);
            }
            let now = Instant::now();
            to_enrol.extend(
                greens
                    .try_iter()
                    .map(|serial| (now + Duration::from_secs(fastrand::u64(300..1_200)), serial)),
            );
            while let Some((_, serial)) = to_enrol.first().filter(|(at, _)| *at <= now).cloned() {
                to_enrol.pop_first();
                if !changed.contains_key(&serial) {
                    self.mdm.enrol(&serial);
                }
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        changed
    }

    /// In turn a profile is removed in the MDM and a device is assigned to another server at Apple.
    fn change_one(&self, changed: &mut Changed) {
        let serial = loop {
            let nth = fastrand::u32(..devices());
            let serial = fleet::serial(nth);
            if self.mdm.is_ready(&serial)
                && fleet::story(nth).business == Business::Ours
                && !changed.contains_key(&serial)
            {
                break serial;
            }
        };
        if changed.len().is_multiple_of(2) {
            self.mdm.remove_profile(&serial);
        } else {
            self.business.put(&serial, Some(Business::Other));
        }
        changed.insert(serial, Timestamp::now());
    }
}

/// All records of a station that has ended.
fn records(home: &Home) -> Vec<Value> {
    let out = home
        .command(&["journal", "export", "--format", "jsonl"])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn time(record: &Value) -> Timestamp {
    record["time"].as_str().unwrap().parse().unwrap()
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

/// How long after the scan or after that moment, whichever is later.
fn after(record: &Value, moment: Timestamp) -> Duration {
    Duration::try_from(time(record).duration_since(moment)).unwrap_or_default()
}

impl Told {
    fn judge(&self, report: &mut Report, world: &World, with_replica: bool) {
        let promised = |promise| {
            if with_replica {
                promise
            } else {
                Promise::Nothing
            }
        };
        let (mdm, business) = (world.mdm.running().counts(), world.business.counts());
        report.figure(
            "  requests to the MDM",
            number(mdm.total),
            "",
            Promise::Nothing,
        );
        report.figure(
            "  requests to Apple Business",
            number(business.total),
            "",
            Promise::Nothing,
        );
        report.figure(
            "  of them answered 429",
            number(mdm.too_many + business.too_many),
            "",
            promised(Promise::Under(2.0)),
        );
        let (mut shares, mut took) = (Vec::new(), Times::default());
        let (mut late, mut never) = (Times::default(), 0);
        let (mut recalls, mut untrue) = (Vec::new(), 0);
        for records in &self.records {
            let scans: BTreeMap<&str, &Value> = records
                .iter()
                .filter(|one| one["kind"] == "scan")
                .map(|one| (text(one, "id"), one))
                .collect();
            let changes: Vec<&Value> = records
                .iter()
                .filter(|one| one["kind"] == "change")
                .collect();
            let is_open = |one: &Value| text(one, "verdict") == "unknown";
            let at_once = scans.values().filter(|one| !is_open(one)).count();
            shares.push(number(at_once as u64) / number(scans.len() as u64));
            for (id, scan) in &scans {
                took.add(Duration::from_millis(
                    scan["took_ms"].as_u64().unwrap_or_default(),
                ));
                if is_open(scan) {
                    match changes
                        .iter()
                        .find(|one| text(one, "scan") == *id && !is_open(one))
                    {
                        Some(change) => late.add(after(change, time(scan))),
                        None => never += 1,
                    }
                }
            }
            for recall in changes.iter().filter(|one| one["cause"] == "recall") {
                let scanned = scans.get(text(recall, "scan")).map(|scan| time(scan));
                match (self.changed.get(text(recall, "serial")), scanned) {
                    (Some(changed), Some(scanned)) => {
                        recalls.push(after(recall, scanned.max(*changed)).as_secs())
                    }
                    _ => untrue += 1,
                }
            }
        }
        let mut unknown: BTreeMap<&str, u32> = BTreeMap::new();
        for one in self.records.iter().flatten() {
            if one["kind"] == "scan" && text(one, "verdict") == "unknown" {
                *unknown.entry(text(one, "reason")).or_default() += 1;
            }
        }
        report.note(&format!("  unknown at the scan, by reason: {unknown:?}"));
        let least = shares.iter().copied().fold(1.0, f64::min);
        let most = shares.iter().copied().fold(0.0, f64::max);
        let percents: Vec<String> = shares
            .iter()
            .map(|share| format!("{:.1} %", share * 100.0))
            .collect();
        report.note(&format!(
            "  answered at the scan with a verdict other than unknown, by station: {}",
            percents.join(", ")
        ));
        report.figure(
            "  the least served station beside the best",
            least / most,
            "",
            promised(Promise::AtLeast(0.9)),
        );
        report.figure(
            "  scan to answer, p50",
            took.percentile(50),
            "ms",
            Promise::Nothing,
        );
        report.figure(
            "  scan to answer, p99",
            took.percentile(99),
            "ms",
            Promise::Nothing,
        );
        report.figure(
            "  boxes unknown at the scan and answered later",
            number(late.count()),
            "",
            Promise::Nothing,
        );
        if late.count() > 0 {
            report.figure(
                "  .. how much later, median",
                late.median() / 1e3,
                "s",
                Promise::Nothing,
            );
            report.figure("  .. longest", late.longest() / 1e3, "s", Promise::Nothing);
        }
        report.figure(
            "  boxes unknown to the end",
            number(never),
            "",
            Promise::Nothing,
        );
        report.figure(
            "  recalls of boxes that had changed",
            number(recalls.len() as u64),
            "",
            Promise::Nothing,
        );
        recalls.sort_unstable();
        report.note(&format!("  .. each so many seconds after its scan or its change, whichever was later: {recalls:?}"));
        report.figure(
            "  recalls of boxes that had not",
            number(untrue),
            "",
            promised(Promise::Under(1.0)),
        );
    }
}
