//! Apple's token file (`*_smime.p7m`) to a credential: S/MIME, base64, CMS EnvelopedData, and the JSON in it.
//!
//! It stands beside the source because both mean the same five fields; nothing else in the house reads CMS.
//! Apple's files use BER with indefinite lengths, which the DER-only readers refuse; `rasn` reads both.
//! Decrypting with `openssl smime` and importing the JSON is the other supported way, and the remedy that the errors name.

use std::{
    ffi::OsString,
    fs, io,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rasn::types::{ObjectIdentifier, OctetString};
use rasn_cms::{
    Certificate, ContentInfo, EnvelopedData, KeyTransRecipientInfo, RecipientIdentifier,
    RecipientInfo,
};
use rsa::{
    PrivateKey,
    pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPublicKey as _},
    pkcs8::DecodePrivateKey as _,
};
use rustls::pki_types::pem::{PemObject as _, SectionKind};

use super::server_token::{ServerToken, TokenFault};
use crate::runtime::file;

const ENVELOPED_DATA: &[u32] = &[1, 2, 840, 113_549, 1, 7, 3];
const RSA_PKCS1: &[u32] = &[1, 2, 840, 113_549, 1, 1, 1];
const AES_128_CBC: &[u32] = &[2, 16, 840, 1, 101, 3, 4, 1, 2];
const AES_256_CBC: &[u32] = &[2, 16, 840, 1, 101, 3, 4, 1, 42];

/// Files larger than this are no token: Apple's are about 2 KiB.
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
        "the private key is no unencrypted RSA key in PEM form; an encrypted one is opened by: openssl pkey -in KEY -out PLAIN.pem"
    )]
    BadKey,
    /// The certificate cannot be used.
    #[error(
        "the certificate is no RSA certificate in PEM form: give the one that was uploaded to Apple"
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
    /// An algorithm that Apple does not use.
    #[error(
        "the token file is encrypted in a way that this build does not know ({0}): decrypt it with `openssl smime -decrypt` and import the JSON"
    )]
    Algorithm(String),
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
    let key = import.key.as_deref().map(read).transpose()?;
    let cert = import.cert.as_deref().map(read).transpose()?;
    let token = open(&file, key.as_deref(), cert.as_deref())?;
    if token.expired(now) {
        return Err(ImportFault::Expired(token.access_token_expiry));
    }
    write_private(&import.out, &token.to_json()).map_err(|error| ImportFault::Unwritable {
        path: import.out.clone(),
        error,
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
    key: Option<&[u8]>,
    cert: Option<&[u8]>,
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
    inner(&decrypted(&cms, &private_key(key)?, cert)?)
}

/// The CMS structure in a token file: behind a MIME header and base64, or bare.
fn enveloped(file: &[u8]) -> Result<EnvelopedData, ImportFault> {
    let unarmoured;
    let ber = if file.first() == Some(&0x30)
        && file.get(1).is_some_and(|length| !length.is_ascii_graphic())
    {
        file
    } else {
        unarmoured = unarmour(std::str::from_utf8(file).map_err(|_| ImportFault::NotAToken)?)?;
        &unarmoured
    };
    let outer: ContentInfo = rasn::ber::decode(ber).map_err(|_| ImportFault::Cut)?;
    if *outer.content_type != *ENVELOPED_DATA {
        return Err(ImportFault::NotAToken);
    }
    rasn::ber::decode(outer.content.as_bytes()).map_err(|_| ImportFault::Cut)
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

fn private_key(pem: &[u8]) -> Result<PrivateKey, ImportFault> {
    for (kind, der) in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).flatten() {
        let key = match kind {
            SectionKind::PrivateKey => PrivateKey::from_pkcs8_der(&der).ok(),
            SectionKind::RsaPrivateKey => PrivateKey::from_pkcs1_der(&der).ok(),
            _ => None,
        };
        if let Some(key) = key {
            return Ok(key);
        }
    }
    Err(ImportFault::BadKey)
}

fn certificate(pem: &[u8]) -> Result<Certificate, ImportFault> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
        .flatten()
        .find_map(|(kind, der)| {
            if matches!(kind, SectionKind::Certificate) {
                rasn::der::decode(&der).ok()
            } else {
                None
            }
        })
        .ok_or(ImportFault::BadCertificate)
}

fn decrypted(cms: &EnvelopedData, key: &PrivateKey, cert: &[u8]) -> Result<Vec<u8>, ImportFault> {
    let certificate = certificate(cert)?;
    let public = key
        .to_public_key()
        .to_pkcs1_der()
        .map_err(|_| ImportFault::BadKey)?;
    let subject = &certificate.tbs_certificate.subject_public_key_info;
    if *subject.algorithm.algorithm != *RSA_PKCS1 {
        return Err(ImportFault::BadCertificate);
    }
    if subject.subject_public_key.as_raw_slice() != public.as_bytes() {
        return Err(ImportFault::NotAPair);
    }
    let recipient = recipient(cms, &certificate).ok_or(ImportFault::AnotherRecipient)?;
    if *recipient.key_encryption_algorithm.algorithm != *RSA_PKCS1 {
        return Err(unknown(&recipient.key_encryption_algorithm.algorithm));
    }
    // A wrong padding yields a random key, not an error (the library gives no padding oracle): the content's padding tells.
    let content_key = key
        .pkcs1v15_decrypt(&recipient.encrypted_key)
        .map_err(|_| ImportFault::NotDecrypted)?;
    let info = &cms.encrypted_content_info;
    let algorithm = &info.content_encryption_algorithm;
    let iv: OctetString = algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| rasn::der::decode(parameters.as_bytes()).ok())
        .ok_or_else(|| unknown(&algorithm.algorithm))?;
    let content = info.encrypted_content.as_ref().ok_or(ImportFault::Cut)?;
    if content.is_empty() || content.len() % 16 != 0 {
        return Err(ImportFault::Cut);
    }
    let plain = if *algorithm.algorithm == *AES_128_CBC {
        cbc::Decryptor::<aes::Aes128>::new_from_slices(&content_key, &iv)
            .ok()
            .and_then(|cipher| cipher.decrypt_padded_vec::<Pkcs7>(content).ok())
    } else if *algorithm.algorithm == *AES_256_CBC {
        cbc::Decryptor::<aes::Aes256>::new_from_slices(&content_key, &iv)
            .ok()
            .and_then(|cipher| cipher.decrypt_padded_vec::<Pkcs7>(content).ok())
    } else {
        return Err(unknown(&algorithm.algorithm));
    };
    plain.ok_or(ImportFault::NotDecrypted)
}

/// The recipient that is the holder of the certificate.
fn recipient<'a>(
    cms: &'a EnvelopedData,
    certificate: &Certificate,
) -> Option<&'a KeyTransRecipientInfo> {
    let tbs = &certificate.tbs_certificate;
    cms.recipient_infos
        .to_vec()
        .into_iter()
        .find_map(|recipient| match recipient {
            RecipientInfo::KeyTransRecipientInfo(info) => match &info.rid {
                RecipientIdentifier::IssuerAndSerialNumber(rid) => (rid.issuer == tbs.issuer
                    && rid.serial_number == tbs.serial_number)
                    .then_some(info),
                // A key identifier is an extension of the certificate; the decryption itself tells.
                RecipientIdentifier::SubjectKeyIdentifier(_) => Some(info),
            },
            _ => None,
        })
}

fn unknown(algorithm: &ObjectIdentifier) -> ImportFault {
    ImportFault::Algorithm(algorithm.to_string())
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

/// Writes a secret whole or not at all: a file beside it, mode 0600, owned as the older credential or the folder is, synced, then renamed.
/// A running agent reads either the old or the new one.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "give the name of a file"))?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = folder.join(beside);
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        let owner = fs::metadata(path).or_else(|_| fs::metadata(folder))?;
        let ours = file.metadata()?;
        // Run by an administrator for the service's user: the agent must be able to read it.
        if (owner.uid(), owner.gid()) != (ours.uid(), ours.gid())
            && rustix::process::geteuid().is_root()
        {
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        fs::File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // What is left of it would hold a secret.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests;
