//! Homes that link their slot again and again, each with its plugin at the relay, and keep account of everything: what
//! was refused and tried again, what was linked, told and acknowledged, and which code was spent how often.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Answer, Browser, Home, Provider, Relay, Reply, Service, service::with_json};

/// The longest that one step of one flow may take, whatever happens meanwhile.
const STEP: Duration = Duration::from_secs(100);

/// A provider that takes each code once, and gives `at-CODE` for it.
pub(crate) struct Ledger(Arc<Mutex<BTreeMap<String, usize>>>);

impl Ledger {
    /// The provider, and its account.
    pub(crate) async fn open() -> (Provider, Self) {
        let (provider, ledger) = (Provider::start().await, Self(Arc::default()));
        provider.always(Answer::Judged(ledger.judge()));
        (provider, ledger)
    }

    /// What it makes of a request.
    pub(crate) fn judge(&self) -> super::Judge {
        let codes = Arc::clone(&self.0);
        Arc::new(move |request| {
            let code = request.form.get("code").cloned().unwrap_or_default();
            let mut codes = codes.lock().unwrap();
            let times = codes.entry(code.clone()).or_default();
            *times += 1;
            if *times > 1 {
                return (400, json!({"error": "invalid_grant"}));
            }
            let tokens = json!({"access_token": format!("at-{code}"), "refresh_token": format!("rt-{code}"), "expires_in": 3600});
            (200, tokens)
        })
    }

    /// How often each code was spent.
    pub(crate) fn spent(&self) -> BTreeMap<String, usize> {
        self.0.lock().unwrap().clone()
    }
}

/// What one home saw, or all of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Flows that were linked, told and acknowledged.
    pub(crate) done: usize,
    /// Flows that ended otherwise: how.
    pub(crate) failed: Vec<String>,
    /// Requests that were refused, and made again.
    pub(crate) refused: Vec<String>,
    /// What goodbyes asked to wait for, milliseconds.
    pub(crate) goodbyes: Vec<u64>,
    /// Relay connections that were closed: the codes.
    pub(crate) closed: Vec<Value>,
}

/// Homes at work.
pub(crate) struct Load {
    homes: JoinSet<Tally>,
    stop: CancellationToken,
    done: Arc<Mutex<usize>>,
}

impl Load {
    /// That many homes, each of which knows the door that it is given in turn.
    pub(crate) async fn start(
        service: &Service,
        provider: &Provider,
        doors: &[Arc<Service>],
        homes: usize,
    ) -> Self {
        let (stop, done) = (CancellationToken::new(), Arc::default());
        let mut load = Self { homes: JoinSet::new(), stop, done };
        for (number, door) in doors.iter().cycle().take(homes).enumerate() {
            let home = Home::enrol(service, provider).await;
            let token = home.token(service).await;
            let at_work = AtWork {
                home,
                token,
                door: Arc::clone(door),
                tally: Tally::default(),
                newest: 0,
                relay: None,
                heard: false,
                name: format!("home{number}"),
            };
            load.homes.spawn(at_work.run(load.stop.clone(), Arc::clone(&load.done)));
        }
        load
    }

    /// Flows done so far.
    pub(crate) fn done(&self) -> usize {
        *self.done.lock().unwrap()
    }

    /// Waits until that many more flows are done.
    pub(crate) async fn go_on(&self, flows: usize) {
        let wanted = self.done() + flows;
        let waiting = async {
            while self.done() < wanted {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(STEP, waiting).await.expect("the homes go on");
    }

    /// Everybody finishes the flow that is under way: the sum.
    pub(crate) async fn finish(mut self) -> Tally {
        self.stop.cancel();
        let mut sum = Tally::default();
        while let Some(tally) = self.homes.join_next().await {
            let tally = tally.unwrap();
            sum.done += tally.done;
            sum.failed.extend(tally.failed);
            sum.refused.extend(tally.refused);
            sum.goodbyes.extend(tally.goodbyes);
            sum.closed.extend(tally.closed);
        }
        sum
    }
}

struct AtWork {
    home: Home,
    token: String,
    door: Arc<Service>,
    tally: Tally,
    /// The number of the newest tokens that were told.
    newest: usize,
    relay: Option<Relay>,
    /// Whether that has told an event.
    heard: bool,
    name: String,
}

impl AtWork {
    async fn run(mut self, stop: CancellationToken, done: Arc<Mutex<usize>>) -> Tally {
        let mut acked = 0;
        for number in 1.. {
            if stop.is_cancelled() {
                break;
            }
            if let Some(version) = self.flow(number).await {
                assert!(version > acked, "{}: {version} after {acked}", self.name);
                acked = version;
                self.tally.done += 1;
                *done.lock().unwrap() += 1;
            }
        }
        // What was acknowledged is still there, and so are the newest tokens.
        let slot = self.ask(Method::GET, "", None, 200).await;
        assert!(
            slot["acked_version"].as_i64().unwrap() >= acked,
            "{}: {slot}, acknowledged {acked}",
            self.name
        );
        let token = self.ask(Method::GET, "/token", None, 200).await;
        assert_eq!(token["access_token"], format!("at-{}-{}", self.name, self.newest));
        self.tally
    }

    /// One flow to its end: the version that was acknowledged.
    async fn flow(&mut self, number: usize) -> Option<i64> {
        let code = format!("{}-{number}", self.name);
        let connection = self.ask(Method::POST, "/connect", Some(json!({})), 201).await;
        let url = connection["connect_url"].as_str().unwrap();
        let mut browser = Browser::default();
        let sent = loop {
            let page = browser.open(&self.door, url).await;
            if self.refused("GET", url, page.status, 200, &page.headers) {
                continue;
            }
            let answer = browser.decide(&self.door, url, &page, "continue").await;
            if !self.refused("POST", url, answer.status, 303, &answer.headers) {
                break super::Sent::to(answer.location());
            }
        };
        let callback = sent.callback(&[("code", code.as_str())]);
        let began = Instant::now();
        loop {
            // Somebody who sees an error reloads.
            let request = self.door.request(Method::GET, callback.strip_prefix(super::PUBLIC).unwrap());
            let request = request.header("cookie", browser.cookie.clone().unwrap()).timeout(STEP);
            let answer = request.send().await.unwrap();
            if !self.refused("GET", "callback", answer.status().as_u16(), 303, answer.headers()) {
                break;
            }
            assert!(began.elapsed() < STEP, "{code}: the callback");
        }
        let flow = format!("/flows/{}", connection["flow"].as_str().unwrap());
        loop {
            if let Some(version) = self.told(number).await {
                self.ask_at(
                    "/api/ack",
                    Method::POST,
                    Some(json!({"slot": self.home.slot, "version": version})),
                    204,
                )
                .await;
                return Some(version);
            }
            let state = self.ask(Method::GET, &flow, None, 200).await;
            if matches!(state["status"].as_str(), Some("failed" | "expired" | "denied")) {
                self.tally.failed.push(format!("{code}: {state}"));
                return None;
            }
            assert!(began.elapsed() < STEP, "{code}: {state}");
        }
    }

    /// Listens for a moment: the version of these tokens, if they came.
    async fn told(&mut self, number: usize) -> Option<i64> {
        let Some(relay) = &mut self.relay else {
            match Relay::try_attach(&self.door, &self.token).await {
                Ok(relay) => (self.relay, self.heard) = (Some(relay), false),
                Err(refused) => {
                    self.tally.refused.push(refused);
                    sleep(Duration::from_millis(100)).await;
                }
            }
            return None;
        };
        let frame = timeout(Duration::from_millis(500), relay.next()).await.ok()?;
        self.heard |= frame["type"] == "event";
        if let Some(code) = frame.get("close") {
            // One that could be told nothing yet is of no use, and is closed.
            if self.heard || code != 1011 {
                self.tally.closed.push(code.clone());
            }
            self.relay = None;
        } else if frame["type"] == "goodbye" {
            let wait = frame["reconnect_after_ms"].as_u64().unwrap();
            self.tally.goodbyes.push(wait);
            self.tally.closed.push(relay.next().await["close"].clone());
            self.relay = None;
            sleep(Duration::from_millis(wait)).await;
        } else if let Some(token) = frame["data"]["access_token"].as_str() {
            let told: usize = token.rsplit('-').next().unwrap().parse().unwrap();
            assert!(told >= self.newest, "{}: {told} after {}", self.name, self.newest);
            self.newest = told;
            if told == number {
                assert_eq!(frame["event"], "oauth", "a consent that nobody has acknowledged");
                return frame["version"].as_i64();
            }
        }
        None
    }

    async fn ask(&mut self, method: Method, rest: &str, body: Option<Value>, wanted: u16) -> Value {
        let path = self.home.at(rest);
        self.ask_at(&path, method, body, wanted).await
    }

    /// Asks until the answer is the wanted one.
    async fn ask_at(&mut self, path: &str, method: Method, body: Option<Value>, wanted: u16) -> Value {
        let began = Instant::now();
        loop {
            let request = self.door.request(method.clone(), path).bearer_auth(&self.token);
            let reply = Reply::of(with_json(request, body.clone())).await;
            if !self.refused(method.as_str(), path, reply.status, wanted, &reply.headers) {
                return reply.json;
            }
            assert!(began.elapsed() < STEP, "{} {path}: {}", self.name, reply.text);
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Notes an answer that is not the wanted one.
    fn refused(
        &mut self,
        method: &str,
        path: &str,
        status: u16,
        wanted: u16,
        headers: &reqwest::header::HeaderMap,
    ) -> bool {
        if status != wanted {
            let again = headers.contains_key("retry-after");
            assert!(status >= 500, "{}: {method} {path}: {status}", self.name);
            self.tally
                .refused
                .push(format!("{status}, {}: {method} {path}", if again { "retry-after" } else { "" }));
        }
        status != wanted
    }
}
