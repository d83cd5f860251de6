//! Any reply at the check that all sources share, with a synchronised clock: `cargo +nightly fuzz run reply`.
#![no_main]

use benchlight::readiness::http;
use serde_json::Value;

// The head in lines ("200", then "name: value"), an empty line, the body.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let end = input
        .windows(2)
        .position(|window| window == b"\n\n")
        .unwrap_or(input.len());
    let (head, body) = (&input[..end], input.get(end + 2..).unwrap_or_default());
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let mut lines = head.split('\n');
    let status: u16 = lines
        .next()
        .and_then(|line| line.parse().ok())
        .unwrap_or(200);
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let Some(now) = http::http_date("Sat, 28 Nov 2026 10:00:00 GMT") else {
        return;
    };
    let Some(value) = http::judged(status, &headers, body, now) else {
        return;
    };

    assert_eq!(status, 200, "only the documented status");
    let all = |wanted: &str| {
        headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim())
            .collect::<Vec<_>>()
    };
    let [date] = all("date")[..] else {
        panic!("one date")
    };
    let off = http::http_date(date)
        .expect("a readable date")
        .duration_since(now);
    assert!(off.abs().as_secs() <= 300, "of now");
    match all("age")[..] {
        [] => {}
        [age] => assert!(age.parse::<u8>().is_ok_and(|age| age <= 60), "fresh"),
        _ => panic!("one age"),
    }
    assert!(
        all("content-encoding")
            .iter()
            .all(|coding| coding.eq_ignore_ascii_case("identity")),
        "plain"
    );
    assert!(
        all("transfer-encoding")
            .iter()
            .all(|coding| coding.eq_ignore_ascii_case("chunked")),
        "plain"
    );
    // Another parser reads the same value, and no name more.
    assert_eq!(
        serde_json::from_slice::<Value>(body).ok().as_ref(),
        Some(&value)
    );
    assert_eq!(names_in(body), names_of(&value), "each name once");
});

fn names_in(text: &[u8]) -> usize {
    let (mut names, mut index) = (0, 0);
    while index < text.len() {
        if text[index] == b'"' {
            index += 1;
            while text[index] != b'"' {
                index += if text[index] == b'\\' { 2 } else { 1 };
            }
            names += usize::from(text[index + 1..].trim_ascii_start().first() == Some(&b':'));
        }
        index += 1;
    }
    names
}

fn names_of(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.len() + fields.values().map(names_of).sum::<usize>(),
        Value::Array(items) => items.iter().map(names_of).sum(),
        _ => 0,
    }
}
