//! The commands: what can be typed, and the exit code of each.

mod arguments;
mod check;
mod credential;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod journal;
mod lamps;
mod lookup;
mod packaging;
mod run;
mod simulate;
pub mod time;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::{Parser, error::ErrorKind};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Problems};
use arguments::{Arguments, Command};

/// All is well.
const OK: u8 = 0;
/// The command could not do what it was asked, or the answer is no.
const FAILED: u8 = 1;
/// The command line is wrong (`EX_USAGE`).
const USAGE: u8 = 64;
/// The config or a credential is wrong (`EX_CONFIG`): starting again would not help.
const CONFIG: u8 = 78;

/// Runs the command that `arguments` name (the first is the program's own name) and gives the process's exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Two providers are in the tree; the first handshake would panic if none were chosen. A second choice does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let code = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => {
            start_log(&arguments.command);
            run(arguments).unwrap_or_else(|error| report(&error))
        }
        Err(error) => {
            // Help and version are results and go to standard output; what is wrong goes to standard error.
            let wanted = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            if wanted { OK } else { USAGE }
        }
    };
    ExitCode::from(code)
}

fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let config = arguments.config.as_path();
    match arguments.command {
        Command::Run => load(config).and_then(|config| serve(run::run(config))),
        Command::Demo => demo(),
        Command::Lookup(lookup) => load(config).and_then(|config| serve(async move { lookup::run(&config, &lookup.serials, lookup.json).await })),
        Command::Doctor(order) => doctor::doctor(config, &order),
        Command::Check => check::check(config),
        Command::Journal(order) => journal::journal(config, &order),
        Command::Lamps(command) => lamps::lamps(config, &command),
        Command::Credential(command) => credential::credential(command),
        Command::Simulate(service) => runtime()?.block_on(simulate::simulate(service)),
        Command::Completions(completions) => packaging::completions(completions.shell),
        Command::Man => packaging::manual(),
    }
}

#[cfg(feature = "demo")]
fn demo() -> anyhow::Result<u8> {
    serve(demo::run())
}

#[cfg(not(feature = "demo"))]
fn demo() -> anyhow::Result<u8> {
    anyhow::bail!("the demo is not in this build; build benchlight with its default features")
}

/// Runs a command's task. What still waits when it is done (a read of standard input, say) is left behind.
fn serve(task: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    let runtime = runtime()?;
    let code = runtime.block_on(task);
    runtime.shutdown_background();
    code
}

/// The checked config, or its problems as an error that ends the process with 78.
fn load(path: &Path) -> anyhow::Result<Config> {
    let config = crate::config::load(path)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

/// The runtime for commands that wait for more than one thing.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Logs go to standard error; standard output belongs to results. A command that answers a question is silent unless
/// something is wrong.
fn start_log(command: &Command) {
    let usual = if command.is_agent() { "info" } else { "warn" };
    let filter = filter(std::env::var(EnvFilter::DEFAULT_ENV).ok().as_deref(), usual);
    // Under systemd the journal has its own times.
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    // A second start, in tests, keeps the first.
    let _ = if under_systemd { log.without_time().try_init() } else { log.try_init() };
}

/// What is logged: what `wanted` says, if that can be understood, else the usual.
///
/// The MQTT client's warnings print whole requests, payload and all. What matters of them Benchlight says in its own words. Whoever
/// wants them names the client in `RUST_LOG`.
fn filter(wanted: Option<&str>, usual: &str) -> EnvFilter {
    const SILENCED: &str = "rumqttc=error,rumqttc_core=error,rumqttc_v5=error";
    let with = |level: &str| EnvFilter::try_new(format!("{SILENCED},{level}"));
    wanted.filter(|wanted| !wanted.is_empty()).and_then(|wanted| with(wanted).ok()).or_else(|| with(usual).ok()).unwrap_or_default()
}

/// Says what went wrong, and gives the exit code for it.
fn report(error: &anyhow::Error) -> u8 {
    let mut out = io::stderr().lock();
    if let Some(problems) = error.downcast_ref::<Problems>() {
        let _ = writeln!(out, "{problems}");
        return CONFIG;
    }
    // Whoever read the results has had enough (`| head`).
    let is_closed_pipe =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if error.chain().any(is_closed_pipe) {
        return OK;
    }
    let _ = writeln!(out, "benchlight: {error:#}");
    FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mqtt_clients_warnings_are_silent_unless_somebody_names_it() {
        let has = |filter: &EnvFilter, directive: &str| filter.to_string().split(',').any(|one| one == directive);
        for wanted in [None, Some("debug"), Some("not=a=filter"), Some("")] {
            let filter = filter(wanted, "info");
            assert!(has(&filter, "rumqttc_v5=error") && has(&filter, "rumqttc=error"), "{wanted:?}: {filter}");
        }
        assert!(has(&filter(Some("debug"), "info"), "debug"));
        assert!(has(&filter(Some("not=a=filter"), "info"), "info"));
        let named = filter(Some("info,rumqttc_v5=trace"), "info");
        assert!(has(&named, "rumqttc_v5=trace") && !has(&named, "rumqttc_v5=error"), "{named}");
    }
}
