//! The bridge beside PG3.

use serde_json::{Value, json};

use super::{home::*, *};

/// PG3 says that it kept these.
fn pg3_keeps(home: &mut Home, key: &str) {
    home.says("clients", &json!({"set": [{key: {}, "success": true}]}));
}

fn set_of<'a>(spoken: &'a [Value], key: &str) -> Option<&'a Value> {
    let pairs = spoken.iter().rev().filter_map(|payload| payload.pointer("/set/0"));
    pairs.into_iter().find(|pair| pair["key"] == key).map(|pair| &pair["value"])
}

fn asks_pg3(spoken: &[Value]) -> usize {
    spoken.iter().filter(|payload| payload.get("getAll").is_some()).count()
}

/// Both connections are up, and a plugin runs that PG3 has given what it had.
fn home() -> Home {
    let mut home = Home::new(Mode::Companion);
    home.hears(Input::MqttUp);
    home.plugin_connects();
    home.later(3);
    home.hears(Input::RelayUp);
    home.says("clients", &json!({"getAll": [{"key": "notices", "value": {"battery": "low"}}, {"key": "customparams", "value": {"a": "b"}}]}));
    home
}

/// The same, configured and linked.
fn linked() -> Home {
    let mut home = home();
    home.arrives(1, News::Configuration(configuration()));
    pg3_keeps(&mut home, "oauth");
    home.says("custom", &json!({"getAll": {}}));
    home.says("clients", &json!({"getAll": [{"key": "oauth", "value": configuration()}]}));
    home.arrives(2, News::Consent(tokens("first", 3600)));
    pg3_keeps(&mut home, "oauthTokens");
    home.hears(Input::Delivered(Version(2)));
    home
}

#[test]
fn the_configuration_is_saved_at_pg3_and_acknowledged_once_it_is_there() {
    let mut home = home();
    home.arrives(1, News::Configuration(configuration()));
    assert_eq!(set_of(&home.spoken(), "oauth"), Some(&configuration().into()));
    assert_eq!((home.acks().len(), asks_pg3(&home.spoken())), (0, 0));
    pg3_keeps(&mut home, "oauth");
    assert_eq!(home.acks(), [1]);
    assert_eq!(asks_pg3(&home.spoken()), 1, "PG3 tells the running plugin, with all that it has");
    assert!(home.told().iter().all(|payload| payload.get("getAll").is_none()), "the answer is PG3's");
}

#[test]
fn a_pg3_that_does_not_answer_is_asked_later_and_later_and_nothing_is_acknowledged() {
    let mut home = home();
    home.arrives(1, News::Configuration(configuration()));
    home.later(3600);
    let asked = home.spoken().len();
    assert!((3..15).contains(&asked) && home.acks().is_empty(), "{asked}");
}

#[test]
fn a_consent_is_saved_at_pg3_and_told_to_the_plugin_and_both_count() {
    let mut home = home();
    home.arrives(1, News::Configuration(configuration()));
    pg3_keeps(&mut home, "oauth");
    home.arrives(2, News::Consent(tokens("first", 3600)));
    assert_eq!(set_of(&home.spoken(), "oauthTokens").unwrap()["expiry"], "2026-01-02T05:04:08");
    assert!(
        home.asked
            .iter()
            .any(|effect| matches!(effect, Effect::Tell(told, Some(_)) if told.get("oauth").is_some()))
    );
    home.hears(Input::Delivered(Version(2)));
    assert_eq!(home.acks(), [1]);
    pg3_keeps(&mut home, "oauthTokens");
    assert_eq!(home.acks(), [1, 2]);
}

#[test]
fn a_refresh_is_saved_at_pg3_and_no_running_plugin_hears_of_it() {
    let mut home = linked();
    home.is_asked();
    home.arrives(3, News::Tokens(tokens("second", 3600)));
    pg3_keeps(&mut home, "oauthTokens");
    assert_eq!((home.acks(), asks_pg3(&home.spoken())), (vec![3], 0));
    assert_eq!(set_of(&home.spoken(), "oauthTokens").unwrap()["access_token"], "second");
    assert!(home.told().is_empty());
}

#[test]
fn what_comes_back_of_our_own_words_means_nothing() {
    let mut home = linked();
    let spoken = home.spoken();
    home.is_asked();
    for payload in spoken {
        home.says("custom", &payload);
    }
    home.later(5);
    assert!(home.calls(Kind::Override).is_empty() && home.calls(Kind::Import).is_empty());
    assert!(home.spoken().is_empty() && home.told().is_empty());
}

#[test]
fn what_a_plugin_had_before_the_bridge_is_no_override() {
    let mut home = home();
    home.arrives(1, News::Configuration(configuration()));
    let before = json!({"client_id": "old", "token_endpoint": "https://acme.example/token", "scope": "all"});
    home.plugin_sets("oauth", &before);
    assert!(home.calls(Kind::Override).is_empty());
    assert!(set_of(&home.spoken(), "oauth").is_some_and(|saved| saved["client_id"] == "cl_1"));
}

#[test]
fn settings_of_the_plugin_go_to_the_server_before_pg3_has_ours_again() {
    let mut home = linked();
    home.is_asked();
    let mut written = configuration();
    written.insert("scope".to_owned(), "read write".into());
    home.plugin_sets("oauth", &written.clone().into());
    assert_eq!(home.calls(Kind::Override), [Some(object(json!({"scope": "read write"})))]);
    assert!(home.spoken().is_empty(), "what the plugin saved stays there meanwhile");
    home.answers(Kind::Override, json!({}));
    assert_eq!(asks_pg3(&home.spoken()), 1, "the class may have dropped something");
}

#[test]
fn the_notice_stands_among_the_plugins_own_and_goes_when_it_is_linked() {
    let mut home = home();
    home.arrives(1, News::Configuration(configuration()));
    home.later(4);
    home.answers(Kind::Status, json!({"status": "unlinked"}));
    home.answers(Kind::Connect, json!({"connect_url": "https://link.example/connect/1", "expires_in": 600}));
    let saved = set_of(&home.spoken(), "notices").unwrap().clone();
    assert!(
        saved["battery"] == "low" && saved["cloudlink"].as_str().unwrap().contains("connect/1"),
        "{saved}"
    );
    home.plugin_sets("notices", &saved);
    pg3_keeps(&mut home, "notices");
    home.is_asked();
    // A plugin that writes its notices anew does not know of ours.
    home.plugin_sets("notices", &json!({"auth": "Please"}));
    let saved = set_of(&home.spoken(), "notices").unwrap().clone();
    assert!(saved["auth"] == "Please" && saved["cloudlink"].is_string(), "{saved}");
    pg3_keeps(&mut home, "notices");
    home.arrives(2, News::Consent(tokens("first", 3600)));
    assert_eq!(set_of(&home.spoken(), "notices"), Some(&json!({"auth": "Please"})));
    pg3_keeps(&mut home, "notices");
    home.is_asked();
    home.later(60);
    assert_eq!(set_of(&home.spoken(), "notices"), None);
}

#[test]
fn after_a_loss_of_the_broker_what_was_not_confirmed_is_saved_again() {
    let mut home = home();
    home.arrives(1, News::Configuration(configuration()));
    home.hears(Input::MqttDown);
    home.is_asked();
    home.hears(Input::MqttUp);
    assert!(set_of(&home.spoken(), "oauth").is_some());
}

#[test]
fn a_configuration_acknowledges_no_tokens_that_pg3_has_not_saved() {
    let mut home = linked();
    home.is_asked();
    home.arrives(3, News::Tokens(tokens("second", 3600)));
    home.arrives(4, News::Configuration(configuration()));
    assert_eq!(home.acks(), [] as [i64; 0], "that would cover the tokens, too");
    pg3_keeps(&mut home, "oauthTokens");
    assert_eq!(home.acks(), [4, 3]);
}
