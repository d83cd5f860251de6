//! Scans on their way to the station, and how many may be in progress.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use uuid::Uuid;

use crate::runtime::{clock::Moment, name::Name};

/// How many scans of one scanner may be in progress at the same time. Each scanner has its own places, so a flood from one does
/// not block another.
pub const SCANS_IN_PROGRESS: usize = 32;

/// One scan on its way to the station.
#[derive(Debug)]
pub struct Scan {
    pub scanner: Name,
    /// When its last character arrived; for a scanner that can wait, when the scan got its place.
    pub at: Moment,
    pub code: ScannedCode,
    /// Its place among its scanner's scans in progress; free again when this is dropped. `None`: no place was free and the
    /// scanner cannot be made to wait, so the station answers `station_fault`.
    pub place: Option<OwnedSemaphorePermit>,
    /// Is told the scan's id, or that of the scan that it repeats.
    pub caller: Option<oneshot::Sender<Uuid>>,
}

/// What a scanner delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannedCode {
    /// A whole code, without its end key or line end.
    Whole(Vec<u8>),
    /// Characters are missing, or there are too many: the code must be scanned again.
    Broken {
        /// What was read, at most 4,096 bytes.
        bytes: Vec<u8>,
        /// For log and message ("the scanner's key queue ran over").
        why: &'static str,
    },
}

/// Sends one scanner's scans to the station, and limits how many are in progress.
#[derive(Clone, Debug)]
pub struct ScanSender {
    scanner: Name,
    pub(super) station: mpsc::Sender<Scan>,
    pub(super) places: Arc<Semaphore>,
}

impl ScanSender {
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
    pub async fn send_waiting(&self, code: ScannedCode) -> bool {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return false;
        };
        let Ok(slot) = self.station.reserve().await else {
            return false;
        };
        slot.send(Scan {
            scanner: self.scanner.clone(),
            at: Moment::now(),
            code,
            place: Some(place),
            caller: None,
        });
        true
    }

    /// Sends a scan if a place is free, and never waits. What is returned yields the scan's id. `None`: all places are taken, or
    /// the station has ended.
    pub fn try_send(&self, code: ScannedCode) -> Option<oneshot::Receiver<Uuid>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (caller, told) = oneshot::channel();
        let scan = Scan {
            scanner: self.scanner.clone(),
            at: Moment::now(),
            code,
            place: Some(place),
            caller: Some(caller),
        };
        self.station.try_send(scan).ok().map(|()| told)
    }

    /// Sends a scan from a device that cannot be made to wait, on the device's own thread. Returns `false` when the station has
    /// ended.
    pub fn send_now(&self, at: Moment, code: ScannedCode) -> bool {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        self.station
            .blocking_send(Scan {
                scanner: self.scanner.clone(),
                at,
                code,
                place,
                caller: None,
            })
            .is_ok()
    }

    /// Resolves when the station has ended.
    pub(super) async fn closed(&self) {
        self.station.closed().await;
    }
}
