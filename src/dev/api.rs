//! The broker's HTTP API as a newcomer would call it with curl.

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::{
    domain::secret::{BearerToken, Password, SecretValue},
    plugin_client::Server,
};

/// Who calls.
pub(super) enum Caller<'a> {
    /// The owner, by HTTP Basic.
    Owner { user: &'a str, password: &'a Password },
    /// The device, by its access token.
    Device(&'a BearerToken),
}

impl Caller<'_> {
    fn authorization(&self) -> SecretValue {
        SecretValue::new(match self {
            Self::Owner { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))
            }
            Self::Device(token) => format!("Bearer {}", token.expose()),
        })
    }
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    /// A member that must be a text.
    pub(super) fn text(&self, member: &'static str) -> anyhow::Result<&str> {
        let text = self.body.get(member).and_then(Value::as_str);
        text.with_context(|| format!("the broker's answer has no {member}"))
    }

    /// The answer, if it is a success; else an error that tells what was tried.
    pub(super) fn succeeded(self, tried: &str) -> anyhow::Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let detail = self.body.get("detail").and_then(Value::as_str).unwrap_or_default();
        anyhow::bail!("{tried} failed with status {}: {detail}", self.status)
    }
}

/// Calls the broker. What is no JSON counts as null.
pub(super) async fn call(
    server: &Server,
    method: reqwest::Method,
    path: &str,
    caller: &Caller<'_>,
    body: Option<&Value>,
) -> anyhow::Result<Answer> {
    let mut request = server.http().request(method, server.url().join(path));
    request = request.header("authorization", caller.authorization().expose());
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.context("the broker on this machine did not answer")?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await.context("the broker's answer broke off")?;
    Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() })
}
