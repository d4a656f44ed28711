//! Text from outside, made fit to stand on a page.
//!
//! Escaping is askama's work. This takes away what escaping leaves: characters that reorder, hide or break
//! text, and length. The original is never changed, only what is shown.

use std::fmt::{self, Write as _};

use url::Url;

/// A name or word from outside, on one line, without control, bidirectional and invisible characters, and
/// at most so many characters long; a cut is marked with an ellipsis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

impl Shown {
    /// The longest name, in characters.
    pub const NAME: usize = 60;

    /// A name of a device or plugin.
    pub fn name(text: &str) -> Self {
        Self::capped(text, Self::NAME)
    }

    /// Any text, at most `limit` characters of it and the ellipsis.
    pub fn capped(text: &str, limit: usize) -> Self {
        let mut shown = String::new();
        let mut length = 0;
        // What is dropped must cost something too, or a megabyte of NUL would be read to its end.
        for c in text.trim().chars().take(limit.saturating_mul(8)).filter(|c| !is_treacherous(*c)) {
            let c = if c.is_whitespace() { ' ' } else { c };
            if c == ' ' && (shown.is_empty() || shown.ends_with(' ')) {
                continue;
            }
            if length == limit {
                shown.truncate(shown.trim_end().len());
                shown.push('…');
                return Self(shown);
            }
            shown.push(c);
            length += 1;
        }
        shown.truncate(shown.trim_end().len());
        Self(shown)
    }

    /// Whether nothing is left to show.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text as it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This, or `other` where nothing is left of it.
    pub(super) fn or<'a>(&'a self, other: &'a str) -> &'a str {
        if self.is_empty() { other } else { &self.0 }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text of many lines for a text field, JSON as a rule. Nothing is cut, since it comes back with the form; invisible
/// and bidirectional characters stand there as JSON escapes, which mean the same and hide nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written(String);

impl Written {
    /// What a field is filled with.
    pub fn new(text: &str) -> Self {
        let mut written = String::with_capacity(text.len());
        for c in text.chars() {
            if is_treacherous(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Fails only where the writer does, and a String never does.
                    let _ = write!(written, "\\u{unit:04x}");
                }
            } else {
                written.push(c);
            }
        }
        Self(written)
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters that are not white space and yet not seen, or that move other characters about.
fn is_treacherous(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffc}' | '\u{e0000}'..='\u{e0fff}')
}

/// The host of an address, in its ASCII form, with the port where it is not the scheme's own.
///
/// It is cut at the front if it must be cut: the end of a host says whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownHost(String);

impl ShownHost {
    /// The longest name that DNS knows (RFC 1035 §2.3.4) and a port.
    const LIMIT: usize = 253 + 6;

    /// The host of `url`; `None` where it has none.
    pub fn of(url: &Url) -> Option<Self> {
        let host = Shown::capped(url.host_str()?, usize::MAX / 8).0;
        let whole = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let surplus = whole.chars().count().saturating_sub(Self::LIMIT);
        if surplus == 0 {
            return Some(Self(whole));
        }
        Some(Self(std::iter::once('…').chain(whole.chars().skip(surplus)).collect()))
    }
}

impl fmt::Display for ShownHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn d02_what_is_shown_is_one_short_line_of_visible_text(text in any::<String>(), limit in 1_usize..80) {
            let shown = Shown::capped(&text, limit).0;
            prop_assert!(shown.chars().count() <= limit + 1);
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_treacherous(c)));
            prop_assert_eq!(shown.trim(), &shown);
        }

        #[test]
        fn plain_words_are_shown_as_they_are(text in "[a-zA-Zäöü0-9]{1,20}( [a-zA-Z0-9.]{1,10}){0,3}") {
            let shown = Shown::name(&text);
            prop_assert_eq!(shown.as_str(), text.as_str());
        }
    }

    #[test]
    fn d02_a_text_field_shows_what_would_hide_and_changes_no_json() {
        let json = "{\n  \"name\": \"a\u{202e}b\u{e0041}\"\n}";
        let written = Written::new(json).to_string();
        assert_eq!(written, "{\n  \"name\": \"a\\u202eb\\udb40\\udc41\"\n}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&written), value(json));
    }

    #[test]
    fn d02_direction_and_control_characters_are_taken_out() {
        assert_eq!(Shown::name("a\u{202e}b\u{0}c\r\nd\u{2066}\u{200f}e").as_str(), "abc de");
        assert!(Shown::name("\u{3164}\u{200b} \u{feff}").is_empty());
    }

    #[test]
    fn d02_a_long_text_is_cut_with_an_ellipsis() {
        assert_eq!(Shown::capped("abcdef", 6).as_str(), "abcdef");
        assert_eq!(Shown::capped("abcdef", 3).as_str(), "abc…");
        assert_eq!(Shown::capped("ab cdef", 3).as_str(), "ab…");
    }

    #[test]
    fn the_end_of_a_host_is_never_cut_off() {
        let url = Url::parse(&format!("https://{}evil.example/", "accounts.google.com.".repeat(20))).unwrap();
        let host = ShownHost::of(&url).unwrap().to_string();
        assert!(host.starts_with('…') && host.ends_with(".evil.example"), "{host}");
    }

    #[test]
    fn a_host_is_shown_in_ascii_with_an_unusual_port() {
        let host = |url| ShownHost::of(&Url::parse(url).unwrap()).unwrap().to_string();
        assert_eq!(host("https://аpple.com/x?y#z"), "xn--pple-43d.com");
        assert_eq!(host("https://auth.example.com:443/"), "auth.example.com");
        assert_eq!(host("http://127.0.0.1:9100/"), "127.0.0.1:9100");
    }
}
