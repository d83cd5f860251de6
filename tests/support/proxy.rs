//! A network between station and broker that fails on demand: it cuts connections, stalls them, and drops acknowledgements.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What happens to the present connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Flows,
    /// Open, but nothing gets through, as with an unplugged cable.
    Stalled,
    Cut,
}

struct Shared {
    target: AtomicU16,
    connections: AtomicUsize,
    fates: Mutex<Vec<watch::Sender<Fate>>>,
    /// The broker's PUBACKs are dropped.
    swallow: AtomicBool,
    /// Cut after this many more bytes to the broker; `u64::MAX`: never.
    cut_after: AtomicU64,
}

/// A TCP proxy on a free loopback port.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            connections: AtomicUsize::new(0),
            fates: Mutex::default(),
            swallow: AtomicBool::new(false),
            cut_after: AtomicU64::new(u64::MAX),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared, task }
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Ends the present connections.
    pub fn cut(&self) {
        self.set(Fate::Cut);
    }

    /// Ends them after `bytes` more bytes to the broker.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// Stalls the present connections; new ones work.
    pub fn stall(&self) {
        self.set(Fate::Stalled);
    }

    /// Sends new connections to that port.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// Drops the broker's PUBACKs, or lets them through again.
    pub fn swallow_acks(&self, swallow: bool) {
        self.shared.swallow.store(swallow, Ordering::SeqCst);
    }

    fn set(&self, fate: Fate) {
        self.shared.set(fate);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.set(Fate::Cut);
    }
}

impl Shared {
    fn set(&self, fate: Fate) {
        self.fates
            .lock()
            .unwrap()
            .retain(|sender| sender.send(fate).is_ok());
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((station, _)) = listener.accept().await else {
            continue;
        };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(broker) =
            TcpStream::connect(("127.0.0.1", shared.target.load(Ordering::SeqCst))).await
        else {
            continue;
        };
        let _ = (station.set_nodelay(true), broker.set_nodelay(true));
        let (fate, watched) = watch::channel(Fate::Flows);
        shared.fates.lock().unwrap().push(fate);
        let (from_station, to_station) = station.into_split();
        let (from_broker, to_broker) = broker.into_split();
        tokio::spawn(up(
            from_station,
            to_broker,
            watched.clone(),
            Arc::clone(&shared),
        ));
        tokio::spawn(down(from_broker, to_station, watched, Arc::clone(&shared)));
    }
}

async fn up(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut fate: watch::Receiver<Fate>,
    shared: Arc<Shared>,
) {
    let mut buffer = vec![0; 4096];
    while let Some(read) = read(&mut from, &mut buffer, &mut fate).await {
        let left = shared.cut_after.load(Ordering::SeqCst);
        let many = u64::try_from(read).unwrap();
        if left <= many {
            shared.cut_after.store(u64::MAX, Ordering::SeqCst);
            // This may cut a packet in half, as a real network does.
            let _ = to
                .write_all(&buffer[..usize::try_from(left).unwrap()])
                .await;
            shared.set(Fate::Cut);
            return;
        }
        if left != u64::MAX {
            shared.cut_after.store(left - many, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut fate: watch::Receiver<Fate>,
    shared: Arc<Shared>,
) {
    let mut buffer = vec![0; 4096];
    let mut pending = Vec::new();
    while let Some(read) = read(&mut from, &mut buffer, &mut fate).await {
        if pending.is_empty() && !shared.swallow.load(Ordering::SeqCst) {
            // Unread, so that TLS works too.
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            continue;
        }
        pending.extend_from_slice(&buffer[..read]);
        let mut out = Vec::new();
        while let Some(length) = packet_length(&pending) {
            let packet: Vec<u8> = pending.drain(..length).collect();
            let is_puback = packet[0] >> 4 == 4;
            if !(is_puback && shared.swallow.load(Ordering::SeqCst)) {
                out.extend_from_slice(&packet);
            }
        }
        if to.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// `None`: the connection has ended.
async fn read(
    from: &mut OwnedReadHalf,
    buffer: &mut [u8],
    fate: &mut watch::Receiver<Fate>,
) -> Option<usize> {
    loop {
        let now = *fate.borrow_and_update();
        match now {
            Fate::Cut => return None,
            Fate::Stalled => fate.changed().await.ok()?,
            Fate::Flows => tokio::select! {
                changed = fate.changed() => changed.ok()?,
                read = from.read(buffer) => return read.ok().filter(|read| *read > 0),
            },
        }
    }
}

/// The length of the first MQTT packet in `bytes`, if it is complete.
fn packet_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let whole = 2 + index + length;
            return (bytes.len() >= whole).then_some(whole);
        }
    }
    None
}
