//! A dashboard: subscribes, collects all messages, and reconnects after a restart of the broker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rumqttc::{
    AsyncClient, Broker, Event, MqttOptions, Packet, PubAckReason, PublishOptions,
    PublishProperties, QoS,
};
use serde_json::Value;
use tokio::{sync::Notify, task::JoinHandle};

#[derive(Clone, Debug)]
pub struct Received {
    pub topic: String,
    pub payload: Bytes,
    pub retained: bool,
    pub properties: PublishProperties,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The last level of the topic.
    pub fn channel(&self) -> &str {
        self.topic.rsplit('/').next().unwrap()
    }

    /// `epoch` and `seq` of a scan or a change.
    pub fn place(&self) -> Option<(String, u64)> {
        let json = self.json();
        Some((
            json["data"]["epoch"].as_str()?.to_owned(),
            json["data"]["seq"].as_u64()?,
        ))
    }
}

pub struct Dashboard {
    received: Arc<Mutex<Vec<Received>>>,
    /// The broker's answers to this client's own messages, in order.
    acks: Arc<Mutex<Vec<PubAckReason>>>,
    news: Arc<Notify>,
    client: AsyncClient,
    task: JoinHandle<()>,
}

impl Dashboard {
    /// Subscribes to `filter` with QoS 1 and waits for the broker's confirmation.
    pub async fn connect(port: u16, user: (&str, &str), filter: &str) -> Self {
        Self::open(
            Self::options(port, user, &format!("test-{}", uuid::Uuid::now_v7())),
            filter,
        )
        .await
    }

    /// Options for that user with a client id of its own.
    pub fn options(port: u16, (user, password): (&str, &str), client_id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, Broker::tcp("127.0.0.1", port));
        options.set_clean_start(true);
        options.set_credentials(user, Bytes::copy_from_slice(password.as_bytes()));
        options.set_max_packet_size(Some(1 << 20));
        options
    }

    pub async fn open(options: MqttOptions, filter: &str) -> Self {
        let (client, mut event_loop) = AsyncClient::builder(options).capacity(64).build();
        let received = Arc::new(Mutex::new(Vec::new()));
        let acks = Arc::new(Mutex::new(Vec::new()));
        let news = Arc::new(Notify::new());
        let subscribed = Arc::new(Notify::new());
        let task = tokio::spawn({
            let (client, filter) = (client.clone(), filter.to_owned());
            let (received, acks, news, subscribed) = (
                Arc::clone(&received),
                Arc::clone(&acks),
                Arc::clone(&news),
                Arc::clone(&subscribed),
            );
            async move {
                loop {
                    match event_loop.poll().await {
                        Ok(Event::Incoming(Packet::ConnAck(_))) => client
                            .try_subscribe(filter.as_str(), QoS::AtLeastOnce)
                            .unwrap(),
                        Ok(Event::Incoming(Packet::SubAck(_))) => subscribed.notify_one(),
                        Ok(Event::Incoming(Packet::PubAck(puback))) => {
                            acks.lock().unwrap().push(puback.reason);
                            news.notify_waiters();
                        }
                        Ok(Event::Incoming(Packet::Publish(publish))) => {
                            let message = Received {
                                topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                                payload: publish.payload,
                                retained: publish.retain,
                                properties: publish.properties.unwrap_or_default(),
                            };
                            received.lock().unwrap().push(message);
                            news.notify_waiters();
                        }
                        Ok(_) => {}
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            }
        });
        tokio::time::timeout(Duration::from_secs(10), subscribed.notified())
            .await
            .expect("the broker confirms the subscription");
        Self {
            received,
            acks,
            news,
            client,
            task,
        }
    }

    /// All messages so far.
    pub fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// All messages so far on topics that end in `channel`.
    pub fn on(&self, channel: &str) -> Vec<Received> {
        self.all()
            .into_iter()
            .filter(|message| message.channel() == channel)
            .collect()
    }

    /// Counts the messages on `channel` without copying them.
    pub fn count(&self, channel: &str) -> usize {
        self.received
            .lock()
            .unwrap()
            .iter()
            .filter(|message| message.channel() == channel)
            .count()
    }

    /// Waits until `condition` holds for the messages so far.
    pub async fn wait(
        &self,
        what: &str,
        within: Duration,
        condition: impl Fn(&[Received]) -> bool,
    ) {
        let deadline = Instant::now() + within;
        loop {
            let all = self.all();
            if condition(&all) {
                return;
            }
            if Instant::now() >= deadline {
                let last: Vec<&str> = all.iter().rev().take(8).map(Received::channel).collect();
                panic!(
                    "not within {within:?}: {what}; {} messages arrived, the last on {last:?}",
                    all.len()
                );
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), self.news.notified()).await;
            // Messages come in bursts: checking thousands for each one would take longer than they do.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        retained: bool,
        properties: PublishProperties,
    ) {
        let options = PublishOptions::at_least_once()
            .retain(retained)
            .properties(properties);
        self.client
            .publish(topic, payload.into(), options)
            .await
            .unwrap();
    }

    /// Does the broker accept a message from this client on that topic?
    pub async fn may_write(&self, topic: &str, payload: impl Into<Bytes>, retained: bool) -> bool {
        let before = self.acks.lock().unwrap().len();
        self.publish(topic, payload, retained, PublishProperties::default())
            .await;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.acks.lock().unwrap().get(before) {
                Some(PubAckReason::Success | PubAckReason::NoMatchingSubscribers) => return true,
                Some(PubAckReason::NotAuthorized) => return false,
                Some(other) => panic!("{topic}: {other:?}"),
                None => assert!(Instant::now() < deadline, "no answer to {topic}"),
            }
            let _ = tokio::time::timeout(Duration::from_millis(5), self.news.notified()).await;
        }
    }

    /// How many times each `(epoch, seq)` has arrived.
    pub fn places(&self) -> BTreeMap<(String, u64), usize> {
        let mut places = BTreeMap::new();
        let messages = self.all();
        for message in messages
            .iter()
            .filter(|message| matches!(message.channel(), "scan" | "change"))
        {
            if let Some(place) = message.place() {
                *places.entry(place).or_default() += 1;
            }
        }
        places
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.task.abort();
    }
}
