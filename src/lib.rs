//! Benchlight: a bench lamp for Apple device staging.
//!
//! The modules below are in reading order. Each one knows only the modules above it; the last three know them all.
//!
//! ```text
//! person ──▶ scanner ──Scan──▶ station ◀──evidence── readiness ◀── MDM server, Apple
//!                              │     ▲
//!                       Record ▼     │ Recorded: on disk
//!                              journal ──rows not yet acknowledged──▶ publisher ──▶ broker
//!                              │
//!                              └──▶ indicator ──▶ lamps
//! ```

// Stay alive and visible: clocks, names, secrets, private files, systemd. Nothing here knows the product.
pub mod runtime;

// The words people and dashboards read: verdicts, reasons, lamp signals.
pub mod reason;

// The state of each part of the station, in one value.
pub mod health;

// What the bytes of a barcode mean. Pure.
pub mod label;

// What the simulators of all services share, for the demo, training and tests.
#[cfg(feature = "simulate")]
pub mod simulator;

// What the MDM server and Apple say about one serial number.
pub mod readiness;

// The rule that turns their evidence into one verdict. Pure.
pub mod verdict;

// What is remembered, shown and published of one scan. Pure.
pub mod record;

// Remember it: one SQLite thread that commits before a lamp answers.
pub mod journal;

// Where the bytes come from.
pub mod scanner;

// One scan from start to finish.
pub mod station;

// Tell the person: the lamps.
pub mod indicator;

// Tell the dashboards: MQTT.
pub mod publisher;

// The config file, checked once.
pub mod config;

// The wiring: every channel and every task.
pub mod app;

// The commands.
pub mod cli;

/// Benchlight's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
