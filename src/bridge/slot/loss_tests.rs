//! Losses of the broker, the server, the disk and the bridge itself, in each order; junk; and any order at all.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{home::*, *};

fn brings_everything(effect: &Effect) -> bool {
    matches!(effect, Effect::Tell(payload, _) if payload.get("getAll").is_some())
}

fn brings_consent(effect: &Effect) -> bool {
    matches!(effect, Effect::Tell(payload, _) if payload.get("oauth").is_some())
}

#[test]
fn a_consent_that_came_while_the_broker_was_away_is_brought_when_it_is_back() {
    let mut home = Home::with_a_plugin();
    home.hears(Input::MqttDown);
    home.arrives(2, News::Consent(tokens("first", 3600)));
    home.later(30);
    assert!(home.acks().is_empty() && !home.asked.iter().any(brings_consent));
    home.hears(Input::MqttUp);
    home.plugin_connects();
    home.later(3);
    assert_eq!(home.asked.iter().filter(|effect| brings_consent(effect)).count(), 1);
    home.hears(Input::Delivered(Version(2)));
    assert_eq!(home.acks(), [2]);
}

#[test]
fn a_plugin_that_takes_its_time_to_come_back_hears_of_a_consent_all_the_same() {
    let mut home = Home::linked();
    home.hears(Input::MqttDown);
    home.arrives(3, News::Consent(tokens("second", 3600)));
    home.hears(Input::MqttUp);
    home.later(6);
    assert_eq!(home.acks(), [3], "it is where the plugin finds it when it starts");
    home.arrives(4, News::Tokens(tokens("third", 3600)));
    home.plugin_connects();
    home.later(3);
    let told = home.told();
    assert_eq!(
        told.iter().filter_map(|payload| payload.pointer("/oauth/access_token")).collect::<Vec<_>>(),
        ["third"]
    );
    home.hears(Input::Delivered(Version(4)));
    home.hears(Input::MqttDown);
    home.hears(Input::MqttUp);
    home.plugin_connects();
    home.later(10);
    assert!(!home.asked.iter().any(brings_consent), "once");
}

#[test]
fn a_consent_that_the_broker_took_along_when_it_broke_is_brought_again() {
    let mut home = Home::with_a_plugin();
    home.arrives(2, News::Consent(tokens("first", 3600)));
    home.hears(Input::MqttDown);
    home.hears(Input::MqttUp);
    home.plugin_connects();
    home.later(3);
    assert_eq!(home.asked.iter().filter(|effect| brings_consent(effect)).count(), 2);
    assert!(home.acks().is_empty());
}

#[test]
fn a_consent_after_an_unlink_is_none_that_was_delivered_before_whatever_its_version() {
    let mut home = Home::linked();
    home.arrives(3, News::Ended);
    home.arrives(1, News::Configuration(configuration()));
    home.is_asked();
    home.arrives(2, News::Consent(tokens("anew", 3600)));
    home.later(3);
    assert_eq!(home.acks(), [] as [i64; 0], "the plugin has not heard of it");
    assert_eq!(home.asked.iter().filter(|effect| brings_consent(effect)).count(), 1);
    home.hears(Input::Delivered(Version(2)));
    assert_eq!(home.acks(), [2]);
}

#[test]
fn a_consent_for_a_plugin_that_is_not_there_waits_in_the_state() {
    let mut home = Home::new(Mode::Standalone);
    home.hears(Input::MqttUp);
    home.hears(Input::RelayUp);
    home.arrives(1, News::Configuration(configuration()));
    home.arrives(2, News::Consent(tokens("first", 3600)));
    assert_eq!(home.acks(), [1], "it may be there, unheard");
    home.later(5);
    assert_eq!(home.acks(), [1, 2]);
    let mut home = home.restarted();
    home.hears(Input::MqttUp);
    home.plugin_starts();
    assert_eq!(
        in_all(all_of(&home.told()), "oauthTokens").unwrap()["access_token"],
        "first",
        "without the server"
    );
}

#[test]
fn nothing_is_acknowledged_or_confirmed_that_is_not_on_the_disk() {
    let mut home = Home::with_a_plugin();
    home.fills_its_disk(true);
    home.arrives(2, News::Configuration(object(json!({"scope": "other", "token_endpoint": ENDPOINT}))));
    home.plugin_sets("customdata", &json!({"a": 1}));
    home.later(20);
    assert!(home.acks().is_empty());
    assert!(
        !home
            .asked
            .iter()
            .any(|effect| matches!(effect, Effect::Tell(payload, _) if payload.get("set").is_some()))
    );
    let complaints =
        home.asked.iter().filter(|effect| matches!(effect, Effect::Say(text) if text.contains("disk")));
    assert_eq!(complaints.count(), 1);
    home.fills_its_disk(false);
    home.later(6);
    assert_eq!(home.acks(), [2]);
    assert!(home.told().iter().any(|payload| payload["set"][0]["customdata"] == "kept"));
}

#[test]
fn a_plugin_that_started_while_nobody_listened_is_answered_unasked() {
    let mut home = Home::linked().restarted();
    home.hears(Input::MqttUp);
    home.plugin_connects();
    home.later(9);
    assert!(!home.asked.iter().any(brings_everything));
    home.later(1);
    assert_eq!(home.asked.iter().filter(|effect| brings_everything(effect)).count(), 1);
    home.later(60);
    assert_eq!(home.asked.iter().filter(|effect| brings_everything(effect)).count(), 1);
}

#[test]
fn a_plugin_that_was_served_is_left_alone_when_the_broker_comes_back() {
    let mut home = Home::linked();
    home.hears(Input::MqttDown);
    home.later(3);
    home.hears(Input::MqttUp);
    home.plugin_connects();
    home.later(60);
    assert!(!home.asked.iter().any(|effect| brings_everything(effect) || brings_consent(effect)));
}

#[test]
fn what_the_server_did_meanwhile_is_made_up_for() {
    let mut home = Home::linked();
    home.hears(Input::RelayDown);
    home.hears(Input::MqttDown);
    home.later(100);
    home.hears(Input::RelayUp);
    home.arrives(3, News::Configuration(configuration()));
    home.arrives(4, News::Tokens(tokens("second", 3600)));
    home.hears(Input::MqttUp);
    home.plugin_starts();
    assert_eq!(home.acks(), [3, 4]);
    assert_eq!(in_all(all_of(&home.told()), "oauthTokens").unwrap()["access_token"], "second");
}

#[test]
fn a_slot_that_was_unlinked_and_told_so_long_ago_is_asked_for() {
    let mut home = Home::linked().restarted();
    home.hears(Input::RelayUp);
    home.arrives(1, News::Configuration(configuration()));
    home.later(4);
    assert_eq!(home.calls(Kind::Status).len(), 1);
    home.answers(Kind::Status, json!({"status": "reauthorize"}));
    assert!(home.held().is_none());
    assert_eq!(home.calls(Kind::Connect).len(), 1);
}

#[test]
fn junk_is_told_once_and_a_slot_that_is_not_there_too() {
    let mut home = Home::with_a_plugin();
    for _ in 0..100 {
        home.says("custom", &json!([1]));
    }
    assert_eq!(home.asked.iter().filter(|effect| matches!(effect, Effect::Say(_))).count(), 1);
    let mut none = Home::new(Mode::Standalone);
    none.hears(Input::RelayUp);
    none.later(4);
    none.refuses(Kind::Status, 404, "not_found");
    assert!(
        none.asked.iter().any(
            |effect| matches!(effect, Effect::Say(text) if text.contains("cloudlink slot install ecobee"))
        )
    );
    none.is_asked();
    none.later(299);
    assert!(none.calls(Kind::Status).is_empty());
    none.later(10);
    assert_eq!(none.calls(Kind::Status).len(), 1);
}

#[test]
fn too_much_custom_data_is_refused_and_not_confirmed() {
    let mut home = Home::with_a_plugin();
    for key in ["a", "b", "c"] {
        home.plugin_sets(key, &json!("x".repeat(900_000)));
    }
    let told = home.told();
    assert_eq!(told.iter().filter(|payload| payload.get("set").is_some()).count(), 2);
    assert_eq!(told.iter().filter(|payload| payload.get("error").is_some()).count(), 1);
}

fn inputs() -> impl Strategy<Value = Vec<(u8, u64)>> {
    proptest::collection::vec((0..16_u8, 0..5000_u64), 0..60)
}

/// One thing that may happen; `version` only grows, as the relay's do.
fn happen(home: &mut Home, what: u8, number: u64, version: &mut i64) {
    *version += 1;
    match what {
        0 => home.hears(Input::MqttUp),
        1 => home.hears(Input::MqttDown),
        2 => home.hears(Input::RelayUp),
        3 => home.hears(Input::RelayDown),
        4 => home.arrives(*version, News::Configuration(configuration())),
        5 => home.arrives(*version, News::Tokens(tokens("t", number))),
        6 => home.arrives(*version, News::Consent(tokens("c", number))),
        7 => home.arrives(*version, News::Ended),
        8 => home.plugin_connects(),
        9 => home.plugin_starts(),
        10 => home.says("connections", &json!({"disconnected": [{}]})),
        11 => home.plugin_sets("oauth", &json!({"scope": number.to_string()})),
        12 => home
            .plugin_sets("oauthTokens", &json!({"access_token": "a", "refresh_token": number.to_string()})),
        13 => home.hears(Input::Delivered(Version(*version - 1))),
        14 => home.later(number % 20),
        _ => {
            let kinds = [Kind::Override, Kind::Import, Kind::Refresh, Kind::Status, Kind::Connect];
            let under_way = home.asked.iter().rev().find_map(|effect| match effect {
                Effect::Call(call) => Some(call.kind),
                Effect::Store
                | Effect::SpeakFor(_)
                | Effect::Tell(..)
                | Effect::Ack(_)
                | Effect::Say(_)
                | Effect::Show(_) => None,
            });
            let kind = under_way.unwrap_or(kinds[usize::try_from(number % 5).unwrap()]);
            home.answers(
                kind,
                json!({"status": "linked", "connect_url": "https://a/b", "expires_in": number}),
            );
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_no_plugin_locks_up_and_no_version_goes_back(happened in inputs(), companion: bool) {
        let mut home = Home::new(if companion { Mode::Companion } else { Mode::Standalone });
        let mut version = 0;
        for (what, number) in happened {
            happen(&mut home, what, number, &mut version);
        }
        for effect in &home.asked {
            let (Effect::Tell(payload, _) | Effect::SpeakFor(payload)) = effect else { continue };
            let all = in_all(payload, "oauthTokens").into_iter().chain(payload.get("oauth").cloned());
            for lifetime in all.filter_map(|tokens| tokens.get("expires_in").and_then(Value::as_u64)) {
                prop_assert!(lifetime > 60);
            }
        }
        prop_assert!(home.acks().iter().all(|acknowledged| *acknowledged <= version));
        prop_assert!(!companion || home.asked.iter().all(|effect| !brings_everything(effect)), "PG3's to say");
    }

    #[test]
    fn whatever_happened_the_newest_tokens_arrive_in_the_end(happened in inputs()) {
        let mut home = Home::new(Mode::Standalone);
        let mut version = 0;
        for (what, number) in happened {
            happen(&mut home, what, number, &mut version);
        }
        home.hears(Input::MqttUp);
        home.hears(Input::RelayUp);
        home.arrives(version + 1, News::Configuration(configuration()));
        home.arrives(version + 2, News::Tokens(tokens("newest", 3600)));
        home.is_asked();
        home.plugin_starts();
        home.later(11);
        let told = home.told();
        prop_assert_eq!(&in_all(all_of(&told), "oauthTokens").unwrap()["access_token"], "newest");
    }
}
