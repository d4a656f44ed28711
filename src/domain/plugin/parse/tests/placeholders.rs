//! Variables, callback parameters, and the places that use them.

use serde_json::json;

use super::*;

#[test]
fn a_placeholder_names_something_that_has_a_value_in_time() {
    let table = [
        (json!({"token_endpoint": "https://{dc}.example.com/"}), "/token_endpoint"),
        (json!({"parameters": {"a": "{dc}"}}), "/parameters/a"),
        (json!({"refresh_parameters": {"a": "{dc}"}}), "/refresh_parameters/a"),
        (json!({"token_headers": {"X-A": "{dc}"}}), "/token_headers/X-A"),
        (json!({"callback_parameters": ["dc"], "parameters": {"a": "{dc}"}}), "/parameters/a"),
        (
            json!({"callback_parameters": ["dc"], "token_endpoint": "https://{dc}.example.com/"}),
            "/callback_parameters/dc",
        ),
        (
            json!({"callback_parameters": {"dc": {"pattern": "[a-z]+"}}, "auth_endpoint": "https://{dc}.example.com/"}),
            "/auth_endpoint",
        ),
        (json!({"callback_parameters": ["dc"], "variables": {"dc": {}}}), "/callback_parameters/dc"),
        (json!({"variables": {"base": {}}, "token_endpoint": "{base}/token"}), "/variables/base"),
    ];
    for (changes, field) in table {
        let text = changes.to_string();
        assert_eq!(fields(changes), [field], "{text}");
    }
    parsed(
        json!({"callback_parameters": {"dc": {"pattern": "[a-z]+"}}, "token_endpoint": "https://{dc}.example.com/"}),
    );
    parsed(
        json!({"variables": {"base": {"enum": ["https://a.example.com"]}}, "token_endpoint": "{base}/token"}),
    );
    parsed(json!({"parameters": {"claims": r#"{"userinfo":{"email":null}}"#}}));
    assert_eq!(warned(json!({"variables": {"h": {}}, "token_endpoint": "https://{h}/"})), ["/variables/h"]);
}

#[test]
fn j05_variables_are_well_formed_and_their_patterns_bounded() {
    let table = [
        (json!({"1a": {}}), "/variables/1a"),
        (json!({"a": "b"}), "/variables/a"),
        (json!({"a": {"pattern": "(a{1000}){1000}"}}), "/variables/a/pattern"),
        (json!({"a": {"pattern": "["}}), "/variables/a/pattern"),
        (json!({"a": {"pattern": "[a-z]+", "default": "1"}}), "/variables/a/default"),
        (json!({"a": {"enum": ["x"], "default": "y"}}), "/variables/a/default"),
        (json!({"a": {"enum": "x"}}), "/variables/a/enum"),
        (json!({"a": {"enum": [1]}}), "/variables/a/enum"),
        (json!({"a": {"enum": ["1"], "pattern": "[a-z]"}}), "/variables/a/enum"),
    ];
    for (variables, field) in table {
        assert_eq!(fields(json!({"variables": variables})), [field], "{variables}");
    }
}

#[test]
fn callback_parameters_take_the_place_of_nothing_known() {
    for name in ["code", "state", "iss", "error", "access_token", "Refresh_Token", "expires_in"] {
        assert_eq!(fields(json!({"callback_parameters": [name]})), ["/callback_parameters/0"], "{name}");
        assert_eq!(
            fields(json!({"callback_parameters": {name: {}}})),
            [format!("/callback_parameters/{name}")]
        );
    }
    assert_eq!(fields(json!({"callback_parameters": "dc"})), ["/callback_parameters"]);
    assert_eq!(fields(json!({"callback_parameters": [7]})), ["/callback_parameters/0"]);
}
