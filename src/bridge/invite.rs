//! The way to a slot's account: a connect URL, made when there is none that is good, and only then.

use std::time::Duration;

use serde_json::Value;

use crate::terminal::printable;

/// No URL is replaced before it was shown this long, whatever the server says.
const SHORTEST: Duration = Duration::from_mins(1);
/// Nor kept longer.
const LONGEST: Duration = Duration::from_hours(24);

/// Whether somebody must link the slot, and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Invite {
    /// Nobody must do anything.
    #[default]
    NotNeeded,
    /// A URL is needed.
    Needed,
    /// Until then this URL is good.
    Shown {
        /// Where to press Continue.
        url: String,
        /// By the clock of this run.
        until: Duration,
    },
}

impl Invite {
    /// Whether the server is to be asked for a URL.
    pub(super) fn wants_url(&self, up: Duration) -> bool {
        match self {
            Self::NotNeeded => false,
            Self::Needed => true,
            Self::Shown { until, .. } => *until <= up,
        }
    }

    /// The slot is not linked.
    pub(super) fn need(&mut self) {
        if *self == Self::NotNeeded {
            *self = Self::Needed;
        }
    }

    /// The URL that is shown may not be good any more.
    pub(super) fn renew(&mut self) {
        if let Self::Shown { .. } = self {
            *self = Self::Needed;
        }
    }

    /// Takes what `connect` answered; false where it has no URL.
    pub(super) fn show(&mut self, answer: &Value, up: Duration) -> bool {
        let url = answer.get("connect_url").and_then(Value::as_str).unwrap_or_default();
        if !url.starts_with("http") {
            return false;
        }
        let seconds = answer.get("expires_in").and_then(Value::as_u64).unwrap_or_default();
        let good_for = Duration::from_secs(seconds).clamp(SHORTEST, LONGEST);
        *self = Self::Shown { url: printable(url), until: up + good_for };
        true
    }

    /// What a person is shown.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Shown { url, .. } => Some(format!("To link your account, open {url} and press Continue")),
            Self::NotNeeded | Self::Needed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_url_is_asked_for_once_until_it_is_over() {
        let mut invite = Invite::default();
        assert!(!invite.wants_url(Duration::ZERO));
        invite.need();
        assert!(invite.wants_url(Duration::ZERO));
        let answer = json!({"connect_url": "https://link.example/connect/x", "expires_in": 600});
        assert!(invite.show(&answer, Duration::from_secs(5)));
        invite.need();
        assert!(invite.text().unwrap().contains("https://link.example/connect/x"));
        assert!(!invite.wants_url(Duration::from_secs(604)) && invite.wants_url(Duration::from_secs(605)));
    }

    #[test]
    fn what_is_shown_is_renewed_on_a_change_and_nothing_else_is() {
        let mut invite = Invite::default();
        invite.renew();
        assert_eq!(invite, Invite::NotNeeded);
        assert!(invite.show(&json!({"connect_url": "https://a/x", "expires_in": 600}), Duration::ZERO));
        invite.renew();
        assert_eq!(invite, Invite::Needed);
    }

    #[test]
    fn a_server_that_names_no_time_starts_no_loop() {
        let mut invite = Invite::Needed;
        assert!(
            invite.show(&json!({"connect_url": "https://a/x\u{1b}[2J", "expires_in": 0}), Duration::ZERO)
        );
        assert!(!invite.wants_url(Duration::from_secs(59)) && !invite.text().unwrap().contains('\u{1b}'));
        assert!(!Invite::Needed.show(&json!({"connect_url": "javascript:x"}), Duration::ZERO));
    }
}
