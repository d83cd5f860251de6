//! Mutated replies through a real connection: whatever is not exactly a good answer is unknown.

use benchlight::readiness::Source;
use proptest::{
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use serde_json::Value;

use super::{Bench, Finding, KINDS, Reply, SYNCED, Serial, TOTAL, ask, date};
use jiff::{SignedDuration, Timestamp};

#[derive(Clone, Debug)]
enum Mutation {
    Status(u16),
    Add(&'static str, &'static str),
    Set(&'static str, &'static str),
    Dated(bool, i64),
    Drop(&'static str),
    Byte(Index, u8),
    Insert(Index, u8),
    Cut(Index),
    /// Cuts the whole reply, including its head.
    CutAll(Index),
    /// Changes a byte of the whole reply.
    AnyByte(Index, u8),
    /// Repeats a name of an object.
    Twice(Index),
    /// Replaces a value.
    Value(Index, &'static str),
    /// Turns an object into the list of its values.
    Unnamed(Index),
    Reordered,
    Behind(&'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let names = select(vec![
        "date",
        "age",
        "content-encoding",
        "content-length",
        "transfer-encoding",
        "content-type",
        "x-other",
    ]);
    let values = select(vec![
        "",
        "0",
        "60",
        "61",
        "72000",
        "gzip",
        "identity",
        "chunked",
        "soon",
        "18446744073709551616",
        "text/html",
    ]);
    let json = select(vec![
        "null",
        "true",
        "0",
        "-1",
        "1e308",
        "18446744073709551615",
        "9223372036854775808",
        "\"\"",
        "\"removed\"",
        "\"9999-12-31T23:59:59Z\"",
        "[]",
        "{}",
        "1e400",
        "NaN",
    ]);
    prop_oneof![
        select(vec![
            100_u16, 201, 202, 203, 204, 206, 207, 226, 299, 300, 304, 400, 404, 418, 600, 999
        ])
        .prop_map(Mutation::Status),
        (names.clone(), values.clone()).prop_map(|(name, value)| Mutation::Add(name, value)),
        (names.clone(), values).prop_map(|(name, value)| Mutation::Set(name, value)),
        (any::<bool>(), -200_000..200_000_i64).prop_map(|(adds, off)| Mutation::Dated(adds, off)),
        names.prop_map(Mutation::Drop),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        any::<Index>().prop_map(Mutation::Cut),
        any::<Index>().prop_map(Mutation::CutAll),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::AnyByte(at, byte)),
        any::<Index>().prop_map(Mutation::Twice),
        (any::<Index>(), json).prop_map(|(at, value)| Mutation::Value(at, value)),
        any::<Index>().prop_map(Mutation::Unnamed),
        Just(Mutation::Reordered),
        select(vec!["{}", " ", "x", "\u{0}", "null"]).prop_map(Mutation::Behind),
    ]
}

impl Mutation {
    fn apply(&self, reply: &mut Reply) {
        let place =
            |index: &Index, length: usize| if length == 0 { 0 } else { index.index(length) };
        match self {
            Self::Status(status) => reply.status = format!("{status} So"),
            Self::Add(name, value) => reply.add(name, value),
            Self::Set(name, value) => reply.set(name, value),
            Self::Dated(adds, off) => {
                let date = date(SignedDuration::from_secs(*off));
                if *adds {
                    reply.add("date", &date)
                } else {
                    reply.set("date", &date)
                }
            }
            Self::Drop(name) => reply.drop(name),
            Self::Byte(at, byte) => {
                let at = place(at, reply.body.len());
                if let Some(place) = reply.body.get_mut(at) {
                    *place = *byte;
                }
            }
            Self::Insert(at, byte) => reply.body.insert(place(at, reply.body.len()), *byte),
            Self::Cut(at) => reply.body.truncate(place(at, reply.body.len())),
            Self::CutAll(at) => {
                let mut bytes = reply.bytes();
                bytes.truncate(place(at, bytes.len()));
                (reply.raw, reply.ends) = (Some(bytes), true);
            }
            Self::AnyByte(at, byte) => {
                let mut bytes = reply.bytes();
                let at = place(at, bytes.len());
                bytes[at] = *byte;
                (reply.raw, reply.ends) = (Some(bytes), true);
            }
            Self::Twice(at) => change(reply, at, "\":", |text, at| {
                let Some(begin) = text[..at].rfind('"') else {
                    return text.to_owned();
                };
                format!(
                    "{}{}\":null,{}",
                    &text[..begin],
                    &text[begin..at],
                    &text[begin..]
                )
            }),
            Self::Value(at, value) => change(reply, at, "\":", |text, at| {
                let rest = &text[at + 2..];
                let end = rest.find([',', '}', ']']).unwrap_or(rest.len());
                format!("{}{value}{}", &text[..at + 2], &rest[..][end..])
            }),
            Self::Unnamed(at) => {
                if let Ok(mut value) = serde_json::from_slice::<Value>(&reply.body) {
                    let mut objects = 0;
                    count(&value, &mut objects);
                    let mut number = place(at, objects);
                    unname(&mut value, &mut number);
                    reply.say(&value.to_string());
                }
            }
            Self::Reordered => {
                if let Ok(value) = serde_json::from_slice::<Value>(&reply.body) {
                    reply.say(&reversed(&value));
                }
            }
            Self::Behind(more) => reply.body.extend_from_slice(more.as_bytes()),
        }
    }
}

/// Changes the text at one occurrence of `mark`.
fn change(reply: &mut Reply, at: &Index, mark: &str, change: impl Fn(&str, usize) -> String) {
    let Ok(text) = String::from_utf8(reply.body.clone()) else {
        return;
    };
    let places: Vec<usize> = text.match_indices(mark).map(|(place, _)| place).collect();
    if !places.is_empty() {
        reply.say(&change(&text, places[at.index(places.len())]));
    }
}

fn parts(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn count(value: &Value, objects: &mut usize) {
    *objects += usize::from(value.is_object());
    parts(value).for_each(|part| count(part, objects));
}

fn unname(value: &mut Value, number: &mut usize) {
    if let Value::Object(fields) = value {
        if *number == 0 {
            *value = Value::Array(fields.values().cloned().collect());
            *number = usize::MAX;
            return;
        }
        *number -= 1;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|part| unname(part, number)),
        Value::Object(fields) => fields.values_mut().for_each(|part| unname(part, number)),
        _ => {}
    }
}

fn reversed(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .rev()
                .map(|(name, value)| {
                    format!(" {} : {}", Value::from(name.as_str()), reversed(value))
                })
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(reversed).collect::<Vec<_>>().join(" ,")
        ),
        other => other.to_string(),
    }
}

/// An independent check whether a reply may count: its status is among `statuses`, it has one date, which is now, and it is fresh,
/// not compressed, complete, and JSON without repeated names.
fn may_count(bytes: &[u8], statuses: &[u16]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    // A line may end with LF alone (RFC 9112, 2.2).
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let all = |wanted: &str| {
        headers
            .iter()
            .filter(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
    };
    let now = Timestamp::now();
    let dated = match all("date").as_slice() {
        [date] => jiff::fmt::rfc2822::parse(date).is_ok_and(|date| {
            date.timestamp().duration_since(now).abs() <= SignedDuration::from_secs(310)
        }),
        _ => false,
    };
    let fresh = match all("age").as_slice() {
        [] => true,
        [age] => age.parse::<u8>().is_ok_and(|age| age <= 60),
        _ => false,
    };
    let plain = matches!(all("content-encoding").as_slice(), [] | ["identity"]);
    let rest = &bytes[end + 4..];
    let body = match all("transfer-encoding").as_slice() {
        [] => match all("content-length").first() {
            Some(length) => length
                .parse::<usize>()
                .ok()
                .and_then(|length| rest.get(..length)),
            None => Some(rest),
        },
        // The gateway never sends chunks, so a reply that claims to be chunked is invalid.
        _ => None,
    };
    let Some(body) = body else { return false };
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    status.is_some_and(|status| statuses.contains(&status))
        && dated
        && fresh
        && plain
        && names_in(body) == names_of(&value)
}

/// How many names a JSON text gives.
fn names_in(text: &[u8]) -> usize {
    let (mut names, mut index) = (0, 0);
    while index < text.len() {
        if text[index] != b'"' {
            index += 1;
            continue;
        }
        index += 1;
        while text[index] != b'"' {
            index += if text[index] == b'\\' { 2 } else { 1 };
        }
        index += 1;
        names += usize::from(text[index..].trim_ascii_start().first() == Some(&b':'));
    }
    names
}

/// How many names a value has.
fn names_of(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len) + parts(value).map(names_of).sum::<usize>()
}

#[test]
fn a_reply_that_is_not_exactly_a_good_answer_is_unknown() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let benches: Vec<Bench> = KINDS
        .into_iter()
        .map(|kind| runtime.block_on(Bench::new(kind)))
        .collect();
    let places: Vec<(usize, &str, &str)> = KINDS
        .iter()
        .enumerate()
        .flat_map(|(number, kind)| {
            kind.reads()
                .iter()
                .map(move |(path, serial)| (number, *path, *serial))
        })
        .collect();
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(
            &(select(places), proptest::collection::vec(mutation(), 1..4)),
            |((number, path, serial), mutations)| {
                let bench = &benches[number];
                let sent = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
                let spoils = (sent.clone(), mutations.clone());
                bench.gateway.change_at(path, move |reply| {
                    spoils.1.iter().for_each(|mutation| mutation.apply(reply));
                    // Nobody must wait for a reply that announces more than it sends.
                    reply.ends = true;
                    spoils.0.lock().unwrap().push(reply.bytes());
                });
                let source: Source = bench.source(SYNCED);
                let evidence = runtime
                    .block_on(async { tokio::time::timeout(TOTAL, ask(&source, serial)).await })
                    .expect("it ends");
                let tells_absence = ["/v1/", "/api/v1/fleet/hosts/identifier/"];
                let tells_absence = tells_absence.iter().any(|start| path.starts_with(start));
                let statuses: &[u16] = if tells_absence { &[200, 404] } else { &[200] };
                let sent = sent.lock().unwrap();
                if !matches!(evidence.finding, Finding::Unknown(_)) {
                    // The last of several attempts counts.
                    let last = sent.last().expect("it was asked");
                    prop_assert!(
                        may_count(last, statuses),
                        "{path} {mutations:?}: {:?} by {}",
                        evidence.finding,
                        String::from_utf8_lossy(last)
                    );
                }
                prop_assert!(evidence.serial == Serial::new(serial).unwrap());
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn the_oracle_of_this_test_knows_a_good_reply_from_a_bad_one() {
    let good = |date: &str, more: &str, body: &str| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nDate: {date}\r\n{more}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        may_count(head.as_bytes(), &[200])
    };
    let now = date(SignedDuration::ZERO);
    assert!(good(&now, "", "{\"a\":[{\"b\":1},{\"b\":\"\\\"c\\\":\"}]}"));
    assert!(!good(&date(super::OLD), "", "{}") && !good("", "", "{}"));
    assert!(
        !good(&now, "age: 61\r\n", "{}")
            && !good(&now, "DATE: x\r\n", "{}")
            && !good(&now, "Content-Encoding: gzip\r\n", "{}")
    );
    assert!(
        !good(&now, "", "{\"a\":1,\"a\":2}")
            && !good(&now, "", "{\"a\":[{\"b\":1,\"\\u0062\":1}]}")
            && !good(&now, "", "{}{}")
    );
}
