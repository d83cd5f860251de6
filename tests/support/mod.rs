//! What tests share: a station in its own process, a real mosquitto with the shipped config, a dashboard, a network that fails on
//! demand.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test binary uses its part of this"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

pub mod certificates;
pub mod clocks;
pub mod dashboard;
pub mod home_assistant;
pub mod http;
pub mod lamps;
pub mod mosquitto;
pub mod proxy;
pub mod station;
pub mod tls_terminator;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// A port on which nothing listens. The kernel gives none of these to anybody, so one is still free when a broker comes back to it.
pub fn free_port() -> u16 {
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = (0..1_000).map(|_| fastrand::u16(10_000..32_000));
    ports.find(is_free).unwrap()
}

/// What `tests/dashboards/install NAME` has installed; `tests/run` calls it.
pub fn tools(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/tools")
        .join(name);
    assert!(
        folder.join("complete").exists(),
        "run tests/dashboards/install {name}"
    );
    folder
}

/// Runs a program that changes the system. `Err`: why it failed.
pub fn system(program: &str, words: &[&str]) -> Result<(), String> {
    match Command::new(program).args(words).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
                .lines()
                .next()
                .unwrap_or_default()
        )),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Installs the crypto provider. Call this first in each test that may use TLS.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Polls `condition` until it holds. Panics with `what` after `within`.
pub async fn eventually(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
