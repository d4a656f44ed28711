//! Signing in with a browser on another machine (RFC 8628): a code to type there, and questions until it was.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{
    CLIENT_ID, granted,
    poller::{Heard, Poller, Step},
};
use crate::{
    api_client::{Answered, Api, ApiError},
    domain::{
        json::Object,
        secret::{BearerToken, SecretValue},
    },
    terminal::{Terminal, printable, qr_code, span},
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The longest that a code is asked for, whatever the server says.
const LONGEST: u64 = 24 * 60 * 60;

/// Shows the code and asks until somebody has signed in, or nobody can any more.
pub(super) async fn sign_in(
    terminal: &Terminal,
    api: &Api,
    scope: Option<&str>,
) -> anyhow::Result<BearerToken> {
    let mut form = vec![("client_id", CLIENT_ID)];
    form.extend(scope.map(|scope| ("scope", scope)));
    let begun = match api.post_form("/api/device_authorization", &form).await? {
        Answered::Granted(members) => members,
        Answered::Refused { error, description } => bail!("the server refused ({error}) {description}"),
    };
    let start = Instant::now();
    let text =
        |name| begun.get(name).and_then(Value::as_str).with_context(|| format!("the server gave no {name}"));
    let seconds = |name| begun.get(name).and_then(Value::as_u64);
    let device_code = SecretValue::new(text("device_code")?);
    let lasts =
        Duration::from_secs(seconds("expires_in").context("the server gave no expires_in")?.min(LONGEST));
    // RFC 8628 §3.2: 5 where nothing is said.
    let poller = Poller::new(Duration::from_secs(seconds("interval").unwrap_or(5)), lasts);
    introduce(terminal, text("verification_uri")?, text("user_code")?, &begun)?;
    terminal
        .note(format_args!("The code is good for {}.", span(lasts.as_secs().try_into().unwrap_or(i64::MAX))));
    let asked = ask(terminal, api, &device_code, poller, Deadline { start, lasts }).await;
    terminal.progress("");
    asked
}

fn introduce(terminal: &Terminal, uri: &str, code: &str, begun: &Object) -> anyhow::Result<()> {
    terminal.say(format_args!("Open this page in any browser:  {}", printable(uri)))?;
    terminal.say(format_args!("and type this code:             {}", printable(code)))?;
    let complete = begun.get("verification_uri_complete").and_then(Value::as_str);
    if let Some(code) = complete.and_then(qr_code) {
        terminal.say("Or scan this with a phone:")?;
        terminal.say(code)?;
    }
    Ok(())
}

/// When the code was made, and how long it lasts.
#[derive(Clone, Copy)]
struct Deadline {
    start: Instant,
    lasts: Duration,
}

async fn ask(
    terminal: &Terminal,
    api: &Api,
    device_code: &SecretValue,
    mut poller: Poller,
    deadline: Deadline,
) -> anyhow::Result<BearerToken> {
    let form = [("grant_type", GRANT), ("device_code", device_code.expose()), ("client_id", CLIENT_ID)];
    let mut wait = poller.first();
    loop {
        count_down(terminal, wait, deadline).await;
        let heard = match api.post_form("/api/token", &form).await {
            Ok(Answered::Granted(members)) => return granted(&members),
            Ok(Answered::Refused { error, description }) => match error.as_str() {
                "authorization_pending" => Heard::Pending,
                "slow_down" => Heard::SlowDown,
                "expired_token" => Heard::Expired,
                "access_denied" => Heard::Denied,
                "server_error" | "temporarily_unavailable" => Heard::Trouble,
                _ => bail!("the server refused ({error}) {description}: sign in again"),
            },
            Err(ApiError::Refused(problem)) if problem.status == 429 => Heard::SlowDown,
            Err(ApiError::Refused(problem)) if problem.status < 500 => bail!(ApiError::Refused(problem)),
            Err(error) => {
                tracing::debug!(cause = %error, "a question was not answered");
                Heard::Trouble
            }
        };
        match poller.next(deadline.start.elapsed(), heard) {
            Step::Wait(longer) => wait = longer,
            Step::Denied => bail!("it was not allowed: nobody is signed in"),
            Step::Expired => bail!("nobody typed the code in time: sign in again"),
        }
    }
}

/// Waits, and shows a person how long the code is good.
async fn count_down(terminal: &Terminal, wait: Duration, deadline: Deadline) {
    let showing = async {
        loop {
            let left = deadline.lasts.saturating_sub(deadline.start.elapsed()).as_secs();
            terminal.progress(format_args!("waiting, {}:{:02} left", left / 60, left % 60));
            sleep(Duration::from_secs(1)).await;
        }
    };
    // It ends by the time alone.
    let _: Result<(), _> = timeout(wait, showing).await;
}
