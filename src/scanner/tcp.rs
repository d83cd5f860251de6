//! A TCP port for network scanners: a line is a scan, and so is what a pause ends. Each connection is framed for itself.

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
    time::{Instant, sleep, timeout},
};

use super::{Outlet, State, Teller, framing::Framer};
use crate::runtime::pulse;

/// Connections at the same time. One more closes the one that has been silent for longest: a network scanner that lost
/// its power leaves a connection behind, and such leftovers must not lock the next one out.
pub(super) const CONNECTIONS: usize = 64;

/// How long to wait before trying again what the system refused.
const RETRY: Duration = Duration::from_secs(1);

/// Marks a connection whose scans are being taken by the station: never closed for a newcomer.
const BUSY: u64 = u64::MAX;

/// Listens until the station ends. A port that cannot be had is said and tried again.
pub(super) async fn run(listen: SocketAddr, pause: Duration, outlet: &Outlet, teller: &Teller) {
    loop {
        teller.pulse.beat();
        match TcpListener::bind(listen).await {
            Ok(listener) => {
                if let Ok(address) = listener.local_addr() {
                    tracing::info!(scanner = %teller.name(), %address, "scanner port is open");
                }
                return serve(&listener, pause, outlet, teller).await;
            }
            Err(error) => teller.tell(refused(listen, &error)),
        }
        sleep(RETRY).await;
    }
}

/// Tries the port without keeping it.
pub(super) fn probe(listen: SocketAddr) -> State {
    std::net::TcpListener::bind(listen).map_or_else(|error| refused(listen, &error), |_| State::Ok)
}

fn refused(listen: SocketAddr, error: &io::Error) -> State {
    match error.kind() {
        io::ErrorKind::AddrInUse => State::Busy,
        io::ErrorKind::PermissionDenied => State::NoRight,
        _ => State::Fault(format!("cannot listen on {listen}: {error}")),
    }
}

/// One connection as the listener sees it.
struct Peer {
    /// When it last sent something, in milliseconds since the listener started; or [`BUSY`].
    heard: Arc<AtomicU64>,
    task: AbortHandle,
}

/// Takes connections; returns when the station has ended.
pub(super) async fn serve(
    listener: &TcpListener,
    pause: Duration,
    outlet: &Outlet,
    teller: &Teller,
) {
    let started = Instant::now();
    let mut peers: Vec<Peer> = Vec::new();
    let mut tasks = JoinSet::new();
    teller.open();
    loop {
        teller.pulse.beat();
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    teller.open();
                    stream
                }
                Err(error) => {
                    teller.tell(State::Fault(format!("cannot take a connection: {error}")));
                    sleep(RETRY).await;
                    continue;
                }
            },
            Some(_) = tasks.join_next() => {
                peers.retain(|peer| !peer.task.is_finished());
                continue;
            }
            () = outlet.closed() => return,
            () = sleep(pulse::EVERY) => continue,
        };
        peers.retain(|peer| !peer.task.is_finished());
        if peers.len() >= CONNECTIONS && !close_quietest(&mut peers) {
            continue;
        }
        let heard = Arc::new(AtomicU64::new(milliseconds(started)));
        let connection = Connection {
            stream,
            pause,
            outlet: outlet.clone(),
            teller: teller.clone(),
            heard: Arc::clone(&heard),
            started,
        };
        let task = tasks.spawn(connection.receive());
        peers.push(Peer { heard, task });
    }
}

/// Closes the connection that has been silent for longest; false when all are being served.
fn close_quietest(peers: &mut Vec<Peer>) -> bool {
    let quietest = peers
        .iter()
        .enumerate()
        .map(|(place, peer)| (peer.heard.load(Ordering::Relaxed), place))
        .min();
    match quietest {
        Some((heard, place)) if heard != BUSY => {
            peers.swap_remove(place).task.abort();
            true
        }
        _ => false,
    }
}

/// One connection as its reader sees it.
struct Connection {
    stream: TcpStream,
    pause: Duration,
    outlet: Outlet,
    teller: Teller,
    heard: Arc<AtomicU64>,
    started: Instant,
}

impl Connection {
    /// Reads it to its end.
    async fn receive(mut self) {
        let mut framer = Framer::default();
        let mut buffer = vec![0; 4_096];
        // Has a line end ever ended a code here? Then a code without one is only a part of a code.
        let mut has_ends = false;
        loop {
            let read = self.stream.read(&mut buffer);
            let read = if framer.pending() {
                timeout(self.pause, read).await.ok()
            } else {
                Some(read.await)
            };
            self.heard.store(BUSY, Ordering::Relaxed);
            let mut end_early = |why: Option<&'static str>| {
                if let Some(why) = why.filter(|_| framer.pending()) {
                    framer.spoil(why);
                }
                Vec::from_iter(framer.end())
            };
            let (scans, ended) = match read {
                None => {
                    let scans = end_early(has_ends.then_some("the code broke off: it has no line end, and earlier ones of this connection had"));
                    self.teller.heard(&scans, true);
                    (scans, false)
                }
                // A last line without its line end counts.
                Some(Ok(0)) => (
                    end_early(
                        has_ends.then_some("the connection was closed in the middle of a code"),
                    ),
                    true,
                ),
                Some(Ok(length)) => {
                    let scans = framer.push(buffer.get(..length).unwrap_or_default());
                    self.teller.heard(&scans, false);
                    has_ends |= !scans.is_empty();
                    (scans, false)
                }
                Some(Err(_)) => (
                    end_early(Some("the connection broke off in the middle of a code")),
                    true,
                ),
            };
            if !scans.is_empty() {
                self.teller.open();
            }
            for scan in scans {
                if !self.outlet.send_waiting(scan).await {
                    return;
                }
            }
            if ended {
                return;
            }
            self.heard
                .store(milliseconds(self.started), Ordering::Relaxed);
        }
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(BUSY - 1)
}
