//! One file, checked once: all problems together, each with its place and a remedy.

pub mod demo;
mod document;
mod files;
mod indicator;
mod journal;
mod lane;
mod mqtt;
mod problems;
mod scanner;
mod source;
mod station;
pub mod units;
mod verdict;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::{
    indicator as lamps, journal as memory, publisher, readiness,
    runtime::{machine, name::Name},
    scanner as scanners,
    verdict::Policy,
};
use document::Section;
pub use problems::{Problem, Problems};
use problems::{Report, syntax_problem};

/// Where the config is looked for when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/benchlight/benchlight.toml";

/// A config has a few kilobytes; what is larger is another file named by mistake.
const LARGEST_FILE: u64 = 1 << 20;

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
    pub scanners: Vec<scanners::Settings>,
    /// One or more.
    pub lanes: Vec<Lane>,
    /// One or more, in config order.
    pub sources: Vec<readiness::Settings>,
    /// `[verdict]` without any lane's overrides.
    pub policy: Policy,
    /// `[mqtt]`.
    pub mqtt: publisher::Settings,
    /// `[journal]`.
    pub journal: memory::Settings,
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
    pub indicator: lamps::Settings,
}

/// What the checks may use of the machine they run on.
#[derive(Clone, Debug)]
pub struct Options {
    /// Look at credentials and certificate files. `false`: judge the text alone.
    pub check_files: bool,
    /// This Pi's serial number, for `name = "auto"`.
    pub pi_serial: Option<String>,
}

impl Options {
    /// All checks, on this machine.
    pub fn of_this_machine() -> Self {
        Self { check_files: true, pi_serial: machine::pi_serial() }
    }

    /// The text alone: no file is opened.
    pub const fn text_only() -> Self {
        Self { check_files: false, pi_serial: None }
    }
}

/// Reads and checks a config file on this machine.
///
/// # Errors
/// All [`Problems`] of the file together.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let file = path.display().to_string();
    let text = read_text(path).map_err(|(message, remedy)| Problems::of_file(&file, message, remedy))?;
    parse(&text, &file, &Options::of_this_machine())
}

/// Checks a config's text; `file` is its name in the problems.
///
/// # Errors
/// All [`Problems`] of the text together.
pub fn parse(text: &str, file: &str, options: &Options) -> Result<Config, Problems> {
    let report = Report::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let config = read(Section::document(&report, document.get_ref()), options);
    report.syntax(errors.iter().map(|error| syntax_problem(text, error)).collect());
    match config {
        Some(config) if report.is_clean() => Ok(Config { warnings: report.into_warnings(), ..config }),
        Some(_) => Err(report.into_problems()),
        None => {
            if report.is_clean() {
                report.problem(&report.end(), "the config could not be read completely", "this is a fault of benchlight: please report it");
            }
            Err(report.into_problems())
        }
    }
}

fn read(document: Section<'_, '_>, options: &Options) -> Option<Config> {
    let station = station::read(document.section("station"), options);
    let credentials = files::Files { store: station.credentials.clone(), check: options.check_files };
    let verdict = verdict::read(document.section("verdict"));
    let sources = source::read(&document, &verdict, &credentials);
    let policy = verdict::policy(verdict, &sources, document.report());
    let lanes = lane::read(&document, policy.as_ref());
    let scanners = scanner::read(&document, &lanes);
    let mqtt = mqtt::read(document.section("mqtt"), &station, &credentials);
    let journal = journal::read(document.section("journal"), &station);
    document.finish();

    Some(Config {
        site: station.site?,
        station: station.name?,
        state_dir: station.state_dir?,
        exit_at_eof: station.exit_at_eof?,
        scanners: scanners?,
        lanes: lanes.into_iter().map(|lane| lane.settings).collect::<Option<_>>()?,
        sources: sources.into_iter().map(|source| source.settings).collect::<Option<_>>()?,
        policy: policy?,
        mqtt: mqtt?,
        journal: journal?,
        warnings: Vec::new(),
    })
}

fn read_text(path: &Path) -> Result<String, (String, &'static str)> {
    const REMEDY: &str = "name the file with --config, or copy config/benchlight.toml there and edit it";
    let metadata = std::fs::metadata(path).map_err(|error| (format!("cannot be read: {error}"), REMEDY))?;
    if !metadata.is_file() {
        return Err(("is not a file".to_owned(), REMEDY));
    }
    if metadata.len() > LARGEST_FILE {
        return Err(("is larger than 1 MiB: that is no config".to_owned(), REMEDY));
    }
    let bytes = std::fs::read(path).map_err(|error| (format!("cannot be read: {error}"), REMEDY))?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
        (format!("is not UTF-8 text (line {line})"), "save it as UTF-8")
    })
}
