//! A USB serial scanner (CDC-ACM, or behind a serial adapter): a line end or a pause ends a scan.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    termios::{ControlModes, OptionalActions, ioctl_tiocexcl, tcgetattr, tcsetattr},
};
use serial2::SerialPort;

use super::{
    DeviceFile, ScannedCode,
    device::{Finder, HID_FOLDER, OpenDevice, SERIAL_FOLDER},
    framing::Framer,
};

pub(super) struct SerialScanner {
    port: SerialPort,
    framer: Framer,
}

pub(super) fn finder(device: &DeviceFile) -> Finder {
    finder_in(Path::new(SERIAL_FOLDER), device)
}

fn finder_in(folder: &Path, device: &DeviceFile) -> Finder {
    Finder {
        folder: folder.to_owned(),
        ending: "",
        device: device.clone(),
        elsewhere: (HID_FOLDER.into(), "USB keyboard"),
    }
}

impl SerialScanner {
    pub(super) fn open(path: &Path, baud: u32) -> io::Result<Self> {
        let file = open(
            path,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        // Two readers would each get some of a code's characters. The lock keeps out a second Benchlight, TIOCEXCL everybody
        // else except root, hence both.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        ioctl_tiocexcl(&file)?;
        // A scanner may drop its carrier (DCD) between two codes. Without CLOCAL the port would hang up then, as if unplugged.
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

impl AsFd for SerialScanner {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}

impl OpenDevice for SerialScanner {
    fn read(&mut self) -> io::Result<Vec<ScannedCode>> {
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

    fn pause(&mut self) -> Option<ScannedCode> {
        self.framer.end()
    }
}

#[cfg(test)]
mod tests;
