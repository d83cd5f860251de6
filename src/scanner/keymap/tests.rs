//! What scanners of each layout type, key by key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use super::*;

const PLAIN: Modifiers = Modifiers {
    shift: false,
    ctrl: false,
    alt: false,
    altgr: false,
    meta: false,
};
const SHIFT: Modifiers = Modifiers {
    shift: true,
    ..PLAIN
};
const CTRL: Modifiers = Modifiers {
    ctrl: true,
    ..PLAIN
};
const ALTGR: Modifiers = Modifiers {
    altgr: true,
    ..PLAIN
};
const CTRL_ALT: Modifiers = Modifiers {
    ctrl: true,
    alt: true,
    ..PLAIN
};

/// The keys of a keyboard's main block, row by row.
const KEYS: [std::ops::RangeInclusive<u16>; 4] = [2..=13, 16..=27, 30..=41, 43..=53];

fn typed(layout: Layout, modifiers: Modifiers) -> String {
    let character = |key| match stroke(layout, key, modifiers) {
        Stroke::Character(character) | Stroke::Accent(character) => character,
        _ => '\u{fffd}',
    };
    KEYS.into_iter()
        .flat_map(|row| row.map(character))
        .collect()
}

#[test]
fn the_three_layouts_type_what_is_printed_on_their_keys() {
    assert_eq!(
        typed(Layout::Us, PLAIN),
        r"1234567890-=qwertyuiop[]asdfghjkl;'`\zxcvbnm,./"
    );
    assert_eq!(
        typed(Layout::Us, SHIFT),
        r#"!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"~|ZXCVBNM<>?"#
    );
    assert_eq!(
        typed(Layout::De, PLAIN),
        "1234567890ß´qwertzuiopü+asdfghjklöä^#yxcvbnm,.-"
    );
    assert_eq!(
        typed(Layout::De, SHIFT),
        "!\"§$%&/()=?`QWERTZUIOPÜ*ASDFGHJKLÖÄ°'YXCVBNM;:_"
    );
    assert_eq!(
        typed(Layout::Fr, PLAIN),
        "&é\"'(-è_çà)=azertyuiop^$qsdfghjklmù²*wxcvbn,;:!"
    );
    assert_eq!(
        typed(Layout::Fr, SHIFT),
        "1234567890°+AZERTYUIOP¨£QSDFGHJKLM%²µWXCVBN?./§"
    );
    for layout in [Layout::Us, Layout::De, Layout::Fr] {
        assert_eq!(stroke(layout, 57, SHIFT), Stroke::Character(' '));
        assert_eq!(
            (stroke(layout, 86, PLAIN), stroke(layout, 86, SHIFT)),
            (Stroke::Character('<'), Stroke::Character('>'))
        );
    }
}

#[test]
fn altgr_and_ctrl_with_alt_reach_the_third_level() {
    for modifiers in [ALTGR, CTRL_ALT] {
        let german: String = [8, 9, 10, 11, 12, 16, 27, 86]
            .map(|key| {
                if let Stroke::Character(character) = stroke(Layout::De, key, modifiers) {
                    character
                } else {
                    '\u{fffd}'
                }
            })
            .iter()
            .collect();
        assert_eq!(german, "{[]}\\@~|");
        let french: String = [4, 5, 6, 7, 9, 10, 11, 12, 13]
            .map(|key| {
                if let Stroke::Character(character) = stroke(Layout::Fr, key, modifiers) {
                    character
                } else {
                    '\u{fffd}'
                }
            })
            .iter()
            .collect();
        assert_eq!(french, "#{[|\\^@]}");
    }
    assert_eq!(
        stroke(Layout::Us, 16, ALTGR),
        Stroke::Unknown,
        "an American keyboard has no third level"
    );
}

#[test]
fn dead_keys_are_accents() {
    assert_eq!(stroke(Layout::De, 41, PLAIN), Stroke::Accent('^'));
    assert_eq!(stroke(Layout::De, 13, SHIFT), Stroke::Accent('`'));
    assert_eq!(stroke(Layout::Fr, 26, PLAIN), Stroke::Accent('^'));
    assert_eq!(stroke(Layout::Fr, 26, SHIFT), Stroke::Accent('¨'));
    assert_eq!(stroke(Layout::Us, 41, PLAIN), Stroke::Character('`'));
}

#[test]
fn control_characters_are_typed_with_ctrl() {
    for layout in [Layout::Us, Layout::De, Layout::Fr] {
        assert_eq!(
            stroke(layout, 27, CTRL),
            Stroke::Character('\x1d'),
            "{layout:?}: GS at the place of the American ]"
        );
        assert_eq!(
            stroke(layout, 32, CTRL),
            Stroke::Character('\x04'),
            "{layout:?}: EOT is Ctrl+D"
        );
    }
    assert_eq!(
        stroke(Layout::Us, 7, CTRL),
        Stroke::Character('\x1e'),
        "RS is Ctrl+^"
    );
    assert_eq!(
        stroke(
            Layout::Us,
            7,
            Modifiers {
                shift: true,
                ..CTRL
            }
        ),
        Stroke::Character('\x1e')
    );
    assert_eq!(
        stroke(
            Layout::De,
            10,
            Modifiers {
                altgr: true,
                ..CTRL
            }
        ),
        Stroke::Character('\x1d'),
        "GS by the German ]"
    );
    assert_eq!(
        stroke(Layout::De, 21, CTRL),
        Stroke::Character('\x1a'),
        "Ctrl+Z where the German Z is"
    );
    assert_eq!(stroke(Layout::Us, 2, CTRL), Stroke::Unknown);
}

#[test]
fn the_keypad_types_digits_whatever_the_locks_say_and_numbers_of_characters_with_alt() {
    let digits: Vec<Stroke> = [82, 79, 80, 81, 75, 76, 77, 71, 72, 73]
        .into_iter()
        .map(|key| stroke(Layout::Fr, key, PLAIN))
        .collect();
    assert_eq!(
        digits,
        "0123456789"
            .chars()
            .map(Stroke::Character)
            .collect::<Vec<_>>()
    );
    assert_eq!(
        stroke(Layout::Us, 73, Modifiers { alt: true, ..PLAIN }),
        Stroke::AltDigit(9)
    );
    assert_eq!(stroke(Layout::Us, 83, PLAIN), Stroke::Character('.'));
    assert_eq!(stroke(Layout::De, 83, PLAIN), Stroke::Character(','));
    for lock in LOCKS {
        assert_eq!(stroke(Layout::Us, lock, PLAIN), Stroke::Nothing);
    }
}

#[test]
fn end_keys_end_and_what_is_not_known_is_never_left_out() {
    for key in [ENTER, KEYPAD_ENTER, TAB] {
        assert_eq!(stroke(Layout::Fr, key, SHIFT), Stroke::End);
    }
    // Escape, F1, Home, a media key, Alt+A, the Windows key with R.
    assert_eq!(stroke(Layout::Us, 1, PLAIN), Stroke::Unknown);
    assert_eq!(stroke(Layout::Us, 59, PLAIN), Stroke::Unknown);
    assert_eq!(stroke(Layout::Us, 102, PLAIN), Stroke::Unknown);
    assert_eq!(stroke(Layout::Us, 115, PLAIN), Stroke::Unknown);
    assert_eq!(
        stroke(Layout::Us, 30, Modifiers { alt: true, ..PLAIN }),
        Stroke::Unknown
    );
    assert_eq!(
        stroke(
            Layout::Us,
            19,
            Modifiers {
                meta: true,
                ..PLAIN
            }
        ),
        Stroke::Unknown
    );
    assert_eq!(
        stroke(Layout::Us, 0x110, PLAIN),
        Stroke::Nothing,
        "a mouse button types nothing"
    );
}
