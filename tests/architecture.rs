//! The rules of the house, kept by reading the sources: who may import whom, which rooms are pure, where a vendor's crate is named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Rooms that nobody but the wiring, the config and the commands may name: they are where data ends.
const SINKS: [&str; 2] = ["indicator", "publisher"];
/// Rooms that collect or wire the others.
const WHOLE_HOUSE: [&str; 3] = ["config", "app", "cli"];
/// A simulator stands in for somebody else's service: it must not share the station's understanding of it.
const SIMULATOR_KNOWS: [&str; 2] = ["runtime", "label"];

/// Rooms and files without clock, I/O and async: (what they are, what their path begins with).
const PURE: [&str; 16] = [
    "runtime/visible.rs",
    "reason.rs",
    "label/",
    "verdict/",
    "record.rs",
    "record/",
    "health.rs",
    "station/core/",
    "station/waiting.rs",
    "station/status.rs",
    "indicator/signal.rs",
    "indicator/signal/",
    "scanner/framing.rs",
    "scanner/keymap.rs",
    "publisher/message.rs",
    "config/secrets.rs",
];

/// What a pure room may not say.
const IMPURE: [&str; 20] = [
    "async",
    "await",
    "tokio",
    "reqwest",
    "rusqlite",
    "tracing",
    "fs",
    "net",
    "io",
    "env",
    "thread",
    "process",
    "Instant",
    "SystemTime",
    "ClockWatch",
    "spawn",
    "sleep",
    "Mutex",
    "OsRng",
    "fastrand",
];

/// Where a vendor's crate may be named, when that is less than a whole room. Every other crate that is not in `HOUSEHOLD` may
/// be named in one room only.
const ONE_PLACE: [(&str, &[&str]); 16] = [
    ("rusqlite", &["journal/"]),
    ("rumqttc", &["publisher/"]),
    ("reqwest", &["readiness/http.rs", "readiness/http/"]),
    ("hyper", &["readiness/http.rs", "readiness/http/"]),
    ("evdev", &["scanner/hid.rs"]),
    ("serial2", &["scanner/serial.rs"]),
    ("rppal", &["indicator/rppal.rs"]),
    ("gpiocdev", &["indicator/gpiochip.rs"]),
    ("axum", &["simulator/"]),
    ("mqtt5", &["simulator/"]),
    ("toml", &["config/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("sd_notify", &["runtime/"]),
    ("rtime_clock", &["runtime/clock.rs"]),
];

/// Crates that are part of the language we write: named wherever they are needed.
const HOUSEHOLD: [&str; 18] = [
    "anyhow",
    "base64",
    "bytes",
    "fastrand",
    "jiff",
    "ring",
    "rustix",
    "rustls",
    "rustls_native_certs",
    "serde",
    "serde_json",
    "thiserror",
    "tokio",
    "tracing",
    "tracing_subscriber",
    "url",
    "uuid",
    "signal_hook",
];

/// What may not be serialised: each wire and storage format has types of its own.
const DOMAIN: [&str; 5] = [
    "reason.rs",
    "record.rs",
    "record/",
    "health.rs",
    "readiness/evidence.rs",
];

/// Rooms that start tasks or threads or make channels, besides the wiring, with the reason.
const STARTS_TASKS: [(&str, &str); 10] = [
    ("app/", "the wiring"),
    (
        "runtime/stream.rs",
        "nobody may wait for who reads standard error or standard output: a thread each",
    ),
    ("cli/", "a command may be its own wiring"),
    (
        "journal/",
        "its thread owns the file, and answers each caller",
    ),
    ("scanner/", "a device blocks its reader: a thread each"),
    (
        "indicator/",
        "a blocked lamp or terminal must not block the station: a thread each",
    ),
    (
        "publisher/",
        "the blocking reads of the journal, and the client's event loop",
    ),
    ("simulator/", "a server"),
    (
        "readiness/",
        "a look-up that several await outlives each of them",
    ),
    ("station/", "sources are asked side by side"),
];

/// Files of `readiness/` that read other JSON than replies: the door itself, and files of this machine.
const READS_OTHERS: [&str; 2] = ["readiness/http/json.rs", "readiness/http/host_time.rs"];

const LONGEST_FILE: usize = 750;
const BANNED_NAMES: [&str; 5] = ["utils", "common", "types", "helpers", "prelude"];

/// One source file: its path below `src`, and its text.
#[derive(Clone, Debug)]
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// `journal` for `journal/row.rs`, `reason` for `reason.rs`.
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap().trim_end_matches(".rs")
    }

    fn is_root(&self) -> bool {
        matches!(self.path.as_str(), "main.rs" | "lib.rs")
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// The code without comments, texts and tests, as words and single characters.
    fn tokens(&self) -> Vec<String> {
        without_tests(tokens(&self.text))
    }
}

/// Words (identifiers and numbers) and single characters of Rust code, without comments and the content of texts.
fn tokens(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut tokens = Vec::new();
    let mut index = 0;
    while index < characters.len() {
        match at(index) {
            '/' if at(index + 1) == '/' => {
                while index < characters.len() && at(index) != '\n' {
                    index += 1;
                }
            }
            '/' if at(index + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(index), at(index + 1)) {
                        ('/', '*') => (depth, index) = (depth + 1, index + 2),
                        ('*', '/') => (depth, index) = (depth - 1, index + 2),
                        _ => index += 1,
                    }
                    if depth == 0 || index >= characters.len() {
                        break;
                    }
                }
            }
            'r' | 'b' | 'c'
                if raw_hashes(&characters, index).is_some()
                    && !index
                        .checked_sub(1)
                        .is_some_and(|before| is_word(at(before))) =>
            {
                let (hashes, mut inside) = raw_hashes(&characters, index).unwrap();
                let closes = |inside: usize| {
                    at(inside) == '"' && (1..=hashes).all(|hash| at(inside + hash) == '#')
                };
                while inside < characters.len() && !closes(inside) {
                    inside += 1;
                }
                index = inside + hashes + 1;
            }
            '"' => {
                index += 1;
                while index < characters.len() && at(index) != '"' {
                    index += if at(index) == '\\' { 2 } else { 1 };
                }
                index += 1;
            }
            // A character, not a lifetime: 'a' ends with a quote, '\n' begins with a backslash.
            '\'' if at(index + 1) == '\\' => {
                index += 3;
                while index < characters.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
            }
            '\'' if at(index + 2) == '\'' => index += 3,
            character if is_word(character) => {
                let start = index;
                while is_word(at(index)) {
                    index += 1;
                }
                tokens.push(characters.get(start..index).unwrap().iter().collect());
            }
            character => {
                if !character.is_whitespace() {
                    tokens.push(character.to_string());
                }
                index += 1;
            }
        }
    }
    tokens
}

/// For `r#"`, `br"` and the like: the number of `#` and where the text begins.
fn raw_hashes(characters: &[char], index: usize) -> Option<(usize, usize)> {
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let mut here = index;
    if matches!(at(here), 'b' | 'c') {
        here += 1;
    }
    if at(here) != 'r' {
        return None;
    }
    here += 1;
    let start = here;
    while at(here) == '#' {
        here += 1;
    }
    (at(here) == '"').then_some((here - start, here + 1))
}

/// Drops every item behind `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let here = tokens.get(index..).unwrap();
        if here.len() >= MARK.len() && here.iter().zip(MARK).all(|(token, mark)| token == mark) {
            index += MARK.len() + item_length(here.get(MARK.len()..).unwrap());
        } else {
            kept.push(tokens.get(index).unwrap().clone());
            index += 1;
        }
    }
    kept
}

/// How many tokens an item has: up to its `;`, or to the end of its braces.
fn item_length(tokens: &[String]) -> usize {
    let mut depth = 0_i32;
    for (index, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth -= 1;
                if depth == 0 && token == "}" {
                    return index + 1;
                }
            }
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The rooms that code imports: `crate::room` and `crate::{room, ..}`.
fn imported_rooms(tokens: &[String]) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (index, window) in tokens.windows(4).enumerate() {
        let [first, colon, other_colon, next] = window else {
            continue;
        };
        if first != "crate" || colon != ":" || other_colon != ":" {
            continue;
        }
        if next != "{" {
            rooms.insert(next.clone());
            continue;
        }
        let mut depth = 0;
        let mut at_start = true;
        for token in tokens.get(index + 3..).unwrap() {
            match token.as_str() {
                "{" => {
                    depth += 1;
                    at_start = depth == 1;
                }
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                "," => at_start = depth == 1,
                name => {
                    if depth == 1 && at_start {
                        rooms.insert(name.to_owned());
                    }
                    at_start = false;
                }
            }
        }
    }
    rooms
}

/// Is the crate named: `name::` or `use name;`? A module of our own with the same name does not count.
fn names_crate(tokens: &[String], name: &str) -> bool {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token == text);
    let ours = tokens
        .windows(2)
        .any(|pair| matches!(pair, [first, second] if first == "mod" && second == name))
        || imported_from_here(tokens, name);
    tokens.iter().enumerate().any(|(index, token)| {
        let path_goes_on = is(index + 1, ":") && is(index + 2, ":");
        let whole_use =
            index > 0 && is(index - 1, "use") && (is(index + 1, ";") || is(index + 1, "as"));
        let before_path = index
            .checked_sub(3)
            .and_then(|before| tokens.get(before))
            .filter(|_| is(index - 1, ":") && is(index - 2, ":"));
        let inside_path = before_path.is_some_and(|before| {
            before != "use"
                && before
                    .chars()
                    .all(|character| character.is_alphanumeric() || character == '_')
        });
        token == name && (path_goes_on || whole_use) && !inside_path && !ours
    })
}

/// Does a `use` of `super`, `self` or `crate` bring that name in?
fn imported_from_here(tokens: &[String], name: &str) -> bool {
    let starts = tokens
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| matches!(pair, [first, second] if first == "use" && matches!(second.as_str(), "super" | "self" | "crate")));
    starts.into_iter().any(|(index, _)| {
        tokens
            .get(index..)
            .unwrap()
            .iter()
            .take_while(|token| *token != ";")
            .any(|token| token == name)
    })
}

/// Everything that breaks a rule, each as one sentence.
fn violations(sources: &[Source], crates: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let order = rooms_in_order(sources);
    let code: Vec<(&Source, Vec<String>)> = sources
        .iter()
        .filter(|source| !is_test(source, sources))
        .map(|source| (source, source.tokens()))
        .collect();

    // Who may import whom.
    let mut graph: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (source, tokens) in code.iter().filter(|(source, _)| !source.is_root()) {
        let room = source.room();
        let place = |name: &str| order.iter().position(|listed| listed == name);
        for other in imported_rooms(tokens)
            .into_iter()
            .filter(|other| other != room && place(other).is_some())
        {
            let whole_house = WHOLE_HOUSE.contains(&room);
            if !whole_house && WHOLE_HOUSE.contains(&other.as_str()) {
                found.push(format!(
                    "{} imports `{other}`: a part never does",
                    source.path
                ));
            } else if !whole_house && SINKS.contains(&other.as_str()) {
                found.push(format!("{} imports the sink `{other}`", source.path));
            } else if room == "simulator" && !SIMULATOR_KNOWS.contains(&other.as_str()) {
                found.push(format!(
                    "{} imports `{other}`: a simulator knows {SIMULATOR_KNOWS:?} only",
                    source.path
                ));
            } else if place(&other) > place(room) {
                found.push(format!(
                    "{} imports `{other}`, which is downstream of it",
                    source.path
                ));
            }
            graph.entry(room).or_default().insert(other);
        }
    }
    if let Some(ring) = ring(&graph) {
        found.push(format!("imports go in a ring: {}", ring.join(" -> ")));
    }

    // The map.
    let rooms: BTreeSet<&str> = sources
        .iter()
        .filter(|source| !source.is_root())
        .map(Source::room)
        .collect();
    for room in rooms
        .iter()
        .filter(|room| !order.iter().any(|listed| listed == *room))
    {
        found.push(format!("`{room}` is not on the map in lib.rs"));
    }

    for (source, tokens) in &code {
        let has = |word: &str| tokens.iter().any(|token| token == word);
        // Purity.
        if source.is_in(&PURE) {
            for word in IMPURE.iter().filter(|word| has(word)) {
                found.push(format!("{} is pure and says `{word}`", source.path));
            }
            for clock in ["Timestamp", "Zoned", "Boot", "Moment"] {
                if tokens.windows(4).any(|window| matches!(window, [first, _, _, last] if first == clock && last == "now")) {
                    found.push(format!("{} is pure and asks the clock ({clock}::now)", source.path));
                }
            }
        }
        // A green light rests on a record that was committed and synced.
        if !source.is_in(&["journal/", "record.rs", "publisher/samples.rs"])
            && tokens
                .windows(4)
                .any(|window| matches!(window, [first, _, _, last] if first == "Recorded" && last == "committed"))
        {
            found.push(format!("{} says that a record is on disk: only the journal knows", source.path));
        }
        // Serialising.
        if source.is_in(&DOMAIN) && (has("serde") || has("Serialize") || has("Deserialize")) {
            found.push(format!("{} serialises the domain", source.path));
        }
        // Replies.
        if source.path.starts_with("readiness/") {
            let attribute = |word: &str| {
                tokens.windows(2).any(|pair| matches!(pair, [first, second] if second == word && first != "." && first != ":"))
            };
            for word in ["untagged", "flatten"]
                .into_iter()
                .filter(|word| attribute(word))
                .chain(["from_slice"].into_iter().filter(|word| has(word)))
            {
                if !READS_OTHERS.contains(&source.path.as_str()) {
                    found
                        .push(format!("{} says `{word}`: a reply's JSON is read by the door alone, where no array passes for a struct", source.path));
                }
            }
        }
        // Tasks.
        let starts = ["spawn", "spawn_blocking", "unbounded_channel", "channel"]
            .into_iter()
            .find(|word| {
                tokens
                    .windows(2)
                    .any(|pair| matches!(pair, [first, second] if first == word && second == "("))
            });
        if let Some(word) = starts.filter(|_| !source.is_in(&STARTS_TASKS.map(|(place, _)| place)))
        {
            found.push(format!(
                "{} starts a task or makes a channel (`{word}`): the wiring is in app/",
                source.path
            ));
        }
        // Form.
        let lines = source_lines(source);
        if lines > LONGEST_FILE {
            found.push(format!(
                "{} has {lines} lines without its tests, more than {LONGEST_FILE}",
                source.path
            ));
        }
        let first = source.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") || !first.ends_with(['.', ':']) {
            found.push(format!(
                "{} does not open with one plain sentence (//! ..)",
                source.path
            ));
        }
        if let Some(name) = BANNED_NAMES.iter().find(|name| {
            source
                .path
                .split('/')
                .any(|part| part.trim_end_matches(".rs") == **name)
        }) {
            found.push(format!(
                "{}: `{name}` says nothing about what is in it",
                source.path
            ));
        }
    }

    // Vendors.
    for name in crates {
        let places: Vec<&Source> = code
            .iter()
            .filter(|(_, tokens)| names_crate(tokens, name))
            .map(|(source, _)| *source)
            .collect();
        match ONE_PLACE.iter().find(|(listed, _)| listed == name) {
            Some((_, allowed)) => {
                for source in places.iter().filter(|source| !source.is_in(allowed)) {
                    found.push(format!(
                        "{} names the crate `{name}`, which belongs to {allowed:?}",
                        source.path
                    ));
                }
            }
            None if HOUSEHOLD.contains(&name.as_str()) => {}
            None => {
                let rooms: BTreeSet<&str> = places.iter().map(|source| source.room()).collect();
                if rooms.len() > 1 {
                    found.push(format!(
                        "the crate `{name}` is named in several rooms: {rooms:?}"
                    ));
                }
            }
        }
    }
    found
}

/// The modules as lib.rs lists them: upstream first.
fn rooms_in_order(sources: &[Source]) -> Vec<String> {
    let Some(map) = sources.iter().find(|source| source.path == "lib.rs") else {
        return Vec::new();
    };
    let tokens = map.tokens();
    tokens
        .windows(2)
        .filter(|pair| matches!(pair, [first, _] if first == "mod"))
        .map(|pair| pair.last().unwrap().clone())
        .collect()
}

/// Is the file a test's, by its name or because its parent declares it behind `#[cfg(test)]`?
fn is_test(source: &Source, sources: &[Source]) -> bool {
    let parts: Vec<&str> = source.path.trim_end_matches(".rs").split('/').collect();
    if parts.contains(&"tests") {
        return true;
    }
    let (name, parents) = parts.split_last().unwrap();
    let parent = parents.join("/");
    let declares = |text: &str| {
        let all = tokens(text);
        let real = without_tests(all.clone());
        let count = |tokens: &[String]| {
            tokens.windows(3).filter(|window| matches!(window, [first, second, third] if first == "mod" && second == name && third == ";")).count()
        };
        count(&all) > count(&real)
    };
    let places = if parent.is_empty() {
        vec!["lib.rs".to_owned()]
    } else {
        vec![format!("{parent}/mod.rs"), format!("{parent}.rs")]
    };
    sources
        .iter()
        .filter(|other| places.contains(&other.path))
        .any(|other| declares(&other.text))
}

/// Lines before the tests at the end of the file.
fn source_lines(source: &Source) -> usize {
    let lines: Vec<&str> = source.text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| matches!(pair, [first, second] if *first == "#[cfg(test)]" && second.starts_with("mod ") && second.ends_with('{')));
    tests.unwrap_or(lines.len())
}

/// A ring in the graph, if there is one.
fn ring(graph: &BTreeMap<&str, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk(
        graph: &BTreeMap<&str, BTreeSet<String>>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        let here = path.last().unwrap().clone();
        for next in graph.get(here.as_str()).into_iter().flatten() {
            if let Some(start) = path.iter().position(|earlier| earlier == next) {
                path.drain(..start);
                path.push(next.clone());
                return true;
            }
            if !done.contains(next) {
                path.push(next.clone());
                if walk(graph, path, done) {
                    return true;
                }
                path.pop();
            }
        }
        done.insert(here);
        false
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| {
        let mut path = vec![(*start).to_owned()];
        walk(graph, &mut path, &mut done).then_some(path)
    })
}

fn read_sources(folder: &Path, below: &str, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            read_sources(&path, &format!("{below}{name}/"), sources);
        } else if name.ends_with(".rs") {
            sources.push(Source::new(
                &format!("{below}{name}"),
                &fs::read_to_string(&path).unwrap(),
            ));
        }
    }
}

/// The crates of `[dependencies]`, as code names them.
fn crates_of(manifest: &str) -> Vec<String> {
    let section = manifest.split_once("\n[dependencies]\n").unwrap().1;
    let section = section
        .split_once("\n[")
        .map_or(section, |(section, _)| section);
    section
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .collect()
}

#[test]
fn the_house_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    read_sources(&root.join("src"), "", &mut sources);
    assert!(sources.len() > 50, "only {} files found", sources.len());
    let crates = crates_of(&fs::read_to_string(root.join("Cargo.toml")).unwrap());
    assert!(crates.contains(&"sd_notify".to_owned()), "{crates:?}");
    let found = violations(&sources, &crates);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_drawn_map_lists_every_room_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    read_sources(&root.join("src"), "", &mut sources);
    let map = fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
    let drawn: Vec<String> = map
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(room, _)| {
            room.trim_end_matches('/')
                .trim_end_matches(".rs")
                .to_owned()
        })
        .collect();
    assert_eq!(drawn, rooms_in_order(&sources));
}

#[test]
fn each_rule_can_be_broken() {
    let house = [(
        "lib.rs",
        "//! The map.\npub mod runtime;\npub mod label;\npub mod station;\npub mod indicator;\npub mod simulator;\npub mod config;\npub mod cli;\n",
    )];
    let planted: &[(&str, &str, &str)] = &[
        (
            "station/mod.rs",
            "use crate::config::Config;",
            "station/mod.rs imports `config`: a part never does",
        ),
        (
            "station/mod.rs",
            "use crate::{label, indicator::State};",
            "station/mod.rs imports the sink `indicator`",
        ),
        (
            "label/mod.rs",
            "use crate::{runtime::{name, clock}, station};",
            "label/mod.rs imports `station`, which is downstream of it",
        ),
        (
            "simulator/mod.rs",
            "use crate::station;",
            "simulator/mod.rs imports `station`: a simulator knows [\"runtime\", \"label\"] only",
        ),
        (
            "station/mod.rs",
            "fn f() { Recorded::committed(epoch, 1, record) }",
            "station/mod.rs says that a record is on disk: only the journal knows",
        ),
        ("attic.rs", "", "`attic` is not on the map in lib.rs"),
        (
            "readiness/wire.rs",
            "#[serde(untagged)] enum Page {}",
            "readiness/wire.rs says `untagged`: a reply's JSON is read by the door alone, where no array passes for a struct",
        ),
        (
            "label/mod.rs",
            "async fn read() {}",
            "label/mod.rs is pure and says `async`",
        ),
        (
            "station/core/mod.rs",
            "fn now() -> Boot { Boot::now() }",
            "station/core/mod.rs is pure and asks the clock (Boot::now)",
        ),
        (
            "record.rs",
            "#[derive(Serialize)] struct Record;",
            "record.rs serialises the domain",
        ),
        (
            "config/mod.rs",
            "fn go() { tokio::spawn(work()); }",
            "config/mod.rs starts a task or makes a channel (`spawn`): the wiring is in app/",
        ),
        (
            "config/utils.rs",
            "",
            "config/utils.rs: `utils` says nothing about what is in it",
        ),
        (
            "station/mod.rs",
            "use rusqlite::Connection;",
            "station/mod.rs names the crate `rusqlite`, which belongs to [\"journal/\"]",
        ),
        (
            "station/mod.rs",
            "fn pins() -> ::rppal::Gpio {}",
            "station/mod.rs names the crate `rppal`, which belongs to [\"indicator/rppal.rs\"]",
        ),
    ];
    let crates = ["rusqlite", "rppal", "tokio", "csv"].map(str::to_owned);
    let judge = |files: &[(&str, String)]| -> Vec<String> {
        let sources: Vec<Source> = house
            .iter()
            .map(|(path, text)| (*path, (*text).to_owned()))
            .chain(files.iter().cloned())
            .map(|(path, text)| Source::new(path, &text))
            .collect();
        violations(&sources, &crates)
    };
    for (path, code, expected) in planted {
        let found = judge(&[(path, format!("//! A room.\n{code}\n"))]);
        assert!(
            found.iter().any(|sentence| sentence == expected),
            "{code} was not found: {found:?}"
        );
        // The same in a comment, a text or a test breaks nothing.
        if !code.is_empty() {
            let hidden = format!(
                "//! A room.\n// {code}\n/* {code} */\nconst TEXT: &str = r#\"{code}\"#;\n#[cfg(test)]\nmod tests {{\n{code}\n}}\n"
            );
            let found: Vec<String> = judge(&[(path, hidden)])
                .into_iter()
                .filter(|sentence| sentence == expected && !sentence.contains("utils"))
                .collect();
            assert!(found.is_empty(), "{found:?}");
        }
    }
    let ring = judge(&[
        ("runtime/mod.rs", "//! A.\nuse crate::label;\n".to_owned()),
        ("label/mod.rs", "//! B.\nuse crate::runtime;\n".to_owned()),
    ]);
    assert!(
        ring.iter()
            .any(|sentence| sentence.starts_with("imports go in a ring: ")),
        "{ring:?}"
    );
    let long = judge(&[(
        "runtime/mod.rs",
        format!(
            "//! Long.\n{}#[cfg(test)]\nmod tests {{\n}}\n",
            "fn f() {}\n".repeat(LONGEST_FILE)
        ),
    )]);
    assert_eq!(
        long,
        ["runtime/mod.rs has 751 lines without its tests, more than 750"]
    );
    let spread = judge(&[
        ("label/mod.rs", "//! A.\nuse csv::Writer;\n".to_owned()),
        ("runtime/mod.rs", "//! B.\nuse csv;\n".to_owned()),
    ]);
    assert_eq!(
        spread,
        ["the crate `csv` is named in several rooms: {\"label\", \"runtime\"}"]
    );
    let unopened = judge(&[("runtime/mod.rs", "fn f() {}\n".to_owned())]);
    assert_eq!(
        unopened,
        ["runtime/mod.rs does not open with one plain sentence (//! ..)"]
    );
}

#[test]
fn code_is_read_without_its_comments_texts_and_tests() {
    let code = "// crate::a\nuse crate::b; /* crate::c /* nested */ */ let x = \"crate::d \\\" crate::e\"; let y = r#\"crate::f \" \"#; let z = '\"'; let q = '\\''; fn f<'a>(x: &'a str) { crate::g(); }";
    assert_eq!(
        imported_rooms(&tokens(code))
            .into_iter()
            .collect::<Vec<_>>(),
        ["b", "g"]
    );
    let tested = "use crate::a; #[cfg(test)] mod tests { use crate::b; fn f() { {} } } use crate::c; #[cfg(test)] mod t; use crate::d;";
    assert_eq!(
        imported_rooms(&without_tests(tokens(tested)))
            .into_iter()
            .collect::<Vec<_>>(),
        ["a", "c", "d"]
    );
    let nested = "use crate::{a::{x, y}, b, c::z};";
    assert_eq!(
        imported_rooms(&tokens(nested))
            .into_iter()
            .collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    assert!(!names_crate(
        &tokens("use super::{gpiochip, rppal}; fn f() { rppal::open() }"),
        "rppal"
    ));
    assert!(!names_crate(&tokens("super::rppal::open()"), "rppal"));
    assert!(names_crate(&tokens("rppal::open()"), "rppal"));
}
