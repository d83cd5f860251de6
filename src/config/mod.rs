//! One file, checked once: all problems together, each with its place and a remedy.

#[cfg(feature = "demo")]
pub mod demo;
mod document;
mod files;
mod indicator;
mod journal;
mod lane;
mod mqtt;
mod problems;
mod scanner;
mod secrets;
mod source;
mod station;
pub mod units;
mod verdict;
mod web;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeTable;

use crate::{
    indicator as lamps, journal as memory, publisher, readiness,
    runtime::{file, machine, name::Name},
    scanner as scanners,
    verdict::Policy,
    web as page,
};
use document::Section;
pub(crate) use document::did_you_mean;
use lane::LaneEntry;
pub use problems::{Problem, Problems};
use problems::{Report, syntax_problem};
use source::Source;
use station::Station;

/// Where the config is unless --config says otherwise.
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
    /// `[web]`; `None`: nothing listens.
    pub web: Option<page::Settings>,
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

/// As much of a config as can be read, for commands beside the agent: whatever is wrong with it, lamps must go dark, the record
/// can be read, and the doctor can try the rest.
#[derive(Clone, Debug)]
pub struct Readable {
    /// Where the journal lives.
    pub state_dir: Option<PathBuf>,
    /// The scanners, if all of them are good.
    pub scanners: Vec<scanners::Settings>,
    /// The lamps of every lane whose lamps are good, even if its name is not.
    pub lamps: Vec<(Option<Name>, lamps::Settings)>,
    /// The good sources, in config order.
    pub sources: Vec<readiness::Settings>,
    /// `[verdict] max_fetch_age`, if it is good.
    pub max_fetch_age: Option<Duration>,
    /// `[mqtt]`, if it is good.
    pub mqtt: Option<publisher::Settings>,
    /// Where the page is to be, if `[web]` is there and good.
    pub listen: Option<SocketAddr>,
    /// `[journal]`, if it is good.
    pub journal: Option<memory::Settings>,
    /// What is allowed and worth a word.
    pub warnings: Vec<String>,
    /// What is wrong with the text or, if they were looked at, with the credentials and certificates that it names.
    pub problems: Option<Problems>,
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
        Self {
            check_files: true,
            pi_serial: machine::pi_serial(),
        }
    }

    /// The text alone: no file is opened.
    pub const fn text_only() -> Self {
        Self {
            check_files: false,
            pi_serial: None,
        }
    }
}

/// Reads and checks a config file on this machine.
///
/// # Errors
/// All [`Problems`] of the file together.
pub fn load(path: &Path) -> Result<Config, Problems> {
    parse(
        &read_text(path)?,
        &path.display().to_string(),
        &Options::of_this_machine(),
    )
}

/// Reads as much of a config file as can be read. `check_files`: credentials and certificates are looked at, too.
///
/// # Errors
/// The file itself cannot be read.
pub fn load_readable(path: &Path, check_files: bool) -> Result<Readable, Problems> {
    let (text, file) = (read_text(path)?, path.display().to_string());
    let options = Options {
        check_files: false,
        ..Options::of_this_machine()
    };
    // A missing credential must not hide the part that names it.
    let (parts, of_text) = judge(&text, &file, &options);
    let problems = match check_files {
        true => judge(
            &text,
            &file,
            &Options {
                check_files,
                ..options
            },
        )
        .1
        .err(),
        false => of_text.as_ref().err().cloned(),
    };
    Ok(Readable {
        state_dir: parts.station.state_dir,
        scanners: parts.scanners.unwrap_or_default(),
        lamps: parts
            .lanes
            .into_iter()
            .filter_map(|lane| Some((lane.name.map(|name| name.value), lane.lamps?)))
            .collect(),
        sources: parts
            .sources
            .into_iter()
            .filter_map(|source| source.settings)
            .collect(),
        max_fetch_age: parts.max_fetch_age,
        mqtt: parts.mqtt,
        listen: parts.web.flatten().map(|web| web.listen),
        journal: parts.journal,
        warnings: of_text.map(|config| config.warnings).unwrap_or_default(),
        problems,
    })
}

/// Checks a config's text; `file` is its name in the problems.
///
/// # Errors
/// All [`Problems`] of the text together.
pub fn parse(text: &str, file: &str, options: &Options) -> Result<Config, Problems> {
    judge(text, file, options).1
}

/// Every section as far as it could be read.
struct Parts {
    station: Station,
    sources: Vec<Source>,
    max_fetch_age: Option<Duration>,
    policy: Option<Policy>,
    lanes: Vec<LaneEntry>,
    scanners: Option<Vec<scanners::Settings>>,
    mqtt: Option<publisher::Settings>,
    /// `Some(None)`: there is no `[web]`.
    web: Option<Option<page::Settings>>,
    journal: Option<memory::Settings>,
}

fn judge(text: &str, file: &str, options: &Options) -> (Parts, Result<Config, Problems>) {
    let report = Report::new(file, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let parts = read(Section::document(&report, document.get_ref()), options);
    report.syntax(
        errors
            .iter()
            .map(|error| syntax_problem(text, error))
            .collect(),
    );
    let config = parts.whole();
    if config.is_none() && report.is_clean() {
        report.problem(
            &report.end(),
            "the config could not be read completely",
            "this is a fault of benchlight: please report it",
        );
    }
    let result = match config {
        Some(config) if report.is_clean() => Ok(Config {
            warnings: report.into_warnings(),
            ..config
        }),
        _ => Err(report.into_problems()),
    };
    (parts, result)
}

fn read(document: Section<'_, '_>, options: &Options) -> Parts {
    let station = station::read(document.section("station"), options);
    let files = files::Files {
        store: station.credentials.clone(),
        check: options.check_files,
    };
    let verdict = verdict::read(document.section("verdict"));
    let sources = source::read(&document, &verdict.mdm, &files);
    let max_fetch_age = verdict.mdm.max_fetch_age;
    let policy = verdict::policy(verdict, &sources, document.report());
    let lanes = lane::read(&document, policy.as_ref());
    let scanners = scanner::read(&document, &lanes);
    let mqtt = mqtt::read(
        document.section("mqtt"),
        document.section("home_assistant"),
        &station,
        &files,
    );
    let web = web::read(&document, scanners.as_deref(), &files);
    let journal = journal::read(document.section("journal"), &station);
    document.finish();
    Parts {
        station,
        sources,
        max_fetch_age,
        policy,
        lanes,
        scanners,
        mqtt,
        web,
        journal,
    }
}

impl Parts {
    /// The config, if nothing of it is missing.
    fn whole(&self) -> Option<Config> {
        Some(Config {
            site: self.station.site.clone()?,
            station: self.station.name.clone()?,
            state_dir: self.station.state_dir.clone()?,
            exit_at_eof: self.station.exit_at_eof?,
            scanners: self.scanners.clone()?,
            lanes: self
                .lanes
                .iter()
                .map(|lane| lane.settings.clone())
                .collect::<Option<_>>()?,
            sources: self
                .sources
                .iter()
                .map(|source| source.settings.clone())
                .collect::<Option<_>>()?,
            policy: self.policy.clone()?,
            mqtt: self.mqtt.clone()?,
            web: self.web.clone()?,
            journal: self.journal.clone()?,
            warnings: Vec::new(),
        })
    }
}

fn read_text(path: &Path) -> Result<String, Problems> {
    const REMEDY: &str =
        "name the file with --config, or copy config/benchlight.toml there and edit it";
    let refuse =
        |message: String, remedy| Problems::of_file(&path.display().to_string(), message, remedy);
    let unreadable = |error: io::Error| {
        refuse(
            format!("cannot be read: {error}"),
            file::remedy(&error, REMEDY),
        )
    };
    let (bytes, metadata) = file::read(path, LARGEST_FILE).map_err(unreadable)?;
    // Whoever writes it says whom the station asks and trusts, and so which answer is green.
    if file::everybody_writes(metadata.mode()) {
        return Err(refuse(
            "can be written by everybody".to_owned(),
            "look at what is in it, then run: chmod go-w on it",
        ));
    }
    file::text(bytes).map_err(unreadable)
}
