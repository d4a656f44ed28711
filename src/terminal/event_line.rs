//! An event as one line for a person.
//!
//! Guarantee: of a secret at most the first four characters are shown, and only members named here are shown
//! at all; of a provider's other members the line has the names. Control characters never reach the terminal.

use std::fmt::Write as _;

use serde_json::Value;
use time::{OffsetDateTime, UtcOffset};

use super::text::printable_within;
use crate::domain::json::Object;
use crate::plugin_client::Event;

/// Members of tokens and configurations that are shown, in this order.
const SHOWN: [&str; 9] = [
    "name",
    "access_token",
    "refresh_token",
    "client_id",
    "client_secret",
    "token_endpoint",
    "scope",
    "reason",
    "jwe",
];
/// Members that need no naming: those told at the end of the line, and what is always the same.
const UNTOLD: [&str; 3] = ["expires_in", "expiry", "token_type"];
/// Most characters shown of a value, and most names of other members.
const LONGEST_VALUE: usize = 60;
const MOST_NAMES: usize = 12;

/// `12:03:04  ecobee  oauth                access_token=eyJh…(43 chars) expires in 59 min, version 8`; the
/// time is UTC.
pub fn event_line(event: &Event, now: OffsetDateTime) -> String {
    let name = event.key().map_or_else(|| event.name().to_owned(), |key| format!("{}/{key}", event.name()));
    let mut line = format!("{}  {}  {:<20}", clock_time(now), event.slot(), short(&name));
    for part in shown(event.data()) {
        let _ = write!(line, " {part}");
    }
    if event.has_tokens() {
        line.push_str(&others(event.data()));
    }
    if let Some(seconds) = event.data().get("expires_in").and_then(Value::as_i64) {
        let _ = write!(line, " expires in {}", span(seconds));
    }
    let _ = write!(line, ", version {}", event.version().0);
    line
}

/// Hours, minutes and seconds, UTC.
pub fn clock_time(now: OffsetDateTime) -> String {
    let (hour, minute, second) = now.to_offset(UtcOffset::UTC).time().as_hms();
    format!("{hour:02}:{minute:02}:{second:02}")
}

fn shown(data: &Object) -> impl Iterator<Item = String> {
    let members = SHOWN.iter().filter_map(|name| Some((*name, data.get(*name)?.as_str()?)));
    members.map(|(name, value)| format!("{name}={}", shown_as(name, value)))
}

/// The names of what a provider sent besides, ready to append.
fn others(data: &Object) -> String {
    let names = data.keys().map(String::as_str);
    let names = names.filter(|name| !SHOWN.contains(name) && !UNTOLD.contains(name));
    let names: Vec<String> = names.take(MOST_NAMES).map(short).collect();
    if names.is_empty() { String::new() } else { format!(" (also {})", names.join(", ")) }
}

fn shown_as(name: &str, value: &str) -> String {
    let is_secret = ["token", "secret", "password", "jwe"].iter().any(|word| name.contains(word));
    if is_secret && name != "token_endpoint" { masked(value) } else { short(value) }
}

/// The first characters, at most four and at most an eighth of all, and how many there are.
fn masked(secret: &str) -> String {
    let length = secret.chars().count();
    let first: String = secret.chars().take((length / 8).min(4)).collect();
    format!("{}…({length} chars)", short(&first))
}

fn short(text: &str) -> String {
    printable_within(text, LONGEST_VALUE)
}

/// A number of seconds, rounded down to the unit that tells most.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;
    use crate::plugin_client::event;

    const NOW: OffsetDateTime = datetime!(2026-01-02 14:03:04 +02:00);

    fn line(event_name: &str, key: Option<&str>, data: &Value) -> String {
        let frame = json!({"type": "event", "slot": "ecobee", "version": 8, "event": event_name, "key": key, "data": data});
        event_line(&event(&frame.to_string()), NOW)
    }

    #[test]
    fn tokens_are_masked_and_their_lifetime_told() {
        let token = "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJpc3Mi";
        let data = json!({"access_token": token, "refresh_token": "short", "expires_in": 3550, "scope": "a b",
            "expiry": "2026-01-02T13:00:00Z", "id_token": "canary"});
        assert_eq!(
            line("oauth", None, &data),
            "12:03:04  ecobee  oauth                access_token=eyJh…(43 chars) refresh_token=…(5 chars) \
             scope=a b (also id_token) expires in 59 min, version 8"
        );
    }

    #[test]
    fn a_configuration_shows_where_tokens_come_from_and_not_its_secret() {
        let data = json!({"name": "Acme", "client_id": "id", "client_secret": "0123456789abcdef",
            "token_endpoint": "https://link.example/api/cloudlink/token"});
        let line = line("customns", Some("oauth"), &data);
        assert!(line.contains("customns/oauth ") && line.contains("client_secret=01…(16 chars)"), "{line}");
        assert!(line.contains("token_endpoint=https://link.example/api/cloudlink/token"), "{line}");
    }

    #[test]
    fn an_event_without_members_is_a_line_too() {
        assert_eq!(
            line("reauthorize", None, &json!({"reason": "invalid_grant"})),
            "12:03:04  ecobee  reauthorize          reason=invalid_grant, version 8"
        );
        assert!(line("unlinked", None, &json!({})).ends_with("unlinked            , version 8"));
    }

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        let told = [59, 119, 120, 3600, 7200, 172_800, 315_360_000].map(span);
        assert_eq!(told, ["59 s", "119 s", "2 min", "60 min", "2 h", "2 days", "3650 days"]);
    }

    proptest! {
        #[test]
        fn a_mask_hides_all_but_four_characters(secret in "[a-zA-Z0-9_.-]{1,300}") {
            let masked = masked(&secret);
            let shown = masked.split('…').next().unwrap();
            prop_assert!(shown.len() <= 4 && shown.len() * 8 <= secret.len());
        }

        #[test]
        fn no_control_character_reaches_the_terminal(value in any::<String>()) {
            let line = line(&value, None, &json!({"scope": value, "access_token": value, (value.clone()): 1}));
            prop_assert!(!line.contains(char::is_control));
        }
    }
}
