//! What others wrote, made fit for a terminal (J03).
//!
//! Guarantee: nothing that comes out of here moves a cursor, changes a colour or turns the direction of what
//! follows. A server, a plugin or a device chose these texts, and a terminal obeys what it is sent.

use std::fmt::Write as _;

use serde_json::Value;

use crate::domain::label::is_disruptive;

/// One line, without the characters that a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !is_disruptive(*c)).collect()
}

/// [`printable`], cut after `longest` characters.
pub fn printable_within(text: &str, longest: usize) -> String {
    let mut plain = printable(text);
    if let Some((end, _)) = plain.char_indices().nth(longest) {
        plain.truncate(end);
        plain.push('…');
    }
    plain
}

/// JSON on several lines, for programs and for people; what a terminal would obey is escaped.
pub fn printable_json(value: &Value) -> String {
    let mut text = String::new();
    // The only raw line breaks are those of the layout: inside of texts they are escaped already.
    for c in format!("{value:#}").chars() {
        if c != '\n' && is_disruptive(c) {
            // Writing to a String can't fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn j03_escape_sequences_and_turned_text_lose_their_power() {
        assert_eq!(printable("a\u{1b}[31mb\u{9b}2J\r\n\u{202e}c\u{7}"), "a[31mb2Jc");
        assert_eq!(printable_within("Küche & Bad", 5), "Küche…");
        assert_eq!(printable_within("Küche", 5), "Küche");
    }

    proptest! {
        #[test]
        fn j03_json_stays_the_same_value_and_never_disturbs(text in any::<String>()) {
            let value = json!({ &text: [&text, 1] });
            let shown = printable_json(&value);
            prop_assert!(!shown.chars().any(|c| c != '\n' && is_disruptive(c)), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
        }
    }
}
