//! The bridge as a plugin's hub, and the traps of PG3's OAuth class.

use serde_json::{Value, json};

use super::{home::*, *};

fn is_everything(payload: &Value) -> bool {
    payload.get("getAll").is_some()
}

#[test]
fn a_plugin_that_starts_gets_its_configuration_first_then_tokens_then_the_rest() {
    let mut home = Home::linked();
    home.plugin_sets("customdata", &json!({"visits": 1}));
    home.plugin_starts();
    let told = home.told();
    let all = all_of(&told);
    let keys: Vec<&str> =
        all["getAll"].as_array().unwrap().iter().map(|pair| pair["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["oauth", "oauthTokens", "notices", "customdata"]);
    assert_eq!(in_all(all, "oauthTokens").unwrap()["access_token"], "first");
    assert!(told.iter().any(|payload| payload.get("config").is_some()));
}

#[test]
fn a_plugin_that_asks_before_the_server_has_spoken_waits_for_it_but_not_for_ever() {
    let mut home = Home::new(Mode::Standalone);
    home.hears(Input::MqttUp);
    home.plugin_starts();
    assert!(!home.told().iter().any(is_everything));
    home.arrives(1, News::Configuration(configuration()));
    home.arrives(2, News::Tokens(tokens("first", 3600)));
    assert!(in_all(all_of(&home.told()), "oauthTokens").is_some());

    let mut alone = Home::new(Mode::Standalone);
    alone.hears(Input::MqttUp);
    alone.plugin_starts();
    alone.later(10);
    assert_eq!(in_all(all_of(&alone.told()), "oauth"), None);
    alone.arrives(1, News::Configuration(configuration()));
    assert!(in_all(all_of(&alone.told()), "oauth").is_some(), "what it lacked comes when it is there");
}

#[test]
fn a_consent_reaches_the_running_plugin_and_is_acknowledged_once_it_did() {
    let mut home = Home::with_a_plugin();
    home.arrives(2, News::Consent(tokens("first", 3600)));
    assert_eq!(home.acks(), [] as [i64; 0]);
    let told = home.told();
    let oauth = told.iter().find_map(|payload| payload.get("oauth")).unwrap();
    assert_eq!((&oauth["expires_in"], &oauth["expiry"]), (&json!(3600), &json!("2026-01-02T05:04:09")));
    home.hears(Input::Delivered(Version(2)));
    assert_eq!(home.acks(), [2]);
    // The acknowledgement got lost: no second OAUTH event.
    home.arrives(2, News::Consent(tokens("first", 3600)));
    assert_eq!(home.acks(), [2, 2]);
    assert!(home.told().is_empty());
}

#[test]
fn a_refresh_is_for_the_next_start_and_not_for_the_running_plugin() {
    let mut home = Home::linked();
    home.arrives(3, News::Tokens(tokens("second", 3600)));
    assert_eq!(home.acks(), [3]);
    assert!(home.told().is_empty());
    home.plugin_starts();
    assert_eq!(in_all(all_of(&home.told()), "oauthTokens").unwrap()["access_token"], "second");
}

#[test]
fn tokens_with_a_minute_or_less_are_held_back_and_fresh_ones_asked_for_without_a_storm() {
    let mut home = Home::with_a_plugin();
    home.arrives(2, News::Consent(tokens("short", 60)));
    assert_eq!((home.acks().len(), home.calls(Kind::Refresh).len()), (0, 1));
    assert!(home.told().iter().all(|payload| payload.get("oauth").is_none()));
    home.answers(Kind::Refresh, json!({}));
    for version in 3..200 {
        home.arrives(version, News::Consent(tokens("short", 30)));
        home.later(10);
        home.answers(Kind::Refresh, json!({}));
    }
    assert!(home.calls(Kind::Refresh).len() < 15, "{}", home.calls(Kind::Refresh).len());
    assert_eq!(home.acks(), [] as [i64; 0]);
    home.arrives(200, News::Consent(tokens("good", 3600)));
    assert!(home.told().iter().any(|payload| payload["oauth"]["access_token"] == "good"));
}

#[test]
fn a_plugin_that_starts_with_tokens_nearly_over_waits_for_fresh_ones() {
    let mut home = Home::linked();
    home.says("connections", &json!({"disconnected": [{}]}));
    home.later(3550);
    assert_eq!(home.calls(Kind::Refresh).len(), 0, "nobody waits for them");
    home.plugin_starts();
    assert_eq!(home.calls(Kind::Refresh).len(), 1);
    assert!(!home.told().iter().any(is_everything));
    home.answers(Kind::Refresh, json!({}));
    home.arrives(3, News::Tokens(tokens("second", 3600)));
    assert_eq!(in_all(all_of(&home.told()), "oauthTokens").unwrap()["access_token"], "second");
}

#[test]
fn where_no_fresh_ones_come_in_time_the_plugin_starts_without_and_gets_them_later() {
    let mut home = Home::linked();
    home.later(3550);
    home.plugin_starts();
    home.refuses(Kind::Refresh, 503, "provider_unavailable");
    home.later(10);
    assert_eq!(in_all(all_of(&home.told()), "oauthTokens"), None);
    home.arrives(3, News::Tokens(tokens("second", 3600)));
    assert_eq!(in_all(all_of(&home.told()), "oauthTokens").unwrap()["access_token"], "second");
    home.later(30);
    assert!(!home.told().iter().any(is_everything), "once");
}

#[test]
fn what_the_class_writes_back_is_confirmed_and_nothing_else_happens() {
    let mut home = Home::linked();
    home.plugin_sets("oauth", &configuration().into());
    let mut written = tokens("first", 3600);
    written.insert("expiry".to_owned(), json!("2026-01-02T05:04:05.123456"));
    home.plugin_sets("oauthTokens", &written.into());
    home.later(5);
    assert!(home.calls(Kind::Override).is_empty() && home.calls(Kind::Import).is_empty());
    let told = home.told();
    assert_eq!(
        told,
        [
            json!({"set": [{"oauth": "kept", "success": true}]}),
            json!({"set": [{"oauthTokens": "kept", "success": true}]})
        ]
    );
}

#[test]
fn tokens_that_the_plugin_had_before_are_taken_over_once() {
    let mut home = Home::with_a_plugin();
    let own = json!({"access_token": "old", "refresh_token": "rt-1", "expires_in": 300});
    home.plugin_sets("oauthTokens", &own);
    assert_eq!(home.calls(Kind::Import), [Some(object(own.clone()))]);
    home.refuses(Kind::Import, 503, "provider_unavailable");
    home.later(6);
    assert_eq!(home.calls(Kind::Import).len(), 2);
    home.answers(Kind::Import, Value::Null);
    home.is_asked();
    home.arrives(2, News::Tokens(tokens("brokers", 3600)));
    // Its own refresh token is the broker's to use now.
    assert_eq!(in_all(all_of(&home.told()), "oauthTokens").unwrap()["refresh_token"], "clh_1");
    home.plugin_sets("oauthTokens", &own);
    home.later(10);
    assert!(home.calls(Kind::Import).is_empty() && !home.told().iter().any(is_everything));
}

#[test]
fn settings_go_to_the_server_and_come_back_until_the_class_has_nothing_to_add() {
    // As 3.4.7 does it: what is nested is dropped when an earlier member changed.
    fn class_updates(given: &Object, wanted: &Object) -> Option<Object> {
        let (mut merged, mut changed) = (given.clone(), false);
        for (name, value) in wanted {
            match value {
                Value::Object(nested) if !changed => {
                    let mut own = merged.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
                    let before = own.clone();
                    own.extend(nested.clone());
                    changed = own != before;
                    merged.insert(name.clone(), own.into());
                }
                Value::Object(_) => drop(merged.entry(name.clone()).or_insert_with(|| json!({}))),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    changed |= merged.get(name) != Some(value);
                    merged.insert(name.clone(), value.clone());
                }
            }
        }
        changed.then_some(merged)
    }
    let wanted = object(json!({"client_id": "home", "client_secret": "hs", "parameters": {"a": "1"},
        "token_parameters": {"b": "2"}}));
    let mut home = Home::with_a_plugin();
    let (mut server, mut version, mut rounds) = (configuration(), 1, 0);
    let mut written = class_updates(&configuration(), &wanted);
    while let Some(settings) = written.take() {
        rounds += 1;
        home.plugin_sets("oauth", &settings.into());
        let patch = home.calls(Kind::Override).pop().flatten().unwrap();
        assert!(patch.get("token_endpoint").is_none());
        // The server keeps the slot's own credentials in what it sends.
        for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with("client_")) {
            server.insert(name.clone(), value.clone());
        }
        version += 1;
        home.arrives(version, News::Configuration(server.clone()));
        assert!(
            !home.asked.iter().any(|effect| matches!(effect, Effect::Tell(told, _) if is_everything(told)))
        );
        home.answers(Kind::Override, json!({}));
        let told = home.told();
        home.answers(
            Kind::Connect,
            json!({"connect_url": "https://link.example/connect/1", "expires_in": 600}),
        );
        assert_eq!(told.iter().filter(|payload| is_everything(payload)).count(), 1);
        let given = object(in_all(all_of(&told), "oauth").unwrap());
        assert_eq!((&given["client_id"], &given["token_endpoint"]), (&json!("home"), &json!(ENDPOINT)));
        written = class_updates(&given, &wanted);
    }
    assert_eq!(rounds, 3, "client, parameters, token parameters");
    home.later(30);
    assert!(!home.told().iter().any(is_everything));
}

#[test]
fn a_value_that_no_restart_could_read_is_refused_and_the_plugin_is_told() {
    let mut home = Home::with_a_plugin();
    let deep = format!("{}{}", "[".repeat(126), "]".repeat(126));
    for key in ["deep", "oauth", "oauthTokens", "notices"] {
        home.plugin_sets(key, &deep.clone().into());
        let why = "a value has more than 64 levels: it was not kept";
        assert_eq!(home.told(), [json!({"error": why})], "{key}");
    }
    home.plugin_sets("shallow", &json!("[[1]]"));
    let home = home.restarted();
    assert_eq!(home.slot.kept().custom["shallow"], json!([[1]]));
    assert!(!home.slot.kept().custom.contains_key("deep"));
}

#[test]
fn a_plugin_that_never_settles_is_left_after_some_rounds() {
    let mut home = Home::with_a_plugin();
    for round in 0..50 {
        home.plugin_sets("oauth", &json!({"scope": round.to_string()}));
        home.answers(Kind::Override, json!({}));
    }
    let rounds = home.told().iter().filter(|payload| is_everything(payload)).count();
    assert_eq!(rounds, 5);
}

#[test]
fn settings_that_the_server_refuses_are_told_once_and_sent_once() {
    let mut home = Home::with_a_plugin();
    for _ in 0..5 {
        home.plugin_sets("oauth", &json!({"client_id": "home"}));
        home.refuses(Kind::Override, 422, "invalid");
        home.later(60);
    }
    assert_eq!(home.calls(Kind::Override).len(), 1);
    let told =
        home.asked.iter().filter(|effect| matches!(effect, Effect::Say(text) if text.contains("invalid")));
    assert_eq!(told.count(), 1);
}

#[test]
fn who_is_not_linked_is_shown_where_to_go_as_long_as_that_takes() {
    let mut home = Home::uninvited();
    home.answers(Kind::Connect, json!({"connect_url": "https://link.example/connect/1", "expires_in": 600}));
    assert!(
        home.asked.iter().any(|effect| matches!(effect, Effect::Show(text) if text.contains("connect/1")))
    );
    let notices = |told: &[Value]| -> String {
        let last = told.iter().rev().find_map(|payload| payload.pointer("/custom/notices"));
        last.and_then(Value::as_str).unwrap().to_owned()
    };
    assert!(notices(&home.told()).contains("connect/1"));
    home.later(599);
    assert!(home.calls(Kind::Connect).is_empty());
    home.later(1);
    assert_eq!(home.calls(Kind::Connect).len(), 1, "renewed when it is over");
    home.answers(Kind::Connect, json!({"connect_url": "https://link.example/connect/2", "expires_in": 600}));
    home.is_asked();
    home.plugin_sets("notices", &json!({"auth": "Please initiate authentication", "cloudlink": "old"}));
    home.plugin_starts();
    let all = in_all(all_of(&home.told()), "notices").unwrap();
    assert!(all["cloudlink"].as_str().unwrap().contains("connect/2") && all["auth"].is_string(), "{all}");
    home.arrives(2, News::Consent(tokens("first", 3600)));
    assert!(!notices(&home.told()).contains("cloudlink"), "taken away");
    home.arrives(3, News::Ended);
    assert_eq!((home.acks(), home.calls(Kind::Connect).len()), (vec![3], 1));
}

#[test]
fn a_server_that_gives_no_connect_url_is_asked_later_and_later() {
    let mut home = Home::uninvited();
    let mut refused = 0;
    home.refuses(Kind::Connect, 409, "awaiting_approval");
    for _ in 0..3600 {
        home.later(1);
        if home.calls(Kind::Connect).len() > refused {
            refused += 1;
            home.refuses(Kind::Connect, 409, "awaiting_approval");
        }
    }
    assert!((2..15).contains(&refused), "{refused}");
}
