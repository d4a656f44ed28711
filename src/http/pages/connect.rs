//! The page before consent: who asks for what, and what is about to happen.
//!
//! It is what stands between a link that somebody was sent and their account, so it says where the link
//! was asked for, offers Cancel first, and goes on by POST only. `Enter` presses Cancel.

use std::net::IpAddr;

use askama::Template;
use time::{Duration, OffsetDateTime};

use super::{Forms, Shown, ShownHost, assets, content_security_policy, html, wording};

/// What `GET /connect/{handle}` shows. Its form posts to the page's own address: `csrf`, and `decision` =
/// `cancel` or `continue`.
#[derive(Debug, Template)]
#[template(path = "connect.html")]
pub struct ConnectPage {
    /// The name of the device that asks.
    pub device: Shown,
    /// The name of the plugin that asks.
    pub plugin: Shown,
    /// Where Continue leads: the host of the authorization endpoint.
    pub provider: ShownHost,
    /// What is asked for.
    pub scope: Scope,
    /// Where and when it was asked for.
    pub asked: AskedFrom,
    /// What comes after the provider.
    pub next: NextStep,
    /// The hidden value that the form sends back.
    pub csrf: String,
}

impl ConnectPage {
    /// The page's HTML.
    pub fn render(&self) -> String {
        html(self)
    }

    /// The policy to send with it.
    pub fn policy() -> &'static str {
        content_security_policy(Forms::Onward)
    }

    fn plugin_name(&self) -> &str {
        self.plugin.or("A plugin")
    }

    fn device_name(&self) -> &str {
        self.device.or("A device without a name")
    }
}

/// The scope of an authorization request, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    words: Vec<Shown>,
    more: usize,
}

impl Scope {
    /// How many words are shown. What is above is counted.
    const WORDS: usize = 40;
    /// The longest word, in characters.
    const WORD: usize = 120;

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words that are shown.
    pub fn words(&self) -> &[Shown] {
        &self.words
    }

    /// How many words are not shown.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Splits at white space and commas, which is how providers separate (RFC 6749 §3.3 names the space);
    /// any other separator leaves one word. Repeated words are shown once.
    pub fn of(scope: Option<&str>) -> Self {
        let mut this = Self::default();
        let separator = |c: char| c.is_whitespace() || c == ',';
        for part in scope.unwrap_or_default().split(separator) {
            let word = Shown::capped(part, Self::WORD);
            if word.is_empty() || this.words.contains(&word) {
                continue;
            }
            if this.words.len() < Self::WORDS {
                this.words.push(word);
            } else {
                this.more = this.more.saturating_add(1);
            }
        }
        this
    }
}

/// Where the link was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedFrom {
    address: IpAddr,
    ago: String,
    network: Network,
}

/// How the network of who asked compares with that of the browser that looks at the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The same, so most likely the same home.
    Same,
    /// Another one.
    Other,
}

impl AskedFrom {
    /// Asked by `address` at `at`, looked at `now`.
    pub fn new(address: IpAddr, at: OffsetDateTime, now: OffsetDateTime, network: Network) -> Self {
        Self { address: address.to_canonical(), ago: ago(now - at), network }
    }

    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn ago(&self) -> &str {
        &self.ago
    }

    pub(super) fn network_class(&self) -> &'static str {
        match self.network {
            Network::Same => "quiet",
            Network::Other => "notice",
        }
    }

    pub(super) fn network_text(&self) -> &'static str {
        match self.network {
            Network::Same => "The network you are on",
            Network::Other => "Not the network you are on",
        }
    }
}

/// What comes after the provider's consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// The plugin gets its access.
    Done,
    /// The browser shows six digits, to be typed where the link was started.
    Code,
}

impl NextStep {
    fn text(self) -> &'static str {
        match self {
            Self::Done => wording::THEN_DONE,
            Self::Code => wording::THEN_CODE,
        }
    }
}

/// A time span in the past, in the words of everyday. A span that is negative, from a clock that
/// differs, is "just now".
fn ago(span: Duration) -> String {
    let count = |n: i64, unit: &str| format!("{n} {unit}{} ago", if n == 1 { "" } else { "s" });
    match span.whole_seconds() {
        ..10 => "just now".to_owned(),
        10..60 => "less than a minute ago".to_owned(),
        60..3600 => count(span.whole_minutes(), "minute"),
        3600..86_400 => count(span.whole_hours(), "hour"),
        86_400.. => count(span.whole_days(), "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(scope: &str) -> Vec<String> {
        Scope::of(Some(scope)).words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_scope_is_split_at_spaces_and_commas_and_nowhere_else() {
        assert_eq!(words("read write"), ["read", "write"]);
        assert_eq!(words("activity,profile, sleep"), ["activity", "profile", "sleep"]);
        assert_eq!(words("a;b|c"), ["a;b|c"]);
        assert_eq!(words("smart smart"), ["smart"]);
        assert!(words(" , ").is_empty());
        assert_eq!(Scope::of(None), Scope::default());
    }

    #[test]
    fn words_of_a_scope_beyond_the_limit_are_counted_not_hidden() {
        let many: Vec<_> = (0..Scope::WORDS + 3).map(|n| format!("s{n}")).collect();
        let scope = Scope::of(Some(&many.join(" ")));
        assert_eq!((scope.words.len(), scope.more), (Scope::WORDS, 3));
    }

    #[test]
    fn time_passed_is_told_in_everyday_words() {
        let cases = [
            (-100, "just now"),
            (9, "just now"),
            (10, "less than a minute ago"),
            (60, "1 minute ago"),
            (179, "2 minutes ago"),
            (3600, "1 hour ago"),
            (2 * 86_400, "2 days ago"),
        ];
        for (seconds, words) in cases {
            assert_eq!(ago(Duration::seconds(seconds)), words);
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_shown_as_ipv4() {
        let then = OffsetDateTime::UNIX_EPOCH;
        let asked = AskedFrom::new("::ffff:203.0.113.9".parse().unwrap(), then, then, Network::Same);
        assert_eq!(asked.address.to_string(), "203.0.113.9");
    }
}
