use proptest::prelude::*;
use serde_json::json;
use time::macros::datetime;

use super::*;
use crate::provider::fake::Setup;

const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

fn answer(status: u16, body: impl AsRef<[u8]>) -> Answer {
    Answer { status, retry_after: None, body: body.as_ref().to_vec().into() }
}

fn read(status: u16, body: impl AsRef<[u8]>) -> Result<TokenSet, AnswerError> {
    normalise(&answer(status, body), &Setup::new().configuration, &BTreeMap::new(), NOW)
}

fn with_fields(fields: &[(&str, &str)], body: &Value) -> Result<TokenSet, AnswerError> {
    let mut setup = Setup::new();
    for (name, path) in fields {
        let path = FieldPath(path.split('.').map(str::to_owned).collect());
        setup.configuration.response_fields.insert((*name).to_owned(), path);
    }
    normalise(&answer(200, body.to_string()), &setup.configuration, &BTreeMap::new(), NOW)
}

fn refused(code: Option<&str>, status: u16) -> AnswerError {
    AnswerError::Refused { code: code.map(|code| ErrorCode::parse(code).unwrap()), status }
}

#[test]
fn an_ordinary_answer_keeps_every_member() {
    let body = json!({"access_token": "A", "token_type": "bearer", "expires_in": 3600, "refresh_token": "R",
                      "scope": ["a", "b"], "athlete": {"id": 7}, "id_token": "x.y.z"});
    let tokens = read(201, body.to_string()).unwrap();
    assert_eq!(Value::Object(tokens.members().clone()), body);
    assert_eq!(tokens.expires_in(NOW), 3600);
}

#[test]
fn f01_a_200_that_says_no_or_has_no_access_token_is_a_failure() {
    for (body, error) in [
        (json!({"ok": false, "error": "invalid_code"}), refused(Some("invalid_code"), 200)),
        (json!({"ok": false}), refused(None, 200)),
        (json!({"ok": false, "access_token": "A"}), refused(None, 200)),
        (json!({"error": "bad_verification_code"}), refused(Some("bad_verification_code"), 200)),
        (json!({"error": {"code": "expired", "message": "m"}}), refused(Some("expired"), 200)),
        (json!({"error": "x", "access_token": "A"}), refused(Some("x"), 200)),
        (json!({"status": 503, "error": "Invalid Params"}), refused(None, 200)),
        (json!({"status": 503}), refused(None, 200)),
        (json!({"result": "5001"}), refused(None, 200)),
        (json!({"access_token": null}), AnswerError::Invalid),
        (json!({"access_token": {}}), AnswerError::Invalid),
        (json!({"access_token": ""}), AnswerError::Invalid),
        (json!({"access_token": 7}), AnswerError::Invalid),
        (json!({}), AnswerError::Invalid),
        (json!([]), AnswerError::Invalid),
        (json!("A"), AnswerError::Invalid),
    ] {
        assert_eq!(read(200, body.to_string()).unwrap_err(), error, "{body}");
    }
}

#[test]
fn a_status_of_nought_or_beside_a_token_is_no_refusal() {
    let nested = json!({"status": 0, "body": {"access_token": "A"}});
    assert!(with_fields(&[("access_token", "body.access_token")], &nested).is_ok());
    assert!(read(200, r#"{"access_token":"A","status":200,"error":null}"#).is_ok());
}

#[test]
fn f05_a_status_decides_before_the_body() {
    assert_eq!(read(400, r#"{"error":"invalid_grant"}"#).unwrap_err(), refused(Some("invalid_grant"), 400));
    assert_eq!(read(400, "error=invalid_grant").unwrap_err(), refused(Some("invalid_grant"), 400));
    assert_eq!(read(401, r#"{"access_token":"A"}"#).unwrap_err(), refused(None, 401));
    assert_eq!(read(404, "<html>canary").unwrap_err(), refused(None, 404));
    assert_eq!(read(302, r#"{"access_token":"A"}"#).unwrap_err(), AnswerError::Invalid);
    for status in [408, 429, 500, 503] {
        let error = read(status, r#"{"error":"invalid_grant"}"#).unwrap_err();
        assert_eq!(error, AnswerError::Unavailable { status, retry_after: None });
    }
}

#[test]
fn f05_retry_after_is_seconds_or_a_date_and_at_most_a_day() {
    for (text, seconds) in [
        ("120", Some(120)),
        ("Fri, 02 Jan 2026 03:05:05 GMT", Some(60)),
        ("99999999999", Some(86_400)),
        ("Fri, 02 Jan 2015 03:05:05 GMT", None),
        ("soon", None),
    ] {
        let answer = Answer { status: 429, retry_after: Some(text.to_owned()), body: Vec::new().into() };
        let retry_after = seconds.map(Duration::from_secs);
        assert_eq!(
            check_status(&answer, NOW),
            Err(AnswerError::Unavailable { status: 429, retry_after }),
            "{text}"
        );
    }
}

#[test]
fn a_form_is_read_where_there_is_no_json() {
    let tokens = read(200, "access_token=A%2B&expires_in=60&scope=a+b").unwrap();
    assert_eq!(tokens.access_token().expose(), "A+");
    assert_eq!((tokens.expires_in(NOW), tokens.scope()), (60, Some("a b")));
    assert_eq!(read(200, "error=bad_code&x=1").unwrap_err(), refused(Some("bad_code"), 200));
    for body in ["access_token=A&access_token=B", "", "hello", "<a href='?x&access_token=A'>"] {
        assert_eq!(read(200, body).unwrap_err(), AnswerError::Invalid, "{body}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert!(read(200, b"\xef\xbb\xbf{\"access_token\":\"A\"}").is_ok());
}

#[test]
fn e07_hostile_json_is_an_invalid_answer() {
    let deep = format!(r#"{{"access_token":"A","x":{}"#, "[".repeat(100_000));
    for body in [
        deep.as_bytes(),
        br#"{"access_token":"A","access_token":"B"}"#,
        br#"{"access_token":"\ud800"}"#,
        br#"{"access_token":"A","expires_in":1e999}"#,
        b"{\"access_token\":\"\xff\"}",
    ] {
        assert_eq!(read(200, body).unwrap_err(), AnswerError::Invalid);
    }
}

#[test]
fn members_found_elsewhere_get_their_standard_names() {
    let body = json!({"ok": true, "access_token": "bot", "expires_in": 9000,
        "authed_user": {"id": "U", "access_token": "A", "refresh_token": "R", "expires_in": 60}});
    let fields = [
        ("access_token", "authed_user.access_token"),
        ("refresh_token", "authed_user.refresh_token"),
        ("expires_in", "authed_user.expires_in"),
    ];
    let tokens = with_fields(&fields, &body).unwrap();
    assert_eq!(tokens.access_token().expose(), "A");
    assert_eq!(tokens.refresh_token().unwrap().expose(), "R");
    assert_eq!(tokens.expires_in(NOW), 60);
    assert_eq!(tokens.members()["authed_user"]["id"], "U");
    assert!(tokens.members()["authed_user"].get("refresh_token").is_none());
    let flat =
        with_fields(&[("refresh_token", "refreshToken")], &json!({"access_token": "A", "refreshToken": "R"}));
    let flat = flat.unwrap();
    assert_eq!(Value::Object(flat.members().clone()), json!({"access_token": "A", "refresh_token": "R"}));
}

#[test]
fn a_path_that_leads_nowhere_changes_nothing() {
    let fields = [("refresh_token", "a.b.c"), ("access_token", "x")];
    let tokens = with_fields(&fields, &json!({"access_token": "A", "a": {"b": 1}})).unwrap();
    assert_eq!(tokens.access_token().expose(), "A");
    assert!(tokens.refresh_token().is_none());
}

#[test]
fn a_refresh_token_or_type_that_is_no_text_is_dropped() {
    let tokens = read(200, r#"{"access_token":"A","refresh_token":null,"token_type":7}"#).unwrap();
    assert_eq!(tokens.members().len(), 1);
    assert_eq!(tokens.token_type(), "Bearer");
}

#[test]
fn callback_parameters_become_members_but_never_replace_the_providers() {
    let mut setup = Setup::new();
    for name in ["realmId", "scope"] {
        setup.configuration.callback_parameters.insert(name.into(), None);
    }
    let callback = ["realmId", "scope", "stray"].map(|name| (name.to_owned(), "from-callback".to_owned()));
    let answer = answer(200, r#"{"access_token":"A","scope":"granted"}"#);
    let tokens = normalise(&answer, &setup.configuration, &callback.into(), NOW).unwrap();
    assert_eq!(tokens.members()["realmId"], "from-callback");
    assert_eq!(tokens.scope(), Some("granted"));
    assert!(!tokens.members().contains_key("stray"));
    let kept = crate::provider::callback_values(&setup.configuration, &tokens);
    assert_eq!(kept["realmId"], "from-callback");
}

#[test]
fn a_token_object_over_48_kib_is_too_large() {
    let of = |length: usize| read(200, json!({"access_token": "A".repeat(length)}).to_string());
    assert!(of(48 * 1024 - 19).is_ok());
    assert_eq!(of(48 * 1024 - 18).unwrap_err(), AnswerError::TooLarge);
}

#[test]
fn what_a_refresh_answer_leaves_out_stays_as_it_was() {
    let before = read(200, r#"{"access_token":"A","refresh_token":"R","expires_in":60,"hub":1}"#).unwrap();
    let fresh = read(200, r#"{"access_token":"B"}"#).unwrap();
    let merged = merge(&before, &fresh).unwrap();
    assert_eq!(
        Value::Object(merged.members().clone()),
        json!({"access_token": "B", "refresh_token": "R", "hub": 1})
    );
    assert_eq!(merged.expires_at(), None);
}

#[test]
fn e08_an_error_holds_no_text_of_the_body() {
    for (status, body) in [
        (400, r#"{"error":"a canary","error_description":"canary"}"#),
        (500, "canary"),
        (200, "<html>canary"),
        (200, r#"{"ok":false,"detail":"canary"}"#),
    ] {
        let error = read(status, body).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}

proptest! {
    #[test]
    fn e07_no_body_and_no_status_panics(status in 100u16..600, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(status, body);
    }

    #[test]
    fn f02_whatever_expires_in_is_the_plugin_gets_a_sane_integer(value in r#"-?[0-9]{1,400}|-?[0-9]e-?[0-9]{1,3}|"[^"\\]*"|null|\[\]"#) {
        if let Ok(tokens) = read(200, format!(r#"{{"access_token":"A","expires_in":{value}}}"#)) {
            prop_assert!((1..=crate::domain::tokens::LONGEST_LIFE).contains(&tokens.expires_in(NOW)));
        }
    }
}
