//! The whole station: the real binary, a simulated Kandji over HTTP, SQLite on disk, a real mosquitto.

mod support;

#[path = "station/doctor.rs"]
mod doctor;
#[cfg(feature = "demo")]
#[path = "station/demo.rs"]
mod demo;
#[path = "station/scans.rs"]
mod scans;
#[path = "station/kills.rs"]
mod kills;
