use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    super::{
        Mailbox, Places,
        carrier::{self, CarrierParts},
        lines::Lines,
        places,
    },
    *,
};
use crate::{
    bus::Bus,
    domain::{ids::ReplicaId, inquiry::Wanted, topic::Topics},
    relay::{
        fixture::{HOME, NOW, StandingStill},
        source::Answer,
    },
    store::{StoreError, TakenRequest, WAITING_PAGE, WaitingRequest},
};

const STRANGER: DeviceId = DeviceId(Uuid::from_u128(2));
const PATIENCE: Duration = Duration::from_secs(20);

/// A mailbox that notes what it is told.
struct Noted {
    said: Mutex<Vec<&'static str>>,
    /// Rows may be posted.
    post: Semaphore,
    /// Withdrawals that still fail.
    failing: AtomicUsize,
    /// What waits for others to take it: in the order of its ids.
    waiting: Vec<WaitingRequest>,
    /// What was taken.
    taken: Semaphore,
}

impl Noted {
    fn new(post: usize, failing: usize, waiting: Vec<WaitingRequest>) -> Arc<Self> {
        let (post, taken) = (Semaphore::new(post), Semaphore::new(0));
        Arc::new(Self { said: Mutex::default(), post, failing: failing.into(), waiting, taken })
    }

    fn note(&self, what: &'static str) {
        self.said.lock().unwrap().push(what);
    }

    fn said(&self) -> Vec<&'static str> {
        self.said.lock().unwrap().clone()
    }
}

fn failed() -> StoreError {
    StoreError::Row { column: "relay_requests.frame" }
}

fn is<T: Send + 'static>(what: T) -> Answer<'static, T> {
    Box::pin(std::future::ready(Ok(what)))
}

impl Mailbox for Noted {
    fn tend(&self, _: ReplicaId, _: OffsetDateTime, _: OffsetDateTime) -> Answer<'_, ()> {
        is(())
    }

    fn leave(&self, _: ReplicaId) -> Answer<'_, ()> {
        is(())
    }

    fn post<'a>(&'a self, _: &'a NewRelayRequest<'a>, _: OffsetDateTime) -> Answer<'a, bool> {
        Box::pin(async {
            self.note("posting");
            self.post.acquire().await.unwrap().forget();
            self.note("posted");
            Ok(true)
        })
    }

    fn waiting<'a>(
        &'a self,
        _: ReplicaId,
        last: Option<&'a WaitingRequest>,
    ) -> Answer<'a, Vec<WaitingRequest>> {
        let after = self.waiting.iter().skip_while(|waiting| last.is_some_and(|last| waiting.id <= last.id));
        is(after.take(WAITING_PAGE).cloned().collect())
    }

    fn take<'a>(&'a self, ids: &'a [InquiryId]) -> Answer<'a, Vec<TakenRequest>> {
        self.taken.add_permits(ids.len());
        is(Vec::new())
    }

    fn awaited<'a>(&'a self, ids: &'a [InquiryId]) -> Answer<'a, Vec<InquiryId>> {
        is(ids.to_vec())
    }

    fn answer<'a>(&'a self, _: InquiryId, _: &'a str) -> Answer<'a, ()> {
        is(())
    }

    /// Answers once a withdrawal has failed.
    fn collect<'a>(&'a self, ids: &'a [InquiryId]) -> Answer<'a, Vec<(InquiryId, Zeroizing<String>)>> {
        let answered = self.said().contains(&"not withdrawn");
        let answer = |id: &InquiryId| (*id, Zeroizing::new(r#"{"answered":{"status":201}}"#.to_owned()));
        is(if answered { ids.iter().map(answer).collect() } else { Vec::new() })
    }

    fn withdraw(&self, _: InquiryId) -> Answer<'_, bool> {
        let fails = |left: usize| left.checked_sub(1);
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
            self.note("not withdrawn");
            return Box::pin(std::future::ready(Err(failed())));
        }
        self.note("withdrawn");
        is(true)
    }

    fn abandon(&self, _: InquiryId) -> Answer<'_, ()> {
        self.note("abandoned");
        is(())
    }
}

fn carrier(mailbox: &Arc<Noted>) -> Arc<Carrier> {
    let parts = CarrierParts {
        mailbox: Arc::clone(mailbox) as Arc<dyn Mailbox>,
        bus: Bus::in_process(),
        clock: Arc::new(StandingStill),
        database: PATIENCE,
        most: 256,
    };
    Arc::new(Carrier::new(parts, &StandingStill))
}

fn asked() -> Asked {
    let (answer, _) = oneshot::channel();
    let id = InquiryId::draw(&StandingStill);
    let errand = Errand { id, wanted: Wanted::Response, frame: "{}".into(), answer };
    Asked { device: HOME, slot: None, errand, deadline: Instant::now() + Duration::from_hours(1) }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.expect(what);
}

#[tokio::test]
async fn who_leaves_takes_back_what_was_posted_and_keeps_the_place_until_then() {
    for left_at in ["posting", "posted"] {
        let mailbox = Noted::new(usize::from(left_at == "posted"), 0, Vec::new());
        let carrier = carrier(&mailbox);
        let places = places::Taken::new(Places { total: 1, per_device: 1, per_slot: 1 });
        let place = places.take(HOME, None).unwrap();
        let asker = Arc::clone(&carrier);
        let asking = tokio::spawn(async move { asker.ask(asked(), place).await });
        until("the post", || mailbox.said().last() == Some(&left_at)).await;
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        if left_at == "posting" {
            assert!(places.take(HOME, None).is_err(), "what may still be posted has its place");
            mailbox.post.add_permits(1);
        }
        timeout(PATIENCE, carrier.finished()).await.expect("the drain waits for it, and it ends");
        assert_eq!(mailbox.said(), ["posting", "posted", "abandoned"]);
        assert!(places.take(HOME, None).is_ok());
    }
}

#[tokio::test]
async fn who_can_not_be_told_that_nobody_has_it_waits_for_the_answer() {
    let mailbox = Noted::new(1, 1, Vec::new());
    let (carrier, drain) = (carrier(&mailbox), CancellationToken::new());
    let places = places::Taken::new(Places::default());
    let running = tokio::spawn(carrier::run(Arc::clone(&carrier), Lines::default(), drain.clone()));
    let asking = carrier.ask(asked(), places.take(HOME, None).unwrap());
    let answer = timeout(PATIENCE, asking).await.expect("an end");
    assert_eq!(answer.unwrap()["status"], 201);
    assert_eq!(mailbox.said(), ["posting", "posted", "not withdrawn"]);
    drain.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn who_can_be_told_later_that_nobody_has_it_is_told_then() {
    let mailbox = Noted::new(1, 1, Vec::new());
    let places = places::Taken::new(Places::default());
    let carrier = carrier(&mailbox);
    let asking = carrier.ask(asked(), places.take(HOME, None).unwrap());
    let told = timeout(PATIENCE, asking).await.expect("an end");
    assert!(matches!(told, Err(AskError::Nobody)), "{told:?}");
    assert_eq!(mailbox.said(), ["posting", "posted", "not withdrawn", "withdrawn"]);
}

#[tokio::test]
async fn what_waits_for_others_hides_nothing_that_waits_for_here() {
    let waiting = |n: u128, device| WaitingRequest {
        id: InquiryId(Uuid::from_u128(n)),
        take_by: NOW,
        device,
        slot: None,
    };
    let strangers = 3 * WAITING_PAGE as u128;
    let mut all: Vec<_> = (0..strangers).map(|n| waiting(n, STRANGER)).collect();
    all.push(waiting(strangers, HOME));
    let mailbox = Noted::new(0, 0, all);
    let (lines, drain) = (Lines::default(), CancellationToken::new());
    let _desk = lines.open(HOME, Topics::of_device(HOME, None).into());
    let running = tokio::spawn(carrier::run(carrier(&mailbox), lines, drain.clone()));
    timeout(PATIENCE, mailbox.taken.acquire()).await.expect("it is found").unwrap().forget();
    drain.cancel();
    running.await.unwrap();
}
