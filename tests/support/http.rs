//! A browser's side of HTTP/1.1, by hand: what a real one would never send can be sent, too.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The page's server.
#[derive(Clone, Copy, Debug)]
pub struct Server(pub SocketAddr);

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Server {
    pub fn on(port: u16) -> Self {
        Self(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    pub fn connect(self) -> TcpStream {
        let stream = TcpStream::connect(self.0).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Waits until it listens.
    pub fn awaited(self) -> Self {
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.0).is_err() {
            assert!(Instant::now() < end, "nothing listens on {}", self.0);
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// Sends these bytes and reads the whole answer; `None`: the connection was closed without one.
    pub fn send(self, request: &[u8]) -> Option<Reply> {
        let mut stream = self.connect();
        // It may be closed before all of a long one is sent.
        let _ = stream.write_all(request);
        read_reply(stream)
    }

    /// One request with these lines in its head, under its own address unless they name a host.
    pub fn ask(self, line: &str, headers: &[&str], body: &[u8]) -> Option<Reply> {
        let named = |name: &str| {
            headers
                .iter()
                .any(|header| header.to_lowercase().starts_with(name))
        };
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        if !named("host:") {
            head += &format!("Host: {}\r\n", self.0);
        }
        for header in headers {
            head += &format!("{header}\r\n");
        }
        if !body.is_empty() && !named("content-length:") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        self.send(&[head.as_bytes(), b"\r\n", body].concat())
    }

    pub fn get(self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), &[], b"").unwrap()
    }

    /// A scan as the page sends it.
    pub fn scan(self, text: &str) -> Reply {
        let body = serde_json::json!({ "text": text }).to_string();
        self.post(&body, &[])
    }

    pub fn post(self, body: &str, more: &[&str]) -> Reply {
        let origin = format!("Origin: http://{}", self.0);
        let mut headers = vec!["Content-Type: application/json", &origin];
        headers.extend(more);
        self.ask("POST /api/scan", &headers, body.as_bytes())
            .expect("an answer")
    }

    /// The events of an open page.
    pub fn events(self) -> Events {
        let mut stream = self.connect();
        let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", self.0);
        stream.write_all(request.as_bytes()).unwrap();
        Events(BufReader::new(stream))
    }
}

fn read_reply(mut stream: TcpStream) -> Option<Reply> {
    let mut bytes = Vec::new();
    // A reset after the answer does not take it back.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Reply {
        status,
        head: head.replace("\r\n", "\n"),
        body: body.to_owned(),
    })
}

/// The events of an open page.
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// The next event with its data; `None`: the connection has ended.
    pub fn next(&mut self) -> Option<(String, Value)> {
        let mut name = None;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(event) = line.strip_prefix("event: ") {
                name = Some(event.to_owned());
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some((name?, serde_json::from_str(data).ok()?));
            }
        }
    }

    /// The next event of that name for which `wanted` holds.
    pub fn find(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < end, "no such {name} within 20 s");
            let (found, data) = self.next().expect("the page is still open");
            if found == name && wanted(&data) {
                return data;
            }
        }
    }
}
