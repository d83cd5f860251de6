//! What systemd is told: ready, alive, the state in words, stopping. Nothing where systemd did not start us.

use std::time::Duration;

use sd_notify::NotifyState;

/// The way to the service manager.
#[derive(Clone, Debug)]
pub struct Systemd {
    watchdog: Option<Duration>,
    /// What was said, for tests; systemd hears nothing of it.
    #[cfg(test)]
    heard: Option<std::sync::mpsc::Sender<String>>,
}

impl Systemd {
    /// Reads what systemd put into the environment.
    pub fn from_environment() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
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
        self.tell(NotifyState::Ready);
    }

    /// Every part has answered within the period.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.tell(NotifyState::Watchdog);
        }
    }

    /// The line that `systemctl status` shows.
    pub fn status(&self, text: &str) {
        self.tell(NotifyState::Status(text));
    }

    /// The service ends.
    pub fn stopping(&self) {
        self.tell(NotifyState::Stopping);
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests hear what is said"))]
    fn tell(&self, state: NotifyState<'_>) {
        #[cfg(test)]
        if let Some(heard) = &self.heard {
            let _ = heard.send(state.to_string());
            return;
        }
        if let Err(error) = sd_notify::notify(&[state]) {
            tracing::debug!(%error, "systemd could not be told");
        }
    }
}

#[cfg(test)]
impl Systemd {
    /// A stand-in that wants to be fed within `watchdog`, and what it hears.
    pub(crate) fn double(watchdog: Duration) -> (Self, std::sync::mpsc::Receiver<String>) {
        let (heard, hears) = std::sync::mpsc::channel();
        (Self { watchdog: Some(watchdog), heard: Some(heard) }, hears)
    }
}
