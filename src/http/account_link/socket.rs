//! One attempt over one WebSocket: a service comes in, a URL goes out, tokens go out.
//!
//! Home Assistant's client falls over a close that no text came before, so each end has its text. Before the URL it is
//! `{"error": …}`. After it, an error inside of `tokens` is what closes the dialog in front of its person; only a time
//! that is over is told as `{"error":"timeout"}`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::AccountLinkSockets;
use crate::{
    domain::{account_link::ServiceDomain, binding::ClientNetwork, json::parse_object, metric},
    flows::{AccountLinkNews, AccountLinkStarted, Broker, StartAccountLinkError},
    relay::{Arrival, Close, Counted, Gone, Outgoing, Parting, Upgraded, WebSocket},
};

/// Bytes of the largest message.
const LARGEST_MESSAGE: usize = 4096;
/// Messages after the first one; the client sends none.
const MOST_MESSAGES: u32 = 100;
/// For the client to say what it wants.
const FIRST_WORD: Duration = Duration::from_secs(30);
/// For the URL: the client gives up after 30 s.
const START: Duration = Duration::from_secs(20);
/// For one message to go out, or the database to answer.
const SEND: Duration = Duration::from_secs(10);
/// For the client to close, or to answer our close frame.
const LINGER: Duration = Duration::from_secs(1);
/// For an exchange that was under way when the time was over.
const LAST_EXCHANGE: Duration = Duration::from_mins(1);

/// A WebSocket after its handshake.
pub(super) struct Socket(pub(super) WebSocket<Upgraded>);

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) network: ClientNetwork,
    /// Whether its network may start an attempt now.
    pub(super) may_start: bool,
}

/// How it ends.
enum End {
    /// With these last words.
    Say(Value),
    /// The client closes, or is gone.
    Left,
}

impl End {
    fn error(code: &str) -> Self {
        Self::Say(json!({ "error": code }))
    }

    /// What closes the dialog.
    fn rejected(word: &str) -> Self {
        Self::Say(json!({ "tokens": { "error": word } }))
    }
}

impl Socket {
    async fn hear(&mut self) -> Arrival {
        self.0.recv(LARGEST_MESSAGE).await
    }

    async fn say(&mut self, words: &Value) -> Result<(), End> {
        self.send(Outgoing::Texts(vec![words.to_string()])).await
    }

    async fn send(&mut self, message: Outgoing) -> Result<(), End> {
        match timeout(SEND, self.0.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Gone)) | Err(_) => Err(End::Left),
        }
    }

    /// Waits until the client closes: whether it did, and did nothing else that ends a connection.
    async fn left(&mut self) -> bool {
        loop {
            match self.hear().await {
                Arrival::Closes => return true,
                Arrival::Gone | Arrival::Refused(_) => return false,
                Arrival::Text(_) | Arrival::Ping(_) | Arrival::Control => {}
            }
        }
    }

    /// Whether the client goes in peace: it closes once it has read what it waited for. One that does not is silent for
    /// a moment, and no worse; one whose connection breaks has read nothing that one could know of.
    async fn is_left_in_peace(&mut self) -> bool {
        timeout(LINGER, self.left()).await.unwrap_or(true)
    }

    /// Closes, and gives the client a moment to read why.
    async fn close(mut self) {
        let parting = async {
            self.0.send(Outgoing::Close(Some(Close::Done))).await?;
            self.left().await;
            Ok::<_, Gone>(())
        };
        let how = if timeout(LINGER, parting).await.is_ok() { Parting::InPeace } else { Parting::AtOnce };
        self.0.part(how);
    }
}

/// Serves one attempt to its end.
pub(super) async fn serve(broker: &Broker, sockets: &AccountLinkSockets, caller: Caller, mut socket: Socket) {
    let _counted = Counted::new(metrics::gauge!(metric::ACCOUNT_LINK_SOCKETS));
    let end = match start(broker, sockets, caller, &mut socket).await {
        Ok(started) => {
            let attempt = started.id;
            let end = wait(broker, sockets, started, &mut socket).await;
            let arrived = part(socket, &end).await;
            let has_tokens = matches!(&end, End::Say(words) if words["tokens"].get("access_token").is_some());
            let recorded = if has_tokens && arrived {
                broker.account_link_delivered(attempt).await
            } else {
                broker.account_link_left(attempt).await
            };
            if let Err(error) = recorded {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%attempt, error, "the end of an account link is not recorded; its time will end it");
            }
            return;
        }
        Err(end) => end,
    };
    part(socket, &end).await;
}

/// The last words, and goodbye. Whether they arrived, as far as one can know.
async fn part(mut socket: Socket, end: &End) -> bool {
    let arrived = match end {
        End::Say(words) if words.get("tokens").is_some() => {
            socket.say(words).await.is_ok() && socket.is_left_in_peace().await
        }
        End::Say(words) => socket.say(words).await.is_ok(),
        End::Left => false,
    };
    socket.close().await;
    arrived
}

/// From the handshake to the URL.
async fn start(
    broker: &Broker,
    sockets: &AccountLinkSockets,
    caller: Caller,
    socket: &mut Socket,
) -> Result<AccountLinkStarted, End> {
    if !caller.may_start {
        // At once, so that who asks too often holds no place.
        return Err(End::error("unavailable"));
    }
    let domain = tokio::select! {
        first = timeout(FIRST_WORD, first_word(socket)) => first.unwrap_or_else(|_| Err(End::error("timeout")))?,
        () = sockets.drain.cancelled() => return Err(End::error("unavailable")),
    };
    match timeout(START, broker.start_account_link(&domain, caller.network)).await {
        Ok(Ok(started)) => {
            if let Err(end) = socket.say(&json!({ "authorize_url": started.authorize_url })).await {
                // Its time ends it, should this fail.
                let _ = broker.account_link_left(started.id).await;
                return Err(end);
            }
            Ok(started)
        }
        Ok(Err(StartAccountLinkError::Unsupported)) => Err(End::error("unsupported")),
        Ok(Err(StartAccountLinkError::Unavailable)) => Err(End::error("unavailable")),
        Ok(Err(StartAccountLinkError::Store(error))) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(service = %domain, error, "an account link could not be started");
            Err(End::error("unavailable"))
        }
        Err(_) => {
            tracing::warn!(service = %domain, "an account link could not be started in time");
            Err(End::error("unavailable"))
        }
    }
}

/// `{"service": "<domain>"}`
async fn first_word(socket: &mut Socket) -> Result<ServiceDomain, End> {
    loop {
        match socket.hear().await {
            Arrival::Text(text) => {
                let members = parse_object(text.as_bytes()).map_err(|_| End::error("unknown"))?;
                let service = members.get("service").and_then(Value::as_str);
                let service = service.ok_or_else(|| End::error("unknown"))?;
                return service.parse().map_err(|_| End::error("unsupported"));
            }
            Arrival::Ping(payload) => socket.send(Outgoing::Pong(payload)).await?,
            Arrival::Control => {}
            Arrival::Closes | Arrival::Gone => return Err(End::Left),
            Arrival::Refused(_) => return Err(End::error("unknown")),
        }
    }
}

/// From the URL to the tokens.
async fn wait(
    broker: &Broker,
    sockets: &AccountLinkSockets,
    started: AccountLinkStarted,
    socket: &mut Socket,
) -> End {
    let AccountLinkStarted { id, expires_in, mut wait, authorize_url: _ } = started;
    let now = Instant::now();
    let over = now + Duration::try_from(expires_in).unwrap_or(LAST_EXCHANGE);
    let mut beats = interval_at(now + sockets.heartbeat, sockets.heartbeat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = interval_at(now + sockets.poll, sockets.poll);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut silent, mut heard, mut is_over) = (0_u8, 0_u32, false);
    loop {
        tokio::select! {
            arrival = socket.hear() => {
                silent = 0;
                match arrival {
                    Arrival::Ping(payload) => {
                        if let Err(end) = socket.send(Outgoing::Pong(payload)).await {
                            return end;
                        }
                    }
                    Arrival::Control => {}
                    Arrival::Text(_) if heard < MOST_MESSAGES => heard += 1,
                    Arrival::Closes | Arrival::Gone => return End::Left,
                    Arrival::Text(_) | Arrival::Refused(_) => return End::rejected("unknown"),
                }
                continue;
            }
            _ = beats.tick() => {
                silent += 1;
                if silent > 2 {
                    return End::Left;
                }
                if let Err(end) = socket.send(Outgoing::Ping).await {
                    return end;
                }
                continue;
            }
            () = sockets.drain.cancelled() => return End::rejected("unavailable"),
            () = sleep_until(over), if !is_over => is_over = true,
            () = sleep_until(over + LAST_EXCHANGE) => return End::error("timeout"),
            () = wait.knocked() => {}
            _ = looks.tick() => {}
        }
        match timeout(SEND, broker.account_link_news(id)).await {
            Ok(Ok(AccountLinkNews::Nothing)) => {}
            Ok(Ok(AccountLinkNews::Tokens(tokens))) => return End::Say(json!({ "tokens": tokens })),
            Ok(Ok(AccountLinkNews::Ended(error))) => return End::rejected(error.as_str()),
            Ok(Ok(AccountLinkNews::TimedOut)) => return End::error("timeout"),
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(attempt = %id, error, "an account link could not be looked at; trying again");
            }
            Err(_) => tracing::warn!(attempt = %id, "the database took too long for an account link"),
        }
    }
}
