//! One MQTT session from CONNECT to its end, and never longer than one link. Only it and its `words` know the client crate.
//!
//! The client's event loop is driven to its end by one future that is never cancelled halfway; [`Session::next`] may be
//! dropped at any point. The watchdog stands around that future, because the event loop can hang in a full socket for longer
//! than any keep-alive.

mod words;

use std::{
    collections::BTreeMap, future::Future, io, io::ErrorKind, net::SocketAddr, pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use rumqttc::{
    AsyncClient, Broker, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet,
    PubAckReason, Publish, PublishNotice, PublishNoticeError, PublishOptions, PublishProperties,
    PublishResult, QoS, RetainForwardRule, StateError, SubscribeFilter, SubscribeFilterInput,
    SubscribeReasonCode, TlsConfiguration, TlsError, Transport, mqttbytes,
};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    net::{TcpStream, lookup_host},
    sync::mpsc,
    time::Instant,
};
use uuid::Uuid;

use super::{
    Settings, Timing,
    message::{self, Topics},
    outbox::Ack,
    tls,
};
use crate::runtime::credential::Credential;
use words::{disconnect_fault, refusal_words};

/// Messages in flight at most, and the bound of the client's own ring.
const WINDOW: u16 = 32;
/// What the broker may send us: commands are small.
const INCOMING_MAX: u32 = 16 * 1024;
/// The kernel gives a connection up on which nothing that was sent arrives for this long. Without it a broker whose machine or network was away
/// for half a minute is noticed to be back only at the next repetition, 26 s later.
const UNHEARD: Duration = Duration::from_secs(8);
/// One of several addresses of the broker's name may take this long.
const ADDRESS: Duration = Duration::from_secs(1);

/// One message that leaves.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) content_type: Option<&'static str>,
    pub(super) retained: bool,
    /// The CloudEvent's id, as a user property too.
    pub(super) id: Option<Uuid>,
    /// Correlation data of an answer.
    pub(super) correlation: Option<Bytes>,
}

/// A message that arrived.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) retained: bool,
    /// Until when it counts.
    pub(super) expires: Option<Instant>,
    pub(super) response_topic: Option<String>,
    pub(super) correlation: Option<Bytes>,
}

/// What happens on a session.
#[derive(Debug)]
pub(super) enum Happening {
    /// The broker answered for the message of that ticket.
    Acked(u64, Ack),
    /// A message arrived.
    Arrived(Arrival),
    /// A subscription was refused: its words.
    SubscriptionRefused(String),
    /// The session has ended.
    Ended(Fault),
}

/// Why a session could not begin, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// In words, with the remedy.
    pub(super) words: String,
}

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// The link broke, and what was in flight may be why.
    Broke,
    /// The broker went away, or never came: nothing to do with what was in flight.
    Away,
    /// The watchdog gave the link up; the message of that ticket was never answered although all others were, or later ones.
    Ignored(u64),
    /// Another client took the session over.
    TakenOver,
}

impl Fault {
    fn new(kind: FaultKind, words: impl Into<String>) -> Self {
        Self {
            kind,
            words: words.into(),
        }
    }

    pub(super) fn taken_over() -> Self {
        Self::new(
            FaultKind::TakenOver,
            "another client takes the session over: two stations have the same site and name (rename one in [station]), or another program uses this station's user of the broker",
        )
    }
}

/// As whom a session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guise {
    /// The station: under its name, with its will.
    Station,
    /// Somebody who tries the way only: under a name of its own and without a will.
    Visitor,
}

type Tracked =
    Pin<Box<dyn Future<Output = (u64, Result<PublishResult, PublishNoticeError>)> + Send>>;

/// One session.
pub(super) struct Session {
    client: AsyncClient,
    driver: Pin<Box<dyn Future<Output = ConnectionError> + Send>>,
    events: mpsc::Receiver<Event>,
    notices: FuturesUnordered<Tracked>,
    unanswered: BTreeMap<u64, Instant>,
    /// The newest message that was answered.
    answered: u64,
    tickets: u64,
    heard: Instant,
    silence: Duration,
    patience: Duration,
    window: usize,
    packet_max: usize,
    retain: bool,
    /// Why the session has ended; told once every message that was answered before has been told.
    ended: Option<Fault>,
}

impl Session {
    /// Connects within that time: files and credentials are read anew, the session is clean and dies with the link, the will says `offline`.
    pub(super) async fn open(
        settings: &Settings,
        timing: &Timing,
        within: Duration,
        guise: Guise,
    ) -> Result<Self, Fault> {
        let deadline = Instant::now() + within;
        let options = options(settings, within, guise).await?;
        let (client, event_loop) = AsyncClient::builder(options)
            .capacity(usize::from(WINDOW) * 2)
            .try_build()
            .map_err(|error| {
                Fault::new(FaultKind::Away, format!("[mqtt] cannot be used: {error}"))
            })?;
        let (sender, events) = mpsc::channel(256);
        let now = Instant::now();
        let mut session = Self {
            client,
            driver: Box::pin(drive(event_loop, sender)),
            events,
            notices: FuturesUnordered::new(),
            unanswered: BTreeMap::new(),
            answered: 0,
            tickets: 0,
            heard: now,
            silence: 2 * settings.keep_alive + timing.grace,
            patience: timing.unacknowledged,
            window: usize::from(WINDOW),
            packet_max: usize::MAX,
            retain: true,
            ended: None,
        };
        loop {
            tokio::select! {
                biased;
                event = session.events.recv() => if let Some(Event::Incoming(Packet::ConnAck(connack))) = event {
                    session.heard = Instant::now();
                    let properties = connack.properties.as_ref();
                    if let Some(most) = properties.and_then(|properties| properties.receive_max) {
                        session.window = session.window.min(usize::from(most)).max(1);
                    }
                    if let Some(most) = properties.and_then(|properties| properties.max_packet_size) {
                        session.packet_max = usize::try_from(most).unwrap_or(usize::MAX);
                    }
                    if let Some(seconds) = properties.and_then(|properties| properties.server_keep_alive) {
                        // 0: nobody pings. Then a broker that lives is heard when it acknowledges health.
                        let keep_alive = if seconds == 0 { timing.health_most } else { Duration::from_secs(u64::from(seconds)) };
                        session.silence = 2 * keep_alive + timing.grace;
                    }
                    session.retain = properties.and_then(|properties| properties.retain_available) != Some(0);
                    if properties.and_then(|properties| properties.max_qos) == Some(0) {
                        return Err(Fault::new(FaultKind::Away, "the broker takes no message with QoS 1, so it cannot confirm any: allow QoS 1 there"));
                    }
                    if !session.takes(&smallest(settings)) {
                        let words = format!("the broker takes no message at all: its maximum packet size is {}; raise it there", session.packet_max);
                        return Err(Fault::new(FaultKind::Away, words));
                    }
                    return Ok(session);
                },
                error = &mut session.driver => return Err(fault(&error, settings)),
                () = tokio::time::sleep_until(deadline) => return Err(Fault::new(FaultKind::Away, no_answer(&address(settings)))),
            }
        }
    }

    /// Messages in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.unanswered.len()
    }

    /// Is there room for one more?
    pub(super) fn has_room(&self) -> bool {
        self.ended.is_none() && self.in_flight() < self.window
    }

    /// Does the broker take a packet of that size?
    pub(super) fn takes(&self, message: &Message) -> bool {
        // Two bytes for the packet identifier, which it gets when it leaves.
        let packet = Publish::new(
            message.topic.clone(),
            QoS::AtLeastOnce,
            message.payload.clone(),
            Some(properties(message)),
        );
        packet.size() + 2 <= self.packet_max
    }

    /// Sends with QoS 1; the ticket comes back in [`Happening::Acked`]. `None`: it could not even be queued.
    pub(super) fn publish(&mut self, message: Message) -> Option<u64> {
        let options = PublishOptions::at_least_once()
            .retain(message.retained && self.retain)
            .properties(properties(&message));
        let notice = self
            .client
            .try_publish_tracked(message.topic, message.payload, options)
            .ok()?;
        self.tickets += 1;
        let ticket = self.tickets;
        self.unanswered.insert(ticket, Instant::now());
        self.notices.push(Box::pin(tracked(ticket, notice)));
        Some(ticket)
    }

    /// Listens to what others say on `topic` from now on.
    pub(super) fn subscribe(&self, topic: &str) {
        let filter = SubscribeFilter::new(topic, QoS::AtLeastOnce);
        let filter = SubscribeFilterInput::from(filter)
            .no_local(true)
            .preserve_retain(true)
            .retain_forward_rule(RetainForwardRule::Never);
        // The channel is empty at the birth; an ended session tells its end itself.
        let _ = self.client.try_subscribe_many([filter]);
    }

    /// Asks for what is retained on `topic`.
    pub(super) fn subscribe_retained(&self, topic: &str) {
        let filter = SubscribeFilter::new(topic, QoS::AtLeastOnce);
        let filter = SubscribeFilterInput::from(filter)
            .preserve_retain(true)
            .retain_forward_rule(RetainForwardRule::OnEverySubscribe);
        let _ = self.client.try_subscribe_many([filter]);
    }

    /// Listens no more.
    pub(super) fn unsubscribe(&self, topic: &str) {
        let _ = self.client.try_unsubscribe(topic);
    }

    /// Waits for what happens next. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Happening {
        loop {
            if self.notices.is_empty()
                && let Some(fault) = &self.ended
            {
                return Happening::Ended(fault.clone());
            }
            let silent = self.heard + self.silence;
            let overdue = self
                .unanswered
                .first_key_value()
                .map(|(_, since)| *since + self.patience);
            let watchdog = overdue.map_or(silent, |overdue| overdue.min(silent));
            tokio::select! {
                biased;
                Some((ticket, result)) = self.notices.next(), if !self.notices.is_empty() => {
                    if let Some(ack) = ack(&result) {
                        self.unanswered.remove(&ticket);
                        self.answered = self.answered.max(ticket);
                        return Happening::Acked(ticket, ack);
                    }
                    // The event loop is gone and dropped it: the end is told when the last notice is through.
                }
                Some(event) = self.events.recv() => {
                    if let Event::Incoming(packet) = event {
                        self.heard = Instant::now();
                        match packet {
                            Packet::Publish(publish) => return Happening::Arrived(arrival(publish)),
                            Packet::SubAck(suback) => {
                                if let Some(refused) = suback.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
                                    return Happening::SubscriptionRefused(format!("{refused:?}"));
                                }
                            }
                            _ => {}
                        }
                    }
                }
                error = &mut self.driver, if self.ended.is_none() => self.end(session_fault(&error)),
                () = tokio::time::sleep_until(watchdog), if self.ended.is_none() => self.end(self.given_up(silent)),
            }
        }
    }

    /// DISCONNECT, so that the broker keeps the will to itself.
    pub(super) async fn close(mut self, within: Duration) {
        if self.ended.is_some() || self.client.try_disconnect_now().is_err() {
            return;
        }
        let ended = async {
            loop {
                tokio::select! {
                    _ = &mut self.driver => break,
                    Some(_) = self.events.recv() => {}
                }
            }
        };
        let _ = tokio::time::timeout(within, ended).await;
    }

    /// Drops the event loop, and with it the socket; what it still held is answered as lost.
    fn end(&mut self, fault: Fault) {
        self.driver = Box::pin(std::future::pending());
        self.ended = Some(fault);
    }

    fn given_up(&self, silent: Instant) -> Fault {
        if silent <= Instant::now() {
            return Fault::new(
                FaultKind::Away,
                "the broker has fallen silent: the link is dead or the broker is frozen",
            );
        }
        let words = "the broker does not acknowledge what it is sent";
        // The broker speaks, and has answered for others on this session: for later ones, or for all but this one.
        let answers = self.answered > 0;
        match self.unanswered.first_key_value() {
            Some((&ticket, _))
                if ticket < self.answered || (answers && self.unanswered.len() == 1) =>
            {
                Fault::new(FaultKind::Ignored(ticket), words)
            }
            _ => Fault::new(FaultKind::Away, words),
        }
    }
}

async fn drive(mut event_loop: EventLoop, events: mpsc::Sender<Event>) -> ConnectionError {
    loop {
        match event_loop.poll().await {
            Ok(event) => {
                if events.send(event).await.is_err() {
                    return ConnectionError::RequestsDone;
                }
            }
            // The event loop would reconnect with the old session; ours are disposable.
            Err(error) => return error,
        }
    }
}

async fn tracked(
    ticket: u64,
    notice: PublishNotice,
) -> (u64, Result<PublishResult, PublishNoticeError>) {
    (ticket, notice.wait_async().await)
}

fn ack(result: &Result<PublishResult, PublishNoticeError>) -> Option<Ack> {
    match result {
        Ok(PublishResult::Qos1(puback)) => Some(meaning(puback.reason)),
        Err(PublishNoticeError::V5PubAck(reason)) => Some(meaning(*reason)),
        Err(PublishNoticeError::RetainNotSupported) => Some(Ack::Refused("retain_not_supported")),
        _ => None,
    }
}

const fn meaning(reason: PubAckReason) -> Ack {
    match reason {
        PubAckReason::Success => Ack::Taken,
        PubAckReason::NoMatchingSubscribers => Ack::Unheard,
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse
        | PubAckReason::QuotaExceeded => Ack::Busy,
        PubAckReason::NotAuthorized => Ack::Refused("not_authorized"),
        PubAckReason::TopicNameInvalid => Ack::Refused("topic_name_invalid"),
        PubAckReason::PayloadFormatInvalid => Ack::Refused("payload_format_invalid"),
    }
}

/// What a packet says of the row that it answers; `None`: it is no PUBACK.
pub(super) fn puback(packet: &[u8]) -> Option<Ack> {
    match Packet::read(&mut packet.into(), Some(INCOMING_MAX)) {
        Ok(Packet::PubAck(puback)) => Some(meaning(puback.reason)),
        _ => None,
    }
}

fn properties(message: &Message) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: Some(1),
        content_type: message.content_type.map(str::to_owned),
        correlation_data: message.correlation.clone(),
        user_properties: message
            .id
            .map(|id| ("id".to_owned(), id.to_string()))
            .into_iter()
            .collect(),
        ..PublishProperties::default()
    }
}

fn arrival(publish: Publish) -> Arrival {
    let properties = publish.properties.unwrap_or_default();
    Arrival {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload,
        retained: publish.retain,
        expires: properties.message_expiry_interval.and_then(|seconds| {
            Instant::now().checked_add(Duration::from_secs(u64::from(seconds)))
        }),
        response_topic: properties.response_topic,
        correlation: properties.correlation_data,
    }
}

/// Without this one a station is not born: `online`.
fn smallest(settings: &Settings) -> Message {
    let (topic, payload) = (
        Topics::new(settings).availability,
        Bytes::from_static(message::ONLINE.as_bytes()),
    );
    Message {
        topic,
        payload,
        content_type: None,
        retained: true,
        id: None,
        correlation: None,
    }
}

/// A connection to the first of the name's addresses that takes one.
async fn connect(address: String) -> io::Result<TcpStream> {
    let mut fault = io::Error::from(ErrorKind::NotFound);
    let addresses: Vec<SocketAddr> = lookup_host(address).await?.collect();
    let several = addresses.len() > 1;
    for address in addresses {
        let connecting = TcpStream::connect(address);
        let connected = if several {
            tokio::time::timeout(ADDRESS, connecting)
                .await
                .unwrap_or_else(|late| Err(late.into()))
        } else {
            connecting.await
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                set_tcp_user_timeout(
                    &stream,
                    u32::try_from(UNHEARD.as_millis()).unwrap_or(u32::MAX),
                )?;
                return Ok(stream);
            }
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

async fn options(
    settings: &Settings,
    within: Duration,
    guise: Guise,
) -> Result<MqttOptions, Fault> {
    let local = |words: String| Fault::new(FaultKind::Away, words);
    let host = match settings.url.host() {
        Some(url::Host::Domain(name)) => name.to_owned(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        Some(url::Host::Ipv6(address)) => address.to_string(),
        None => return Err(local("[mqtt] url names no host".to_owned())),
    };
    let tls = settings.url.scheme() == "mqtts";
    let port = settings.url.port().unwrap_or(if tls { 8883 } else { 1883 });
    let client_id = match guise {
        Guise::Station => format!("benchlight-{}-{}", settings.site, settings.station),
        Guise::Visitor => format!("benchlight-{}-{}-doctor", settings.site, settings.station),
    };
    let mut options = MqttOptions::new(client_id, Broker::tcp(host, port));
    options.set_clean_start(true);
    options.set_session_expiry_interval(Some(0));
    options.set_keep_alive(
        u16::try_from(settings.keep_alive.as_secs())
            .unwrap_or(u16::MAX)
            .max(1),
    );
    options.set_outgoing_inflight_upper_limit(WINDOW);
    options.set_receive_maximum(Some(WINDOW));
    options.set_max_packet_size(Some(INCOMING_MAX));
    options.set_max_request_batch(usize::from(WINDOW));
    options.set_connect_timeout(within);
    options.set_socket_connector(|address, _| connect(address));
    if guise == Guise::Station {
        let topics = Topics::new(settings);
        options.set_last_will(LastWill::new(
            topics.availability,
            message::OFFLINE,
            QoS::AtLeastOnce,
            true,
            None,
        ));
    }

    let password = settings
        .password
        .as_ref()
        .map(Credential::read_password)
        .transpose()
        .map_err(|fault| local(fault.to_string()))?;
    match (&settings.username, password) {
        (Some(name), Some(password)) => {
            options.set_credentials(
                name.clone(),
                Bytes::copy_from_slice(password.reveal().as_bytes()),
            );
        }
        (Some(name), None) => {
            options.set_username(name.clone());
        }
        (None, Some(password)) => {
            options.set_password(Bytes::copy_from_slice(password.reveal().as_bytes()));
        }
        (None, None) => {}
    }
    if tls {
        let settings = settings.clone();
        let config = tokio::task::spawn_blocking(move || tls::client_config(&settings)).await;
        let config = config
            .map_err(|_| local("the station is stopping".to_owned()))?
            .map_err(local)?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    Ok(options)
}

pub(super) fn address(settings: &Settings) -> String {
    let url = &settings.url;
    format!(
        "{}{}",
        url.host_str().unwrap_or_default(),
        url.port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default()
    )
}

/// Why no session could be had.
fn fault(error: &ConnectionError, settings: &Settings) -> Fault {
    let address = address(settings);
    let host = settings.url.host_str().unwrap_or_default();
    let words = match error {
        error if let Some(error) = io_error(error) => io_words(error, &address, host),
        ConnectionError::Tls(TlsError::TLS(error)) => tls::fault_in_words(error, host),
        ConnectionError::Tls(error) => format!("TLS with {address} failed: {error}"),
        ConnectionError::Timeout(_) => no_answer(&address),
        ConnectionError::ConnectionRefused(code) | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => refusal_words(*code),
        ConnectionError::SessionStateMismatch { .. } => {
            "the broker claims to keep a session that was to start clean, which MQTT forbids: update or restart the broker".to_owned()
        }
        ConnectionError::MqttState(StateError::Deserialization(mqttbytes::Error::ProtocolError)) => {
            format!(
                "{address} answers what MQTT 5 forbids, such as 0 for its receive maximum or its maximum packet size: mend its limits, or update it"
            )
        }
        ConnectionError::MqttState(StateError::Deserialization(_)) | ConnectionError::NotConnAck(_) => {
            format!("{address} does not answer in MQTT 5: check scheme, host and port of [mqtt] url")
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            format!("{address} closes the connection at once: check that it speaks MQTT 5, and scheme and port of [mqtt] url")
        }
        other => format!("no session with {address}: {other}"),
    };
    Fault::new(FaultKind::Away, words)
}

fn no_answer(address: &str) -> String {
    format!(
        "the broker {address} does not answer: check the network, and host and port of [mqtt] url"
    )
}

/// The I/O error inside, wherever the client puts it.
fn io_error(error: &ConnectionError) -> Option<&io::Error> {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::Tls(TlsError::Io(error))
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => Some(error),
        _ => None,
    }
}

pub(super) fn io_words(error: &io::Error, address: &str, host: &str) -> String {
    if let Some(words) = tls::in_words(error, host) {
        return words;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("nothing listens at {address}: start the broker, or check [mqtt] url")
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::UnexpectedEof
        | ErrorKind::BrokenPipe => {
            format!(
                "{address} closes the connection: check scheme and port of [mqtt] url, and the broker's log"
            )
        }
        ErrorKind::TimedOut => no_answer(address),
        _ => format!("{address} cannot be reached: {error}"),
    }
}

/// Why a session ended.
fn session_fault(error: &ConnectionError) -> Fault {
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            disconnect_fault(*reason_code)
        }
        ConnectionError::MqttState(StateError::AwaitPingResp | StateError::CollisionTimeout) => {
            Fault::new(
                FaultKind::Away,
                "the broker has fallen silent: the link is dead or the broker is frozen",
            )
        }
        // The kernel gave the connection up, see `UNHEARD`.
        error if io_error(error).is_some_and(|error| error.kind() == ErrorKind::TimedOut) => {
            Fault::new(
                FaultKind::Away,
                "nothing that is sent to the broker arrives any more: the link is dead",
            )
        }
        error if let Some(error) = io_error(error) => {
            // The broker's certificate was good when the session began: what is refused now is ours.
            let words = tls::in_words(error, "")
                .unwrap_or_else(|| format!("the connection to the broker broke ({error})"));
            Fault::new(FaultKind::Broke, words)
        }
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            Fault::new(FaultKind::Broke, "the broker closed the connection")
        }
        other => Fault::new(
            FaultKind::Broke,
            format!("the session with the broker ended: {other}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use rustix::net::sockopt::tcp_user_timeout;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_connection_on_which_nothing_arrives_is_given_up_so_soon_that_the_next_is_there_in_time()
     {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(listener.local_addr().unwrap().to_string())
            .await
            .unwrap();
        assert!(stream.nodelay().unwrap());
        // The longest wait for a repetition is half of it; then comes the first try.
        let given_up = Duration::from_millis(u64::from(tcp_user_timeout(&stream).unwrap()));
        let first = Timing::default().reconnect_first;
        assert!(
            !given_up.is_zero() && given_up / 2 + first < Duration::from_secs(5),
            "{given_up:?}"
        );
    }

    #[tokio::test]
    async fn of_several_addresses_of_a_name_the_first_that_takes_a_connection_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // ::1 and 127.0.0.1 on most machines; at the first of them nothing listens.
        connect(format!(
            "localhost:{}",
            listener.local_addr().unwrap().port()
        ))
        .await
        .unwrap();
    }
}
