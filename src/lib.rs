//! Benchlight: a bench lamp for Apple device staging.

pub mod runtime;
pub mod reason;
pub mod health;
pub mod label;
pub mod readiness;
pub mod verdict;
pub mod record;
pub mod journal;
pub mod scanner;
pub mod station;
pub mod indicator;
pub mod publisher;
pub mod simulator;
pub mod config;
pub mod app;
pub mod cli;

/// Benchlight's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
