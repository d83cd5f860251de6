//! From one device's key events to scans. Pure.

use std::collections::BTreeSet;

use super::super::{
    Layout, ScannedCode,
    framing::Framer,
    keymap::{self, Modifiers, Stroke},
};

/// Takes the place of a key whose character is not known, so that the code becomes unreadable and not another code.
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// The events of the device that matter for a scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyEvent {
    Pressed(u16),
    Released(u16),
    /// `SYN_DROPPED`: the kernel's queue overflowed. Events are missing, and which keys are down is not known.
    Dropped,
}

/// The keys of one device that are down, and the code that it is typing.
#[derive(Debug)]
pub(super) struct Decoder {
    layout: Layout,
    framer: Framer,
    /// Single keys, not modifiers: when one Shift key is released, the other may still be down.
    down: BTreeSet<u16>,
    /// An accent that waits for its letter.
    accent: Option<char>,
    /// The number of a character that is being typed on the keypad while Alt is down.
    alt_number: Option<u32>,
    /// Events are missing; all others are ignored until [`Decoder::resume`].
    lost: bool,
}

impl Decoder {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            framer: Framer::default(),
            down: BTreeSet::new(),
            accent: None,
            alt_number: None,
            lost: false,
        }
    }

    /// Returns the scan that this event ends.
    pub(super) fn event(&mut self, event: KeyEvent) -> Option<ScannedCode> {
        match event {
            KeyEvent::Dropped => {
                self.lost = true;
                self.spoil("the scanner's key queue ran over");
                None
            }
            _ if self.lost => None,
            KeyEvent::Released(key) => {
                self.down.remove(&key);
                if !self.modifiers().alt && !self.modifiers().altgr {
                    // Releasing Alt completes the number.
                    let number = self.alt_number.take()?;
                    return self.character(u8::try_from(number).map_or(UNKNOWN, char::from));
                }
                None
            }
            KeyEvent::Pressed(key) => match keymap::stroke(self.layout, key, self.modifiers()) {
                Stroke::Nothing => {
                    self.down.insert(key);
                    None
                }
                Stroke::End => self.end(),
                Stroke::Character(character) => self.character(character),
                Stroke::Unknown => self.character(UNKNOWN),
                Stroke::Accent(accent) => {
                    self.flush_accent();
                    self.accent = Some(accent);
                    None
                }
                Stroke::AltDigit(digit) => {
                    let number = self.alt_number.unwrap_or(0);
                    self.alt_number =
                        Some(number.saturating_mul(10).saturating_add(u32::from(digit)));
                    None
                }
            },
        }
    }

    /// Were events lost? Then the caller must ask the device which keys are down and call [`Decoder::resume`].
    pub(super) fn lost(&self) -> bool {
        self.lost
    }

    /// Continues with the keys that are down now. The code that lost events stays broken up to its end.
    pub(super) fn resume(&mut self, down: impl Iterator<Item = u16>) {
        self.lost = false;
        self.alt_number = None;
        self.accent = None;
        self.down = down.collect();
    }

    /// Has a code begun that has not ended?
    pub(super) fn pending(&self) -> bool {
        self.framer.pending() || self.accent.is_some() || self.alt_number.is_some()
    }

    /// Marks the code that is being read as broken, whatever else still arrives of it.
    pub(super) fn spoil(&mut self, why: &'static str) {
        self.framer.spoil(why);
    }

    /// Ends the code, because of an end key or a pause.
    pub(super) fn end(&mut self) -> Option<ScannedCode> {
        self.flush_accent();
        if self.alt_number.take().is_some() {
            self.add(UNKNOWN);
        }
        self.framer.end()
    }

    fn modifiers(&self) -> Modifiers {
        let down = |key| self.down.contains(&key);
        Modifiers {
            shift: down(keymap::LEFT_SHIFT) || down(keymap::RIGHT_SHIFT),
            ctrl: down(keymap::LEFT_CTRL) || down(keymap::RIGHT_CTRL),
            alt: down(keymap::LEFT_ALT),
            altgr: down(keymap::RIGHT_ALT),
            meta: down(keymap::LEFT_META) || down(keymap::RIGHT_META),
        }
    }

    fn character(&mut self, character: char) -> Option<ScannedCode> {
        // Some scanners send their end key as a control character: Ctrl+M, Alt+013.
        if matches!(character, '\r' | '\n' | '\t') {
            return self.end();
        }
        match self.accent.take() {
            None => self.add(character),
            // Accent and space: how every keyboard types the accent alone.
            Some(accent) if character == ' ' => self.add(accent),
            Some(accent) if character.is_alphabetic() => {
                self.add(character);
                self.add(combining(accent));
            }
            Some(accent) => {
                self.add(accent);
                self.add(character);
            }
        }
        None
    }

    fn flush_accent(&mut self) {
        if let Some(accent) = self.accent.take() {
            self.add(accent);
        }
    }

    fn add(&mut self, character: char) {
        self.framer
            .add(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// The combining character that puts an accent on the letter before it.
fn combining(accent: char) -> char {
    match accent {
        '^' => '\u{302}',
        '´' => '\u{301}',
        '`' => '\u{300}',
        '¨' => '\u{308}',
        '~' => '\u{303}',
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests;
