//! Any events from the device of a keyboard scanner: `cargo +nightly fuzz run hid_events`.
#![no_main]

use benchlight::scanner::{
    Layout, ScannedCode,
    fuzz::{Read, typed},
};

const KEY: u16 = 1;
const SYN_DROPPED: (u16, u16) = (0, 3);
const LONGEST: usize = 4_096;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((layout, steps)) = input.split_first() else {
        return;
    };
    let layout = [Layout::Us, Layout::De, Layout::Fr][usize::from(layout % 3)];
    let reads = reads(steps);
    let mut drops = reads.iter().map(|read| {
        read.events
            .iter()
            .any(|&(kind, code, _)| (kind, code) == SYN_DROPPED)
    });
    let (mut seen, mut lost) = (0, false);
    for (index, code) in typed(layout, &reads) {
        // What follows a loss in the same read is ignored, so the codes that such a read ends are from before the loss.
        while seen < index {
            lost |= drops.next().unwrap_or(false);
            seen += 1;
        }
        let bytes = match code {
            ScannedCode::Whole(bytes) => {
                assert!(
                    !lost,
                    "a code has characters from before and after a loss, or lacks the lost ones"
                );
                assert!(!bytes.is_empty(), "an empty code is not a scan");
                bytes
            }
            ScannedCode::Broken { bytes, why } => {
                assert!(!why.is_empty());
                lost = false;
                bytes
            }
        };
        assert!(bytes.len() <= LONGEST);
    }
});

/// A byte below 128 is a key pressed and released; the others change how events arrive. A pause is a separate read.
fn reads(steps: &[u8]) -> Vec<Read> {
    let mut reads = vec![Read::default()];
    let mut steps = steps.iter().copied();
    while let Some(step) = steps.next() {
        let Some(read) = reads.last_mut() else { break };
        let mut next = || steps.next().unwrap_or_default();
        match step {
            0..128 => read
                .events
                .extend([(KEY, step.into(), 1), (KEY, step.into(), 0)]),
            128..160 => read
                .events
                .push((KEY, next().into(), i32::from(step) - 128)),
            160..192 => read.events.push((
                u16::from(step) - 160,
                u16::from_be_bytes([next(), next()]),
                next().into(),
            )),
            // The same key many times, for codes that are too long.
            192..224 => {
                let key = u16::from(next());
                read.events.extend(std::iter::repeat_n(
                    (KEY, key, 1),
                    usize::from(step - 191) * 64,
                ));
            }
            224..232 => read.events.push((SYN_DROPPED.0, SYN_DROPPED.1, 0)),
            232..240 => read.down.push(next().into()),
            240..248 => reads.push(Read::default()),
            248.. => {
                reads.push(Read {
                    pause: true,
                    ..Read::default()
                });
                reads.push(Read::default());
            }
        }
    }
    reads
}
