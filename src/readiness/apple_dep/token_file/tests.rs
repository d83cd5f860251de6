//! Token files as Apple makes them, made here with openssl, with keys that live as long as the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use proptest::prelude::*;

use super::*;

const JSON: &str = r#"{"consumer_key":"CK_00fadb3d36c6094cf479838455321b7c","consumer_secret":"CS_9f1d","access_token":"AT_O2109279022Oe03b641fd6f07d7face7894211d521fd8bef09c3O1373925195","access_secret":"AS_77e1","access_token_expiry":"2099-01-09T22:01:10Z"}"#;
const HEADER: &str =
    "Content-Type: text/plain;charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n";

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("openssl is installed (tests/run does it)");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn pair(folder: &Path, name: &str) {
    let (key, cert) = (format!("{name}.key"), format!("{name}.crt"));
    openssl(
        folder,
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &cert,
            "-days",
            "365",
            "-subj",
            "/CN=depserver",
        ],
    );
}

fn marked() -> String {
    format!("{HEADER}-----BEGIN MESSAGE-----\r\n{JSON}\r\n-----END MESSAGE-----\r\n")
}

/// Bare JSON, folded at a width that cuts through its values.
fn folded() -> String {
    let lines: Vec<&str> = JSON
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!("{HEADER}{}\r\n", lines.join("\r\n"))
}

fn encrypt(folder: &Path, inner: &str, form: &[&str]) -> Vec<u8> {
    fs::write(folder.join("inner.txt"), inner).unwrap();
    let mut arguments = vec![
        "smime",
        "-encrypt",
        "-binary",
        "-in",
        "inner.txt",
        "-out",
        "own.p7m",
    ];
    arguments.extend(form);
    arguments.push("own.crt");
    openssl(folder, &arguments);
    fs::read(folder.join("own.p7m")).unwrap()
}

const LIKE_APPLE: &[&str] = &["-aes128", "-stream", "-outform", "SMIME"];

struct Desk {
    folder: tempfile::TempDir,
    key: PathBuf,
    cert: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        pair(folder.path(), "own");
        Self {
            key: folder.path().join("own.key"),
            cert: folder.path().join("own.crt"),
            folder,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self, file: &[u8]) -> Result<ServerToken, ImportFault> {
        open(file, Some(&self.key), Some(&self.cert))
    }
}

#[test]
fn a_file_like_apples_is_opened_in_both_inner_forms() {
    let desk = Desk::new();
    let wanted = ServerToken::parse(JSON).unwrap();
    for inner in [marked(), folded()] {
        let file = encrypt(desk.path(), &inner, LIKE_APPLE);
        assert!(file.starts_with(b"MIME-Version: 1.0"), "S/MIME");
        let body = String::from_utf8(file.clone())
            .unwrap()
            .replace("\r\n", "\n");
        let ber = STANDARD
            .decode(body.split_once("\n\n").unwrap().1.replace('\n', ""))
            .unwrap();
        assert_eq!(
            &ber[..2],
            &[0x30, 0x80],
            "indefinite lengths, like the real ones"
        );
        assert_eq!(desk.open(&file).unwrap(), wanted);
    }
}

#[test]
fn other_wrappings_of_the_same_are_opened_too() {
    let desk = Desk::new();
    let wanted = ServerToken::parse(JSON).unwrap();
    for form in [
        &["-aes128", "-outform", "SMIME"][..],
        &["-aes128", "-outform", "DER"],
        &["-aes128", "-stream", "-outform", "DER"],
        &["-aes128", "-outform", "PEM"],
        &["-aes256", "-stream", "-outform", "SMIME"],
        &["-des3", "-outform", "SMIME"],
    ] {
        assert_eq!(
            desk.open(&encrypt(desk.path(), &marked(), form)).unwrap(),
            wanted,
            "{form:?}"
        );
    }
    // A key of the older form.
    openssl(
        desk.path(),
        &["rsa", "-in", "own.key", "-traditional", "-out", "old.key"],
    );
    let old = desk.path().join("old.key");
    assert!(
        fs::read(&old)
            .unwrap()
            .starts_with(b"-----BEGIN RSA PRIVATE KEY")
    );
    assert_eq!(
        open(
            &encrypt(desk.path(), &marked(), LIKE_APPLE),
            Some(&old),
            Some(&desk.cert)
        )
        .unwrap(),
        wanted
    );
}

#[test]
fn a_large_file_comes_in_segments_and_is_opened() {
    let desk = Desk::new();
    let long = format!(
        "{HEADER}-----BEGIN MESSAGE-----\r\n{}{JSON}\r\n-----END MESSAGE-----\r\n",
        " ".repeat(20_000)
    );
    assert_eq!(
        desk.open(&encrypt(desk.path(), &long, LIKE_APPLE)).unwrap(),
        ServerToken::parse(JSON).unwrap()
    );
}

#[test]
fn what_openssl_decrypted_is_taken_without_a_key() {
    let desk = Desk::new();
    encrypt(desk.path(), &marked(), LIKE_APPLE);
    openssl(
        desk.path(),
        &[
            "smime",
            "-decrypt",
            "-in",
            "own.p7m",
            "-inkey",
            "own.key",
            "-recip",
            "own.crt",
            "-out",
            "plain.txt",
        ],
    );
    let wanted = ServerToken::parse(JSON).unwrap();
    assert_eq!(
        open(
            &fs::read(desk.path().join("plain.txt")).unwrap(),
            None,
            None
        )
        .unwrap(),
        wanted
    );
    assert_eq!(open(JSON.as_bytes(), None, None).unwrap(), wanted);
    assert_eq!(open(folded().as_bytes(), None, None).unwrap(), wanted);
}

#[test]
fn each_mistake_is_called_by_its_name() {
    let desk = Desk::new();
    pair(desk.path(), "other");
    let path = |name: &str| desk.path().join(name);
    let file = encrypt(desk.path(), &marked(), LIKE_APPLE);
    let (key, cert, other_key, other_cert) = (
        &*desk.key,
        &*desk.cert,
        &*path("other.key"),
        &*path("other.crt"),
    );

    assert!(matches!(
        open(&file, None, Some(cert)),
        Err(ImportFault::NeedsKey)
    ));
    assert!(matches!(
        open(&file, Some(key), None),
        Err(ImportFault::NeedsKey)
    ));
    assert!(matches!(
        open(&file, Some(other_key), Some(cert)),
        Err(ImportFault::NotAPair)
    ));
    assert!(matches!(
        open(&file, Some(other_key), Some(other_cert)),
        Err(ImportFault::AnotherRecipient)
    ));
    assert!(matches!(
        open(&file, Some(cert), Some(cert)),
        Err(ImportFault::BadKey)
    ));
    assert!(matches!(
        open(&file, Some(key), Some(key)),
        Err(ImportFault::BadCertificate)
    ));
    openssl(
        desk.path(),
        &[
            "rsa",
            "-in",
            "own.key",
            "-aes128",
            "-passout",
            "pass:x",
            "-out",
            "locked.key",
        ],
    );
    assert!(matches!(
        open(&file, Some(&path("locked.key")), Some(cert)),
        Err(ImportFault::BadKey)
    ));

    openssl(
        desk.path(),
        &[
            "smime",
            "-sign",
            "-nodetach",
            "-in",
            "inner.txt",
            "-signer",
            "own.crt",
            "-inkey",
            "own.key",
            "-out",
            "signed.p7m",
        ],
    );

    for (cut, what) in [
        (file.len() / 2, "half"),
        (file.len() - 40, "the end missing"),
        (400, "the beginning only"),
    ] {
        let fault = desk.open(&file[..cut]).unwrap_err();
        assert!(matches!(fault, ImportFault::Cut), "{what}: {fault}");
    }
    for nonsense in [
        &b""[..],
        b"hello",
        b"<html></html>",
        b"MIME-Version: 1.0\r\n\r\nhello",
        &[0xff, 0xfe, 0x00],
    ] {
        assert!(
            matches!(desk.open(nonsense), Err(ImportFault::NotAToken)),
            "{nonsense:?}"
        );
    }
    let signed = fs::read(desk.path().join("signed.p7m")).unwrap();
    assert!(matches!(desk.open(&signed), Err(ImportFault::NotAToken)));
    assert!(matches!(
        open(&file, Some(&path("nowhere.key")), Some(cert)),
        Err(ImportFault::Unreadable { .. })
    ));
    let no_token = encrypt(desk.path(), &format!("{HEADER}{{\"hello\":1}}"), LIKE_APPLE);
    assert!(matches!(
        desk.open(&no_token),
        Err(ImportFault::Token(TokenFault::Missing("consumer_key")))
    ));
}

#[test]
fn a_damaged_content_is_never_taken_for_a_token() {
    let desk = Desk::new();
    let der = encrypt(desk.path(), &marked(), &["-aes128", "-outform", "DER"]);
    // The last block decides the padding, the first one the JSON's beginning.
    for place in [der.len() - 1, der.len() - 17, der.len() - 200] {
        let mut damaged = der.clone();
        damaged[place] ^= 0x40;
        let fault = desk.open(&damaged).unwrap_err();
        assert!(
            matches!(
                fault,
                ImportFault::NotDecrypted | ImportFault::Token(_) | ImportFault::NotAToken
            ),
            "{fault}"
        );
    }
}

fn import_of(desk: &Desk, out: &Path) -> Import {
    Import {
        token: desk.path().join("own.p7m"),
        key: Some(desk.path().join("own.key")),
        cert: Some(desk.path().join("own.crt")),
        out: out.to_owned(),
    }
}

#[test]
fn the_credential_is_written_for_its_owner_alone_and_replaces_the_older_whole() {
    let desk = Desk::new();
    encrypt(desk.path(), &marked(), LIKE_APPLE);
    let out = desk.path().join("apple-dep-token");
    fs::write(&out, "an older one").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::metadata(&out).unwrap();

    let imported = import(
        &import_of(&desk, &out),
        "2098-12-30T22:01:10Z".parse().unwrap(),
    )
    .unwrap();
    assert_eq!(imported.days_left, 10);
    let after = fs::metadata(&out).unwrap();
    assert_eq!(after.permissions().mode() & 0o777, 0o600);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert_eq!(
        ServerToken::parse(&fs::read_to_string(&out).unwrap()).unwrap(),
        ServerToken::parse(JSON).unwrap()
    );
    let left = fs::read_dir(desk.path())
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            let name = name.to_string_lossy();
            name.starts_with('.') || name.ends_with(".new")
        })
        .count();
    assert_eq!(left, 0, "nothing half-written is left");
}

#[test]
fn a_json_that_windows_saved_is_read_or_named() {
    let desk = Desk::new();
    let (file, out) = (
        desk.path().join("token.json"),
        desk.path().join("apple-dep-token"),
    );
    let order = || Import {
        token: file.clone(),
        key: None,
        cert: None,
        out: out.clone(),
    };
    fs::write(&file, format!("\u{feff}{JSON}\r\n")).unwrap();
    import(&order(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(
        ServerToken::parse(&fs::read_to_string(&out).unwrap()).unwrap(),
        ServerToken::parse(JSON).unwrap()
    );
    fs::write(
        &file,
        [
            b"\xff\xfe".to_vec(),
            JSON.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ]
        .concat(),
    )
    .unwrap();
    let fault = import(&order(), Timestamp::UNIX_EPOCH)
        .unwrap_err()
        .to_string();
    assert!(fault.contains("UTF-16"), "{fault}");
}

#[test]
fn an_administrator_gives_the_credential_to_the_folders_owner() {
    let desk = Desk::new();
    encrypt(desk.path(), &marked(), LIKE_APPLE);
    let folder = desk.path().join("credentials");
    fs::create_dir(&folder).unwrap();
    // Only an administrator can give files away; elsewhere the file simply stays the writer's.
    let given = std::os::unix::fs::chown(&folder, Some(4242), Some(4242)).is_ok();
    let out = folder.join("apple-dep-token");
    if given || fs::metadata(&folder).unwrap().uid() == rustix::process::geteuid().as_raw() {
        import(&import_of(&desk, &out), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            fs::metadata(&out).unwrap().uid(),
            fs::metadata(&folder).unwrap().uid()
        );
    }
}

#[test]
fn an_expired_token_is_refused_and_the_older_credential_stays() {
    let desk = Desk::new();
    encrypt(desk.path(), &marked(), LIKE_APPLE);
    let out = desk.path().join("apple-dep-token");
    fs::write(&out, "an older one").unwrap();
    let fault = import(
        &import_of(&desk, &out),
        "2099-01-09T22:01:10Z".parse().unwrap(),
    )
    .unwrap_err();
    assert!(matches!(fault, ImportFault::Expired(_)), "{fault}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "an older one");
}

#[test]
fn no_error_repeats_what_is_in_the_file() {
    let broken = JSON.replace("\"AS_77e1\"", "7");
    let fault = open(broken.as_bytes(), None, None).unwrap_err().to_string();
    assert!(
        !fault.contains("CS_9f1d") && !fault.contains("AS_77e1"),
        "{fault}"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = open(&file, None, None);
    }
}
