//! Text from outside as people may see it: on one line, in its own order, with nothing in it that is there and not seen. Pure.
//!
//! Services, labels, brokers and files have a say in what the station shows. In a name or a sentence of theirs a control character
//! moves a terminal's cursor, a mark of writing direction turns what stands beside it, and an invisible letter makes two names look
//! alike. So whatever a person or a spreadsheet reads passes through here, on every way out. Letters of all scripts stay as they are.
//! What is shown once and shown again stays the same: a text may pass twice.

use std::fmt::{self, Write};

/// A name or a word from outside is cut after so many characters.
const LONGEST: usize = 80;
/// Marks on one letter: no script needs more. What is stacked higher covers the lines above.
const MARKS: usize = 4;

/// The whole text: control characters as their pictures (␝ for GS), what cannot be seen as `\u{202e}`.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // Writing to a String cannot fail.
    let _ = Visible::on(&mut shown).write_str(text);
    shown
}

/// A name or a word: trimmed, and cut with `…` where it is too long to be one.
pub fn word(word: &str) -> String {
    let shown = text(word.trim());
    // One more than is kept: what has been cut before is not cut again.
    if shown.chars().count() <= LONGEST + 1 {
        return shown;
    }
    shown.chars().take(LONGEST).chain(['…']).collect()
}

/// A text of our own in several lines, with words from outside in it: each line as [`text`].
pub fn lines(lines: &str) -> String {
    lines.split('\n').map(text).collect::<Vec<_>>().join("\n")
}

/// Makes what is written visible on its way to `out`.
pub struct Visible<W> {
    out: W,
    written: usize,
    /// Marks since the last letter; `None` before the first one, where a mark would sit on somebody else's.
    marks: Option<usize>,
}

impl<W: Write> Visible<W> {
    /// A filter in front of `out`.
    pub const fn on(out: W) -> Self {
        Self {
            out,
            written: 0,
            marks: None,
        }
    }

    /// How many characters were written to `out`.
    pub const fn written(&self) -> usize {
        self.written
    }

    fn put(&mut self, seen: char) -> fmt::Result {
        self.written += 1;
        self.out.write_char(seen)
    }

    fn spell(&mut self, unseen: char) -> fmt::Result {
        unseen
            .escape_unicode()
            .try_for_each(|character| self.put(character))
    }
}

impl<W: Write> Write for Visible<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars()
            .try_for_each(|character| self.write_char(character))
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        let marks = self.marks.replace(0);
        match character {
            '\0'..='\x1f' => self.put(
                char::from_u32(0x2400 + u32::from(character))
                    .unwrap_or(char::REPLACEMENT_CHARACTER),
            ),
            '\x7f' => self.put('\u{2421}'),
            unseen if is_unseen(unseen) => self.spell(unseen),
            mark if is_mark(mark) => match marks {
                Some(marks) if marks < MARKS => {
                    self.marks = Some(marks + 1);
                    self.put(mark)
                }
                _ => self.spell(mark),
            },
            seen => self.put(seen),
        }
    }
}

/// Unicode's `Default_Ignorable_Code_Point` (`BiDi` controls, joiners, fillers, variation selectors, tags, the byte order mark), C1 controls,
/// separators of lines and paragraphs, the marks of annotations, and what is no character at all.
const fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{80}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    ) || (character as u32) & 0xfffe == 0xfffe
}

/// The marks that go on any letter, and are stacked by those who want to cover a screen.
const fn is_mark(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_turns_hides_or_covers_is_shown_as_what_it_is() {
        for (from_outside, shown) in [
            // C0, DEL, C1: a terminal obeys them.
            ("a\r\n\t\0\x1b[2Jb\x7f\u{9b}31m", "a␍␊␉␀␛[2Jb␡\\u{9b}31m"),
            // Marks, embeddings, overrides and isolates of writing direction, paired or not.
            (
                "\u{202e}gpj\u{202c}\u{2066}x\u{2069}\u{200f}\u{61c}\u{200e}",
                "\\u{202e}gpj\\u{202c}\\u{2066}x\\u{2069}\\u{200f}\\u{61c}\\u{200e}",
            ),
            // Nothing wide: two servers would bear one name.
            (
                "H\u{200b}Q\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}\u{34f}\u{180e}",
                "H\\u{200b}Q\\u{200c}\\u{200d}\\u{2060}\\u{feff}\\u{ad}\\u{34f}\\u{180e}",
            ),
            // Fillers and the empty Braille cell look like a space and are none.
            (
                "\u{3164}\u{ffa0}\u{115f}\u{2800}",
                "\\u{3164}\\u{ffa0}\\u{115f}\\u{2800}",
            ),
            // Separators of lines and paragraphs.
            (
                "one\u{2028}two\u{2029}three\u{85}",
                "one\\u{2028}two\\u{2029}three\\u{85}",
            ),
            // Tags carry a text that nobody sees; variation selectors carry any byte.
            (
                "ok\u{e0041}\u{e007f}\u{fe0f}\u{e0100}",
                "ok\\u{e0041}\\u{e007f}\\u{fe0f}\\u{e0100}",
            ),
            (
                "\u{fff9}\u{fffb}\u{fdd0}\u{ffff}\u{10fffe}",
                "\\u{fff9}\\u{fffb}\\u{fdd0}\\u{ffff}\\u{10fffe}",
            ),
            // A mark without a letter sits on what stands before the text.
            ("\u{301}a", "\\u{301}a"),
            // A pile of marks covers the lines above.
            (
                "Z\u{300}\u{301}\u{302}\u{303}\u{304}",
                "Z\u{300}\u{301}\u{302}\u{303}\\u{304}",
            ),
        ] {
            assert_eq!(text(from_outside), shown, "{from_outside:?}");
        }
    }

    #[test]
    fn names_of_every_script_stay_readable() {
        for name in [
            "Größe 2 (Zürich)",
            "Cafe\u{301} Tie\u{302}\u{301}ng Vie\u{323}\u{302}t",
            "Склад №3",
            "Αθήνα",
            "מחסן תל אביב",
            "مستودع الرياض",
            "東京倉庫－Ａ棟",
            "서울 창고",
            "गोदाम दिल्ली",
            "คลังสินค้า",
            "MacBook Air (13\u{a0}Zoll) – „M3“ 📦",
        ] {
            assert_eq!(text(name), name);
            assert_eq!(word(name), name);
        }
    }

    #[test]
    fn a_word_is_trimmed_and_ends_and_a_text_of_ours_keeps_its_lines() {
        assert_eq!(word(" HQ\nserver\u{1b}[31m "), "HQ␊server␛[31m");
        assert_eq!(word(&"x".repeat(500)), format!("{}…", "x".repeat(80)));
        assert_eq!(word(&"\u{202e}".repeat(500)).chars().count(), 81);
        assert_eq!(lines("one\ntwo\u{202e}\n"), "one\ntwo\\u{202e}\n");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_line_without_anything_unseen_and_stays_so(from_outside in any::<String>(), marks in "[a\u{300}\u{301}\u{20dd}]{0,40}") {
            for one in [&from_outside, &marks] {
                let shown = text(one);
                prop_assert!(!shown.chars().any(|character| character.is_control() || is_unseen(character)), "{shown:?}");
                prop_assert_eq!(text(&shown), shown.as_str());
                let short = word(one);
                prop_assert!(short.chars().count() <= LONGEST + 1);
                prop_assert_eq!(word(&short), short.as_str());
            }
        }

        #[test]
        fn in_pieces_it_is_the_same_as_whole(pieces in prop::collection::vec(any::<String>(), 0..4)) {
            let mut shown = String::new();
            let mut filter = Visible::on(&mut shown);
            for piece in &pieces {
                prop_assert!(filter.write_str(piece).is_ok());
            }
            prop_assert_eq!(shown, text(&pieces.concat()));
        }
    }
}
