//! A secret that was written into the config by mistake: diagnostics say where it belongs and do not repeat it. Pure.

use crate::runtime::credential::may_be_a_secret;

/// Keys whose long values are not secrets and are shown, so that they can be corrected.
const LONG: [&str; 15] = [
    "expected_profiles",
    "expected_servers",
    "expected_blueprints",
    "expected_hosts",
    "tokens",
    "client_id",
    "key_id",
    "url",
    "token_url",
    "ca_file",
    "client_cert_file",
    "device",
    "state_dir",
    "credentials_dir",
    "user_agent",
];
/// From here on a word of letters and digits may be a token or a piece of a key.
const LONG_WORD: usize = 16;

/// Does a key of this name hold a secret?
pub(super) fn sounds_secret(key: &str) -> bool {
    const WHOLE: [&str; 10] = [
        "key",
        "pem",
        "pass",
        "pw",
        "pwd",
        "psk",
        "auth",
        "bearer",
        "credential",
        "credentials",
    ];
    const PART: [&str; 10] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "private",
        "api_key",
        "apikey",
        "access_key",
        "client_key",
    ];
    let key = key.to_ascii_lowercase().replace('-', "_");
    let harmless =
        names_a_credential(&key) || ["tokens", "token_url", "key_id"].contains(&key.as_str());
    !harmless && (WHOLE.contains(&key.as_str()) || PART.iter().any(|part| key.contains(part)))
}

/// Does a key of this name name a file that holds a secret?
fn names_a_credential(key: &str) -> bool {
    key.ends_with("_credential")
}

/// `line` without what may be a secret; `before` is the text up to it.
pub(super) fn masked(before: &str, line: &str) -> String {
    let own = key_of(line);
    // A text of several lines belongs to the key that began it.
    let begun = if own.is_none() && !is_heading(line) {
        before.lines().rev().find_map(begins)
    } else {
        None
    };
    if begun.is_some_and(|begun| begun == Begins::Secret) && !line.trim_start().starts_with('#') {
        return "…".to_owned();
    }
    let line = cut(line);
    let line = if own.is_some_and(names_a_credential) {
        without_value(&line)
    } else {
        line
    };
    let harmless = begun == Some(Begins::Long) || own.is_some_and(|key| LONG.contains(&key));
    without_user(if harmless {
        line
    } else {
        without_long_words(&line)
    })
}

/// What the last line with a key, or with a section's name, begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    Secret,
    Long,
    Other,
}

fn begins(line: &str) -> Option<Begins> {
    let key = key_of(line);
    if is_heading(line) {
        Some(Begins::Other)
    } else if secret_value(line).is_some() || key.is_some_and(names_a_credential) {
        Some(Begins::Secret)
    } else {
        key.map(|key| {
            if LONG.contains(&key) {
                Begins::Long
            } else {
                Begins::Other
            }
        })
    }
}

/// The key of a line `key = value`, without quotes and without the sections before its last dot.
fn key_of(line: &str) -> Option<&str> {
    let (key, value) = line.split_once('=')?;
    // The `=` that ends base64 does not count.
    if matches!(value.trim(), "" | "=") {
        return None;
    }
    let key = key
        .trim()
        .trim_start_matches(['{', '[', ' '])
        .trim_matches(['"', '\'']);
    let key = key.rsplit('.').next()?.trim_matches(['"', '\'', ' ']);
    let is_word = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    (is_word && !is_long(key)).then_some(key)
}

fn is_heading(line: &str) -> bool {
    line.trim_start().starts_with('[')
        && !line.contains('=')
        && line.trim_end().ends_with(']')
        && !line.contains(['"', '\''])
}

/// Up to the value of a key that sounds like a secret, wherever in the line that is, or to the beginning of a PEM block.
fn cut(line: &str) -> String {
    let end = [line.find("-----BEGIN"), secret_value(line)]
        .into_iter()
        .flatten()
        .min();
    match end.and_then(|end| line.get(..end)) {
        Some(kept) if kept.len() < line.len() => format!("{} …", kept.trim_end()),
        _ => line.to_owned(),
    }
}

/// Where the value of a key that sounds like a secret begins.
fn secret_value(line: &str) -> Option<usize> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    let mut rest = 0;
    let mut first = true;
    while let Some(start) = line
        .get(rest..)
        .and_then(|text| text.find(is_word))
        .map(|start| rest + start)
    {
        let after = line
            .get(start..)
            .and_then(|text| text.find(|character| !is_word(character)))
            .map_or(line.len(), |length| start + length);
        let word = line.get(start..after).unwrap_or_default();
        let sign = line
            .get(after..)
            .unwrap_or_default()
            .trim_start_matches(['"', '\'', ' ', '\t']);
        // `key = value`, `key: value`, and at the beginning of a line `key value`: no TOML, and meant all the same.
        let signed = sign.starts_with(['=', ':']);
        let bare =
            first && !sign.is_empty() && !line.contains('=') && !line.trim_start().starts_with('[');
        if (signed || bare) && sounds_secret(word) {
            return Some(if signed {
                line.len() - sign.len() + 1
            } else {
                after
            });
        }
        (rest, first) = (after, false);
    }
    None
}

/// From `x_credential = "name"`, leaves out a value that is not a plain name.
fn without_value(line: &str) -> String {
    let Some((key, value)) = line.split_once('=') else {
        return line.to_owned();
    };
    let name = value
        .split('#')
        .next()
        .unwrap_or_default()
        .trim()
        .trim_matches(['"', '\'']);
    if may_be_a_secret(name) {
        format!("{key}= …")
    } else {
        line.to_owned()
    }
}

fn is_long(word: &str) -> bool {
    word.len() >= LONG_WORD
        && (word.len() >= 2 * LONG_WORD || word.bytes().any(|byte| byte.is_ascii_digit()))
}

fn without_long_words(line: &str) -> String {
    let is_word =
        |character: char| character.is_ascii_alphanumeric() || "+/=_-.".contains(character);
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let inside = is_word(first);
        let end = rest
            .find(|character| is_word(character) != inside)
            .unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        shown.push_str(if inside && is_long(piece) {
            "…"
        } else {
            piece
        });
        rest = after;
    }
    shown
}

/// The user part of a URL.
fn without_user(line: String) -> String {
    match (line.find("://"), line.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => {
            let (before, after) = (
                line.get(..scheme + 3).unwrap_or_default(),
                line.get(at..).unwrap_or_default(),
            );
            format!("{before}…{after}")
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_shown_without_what_may_be_a_secret() {
        for (before, line) in [
            ("", "password = \"hunter2\""),
            ("", "api_token='hunter2'"),
            ("", "key = \"hunter2\""),
            ("", "\"password\" = \"hunter2\""),
            ("", "mqtt.password = \"hunter2\""),
            ("", "PASSWORD=hunter2"),
            ("", "password: hunter2"),
            ("", "password hunter2"),
            ("", "Token hunter2"),
            ("", "source = [{ name = \"kandji\", token = \"hunter2\" }]"),
            ("", "x = { \"secret\" = 'hunter2' }"),
            (
                "",
                "url = \"https://acme.api.kandji.io\", token = \"hunter2\"",
            ),
            ("", "name = \"Bad\" # password: hunter2"),
            ("", "url = \"mqtt://user:hunter2@broker:1883\""),
            ("", "token_credental = \"hunter2\""),
            ("", "token_credential = \"hunter2\""),
            ("", "token_credential = \"hunter2\" # the token"),
            ("", "key_credential = \"-----BEGIN PRIVATE KEY-----hunter2"),
            ("", "foo = \"-----BEGIN hunter2"),
            ("", "foo = \"d8f7a6c9-hunter2-4bcd-9e0f-1a2b3c4d5e6f\""),
            ("", "MIGHAgEAMBMGByqGSM49hunter2AwEHBG0wawIBAQQg=="),
            ("key = \"\"\"\n", "hunter2"),
            ("key = \"\"\"\nMIGHAgEAMBMGByqGSM49\n", "hunter2=="),
            ("key = \"\"\"\nMIGHAgEAMBMGByqGSM49\n", "hunter2="),
            ("[mqtt]\npassword = '''\n", "  hunter2"),
            (
                "token_credential = \"\"\"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AwEHBG0wawIBAQQg==\n",
                "hunter2",
            ),
        ] {
            let shown = masked(before, line);
            assert!(
                !shown.contains("hunter2") && shown.contains('…'),
                "{line} is shown as {shown}"
            );
        }
    }

    #[test]
    fn what_is_no_secret_is_shown_as_it_stands() {
        for (before, line) in [
            ("", "token_credential = \"kandji-token\""),
            ("", "tokens = [\"1f97349736cf4614a94f624e705841ad\"]"),
            (
                "expected_servers = [\n",
                "  \"1F97349736CF4614A94F624E705841AD\",",
            ),
            (
                "",
                "token_url = \"https://account.apple.com/auth/oauth2/token\"",
            ),
            ("", "key_id = \"d136aa66-0c3b-4bd4-9892-c20e8db024ab\""),
            (
                "",
                "client_id = \"BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152\"",
            ),
            (
                "",
                "device = \"/dev/input/by-id/usb-NT_USB_Keyboard_00A1B2C3D4-event-kbd\"",
            ),
            ("", "green = 17x"),
            ("", "[[source]]"),
            ("password = \"x\"\n", "[mqtt]"),
            ("password = \"x\"\n", "# the broker"),
            ("", "allow_plaintext = true"),
            ("", "  \"a\", \"b\""),
            ("", ""),
        ] {
            assert_eq!(masked(before, line), line);
        }
    }

    #[test]
    fn keys_that_hold_secrets_are_told_from_those_that_name_them() {
        for key in [
            "token",
            "password",
            "key",
            "api-token",
            "API_KEY",
            "client_secret",
            "private_key",
            "bearer",
            "access_token",
            "psk",
            "mqtt_password",
        ] {
            assert!(sounds_secret(key), "{key}");
        }
        for key in [
            "token_credential",
            "tokens",
            "token_url",
            "key_id",
            "keep",
            "keep_alive",
            "name",
            "keyboard",
            "passive",
        ] {
            assert!(!sounds_secret(key), "{key}");
        }
    }

    proptest! {
        #[test]
        fn wherever_a_secret_stands_behind_a_word_for_it_no_line_repeats_it(
            section in "(\\[mqtt\\]\n)?",
            before in "([a-z_]{1,8} = \"?[a-z]{0,8}\"?, )?",
            open in "[{\\[ ]{0,2}",
            quote in "[\"']?",
            word in prop::sample::select(vec!["token", "password", "api_key", "Secret", "key", "mqtt-password", "private_key"]),
            sign in prop::sample::select(vec![" = \"", "=", ": ", " = '", " = \"\"\"", " = \"\"\"\n", " = '''\n\n", " =\t"]),
            after in "[\"']{0,3},? ?(#.{0,8})?",
        ) {
            let text = format!("{section}{before}{open}{quote}{word}{quote}{sign}hunter2{after}");
            let at = text.find("hunter2").unwrap_or_default();
            let start = text.get(..at).unwrap_or_default().rfind('\n').map_or(0, |newline| newline + 1);
            let end = text.get(start..).unwrap_or_default().find('\n').map_or(text.len(), |newline| start + newline);
            let shown = masked(text.get(..start).unwrap_or_default(), text.get(start..end).unwrap_or_default());
            prop_assert!(!shown.contains("hunter2"), "{text:?} is shown as {shown:?}");
        }
    }
}
