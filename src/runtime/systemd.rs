//! What systemd is told: ready, alive, the state in words, stopping. Nothing where systemd did not start us.

use std::time::Duration;

use sd_notify::NotifyState;

/// The way to the service manager.
#[derive(Clone, Debug)]
pub struct Systemd {
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Reads what systemd put into the environment.
    pub fn from_environment() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// How often to say [`Systemd::alive`]: a third of the watchdog's time. `None`: nobody listens.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 3)
    }

    /// The service is up.
    pub fn ready(&self) {
        tell(NotifyState::Ready);
    }

    /// Every part has answered within the period.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            tell(NotifyState::Watchdog);
        }
    }

    /// The line that `systemctl status` shows.
    pub fn status(&self, text: &str) {
        tell(NotifyState::Status(text));
    }

    /// The service ends.
    pub fn stopping(&self) {
        tell(NotifyState::Stopping);
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
