//! Event streams through the scanner's own decoder, for `fuzz/fuzz_targets/hid_events.rs` and for recorded streams.

use super::{InputEvent, Layout, ScannedCode, decode, decoder::Decoder};

/// One read of an event device.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Type, code and value of each event, as the kernel gives them.
    pub events: Vec<(u16, u16, i32)>,
    /// The keys that are down, if the scanner's thread asks for them after this read.
    pub down: Vec<u16>,
    /// Does a pause follow?
    pub pause: bool,
}

/// The codes that a keyboard-type scanner types, each with the index of the read that ended it.
pub fn typed(layout: Layout, reads: &[Read]) -> Vec<(usize, ScannedCode)> {
    let mut decoder = Decoder::new(layout);
    let mut scans = Vec::new();
    for (index, read) in reads.iter().enumerate() {
        let events = read
            .events
            .iter()
            .map(|&(kind, code, value)| InputEvent::new(kind, code, value));
        let ended = decode(&mut decoder, events);
        scans.extend(ended.into_iter().map(|code| (index, code)));
        if decoder.lost() {
            decoder.resume(read.down.iter().copied());
        }
        if read.pause {
            scans.extend(decoder.end().map(|code| (index, code)));
        }
    }
    scans
}
