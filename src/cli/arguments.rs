//! The command line: every command and option with its help.

#[cfg(feature = "simulate")]
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::time;
use crate::config::DEFAULT_PATH;
#[cfg(feature = "simulate")]
use crate::{
    readiness::evidence::SourceKind,
    simulator::{faults::Switch, fleet},
};

/// The version with the commit it was built from.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (build ",
    env!("BENCHLIGHT_BUILD"),
    ")"
);

/// A bench lamp for Apple device staging: green only for an assigned profile
#[derive(Debug, Parser)]
#[command(name = "benchlight", version = VERSION, arg_required_else_help = false, subcommand_required = true)]
pub(super) struct Arguments {
    /// Config file
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(super) config: PathBuf,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the station: answer scans until a signal ends it
    ///
    /// SIGTERM, SIGINT, SIGQUIT and SIGHUP end it, with dark lamps.
    #[command(verbatim_doc_comment)]
    Run,
    /// Try all of it with nothing else installed
    ///
    /// Simulated services, a broker on loopback, lamps on the terminal. Type
    /// serial numbers, or pipe them: piped, it answers all of them and ends.
    #[cfg(feature = "demo")]
    #[command(verbatim_doc_comment)]
    Demo(Demo),
    /// Ask the configured services about serial numbers, once
    ///
    /// Exit status 0: all are ready. 2: some are unknown, or were no serial
    /// number. 1: otherwise. As root it finds the service's own credentials.
    #[command(verbatim_doc_comment)]
    Lookup(Lookup),
    /// Check the config and show all its problems at once
    ///
    /// As root it finds the service's own credentials.
    #[command(verbatim_doc_comment)]
    Check,
    /// Try every configured part for real and give advice
    ///
    /// It takes nothing away from a running agent. As root it finds the
    /// service's own credentials: sudo benchlight doctor.
    #[command(verbatim_doc_comment)]
    Doctor(Doctor),
    /// Read the station's own record
    #[command(subcommand)]
    Journal(Journal),
    /// Show or empty the local copy of the services' lists
    #[command(subcommand)]
    Replica(Replica),
    /// Try the lamps, or darken them
    #[command(subcommand)]
    Lamps(Lamps),
    /// Bring credentials into their form
    #[command(subcommand)]
    Credential(Credential),
    /// Stand in for a service on loopback, with faults to switch on
    #[cfg(feature = "simulate")]
    Simulate(Simulate),
    /// Say what a reason, a lamp, an alarm or a word of health means
    ///
    /// Without a word: the lamps, and every word that it knows.
    #[command(verbatim_doc_comment)]
    Explain(Explain),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual page
    Man,
}

impl Command {
    /// Does it serve others, so that its log tells a story? (In the demo it would bury the answers.)
    pub(super) const fn is_agent(&self) -> bool {
        match self {
            Self::Run => true,
            #[cfg(feature = "simulate")]
            Self::Simulate(_) => true,
            _ => false,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Lookup {
    /// Serial numbers, or whole codes as a scanner reads them
    #[arg(required = true, value_name = "SERIAL")]
    pub(super) serials: Vec<String>,
    /// One JSON array; each element is a scan's `data`
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// One JSON array of findings
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A word as lamp, terminal, message or doctor show it, such as not_found
    pub(super) word: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Journal {
    /// Print every scan and change, oldest first
    Export(Export),
    /// Tell the story of one box
    Why {
        /// Its serial number
        serial: String,
    },
}

#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub(super) struct Export {
    /// From then on: RFC 3339, a date, or how long ago, such as 2h
    #[arg(long, value_name = "T", value_parser = time::moment)]
    pub(super) since: Option<Timestamp>,
    /// Before then
    #[arg(long, value_name = "T", value_parser = time::moment)]
    pub(super) until: Option<Timestamp>,
    /// The form of the rows
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(super) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Comma-separated, with a head line
    Csv,
    /// A JSON object a line
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub(super) enum Replica {
    /// Say what it holds of each source, how old that is and what it costs
    ///
    /// It does not disturb a running agent.
    #[command(verbatim_doc_comment)]
    Status,
    /// Empty it; the agent must be stopped
    ///
    /// Without a source the whole file is deleted. The agent fills it again.
    /// Do this before a card leaves the house.
    #[command(verbatim_doc_comment)]
    Clear {
        /// The source's name in the config
        source: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Lamps {
    /// Light all lamps together for a moment
    Test,
    /// Drive all lamps dark
    Off,
}

#[derive(Debug, Subcommand)]
pub(super) enum Credential {
    /// Make an apple-dep credential of Apple's token file
    ImportAppleToken(ImportAppleToken),
}

#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub(super) struct ImportAppleToken {
    /// Apple's file (*_smime.p7m), or the JSON decrypted elsewhere
    #[arg(long, value_name = "FILE")]
    pub(super) p7m: PathBuf,
    /// The private key (PEM) of the certificate that was uploaded to Apple
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// That certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub(super) cert: Option<PathBuf>,
    /// Write it here
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/benchlight/credentials/apple-dep-token"
    )]
    pub(super) out: PathBuf,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub(super) struct Demo {
    #[arg(long, value_name = "KIND", default_value = "kandji", value_parser = mdm_kind())]
    #[arg(help = mdm_help(), hide_default_value = true, hide_possible_values = true)]
    pub(super) mdm: SourceKind,
}

#[cfg(feature = "simulate")]
#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub(super) struct Simulate {
    /// The service, by the kind of its [[source]]; another word shows all
    #[arg(value_parser = source_kind(), hide_possible_values = true)]
    pub(super) kind: SourceKind,
    /// A loopback address; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(super) listen: SocketAddr,
    /// Write the credential that it accepts into this folder, not out
    #[arg(long, value_name = "FOLDER")]
    pub(super) credentials: Option<PathBuf>,
    /// List so many generated boxes besides the demo's
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=i64::from(fleet::MOST)))]
    pub(super) boxes: u32,
    /// Keep the limits that the service is known to keep
    ///
    /// kandji: 50 requests a second. apple-business: 20 reads a minute.
    /// Without it only Kandji's 10,000 requests an hour are kept.
    #[arg(long, verbatim_doc_comment)]
    pub(super) limits: bool,
    /// A fault to switch on; may be given again
    ///
    /// The form is EFFECT, SERIAL=EFFECT or /path=EFFECT, then #N to begin
    /// with the Nth request, and *N for N requests only: 429:3600#3*1.
    /// EFFECT is one of 500 (or another status),
    /// 403:TEXT, 429, 429:30 (Retry-After), html, cut-json, cut-body,
    /// huge:BYTES, silence:8s, delay:200ms, reset, drop, redirect:URL,
    /// date:TEXT, and the true answer changed: clock:-20h (its date is
    /// off), as:206 (its status), header:NAME: VALUE (one more header),
    /// replace:FROM>TO (every FROM in its body written as TO).
    ///
    /// For the calls that list everything: list:shift=-1 (a row before this
    /// page is gone), list:shift=1 (one was added), list:total=1 (the total
    /// is wrong), list:keep=100 (no more rows than that are left),
    /// list:stuck (the list never ends). Several: list:shift=1,total=-1.
    ///
    /// While it runs, PUT /_simulator/faults replaces what is switched
    /// on by a JSON array of such texts (or by one a line), GET shows it
    /// and DELETE ends it. Faults that belong to single boxes stay.
    #[arg(verbatim_doc_comment)]
    #[arg(long = "fault", value_name = "FAULT")]
    pub(super) faults: Vec<Switch>,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    pub(super) shell: clap_complete::Shell,
}

#[cfg(feature = "demo")]
fn mdm_help() -> String {
    let mdms = SourceKind::ALL.iter().filter(|kind| kind.is_mdm());
    let words: Vec<&str> = mdms.map(|kind| kind.code()).collect();
    format!(
        "The MDM that the station asks, if not kandji. One of\n{}",
        words.join(", ")
    )
}

#[cfg(feature = "demo")]
fn mdm_kind() -> impl clap::builder::TypedValueParser<Value = SourceKind> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};

    let mdms = SourceKind::ALL.iter().filter(|kind| kind.is_mdm());
    PossibleValuesParser::new(mdms.map(|kind| kind.code()))
        .try_map(|code| SourceKind::from_code(&code).ok_or("not in this build"))
}

#[cfg(feature = "simulate")]
fn source_kind() -> impl clap::builder::TypedValueParser<Value = SourceKind> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};

    let codes = SourceKind::ALL.iter().map(|kind| kind.code());
    PossibleValuesParser::new(codes)
        .try_map(|code| SourceKind::from_code(&code).ok_or("not in this build"))
}
