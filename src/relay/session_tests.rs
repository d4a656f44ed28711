use proptest::prelude::*;
use serde_json::json;
use time::Duration;

use super::*;
use crate::relay::fixture::{HOME, NOW, Slot, StandingStill, public_url};

fn session_with(topics: Topics) -> Session {
    let settings = RelaySettings::default();
    Session::new(
        HOME,
        topics.into(),
        NOW + Duration::HOUR,
        public_url().into(),
        Arc::new(StandingStill),
        &settings,
    )
}

fn session() -> Session {
    session_with(Topics::of_device(HOME, None))
}

fn name(text: &str) -> SlotName {
    text.parse().unwrap()
}

fn ack(slot: &str) -> String {
    json!({"type": "ack", "slot": slot, "version": 1}).to_string()
}

fn token(slot: &str) -> String {
    json!({"type": "token", "slot": slot, "id": 1}).to_string()
}

fn settings(slot: &str) -> String {
    json!({"type": "settings", "slot": slot, "id": 1, "patch": {}}).to_string()
}

fn error_code(effects: &[Effect]) -> &'static str {
    match effects {
        [Effect::Send(ServerFrame::Error(error))] => error.code,
        other => panic!("one error frame, not {other:?}"),
    }
}

#[test]
fn a_connection_opens_with_hello_and_a_look_at_everything() {
    let hello = Effect::Send(ServerFrame::Hello { heartbeat: 30 });
    assert_eq!(session().opened(), [hello, Effect::Look(Knocked::Everything)]);
}

#[test]
fn h05_slots_outside_the_topics_are_neither_seen_nor_acked_nor_called() {
    let mut session = session_with(Topics::of_device(HOME, Some(&name("mine"))));
    let sent = session.loaded(
        &Knocked::Everything,
        vec![Slot::at("other", 1).state(), Slot::at("mine", 1).state()],
        NOW,
    );
    assert!(matches!(&sent[..], [Effect::Send(ServerFrame::Event(event))] if event.slot == name("mine")));
    assert!(session.knocked(Knocked::Slots([name("other")].into())).is_empty());
    assert!(session.compared(&[(name("other"), Version(2)), (name("mine"), Version(1))].into()).is_empty());
    assert!(session.text(&ack("other"), NOW).is_empty());
    for call in [token("other"), settings("other")] {
        let effects = session.text(&call, NOW);
        let [Effect::Send(ServerFrame::Reply { outcome: Err(error), .. })] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(error, &CallError::not_found());
    }
    assert!(matches!(session.text(&token("mine"), NOW)[..], [Effect::Call(_)]));
    assert!(matches!(session.text(&settings("mine"), NOW)[..], [Effect::Call(_)]));
}

#[test]
fn an_ack_that_the_database_could_not_take_is_repeated_on_the_beat_and_the_next_once_it_is_taken() {
    let mut session = session();
    let slots = ["a", "b"].map(|slot| Slot::at(slot, 3).state());
    session.loaded(&Knocked::Everything, slots.to_vec(), NOW);
    let ack = |slot, version| Effect::Ack(SlotAddress { device: HOME, slot: name(slot) }, Version(version));
    for (slot, version) in [("b", 3), ("a", 2), ("a", 1), ("a", 99), ("unknown", 1)] {
        session.not_acked(name(slot), Version(version));
    }
    assert_eq!(session.beat(NOW), [ack("a", 2)], "what was told here, and the newest of it");
    session.not_acked(name("a"), Version(2));
    assert_eq!(session.beat(NOW), [Effect::Ping, ack("a", 2)], "it is still away");
    assert_eq!(session.acked(&name("a"), Version(3)), [ack("b", 3)]);
    session.loaded(&Knocked::Slots([name("b")].into()), Vec::new(), NOW);
    assert!(session.beat(NOW).is_empty(), "a slot that is gone needs none");
}

#[test]
fn a_password_token_without_topics_may_do_nothing() {
    let mut session = session_with(Topics::default());
    assert!(session.loaded(&Knocked::Everything, vec![Slot::at("a", 1).state()], NOW).is_empty());
    assert!(session.text(&ack("a"), NOW).is_empty());
    assert!(matches!(
        session.text(&settings("a"), NOW)[..],
        [Effect::Send(ServerFrame::Reply { outcome: Err(_), .. })]
    ));
}

#[test]
fn an_ack_goes_to_the_database_and_is_not_answered() {
    let address = SlotAddress { device: HOME, slot: name("a") };
    assert_eq!(session().text(&ack("a"), NOW), [Effect::Ack(address, Version(1))]);
}

#[test]
fn bad_json_and_unknown_types_are_told_and_the_connection_stays() {
    let mut session = session();
    assert_eq!(error_code(&session.text("{", NOW)), "invalid_json");
    assert_eq!(error_code(&session.text(r#"{"type":"x"}"#, NOW)), "unknown_type");
}

#[test]
fn h06_the_hundred_and_first_message_is_refused_the_thousand_and_first_closes_and_acks_are_not_counted() {
    let mut session = session();
    for _ in 0..1000 {
        assert!(matches!(session.text(&ack("a"), NOW)[..], [Effect::Ack(..)]));
    }
    for _ in 0..100 {
        assert!(matches!(session.text(&token("a"), NOW)[..], [Effect::Call(_)]));
    }
    for _ in 100..1000 {
        assert_eq!(error_code(&session.text(&token("a"), NOW)), "too_many_messages");
    }
    assert_eq!(session.text("{", NOW), [Effect::Close(Close::TooMany)]);
    assert!(matches!(session.text(&token("a"), NOW + Duration::MINUTE)[..], [Effect::Call(_)]));
}

#[test]
fn h06_floods_of_acks_controls_and_bytes_close() {
    let last = |mut step: Box<dyn FnMut() -> Vec<Effect>>, times: u32| {
        (1..times).for_each(|_| assert!(!matches!(step()[..], [Effect::Close(_)])));
        assert_eq!(step(), [Effect::Close(Close::TooMany)]);
    };
    let (mut acking, mut pinging, mut padding) = (session(), session(), session());
    last(Box::new(move || acking.text(&ack("a"), NOW)), 6001);
    last(Box::new(move || pinging.control(NOW)), 601);
    let big =
        format!(r#"{{"type":"ack","slot":"a","version":1,"pad":"{}"}}"#, "x".repeat(LARGEST_MESSAGE - 60));
    last(Box::new(move || padding.text(&big, NOW)), 129);
}

#[test]
fn h06_a_message_above_the_largest_closes() {
    assert_eq!(session().text(&"x".repeat(LARGEST_MESSAGE + 1), NOW), [Effect::Close(Close::TooBig)]);
    assert_eq!(error_code(&session().text(&"x".repeat(LARGEST_MESSAGE), NOW)), "invalid_json");
}

#[test]
fn h08_a_peer_is_pinged_each_heartbeat_and_dropped_after_two_silent_ones() {
    let mut session = session();
    let beats: Vec<Vec<Effect>> = (0..5).map(|_| session.beat(NOW)).collect();
    assert_eq!(
        beats,
        [vec![], vec![Effect::Ping], vec![], vec![Effect::Ping], vec![Effect::Close(Close::TooSlow)]]
    );
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    assert_eq!(session().ping(Bytes::from("x"), NOW), [Effect::Pong(Bytes::from("x"))]);
}

#[test]
fn any_traffic_is_a_sign_of_life_and_a_jump_of_the_clock_is_no_silence() {
    let mut session = session();
    for beat in 0..100 {
        let now = NOW + if beat == 50 { Duration::minutes(59) } else { Duration::ZERO };
        assert!(!matches!(session.beat(now)[..], [Effect::Close(_)]));
        if beat % 3 == 0 {
            session.control(now);
        }
    }
}

#[test]
fn h04_a_connection_ends_with_its_token() {
    let mut session = session();
    assert!(!matches!(session.beat(NOW + Duration::minutes(59))[..], [Effect::Close(_)]));
    assert_eq!(session.beat(NOW + Duration::HOUR), [Effect::Close(Close::TokenEnded)]);
}

#[test]
fn a_failed_look_closes_only_a_connection_that_was_told_nothing() {
    let mut session = session();
    assert_eq!(session.not_loaded(), [Effect::Close(Close::Failed)]);
    session.loaded(&Knocked::Everything, Vec::new(), NOW);
    assert!(session.not_loaded().is_empty());
}

#[test]
fn missed_knocks_cost_a_look_at_the_versions_and_at_what_differs() {
    let mut session = session();
    session.loaded(&Knocked::Everything, vec![Slot::at("a", 1).state(), Slot::at("b", 1).state()], NOW);
    assert_eq!(session.knocked(Knocked::Everything), [Effect::Compare]);
    let same: Versions = [(name("a"), Version(1)), (name("b"), Version(1))].into();
    assert!(session.compared(&same).is_empty());
    let newer = same.into_iter().chain([(name("b"), Version(2))]).collect();
    assert_eq!(session.compared(&newer), [Effect::Look(Knocked::Slots([name("b")].into()))]);
    let many = (0..=MOST_SINGLE_LOOKS).map(|slot| name(&format!("slot-{slot}"))).collect();
    assert_eq!(session.knocked(Knocked::Slots(many)), [Effect::Look(Knocked::Everything)]);
}

#[test]
fn draining_says_goodbye_before_it_closes() {
    let effects = Session::draining(1500);
    let goodbye = ServerFrame::Goodbye { reason: "draining", reconnect_after_ms: 1500 };
    assert_eq!(effects, [Effect::Send(goodbye), Effect::Close(Close::Restart)]);
}

proptest! {
    #[test]
    fn what_a_peer_says_never_makes_events(text in ".{0,200}") {
        for effect in session().text(&text, NOW) {
            prop_assert!(!matches!(effect, Effect::Send(ServerFrame::Event(_)) | Effect::Look(_)));
        }
    }
}
