//! The publisher with a real mosquitto and the shipped config, with a network that fails, and with a broker that misbehaves.
#![allow(unreachable_pub, reason = "modules of a test binary")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

#[path = "publisher/access.rs"]
mod access;
#[path = "publisher/bench.rs"]
mod bench;
#[path = "publisher/commands.rs"]
mod commands;
#[path = "publisher/delivery.rs"]
mod delivery;
#[path = "publisher/discovery.rs"]
mod discovery;
#[path = "publisher/guide.rs"]
mod guide;
#[path = "publisher/kept.rs"]
mod kept;
#[path = "publisher/refusals.rs"]
mod refusals;
#[path = "publisher/scripted.rs"]
mod scripted;
mod support;
#[path = "publisher/trust.rs"]
mod trust;
