//! Why a credential cannot be read or used, in words that name the file and the remedy, never the content.

use std::{fmt, io, path::PathBuf};

use crate::runtime::file;

/// Why a credential cannot be read or used: what `check`, `doctor` and the agent say of it.
#[derive(Debug)]
pub enum CredentialFault {
    /// No file and no environment variable of that name.
    Missing {
        /// Name in the config.
        name: String,
        /// Where it was looked for last.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is empty.
    Empty {
        /// Name in the config.
        name: String,
    },
    /// Others may read or change the file.
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// Others may put another file in its place.
    ExposedFolder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The name could leave the folder. It is not repeated: it may be the secret itself.
    BadName,
    /// It is there, and not what its user needs.
    Malformed {
        /// Name in the config.
        name: String,
        /// What is wrong with it: "is .."
        what: String,
        /// What to do.
        remedy: String,
    },
}

impl CredentialFault {
    /// What is wrong.
    pub fn finding(&self) -> String {
        match self {
            Self::Missing { name, .. } if may_be_a_secret(name) => {
                "a credential is missing (its name is not shown: it may be the secret itself)"
                    .to_owned()
            }
            Self::Missing { name, .. } => format!("credential {name:?} is missing"),
            Self::Unreadable { path, error } => {
                format!("credential file {} cannot be read: {error}", path.display())
            }
            Self::Empty { name } => format!("credential {name:?} is empty"),
            Self::Exposed { path } => {
                format!("credential file {} can be read by others", path.display())
            }
            Self::ExposedFolder { folder, what } => {
                format!(
                    "{}, where a credential lies, {what}, who could put another in its place",
                    folder.display()
                )
            }
            Self::BadName => "that is not a credential name".to_owned(),
            Self::Malformed { name, what, .. } => format!("credential {name:?} {what}"),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Missing { name, path } if may_be_a_secret(name) => {
                let folder = path.parent().unwrap_or(path);
                format!("write the secret into a file of its own in {} (mode 0600), and the name of that file here", folder.display())
            }
            Self::Missing { name, path } => format!(
                "write the secret to {} (mode 0600), load it with systemd's LoadCredential={name}:.., or set {}",
                path.display(),
                variable(name)
            ),
            Self::Unreadable { error, .. } => {
                file::remedy(error, "make it a text file that belongs to the user who runs benchlight, mode 0600; root may read it in any case")
                    .to_owned()
            }
            Self::Empty { .. } => "write the secret into it".to_owned(),
            Self::Exposed { path } => format!("run: chmod 0600 {}", path.display()),
            Self::ExposedFolder { folder, .. } => {
                format!("run: chmod go-w {} (and chown it to root or the agent's user); then put new secrets there", folder.display())
            }
            Self::BadName => "it is the name of a file in the folder of credentials: use letters, digits, '-', '_' and '.'".to_owned(),
            Self::Malformed { remedy, .. } => remedy.clone(),
        }
    }
}

impl fmt::Display for CredentialFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.finding(), self.remedy())
    }
}

impl std::error::Error for CredentialFault {}

/// May this text, which stands where a credential's name belongs, be the secret itself? A name is made of words and small numbers: `kandji-token`,
/// `bench-1.mqtt`. A token, a key and many a password are not.
pub fn may_be_a_secret(name: &str) -> bool {
    let letters = |part: &str| {
        (1..=16).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let digits = |part: &str| part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = |part: &str| {
        letters(part.trim_end_matches(|last: char| last.is_ascii_digit())) && part.len() <= 8
    };
    let parts: Vec<&str> = name.split(['-', '_', '.']).collect();
    let plain = match parts.as_slice() {
        [only] => letters(only),
        parts => {
            parts.len() <= 6
                && parts.iter().any(|part| letters(part))
                && parts
                    .iter()
                    .all(|part| letters(part) || digits(part) || numbered(part))
        }
    };
    !plain
}

/// The environment variable that may hold the credential.
pub(super) fn variable(name: &str) -> String {
    format!(
        "BENCHLIGHT_CREDENTIAL_{}",
        name.to_ascii_uppercase().replace('-', "_")
    )
}
