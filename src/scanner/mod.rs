//! Where scanned codes come from: keyboard-type and serial scanners, standard input, TCP.

mod device;
mod framing;
mod hid;
mod keymap;
mod scan;
mod serial;
mod state;
mod stdin;
mod tcp;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::watch;

use crate::runtime::{name::Name, pulse::Pulse};
use hid::Keyboard;
use serial::SerialScanner;
use state::Reporter;

#[cfg(any(test, fuzzing))]
pub use hid::fuzz;
pub use scan::{SCANS_IN_PROGRESS, Scan, ScanSender, ScannedCode};
pub use state::{ScannerState, UNENDED_REMEDY};

/// One `[[scanner]]` of the config.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub name: Name,
    /// The lane its scans count for.
    pub lane: Name,
    pub kind: ScannerKind,
}

/// What a scanner is and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum ScannerKind {
    /// A USB keyboard wedge.
    Hid {
        device: DeviceFile,
        layout: Layout,
        /// Silence that ends a scan without an end key.
        pause: Duration,
    },
    /// A USB serial scanner (CDC-ACM).
    Serial {
        device: DeviceFile,
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
    /// The input box of the page: the web server sends its scans.
    Web,
}

impl ScannerKind {
    /// The stable word in the config and in `P/meta`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Hid { .. } => "hid",
            Self::Serial { .. } => "serial",
            Self::Stdin => "stdin",
            Self::Tcp { .. } => "tcp",
            Self::Web => "web",
        }
    }

    /// Where it is, as the beginning of a sentence in the log or the doctor's output.
    pub fn place(&self) -> String {
        match self {
            Self::Hid {
                device: DeviceFile::Auto,
                ..
            } => "the only keyboard-type scanner in /dev/input/by-id".to_owned(),
            Self::Serial {
                device: DeviceFile::Auto,
                ..
            } => "the only serial scanner in /dev/serial/by-id".to_owned(),
            Self::Hid {
                device: DeviceFile::Path(path),
                ..
            }
            | Self::Serial {
                device: DeviceFile::Path(path),
                ..
            } => format!("scanner {}", path.display()),
            Self::Stdin => "standard input".to_owned(),
            Self::Tcp { listen, .. } => format!("port {listen}"),
            Self::Web => "the page's input box".to_owned(),
        }
    }
}

/// Which device file belongs to a scanner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceFile {
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

/// Runs one scanner until `stop` is true or its sender is dropped. Never returns earlier: a scanner that is unplugged, or whose
/// stream has ended, is a [`ScannerState`].
pub async fn run(
    settings: Settings,
    scan_sender: ScanSender,
    state: watch::Sender<ScannerState>,
    mut stop: watch::Receiver<bool>,
    pulse: Pulse,
) {
    let reporter = Reporter::new(settings, state, pulse);
    let settings = &reporter.settings;
    let scanning = async {
        match settings.kind {
            ScannerKind::Hid {
                ref device,
                layout,
                pause,
            } => {
                let open = move |path: &Path| Keyboard::open(path, layout);
                device::run(hid::finder(device), open, pause, &scan_sender, &reporter).await;
            }
            ScannerKind::Serial {
                ref device,
                baud,
                pause,
            } => {
                let open = move |path: &Path| SerialScanner::open(path, baud);
                device::run(serial::finder(device), open, pause, &scan_sender, &reporter).await;
            }
            ScannerKind::Stdin => {
                stdin::run(settings.name.as_str(), io::stdin(), &scan_sender, &reporter).await
            }
            ScannerKind::Tcp { listen, pause } => {
                tcp::run(listen, pause, &scan_sender, &reporter).await
            }
            // The web server has the sender, and says whether it listens.
            ScannerKind::Web => {}
        }
        reporter.pulse.through(std::future::pending::<()>()).await;
    };
    tokio::select! {
        () = scanning => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Opens a scanner as the agent would and closes it again, for the doctor. Blocks for a moment.
pub fn probe(settings: &Settings) -> ScannerState {
    match &settings.kind {
        ScannerKind::Hid { device, layout, .. } => {
            device::probe(&hid::finder(device), |path| Keyboard::open(path, *layout))
        }
        ScannerKind::Serial { device, baud, .. } => {
            device::probe(&serial::finder(device), |path| {
                SerialScanner::open(path, *baud)
            })
        }
        // Whether its port is free is said of the web server.
        ScannerKind::Stdin | ScannerKind::Web => ScannerState::Ok,
        ScannerKind::Tcp { listen, .. } => tcp::probe(*listen),
    }
}

/// Checks whether a scanner is there without opening it: while an agent is running, opening it could cost a scan.
pub fn look(settings: &Settings) -> ScannerState {
    match &settings.kind {
        ScannerKind::Hid { device, .. } => device::look(&hid::finder(device)),
        ScannerKind::Serial { device, .. } => device::look(&serial::finder(device)),
        ScannerKind::Stdin | ScannerKind::Tcp { .. } | ScannerKind::Web => ScannerState::Ok,
    }
}

#[cfg(test)]
mod tests;
