//! `cloudlink slot connect`: a link to press Continue at, a code to type, and how it goes.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    api_client::{Api, Method},
    cli::{
        output::{Output, member, show_json},
        stop_at_signals,
    },
    terminal::{Terminal, printable, qr_code, span},
};

/// What `slot connect` is told besides the slot.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct NewFlow {
    /// Where the browser goes in the end: an absolute URL
    #[arg(long, value_name = "URL")]
    return_url: Option<String>,
    /// Wait until it is linked, and ask for the six digits where they are needed
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    output: Output,
}

impl NewFlow {
    /// Starts a flow at the slot's path, and follows it where that was asked for.
    pub(super) async fn run(&self, terminal: &Terminal, api: &Api, path: &str) -> anyhow::Result<()> {
        let wanted = self.return_url.as_ref().map(|url| json!({ "return_url": url }));
        let flow = api.call(Method::POST, &format!("{path}/connect"), wanted.as_ref()).await?;
        if self.output.json {
            show_json(terminal, &flow)?;
        } else {
            let seconds = |name| flow.get(name).and_then(Value::as_i64).unwrap_or_default();
            terminal.say(format_args!(
                "Open and press Continue:  {}",
                printable(&member(&flow, "connect_url"))
            ))?;
            terminal.say(format_args!(
                "Or open {} elsewhere and type:  {}",
                printable(&member(&flow, "verification_uri")),
                printable(&member(&flow, "user_code"))
            ))?;
            if let Some(code) = qr_code(&member(&flow, "verification_uri_complete")) {
                terminal.say(code)?;
            }
            terminal.note(format_args!("good for {}", span(seconds("expires_in"))));
        }
        if !self.wait {
            return Ok(());
        }
        let followed = stop_at_signals().run_until_cancelled_owned(follow(terminal, api, path, &flow)).await;
        followed.unwrap_or_else(|| bail!("stopped; the link stays good until its time is up"))
    }
}

/// Asks how the flow stands until it is over.
async fn follow(terminal: &Terminal, api: &Api, path: &str, flow: &Value) -> anyhow::Result<()> {
    let number = |name| flow.get(name).and_then(Value::as_u64);
    let pause = Duration::from_secs(number("interval").unwrap_or(5).clamp(1, 60));
    // A code may be typed a while after the flow's own time.
    let end = Instant::now() + Duration::from_secs(number("expires_in").unwrap_or(600).min(86_400) + 600);
    let flow = flow.get("flow").and_then(Value::as_str).context("the server named no flow")?;
    let path = format!("{path}/flows/{flow}");
    while Instant::now() < end {
        let shown = api.get(&path).await?;
        match &*member(&shown, "status") {
            "linked" => {
                terminal.note("linked: the plugin gets its tokens");
                return Ok(());
            }
            "confirm" => {
                let code = six_digits(terminal).await?;
                match api.call(Method::POST, &format!("{path}/confirm"), Some(&json!({ "code": code }))).await
                {
                    Err(error) if error.status() == Some(422) => terminal.note(error),
                    confirmed => drop(confirmed?),
                }
            }
            "denied" => bail!("it was not allowed: start again with `cloudlink slot connect`"),
            "failed" => bail!(
                "it failed ({}): start again with `cloudlink slot connect`",
                printable(&member(&shown, "error"))
            ),
            "expired" => break,
            _ => sleep(pause).await,
        }
    }
    bail!("nobody linked it in time: start again with `cloudlink slot connect`")
}

async fn six_digits(terminal: &Terminal) -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        terminal.note("Type the six digits that the browser shows:");
    }
    let typed = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|read| (read > 0).then_some(line))
    });
    let line = typed.await?.context("standard input can't be read")?;
    Ok(line.context("nobody typed the six digits that the browser shows")?.trim().to_owned())
}
