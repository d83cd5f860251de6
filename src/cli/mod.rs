//! The commands: what can be typed, and the exit code of each.

mod arguments;
mod check;
mod credential;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod explain;
mod fitted;
mod folder;
mod journal;
mod lamps;
mod lists;
mod log;
mod lookup;
mod packaging;
mod replica;
mod run;
mod signals;
#[cfg(feature = "simulate")]
mod simulate;
pub mod time;

use std::{ffi::OsString, io, path::Path, process::ExitCode};

use clap::{Parser, error::ErrorKind};

use crate::{
    config::{Config, Problems},
    readiness::http::ClientFault,
};
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
    log::tell_panics();
    let code = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => {
            start_log(&arguments.command);
            let code = run(arguments).unwrap_or_else(|error| report(&error));
            log::end();
            code
        }
        Err(error) => {
            // Help and version are results and go to standard output; what is wrong goes to standard error.
            let wanted = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
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
        #[cfg(feature = "demo")]
        Command::Demo(order) => serve(demo::run(order.mdm)),
        Command::Lookup(lookup) => load(config).and_then(|config| {
            serve(async move { lookup::run(&config, &lookup.serials, lookup.json).await })
        }),
        Command::Doctor(order) => doctor::doctor(config, &order),
        Command::Check => check::check(config),
        Command::Journal(order) => journal::journal(config, &order),
        Command::Replica(order) => replica::replica(config, &order),
        Command::Lamps(command) => lamps::lamps(config, &command),
        Command::Credential(command) => credential::credential(command),
        #[cfg(feature = "simulate")]
        Command::Simulate(service) => runtime()?.block_on(simulate::simulate(service)),
        Command::Explain(order) => explain::explain(order.word.as_deref()),
        Command::Completions(completions) => packaging::completions(completions.shell),
        Command::Man => packaging::manual(),
    }
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

/// The runtime for commands that wait for more than one thing. One worker: a second one would be woken whenever the first has something
/// to do, and the agent's scans have a thread of their own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?)
}

/// Logs go to standard error; standard output belongs to results. A command that answers a question is silent unless
/// something is wrong.
fn start_log(command: &Command) {
    log::start(if command.is_agent() { "info" } else { "warn" });
}

/// Says what went wrong, and gives the exit code for it.
fn report(error: &anyhow::Error) -> u8 {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        log::error(&problems.to_string());
        return CONFIG;
    }
    // Whoever read the results has had enough (`| head`).
    let is_closed_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_closed_pipe) {
        return OK;
    }
    log::error(&format!("benchlight: {error:#}"));
    // What the config names cannot be used: starting again would not help.
    if error.downcast_ref::<ClientFault>().is_some() {
        CONFIG
    } else {
        FAILED
    }
}
