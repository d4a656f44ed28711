//! `kill -9` of one of three replicas in the middle of two hundred flows: each ends, and what was linked stays linked.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::sync::Notify;

use crate::harness::{Answer, Attempt, Home, Ledger, PUBLIC, Process, Service, call_with, long, until};

const HOMES: usize = 10;
const SLOTS: usize = 20;
const FLOWS: usize = HOMES * SLOTS;

/// A flow that waits for its callback, with its slot.
struct Waiting {
    home: Home,
    attempt: Attempt,
    code: String,
}

impl Waiting {
    /// The callback, whose answer may never come: whether the flow was linked by then.
    async fn call_back(&self, service: &Service) -> bool {
        let callback = self.attempt.sent.callback(&[("code", self.code.as_str())]);
        let request = service.request(Method::GET, callback.strip_prefix(PUBLIC).unwrap());
        let request = request.header("cookie", self.attempt.browser.cookie.clone().unwrap());
        request.send().await.is_ok_and(|answer| answer.status() == 303)
    }
}

async fn two_hundred(service: &Service, provider: &crate::harness::Provider) -> Vec<Waiting> {
    service.owner(Method::PUT, "/api/plugins/acme", Some(provider.configuration())).await;
    let mut flows = Vec::new();
    for number in 0..HOMES {
        let device = Home::bare(service).await;
        let token = device.token(service).await;
        for slot in 0..SLOTS {
            let home = device.beside(&format!("slot-{slot}"));
            let plugin = json!({"plugin": "acme"});
            call_with(service, &token, Method::PUT, &home.at(""), Some(plugin)).await.expect(201);
            let connection = call_with(service, &token, Method::POST, &home.at("/connect"), Some(json!({})))
                .await
                .expect(201);
            let attempt = Attempt::of(service, connection, crate::harness::Browser::default()).await;
            flows.push(Waiting { home, attempt, code: format!("code-{number}-{slot}") });
        }
    }
    flows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_among_two_hundred_flows_loses_none_that_was_linked_and_spends_no_code_thrice()
 {
    let rounds = if long() { 10 } else { 1 };
    for _ in 0..rounds {
        let (service, (provider, ledger)) = (Service::start().await, Ledger::open().await);
        let other = service.replica().await;
        let process = Process::start(&service, &[]).await;
        let flows = Arc::new(two_hundred(&service, &provider).await);
        // The provider answers every third one only later, so that the end comes in the middle of exchanges.
        let later = Arc::new(Notify::new());
        for number in 0..FLOWS {
            provider.next(if number % 3 == 0 {
                Answer::JudgedLater(Arc::clone(&later), ledger.judge())
            } else {
                Answer::Judged(ledger.judge())
            });
        }
        let doors = [process.service.url.clone(), service.url.clone(), other.url.clone()];
        let callers: Vec<_> = (0..FLOWS)
            .map(|number| {
                let (flows, address) = (Arc::clone(&flows), doors[number % doors.len()].clone());
                let door = service.elsewhere([address, String::new(), String::new()], &[]);
                tokio::spawn(async move { (number, flows[number].call_back(&door).await) })
            })
            .collect();
        provider.asked(FLOWS / 2).await;
        process.kill().await;
        let answering = tokio::spawn(async move {
            loop {
                later.notify_waiters();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut answered = BTreeSet::new();
        for caller in join_all(callers).await {
            let (number, linked) = caller.unwrap();
            if linked {
                answered.insert(number);
            } else {
                assert_eq!(number % doors.len(), 0, "only who spoke to the dead one got no answer");
            }
        }
        let cut_off: Vec<usize> = (0..FLOWS).filter(|number| !answered.contains(number)).collect();
        assert!(!cut_off.is_empty(), "it was killed in the middle");
        // Whoever sees no answer loads the page again, elsewhere.
        for number in &cut_off {
            assert!(flows[*number].call_back(&other).await, "the flow's own browser");
        }
        service.clock.advance(time::Duration::seconds(41));
        until("the end of every exchange", async || {
            let rounds = tokio::join!(service.broker().sweep_flows(), other.broker().sweep_flows());
            assert!(matches!(rounds, (Ok(()), Ok(()))), "{rounds:?}");
            let open = "select count(*) from flows where status in ('authorizing', 'exchanging')";
            (service.database.count(open).await == 0).then_some(())
        })
        .await;
        answering.abort();

        let (mut linked, mut failed) = (0, Vec::new());
        for (number, flow) in flows.iter().enumerate() {
            match flow.attempt.stands(&service, &flow.home).await.as_str() {
                "linked" => linked += 1,
                end => {
                    assert_eq!(end, "failed/exchange_failed");
                    assert!(cut_off.contains(&number), "{number} was answered, and is {end}");
                    failed.push(number);
                }
            }
        }
        let spent = ledger.spent();
        let twice: BTreeSet<&String> =
            spent.iter().filter(|(_, times)| **times > 1).map(|(code, _)| code).collect();
        println!(
            "{FLOWS} flows, {} without an answer when the replica died: {linked} linked, {} failed; codes spent \
             twice {}, more often {}",
            cut_off.len(),
            failed.len(),
            twice.len(),
            spent.values().filter(|times| **times > 2).count()
        );
        assert_eq!(linked + failed.len(), FLOWS);
        assert!(spent.values().all(|times| *times <= 2), "one recovery attempt");
        let lost: BTreeSet<&String> = failed.iter().map(|number| &flows[*number].code).collect();
        assert_eq!(
            twice, lost,
            "a code is lost with the answer that the dead one had, and with nothing else"
        );

        // Everything that is linked is told.
        let mut told = 0;
        for home in flows.iter().step_by(SLOTS).map(|flow| &flow.home) {
            let events = home.poll(&other, "wait=0").await.expect(200);
            told +=
                events["events"].as_array().unwrap().iter().filter(|event| event["event"] == "oauth").count();
        }
        assert_eq!(told, linked);
    }
}
