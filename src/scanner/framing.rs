//! From bytes to scans: a line end or a pause ends a code; a code that is too long is broken as a whole. Pure.

use std::mem;

use super::ScannedCode;

/// Most bytes of one code. What follows, up to the code's end, is thrown away.
pub(super) const LONGEST: usize = 4_096;

const OVERLONG: &str = "the code is longer than 4,096 bytes";

/// ASCII "start of text", "end of text", "end of transmission" and "end of transmission block".
const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const EOT: u8 = 0x04;
const ETB: u8 = 0x17;
/// ASCII separators that two-dimensional codes use.
const GS: u8 = 0x1d;
const RS: u8 = 0x1e;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Characters that a scanner, a serial line or a terminal server may put around a code: fill (NUL, form feed, tabs), flow control
/// (XON, XOFF), the frame (SOH, STX, ETX, ETB), and the handshake (ENQ, ACK, NAK, SYN, DLE, BEL). Characters that change the
/// meaning of their neighbours are not fill: backspace, cancel, delete, escape, the shifts to other characters, the separators.
const fn is_fill(byte: u8) -> bool {
    matches!(byte, 0x00..=STX | ETX | 0x05..=0x07 | b'\t' | 0x0b | 0x0c | 0x10..=ETB)
}

/// The line without the frame around its code.
fn unframed(line: &[u8]) -> &[u8] {
    let line = trim_start(line, |byte| is_fill(byte) || byte == EOT);
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    // EOT also ends an ISO 15434 message, and is part of it.
    let is_message = line.iter().any(|byte| matches!(*byte, GS | RS));
    let is_frame = |byte| is_fill(byte) || (byte == EOT && !is_message);
    let bare = |text| trim_end(trim_start(text, is_frame), is_frame);
    let line = match bare(line) {
        // A check character after the frame (LRC): all bytes of the code and ETX, in some protocols also STX, combined by XOR.
        [text @ .., end @ (ETX | ETB), check]
            if [*check, *check ^ STX].contains(&text.iter().fold(*end, |sum, byte| sum ^ byte)) =>
        {
            bare(text)
        }
        line => line,
    };
    let is_edge = |byte| is_frame(byte) || byte == b' ';
    match trim_end(trim_start(line, is_edge), is_edge) {
        // Somebody scanned blanks: that must be answered.
        [] => line,
        code => code,
    }
}

fn trim_start(mut text: &[u8], dropped: impl Fn(u8) -> bool) -> &[u8] {
    while let [first, rest @ ..] = text
        && dropped(*first)
    {
        text = rest;
    }
    text
}

fn trim_end(mut text: &[u8], dropped: impl Fn(u8) -> bool) -> &[u8] {
    while let [rest @ .., last] = text
        && dropped(*last)
    {
        text = rest;
    }
    text
}

/// Collects the bytes of one stream (one device, one connection) into scans.
#[derive(Debug, Default)]
pub(super) struct Framer {
    bytes: Vec<u8>,
    spoiled: Option<&'static str>,
}

impl Framer {
    /// Adds bytes that may hold line ends (CR, LF, or both); returns the codes they end, in order.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<ScannedCode> {
        let mut ended = Vec::new();
        for (place, line) in bytes
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .enumerate()
        {
            // A line end came before every piece but the first.
            if place > 0 {
                ended.extend(self.end());
            }
            self.add(line);
        }
        ended
    }

    /// Adds bytes of the code itself.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        // Fill between two codes takes no room, however long it is.
        let bytes = if self.bytes.is_empty() {
            trim_start(bytes, is_fill)
        } else {
            bytes
        };
        let room = LONGEST.saturating_sub(self.bytes.len());
        match bytes.split_at_checked(room) {
            Some((fitting, rest)) => {
                self.bytes.extend_from_slice(fitting);
                if !rest.is_empty() {
                    self.spoil(OVERLONG);
                }
            }
            None => self.bytes.extend_from_slice(bytes),
        }
    }

    /// Marks the code that is being read as broken, whatever else still arrives of it.
    pub(super) fn spoil(&mut self, why: &'static str) {
        self.spoiled.get_or_insert(why);
    }

    /// Ends the code, because of an end key, a line end, a pause or the end of the stream. Returns it without its frame; an empty
    /// line or frame is not a scan.
    pub(super) fn end(&mut self) -> Option<ScannedCode> {
        let bytes = mem::take(&mut self.bytes);
        match (self.spoiled.take(), unframed(&bytes)) {
            (Some(why), _) => Some(ScannedCode::Broken { bytes, why }),
            (None, []) => None,
            (None, code) => Some(ScannedCode::Whole(code.to_vec())),
        }
    }

    /// Has a code begun that has not ended?
    pub(super) fn pending(&self) -> bool {
        !unframed(&self.bytes).is_empty() || self.spoiled.is_some()
    }
}

/// One code in the frames of many scanners and serial lines, for the tests of every kind of scanner.
#[cfg(test)]
pub(super) const FRAMED: [&[u8]; 23] = [
    b"HLDRND0002",
    b"\x02HLDRND0002\x03",
    b"\x13\x13HLDRND0002",
    b"HLDRND0002\x13\x11",
    b"\0HLDRND0002\0\0",
    b"HLDRND0002\x0c",
    b"\x01HLDRND0002\x03",
    b"\x01HLDRND0002\x04",
    b"\x02HLDRND0002\x03\x04",
    b"\x02HLDRND0002\x17",
    b"\x10\x02HLDRND0002\x10\x03",
    b"\x05HLDRND0002\x06",
    b"\x15\x16\x16HLDRND0002",
    b"\x07HLDRND0002\x07",
    b"\xef\xbb\xbfHLDRND0002",
    b"\0\xef\xbb\xbf\x02HLDRND0002",
    b"\tHLDRND0002\t",
    b" \x02 HLDRND0002 \x03 ",
    b"\x0bHLDRND0002\x0b\x0c",
    // A check character after the frame: all bytes of the code and ETX, with STX or without.
    b"\x02HLDRND0002\x03\x19",
    b"\x02HLDRND0002\x03\x1b",
    b"\x02HLDRND0002\x17\x0f",
    b"\x02HLDRND0002\x03\x19\0",
];

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use proptest::prelude::*;

    use super::*;

    fn code(text: &str) -> ScannedCode {
        ScannedCode::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn cr_lf_and_both_end_a_code_and_empty_lines_are_no_scans() {
        let mut framer = Framer::default();
        assert_eq!(
            framer.push(b"A1\rB2\nC3\r\n\r\n\n\nD4"),
            [code("A1"), code("B2"), code("C3")]
        );
        assert!(framer.pending());
        assert_eq!(framer.push(b"\n"), [code("D4")]);
        assert!(!framer.pending());
        assert_eq!(framer.end(), None, "nothing is left");
    }

    #[test]
    fn a_last_line_without_its_end_counts_at_the_end_of_the_stream() {
        let mut framer = Framer::default();
        assert_eq!(framer.push(b"A1\nB2"), [code("A1")]);
        assert_eq!(framer.end(), Some(code("B2")));
        assert_eq!(framer.end(), None);
    }

    #[test]
    fn an_overlong_code_is_broken_as_a_whole_and_the_next_is_well() {
        let mut framer = Framer::default();
        assert_eq!(framer.push(&[b'X'; 4_096]), []);
        assert_eq!(
            framer.push(b"\n"),
            [ScannedCode::Whole(vec![b'X'; 4_096])],
            "4,096 bytes are allowed"
        );
        for _ in 0..100 {
            assert_eq!(framer.push(&[b'X'; 1_000]), []);
        }
        assert!(
            framer.bytes.capacity() <= 2 * LONGEST,
            "the rest is not kept"
        );
        assert_eq!(
            framer.push(b"tail\nA1\n"),
            [
                ScannedCode::Broken {
                    bytes: vec![b'X'; 4_096],
                    why: OVERLONG
                },
                code("A1")
            ]
        );
    }

    #[test]
    fn a_spoiled_code_is_broken_up_to_its_end_only() {
        let mut framer = Framer::default();
        assert_eq!(framer.push(b"A1"), []);
        framer.spoil("lost");
        framer.spoil("lost again");
        assert_eq!(
            framer.push(b"23\nB2\n"),
            [
                ScannedCode::Broken {
                    bytes: b"A123".to_vec(),
                    why: "lost"
                },
                code("B2")
            ]
        );
    }

    /// The scan that one line gives.
    fn line(bytes: &[u8]) -> Option<ScannedCode> {
        let mut framer = Framer::default();
        assert_eq!(framer.push(bytes), []);
        framer.end()
    }

    #[test]
    fn the_frame_around_a_code_is_dropped() {
        for framed in FRAMED {
            assert_eq!(
                line(framed),
                Some(code("HLDRND0002")),
                "{:?}",
                framed.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn a_check_character_is_dropped_when_it_is_right_and_spoils_the_code_when_not() {
        let text = b"C02XK0AAJG5H";
        let right = text.iter().fold(ETX, |sum, byte| sum ^ byte);
        for check in 0..=u8::MAX {
            let framed = [&[STX], text.as_slice(), &[ETX, check]].concat();
            match check {
                b'\r' | b'\n' => {}
                _ if check == right
                    || check == right ^ STX
                    || is_fill(check)
                    || check == EOT
                    || check == b' ' =>
                {
                    assert_eq!(line(&framed), Some(code("C02XK0AAJG5H")), "{check:#x}");
                }
                _ => assert_eq!(
                    line(&framed),
                    Some(ScannedCode::Whole(framed[1..].to_vec())),
                    "{check:#x}: unreadable, because it contains ETX"
                ),
            }
        }
    }

    #[test]
    fn fill_and_flow_control_between_codes_are_no_scans() {
        for noise in [
            b"\0".as_slice(),
            b"\x11",
            b"\x13\x11",
            b"\x06",
            b"\x05",
            b"\x07",
            b"\x02\x03",
            b"\x04",
            b"\xef\xbb\xbf",
            b"\0\xef\xbb\xbf\0",
        ] {
            assert_eq!(line(noise), None, "{:?}", noise.escape_ascii().to_string());
        }
        let mut framer = Framer::default();
        assert_eq!(framer.push(b"\x13"), []);
        assert!(!framer.pending(), "no code has begun");
        assert_eq!(
            framer.push(b"\x11HLDRND0002\r\0\x02HLDRND0003\x03\r\n\n\0\r"),
            [code("HLDRND0002"), code("HLDRND0003")]
        );
        assert!(!framer.pending());
        assert_eq!(framer.push(&[0; 10_000]), []);
        assert_eq!(
            framer.push(b"HLDRND0002\r"),
            [code("HLDRND0002")],
            "fill does not use up the room of a code"
        );
        assert_eq!(
            line(b"  "),
            Some(code("  ")),
            "blanks were scanned, and are answered"
        );
    }

    #[test]
    fn what_may_mean_something_stays_in_the_code() {
        for kept in [
            b"HLDRND\x130002".as_slice(),
            b"HLDRND0002\x08",
            b"HLDRND0002\x18",
            b"HLDRND0002\x7f",
            b"\x1bHLDRND0002",
            b"\x0eHLDRND0002\x0f",
            b"\x1dHLDRND0002\x1d",
            b"[)>\x1e06\x1dSHLDRND0002\x1e\x04",
            b"\x1d21HLDRND0002\x1d10A\x04",
            b"HLDRND0002\x03x",
            b"HLDRND0002\x03HLDRND0003",
            b"\xef\xbbHLDRND0002",
        ] {
            assert_eq!(
                line(kept),
                Some(ScannedCode::Whole(kept.to_vec())),
                "{:?}",
                kept.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn a_broken_code_is_kept_as_it_came() {
        let mut framer = Framer::default();
        framer.add(b"HLDRND\x03");
        framer.spoil("lost");
        assert_eq!(
            framer.end(),
            Some(ScannedCode::Broken {
                bytes: b"HLDRND\x03".to_vec(),
                why: "lost"
            })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(bytes in prop::collection::vec(prop_oneof![4 => prop::sample::select(b"\r\n\0\x02\x03\x04\x11\x1e\xef\xbb\xbf A".as_slice()), 1 => any::<u8>()], 0..200), cuts in prop::collection::vec(1_usize..20, 0..50)) {
            let mut whole = Framer::default();
            let mut expected = whole.push(&bytes);
            expected.extend(whole.end());

            let mut framer = Framer::default();
            let (mut rest, mut scans) = (bytes.as_slice(), Vec::new());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                scans.extend(framer.push(piece));
                rest = after;
            }
            scans.extend(framer.push(rest));
            scans.extend(framer.end());
            prop_assert_eq!(&scans, &expected);

            let lines = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).map(unframed).filter(|line| !line.is_empty());
            prop_assert_eq!(scans, lines.map(|line| ScannedCode::Whole(line.to_vec())).collect::<Vec<_>>());
        }
    }
}
