//! Any commands and answers from a broker: `cargo +nightly fuzz run broker`.
#![no_main]

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use benchlight::{
    publisher::{
        NoSubscriber, Settings,
        fuzz::{Turn, delivered, understood},
    },
    record::Recorded,
    runtime::name::Name,
};
use uuid::Uuid;

#[path = "../sample.rs"]
mod sample;

const STATION: &str = "benchlight/v1/ams1/bench-1/";

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| Settings {
    site: Name::new("ams1").expect("a name"),
    station: Name::new("bench-1").expect("a name"),
    url: "mqtt://127.0.0.1:1883".parse().expect("a url"),
    username: None,
    password: None,
    ca_file: None,
    client_certificate: None,
    topic_prefix: "benchlight".to_owned(),
    keep_alive: Duration::from_secs(30),
    replay_per_second: 0,
    no_subscriber: NoSubscriber::Keep,
    publish_raw: false,
    commands: true,
    discovery_prefix: Some("homeassistant".to_owned()),
});

// Not simply 1, 2, 3: rows of older epochs come first, and delivered rows leave gaps.
static ROWS: LazyLock<Vec<(u64, Recorded)>> = LazyLock::new(|| {
    let recorded =
        |seq: u64| Recorded::committed(Uuid::from_u128(1), seq, sample::record(seq.into()));
    (3..40)
        .filter(|seq| seq % 5 > 0)
        .map(|seq| (seq, recorded(seq)))
        .collect()
});

// An even first byte: a command. An odd one: what the broker does while there are rows to send.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((kind, rest)) if kind % 2 == 0 => command(rest),
        Some((kind, rest)) => deliver(
            if kind & 2 == 0 {
                NoSubscriber::Keep
            } else {
                NoSubscriber::Accept
            },
            rest,
        ),
        None => {}
    }
});

/// Payload, response topic and correlation data, separated by the record separator.
fn command(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == 0x1e);
    let payload = parts.next().unwrap_or_default();
    let topic = parts
        .next()
        .and_then(|topic| std::str::from_utf8(topic).ok());
    let (to, answer) = understood(&SETTINGS, payload, topic, parts.next().map(<[u8]>::to_vec));
    assert!(
        to.strip_prefix(STATION)
            .is_none_or(|channel| channel.starts_with("rsp/")),
        "it answers into a channel of its own"
    );
    assert!(
        !to.is_empty() && to.len() <= 512 && !to.contains(['+', '#', '\0']) && !to.starts_with('$'),
        "no topic to publish to: {to:?}"
    );
    match answer {
        Ok((from, until)) => assert!(from >= 1 && from <= until, "{from} to {until} is no range"),
        Err(why) => assert!(!why.is_empty()),
    }
}

fn deliver(no_subscriber: NoSubscriber, input: &[u8]) {
    let mut input = input.iter().copied();
    let mut turns = Vec::new();
    let (mut taken, mut refused, mut broken) = (0, 0, 0);
    while let Some(step) = input.next() {
        let mut next = || input.next().unwrap_or_default();
        turns.push(match step {
            0..192 => {
                // Usually a short PUBACK, otherwise any packet.
                let packet = if step < 160 {
                    vec![0x40, 3, 0, 1, next()]
                } else {
                    (160..=step).map(|_| next()).collect()
                };
                let whole =
                    packet[..] == [0x40, 3, 0, 1, packet.last().copied().unwrap_or_default()];
                match packet.last() {
                    Some(0x00) if whole => taken += 1,
                    Some(0x10) if whole && no_subscriber == NoSubscriber::Accept => taken += 1,
                    Some(0x87 | 0x90 | 0x99) if whole => refused += 1,
                    // It may be any of them.
                    _ if !whole => (taken, refused) = (taken + 1, refused + 1),
                    _ => {}
                }
                Turn::Acked(next().into(), packet)
            }
            192..224 => {
                broken += 1;
                Turn::Broke(step % 2 == 0)
            }
            224.. => Turn::Waited(Duration::from_secs(1) * 2_u32.pow(u32::from(step - 224) / 3)),
        });
    }
    let settings = Settings {
        no_subscriber,
        ..SETTINGS.clone()
    };
    let told = delivered(&settings, &ROWS, &turns);
    let rows: BTreeSet<u64> = told.iter().map(|(row, _)| *row).collect();
    assert!(
        rows.iter()
            .all(|row| ROWS.iter().any(|(key, _)| key == row)),
        "a row that there is not"
    );
    assert_eq!(rows.len(), told.len(), "a row is settled once");
    let sent = told.iter().filter(|(_, sent)| *sent).count();
    assert!(
        sent <= taken,
        "{sent} rows count as delivered, {taken} were taken"
    );
    // Ten refusals, or seven breaks, before a row is set aside.
    let aside = told.len() - sent;
    assert!(
        aside * 10 <= refused || broken >= 7,
        "{aside} rows set aside after {refused} refusals and {broken} breaks"
    );
}
