//! The config that `benchlight demo` ships: an ordinary file with a few places that are filled in at start.
//!
//! A place is written `@NAME@` in `config/demo.toml`: `@KANDJI_PORT@`, `@APPLE_DEP_PORT@` and so on, by the word of the
//! source's kind, `@BROKER_PORT@`, `@PAGE_PORT@`, `@STATE_DIR@` and `@CREDENTIALS_DIR@`.

use std::path::Path;

use super::{Config, Options, Problems, parse};
use crate::readiness::evidence::SourceKind;

/// `config/demo.toml` as shipped.
pub const SHIPPED: &str = include_str!("../../config/demo.toml");

/// What is known only when the demo starts.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The MDM that is asked in Kandji's place, and its `[[source]]`.
    pub mdm: Option<(SourceKind, &'a str)>,
    /// The simulated services' ports on 127.0.0.1.
    pub source_ports: &'a [(SourceKind, u16)],
    /// The broker's port on 127.0.0.1.
    pub broker_port: u16,
    /// The page's port on 127.0.0.1.
    pub page_port: u16,
    /// A folder for the journal.
    pub state_dir: &'a Path,
    /// A folder with the credentials of the sources.
    pub credentials_dir: &'a Path,
}

/// The shipped text with its places filled in: what `demo` runs, and what `run` would take as a file.
pub fn text(places: &Places<'_>) -> String {
    let mut text = SHIPPED
        .replace("@BROKER_PORT@", &places.broker_port.to_string())
        .replace("@PAGE_PORT@", &places.page_port.to_string())
        .replace("@STATE_DIR@", &quotable(places.state_dir))
        .replace("@CREDENTIALS_DIR@", &quotable(places.credentials_dir));
    if let Some((kind, source)) = places.mdm {
        text = with_mdm(&text, kind, source);
    }
    for (kind, port) in places.source_ports {
        let place = kind.code().to_ascii_uppercase().replace('-', "_");
        text = text.replace(&format!("@{place}_PORT@"), &port.to_string());
    }
    text
}

/// `text` with another MDM in Kandji's place.
fn with_mdm(text: &str, kind: SourceKind, source: &str) -> String {
    let replica = if kind.is_list_only() {
        "refresh = \"10s\"\n"
    } else if kind.has_list() {
        "replica = \"fallback\"\nrefresh = \"1m\"\n"
    } else {
        ""
    };
    let instead = |name: &str| match name {
        "kandji" => Some(format!("{source}\n{replica}\n")),
        "apple" if kind.speaks_for_apple() => Some(String::new()),
        _ => None,
    };
    let mut parts = text.split("[[source]]\n");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.split('"').nth(1).unwrap_or_default();
        match instead(name) {
            Some(other) => out.push_str(&other),
            None => out.extend(["[[source]]\n", part]),
        }
    }
    let counts = |line: &&str| !line.starts_with("expected_blueprints");
    out.lines()
        .filter(counts)
        .map(|line| format!("{line}\n"))
        .collect()
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
