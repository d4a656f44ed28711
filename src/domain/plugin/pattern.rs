//! Regular expressions that configurations bring along (J05): linear in the value, by the engine's design,
//! with a limit on the length of the expression, on what it compiles to, and on the value.

use regex::{Regex, RegexBuilder};

/// The longest pattern, bytes.
const MAX_PATTERN: usize = 512;
/// What a pattern may compile to, bytes.
const MAX_COMPILED: usize = 512 * 1024;
/// The longest value that can match, bytes: as long as the longest URL.
const MAX_VALUE: usize = 2048;

/// A regular expression that a value must match as a whole; linear time, bounded size.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`, anchored at both ends. The error is a sentence for the author; it doesn't quote `text`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATTERN {
            return Err(format!("must be at most {MAX_PATTERN} bytes long"));
        }
        // Alone first: `a)|(?:b` is no expression, but would be one between our brackets, and not anchored.
        compile(text)?;
        compile(&format!(r"\A(?:{text})\z")).map(Self)
    }

    /// Whether the whole of `value` matches. Values over 2048 bytes never do.
    pub fn matches(&self, value: &str) -> bool {
        value.len() <= MAX_VALUE && self.0.is_match(value)
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    let built =
        RegexBuilder::new(text).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).nest_limit(32).build();
    built.map_err(|error| {
        let detail = if matches!(error, regex::Error::CompiledTooBig(_)) {
            "compiles to too large a program: use smaller repetitions, and [A-Za-z0-9_] rather than \\w"
        } else {
            "must be a regular expression (without look-around and back-references)"
        };
        detail.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b11_a_pattern_must_match_the_whole_value() {
        let pattern = Pattern::parse(r"https://accounts\.zoho\.(com|eu)").unwrap();
        assert!(pattern.matches("https://accounts.zoho.eu"));
        for value in
            ["https://accounts.zoho.eu.evil.com", "x https://accounts.zoho.eu", "https://accounts.zoho.eu\n"]
        {
            assert!(!pattern.matches(value), "{value}");
        }
        let either = Pattern::parse("a|b").unwrap();
        assert!(either.matches("b") && !either.matches("ab") && !either.matches("bx"));
        assert!(!Pattern::parse("(?m)a$").unwrap().matches("a\nb"));
    }

    #[test]
    fn b11_a_pattern_cannot_close_the_bracket_around_it() {
        assert!(Pattern::parse("a)|(?:b").is_err());
        assert!(Pattern::parse("(?x)a # )").is_err());
    }

    #[test]
    fn j05_a_pattern_that_explodes_is_refused() {
        assert!(Pattern::parse("(a{1000}){1000}").unwrap_err().contains("too large"));
        assert!(Pattern::parse(&"a".repeat(513)).unwrap_err().contains("512"));
        assert!(Pattern::parse(&format!("{}a{}", "(".repeat(100), ")".repeat(100))).is_err());
        assert!(Pattern::parse("(?=a)").is_err());
    }

    #[test]
    fn j05_a_value_over_the_limit_matches_nothing() {
        let pattern = Pattern::parse("(a+)+").unwrap();
        assert!(pattern.matches(&"a".repeat(2048)));
        assert!(!pattern.matches(&"a".repeat(2049)));
        assert!(!pattern.matches(&format!("{}!", "a".repeat(2000))));
    }

    #[test]
    fn an_error_does_not_quote_the_pattern() {
        assert!(!Pattern::parse("(canary").unwrap_err().contains("canary"));
    }
}
