//! A broker that follows a test's script: small windows, refusals, acknowledgements in any order, broken links.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use rumqttc::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet,
    PubAck, PubAckReason, Publish, QoS, RetainForwardRule, SubAck, SubscribeReasonCode, UnsubAck,
    UnsubAckReason, mqttbytes,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A PUBLISH that the broker has received.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Number of the connection.
    pub connection: usize,
    pub topic: String,
    pub size: usize,
    pub json: Value,
    pub retained: bool,
    /// How many messages were unanswered when it came, including itself.
    pub unanswered: usize,
}

impl Seen {
    pub fn seq(&self) -> Option<u64> {
        self.json["data"]["seq"]
            .as_u64()
            .filter(|_| self.is_record())
    }

    pub fn is_record(&self) -> bool {
        self.topic.ends_with("/scan") || self.topic.ends_with("/change")
    }
}

/// What the broker does with a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    Ack(PubAckReason),
    /// Answer it after the next message, so that acknowledgements are out of order.
    After,
    /// Never answer it.
    Ignore,
    /// Close the connection without DISCONNECT.
    Close,
    /// DISCONNECT with a reason, then close.
    Disconnect(DisconnectReasonCode),
}

pub const TAKEN: Reaction = Reaction::Ack(PubAckReason::Success);

type React = dyn FnMut(&Seen) -> Reaction + Send;

/// The broker's settings and behaviour.
#[derive(Clone, Debug)]
pub struct Manners {
    pub code: ConnectReturnCode,
    /// CONNACK's session present flag, by connection.
    pub session_present: fn(usize) -> bool,
    pub receive_max: Option<u16>,
    pub max_packet_size: Option<u32>,
    pub retain_available: Option<u8>,
    pub max_qos: Option<u8>,
    pub server_keep_alive: Option<u16>,
    pub session_expiry_interval: Option<u32>,
    /// Bytes sent after the CONNACK of the first two connections, valid MQTT or not.
    pub nonsense: Vec<u8>,
    /// Retained messages, by the end of their topic.
    pub kept: Vec<(&'static str, Vec<u8>)>,
    /// Refuse subscriptions to topics that end like this.
    pub refuses: Option<&'static str>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            code: ConnectReturnCode::Success,
            session_present: |_| false,
            receive_max: None,
            max_packet_size: None,
            retain_available: None,
            max_qos: None,
            server_keep_alive: None,
            session_expiry_interval: None,
            nonsense: Vec::new(),
            kept: Vec::new(),
            refuses: None,
        }
    }
}

/// A running scripted broker.
pub struct Scripted {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    wills: Arc<Mutex<Vec<String>>>,
    disconnects: Arc<Mutex<Vec<DisconnectReasonCode>>>,
    task: JoinHandle<()>,
}

impl Scripted {
    pub async fn start(
        manners: Manners,
        react: impl FnMut(&Seen) -> Reaction + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, wills, disconnects) = (Arc::default(), Arc::default(), Arc::default());
        let react: Arc<Mutex<React>> = Arc::new(Mutex::new(react));
        let task = tokio::spawn({
            let (seen, wills, disconnects) = (
                Arc::clone(&seen),
                Arc::clone(&wills),
                Arc::clone(&disconnects),
            );
            async move {
                let mut connection = 0;
                loop {
                    let Ok((stream, _)) = listener.accept().await else {
                        continue;
                    };
                    let mut served = Served {
                        stream,
                        connection,
                        manners: manners.clone(),
                        react: Arc::clone(&react),
                        seen: Arc::clone(&seen),
                        wills: Arc::clone(&wills),
                        disconnects: Arc::clone(&disconnects),
                        unanswered: 0,
                        held: Vec::new(),
                    };
                    connection += 1;
                    tokio::spawn(async move { served.run().await });
                }
            }
        });
        Self {
            port,
            seen,
            wills,
            disconnects,
            task,
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The `seq` of scans and changes, in order of arrival.
    pub fn seqs(&self) -> Vec<u64> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter_map(Seen::seq)
            .collect()
    }

    /// How many times that record arrived.
    pub fn times(&self, seq: u64) -> usize {
        self.seqs()
            .into_iter()
            .filter(|other| *other == seq)
            .count()
    }

    pub fn disconnects(&self) -> Vec<DisconnectReasonCode> {
        self.disconnects.lock().unwrap().clone()
    }

    pub fn wills(&self) -> Vec<String> {
        self.wills.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Served {
    stream: TcpStream,
    connection: usize,
    manners: Manners,
    react: Arc<Mutex<React>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    wills: Arc<Mutex<Vec<String>>>,
    disconnects: Arc<Mutex<Vec<DisconnectReasonCode>>>,
    unanswered: usize,
    held: Vec<u16>,
}

impl Served {
    async fn run(&mut self) {
        let mut buffer = BytesMut::new();
        loop {
            loop {
                match Packet::read(&mut buffer, None) {
                    Ok(packet) => {
                        if self.handle(packet).await.is_none() {
                            return;
                        }
                    }
                    Err(mqttbytes::Error::InsufficientBytes(_)) => break,
                    Err(error) => panic!("the station sends something that is not MQTT: {error}"),
                }
            }
            match self.stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// `None`: the connection has ended.
    async fn handle(&mut self, packet: Packet) -> Option<()> {
        match packet {
            Packet::Connect(connect, will, _) => {
                assert!(connect.clean_start, "every session is disposable");
                assert_eq!(
                    connect
                        .properties
                        .and_then(|properties| properties.session_expiry_interval),
                    Some(0),
                    "and dies with its link"
                );
                let will = will.expect("a will");
                self.wills.lock().unwrap().push(format!(
                    "{} {:?} {}",
                    String::from_utf8_lossy(&will.topic),
                    will.message,
                    will.retain
                ));
                let properties = ConnAckProperties {
                    receive_max: self.manners.receive_max,
                    max_packet_size: self.manners.max_packet_size,
                    retain_available: self.manners.retain_available,
                    max_qos: self.manners.max_qos,
                    server_keep_alive: self.manners.server_keep_alive,
                    session_expiry_interval: self.manners.session_expiry_interval,
                    ..none()
                };
                let session_present = (self.manners.session_present)(self.connection);
                self.send(Packet::ConnAck(ConnAck {
                    session_present,
                    code: self.manners.code,
                    properties: Some(properties),
                }))
                .await?;
                if self.connection < 2 {
                    self.stream.write_all(&self.manners.nonsense).await.ok()?;
                }
                (self.manners.code == ConnectReturnCode::Success).then_some(())
            }
            Packet::Publish(publish) => self.publish(publish).await,
            Packet::Subscribe(subscribe) => {
                let refused =
                    |topic: &str| self.manners.refuses.is_some_and(|end| topic.ends_with(end));
                let answer = |topic: &str| {
                    if refused(topic) {
                        SubscribeReasonCode::NotAuthorized
                    } else {
                        SubscribeReasonCode::Success(QoS::AtLeastOnce)
                    }
                };
                let return_codes = subscribe
                    .filters
                    .iter()
                    .map(|filter| answer(&filter.path))
                    .collect();
                self.send(Packet::SubAck(SubAck {
                    pkid: subscribe.pkid,
                    return_codes,
                    properties: None,
                }))
                .await?;
                for filter in &subscribe.filters {
                    let kept = self
                        .manners
                        .kept
                        .iter()
                        .find(|(end, _)| filter.path.ends_with(end));
                    if let Some((_, payload)) = kept.filter(|_| {
                        filter.retain_forward_rule == RetainForwardRule::OnEverySubscribe
                    }) {
                        let mut publish = Publish::new(
                            filter.path.clone(),
                            QoS::AtMostOnce,
                            payload.clone(),
                            None,
                        );
                        publish.retain = true;
                        self.send(Packet::Publish(publish)).await?;
                    }
                }
                Some(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.send(Packet::UnsubAck(UnsubAck {
                    pkid: unsubscribe.pkid,
                    reasons: vec![UnsubAckReason::Success; unsubscribe.filters.len()],
                    properties: None,
                }))
                .await
            }
            Packet::PingReq => self.send(Packet::PingResp).await,
            Packet::Disconnect(disconnect) => {
                self.disconnects
                    .lock()
                    .unwrap()
                    .push(disconnect.reason_code);
                None
            }
            _ => Some(()),
        }
    }

    async fn publish(&mut self, publish: Publish) -> Option<()> {
        self.unanswered += 1;
        let seen = Seen {
            connection: self.connection,
            topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
            size: publish.size(),
            json: serde_json::from_slice(&publish.payload).unwrap_or(Value::Null),
            retained: publish.retain,
            unanswered: self.unanswered,
        };
        self.seen.lock().unwrap().push(seen.clone());
        let reaction = (self.react.lock().unwrap())(&seen);
        match reaction {
            Reaction::Ack(reason) => {
                self.ack(publish.pkid, reason).await?;
                for pkid in std::mem::take(&mut self.held).into_iter().rev() {
                    self.ack(pkid, PubAckReason::Success).await?;
                }
                Some(())
            }
            Reaction::After => {
                self.held.push(publish.pkid);
                Some(())
            }
            Reaction::Ignore => Some(()),
            Reaction::Close => None,
            Reaction::Disconnect(reason) => {
                self.send(Packet::Disconnect(Disconnect::new(reason)))
                    .await?;
                // Closing with unread data resets the connection, and the reason could be lost.
                self.stream.shutdown().await.ok()?;
                while self
                    .stream
                    .read(&mut [0; 4096])
                    .await
                    .is_ok_and(|read| read > 0)
                {}
                None
            }
        }
    }

    async fn ack(&mut self, pkid: u16, reason: PubAckReason) -> Option<()> {
        self.unanswered -= 1;
        self.send(Packet::PubAck(PubAck {
            pkid,
            reason,
            properties: None,
        }))
        .await
    }

    async fn send(&mut self, packet: Packet) -> Option<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).unwrap();
        self.stream.write_all(&bytes).await.ok()
    }
}

fn none() -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}
