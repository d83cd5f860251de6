//! A keyboard-type scanner, read from its event device, which Benchlight grabs for itself.

mod decoder;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use evdev::{EventSummary, InputEvent, KeyCode, SynchronizationCode, raw_stream::RawDevice};
use rustix::fs::{Mode, OFlags, open};

use super::{
    DeviceFile, Layout, ScannedCode,
    device::{Finder, HID_FOLDER, OpenDevice, SERIAL_FOLDER},
};
use decoder::{Decoder, KeyEvent};

/// How the names of keyboards end.
const ENDING: &str = "-event-kbd";

/// An open, grabbed event device. Not `evdev::Device`, which hides SYN_DROPPED and invents key events to make up for it:
/// a code with invented keys is worse than none.
pub(super) struct Keyboard {
    device: RawDevice,
    decoder: Decoder,
}

pub(super) fn finder(device: &DeviceFile) -> Finder {
    finder_in(Path::new(HID_FOLDER), device)
}

fn finder_in(folder: &Path, device: &DeviceFile) -> Finder {
    Finder {
        folder: folder.to_owned(),
        ending: ENDING,
        device: device.clone(),
        elsewhere: (SERIAL_FOLDER.into(), "USB serial"),
    }
}

impl Keyboard {
    pub(super) fn open(path: &Path, layout: Layout) -> io::Result<Self> {
        // Read only: the service needs no right to write to the device.
        let file = open(
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut device = RawDevice::from_fd(file)?;
        // Without the grab every scan would also be typed at the console's login prompt.
        device.grab()?;
        let mut keyboard = Self {
            device,
            decoder: Decoder::new(layout),
        };
        keyboard.resume()?;
        Ok(keyboard)
    }

    /// Asks the kernel which keys are down. That also empties its queue of key events, so a code that was in it is broken.
    fn resume(&mut self) -> io::Result<()> {
        let down = self.device.get_key_state()?;
        self.decoder.resume(down.iter().map(KeyCode::code));
        Ok(())
    }
}

impl AsFd for Keyboard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl OpenDevice for Keyboard {
    fn read(&mut self) -> io::Result<Vec<ScannedCode>> {
        let scans = match self.device.fetch_events() {
            Ok(events) => decode(&mut self.decoder, events),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        if self.decoder.lost() {
            self.resume()?;
        }
        Ok(scans)
    }

    fn pending(&self) -> bool {
        self.decoder.pending()
    }

    fn spoil(&mut self, why: &'static str) {
        self.decoder.spoil(why);
    }

    fn pause(&mut self) -> Option<ScannedCode> {
        self.decoder.end()
    }
}

/// The scans that end with these events.
fn decode(decoder: &mut Decoder, events: impl Iterator<Item = InputEvent>) -> Vec<ScannedCode> {
    events
        .filter_map(relevant)
        .filter_map(|event| decoder.event(event))
        .collect()
}

fn relevant(event: InputEvent) -> Option<KeyEvent> {
    match event.destructure() {
        EventSummary::Key(_, key, 0) => Some(KeyEvent::Released(key.code())),
        EventSummary::Key(_, key, 1) => Some(KeyEvent::Pressed(key.code())),
        EventSummary::Synchronization(_, SynchronizationCode::SYN_DROPPED, _) => {
            Some(KeyEvent::Dropped)
        }
        // This includes key repeat (value 2): a scanner types every character itself.
        _ => None,
    }
}

#[cfg(test)]
mod tests;
