//! Certificates as people's recipes make them, refused by the client that the station uses.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{ServerName, UnixTime},
};
use tempfile::TempDir;

use super::*;

/// A folder in which openssl makes certificates.
struct Laboratory(TempDir);

const EC: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
];

impl Laboratory {
    /// With an authority of its own, `ca`.
    fn new() -> Self {
        let laboratory = Self(tempfile::tempdir().unwrap());
        laboratory.authority("ca", &EC);
        laboratory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn authority(&self, name: &str, key: &[&str]) {
        let files = [
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.pem"),
            "-subj",
            &format!("/CN={name}"),
            "-days",
            "30",
        ];
        self.openssl(&[&["req", "-x509"], key, &files].concat());
    }

    /// A certificate `server` of `authority`: with these extensions of version 3, or of version 1 without.
    fn server(&self, authority: &str, more: &[&str], extensions: Option<&str>) {
        self.openssl(
            &[
                &["req"],
                EC.as_slice(),
                &[
                    "-keyout",
                    "server.key",
                    "-out",
                    "server.csr",
                    "-subj",
                    "/CN=localhost",
                ],
            ]
            .concat(),
        );
        let (ca, key) = (format!("{authority}.pem"), format!("{authority}.key"));
        let mut arguments = vec![
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            &ca,
            "-CAkey",
            &key,
            "-CAcreateserial",
            "-out",
            "server.pem",
        ];
        if let Some(extensions) = extensions {
            fs::write(self.path("extensions"), extensions).unwrap();
            arguments.extend(["-extfile", "extensions"]);
        }
        self.openssl(&[&arguments, more].concat());
    }

    /// What the station says of `server` when it trusts `authority`; `None`: it is good.
    fn refused(&self, server: &str, authority: &str, host: &str) -> Option<CertificateFault> {
        let mut roots = RootCertStore::empty();
        trust(&self.path(authority), &mut roots).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let chain = chain(&self.path(server)).unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        match verifier.verify_server_cert(chain.first().unwrap(), &[], &name, &[], UnixTime::now())
        {
            Ok(_) => None,
            Err(rustls::Error::InvalidCertificate(error)) => Some(refused(&error, host)),
            Err(other) => panic!("{other:?}"),
        }
    }
}

const GOOD: &str = "subjectAltName=DNS:localhost\n";
const MONTH: [&str; 2] = ["-days", "30"];

#[test]
fn a_certificate_from_a_recipe_is_refused_with_what_to_make() {
    const MAKE: &str = "make a certificate of version 3 with subjectAltName DNS:localhost, signed by an authority of its own; see docs/install.md";
    let laboratory = Laboratory::new();
    let refused = |what: &str| {
        let fault = laboratory
            .refused("server.pem", "ca.pem", "localhost")
            .unwrap_or_else(|| panic!("{what} was not refused"));
        assert!(
            fault.finding.contains(what) && !format!("{fault}").contains("Error"),
            "{fault}"
        );
        fault.remedy
    };
    laboratory.server("ca", &MONTH, Some(GOOD));
    assert_eq!(
        laboratory.refused("server.pem", "ca.pem", "localhost"),
        None
    );

    laboratory.server("ca", &MONTH, None);
    assert_eq!(refused("is of X.509 version 1"), MAKE);
    laboratory.server("ca", &MONTH, Some("basicConstraints=CA:FALSE\n"));
    assert_eq!(refused("names no host (it has no subjectAltName)"), MAKE);
    laboratory.server("ca", &MONTH, Some("subjectAltName=DNS:broker.example\n"));
    assert!(refused("is for another name than localhost: broker.example").ends_with(MAKE));
    laboratory.server("ca", &["-days", "-1"], Some(GOOD));
    assert!(refused("has expired").contains("clock"));
    laboratory.server(
        "ca",
        &MONTH,
        Some("subjectAltName=DNS:localhost\nextendedKeyUsage=clientAuth\n"),
    );
    assert!(refused("is not made for a server").contains("serverAuth"));
    laboratory.server("ca", &["-days", "30", "-sha1"], Some(GOOD));
    assert!(refused("SHA-1").contains("SHA-256"));
    // An authority of the same name with another key; and one nobody has heard of.
    fs::rename(laboratory.path("ca.pem"), laboratory.path("first.pem")).unwrap();
    laboratory.authority("ca", &EC);
    laboratory.server("ca", &MONTH, Some(GOOD));
    fs::rename(laboratory.path("first.pem"), laboratory.path("ca.pem")).unwrap();
    assert!(refused("was not signed with its authority's key").contains("ca_file"));
    laboratory.authority("stranger", &EC);
    laboratory.server("stranger", &MONTH, Some(GOOD));
    assert!(refused("an authority that this station does not trust").contains("`ca_file`"));
}

#[test]
fn authority_and_server_in_one_and_small_keys_are_told() {
    let laboratory = Laboratory::new();
    laboratory.openssl(
        &[
            &["req", "-x509"],
            EC.as_slice(),
            &[
                "-keyout",
                "one.key",
                "-out",
                "one.pem",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ],
        ]
        .concat(),
    );
    let fault = laboratory
        .refused("one.pem", "one.pem", "127.0.0.1")
        .unwrap();
    assert!(
        fault.finding.contains("authority and server must be apart")
            && fault.remedy.contains("subjectAltName IP:127.0.0.1"),
        "{fault}"
    );

    laboratory.authority("small", &["-newkey", "rsa:1024", "-nodes"]);
    laboratory.server("small", &MONTH, Some(GOOD));
    let fault = laboratory
        .refused("server.pem", "small.pem", "localhost")
        .unwrap();
    assert!(
        fault.finding.contains("too small (RSA under 2048 bits)"),
        "{fault}"
    );
}

#[test]
fn what_a_certificate_says_of_itself_is_shown_and_not_obeyed() {
    let presented = vec![
        "a\u{202e}\u{1b}[31m".to_owned(),
        "b".to_owned(),
        "c".to_owned(),
        "d".to_owned(),
    ];
    let error = CertificateError::NotValidForNameContext {
        expected: ServerName::try_from("localhost").unwrap(),
        presented,
    };
    assert_eq!(
        refused(&error, "localhost").finding,
        "is for another name than localhost: a\\u{202e}␛[31m, b, c, .."
    );
}

#[test]
fn a_file_of_certificates_is_read_with_a_byte_order_mark_and_not_where_everybody_writes() {
    let laboratory = Laboratory::new();
    let pem = fs::read(laboratory.path("ca.pem")).unwrap();
    fs::write(
        laboratory.path("marked.pem"),
        [
            b"\xef\xbb\xbf".as_slice(),
            b"# Z\xfcrich, in Latin-1\n",
            &pem,
        ]
        .concat(),
    )
    .unwrap();
    assert_eq!(
        chain(&laboratory.path("marked.pem")).unwrap(),
        chain(&laboratory.path("ca.pem")).unwrap()
    );

    let wide: Vec<u8> = pem.iter().flat_map(|byte| [*byte, 0]).collect();
    fs::write(
        laboratory.path("wide.pem"),
        [b"\xff\xfe".as_slice(), &wide].concat(),
    )
    .unwrap();
    let fault = chain(&laboratory.path("wide.pem")).unwrap_err();
    assert!(
        fault.finding.contains("UTF-16") && fault.remedy.contains("UTF-8"),
        "{fault}"
    );

    fs::set_permissions(laboratory.path("ca.pem"), fs::Permissions::from_mode(0o646)).unwrap();
    let fault = chain(&laboratory.path("ca.pem")).unwrap_err();
    assert!(
        fault.finding.contains("can be written by everybody"),
        "{fault}"
    );
}
