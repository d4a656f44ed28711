//! Text in which `{name}` stands for a value.
//!
//! Only braces around a valid name are a placeholder: `{"userinfo":…}` in a parameter stays as it is.
//! Rendering is one pass, so that a value that itself looks like a placeholder is never looked at again.

use std::{borrow::Cow, collections::BTreeMap};

use crate::domain::secret::SecretValue;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Stands for itself.
    Text(&'a str),
    /// Stands for the value of that name.
    Placeholder(&'a str),
}

/// Whether `name` may name a variable: `[A-Za-z_][A-Za-z0-9_-]{0,31}`.
pub(super) fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 32
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The parts of `text` in order; none is empty.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        match after.split_once('}') {
            Some((name, tail)) if is_variable_name(name) => {
                pieces.push(Piece::Placeholder(name));
                rest = tail;
            }
            Some(_) | None => {
                pieces.push(Piece::Text("{"));
                rest = after;
            }
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// The names in braces, in order of appearance.
pub(super) fn placeholders(text: &str) -> Vec<&str> {
    pieces(text)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Placeholder(name) => Some(name),
        })
        .collect()
}

/// `value` of a parameter or header with each `{name}` replaced, as it is: whoever writes the form, the JSON
/// or the query encodes it, once. `values` comes from [`super::OauthConfiguration::variables`]; a name that
/// is not among them stays as written.
pub fn render(value: &SecretValue, values: &BTreeMap<String, String>) -> SecretValue {
    let parts = pieces(value.expose()).into_iter().map(|piece| match piece {
        Piece::Text(text) => Cow::Borrowed(text),
        Piece::Placeholder(name) => values
            .get(name)
            .map_or_else(|| Cow::Owned(format!("{{{name}}}")), |value| Cow::Borrowed(value.as_str())),
    });
    SecretValue::new(parts.collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(text: &str, values: &[(&str, &str)]) -> String {
        let values = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        render(&SecretValue::new(text), &values).expose().to_owned()
    }

    #[test]
    fn a_value_is_put_in_as_it_is_and_never_looked_at_again() {
        assert_eq!(rendered("https://{a}/x y", &[("a", "{b}&c"), ("b", "no")]), "https://{b}&c/x y");
    }

    #[test]
    fn braces_that_hold_no_name_are_text() {
        let claims = r#"{"userinfo":{"email":null}}"#;
        assert_eq!(rendered(claims, &[("userinfo", "x")]), claims);
        assert_eq!(rendered("{{a}}", &[("a", "1")]), "{1}");
        assert_eq!(placeholders("{a}{-b}{c-d}{e"), ["a", "c-d"]);
    }

    #[test]
    fn e09_names_are_short_and_plain() {
        for name in ["a", "_", "accounts-server", &"a".repeat(32)] {
            assert!(is_variable_name(name), "{name}");
        }
        for name in ["", "1a", "-a", "a b", "ä", "a.b", &"a".repeat(33)] {
            assert!(!is_variable_name(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_text_make_up_the_text(text in "[a{}\"-]{0,24}") {
            prop_assert_eq!(rendered(&text, &[]), text);
        }
    }
}
