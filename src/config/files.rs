//! Files that the config names: credentials and certificates are there, readable and of the right form.

use std::path::PathBuf;

use rustls::{
    RootCertStore,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::document::{Found, Section};
use crate::runtime::{
    credential::{Credential, CredentialFault, CredentialStore, Secret},
    file,
};

/// Certificates have a few kilobytes; a whole system bundle has 300.
const LARGEST_FILE: u64 = 4 << 20;

/// Where credentials are found, and whether files are looked at.
pub(super) struct Files {
    pub(super) store: CredentialStore,
    pub(super) check: bool,
}

impl Files {
    /// A `*_credential` key: its file is there, not empty, and nobody else's to read. With a default name an absent key
    /// means that name. `None`: absent without default, or reported.
    pub(super) fn credential(&self, section: &Section<'_, '_>, key: &'static str, default: Option<&str>, example: &str) -> Option<Credential> {
        let name = match section.has(key) {
            true => section.text(key, example)?.value.to_owned(),
            false => default?.to_owned(),
        };
        let credential = self.store.credential(&name);
        if self.check {
            self.read(section, key, &credential)?;
        }
        Some(credential)
    }

    /// A file of trust anchors in PEM. `Some(None)`: absent; `None`: reported.
    pub(super) fn trust_anchors(&self, section: &Section<'_, '_>, key: &'static str) -> Option<Option<PathBuf>> {
        if !section.has(key) {
            return Some(None);
        }
        let path = section.path(key, "/etc/benchlight/ca.pem")?;
        if self.check {
            let certificates = certificates(section, key, &path)?;
            let mut anchors = RootCertStore::empty();
            for certificate in certificates {
                if let Err(error) = anchors.add(certificate) {
                    let message = format!("{} holds a certificate that cannot be a trust anchor: {error}", path.value.display());
                    return section.wrong(key, message, "put the CA's own certificate there, in PEM");
                }
            }
        }
        Some(Some(path.value))
    }

    /// A client certificate with its key. `Some(None)`: neither is set; `None`: reported.
    pub(super) fn client_certificate(&self, section: &Section<'_, '_>) -> Option<Option<(PathBuf, Credential)>> {
        const FILE: &str = "client_cert_file";
        const KEY: &str = "client_key_credential";
        match (section.has(FILE), section.has(KEY)) {
            (false, false) => return Some(None),
            (true, false) => {
                return section.wrong(FILE, format!("`{FILE}` needs `{KEY}` beside it"), format!("write for example: {KEY} = \"mqtt-key\""));
            }
            (false, true) => {
                let remedy = format!("write for example: {FILE} = \"/etc/benchlight/client.pem\"");
                return section.wrong(KEY, format!("`{KEY}` needs `{FILE}` beside it"), remedy);
            }
            (true, true) => {}
        }
        let path = section.path(FILE, "/etc/benchlight/client.pem");
        let name = section.text(KEY, "\"mqtt-key\"");
        let (path, name) = (path?, name?);
        let credential = self.store.credential(name.value);
        if self.check {
            let chain = certificates(section, FILE, &path);
            let key = self.read(section, KEY, &credential).and_then(|secret| private_key(section, KEY, &secret));
            let (chain, key) = (chain?, key?);
            let Ok(signing_key) = any_supported_type(&key) else {
                return section.wrong(KEY, format!("credential {:?} holds a key of an unknown kind", name.value), "use an RSA, ECDSA or Ed25519 key");
            };
            if CertifiedKey::new(chain, signing_key).keys_match().is_err() {
                let message = format!("the key in credential {:?} does not belong to {}", name.value, path.value.display());
                return section.wrong(KEY, message, "put the key that the certificate was issued for there");
            }
        }
        Some(Some((path.value, credential)))
    }

    fn read(&self, section: &Section<'_, '_>, key: &'static str, credential: &Credential) -> Option<Secret> {
        match credential.read() {
            Ok(secret) => Some(secret),
            Err(fault) => {
                let (message, remedy) = in_words(&fault);
                section.wrong(key, message, remedy)
            }
        }
    }
}

fn in_words(fault: &CredentialFault) -> (String, String) {
    match fault {
        CredentialFault::Missing { name, path } => {
            let variable = name.to_ascii_uppercase().replace('-', "_");
            let remedy = format!(
                "write the secret to {} (mode 0600), load it with systemd's LoadCredential={name}:.., or set BENCHLIGHT_CREDENTIAL_{variable}",
                path.display()
            );
            (format!("credential {name:?} is missing"), remedy)
        }
        CredentialFault::Unreadable { path, error } => (
            format!("credential file {} cannot be read: {error}", path.display()),
            "make it a text file that belongs to the user who runs benchlight, mode 0600".to_owned(),
        ),
        CredentialFault::Empty { name } => (format!("credential {name:?} is empty"), "write the secret into it".to_owned()),
        CredentialFault::Exposed { path } => {
            (format!("credential file {} can be read by others", path.display()), format!("run: chmod 0600 {}", path.display()))
        }
        CredentialFault::BadName { name } => (format!("{name:?} is not a credential name"), "use letters, digits, '-', '_' and '.'".to_owned()),
    }
}

fn certificates(section: &Section<'_, '_>, key: &'static str, path: &Found<PathBuf>) -> Option<Vec<CertificateDer<'static>>> {
    let shown = path.value.display();
    let bytes = match file::read(&path.value, LARGEST_FILE) {
        Ok((bytes, _)) => bytes,
        Err(why) => return section.wrong(key, format!("{shown} cannot be read: {why}"), "name a PEM file that benchlight's user may read"),
    };
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        _ => section.wrong(key, format!("{shown} holds no certificate in PEM"), "it has to begin with -----BEGIN CERTIFICATE-----"),
    }
}

fn private_key(section: &Section<'_, '_>, key: &'static str, secret: &Secret) -> Option<PrivateKeyDer<'static>> {
    match PrivateKeyDer::from_pem_slice(secret.reveal().as_bytes()) {
        Ok(private_key) => Some(private_key),
        Err(_) => section.wrong(key, "the credential holds no private key in PEM", "it has to begin with -----BEGIN PRIVATE KEY-----"),
    }
}
