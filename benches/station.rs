//! Benchlight's benchmarks: `cargo bench --bench station [-- NAME..]`.
//!
//! Each figure comes from the optimised program in its own process (or from the named part alone), with a real broker and SQLite on the
//! checkout's disk, and is printed with its promised limit. A limit that is not met on this machine is reported, but
//! does not fail the run, because the machine may be the reason.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    reason = "a benchmark prints its figures"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that cannot measure fails by panicking"
)]

#[path = "station/beside.rs"]
mod beside;
#[path = "station/day.rs"]
mod day;
#[path = "station/journal.rs"]
mod journal;
#[path = "station/parts.rs"]
mod parts;
#[path = "station/replica.rs"]
mod replica;
#[path = "station/report.rs"]
mod report;
#[path = "station/rest.rs"]
mod rest;
#[path = "station/rig.rs"]
mod rig;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "station/web.rs"]
mod web;
#[path = "station/whole.rs"]
mod whole;

use std::{env, future::Future, pin::Pin};

use report::Report;

type Measuring<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
type Bench = (&'static str, for<'a> fn(&'a mut Report) -> Measuring<'a>);

const BENCHES: [Bench; 18] = [
    ("start", |report| Box::pin(whole::start(report))),
    ("idle", |report| Box::pin(whole::idle(report))),
    ("rest", |report| Box::pin(rest::rest(report))),
    ("scan-to-lamp", |report| {
        Box::pin(whole::scan_to_lamp(report))
    }),
    ("overhead", |report| Box::pin(whole::overhead(report))),
    ("labels", |report| Box::pin(parts::labels(report))),
    ("commits", |report| Box::pin(parts::commits(report))),
    ("group-commits", |report| {
        Box::pin(parts::group_commits(report))
    }),
    ("wear", |report| Box::pin(journal::wear(report))),
    ("growth", |report| Box::pin(journal::growth(report))),
    ("waiting", |report| Box::pin(journal::waiting(report))),
    ("replica", |report| Box::pin(replica::replica(report))),
    ("replica-station", |report| {
        Box::pin(beside::a_million_rows(report))
    }),
    ("script", |report| Box::pin(beside::script(report))),
    ("day", |report| Box::pin(day::day(report))),
    ("web", |report| Box::pin(web::web(report))),
    ("drain", |report| Box::pin(whole::drain(report))),
    ("size", |report| Box::pin(whole::size(report))),
];

#[tokio::main(worker_threads = 2)]
async fn main() {
    // `cargo test --all-targets` and test runners also start every bench, but without this word. They must not wait for figures.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    support::install_crypto();
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut report = Report::default();
    for (name, bench) in BENCHES {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            report.begin(name);
            bench(&mut report).await;
        }
    }
    report.end();
}
