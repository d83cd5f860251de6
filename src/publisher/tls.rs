//! Trust for `mqtts://`: the system's roots and one more anchor, a client certificate, and certificate faults in words.
//!
//! All files are read at every reconnect, so that a new certificate counts without a restart.

use std::{io, sync::Arc};

use rustls::{AlertDescription, ClientConfig, RootCertStore, sign::SingleCertAndKey};

use super::Settings;
use crate::runtime::certificate::{self, PairFault};

/// The TLS configuration of one connection. Reads files: not for an async task.
///
/// # Errors
/// A sentence that names the file and the remedy.
pub(super) fn client_config(settings: &Settings) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = &settings.ca_file {
        certificate::trust(path, &mut roots).map_err(|fault| format!("[mqtt] ca_file {fault}"))?;
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
    let pair = certificate::pair(certificate_file, key).map_err(|fault| match fault {
        PairFault::Chain(fault) => format!("[mqtt] client_cert_file {fault}"),
        PairFault::Key(fault) => fault.to_string(),
    })?;
    Ok(Arc::new(builder.with_client_cert_resolver(Arc::new(
        SingleCertAndKey::from(pair),
    ))))
}

/// Says what is wrong with the broker's certificate or ours, if that is what an I/O error of a connection tells.
pub(super) fn in_words(error: &io::Error, host: &str) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(fault_in_words(inner, host))
}

pub(super) fn fault_in_words(error: &rustls::Error, host: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(fault) => format!("the broker's certificate {}", certificate::refused(fault, host)),
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
