//! Certificates: the files that hold them, and what is wrong with a server's, in words that say what to make. One text for broker and services.

use std::{fmt, os::unix::fs::MetadataExt, path::Path};

use rustls::{
    CertificateError, OtherError, RootCertStore,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    credential::{Credential, CredentialFault},
    file, visible,
};

/// A whole system bundle has some hundred kilobytes.
const LARGEST_FILE: u64 = 4 << 20;
/// So many of a certificate's names are shown.
const SHOWN: usize = 3;

/// Where it is said how to make certificates.
const MANUAL: &str = "see docs/install.md";

/// A certificate that is refused, or a file that holds none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFault {
    /// What is wrong.
    pub finding: String,
    /// What to do about it.
    pub remedy: String,
}

impl CertificateFault {
    fn new(finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            finding: finding.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.finding, self.remedy)
    }
}

impl std::error::Error for CertificateFault {}

/// Reads a file of certificates in PEM. Blocks on the disk.
///
/// # Errors
/// It cannot be read, everybody may write it, or it holds no certificate.
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let shown = path.display();
    let (pem, metadata) = file::read(path, LARGEST_FILE).map_err(|error| {
        CertificateFault::new(
            format!("{shown} cannot be read: {error}"),
            file::remedy(&error, "name a PEM file that benchlight's user may read"),
        )
    })?;
    // Whoever writes it says whom the station trusts, and so which answer is green.
    if file::everybody_writes(metadata.mode()) {
        return Err(CertificateFault::new(
            format!("{shown} can be written by everybody"),
            format!("look at what is in it, then: chmod go-w {shown}"),
        ));
    }
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(CertificateFault::new(
            format!("{shown} holds no certificate in PEM"),
            "it has to begin with -----BEGIN CERTIFICATE-----",
        )),
    }
}

/// Reads a file of trust anchors and adds them to `roots`. Blocks on the disk.
///
/// # Errors
/// As [`chain`], or a certificate cannot be an anchor.
pub fn trust(path: &Path, roots: &mut RootCertStore) -> Result<(), CertificateFault> {
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| {
            let finding = format!(
                "{} holds a certificate that cannot be a trust anchor: {error}",
                path.display()
            );
            CertificateFault::new(finding, "put the CA's own certificate there, in PEM")
        })?;
    }
    Ok(())
}

/// Reads a private key in PEM.
///
/// # Errors
/// It cannot be read, or is none.
pub fn private_key(credential: &Credential) -> Result<PrivateKeyDer<'static>, CredentialFault> {
    const WANTED: &str = "it has to begin with -----BEGIN PRIVATE KEY-----, and to have no password (openssl pkey -in OLD -out NEW)";
    PrivateKeyDer::from_pem_slice(credential.read()?.reveal().as_bytes())
        .map_err(|_| credential.malformed("holds no private key in PEM", WANTED))
}

/// Reads a client certificate and its key. Blocks on the disk.
///
/// # Errors
/// One of them cannot be read, or they do not belong together.
pub fn pair(path: &Path, credential: &Credential) -> Result<CertifiedKey, PairFault> {
    let key = private_key(credential).map_err(PairFault::Key)?;
    let signing = any_supported_type(&key).map_err(|_| {
        PairFault::Key(credential.malformed(
            "holds a key of an unknown kind",
            "use an RSA, ECDSA or Ed25519 key",
        ))
    })?;
    let pair = CertifiedKey::new(chain(path).map_err(PairFault::Chain)?, signing);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(_) => {
            let what = format!("holds a key that does not belong to {}", path.display());
            Err(PairFault::Key(credential.malformed(
                what,
                "put the key that the certificate was issued for there",
            )))
        }
    }
}

/// Which half of a pair is wrong.
#[derive(Debug)]
pub enum PairFault {
    /// The file of the certificate.
    Chain(CertificateFault),
    /// The key.
    Key(CredentialFault),
}

impl fmt::Display for PairFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(fault) => fault.fmt(out),
            Self::Key(fault) => fault.fmt(out),
        }
    }
}

/// Why the certificate of the server at `host` was refused: `finding` goes on after "its certificate".
pub fn refused(error: &CertificateError, host: &str) -> CertificateFault {
    use CertificateError as Fault;
    match error {
        Fault::Expired | Fault::ExpiredContext { .. } => {
            CertificateFault::new("has expired", "renew it, or check this station's clock")
        }
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => {
            CertificateFault::new("is not valid yet", "check this station's clock")
        }
        Fault::UnknownIssuer => CertificateFault::new(
            "is signed by an authority that this station does not trust",
            "name that authority's certificate with `ca_file`",
        ),
        Fault::NotValidForNameContext { presented, .. } => another_name(presented, host),
        Fault::NotValidForName => {
            CertificateFault::new(format!("is for another name than {host}"), make(host))
        }
        Fault::Revoked => CertificateFault::new("was revoked", "renew it"),
        Fault::BadSignature => {
            let remedy = format!(
                "use keys of P-256 or of RSA with 2048 bits or more, and the authority that signed it as `ca_file`; {MANUAL}"
            );
            CertificateFault::new(
                "has a key that is too small (RSA under 2048 bits), or was not signed with its authority's key",
                remedy,
            )
        }
        Fault::UnsupportedSignatureAlgorithmContext { .. }
        | Fault::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => CertificateFault::new(
            "is signed in a way that is no longer trusted (SHA-1, for example)",
            "have it signed with SHA-256",
        ),
        Fault::InvalidPurpose | Fault::InvalidPurposeContext { .. } => CertificateFault::new(
            "is not made for a server",
            format!("give it extendedKeyUsage serverAuth; {MANUAL}"),
        ),
        Fault::Other(OtherError(inner)) => match inner.downcast_ref::<webpki::Error>() {
            Some(error) => malformed(error, host),
            None => untrusted(&inner.to_string(), host),
        },
        other => untrusted(&other.to_string(), host),
    }
}

/// The certificate is for the names in `presented`.
fn another_name(presented: &[String], host: &str) -> CertificateFault {
    if presented.is_empty() {
        return CertificateFault::new("names no host (it has no subjectAltName)", make(host));
    }
    let names: Vec<String> = presented
        .iter()
        .take(SHOWN)
        .map(|name| visible::word(bare(name)))
        .collect();
    let more = if presented.len() > SHOWN { ", .." } else { "" };
    CertificateFault::new(
        format!(
            "is for another name than {host}: {}{more}",
            names.join(", ")
        ),
        format!(
            "write a name of the certificate into `url`, or {}",
            make(host)
        ),
    )
}

/// What the verifier says of a certificate that is not made as one should be.
fn malformed(error: &webpki::Error, host: &str) -> CertificateFault {
    match error {
        webpki::Error::UnsupportedCertVersion => {
            CertificateFault::new("is of X.509 version 1", make(host))
        }
        webpki::Error::CaUsedAsEndEntity => CertificateFault::new(
            "is an authority's own: authority and server must be apart",
            make(host),
        ),
        webpki::Error::EndEntityUsedAsCa => CertificateFault::new(
            "is signed by a certificate that is not a certificate authority's",
            format!("sign it with one that has basicConstraints CA:TRUE; {MANUAL}"),
        ),
        other => untrusted(&other.to_string(), host),
    }
}

fn untrusted(why: &str, host: &str) -> CertificateFault {
    CertificateFault::new(
        format!("cannot be trusted ({})", visible::word(why)),
        make(host),
    )
}

/// How to make a good one.
fn make(host: &str) -> String {
    format!(
        "make a certificate of version 3 with subjectAltName {}, signed by an authority of its own; {MANUAL}",
        alternative_name(host)
    )
}

/// The verifier writes `DnsName("broker.example")`.
fn bare(name: &str) -> &str {
    let inner = name
        .split_once('(')
        .and_then(|(_, inner)| inner.strip_suffix(')'))
        .unwrap_or(name);
    inner.trim_matches('"')
}

/// As it is written for openssl.
fn alternative_name(host: &str) -> String {
    let host = host.trim_matches(['[', ']']);
    let kind = if host.parse::<std::net::IpAddr>().is_ok() {
        "IP"
    } else {
        "DNS"
    };
    format!("{kind}:{host}")
}

#[cfg(test)]
mod tests;
