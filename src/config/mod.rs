//! One file, checked once: all problems together, each with its place and a remedy.

use std::path::PathBuf;

use crate::{indicator, journal, publisher, readiness, runtime::name::Name, scanner, verdict::Policy};

/// The checked config: what every part needs, and nothing that could still be wrong.
#[derive(Clone, Debug)]
pub struct Config {
    /// The site's name.
    pub site: Name,
    /// The station's name.
    pub station: Name,
    /// Where the journal lives.
    pub state_dir: PathBuf,
    /// Stop when all scanners are streams that ended and all is answered and sent.
    pub exit_at_eof: bool,
    /// One or more.
    pub scanners: Vec<scanner::Settings>,
    /// One or more.
    pub lanes: Vec<Lane>,
    /// One or more, in config order.
    pub sources: Vec<readiness::Settings>,
    /// `[mqtt]`.
    pub mqtt: publisher::Settings,
    /// `[journal]`.
    pub journal: journal::Settings,
    /// What is allowed and worth a word: printed by `check`, logged at start.
    pub warnings: Vec<String>,
}

/// One lane.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Its name.
    pub name: Name,
    /// The policy as this lane sees it.
    pub policy: Policy,
    /// Its lamps.
    pub indicator: indicator::Settings,
}
