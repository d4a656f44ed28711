//! Tokens: what a provider answered for a slot, kept whole, and the form in which a plugin gets them.

use std::fmt;

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use super::{
    json::{self, JsonError, Object},
    secret::{AccessToken, RefreshHandle, RefreshToken},
};

/// `expires_in` of a token that does not expire, and the most that is ever said: ten years, seconds.
pub const LONGEST_LIFE: i64 = 10 * 365 * 24 * 3600;

/// Bytes of a token object, as JSON.
pub const LARGEST_TOKEN_OBJECT: usize = 48 * 1024;

/// The members of a token endpoint's answer, under the names of RFC 6749 §5.1 where it has one for them;
/// unknown members as they came. Holds an access token, always.
#[derive(Clone)]
pub struct TokenSet {
    members: Object,
    expires_at: Option<OffsetDateTime>,
    scope: Option<String>,
}

/// The answer holds no access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer has no access_token")]
pub struct NoAccessToken;

impl TokenSet {
    /// Takes normalised members; `expires_at` is `None` for tokens that do not expire.
    pub fn new(members: Object, expires_at: Option<OffsetDateTime>) -> Result<Self, NoAccessToken> {
        match members.get("access_token") {
            Some(Value::String(token)) if !token.is_empty() => {
                let scope = granted(&members);
                Ok(Self { members, expires_at, scope })
            }
            Some(_) | None => Err(NoAccessToken),
        }
    }

    /// The members by name.
    pub fn members(&self) -> &Object {
        &self.members
    }

    /// When the access token stops working; `None`: never.
    pub fn expires_at(&self) -> Option<OffsetDateTime> {
        self.expires_at
    }

    /// The access token.
    pub fn access_token(&self) -> AccessToken {
        AccessToken::new(self.text("access_token").unwrap_or_default())
    }

    /// The provider's refresh token.
    pub fn refresh_token(&self) -> Option<RefreshToken> {
        self.text("refresh_token").filter(|token| !token.is_empty()).map(RefreshToken::new)
    }

    /// The granted scope (RFC 6749 §5.1), as one string; services that answer a list mean its members, spaces
    /// between them.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// `Bearer` where the provider gave none.
    pub fn token_type(&self) -> &str {
        self.text("token_type").unwrap_or("Bearer")
    }

    /// Seconds that remain at `now`: always positive, [`LONGEST_LIFE`] at most.
    pub fn expires_in(&self, now: OffsetDateTime) -> i64 {
        self.expires_at.map_or(LONGEST_LIFE, |at| (at - now).whole_seconds().clamp(1, LONGEST_LIFE))
    }

    /// `expires_at` as a plugin is told it: RFC 3339, UTC, whole seconds.
    pub fn expiry(&self, now: OffsetDateTime) -> String {
        let at = self.expires_at.unwrap_or(now + time::Duration::seconds(LONGEST_LIFE));
        at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
    }

    /// What a plugin is sent under broker custody: the provider's members as they came, but for the refresh
    /// token, whose place an opaque handle takes, wherever else in the object it may stand.
    pub fn for_plugin(&self, handle: &RefreshHandle, now: OffsetDateTime) -> Object {
        let mut members = self.as_received(now);
        if let Some(token) = self.refresh_token() {
            members.values_mut().for_each(|value| replace_text(value, token.expose(), handle.expose()));
        }
        members.insert("refresh_token".to_owned(), handle.expose().into());
        members
    }

    /// What a plugin is sent under device custody: the real set.
    pub fn as_received(&self, now: OffsetDateTime) -> Object {
        let mut members = self.members.clone();
        for ours in ["expires_at", "expires_in", "expiry"] {
            members.shift_remove(ours);
        }
        members.insert("expires_in".to_owned(), self.expires_in(now).into());
        members.insert("expiry".to_owned(), self.expiry(now).into());
        members
    }

    /// For the vault alone. Read back by [`TokenSet::from_plaintext`].
    pub fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let expires_at = self.expires_at.map(OffsetDateTime::unix_timestamp);
        let document = serde_json::json!({ "members": self.members, "expires_at": expires_at });
        Zeroizing::new(document.to_string().into_bytes())
    }

    /// Reads what [`TokenSet::to_plaintext`] wrote.
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, JsonError> {
        let mut document = json::parse_object(plaintext)?;
        let expires_at = document.get("expires_at").and_then(Value::as_i64);
        let members = match document.shift_remove("members") {
            Some(Value::Object(members)) => members,
            Some(_) | None => Object::new(),
        };
        let expires_at = expires_at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        Self::new(members, expires_at).map_err(|_| JsonError::misplaced())
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.members.get(member).and_then(Value::as_str)
    }
}

/// The member `scope`: a text, or a list of texts as one.
fn granted(members: &Object) -> Option<String> {
    match members.get("scope")? {
        Value::String(scope) => Some(scope.clone()),
        Value::Array(scopes) => {
            let words: Vec<&str> = scopes.iter().map(Value::as_str).collect::<Option<_>>()?;
            (!words.is_empty()).then(|| words.join(" "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// Replaces each text that holds `from`, at any depth.
fn replace_text(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text.contains(from) => *text = text.replace(from, to),
        Value::Array(elements) => elements.iter_mut().for_each(|element| replace_text(element, from, to)),
        Value::Object(members) => members.values_mut().for_each(|member| replace_text(member, from, to)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl fmt::Debug for TokenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

    fn set(value: Value, expires_at: Option<OffsetDateTime>) -> TokenSet {
        let Value::Object(members) = value else { panic!("an object") };
        TokenSet::new(members, expires_at).unwrap()
    }

    #[test]
    fn a_plugin_gets_the_members_as_they_came_with_a_handle_for_the_refresh_token() {
        let tokens = set(
            json!({"access_token": "A", "refresh_token": "R", "expires_in": "3600", "athlete": {"id": 7}}),
            Some(NOW + time::Duration::hours(1)),
        );
        let sent = tokens.for_plugin(&RefreshHandle::new("handle"), NOW + time::Duration::minutes(10));
        assert_eq!(
            Value::Object(sent),
            json!({"access_token": "A", "refresh_token": "handle", "athlete": {"id": 7},
                   "expires_in": 3000, "expiry": "2026-01-02T04:04:05Z"})
        );
    }

    #[test]
    fn a_refresh_token_that_stands_elsewhere_too_never_leaves() {
        let tokens = set(
            json!({"access_token": "A", "refresh_token": "R3fr3sh", "leak": "R3fr3sh",
                   "deep": {"list": ["x R3fr3sh y"]}}),
            None,
        );
        let sent = Value::Object(tokens.for_plugin(&RefreshHandle::new("handle"), NOW)).to_string();
        assert!(!sent.contains("R3fr3sh"), "{sent}");
        assert!(sent.contains("x handle y"), "{sent}");
    }

    #[test]
    fn f02_expires_in_is_a_positive_integer_whatever_happens() {
        let at = |expires_at| set(json!({"access_token": "A"}), expires_at).expires_in(NOW);
        assert_eq!(at(None), LONGEST_LIFE);
        assert_eq!(at(Some(NOW - time::Duration::days(1))), 1);
        assert_eq!(at(Some(NOW + time::Duration::days(36500))), LONGEST_LIFE);
    }

    #[test]
    fn f01_there_are_no_tokens_without_an_access_token() {
        for members in [
            json!({}),
            json!({"access_token": null}),
            json!({"access_token": ""}),
            json!({"access_token": {}}),
        ] {
            let Value::Object(members) = members else { panic!("an object") };
            assert!(TokenSet::new(members, None).is_err());
        }
    }

    #[test]
    fn what_the_vault_is_given_reads_back_the_same() {
        let tokens = set(json!({"access_token": "A", "id_token": "x.y.z"}), Some(NOW));
        let back = TokenSet::from_plaintext(&tokens.to_plaintext()).unwrap();
        assert_eq!(back.members(), tokens.members());
        assert_eq!(back.expires_at(), tokens.expires_at());
        assert_eq!(format!("{back:?}"), "[redacted]");
    }
}
