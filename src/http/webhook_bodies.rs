//! How many bodies of web services are read at once: in all, and from one network.
//!
//! A body comes before its signature is known, so strangers can make this process wait for one. Where there are enough,
//! a new one is read all the same, and the one that has come for longest gives way: of the same network where that has
//! its share, else of the network that has the most. So whoever sends at once is heard, however many send slowly.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::error::Problem;
use crate::domain::{binding::ClientNetwork, metric};

/// In all, in this process: 64 MiB of bodies.
const MOST: usize = 256;
/// From one network.
const MOST_OF_NETWORK: usize = 64;
/// That were told to give way and still have their memory, for as long as it takes to be told.
const MOST_LEAVING: usize = 64;

/// The bodies that are being read.
pub struct WebhookBodies {
    table: Mutex<Table>,
    gauge: metrics::Gauge,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// The oldest first.
    bodies: BTreeMap<u64, Body>,
}

struct Body {
    network: ClientNetwork,
    /// Nothing once it was told.
    give_way: Option<oneshot::Sender<TooManyBodies>>,
}

/// A body that is being read, until dropped.
pub(super) struct Reading<'a> {
    bodies: &'a WebhookBodies,
    number: u64,
    told: oneshot::Receiver<TooManyBodies>,
}

/// Why a body is not read, or not to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooManyBodies {
    /// From this network, enough are read. Answered 429.
    #[error("too many bodies come from this network")]
    Network,
    /// In all, enough are read. Answered 503.
    #[error("too many bodies come to this server")]
    Server,
}

impl Default for WebhookBodies {
    fn default() -> Self {
        for (of, limit) in [("process", MOST), ("network", MOST_OF_NETWORK)] {
            let limit = f64::from(u32::try_from(limit).unwrap_or(u32::MAX));
            metrics::gauge!(metric::WEBHOOK_BODIES_LIMIT, "of" => of).set(limit);
        }
        let gauge = metrics::gauge!(metric::WEBHOOK_BODIES);
        gauge.set(0.0);
        Self { table: Mutex::default(), gauge }
    }
}

impl WebhookBodies {
    /// Takes a place for a body from `network`, where need be from one that has had it for longer.
    ///
    /// # Errors
    /// Where too many that gave way are still there.
    pub(super) fn read(&self, network: ClientNetwork) -> Result<Reading<'_>, TooManyBodies> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.bodies.len() >= MOST + MOST_LEAVING {
            return Err(TooManyBodies::Server);
        }
        table.make_room(network);
        let (give_way, told) = oneshot::channel();
        let number = table.next;
        table.next += 1;
        table.bodies.insert(number, Body { network, give_way: Some(give_way) });
        self.gauge.increment(1.0);
        Ok(Reading { bodies: self, number, told })
    }
}

impl Table {
    fn make_room(&mut self, network: ClientNetwork) {
        let staying = || self.bodies.iter().filter(|(_, body)| body.give_way.is_some());
        let mut counts = HashMap::<ClientNetwork, usize>::new();
        for (_, body) in staying() {
            *counts.entry(body.network).or_default() += 1;
        }
        let oldest = |network| staying().find(|(_, body)| body.network == network).map(|(number, _)| *number);
        let (leaving, why) = if counts.get(&network).is_some_and(|count| *count >= MOST_OF_NETWORK) {
            (oldest(network), TooManyBodies::Network)
        } else if counts.values().sum::<usize>() >= MOST {
            let most = staying().min_by_key(|(number, body)| (Reverse(counts.get(&body.network)), **number));
            (most.map(|(number, _)| *number), TooManyBodies::Server)
        } else {
            return;
        };
        let body = leaving.and_then(|number| self.bodies.get_mut(&number));
        if let Some(give_way) = body.and_then(|body| body.give_way.take()) {
            // Where nobody listens any more, it is as good as gone.
            let _ = give_way.send(why);
        }
    }
}

impl Reading<'_> {
    /// What is read, unless it has to give way before its end.
    pub(super) async fn finish<T>(&mut self, read: impl Future<Output = T>) -> Result<T, TooManyBodies> {
        tokio::select! {
            biased;
            Ok(why) = &mut self.told => Err(why),
            body = read => Ok(body),
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut table = self.bodies.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.bodies.remove(&self.number);
        self.bodies.gauge.decrement(1.0);
    }
}

impl From<TooManyBodies> for Problem {
    fn from(too_many: TooManyBodies) -> Self {
        match too_many {
            TooManyBodies::Network => Self::too_many_requests(1),
            TooManyBodies::Server => Self::unavailable("busy", 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn network(number: usize) -> ClientNetwork {
        ClientNetwork::of(format!("192.0.2.{number}").parse().unwrap())
    }

    fn told(reading: &mut Reading<'_>) -> Option<TooManyBodies> {
        reading.finish(std::future::pending::<()>()).now_or_never().and_then(Result::err)
    }

    #[test]
    fn the_oldest_of_who_has_the_most_gives_way() {
        let bodies = WebhookBodies::default();
        let mut single = bodies.read(network(9)).unwrap();
        let mut many: Vec<_> = (0..MOST_OF_NETWORK).map(|_| bodies.read(network(0)).unwrap()).collect();
        assert!(many.iter_mut().all(|reading| told(reading).is_none()));
        many.push(bodies.read(network(0)).unwrap());
        assert_eq!(told(&mut many[0]), Some(TooManyBodies::Network));
        let rest = (MOST_OF_NETWORK + 1..MOST).map(|n| bodies.read(network(n / MOST_OF_NETWORK)).unwrap());
        many.extend(rest.collect::<Vec<_>>());
        assert_eq!(told(&mut many[1]), None, "there are just enough");
        many.push(bodies.read(network(10)).unwrap());
        assert_eq!(told(&mut many[1]), Some(TooManyBodies::Server));
        assert_eq!(told(&mut single), None, "though it is the oldest of all");
        drop((single, many));
        assert!(bodies.table.lock().unwrap().bodies.is_empty());
    }

    #[test]
    fn who_gave_way_and_is_still_there_is_bounded_too() {
        let bodies = WebhookBodies::default();
        let mut readings: Vec<_> =
            (0..MOST + MOST_LEAVING).map(|n| bodies.read(network(n % 200)).unwrap()).collect();
        assert_eq!(bodies.read(network(201)).err(), Some(TooManyBodies::Server));
        let leaving = readings.iter_mut().position(|reading| told(reading).is_some()).unwrap();
        readings.remove(leaving);
        assert!(bodies.read(network(201)).is_ok());
    }
}
