//! What people call things: shown on pages and in logs, so it must be one harmless line.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// A name for people: 1 to 64 characters, on one line, no control or direction-changing characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Label(String);

/// Why a text is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters on one line, without control characters and without space at its ends")]
pub struct LabelError;

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = LabelError;
    fn from_str(text: &str) -> Result<Self, LabelError> {
        let length = text.chars().count();
        let fits = (1..=64).contains(&length) && text.trim() == text && !text.contains(is_disruptive);
        if fits { Ok(Self(text.to_owned())) } else { Err(LabelError) }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Control characters, line separators, and marks that turn the direction of what follows (J03).
pub fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j03_a_label_is_one_harmless_line() {
        for bad in ["", " ", "a ", "a\nb", "a\u{1b}[31m", "a\u{202e}b", "a\0", &"ä".repeat(65)] {
            assert_eq!(bad.parse::<Label>(), Err(LabelError), "{bad:?}");
        }
        for good in ["eisy", "Living room 🏠", "Küche & Bad", &"ä".repeat(64)] {
            assert_eq!(good.parse::<Label>().unwrap().as_str(), good);
        }
    }
}
