//! Kills between any two steps of a scan: what the lamp answered is delivered, `seq` has no gap, no `id` has two bodies.
//!
//! A tracer kills the process at the n-th call of one type in one thread, so that kills happen at each step of a scan: reading it,
//! writing it, syncing, answering, sending, receiving the acknowledgement, marking it as delivered. When a kill happened is found out
//! afterwards from the journal, the answers and the broker. The long test fails if a window was never hit.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    process::Command,
    time::{Duration, Instant},
};

use benchlight::{
    journal::{
        Stored,
        reader::{Entry, Reader},
    },
    readiness::kandji::simulator::stock::Device,
};
use serde_json::Value;

use super::scans::World;
use crate::support::{
    dashboard::Dashboard,
    eventually,
    station::{Home, ResultLine},
};

/// When a kill happened, seen from one scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Window {
    /// Scanned but not written anywhere; the person saw no lamp.
    BeforeItsBytesAreKept,
    /// Its bytes are in the journal, but not its verdict: the next start closes it as interrupted.
    BeforeItsVerdictIsSafe,
    /// Recorded, but the lamp had not answered yet.
    BeforeTheLampAnswers,
    /// Answered, but not yet at the broker.
    BeforeTheBrokerHasIt,
    /// At the broker, but the journal did not know: it is sent twice.
    BeforeItIsMarkedAsSent,
    /// After everything was done. Reached on purpose, because the mark may wait for half a minute or the next record.
    AfterAll,
}

const WINDOWS: [Window; 6] = [
    Window::BeforeItsBytesAreKept,
    Window::BeforeItsVerdictIsSafe,
    Window::BeforeTheLampAnswers,
    Window::BeforeTheBrokerHasIt,
    Window::BeforeItIsMarkedAsSent,
    Window::AfterAll,
];

/// Calls at which the tracer kills, and how many of them a thread makes from its start to the end of a few scans.
const STEPS: [(&str, u32); 7] = [
    ("fdatasync", 10),
    ("pwrite64", 50),
    ("write", 12),
    ("sendto", 8),
    ("writev", 8),
    ("recvfrom", 24),
    ("futex", 60),
];

const SCANS_EACH: usize = 3;
/// So many more scans at the most, 50 ms apart, until a round's own are marked as delivered.
const MORE_SCANS: usize = 100;

/// A small random number generator: a failing run can be repeated with the seed it prints.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Default)]
struct Ledger {
    /// What the lamp answered: id to reason.
    answered: BTreeMap<String, String>,
    hits: BTreeMap<Window, u64>,
    /// Scans of which the journal had nothing at the kill, or only their bytes; the next start shows which.
    undecided: BTreeSet<String>,
    kills: u64,
}

impl Ledger {
    fn take(&mut self, answers: impl IntoIterator<Item = ResultLine>) {
        let answers = answers.into_iter();
        self.answered
            .extend(answers.map(|answer| (answer.id, answer.reason)));
    }
}

/// A round for each of the steps, then one that kills after all.
fn run_and_kill(
    world: &World,
    home: &Home,
    dice: &mut Dice,
    (nth, serials): (u64, &[String]),
    ledger: &mut Ledger,
) {
    match STEPS.get(usize::try_from(nth).unwrap() % (STEPS.len() + 1)) {
        Some((call, most)) => {
            let when = 1 + dice.below(u64::from(*most));
            kill_at(home, dice, (call, when), serials, ledger);
        }
        None => kill_after_all(world, home, (nth, serials), ledger),
    }
    ledger.kills += 1;
}

fn kill_at(
    home: &Home,
    dice: &mut Dice,
    (call, when): (&str, u64),
    serials: &[String],
    ledger: &mut Ledger,
) {
    let mut station = home.start_and_kill_at(call, when);
    for serial in serials {
        station.scan(serial.as_bytes());
    }
    // If the tracer does not kill it, the clock does, some time after the answers.
    let patience = Duration::from_millis(1_500);
    let begun = Instant::now();
    let mut answers = Vec::new();
    while station.ended_within(Duration::ZERO).is_none()
        && answers.len() < serials.len()
        && begun.elapsed() < patience
    {
        answers.extend(station.answer_within(Duration::from_millis(20)));
    }
    let _ = station.ended_within(Duration::from_millis(dice.below(250)));
    station.kill();
    answers.extend(station.rest());
    ledger.take(answers);
}

/// The next record writes the marks of what was acknowledged before it, so other boxes are scanned until that has happened.
fn kill_after_all(
    world: &World,
    home: &Home,
    (nth, serials): (u64, &[String]),
    ledger: &mut Ledger,
) {
    let mut station = home.start();
    for serial in serials {
        station.scan(serial.as_bytes());
        ledger.take([station.answer()]);
    }
    for more in 0..MORE_SCANS {
        std::thread::sleep(Duration::from_millis(50));
        let other = format!("KY{nth:05}{more:03}");
        world.kandji.stock(|stock| stock.put(Device::ready(&other)));
        station.scan(other.as_bytes());
        ledger.take([station.answer()]);
        let records = records(home);
        let marked = |serial| records.get(serial).is_some_and(is_marked);
        if serials.iter().all(marked) {
            break;
        }
    }
    station.kill();
    ledger.take(station.rest());
}

const fn is_marked(stored: &Stored) -> bool {
    stored.delivered_at.is_some()
}

/// The newest record of each box of the last minutes.
fn records(home: &Home) -> HashMap<String, Stored> {
    let mut records = HashMap::new();
    if let Ok(mut reader) = Reader::open(&home.path("state")) {
        let mut take = |entry: Entry| {
            if let Entry::Record(stored) = entry
                && let Some(serial) = stored.recorded.record.serial.clone()
            {
                records.insert(serial.to_string(), *stored);
            }
            Ok::<(), benchlight::journal::reader::ReadFault>(())
        };
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(60);
        let _ = reader.export(Some(since), None, &mut take);
    }
    records
}

/// Finds out when the kill happened for each scan, from the journal and from what has arrived.
fn classify(home: &Home, dashboard: &Dashboard, serials: &[String], ledger: &mut Ledger) {
    let arrived: BTreeSet<String> = dashboard
        .on("scan")
        .iter()
        .filter_map(|one| one.json()["id"].as_str().map(str::to_owned))
        .collect();
    let records = records(home);
    for serial in serials {
        let window = match records.get(serial) {
            None => {
                ledger.undecided.insert(serial.clone());
                continue;
            }
            Some(stored) => {
                let id = stored.recorded.record.id.to_string();
                match (
                    ledger.answered.contains_key(&id),
                    arrived.contains(&id),
                    is_marked(stored),
                ) {
                    (false, ..) => Window::BeforeTheLampAnswers,
                    (true, false, _) => Window::BeforeTheBrokerHasIt,
                    (true, true, false) => Window::BeforeItIsMarkedAsSent,
                    (true, true, true) => Window::AfterAll,
                }
            }
        };
        *ledger.hits.entry(window).or_default() += 1;
    }
}

async fn kills(times: u64, seed: u64) -> Ledger {
    let world = World::new().await;
    let dashboard = world.dashboard().await;
    let home = world.home(false, "");
    let mut dice = Dice(seed);
    let mut ledger = Ledger::default();
    for nth in 0..times {
        let serials: Vec<String> = (0..SCANS_EACH)
            .map(|scan| format!("KX{nth:05}{scan:03}"))
            .collect();
        world.kandji.stock(|stock| {
            serials
                .iter()
                .for_each(|serial| stock.put(Device::ready(serial)))
        });
        run_and_kill(&world, &home, &mut dice, (nth, &serials), &mut ledger);
        // What the broker has soon reaches the dashboard.
        tokio::time::sleep(Duration::from_millis(15)).await;
        classify(&home, &dashboard, &serials, &mut ledger);
    }

    // An undisturbed run delivers what is left. It is up once it has answered a scan.
    let mut station = home.start();
    world
        .kandji
        .stock(|stock| stock.put(Device::ready("KXLAST00001")));
    station.scan(b"KXLAST00001");
    ledger.take([station.answer()]);
    let everything = |all: &[crate::support::dashboard::Received]| {
        let arrived: BTreeSet<String> = all
            .iter()
            .filter_map(|one| one.json()["id"].as_str().map(str::to_owned))
            .collect();
        ledger.answered.keys().all(|id| arrived.contains(id))
    };
    dashboard
        .wait("every answered scan", Duration::from_secs(60), everything)
        .await;
    let mut reader = Reader::open(&home.path("state")).unwrap();
    eventually("an empty outbox", Duration::from_secs(60), || {
        reader.unsent(0, 1).unwrap().is_empty()
    })
    .await;
    station.signal("TERM");
    assert!(
        station
            .ended_within(Duration::from_secs(5))
            .unwrap()
            .success(),
        "{}",
        home.log()
    );

    let mut interrupted = BTreeSet::new();
    let mut recorded = BTreeMap::new();
    let take = |entry: Entry| {
        match entry {
            Entry::Unfinished(scan) => {
                interrupted.insert(String::from_utf8(scan.bytes.unwrap_or_default()).unwrap());
            }
            Entry::Record(stored) => {
                recorded.insert(stored.recorded.seq, stored.recorded.record.id.to_string());
            }
        }
        Ok::<(), benchlight::journal::reader::ReadFault>(())
    };
    reader.export(None, None, take).unwrap();
    for serial in &ledger.undecided {
        let window = if interrupted.contains(serial) {
            Window::BeforeItsVerdictIsSafe
        } else {
            Window::BeforeItsBytesAreKept
        };
        *ledger.hits.entry(window).or_default() += 1;
    }

    let mut bodies: HashMap<String, Value> = HashMap::new();
    let mut seqs = BTreeMap::new();
    for received in dashboard
        .on("scan")
        .into_iter()
        .chain(dashboard.on("change"))
    {
        let mut body = received.json();
        let id = body["id"].as_str().unwrap().to_owned();
        seqs.insert(body["data"]["seq"].as_u64().unwrap(), id.clone());
        body["data"]["replay"] = Value::Null;
        let before = bodies.insert(id, body.clone());
        assert!(
            before.is_none_or(|before| before == body),
            "one id with two bodies"
        );
    }
    assert_eq!(
        seqs.keys().copied().collect::<Vec<_>>(),
        (1..=seqs.len() as u64).collect::<Vec<_>>(),
        "seq has no gap"
    );
    assert_eq!(seqs, recorded, "what was delivered is what was recorded");
    for (id, reason) in &ledger.answered {
        assert_eq!(
            bodies
                .get(id)
                .and_then(|body| body["data"]["reason"].as_str()),
            Some(reason.as_str()),
            "what the lamp answered is what was delivered"
        );
    }
    assert_eq!(
        dashboard
            .places()
            .keys()
            .map(|(epoch, _)| epoch)
            .collect::<BTreeSet<_>>()
            .len(),
        1,
        "one journal, one epoch"
    );
    println!(
        "{} kills, seed {seed}: {} answered, {} delivered",
        ledger.kills,
        ledger.answered.len(),
        bodies.len()
    );
    for window in WINDOWS {
        println!(
            "  {window:?}: {}",
            ledger.hits.get(&window).copied().unwrap_or(0)
        );
    }
    ledger
}

fn tracer_is_here() -> bool {
    let traces = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !traces {
        println!("SKIPPED: strace is missing or may not trace here");
    }
    traces
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_nothing_that_the_lamp_answered_is_lost() {
    if tracer_is_here() {
        let ledger = kills(32, 7).await;
        assert!(ledger.hits.len() >= 3, "{:?}", ledger.hits);
    }
}

/// `BENCHLIGHT_KILLS=1000` sets the number of kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: at least 200 kills"]
async fn killed_between_every_two_steps_at_least_200_times() {
    assert!(tracer_is_here(), "install strace");
    let times = std::env::var("BENCHLIGHT_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(240);
    let seed = jiff::Timestamp::now().as_second().unsigned_abs();
    let ledger = kills(times, seed).await;
    assert!(ledger.kills >= 200, "{} kills", ledger.kills);
    for window in WINDOWS {
        assert!(
            ledger.hits.get(&window).is_some_and(|hits| *hits > 0),
            "no kill fell into {window:?}: {:?}",
            ledger.hits
        );
    }
}
