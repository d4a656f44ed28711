//! A plugin's side of the relay, as a client: signs in with the device's key, receives events,
//! acknowledges each, and stays connected.
//!
//! Guarantees: an event is acknowledged only after the [`Listener`] has taken it, at once or later, so that one
//! which could not be printed comes again; a connection that fell silent is given up after two heartbeats
//! (`connection`); reconnecting waits with full jitter and never longer than a minute, or as long as
//! the server asked. What a person can put right (`ClientError`) ends the client; what passes by
//! itself is told to the listener and tried again.
//!
//! A request or a command is told to the listener, which says whether it gets an answer. The client keeps
//! nothing: the broker brings the newest state anew on every connection.

mod connection;
mod device_key;
mod frames;
mod server;
mod token;

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

pub use device_key::{DeviceKey, KeyFileAccess};
#[cfg(test)]
pub(crate) use frames::event;
pub use frames::{Event, Inquiry};
pub use server::{Server, ServerError, read, unreached};
pub use token::TokenError;

use self::{
    connection::{Connection, Interruption, OpenError},
    token::Token,
};
use crate::domain::{
    backoff::Backoff,
    clock::{Clock, Entropy},
    ids::{DeviceId, SlotName, Version},
    secret::BearerToken,
};

/// The waits between attempts to connect; none is longer, one that the server asked for included.
pub const RETRIES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_mins(1));
/// A connection that lasted this long was a good one: the next wait is short again.
const GOOD: Duration = Duration::from_secs(20);

/// What a listener is told.
#[derive(Debug)]
pub enum News<'a> {
    /// The relay is open.
    Connected,
    /// An event came; it is acknowledged once the listener has returned.
    Event(&'a Event),
    /// The acknowledgement was sent.
    Acknowledged(&'a SlotName, Version),
    /// There is no connection; the next attempt follows by itself.
    Interrupted {
        /// A clause for a person, like `the server did not answer in time`.
        reason: String,
        /// How long until the next attempt.
        retry_in: Duration,
    },
}

/// What a listener does with a request or a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// 200 with an empty object; a command is not done.
    Plainly,
    /// 501: requests are not taken here; a command is not done.
    Refusing,
    /// Nothing.
    Silence,
}

/// Who hears of events.
pub trait Listener: Send {
    /// Takes one piece of news. A failure ends the client, and the event stays unacknowledged.
    fn hear(&mut self, news: News<'_>) -> io::Result<()>;

    /// Takes a request or a command. Whoever sent it waits for an answer, unless this one has it given one.
    fn asked(&mut self, _: &Inquiry) -> io::Result<Answering> {
        Ok(Answering::Silence)
    }

    /// Where a listener that only passes events on says what has arrived: each version that comes here is
    /// acknowledged. Without such a queue an event counts as taken when [`hear`](Self::hear) has returned.
    fn takes_later(&mut self) -> Option<&mut mpsc::Receiver<(SlotName, Version)>> {
        None
    }
}

/// Why the client ended by itself. Each is a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The device could not sign in.
    #[error(transparent)]
    Token(TokenError),
    /// The relay is not where it should be.
    #[error("{0}")]
    Relay(&'static str),
    /// The listener failed.
    #[error("an event could not be printed and was not acknowledged")]
    Listener(#[source] io::Error),
}

/// One device, or one slot of it, at one server.
#[derive(Clone)]
pub struct PluginClient {
    /// The server.
    pub server: Server,
    /// The device.
    pub device: DeviceId,
    /// The slot whose token is asked for; without one, the device's, good for all its slots.
    pub slot: Option<SlotName>,
    /// One of the device's trusted keys.
    pub key: Arc<DeviceKey>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Of assertions' ids and of jitter.
    pub entropy: Arc<dyn Entropy>,
}

impl PluginClient {
    /// Asks for an access token once.
    pub async fn access_token(&self) -> Result<BearerToken, TokenError> {
        Ok(token::ask(self).await?.bearer)
    }

    /// Stays connected until `stop`, telling `listener` what happens.
    pub async fn run(
        &self,
        listener: &mut dyn Listener,
        stop: &CancellationToken,
    ) -> Result<(), ClientError> {
        let mut backoff = RETRIES;
        let mut held: Option<Token> = None;
        loop {
            let Some(attempt) = unless(stop, self.attempt(&mut held)).await else { return Ok(()) };
            let (reason, asked) = match attempt? {
                Attempt::Open(connection) => {
                    listener.hear(News::Connected).map_err(ClientError::Listener)?;
                    let opened = Instant::now();
                    let ended = connection.serve(listener, stop).await.map_err(ClientError::Listener)?;
                    if opened.elapsed() >= GOOD {
                        backoff.reset();
                    }
                    match ended {
                        Interruption::Stopped => return Ok(()),
                        Interruption::TokenRefused => {
                            held = None;
                            ("the access token is not valid any more".to_owned(), None)
                        }
                        Interruption::Lost { reason, reconnect_after } => (reason, reconnect_after),
                    }
                }
                Attempt::Failed(reason) => (reason, None),
            };
            let retry_in = backoff.wait_as_asked(asked, self.entropy.as_ref());
            listener.hear(News::Interrupted { reason, retry_in }).map_err(ClientError::Listener)?;
            if unless(stop, sleep(retry_in)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn attempt(&self, held: &mut Option<Token>) -> Result<Attempt, ClientError> {
        let token = match held.take().filter(|token| token.is_good(self.clock.now())) {
            Some(token) => token,
            None => match token::ask(self).await {
                Ok(token) => token,
                Err(TokenError::Passing(reason)) => return Ok(Attempt::Failed(reason)),
                Err(error) => return Err(ClientError::Token(error)),
            },
        };
        match Connection::open(&self.server, &token.bearer).await {
            Ok(connection) => {
                *held = Some(token);
                Ok(Attempt::Open(Box::new(connection)))
            }
            Err(OpenError::TokenRefused) => Ok(Attempt::Failed("the server refused the access token".into())),
            Err(OpenError::Passing(reason)) => {
                *held = Some(token);
                Ok(Attempt::Failed(reason))
            }
            Err(OpenError::Lasting(advice)) => Err(ClientError::Relay(advice)),
        }
    }
}

enum Attempt {
    Open(Box<Connection>),
    Failed(String),
}

/// What `work` gives, or nothing if `stop` comes first.
async fn unless<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}

#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod tests;
