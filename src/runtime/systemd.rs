//! What systemd hears from the agent: ready, alive, the state in words, stopping. Nothing where systemd did not start us, and nobody waits until it listens.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sd_notify::NotifyState;

/// The way to the service manager.
#[derive(Clone, Debug)]
pub struct Systemd {
    watchdog: Option<Duration>,
    /// The service is up, and systemd could not be notified so far.
    ready_unsaid: Arc<AtomicBool>,
    /// What was said, for tests; systemd hears nothing of it.
    #[cfg(test)]
    heard: Option<std::sync::mpsc::Sender<String>>,
}

impl Systemd {
    /// Reads what systemd put into the environment.
    pub fn from_environment() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            ready_unsaid: Arc::default(),
            #[cfg(test)]
            heard: None,
        }
    }

    /// How often to say [`Systemd::alive`]: a third of the watchdog's time. `None`: nobody listens.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 3)
    }

    /// The service is up.
    pub fn ready(&self) {
        self.ready_unsaid.store(true, Ordering::Relaxed);
        self.catch_up();
    }

    /// Says that the service is up, where that could not be said before: systemd would end a service that it never hears it of.
    pub fn catch_up(&self) {
        if self.ready_unsaid.swap(false, Ordering::Relaxed) && !self.tell(NotifyState::Ready) {
            self.ready_unsaid.store(true, Ordering::Relaxed);
        }
    }

    /// Every part has answered within the period.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.tell(NotifyState::Watchdog);
        }
    }

    /// The line that `systemctl status` shows. `false`: it could not be said now.
    pub fn status(&self, text: &str) -> bool {
        self.tell(NotifyState::Status(text))
    }

    /// The start takes longer than systemd waits for by itself: what is done, and how much more time it may take.
    pub fn still_starting(&self, text: &str, more: Duration) {
        let micros = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
        self.tell(NotifyState::ExtendTimeoutUsec(micros));
        self.status(text);
    }

    /// The service ends.
    pub fn stopping(&self) {
        self.tell(NotifyState::Stopping);
    }

    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "tests hear what is said")
    )]
    fn tell(&self, state: NotifyState<'_>) -> bool {
        #[cfg(test)]
        if let Some(heard) = &self.heard {
            return heard.send(state.to_string()).is_ok();
        }
        let said = say(&format!("{state}\n"));
        if let Err(error) = &said {
            tracing::debug!(%error, "systemd could not be notified");
        }
        said.is_ok()
    }
}

/// sd_notify(3), without the wait for a service manager that hangs and whose socket is full.
fn say(words: &str) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(words.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
impl Systemd {
    /// A stand-in that wants to be fed within `watchdog`, and what it hears.
    pub(crate) fn double(watchdog: Duration) -> (Self, std::sync::mpsc::Receiver<String>) {
        let (heard, hears) = std::sync::mpsc::channel();
        (
            Self {
                watchdog: Some(watchdog),
                ready_unsaid: Arc::default(),
                heard: Some(heard),
            },
            hears,
        )
    }
}
