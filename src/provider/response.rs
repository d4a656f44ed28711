//! What a token endpoint's answer means (RFC 6749 §5), for the ways in which services depart from it.
//!
//! Guarantees that a token set comes out only of a 2xx with a non-empty `access_token` and no sign of
//! refusal, under the standard names, at most 48 KiB; that unknown members are kept; and that an error
//! carries nothing of the body but a validated code. JSON with a member twice is no answer: two readers
//! could take two meanings from it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use url::form_urlencoded;

use super::{
    answer_error::{AnswerError, ErrorCode},
    expiry::Lifetimes,
    http::Answer,
};
use crate::domain::{
    json::{self, Object},
    plugin::{FieldPath, OauthConfiguration},
    tokens::{LARGEST_TOKEN_OBJECT, TokenSet},
};

/// Of UTF-8 (RFC 8259 §8.1: not to be sent, and sent).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Seconds that `Retry-After` may ask for.
const LONGEST_RETRY_AFTER: u64 = 24 * 3600;

/// Reads an answer to an exchange or a refresh. `callback` holds what the redirect carried of
/// `callback_parameters`: they become members of the token object, where the provider has none of the name.
pub fn normalise(
    answer: &Answer,
    configuration: &OauthConfiguration,
    callback: &BTreeMap<String, String>,
    now: OffsetDateTime,
) -> Result<TokenSet, AnswerError> {
    let status = answer.status;
    check_status(answer, now)?;
    let token_path = configuration.response_fields.get("access_token");
    let received = members(&answer.body, token_path).ok_or(AnswerError::Invalid)?;
    let found = |name: &str| {
        let moved = configuration.response_fields.get(name).and_then(|path| look_up(&received, path));
        moved.or_else(|| received.get(name))
    };
    let has_token = matches!(found("access_token"), Some(Value::String(token)) if !token.is_empty());
    if says_no(&received, has_token) {
        return Err(AnswerError::Refused { code: error_code(&received), status });
    }
    if !has_token {
        return Err(AnswerError::Invalid);
    }
    let expires_at = lifetimes(&received, configuration).earliest(configuration.default_expires_in, now);

    let mut tokens = received.clone();
    for (name, path) in &configuration.response_fields {
        move_member(&mut tokens, name, path);
    }
    for name in ["refresh_token", "token_type"] {
        if tokens.get(name).is_some_and(|value| !is_text(value)) {
            tokens.shift_remove(name);
        }
    }
    for (name, value) in callback {
        if configuration.callback_parameters.contains_key(name) && !tokens.contains_key(name) {
            tokens.insert(name.clone(), value.as_str().into());
        }
    }
    bounded(tokens, expires_at)
}

/// `fresh` on top of `previous`: what a provider leaves out of a refresh answer stays as it was. The expiry
/// is that of the new access token alone.
pub fn merge(previous: &TokenSet, fresh: &TokenSet) -> Result<TokenSet, AnswerError> {
    let mut members = previous.members().clone();
    for stale in ["expires_in", "expires_at"] {
        members.shift_remove(stale);
    }
    for (name, value) in fresh.members() {
        members.insert(name.clone(), value.clone());
    }
    bounded(members, fresh.expires_at())
}

fn bounded(members: Object, expires_at: Option<OffsetDateTime>) -> Result<TokenSet, AnswerError> {
    match serde_json::to_vec(&members) {
        Ok(text) if text.len() <= LARGEST_TOKEN_OBJECT => {
            TokenSet::new(members, expires_at).map_err(|_| AnswerError::Invalid)
        }
        Ok(_) | Err(_) => Err(AnswerError::TooLarge),
    }
}

/// Whether the status alone decides. A 4xx is a refusal whatever its body is; only the code is read from it.
pub(super) fn check_status(answer: &Answer, now: OffsetDateTime) -> Result<(), AnswerError> {
    match answer.status {
        200..=299 => Ok(()),
        status @ (408 | 429 | 500..=599) => {
            let retry_after = answer.retry_after.as_deref().and_then(|text| retry_after(text, now));
            Err(AnswerError::Unavailable { status, retry_after })
        }
        status @ 400..=499 => {
            let code = members(&answer.body, None).as_ref().and_then(error_code);
            Err(AnswerError::Refused { code, status })
        }
        _ => Err(AnswerError::Invalid),
    }
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(text: &str, now: OffsetDateTime) -> Option<Duration> {
    let seconds = text.trim().parse::<u64>().ok().or_else(|| {
        let at = OffsetDateTime::parse(text.trim(), &Rfc2822).ok()?;
        u64::try_from((at - now).whole_seconds()).ok()
    })?;
    Some(Duration::from_secs(seconds.min(LONGEST_RETRY_AFTER)))
}

/// JSON whatever the content type says, else a form: one that has a member we look for, and none twice.
fn members(body: &[u8], token_path: Option<&FieldPath>) -> Option<Object> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if let Ok(value) = json::parse(body) {
        return match value {
            Value::Object(object) => Some(object),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        };
    }
    let text = std::str::from_utf8(body).ok()?.trim();
    if text.starts_with(['{', '[', '<', '"']) {
        return None;
    }
    let mut form = Object::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if form.insert(name.into_owned(), value.into_owned().into()).is_some() {
            return None;
        }
    }
    let renamed = token_path.and_then(|path| look_up(&form, path));
    let known = renamed.is_some() || form.contains_key("access_token") || form.contains_key("error");
    known.then_some(form)
}

fn look_up<'a>(object: &'a Object, path: &FieldPath) -> Option<&'a Value> {
    let (first, rest) = path.0.split_first()?;
    rest.iter().try_fold(object.get(first)?, |value, segment| value.get(segment))
}

/// Gives the member its standard name. A refresh token leaves its old place: a plugin is handed the rest of
/// the object, and never a refresh token. Others stay there too, for plugins that look for them there.
fn move_member(tokens: &mut Object, name: &str, path: &FieldPath) {
    let Some(value) = look_up(tokens, path).cloned() else { return };
    if name == "refresh_token"
        && let Some((last, parents)) = path.0.split_last()
    {
        let parent = match parents.split_first() {
            None => Some(&mut *tokens),
            Some((first, rest)) => {
                let start = tokens.get_mut(first);
                rest.iter()
                    .fold(start, |value, segment| value.and_then(|value| value.get_mut(segment)))
                    .and_then(Value::as_object_mut)
            }
        };
        if let Some(parent) = parent {
            parent.shift_remove(last);
        }
    }
    tokens.insert(name.to_owned(), value);
}

/// A 2xx that means no: `ok: false`, an `error`, or (where there is no token) a `status` or `result` that is
/// a number other than nought.
fn says_no(received: &Object, has_token: bool) -> bool {
    let not_ok = received.get("ok") == Some(&Value::Bool(false));
    let error = match received.get("error") {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(_) | Value::Bool(true)) => true,
        Some(_) | None => false,
    };
    let number = |name: &str| match received.get(name) {
        Some(Value::Number(number)) => number.as_f64().is_some_and(|number| number != 0.0),
        Some(Value::String(text)) => text.parse::<f64>().is_ok_and(|number| number != 0.0),
        Some(_) | None => false,
    };
    not_ok || error || (!has_token && (number("status") || number("result")))
}

fn error_code(received: &Object) -> Option<ErrorCode> {
    let text = match received.get("error")? {
        Value::String(text) => text,
        Value::Object(error) => error.get("code")?.as_str()?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return None,
    };
    ErrorCode::parse(text)
}

fn lifetimes<'a>(received: &'a Object, configuration: &OauthConfiguration) -> Lifetimes<'a> {
    let all = |name: &str| -> Vec<&'a Value> {
        let moved = configuration.response_fields.get(name).and_then(|path| look_up(received, path));
        moved.into_iter().chain(received.get(name)).collect()
    };
    Lifetimes { relative: all("expires_in"), absolute: all("expires_at") }
}

fn is_text(value: &Value) -> bool {
    matches!(value, Value::String(text) if !text.is_empty())
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
