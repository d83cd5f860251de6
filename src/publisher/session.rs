//! One MQTT session, from CONNECT to its end. From its CONNACK on it is a link. Only it and its `words` know the client crate.
//!
//! The client's event loop is driven to its end by one future that is never cancelled halfway; [`Session::next`] may be
//! dropped at any point. The watchdog stands around that future, because the event loop can hang in a full socket for longer
//! than any keep-alive.

mod connect;
mod watchdog;
mod words;

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use rumqttc::{
    AsyncClient, ConnAck, ConnectionError, Event, EventLoop, Packet, PubAckReason, Publish,
    PublishNotice, PublishNoticeError, PublishOptions, PublishProperties, PublishResult, QoS,
    RetainForwardRule, SubscribeFilter, SubscribeFilterInput, SubscribeReasonCode,
};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

use super::{
    Settings, Timing,
    message::{self, Topics},
    outbox::Ack,
    tls,
};
pub(super) use connect::address;
use watchdog::Watchdog;
pub(super) use words::io_words;

/// Messages in flight at most, and the bound of the client's own ring.
const WINDOW: u16 = 32;
/// What the broker may send us: commands are small.
const INCOMING_MAX: u32 = 16 * 1024;

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

impl Message {
    /// What stays at the broker for whoever comes later.
    pub(super) fn retained(
        topic: &str,
        payload: Bytes,
        content_type: Option<&'static str>,
    ) -> Self {
        Self {
            topic: topic.to_owned(),
            payload,
            content_type,
            retained: true,
            id: None,
            correlation: None,
        }
    }

    /// A scan or a change.
    pub(super) fn event(topic: &str, payload: Vec<u8>, id: Uuid) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.into(),
            content_type: Some(message::CLOUD_EVENT),
            retained: false,
            id: Some(id),
            correlation: None,
        }
    }
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
pub(super) enum SessionEvent {
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

    /// The ticket of the message that was never answered.
    pub(super) const fn ignored(&self) -> Option<u64> {
        match self.kind {
            FaultKind::Ignored(ticket) => Some(ticket),
            FaultKind::Broke | FaultKind::Away | FaultKind::TakenOver => None,
        }
    }

    pub(super) fn taken_over() -> Self {
        Self::new(
            FaultKind::TakenOver,
            "another client takes the session over: two stations have the same site and name (rename one in [station]), or another program uses this station's user of the broker",
        )
    }
}

/// Under which client id a session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientId {
    /// The station's own, with its will.
    Station,
    /// One for the doctor, who only tries the way: without a will.
    Doctor,
}

type Tracked =
    Pin<Box<dyn Future<Output = (u64, Result<PublishResult, PublishNoticeError>)> + Send>>;

/// What the broker allows.
struct Limits {
    /// Messages in flight.
    window: usize,
    /// Bytes of a packet.
    packet: usize,
    retain: bool,
}

/// One session.
pub(super) struct Session {
    client: AsyncClient,
    driver: Pin<Box<dyn Future<Output = ConnectionError> + Send>>,
    events: mpsc::Receiver<Event>,
    notices: FuturesUnordered<Tracked>,
    watchdog: Watchdog,
    limits: Limits,
    /// Why the session has ended. It is reported after every acknowledgement that came before.
    ended: Option<Fault>,
}

impl Session {
    /// Connects within that time. Files and credentials are read again; the session is clean and ends with the link; the will says `offline`.
    pub(super) async fn open(
        settings: &Settings,
        timing: &Timing,
        within: Duration,
        client_id: ClientId,
    ) -> Result<Self, Fault> {
        let deadline = Instant::now() + within;
        let options = connect::options(settings, within, client_id).await?;
        let (client, event_loop) = AsyncClient::builder(options)
            .capacity(usize::from(WINDOW) * 2)
            .try_build()
            .map_err(|error| {
                Fault::new(FaultKind::Away, format!("[mqtt] cannot be used: {error}"))
            })?;
        let (sender, events) = mpsc::channel(256);
        let mut session = Self {
            client,
            driver: Box::pin(drive(event_loop, sender)),
            events,
            notices: FuturesUnordered::new(),
            watchdog: Watchdog::new(
                2 * settings.keep_alive + timing.silence.grace,
                timing.silence.unacknowledged,
                Instant::now(),
            ),
            limits: Limits {
                window: usize::from(WINDOW),
                packet: usize::MAX,
                retain: true,
            },
            ended: None,
        };
        loop {
            tokio::select! {
                biased;
                event = session.events.recv() => if let Some(Event::Incoming(Packet::ConnAck(connack))) = event {
                    session.watchdog.heard(Instant::now());
                    session.accepted(&connack, settings, timing)?;
                    return Ok(session);
                },
                error = &mut session.driver => return Err(words::no_session(&error, settings)),
                () = tokio::time::sleep_until(deadline) => {
                    return Err(Fault::new(FaultKind::Away, words::no_answer(&address(settings))));
                }
            }
        }
    }

    /// The broker has accepted the connection: what it allows.
    fn accepted(
        &mut self,
        connack: &ConnAck,
        settings: &Settings,
        timing: &Timing,
    ) -> Result<(), Fault> {
        let Some(properties) = &connack.properties else {
            return Ok(());
        };
        if let Some(most) = properties.receive_max {
            self.limits.window = self.limits.window.min(usize::from(most)).max(1);
        }
        if let Some(most) = properties.max_packet_size {
            self.limits.packet = usize::try_from(most).unwrap_or(usize::MAX);
        }
        if let Some(seconds) = properties.server_keep_alive {
            // 0: nobody pings. Then a broker that lives is heard when it acknowledges health.
            let keep_alive = match seconds {
                0 => timing.health.most,
                seconds => Duration::from_secs(u64::from(seconds)),
            };
            self.watchdog
                .allow_silence(2 * keep_alive + timing.silence.grace);
        }
        self.limits.retain = properties.retain_available != Some(0);
        if properties.max_qos == Some(0) {
            return Err(Fault::new(
                FaultKind::Away,
                "the broker takes no message with QoS 1, so it acknowledges none: allow QoS 1 there",
            ));
        }
        if !self.takes(&smallest(settings)) {
            let words = format!(
                "the broker takes no message at all: its maximum packet size is {}; raise it there",
                self.limits.packet
            );
            return Err(Fault::new(FaultKind::Away, words));
        }
        Ok(())
    }

    /// Messages in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.watchdog.in_flight()
    }

    /// Is there room for one more?
    pub(super) fn has_room(&self) -> bool {
        self.ended.is_none() && self.in_flight() < self.limits.window
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
        packet.size() + 2 <= self.limits.packet
    }

    /// Sends with QoS 1; the ticket comes back in [`SessionEvent::Acked`]. `None`: it could not even be queued.
    pub(super) fn publish(&mut self, message: Message) -> Option<u64> {
        let options = PublishOptions::at_least_once()
            .retain(message.retained && self.limits.retain)
            .properties(properties(&message));
        let notice = self
            .client
            .try_publish_tracked(message.topic, message.payload, options)
            .ok()?;
        let ticket = self.watchdog.sent(Instant::now());
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
        // The channel is empty at this point, and an ended session reports its end by itself.
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
    pub(super) async fn next(&mut self) -> SessionEvent {
        loop {
            if self.notices.is_empty()
                && let Some(fault) = &self.ended
            {
                return SessionEvent::Ended(fault.clone());
            }
            tokio::select! {
                biased;
                Some((ticket, result)) = self.notices.next(), if !self.notices.is_empty() => {
                    if let Some(ack) = ack(&result) {
                        self.watchdog.answered(ticket);
                        return SessionEvent::Acked(ticket, ack);
                    }
                    // The event loop is gone and has dropped it. The end is reported after the last notice.
                }
                Some(event) = self.events.recv() => {
                    if let Event::Incoming(packet) = event {
                        self.watchdog.heard(Instant::now());
                        match packet {
                            Packet::Publish(publish) => return SessionEvent::Arrived(arrival(publish)),
                            Packet::SubAck(suback) => {
                                if let Some(refused) = suback.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_))) {
                                    return SessionEvent::SubscriptionRefused(format!("{refused:?}"));
                                }
                            }
                            _ => {}
                        }
                    }
                }
                error = &mut self.driver, if self.ended.is_none() => self.end(words::session_ended(&error)),
                () = tokio::time::sleep_until(self.watchdog.due()), if self.ended.is_none() => self.end(self.watchdog.fault(Instant::now())),
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
}

/// Without this one a station is not born: `online`.
fn smallest(settings: &Settings) -> Message {
    let topic = Topics::new(settings).availability;
    Message::retained(&topic, message::ONLINE.into(), None)
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

/// What a packet says of the row that it answers; `None`: it is not a PUBACK.
#[cfg(any(test, fuzzing))]
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
