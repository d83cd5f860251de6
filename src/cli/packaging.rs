//! `completions` and `man`, for packagers.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{OK, arguments::Arguments};

pub(super) fn completions(shell: Shell) -> anyhow::Result<u8> {
    // Into memory first: the generator panics when its output is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "benchlight", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(OK)
}

/// The manual page of the program and, behind it, those of its commands.
pub(super) fn manual() -> anyhow::Result<u8> {
    let mut command = Arguments::command();
    command.build();
    let mut pages = Vec::new();
    render(&command, &mut pages)?;
    io::stdout().lock().write_all(&pages)?;
    Ok(OK)
}

fn render(command: &clap::Command, pages: &mut Vec<u8>) -> io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(pages)?;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help" && !inner.is_hide_set()) {
        // Built commands carry their whole path as display name: "benchlight-journal-export".
        render(inner, pages)?;
    }
    Ok(())
}
