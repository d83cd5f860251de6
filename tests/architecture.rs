//! The rules of the house, kept by reading the sources: who may import whom, what is pure, where a vendor's crate is named.
//!
//! The rules are about words, inside macros too. So the sources are read as tokens and not parsed further.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    iter::Peekable,
    path::Path,
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree, token_stream::IntoIter};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Rooms that nobody but the wiring, the config and the commands may name: they are where data ends.
const SINKS: [&str; 3] = ["indicator", "publisher", "web"];
/// The page shows what the lamps show and says what the messages say: so it names these parts of the other sinks.
const SHOWS_ALIKE: (&str, [&str; 3]) = (
    "web",
    [
        "indicator::signal",
        "publisher::State",
        "publisher::message",
    ],
);
/// Rooms that collect or wire the others.
const WHOLE_HOUSE: [&str; 3] = ["config", "app", "cli"];
/// A simulator stands in for somebody else's service: it must not share the station's understanding of it.
const SIMULATOR_KNOWS: [&str; 2] = ["runtime", "simulator"];
/// The simulators in the services' folders.
const SIMULATORS: &str = "*/simulator/";

/// What a pure file may not say, besides `::now`: it has no clock, no I/O, no random numbers and no `async`.
const IMPURE: [&str; 23] = [
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
    "elapsed (",
    "SystemTime",
    "ClockWatch",
    "spawn",
    "sleep",
    "Mutex",
    "OsRng",
    "SystemRandom",
    "fastrand",
    "new_v4",
    "now_v7",
];
/// The type alone is pure: the caller passes the time in.
const HANDED_IN: &str = "tokio :: time :: Instant";

/// Where a vendor's crate may be named, when that is less than a whole room. Every other crate that is not in `HOUSEHOLD` may
/// be named in one room only.
const ONE_PLACE: [(&str, &[&str]); 17] = [
    ("rusqlite", &["journal/", "readiness/replica/store"]),
    ("rumqttc", &["publisher/"]),
    ("reqwest", &["readiness/http.rs", "readiness/http/"]),
    ("hyper", &["readiness/http.rs", "readiness/http/", "web/"]),
    ("hyper_util", &["web/"]),
    ("evdev", &["scanner/hid.rs"]),
    ("serial2", &["scanner/serial.rs"]),
    ("rppal", &["indicator/rppal.rs"]),
    ("gpiocdev", &["indicator/gpiochip.rs"]),
    ("axum", &["simulator/", SIMULATORS, "web/"]),
    ("mqtt5", &["cli/demo/"]),
    ("toml", &["config/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("sd_notify", &["runtime/"]),
    ("rtime_clock", &["runtime/clock.rs"]),
];

/// Crates that are part of the language we write: named wherever they are needed.
const HOUSEHOLD: [&str; 19] = [
    "anyhow",
    "base64",
    "bytes",
    "fastrand",
    "futures_util",
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

/// Who may say that a record is on disk: a green light rests on it.
const SAYS_COMMITTED: [&str; 3] = ["journal/", "record.rs", "publisher/samples.rs"];

/// What may not be serialised: each wire and storage format has types of its own.
const DOMAIN: [&str; 5] = [
    "reason.rs",
    "record.rs",
    "record/",
    "health.rs",
    "readiness/evidence.rs",
];

/// Rooms that start tasks or threads or make channels, besides the wiring, with the reason.
const STARTS_TASKS: [(&str, &str); 12] = [
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
    ("web/", "a server, and the journal is read beside it"),
    ("simulator/", "a server"),
    (
        "readiness/",
        "a look-up that several await outlives each of them",
    ),
    (
        "readiness/replica/store",
        "its thread owns the replica's file: a bulk write must make nobody wait",
    ),
    ("station/", "sources are asked side by side"),
];

/// Files of `readiness/` that read other JSON than replies: the door itself, and files of this machine.
const READS_OTHERS: [&str; 2] = ["readiness/http/json.rs", "readiness/http/host_time.rs"];

/// Lines without the tests.
const LONGEST_FILE: usize = 600;
/// How many names may stand for another in a row.
const STEPS: u8 = 8;
const BANNED_NAMES: [&str; 5] = ["utils", "common", "types", "helpers", "prelude"];

/// One source file.
struct Source {
    /// Below `src`.
    path: String,
    /// `journal::row` for `journal/row.rs`, `journal` for `journal/mod.rs`, nothing for `lib.rs`.
    module: String,
    text: String,
    code: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let module = path.trim_end_matches("lib.rs").trim_end_matches(".rs");
        let tokens = text.parse();
        Self {
            path: path.to_owned(),
            module: module.trim_end_matches("/mod").replace('/', "::"),
            text: text.to_owned(),
            code: words(tokens.unwrap_or_else(|error| panic!("{path}: {error}"))),
        }
    }

    /// `journal` for `journal/row.rs`, `reason` for `reason.rs`.
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap().trim_end_matches(".rs")
    }

    fn is_root(&self) -> bool {
        matches!(self.path.as_str(), "main.rs" | "lib.rs")
    }

    /// A place is what a path begins with, or behind a `*` what it contains.
    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| match place.strip_prefix('*') {
            Some(part) => self.path.contains(part),
            None => self.path.starts_with(place),
        })
    }

    /// The module of the simulator that the file belongs to.
    fn simulator(&self) -> Option<&str> {
        let end = self.module.find("simulator")? + "simulator".len();
        (self.room() == "simulator" || self.is_in(&[SIMULATORS])).then(|| &self.module[..end])
    }

    /// Does the code say these words, one after the other?
    fn says(&self, wanted: &str) -> bool {
        let wanted: Vec<&str> = wanted.split(' ').collect();
        self.code.windows(wanted.len()).any(|here| here == wanted)
    }

    /// Does the file's own description call it pure?
    fn calls_itself_pure(&self) -> bool {
        let lines = self.text.lines().map_while(|line| line.strip_prefix("//!"));
        lines.into_iter().any(|line| {
            let mut words = line.split(|character: char| !character.is_alphanumeric());
            words.any(|word| word.eq_ignore_ascii_case("pure"))
        })
    }

    /// The lines without the tests that stand in the file.
    fn length(&self) -> usize {
        let mut lines = self.text.lines().peekable();
        let mut length = 0;
        while let Some(line) = lines.next() {
            let opens_tests = |next: &&str| next.starts_with("mod ") && next.ends_with('{');
            if line == "#[cfg(test)]" && lines.peek().is_some_and(opens_tests) {
                lines.by_ref().find(|line| *line == "}");
            } else {
                length += 1;
            }
        }
        length
    }
}

/// The tokens in order, brackets included, without comments and tests. A string or a number is `0`.
fn words(code: TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    let mut trees = code.into_iter().peekable();
    while let Some(tree) = trees.next() {
        match (&tree, trees.peek()) {
            (TokenTree::Punct(hash), Some(TokenTree::Group(attribute)))
                if hash.as_char() == '#' && is_cfg_test(attribute) =>
            {
                skip_item(&mut trees);
            }
            (TokenTree::Punct(first), Some(TokenTree::Punct(second)))
                if (first.as_char(), second.as_char()) == (':', ':') =>
            {
                words.push("::".to_owned());
                trees.next();
            }
            (TokenTree::Group(group), _) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Parenthesis | Delimiter::None => ("(", ")"),
                };
                words.push(open.to_owned());
                words.extend(self::words(group.stream()));
                words.push(close.to_owned());
            }
            (TokenTree::Literal(_), _) => words.push("0".to_owned()),
            _ => words.push(tree.to_string().trim_start_matches("r#").to_owned()),
        }
    }
    words
}

fn is_cfg_test(attribute: &Group) -> bool {
    attribute.to_string().replace(' ', "") == "[cfg(test)]"
}

/// Skips an item, statement or field: up to its `;`, its braces, or a `,` that is not between `<` and `>`. A `,` in a `where`
/// ends it too early. Then a test is read as production code, never the other way round.
fn skip_item(trees: &mut Peekable<IntoIter>) {
    let mut depth = 0;
    let mut before = ' ';
    for tree in trees {
        let sign = match &tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(sign) => sign.as_char(),
            _ => ' ',
        };
        match sign {
            ';' => return,
            ',' if depth == 0 => return,
            '<' => depth += 1,
            '>' if !matches!(before, '-' | '=') => depth -= 1,
            _ => {}
        }
        before = sign;
    }
}

/// `a::b::c`, and the name that a `use` gives it.
struct Named {
    path: String,
    used_as: Option<String>,
}

/// Every path in the code that a `use` or `::` writes; `use a::{b, c::d}` writes two.
fn paths(code: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut index = 0;
    while index < code.len() {
        let is_use = code[index] == "use";
        let start = index + usize::from(is_use);
        index = path(code, start, "", is_use, &mut found).max(start + 1);
    }
    found.retain(|named| named.used_as.is_some() || named.path.contains("::"));
    found
}

/// Reads what follows `prefix` and returns where it ends.
fn path(
    code: &[String],
    start: usize,
    prefix: &str,
    is_use: bool,
    found: &mut Vec<Named>,
) -> usize {
    let word = |index: usize| code.get(index).map_or("", String::as_str);
    let mut index = start + usize::from(word(start) == "::");
    let mut path = prefix.to_owned();
    let mut last = "";
    while word(index).starts_with(|first: char| first.is_alphabetic() || first == '_') {
        last = word(index);
        path = join(&path, last);
        index += 1;
        if word(index) != "::" {
            break;
        }
        index += 1;
    }
    if is_use && word(index) == "{" {
        while !matches!(word(index), "}" | "") {
            index = self::path(code, index + 1, &path, is_use, found);
        }
        return index + 1;
    }
    if is_use && word(index) == "*" {
        last = "*";
        index += 1;
    }
    // `a::{self}` is `a`.
    let path = path.strip_suffix("::self").unwrap_or(&path);
    if last == "self" {
        last = path.rsplit("::").next().unwrap();
    }
    if is_use && word(index) == "as" {
        last = word(index + 1);
        index += 2;
    }
    if !last.is_empty() {
        let used_as = is_use.then(|| last.to_owned());
        let path = path.to_owned();
        found.push(Named { path, used_as });
    }
    index
}

fn join(module: &str, path: &str) -> String {
    let between = if module.is_empty() || path.is_empty() {
        ""
    } else {
        "::"
    };
    format!("{module}{between}{path}")
}

fn first_of(path: &str) -> (&str, &str) {
    path.split_once("::").unwrap_or((path, ""))
}

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The production code: which module says which paths.
struct House<'a> {
    files: Vec<&'a Source>,
    modules: BTreeMap<String, Vec<Named>>,
}

impl<'a> House<'a> {
    fn new(sources: &'a [Source]) -> Self {
        let files = sources.iter().filter(|source| !is_test(source, sources));
        let files: Vec<&Source> = files.collect();
        let named = |source: &&Source| (source.module.clone(), paths(&source.code));
        let modules = files.iter().map(named).collect();
        Self { files, modules }
    }

    /// What a path in a module is from the root of the crate, if it is ours.
    fn absolute(&self, module: &str, path: &str) -> Option<String> {
        self.follow(module, path, STEPS)
    }

    fn follow(&self, module: &str, path: &str, steps: u8) -> Option<String> {
        let (first, rest) = first_of(path);
        let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        match first {
            "crate" => Some(rest.to_owned()),
            "self" => Some(join(module, rest)),
            "super" if rest.starts_with("super") => self.follow(parent, rest, steps),
            "super" => Some(join(parent, rest)),
            _ if self.modules.contains_key(&join(module, first)) => Some(join(module, path)),
            _ => {
                let mut named = self.modules.get(module)?.iter();
                let target = named.find(|named| named.used_as.as_deref() == Some(first))?;
                let target = self.follow(module, &target.path, steps.checked_sub(1)?)?;
                Some(join(&target, rest))
            }
        }
    }

    /// The module that defines what an absolute path names: every `pub use` is followed.
    fn owner(&self, path: &str, steps: u8) -> String {
        let (mut module, mut rest) = (String::new(), path);
        while !rest.is_empty() {
            let (name, after) = first_of(rest);
            let child = join(&module, name);
            if self.modules.contains_key(&child) {
                (module, rest) = (child, after);
                continue;
            }
            match (self.absolute(&module, name), steps.checked_sub(1)) {
                (Some(target), Some(steps)) => return self.owner(&join(&target, after), steps),
                _ => break,
            }
        }
        module
    }

    /// Which module imports which of its siblings, itself or in its submodules.
    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        let named = self
            .modules
            .iter()
            .flat_map(|(module, named)| named.iter().map(move |named| (module, named)));
        for (module, named) in named {
            let path = self.absolute(module, &named.path).unwrap_or_default();
            let other = self.owner(&path, STEPS);
            let pairs = module.split("::").zip(other.split("::"));
            let mut shared = String::new();
            // They are siblings where the paths first differ. If they never do, one contains the other.
            for (from, to) in pairs {
                if from != to && !module.is_empty() && !other.is_empty() {
                    let (from, to) = (join(&shared, from), join(&shared, to));
                    arrows.entry(from).or_default().insert(to);
                    break;
                }
                shared = join(&shared, from);
            }
        }
        arrows
    }
}

/// The arrows that are part of a ring.
fn ring(arrows: &Arrows) -> Vec<(&str, &str)> {
    let leads = |from: &String, to: &String| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(module) = open.pop() {
            let next = arrows.get(module).into_iter().flatten();
            open.extend(next.filter(|next| reached.insert(*next)));
        }
        reached.contains(to)
    };
    let mut found = Vec::new();
    for (from, others) in arrows {
        let back = others.iter().filter(|to| leads(to, from));
        found.extend(back.map(|to| (from.as_str(), to.as_str())));
    }
    found
}

/// The modules as lib.rs lists them: upstream first.
fn rooms_in_order(sources: &[Source]) -> Vec<String> {
    let map = sources.iter().find(|source| source.path == "lib.rs");
    let pairs = map.into_iter().flat_map(|map| map.code.windows(2));
    pairs
        .filter(|pair| pair[0] == "mod")
        .map(|pair| pair[1].clone())
        .collect()
}

/// Is the file a test's, by its name or because it or what it is in is declared behind `#[cfg(test)]`?
fn is_test(source: &Source, sources: &[Source]) -> bool {
    let mut parent = String::new();
    source.module.split("::").any(|name| {
        let declaration = format!("mod {name};");
        let declares = |other: &Source| {
            other.module == parent
                && other.text.contains(&declaration)
                && !other.says(&format!("mod {name} ;"))
        };
        let is_test = name == "tests" || sources.iter().any(declares);
        parent = join(&parent, name);
        is_test
    })
}

/// Everything that breaks a rule, each as one sentence. `map` is docs/ARCHITECTURE.md, `crates` are the names in Cargo.toml.
fn violations(sources: &[Source], crates: &[String], map: &str) -> Vec<String> {
    let house = House::new(sources);
    let mut found = imports(&house, &rooms_in_order(sources));
    for (from, to) in ring(&house.arrows()) {
        found.push(format!("imports go in a ring: {from} -> {to}"));
    }
    found.extend(impure(&house, map));
    found.extend(house.files.iter().flat_map(|source| misplaced(source)));
    found.extend(house.files.iter().flat_map(|source| misshapen(source)));
    found.extend(crates.iter().flat_map(|name| scattered(&house, name)));
    found.dedup();
    found
}

/// Who may import whom.
fn imports(house: &House, order: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let place = |name: &str| order.iter().position(|listed| listed == name);
    for source in house.files.iter().filter(|source| !source.is_root()) {
        let (path, room, module) = (&source.path, source.room(), &source.module);
        if place(room).is_none() {
            found.push(format!("`{room}` is not on the map in lib.rs"));
        }
        let named = &house.modules[module];
        if named
            .iter()
            .any(|named| named.used_as.as_deref() == Some("*"))
        {
            found.push(format!("{path} imports with `*`: name what is used"));
        }
        let ours: BTreeSet<String> = named
            .iter()
            .filter_map(|named| house.absolute(module, &named.path))
            .collect();
        let others: BTreeSet<String> = ours
            .iter()
            .map(|other| first_of(other).0.to_owned())
            .filter(|other| other != room && place(other).is_some())
            .collect();
        if let Some(simulator) = source.simulator() {
            let known = |other: &&String| {
                other.starts_with(simulator) || SIMULATOR_KNOWS.contains(&first_of(other).0)
            };
            for other in ours.iter().filter(|other| !known(other)) {
                found.push(format!(
                    "{path} imports `{other}`: a simulator knows {SIMULATOR_KNOWS:?} only"
                ));
            }
        }
        let whole_house = WHOLE_HOUSE.contains(&room);
        for other in &others {
            if !whole_house && WHOLE_HOUSE.contains(&other.as_str()) {
                found.push(format!("{path} imports `{other}`: a part never does"));
            } else if !whole_house
                && SINKS.contains(&other.as_str())
                && !shows_alike(room, other, &ours)
            {
                found.push(format!("{path} imports the sink `{other}`"));
            } else if place(other) > place(room) {
                found.push(format!(
                    "{path} imports `{other}`, which is downstream of it"
                ));
            }
        }
    }
    found
}

fn shows_alike(room: &str, sink: &str, ours: &BTreeSet<String>) -> bool {
    let (who, parts) = SHOWS_ALIKE;
    let mut of_sink = ours.iter().filter(|path| first_of(path).0 == sink);
    let is_part = |path: &String| {
        let within = |part: &str| path == part || path.starts_with(&format!("{part}::"));
        parts.iter().any(|part| within(part))
    };
    room == who && of_sink.all(is_part)
}

/// A file that calls itself pure is pure, and so are its submodules. What the map calls pure says so itself.
fn impure(house: &House, map: &str) -> Vec<String> {
    let mut found = Vec::new();
    let pure = house
        .files
        .iter()
        .filter(|source| source.calls_itself_pure());
    let pure: BTreeSet<&String> = pure.map(|source| &source.module).collect();
    let is_pure = |source: &&&Source| {
        let module = format!("{}::", source.module);
        pure.iter()
            .any(|above| module.starts_with(&format!("{above}::")))
    };
    for source in house.files.iter().filter(is_pure) {
        let path = &source.path;
        let code = format!(" {} ", source.code.join(" ")).replace(HANDED_IN, "Instant");
        for word in IMPURE
            .iter()
            .filter(|word| code.contains(&format!(" {word} ")))
        {
            found.push(format!("{path} is pure and says `{word}`"));
        }
        for here in source
            .code
            .windows(3)
            .filter(|here| here[1] == "::" && here[2] == "now")
        {
            found.push(format!(
                "{path} is pure and asks the clock ({}::now)",
                here[0]
            ));
        }
    }
    for wanted in pure_on(map) {
        let is_meant = |module: &&String| {
            let mut pairs = module.split("::").zip(wanted.split("::"));
            module.matches("::").count() == wanted.matches("::").count()
                && pairs.all(|(name, wanted)| wanted == "*" || name == wanted)
        };
        let mut meant = house.modules.keys().filter(is_meant).peekable();
        if meant.peek().is_none() {
            found.push(format!(
                "docs/ARCHITECTURE.md calls {wanted} pure, which is not there"
            ));
        }
        for module in meant.filter(|module| !pure.contains(module)) {
            found.push(format!(
                "docs/ARCHITECTURE.md calls {module} pure, and it does not say so"
            ));
        }
    }
    found
}

/// The rows of the drawn map: a room, and which of its modules are pure.
fn rows(map: &str) -> impl Iterator<Item = (&str, &str)> {
    map.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let room = cells.get(1)?.strip_prefix('`')?.trim_end_matches('`');
        let room = room.trim_end_matches('/').trim_end_matches(".rs");
        Some((room, *cells.get(3)?))
    })
}

/// What the last column of the drawn map names: `yes` is the room, `*` any one module.
fn pure_on(map: &str) -> impl Iterator<Item = String> {
    let names = rows(map).flat_map(|(room, pure)| pure.split(", ").map(move |name| (room, name)));
    names.filter_map(|(room, name)| match name.trim_matches('`') {
        "" => None,
        "yes" => Some(room.to_owned()),
        name => Some(join(room, &name.replace('/', "::"))),
    })
}

/// What only some places may say.
fn misplaced(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let path = &source.path;
    if source.says("Recorded :: committed") && !source.is_in(&SAYS_COMMITTED) {
        found.push(format!(
            "{path} says that a record is on disk: only the journal knows"
        ));
    }
    let serialises = ["serde", "Serialize", "Deserialize"]
        .iter()
        .any(|word| source.says(word));
    if serialises && source.is_in(&DOMAIN) {
        found.push(format!("{path} serialises the domain"));
    }
    // `.flatten()` and `Option::flatten` are no attributes.
    let attribute = |word: &str| {
        let mut pairs = source.code.windows(2);
        pairs.any(|pair| pair[1] == word && pair[0] != "." && pair[0] != "::")
    };
    let reads = [
        ("untagged", attribute("untagged")),
        ("flatten", attribute("flatten")),
        ("from_slice", source.says("from_slice")),
    ];
    let reads_replies = path.starts_with("readiness/") && source.simulator().is_none();
    if reads_replies && !READS_OTHERS.contains(&path.as_str()) {
        for (word, _) in reads.iter().filter(|(_, said)| *said) {
            found.push(format!("{path} says `{word}`: a reply's JSON is read by the door alone, where no array passes for a struct"));
        }
    }
    let calls = |word: &str| {
        ["(", ":: <"]
            .iter()
            .any(|next| source.says(&format!("{word} {next}")))
    };
    let mut starts = ["spawn", "spawn_blocking", "unbounded_channel", "channel"].into_iter();
    if let Some(word) = starts.find(|word| calls(word))
        && !source.is_in(&STARTS_TASKS.map(|(place, _)| place))
    {
        found.push(format!(
            "{path} starts a task or makes a channel (`{word}`): the wiring is in app/"
        ));
    }
    found
}

fn misshapen(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let path = &source.path;
    let lines = source.length();
    if lines > LONGEST_FILE {
        found.push(format!(
            "{path} has {lines} lines without its tests, more than {LONGEST_FILE}"
        ));
    }
    let first = source.text.lines().next().unwrap_or_default();
    if !first.starts_with("//! ") || !first.ends_with(['.', ':']) {
        found.push(format!(
            "{path} does not open with one plain sentence (//! ..)"
        ));
    }
    let mut parts = path.trim_end_matches(".rs").split('/');
    if let Some(name) = parts.find(|part| BANNED_NAMES.contains(part)) {
        found.push(format!("{path}: `{name}` says nothing about what is in it"));
    }
    found
}

/// A vendor's crate outside its place, or in several rooms.
fn scattered(house: &House, name: &str) -> Vec<String> {
    let names_it = |source: &&&Source| {
        let module = &source.module;
        house.modules[module].iter().any(|named| {
            first_of(&named.path).0 == name && house.absolute(module, &named.path).is_none()
        })
    };
    let files = house.files.iter().filter(names_it);
    match ONE_PLACE.iter().find(|(listed, _)| *listed == name) {
        Some((_, allowed)) => files
            .filter(|source| !source.is_in(allowed))
            .map(|source| {
                format!(
                    "{} names the crate `{name}`, which belongs to {allowed:?}",
                    source.path
                )
            })
            .collect(),
        None if HOUSEHOLD.contains(&name) => Vec::new(),
        None => {
            let rooms: BTreeSet<&str> = files.map(|source| source.room()).collect();
            let several = (rooms.len() > 1)
                .then(|| format!("the crate `{name}` is named in several rooms: {rooms:?}"));
            several.into_iter().collect()
        }
    }
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
            let text = fs::read_to_string(&path).unwrap();
            sources.push(Source::new(&format!("{below}{name}"), &text));
        }
    }
}

fn the_sources() -> Vec<Source> {
    let mut sources = Vec::new();
    read_sources(&Path::new(ROOT).join("src"), "", &mut sources);
    assert!(sources.len() > 50, "only {} files found", sources.len());
    sources
}

fn the_map() -> String {
    fs::read_to_string(Path::new(ROOT).join("docs/ARCHITECTURE.md")).unwrap()
}

/// The crates that the product is built with, as code names them.
fn crates_of(manifest: &str) -> Vec<String> {
    let sections = manifest.split("\n[").filter(|section| {
        let (title, _) = section.split_once("]\n").unwrap_or_default();
        title.ends_with("dependencies") && title != "dev-dependencies"
    });
    sections
        .flat_map(str::lines)
        .filter_map(|line| line.split_once(" = "))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .collect()
}

#[test]
fn the_house_keeps_its_rules() {
    let crates = crates_of(&fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap());
    for name in ["sd_notify", "rtime_clock"] {
        assert!(crates.contains(&name.to_owned()), "{crates:?}");
    }
    let found = violations(&the_sources(), &crates, &the_map());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rules_name_no_place_that_is_gone() {
    let sources = the_sources();
    let one_place = ONE_PLACE.iter().flat_map(|(_, places)| *places);
    let places = STARTS_TASKS.iter().map(|(place, _)| place);
    let places = places
        .chain(one_place)
        .chain(&DOMAIN)
        .chain(&READS_OTHERS)
        .chain(&SAYS_COMMITTED);
    let gone: Vec<_> = places
        .filter(|place| !sources.iter().any(|source| source.is_in(&[place])))
        .collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn the_drawn_map_lists_every_room_in_order() {
    let map = the_map();
    let drawn: Vec<&str> = rows(&map).map(|(room, _)| room).collect();
    assert_eq!(drawn, rooms_in_order(&the_sources()));
}

const LIB: &str = "//! The map.
mod runtime; mod label; mod readiness; mod record; mod station; mod indicator; mod publisher; mod web; mod simulator; mod config; mod cli;";

/// A file | what it says | what is wrong with that.
const WRONG: &str = r#"
station/mod.rs | use crate::config::Config; | station/mod.rs imports `config`: a part never does
station/mod.rs | use crate::{label, indicator::State}; | station/mod.rs imports the sink `indicator`
web/mod.rs | use crate::{indicator::{lines::Line, signal::Player}, publisher::message::Meta}; | web/mod.rs imports the sink `indicator`
label/mod.rs | use crate::{runtime::{name, clock}, station}; | label/mod.rs imports `station`, which is downstream of it
simulator/mod.rs | use crate::station; | simulator/mod.rs imports `station`: a simulator knows ["runtime", "simulator"] only
readiness/a/simulator/mod.rs | use super::wire::Row; | readiness/a/simulator/mod.rs imports `readiness::a::wire::Row`: a simulator knows ["runtime", "simulator"] only
readiness/a/simulator/mod.rs | use crate::readiness::evidence::Evidence; | readiness/a/simulator/mod.rs imports `readiness::evidence::Evidence`: a simulator knows ["runtime", "simulator"] only
station/mod.rs | fn f() { Recorded::committed(epoch, 1, record) } | station/mod.rs says that a record is on disk: only the journal knows
attic.rs |  | `attic` is not on the map in lib.rs
readiness/wire.rs | #[serde(untagged)] enum Page {} | readiness/wire.rs says `untagged`: a reply's JSON is read by the door alone, where no array passes for a struct
label/mod.rs | async fn read() {} | label/mod.rs is pure and says `async`
station/core/mod.rs | fn now() -> Boot { Boot::now() } | station/core/mod.rs is pure and asks the clock (Boot::now)
record.rs | #[derive(Serialize)] struct Record; | record.rs serialises the domain
config/mod.rs | fn go() { tokio::spawn(work()); } | config/mod.rs starts a task or makes a channel (`spawn`): the wiring is in app/
config/utils.rs |  | config/utils.rs: `utils` says nothing about what is in it
station/mod.rs | use rusqlite::Connection; | station/mod.rs names the crate `rusqlite`, which belongs to ["journal/", "readiness/replica/store"]
readiness/replica/mod.rs | use rusqlite::Connection; | readiness/replica/mod.rs names the crate `rusqlite`, which belongs to ["journal/", "readiness/replica/store"]
station/mod.rs | fn pins() -> ::rppal::Gpio {} | station/mod.rs names the crate `rppal`, which belongs to ["indicator/rppal.rs"]
config/mod.rs | fn go() { let (from, to) = mpsc::channel::<Scan>(8); } | config/mod.rs starts a task or makes a channel (`channel`): the wiring is in app/
station/mod.rs | use super::indicator; | station/mod.rs imports the sink `indicator`
station/core/mod.rs | fn f() { select! { _ = super::super::config::read() => {} } } | station/core/mod.rs imports `config`: a part never does
station/mod.rs | use crate::label::{Label, *}; | station/mod.rs imports with `*`: name what is used
station/waiting.rs | fn late(at: Instant) -> bool { at.elapsed() > LIMIT } | station/waiting.rs is pure and says `elapsed (`
station/waiting.rs | use tokio::time::{Instant, sleep}; | station/waiting.rs is pure and says `tokio`
readiness/wire.rs | struct Page { #[serde(rename = "x", flatten)] rest: Rest } | readiness/wire.rs says `flatten`: a reply's JSON is read by the door alone, where no array passes for a struct
readiness/wire.rs | fn f() { serde_json::from_slice(body) } | readiness/wire.rs says `from_slice`: a reply's JSON is read by the door alone, where no array passes for a struct
"#;

/// What is found in a house of these files, each a line (path | description | code), and of the `drawn` map.
fn judge(files: &str, drawn: &str) -> Vec<String> {
    let parts = |line: &str| {
        let [path, description, code] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        Source::new(path, &format!("//! {description}\n{code}\n"))
    };
    let mut sources: Vec<Source> = files.lines().map(parts).collect();
    sources.push(Source::new("lib.rs", LIB));
    let crates = ["rusqlite", "rppal", "tokio", "csv"].map(str::to_owned);
    violations(&sources, &crates, drawn)
}

#[test]
fn each_rule_can_be_broken() {
    for line in WRONG.trim().lines() {
        let [path, code, wrong] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let found = judge(&format!("{path} | A room. Pure. | {code}"), "");
        assert!(found.contains(&wrong.to_owned()), "{line}: {found:?}");
        // The same in a comment, a text or a test breaks nothing.
        let hidden = format!(
            "/* {code} */ const TEXT: &str = r#\"{code}\"#; #[cfg(test)] mod tests {{ {code} }} // {code}"
        );
        let found = judge(&format!("{path} | A room. Pure. | {hidden}"), "");
        assert!(code.is_empty() || found.is_empty(), "{line}: {found:?}");
    }
    let spread = "label/mod.rs | A. | use csv::Writer;\nruntime/mod.rs | B. | use csv;";
    let wrong = r#"the crate `csv` is named in several rooms: {"label", "runtime"}"#;
    assert_eq!(judge(spread, ""), [wrong]);
    let wrong = "runtime/mod.rs does not open with one plain sentence (//! ..)";
    assert_eq!(judge("runtime/mod.rs | Alive | fn f() {}", ""), [wrong]);
}

#[test]
fn a_file_is_as_long_as_it_is_without_its_tests() {
    let longer = |by: usize| {
        let lines = "fn f() {}\n".repeat(LONGEST_FILE - 2 + by);
        let text = format!(
            "//! Long.\n{lines}#[cfg(test)]\nmod tests {{\n    fn f() {{}}\n}}\nfn f() {{}}\n"
        );
        misshapen(&Source::new("runtime/mod.rs", &text))
    };
    assert_eq!(longer(0), [""; 0]);
    let wrong = "lines without its tests, more than";
    assert_eq!(
        longer(1),
        [format!(
            "runtime/mod.rs has {} {wrong} {LONGEST_FILE}",
            LONGEST_FILE + 1
        )]
    );
}

#[test]
fn a_ring_of_rooms_or_of_files_in_a_room_is_found() {
    let rooms = "runtime/mod.rs | A. | use crate::label;\nlabel/mod.rs | B. | use crate::runtime;";
    let found = judge(rooms, "");
    for arrow in ["label -> runtime", "runtime -> label"] {
        let ring = format!("imports go in a ring: {arrow}");
        assert!(found.contains(&ring), "{found:?}");
    }
    // By the file's own path, by a name that the parent passes on, by a name of one's own.
    let first = [
        "use super::second::deep::B;",
        "use super::B as C; type D = C;",
        "use crate::label; fn f() -> label::B {}",
    ];
    let second = [
        "fn f() { crate::label::first::go() }",
        "use super::super::first; fn f() { first::go() }",
    ];
    let house = |first: &str, second: &str| {
        let files = "label/mod.rs | A. | mod first; mod second; pub use second::B;\nlabel/second/mod.rs | A. | mod deep; pub use deep::B;";
        judge(
            &format!(
                "{files}\nlabel/first.rs | A. | {first}\nlabel/second/deep.rs | A. | {second}"
            ),
            "",
        )
    };
    for (first, second) in first
        .iter()
        .flat_map(|first| second.map(|second| (first, second)))
    {
        assert_eq!(
            house(first, second),
            [
                "imports go in a ring: label::first -> label::second",
                "imports go in a ring: label::second -> label::first"
            ]
        );
    }
    assert_eq!(house("use super::Settings;", second[0]), [""; 0]);
}

#[test]
fn who_calls_itself_pure_is_held_to_it_with_all_below() {
    let held = |said: &str| {
        judge(
            &format!("label/mod.rs | {said} | use x;\nlabel/read.rs | A. | use std::fs;"),
            "",
        )
    };
    for said in [
        "Pure.",
        "It is pure, and total.",
        "Pure: the time is handed in.",
    ] {
        assert_eq!(
            held(said),
            ["label/read.rs is pure and says `fs`"],
            "{said}"
        );
    }
    assert_eq!(held("Purely a name."), [""; 0]);
    let handed_in =
        "use tokio::time::Instant; fn late(now: Instant, at: Instant) -> bool { now > at }";
    assert_eq!(
        judge(&format!("label/mod.rs | Pure. | {handed_in}"), ""),
        [""; 0]
    );
}

#[test]
fn what_the_map_calls_pure_says_so() {
    let judge = |pure: &str| {
        let files =
            "runtime/mod.rs | A. | \nlabel/a/finding.rs | Pure. | \nlabel/b/finding.rs | A. | ";
        judge(
            files,
            &format!(
                "| room | what | pure |\n| `runtime/` | alive | |\n| `label/` | bytes | {pure} |\n"
            ),
        )
    };
    let found =
        |module: &str, wrong: &str| format!("docs/ARCHITECTURE.md calls {module} pure, {wrong}");
    assert_eq!(judge("`a/finding`"), [""; 0]);
    assert_eq!(
        judge("`*/finding`"),
        [found("label::b::finding", "and it does not say so")]
    );
    assert_eq!(
        judge("yes, `c`"),
        ["label", "label::c"].map(|module| found(module, "which is not there"))
    );
}

#[test]
fn code_is_read_without_its_comments_texts_and_tests() {
    let rooms = |code: &str| -> Vec<String> {
        let named = paths(&words(code.parse().unwrap()));
        let ours = named
            .iter()
            .filter_map(|named| named.path.strip_prefix("crate::"));
        ours.map(str::to_owned).collect()
    };
    let code = "// crate::a\nuse crate::b; /* crate::c /* nested */ */ let x = \"crate::d \\\" crate::e\"; let y = r#\"crate::f \" \"#; let z = '\"'; let q = '\\''; fn f<'a>(x: &'a str) { crate::g(); }";
    assert_eq!(rooms(code), ["b", "g"]);
    let tested = "use crate::a; #[cfg(test)] mod tests { use crate::b; fn f() { {} } } use crate::c; #[cfg(test)] mod t; use crate::d;";
    assert_eq!(rooms(tested), ["a", "c", "d"]);
    let inside = "struct S { #[cfg(test)] heard: Map<crate::a::A, fn() -> B>, told: crate::b::B } fn f() { #[cfg(test)] if crate::c::c() { crate::d::d() } S { #[cfg(test)] heard: crate::e::e(), told: crate::f::f() } }";
    assert_eq!(rooms(inside), ["b::B", "f::f"]);
    let nested = "use crate::{a::{x, self}, b as y, c::z::{self as w, v}, d::*}; fn f() -> x::Y { crate::e::<T>::f() }";
    assert_eq!(
        rooms(nested),
        ["a::x", "a", "b", "c::z", "c::z::v", "d", "e"]
    );
}

#[test]
fn a_module_of_our_own_is_no_crate() {
    let names = |code: &str| {
        !judge(
            &format!("label/rppal.rs | Ours. | \nlabel/a.rs | A. | {code}"),
            "",
        )
        .is_empty()
    };
    assert!(!names(
        "use super::{gpiochip, rppal}; fn f() { rppal::open() }"
    ));
    assert!(!names("fn f() { super::rppal::open() }"));
    assert!(!names("fn f(rppal: Gpio) { rppal.open() }"));
    assert!(names("fn f() { rppal::open() }"));
    assert!(names("use rppal as gpio;"));
}
