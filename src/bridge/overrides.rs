//! What a plugin changes in its OAuth configuration, told from what it only writes back.

use serde_json::Value;

use crate::domain::json::Object;

/// The most bytes of a configuration that a plugin may write.
const LONGEST: usize = 48 * 1024;

/// What the broker put in place of the provider's: never an override.
#[derive(Clone, Copy)]
pub(super) struct BrokersOwn<'a> {
    /// The broker's token endpoint.
    pub(super) endpoint: &'a str,
    /// The configuration as the broker sent it, with the slot's own credentials.
    pub(super) sent: &'a Object,
}

/// The overrides in what the plugin wrote (`written`), which it made out of what it was given (`given`). Only what was
/// added or changed counts: what is missing was not there, or got lost.
pub(super) fn difference(given: &Object, written: &Object, own: BrokersOwn<'_>) -> Object {
    if Value::Object(written.clone()).to_string().len() > LONGEST {
        return Object::new();
    }
    let mut changed = changes(given, written);
    if changed.get("token_endpoint").is_some_and(|endpoint| endpoint == own.endpoint) {
        changed.shift_remove("token_endpoint");
    }
    for credential in ["client_id", "client_secret"] {
        if changed.get(credential) == own.sent.get(credential) {
            changed.shift_remove(credential);
        }
    }
    changed
}

fn changes(before: &Object, after: &Object) -> Object {
    let mut changed = Object::new();
    for (name, value) in after {
        let change = match (before.get(name), value) {
            (Some(Value::Object(before)), Value::Object(after)) => nonempty(changes(before, after)),
            (_, Value::Object(after)) => nonempty(changes(&Object::new(), after)),
            // In a patch null means "take it away", which no plugin says.
            (_, Value::Null) => None,
            (before, after) => (before != Some(after)).then(|| after.clone()),
        };
        changed.extend(change.map(|change| (name.clone(), change)));
    }
    changed
}

fn nonempty(object: Object) -> Option<Value> {
    (!object.is_empty()).then_some(Value::Object(object))
}

/// `object` with `patch` merged in (RFC 7396; patches here hold no null).
pub(super) fn merged(object: &Object, patch: &Object) -> Object {
    let mut merged = object.clone();
    for (name, value) in patch {
        let value = match (merged.get(name), value) {
            (Some(Value::Object(before)), Value::Object(patch)) => Value::Object(self::merged(before, patch)),
            (_, value) => value.clone(),
        };
        merged.insert(name.clone(), value);
    }
    merged
}

/// The configuration as the plugin is given it: the broker's, with what the plugin has overridden, its own client
/// included, so that it finds its settings there and writes nothing. The token endpoint stays the broker's: the
/// handle is good nowhere else.
pub(super) fn for_plugin(sent: &Object, overrides: &Object) -> Object {
    let mut overrides = overrides.clone();
    overrides.shift_remove("token_endpoint");
    merged(sent, &overrides)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ENDPOINT: &str = "https://link.example/api/cloudlink/token";

    fn object(value: Value) -> Object {
        let Value::Object(object) = value else { panic!("{value} is no object") };
        object
    }

    fn sent() -> Object {
        object(
            json!({"client_id": "cl_1", "client_secret": "s1", "token_endpoint": ENDPOINT, "scope": "read",
            "parameters": {"prompt": "consent"}}),
        )
    }

    fn overrides_in(written: Value) -> Value {
        let sent = sent();
        difference(&sent, &object(written), BrokersOwn { endpoint: ENDPOINT, sent: &sent }).into()
    }

    #[test]
    fn what_is_written_back_overrides_nothing() {
        assert_eq!(overrides_in(sent().into()), json!({}));
        assert_eq!(overrides_in(json!({"scope": "read"})), json!({}), "what is missing got lost");
        assert_eq!(overrides_in(json!({"token_parameters": {}, "scope": null})), json!({}));
    }

    #[test]
    fn only_what_changed_is_an_override() {
        let written = json!({"client_id": "home", "client_secret": "hs", "token_endpoint": ENDPOINT, "scope": "read",
            "parameters": {"prompt": "consent", "audience": "x"}});
        assert_eq!(
            overrides_in(written),
            json!({"client_id": "home", "client_secret": "hs", "parameters": {"audience": "x"}})
        );
    }

    #[test]
    fn the_brokers_endpoint_and_credentials_are_never_overrides() {
        let given = object(
            json!({"client_id": "home", "client_secret": "hs", "token_endpoint": "https://old.example"}),
        );
        let sent = sent();
        let own = BrokersOwn { endpoint: ENDPOINT, sent: &sent };
        assert_eq!(difference(&given, &sent, own).get("client_id"), None);
        let back = difference(&given, &sent, own);
        assert_eq!(Value::Object(back), json!({"scope": "read", "parameters": {"prompt": "consent"}}));
    }

    #[test]
    fn what_would_burst_a_request_is_left() {
        assert_eq!(overrides_in(json!({"parameters": {"a": "x".repeat(LONGEST)}})), json!({}));
    }

    #[test]
    fn the_plugin_finds_its_own_client_but_the_brokers_endpoint() {
        let overrides = json!({"client_id": "home", "client_secret": "hs", "token_endpoint": "https://p.example/t",
            "parameters": {"audience": "x"}});
        let given = for_plugin(&sent(), &object(overrides));
        assert_eq!((&given["client_id"], &given["token_endpoint"]), (&json!("home"), &json!(ENDPOINT)));
        assert_eq!(given["parameters"], json!({"prompt": "consent", "audience": "x"}));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 12, 3, |inner| {
            proptest::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        })
    }

    fn objects() -> impl Strategy<Value = Object> {
        proptest::collection::btree_map("[a-d]", values(), 0..4)
            .prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_was_found_and_merged_is_found_no_second_time(given in objects(), written in objects()) {
            let sent = Object::new();
            let own = BrokersOwn { endpoint: ENDPOINT, sent: &sent };
            let found = difference(&given, &written, own);
            let again = difference(&merged(&given, &found), &written, own);
            prop_assert!(again.is_empty(), "{again:?}");
            prop_assert!(!Value::Object(found).to_string().contains("null"));
        }
    }
}
