use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::*;
use crate::{
    domain::{
        ids::{SlotName, Version},
        slot::Ack,
    },
    relay::{
        Answer,
        fixture::{HOME, Slot},
    },
};

/// A database that answers when it is let, and counts what it was asked.
struct Gated {
    gate: Semaphore,
    asked: AtomicUsize,
    largest: AtomicUsize,
    broken: Option<DeviceId>,
}

impl Gated {
    fn open() -> Self {
        let (asked, largest) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { gate: Semaphore::new(Semaphore::MAX_PERMITS), asked, largest, broken: None }
    }

    async fn states(&self, addresses: Vec<(DeviceId, &'static str)>) -> Result<Vec<StateOf>, StoreError> {
        self.asked.fetch_add(1, Relaxed);
        self.largest.fetch_max(addresses.len(), Relaxed);
        self.gate.acquire().await.unwrap().forget();
        let state = |(device, name)| {
            if self.broken == Some(device) {
                return (device, Err(StoreError::Row { column: "test" }));
            }
            let mut state = Slot::at(name, 1).state();
            state.address.device = device;
            (device, Ok(state))
        };
        Ok(addresses.into_iter().map(state).collect())
    }
}

impl SlotSource for Gated {
    fn list_states<'a>(&'a self, devices: &'a [DeviceId]) -> Answer<'a, Vec<StateOf>> {
        Box::pin(self.states(devices.iter().flat_map(|device| [(*device, "a"), (*device, "b")]).collect()))
    }

    fn find_states<'a>(&'a self, addresses: &'a [SlotAddress]) -> Answer<'a, Vec<StateOf>> {
        let known =
            |address: &SlotAddress| ["a", "b"].into_iter().find(|name| *name == address.slot.as_str());
        let found = addresses.iter().filter_map(move |address| Some((address.device, known(address)?)));
        Box::pin(self.states(found.collect()))
    }

    fn list_versions<'a>(&'a self, _: &'a [DeviceId]) -> Answer<'a, Vec<(DeviceId, SlotName, Version)>> {
        unreachable!("nobody compares")
    }

    fn ack<'a>(&'a self, _: &'a SlotAddress, _: Version) -> Answer<'a, Ack> {
        unreachable!("nobody acknowledges")
    }
}

fn device(number: u128) -> DeviceId {
    DeviceId(Uuid::from_u128(number))
}

fn only(slot: &str) -> Knocked {
    Knocked::Slots([slot.parse().unwrap()].into())
}

fn told(states: Option<Vec<SlotState>>) -> Vec<String> {
    states.unwrap().iter().map(|state| state.address.to_string()).collect()
}

#[tokio::test]
async fn many_looks_are_few_statements_and_each_gets_its_own() {
    let source = Arc::new(Gated::open());
    let loader = Loader::new(Arc::clone(&source) as Arc<dyn SlotSource>, Duration::from_mins(1));
    let looks = (0..1000).map(|number| {
        let (loader, number) = (&loader, number % 900);
        async move {
            let at = if number % 2 == 0 { Knocked::Everything } else { only("b") };
            let states = told(loader.look(device(number), at).await);
            let named = |slot: &str| format!("{}/{slot}", device(number));
            let expected = if number % 2 == 0 { vec![named("a"), named("b")] } else { vec![named("b")] };
            assert_eq!(states, expected);
        }
    });
    join_all(looks).await;
    let asked = source.asked.load(Relaxed);
    assert!(asked <= 2 * (1000 / BATCH + AT_ONCE + 1), "{asked} statements");
    assert!(source.largest.load(Relaxed) > 2);
    assert_eq!(loader.0.lock().running, 0);
}

#[tokio::test]
async fn no_more_than_so_many_statements_run_at_once() {
    let source = Arc::new(Gated { gate: Semaphore::new(0), ..Gated::open() });
    let loader = Loader::new(Arc::clone(&source) as Arc<dyn SlotSource>, Duration::from_mins(1));
    let mut looks: Vec<_> =
        (0..50).map(|number| Box::pin(loader.look(device(number), Knocked::Everything))).collect();
    for look in &mut looks {
        assert!(futures_util::FutureExt::now_or_never(look).is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(source.asked.load(Relaxed), AT_ONCE);
    source.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    for states in join_all(looks).await {
        assert_eq!(states.unwrap().len(), 2);
    }
    assert!(source.asked.load(Relaxed) <= 2 * AT_ONCE + 1);
}

#[tokio::test]
async fn a_slot_that_cannot_be_read_fails_its_own_device_alone() {
    let source = Gated { broken: Some(HOME), ..Gated::open() };
    let loader = Loader::new(Arc::new(source), Duration::from_mins(1));
    let other = device(7);
    let looks = [
        loader.look(HOME, Knocked::Everything),
        loader.look(other, Knocked::Everything),
        loader.look(other, only("no-such-slot")),
    ];
    let [broken, whole, none] = join_all(looks).await.try_into().unwrap();
    assert!(broken.is_none());
    assert_eq!(whole.unwrap().len(), 2);
    assert_eq!(none.unwrap().len(), 0);
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_given_up() {
    let source = Gated { gate: Semaphore::new(0), ..Gated::open() };
    let loader = Loader::new(Arc::new(source), Duration::from_millis(1));
    assert!(loader.look(HOME, Knocked::Everything).await.is_none());
}
