//! One scanner that is a device file: it is looked for, opened, read on a thread of its own, lost and found again.

use std::{
    io,
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

use super::{Content, Device, Outlet, State, Teller};
use crate::runtime::{clock::Moment, pulse};

/// How long to wait before looking for the device again. A serial device that was unplugged needs this rest, too.
const RETRY: Duration = Duration::from_secs(1);

/// The first silence after opening, at most: what comes before it may be the rest of a code whose beginning nobody read.
const SETTLE: Duration = Duration::from_millis(80);

/// Names of devices that are shown.
const SHOWN: usize = 8;

/// An open device.
pub(super) trait Port: AsFd {
    /// Reads what has come, without blocking; returns the scans that ended in it. Every error means that the device is lost.
    fn read(&mut self) -> io::Result<Vec<Content>>;
    /// Has a code begun that has not ended?
    fn pending(&self) -> bool;
    /// The code that is being read is broken, whatever still comes of it.
    fn spoil(&mut self, why: &'static str);
    /// Silence for as long as a pause: ends the code that has begun.
    fn pause(&mut self) -> Option<Content>;
}

/// Where to look for the device.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    /// The folder of stable names.
    pub(super) folder: PathBuf,
    /// How the names of eligible devices end.
    pub(super) ending: &'static str,
    /// Which of them.
    pub(super) device: Device,
    /// The folder in which the same scanner would be in another mode, and that mode.
    pub(super) elsewhere: (PathBuf, &'static str),
}

impl Finder {
    /// The one device that fits; otherwise the state that says why there is none.
    pub(super) fn find(&self) -> Result<PathBuf, State> {
        let (folder, pattern) = match &self.device {
            Device::Auto => (self.folder.clone(), format!("*{}", self.ending)),
            Device::Path(path) => {
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
        names.retain(|name| fits(pattern.as_bytes(), name.as_bytes()));
        match names.as_slice() {
            [] => Err(State::Absent(self.seen())),
            [name] => Ok(folder.join(name)),
            several => {
                let list = several.join(", ");
                Err(State::Fault(format!(
                    "{} devices in {} fit ({list}): name one of them in `device`",
                    several.len(),
                    folder.display()
                )))
            }
        }
    }

    /// What the system has where the scanner is not.
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
            (false, _) if self.device == Device::Auto => {
                format!("seen, but no scanner of this kind: {}", list(&here))
            }
            (false, _) => format!("seen: {}", list(&here)),
        }
    }

    /// What an error at opening or reading says about the scanner.
    pub(super) fn state_of(&self, path: &Path, error: &io::Error) -> State {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => State::Absent(self.seen()),
            Some(Errno::ACCESS | Errno::PERM) => State::NoRight,
            Some(Errno::BUSY | Errno::AGAIN) => State::Busy,
            _ => State::Fault(format!("cannot open {}: {error}", path.display())),
        }
    }
}

/// The names in a folder of devices, in order.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Does `name` fit a glob of `*` and `?`?
fn fits(glob: &[u8], name: &[u8]) -> bool {
    // `reached` holds for each length of the glob whether it fits the name up to here: no glob takes more than glob x name.
    let mut reached = vec![false; glob.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    skip_stars(glob, &mut reached);
    for byte in name {
        let mut next = vec![false; glob.len() + 1];
        for (place, wanted) in glob.iter().enumerate() {
            if reached.get(place) != Some(&true) {
                continue;
            }
            let to = if *wanted == b'*' { place } else { place + 1 };
            if let Some(slot) = next
                .get_mut(to)
                .filter(|_| matches!(wanted, b'*' | b'?') || wanted == byte)
            {
                *slot = true;
            }
        }
        skip_stars(glob, &mut next);
        reached = next;
    }
    reached.last() == Some(&true)
}

/// A star may stand for nothing.
fn skip_stars(glob: &[u8], reached: &mut [bool]) {
    for (place, wanted) in glob.iter().enumerate() {
        if *wanted == b'*'
            && reached.get(place) == Some(&true)
            && let Some(slot) = reached.get_mut(place + 1)
        {
            *slot = true;
        }
    }
}

/// Looks for the device, opens it and lets it go again.
pub(super) fn probe<P: Port>(finder: &Finder, open: impl Fn(&Path) -> io::Result<P>) -> State {
    match finder.find() {
        Ok(path) => open(&path).map_or_else(|error| finder.state_of(&path, &error), |_| State::Ok),
        Err(state) => state,
    }
}

/// Looks for the device without opening it.
pub(super) fn look(finder: &Finder) -> State {
    match finder.find() {
        Ok(path) => std::fs::metadata(&path)
            .map_or_else(|error| finder.state_of(&path, &error), |_| State::Ok),
        Err(state) => state,
    }
}

/// Runs the device's thread; the thread ends, and lets the device go, when this future is dropped.
pub(super) async fn run<P, O>(
    finder: Finder,
    open: O,
    pause: Duration,
    outlet: &Outlet,
    teller: &Teller,
) where
    P: Port,
    O: Fn(&Path) -> io::Result<P> + Send + 'static,
{
    let (sender, ended) = oneshot::channel::<()>();
    let started = UnixStream::pair().and_then(|(stay, gone)| {
        let (outlet, teller) = (outlet.clone(), teller.clone());
        let name = format!("scanner-{}", teller.name());
        let reading = move || {
            let _sender = sender;
            let thread = Reader {
                finder,
                pause,
                outlet,
                teller,
                gone,
            };
            while let Next::Again = thread.session(&open) {}
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(reading)
            .map(|_| stay)
    });
    match started {
        // While this end is open the thread goes on; its closing wakes the thread from any wait.
        Ok(_stay) => {
            let _ = ended.await;
            teller.tell(State::Fault("the scanner's thread has ended".to_owned()));
        }
        Err(error) => teller.tell(State::Fault(format!(
            "cannot start the scanner's thread: {error}"
        ))),
    }
}

/// What a session or a wait came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Look for the device again.
    Again,
    /// The station has ended.
    End,
}

/// What woke a wait.
enum Woken {
    Device,
    Silence,
    End,
}

/// The device's thread.
struct Reader {
    finder: Finder,
    pause: Duration,
    outlet: Outlet,
    teller: Teller,
    gone: UnixStream,
}

impl Reader {
    /// Finds, opens and reads the device until it is lost; then rests.
    fn session<P: Port>(&self, open: &impl Fn(&Path) -> io::Result<P>) -> Next {
        match self
            .finder
            .find()
            .and_then(|path| open(&path).map_err(|error| self.finder.state_of(&path, &error)))
        {
            Ok(port) => {
                if self.listen(port) == Next::End {
                    return Next::End;
                }
                // What is there instead is looked at when udev has taken its name away.
                self.teller.tell(State::Absent(String::new()));
            }
            Err(state) => self.teller.tell(state),
        }
        match self.wait(None, Some(RETRY)) {
            Woken::End => Next::End,
            Woken::Device | Woken::Silence => Next::Again,
        }
    }

    /// Reads the device until it is lost. A code that had begun then is lost with it, and never joins the next one.
    fn listen(&self, mut port: impl Port) -> Next {
        let (mut settled, mut last) = (false, Moment::now());
        loop {
            let patience = if settled {
                port.pending().then_some(self.pause)
            } else {
                Some(self.pause.min(SETTLE))
            };
            let scans = match self.wait(Some(port.as_fd()), patience) {
                Woken::End => return Next::End,
                Woken::Silence => {
                    let scans = Vec::from_iter(port.pause());
                    if settled {
                        self.teller.heard(&scans, true);
                    }
                    settled = true;
                    scans
                }
                Woken::Device => {
                    let Ok(mut scans) = port.read() else {
                        return Next::Again;
                    };
                    last = Moment::now();
                    if !settled {
                        settled = spoil_first(&mut scans, &mut port);
                    }
                    self.teller.heard(&scans, false);
                    scans
                }
            };
            if settled {
                self.teller.open();
            }
            for scan in scans {
                if !self.outlet.send_now(last, scan) {
                    return Next::End;
                }
            }
        }
    }
}

impl Reader {
    /// Waits for the device, for the end of the station, or for `patience` to pass.
    fn wait(&self, device: Option<BorrowedFd<'_>>, patience: Option<Duration>) -> Woken {
        let since = Instant::now();
        let mut watched = vec![PollFd::new(&self.gone, PollFlags::IN)];
        watched.extend(device.map(|device| PollFd::from_borrowed_fd(device, PollFlags::IN)));
        loop {
            self.teller.pulse.beat();
            let left = patience.map(|patience| patience.saturating_sub(since.elapsed()));
            let turn = left.unwrap_or(pulse::EVERY).min(pulse::EVERY);
            match poll(&mut watched, Timespec::try_from(turn).ok().as_ref()) {
                Err(Errno::INTR) => {}
                Ok(0) if left.is_none_or(|left| left > turn) => {}
                Ok(0) => return Woken::Silence,
                // The read after a failed wait says what is wrong.
                Err(_) => return Woken::Device,
                Ok(_) => {
                    return if watched
                        .first()
                        .is_some_and(|gone| !gone.revents().is_empty())
                    {
                        Woken::End
                    } else {
                        Woken::Device
                    };
                }
            }
        }
    }
}

/// The first code after opening, before any silence, may lack its beginning. True when it has ended.
fn spoil_first(scans: &mut [Content], port: &mut impl Port) -> bool {
    const WHY: &str = "the scanner was opened in the middle of a code";
    if let Some(first) = scans.first_mut() {
        if let Content::Code(bytes) = first {
            *first = Content::Broken {
                bytes: std::mem::take(bytes),
                why: WHY,
            };
        }
        return true;
    }
    if port.pending() {
        port.spoil(WHY);
    }
    false
}

#[cfg(test)]
mod tests;
