//! Secrets: where they are read from, and a type that cannot print them.

use std::{
    fmt, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::file;

/// Where systemd keeps what the unit's LoadCredential= copied when the service started.
const OF_THE_SERVICE: &str = "/run/credentials/benchlight.service";
/// A key in PEM has a few kilobytes.
const LARGEST: u64 = 1 << 20;

/// A secret text. It has no `Display`, and its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a text; one trailing newline is dropped.
    pub fn new(text: &str) -> Self {
        let text = text.strip_suffix('\n').unwrap_or(text);
        Self(text.strip_suffix('\r').unwrap_or(text).into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

/// Why a credential cannot be had. The texts name the file and the remedy, never the content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialFault {
    /// No file and no environment variable of that name.
    #[error("credential {name:?} is missing: put it in {} (mode 0600), or load it with systemd's LoadCredential=", path.display())]
    Missing {
        /// Name in the config.
        name: String,
        /// Where it was looked for last.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("credential file {} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is empty.
    #[error("credential {name:?} is empty: write the secret into it")]
    Empty {
        /// Name in the config.
        name: String,
    },
    /// Others may read the file.
    #[error("credential file {} is readable by others: run chmod 0600 on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The name could leave the folder.
    #[error("{name:?} is not a credential name: use letters, digits, '-', '_' and '.'")]
    BadName {
        /// Name in the config.
        name: String,
    },
}

/// Finds secrets by name: `$CREDENTIALS_DIRECTORY`, then a folder, then `BENCHLIGHT_CREDENTIAL_<NAME>`.
#[derive(Clone, Debug)]
pub struct CredentialStore {
    folders: Vec<PathBuf>,
}

impl CredentialStore {
    /// A store that looks in systemd's folder, then in `credentials_dir`, then in the environment.
    pub fn new(credentials_dir: &Path) -> Self {
        let from_systemd = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self { folders: from_systemd.into_iter().chain([credentials_dir.to_owned()]).collect() }
    }

    /// A handle to one credential, to be read whenever it is needed: a new file counts without a restart.
    pub fn credential(&self, name: &str) -> Credential {
        Credential { name: name.to_owned(), store: self.clone() }
    }
}

/// One named secret that is read anew each time, so that replacing its file needs no restart.
#[derive(Clone, Debug)]
pub struct Credential {
    name: String,
    store: CredentialStore,
}

impl Credential {
    /// The name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// [`CredentialFault`] when it is missing, unreadable, empty or readable by others.
    pub fn read(&self) -> Result<Secret, CredentialFault> {
        let name = &self.name;
        let harmless = !name.is_empty() && !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !harmless {
            return Err(CredentialFault::BadName { name: name.clone() });
        }
        let mut last = PathBuf::from(name);
        for folder in &self.store.folders {
            let path = folder.join(name);
            match read_private(&path) {
                Ok(text) => return non_empty(name, &text),
                Err(CredentialFault::Missing { .. }) => last = path,
                Err(fault) => return Err(fault),
            }
        }
        let variable = format!("BENCHLIGHT_CREDENTIAL_{}", name.to_ascii_uppercase().replace('-', "_"));
        match std::env::var(&variable) {
            Ok(text) => non_empty(name, &text),
            Err(_) => Err(CredentialFault::Missing { name: name.clone(), path: last }),
        }
    }

    /// Another file of this credential that holds another secret, as far as this user may look: systemd's copy is as old as
    /// the service's start, whatever was written into the folder since.
    pub fn other_copy(&self) -> Option<PathBuf> {
        let read = self.read().ok()?;
        let folders = self.store.folders.iter().map(PathBuf::as_path).chain([Path::new(OF_THE_SERVICE)]);
        let mut copies = folders.map(|folder| folder.join(&self.name));
        copies.find(|path| file::read(path, LARGEST).is_ok_and(|(bytes, _)| String::from_utf8(bytes).is_ok_and(|text| Secret::new(&text) != read)))
    }
}

fn non_empty(name: &str, text: &str) -> Result<Secret, CredentialFault> {
    let secret = Secret::new(text);
    if secret.reveal().trim().is_empty() { Err(CredentialFault::Empty { name: name.to_owned() }) } else { Ok(secret) }
}

fn read_private(path: &Path) -> Result<String, CredentialFault> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => CredentialFault::Missing { name: String::new(), path: path.to_owned() },
        _ => CredentialFault::Unreadable { path: path.to_owned(), error },
    };
    let (bytes, metadata) = file::read(path, LARGEST).map_err(unreadable)?;
    let mode = metadata.permissions().mode();
    // systemd's own credential folder holds files of mode 0440 that only the service's user can reach.
    let by_systemd = std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|folder| path.starts_with(folder));
    if mode & 0o077 != 0 && !by_systemd {
        return Err(CredentialFault::Exposed { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")))
}
