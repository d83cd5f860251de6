//! Each row of the tables of `docs/verdict.md`, scanned: the result line, the message at the broker and `lookup` say the same.
//!
//! A row of a table is named by its beginning. Whatever row, or reason in it, no scan has shown fails the test of its table.

/// A test of `$check` for each kind, and one that those kinds are all of which `$wanted` is true.
macro_rules! of_each {
    ($check:ident, $wanted:expr => $($name:ident $kind:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                $check(SourceKind::$kind).await;
            }
        )*

        #[test]
        fn every_kind_is_tried() {
            let tried = [$(SourceKind::$kind,)*];
            let wanted: fn(SourceKind) -> bool = $wanted;
            for kind in SourceKind::ALL {
                assert_eq!(tried.contains(kind), wanted(*kind), "{}", kind.code());
            }
        }
    };
}

mod beside;
mod candidates;
mod device_assignment;
mod faults;
mod fleet;
mod intune;
mod jamf;
mod kandji;
mod zentral;

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use benchlight::{
    readiness::evidence::SourceKind,
    reason::{Reason, Verdict},
};
use serde_json::Value;

use crate::support::{
    dashboard::{Dashboard, Received},
    mosquitto::{DASHBOARD, Mosquitto, STATION},
    station::{Home, ResultLine, Station},
};

/// For one answer or message, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest that a station may be told to wait: a busy machine makes no `timeout`.
const UNHURRIED: &str = "deadline = \"10s\"";
/// What belongs to no row of a table, but to the words around it.
const AROUND: &str = "";

/// A box that shows a row of a table.
#[derive(Clone, Debug)]
struct Shows {
    /// How the row begins.
    row: &'static str,
    serial: String,
    reason: &'static str,
    /// Words that the message has.
    words: &'static str,
}

/// Boxes with what a service holds of each.
struct Boxes<D> {
    prefix: &'static str,
    ready: fn(&str) -> D,
    shows: Vec<Shows>,
    held: Vec<D>,
}

impl<D> Boxes<D> {
    /// `ready`: what the service holds of a new box that is in order. `prefix`: eight characters for all serial numbers.
    const fn new(prefix: &'static str, ready: fn(&str) -> D) -> Self {
        Self {
            prefix,
            ready,
            shows: Vec::new(),
            held: Vec::new(),
        }
    }

    /// One that the service does not have.
    fn absent(&mut self, row: &'static str, reason: &'static str, words: &'static str) -> String {
        let serial = format!("{}{:04}", self.prefix, self.shows.len() + 1);
        self.shows.push(Shows {
            row,
            serial: serial.clone(),
            reason,
            words,
        });
        serial
    }

    /// One that is in order but for that change.
    fn add(
        &mut self,
        row: &'static str,
        reason: &'static str,
        words: &'static str,
        change: impl FnOnce(&mut D),
    ) {
        let serial = self.absent(row, reason, words);
        let mut device = (self.ready)(&serial);
        change(&mut device);
        self.held.push(device);
    }

    /// One with two records, each with its change.
    fn twice(
        &mut self,
        reason: &'static str,
        words: &'static str,
        first: impl FnOnce(&mut D),
        second: impl FnOnce(&mut D),
    ) {
        self.add(AROUND, reason, words, first);
        let serial = &self.shows.last().unwrap().serial;
        let mut device = (self.ready)(serial);
        second(&mut device);
        self.held.push(device);
    }
}

/// The services of a station, and its policy.
#[derive(Clone, Default)]
struct Asks {
    /// A `[[source]]` each.
    sources: Vec<String>,
    credentials: Vec<(&'static str, String)>,
    /// Lines of `[verdict]` besides [`UNHURRIED`].
    verdict: String,
}

impl Asks {
    fn one(source: String, credential: (&'static str, String)) -> Self {
        Self::default().and(source, credential)
    }

    fn and(mut self, source: String, credential: (&'static str, String)) -> Self {
        self.sources.push(source);
        self.credentials.push(credential);
        self
    }

    fn under(mut self, line: &str) -> Self {
        self.verdict.extend([line, "\n"]);
        self
    }
}

/// A broker, and what was shown so far.
struct Exhibition {
    mosquitto: Mosquitto,
    dashboard: Dashboard,
    shown: BTreeSet<(&'static str, &'static str)>,
    wrong: Vec<String>,
}

impl Exhibition {
    async fn new() -> Self {
        let mosquitto = Mosquitto::start();
        Self {
            dashboard: Dashboard::connect(mosquitto.plain, DASHBOARD, "benchlight/#").await,
            mosquitto,
            shown: BTreeSet::new(),
            wrong: Vec::new(),
        }
    }

    fn open(&mut self, asks: Asks) -> Room<'_> {
        let mqtt = self.mosquitto.section();
        let mut verdict = format!(
            "[verdict]\nsettle = \"0s\"\nrecheck = \"15m\"\n{}",
            asks.verdict
        );
        if !verdict.contains("deadline") {
            verdict.push_str(UNHURRIED);
        }
        let home = Home::new(false, &asks.sources.join("\n\n"), &mqtt, &verdict);
        for (name, secret) in &asks.credentials {
            home.credential(name, secret);
        }
        home.credential("mqtt-password", STATION.1);
        Room {
            station: home.start(),
            home,
            all: self,
        }
    }

    /// Starts a station for these boxes alone.
    async fn show(&mut self, asks: Asks, shows: &[Shows]) {
        let mut room = self.open(asks);
        for one in shows {
            room.show(one).await;
        }
    }

    /// Was each row of the table under that heading shown, with each of its reasons? `elsewhere`: those that other tests show.
    fn must_be_whole(self, heading: &str, elsewhere: &[(&'static str, &'static str)]) {
        let shown: BTreeSet<_> = self.shown.iter().chain(elsewhere).copied().collect();
        let shown = || shown.iter().filter(|(row, _)| *row != AROUND);
        let mut wrong = self.wrong;
        let table = table(heading);
        assert!(table.len() > 4, "{heading}");
        for row in &table {
            let of_row = shown().filter(|(one, _)| row.text.starts_with(one));
            let found: BTreeSet<&str> = of_row.map(|(_, reason)| *reason).collect();
            if found.is_empty() {
                wrong.push(format!("no box shows the row {:?}", row.text));
            }
            let missing = row
                .reasons
                .iter()
                .filter(|one| !found.contains(one.as_str()));
            wrong
                .extend(missing.map(|one| format!("no box shows {one} of the row {:?}", row.text)));
        }
        for (one, reason) in shown() {
            let of_one = table.iter().filter(|row| row.text.starts_with(one));
            let of_one: Vec<&Row> = of_one.collect();
            if !matches!(of_one.as_slice(), [row] if row.may_say(reason)) {
                wrong.push(format!("the row {one:?} does not say {reason}: {of_one:?}"));
            }
        }
        assert!(wrong.is_empty(), "{heading}:\n{}", wrong.join("\n"));
    }
}

/// A row of a table.
#[derive(Debug)]
struct Row {
    /// What its left cell says, and the line behind it, because one row may begin as another does.
    text: String,
    /// The reasons that its right cell names.
    reasons: BTreeSet<String>,
    /// Its right cell names others by what they are of: "with its fault".
    is_open: bool,
}

impl Row {
    fn may_say(&self, reason: &str) -> bool {
        self.is_open || self.reasons.is_empty() || self.reasons.contains(reason)
    }
}

/// The table under that heading.
fn table(heading: &str) -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verdict.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, below) = text.split_once(&format!("\n**{heading}**")).expect(heading);
    let lines = below.lines().skip_while(|line| !line.starts_with('|'));
    let lines = lines.take_while(|line| line.starts_with('|')).skip(2);
    let row = |line: &str| {
        let (left, right) = line.trim_matches(['|', ' ']).split_once(" | ").expect(line);
        Row {
            text: format!("{left} |"),
            reasons: reasons(right),
            is_open: right.contains("fault"),
        }
    };
    lines.map(row).collect()
}

fn reasons(cell: &str) -> BTreeSet<String> {
    // What such a lane says has a reason of its own.
    let cell = cell.replace("judged as `assigned`", "");
    let words: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
    let named = words
        .iter()
        .filter(|word| Reason::from_code(word).is_some());
    let mut reasons: BTreeSet<String> = named.map(|word| (*word).to_owned()).collect();
    if words.contains(&"ready") {
        reasons.insert("assigned".to_owned());
    }
    if cell.contains("returned devices") {
        reasons.insert("returned_stock".to_owned());
    }
    reasons
}

/// A running station.
struct Room<'a> {
    all: &'a mut Exhibition,
    home: Home,
    station: Station,
}

impl Room<'_> {
    async fn show(&mut self, one: &Shows) {
        self.show_code(&one.serial, one).await;
    }

    /// As [`Self::show`], where the code on the box is not the serial number.
    async fn show_code(&mut self, code: &str, one: &Shows) {
        let verdict = Reason::from_code(one.reason).unwrap().verdict();
        let answer = self.scanned(code);
        self.expect(one, verdict, &Told::by_line(&answer));
        match self.at_the_broker(&answer.id).await {
            Some(event) => self.expect(one, verdict, &Told::by_data("broker", &event["data"])),
            None => self.wrong(one, "not at the broker"),
        }
        let (ended, data) = self.looked_up(code);
        self.expect(one, verdict, &Told::by_data("lookup", &data));
        let exit = match verdict {
            Verdict::Ready => 0,
            Verdict::NotReady | Verdict::Wait => 1,
            Verdict::Unknown | Verdict::Rescan => 2,
        };
        if ended != Some(exit) {
            self.wrong(one, &format!("lookup ends with {ended:?}, not with {exit}"));
        }
        self.all.shown.insert((one.row, one.reason));
    }

    fn expect(&mut self, one: &Shows, verdict: Verdict, told: &Told) {
        let is_right = (&*told.verdict, &*told.reason) == (verdict.code(), one.reason)
            && told.message.contains(one.words)
            && told.has_best_grade
            // What is no serial number has none.
            && (verdict == Verdict::Rescan || told.serial == one.serial);
        if !is_right {
            let wanted = format!("{} / {}, {:?}", verdict.code(), one.reason, one.words);
            self.wrong(one, &format!("not {wanted}: {told:?}"));
        }
    }

    fn wrong(&mut self, one: &Shows, what: &str) {
        let Shows { row, serial, .. } = one;
        self.all.wrong.push(format!("{serial} ({row:?}): {what}"));
    }

    fn scanned(&mut self, code: &str) -> ResultLine {
        self.station.scan(code.as_bytes());
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.station.answer_within(PATIENCE) {
                Some(answer) if !answer.change => return answer,
                Some(_) => {}
                None => break,
            }
        }
        panic!("{code} is not answered: {}", self.home.log());
    }

    async fn at_the_broker(&self, id: &str) -> Option<Value> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let scans = self.all.dashboard.on("scan");
            let mut events = scans.iter().rev().map(Received::json);
            if let Some(event) = events.find(|event| event["id"] == id) {
                return Some(event);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }

    fn looked_up(&self, code: &str) -> (Option<i32>, Value) {
        let mut lookup = self.home.command(&["lookup", "--json", code]);
        let output = lookup.output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), found[0].clone())
    }
}

/// What one place tells of a scan.
#[derive(Debug)]
struct Told {
    #[expect(dead_code, reason = "shown where it is wrong")]
    place: &'static str,
    serial: String,
    verdict: String,
    reason: String,
    message: String,
    /// Its grade is the best one of the sources that say `ready`.
    has_best_grade: bool,
    #[expect(dead_code, reason = "shown where it is wrong")]
    evidence: Value,
}

impl Told {
    fn by_line(answer: &ResultLine) -> Self {
        let ResultLine {
            serial,
            verdict,
            reason,
            message,
            ..
        } = answer.clone();
        Self {
            place: "result line",
            serial,
            verdict,
            reason,
            message,
            has_best_grade: true,
            evidence: Value::Null,
        }
    }

    fn by_data(place: &'static str, data: &Value) -> Self {
        let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
        Self {
            place,
            serial: text("serial"),
            verdict: text("verdict"),
            reason: text("reason"),
            message: text("message"),
            has_best_grade: data["grade"].as_str() == best_grade(&data["evidence"]),
            evidence: data["evidence"].clone(),
        }
    }
}

fn best_grade(evidence: &Value) -> Option<&'static str> {
    let ready = evidence
        .as_array()?
        .iter()
        .filter(|one| one["says"] == "ready");
    let kinds = ready.filter_map(|one| SourceKind::from_code(one["kind"].as_str()?));
    Some(kinds.filter_map(SourceKind::proves).max()?.code())
}
