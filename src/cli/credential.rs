//! `credential`: secrets from the form in which they are handed out.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{OK, arguments::Credential};
use crate::readiness::apple_dep::token_file::{Import, import};

pub(super) fn credential(command: Credential) -> anyhow::Result<u8> {
    let Credential::ImportAppleToken(arguments) = command;
    let order = Import {
        token: arguments.p7m,
        key: arguments.key,
        cert: arguments.cert,
        out: arguments.out,
    };
    let imported = import(&order, Timestamp::now())?;
    let until = format!(
        "; it expires on {} (in {} days)",
        imported.expires.strftime("%Y-%m-%d"),
        imported.days_left
    );
    writeln!(
        io::stdout().lock(),
        "{} written{until}",
        imported.out.display()
    )?;
    Ok(OK)
}
