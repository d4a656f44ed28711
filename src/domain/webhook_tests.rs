use proptest::prelude::*;

use super::*;

fn members(value: Value) -> Object {
    let Value::Object(members) = value else { panic!("an object") };
    members
}

fn read(value: Value) -> Result<Webhook, Vec<String>> {
    let named = |errors: Vec<FieldError>| errors.into_iter().map(|error| error.field).collect();
    Webhook::read(&members(value), &Webhook::default()).map_err(named)
}

fn signature(hmac: &Value) -> Signature {
    let Ok(Webhook { proof: Proof::Hmac(signature), .. }) = read(json!({ "hmac": hmac })) else { panic!() };
    signature
}

#[test]
fn a_body_signed_as_github_does_is_recognised() {
    // The example of GitHub's documentation on validating deliveries.
    let github = signature(&json!({
        "header": "X-Hub-Signature-256", "prefix": "sha256=", "key": "It's a Secret to Everybody",
    }));
    let sent = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert!(github.is_of(sent, b"Hello, World!"));
    assert!(github.is_of(&sent.to_uppercase().replace("SHA", "sha"), b"Hello, World!"));
    assert!(!github.is_of(sent, b"Hello, World?"));
    for wrong in ["", "sha256=", sent.trim_start_matches("sha256="), &sent[..sent.len() - 2], "sha256=zz"] {
        assert!(!github.is_of(wrong, b"Hello, World!"), "{wrong}");
    }
    assert_eq!(github.header, "x-hub-signature-256");
}

#[test]
fn sha_1_and_base64_are_known() {
    // RFC 2202 §3, the second case; its key is shorter than is taken here.
    let key = SecretValue::new("Jefe");
    let signed = Signature {
        header: "x".to_owned(),
        algorithm: Algorithm::Sha1,
        encoding: Encoding::Base64,
        prefix: String::new(),
        key,
    };
    assert!(signed.is_of("7/zfauXrL6LSdBbV8YTfnCWafHk=", b"what do ya want for nothing?"));
    assert!(!signed.is_of("7/zfauXrL6LSdBbV8YTfnCWafHk", b"what do ya want for nothing?"));
}

#[test]
fn a_secret_is_the_same_or_it_is_not() {
    let secret = SecretValue::new("0123456789");
    assert!(is_secret(b"0123456789", &secret));
    for wrong in [&b""[..], b"0123456788", b"01234567890", b"012345678"] {
        assert!(!is_secret(wrong, &secret));
    }
}

#[test]
fn what_does_not_fit_is_named_by_its_place() {
    for (value, fields) in [
        (json!({"enabled": 1, "x/y": 1}), &["/x~1y", "/enabled"][..]),
        (json!({"secret": [], "hmac": null}), &["/secret"]),
        (json!({"secret": {}, "hmac": {}}), &["/hmac"]),
        (json!({"secret": {"value": "short"}}), &["/secret", "/secret/value"]),
        (json!({"secret": {"header": "a", "query": "b", "value": "long enough"}}), &["/secret"]),
        (json!({"secret": {"header": "a b", "value": MASK}}), &["/secret/header", "/secret/value"]),
        (
            json!({"hmac": {"algorithm": "md5", "encoding": 1, "prefix": 2}}),
            &["/hmac/header", "/hmac/algorithm", "/hmac/encoding", "/hmac/prefix", "/hmac/key"],
        ),
    ] {
        assert_eq!(read(value.clone()).unwrap_err(), fields, "{value}");
    }
}

#[test]
fn a_mask_means_unchanged_and_secrets_are_shown_masked() {
    for stored in [
        json!({"enabled": true, "secret": {"query": "token", "value": "a long secret"}}),
        json!({"enabled": false, "hmac": {
            "header": "x-s", "algorithm": "sha1", "encoding": "base64", "prefix": "v1=", "key": "a long secret",
        }}),
    ] {
        let webhook = read(stored.clone()).unwrap();
        let shown = webhook.redacted();
        assert_eq!(json!(shown).to_string(), stored.to_string().replace("a long secret", MASK));
        assert_eq!(Webhook::read(&shown, &webhook), Ok(webhook.clone()));
        assert_eq!(Webhook::from_plaintext(&webhook.to_plaintext()).unwrap(), webhook);
        assert!(!format!("{webhook:?}").contains("a long secret"));
    }
    assert_eq!(read(json!({})).unwrap(), Webhook::default());
}

proptest! {
    #[test]
    fn any_signature_is_of_its_own_body_alone(key in "[ -~]{8,40}", body in any::<Vec<u8>>(), other in any::<Vec<u8>>()) {
        let signed = signature(&json!({"header": "x", "encoding": "base64", "key": key}));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), &body);
        let written = STANDARD.encode(tag);
        prop_assert!(signed.is_of(&written, &body));
        prop_assert_eq!(signed.is_of(&written, &other), body == other);
    }

    #[test]
    fn no_text_of_a_signature_panics(sent in ".{0,80}") {
        let signed = signature(&json!({"header": "x", "key": "a long secret"}));
        prop_assert!(!signed.is_of(&sent, b"body"));
    }
}
