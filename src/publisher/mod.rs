//! Tell the fleet: the wire format and the MQTT session that loses nothing.
//!
//! The journal is the store and every MQTT session is disposable: a row is delivered only by the broker's PUBACK of that row, and
//! only the journal remembers that it is. Reading order: [`message`] says what is sent, `outbox` which row is next and what an answer
//! means for it, `session` speaks MQTT on one link, `desk` brings them together, [`run`] makes link after link.

mod command;
mod desk;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod message;
mod outbox;
mod pacing;
mod reach;
mod reading;
mod retained;
#[cfg(test)]
mod samples;
mod session;
mod timing;
mod tls;

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use tokio::{sync::watch, time::Instant};
use url::Url;

use crate::{
    health::{Health, LinkCondition},
    journal::Journal,
    runtime::{credential::Credential, name::Name, pulse::Pulse, visible},
    station::unrecorded::Unrecorded,
};
use desk::{Desk, End};
use pacing::Reconnect;
use session::{ClientId, FaultKind, Session, SessionEvent};

pub use reach::reach;
pub use timing::{HealthTimes, ReconnectTimes, RowTimes, SilenceTimes, TakeoverTimes, Timing};

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
    /// Password, if any; read again at every reconnect.
    pub password: Option<Credential>,
    /// An additional trust anchor; `None`: the system's only. Read again at every reconnect.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and key: mutual TLS. Both read again at every reconnect.
    pub client_certificate: Option<(PathBuf, Credential)>,
    /// First level of every topic.
    pub topic_prefix: String,
    /// MQTT keep-alive.
    pub keep_alive: Duration,
    /// Budget of the backlog in messages a second; 0: as fast as the broker takes it.
    pub replay_per_second: u32,
    /// What PUBACK 0x10 means.
    pub no_subscriber: NoSubscriber,
    /// Put the scanned text of a `rescan` into the message.
    pub publish_raw: bool,
    /// Answer commands.
    pub commands: bool,
    /// `[home_assistant]`: the first levels of the topics by which it finds the station; `None`: it is not told.
    pub discovery_prefix: Option<String>,
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
    pub link: LinkState,
    /// The broker says that nobody listens, and rows are kept.
    pub nobody_listens: bool,
    /// Another client took the session over again and again: two stations with one name.
    pub session_taken_over: bool,
    /// The broker refuses the station's rights to a whole topic.
    pub refused_topic: Option<String>,
}

impl State {
    /// Before the first try.
    pub const fn starting() -> Self {
        Self {
            link: LinkState::Starting,
            nobody_listens: false,
            session_taken_over: false,
            refused_topic: None,
        }
    }
}

/// The link to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not tried yet.
    Starting,
    /// Connected.
    Connected,
    /// Away, refusing or failing, in words with the remedy.
    Away(String),
}

impl LinkState {
    /// What health says of it.
    pub const fn condition(&self) -> LinkCondition {
        match self {
            Self::Starting => LinkCondition::Starting,
            Self::Connected => LinkCondition::Connected,
            Self::Away(_) => LinkCondition::Away,
        }
    }
}

/// Where the publisher gets what it sends.
#[derive(Debug)]
pub struct Inputs {
    /// The journal: its outbox is what is sent.
    pub journal: Journal,
    /// The station's health, newest wins.
    pub health: watch::Receiver<Health>,
    /// What the station is. Its epoch is taken from the journal at each birth, and when a salvage draws a new one.
    pub meta: message::Meta,
    /// Records that could not be written to the journal: sent at best once.
    pub unrecorded: Unrecorded,
    /// True: stop.
    pub stop: watch::Receiver<bool>,
    /// The sign of life of the publisher's loop.
    pub pulse: Pulse,
}

/// Publishes until `inputs.stop` is true; then says `offline` and returns, within 3 s.
pub async fn run(settings: Settings, inputs: Inputs, state: watch::Sender<State>) {
    run_with(settings, inputs, state, Timing::default()).await;
}

/// As [`run`], with other times.
pub async fn run_with(
    settings: Settings,
    inputs: Inputs,
    state: watch::Sender<State>,
    timing: Timing,
) {
    let (mut stop, pulse) = (inputs.stop.clone(), inputs.pulse.clone());
    let mut desk = Desk::new(&settings, inputs, state.clone(), timing);
    let mut reconnect = Reconnect::new(timing.reconnect);
    let mut takeovers = VecDeque::new();
    loop {
        let begun = Instant::now();
        let pause = reconnect.pause(begun);
        let opened = tokio::select! {
            opened = pulse.through(Session::open(&settings, &timing, reconnect.patience(pause), ClientId::Station)) => opened,
            () = stopped(&mut stop) => return,
        };
        let (fault, again) = match opened {
            Err(fault) => (fault, begun + pause),
            Ok(session) => {
                tracing::info!("connected to the broker");
                match desk.serve(session).await {
                    End::Stopped => return,
                    End::Gone(fault, lasted) => {
                        let now = Instant::now();
                        reconnect.lost(lasted);
                        (fault, now + reconnect.pause(now))
                    }
                }
            }
        };
        let taken_over = fault.kind == FaultKind::TakenOver
            && again_and_again(&mut takeovers, Instant::now(), timing.takeovers.quiet);
        state.send_if_modified(|state| {
            let next = State { link: LinkState::Away(fault.words.clone()), session_taken_over: state.session_taken_over || taken_over, ..state.clone() };
            let changed = *state != next;
            if changed {
                tracing::warn!(why = %fault.words, "the broker is away; records wait in the journal");
            }
            *state = next;
            changed
        });
        let again = if taken_over {
            Instant::now()
                + timing
                    .takeovers
                    .backoff
                    .mul_f64(0.5 + 0.5 * fastrand::f64())
        } else {
            again
        };
        tokio::select! {
            () = pulse.through(tokio::time::sleep_until(again)) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// What a test connection to the broker showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// What the broker retains on the station's own `availability`; `None`: nothing, or nothing that this user may read.
    pub availability: Option<String>,
    /// The broker refuses to let this user listen there, in its own word.
    pub refused: Option<String>,
}

/// Connects as the station would (TLS, user and all), with its own client id and without a will, looks at what is retained
/// on the station's `availability`, and leaves. Not beside a running agent: a broker that takes the user name for the client id
/// would end the agent's session, see [`reach`]. Publishes nothing: a right to write shows only when the station writes.
///
/// # Errors
/// Why there is no session, in words with the remedy.
pub async fn probe(settings: &Settings) -> Result<Probed, String> {
    /// How long to wait for a retained message; the broker never says there is none.
    const LISTEN: Duration = Duration::from_secs(1);
    let timing = Timing::default();
    let mut session = Session::open(
        settings,
        &timing,
        timing.reconnect.connect_most,
        ClientId::Doctor,
    )
    .await
    .map_err(|fault| fault.words)?;
    let availability = message::Topics::new(settings).availability;
    session.subscribe_retained(&availability);
    let heard = tokio::time::timeout(LISTEN, async {
        loop {
            match session.next().await {
                SessionEvent::Arrived(arrival) if arrival.topic == availability => {
                    let word = visible::word(&String::from_utf8_lossy(&arrival.payload));
                    return Ok(Probed {
                        availability: Some(word),
                        refused: None,
                    });
                }
                SessionEvent::SubscriptionRefused(why) => {
                    return Ok(Probed {
                        availability: None,
                        refused: Some(why),
                    });
                }
                SessionEvent::Ended(fault) => return Err(fault.words),
                SessionEvent::Arrived(_) | SessionEvent::Acked(..) => {}
            }
        }
    });
    let probed = heard.await.unwrap_or_else(|_| Ok(Probed::default()));
    session.close(LISTEN).await;
    probed
}

/// Resolves when the station stops, or nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Was the session taken over before, within `within`?
fn again_and_again(takeovers: &mut VecDeque<Instant>, now: Instant, within: Duration) -> bool {
    takeovers.retain(|at| now.saturating_duration_since(*at) < within);
    takeovers.push_back(now);
    takeovers.len() > 1
}
