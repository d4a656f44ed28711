use serde_json::{Value, json};

use super::{super::fixture::StandingStill, *};
use crate::{
    domain::{
        inquiry::{Command, LARGEST_RESPONSE, Request, Wanted},
        topic::Topics,
    },
    relay::{
        RelayAccess, RelaySettings,
        fixture::{Bench, HOME},
        protocol::{LARGEST_MESSAGE, ServerFrame},
    },
};

fn bench(answer: Duration) -> Bench {
    let requests = RequestSettings { answer, ..RequestSettings::default() };
    Bench::new([], RelaySettings { requests, ..RelaySettings::default() })
}

fn slot() -> SlotName {
    "heating".parse().unwrap()
}

fn request(wanted: Wanted) -> Inquiry {
    Inquiry::Request(Request {
        slot: slot(),
        method: "GET".to_owned(),
        headers: Object::new(),
        query: Object::new(),
        body: Vec::new(),
        wanted,
    })
}

async fn ask(bench: &Bench, inquiry: &Inquiry) -> Result<Reply, String> {
    let place = bench.relay.reserve(HOME, inquiry.slot()).unwrap();
    bench.relay.ask(HOME, inquiry, place).await.map_err(|error| error.outcome().to_owned())
}

fn narrow(bench: &Bench, slot: &str) -> RelayAccess {
    RelayAccess { topics: Topics::of_device(HOME, Some(&slot.parse().unwrap())).into(), ..bench.access() }
}

/// The id of the next frame.
async fn next(desk: &mut Desk) -> Value {
    let ServerFrame::Inquiry(text) = desk.next().await else { panic!("an inquiry") };
    serde_json::from_str::<Value>(&text).unwrap()["id"].clone()
}

fn answer(id: &Value, status: u16) -> String {
    json!({"type": "response", "id": id, "status": status}).to_string()
}

const LONG: Duration = Duration::from_hours(1);

#[tokio::test]
async fn the_newest_connection_that_subscribes_is_asked_and_no_other() {
    let bench = bench(LONG);
    let mut older = bench.relay.requests.open(&bench.access());
    let mut newest = bench.relay.requests.open(&narrow(&bench, "heating"));
    let _elsewhere = bench.relay.requests.open(&narrow(&bench, "cooling"));
    let inquiry = request(Wanted::Response);
    let plugin = async {
        let id = next(&mut newest).await;
        assert_eq!(older.hear(&answer(&id, 500)), Said::Other, "a foreign answer is none");
        assert_eq!(newest.hear(r#"{"type":"ack","slot":"heating","version":1}"#), Said::Other);
        assert_eq!(newest.hear(&answer(&json!("7"), 500)), Said::Other, "nor is one with another id");
        let Said::Wrong(error) = newest.hear(&answer(&id, 100)) else { panic!() };
        assert_eq!(error.code, "invalid_response");
        assert_eq!(newest.hear(&answer(&id, 201)), Said::Answer);
        assert_eq!(newest.hear(&answer(&id, 202)), Said::Other, "once");
    };
    let (reply, ()) = tokio::join!(ask(&bench, &inquiry), plugin);
    let Ok(Reply::Response(response)) = reply else { panic!("{reply:?}") };
    assert_eq!(response.status, 201);
    drop((older, newest));
    assert_eq!(ask(&bench, &inquiry).await, Err("nobody".to_owned()));
}

#[tokio::test]
async fn a_command_goes_to_who_speaks_for_the_whole_device() {
    let bench = bench(LONG);
    let command = Inquiry::Command(Command { name: "reboot", data: Object::new() });
    let _narrow = bench.relay.requests.open(&narrow(&bench, "heating"));
    assert_eq!(ask(&bench, &command).await, Err("nobody".to_owned()));
    let mut whole = bench.relay.requests.open(&bench.access());
    let _narrow_again = bench.relay.requests.open(&narrow(&bench, "heating"));
    let hub = async {
        let id = next(&mut whole).await;
        let text = json!({"type": "response", "id": id, "ok": false, "data": {"why": "no"}}).to_string();
        assert_eq!(whole.hear(&text), Said::Answer);
    };
    let (reply, ()) = tokio::join!(ask(&bench, &command), hub);
    let Ok(Reply::Outcome { ok: false, data }) = reply else { panic!("{reply:?}") };
    assert_eq!(data["why"], "no");
}

#[tokio::test]
async fn a_connection_that_ends_is_no_answer_whether_it_was_asked_or_about_to_be() {
    let bench = bench(LONG);
    let inquiry = request(Wanted::Response);
    let mut asked = bench.relay.requests.open(&bench.access());
    let plugin = async {
        next(&mut asked).await;
        drop(asked);
    };
    assert_eq!(tokio::join!(ask(&bench, &inquiry), plugin).0, Err("disconnected".to_owned()));
    for wanted in [Wanted::Response, Wanted::Nothing] {
        let about = bench.relay.requests.open(&bench.access());
        let inquiry = request(wanted);
        let (reply, ()) = tokio::join!(ask(&bench, &inquiry), async { drop(about) });
        assert_eq!(reply, Err("disconnected".to_owned()));
    }
}

#[tokio::test]
async fn what_is_answered_too_late_is_known_and_breaks_nothing() {
    let bench = bench(Duration::from_millis(10));
    let mut desk = bench.relay.requests.open(&bench.access());
    assert_eq!(desk.largest_message(), LARGEST_MESSAGE);
    let inquiry = request(Wanted::Response);
    let (reply, id) = tokio::join!(ask(&bench, &inquiry), next(&mut desk));
    assert_eq!(reply, Err("no_answer".to_owned()));
    assert_eq!(desk.largest_message(), LARGEST_RESPONSE, "a late answer may be large");
    let Said::Late(error) = desk.hear(&answer(&id, 200)) else { panic!() };
    assert_eq!(error.code, "unknown_request");
    assert_eq!(desk.largest_message(), LARGEST_MESSAGE);
    assert_eq!(desk.hear(&answer(&id, 200)), Said::Other, "once");
}

#[tokio::test]
async fn who_only_hands_over_waits_until_a_connection_has_it() {
    let bench = bench(LONG);
    let mut desk = bench.relay.requests.open(&bench.access());
    let inquiry = request(Wanted::Nothing);
    let (reply, id) = tokio::join!(ask(&bench, &inquiry), next(&mut desk));
    assert_eq!(reply, Ok(Reply::HandedOver));
    assert_eq!(desk.largest_message(), LARGEST_RESPONSE, "a plugin answers, not knowing that nobody waits");
    assert_eq!(desk.hear(&answer(&id, 200)), Said::Answer);
    assert_eq!(desk.largest_message(), LARGEST_MESSAGE);
    assert_eq!(desk.hear(&answer(&id, 200)), Said::Other, "once");
}

#[tokio::test]
async fn h11_a_connection_that_writes_nothing_is_busy() {
    let lines = Lines::default();
    let _desk = lines.open(HOME, Topics::of_device(HOME, None).into());
    let mut brought = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..=lines::MOST_WAITING {
        let (answer, coming) = oneshot::channel();
        answers.push(coming);
        let id = InquiryId::draw(&StandingStill);
        let errand = Errand { id, wanted: Wanted::Response, frame: "{}".into(), answer };
        brought.push(lines.bring(HOME, Some(&slot()), errand));
    }
    assert!(matches!(brought.pop(), Some(Brought::Busy)));
    assert!(brought.iter().all(|brought| matches!(brought, Brought::Yes)));
}
