//! The whole station: the real binary, a simulated Kandji over HTTP, SQLite on disk, a real mosquitto.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

mod support;

#[path = "station/bad_days/mod.rs"]
mod bad_days;
#[path = "station/collector.rs"]
mod collector;
#[cfg(feature = "demo")]
#[path = "station/demo.rs"]
mod demo;
#[path = "station/doctor.rs"]
mod doctor;
#[path = "station/going_back.rs"]
mod going_back;
#[path = "station/home_assistant.rs"]
mod home_assistant;
#[path = "station/idle.rs"]
mod idle;
#[path = "station/jamf.rs"]
mod jamf;
#[path = "station/journal.rs"]
mod journal;
#[path = "station/kills.rs"]
mod kills;
#[path = "station/lamp_times.rs"]
mod lamp_times;
#[path = "station/messages.rs"]
mod messages;
#[path = "station/metrics.rs"]
mod metrics;
#[path = "station/node_red.rs"]
mod node_red;
#[path = "station/replica/mod.rs"]
mod replica;
#[path = "station/rows/mod.rs"]
mod rows;
#[path = "station/scanners.rs"]
mod scanners;
#[path = "station/scans.rs"]
mod scans;
#[path = "station/soak.rs"]
mod soak;
#[path = "station/takeover.rs"]
mod takeover;
#[path = "station/unread.rs"]
mod unread;
#[path = "station/watchdog.rs"]
mod watchdog;
#[path = "station/web.rs"]
mod web;
#[path = "station/witnesses.rs"]
mod witnesses;
