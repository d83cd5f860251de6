//! Apple's token file (`*_smime.p7m`) to a credential: S/MIME, base64, CMS EnvelopedData, and the JSON in it.
//!
//! A person does this once a year, so the system's own `openssl` decrypts: readers of CMS and RSA would be compiled into every
//! station for it. Debian has it wherever it has `ca-certificates`, which the package needs anyway.
//! Decrypting with `openssl smime` by hand and importing the JSON works as well.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use super::server_token::{ServerToken, TokenFault};
use crate::runtime::file;

/// The object identifier of CMS EnvelopedData, 1.2.840.113549.1.7.3, as its bytes stand at the beginning of the structure.
const ENVELOPED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03";

/// Larger files are not tokens: Apple's have about 2 KiB.
const LARGEST: u64 = 1024 * 1024;

/// Why a token could not be imported. The texts name the remedy and never a secret.
#[derive(Debug, thiserror::Error)]
pub enum ImportFault {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is no token file at all.
    #[error("this is neither Apple's token file (S/MIME, *_smime.p7m) nor a server token's JSON")]
    NotAToken,
    /// It is cut or damaged.
    #[error("the token file is cut short or damaged: copy it again from where it was downloaded")]
    Cut,
    /// It is encrypted, and the private key or the certificate was not given.
    #[error(
        "the token file is encrypted: give the private key (--key) and the certificate (--cert) whose public key was uploaded to Apple"
    )]
    NeedsKey,
    /// The private key cannot be used.
    #[error(
        "the private key is not an unencrypted RSA key in PEM form; decrypt it with: openssl pkey -in KEY -out PLAIN.pem"
    )]
    BadKey,
    /// The certificate cannot be used.
    #[error(
        "the certificate is not an RSA certificate in PEM form: give the one that was uploaded to Apple"
    )]
    BadCertificate,
    /// The key and the certificate are no pair.
    #[error(
        "the private key does not belong to the certificate: give the pair whose certificate was uploaded to Apple"
    )]
    NotAPair,
    /// The file is for somebody else.
    #[error(
        "the token file was made for another certificate: give the pair that was uploaded to Apple for this MDM server"
    )]
    AnotherRecipient,
    /// The right key, and still nothing readable.
    #[error(
        "the token file could not be decrypted with this key: it is damaged, or the certificate was made anew with another key"
    )]
    NotDecrypted,
    #[error("openssl cannot be run ({0}): install it (sudo apt-get install openssl)")]
    NoOpenssl(io::Error),
    /// What was inside is no token.
    #[error("{0}")]
    Token(#[from] TokenFault),
    /// The token is of no use any more.
    #[error("this server token expired at {0}: renew it in Apple Business or School Manager")]
    Expired(Timestamp),
    /// The credential cannot be written.
    #[error("the credential {} cannot be written: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What `benchlight credential import-apple-token` was told.
#[derive(Clone, Debug)]
pub struct Import {
    /// Apple's file, or a JSON that was decrypted elsewhere.
    pub token: PathBuf,
    /// The private key; not needed for a JSON.
    pub key: Option<PathBuf>,
    /// The certificate; not needed for a JSON.
    pub cert: Option<PathBuf>,
    /// The credential to write.
    pub out: PathBuf,
}

/// What was imported, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The credential.
    pub out: PathBuf,
    /// When the token expires.
    pub expires: Timestamp,
    /// Whole days until then.
    pub days_left: i64,
}

/// Reads, opens, checks and writes.
///
/// # Errors
/// [`ImportFault`]; then nothing was written and an older credential stands as it was.
pub fn import(import: &Import, now: Timestamp) -> Result<Imported, ImportFault> {
    let file = read(&import.token)?;
    let token = open(&file, import.key.as_deref(), import.cert.as_deref())?;
    if token.expired(now) {
        return Err(ImportFault::Expired(token.access_token_expiry));
    }
    file::write_private(&import.out, &token.to_json()).map_err(|error| {
        ImportFault::Unwritable {
            path: import.out.clone(),
            error,
        }
    })?;
    Ok(Imported {
        out: import.out.clone(),
        expires: token.access_token_expiry,
        days_left: token.days_left(now),
    })
}

/// Opens a token file, or a JSON that was decrypted elsewhere.
///
/// # Errors
/// [`ImportFault`] with what is wrong.
pub fn open(
    file: &[u8],
    key: Option<&Path>,
    cert: Option<&Path>,
) -> Result<ServerToken, ImportFault> {
    let start = file
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .and_then(|start| file.get(start..))
        .unwrap_or_default();
    // Decrypted elsewhere: the JSON, or openssl's output with the header and the markers around it.
    if start.starts_with(b"{")
        || contains(start, b"-----BEGIN MESSAGE-----")
        || contains(start, b"\"consumer_key\"")
    {
        return inner(file);
    }
    let cms = enveloped(start)?;
    let (Some(key), Some(cert)) = (key, cert) else {
        return Err(ImportFault::NeedsKey);
    };
    inner(&decrypted(&cms, key, cert)?)
}

/// The bytes of the CMS structure in a token file: behind a MIME header and base64, or bare.
fn enveloped(file: &[u8]) -> Result<Vec<u8>, ImportFault> {
    let bare =
        file.first() == Some(&0x30) && file.get(1).is_some_and(|length| !length.is_ascii_graphic());
    let cms = if bare {
        file.to_vec()
    } else {
        unarmour(std::str::from_utf8(file).map_err(|_| ImportFault::NotAToken)?)?
    };
    let start = cms.get(..32).ok_or(ImportFault::Cut)?;
    if !contains(start, ENVELOPED_DATA) {
        return Err(ImportFault::NotAToken);
    }
    Ok(cms)
}

/// The base64 of a MIME body: the header up to the first blank line and any armour lines are dropped.
fn unarmour(text: &str) -> Result<Vec<u8>, ImportFault> {
    let mut lines = text.lines().map(str::trim_end).peekable();
    if lines.peek().is_some_and(|line| line.contains(':')) {
        for line in lines.by_ref() {
            if line.is_empty() {
                break;
            }
        }
    }
    let body: String = lines
        .filter(|line| !line.starts_with("-----"))
        .flat_map(|line| line.chars().filter(|char| !char.is_whitespace()))
        .collect();
    // Every CMS structure begins with a SEQUENCE, and so its base64 with M.
    if !body.starts_with('M') || body.len() < 64 {
        return Err(ImportFault::NotAToken);
    }
    STANDARD.decode(body).map_err(|_| ImportFault::Cut)
}

/// Each mistake is found by a question of its own, because the texts of openssl's errors change with its version.
fn decrypted(cms: &[u8], key: &Path, cert: &Path) -> Result<Vec<u8>, ImportFault> {
    let (key, cert) = (plain(key)?, plain(cert)?);
    let (key, cert) = (key.as_os_str(), cert.as_os_str());
    // An empty passphrase, so that nobody is asked for one.
    let public_key = openssl(&["rsa", "-pubout", "-passin", "pass:", "-in"], &[key], &[])?;
    if !public_key.status.success() {
        return Err(ImportFault::BadKey);
    }
    let certified = openssl(&["x509", "-noout", "-pubkey", "-in"], &[cert], &[])?;
    if !certified.status.success() {
        return Err(ImportFault::BadCertificate);
    }
    if certified.stdout != public_key.stdout {
        return Err(ImportFault::NotAPair);
    }
    let whole = openssl(&["cms", "-cmsout", "-noout", "-inform", "DER"], &[], cms)?;
    if !whole.status.success() {
        return Err(ImportFault::Cut);
    }
    let opened = openssl(
        &["cms", "-decrypt", "-inform", "DER", "-passin", "pass:"],
        &["-inkey".as_ref(), key, "-recip".as_ref(), cert],
        cms,
    )?;
    if opened.status.success() {
        Ok(opened.stdout)
    } else if names_recipient(cms, cert)? {
        Err(ImportFault::NotDecrypted)
    } else {
        Err(ImportFault::AnotherRecipient)
    }
}

/// Whether the certificate's serial number is in the structure. Openssl itself says only that decrypting failed.
fn names_recipient(cms: &[u8], cert: &OsStr) -> Result<bool, ImportFault> {
    let said = openssl(&["x509", "-noout", "-serial", "-in"], &[cert], &[])?.stdout;
    let digits = String::from_utf8_lossy(&said);
    let digits = digits.trim().trim_start_matches("serial=");
    let serial: Option<Vec<u8>> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect();
    Ok(serial.is_some_and(|serial| !serial.is_empty() && contains(cms, &serial)))
}

/// The file's whole path, which no option and no address of a key store looks like.
fn plain(path: &Path) -> Result<PathBuf, ImportFault> {
    read(path)?;
    fs::canonicalize(path).map_err(|error| ImportFault::Unreadable {
        path: path.to_owned(),
        error,
    })
}

/// Runs `openssl` with `input` at its standard input. No secret is in its arguments.
fn openssl(words: &[&str], files: &[&OsStr], input: &[u8]) -> Result<Output, ImportFault> {
    let mut child = Command::new("openssl")
        .args(words)
        .args(files)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(ImportFault::NoOpenssl)?;
    std::thread::scope(|scope| {
        if let Some(mut stdin) = child.stdin.take() {
            // It may end without having read everything; its exit code tells.
            scope.spawn(move || stdin.write_all(input));
        }
        child.wait_with_output().map_err(ImportFault::NoOpenssl)
    })
}

/// The token in what was inside: a small MIME header, then the JSON, between two markers or bare, folded over lines or not.
fn inner(text: &[u8]) -> Result<ServerToken, ImportFault> {
    let text = std::str::from_utf8(text).map_err(|_| ImportFault::NotDecrypted)?;
    let (Some(start), Some(end)) = (text.find('{'), text.rfind('}')) else {
        return Err(if text.contains("consumer_key") {
            ImportFault::Cut
        } else {
            ImportFault::NotAToken
        });
    };
    let json: String = text
        .get(start..=end)
        .unwrap_or_default()
        .chars()
        .filter(|char| !matches!(char, '\r' | '\n'))
        .collect();
    Ok(ServerToken::parse(&json)?)
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

fn read(path: &Path) -> Result<Vec<u8>, ImportFault> {
    let unreadable = |error| ImportFault::Unreadable {
        path: path.to_owned(),
        error,
    };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > LARGEST {
        return Err(ImportFault::NotAToken);
    }
    fs::read(path).and_then(file::unmarked).map_err(unreadable)
}

#[cfg(test)]
mod tests;
