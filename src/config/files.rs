//! Files that the config names: credentials and certificates must exist, have the right form, and be protected from others.

use std::path::PathBuf;

use rustls::RootCertStore;

use super::document::Section;
use crate::runtime::{
    certificate::{self, CertificateFault, PairFault},
    credential::{Credential, CredentialFault, CredentialStore, may_be_a_secret},
};

/// Is the credential there, and of the form that its user needs?
type Form = fn(&Credential) -> Result<(), CredentialFault>;

/// Where credentials are found, and whether files are looked at.
pub(super) struct Files {
    pub(super) store: CredentialStore,
    pub(super) check: bool,
}

impl Files {
    /// A `*_credential` key: its file is there, of its form, and nobody else's to read. With a default an absent key
    /// means `usual`. `None`: absent without default, or reported.
    pub(super) fn credential(
        &self,
        section: &Section<'_, '_>,
        key: &'static str,
        usual: &str,
        default: bool,
        form: Form,
    ) -> Option<Credential> {
        section.note_credential(key, self.store.place(usual));
        let name = match section.has(key) {
            true => self.name(section, key, usual)?,
            false if default => usual.to_owned(),
            false => return None,
        };
        let credential = self.store.credential(&name);
        if self.check
            && let Err(fault) = form(&credential)
        {
            return section.wrong(key, fault.finding(), fault.remedy());
        }
        Some(credential)
    }

    /// The name that stands there, unless it is the secret itself.
    fn name(&self, section: &Section<'_, '_>, key: &'static str, usual: &str) -> Option<String> {
        let is_no_name = |text: &str| {
            may_be_a_secret(text)
                && matches!(
                    self.store.credential(text).read(),
                    Err(CredentialFault::BadName | CredentialFault::Missing { .. })
                )
        };
        // A path is a mistake of another kind; so is a word that only might be a password.
        let is_secret =
            |text: &str| is_no_name(text) && !text.starts_with(['/', '.']) && text.len() >= 8;
        if section.string(key).is_some_and(is_secret) {
            let remedy = format!(
                "write the secret to {} (mode 0600), and here the name of that file: {key} = \"{usual}\"; make a new one if others have read this config",
                self.store.place(usual).display()
            );
            return section.wrong(
                key,
                format!("`{key}` is the name of a file, and this looks like the secret itself"),
                remedy,
            );
        }
        section
            .text(key, &format!("\"{usual}\""))
            .map(|found| found.value.to_owned())
    }

    /// A file of trust anchors in PEM. `Some(None)`: absent; `None`: reported.
    pub(super) fn trust_anchors(
        &self,
        section: &Section<'_, '_>,
        key: &'static str,
    ) -> Option<Option<PathBuf>> {
        if !section.has(key) {
            return Some(None);
        }
        let path = section.path(key, "/etc/benchlight/ca.pem")?;
        if self.check
            && let Err(CertificateFault { finding, remedy }) =
                certificate::trust(&path.value, &mut RootCertStore::empty())
        {
            return section.wrong(key, finding, remedy);
        }
        Some(Some(path.value))
    }

    /// A client certificate with its key. `Some(None)`: neither is set; `None`: reported.
    pub(super) fn client_certificate(
        &self,
        section: &Section<'_, '_>,
    ) -> Option<Option<(PathBuf, Credential)>> {
        const FILE: &str = "client_cert_file";
        const KEY: &str = "client_key_credential";
        const USUAL: &str = "mqtt-key";
        section.note_credential(KEY, self.store.place(USUAL));
        match (section.has(FILE), section.has(KEY)) {
            (false, false) => return Some(None),
            (true, false) => {
                return section.wrong(
                    FILE,
                    format!("`{FILE}` needs `{KEY}` beside it"),
                    format!("write for example: {KEY} = \"{USUAL}\""),
                );
            }
            (false, true) => {
                let remedy = format!("write for example: {FILE} = \"/etc/benchlight/client.pem\"");
                return section.wrong(KEY, format!("`{KEY}` needs `{FILE}` beside it"), remedy);
            }
            (true, true) => {}
        }
        let path = section.path(FILE, "/etc/benchlight/client.pem");
        let credential = self.credential(section, KEY, USUAL, false, |credential| {
            certificate::private_key(credential).map(drop)
        });
        let (path, credential) = (path?.value, credential?);
        if self.check {
            match certificate::pair(&path, &credential) {
                Ok(_) => {}
                Err(PairFault::Chain(fault)) => {
                    return section.wrong(FILE, fault.finding, fault.remedy);
                }
                Err(PairFault::Key(fault)) => {
                    return section.wrong(KEY, fault.finding(), fault.remedy());
                }
            }
        }
        Some(Some((path, credential)))
    }
}
