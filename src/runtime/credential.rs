//! Secrets: where they are read from, of what form they are, and a type that cannot print them.

use std::{
    collections::BTreeMap,
    fmt, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::geteuid;

use super::{
    file,
    unit::{self, Loaded},
};

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

/// Why a credential cannot be had or used: what `check`, `doctor` and the agent say of it. The texts name the file and the remedy, never the content.
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

    /// A handle to one credential, to be read whenever it is needed: a new file counts without a restart.
    pub fn credential(&self, name: &str) -> Credential {
        Credential {
            name: name.to_owned(),
            store: self.clone(),
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
            match read_private(&path, others) {
                Ok(text) => return non_empty(name, &text),
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
fn variable(name: &str) -> String {
    format!(
        "BENCHLIGHT_CREDENTIAL_{}",
        name.to_ascii_uppercase().replace('-', "_")
    )
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
fn read_private(path: &Path, others: u32) -> Result<String, CredentialFault> {
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
    file::text(bytes).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;

    use super::*;

    fn written(bytes: &[u8]) -> (tempfile::TempDir, Credential) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kandji-token");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let credential = CredentialStore {
            by_systemd: None,
            by_unit: Arc::default(),
            folder: folder.path().to_owned(),
        }
        .credential("kandji-token");
        (folder, credential)
    }

    #[test]
    fn what_systemd_hands_over_goes_first_and_is_taken_with_its_access_list_and_with_no_more() {
        let (own, handed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |folder: &Path, text: &str, mode: u32| {
            let path = folder.join("kandji-token");
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let store = CredentialStore {
            by_systemd: Some(handed.path().to_owned()),
            by_unit: Arc::default(),
            folder: own.path().to_owned(),
        };
        let read = || store.credential("kandji-token").read_token();
        write(own.path(), "own", 0o600);
        assert_eq!(read().unwrap().reveal(), "own", "where systemd has none");
        for (of_the_file, of_the_folder, taken) in [
            (0o400, 0o500, true),
            (0o440, 0o550, true),
            (0o600, 0o700, true),
            (0o444, 0o555, false),
            (0o460, 0o550, false),
            (0o440, 0o770, false),
            (0o400, 0o777, false),
        ] {
            fs::set_permissions(handed.path(), fs::Permissions::from_mode(0o700)).unwrap();
            write(handed.path(), "handed", of_the_file);
            fs::set_permissions(handed.path(), fs::Permissions::from_mode(of_the_folder)).unwrap();
            assert_eq!(
                read().is_ok_and(|token| token.reveal() == "handed"),
                taken,
                "{of_the_file:o} in {of_the_folder:o}: {:?}",
                read().err()
            );
        }
        fs::set_permissions(handed.path(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::remove_file(handed.path().join("kandji-token")).unwrap();
        write(own.path(), "own", 0o440);
        assert!(
            matches!(read(), Err(CredentialFault::Exposed { .. })),
            "outside of systemd's folder the owner alone may read"
        );
    }

    #[test]
    fn a_token_is_one_word_however_it_was_saved() {
        for bytes in [
            &b"\xef\xbb\xbfhunter2"[..],
            b"hunter2\r\n",
            b" hunter2 \n\n",
            b"\xef\xbb\xbf\xef\xbb\xbfhunter2\n",
        ] {
            let (_folder, credential) = written(bytes);
            assert_eq!(
                credential.read_token().unwrap().reveal(),
                "hunter2",
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_told_what_it_is_and_never_repeated() {
        for (bytes, words) in [
            (&b"hunter2 again"[..], "is not one line without spaces"),
            (b"hunter2\nagain", "is not one line without spaces"),
            ("hünter2".as_bytes(), "visible ASCII"),
            ("hunter2\u{200b}".as_bytes(), "visible ASCII"),
            (b"Bearer hunter2", "leave that word out"),
            (b"\"hunter2\"", "leave the quotes out"),
            (
                b"-----BEGIN PRIVATE KEY-----\nhunter2\n",
                "is a PEM file and no token",
            ),
            (b"\xff\xfeh\0u\0n\0t\0e\0r\x002\0", "UTF-16"),
            (b"h\0u\0n\0t\0e\0r\x002\0", "UTF-16"),
            (b"hunter2\xe9", "not UTF-8 text (line 1)"),
            (b" \n", "is empty"),
        ] {
            let (_folder, credential) = written(bytes);
            let told = credential.read_token().unwrap_err().to_string();
            assert!(
                told.contains(words) && !told.contains("hunter2") && told.contains("kandji-token"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_password_is_one_line_as_it_is_written() {
        for (bytes, password) in [
            (&b"\xef\xbb\xbfhunter 2 \r\n"[..], Some("hunter 2 ")),
            (b"hunter\n2", None),
            (b"hunter2\n\n", None),
            (b"hunt\0er2", None),
        ] {
            let (_folder, credential) = written(bytes);
            assert_eq!(
                credential.read_password().ok().as_ref().map(Secret::reveal),
                password,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_name_is_told_from_a_secret_in_its_place() {
        for name in [
            "kandji-token",
            "apple-dep-token",
            "mqtt-password",
            "token",
            "KandjiToken",
            "bench-1-mqtt",
            "mqtt.key.2026",
            "kandji_token_2",
            "mqtt5-key",
        ] {
            assert!(!may_be_a_secret(name), "{name}");
        }
        for name in [
            "",
            "hunter2",
            "d8f7a6c9-1234-4bcd-9e0f-1a2b3c4d5e6f",
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln",
            "-----BEGIN PRIVATE KEY-----",
            "Tr0ub4dor",
            "correct horse",
            "abcdefghijklmnopqrstuvwxyz",
            "12345678",
        ] {
            assert!(may_be_a_secret(name), "{name}");
        }
    }

    #[test]
    fn what_the_unit_names_is_found_by_root_and_what_it_encrypts_is_told() {
        let (folder, _) = written(b"in the folder");
        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().join("token");
        fs::write(&path, "named by the unit").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let names = [
            ("kandji-token".to_owned(), Loaded::File(path.clone())),
            ("mqtt-key".to_owned(), Loaded::Encrypted),
        ];
        let store = CredentialStore {
            by_systemd: None,
            by_unit: Arc::new(names.into()),
            folder: folder.path().to_owned(),
        };
        assert_eq!(
            store.credential("kandji-token").read().unwrap().reveal(),
            "named by the unit"
        );
        let told = store.credential("mqtt-key").read().unwrap_err().to_string();
        assert!(
            told.contains("is encrypted for the service") && told.contains("start the service"),
            "{told}"
        );
        fs::remove_file(&path).unwrap();
        let missing = store.credential("kandji-token").read().unwrap_err();
        assert!(
            matches!(&missing, CredentialFault::Missing { path: told, .. } if *told == path),
            "{missing}"
        );
    }
}
