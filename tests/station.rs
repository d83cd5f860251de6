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

#[path = "station/doctor.rs"]
mod doctor;
#[cfg(feature = "demo")]
#[path = "station/demo.rs"]
mod demo;
#[path = "station/journal.rs"]
mod journal;
#[path = "station/witnesses.rs"]
mod witnesses;
#[path = "station/scans.rs"]
mod scans;
#[path = "station/lamp_times.rs"]
mod lamp_times;
#[path = "station/scanners.rs"]
mod scanners;
#[path = "station/watchdog.rs"]
mod watchdog;
#[path = "station/unread.rs"]
mod unread;
#[path = "station/kills.rs"]
mod kills;
#[path = "station/going_back.rs"]
mod going_back;
#[path = "station/bad_days/mod.rs"]
mod bad_days;
#[path = "station/soak.rs"]
mod soak;
