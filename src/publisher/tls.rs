//! Trust for `mqtts://`: the system's roots and one more anchor, a client certificate, and certificate faults in words.
//!
//! All files are read at every reconnect, so that a new certificate counts without a restart.

use std::{io, path::Path, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::Settings;
use crate::runtime::file;

/// A whole system bundle has some hundred kilobytes.
const LARGEST_FILE: u64 = 4 << 20;

/// The TLS configuration of one connection. Reads files: not for an async task.
///
/// # Errors
/// A sentence that names the file and the remedy.
pub(super) fn client_config(settings: &Settings) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = &settings.ca_file {
        for certificate in certificates(path, "[mqtt] ca_file")? {
            roots.add(certificate).map_err(|error| format!("[mqtt] ca_file {} holds an unusable certificate ({error})", path.display()))?;
        }
    }
    if roots.is_empty() {
        return Err("this system trusts no certificate authority: install the package ca-certificates, or name one with [mqtt] ca_file".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?
        .with_root_certificates(roots);
    let Some((certificate_file, key)) = &settings.client_certificate else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain = certificates(certificate_file, "[mqtt] client_cert_file")?;
    let secret = key.read().map_err(|fault| fault.to_string())?;
    let key_der = PrivateKeyDer::from_pem_slice(secret.reveal().as_bytes())
        .map_err(|_| format!("credential {:?} is no private key: it must hold one PEM block of PKCS#8, SEC1 or PKCS#1", key.name()))?;
    let config = builder
        .with_client_auth_cert(chain, key_der)
        .map_err(|error| format!("{} and credential {:?} do not fit together: {error}", certificate_file.display(), key.name()))?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    // Read at each reconnect, by a task: what would block must not be read at all.
    let (pem, _) = file::read(path, LARGEST_FILE).map_err(|error| format!("{key} {} cannot be read: {error}", path.display()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{key} {} holds no certificate: it must hold PEM blocks \"BEGIN CERTIFICATE\"", path.display())),
        Err(_) => Err(format!("{key} {} is no valid PEM file", path.display())),
    }
}

/// Says what is wrong with the broker's certificate or ours, if that is what an I/O error of a connection tells.
pub(super) fn in_words(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(fault_in_words(inner))
}

pub(super) fn fault_in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(fault) => match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the broker's certificate has expired: renew it, or check this station's clock".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the broker's certificate is not valid yet: check this station's clock".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "the broker's certificate is signed by an authority that this station does not trust: name it with [mqtt] ca_file".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the broker's certificate is for another name than the one in [mqtt] url".to_owned()
            }
            CertificateError::Revoked => "the broker's certificate was revoked: renew it".to_owned(),
            other => format!("the broker's certificate cannot be trusted ({other})"),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "the broker asks for a client certificate: set [mqtt] client_cert_file and client_key_credential".to_owned()
            }
            AlertDescription::CertificateExpired => "the broker says that this station's client certificate has expired: renew it".to_owned(),
            AlertDescription::CertificateRevoked => "the broker says that this station's client certificate was revoked: renew it".to_owned(),
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => {
                format!("the broker does not accept this station's client certificate ({alert:?}): check [mqtt] client_cert_file")
            }
            other => format!("the broker ended the TLS handshake ({other:?})"),
        },
        rustls::Error::InvalidMessage(_) => "the broker does not speak TLS on this port: check scheme and port of [mqtt] url".to_owned(),
        rustls::Error::PeerIncompatible(_) => "the broker offers no TLS version or cipher that this station takes (TLS 1.2 and 1.3)".to_owned(),
        other => format!("TLS failed: {other}"),
    }
}
