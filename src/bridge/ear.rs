//! A slot's relay connection, heard for the bridge: events are passed on, and acknowledged when the slot says so.

use std::{io, time::Duration};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::slot::News;
use crate::{
    domain::{
        ids::{SlotName, Version},
        json::Object,
    },
    plugin_client::{Answering, ClientError, Event, Inquiry, Listener, News as Told, PluginClient},
};

/// How much may wait between the relay and the slot. A slot's state has three frames.
pub(super) const QUEUE: usize = 64;
/// After the slot was too slow.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What is heard of the server.
pub(super) enum Heard {
    /// The relay is open.
    Up,
    /// It is not; why, and how long until the next attempt.
    Down { reason: String, retry_in: Duration },
    /// A state.
    Event(Version, News),
    /// An acknowledgement was sent.
    Acknowledged(Version),
    /// No attempt follows: what a person must put right.
    Ended(ClientError),
}

/// Passes on what one slot's connection brings.
struct Ear {
    slot: usize,
    heard: mpsc::Sender<(usize, Heard)>,
    taken: mpsc::Receiver<(SlotName, Version)>,
}

impl Listener for Ear {
    fn hear(&mut self, news: Told<'_>) -> io::Result<()> {
        let heard = match news {
            Told::Connected => Heard::Up,
            Told::Interrupted { reason, retry_in } => Heard::Down { reason, retry_in },
            Told::Event(event) => match meaning(event) {
                Some(news) => Heard::Event(event.version(), news),
                None => return Ok(()),
            },
            Told::Acknowledged(_, version) => Heard::Acknowledged(version),
        };
        // Full or closed: the connection ends, and the next one brings the newest state.
        self.heard.try_send((self.slot, heard)).map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    /// PG3's plugins can be given no requests over MQTT, and whoever sends one is not to wait for it.
    fn asked(&mut self, _: &Inquiry) -> io::Result<Answering> {
        Ok(Answering::Refusing)
    }

    fn takes_later(&mut self) -> Option<&mut mpsc::Receiver<(SlotName, Version)>> {
        Some(&mut self.taken)
    }
}

fn meaning(event: &Event) -> Option<News> {
    let data = || -> Object { event.data().clone() };
    Some(match (event.name(), event.key()) {
        ("customns" | "oauth", _) if event.data().contains_key("jwe") => News::Sealed,
        ("customns", Some("oauth")) => News::Configuration(data()),
        ("customns", Some("oauthTokens")) => News::Tokens(data()),
        ("oauth", _) => News::Consent(data()),
        ("reauthorize" | "unlinked", _) => News::Ended,
        _ => return None,
    })
}

/// Listens until `stop`, or until a person must help.
pub(super) async fn listen(
    client: &PluginClient,
    slot: usize,
    heard: mpsc::Sender<(usize, Heard)>,
    taken: mpsc::Receiver<(SlotName, Version)>,
    stop: &CancellationToken,
) {
    let mut ear = Ear { slot, heard, taken };
    loop {
        match client.run(&mut ear, stop).await {
            Ok(()) => return,
            Err(ClientError::Listener(_)) => {
                let reason = "events came faster than they could be taken".to_owned();
                let down = Heard::Down { reason, retry_in: CATCH_UP };
                if ear.heard.send((slot, down)).await.is_err() {
                    return;
                }
                sleep(CATCH_UP).await;
            }
            Err(error) => {
                // Nobody is left to be told where this fails.
                let _ = ear.heard.send((slot, Heard::Ended(error))).await;
                return;
            }
        }
    }
}
