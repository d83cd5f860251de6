//! Where bytes come from: keyboard-wedge and serial scanners, standard input, TCP lines.

mod device;
mod framing;
mod hid;
mod keymap;
mod serial;
mod stdin;
mod tcp;

#[cfg(any(test, fuzzing))]
pub use hid::fuzz;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::{
    health::ScannerCondition,
    runtime::{clock::Moment, name::Name, pulse::Pulse},
};
use hid::Keyboard;
use serial::SerialScanner;

/// How many scans of one scanner may be in progress at the same time. Each scanner has its own places, so a flood from one does
/// not block another.
pub const SCANS_IN_PROGRESS: usize = 32;

/// After this many codes in a row that only a pause ended, the scanner's suffix is taken to be missing.
const CODES_WITHOUT_END_KEY: u32 = 3;

/// One `[[scanner]]` of the config.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub name: Name,
    /// The lane its scans count for.
    pub lane: Name,
    pub kind: Kind,
}

/// What a scanner is and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A USB keyboard wedge.
    Hid {
        device: Device,
        layout: Layout,
        /// Silence that ends a scan without an end key.
        pause: Duration,
    },
    /// A USB serial scanner (CDC-ACM).
    Serial {
        device: Device,
        /// Bits per second.
        baud: u32,
        /// Silence that ends a scan without a line end.
        pause: Duration,
    },
    /// Standard input: a line is a scan.
    Stdin,
    /// A TCP port: a line is a scan.
    Tcp {
        listen: SocketAddr,
        /// Silence on a connection that ends a scan without a line end.
        pause: Duration,
    },
}

impl Kind {
    /// The stable word in the config and in `P/meta`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Hid { .. } => "hid",
            Self::Serial { .. } => "serial",
            Self::Stdin => "stdin",
            Self::Tcp { .. } => "tcp",
        }
    }

    /// Where it is, as the beginning of a sentence in the log or the doctor's output.
    pub fn place(&self) -> String {
        match self {
            Self::Hid {
                device: Device::Auto,
                ..
            } => "the only keyboard-type scanner in /dev/input/by-id".to_owned(),
            Self::Serial {
                device: Device::Auto,
                ..
            } => "the only serial scanner in /dev/serial/by-id".to_owned(),
            Self::Hid {
                device: Device::Path(path),
                ..
            }
            | Self::Serial {
                device: Device::Path(path),
                ..
            } => format!("scanner {}", path.display()),
            Self::Stdin => "standard input".to_owned(),
            Self::Tcp { listen, .. } => format!("port {listen}"),
        }
    }
}

/// Which device file belongs to a scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// The only device of its type in udev's folder of stable names.
    Auto,
    /// A path, or a pattern with `*` and `?` in its file name.
    Path(PathBuf),
}

/// The keyboard layout a scanner types in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// QWERTY.
    Us,
    /// QWERTZ.
    De,
    /// AZERTY.
    Fr,
}

/// One scan on its way to the station.
#[derive(Debug)]
pub struct Scan {
    pub scanner: Name,
    /// When its last character arrived.
    pub at: Moment,
    pub content: Content,
    /// Its place among its scanner's scans in progress; free again when this is dropped. `None`: no place was free and the
    /// scanner cannot be made to wait, so the station answers `station_fault`.
    pub place: Option<OwnedSemaphorePermit>,
}

/// What a scanner delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A whole code, without its end key or line end.
    Code(Vec<u8>),
    /// Part of a code: it must be scanned again.
    Broken {
        /// What was read, at most 4,096 bytes.
        bytes: Vec<u8>,
        /// For log and message ("the scanner's key queue ran over").
        why: &'static str,
    },
}

/// The remedy for [`State::Unended`].
pub const UNENDED_REMEDY: &str = "set the scanner's suffix to Enter (CR), by a barcode in its manual: it answers sooner then, and two quick codes never join";

/// The state of one scanner, for health and the doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not opened yet.
    Starting,
    /// Open and listening.
    Ok,
    /// Open and listening, but its codes arrive without an end key: each is answered only after a pause, and two in quick
    /// succession would be read as one.
    Unended,
    /// There is no such device now. The text lists what is there instead; it is empty if that was not looked up yet.
    Absent(String),
    /// The device is there, but this user may not open it.
    NoRight,
    /// Another program holds it.
    Busy,
    /// The stream has reached its end; no more scans will come.
    Ended,
    /// Anything else, in words.
    Fault(String),
}

impl State {
    /// Can it deliver a scan, as far as is known?
    pub const fn is_there(&self) -> bool {
        matches!(self, Self::Starting | Self::Ok | Self::Unended)
    }

    /// What health says of it.
    pub const fn condition(&self) -> ScannerCondition {
        match self {
            Self::Starting => ScannerCondition::Starting,
            // It works; that the end key is missing stands beside it.
            Self::Ok | Self::Unended => ScannerCondition::Ok,
            Self::Absent(_) => ScannerCondition::Absent,
            Self::NoRight => ScannerCondition::NoRight,
            Self::Busy => ScannerCondition::Busy,
            Self::Ended => ScannerCondition::Ended,
            Self::Fault(_) => ScannerCondition::Fault,
        }
    }

    /// The stable word in `P/health`.
    pub const fn code(&self) -> &'static str {
        self.condition().code()
    }

    /// What was found, for the doctor and the log.
    pub fn describe(&self, kind: &Kind) -> String {
        let what = kind.place();
        match (self, kind) {
            (Self::Starting, _) => format!("{what} has not been opened yet"),
            (Self::Ok, Kind::Hid { .. }) => format!("{what} is open and types to Benchlight alone"),
            (Self::Ok, Kind::Serial { .. }) => format!("{what} is open"),
            (Self::Ok, Kind::Stdin) => format!("{what} is being read"),
            (Self::Ok, Kind::Tcp { .. }) => format!("{what} is listening"),
            (Self::Unended, _) => {
                format!("{what} is open, and its codes arrive without an end key")
            }
            (Self::Absent(seen), _) if seen.is_empty() => format!("{what} is not there"),
            (Self::Absent(seen), _) => format!("{what} is not there; {seen}"),
            (Self::NoRight, _) => format!("{what} may not be opened by this user"),
            (Self::Busy, _) => format!("{what} is in use by another program"),
            (Self::Ended, _) => format!("{what} has ended"),
            (Self::Fault(words), _) => words.clone(),
        }
    }

    /// What to do about it; `None` if nothing is wrong.
    pub fn remedy(&self, kind: &Kind) -> Option<String> {
        let remedy = match (self, kind) {
            (Self::Starting | Self::Ok | Self::Ended, _) => return None,
            (Self::Unended, _) => UNENDED_REMEDY,
            (Self::Absent(_), Kind::Hid { .. }) => {
                "plug the scanner in and set it to USB keyboard mode; `ls /dev/input/by-id` shows what the system sees"
            }
            (Self::Absent(_), Kind::Serial { .. }) => {
                "plug the scanner in and set it to USB serial (CDC-ACM) mode; `ls /dev/serial/by-id` shows what the system sees"
            }
            (Self::Absent(_), Kind::Stdin | Kind::Tcp { .. }) => "start the agent again",
            (Self::NoRight, Kind::Hid { .. }) => {
                "add the agent's user to the group `input`, or install the udev rule of Benchlight's package"
            }
            (Self::NoRight, Kind::Serial { .. }) => {
                "add the agent's user to the group `dialout`, or install the udev rule of Benchlight's package"
            }
            (Self::NoRight, Kind::Tcp { .. }) => "choose a port above 1023 in `listen`",
            (Self::NoRight, Kind::Stdin) => "start the agent with a readable standard input",
            (Self::Busy, Kind::Hid { .. }) => {
                "end the program that has grabbed it, and give each device to one [[scanner]] only"
            }
            (Self::Busy, Kind::Serial { .. }) => {
                "end the program that holds it (ModemManager often does: install the udev rule of Benchlight's package), and give each device to one [[scanner]] only"
            }
            (Self::Busy, Kind::Stdin | Kind::Tcp { .. }) => {
                "end the program that holds the port, or choose another one in `listen`"
            }
            (Self::Fault(_), Kind::Hid { .. } | Kind::Serial { .. }) => {
                "check `device` in the config, or unplug the scanner and plug it in again"
            }
            (Self::Fault(_), Kind::Stdin) => "start the agent again",
            (Self::Fault(_), Kind::Tcp { .. }) => {
                "check `listen` in the config: the address must be one of this machine's"
            }
        };
        Some(remedy.to_owned())
    }
}

/// Sends one scanner's scans to the station, and limits how many are in progress.
#[derive(Clone, Debug)]
pub struct Outlet {
    scanner: Name,
    station: mpsc::Sender<Scan>,
    places: Arc<Semaphore>,
}

impl Outlet {
    pub fn new(scanner: Name, station: mpsc::Sender<Scan>) -> Self {
        Self {
            scanner,
            station,
            places: Arc::new(Semaphore::new(SCANS_IN_PROGRESS)),
        }
    }

    /// Resolves when none of the scanner's scans is in progress. It does not keep the channel to the station open.
    pub fn all_answered(&self) -> impl Future<Output = ()> + use<> {
        let places = Arc::clone(&self.places);
        async move {
            let _ = places
                .acquire_many(u32::try_from(SCANS_IN_PROGRESS).unwrap_or(u32::MAX))
                .await;
        }
    }

    /// Sends a scan from a source that can be made to wait, and waits while all places are taken. The scan's time is when it
    /// gets its place: the last lines of a long pipe must not be past their deadline before they are looked at.
    /// Returns `false` when the station has ended.
    pub async fn send_waiting(&self, content: Content) -> bool {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return false;
        };
        let Ok(slot) = self.station.reserve().await else {
            return false;
        };
        slot.send(Scan {
            scanner: self.scanner.clone(),
            at: Moment::now(),
            content,
            place: Some(place),
        });
        true
    }

    /// Sends a scan from a device that cannot be made to wait, on the device's own thread. Returns `false` when the station has
    /// ended.
    pub fn send_now(&self, at: Moment, content: Content) -> bool {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        self.station
            .blocking_send(Scan {
                scanner: self.scanner.clone(),
                at,
                content,
                place,
            })
            .is_ok()
    }

    /// Resolves when the station has ended.
    async fn closed(&self) {
        self.station.closed().await;
    }
}

/// Runs one scanner until `stop` is true or its sender is dropped. Never returns earlier: a scanner that is unplugged, or whose
/// stream has ended, is a [`State`].
pub async fn run(
    settings: Settings,
    outlet: Outlet,
    state: watch::Sender<State>,
    mut stop: watch::Receiver<bool>,
    pulse: Pulse,
) {
    let reporter = Reporter::new(settings, state, pulse);
    let settings = &reporter.settings;
    let scanning = async {
        match settings.kind {
            Kind::Hid {
                ref device,
                layout,
                pause,
            } => {
                let open = move |path: &Path| Keyboard::open(path, layout);
                device::run(hid::finder(device), open, pause, &outlet, &reporter).await;
            }
            Kind::Serial {
                ref device,
                baud,
                pause,
            } => {
                let open = move |path: &Path| SerialScanner::open(path, baud);
                device::run(serial::finder(device), open, pause, &outlet, &reporter).await;
            }
            Kind::Stdin => {
                stdin::run(settings.name.as_str(), io::stdin(), &outlet, &reporter).await
            }
            Kind::Tcp { listen, pause } => tcp::run(listen, pause, &outlet, &reporter).await,
        }
        reporter.pulse.through(std::future::pending::<()>()).await;
    };
    tokio::select! {
        () = scanning => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Opens a scanner as the agent would and closes it again, for the doctor. Blocks for a moment.
pub fn probe(settings: &Settings) -> State {
    match &settings.kind {
        Kind::Hid { device, layout, .. } => {
            device::probe(&hid::finder(device), |path| Keyboard::open(path, *layout))
        }
        Kind::Serial { device, baud, .. } => device::probe(&serial::finder(device), |path| {
            SerialScanner::open(path, *baud)
        }),
        Kind::Stdin => State::Ok,
        Kind::Tcp { listen, .. } => tcp::probe(*listen),
    }
}

/// Checks whether a scanner is there without opening it: while an agent is running, opening it could cost a scan.
pub fn look(settings: &Settings) -> State {
    match &settings.kind {
        Kind::Hid { device, .. } => device::look(&hid::finder(device)),
        Kind::Serial { device, .. } => device::look(&serial::finder(device)),
        Kind::Stdin | Kind::Tcp { .. } => State::Ok,
    }
}

/// Reports a scanner's state to health, and to the log when it changes. Its pulse shows that the scanner's loop is running.
#[derive(Clone, Debug)]
struct Reporter {
    settings: Settings,
    state: watch::Sender<State>,
    pulse: Pulse,
    /// How many codes in a row only a pause has ended.
    unended: Arc<AtomicU32>,
}

impl Reporter {
    fn new(settings: Settings, state: watch::Sender<State>, pulse: Pulse) -> Self {
        Self {
            settings,
            state,
            pulse,
            unended: Arc::default(),
        }
    }

    /// Counts codes in a row that ended without an end key.
    fn count_endings(&self, scans: &[Content], by_pause: bool) {
        match scans.iter().any(|scan| matches!(scan, Content::Code(_))) {
            true if by_pause => {
                // At its maximum the counter stays there instead of wrapping to 0.
                let _ =
                    self.unended
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unended| {
                            unended.checked_add(1)
                        });
            }
            true => self.unended.store(0, Ordering::Relaxed),
            false => {}
        }
    }

    /// The scanner is open: with end keys as far as is known, or without.
    fn report_open(&self) {
        self.report(
            if self.unended.load(Ordering::Relaxed) < CODES_WITHOUT_END_KEY {
                State::Ok
            } else {
                State::Unended
            },
        );
    }

    fn report(&self, new: State) {
        let changed = self.state.send_if_modified(|state| {
            let changed = *state != new;
            state.clone_from(&new);
            changed
        });
        if changed {
            let (scanner, state, finding) = (
                &self.settings.name,
                new.code(),
                new.describe(&self.settings.kind),
            );
            match new.remedy(&self.settings.kind) {
                None => tracing::info!(%scanner, state, "{finding}"),
                Some(remedy) => tracing::warn!(%scanner, state, "{finding}: {remedy}"),
            }
        }
    }

    fn name(&self) -> &Name {
        &self.settings.name
    }
}

#[cfg(test)]
mod tests;
