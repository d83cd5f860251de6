//! A gateway between a station and a service: it passes replies on, changed as a test demands.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A reply as it is sent.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: String,
    /// `content-length` is computed from the body, unless it is given here.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Sent instead of the whole reply.
    pub raw: Option<Vec<u8>>,
    /// Close the connection after it.
    pub ends: bool,
}

impl Reply {
    pub fn set(&mut self, name: &str, value: &str) {
        self.drop(name);
        self.add(name, value);
    }

    pub fn add(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub fn drop(&mut self, name: &str) {
        self.headers.retain(|(known, _)| known != name);
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn say(&mut self, text: &str) {
        self.body = text.as_bytes().to_vec();
    }

    pub fn bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let has = |name: &str| self.headers.iter().any(|(known, _)| known == name);
        let mut bytes = format!("HTTP/1.1 {}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !has("content-length") && !has("transfer-encoding") {
            bytes.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

type Change = Arc<dyn Fn(&str, &mut Reply) + Send + Sync>;

#[derive(Default)]
struct Shared {
    change: Mutex<Option<Change>>,
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
    /// Close each connection at its second request, before the reply.
    once_only: std::sync::atomic::AtomicBool,
    /// Connections with a lower number get no more replies.
    silent_below: AtomicUsize,
}

/// Listens on a free loopback port.
pub struct Gateway {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Gateway {
    pub async fn before(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let Ok((station, _)) = listener.accept().await else {
                    continue;
                };
                let number = serving.connections.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&serving);
                tokio::spawn(async move { serve(station, number, service, &shared).await });
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    /// Changes every reply from now on. The closure gets the request's path.
    pub fn change(&self, change: impl Fn(&str, &mut Reply) + Send + Sync + 'static) {
        *self.shared.change.lock().unwrap() = Some(Arc::new(change));
    }

    /// Changes the replies to requests whose path begins like this.
    pub fn change_at(
        &self,
        path: &'static str,
        change: impl Fn(&mut Reply) + Send + Sync + 'static,
    ) {
        self.change(move |asked, reply| {
            if asked.split('?').next() == Some(path) {
                change(reply);
            }
        });
    }

    pub fn pass_on(&self) {
        *self.shared.change.lock().unwrap() = None;
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// Closes every connection at its second request.
    pub fn once_only(&self) {
        self.shared.once_only.store(true, Ordering::SeqCst);
    }

    /// The present connections accept requests, but get no more replies.
    pub fn fall_silent(&self) {
        self.shared
            .silent_below
            .store(self.connections(), Ordering::SeqCst);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut station: TcpStream, number: usize, service: SocketAddr, shared: &Shared) {
    let mut buffer = Vec::new();
    for request in 0.. {
        let Some((head, body)) = message(&mut station, &mut buffer).await else {
            return;
        };
        if request > 0 && shared.once_only.load(Ordering::SeqCst) {
            let _ = station.set_zero_linger();
            return;
        }
        shared.heads.lock().unwrap().push(head.clone());
        if number < shared.silent_below.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let Some(mut reply) = forward(service, &head, &body).await else {
            return;
        };
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let change = shared.change.lock().unwrap().clone();
        if let Some(change) = change {
            change(&path, &mut reply);
        }
        if station.write_all(&reply.bytes()).await.is_err() || reply.ends {
            return;
        }
    }
}

/// One message, with or without `content-length`. `None`: the connection has ended.
async fn message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end + 4]).into_owned();
            let length: usize = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length:")
                        .map(|value| value.trim().to_owned())
                })
                .map_or(0, |value| value.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        let mut chunk = [0; 16 * 1024];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

async fn forward(service: SocketAddr, head: &str, body: &[u8]) -> Option<Reply> {
    let mut upstream = TcpStream::connect(service).await.ok()?;
    upstream.write_all(head.as_bytes()).await.ok()?;
    upstream.write_all(body).await.ok()?;
    let (head, body) = message(&mut upstream, &mut Vec::new()).await?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .filter(|(name, _)| name != "content-length")
        .collect();
    Some(Reply {
        status,
        headers,
        body,
        raw: None,
        ends: false,
    })
}
