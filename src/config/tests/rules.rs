//! The rules that go beyond one key's form: a table of what is refused and what is only worth a word.

use std::time::Duration;

use super::*;
use crate::readiness::{evidence::SourceKind, replica};

/// `SMALLEST` with some lines replaced.
fn with(changes: &[(&str, &str)]) -> String {
    changes
        .iter()
        .fold(SMALLEST.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from:?} is not in the text");
            text.replacen(from, to, 1)
        })
}

const URL: &str = "url = \"https://acme.api.kandji.io\"";
const DEP: &str = "[[source]]\nname = \"apple\"\nkind = \"apple-dep\"\n";
const BUSINESS: &str = "[[source]]\nname = \"business\"\nkind = \"apple-business\"\nclient_id = \"B.1\"\nkey_id = \"k\"\nexpected_servers = [\"1F97349736CF4614A94F624E705841AD\"]\n";
const LANES: &str = "[[lane]]\nname = \"a\"\nindicator = { kind = \"none\" }\n[[lane]]\nname = \"b\"\nindicator = { kind = \"none\" }\n";

#[test]
fn a_page_that_others_reach_needs_a_password_and_an_input_box_needs_a_page() {
    const BOX: &str = "[[scanner]]\nname = \"page\"\nkind = \"web\"\n";
    let said = |more: &str| problems(&format!("{SMALLEST}{more}"));
    for open in ["0.0.0.0:8480", "192.0.2.7:8480", "[::]:80"] {
        let open = format!("[web]\nlisten = \"{open}\"\n");
        assert_eq!(
            said(&open),
            ["16: `listen` is reached from other machines, and there is no password"]
        );
        assert_eq!(
            said(&format!("{open}password_credential = \"p\"\n")),
            [""; 0]
        );
    }
    for here in ["127.0.0.1:8480", "127.8.0.1:1", "[::1]:8480"] {
        assert_eq!(
            said(&format!("[web]\nlisten = \"{here}\"\n")),
            [""; 0],
            "{here}"
        );
    }
    for (wrong, problem) in [
        (
            "[web]\nlisten = \"127.0.0.1:0\"",
            "16: port 0 is another one at each start",
        ),
        (
            "[web]\nlisten = \"8480\"",
            "16: `listen` is not an address with a port",
        ),
        (
            "[web]\nhosts = [\"https://a.example\"]",
            "16: that is not the name of a host",
        ),
        (
            "[web]\nhosts = [\"a.example:443\"]",
            "16: that is not the name of a host",
        ),
        (
            "[web]\npasswort = \"x\"",
            "16: unknown key `passwort` in [web]",
        ),
        (
            BOX,
            "17: scanner \"page\" is the page's input box, and there is no [web]",
        ),
    ] {
        assert_eq!(said(wrong), [problem], "{wrong}");
    }
    let off = format!("{BOX}[web]\ndisplay = false\n");
    assert_eq!(
        said(&off),
        ["19: the page is off, and scanner \"page\" is its input box"]
    );
    let two = format!("{BOX}{}[web]\n", BOX.replace("page", "other"));
    assert_eq!(
        said(&two),
        ["20: another scanner is the page's input box already"]
    );
    let keys = format!("{BOX}device = \"auto\"\n[web]\n");
    assert_eq!(said(&keys), ["18: `device` means nothing to kind \"web\""]);
    let config = good(&format!(
        "{SMALLEST}{BOX}[web]\nhosts = [\"Bench.Example\"]\n"
    ));
    assert_eq!(
        config.warnings, [""; 0],
        "the box stands at the bench of the lane's scanner"
    );
    assert_eq!(config.web.unwrap().hosts, ["bench.example"]);
    assert!(good(SMALLEST).web.is_none());
}

#[test]
fn each_rule_is_kept_and_blames_the_right_line() {
    let scanner = "name = \"left\"";
    let end = "url = \"mqtts://broker.example\"";
    let kandji =
        "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"https://acme.api.kandji.io\"\n";
    let pins = "green = 17\nred = 27";
    let appended = |more: &str| format!("{SMALLEST}{more}");
    let verdict = |more: &str| format!("{SMALLEST}{DEP}[verdict]\n{more}\n");
    let kandji_with = |more: &str| with(&[(URL, &format!("{URL}\n{more}"))]);
    let cases: Vec<(&str, String, &str)> = vec![
        // names and lanes
        (
            "a name",
            with(&[("\"bench-1\"", "\"Bench\"")]),
            "3: \"Bench\" is not a name: use 1 to 32 characters of a-z, 0-9 and -",
        ),
        (
            "auto elsewhere",
            with(&[("\"bench-1\"", "\"auto\"")]),
            "3: \"auto\" needs a Raspberry Pi's serial number, and this machine has none",
        ),
        (
            "scanner twice",
            appended("[[scanner]]\nname = \"left\"\nkind = \"stdin\""),
            "16: there is already a scanner \"left\"",
        ),
        (
            "unknown lane",
            with(&[(scanner, "name = \"left\"\nlane = \"right\"")]),
            "6: there is no lane \"right\"",
        ),
        (
            "which lane",
            appended(LANES),
            "4: `lane` is missing in [[scanner]] \"left\", and there are several lanes",
        ),
        (
            "lane twice",
            with(&[(scanner, "name = \"left\"\nlane = \"a\"")])
                + "[[lane]]\nname = \"a\"\n[[lane]]\nname = \"a\"\nindicator = { kind = \"none\" }",
            "19: there is already a lane \"a\"",
        ),
        (
            "lane without name",
            appended("[[lane]]\nallow_returned = true"),
            "15: `name` is missing in [[lane]]",
        ),
        // scanners
        (
            "scanner kind",
            with(&[(scanner, "name = \"left\"\nkind = \"ble\"")]),
            "6: \"ble\" is not in this build",
        ),
        (
            "auto twice",
            appended("[[scanner]]\nname = \"b\"\nkind = \"hid\""),
            "15: \"auto\" is the only scanner of its kind, and another scanner is \"auto\" already",
        ),
        (
            "device twice",
            with(&[(
                scanner,
                "name = \"left\"\ndevice = \"x\"\n[[scanner]]\nname = \"b\"\ndevice = \"/dev/input/by-id/x\"",
            )]),
            "9: another scanner is /dev/input/by-id/x already",
        ),
        (
            "stdin twice",
            with(&[(
                scanner,
                "name = \"left\"\nkind = \"stdin\"\n[[scanner]]\nname = \"b\"\nkind = \"stdin\"",
            )]),
            "9: another scanner reads standard input already",
        ),
        (
            "port twice",
            with(&[(
                scanner,
                "name = \"left\"\nkind = \"tcp\"\n[[scanner]]\nname = \"b\"\nkind = \"tcp\"\nlisten = \"0.0.0.0:9000\"",
            )]),
            "10: another scanner listens on 127.0.0.1:9000 already",
        ),
        (
            "another kind's key",
            with(&[(scanner, "name = \"left\"\nkind = \"stdin\"\nbaud = 9600")]),
            "7: `baud` means nothing to kind \"stdin\"",
        ),
        (
            "listen",
            with(&[(
                scanner,
                "name = \"left\"\nkind = \"tcp\"\nlisten = \"localhost\"",
            )]),
            "7: `listen` is not an address with a port",
        ),
        (
            "one bracket",
            with(&[("[[scanner]]", "[scanner]")]),
            "4: there may be several of `scanner`: it needs double brackets",
        ),
        (
            "two brackets",
            with(&[("[mqtt]", "[[mqtt]]")]),
            "13: there is only one [mqtt]",
        ),
        (
            "section as value",
            format!("journal = 3\n{SMALLEST}"),
            "1: `journal` is a section, found a whole number",
        ),
        (
            "unknown section",
            appended("[verdikt]\ndeadline = \"1s\""),
            "15: unknown section `verdikt` in the file",
        ),
        // lamps
        (
            "lamp kind",
            with(&[(pins, "kind = \"hue\"")]),
            "7: \"hue\" is not in this build",
        ),
        (
            "no green",
            with(&[("green = 17\n", "")]),
            "6: `green` is missing in [indicator]",
        ),
        (
            "pin range",
            with(&[("green = 17", "green = 28")]),
            "7: `green` is out of range",
        ),
        (
            "negative pin",
            with(&[("green = 17", "green = -1")]),
            "7: `green` is out of range",
        ),
        (
            "same pin",
            with(&[("red = 27", "red = 27\nbuzzer = 17")]),
            "9: `buzzer` is on the same pin as `green`",
        ),
        (
            "resting lit",
            with(&[(pins, "green = 4\nred = 27\nactive_low = true")]),
            "8: an active-low `red` on pin 27 would light whenever benchlight does not run: the pin rests low",
        ),
        (
            "pins on a terminal",
            with(&[(pins, "kind = \"terminal\"\nred = 27")]),
            "8: `red` means nothing to kind \"terminal\"",
        ),
        (
            "hold of no lamp",
            with(&[(pins, "kind = \"none\"\nready_hold = \"1s\"")]),
            "8: `ready_hold` means nothing to kind \"none\"",
        ),
        (
            "chip for rppal",
            with(&[(
                "red = 27",
                "red = 27\ndriver = \"rppal\"\nchip = \"pinctrl-rp1\"",
            )]),
            "10: rppal drives the Pi's header and takes no chip",
        ),
        (
            "shared lamps",
            with(&[(
                scanner,
                "name = \"left\"\nlane = \"a\"\n[[lane]]\nname = \"a\"\n[[lane]]\nname = \"b\"",
            )]),
            "9: the lamps of [indicator] belong to another lane already",
        ),
        (
            "shared pin",
            with(&[(
                scanner,
                "name = \"left\"\nlane = \"a\"\n[[lane]]\nname = \"a\"\n[[lane]]\nname = \"b\"\nindicator = { green = 5, red = 17 }",
            )]),
            "11: pin 17 belongs to another lane's lamps already",
        ),
        (
            "lane's lamp key",
            with(&[(
                scanner,
                "name = \"left\"\n[[lane]]\nname = \"a\"\nindicator = { kind = \"none\", gren = 1 }",
            )]),
            "8: unknown key `gren` in `indicator` of [[lane]] \"a\"",
        ),
        // the replica
        (
            "replica",
            kandji_with("replica = \"on\""),
            "13: \"on\" is not a value of `replica`",
        ),
        (
            "refresh, too short",
            kandji_with("refresh = \"9s\""),
            "13: `refresh` is out of range",
        ),
        (
            "refresh, too long",
            kandji_with("refresh = \"25h\""),
            "13: `refresh` is out of range",
        ),
        (
            "max_replica_age, too long",
            kandji_with("max_replica_age = \"25h\""),
            "13: `max_replica_age` is out of range",
        ),
        (
            "max_replica_age under twice refresh",
            kandji_with("refresh = \"20s\"\nmax_replica_age = \"39s\""),
            "14: `max_replica_age` is less than twice `refresh`: rows would be too old before the next pass has read them again",
        ),
        (
            "the default of max_replica_age under twice refresh",
            kandji_with("refresh = \"16m\""),
            "13: `max_replica_age` is less than twice `refresh`: rows would be too old before the next pass has read them again",
        ),
        (
            "refresh over half of the longest max_replica_age",
            kandji_with("refresh = \"13h\"\nmax_replica_age = \"24h\""),
            "13: `max_replica_age` is less than twice `refresh`: rows would be too old before the next pass has read them again",
        ),
        (
            "no share",
            kandji_with("quota_share = 0.0"),
            "13: `quota_share` is out of range",
        ),
        (
            "a negative share",
            kandji_with("quota_share = -0.5"),
            "13: `quota_share` is out of range",
        ),
        (
            "more than all",
            kandji_with("quota_share = 1.01"),
            "13: `quota_share` is out of range",
        ),
        (
            "no number",
            kandji_with("quota_share = nan"),
            "13: `quota_share` is out of range",
        ),
        (
            "a share in per cent",
            kandji_with("quota_share = 50"),
            "13: `quota_share` is out of range",
        ),
        (
            "a share of no limit",
            appended(&format!("{DEP}quota_share = 0.5")),
            "18: `quota_share` is a share of no limit: apple-dep tells none",
        ),
        // sources
        (
            "source kind",
            with(&[("\"kandji\"\nurl", "\"intue\"\nurl")]),
            "11: \"intue\" is not in this build",
        ),
        (
            "an MDM whose API cannot answer",
            with(&[("\"kandji\"\nurl", "\"mosyle\"\nurl")]),
            "11: Mosyle: the API cannot answer: it does not tell whether Apple has a profile for a serial number",
        ),
        (
            "an MDM whose API documents no answer",
            with(&[("\"kandji\"\nurl", "\"Workspace-One\"\nurl")]),
            "11: Workspace ONE: the API's documents name no field that tells whether Apple has a profile for a serial number",
        ),
        (
            "source kind absent",
            with(&[("kind = \"kandji\"\n", "")]),
            "9: `kind` is missing in [[source]] \"kandji\"",
        ),
        (
            "kind twice",
            appended("[[source]]\nname = \"b\"\nkind = \"kandji\"\nurl = \"https://b.example\""),
            "17: there is already a source of kind \"kandji\"",
        ),
        (
            "source twice",
            appended(&DEP.replace("\"apple\"", "\"kandji\"")),
            "16: there is already a source \"kandji\"",
        ),
        (
            "plain http",
            with(&[("https://acme", "http://acme")]),
            "12: http:// is not encrypted, and the service is not on this machine",
        ),
        (
            "other scheme",
            with(&[("https://acme", "ftp://acme")]),
            "12: `url` may not begin with ftp://",
        ),
        (
            "secret in url",
            with(&[("https://acme", "https://me:hunter2@acme")]),
            "12: `url` holds a user name or password",
        ),
        (
            "mapped address",
            with(&[("https://acme.api.kandji.io", "http://[::ffff:127.0.0.1]:1/")]),
            "12: http:// is not encrypted, and the service is not on this machine",
        ),
        (
            "kandji's page",
            with(&[("https://acme.api.kandji.io", "https://acme.kandji.io")]),
            "12: `url` is the address of a web page for people, not of the API",
        ),
        (
            "iru's page",
            with(&[("https://acme.api.kandji.io", "https://acme.iru.com/devices")]),
            "12: `url` is the address of a web page for people, not of the API",
        ),
        (
            "kandji's site",
            with(&[("https://acme.api.kandji.io", "https://www.kandji.io")]),
            "12: `url` is the address of a web page for people, not of the API",
        ),
        (
            "a call's url",
            with(&[(
                "https://acme.api.kandji.io",
                "https://acme.api.kandji.io/api/v1",
            )]),
            "12: `url` is not the API's base: it has a path",
        ),
        (
            "apple's page",
            appended(&format!("{DEP}url = \"https://deploy.apple.com\"")),
            "18: `url` is the address of a web page for people, not of the API",
        ),
        (
            "apple's other api",
            appended(&format!("{DEP}url = \"https://api-business.apple.com/v1\"")),
            "18: `url` is the API of Apple Business or School Manager, which is another source (kind = \"apple-business\")",
        ),
        (
            "business's page",
            appended(&format!(
                "{BUSINESS}url = \"https://business.apple.com/main\""
            )),
            "21: `url` is the address of a web page for people, not of the API",
        ),
        (
            "school's page",
            appended(&format!("{BUSINESS}url = \"https://school.apple.com\"")),
            "21: `url` is the address of a web page for people, not of the API",
        ),
        (
            "business's root",
            appended(&format!(
                "{BUSINESS}url = \"https://api-business.apple.com\""
            )),
            "21: `url` is not the API's base: that ends in /v1",
        ),
        (
            "dep's api",
            appended(&format!(
                "{BUSINESS}url = \"https://mdmenrollment.apple.com\""
            )),
            "21: `url` is the API of the Device Assignment Services, which is another source (kind = \"apple-dep\")",
        ),
        (
            "token page",
            appended(&format!(
                "{BUSINESS}token_url = \"https://business.apple.com\""
            )),
            "21: `token_url` is the address of a web page for people, not of the API",
        ),
        (
            "token in a source",
            with(&[(
                "url = \"https://acme",
                "token = \"hunter2\"\nurl = \"https://acme",
            )]),
            "12: `token` is a secret, and secrets are never in this file",
        ),
        (
            "password in mqtt",
            appended("password = \"hunter2\""),
            "15: `password` is a secret, and secrets are never in this file",
        ),
        (
            "key in mqtt",
            appended("key = \"hunter2\""),
            "15: `key` is a secret, and secrets are never in this file",
        ),
        (
            "token in the file",
            with(&[("[station]", "token = \"hunter2\"\n[station]")]),
            "1: `token` is a secret, and secrets are never in this file",
        ),
        (
            "no url",
            with(&[("url = \"https://acme.api.kandji.io\"\n", "")]),
            "9: `url` is missing in [[source]] \"kandji\"",
        ),
        (
            "plain token url",
            appended(&format!("{BUSINESS}token_url = \"http://10.0.0.1/\"")),
            "21: http:// is not encrypted, and the service is not on this machine",
        ),
        (
            "servers",
            appended(&BUSINESS.replace(
                "expected_servers = [\"1F97349736CF4614A94F624E705841AD\"]\n",
                "",
            )),
            "15: `expected_servers` is missing in [[source]] \"business\"",
        ),
        (
            "no server",
            appended(&BUSINESS.replace("\"1F97349736CF4614A94F624E705841AD\"", "")),
            "20: `expected_servers` is empty: any server would do",
        ),
        (
            "server id",
            appended(&BUSINESS.replace("1F97", "")),
            "20: \"349736CF4614A94F624E705841AD\" is not the id of an MDM server",
        ),
        (
            "host",
            appended(&format!("{DEP}expected_hosts = [\"https://mdm.example\"]")),
            "18: \"https://mdm.example\" is not a host name",
        ),
        (
            "list of texts",
            appended(&format!("{DEP}expected_profiles = [\"a\", 1]")),
            "18: `expected_profiles` is a list of texts, found a whole number in it",
        ),
        // verdict
        (
            "require nothing",
            verdict("require = []"),
            "19: `require` is empty: nothing would have to agree before a lamp is green",
        ),
        (
            "require nobody",
            verdict("require = [\"aple\"]"),
            "19: `require` names \"aple\", and there is no such source",
        ),
        (
            "require twice",
            verdict("require = [\"apple\", \"apple\"]"),
            "19: `require` names \"apple\" twice",
        ),
        (
            "only business",
            appended(&format!("{BUSINESS}[verdict]\nrequire = [\"business\"]")),
            "22: only apple-business is required, and it cannot prove that a profile is assigned",
        ),
        (
            "business alone",
            with(&[(kandji, BUSINESS)]),
            "9: only apple-business is required, and it cannot prove that a profile is assigned",
        ),
        (
            "apple's word",
            appended("[verdict]\nmin_grade = \"apple\""),
            "16: min_grade = \"apple\" needs Apple's own word, and no required source has it: no lamp would ever be green",
        ),
        (
            "apple's word not required",
            verdict("min_grade = \"apple\"\nrequire = [\"kandji\"]"),
            "19: min_grade = \"apple\" needs Apple's own word, and no required source has it: no lamp would ever be green",
        ),
        (
            "grade",
            verdict("min_grade = \"aple\""),
            "19: \"aple\" is not a value of `min_grade`",
        ),
        (
            "deadline",
            verdict("deadline = \"11s\""),
            "19: `deadline` is out of range",
        ),
        // broker and journal
        (
            "no broker",
            with(&[("[mqtt]\nurl = \"mqtts://broker.example\"\n", "")]),
            "12: there is no [mqtt]: where do the results go?",
        ),
        (
            "plain mqtt",
            with(&[("mqtts://", "mqtt://")]),
            "14: mqtt:// is not encrypted, and the broker is not on this machine",
        ),
        (
            "mqtt over http",
            with(&[("mqtts://", "http://")]),
            "14: `url` may not begin with http://",
        ),
        (
            "no host",
            with(&[("mqtts://broker.example", "mqtts:broker")]),
            "14: `url` names no host",
        ),
        (
            "path",
            with(&[("broker.example", "broker.example/x")]),
            "14: a broker's URL has no path",
        ),
        (
            "no url",
            with(&[(end, "commands = true")]),
            "13: `url` is missing in [mqtt]",
        ),
        (
            "password alone",
            appended("password_credential = \"mqtt\""),
            "15: a password without a user name",
        ),
        (
            "certificate alone",
            appended("client_cert_file = \"/x\""),
            "15: `client_cert_file` needs `client_key_credential` beside it",
        ),
        (
            "key alone",
            appended("client_key_credential = \"x\""),
            "15: `client_key_credential` needs `client_cert_file` beside it",
        ),
        (
            "prefix",
            appended("topic_prefix = \"a/b\""),
            "15: `topic_prefix` is not one level of a topic",
        ),
        (
            "prefix of the broker's own",
            appended("topic_prefix = \"$SYS\""),
            "15: `topic_prefix` is not one level of a topic",
        ),
        (
            "discovery prefix",
            appended("[home_assistant]\ndiscovery_prefix = \"home//assistant\""),
            "16: `discovery_prefix` is not the beginning of a topic",
        ),
        (
            "discovery prefix with a wildcard",
            appended("[home_assistant]\ndiscovery_prefix = \"#\""),
            "16: `discovery_prefix` is not the beginning of a topic",
        ),
        (
            "key of home assistant",
            appended("[home_assistant]\nprefix = \"homeassistant\""),
            "16: unknown key `prefix` in [home_assistant]",
        ),
        (
            "size",
            appended("[journal]\nmax_bytes = \"1G\""),
            "16: `max_bytes` is not a size",
        ),
        (
            "small size",
            appended("[journal]\nmax_bytes = \"1KiB\""),
            "16: `max_bytes` is out of range",
        ),
        (
            "empty text",
            appended("username = \"\""),
            "15: `username` is empty",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, text, expected) in cases {
        if problems(&text) != [expected] {
            wrong.push(format!(
                "{name}: expected {expected:?}, found {:?}\n{text}",
                problems(&text)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_is_allowed_and_strange_is_said() {
    let cases = [
        (
            "no [indicator]",
            SMALLEST.replace("[indicator]\ngreen = 17\nred = 27\n", ""),
            "bench.toml: there is no [indicator]: results are published, and no lamp shows them",
        ),
        (
            "two scanners on one lane",
            format!("{SMALLEST}[[scanner]]\nname = \"b\"\nkind = \"stdin\""),
            "bench.toml:16:8: scanners \"left\" and \"b\" share lane \"main\": the newer scan takes the lamp over",
        ),
        (
            "lane without scanner",
            format!(
                "{}{LANES}",
                SMALLEST
                    .replace("name = \"left\"", "name = \"left\"\nlane = \"b\"")
                    .replace("[indicator]\ngreen = 17\nred = 27\n", "")
            ),
            "bench.toml:14:8: lane \"a\" has no scanner: its lamps will never answer",
        ),
        (
            "unused [indicator]",
            format!("{SMALLEST}[[lane]]\nname = \"a\"\nindicator = {{ kind = \"none\" }}"),
            "bench.toml:6:1: [indicator] is not used: every lane has its own",
        ),
        (
            "open port",
            SMALLEST.replace(
                "name = \"left\"",
                "name = \"left\"\nkind = \"tcp\"\nlisten = \"0.0.0.0:9000\"",
            ),
            "bench.toml:7:10: 0.0.0.0:9000 takes scans from everybody who reaches it over the network",
        ),
        (
            "chip beside auto",
            SMALLEST.replace("red = 27", "red = 27\nchip = \"gpio-sim\""),
            "bench.toml:9:8: `chip` counts only with driver = \"gpiochip\"; on a Raspberry Pi \"auto\" is rppal",
        ),
        (
            "CA without TLS",
            SMALLEST.replace(
                "mqtts://broker.example\"",
                "mqtt://[::1]\"\nca_file = \"/ca.pem\"",
            ),
            "bench.toml:15:11: `ca_file` counts only with mqtts://",
        ),
        (
            "CA without TLS, source",
            SMALLEST.replace(
                "https://acme.api.kandji.io\"",
                "http://127.0.0.1:8080\"\nca_file = \"/ca.pem\"",
            ),
            "bench.toml:13:11: `ca_file` counts only with https://",
        ),
        (
            "blueprints nobody reads",
            format!(
                "{}[verdict]\nexpected_blueprints = [\"b\"]\n",
                SMALLEST.replace("kind = \"kandji\"", "kind = \"apple-dep\"")
            ),
            "bench.toml:16:23: `expected_blueprints` counts only with a source of kind `kandji`",
        ),
        (
            "rows of more than an hour",
            replicated("first", "max_replica_age = \"2h\"", ""),
            "bench.toml:15:19: `max_replica_age` is over an hour: a profile removed in that time is not noticed",
        ),
        (
            "rows older than what the MDM may have fetched",
            replicated(
                "fallback",
                "max_replica_age = \"1h\"",
                "[verdict]\nmax_fetch_age = \"59m\"",
            ),
            "bench.toml:15:19: `max_replica_age` is over `max_fetch_age`: what the MDM fetched longer ago is stale, and no replica helps",
        ),
        (
            "a source that a green from a replica does not wait for",
            replicated(
                "first",
                "",
                &format!("{DEP}[verdict]\nrequire = [\"kandji\"]"),
            ),
            "bench.toml:22:11: apple is outside `require` and has no replica: a green answered from a replica does not wait for it",
        ),
        (
            "the same, where the replica answers for a service that fails",
            replicated(
                "fallback",
                "",
                &format!("{DEP}[verdict]\nrequire = [\"kandji\"]"),
            ),
            "bench.toml:22:11: apple is outside `require` and has no replica: a green answered from a replica does not wait for it",
        ),
        (
            "Apple's own word from a replica",
            format!("{SMALLEST}{DEP}replica = \"fallback\"\n[verdict]\nmin_grade = \"apple\"\n"),
            "bench.toml:20:13: min_grade = \"apple\" is for live answers only: a replica's answer has the grade \"relayed\", also Apple's",
        ),
    ];
    for (name, text, expected) in cases {
        assert_eq!(good(&text).warnings, [expected], "{name}");
    }
}

/// `SMALLEST` with a replica of Kandji, another line for it, and what follows.
fn replicated(mode: &str, line: &str, end: &str) -> String {
    let more = format!("{URL}\nreplica = \"{mode}\"\nrefresh = \"10m\"\n{line}");
    format!("{}{end}\n", with(&[(URL, &more)]))
}

#[test]
fn the_keys_of_a_replica_reach_its_source() {
    let text = format!(
        "{}{DEP}replica = \"first\"\nreads_per_minute = 10\nquota_share = 1\n",
        replicated(
            "fallback",
            "max_replica_age = \"30m\"\nquota_share = 0.25",
            ""
        )
    );
    let config = good(&text);
    assert_eq!(config.warnings, Vec::<String>::new());
    let replica = |place: usize| config.sources[place].replica;
    let kandji = replica::Settings {
        mode: replica::Mode::Fallback,
        refresh: Duration::from_mins(10),
        max_replica_age: Duration::from_mins(30),
        quota_share: 0.25,
    };
    let apple = replica::Settings {
        mode: replica::Mode::First,
        quota_share: 1.0,
        ..replica::Settings::default()
    };
    assert_eq!((replica(0), replica(1)), (kandji, apple));
    assert_eq!(
        good(SMALLEST).sources[0].replica,
        replica::Settings::default()
    );
}

#[test]
fn what_looks_strange_and_is_right_passes() {
    let lanes = "name = \"left\"\nlane = \"a\"\n[[scanner]]\nname = \"right\"\nkind = \"stdin\"\nlane = \"b\"\n[[lane]]\nname = \"a\"\n[[lane]]\nname = \"b\"\nindicator";
    for text in [
        with(&[(
            "mqtts://broker.example\"",
            "mqtt://broker.example\"\nallow_plaintext = true",
        )]),
        with(&[("mqtts://broker.example", "mqtt://localhost:1883")]),
        with(&[("https://acme.api.kandji.io", "http://127.0.0.1:8080/api")]),
        with(&[(
            "green = 17\nred = 27",
            "green = 2\nred = 8\nactive_low = true",
        )]),
        with(&[(
            "red = 27",
            "red = 27\nactive_low = true\nexternal_pull = true",
        )]),
        with(&[(
            "red = 27",
            "red = 200\ndriver = \"gpiochip\"\nchip = \"gpio-sim\"",
        )]),
        with(&[(
            "name = \"left\"",
            &format!("{lanes} = {{ green = 5, red = 6 }}"),
        )]),
        // Another chip has other pins of the same number.
        with(&[
            ("red = 27", "red = 27\ndriver = \"gpiochip\"\nchip = \"x\""),
            (
                "name = \"left\"",
                &format!(
                    "{lanes} = {{ green = 17, red = 27, driver = \"gpiochip\", chip = \"y\" }}"
                ),
            ),
        ]),
        with(&[(
            "name = \"left\"",
            "name = \"left\"\nkind = \"tcp\"\nlisten = \"127.0.0.1:0\"\nlane = \"main\"",
        )]),
        format!("{SMALLEST}{BUSINESS}[verdict]\nrequire = [\"kandji\"]\n"),
        // A replica of each source.
        replicated(
            "first",
            "",
            &format!("{DEP}replica = \"fallback\"\n[verdict]\nrequire = [\"kandji\"]"),
        ),
        replicated("off", "max_replica_age = \"24h\"", ""),
        replicated(
            "first",
            "",
            &format!("{DEP}[verdict]\nmin_grade = \"apple\""),
        ),
        format!("{SMALLEST}{DEP}reads_per_minute = 20\nquota_share = 0.5\n"),
        with(&[(URL, &format!("{URL}\nquota_share = 0.5"))]),
        format!("{SMALLEST}{DEP}[verdict]\nrequire = [\"apple\"]\nmin_grade = \"apple\"\n"),
    ] {
        assert_eq!(good(&text).warnings, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_station_asks_one_mdm_and_hears_apples_word_once() {
    let kandji =
        "[[source]]\nname = \"kandji\"\nkind = \"kandji\"\nurl = \"https://acme.api.kandji.io\"\n";
    let another = |kind: &str| format!("there is already an MDM, {kind:?}: a station asks one");
    let twice = |first: &str, second: &str| {
        format!("{first:?} and {second:?} both pass on the same word of Apple's")
    };
    for (sources, wanted) in [
        (vec![kandji, NANODEP], another("kandji")),
        (vec![NANODEP, kandji], another("nanodep")),
        (vec![NANODEP, MICROMDM], another("nanodep")),
        (vec![MICROMDM, BUSINESS, NANODEP], another("micromdm")),
        (vec![DEP, NANODEP], twice("apple-dep", "nanodep")),
        (vec![NANODEP, DEP], twice("nanodep", "apple-dep")),
        (
            vec![DEP, BUSINESS, MICROMDM],
            twice("apple-dep", "micromdm"),
        ),
    ] {
        let text = asking(&sources);
        let found = problems(&text);
        assert!(
            matches!(found.as_slice(), [only] if only.ends_with(&wanted)),
            "{found:?}\n{text}"
        );
        // The later of the two is blamed.
        let last = text.lines().count() - sources.last().unwrap().lines().count() + 3;
        assert!(found[0].starts_with(&format!("{last}: ")), "{found:?}");
    }
    for sources in [
        vec![NANODEP],
        vec![MICROMDM],
        vec![NANODEP, BUSINESS],
        vec![BUSINESS, MICROMDM],
        vec![kandji, DEP, BUSINESS],
    ] {
        let text = asking(&sources);
        assert_eq!(good(&text).warnings, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn an_mdm_that_passes_apples_word_on_is_a_proof_of_apples() {
    for source in [NANODEP, MICROMDM] {
        let text = asking(&[source, "[verdict]\nmin_grade = \"apple\"\n"]);
        assert_eq!(good(&text).warnings, Vec::<String>::new(), "{text}");
    }
    // What it says is of now: it has no fetch whose age a row could exceed.
    let old_rows =
        "replica = \"fallback\"\nmax_replica_age = \"1h\"\n[verdict]\nmax_fetch_age = \"30m\"\n";
    let text = asking(&[NANODEP, old_rows]);
    assert_eq!(good(&text).warnings, Vec::<String>::new(), "{text}");
    let found = problems(&asking(&[MICROMDM, "replica = \"fallback\"\n"]));
    assert!(
        matches!(found.as_slice(), [only] if only.contains("\"micromdm\" has no list of all its devices")),
        "{found:?}"
    );
    good(&asking(&[MICROMDM, "replica = \"off\"\n"]));
}

#[test]
fn the_keys_of_nanodep_and_micromdm_reach_their_sources() {
    let more = "expected_profiles = [\"88FC\", 7]\nexpected_hosts = [\"mdm.example.com\"]\nreplica = \"first\"\n";
    let config = good(&asking(&[NANODEP, more]));
    let readiness::Service::NanoDep(settings) = &config.sources[0].service else {
        panic!("not nanodep")
    };
    assert_eq!(settings.dep_name, "mdmserver1");
    assert_eq!(settings.expected.profiles, ["88FC", "7"]);
    assert_eq!(settings.expected.hosts, ["mdm.example.com"]);
    assert_eq!(config.sources[0].service.credential().name(), "nanodep-key");
    let config = good(&asking(&[MICROMDM, "expected_profiles = [\"88FC\"]\n"]));
    let readiness::Service::MicroMdm(settings) = &config.sources[0].service else {
        panic!("not micromdm")
    };
    assert_eq!(settings.expected.profiles, ["88FC"]);
    assert!(settings.expected.hosts.is_empty());
    assert_eq!(
        config.sources[0].service.credential().name(),
        "micromdm-key"
    );
}

#[test]
fn what_is_wrong_with_nanodep_or_micromdm_is_said_with_a_remedy() {
    let line = |source: &str, from: &str, to: &str| asking(&[&source.replacen(from, to, 1)]);
    let url = "url = \"https://nanodep.example.com\"\n";
    for (text, wanted) in [
        (
            line(NANODEP, url, ""),
            "write for example: url = \"https://nanodep.example.com\"",
        ),
        (
            line(NANODEP, "dep_name = \"mdmserver1\"\n", ""),
            "dep_name = \"mdmserver1\"",
        ),
        (
            line(NANODEP, "mdmserver1", "../v1/tokens"),
            "cannot be a DEP name",
        ),
        (line(NANODEP, "mdmserver1", ".."), "cannot be a DEP name"),
        (line(NANODEP, "mdmserver1", "a%2Fb"), "cannot be a DEP name"),
        (
            line(NANODEP, "mdmserver1", "a\\\\b"),
            "cannot be a DEP name",
        ),
        (
            line(NANODEP, "example.com", "example.com/proxy/mdmserver1"),
            "write the API's: url = \"https://nanodep.example.com\"",
        ),
        (
            line(NANODEP, "example.com", "example.com/hub/v1/tokens/a"),
            "write the API's: url = \"https://nanodep.example.com/hub\"",
        ),
        (
            line(NANODEP, "nanodep.example.com", "mdmenrollment.apple.com"),
            "another source (kind = \"apple-dep\")",
        ),
        (line(NANODEP, "https:", "http:"), "is not encrypted"),
        (
            asking(&[NANODEP, "expected_hosts = [\"https://mdm.example\"]\n"]),
            "is not a host name",
        ),
        (asking(&[NANODEP, "user_agent = \"a\"\n"]), "`user_agent`"),
        (
            line(MICROMDM, "example.com", "example.com/v1/dep/devices"),
            "write the API's: url = \"https://micromdm.example.com\"",
        ),
        (
            asking(&[MICROMDM, "expected_hosts = [\"mdm.example\"]\n"]),
            "`expected_hosts`",
        ),
        (asking(&[MICROMDM, "dep_name = \"a\"\n"]), "`dep_name`"),
        (
            asking(&[MICROMDM, "quota_share = 0.5\n"]),
            "micromdm tells none",
        ),
    ] {
        let shown = check(&text).unwrap_err().to_string();
        assert!(shown.contains(wanted), "{wanted} is not in:\n{shown}");
    }
    for url in [
        "http://127.0.0.1:9001",
        "https://hub.example/nanodep/",
        "https://nanodep.example.com:8443",
    ] {
        good(&line(NANODEP, "https://nanodep.example.com", url));
    }
    good(&line(NANODEP, "mdmserver1", "MDM server 1"));
}

#[test]
fn required_is_every_source_unless_said_otherwise() {
    let required = |text: &str| -> Vec<(SourceKind, bool)> {
        good(text)
            .policy
            .sources
            .iter()
            .map(|source| (source.kind, source.required))
            .collect()
    };
    let three = format!("{SMALLEST}{DEP}{BUSINESS}");
    assert_eq!(
        required(&three),
        [
            (SourceKind::Kandji, true),
            (SourceKind::AppleDep, true),
            (SourceKind::AppleBusiness, true)
        ]
    );
    let two = format!("{three}[verdict]\nrequire = [\"apple\", \"business\"]");
    assert_eq!(
        required(&two),
        [
            (SourceKind::Kandji, false),
            (SourceKind::AppleDep, true),
            (SourceKind::AppleBusiness, true)
        ]
    );
}

#[test]
fn the_verdict_section_reaches_every_part() {
    let text = format!(
        "{SMALLEST}[verdict]\ndeadline = \"1500ms\"\nmax_fetch_age = \"6h\"\nexpected_blueprints = [\"b1\"]\nsettle = \"0s\"\nrecheck = \"1s\"\nrecheck_for = \"2d\"\n"
    );
    let config = good(&text);
    assert_eq!(config.policy.deadline, Duration::from_millis(1500));
    assert_eq!(
        (
            config.policy.settle,
            config.policy.recheck,
            config.policy.recheck_for
        ),
        (
            Duration::ZERO,
            Duration::from_secs(1),
            Duration::from_hours(48)
        )
    );
    let readiness::Service::Kandji(settings) = &config.sources[0].service else {
        panic!("not Kandji")
    };
    assert_eq!(
        (
            settings.policy.max_fetch_age,
            settings.policy.expected_blueprints.as_slice()
        ),
        (Duration::from_hours(6), &["b1".to_owned()][..])
    );
}

#[test]
fn a_lane_overrides_the_station() {
    let text = with(&[
        ("[indicator]\ngreen = 17\nred = 27\n", LANES),
        ("name = \"left\"", "name = \"left\"\nlane = \"a\""),
    ]);
    let text = text.replacen("name = \"b\"", "name = \"b\"\nallow_returned = true", 1);
    let config = good(&text);
    assert_eq!(
        config
            .lanes
            .iter()
            .map(|lane| lane.policy.allow_returned)
            .collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(config.lanes[0].policy.hash, config.policy.hash);
    assert_ne!(config.lanes[1].policy.hash, config.policy.hash);
}

#[test]
fn the_policy_hash_names_the_effective_values() {
    let hash = |more: &str| {
        good(&format!("{SMALLEST}{DEP}[verdict]\n{more}\n"))
            .policy
            .hash
    };
    // It stands in records for years: another way of computing it would make old and new records incomparable.
    assert_eq!(hash(""), "d0cecb09");
    assert_eq!(
        hash(""),
        hash("settle = \"1m\"\nmin_grade = \"relayed\"\nrequire = [\"apple\", \"kandji\"]"),
        "a default that is written out changes nothing"
    );
    let others = [
        "settle = \"2m\"",
        "deadline = \"1s\"",
        "max_fetch_age = \"1h\"",
        "expected_blueprints = [\"x\"]",
        "allow_returned = true",
        "min_grade = \"apple\"",
        "require = [\"apple\"]",
        "recheck = \"1s\"",
        "recheck_for = \"1h\"",
    ];
    let mut seen = vec![hash("")];
    for other in others {
        assert!(!seen.contains(&hash(other)), "{other}");
        seen.push(hash(other));
    }
    assert!(
        seen.iter()
            .all(|hash| hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    );
}

#[test]
fn a_pi_can_name_its_station() {
    let options = Options {
        check_files: false,
        pi_serial: Some("10000000ABCD1234".to_owned()),
    };
    let config = parse(
        &with(&[("\"bench-1\"", "\"auto\"")]),
        "bench.toml",
        &options,
    )
    .unwrap();
    assert_eq!(
        (config.station.as_str(), config.mqtt.station.as_str()),
        ("pi-abcd1234", "pi-abcd1234")
    );
}

#[test]
fn a_device_without_a_folder_counts_among_the_stable_names() {
    let device = |kind: &str, device: &str| match &good(&with(&[(
        "name = \"left\"",
        &format!("name = \"left\"\nkind = \"{kind}\"\ndevice = \"{device}\""),
    )]))
    .scanners[0]
        .kind
    {
        scanners::ScannerKind::Hid { device, .. }
        | scanners::ScannerKind::Serial { device, .. } => device.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        device("hid", "usb-*-event-kbd"),
        scanners::DeviceFile::Path("/dev/input/by-id/usb-*-event-kbd".into())
    );
    assert_eq!(
        device("serial", "usb-Zebra*"),
        scanners::DeviceFile::Path("/dev/serial/by-id/usb-Zebra*".into())
    );
    assert_eq!(
        device("serial", "/dev/pts/3"),
        scanners::DeviceFile::Path("/dev/pts/3".into())
    );
    assert_eq!(device("serial", "auto"), scanners::DeviceFile::Auto);
}

#[test]
fn a_secret_is_told_where_it_belongs_and_a_page_which_api_is_meant() {
    let appended = |more: &str| format!("{SMALLEST}{more}");
    for (text, remedies) in [
        (
            with(&[(
                "url = \"https://acme",
                "token = \"hunter2\"\nurl = \"https://acme",
            )]),
            vec![
                "write it to /etc/benchlight/credentials/kandji-token (mode 0600), and here: token_credential = \"kandji-token\"",
                "make a new one",
            ],
        ),
        (
            appended("password = \"hunter2\"\nkey = \"hunter2\""),
            vec![
                "password_credential = \"mqtt-password\"",
                "client_key_credential = \"mqtt-key\"",
            ],
        ),
        (
            appended(&format!("{BUSINESS}private_key = \"hunter2\"")),
            vec!["key_credential = \"apple-business-key\""],
        ),
        (
            with(&[("acme.api.kandji.io", "acme.kandji.io/devices")]),
            vec!["url = \"https://acme.api.kandji.io\""],
        ),
        (
            with(&[("acme.api.kandji.io", "acme.eu.kandji.io")]),
            vec!["url = \"https://acme.api.eu.kandji.io\""],
        ),
        (
            with(&[("acme.api.kandji.io", "acme.iru.com")]),
            vec!["url = \"https://acme.api.iru.com\""],
        ),
        (
            with(&[("acme.api.kandji.io", "www.kandji.io")]),
            vec!["url = \"https://your-tenant.api.kandji.io\""],
        ),
        (
            with(&[("https://acme.api.kandji.io", "http://[::ffff:127.0.0.1]:1/")]),
            vec!["this machine is written 127.0.0.1"],
        ),
        (
            appended(&format!("{DEP}url = \"https://school.apple.com\"")),
            vec!["url = \"https://mdmenrollment.apple.com\""],
        ),
        (
            appended(&format!("{BUSINESS}url = \"https://school.apple.com\"")),
            vec!["url = \"https://api-school.apple.com/v1\""],
        ),
    ] {
        let shown = check(&text).unwrap_err().to_string();
        for remedy in remedies {
            assert!(
                shown.contains(remedy) && !shown.contains("hunter2"),
                "{remedy} is not in:\n{shown}"
            );
        }
    }
    // The API's own addresses, in every form that is known.
    for url in [
        "https://acme.api.kandji.io",
        "https://acme.api.eu.kandji.io/",
        "https://acme.api.iru.com",
        "https://mdm.example/kandji",
        "http://127.1:8080",
    ] {
        good(&with(&[("https://acme.api.kandji.io", url)]));
    }
    for url in [
        "https://api-business.apple.com/v1",
        "https://api-school.apple.com/v1/",
        "https://proxy.example/apple",
    ] {
        good(&appended(&format!("{BUSINESS}url = \"{url}\"")));
    }
}
