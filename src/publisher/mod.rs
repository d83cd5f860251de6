//! Tell the fleet: the wire format (pure) and the MQTT session that loses nothing.

pub mod message;

use std::path::PathBuf;

use url::Url;

use crate::runtime::{credential::Credential, name::Name};

/// `[mqtt]`, with the station's names.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The site's name.
    pub site: Name,
    /// The station's name.
    pub station: Name,
    /// `mqtt://` or `mqtts://`, host and port.
    pub url: Url,
    /// User name, if any.
    pub username: Option<String>,
    /// Password, if any; read anew at every reconnect.
    pub password: Option<Credential>,
    /// An additional trust anchor; `None`: the system's only. Read anew at every reconnect.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and key: mutual TLS. Both read anew at every reconnect.
    pub client_certificate: Option<(PathBuf, Credential)>,
    /// First level of every topic.
    pub topic_prefix: String,
    /// MQTT keep-alive.
    pub keep_alive: std::time::Duration,
    /// Budget of the backlog in messages a second; 0: as fast as the broker takes it.
    pub replay_per_second: u32,
    /// What PUBACK 0x10 means.
    pub no_subscriber: NoSubscriber,
    /// Put the scanned text of a `rescan` into the message.
    pub publish_raw: bool,
    /// Answer commands.
    pub commands: bool,
}

/// What PUBACK 0x10, "no matching subscribers", means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSubscriber {
    /// Unheard: the row is kept until somebody listens.
    Keep,
    /// Delivered: some brokers say it of messages that their rules took.
    Accept,
}

/// The state of the way to the broker, for health and doctor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Connected or not, and why not.
    pub link: Link,
    /// The broker says that nobody listens, and rows are kept.
    pub nobody_listens: bool,
    /// Another client took the session over again and again: two stations with one name.
    pub session_taken_over: bool,
    /// The broker refuses the station's rights to a whole topic.
    pub refused_topic: Option<String>,
}

/// The link to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not tried yet.
    Starting,
    /// Connected.
    Connected,
    /// Away, refusing or failing, in words with the remedy.
    Away(String),
}

impl Link {
    /// The stable word in `P/health`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Connected => "connected",
            Self::Away(_) => "away",
        }
    }
}
