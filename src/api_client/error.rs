//! Why a call did not do what it should, in words for the person who made it.

use std::fmt;

use serde::Deserialize;

use crate::terminal::printable;

/// The most members that do not fit that are told.
const MOST_ERRORS: usize = 50;

/// Why a call failed. Each is a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer came.
    #[error("{0}")]
    Unreached(&'static str),
    /// Whoever answered is no cloudlink server.
    #[error(
        "no cloudlink server answered (status {status}): check the URL, which is the server's public URL without \
         a path"
    )]
    NotCloudlink {
        /// The HTTP status.
        status: u16,
    },
    /// The server refused.
    #[error("{0}")]
    Refused(Problem),
}

impl ApiError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            Self::Unreached(_) | Self::NotCloudlink { .. } => None,
        }
    }
}

/// A refusal (RFC 9457). Its texts are printable.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable word.
    pub code: String,
    detail: String,
    errors: Vec<(String, String)>,
    retry_after: Option<u64>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    code: String,
    detail: String,
    #[serde(default)]
    errors: Vec<Misfit>,
}

#[derive(Deserialize)]
struct Misfit {
    field: String,
    detail: String,
}

impl Problem {
    /// Whether the member at this JSON pointer (RFC 6901) is among those that do not fit.
    pub fn is_about(&self, field: &str) -> bool {
        self.errors.iter().any(|misfit| misfit.0 == field)
    }

    /// Reads an answer's body; none where it is no problem.
    pub(super) fn read(status: u16, retry_after: Option<u64>, body: &[u8]) -> Option<Self> {
        let body: Body = serde_json::from_slice(body).ok()?;
        let errors = body.errors.into_iter().take(MOST_ERRORS);
        Some(Self {
            status,
            code: printable(&body.code),
            detail: printable(&body.detail),
            errors: errors.map(|misfit| (printable(&misfit.field), printable(&misfit.detail))).collect(),
            retry_after,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code == "unauthorized" {
            return f.write_str(
                "the server does not accept this credential, or not any more: sign in with `cloudlink login`",
            );
        }
        f.write_str(&self.detail)?;
        if let Some(seconds) = self.retry_after {
            write!(f, " Try again in {seconds} s.")?;
        }
        for (field, detail) in &self.errors {
            write!(f, "\n  {field}: {detail}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::label::is_disruptive;

    fn shown(status: u16, retry_after: Option<u64>, body: &serde_json::Value) -> String {
        Problem::read(status, retry_after, body.to_string().as_bytes()).unwrap().to_string()
    }

    #[test]
    fn members_that_do_not_fit_have_a_line_each() {
        let body = json!({"code": "invalid", "detail": "Some members do not fit; see errors.", "errors": [
            {"field": "/token_endpoint", "detail": "must be https"}, {"field": "/name", "detail": "is missing"}]});
        assert_eq!(
            shown(422, None, &body),
            "Some members do not fit; see errors.\n  /token_endpoint: must be https\n  /name: is missing"
        );
    }

    #[test]
    fn who_must_wait_or_sign_in_is_told_so() {
        let wait =
            json!({"code": "too_many_requests", "detail": "Too many requests; wait before the next one."});
        assert!(shown(429, Some(7), &wait).ends_with("Try again in 7 s."));
        assert!(
            shown(401, None, &json!({"code": "unauthorized", "detail": "x"})).contains("cloudlink login")
        );
    }

    #[test]
    fn what_is_no_problem_is_none() {
        for body in ["", "<html>", "{}", "[]", r#"{"detail":1}"#] {
            assert_eq!(Problem::read(404, None, body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn j03_a_refusal_moves_no_cursor(text in any::<String>()) {
            let shown = shown(422, None, &json!({"detail": text, "errors": [{"field": text, "detail": text}]}));
            prop_assert_eq!(shown.matches('\n').count(), 1, "{:?}", shown);
            prop_assert!(!shown.chars().any(|c| c != '\n' && is_disruptive(c)), "{:?}", shown);
        }
    }
}
