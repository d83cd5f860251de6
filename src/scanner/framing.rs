//! Bytes to scans: a line end or a pause ends a code, overlong codes are broken as a whole. Pure.

use std::mem;

use super::Content;

/// Most bytes of one code; what follows up to its end is thrown away.
pub(super) const LONGEST: usize = 4_096;

/// Why an overlong code is broken.
const OVERLONG: &str = "the code is longer than 4,096 bytes";

/// Collects the bytes of one stream (one device, one connection) into scans.
#[derive(Debug, Default)]
pub(super) struct Framer {
    bytes: Vec<u8>,
    spoiled: Option<&'static str>,
}

impl Framer {
    /// Adds bytes that may hold line ends (CR, LF, or both); returns the codes they end, in order.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Content> {
        let mut ended = Vec::new();
        for (place, line) in bytes.split(|byte| matches!(byte, b'\r' | b'\n')).enumerate() {
            // Every piece but the first stands behind a line end.
            if place > 0 {
                ended.extend(self.end());
            }
            self.add(line);
        }
        ended
    }

    /// Adds bytes of the code itself.
    pub(super) fn add(&mut self, bytes: &[u8]) {
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

    /// The code that is being read is broken, whatever still comes of it.
    pub(super) fn spoil(&mut self, why: &'static str) {
        self.spoiled.get_or_insert(why);
    }

    /// An end key, a line end, a pause or the end of the stream. An empty line is no scan.
    pub(super) fn end(&mut self) -> Option<Content> {
        let bytes = mem::take(&mut self.bytes);
        match self.spoiled.take() {
            Some(why) => Some(Content::Broken { bytes, why }),
            None if bytes.is_empty() => None,
            None => Some(Content::Code(bytes)),
        }
    }

    /// Has a code begun that has not ended?
    pub(super) fn pending(&self) -> bool {
        !self.bytes.is_empty() || self.spoiled.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn code(text: &str) -> Content {
        Content::Code(text.as_bytes().to_vec())
    }

    #[test]
    fn cr_lf_and_both_end_a_code_and_empty_lines_are_no_scans() {
        let mut framer = Framer::default();
        assert_eq!(framer.push(b"A1\rB2\nC3\r\n\r\n\n\nD4"), [code("A1"), code("B2"), code("C3")]);
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
        assert_eq!(framer.push(b"\n"), [Content::Code(vec![b'X'; 4_096])], "4,096 bytes are allowed");
        for _ in 0..100 {
            assert_eq!(framer.push(&[b'X'; 1_000]), []);
        }
        assert!(framer.bytes.capacity() <= 2 * LONGEST, "the rest is not kept");
        assert_eq!(framer.push(b"tail\nA1\n"), [Content::Broken { bytes: vec![b'X'; 4_096], why: OVERLONG }, code("A1")]);
    }

    #[test]
    fn a_spoiled_code_is_broken_up_to_its_end_only() {
        let mut framer = Framer::default();
        assert_eq!(framer.push(b"A1"), []);
        framer.spoil("lost");
        framer.spoil("lost again");
        assert_eq!(framer.push(b"23\nB2\n"), [Content::Broken { bytes: b"A123".to_vec(), why: "lost" }, code("B2")]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'A'), any::<u8>()], 0..200), cuts in prop::collection::vec(1_usize..20, 0..50)) {
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

            let lines: Vec<Content> = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty()).map(|line| Content::Code(line.to_vec())).collect();
            prop_assert_eq!(scans, lines);
        }
    }
}
