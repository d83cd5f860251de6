//! Key events as scanners send them, made from the keymap: whole codes, lost events, other layouts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;

use super::{
    KeyEvent::{Dropped, Pressed, Released},
    *,
};
use crate::scanner::framing;

const KEYPAD: [u16; 10] = [82, 79, 80, 81, 75, 76, 77, 71, 72, 73];

/// The events of a scanner with this layout that types `text`: each key pressed and released, with Shift, AltGr or Ctrl around it.
fn typing(layout: Layout, text: &str) -> Vec<KeyEvent> {
    let mut events = Vec::new();
    for character in text.chars() {
        let (down, key) = keys_of(layout, character);
        events.extend(down.iter().map(|key| Pressed(*key)));
        events.extend([Pressed(key), Released(key)]);
        events.extend(down.iter().rev().map(|key| Released(*key)));
    }
    events
}

fn keys_of(layout: Layout, character: char) -> (Vec<u16>, u16) {
    if character == '\n' {
        return (vec![], keymap::ENTER);
    }
    let levels: [(Vec<u16>, Modifiers); 4] = [
        (vec![], Modifiers::default()),
        (
            vec![keymap::LEFT_SHIFT],
            Modifiers {
                shift: true,
                ..Modifiers::default()
            },
        ),
        (
            vec![keymap::RIGHT_ALT],
            Modifiers {
                altgr: true,
                ..Modifiers::default()
            },
        ),
        (
            vec![keymap::LEFT_CTRL],
            Modifiers {
                ctrl: true,
                ..Modifiers::default()
            },
        ),
    ];
    levels
        .into_iter()
        .find_map(|(down, modifiers)| {
            (1..=57)
                .chain([86])
                .find(|key| keymap::stroke(layout, *key, modifiers) == Stroke::Character(character))
                .map(|key| (down, key))
        })
        .unwrap_or_else(|| panic!("{layout:?} has no {character:?}"))
}

fn decoded(decoder: &mut Decoder, events: &[KeyEvent]) -> Vec<ScannedCode> {
    events
        .iter()
        .filter_map(|event| decoder.event(*event))
        .collect()
}

fn code(text: &str) -> ScannedCode {
    ScannedCode::Whole(text.as_bytes().to_vec())
}

fn text_of(events: &[KeyEvent]) -> String {
    let mut decoder = Decoder::new(Layout::Us);
    assert_eq!(decoded(&mut decoder, events), []);
    match decoder.end() {
        Some(ScannedCode::Whole(bytes)) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_code_is_what_was_typed_up_to_the_end_key() {
    let mut decoder = Decoder::new(Layout::Us);
    let events = typing(Layout::Us, "SC02XK0AAJG5H\n]C1[)>abc\n\n");
    assert_eq!(
        decoded(&mut decoder, &events),
        [code("SC02XK0AAJG5H"), code("]C1[)>abc")]
    );
    assert!(!decoder.pending());
}

#[test]
fn the_frame_around_a_code_is_dropped_when_it_is_typed() {
    let typed = |framed: &[u8]| {
        let mut decoder = Decoder::new(Layout::Us);
        // As a scanner types them that sends control characters as Alt and their number.
        let by_number = |byte: u8| {
            let digits = format!("{byte:03}")
                .into_bytes()
                .into_iter()
                .map(|digit| KEYPAD[usize::from(digit - b'0')]);
            let keys = digits.flat_map(|key| [Pressed(key), Released(key)]);
            [Pressed(keymap::LEFT_ALT)]
                .into_iter()
                .chain(keys)
                .chain([Released(keymap::LEFT_ALT)])
                .collect::<Vec<_>>()
        };
        let events: Vec<KeyEvent> = framed
            .iter()
            .flat_map(|byte| by_number(*byte))
            .chain(typing(Layout::Us, "\n"))
            .collect();
        decoded(&mut decoder, &events)
    };
    // No scanner types a byte order mark.
    for framed in framing::FRAMED.iter().filter(|framed| framed.is_ascii()) {
        assert_eq!(
            typed(framed),
            [code("HLDRND0002")],
            "{:?}",
            framed.escape_ascii().to_string()
        );
    }
    assert_eq!(typed(b"\x13"), [], "flow control is not a scan");
}

#[test]
fn a_scanner_set_to_another_layout_is_read_in_that_layout() {
    for (layout, sample) in [
        (Layout::De, "C02YZ0AAJG5H-{\\}\n"),
        (Layout::Fr, "C02AQWZM0123456789[/A]\n"),
        (Layout::Us, "A_b~\"?\n"),
    ] {
        assert_eq!(
            decoded(&mut Decoder::new(layout), &typing(layout, sample)),
            [code(sample.trim_end())],
            "{layout:?}"
        );
    }
    // Why the setting exists: Y and Z are swapped, and the result still looks like a serial number.
    assert_eq!(
        decoded(
            &mut Decoder::new(Layout::Us),
            &typing(Layout::De, "C02YZ0AAJG5H\n")
        ),
        [code("C02ZY0AAJG5H")]
    );
}

#[test]
fn a_pause_ends_a_code_and_what_follows_is_another() {
    let mut decoder = Decoder::new(Layout::Us);
    assert_eq!(decoded(&mut decoder, &typing(Layout::Us, "C02XK0")), []);
    assert!(decoder.pending());
    assert_eq!(decoder.end(), Some(code("C02XK0")));
    assert_eq!(
        decoded(&mut decoder, &typing(Layout::Us, "AAJG5H\n")),
        [code("AAJG5H")]
    );
    assert_eq!(decoder.end(), None);
}

#[test]
fn group_separators_come_by_ctrl_and_by_number() {
    assert_eq!(text_of(&typing(Layout::Us, "06\u{1d}S1")), "06\u{1d}S1");
    let by_number = |alt: u16, digits: &[usize]| {
        let mut events = vec![Pressed(30), Released(30), Pressed(alt)];
        events.extend(
            digits
                .iter()
                .flat_map(|digit| [Pressed(KEYPAD[*digit]), Released(KEYPAD[*digit])]),
        );
        events.extend([Released(alt), Pressed(48), Released(48)]);
        events
    };
    assert_eq!(
        text_of(&by_number(keymap::LEFT_ALT, &[0, 2, 9])),
        "a\u{1d}b"
    );
    assert_eq!(
        text_of(&by_number(keymap::RIGHT_ALT, &[0, 0, 2, 9])),
        "a\u{1d}b"
    );
    assert_eq!(text_of(&by_number(keymap::LEFT_ALT, &[6, 5])), "aAb");
    assert_eq!(text_of(&by_number(keymap::LEFT_ALT, &[0, 0, 0])), "a\0b");
    assert_eq!(
        text_of(&by_number(keymap::LEFT_ALT, &[2, 5, 6])),
        "a\u{fffd}b"
    );
    assert_eq!(
        text_of(&by_number(
            keymap::LEFT_ALT,
            &[9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]
        )),
        "a\u{fffd}b"
    );
    assert_eq!(
        text_of(&by_number(keymap::LEFT_ALT, &[])),
        "ab",
        "Alt alone types nothing"
    );
    // An end key as a control character.
    assert_eq!(
        decoded(
            &mut Decoder::new(Layout::Us),
            &by_number(keymap::LEFT_ALT, &[0, 1, 3])
        ),
        [code("a")]
    );
    let mut unfinished = Decoder::new(Layout::Us);
    assert_eq!(
        decoded(
            &mut unfinished,
            &[Pressed(30), Pressed(keymap::LEFT_ALT), Pressed(KEYPAD[2])]
        ),
        []
    );
    assert_eq!(unfinished.end(), Some(code("a\u{fffd}")));
}

#[test]
fn one_shift_key_let_go_leaves_the_other() {
    let events = [
        Pressed(keymap::LEFT_SHIFT),
        Pressed(keymap::RIGHT_SHIFT),
        Pressed(30),
        Released(30),
        Released(keymap::LEFT_SHIFT),
        Pressed(30),
        Released(keymap::RIGHT_SHIFT),
        Pressed(30),
    ];
    assert_eq!(text_of(&events), "AAa");
}

#[test]
fn caps_lock_does_not_matter() {
    let events = [
        Pressed(58),
        Released(58),
        Pressed(30),
        Released(30),
        Pressed(3),
        Pressed(keymap::LEFT_SHIFT),
        Pressed(30),
    ];
    assert_eq!(text_of(&events), "a2A");
}

#[test]
fn a_key_without_a_character_spoils_the_code_instead_of_leaving_a_shorter_one() {
    assert_eq!(
        text_of(&[Pressed(30), Pressed(59), Released(59), Pressed(48)]),
        "a\u{fffd}b"
    );
}

#[test]
fn accents_join_the_letter_they_were_typed_before() {
    let typed = |keys: &[u16]| {
        let mut decoder = Decoder::new(Layout::De);
        let events: Vec<KeyEvent> = keys
            .iter()
            .flat_map(|key| [Pressed(*key), Released(*key)])
            .collect();
        assert_eq!(decoded(&mut decoder, &events), []);
        let Some(ScannedCode::Whole(bytes)) = decoder.end() else {
            panic!("no code")
        };
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(typed(&[41, 57]), "^", "accent and space: the bare accent");
    assert_eq!(typed(&[41, 18]), "e\u{302}");
    assert_eq!(typed(&[41, 2]), "^1");
    assert_eq!(typed(&[41, 41, 57]), "^^");
    assert_eq!(
        typed(&[30, 13]),
        "a´",
        "an accent at the end is not forgotten"
    );
}

#[test]
fn a_lost_event_breaks_the_code_up_to_its_end_and_not_the_next() {
    let mut decoder = Decoder::new(Layout::Us);
    let events = typing(Layout::Us, "C02XK0AAJG5H\n");
    // Shift was down when the queue overflowed; what the kernel still delivers is ignored.
    assert_eq!(decoded(&mut decoder, &events[..11]), []);
    assert_eq!(
        decoded(
            &mut decoder,
            &[
                Dropped,
                Pressed(30),
                Pressed(keymap::LEFT_SHIFT),
                Pressed(keymap::ENTER)
            ]
        ),
        [],
        "nothing counts until the keys are known again"
    );
    assert!(decoder.lost() && decoder.pending());
    decoder.resume(std::iter::empty());
    assert!(!decoder.lost());
    let tail = typing(Layout::Us, "JG5H\n");
    let scans = decoded(&mut decoder, &tail);
    let [ScannedCode::Broken { bytes, why }] = scans.as_slice() else {
        panic!("the rest is not a code of its own")
    };
    assert!(
        bytes.ends_with(b"JG5H") && why.contains("ran over"),
        "{bytes:?}"
    );
    assert_eq!(decoded(&mut decoder, &events), [code("C02XK0AAJG5H")]);
}

#[test]
fn a_code_whose_end_key_was_lost_is_broken_by_the_pause() {
    let mut decoder = Decoder::new(Layout::Us);
    assert_eq!(decoded(&mut decoder, &[Dropped]), []);
    decoder.resume([keymap::LEFT_SHIFT].into_iter());
    assert!(decoder.pending());
    assert!(matches!(decoder.end(), Some(ScannedCode::Broken { .. })));
    assert_eq!(
        decoded(
            &mut decoder,
            &[
                Pressed(30),
                Released(keymap::LEFT_SHIFT),
                Pressed(30),
                Pressed(keymap::ENTER)
            ]
        ),
        [code("Aa")],
        "the keys that are down are known"
    );
}

#[test]
fn two_scanners_never_mix() {
    let (mut left, mut right) = (Decoder::new(Layout::Us), Decoder::new(Layout::De));
    let (one, two) = (
        typing(Layout::Us, "C02XK0AAJG5H\n"),
        typing(Layout::De, "FVFXYZ12ABCD\n"),
    );
    let mut scans = (Vec::new(), Vec::new());
    for place in 0..one.len().max(two.len()) {
        scans
            .0
            .extend(one.get(place).and_then(|event| left.event(*event)));
        scans
            .1
            .extend(two.get(place).and_then(|event| right.event(*event)));
    }
    assert_eq!(
        scans,
        (vec![code("C02XK0AAJG5H")], vec![code("FVFXYZ12ABCD")])
    );
}

#[test]
fn a_key_that_hangs_is_bounded() {
    let mut decoder = Decoder::new(Layout::Us);
    for _ in 0..100_000 {
        assert_eq!(decoder.event(Pressed(30)), None);
    }
    assert!(
        matches!(decoder.event(Pressed(keymap::ENTER)), Some(ScannedCode::Broken { bytes, .. }) if bytes.len() == 4_096)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_code_of_a_box_survives_every_layout(text in "[A-Za-z0-9][A-Za-z0-9/\u{1d}\u{4}-]{0,38}[A-Za-z0-9]", layout in prop::sample::select(vec![Layout::Us, Layout::De, Layout::Fr])) {
        let events = typing(layout, &format!("{text}\n"));
        prop_assert_eq!(decoded(&mut Decoder::new(layout), &events), [code(&text)]);
    }

    #[test]
    fn no_stream_of_events_panics_and_a_drop_is_always_answered(events in prop::collection::vec(prop_oneof![8 => (0_u16..0x300).prop_map(Pressed), 8 => (0_u16..0x300).prop_map(Released), 1 => Just(Dropped)], 0..300)) {
        let mut decoder = Decoder::new(Layout::Fr);
        for event in events {
            let _ = decoder.event(event);
            if decoder.lost() {
                decoder.resume(std::iter::empty());
                prop_assert!(decoder.pending());
            }
        }
        let begun = decoder.pending();
        prop_assert_eq!(decoder.end().is_some(), begun);
        prop_assert!(!decoder.pending());
    }
}
