//! The connection to the MQTT broker: opened, kept, opened again.
//!
//! Guarantees: a connection counts as up once the broker has granted all subscriptions; what is published is confirmed
//! by the broker (`QoS` 1) or lost with the connection, whose end is told; reconnecting waits with full jitter, and the
//! waits stay long while connections do not last, as when two bridges throw each other out; messages wait in a queue
//! with a bound, and longer ones than [`LONGEST_PACKET`] end the connection instead of filling the memory.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS,
    StateError, SubscribeFilter, SubscribeReasonCode, mqttbytes::Error as PacketError,
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{clock::Entropy, secret::Password},
    plugin_client::RETRIES,
};

/// The longest packet, in bytes, either way.
const LONGEST_PACKET: usize = 8 * 1024 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(20);
/// So many connections in a row that did not last point to somebody else with the same client id.
const SUSPICIOUS: u32 = 3;
/// From the handshake until the subscriptions are granted.
const SUBSCRIBED: Duration = Duration::from_secs(15);
/// How much may wait to be sent.
const QUEUE: usize = 64;

/// The broker, and how to sign in there. Its `Debug` has no password.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What the bridge is called there; two of one name throw each other out.
    pub client_id: String,
    /// User and password, where it asks for them.
    pub user: Option<(String, Password)>,
}

/// Something that was sent, to be told of when the broker has it: which slot's, and which version.
pub(super) type Receipt = (usize, crate::domain::ids::Version);

/// What comes from the broker.
pub(super) enum Heard {
    /// It is there, and all subscriptions are granted.
    Up(Publisher),
    /// A message.
    Message { topic: String, payload: Vec<u8>, retained: bool },
    /// It has what this receipt stands for.
    Delivered(Receipt),
    /// It is gone, with all that was not delivered; why, and how long until the next attempt.
    Down { reason: String, retry_in: Duration },
}

/// Sends on one connection.
pub(super) struct Publisher {
    client: AsyncClient,
    receipts: Arc<Mutex<VecDeque<Option<Receipt>>>>,
}

impl Publisher {
    /// Sends, in order; false where too much waits already.
    pub(super) fn publish(&self, topic: String, payload: &Value, receipt: Option<Receipt>) -> bool {
        let mut receipts = self.receipts.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = self.client.try_publish(topic, QoS::AtLeastOnce, false, payload.to_string()).is_ok();
        if sent {
            receipts.push_back(receipt);
        }
        sent
    }

    /// Says goodbye.
    pub(super) fn disconnect(&self) {
        // Where the queue is full the connection breaks off instead.
        let _ = self.client.try_disconnect();
    }
}

/// Stays connected until `stop`, telling what happens.
pub(super) async fn stay_connected(
    broker: &Broker,
    topics: &[String],
    heard: &mpsc::Sender<Heard>,
    entropy: &dyn Entropy,
    stop: &CancellationToken,
) {
    let mut backoff = RETRIES;
    let mut brief = 0_u32;
    loop {
        let (opened, end) = connection(broker, topics, heard, stop).await;
        if stop.is_cancelled() {
            return;
        }
        let lasted = opened.is_some_and(|opened| opened.elapsed() >= GOOD);
        brief = if lasted || opened.is_none() || !end.is_unexplained() { 0 } else { brief + 1 };
        if lasted {
            backoff.reset();
        }
        let mut reason = end.told(broker);
        if brief >= SUSPICIOUS {
            reason = format!(
                "{reason} soon after it was opened, again: is another bridge connected as {}? Give each its own \
                 --mqtt-client-id",
                broker.client_id
            );
        }
        let retry_in = backoff.wait(entropy);
        if heard.send(Heard::Down { reason, retry_in }).await.is_err() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(retry_in) => {}
        }
    }
}

/// One connection from its beginning to its end: when it was up, and why it ended.
async fn connection(
    broker: &Broker,
    topics: &[String],
    heard: &mpsc::Sender<Heard>,
    stop: &CancellationToken,
) -> (Option<Instant>, Ended) {
    let mut options = MqttOptions::new(&broker.client_id, &broker.host, broker.port);
    options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(LONGEST_PACKET, LONGEST_PACKET);
    if let Some((user, password)) = &broker.user {
        options.set_credentials(user, password.expose());
    }
    let (client, mut events) = AsyncClient::new(options, QUEUE);
    let (mut opened, mut unacked) = (None, HashMap::new());
    let receipts = Arc::new(Mutex::new(VecDeque::new()));
    let mut waiting = Some(client);
    loop {
        let event = match next(&mut events, opened.is_none(), stop).await {
            Ok(Some(event)) => event,
            Ok(None) => return (opened, Ended::Stopped),
            Err(reason) => return (opened, reason),
        };
        let news = match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let filters =
                    topics.iter().map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
                if waiting.as_ref().is_none_or(|client| client.try_subscribe_many(filters).is_err()) {
                    return (opened, Ended::NotAsked);
                }
                None
            }
            Event::Incoming(Packet::SubAck(granted)) => {
                if granted.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return (opened, Ended::NotAllowed);
                }
                opened = Some(Instant::now());
                waiting.take().map(|client| Heard::Up(Publisher { client, receipts: receipts.clone() }))
            }
            Event::Outgoing(Outgoing::Publish(packet)) => {
                let receipt = receipts.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten();
                unacked.extend(receipt.map(|receipt| (packet, receipt)));
                None
            }
            Event::Incoming(Packet::PubAck(ack)) => unacked.remove(&ack.pkid).map(Heard::Delivered),
            Event::Incoming(Packet::Publish(message)) => Some(Heard::Message {
                topic: message.topic,
                payload: message.payload.to_vec(),
                retained: message.retain,
            }),
            Event::Incoming(_) | Event::Outgoing(_) => None,
        };
        if let Some(news) = news
            && heard.send(news).await.is_err()
        {
            return (opened, Ended::Stopped);
        }
    }
}

/// Why a connection is not there.
enum Ended {
    /// Nobody wants it any more.
    Stopped,
    /// The subscriptions could not be sent.
    NotAsked,
    /// The broker did not say in time whether it grants them.
    NotSubscribed,
    /// It refuses one.
    NotAllowed,
    /// A message was too long. Its rest would have to be read before the next, and its topic stands in it.
    TooLong,
    /// Anything else.
    Error(Box<ConnectionError>),
}

/// The next event; nothing when told to stop. Told so, what was sent before still leaves, a disconnect behind it.
async fn next(
    events: &mut EventLoop,
    opening: bool,
    stop: &CancellationToken,
) -> Result<Option<Event>, Ended> {
    let polled = async {
        if opening {
            timeout(SUBSCRIBED, events.poll()).await.map_err(|_| Ended::NotSubscribed)
        } else {
            Ok(events.poll().await)
        }
    };
    tokio::select! {
        biased;
        event = polled => event?.map(Some).map_err(Ended::by),
        () = stop.cancelled(), if opening => Ok(None),
    }
}

impl Ended {
    fn by(error: ConnectionError) -> Self {
        let too_long = matches!(
            error,
            ConnectionError::MqttState(StateError::Deserialization(PacketError::PayloadSizeLimitExceeded(_)))
        );
        if too_long { Self::TooLong } else { Self::Error(Box::new(error)) }
    }

    /// Whether somebody else with the same client id may be behind it.
    fn is_unexplained(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// A clause for a person.
    fn told(self, broker: &Broker) -> String {
        let (host, port) = (&broker.host, broker.port);
        let error = match self {
            Self::Stopped => return String::new(),
            Self::NotAsked => return "the subscriptions could not be sent".to_owned(),
            Self::NotSubscribed => return format!("the MQTT broker at {host}:{port} did not answer in time"),
            Self::NotAllowed => {
                return "the MQTT broker does not let this user read the plugins' topics: check its ACL"
                    .to_owned();
            }
            Self::TooLong => {
                return "a message came that is longer than 8 MiB, which ends the connection for all plugins: set \
                        message_size_limit at the MQTT broker, and clear the message where it is retained"
                    .to_owned();
            }
            Self::Error(error) => *error,
        };
        match error {
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => {
                "the MQTT broker refuses this user or password: check --mqtt-user and its password".to_owned()
            }
            ConnectionError::ConnectionRefused(code) => {
                format!("the MQTT broker refuses the connection: {code:?}")
            }
            ConnectionError::MqttState(_)
            | ConnectionError::FlushTimeout
            | ConnectionError::NotConnAck(_) => "the connection to the MQTT broker broke".to_owned(),
            ConnectionError::NetworkTimeout | ConnectionError::Io(_) => {
                format!("the MQTT broker at {host}:{port} can't be reached: check that it runs")
            }
            ConnectionError::RequestsDone => "the connection to the MQTT broker was given up".to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "mqtt_tests.rs"]
mod tests;
