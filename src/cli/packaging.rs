//! `completions` and `man`, for packagers.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::roff::{Roff, bold, roman};

use super::{OK, arguments::Arguments, explain};

pub(super) fn completions(shell: Shell) -> anyhow::Result<u8> {
    // Into memory first: the generator panics when its output is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "benchlight", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(OK)
}

/// Files that a technician meets: (path, what it is).
const FILES: [(&str, &str); 10] = [
    ("/etc/benchlight/benchlight.toml", "The config."),
    (
        "/etc/benchlight/credentials/",
        "Secrets, one file each, mode 0600.",
    ),
    (
        "/etc/systemd/system/benchlight.service.d/",
        "Settings of your own for the service, LoadCredential= for example.",
    ),
    (
        "/run/credentials/benchlight.service/",
        "The secrets that systemd handed to the running agent.",
    ),
    (
        "/var/lib/benchlight/journal.sqlite",
        "The station's record. journal.corrupt-* beside it were damaged and set aside.",
    ),
    (
        "/var/lib/benchlight/replica.sqlite",
        "The local copy of the services' lists, if a source has `replica`. It may be deleted while the agent is stopped.",
    ),
    ("/usr/lib/systemd/system/benchlight.service", "The service."),
    (
        "/usr/lib/udev/rules.d/70-benchlight.rules",
        "Rights to scanners and lamps.",
    ),
    (
        "/usr/share/doc/benchlight/",
        "install.md, operating.md, security.md, hardware.md and more.",
    ),
    (
        "/usr/share/doc/benchlight/examples/",
        "Configs, and mosquitto/conf and mosquitto/acl for the broker.",
    ),
];

/// Exit statuses of all commands.
const STATUSES: [(&str, &str); 5] = [
    ("0", "All is well; of lookup: every box is ready."),
    ("1", "It could not be done, or the answer is no."),
    (
        "2",
        "Of lookup: a box is unknown, or that was no serial number.",
    ),
    ("64", "The command line is wrong."),
    (
        "78",
        "The config, or a credential that it names, is wrong. systemd does not start the agent again then: benchlight check shows what is wrong.",
    ),
];

/// The manual page: one page for the program and all of its commands.
pub(super) fn manual() -> anyhow::Result<u8> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render_title(&mut page)?;
    let mut roff = Roff::new();
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    roff.control("SH", ["NAME"])
        .text([roman(format!("benchlight - {about}"))]);
    roff.control("SH", ["SYNOPSIS"])
        .text([bold("benchlight"), roman(" COMMAND [--config FILE]")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "A Raspberry Pi stands on a bench where Apple devices are staged. A worker scans the serial number on a sealed box, the agent asks the MDM and Apple \
         whether its Automated Device Enrollment profile is assigned, answers by a lamp, and publishes every result over MQTT.",
    )]);
    roff.control("SH", ["COMMANDS"]);
    describe(&mut roff, &command);
    roff.control("SH", ["OPTIONS"]);
    for argument in command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
    {
        option(&mut roff, argument);
    }
    roff.control("SH", ["LAMPS"]);
    for (name, text) in explain::lamps() {
        item(&mut roff, &name, &text);
    }
    for (title, items) in [("EXIT STATUS", &STATUSES[..]), ("FILES", &FILES[..])] {
        roff.control("SH", [title]);
        for (name, text) in items {
            item(&mut roff, name, text);
        }
    }
    roff.control("SH", ["SEE ALSO"]).text([
        bold("systemctl"),
        roman("(1), "),
        bold("journalctl"),
        roman("(1), "),
        bold("systemd.exec"),
        roman("(5); /usr/share/doc/benchlight/operating.md says what to do about each answer, and benchlight explain WORD the same"),
    ]);
    page.extend(roff.to_roff().into_bytes());
    io::stdout().lock().write_all(&page)?;
    Ok(OK)
}

/// Every command that can be typed, with its own options.
fn describe(roff: &mut Roff, command: &clap::Command) {
    for inner in command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        if inner.has_subcommands() {
            describe(roff, inner);
            continue;
        }
        let positionals = inner.get_positionals().map(|argument| {
            let name = value_name(argument);
            if argument.is_required_set() {
                name
            } else {
                format!("[{name}]")
            }
        });
        let usage: Vec<String> =
            std::iter::once(inner.get_bin_name().unwrap_or_default().to_owned())
                .chain(positionals)
                .collect();
        roff.control("TP", []).text([bold(usage.join(" "))]);
        paragraphs(
            roff,
            &inner
                .get_long_about()
                .or(inner.get_about())
                .map(ToString::to_string)
                .unwrap_or_default(),
        );
        let own: Vec<&clap::Arg> = inner
            .get_arguments()
            .filter(|argument| !argument.is_global_set() && argument.get_id() != "help")
            .collect();
        if !own.is_empty() {
            roff.control("RS", []);
            own.into_iter().for_each(|argument| option(roff, argument));
            roff.control("RE", []);
        }
    }
}

fn option(roff: &mut Roff, argument: &clap::Arg) {
    let takes_values = argument.get_action().takes_values();
    let name = match argument.get_long() {
        Some(long) if takes_values => format!("--{long} {}", value_name(argument)),
        Some(long) => format!("--{long}"),
        None => value_name(argument),
    };
    roff.control("TP", []).text([bold(name)]);
    let default = argument
        .get_default_values()
        .first()
        .filter(|_| takes_values);
    let default = default
        .map(|value| format!("\n\nDefault: {}", value.to_string_lossy()))
        .unwrap_or_default();
    let help = argument
        .get_long_help()
        .or(argument.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    paragraphs(roff, &format!("{help}{default}"));
}

fn value_name(argument: &clap::Arg) -> String {
    argument
        .get_value_names()
        .and_then(|names| names.first())
        .map_or_else(|| argument.get_id().to_string(), ToString::to_string)
        .to_ascii_uppercase()
}

fn item(roff: &mut Roff, name: &str, text: &str) {
    roff.control("TP", [])
        .text([bold(name)])
        .text([roman(text)]);
}

fn paragraphs(roff: &mut Roff, text: &str) {
    for (number, paragraph) in text.split("\n\n").enumerate() {
        if number > 0 {
            roff.control("IP", []);
        }
        roff.text([roman(paragraph.split('\n').collect::<Vec<_>>().join(" "))]);
    }
}
