//! A scanner that is a device file: its own thread finds it, opens it, reads it, and finds it again after it was unplugged.

use std::{
    io,
    ops::ControlFlow,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tokio::sync::oneshot;
use wildmatch::WildMatch;

use super::{DeviceFile, Reporter, ScanSender, ScannedCode, ScannerState};
use crate::runtime::{clock::Moment, pulse};

/// Where udev lists USB keyboards, and scanners that work as one.
pub(super) const HID_FOLDER: &str = "/dev/input/by-id";
/// Where udev lists USB serial ports.
pub(super) const SERIAL_FOLDER: &str = "/dev/serial/by-id";

/// How long to wait before looking for the device again. A serial device that was unplugged needs this pause, too.
const RETRY: Duration = Duration::from_secs(1);

/// How much silence must follow the opening at most. What arrives before that may be the rest of a code whose beginning was not
/// read.
const QUIET_AFTER_OPEN: Duration = Duration::from_millis(80);

/// How many names of devices a message lists.
const SHOWN: usize = 8;

/// An open device.
pub(super) trait OpenDevice: AsFd {
    /// Reads what has arrived, without blocking, and returns the scans that have ended. After any error the device must be
    /// opened again.
    fn read(&mut self) -> io::Result<Vec<ScannedCode>>;
    /// Has a code begun that has not ended?
    fn pending(&self) -> bool;
    /// Marks the code that is being read as broken, whatever else still arrives of it.
    fn spoil(&mut self, why: &'static str);
    /// Ends the code that has begun, because of a pause.
    fn pause(&mut self) -> Option<ScannedCode>;
}

/// Where to look for the device.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    /// udev's folder of stable names.
    pub(super) folder: PathBuf,
    /// How the names of this type of device end.
    pub(super) ending: &'static str,
    pub(super) device: DeviceFile,
    /// The folder the same scanner would be in if it were set to another mode, and the name of that mode.
    pub(super) elsewhere: (PathBuf, &'static str),
}

impl Finder {
    /// The one device that matches, or the state that explains why there is none.
    pub(super) fn find(&self) -> Result<PathBuf, ScannerState> {
        let (folder, pattern) = match &self.device {
            DeviceFile::Auto => (self.folder.clone(), format!("*{}", self.ending)),
            DeviceFile::Path(path) => {
                let path = self.folder.join(path);
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if !name.contains(['*', '?']) {
                    return Ok(path);
                }
                (path.parent().unwrap_or(&self.folder).to_owned(), name)
            }
        };
        let mut names = match names(&folder) {
            Ok(names) => names,
            Err(error) => return Err(self.state_of(&folder, &error)),
        };
        let pattern = WildMatch::new(&pattern);
        names.retain(|name| pattern.matches(name));
        match names.as_slice() {
            [] => Err(ScannerState::Absent(self.seen())),
            [name] => Ok(folder.join(name)),
            several => {
                let list = several.join(", ");
                Err(ScannerState::Fault(format!(
                    "{} devices in {} fit ({list}): name one of them in `device`",
                    several.len(),
                    folder.display()
                )))
            }
        }
    }

    /// What is plugged in instead of the scanner.
    fn seen(&self) -> String {
        let list = |names: &[String]| {
            let more = if names.len() > SHOWN { ", .." } else { "" };
            format!(
                "{}{more}",
                names
                    .iter()
                    .take(SHOWN)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        let (elsewhere, mode) = &self.elsewhere;
        let (here, there) = (
            names(&self.folder).unwrap_or_default(),
            names(elsewhere).unwrap_or_default(),
        );
        match (here.is_empty(), there.is_empty()) {
            (true, true) => "no device with a stable name is plugged in".to_owned(),
            (true, false) => format!("seen in {mode} mode: {}", list(&there)),
            (false, _) if self.device == DeviceFile::Auto => {
                format!("seen, but no scanner of this kind: {}", list(&here))
            }
            (false, _) => format!("seen: {}", list(&here)),
        }
    }

    /// The state that an error from opening the device means.
    pub(super) fn state_of(&self, path: &Path, error: &io::Error) -> ScannerState {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => ScannerState::Absent(self.seen()),
            Some(Errno::ACCESS | Errno::PERM) => ScannerState::NoRight,
            Some(Errno::BUSY | Errno::AGAIN) => ScannerState::Busy,
            _ => ScannerState::Fault(format!("cannot open {}: {error}", path.display())),
        }
    }
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Finds the device, opens it and closes it again.
pub(super) fn probe<P: OpenDevice>(
    finder: &Finder,
    open: impl Fn(&Path) -> io::Result<P>,
) -> ScannerState {
    match finder.find() {
        Ok(path) => {
            open(&path).map_or_else(|error| finder.state_of(&path, &error), |_| ScannerState::Ok)
        }
        Err(state) => state,
    }
}

/// Finds the device without opening it.
pub(super) fn look(finder: &Finder) -> ScannerState {
    match finder.find() {
        Ok(path) => std::fs::metadata(&path)
            .map_or_else(|error| finder.state_of(&path, &error), |_| ScannerState::Ok),
        Err(state) => state,
    }
}

/// Runs the device's thread. When this future is dropped, the thread closes the device and ends.
pub(super) async fn run<P, O>(
    finder: Finder,
    open: O,
    pause: Duration,
    scan_sender: &ScanSender,
    reporter: &Reporter,
) where
    P: OpenDevice,
    O: Fn(&Path) -> io::Result<P> + Send + 'static,
{
    let (sender, ended) = oneshot::channel::<()>();
    let started = UnixStream::pair().and_then(|(stop_on_drop, stop)| {
        let (scan_sender, reporter) = (scan_sender.clone(), reporter.clone());
        let name = format!("scanner-{}", reporter.name());
        let reading = move || {
            let _sender = sender;
            let thread = DeviceThread {
                finder,
                pause,
                scan_sender,
                reporter,
                stop,
            };
            while thread.session(&open).is_continue() {}
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(reading)
            .map(|_| stop_on_drop)
    });
    match started {
        // When this end of the pair is closed, the thread wakes up from any wait and ends.
        Ok(_stop_on_drop) => {
            let _ = ended.await;
            reporter.report(ScannerState::Fault(
                "the scanner's thread has ended".to_owned(),
            ));
        }
        Err(error) => reporter.report(ScannerState::Fault(format!(
            "cannot start the scanner's thread: {error}"
        ))),
    }
}

/// What ended a wait.
enum Woken {
    Device,
    Silence,
    Stop,
}

struct DeviceThread {
    finder: Finder,
    pause: Duration,
    scan_sender: ScanSender,
    reporter: Reporter,
    /// Readable when the thread must end.
    stop: UnixStream,
}

impl DeviceThread {
    /// Finds, opens and reads the device until it is unplugged; then waits before the next try. `Break`: the thread must end.
    fn session<P: OpenDevice>(&self, open: &impl Fn(&Path) -> io::Result<P>) -> ControlFlow<()> {
        match self
            .finder
            .find()
            .and_then(|path| open(&path).map_err(|error| self.finder.state_of(&path, &error)))
        {
            Ok(device) => {
                self.listen(device)?;
                // The next try lists what is there instead: udev has removed the device's name by then.
                self.reporter.report(ScannerState::Absent(String::new()));
            }
            Err(state) => self.reporter.report(state),
        }
        match self.wait(None, Some(RETRY)) {
            Woken::Stop => ControlFlow::Break(()),
            Woken::Device | Woken::Silence => ControlFlow::Continue(()),
        }
    }

    /// Reads the device until it is unplugged. A code that has begun by then is dropped, and never joined to the next one.
    fn listen(&self, mut device: impl OpenDevice) -> ControlFlow<()> {
        let (mut settled, mut last) = (false, Moment::now());
        loop {
            let silence = if settled {
                device.pending().then_some(self.pause)
            } else {
                Some(self.pause.min(QUIET_AFTER_OPEN))
            };
            let scans = match self.wait(Some(device.as_fd()), silence) {
                Woken::Stop => return ControlFlow::Break(()),
                Woken::Silence => {
                    let scans = Vec::from_iter(device.pause());
                    if settled {
                        self.reporter.count_endings(&scans, true);
                    }
                    settled = true;
                    scans
                }
                Woken::Device => {
                    let Ok(mut scans) = device.read() else {
                        return ControlFlow::Continue(());
                    };
                    last = Moment::now();
                    if !settled {
                        settled = spoil_first(&mut scans, &mut device);
                    }
                    self.reporter.count_endings(&scans, false);
                    scans
                }
            };
            if settled {
                self.reporter.report_open();
            }
            for scan in scans {
                if !self.scan_sender.send_now(last, scan) {
                    return ControlFlow::Break(());
                }
            }
        }
    }

    /// Waits for the device, for the end of the thread, or for `silence` to pass.
    fn wait(&self, device: Option<BorrowedFd<'_>>, silence: Option<Duration>) -> Woken {
        let since = Instant::now();
        let mut watched = vec![PollFd::new(&self.stop, PollFlags::IN)];
        watched.extend(device.map(|device| PollFd::from_borrowed_fd(device, PollFlags::IN)));
        loop {
            self.reporter.pulse.beat();
            let left = silence.map(|silence| silence.saturating_sub(since.elapsed()));
            let turn = left.unwrap_or(pulse::EVERY).min(pulse::EVERY);
            match poll(&mut watched, Timespec::try_from(turn).ok().as_ref()) {
                Err(Errno::INTR) => {}
                Ok(0) if left.is_none_or(|left| left > turn) => {}
                Ok(0) => return Woken::Silence,
                // The read that follows a failed wait reports what is wrong.
                Err(_) => return Woken::Device,
                Ok(_) => {
                    return if watched
                        .first()
                        .is_some_and(|stop| !stop.revents().is_empty())
                    {
                        Woken::Stop
                    } else {
                        Woken::Device
                    };
                }
            }
        }
    }
}

/// Marks the first code after opening as broken, if no silence came before it: its beginning may be missing. True if it has ended.
fn spoil_first(scans: &mut [ScannedCode], device: &mut impl OpenDevice) -> bool {
    const WHY: &str = "the scanner was opened in the middle of a code";
    if let Some(first) = scans.first_mut() {
        if let ScannedCode::Whole(bytes) = first {
            *first = ScannedCode::Broken {
                bytes: std::mem::take(bytes),
                why: WHY,
            };
        }
        return true;
    }
    if device.pending() {
        device.spoil(WHY);
    }
    false
}

#[cfg(test)]
mod tests;
