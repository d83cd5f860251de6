//! A TCP port for network scanners: a line end or a pause ends a scan. Each connection has its own framer.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Reporter, ScanSender, ScannerState, framing::Framer};
use crate::runtime::pulse;

/// Most connections at the same time. A further one replaces the one that has been silent for longest: a network scanner that
/// lost power leaves a dead connection behind, and those must not keep a new one out.
pub(super) const CONNECTIONS: usize = 64;

/// How long to wait before trying again after an error.
const RETRY: Duration = Duration::from_secs(1);

/// Marks a connection whose scans the station is taking right now: it is never closed to make room.
const BUSY: u64 = u64::MAX;

/// Listens until the station ends. If the port cannot be opened, reports that and tries again.
pub(super) async fn run(
    listen: SocketAddr,
    pause: Duration,
    scan_sender: &ScanSender,
    reporter: &Reporter,
) {
    loop {
        reporter.pulse.beat();
        match TcpListener::bind(listen).await {
            Ok(listener) => {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!(scanner = %reporter.name(), %address, "scanner port is open");
                }
                return serve(&listener, pause, scan_sender, reporter).await;
            }
            Err(error) => reporter.report(refused(listen, &error)),
        }
        sleep(RETRY).await;
    }
}

pub(super) fn probe(listen: SocketAddr) -> ScannerState {
    std::net::TcpListener::bind(listen)
        .map_or_else(|error| refused(listen, &error), |_| ScannerState::Ok)
}

fn refused(listen: SocketAddr, error: &io::Error) -> ScannerState {
    match error.kind() {
        io::ErrorKind::AddrInUse => ScannerState::Busy,
        io::ErrorKind::PermissionDenied => ScannerState::NoRight,
        _ => ScannerState::Fault(format!("cannot listen on {listen}: {error}")),
    }
}

/// One connection as the listener sees it.
struct Peer {
    /// When it last sent something, in milliseconds since the listener started; or [`BUSY`].
    last_read: Arc<AtomicU64>,
    task: AbortHandle,
}

/// Accepts connections until the station has ended.
pub(super) async fn serve(
    listener: &TcpListener,
    pause: Duration,
    scan_sender: &ScanSender,
    reporter: &Reporter,
) {
    let started = Instant::now();
    let mut peers: Vec<Peer> = Vec::new();
    let mut tasks = JoinSet::new();
    reporter.report_open();
    loop {
        reporter.pulse.beat();
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    reporter.report_open();
                    stream
                }
                Err(error) => {
                    reporter.report(ScannerState::Fault(format!("cannot take a connection: {error}")));
                    sleep(RETRY).await;
                    continue;
                }
            },
            Some(_) = tasks.join_next() => {
                peers.retain(|peer| !peer.task.is_finished());
                continue;
            }
            () = scan_sender.closed() => return,
            () = sleep_until(pulse::next()) => continue,
        };
        peers.retain(|peer| !peer.task.is_finished());
        if peers.len() >= CONNECTIONS && !close_quietest(&mut peers) {
            continue;
        }
        let last_read = Arc::new(AtomicU64::new(milliseconds(started)));
        let connection = Connection {
            stream,
            pause,
            scan_sender: scan_sender.clone(),
            reporter: reporter.clone(),
            last_read: Arc::clone(&last_read),
            started,
        };
        let task = tasks.spawn(connection.receive());
        peers.push(Peer { last_read, task });
    }
}

/// Closes the connection that has been silent for longest. False if all are busy.
fn close_quietest(peers: &mut Vec<Peer>) -> bool {
    let quietest = peers
        .iter()
        .enumerate()
        .map(|(index, peer)| (peer.last_read.load(Ordering::Relaxed), index))
        .min();
    match quietest {
        Some((last_read, index)) if last_read != BUSY => {
            peers.swap_remove(index).task.abort();
            true
        }
        _ => false,
    }
}

/// One connection as its own task sees it.
struct Connection {
    stream: TcpStream,
    pause: Duration,
    scan_sender: ScanSender,
    reporter: Reporter,
    last_read: Arc<AtomicU64>,
    started: Instant,
}

impl Connection {
    async fn receive(mut self) {
        let mut framer = Framer::default();
        let mut buffer = vec![0; 4_096];
        // Once this connection has sent a line end, a code without one is only part of a code.
        let mut has_ends = false;
        loop {
            let read = self.stream.read(&mut buffer);
            let read = if framer.pending() {
                timeout(self.pause, read).await.ok()
            } else {
                Some(read.await)
            };
            self.last_read.store(BUSY, Ordering::Relaxed);
            let mut end_early = |why: Option<&'static str>| {
                if let Some(why) = why.filter(|_| framer.pending()) {
                    framer.spoil(why);
                }
                Vec::from_iter(framer.end())
            };
            let (scans, ended) = match read {
                None => {
                    let scans = end_early(has_ends.then_some("the code broke off: it has no line end, and earlier ones of this connection had"));
                    self.reporter.count_endings(&scans, true);
                    (scans, false)
                }
                // A last line without a line end counts, if no earlier line had one.
                Some(Ok(0)) => (
                    end_early(
                        has_ends.then_some("the connection was closed in the middle of a code"),
                    ),
                    true,
                ),
                Some(Ok(length)) => {
                    let scans = framer.push(buffer.get(..length).unwrap_or_default());
                    self.reporter.count_endings(&scans, false);
                    has_ends |= !scans.is_empty();
                    (scans, false)
                }
                Some(Err(_)) => (
                    end_early(Some("the connection broke off in the middle of a code")),
                    true,
                ),
            };
            if !scans.is_empty() {
                self.reporter.report_open();
            }
            for scan in scans {
                if !self.scan_sender.send_waiting(scan).await {
                    return;
                }
            }
            if ended {
                return;
            }
            self.last_read
                .store(milliseconds(self.started), Ordering::Relaxed);
        }
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(BUSY - 1)
}
