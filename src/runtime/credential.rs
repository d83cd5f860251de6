//! Secrets: where they are read from, of what form they are, and a type that cannot print them.

mod fault;
mod kept;

use std::{
    collections::BTreeMap,
    fmt,
    fs::Metadata,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::geteuid;

use super::{
    file,
    unit::{self, Loaded},
};
use fault::variable;
pub use fault::{CredentialFault, may_be_a_secret};
use kept::Kept;

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

/// Finds secrets by name: systemd's folder, then another, then `BENCHLIGHT_CREDENTIAL_<NAME>`.
#[derive(Clone, Debug)]
pub struct CredentialStore {
    /// `$CREDENTIALS_DIRECTORY`; for root without it the running service's, so that its commands see what the agent sees.
    by_systemd: Option<PathBuf>,
    /// For root: what the service's unit names, for as long as it does not run.
    by_unit: Arc<BTreeMap<String, Loaded>>,
    folder: PathBuf,
}

impl CredentialStore {
    /// A store that looks in systemd's folder, then in `credentials_dir`, then in the environment.
    pub fn new(credentials_dir: &Path) -> Self {
        let named = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        if named.is_some() || !geteuid().is_root() {
            return Self {
                by_systemd: named,
                by_unit: Arc::default(),
                folder: credentials_dir.to_owned(),
            };
        }
        let by_unit = Arc::new(unit::credentials(Path::new("/")));
        Self {
            by_systemd: Some(PathBuf::from(OF_THE_SERVICE)),
            by_unit,
            folder: credentials_dir.to_owned(),
        }
    }

    /// A handle to one credential.
    pub fn credential(&self, name: &str) -> Credential {
        Credential {
            name: name.to_owned(),
            store: self.clone(),
            kept: Arc::default(),
        }
    }

    /// Where a person puts a credential of that name.
    pub fn place(&self, name: &str) -> PathBuf {
        match self.by_unit.get(name) {
            Some(Loaded::File(path)) => path.clone(),
            Some(Loaded::Encrypted) | None => self.folder.join(name),
        }
    }
}

/// One named secret, to be read whenever it is needed: a new file counts without a restart. A file that has not changed is not read again.
#[derive(Clone, Debug)]
pub struct Credential {
    name: String,
    store: CredentialStore,
    kept: Arc<Mutex<Option<Kept>>>,
}

impl Credential {
    /// The name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the secret, whatever its form.
    ///
    /// # Errors
    /// [`CredentialFault`] when it is missing, unreadable, empty, or others may read or exchange it.
    pub fn read(&self) -> Result<Secret, CredentialFault> {
        let name = &self.name;
        let harmless = !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !harmless {
            return Err(CredentialFault::BadName);
        }
        // systemd's own copies belong to root, and an access list lets the service's user read them: that shows as the group's right to read.
        let places = [
            (
                self.store
                    .by_systemd
                    .as_ref()
                    .map(|folder| folder.join(name)),
                0o037,
            ),
            (Some(self.store.place(name)), 0o077),
        ];
        for (path, others) in places {
            let Some(path) = path else { continue };
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(kept) = kept.as_ref().filter(|kept| kept.is_of(&path)) {
                return Ok(kept.secret());
            }
            match read_private(&path, others) {
                Ok((text, metadata)) => {
                    let secret = non_empty(name, &text)?;
                    *kept = Kept::of(&path, &metadata, &secret);
                    return Ok(secret);
                }
                Err(CredentialFault::Missing { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        if self.store.by_unit.get(name) == Some(&Loaded::Encrypted) {
            let what = "is encrypted for the service (LoadCredentialEncrypted= in its unit), which does not run";
            return Err(self.malformed(
                what,
                "start the service: while it runs, root finds the credential by itself",
            ));
        }
        match std::env::var(variable(name)) {
            Ok(text) => non_empty(name, &text),
            Err(_) => Err(CredentialFault::Missing {
                name: name.clone(),
                path: self.store.place(name),
            }),
        }
    }

    /// Reads a bearer token: one word of visible ASCII, as it goes into a header. White space around it is dropped.
    ///
    /// # Errors
    /// As [`Credential::read`], or it is of another form.
    pub fn read_token(&self) -> Result<Secret, CredentialFault> {
        const COPY: &str =
            "copy the token again, alone and on one line, from where the service shows it";
        let secret = self.read()?;
        let token = secret.reveal().trim();
        if token
            .get(..7)
            .is_some_and(|word| word.eq_ignore_ascii_case("bearer "))
        {
            return Err(self.malformed(
                "begins with the word Bearer",
                "leave that word out: the token alone",
            ));
        }
        if token.len() > 1
            && token.starts_with(['"', '\''])
            && token.chars().next() == token.chars().last()
        {
            return Err(self.malformed("stands in quotes", "leave the quotes out: the token alone"));
        }
        if token.contains("-----BEGIN") {
            return Err(self.malformed("is a PEM file and no token", COPY));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(self.malformed(
                "is not one line without spaces, of visible ASCII characters",
                COPY,
            ));
        }
        Ok(Secret::new(token))
    }

    /// Reads a password: one line, as it is written.
    ///
    /// # Errors
    /// As [`Credential::read`], or it is of another form.
    pub fn read_password(&self) -> Result<Secret, CredentialFault> {
        let secret = self.read()?;
        if secret.reveal().chars().any(char::is_control) {
            return Err(self.malformed(
                "is not one line of text",
                "write the password alone into it, on one line",
            ));
        }
        Ok(secret)
    }

    /// A fault of this credential's form.
    pub fn malformed(&self, what: impl Into<String>, remedy: impl Into<String>) -> CredentialFault {
        CredentialFault::Malformed {
            name: self.name.clone(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// Another file of this credential that holds another secret, as far as this user may look: systemd's copy is as old as
    /// the service's start, whatever was written into the folder since.
    pub fn other_copy(&self) -> Option<PathBuf> {
        let read = self.read().ok()?;
        let folders = self
            .store
            .by_systemd
            .as_deref()
            .into_iter()
            .chain([self.store.folder.as_path(), Path::new(OF_THE_SERVICE)]);
        let mut copies = folders
            .map(|folder| folder.join(&self.name))
            .chain([self.store.place(&self.name)]);
        copies.find(|path| {
            file::read(path, LARGEST).is_ok_and(|(bytes, _)| {
                file::text(bytes).is_ok_and(|text| Secret::new(&text) != read)
            })
        })
    }
}

fn non_empty(name: &str, text: &str) -> Result<Secret, CredentialFault> {
    let secret = Secret::new(text.trim_start_matches('\u{feff}'));
    if secret.reveal().trim().is_empty() {
        Err(CredentialFault::Empty {
            name: name.to_owned(),
        })
    } else {
        Ok(secret)
    }
}

/// Reads a file on which others than its owner have none of the rights in `others`.
fn read_private(path: &Path, others: u32) -> Result<(String, Metadata), CredentialFault> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => CredentialFault::Missing {
            name: String::new(),
            path: path.to_owned(),
        },
        _ => CredentialFault::Unreadable {
            path: path.to_owned(),
            error,
        },
    };
    let (bytes, metadata) = file::read(path, LARGEST).map_err(unreadable)?;
    if metadata.permissions().mode() & others != 0 {
        return Err(CredentialFault::Exposed {
            path: path.to_owned(),
        });
    }
    if let Some((folder, what)) = file::exposing_folder(path) {
        return Err(CredentialFault::ExposedFolder { folder, what });
    }
    Ok((file::text(bytes).map_err(unreadable)?, metadata))
}

#[cfg(test)]
mod tests;
