//! A USB serial scanner (CDC-ACM, or behind a serial adapter): a line is a scan, and so is what a pause ends.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    termios::{ControlModes, OptionalActions, ioctl_tiocexcl, tcgetattr, tcsetattr},
};
use serial2::SerialPort;

use super::{
    Content, Device, Outlet, State, Teller,
    device::{self, Finder, Port},
    framing::Framer,
    hid,
};

/// Where udev keeps stable names.
pub(super) const FOLDER: &str = "/dev/serial/by-id";

/// An open serial port.
struct Serial {
    port: SerialPort,
    framer: Framer,
}

/// Runs the scanner until the future is dropped.
pub(super) async fn run(
    device: &Device,
    baud: u32,
    pause: Duration,
    outlet: &Outlet,
    teller: &Teller,
) {
    run_in(Path::new(FOLDER), device, baud, pause, outlet, teller).await;
}

async fn run_in(
    folder: &Path,
    device: &Device,
    baud: u32,
    pause: Duration,
    outlet: &Outlet,
    teller: &Teller,
) {
    device::run(
        finder(folder, device),
        move |path| Serial::open(path, baud),
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
pub(super) fn probe(device: &Device, baud: u32) -> State {
    device::probe(&finder(Path::new(FOLDER), device), |path| {
        Serial::open(path, baud)
    })
}

fn finder(folder: &Path, device: &Device) -> Finder {
    Finder {
        folder: folder.to_owned(),
        ending: "",
        device: device.clone(),
        elsewhere: (hid::FOLDER.into(), "USB keyboard"),
    }
}

impl Serial {
    fn open(path: &Path, baud: u32) -> io::Result<Self> {
        let file = open(
            path,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        // Two readers would share a code's characters between them. The lock stops a second Benchlight, TIOCEXCL everybody else
        // (but not root, hence both).
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        ioctl_tiocexcl(&file)?;
        // A scanner may let its carrier (DCD) drop between two codes. A port that heeds it is hung up then, as if it were unplugged.
        let mut modes = tcgetattr(&file)?;
        modes.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        tcsetattr(&file, OptionalActions::Now, &modes)?;
        let mut port = SerialPort::from(file);
        let mut settings = port.get_configuration()?;
        settings.set_raw();
        settings.set_baud_rate(baud)?;
        port.set_configuration(&settings)?;
        port.discard_input_buffer()?;
        Ok(Self {
            port,
            framer: Framer::default(),
        })
    }
}

impl AsFd for Serial {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}

impl Port for Serial {
    fn read(&mut self) -> io::Result<Vec<Content>> {
        let mut buffer = [0; 4_096];
        match self.port.read(&mut buffer) {
            // Unplugged.
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => Ok(self.framer.push(buffer.get(..length).unwrap_or_default())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    fn pending(&self) -> bool {
        self.framer.pending()
    }

    fn spoil(&mut self, why: &'static str) {
        self.framer.spoil(why);
    }

    fn pause(&mut self) -> Option<Content> {
        self.framer.end()
    }
}

#[cfg(test)]
mod tests;
