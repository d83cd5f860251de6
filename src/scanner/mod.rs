//! Where bytes come from: keyboard-wedge and serial scanners, standard input, TCP lines.

mod device;
mod framing;
mod hid;
mod keymap;
mod serial;
mod stdin;
mod tcp;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
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

/// Scans of one scanner that may be in progress at the same time. Each scanner has places of its own, so that a flood of one takes
/// none of another's.
pub const SCANS_IN_PROGRESS: usize = 32;

/// So many codes in a row that only a pause ended are no chance: the scanner's suffix is not set.
const UNENDED: u32 = 3;

/// One `[[scanner]]` of the config.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its name: every scan carries it.
    pub name: Name,
    /// The lane its scans count for.
    pub lane: Name,
    /// What it is.
    pub kind: Kind,
}

/// What a scanner is and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A USB keyboard wedge.
    Hid {
        /// Which device.
        device: Device,
        /// The keyboard layout the scanner types in.
        layout: Layout,
        /// Silence that ends a scan without an end key.
        pause: Duration,
    },
    /// A USB serial scanner (CDC-ACM).
    Serial {
        /// Which device.
        device: Device,
        /// Bits a second.
        baud: u32,
        /// Silence that ends a scan without a line end.
        pause: Duration,
    },
    /// Standard input: a line is a scan.
    Stdin,
    /// A TCP port: a line is a scan.
    Tcp {
        /// Where it listens.
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

    /// Where it is, in words that begin a sentence of a log or of the doctor.
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

    /// Can it be made to wait? A pipe and a socket can; a keyboard cannot.
    pub const fn can_wait(&self) -> bool {
        matches!(self, Self::Stdin | Self::Tcp { .. })
    }
}

/// Which device file a scanner is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// Exactly one by-id device.
    Auto,
    /// A path or a glob.
    Path(PathBuf),
}

/// A keyboard layout that a scanner types in.
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
    /// The scanner's name.
    pub scanner: Name,
    /// When its last character came.
    pub at: Moment,
    /// What came.
    pub content: Content,
    /// Its place among its scanner's scans in progress. `None`: all were taken and the scanner cannot be made to wait;
    /// the station answers `station_fault`. The place is free again when this is dropped.
    pub place: Option<OwnedSemaphorePermit>,
}

/// What a scanner delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A whole code, without its end key or line end.
    Code(Vec<u8>),
    /// A scan that must be repeated: what was read of it, and why.
    Broken {
        /// What was read, at most 4,096 bytes.
        bytes: Vec<u8>,
        /// Why, for log and message ("the scanner's key queue ran over").
        why: &'static str,
    },
}

/// What to do about [`State::Unended`].
pub const UNENDED_REMEDY: &str = "set the scanner's suffix to Enter (CR), by a barcode in its manual: it answers sooner then, and two quick codes never join";

/// The state of one scanner, for health and doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not opened yet.
    Starting,
    /// Open and listening.
    Ok,
    /// Open and listening, and its codes arrive without an end key: each is answered only after a pause, and two that follow
    /// each other quickly would be one.
    Unended,
    /// No such device now; with what is there instead, in words (empty: nobody has looked yet).
    Absent(String),
    /// The device is there and may not be opened.
    NoRight,
    /// Another program holds it.
    Busy,
    /// A stream that ended (end of file); it brings no further scan.
    Ended,
    /// Anything else, in words.
    Fault(String),
}

impl State {
    /// Can it bring a scan, as far as anybody knows?
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

    /// What is found, in words, for doctor and log.
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

    /// What to do about it; `None` when nothing is wrong.
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

/// The way from a scanner to the station, with the bound on its scans in progress.
#[derive(Clone, Debug)]
pub struct Outlet {
    scanner: Name,
    station: mpsc::Sender<Scan>,
    places: Arc<Semaphore>,
}

impl Outlet {
    /// An outlet for one scanner, with places of its own.
    pub fn new(scanner: Name, station: mpsc::Sender<Scan>) -> Self {
        Self {
            scanner,
            station,
            places: Arc::new(Semaphore::new(SCANS_IN_PROGRESS)),
        }
    }

    /// Resolves when none of the scanner's scans is in progress. It does not keep the way open.
    pub fn all_answered(&self) -> impl Future<Output = ()> + use<> {
        let places = Arc::clone(&self.places);
        async move {
            let _ = places
                .acquire_many(u32::try_from(SCANS_IN_PROGRESS).unwrap_or(u32::MAX))
                .await;
        }
    }

    /// Sends a scan of a source that can wait: holds the source back while all places are taken. The scan counts from
    /// the moment it gets its place: the lines of a long pipe must not grow old before anybody looks at them.
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

    /// Sends a scan of a device that cannot wait, from the device's own thread. Returns `false` when the station has ended.
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

    /// Resolves when the station has ended and takes no more scans.
    async fn closed(&self) {
        self.station.closed().await;
    }
}

/// Runs one scanner until `stop` says so (or its sender is gone). Never returns earlier: a scanner that is away, or whose
/// stream has ended, is a [`State`], which is told once all its scans have been taken.
pub async fn run(
    settings: Settings,
    outlet: Outlet,
    state: watch::Sender<State>,
    mut stop: watch::Receiver<bool>,
    pulse: Pulse,
) {
    let teller = Teller::new(settings, state, pulse);
    let settings = &teller.settings;
    let scanning = async {
        match &settings.kind {
            Kind::Hid {
                device,
                layout,
                pause,
            } => hid::run(device, *layout, *pause, &outlet, &teller).await,
            Kind::Serial {
                device,
                baud,
                pause,
            } => serial::run(device, *baud, *pause, &outlet, &teller).await,
            Kind::Stdin => stdin::run(settings.name.as_str(), io::stdin(), &outlet, &teller).await,
            Kind::Tcp { listen, pause } => tcp::run(*listen, *pause, &outlet, &teller).await,
        }
        teller.pulse.through(std::future::pending::<()>()).await;
    };
    tokio::select! {
        () = scanning => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Tries a scanner as the agent would, without keeping it. Blocks for a moment; meant for the doctor.
pub fn probe(settings: &Settings) -> State {
    match &settings.kind {
        Kind::Hid { device, layout, .. } => hid::probe(device, *layout),
        Kind::Serial { device, baud, .. } => serial::probe(device, *baud),
        Kind::Stdin => State::Ok,
        Kind::Tcp { listen, .. } => tcp::probe(*listen),
    }
}

/// Looks whether a scanner is there without touching it: beside a running agent, a try could cost a scan.
pub fn look(settings: &Settings) -> State {
    match &settings.kind {
        Kind::Hid { device, .. } => hid::look(device),
        Kind::Serial { device, .. } => serial::look(device),
        Kind::Stdin | Kind::Tcp { .. } => State::Ok,
    }
}

/// One read of an event device, for [`typed`].
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Type, code and value of each event, as the kernel gives them.
    pub events: Vec<(u16, u16, i32)>,
    /// The keys that are down, should the scanner's thread ask for them afterwards.
    pub down: Vec<u16>,
    /// Does a pause follow?
    pub pause: bool,
}

/// The codes that a keyboard-type scanner types, each with the place of the read that ended it: the way of every event,
/// for the fuzz target.
pub fn typed(layout: Layout, reads: &[Read]) -> Vec<(usize, Content)> {
    hid::typed(layout, reads)
}

/// Tells a scanner's state to health, and to the log when it changes; and that the scanner's loop turns.
#[derive(Clone, Debug)]
struct Teller {
    settings: Settings,
    state: watch::Sender<State>,
    pulse: Pulse,
    /// Codes in a row that only a pause ended.
    unended: Arc<AtomicU32>,
}

impl Teller {
    fn new(settings: Settings, state: watch::Sender<State>, pulse: Pulse) -> Self {
        Self {
            settings,
            state,
            pulse,
            unended: Arc::default(),
        }
    }

    /// Takes note of scans that end keys ended, or a pause.
    fn heard(&self, scans: &[Content], by_pause: bool) {
        match scans.iter().any(|scan| matches!(scan, Content::Code(_))) {
            true if by_pause => {
                // It stays at the end of its range rather than begin again.
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

    /// The scanner is open, and its codes have end keys or not.
    fn open(&self) {
        self.tell(if self.unended.load(Ordering::Relaxed) < UNENDED {
            State::Ok
        } else {
            State::Unended
        });
    }

    fn tell(&self, new: State) {
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
