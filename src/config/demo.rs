//! The config that `benchlight demo` ships: an ordinary file with a few places that are filled in at start.
//!
//! A place is written `@NAME@` in `config/demo.toml`. They are `@KANDJI_PORT@`, `@APPLE_PORT@`, `@BUSINESS_PORT@` and
//! `@BROKER_PORT@` (the free ports that the simulated services and the broker got), `@STATE_DIR@` and `@CREDENTIALS_DIR@` (a folder made for this run).

use std::path::Path;

use super::{Config, Options, Problems, parse};

/// `config/demo.toml` as shipped.
pub const SHIPPED: &str = include_str!("../../config/demo.toml");

/// What is known only when the demo starts.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The simulated Kandji's port on 127.0.0.1.
    pub kandji_port: u16,
    /// The simulated Device Assignment Services' port on 127.0.0.1.
    pub apple_port: u16,
    /// The simulated Apple Business Manager's port on 127.0.0.1.
    pub business_port: u16,
    /// The broker's port on 127.0.0.1.
    pub broker_port: u16,
    /// A folder for the journal.
    pub state_dir: &'a Path,
    /// A folder that holds `kandji-token`, `apple-dep-token` and `apple-business-key`.
    pub credentials_dir: &'a Path,
}

/// The shipped text with its places filled in: what `demo` runs, and what `run` would take as a file.
pub fn text(places: &Places<'_>) -> String {
    SHIPPED
        .replace("@KANDJI_PORT@", &places.kandji_port.to_string())
        .replace("@APPLE_PORT@", &places.apple_port.to_string())
        .replace("@BUSINESS_PORT@", &places.business_port.to_string())
        .replace("@BROKER_PORT@", &places.broker_port.to_string())
        .replace("@STATE_DIR@", &quotable(places.state_dir))
        .replace("@CREDENTIALS_DIR@", &quotable(places.credentials_dir))
}

/// The shipped config, checked like any other.
///
/// # Errors
/// [`Problems`], for example when the folder of credentials is not there.
pub fn config(places: &Places<'_>) -> Result<Config, Problems> {
    parse(&text(places), "demo.toml", &Options::of_this_machine())
}

/// A path inside a TOML text in double quotes.
fn quotable(path: &Path) -> String {
    path.display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
}
