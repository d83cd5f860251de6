//! Every bad day in the product's table: answers, lamps, health, what is lost, and how the station recovers.
//!
//! The rows are the table in `docs/operating.md`. Each is tested with the real binary: what the row says is what its day asserts.
//! `BENCHLIGHT_BAD_DAY=word` runs only the rows with that word in their name.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints its table"
)]

mod bench;
mod broker;
mod clock;
mod disk;
mod hardware;
mod process;
mod services;

pub use bench::SmallDisk;

use std::{
    cell::Cell,
    fmt::Write,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    pin::Pin,
    sync::Mutex,
    thread,
    time::Duration,
};

/// How many days run at the same time: they mostly wait.
const AT_ONCE: usize = 8;

/// The answer to a scan on that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// As on any other day.
    AsAlways,
    /// `unknown` with this reason, and the hold signal.
    Unknown(&'static str),
    /// `rescan` with this reason.
    Rescan(&'static str),
    /// None: no scan arrives, or no station is running.
    Nothing,
}

/// What health says on that day, and so what idle lamps show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Able {
    Yes,
    /// `able` stays true, with this alarm.
    Alarm(&'static str),
    /// `able` stays true, with this state of the lamps.
    Lamps(&'static str),
    /// `able` is false for this reason, and idle lamps show *unable*.
    No(&'static str),
    /// Offline, by its MQTT will.
    Offline,
}

/// One row of the table.
pub struct Row {
    pub name: &'static str,
    pub fault: &'static str,
    pub answers: Answers,
    pub able: Able,
    pub lost: &'static str,
    pub mends: &'static str,
    run: fn(&'static Row) -> Day,
}

type Day = Pin<Box<dyn Future<Output = Seen>>>;

/// The outcome of a day; everything else has been asserted.
#[derive(Default)]
pub struct Seen {
    /// Why it could not be tested here.
    pub skipped: Option<String>,
    /// Which other tests cover it, or what this one cannot test.
    pub elsewhere: Option<String>,
    /// From the fault, or from the first scan with it, until health said so.
    pub reported: Option<Duration>,
    /// From the repair until the station worked again.
    pub mended: Option<Duration>,
    /// The idle lamps were as the row says.
    pub lamps: Cell<bool>,
}

impl Seen {
    /// A row that a unit test covers, because its fault cannot be caused from outside. The test must exist.
    pub fn held_by(file: &str, test: &str) -> Self {
        assert!(
            source(file).contains(&format!("fn {test}(")),
            "{file} has no test {test}"
        );
        Self {
            elsewhere: Some(format!("{file}: {test}")),
            ..Self::default()
        }
    }

    /// A row that a step of the virtual bench covers, because its fault needs a kernel with such hardware. The step must be run, with
    /// these checks.
    pub fn held_by_bench(file: &str, step: &str, checks: &[&str]) -> Self {
        let text = source(file);
        let steps = text
            .lines()
            .find(|line| line.trim_start().starts_with("run("))
            .unwrap_or_default();
        assert!(
            steps
                .split(|char: char| !char.is_alphanumeric())
                .any(|word| word == step),
            "{file} does not run {step}: {steps}"
        );
        let (_, rest) = text
            .split_once(&format!("\ndef {step}("))
            .unwrap_or_else(|| panic!("{file} has no step {step}"));
        let body = rest.split("\ndef ").next().unwrap();
        for check in checks {
            let is_there = body
                .lines()
                .any(|line| line.trim_start().starts_with("check(") && line.contains(check));
            assert!(is_there, "{file}: {step} does not check \"{check}\"");
        }
        Self {
            elsewhere: Some(format!("{file}: {step}")),
            ..Self::default()
        }
    }

    /// The same row, covered by several tests.
    pub fn and(self, other: Self) -> Self {
        let both: Vec<String> = [self.elsewhere, other.elsewhere]
            .into_iter()
            .flatten()
            .collect();
        Self {
            elsewhere: Some(both.join("; ")),
            ..self
        }
    }

    pub fn skipped(why: impl Into<String>) -> Self {
        Self {
            skipped: Some(why.into()),
            ..Self::default()
        }
    }
}

fn source(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// Makes a row from its name, its cells and its day.
macro_rules! row {
    ($day:path, $name:literal, $fault:literal, $answers:expr, $able:expr, $lost:literal, $mends:literal) => {
        $crate::bad_days::Row {
            name: $name,
            fault: $fault,
            answers: $answers,
            able: $able,
            lost: $lost,
            mends: $mends,
            run: |row| Box::pin($day(row)),
        }
    };
}
use row;

fn all() -> Vec<&'static Row> {
    [
        services::ROWS,
        broker::ROWS,
        disk::ROWS,
        clock::ROWS,
        hardware::ROWS,
        process::ROWS,
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Row {
    /// The row in the document, without times.
    fn cells(&self) -> String {
        let answers = match self.answers {
            Answers::AsAlways => "as always".to_owned(),
            Answers::Unknown(reason) => format!("`unknown/{reason}`, hold"),
            Answers::Rescan(reason) => format!("`rescan/{reason}`"),
            Answers::Nothing => "none".to_owned(),
        };
        let able = match self.able {
            Able::Yes => "true".to_owned(),
            Able::Alarm(alarm) => format!("true; alarm `{alarm}`"),
            Able::Lamps(state) => format!("true; lamps `{state}`"),
            Able::No(reason) => format!("false, `{reason}`; lamps unable"),
            Able::Offline => "offline by will; lamps dark".to_owned(),
        };
        format!(
            "| {} | {answers} | {able} | {} | {}",
            self.fault, self.lost, self.mends
        )
    }
}

/// Runs the days in parallel, prints the outcomes, and panics with the names of those that failed.
fn hold(rows: &'static [Row]) {
    let wanted = std::env::var("BENCHLIGHT_BAD_DAY").unwrap_or_default();
    let waiting = Mutex::new(rows.iter().filter(|row| row.name.contains(&wanted)));
    let over = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(row) = waiting.lock().unwrap().next() else {
                        return;
                    };
                    let came = catch_unwind(AssertUnwindSafe(|| live_through(row)));
                    over.lock().unwrap().push((row, came.ok()));
                }
            });
        }
    });
    let over = over.into_inner().unwrap();
    let mut table = String::from(
        "| fault | scans answer | able | lost | mends by | reported within, works again within |\n|---|---|---|---|---|---|\n",
    );
    let mut failed = Vec::new();
    for row in rows {
        let seconds = |time: Option<Duration>| {
            time.map_or("-".to_owned(), |time| {
                format!("{:.1} s", time.as_secs_f32())
            })
        };
        let came = match over.iter().find(|(of, _)| of.name == row.name) {
            None => continue,
            Some((
                _,
                Some(Seen {
                    skipped: Some(why), ..
                }),
            )) => format!("SKIPPED: {why}"),
            Some((
                _,
                Some(Seen {
                    elsewhere: Some(test),
                    reported: None,
                    ..
                }),
            )) => format!("held by {test}"),
            Some((_, Some(seen))) => {
                let further = seen
                    .elsewhere
                    .as_ref()
                    .map(|test| format!("; and {test}"))
                    .unwrap_or_default();
                format!(
                    "{}, {}{further}",
                    seconds(seen.reported),
                    seconds(seen.mended)
                )
            }
            Some((_, None)) => {
                failed.push(row.name);
                "FAILED".to_owned()
            }
        };
        writeln!(table, "{} | {came} |", row.cells()).unwrap();
    }
    println!("{table}");
    assert!(
        failed.is_empty(),
        "these promises did not hold: {failed:#?}"
    );
}

/// Runs one day on its own runtime.
fn live_through(row: &'static Row) -> Seen {
    // Enough threads, since some block while they wait for a terminal line.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .unwrap();
    let seen = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(150), (row.run)(row))
            .await
            .expect("a day ends within 150 s")
    });
    let is_held_here = seen.skipped.is_none() && seen.elsewhere.is_none();
    assert!(
        !matches!(row.able, Able::No(_)) || !is_held_here || seen.lamps.get(),
        "{}: nobody looked at the lamps",
        row.name
    );
    seen
}

#[test]
fn a_service_that_cannot_be_asked_is_never_the_box_s_fault() {
    hold(services::ROWS);
}

#[test]
fn a_broker_in_trouble_costs_no_answer_and_no_record() {
    hold(broker::ROWS);
}

#[test]
fn a_disk_in_trouble_is_said_and_never_green() {
    hold(disk::ROWS);
}

#[test]
fn a_clock_in_trouble_spoils_no_verdict() {
    hold(clock::ROWS);
}

#[test]
fn scanners_and_lamps_come_and_go_without_a_restart() {
    hold(hardware::ROWS);
}

#[test]
fn a_station_that_dies_or_hangs_is_offline_and_dark() {
    hold(process::ROWS);
}

const BEGIN: &str = "<!-- bad days: begin (a test holds this table) -->\n";
const END: &str = "<!-- bad days: end -->";

#[test]
fn the_document_s_table_of_bad_days_is_the_tested_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut table = String::from(
        "| fault | scans answer | able, lamp when idle | lost | mends by |\n|---|---|---|---|---|\n",
    );
    for row in all() {
        writeln!(table, "{} |", row.cells()).unwrap();
    }
    let stands = text
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .map(|(table, _)| table)
        .unwrap_or_default();
    assert!(
        stands == table,
        "docs/operating.md must hold between its markers:\n{BEGIN}{table}{END}"
    );
}
