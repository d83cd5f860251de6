//! Benchlight: lamps on an Apple staging bench that say whether a sealed box is ready to be powered on.
//!
//! Read the modules in this order: each uses only those above it.
//!
//! ```text
//! person ─▶ scanner ──Scan──▶ station ◀──Answer── readiness ◀── MDM server, Apple
//!                              │ │ ▲
//!                              │ │ └─Recorded: synced──┐
//!                              │ └──────Record──────▶ journal ──unsent rows──▶ publisher ─▶ MQTT broker
//!                              │
//!                              └──LaneStatus──▶ indicator ─▶ lamps
//! ```

#![cfg_attr(not(test), warn(clippy::too_many_lines))]

// What every program needs: clocks, checked names, secrets, private files, systemd. It knows nothing of the product.
pub mod runtime;

// Verdicts, reasons and lamp signals, with the sentences people read. Pure.
pub mod reason;

// The tables of the manual: what each word means and what to do. Pure.
pub mod manual;

// The state of every part of the station, in one value. Pure.
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

// What is stored, shown and published about one scan. Pure.
pub mod record;

// Stores records: an SQLite thread that commits each one before its lamp is lit.
pub mod journal;

// Where bytes come from: keyboard-type and serial scanners, standard input, TCP.
pub mod scanner;

// One scan from start to finish: a pure core decides, a driver acts.
pub mod station;

// Shows the answer to the person: lamps on pins or a terminal.
pub mod indicator;

// Sends records and health to the dashboards: MQTT.
pub mod publisher;

// The page at the bench and /metrics: HTTP.
pub mod web;

// The config file, checked as a whole.
pub mod config;

// The wiring: every channel and every task.
pub mod app;

// The commands and their exit codes.
pub mod cli;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
