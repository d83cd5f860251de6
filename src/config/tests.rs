//! The config's promises: all problems at once with place and remedy, every rule, every default.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod anything;
mod files;
mod fleet_and_zentral;
mod intune;
mod jamf;
mod rules;
mod shipped;

use std::fs;

use super::*;

/// The smallest config that is good.
const SMALLEST: &str = r#"[station]
site = "ams1"
name = "bench-1"
[[scanner]]
name = "left"
[indicator]
green = 17
red = 27
[[source]]
name = "kandji"
kind = "kandji"
url = "https://acme.api.kandji.io"
[mqtt]
url = "mqtts://broker.example"
"#;

const NANODEP: &str = "[[source]]\nname = \"nanodep\"\nkind = \"nanodep\"\nurl = \"https://nanodep.example.com\"\ndep_name = \"mdmserver1\"\n";
const MICROMDM: &str = "[[source]]\nname = \"micromdm\"\nkind = \"micromdm\"\nurl = \"https://micromdm.example.com\"\n";

/// `SMALLEST` with these sources in the place of its own.
fn asking(sources: &[&str]) -> String {
    let (head, _) = SMALLEST.split_once("[[source]]").unwrap();
    let (_, rest) = SMALLEST.split_once("[mqtt]").unwrap();
    format!("{head}[mqtt]{rest}\n{}", sources.concat())
}

fn check(text: &str) -> Result<Config, Problems> {
    parse(text, "bench.toml", &Options::text_only())
}

fn good(text: &str) -> Config {
    check(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// Each problem as `line: message`.
fn problems(text: &str) -> Vec<String> {
    match check(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .lines()
            .zip(problems.list())
            .map(|(line, problem)| format!("{}: {}", line.unwrap_or_default(), problem.message()))
            .collect(),
    }
}

#[test]
fn the_smallest_config_has_every_default() {
    let config = good(SMALLEST);
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(
        (config.site.as_str(), config.station.as_str()),
        ("ams1", "bench-1")
    );
    assert_eq!(config.state_dir, Path::new("/var/lib/benchlight"));
    assert_eq!(config.lanes.len(), 1);
    assert_eq!(config.lanes[0].name.as_str(), "main");
    assert_eq!(config.scanners[0].lane.as_str(), "main");
    assert_eq!(config.lanes[0].policy, config.policy);
    assert!(config.policy.sources[0].required);
    assert_eq!(config.mqtt.url.as_str(), "mqtts://broker.example:8883");
}

#[test]
fn a_config_with_ten_mistakes_shows_ten_problems() {
    let text = r#"[station]
site = "AMS 1"
naem = "bench-1"

[[scanner]]
name = "left"
kind = "bluetooth"

[[scanner]]
name = "right"
lane = "rihgt"
pause = 80

[[lane]]
name = "right"

[indicator]
green = 17
red = 17
ready_hold = "3 seconds"

[[source]]
name = "kandji"
kind = "kandji"
url = "http://acme.api.kandji.io"

[mqtt]
url = "mqtt://broker.example"
keepalive = "30s"
"#;
    let shown = check(text).unwrap_err().to_string();
    assert_eq!(
        shown,
        r#"bench.toml:1:1: `name` is missing in [station]
1 | [station]
  | ^^^^^^^^^
  = write for example: name = "bench-1"

bench.toml:2:8: "AMS 1" is not a name: use 1 to 32 characters of a-z, 0-9 and -
2 | site = "AMS 1"
  |        ^^^^^^^
  = write for example: site = "ams1"

bench.toml:3:1: unknown key `naem` in [station]
3 | naem = "bench-1"
  | ^^^^
  = did you mean `name`?

bench.toml:7:8: "bluetooth" is not in this build
7 | kind = "bluetooth"
  |        ^^^^^^^^^^^
  = use one of `hid`, `serial`, `stdin`, `tcp`, `web`

bench.toml:11:8: there is no lane "rihgt"
11 | lane = "rihgt"
   |        ^^^^^^^
   = did you mean `right`? the lanes are `right`; another one needs a [[lane]] of its own

bench.toml:12:9: `pause` is a duration, found a whole number
12 | pause = 80
   |         ^^
   = write for example: pause = "80ms"

bench.toml:19:7: `red` is on the same pin as `green`
19 | red = 17
   |       ^^
   = give each lamp a pin of its own

bench.toml:20:14: `ready_hold` is not a duration
20 | ready_hold = "3 seconds"
   |              ^^^^^^^^^^^
   = use a whole number with ms, s, m, h or d, such as "3s"

bench.toml:25:7: http:// is not encrypted, and the service is not on this machine
25 | url = "http://acme.api.kandji.io"
   |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = use https://

bench.toml:28:7: mqtt:// is not encrypted, and the broker is not on this machine
28 | url = "mqtt://broker.example"
   |       ^^^^^^^^^^^^^^^^^^^^^^^
   = use mqtts://, or say allow_plaintext = true

bench.toml:29:1: unknown key `keepalive` in [mqtt]
29 | keepalive = "30s"
   | ^^^^^^^^^
   = did you mean `keep_alive`?

11 problems in bench.toml"#
    );
}

#[test]
fn an_empty_file_is_told_everything_it_needs_with_examples() {
    let text = check("").unwrap_err().to_string();
    for example in ["[station]", "[[scanner]]", "[[source]]", "[mqtt]"] {
        assert!(
            text.contains(&format!("write for example:\n    {example}")),
            "{text}"
        );
    }
    assert!(text.ends_with("4 problems in bench.toml"), "{text}");
}

#[test]
fn the_examples_in_the_remedies_are_good() {
    let problems = check("").unwrap_err();
    let examples: Vec<&str> = problems
        .list()
        .iter()
        .map(|problem| problem.remedy().split_once('\n').unwrap().1)
        .collect();
    assert_eq!(
        good(&examples.join("\n")).warnings.len(),
        1,
        "no [indicator]"
    );
}

#[test]
fn a_syntax_error_is_shown_like_any_other_problem() {
    let text = SMALLEST
        .replace("green = 17", "green = 17x")
        .replace("site = \"ams1\"", "site = \"ams1\"\nstte = 1");
    let shown = check(&text).unwrap_err().to_string();
    assert_eq!(
        shown,
        r#"bench.toml:3:1: unknown key `stte` in [station]
3 | stte = 1
  | ^^^^
  = did you mean `site`?

bench.toml:8:9: not TOML: string values must be quoted, expected literal string
8 | green = 17x
  |         ^^^
  = put the value into double quotes: ".."

2 problems in bench.toml"#
    );
}

#[test]
fn what_is_good_of_a_bad_config_can_be_read_lamps_of_a_misnamed_lane_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.toml");
    let lane = "[[lane]]\nname = \"Left!\"\nindicator = { kind = \"terminal\" }\n";
    fs::write(&path, format!("{lane}{SMALLEST}")).unwrap();
    let readable = load_readable(&path, false).unwrap();
    assert!(readable.problems.is_some());
    assert!(
        matches!(
            readable.lamps.as_slice(),
            [(None, lamps::Settings::Terminal { .. })]
        ),
        "{:?}",
        readable.lamps
    );
    // Whether a credential is there is asked only of whoever needs it.
    fs::write(&path, SMALLEST).unwrap();
    assert_eq!(
        load_readable(&path, false)
            .unwrap()
            .problems
            .map(|problems| problems.to_string()),
        None
    );
    assert!(
        load_readable(&path, true)
            .unwrap()
            .problems
            .unwrap()
            .to_string()
            .contains("credential")
    );
}

#[test]
fn a_file_that_is_no_config_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(&folder.path().join("nowhere.toml")).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("nowhere.toml: cannot be read: No such file"),
        "{missing}"
    );
    let is_folder = load(folder.path()).unwrap_err();
    assert!(
        is_folder.to_string().contains("is not a file"),
        "{is_folder}"
    );
    let binary = folder.path().join("binary.toml");
    fs::write(&binary, b"[station]\n\xff\n").unwrap();
    assert!(
        load(&binary)
            .unwrap_err()
            .to_string()
            .contains("is not UTF-8 text (line 2)")
    );
}
