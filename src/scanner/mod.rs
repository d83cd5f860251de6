//! Where bytes come from: keyboard-wedge and serial scanners, standard input, TCP lines.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::runtime::{clock::Moment, name::Name};

/// Scans that may be in progress at the same time over the whole station.
pub const SCANS_IN_PROGRESS: usize = 32;

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
    /// Its place among the scans in progress. `None`: all places were taken and the scanner cannot be made to wait;
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

/// The state of one scanner, for health and doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not opened yet.
    Starting,
    /// Open and listening.
    Ok,
    /// No such device now.
    Absent,
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
    /// The stable word in `P/health`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Absent => "absent",
            Self::NoRight => "no_right",
            Self::Busy => "busy",
            Self::Ended => "ended",
            Self::Fault(_) => "fault",
        }
    }
}

/// The way from a scanner to the station, with the bound on scans in progress.
#[derive(Clone, Debug)]
pub struct Outlet {
    scanner: Name,
    station: mpsc::Sender<Scan>,
    places: Arc<Semaphore>,
}

impl Outlet {
    /// An outlet for one scanner; `places` is shared by all scanners of the station.
    pub fn new(scanner: Name, station: mpsc::Sender<Scan>, places: Arc<Semaphore>) -> Self {
        Self { scanner, station, places }
    }

    /// Sends a scan of a source that can wait: holds the source back while all places are taken.
    /// Returns `false` when the station has ended.
    pub async fn send_waiting(&self, at: Moment, content: Content) -> bool {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return false };
        self.station.send(Scan { scanner: self.scanner.clone(), at, content, place: Some(place) }).await.is_ok()
    }

    /// Sends a scan of a device that cannot wait, from the device's own thread. Returns `false` when the station has ended.
    pub fn send_now(&self, at: Moment, content: Content) -> bool {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        self.station.blocking_send(Scan { scanner: self.scanner.clone(), at, content, place }).is_ok()
    }
}
