//! Where secrets are read from, which forms they may have, and what is read again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

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

/// Waits until a file is old enough to be kept.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(120));
}

#[test]
fn a_file_that_has_not_changed_is_not_read_again() {
    let (_folder, credential) = written(b"hunter2");
    settle();
    let (first, second) = (
        credential.read().unwrap(),
        credential.clone().read().unwrap(),
    );
    assert!(Arc::ptr_eq(&first.0, &second.0), "it was read twice");
}

#[test]
fn whatever_changes_about_a_file_counts_at_once() {
    let read = |credential: &Credential| {
        credential
            .read()
            .map(|secret| secret.reveal().to_owned())
            .map_err(|fault| fault.finding())
    };
    let mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&Path, &Path), Result<&'a str, &'a str>);
    let changes: [Change<'_>; 7] = [
        (
            "replaced",
            &|file, folder| {
                fs::write(folder.join("new"), "hunter3").unwrap();
                mode(&folder.join("new"), 0o600);
                fs::rename(folder.join("new"), file).unwrap();
            },
            Ok("hunter3"),
        ),
        (
            "rewritten in its place, with its old time and size",
            &|file, _| {
                let before = fs::metadata(file).unwrap().modified().unwrap();
                fs::write(file, "hunter3").unwrap();
                let file = fs::File::options().write(true).open(file).unwrap();
                file.set_modified(before).unwrap();
            },
            Ok("hunter3"),
        ),
        (
            "emptied",
            &|file, _| fs::write(file, "").unwrap(),
            Err("is empty"),
        ),
        (
            "opened to others",
            &|file, _| mode(file, 0o644),
            Err("can be read by others"),
        ),
        (
            "in a folder of everybody's",
            &|_, folder| mode(folder, 0o777),
            Err("can be written by everybody"),
        ),
        (
            "removed",
            &|file, _| fs::remove_file(file).unwrap(),
            Err("is missing"),
        ),
        (
            "a link to another",
            &|file, folder| {
                fs::write(folder.join("other"), "hunter3").unwrap();
                mode(&folder.join("other"), 0o600);
                fs::remove_file(file).unwrap();
                std::os::unix::fs::symlink(folder.join("other"), file).unwrap();
            },
            Ok("hunter3"),
        ),
    ];
    for (what, change, expected) in changes {
        let (folder, credential) = written(b"hunter2");
        settle();
        assert_eq!(read(&credential).as_deref(), Ok("hunter2"));
        change(&folder.path().join("kandji-token"), folder.path());
        match (read(&credential), expected) {
            (Ok(secret), Ok(wanted)) => assert_eq!(secret, wanted, "{what}"),
            (Err(finding), Err(wanted)) => assert!(finding.contains(wanted), "{what}: {finding}"),
            (read, _) => panic!("{what}: {read:?}"),
        }
    }
}

#[test]
fn what_systemd_hands_over_later_counts_at_once() {
    let (folder, mut credential) = written(b"own");
    let handed = tempfile::tempdir().unwrap();
    credential.store.by_systemd = Some(handed.path().to_owned());
    settle();
    assert_eq!(credential.read().unwrap().reveal(), "own");
    let path = handed.path().join("kandji-token");
    fs::write(&path, "handed").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(credential.read().unwrap().reveal(), "handed");
    drop(folder);
}
