//! `[station]`: who this is and where it keeps things.

use std::{fs, path::PathBuf};

use super::{Options, document::Section};
use crate::runtime::{credential::CredentialStore, file, name::Name};

const STATE_DIR: &str = "/var/lib/benchlight";
const CREDENTIALS_DIR: &str = "/etc/benchlight/credentials";

/// What was read of `[station]`; what is wrong is `None`.
pub(super) struct Station {
    pub(super) site: Option<Name>,
    pub(super) name: Option<Name>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) credentials: CredentialStore,
    pub(super) exit_at_eof: Option<bool>,
}

pub(super) fn read(section: Section<'_, '_>, options: &Options) -> Station {
    let path = |key, default: &str| {
        if section.has(key) {
            section.path(key, default).map(|found| found.value)
        } else {
            Some(PathBuf::from(default))
        }
    };
    let state_dir = path("state_dir", STATE_DIR);
    let state_dir = if options.check_files {
        state_dir.and_then(|dir| own_folder(&section, dir))
    } else {
        state_dir
    };
    let credentials_dir =
        path("credentials_dir", CREDENTIALS_DIR).unwrap_or_else(|| PathBuf::from(CREDENTIALS_DIR));
    let exit_at_eof = section.flag("exit_at_eof", false);
    let (site, name) = if section.is_there() {
        let site = section.required("site", section.name("site", "ams1"), "\"ams1\"");
        (
            site.map(|found| found.value),
            section.required("name", station_name(&section, options), "\"bench-1\""),
        )
    } else {
        let example = "write for example:\n[station]\nsite = \"ams1\"\nname = \"bench-1\"";
        section.report().absence(
            section.at(),
            "there is no [station]: which bench is this?",
            example,
        );
        (None, None)
    };
    section.finish();
    Station {
        site,
        name,
        state_dir,
        credentials: CredentialStore::new(&credentials_dir),
        exit_at_eof,
    }
}

/// `state_dir`, if it does not exist yet or others cannot change its contents.
fn own_folder(section: &Section<'_, '_>, dir: PathBuf) -> Option<PathBuf> {
    const KEY: &str = "state_dir";
    let Ok(metadata) = fs::metadata(&dir) else {
        return Some(dir);
    };
    let shown = dir.display();
    match file::exposed_folder(&metadata) {
        Some((what, true)) => section.wrong(
            KEY,
            format!("{shown} {what}: others could change the record"),
            format!("run: chmod 0700 {shown}"),
        ),
        Some((what, false)) => {
            section.report().warn(
                Some(&section.place(KEY)),
                format!(
                    "{shown} {what}, who could change the record; chmod 0700 keeps it the agent's"
                ),
            );
            Some(dir)
        }
        None => Some(dir),
    }
}

fn station_name(section: &Section<'_, '_>, options: &Options) -> Option<Name> {
    let name = section.name("name", "bench-1")?.value;
    if name.as_str() != "auto" {
        return Some(name);
    }
    match options.pi_serial.as_deref().and_then(name_of_pi) {
        Some(name) => Some(name),
        None => section.wrong(
            "name",
            "\"auto\" needs a Raspberry Pi's serial number, and this machine has none",
            "write a name: name = \"bench-1\"",
        ),
    }
}

/// `pi-` and the last 8 characters of the Pi's serial number.
fn name_of_pi(serial: &str) -> Option<Name> {
    let serial = serial.trim().to_ascii_lowercase();
    let last = serial.get(serial.len().checked_sub(8)?..)?;
    Name::new(&format!("pi-{last}")).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_pi_is_named_after_its_last_eight_digits() {
        assert_eq!(
            name_of_pi("100000003d1a2B4c").unwrap().as_str(),
            "pi-3d1a2b4c"
        );
        for serial in ["", "1234567", "ümlaut12", "________"] {
            assert!(name_of_pi(serial).is_none(), "{serial}");
        }
    }
}
