//! The loop that carries what happens to the slots' machines, and does what they say.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{FusedFuture, FutureExt as _};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Bridge, BridgeError, FolderError, Hub, Place,
    calls::Outcome,
    ear, kept,
    mqtt::{self, Publisher},
    server::SlotApi,
    slot::{Effect, Input, Mode, Slot},
    tokens::Moment,
    wire::PluginName,
};
use crate::{
    domain::ids::{SlotName, Version},
    plugin_client::PluginClient,
    seams::local_offset,
    terminal::{Terminal, clock_time},
};

/// How often the machines are told that time went by.
const TICK: Duration = Duration::from_secs(1);
/// How long the end may take.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// The broker's own token endpoint, for plugins.
const TOKEN_PATH: &str = "/api/cloudlink/token";

/// A slot with its ways in and out.
struct Post {
    name: SlotName,
    plugin: PluginName,
    machine: Slot,
    api: Arc<SlotApi>,
    acks: mpsc::Sender<(SlotName, Version)>,
}

/// Everything that the loop holds.
struct Driver<'a> {
    bridge: &'a Bridge,
    terminal: &'a Terminal,
    folder: kept::Folder,
    posts: Vec<Post>,
    publisher: Option<Publisher>,
    calls: JoinSet<(usize, Outcome)>,
    began: Instant,
}

impl Bridge {
    /// Runs until `stop`, or until a person must help.
    pub async fn run(&self, terminal: &Terminal, stop: &CancellationToken) -> Result<(), BridgeError> {
        let folder = kept::Folder::open(&self.state).map_err(FolderError)?;
        let (heard_from_relay, mut relay) = mpsc::channel(ear::QUEUE * self.places.len().max(1));
        let (mut posts, mut ears) = (Vec::new(), JoinSet::new());
        let ending = stop.child_token();
        for (place, kept) in self.known(&folder, terminal)? {
            let client = PluginClient { slot: Some(place.slot.clone()), ..self.device.clone() };
            let (acks, taken) = mpsc::channel(ear::QUEUE);
            let index = posts.len();
            posts.push(self.post(place, kept, client.clone(), acks));
            let (heard, ending) = (heard_from_relay.clone(), ending.clone());
            ears.spawn(async move { ear::listen(&client, index, heard, taken, &ending).await });
        }
        drop(heard_from_relay);
        let topics: Vec<String> = posts.iter().flat_map(|post| self.topics(&post.plugin)).collect();
        let (heard_from_broker, mut broker) = mpsc::channel(ear::QUEUE);
        let entropy = self.device.entropy.as_ref();
        // It may end in the loop, before or after the loop does, and nobody may ask it again then.
        let mut connected =
            pin!(mqtt::stay_connected(&self.broker, &topics, &heard_from_broker, entropy, &ending).fuse());
        let calls = JoinSet::new();
        let mut driver =
            Driver { bridge: self, terminal, folder, posts, publisher: None, calls, began: Instant::now() };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                () = ending.cancelled() => break Ok(()),
                () = &mut connected => break Ok(()),
                Some(heard) = broker.recv() => driver.broker_said(heard),
                Some((slot, heard)) = relay.recv() => {
                    if let Err(error) = driver.relay_said(slot, heard) {
                        break Err(error);
                    }
                }
                Some(Ok((slot, outcome))) = driver.calls.join_next() => driver.hear(slot, Input::Called(outcome)),
                _ = ticks.tick() => driver.hear_all(|| Input::Tick),
            }
        };
        ending.cancel();
        if let Some(publisher) = driver.publisher.take() {
            publisher.disconnect();
            let _ = timeout(LAST_WORDS, disconnected(connected, &mut broker)).await;
        }
        let _ = timeout(LAST_WORDS, async { while ears.join_next().await.is_some() {} }).await;
        ended
    }

    /// The slots with what is known of them. One whose file can't be read stands still, and nothing touches the file:
    /// the others run.
    fn known(
        &self,
        folder: &kept::Folder,
        terminal: &Terminal,
    ) -> Result<Vec<(&Place, kept::Kept)>, BridgeError> {
        let (mut known, mut standing) = (Vec::new(), None);
        for place in &self.places {
            match folder.read(&place.slot) {
                Ok(kept) => known.push((place, kept)),
                Err(error) => {
                    let time = clock_time(self.device.clock.now());
                    terminal.note(format_args!("{time}  {}  it stands still: {error}", place.slot));
                    standing = Some(error);
                }
            }
        }
        match standing {
            Some(error) if known.is_empty() => Err(FolderError(error).into()),
            Some(_) | None => Ok(known),
        }
    }

    fn post(
        &self,
        place: &Place,
        kept: kept::Kept,
        client: PluginClient,
        acks: mpsc::Sender<(SlotName, Version)>,
    ) -> Post {
        let mode = match self.hub {
            Hub::Bridge => Mode::Standalone,
            Hub::Pg3 => Mode::Companion,
        };
        let name = place.slot.clone();
        let endpoint = client.server.url().join(TOKEN_PATH);
        let mut machine = Slot::new(name.clone(), place.profile, mode, endpoint, kept);
        if let Some((_, parameters)) = self.parameters.iter().find(|(slot, _)| *slot == name) {
            machine.set_parameters(parameters.clone());
        }
        let api = Arc::new(SlotApi::new(client, name.clone()));
        Post { plugin: self.id.plugin(place.profile), name, machine, api, acks }
    }

    fn topics(&self, plugin: &PluginName) -> Vec<String> {
        match self.hub {
            Hub::Bridge => plugin.of_the_plugin().into(),
            Hub::Pg3 => plugin.of_both().into(),
        }
    }
}

/// Waits until the connection has ended, if it has not yet. Whoever listened is gone: what still comes is dropped.
async fn disconnected(
    connected: Pin<&mut impl FusedFuture<Output = ()>>,
    broker: &mut mpsc::Receiver<mqtt::Heard>,
) {
    if connected.is_terminated() {
        return;
    }
    tokio::select! {
        () = connected => {}
        () = async { while broker.recv().await.is_some() {} } => {}
    }
}

impl Driver<'_> {
    fn broker_said(&mut self, heard: mqtt::Heard) {
        match heard {
            mqtt::Heard::Up(publisher) => {
                self.publisher = Some(publisher);
                self.note("connected to the MQTT broker");
                self.hear_all(|| Input::MqttUp);
            }
            mqtt::Heard::Down { reason, retry_in } => {
                self.publisher = None;
                self.note(&format!("{reason}; trying again in {:.1} s", retry_in.as_secs_f32()));
                self.hear_all(|| Input::MqttDown);
            }
            mqtt::Heard::Delivered((slot, version)) => self.hear(slot, Input::Delivered(version)),
            mqtt::Heard::Message { topic, payload, retained } => {
                let plugin = topic.rsplit('/').next().unwrap_or_default();
                let Some(slot) = self.posts.iter().position(|post| post.plugin.0 == plugin) else { return };
                let message =
                    self.posts.get(slot).and_then(|post| post.plugin.read(&topic, &payload, retained));
                if let Some(message) = message {
                    self.hear(slot, Input::Said(message));
                }
            }
        }
    }

    fn relay_said(&mut self, slot: usize, heard: ear::Heard) -> Result<(), BridgeError> {
        match heard {
            ear::Heard::Up => {
                self.say(slot, "connected to the server");
                self.hear(slot, Input::RelayUp);
            }
            ear::Heard::Down { reason, retry_in } => {
                self.say(slot, &format!("{reason}; trying again in {:.1} s", retry_in.as_secs_f32()));
                self.hear(slot, Input::RelayDown);
            }
            ear::Heard::Event(version, news) => self.hear(slot, Input::Arrived(version, news)),
            ear::Heard::Acknowledged(version) => {
                self.say(slot, &format!("acknowledged version {}", version.0));
            }
            ear::Heard::Ended(error) => return Err(BridgeError::Server(error)),
        }
        Ok(())
    }

    fn hear_all(&mut self, input: impl Fn() -> Input) {
        for slot in 0..self.posts.len() {
            self.hear(slot, input());
        }
    }

    /// Tells a machine, and does what it says.
    fn hear(&mut self, slot: usize, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let at = self.moment();
            let Some(post) = self.posts.get_mut(slot) else { return };
            for effect in post.machine.hear(input, &at) {
                if let Some(stored) = self.perform(slot, effect) {
                    next = Some(Input::Stored(stored));
                }
            }
        }
    }

    /// Does one thing; what was stored is answered.
    fn perform(&mut self, slot: usize, effect: Effect) -> Option<bool> {
        let post = self.posts.get(slot)?;
        match effect {
            Effect::Store => {
                let written = self.folder.write(&post.name, post.machine.kept());
                if let Err(error) = &written {
                    tracing::error!(slot = %post.name, %error, "the state could not be written");
                }
                return Some(written.is_ok());
            }
            Effect::Tell(payload, version) => {
                let receipt = version.map(|version| (slot, version));
                self.publish(post.plugin.inbox(), &payload, receipt);
            }
            Effect::SpeakFor(payload) => self.publish(post.plugin.custom(), &payload, None),
            Effect::Ack(version) => {
                // Where so many wait already, the next connection brings the state again.
                let _ = post.acks.try_send((post.name.clone(), version));
            }
            Effect::Call(call) => {
                let api = post.api.clone();
                self.calls.spawn(async move { (slot, api.make(call).await) });
            }
            Effect::Say(text) => self.say(slot, &text),
            Effect::Show(text) => {
                let time = clock_time(self.bridge.device.clock.now());
                // Where nobody reads it the notice is left.
                let _ = self.terminal.say(format_args!("{time}  {}  {text}", post.name));
            }
        }
        None
    }

    /// Publishes; a connection that takes no more is given up, and what was to be said is said on the next.
    fn publish(&mut self, topic: String, payload: &serde_json::Value, receipt: Option<mqtt::Receipt>) {
        if self.publisher.as_ref().is_some_and(|publisher| !publisher.publish(topic, payload, receipt)) {
            self.publisher = None;
            self.note("the MQTT broker takes no more: the connection is given up");
        }
    }

    fn moment(&self) -> Moment {
        let now = self.bridge.device.clock.now();
        Moment { up: self.began.elapsed(), now, offset: local_offset(now) }
    }

    fn note(&self, text: &str) {
        let time = clock_time(self.bridge.device.clock.now());
        self.terminal.note(format_args!("{time}  {text}"));
    }

    fn say(&self, slot: usize, text: &str) {
        if let Some(post) = self.posts.get(slot) {
            self.note(&format!("{}  {text}", post.name));
        }
    }
}

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;
