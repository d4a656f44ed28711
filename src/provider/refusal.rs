//! What a refresh that brought no tokens means: come back later, ask the user, or ask the owner.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{answer_error::AnswerError, exchange::ExchangeError, http::SendError};
use crate::domain::tokens::TokenSet;

/// The three kinds of failure of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshFailure {
    /// The provider is away or answers nonsense: later may do.
    ProviderAway {
        /// What it asked for with `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The provider says that the grant is gone: `invalid_grant` (RFC 6749 §5.2). No other code says so.
    GrantGone,
    /// The client, its configuration or the endpoint is refused: only the owner or the plugin's author can help.
    Misconfigured,
}

impl RefreshFailure {
    /// What an error means. `spent`: whether the access token from before is over. A 2xx that says
    /// `invalid_grant` is no error response of RFC 6749 §5.2, so it is believed only once nothing is lost by that.
    pub fn of(error: &ExchangeError, spent: bool) -> Self {
        match error {
            ExchangeError::Request(_) | ExchangeError::Send(SendError::Blocked) => Self::Misconfigured,
            ExchangeError::Answer(AnswerError::Refused { code, status }) => {
                let gone = code.as_ref().is_some_and(super::ErrorCode::is_invalid_grant);
                if gone && (*status >= 400 || spent) { Self::GrantGone } else { Self::Misconfigured }
            }
            ExchangeError::Answer(AnswerError::Unavailable { retry_after, .. }) => {
                Self::ProviderAway { retry_after: *retry_after }
            }
            ExchangeError::Send(
                SendError::Unreachable(_) | SendError::TimedOut | SendError::Invalid(_) | SendError::TooLarge,
            )
            | ExchangeError::Answer(AnswerError::Invalid | AnswerError::TooLarge) => {
                Self::ProviderAway { retry_after: None }
            }
        }
    }
}

/// What a request says of its host, for the [`Breaker`](super::Breaker).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostSign {
    /// It answers. Its answer may be a refusal, nonsense, or that this one client asks too often (429).
    Answers,
    /// It does not, or says itself that it is in trouble.
    Fails,
    /// It was not asked.
    Unasked,
}

impl HostSign {
    /// What the outcome of a request says.
    pub fn of<T>(answer: &Result<T, ExchangeError>) -> Self {
        match answer {
            Err(ExchangeError::Request(_) | ExchangeError::Send(SendError::Blocked)) => Self::Unasked,
            Err(ExchangeError::Answer(AnswerError::Unavailable { status, .. })) if *status != 429 => {
                Self::Fails
            }
            Err(ExchangeError::Send(SendError::Unreachable(_) | SendError::TimedOut)) => Self::Fails,
            Ok(_)
            | Err(
                ExchangeError::Answer(
                    AnswerError::Unavailable { .. }
                    | AnswerError::Refused { .. }
                    | AnswerError::Invalid
                    | AnswerError::TooLarge,
                )
                | ExchangeError::Send(SendError::Invalid(_) | SendError::TooLarge),
            ) => Self::Answers,
        }
    }
}

/// Whether a refresh answer is about another user than the tokens from before (OpenID Connect Core §12.2): by `sub`
/// of the ID token, or of the answer, where both have one. The ID token's signature is not checked: it came from
/// the token endpoint itself (§3.1.3.7), and at worst its word stops a refresh.
pub fn names_another_user(previous: &TokenSet, fresh: &TokenSet) -> bool {
    let differ = |before: Option<String>, after: Option<String>| match (before, after) {
        (Some(before), Some(after)) => before != after,
        _ => false,
    };
    differ(subject_of_id_token(previous), subject_of_id_token(fresh))
        || differ(subject(previous.members().get("sub")), subject(fresh.members().get("sub")))
}

fn subject_of_id_token(tokens: &TokenSet) -> Option<String> {
    let payload = tokens.members().get("id_token")?.as_str()?.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    subject(serde_json::from_slice::<Value>(&claims).ok()?.get("sub"))
}

fn subject(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::{ErrorCode, RequestError};

    fn refused(status: u16, code: &str) -> ExchangeError {
        AnswerError::Refused { code: ErrorCode::parse(code), status }.into()
    }

    #[test]
    fn f05_only_invalid_grant_says_that_the_grant_is_gone() {
        for status in [400, 401, 403] {
            let gone = RefreshFailure::of(&refused(status, "invalid_grant"), false);
            assert_eq!(gone, RefreshFailure::GrantGone);
        }
        for code in ["invalid_client", "unauthorized_client", "invalid_scope", "invalid_request", "", "x"] {
            let failure = RefreshFailure::of(&refused(400, code), true);
            assert_eq!(failure, RefreshFailure::Misconfigured, "{code}");
        }
        let unsent = ExchangeError::Request(RequestError::Header);
        assert_eq!(RefreshFailure::of(&unsent, false), RefreshFailure::Misconfigured);
        let blocked = ExchangeError::Send(SendError::Blocked);
        assert_eq!(RefreshFailure::of(&blocked, false), RefreshFailure::Misconfigured);
    }

    #[test]
    fn f01_a_200_that_says_invalid_grant_is_believed_once_the_old_token_is_over() {
        let error = refused(200, "invalid_grant");
        assert_eq!(RefreshFailure::of(&error, false), RefreshFailure::Misconfigured);
        assert_eq!(RefreshFailure::of(&error, true), RefreshFailure::GrantGone);
    }

    #[test]
    fn f05_what_may_pass_is_tried_again_and_retry_after_is_kept() {
        let retry_after = Some(Duration::from_secs(7));
        let busy = AnswerError::Unavailable { status: 429, retry_after }.into();
        assert_eq!(RefreshFailure::of(&busy, true), RefreshFailure::ProviderAway { retry_after });
        for error in [SendError::TimedOut.into(), AnswerError::Invalid.into(), AnswerError::TooLarge.into()] {
            let away = RefreshFailure::ProviderAway { retry_after: None };
            assert_eq!(RefreshFailure::of(&error, true), away);
        }
    }

    #[test]
    fn e11_a_client_that_asks_too_often_or_wrongly_speaks_for_nobody_else_at_its_host() {
        let sign = |error: ExchangeError| HostSign::of::<()>(&Err(error));
        let unavailable = |status| AnswerError::Unavailable { status, retry_after: None };
        assert_eq!(HostSign::of(&Ok(())), HostSign::Answers);
        for error in [unavailable(429).into(), AnswerError::Invalid.into(), refused(400, "invalid_client")] {
            assert_eq!(sign(error), HostSign::Answers);
        }
        for error in [unavailable(408).into(), unavailable(503).into(), SendError::TimedOut.into()] {
            assert_eq!(sign(error), HostSign::Fails);
        }
        for error in [RequestError::Header.into(), SendError::Blocked.into()] {
            assert_eq!(sign(error), HostSign::Unasked);
        }
    }

    fn tokens(members: serde_json::Value) -> TokenSet {
        let Value::Object(mut members) = members else { panic!("an object") };
        members.insert("access_token".to_owned(), "A".into());
        TokenSet::new(members, None).unwrap()
    }

    fn id_token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn f08_an_answer_about_another_user_is_recognised() {
        let before = tokens(json!({"id_token": id_token(r#"{"sub":"alice"}"#), "sub": 7}));
        for (members, another) in [
            (json!({}), false),
            (json!({"id_token": id_token(r#"{"sub":"alice","iat":1}"#)}), false),
            (json!({"id_token": id_token(r#"{"sub":"mallory"}"#)}), true),
            (json!({"sub": 7}), false),
            (json!({"sub": "8"}), true),
            (json!({"id_token": "no.token.at.all"}), false),
            (json!({"id_token": 5, "sub": {}}), false),
        ] {
            assert_eq!(names_another_user(&before, &tokens(members.clone())), another, "{members}");
            assert!(!names_another_user(&tokens(json!({})), &tokens(members)));
        }
    }
}
