//! From keys to characters, for the layouts that scanners type in. Pure. Caps Lock and Num Lock have no effect.
//!
//! Key codes are from Linux's `input-event-codes.h`. Each is a place on the keyboard, named after the American key there.

use super::Layout;

pub(super) const TAB: u16 = 15;
pub(super) const ENTER: u16 = 28;
pub(super) const LEFT_CTRL: u16 = 29;
pub(super) const LEFT_SHIFT: u16 = 42;
pub(super) const RIGHT_SHIFT: u16 = 54;
pub(super) const LEFT_ALT: u16 = 56;
pub(super) const KEYPAD_ENTER: u16 = 96;
pub(super) const RIGHT_CTRL: u16 = 97;
pub(super) const RIGHT_ALT: u16 = 100;
pub(super) const LEFT_META: u16 = 125;
pub(super) const RIGHT_META: u16 = 126;

/// Caps Lock, Num Lock, Scroll Lock. Their state belongs to the computer; a scanner's keys mean what they say.
const LOCKS: [u16; 3] = [58, 69, 70];

/// Buttons of mice and pads, which some scanners have as composite devices. They type nothing.
const BUTTONS: std::ops::Range<u16> = 0x100..0x160;

/// The modifier keys that are down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Modifiers {
    pub(super) shift: bool,
    pub(super) ctrl: bool,
    /// The left Alt key.
    pub(super) alt: bool,
    /// The right Alt key, which is AltGr where a layout has one.
    pub(super) altgr: bool,
    pub(super) meta: bool,
}

/// What one key press means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
    /// A character.
    Character(char),
    /// An accent that waits for the next character.
    Accent(char),
    /// A digit of a character's number, typed on the keypad while Alt is down.
    AltDigit(u8),
    /// An end key.
    End,
    /// A modifier or a lock.
    Nothing,
    /// A key whose character is not known. It must not be left out: what remains would be another code.
    Unknown,
}

/// What pressing `key` means while the `modifiers` are down.
pub(super) fn stroke(layout: Layout, key: u16, modifiers: Modifiers) -> Stroke {
    match key {
        ENTER | KEYPAD_ENTER | TAB => return Stroke::End,
        LEFT_CTRL | LEFT_SHIFT | RIGHT_SHIFT | LEFT_ALT | RIGHT_CTRL | RIGHT_ALT | LEFT_META
        | RIGHT_META => return Stroke::Nothing,
        _ if LOCKS.contains(&key) || BUTTONS.contains(&key) => return Stroke::Nothing,
        _ => {}
    }
    if let Some(character) = keypad(layout, key) {
        return match character
            .to_digit(10)
            .and_then(|digit| u8::try_from(digit).ok())
        {
            Some(digit) if (modifiers.alt || modifiers.altgr) && !modifiers.ctrl => {
                Stroke::AltDigit(digit)
            }
            _ => Stroke::Character(character),
        };
    }
    if modifiers.meta {
        return Stroke::Unknown;
    }
    // Ctrl and the left Alt key together are AltGr.
    let third = if modifiers.altgr || (modifiers.ctrl && modifiers.alt) {
        third_level(layout, key)
    } else {
        None
    };
    match third {
        // No Ctrl, or Ctrl as a part of AltGr (Ctrl and Alt).
        Some(stroke) if !modifiers.ctrl || modifiers.alt => return stroke,
        Some(Stroke::Character(character)) => {
            return control(character).map_or(Stroke::Unknown, Stroke::Character);
        }
        Some(_) => return Stroke::Unknown,
        None if modifiers.alt || modifiers.altgr => return Stroke::Unknown,
        None => {}
    }
    if modifiers.ctrl {
        // A scanner types GS as Ctrl+]: by the layout's own `]` if that is on a key, else by the place of the American one.
        let typed = |layout| match written(layout, key, modifiers.shift) {
            Some(Stroke::Character(character)) => control(character),
            _ => None,
        };
        return typed(layout)
            .or_else(|| typed(Layout::Us))
            .map_or(Stroke::Unknown, Stroke::Character);
    }
    written(layout, key, modifiers.shift).unwrap_or(Stroke::Unknown)
}

/// The control character of Ctrl with a character: `]` gives GS, `D` gives EOT.
fn control(character: char) -> Option<char> {
    match character.to_ascii_uppercase() {
        upper @ '@'..='_' => u8::try_from(upper).ok().map(|byte| char::from(byte & 0x1f)),
        // Ctrl+^ without Shift.
        '6' => Some('\x1e'),
        _ => None,
    }
}

/// The characters of neighbouring keys, starting at key `first`: without and with Shift.
struct Row {
    first: u16,
    plain: &'static str,
    shifted: &'static str,
}

const fn row(first: u16, plain: &'static str, shifted: &'static str) -> Row {
    Row {
        first,
        plain,
        shifted,
    }
}

const US: [Row; 6] = [
    row(2, "1234567890-=", "!@#$%^&*()_+"),
    row(16, "qwertyuiop[]", "QWERTYUIOP{}"),
    row(30, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    row(43, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    row(57, " ", " "),
    row(86, "<", ">"),
];

const DE: [Row; 6] = [
    row(2, "1234567890ß´", "!\"§$%&/()=?`"),
    row(16, "qwertzuiopü+", "QWERTZUIOPÜ*"),
    row(30, "asdfghjklöä^", "ASDFGHJKLÖÄ°"),
    row(43, "#yxcvbnm,.-", "'YXCVBNM;:_"),
    row(57, " ", " "),
    row(86, "<", ">"),
];

const FR: [Row; 6] = [
    row(2, "&é\"'(-è_çà)=", "1234567890°+"),
    row(16, "azertyuiop^$", "AZERTYUIOP¨£"),
    row(30, "qsdfghjklmù²", "QSDFGHJKLM%²"),
    row(43, "*wxcvbn,;:!", "µWXCVBN?./§"),
    row(57, " ", " "),
    row(86, "<", ">"),
];

fn written(layout: Layout, key: u16, shift: bool) -> Option<Stroke> {
    let rows = match layout {
        Layout::Us => &US,
        Layout::De => &DE,
        Layout::Fr => &FR,
    };
    let character = rows.iter().find_map(|row| {
        let place = usize::from(key.checked_sub(row.first)?);
        (if shift { row.shifted } else { row.plain })
            .chars()
            .nth(place)
    })?;
    let accent = match layout {
        Layout::Us => false,
        Layout::De => matches!(character, '^' | '´' | '`'),
        Layout::Fr => matches!(character, '^' | '¨'),
    };
    Some(if accent {
        Stroke::Accent(character)
    } else {
        Stroke::Character(character)
    })
}

/// The characters that AltGr adds.
fn third_level(layout: Layout, key: u16) -> Option<Stroke> {
    let character = match (layout, key) {
        (Layout::De, 3) => '²',
        (Layout::De, 4) => '³',
        (Layout::De, 8) => '{',
        (Layout::De, 9) => '[',
        (Layout::De, 10) => ']',
        (Layout::De, 11) => '}',
        (Layout::De, 12) => '\\',
        (Layout::De, 16) => '@',
        (Layout::De, 18) => '€',
        (Layout::De, 27) => '~',
        (Layout::De, 50) => 'µ',
        (Layout::De, 86) => '|',
        (Layout::Fr, 3) => return Some(Stroke::Accent('~')),
        (Layout::Fr, 4) => '#',
        (Layout::Fr, 5) => '{',
        (Layout::Fr, 6) => '[',
        (Layout::Fr, 7) => '|',
        (Layout::Fr, 8) => return Some(Stroke::Accent('`')),
        (Layout::Fr, 9) => '\\',
        (Layout::Fr, 10) => '^',
        (Layout::Fr, 11) => '@',
        (Layout::Fr, 12) => ']',
        (Layout::Fr, 13) => '}',
        (Layout::Fr, 18) => '€',
        (Layout::Fr, 27) => '¤',
        _ => return None,
    };
    Some(Stroke::Character(character))
}

/// The keypad's characters, whatever the state of Num Lock.
fn keypad(layout: Layout, key: u16) -> Option<char> {
    Some(match key {
        71..=73 => char::from(b'7' + u8::try_from(key - 71).ok()?),
        75..=77 => char::from(b'4' + u8::try_from(key - 75).ok()?),
        79..=81 => char::from(b'1' + u8::try_from(key - 79).ok()?),
        82 => '0',
        55 => '*',
        74 => '-',
        78 => '+',
        98 => '/',
        83 if layout == Layout::De => ',',
        83 => '.',
        117 => '=',
        121 => ',',
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
