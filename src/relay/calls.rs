//! `settings` and `token` frames under way: answered elsewhere, in order for each slot, a bounded number.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::timeout;

use super::protocol::{Call, CallError, CallId, Request};
use crate::domain::{
    ids::{DeviceId, SlotAddress, SlotName},
    json::Object,
};

/// Calls of one connection that run or wait.
const MOST: usize = 16;

/// What came of a call: the `data` of its reply, or why not.
pub type CallOutcome = Result<Object, CallError>;

/// Answers the frames that belong to a layer above. The address is within the topics of the caller's token;
/// whether the slot exists is for the implementation to say ([`CallError::not_found`]).
pub trait SlotCalls: Send + Sync + 'static {
    /// Merges a patch into the slot's overrides; answers the effective configuration, redacted.
    fn settings(&self, address: SlotAddress, patch: Object) -> BoxFuture<'static, CallOutcome>;

    /// The slot's access token, refreshed first if it is due.
    fn token(&self, address: SlotAddress) -> BoxFuture<'static, CallOutcome>;
}

type Running = BoxFuture<'static, (SlotName, CallId, CallOutcome)>;

/// The calls of one connection.
pub(super) struct Calls {
    answering: Arc<dyn SlotCalls>,
    device: DeviceId,
    patience: Duration,
    waiting: VecDeque<Call>,
    running: FuturesUnordered<Running>,
    busy: BTreeSet<SlotName>,
}

impl Calls {
    pub(super) fn new(answering: Arc<dyn SlotCalls>, device: DeviceId, patience: Duration) -> Self {
        let (waiting, running, busy) = (VecDeque::new(), FuturesUnordered::new(), BTreeSet::new());
        Self { answering, device, patience, waiting, running, busy }
    }

    /// Takes a call, or gives back why not.
    pub(super) fn take(&mut self, call: Call) -> Result<(), (CallId, CallError)> {
        if self.waiting.len() + self.running.len() >= MOST {
            let detail = "Too many calls wait for an answer: wait for some first.".to_owned();
            return Err((call.id, CallError { code: "busy", detail }));
        }
        self.waiting.push_back(call);
        self.start();
        Ok(())
    }

    /// Waits for an answer; forever, where nothing was asked. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> (CallId, CallOutcome) {
        let Some((slot, id, outcome)) = self.running.next().await else {
            return std::future::pending().await;
        };
        self.busy.remove(&slot);
        self.start();
        (id, outcome)
    }

    /// Starts what waits behind no other call of its slot.
    fn start(&mut self) {
        while let Some(at) = self.waiting.iter().position(|call| !self.busy.contains(&call.slot)) {
            let Some(Call { id, slot, request }) = self.waiting.remove(at) else { return };
            self.busy.insert(slot.clone());
            let address = SlotAddress { device: self.device, slot: slot.clone() };
            let answer = match request {
                Request::Settings(patch) => self.answering.settings(address, patch),
                Request::Token => self.answering.token(address),
            };
            let patience = self.patience;
            self.running.push(Box::pin(async move {
                let outcome = timeout(patience, answer).await.unwrap_or_else(|_| {
                    let detail = "There was no answer in time: ask again later.".to_owned();
                    Err(CallError { code: "timeout", detail })
                });
                (slot, id, outcome)
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;
    use tokio::sync::Notify;

    use super::*;
    use crate::relay::{fixture::HOME, protocol::ClientFrame};

    #[derive(Default)]
    struct Scripted {
        started: Arc<Mutex<Vec<String>>>,
        finish: Arc<Notify>,
    }

    impl SlotCalls for Scripted {
        fn settings(&self, address: SlotAddress, patch: Object) -> BoxFuture<'static, CallOutcome> {
            self.started.lock().unwrap().push(format!("settings {}", address.slot));
            let finish = Arc::clone(&self.finish);
            Box::pin(async move {
                finish.notified().await;
                Ok(patch)
            })
        }

        fn token(&self, address: SlotAddress) -> BoxFuture<'static, CallOutcome> {
            self.started.lock().unwrap().push(format!("token {}", address.slot));
            Box::pin(std::future::pending())
        }
    }

    fn call(text: &str) -> Call {
        let Ok(ClientFrame::Call(call)) = text.parse() else { panic!("a call") };
        call
    }

    fn settings(slot: &str, id: usize) -> Call {
        call(&json!({"type": "settings", "slot": slot, "id": id, "patch": {"n": id}}).to_string())
    }

    #[tokio::test]
    async fn the_calls_of_a_slot_are_answered_in_order_and_do_not_hold_up_others() {
        let scripted = Scripted::default();
        let (started, finish) = (Arc::clone(&scripted.started), Arc::clone(&scripted.finish));
        let mut calls = Calls::new(Arc::new(scripted), HOME, Duration::from_mins(1));
        for call in [settings("a", 1), settings("a", 2), settings("b", 3)] {
            calls.take(call).unwrap();
        }
        assert_eq!(*started.lock().unwrap(), ["settings a", "settings b"]);
        finish.notify_one();
        let (_, outcome) = calls.next().await;
        assert_eq!(json!(outcome.unwrap()), json!({"n": 1}));
        assert_eq!(*started.lock().unwrap(), ["settings a", "settings b", "settings a"]);
    }

    #[tokio::test]
    async fn h11_calls_without_an_answer_are_bounded() {
        let mut calls = Calls::new(Arc::new(Scripted::default()), HOME, Duration::from_mins(1));
        for id in 0..MOST {
            calls.take(settings("a", id)).unwrap();
        }
        let (_, error) = calls.take(settings("a", MOST)).unwrap_err();
        assert_eq!(error.code, "busy");
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_answered_all_the_same() {
        let mut calls = Calls::new(Arc::new(Scripted::default()), HOME, Duration::from_millis(1));
        calls.take(call(r#"{"type":"token","slot":"a","id":1}"#)).unwrap();
        let (_, outcome) = calls.next().await;
        assert_eq!(outcome.unwrap_err().code, "timeout");
    }
}
