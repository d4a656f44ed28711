//! The JSON of a configuration as its author wrote it, unknown members and their order included.
//!
//! Guarantees: it has no `Serialize` and its `Debug` is redacted; what may be shown is [`Document::redacted`],
//! what may be stored is [`Document::to_plaintext`], for the vault. [`Document::merged_with`] never lets a
//! secret of the store follow an override that can send it elsewhere (B08).
//!
//! Says nothing about whether the members fit: that is [`super::parse()`].

use std::fmt;

use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    findings::FieldError,
    merge_patch::{drop_nulls, into_object, merge_patch},
    redaction::{MASK, holds_something, masked_places, secret_places},
};
use crate::domain::json::{self, JsonError, Object};

/// The members that decide where codes, secrets and tokens are sent.
pub const ROUTING_MEMBERS: [&str; 7] = [
    "auth_endpoint",
    "token_endpoint",
    "refresh_endpoint",
    "revocation_endpoint",
    "variables",
    "callback_parameters",
    "parameter_names",
];

/// The JSON of a configuration, or of overrides, as its author wrote it; holds secrets.
#[derive(Clone, Default)]
pub struct Document(Object);

impl Document {
    /// Wraps an object.
    pub fn new(object: Object) -> Self {
        Self(object)
    }

    /// The members, secrets included.
    pub fn members(&self) -> &Object {
        &self.0
    }

    /// Puts the stored secret wherever `"********"` stands; a field error where nothing is stored there.
    pub fn unmasked(self, stored: Option<&Document>) -> Result<Self, Vec<FieldError>> {
        let places = masked_places(&self.0);
        let stored = stored.map(|stored| Value::Object(stored.0.clone()));
        let mut root = Value::Object(self.0);
        let mut errors = Vec::new();
        for place in places {
            match secret_at(stored.as_ref(), &place) {
                Some(secret) => {
                    if let Some(masked) = root.pointer_mut(&place) {
                        *masked = secret.clone();
                    }
                }
                None => errors.push(nothing_stored(place)),
            }
        }
        if errors.is_empty() { Ok(Self(into_object(root))) } else { Err(errors) }
    }

    /// The merge patch `patch` without the members that are `"********"`: an override that says "unchanged" is
    /// none. `self` is the effective configuration; a field error where it has nothing to leave unchanged.
    pub fn unmasked_patch(&self, patch: &Object) -> Result<Object, Vec<FieldError>> {
        let effective = Value::Object(self.0.clone());
        let mut root = Value::Object(patch.clone());
        let mut errors = Vec::new();
        for place in masked_places(patch) {
            let Some(secret) = secret_at(Some(&effective), &place) else {
                errors.push(nothing_stored(place));
                continue;
            };
            let Some((parent, name)) = place.rsplit_once('/') else { continue };
            let name = name.replace("~1", "/").replace("~0", "~");
            // A patch replaces arrays whole: there the secret must stand in it.
            if stands_in_array(&root, &place) {
                if let Some(masked) = root.pointer_mut(&place) {
                    *masked = secret.clone();
                }
            } else if let Some(Value::Object(members)) = root.pointer_mut(parent) {
                members.shift_remove(&name);
            }
        }
        if errors.is_empty() { Ok(into_object(root)) } else { Err(errors) }
    }

    /// The members with `"********"` for every secret.
    pub fn redacted(&self) -> Object {
        let places = secret_places(&self.0);
        let mut root = Value::Object(self.0.clone());
        for place in places {
            if let Some(secret) = root.pointer_mut(&place) {
                *secret = Value::String(MASK.to_owned());
            }
        }
        into_object(root)
    }

    /// Whether these overrides can change where a secret of `copy` is sent: endpoints, `variables`,
    /// `callback_parameters` or `parameter_names` that differ from those of `copy`.
    pub fn reroutes(&self, copy: &Document) -> bool {
        ROUTING_MEMBERS.iter().any(|name| self.0.get(*name).is_some_and(|own| Some(own) != copy.0.get(*name)))
    }

    /// This with `overrides` on top: nested objects merge, all else is replaced. Overrides that reroute
    /// ([`Document::reroutes`]) leave all secrets of this document behind.
    pub fn merged_with(&self, overrides: &Document) -> Self {
        let mut members = if overrides.reroutes(self) { self.without_secrets().0 } else { self.0.clone() };
        merge_patch(&mut members, &overrides.0);
        Self(members)
    }

    fn without_secrets(&self) -> Self {
        let mut root = Value::Object(self.0.clone());
        for place in secret_places(&self.0) {
            if let Some(secret) = root.pointer_mut(&place) {
                *secret = Value::Null;
            }
        }
        let mut members = into_object(root);
        drop_nulls(&mut members);
        Self(members)
    }

    /// This after an RFC 7396 merge patch.
    pub fn patched(&self, patch: &Object) -> Self {
        let mut members = self.0.clone();
        merge_patch(&mut members, patch);
        Self(members)
    }

    /// For the vault alone.
    pub fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec(&self.0).unwrap_or_default())
    }

    /// Reads what [`Document::to_plaintext`] wrote.
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, JsonError> {
        json::parse_object(plaintext).map(Self)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

fn secret_at<'v>(stored: Option<&'v Value>, place: &str) -> Option<&'v Value> {
    stored.and_then(|stored| stored.pointer(place)).filter(|value| holds_something(value))
}

fn stands_in_array(root: &Value, place: &str) -> bool {
    place
        .match_indices('/')
        .filter_map(|(at, _)| place.split_at_checked(at))
        .any(|(ancestor, _)| root.pointer(ancestor).is_some_and(Value::is_array))
}

fn nothing_stored(field: String) -> FieldError {
    FieldError {
        field,
        detail: format!("\"{MASK}\" means unchanged, but nothing is stored here yet: send the value itself"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn document(value: Value) -> Document {
        Document::new(into_object(value))
    }

    fn text(document: &Document) -> String {
        Value::Object(document.0.clone()).to_string()
    }

    #[test]
    fn i09_no_secret_is_shown_and_the_order_is_kept() {
        let shown = document(json!({
            "zeta": 1, "client_secret": "canary1", "name": "n", "token_parameters": {"api_key": "canary2", "b": true},
            "token_headers": {"X-A": "canary3"}, "alpha": {"password": "canary4"}
        }));
        assert_eq!(
            Value::Object(shown.redacted()).to_string(),
            r#"{"zeta":1,"client_secret":"********","name":"n","token_parameters":{"api_key":"********","b":true},"token_headers":{"X-A":"********"},"alpha":{"password":"********"}}"#
        );
        assert_eq!(format!("{shown:?}"), "[redacted]");
    }

    #[test]
    fn i09_a_mask_sent_back_means_unchanged() {
        let stored = document(json!({"client_secret": "s", "token_headers": {"A": "a", "B": "b"}}));
        let sent = document(
            json!({"name": "********", "token_headers": {"A": "********", "B": "new"}, "client_secret": "********"}),
        );
        let unmasked = sent.clone().unmasked(Some(&stored)).unwrap();
        assert_eq!(
            text(&unmasked),
            r#"{"name":"********","token_headers":{"A":"a","B":"new"},"client_secret":"s"}"#
        );
        let fields =
            |errors: Vec<FieldError>| errors.into_iter().map(|error| error.field).collect::<Vec<_>>();
        assert_eq!(fields(sent.clone().unmasked(None).unwrap_err()), ["/token_headers/A", "/client_secret"]);
        let emptied = document(json!({"client_secret": "", "token_headers": {"A": "a"}}));
        assert_eq!(fields(sent.unmasked(Some(&emptied)).unwrap_err()), ["/client_secret"]);
    }

    #[test]
    fn a_mask_in_a_patch_makes_no_override() {
        let effective = document(
            json!({"client_secret": "s", "token_parameters": {"key": "k"}, "list": [{"token": "t"}]}),
        );
        let patch = into_object(json!({
            "client_secret": "********", "scope": "a", "token_parameters": {"key": "********", "x": "y"},
            "list": [{"token": "********"}]
        }));
        let patch = effective.unmasked_patch(&patch).unwrap();
        assert_eq!(
            Value::Object(patch),
            json!({"scope": "a", "token_parameters": {"x": "y"}, "list": [{"token": "t"}]})
        );
        let errors = effective.unmasked_patch(&into_object(json!({"private_key": "********"}))).unwrap_err();
        assert_eq!(errors.first().unwrap().field, "/private_key");
    }

    #[test]
    fn overrides_merge_into_nested_objects_and_replace_all_else() {
        let copy =
            document(json!({"name": "n", "parameters": {"a": "1", "b": "2"}, "callback_parameters": ["x"]}));
        let overrides = document(json!({"parameters": {"b": "3", "c": "4"}, "scope": "s"}));
        assert_eq!(
            text(&copy.merged_with(&overrides)),
            r#"{"name":"n","parameters":{"a":"1","b":"3","c":"4"},"callback_parameters":["x"],"scope":"s"}"#
        );
    }

    #[test]
    fn b08_an_override_of_a_host_leaves_the_secrets_of_the_store_behind() {
        let copy = document(json!({
            "client_id": "store", "client_secret": "canary", "token_endpoint": "https://a.example/t",
            "token_headers": {"X": "canary"}, "token_parameters": {"api_key": "canary", "b": "c"}
        }));
        for member in ROUTING_MEMBERS {
            let overrides = document(json!({member: "https://evil.example/"}));
            let merged = text(&copy.merged_with(&overrides));
            assert!(!merged.contains("canary"), "{member}: {merged}");
            assert!(merged.contains(r#""token_parameters":{"b":"c"}"#), "{merged}");
        }
        let own = document(json!({"client_secret": "own", "token_endpoint": "https://b.example/t"}));
        assert!(text(&copy.merged_with(&own)).contains(r#""client_secret":"own""#));
        let same = document(json!({"token_endpoint": "https://a.example/t", "scope": "s"}));
        assert!(text(&copy.merged_with(&same)).contains(r#""client_secret":"canary""#));
    }

    #[test]
    fn what_the_vault_gives_back_is_what_it_was_given() {
        let given = document(json!({"z": "ä", "a": [1, {"b": null}]}));
        let read = Document::from_plaintext(&given.to_plaintext()).unwrap();
        assert_eq!(text(&read), text(&given));
        assert!(Document::from_plaintext(b"[]").is_err());
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            "[a-z*~/]{0,6}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec(
                    ("(secret|token|token_headers|parameters|variables|[a-z~/]{1,5})", inner),
                    0..4
                )
                .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn i09_what_is_shown_and_sent_back_changes_nothing(value in json_value()) {
            let stored = document(value);
            let back = Document::new(stored.redacted()).unmasked(Some(&stored)).unwrap();
            prop_assert_eq!(text(&back), text(&stored));
            let patch = stored.unmasked_patch(&stored.redacted()).unwrap();
            prop_assert!(masked_places(&patch).is_empty());
        }
    }
}
