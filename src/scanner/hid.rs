//! A keyboard-type scanner, read from its event device, which it is given to Benchlight alone.

mod decoder;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::Duration,
};

use evdev::{EventSummary, InputEvent, KeyCode, SynchronizationCode, raw_stream::RawDevice};
use rustix::fs::{Mode, OFlags, open};

use super::{
    Content, Device, Layout, Outlet, Read, State, Teller,
    device::{self, Finder, Port},
    serial,
};
use decoder::{Decoder, Event};

/// Where udev keeps stable names, and how those of keyboards end.
pub(super) const FOLDER: &str = "/dev/input/by-id";
const ENDING: &str = "-event-kbd";

/// An open, grabbed event device. Not `evdev::Device`: that one hides SYN_DROPPED and makes key events up to mend it,
/// but a code with invented keys is worse than none.
struct Keyboard {
    device: RawDevice,
    decoder: Decoder,
}

/// Runs the scanner until the future is dropped.
pub(super) async fn run(
    device: &Device,
    layout: Layout,
    pause: Duration,
    outlet: &Outlet,
    teller: &Teller,
) {
    device::run(
        finder(Path::new(FOLDER), device),
        move |path| Keyboard::open(path, layout),
        pause,
        outlet,
        teller,
    )
    .await;
}

/// Looks for the scanner without touching it.
pub(super) fn look(device: &Device) -> State {
    device::look(&finder(Path::new(FOLDER), device))
}

/// Tries the scanner without keeping it.
pub(super) fn probe(device: &Device, layout: Layout) -> State {
    device::probe(&finder(Path::new(FOLDER), device), |path| {
        Keyboard::open(path, layout)
    })
}

fn finder(folder: &Path, device: &Device) -> Finder {
    Finder {
        folder: folder.to_owned(),
        ending: ENDING,
        device: device.clone(),
        elsewhere: (serial::FOLDER.into(), "USB serial"),
    }
}

impl Keyboard {
    fn open(path: &Path, layout: Layout) -> io::Result<Self> {
        // Reading is all a scanner needs, so that the service may be given no more.
        let file = open(
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut device = RawDevice::from_fd(file)?;
        // Without the grab every scan is typed into the console's login, too.
        device.grab()?;
        let mut keyboard = Self {
            device,
            decoder: Decoder::new(layout),
        };
        keyboard.resume()?;
        Ok(keyboard)
    }

    /// Asks the kernel which keys are down. That empties its queue of key events as well: a code that was in it is broken.
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

impl Port for Keyboard {
    fn read(&mut self) -> io::Result<Vec<Content>> {
        let mut scans = Vec::new();
        match self.device.fetch_events() {
            Ok(events) => scans.extend(
                events
                    .filter_map(|event| relevant(event.destructure()))
                    .filter_map(|event| self.decoder.event(event)),
            ),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
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

    fn pause(&mut self) -> Option<Content> {
        self.decoder.end()
    }
}

/// See [`super::typed`].
pub(super) fn typed(layout: Layout, reads: &[Read]) -> Vec<(usize, Content)> {
    let mut decoder = Decoder::new(layout);
    let mut scans = Vec::new();
    for (place, read) in reads.iter().enumerate() {
        let events = read
            .events
            .iter()
            .map(|&(kind, code, value)| InputEvent::new(kind, code, value));
        let ended = events
            .filter_map(|event| relevant(event.destructure()))
            .filter_map(|event| decoder.event(event));
        scans.extend(ended.map(|content| (place, content)));
        if decoder.lost() {
            decoder.resume(read.down.iter().copied());
        }
        if read.pause {
            scans.extend(decoder.end().map(|content| (place, content)));
        }
    }
    scans
}

fn relevant(event: EventSummary) -> Option<Event> {
    match event {
        EventSummary::Key(_, key, 0) => Some(Event::Released(key.code())),
        EventSummary::Key(_, key, 1) => Some(Event::Pressed(key.code())),
        EventSummary::Synchronization(_, SynchronizationCode::SYN_DROPPED, _) => {
            Some(Event::Dropped)
        }
        // Key repeat (value 2) among them: a scanner types every character itself.
        _ => None,
    }
}

#[cfg(test)]
mod tests;
