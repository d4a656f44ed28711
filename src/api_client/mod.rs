//! cloudlink's HTTP API as its own commands call it.
//!
//! Guarantees: an answer's body is read up to a limit; a request waits as long as [`Server`] lets it and follows no
//! redirect; what goes wrong is an [`ApiError`] that says what to do, made of text that a terminal may be shown.
//!
//! It keeps nothing and tries nothing twice.

mod claims;
mod error;

use serde_json::Value;
use url::form_urlencoded;

pub use reqwest::Method;

pub use self::{
    claims::{Claims, Who},
    error::{ApiError, Problem},
};
use crate::{
    domain::{
        json::Object,
        secret::{BearerToken, Password, SecretValue},
    },
    plugin_client::{Server, read, unreached},
    terminal::printable,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The longest answer that is read, in bytes: a list of ten thousand devices has a tenth of that.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody in particular.
    Anyone,
    /// The owner, by HTTP Basic.
    Owner {
        /// The name.
        user: String,
        /// The password.
        password: Password,
    },
    /// Whoever holds the token.
    Bearer(BearerToken),
}

/// One server, and who calls it.
#[derive(Debug, Clone)]
pub struct Api {
    server: Server,
    caller: Caller,
}

/// What an endpoint of OAuth answered to a form.
#[derive(Debug)]
pub enum Answered {
    /// 200, with these members.
    Granted(Object),
    /// RFC 6749 §5.2: the stable word.
    Refused {
        /// `error`.
        error: String,
        /// `error_description`, printable; may be empty.
        description: String,
    },
}

impl Api {
    /// Calls `server` as `caller`.
    pub fn new(server: Server, caller: Caller) -> Self {
        Self { server, caller }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Reads what is at `path`, which begins with a slash.
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(Method::GET, path, None).await
    }

    /// Calls `path` with a JSON body, where there is one. Null where the answer has no body.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let mut request = self.server.http().request(method, self.server.url().join(path));
        if let Some(authorization) = self.caller.authorization() {
            request = request.header("authorization", authorization.expose());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let (status, retry_after, body) = send(request).await?;
        if !(200..300).contains(&status) {
            return Err(Problem::read(status, retry_after, &body)
                .map_or_else(|| ApiError::NotCloudlink { status }, ApiError::Refused));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| ApiError::NotCloudlink { status })
    }

    /// Posts a form to an endpoint of OAuth, without a credential: the form has what it needs.
    pub async fn post_form(&self, path: &str, members: &[(&str, &str)]) -> Result<Answered, ApiError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(members).finish();
        let request = self.server.http().post(self.server.url().join(path));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let (status, retry_after, body) = send(request).await?;
        let members = serde_json::from_slice::<Object>(&body);
        if status == 200 {
            // RFC 7009 §2.2: the answer of a revocation is its status alone.
            return Ok(Answered::Granted(members.unwrap_or_default()));
        }
        if let Ok(members) = members
            && let Some(error) = members.get("error").and_then(Value::as_str)
        {
            let description = members.get("error_description").and_then(Value::as_str).unwrap_or_default();
            return Ok(Answered::Refused { error: printable(error), description: printable(description) });
        }
        Err(Problem::read(status, retry_after, &body)
            .map_or_else(|| ApiError::NotCloudlink { status }, ApiError::Refused))
    }
}

impl Caller {
    fn authorization(&self) -> Option<SecretValue> {
        match self {
            Self::Anyone => None,
            Self::Owner { user, password } => {
                let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                Some(SecretValue::new(format!("Basic {pair}")))
            }
            Self::Bearer(token) => Some(SecretValue::new(format!("Bearer {}", token.expose()))),
        }
    }
}

type Raw = (u16, Option<u64>, zeroize::Zeroizing<Vec<u8>>);

async fn send(request: reqwest::RequestBuilder) -> Result<Raw, ApiError> {
    let failed = |error: reqwest::Error| ApiError::Unreached(unreached(&error));
    let answer = request.send().await.map_err(failed)?;
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get("retry-after");
    let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    Ok((status, retry_after, read(answer, LONGEST_ANSWER).await.map_err(failed)?))
}
