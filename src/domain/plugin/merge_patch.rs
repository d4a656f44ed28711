//! JSON merge patch (RFC 7396) on objects: nested objects merge, `null` removes, all else replaces. Members
//! keep their order; new ones come last.

use serde_json::{Map, Value};

use crate::domain::json::Object;

/// RFC 7396 §2, for a target that is an object.
pub(super) fn merge_patch(target: &mut Object, patch: &Object) {
    for (name, change) in patch {
        match change {
            Value::Null => {
                target.shift_remove(name);
            }
            Value::Object(change) => {
                let member = target.entry(name.clone()).or_insert(Value::Null);
                let mut members = into_object(member.take());
                merge_patch(&mut members, change);
                *member = Value::Object(members);
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                target.insert(name.clone(), change.clone());
            }
        }
    }
}

/// Removes all members that are `null`, in nested objects too.
pub(super) fn drop_nulls(members: &mut Object) {
    members.retain(|_, value| !value.is_null());
    for value in members.values_mut() {
        if let Value::Object(members) = value {
            drop_nulls(members);
        }
    }
}

/// The members of an object; none where the value is something else.
pub(super) fn into_object(value: Value) -> Object {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_follows_the_examples_of_rfc_7396() {
        let table = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (target, patch, result) in table {
            let mut patched = into_object(target.clone());
            merge_patch(&mut patched, &into_object(patch.clone()));
            assert_eq!(Value::Object(patched), result, "{target} {patch}");
        }
    }

    #[test]
    fn members_keep_their_order() {
        let mut target = into_object(json!({"z": 1, "m": 2, "a": 3, "b": 4}));
        merge_patch(&mut target, &into_object(json!({"m": null, "y": 5, "z": 6})));
        assert_eq!(Value::Object(target).to_string(), r#"{"z":6,"a":3,"b":4,"y":5}"#);
    }
}
