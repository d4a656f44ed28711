//! The device's access token: an assertion for it at `POST /api/token` (RFC 7523 §2.1).

use std::time::Duration;

use serde::Deserialize;
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};
use url::form_urlencoded;

use super::{
    PluginClient,
    server::{read, unreached},
};
use crate::domain::secret::BearerToken;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
/// A token this near to its end is not used for another connection.
const NEAR_THE_END: Duration = Duration::from_mins(1);
/// The most characters shown of what the server says.
const LONGEST_SAYING: usize = 200;

/// Why there is no token. The texts go to a person.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The server does not believe the assertion. What it says is about device, key, audience or clock.
    #[error("the server refused this device: {said}. {}", advice(said))]
    Refused {
        /// The server's own description.
        said: String,
    },
    /// Whoever answered is no cloudlink server.
    #[error(
        "no cloudlink server answered (status {status} from /api/token): check the URL, which is the server's \
         public URL without a path"
    )]
    NotCloudlink {
        /// The HTTP status.
        status: u16,
    },
    /// The key can't sign.
    #[error("the key can't sign: give an Ed25519, P-256 or RSA key")]
    Key,
    /// It may go well the next time: a clause that says why.
    #[error("{0}; try again later")]
    Passing(String),
}

/// What puts right what the server complains about.
fn advice(said: &str) -> &'static str {
    if said.contains("clock") {
        "Set this machine's clock"
    } else if said.contains("aud must") {
        "Give the server's public URL exactly as it is set there"
    } else {
        "Check the device's id, and that the key is among the device's trusted keys and not removed"
    }
}

/// An access token and when it ends.
pub(super) struct Token {
    pub(super) bearer: BearerToken,
    expires_at: OffsetDateTime,
}

impl Token {
    /// Whether it is worth opening a connection with.
    pub(super) fn is_good(&self, now: OffsetDateTime) -> bool {
        now + NEAR_THE_END < self.expires_at
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u32,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Asks for a token with a fresh assertion. Where this machine's clock is refused, the assertion is made once more by
/// the clock of the server, which alone is to believe it: a hub without a battery must come up, too.
pub(super) async fn ask(client: &PluginClient) -> Result<Token, TokenError> {
    let now = client.clock.now();
    let (refused, servers_now) = ask_at(client, now).await?;
    match (refused, servers_now) {
        (Err(TokenError::Refused { said }), Some(servers_now)) if said.contains("clock") => {
            tracing::warn!(%now, %servers_now, "this machine's clock is off: the server's is used");
            let (token, _) = ask_at(client, servers_now).await?;
            token
        }
        (answered, _) => answered,
    }
}

/// One request with an assertion made at `at`: what it brought, and the server's time.
async fn ask_at(
    client: &PluginClient,
    at: OffsetDateTime,
) -> Result<(Result<Token, TokenError>, Option<OffsetDateTime>), TokenError> {
    let url = client.server.url().join("/api/token");
    let assertion = client.key.assert(client.device, &url, at, client.entropy.as_ref());
    let assertion = assertion.ok_or(TokenError::Key)?;
    let slot = client.slot.as_ref().map(|slot| ("slot", slot.as_str()));
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", JWT_BEARER), ("assertion", assertion.expose())])
        .extend_pairs(slot)
        .finish();
    let request = client.server.http().post(url);
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let answer = request.send().await.map_err(|error| TokenError::Passing(unreached(&error).to_owned()))?;
    let status = answer.status().as_u16();
    let servers_now = answer.headers().get("date").and_then(|date| http_date(date.to_str().ok()?));
    let body = read(answer, LONGEST_ANSWER)
        .await
        .map_err(|error| TokenError::Passing(unreached(&error).to_owned()))?;
    Ok((token(status, &body, client.clock.now()), servers_now))
}

/// The form of `Date` that is sent (RFC 9110 §5.6.7).
fn http_date(text: &str) -> Option<OffsetDateTime> {
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    PrimitiveDateTime::parse(text, form).ok().map(PrimitiveDateTime::assume_utc)
}

/// What an answer of `/api/token` means.
fn token(status: u16, body: &[u8], now: OffsetDateTime) -> Result<Token, TokenError> {
    match status {
        200 => {
            let granted: Granted =
                serde_json::from_slice(body).map_err(|_| TokenError::NotCloudlink { status })?;
            let bearer = BearerToken::new(granted.access_token);
            Ok(Token { bearer, expires_at: now + Duration::from_secs(granted.expires_in.into()) })
        }
        429 => Err(TokenError::Passing("the server asks for fewer attempts".to_owned())),
        500..=599 => Err(TokenError::Passing(format!("the server is in trouble (status {status})"))),
        _ => match serde_json::from_slice::<Refused>(body) {
            Ok(refused) => {
                let said = if refused.error_description.is_empty() {
                    refused.error
                } else {
                    refused.error_description
                };
                Err(TokenError::Refused { said: readable(&said) })
            }
            Err(_) => Err(TokenError::NotCloudlink { status }),
        },
    }
}

/// One line without control characters, which could move a terminal's cursor.
fn readable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_SAYING).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

    fn refusal(status: u16, body: &str) -> String {
        match token(status, body.as_bytes(), NOW) {
            Ok(_) => panic!("no token was given"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_token_is_good_until_a_minute_before_its_end() {
        let token =
            token(200, br#"{"access_token":"t","token_type":"Bearer","expires_in":300}"#, NOW).unwrap();
        assert!(token.is_good(NOW + Duration::from_secs(239)));
        assert!(!token.is_good(NOW + Duration::from_mins(4)));
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        assert_eq!(http_date("Fri, 02 Jan 2026 03:04:05 GMT"), Some(NOW));
        for other in ["", "Fri, 02 Jan 2026 03:04:05 CET", "2026-01-02T03:04:05Z"] {
            assert_eq!(http_date(other), None, "{other}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let body = |said: &str| format!(r#"{{"error":"invalid_grant","error_description":"{said}"}}"#);
        let clock = refusal(400, &body("the assertion's iat is 300 s ahead of this server's clock"));
        assert!(clock.ends_with("Set this machine's clock"), "{clock}");
        let key = refusal(400, &body("none of the device's trusted keys made the assertion's signature"));
        assert!(key.contains("trusted keys and not removed"), "{key}");
        let audience = refusal(400, &body("the assertion's aud must be this server's token endpoint"));
        assert!(audience.contains("public URL"), "{audience}");
    }

    #[test]
    fn whoever_is_no_cloudlink_is_said_to_be_none() {
        for (status, body) in [(200, "<html>"), (404, "not found"), (302, ""), (405, "{}")] {
            assert!(refusal(status, body).starts_with("no cloudlink server"), "{status}");
        }
    }

    #[test]
    fn trouble_that_passes_is_told_apart() {
        for status in [429, 500, 503] {
            assert!(matches!(token(status, b"", NOW), Err(TokenError::Passing(_))), "{status}");
        }
    }

    #[test]
    fn what_the_server_says_moves_no_cursor() {
        let said = refusal(400, r#"{"error":"x","error_description":"a\u001b[2Jb"}"#);
        assert!(said.contains("a[2Jb") && !said.contains('\u{1b}'), "{said}");
    }
}
