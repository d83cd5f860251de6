//! Connections that can end in the ways that real ones do, and bodies that do not end well.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Sleep,
};

const CUT_AFTER: Duration = Duration::from_millis(50);

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a reset.
    Reset = 1,
    /// In order, but without a reply.
    Close = 2,
}

/// A handler's hold on its connection.
#[derive(Clone, Debug)]
pub(super) struct Wire(Arc<AtomicU8>);

impl Wire {
    /// Nothing passes any more; the next write ends the connection.
    pub(super) fn end(&self, end: End) {
        self.0.store(end as u8, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, Door>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().wire.clone()
    }
}

/// Accepts connections; all of them end when the simulator stops.
pub(super) struct Door {
    listener: TcpListener,
    stop: watch::Receiver<bool>,
}

impl Door {
    pub(super) const fn new(listener: TcpListener, stop: watch::Receiver<bool>) -> Self {
        Self { listener, stop }
    }
}

impl Listener for Door {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        let (tcp, address) = Listener::accept(&mut self.listener).await;
        let wire = Wire(Arc::new(AtomicU8::new(0)));
        (
            Stream {
                tcp,
                wire,
                stop: self.stop.clone(),
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection.
pub(super) struct Stream {
    tcp: TcpStream,
    wire: Wire,
    stop: watch::Receiver<bool>,
}

impl Stream {
    fn passable(&self) -> io::Result<()> {
        if *self.stop.borrow() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match self.wire.0.load(Ordering::Acquire) {
            0 => Ok(()),
            end => {
                if end == End::Reset as u8 {
                    self.tcp.set_zero_linger()?;
                }
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.passable()?;
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.passable()?;
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.passable()?;
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.passable()?;
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// A body that is huge, or breaks off.
pub(super) struct Flood {
    left: u64,
    chunk: Bytes,
    /// What was written reaches the peer before the connection breaks.
    cut: Option<Pin<Box<Sleep>>>,
}

impl Flood {
    /// So many spaces, which JSON allows.
    pub(super) fn of_spaces(bytes: u64) -> Self {
        Self {
            left: bytes,
            chunk: Bytes::from_static(&[b' '; 64 * 1024]),
            cut: None,
        }
    }

    /// These bytes, and then the connection breaks.
    pub(super) fn cut_after(bytes: Bytes) -> Self {
        Self {
            left: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            chunk: bytes,
            cut: Some(Box::pin(tokio::time::sleep(CUT_AFTER))),
        }
    }
}

impl Body for Flood {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return match &mut self.cut {
                Some(pause) => pause
                    .as_mut()
                    .poll(context)
                    .map(|()| Some(Err(io::ErrorKind::ConnectionAborted.into()))),
                None => Poll::Ready(None),
            };
        }
        let take = self
            .chunk
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= u64::try_from(take).unwrap_or(self.left);
        Poll::Ready(Some(Ok(Frame::data(self.chunk.slice(..take)))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.cut.is_some() {
            SizeHint::default()
        } else {
            SizeHint::with_exact(self.left)
        }
    }
}
