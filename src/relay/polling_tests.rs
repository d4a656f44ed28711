use futures_util::future::join;

use super::*;
use crate::{
    domain::{slot::Ack, topic::Topics},
    relay::{
        Capacity, RelaySettings,
        fixture::{Bench, HOME, NOW, Slot},
    },
};

const LONG: Duration = Duration::from_secs(30);

fn bench(slots: impl IntoIterator<Item = Slot>) -> Bench {
    Bench::new(slots, RelaySettings { poll: Duration::from_millis(5), ..RelaySettings::default() })
}

async fn poll(bench: &Bench, wait: Duration, wanted: Wanted) -> Vec<String> {
    let events = bench.relay.poll(&bench.access(), wait, wanted).await.unwrap();
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_at_once_and_what_is_does_not_come_again() {
    let bench = bench([Slot { acked: 1, ..Slot::linked() }]);
    assert_eq!(poll(&bench, LONG, Wanted::Unacknowledged).await, ["ecobee 2 oauth"]);
    let ack =
        bench.relay.ack(&bench.access(), "ecobee".parse().unwrap(), crate::domain::ids::Version(2)).await;
    assert_eq!(ack.unwrap(), Ack::Advanced);
    assert!(poll(&bench, Duration::ZERO, Wanted::Unacknowledged).await.is_empty());
    let everything = ["ecobee 2 customns/oauth", "ecobee 2 customns/oauthTokens"];
    assert_eq!(poll(&bench, LONG, Wanted::All).await, everything);
}

#[tokio::test]
async fn a_knock_wakes_a_waiting_poll() {
    let bench = bench([Slot { acked: 1, ..Slot::at("a", 1) }]);
    let change = async {
        bench.database.put(Slot { acked: 1, ..Slot::at("a", 2) });
        bench.knock("a");
    };
    let (events, ()) = join(poll(&bench, LONG, Wanted::Unacknowledged), change).await;
    assert_eq!(events, ["a 2 customns/oauth"]);
}

#[tokio::test]
async fn without_any_knock_the_slow_poll_wakes_a_waiting_poll() {
    let bench = bench([Slot { acked: 1, ..Slot::at("a", 1) }]);
    let slowly = tokio::spawn(bench.relay.clone().poll_slowly());
    let change = async { bench.database.put(Slot::at("b", 1)) };
    let (events, ()) = join(poll(&bench, LONG, Wanted::Unacknowledged), change).await;
    assert_eq!(events, ["b 1 customns/oauth"]);
    slowly.abort();
}

#[tokio::test]
async fn a_poll_without_news_ends_with_its_wait() {
    assert!(poll(&bench([]), Duration::from_millis(5), Wanted::Unacknowledged).await.is_empty());
    assert!(poll(&bench([]), LONG, Wanted::All).await.is_empty());
}

#[tokio::test]
async fn a_waiting_poll_ends_when_the_server_goes_away() {
    let bench = bench([]);
    let (events, ()) = join(poll(&bench, LONG, Wanted::Unacknowledged), async { bench.drain.cancel() }).await;
    assert!(events.is_empty());
    bench.relay.drained().await;
}

#[tokio::test]
async fn h04_a_waiting_poll_ends_when_its_token_is_revoked_or_has_expired() {
    let bench = bench([]);
    let access = bench.access();
    let waiting = bench.relay.poll(&access, LONG, Wanted::Unacknowledged);
    let (outcome, ()) = join(waiting, async { bench.standing.revoke() }).await;
    assert!(matches!(outcome, Err(PollError::TokenEnded)));
    let expired = RelayAccess { expires_at: NOW, ..access };
    let outcome = self::bench([]).relay.poll(&expired, LONG, Wanted::All).await;
    assert!(matches!(outcome, Err(PollError::TokenEnded)));
}

#[tokio::test]
async fn h05_a_slot_outside_the_topics_is_neither_seen_nor_acked() {
    let bench = bench([Slot::at("mine", 1), Slot::at("other", 1)]);
    let topics = Topics::of_device(HOME, Some(&"mine".parse().unwrap()));
    let access = RelayAccess { topics: topics.into(), ..bench.access() };
    let events = bench.relay.poll(&access, LONG, Wanted::All).await.unwrap();
    assert_eq!(format!("{events:?}"), "[mine 1 customns/oauth]");
    let ack =
        bench.relay.ack(&access, "other".parse().unwrap(), crate::domain::ids::Version(1)).await.unwrap();
    assert_eq!((ack, bench.database.acked("other")), (Ack::UnknownSlot, 0));
}

#[tokio::test]
async fn h09_foreign_future_and_repeated_acks_change_nothing() {
    let bench = bench([Slot { acked: 2, ..Slot::at("a", 3) }]);
    for (version, expected) in
        [(4, Ack::Unchanged), (2, Ack::Unchanged), (1, Ack::Unchanged), (3, Ack::Advanced)]
    {
        let ack = bench
            .relay
            .ack(&bench.access(), "a".parse().unwrap(), crate::domain::ids::Version(version))
            .await;
        assert_eq!(ack.unwrap(), expected, "{version}");
    }
    assert_eq!(bench.database.acked("a"), 3);
}

#[tokio::test]
async fn h08_waiting_polls_take_places_and_give_them_back() {
    let capacity = Capacity { per_device: 1, total: 1 };
    let bench = Bench::new([Slot::at("a", 1)], RelaySettings { capacity, ..RelaySettings::default() });
    let place = bench.relay.admit(HOME).unwrap();
    let refused = bench.relay.poll(&bench.access(), LONG, Wanted::All).await;
    assert!(matches!(refused, Err(PollError::Refused(_))));
    drop(place);
    for _ in 0..2 {
        assert_eq!(poll(&bench, LONG, Wanted::All).await.len(), 1);
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_an_error() {
    let bench = bench([]);
    bench.database.go_away();
    assert!(matches!(bench.relay.poll(&bench.access(), LONG, Wanted::All).await, Err(PollError::Store(_))));
}
