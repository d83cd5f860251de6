//! Key events to scans, for one device. Pure: events go in, codes come out.

use std::collections::BTreeSet;

use super::super::{
    Content, Layout,
    framing::Framer,
    keymap::{self, Held, Stroke},
};

/// Stands for a key that means no known character: the code becomes unreadable instead of becoming another code.
const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// One event of the device, as far as a scanner is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A key went down.
    Pressed(u16),
    /// A key went up.
    Released(u16),
    /// The kernel's queue ran over: events are missing, and what is held down is not known (`SYN_DROPPED`).
    Dropped,
}

/// One device's keys and the code that they are typing.
#[derive(Debug)]
pub(super) struct Decoder {
    layout: Layout,
    framer: Framer,
    /// The modifiers that are down, by key: letting go of one Shift key leaves the other.
    down: BTreeSet<u16>,
    /// An accent that waits for its letter.
    accent: Option<char>,
    /// The number of a character that is being typed on the keypad while Alt is held.
    alt_number: Option<u32>,
    /// Events are missing; nothing counts until [`Decoder::resume`].
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

    /// Takes one event; returns the scan that it ends.
    pub(super) fn event(&mut self, event: Event) -> Option<Content> {
        match event {
            Event::Dropped => {
                self.lost = true;
                self.spoil("the scanner's key queue ran over");
                None
            }
            _ if self.lost => None,
            Event::Released(key) => {
                self.down.remove(&key);
                if !self.held().alt && !self.held().altgr {
                    // The number is complete when Alt is let go.
                    let number = self.alt_number.take()?;
                    return self.character(u8::try_from(number).map_or(UNKNOWN, char::from));
                }
                None
            }
            Event::Pressed(key) => match keymap::stroke(self.layout, key, self.held()) {
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

    /// Were events lost? Then the device must be asked which keys are down, and [`Decoder::resume`] be told.
    pub(super) fn lost(&self) -> bool {
        self.lost
    }

    /// Goes on with the keys that are down now. What is left of the code that lost events stays broken, up to its end.
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

    /// The code that is being read is broken, whatever still comes of it.
    pub(super) fn spoil(&mut self, why: &'static str) {
        self.framer.spoil(why);
    }

    /// An end key or a pause.
    pub(super) fn end(&mut self) -> Option<Content> {
        self.flush_accent();
        if self.alt_number.take().is_some() {
            self.add(UNKNOWN);
        }
        self.framer.end()
    }

    fn held(&self) -> Held {
        let down = |key| self.down.contains(&key);
        Held {
            shift: down(keymap::LEFT_SHIFT) || down(keymap::RIGHT_SHIFT),
            ctrl: down(keymap::LEFT_CTRL) || down(keymap::RIGHT_CTRL),
            alt: down(keymap::LEFT_ALT),
            altgr: down(keymap::RIGHT_ALT),
            meta: down(keymap::LEFT_META) || down(keymap::RIGHT_META),
        }
    }

    fn character(&mut self, character: char) -> Option<Content> {
        // Some scanners say their end key as a control character: Ctrl+M, Alt+013.
        if matches!(character, '\r' | '\n' | '\t') {
            return self.end();
        }
        match self.accent.take() {
            None => self.add(character),
            // How every keyboard types the bare accent.
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

/// The mark that puts an accent on the letter before it.
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
