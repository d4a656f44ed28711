//! What a configuration may add to requests, and rename in them.

use serde_json::json;

use super::*;

#[test]
fn a07_pkce_off_is_visible() {
    assert_eq!(warned(json!({"pkce": false})), ["/pkce"]);
    assert!(fields(json!({"parameter_names": {"authorization": {"code_challenge": null}}})).len() == 1);
}

#[test]
fn a08_extra_members_cannot_set_what_the_broker_sets() {
    for name in [
        "redirect_uri",
        "state",
        "State",
        "state[]",
        "code_challenge",
        "code_challenge_method",
        "request",
        "request_uri",
        "redirect.uri",
    ] {
        assert_eq!(fields(json!({"parameters": {name: "x"}})), [format!("/parameters/{name}")]);
    }
    for name in ["code", "redirect_uri", "refresh_token", "code_verifier", "Code"] {
        assert_eq!(fields(json!({"token_parameters": {name: "x"}})), [format!("/token_parameters/{name}")]);
        assert_eq!(
            fields(json!({"refresh_parameters": {name: "x"}})),
            [format!("/refresh_parameters/{name}")]
        );
    }
    assert_eq!(fields(json!({"parameters": {"client_id": "another"}})), ["/parameters/client_id"]);
    assert!(parsed(json!({"parameters": {"client_id": "id-1"}})).configuration.parameters.is_empty());
    let allowed = parsed(json!({
        "parameters": {"scope": "s", "prompt": "consent"}, "token_parameters": {"grant_type": "x", "client_secret": "y"}
    }));
    assert_eq!(allowed.configuration.parameters.len() + allowed.configuration.token_parameters.len(), 4);
}

#[test]
fn a08_the_query_of_an_endpoint_cannot_set_it_either() {
    for query in [
        "state=x",
        "a=b&redirect%5Furi=x",
        "client_id=x",
        "response_type=token",
        "request=x",
        "response_mode=fragment",
    ] {
        let endpoint = format!("https://auth.example.com/?{query}");
        assert_eq!(fields(json!({"auth_endpoint": endpoint})), ["/auth_endpoint"], "{query}");
        let behind = format!("https://auth.example.com/#/authorize?{query}");
        assert_eq!(fields(json!({"auth_endpoint": behind})), ["/auth_endpoint"], "{query}");
    }
    for query in ["code=x", "refresh_token=x", "client_secret=x"] {
        let endpoint = format!("https://auth.example.com/?{query}");
        assert_eq!(fields(json!({"token_endpoint": endpoint})), ["/token_endpoint"], "{query}");
    }
    parsed(json!({
        "auth_endpoint": "https://auth.example.com/?response_type=code&prompt=x",
        "token_endpoint": "https://auth.example.com/?subscription-key=1&redirect_uri=x&refresh"
    }));
}

#[test]
fn a08_renaming_smuggles_nothing_in() {
    let refused = [
        json!({"authorization": {"state": "s"}}),
        json!({"authorization": {"state": null}}),
        json!({"callback": {"state": "s"}}),
        json!({"authorization": {"scope": "state"}}),
        json!({"authorization": {"scope": "State[]"}}),
        json!({"authorization": {"scope": "redirect_uri"}}),
        json!({"authorization": {"scope": "client_id"}}),
        json!({"authorization": {"scope": "request_uri"}}),
        json!({"token": {"client_id": "code"}}),
        json!({"token": {"code": null}}),
        json!({"token": {"code_verifier": null}}),
        json!({"callback": {"iss": null}}),
        json!({"callback": {"code": "state"}}),
        json!({"callback": {"code": "iss"}}),
        json!({"token": {"client_id": 7}}),
        json!({"token": {"client_id": ""}}),
        json!({"token": {"client_id": "a\nb"}}),
    ];
    for names in refused {
        let found = fields(json!({"parameter_names": names}));
        assert!(found.len() == 1 && found[0].starts_with("/parameter_names/"), "{names} {found:?}");
    }
    let twice = json!({"parameter_names": {"token": {"code": "x", "client_id": "X"}}});
    assert_eq!(fields(twice), ["/parameter_names/token/client_id"]);
    let renamed = json!({"authorization": {"redirect_uri": "ru"}, "token": {"code": "ticket"}, "callback": {"code": "ticket"}});
    let found = fields(json!({
        "parameter_names": renamed, "parameters": {"ru": "x"}, "token_parameters": {"Ticket": "x"},
        "callback_parameters": ["ticket"], "auth_endpoint": "https://auth.example.com/?ru=x"
    }));
    assert_eq!(
        found,
        ["/parameters/ru", "/token_parameters/Ticket", "/callback_parameters/0", "/auth_endpoint"]
    );
}

#[test]
fn a09_an_overridden_response_type_still_asks_for_a_code_in_the_query() {
    for response_type in ["token", "id_token", "{v}_code"] {
        let found = fields(json!({"parameters": {"response_type": response_type}, "variables": {"v": {}}}));
        assert_eq!(found, ["/parameters/response_type"], "{response_type}");
    }
    for response_mode in ["fragment", "form_post", "web_message"] {
        assert_eq!(
            fields(json!({"parameters": {"response_mode": response_mode}})),
            ["/parameters/response_mode"]
        );
    }
    for response_type in ["code", "code id_token", "auth_code"] {
        parsed(json!({"parameters": {"response_type": response_type, "response_mode": "query"}}));
    }
}

#[test]
fn booleans_and_numbers_become_strings_and_empty_ones_are_not_sent() {
    let configuration =
        parsed(json!({"parameters": {"a": true, "b": 7, "c": 1.5, "d": "", "e": "x"}})).configuration;
    let sent: Vec<_> =
        configuration.parameters.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(sent, [("a", "true"), ("b", "7"), ("c", "1.5"), ("e", "x")]);
}

#[test]
fn a_header_is_one_that_an_author_may_set() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Content-Type",
        "Cookie",
        "Bad Name",
        "é",
        "a:b",
    ] {
        assert_eq!(fields(json!({"token_headers": {name: "x"}})), [format!("/token_headers/{name}")]);
    }
    for value in ["a\r\nHost: evil", "ä", " a"] {
        assert_eq!(fields(json!({"token_headers": {"X-A": value}})), ["/token_headers/X-A"], "{value:?}");
    }
    assert_eq!(fields(json!({"token_headers": {"X-A": "1", "x-a": "2"}})), ["/token_headers/x-a"]);
    parsed(json!({"token_headers": {"Authorization": "Bearer x"}}));
    let twice = fields(json!({"token_auth": "basic", "token_headers": {"Authorization": "Bearer x"}}));
    assert_eq!(twice, ["/token_headers/Authorization"]);
}
