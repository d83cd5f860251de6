//! Hours of work in a short time: four scanners, ten scans a second, and a service and a broker that fail again and again.
//!
//! Every scan gets an answer and a message, green is never wrong, and memory does not grow.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use benchlight::{
    journal::reader::Reader,
    readiness::kandji::simulator::{
        self as kandji, Tenant,
        stock::{AssignedAt, Device, HQ, Stock},
    },
    simulator::faults::Effect,
};
use rumqttc::PublishProperties;
use serde_json::{Value, json};

use crate::support::{
    dashboard::{Dashboard, Received},
    free_port,
    mosquitto::{DASHBOARD, Mosquitto, OPERATOR, STATION},
    proxy::Proxy,
    station::{Home, ResultLine, Station},
};

const TOKEN: &str = "kandji-secret-token";
const LANES: [&str; 4] = ["a", "b", "c", "d"];
/// Of all scanners together: ten a second.
const BETWEEN_SCANS: Duration = Duration::from_millis(100);
/// How many boxes each lane scans in turn. Not a multiple of 5, so that a box does not always come at the same time of a fault.
const BOXES: usize = 83;
/// How long a fault lasts, and how long everything works after it.
const PHASE: Duration = Duration::from_millis(2_500);
/// How much memory may grow after the warm-up: the allocator and SQLite vary by this much.
const BREATHING: u64 = 3_000_000;

/// What the service says of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Assigned,
    /// Assigned, but no longer from the middle of the run on.
    TakenBack,
    Pending,
    Removed,
    /// Unknown to the service.
    Nobodys,
}

fn kind(nth: usize) -> Kind {
    [
        Kind::Assigned,
        Kind::Assigned,
        Kind::TakenBack,
        Kind::Pending,
        Kind::Removed,
        Kind::Nobodys,
    ][nth % 6]
}

fn serial(lane: usize, nth: usize) -> String {
    format!("SX{lane}Q{nth:06}")
}

fn removed(serial: &str) -> Device {
    Device {
        profile_status: Some("removed".to_owned()),
        assigned_at: AssignedAt::Never,
        ..Device::ready(serial)
    }
}

fn stock() -> Stock {
    let mut devices = Vec::new();
    for lane in 0..LANES.len() {
        for nth in 0..BOXES {
            let serial = serial(lane, nth);
            match kind(nth) {
                Kind::Assigned | Kind::TakenBack => devices.push(Device::ready(&serial)),
                Kind::Pending => devices.push(Device::pending(&serial)),
                Kind::Removed => devices.push(removed(&serial)),
                Kind::Nobodys => {}
            }
        }
    }
    Stock::of(devices)
}

/// What goes wrong in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Service(usize),
    LinkCut,
    LinkStalled,
    BrokerAway,
}

/// With each of these there is no answer about the box.
fn effects() -> [Effect; 8] {
    [
        Effect::Status(500),
        Effect::Silence(Duration::from_secs(8)),
        Effect::Reset,
        Effect::Html,
        Effect::TooMany {
            retry_after: Some("1".to_owned()),
        },
        Effect::CutJson,
        Effect::Drop,
        Effect::Status(401),
    ]
}

/// The faults of a run, in turn. In a long run the broker's are rarer: each lengthens the back-off until a link has been stable
/// for a minute, and a station that never connects would test nothing.
fn trouble(nth: usize, long: bool) -> Trouble {
    // A minute has twelve faults: each of the three of the links once, and all of the service's.
    let every = if long { 30 } else { 4 };
    let links = [Trouble::LinkCut, Trouble::BrokerAway, Trouble::LinkStalled];
    if nth % every == 1 {
        links[nth / every % links.len()]
    } else {
        Trouble::Service((nth - nth.div_ceil(every)) % effects().len())
    }
}

/// Everything outside the station.
struct Outside {
    kandji: Tenant,
    mosquitto: Mosquitto,
    proxy: Proxy,
    home: Home,
    ports: Vec<u16>,
}

impl Outside {
    async fn new() -> Self {
        let kandji = kandji::serve(kandji::Options::new(TOKEN, stock()))
            .await
            .unwrap();
        let mosquitto = Mosquitto::start();
        let proxy = Proxy::start(mosquitto.plain).await;
        let ports: Vec<u16> = LANES.iter().map(|_| free_port()).collect();
        let mut sections = String::new();
        for (lane, port) in LANES.iter().zip(&ports) {
            sections.push_str(&format!(
                "[[scanner]]\nname = \"{lane}\"\nkind = \"tcp\"\nlane = \"{lane}\"\nlisten = \"127.0.0.1:{port}\"\n\n[[lane]]\nname = \"{lane}\"\n\n"
            ));
        }
        sections.push_str(&format!(
            "[indicator]\nkind = \"terminal\"\n\n\
             [[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"{}\"\ntoken_credential = \"kandji-token\"\ntokens = [\"{HQ}\"]\n\n\
             [verdict]\nrecheck = \"5s\"\n\n\
             [mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\nusername = \"{}\"\npassword_credential = \"mqtt-password\"\nkeep_alive = \"5s\"\ncommands = true\n",
            kandji.base(),
            proxy.port,
            STATION.0
        ));
        let home = Home::on_disk(false, &sections);
        home.credential("kandji-token", TOKEN);
        home.credential("mqtt-password", STATION.1);
        Self {
            kandji,
            mosquitto,
            proxy,
            home,
            ports,
        }
    }

    fn begin(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Service(nth) => self.kandji.faults().all(effects()[nth].clone()),
            Trouble::LinkCut => self.proxy.cut(),
            Trouble::LinkStalled => self.proxy.stall(),
            Trouble::BrokerAway => self.mosquitto.kill(),
        }
    }

    fn end(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Service(_) => self.kandji.faults().clear(),
            Trouble::LinkCut | Trouble::LinkStalled => {}
            Trouble::BrokerAway => self.mosquitto.run(),
        }
    }
}

#[derive(Debug)]
struct Sent {
    serial: String,
    at: Instant,
}

#[derive(Default)]
struct Book {
    sent: Vec<Sent>,
    answers: Vec<(ResultLine, Instant)>,
    /// The times in which the service gave no answer.
    faulted: Vec<(Instant, Instant)>,
    taken_back: Option<Instant>,
    memory: Vec<u64>,
    broker_troubles: usize,
}

impl Book {
    fn scans(&self) -> impl Iterator<Item = &(ResultLine, Instant)> {
        self.answers.iter().filter(|(answer, _)| !answer.change)
    }

    /// Every scan has exactly one answer, by serial number and in order. Returns each answer with the time of its scan.
    fn matched(&self) -> Vec<(&ResultLine, Instant, Instant)> {
        let mut sent: BTreeMap<&str, Vec<Instant>> = BTreeMap::new();
        for scan in self.sent.iter().rev() {
            sent.entry(&scan.serial).or_default().push(scan.at);
        }
        let matched = self.scans().map(|(answer, at)| {
            let scanned = sent.get_mut(answer.serial.as_str()).and_then(Vec::pop);
            (
                answer,
                scanned.unwrap_or_else(|| panic!("an answer to no scan: {answer:?}")),
                *at,
            )
        });
        let matched: Vec<_> = matched.collect();
        let unanswered: Vec<_> = sent
            .into_iter()
            .filter(|(_, left)| !left.is_empty())
            .collect();
        assert!(
            unanswered.is_empty(),
            "scans without an answer: {unanswered:?}"
        );
        matched
    }

    /// Green only for boxes that the service had called assigned, and never while it gave no answer.
    fn green_never_lied(&self) -> usize {
        let kinds: BTreeMap<String, Kind> = (0..LANES.len())
            .flat_map(|lane| (0..BOXES).map(move |nth| (serial(lane, nth), kind(nth))))
            .collect();
        let mut greens = 0;
        for (answer, scanned, answered) in self.matched() {
            if answer.verdict != "ready" {
                continue;
            }
            greens += 1;
            match kinds[&answer.serial] {
                Kind::Assigned => {}
                Kind::TakenBack => assert!(
                    self.taken_back.is_none_or(|at| scanned < at),
                    "green after its profile was taken back: {answer:?}"
                ),
                Kind::Pending | Kind::Removed | Kind::Nobodys => {
                    panic!("never assigned, and green: {answer:?}")
                }
            }
            let silent = self
                .faulted
                .iter()
                .find(|(from, to)| scanned >= *from && answered <= *to);
            assert!(
                silent.is_none(),
                "green while the service said nothing: {answer:?}"
            );
        }
        for (answer, _) in self
            .answers
            .iter()
            .filter(|(answer, _)| answer.change && answer.verdict == "ready")
        {
            assert!(
                matches!(kinds[&answer.serial], Kind::Assigned | Kind::TakenBack),
                "never assigned, and changed to green: {answer:?}"
            );
        }
        greens
    }
}

async fn soak(length: Duration) {
    let long = length > Duration::from_mins(2);
    let mut outside = Outside::new().await;
    let operator =
        Dashboard::connect(outside.mosquitto.plain, OPERATOR, "benchlight/v1/+/+/rsp/#").await;
    let dashboard = Dashboard::connect(outside.mosquitto.plain, DASHBOARD, "benchlight/#").await;
    let station = outside.home.start();
    let mut lines = Vec::new();
    for port in &outside.ports {
        lines.push(connect(*port).await);
    }
    let mut book = Book::default();
    run(&mut outside, &station, &mut lines, &mut book, length, long).await;

    // The last answers, then the last messages.
    let patience = Instant::now() + Duration::from_secs(20);
    while book.scans().count() < book.sent.len() && Instant::now() < patience {
        listen(&station, &mut book, Duration::from_millis(100)).await;
    }
    book.memory.push(station.memory().resident);
    let greens = book.green_never_lied();
    let backfilled = all_arrives(&outside, &dashboard, &operator, book.broker_troubles).await;
    listen(&station, &mut book, Duration::from_millis(500)).await;
    report(&book, greens, backfilled, length);
    delivered_once(&book, &dashboard);
    assert_eq!(outside.kandji.violations(), Vec::<String>::new());
    memory_is_flat(&book);
}

async fn connect(port: u16) -> TcpStream {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(
                Instant::now() < patience,
                "the scanner's port does not open: {error}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run(
    outside: &mut Outside,
    station: &Station,
    lines: &mut [TcpStream],
    book: &mut Book,
    length: Duration,
    long: bool,
) {
    let begun = Instant::now();
    let mut troubles = 0;
    let mut now_on: Option<(Trouble, Instant)> = None;
    let mut next_turn = begun + PHASE;
    let mut next_look = begun;
    let mut nth = 0_usize;
    while begun.elapsed() < length {
        let at = begun + BETWEEN_SCANS * u32::try_from(nth).unwrap();
        listen(station, book, at.saturating_duration_since(Instant::now())).await;
        if Instant::now() >= next_turn {
            next_turn += PHASE;
            match now_on.take() {
                Some((trouble, since)) => {
                    if matches!(trouble, Trouble::Service(_)) {
                        book.faulted.push((since, Instant::now()));
                    }
                    outside.end(trouble);
                }
                None => {
                    let trouble = trouble(troubles, long);
                    troubles += 1;
                    outside.begin(trouble);
                    book.broker_troubles += usize::from(!matches!(trouble, Trouble::Service(_)));
                    now_on = Some((trouble, Instant::now()));
                }
            }
        }
        if Instant::now() >= next_look {
            next_look += Duration::from_secs(1);
            book.memory.push(station.memory().resident);
            // This would use up a real tenant's quota in a quarter of an hour.
            outside.kandji.set_quota_left(10_000);
        }
        if book.taken_back.is_none() && begun.elapsed() > length / 2 {
            for (lane, box_nth) in (0..LANES.len())
                .flat_map(|lane| (0..BOXES).map(move |nth| (lane, nth)))
                .filter(|(_, nth)| kind(*nth) == Kind::TakenBack)
            {
                outside
                    .kandji
                    .stock(|stock| stock.put(removed(&serial(lane, box_nth))));
            }
            book.taken_back = Some(Instant::now());
        }
        let (lane, place) = (nth % LANES.len(), nth / LANES.len() % BOXES);
        let serial = serial(lane, place);
        book.sent.push(Sent {
            serial: serial.clone(),
            at: Instant::now(),
        });
        lines[lane]
            .write_all(format!("{serial}\r\n").as_bytes())
            .unwrap();
        nth += 1;
    }
    if let Some((trouble, _)) = now_on {
        outside.end(trouble);
    }
}

/// Reads the station's output for this long.
async fn listen(station: &Station, book: &mut Book, time: Duration) {
    let until = Instant::now() + time;
    loop {
        let answers = station.so_far();
        let now = Instant::now();
        book.answers
            .extend(answers.into_iter().map(|answer| (answer, now)));
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(Duration::from_millis(10))).await;
    }
}

/// Waits until the outbox is empty and the dashboard has every `seq`.
///
/// A broker may be killed after it has acknowledged a message and before it passes it on. The dashboard sees the gap in `seq` and
/// asks again. Returns how many these were: never more than can be in flight at each fault.
async fn all_arrives(
    outside: &Outside,
    dashboard: &Dashboard,
    operator: &Dashboard,
    troubles: usize,
) -> usize {
    // By the station's own health: in the file a row counts as unsent until the next record or half a minute later, and boxes that
    // wait change for minutes.
    let healths = dashboard.on("health").len();
    let unsent = || {
        let since = dashboard.on("health").into_iter().skip(healths);
        since
            .map(|health| health.json()["journal"]["unsent"].as_u64())
            .last()
            .flatten()
    };
    let patience = Instant::now() + Duration::from_mins(4);
    while unsent() != Some(0) {
        assert!(
            Instant::now() < patience,
            "{:?} records are not delivered\n{}",
            unsent(),
            last_lines(&outside.home.path("log"))
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut reader = Reader::open(&outside.home.path("state")).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let newest = reader.newest(1).unwrap()[0].recorded.clone();
    let missing = |dashboard: &Dashboard| {
        let places = dashboard.places();
        (1..=newest.seq)
            .filter(|seq| !places.contains_key(&(newest.epoch.to_string(), *seq)))
            .collect::<Vec<u64>>()
    };
    let lost = missing(dashboard);
    assert!(
        lost.len() <= 32 * troubles,
        "{} messages are missing after {troubles} troubles of the broker: {lost:?}",
        lost.len()
    );
    for seq in &lost {
        let ask = json!({"epoch": newest.epoch, "from": seq, "to": seq}).to_string();
        operator
            .publish(
                "benchlight/v1/test/bench-1/cmd/backfill",
                ask,
                false,
                PublishProperties::default(),
            )
            .await;
        dashboard
            .wait("what was asked for again", Duration::from_secs(20), |_| {
                !missing(dashboard).contains(seq)
            })
            .await;
    }
    assert_eq!(missing(dashboard), Vec::<u64>::new(), "seq has no gap");
    lost.len()
}

/// Every answer has one message, word for word, and no `id` has two bodies.
///
/// The only exception is a commit that took over a second: its scan was answered `journal_fault`, and is sent at most once and
/// without a number. A busy disk may cause this now and then, but not often.
fn delivered_once(book: &Book, dashboard: &Dashboard) {
    let mut bodies: BTreeMap<String, Value> = BTreeMap::new();
    let mut seqs = BTreeSet::new();
    for message in dashboard
        .all()
        .iter()
        .filter(|message| matches!(message.channel(), "scan" | "change"))
        .map(Received::json)
    {
        let mut body = message;
        body["data"]["replay"] = Value::Null;
        if body["data"]["seq"].is_null() {
            assert_eq!(body["data"]["reason"], "journal_fault");
            continue;
        }
        seqs.insert(body["data"]["seq"].as_u64().unwrap());
        let before = bodies.insert(body["id"].as_str().unwrap().to_owned(), body.clone());
        assert!(
            before.is_none_or(|before| before == body),
            "one id with two bodies"
        );
    }
    assert_eq!(seqs.len(), bodies.len(), "one seq for each record");
    for (answer, _) in book
        .answers
        .iter()
        .filter(|(answer, _)| answer.reason != "journal_fault")
    {
        let body = bodies
            .get(&answer.id)
            .unwrap_or_else(|| panic!("not delivered: {answer:?}"));
        let said = (
            body["data"]["verdict"].as_str(),
            body["data"]["reason"].as_str(),
            body["subject"].as_str(),
        );
        assert_eq!(
            said,
            (
                Some(answer.verdict.as_str()),
                Some(answer.reason.as_str()),
                Some(answer.serial.as_str())
            )
        );
    }
    let scans = bodies
        .values()
        .filter(|body| body["type"] == "io.benchlight.scan.v1")
        .count();
    let slow = slow_commits(book);
    assert!(
        slow * 50 <= book.sent.len(),
        "{slow} of {} scans met a disk that was too slow",
        book.sent.len()
    );
    assert!(
        (book.sent.len() - slow..=book.sent.len()).contains(&scans),
        "a message for each scan: {scans} of {}",
        book.sent.len()
    );
}

fn slow_commits(book: &Book) -> usize {
    book.scans()
        .filter(|(answer, _)| answer.reason == "journal_fault")
        .count()
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Resident memory after the warm-up (a third of the run, two minutes at most) and at the end.
fn warm_and_last(book: &Book) -> (u64, u64) {
    let warm = (book.memory.len() / 3).min(120);
    let window = (book.memory.len() / 6).max(1);
    (
        median(&book.memory[warm..warm + window]),
        median(&book.memory[book.memory.len() - window..]),
    )
}

fn memory_is_flat(book: &Book) {
    let (warm, last) = warm_and_last(book);
    assert!(
        last <= warm + BREATHING,
        "resident memory grew from {warm} to {last} bytes"
    );
}

fn report(book: &Book, greens: usize, backfilled: usize, length: Duration) {
    let (warm, last) = warm_and_last(book);
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for (answer, _) in book.scans() {
        *verdicts.entry(&answer.reason).or_default() += 1;
    }
    let mut took: Vec<Duration> = book
        .matched()
        .into_iter()
        .map(|(_, scanned, answered)| answered - scanned)
        .collect();
    took.sort_unstable();
    let changes = book.answers.len() - book.scans().count();
    println!(
        "soak of {length:?}: {} scans, all answered and delivered; {greens} green; {changes} changes",
        book.sent.len()
    );
    println!(
        "  service silent {} times, broker or link in trouble {} times, {backfilled} messages asked for again",
        book.faulted.len(),
        book.broker_troubles
    );
    println!(
        "  answers after {:?} (p50), {:?} (p99), {:?} (longest)",
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        took[took.len() - 1]
    );
    println!(
        "  resident memory {:.1} MB at first, {:.1} MB warm, {:.1} MB at the end",
        mb(book.memory[0]),
        mb(warm),
        mb(last)
    );
    println!(
        "  commits over a second, answered journal_fault: {}",
        slow_commits(book)
    );
    println!("  {verdicts:?}");
}

#[allow(clippy::cast_precision_loss, reason = "megabytes")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_scans_a_second_for_a_minute_lose_nothing_and_never_lie() {
    soak(Duration::from_mins(1)).await;
}

/// `BENCHLIGHT_SOAK=10m` sets its length.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "slow: an hour"]
async fn ten_scans_a_second_for_an_hour_lose_nothing_and_never_lie() {
    let length = std::env::var("BENCHLIGHT_SOAK").unwrap_or_else(|_| "1h".to_owned());
    let length: jiff::SignedDuration = length
        .parse()
        .expect("BENCHLIGHT_SOAK is a time, for example 10m");
    soak(length.try_into().unwrap()).await;
}
