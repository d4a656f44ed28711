//! `cloudlink permissions`: who one is, where, until when, and what that is good for.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{
    advice::{Asked, advise},
    output::{Output, member},
    session::{Session, shown},
};
use crate::{
    api_client::Who,
    terminal::{Terminal, moment, printable, printable_json},
};

/// What `permissions` is told on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Permissions {
    #[command(flatten)]
    output: Output,
}

impl Permissions {
    /// Prints them.
    pub(super) async fn run(&self, terminal: &Terminal) -> anyhow::Result<()> {
        let session = Session::open(terminal).await?;
        self.show(terminal, &session).await.map_err(|error| advise(error, &session, Asked::Nothing))
    }

    async fn show(&self, terminal: &Terminal, session: &Session) -> anyhow::Result<()> {
        let claims = &session.claims;
        let slots = match claims.who {
            Who::Owner => {
                // Whether the token is still believed, the server alone knows.
                session.api.get("/api/audit?limit=1").await?;
                None
            }
            Who::Device(device) => {
                Some(session.api.get(&format!("/api/devices/{device}/slots?writable=true")).await?)
            }
        };
        let slots: Option<Vec<String>> = slots.map(|slots| {
            let slots = slots.as_array().into_iter().flatten();
            slots.map(|slot| printable(&member(slot, "slot"))).collect()
        });
        let (who, server) = (shown(claims.who), session.api.server().url().origin());
        // A device's key gets a new token with every command; what it may do ends with the key.
        let until = session.key_hash.is_none().then_some(claims.expires_at);
        if self.output.json {
            let until = until.map(|until| until.format(&Rfc3339)).transpose()?;
            let all: Value = json!({
                "who": who, "server": server, "credential": session.source.to_string(), "until": until,
                "key_hash": session.key_hash, "subs": claims.subs, "publ": claims.publ, "writable_slots": slots,
            });
            terminal.say(printable_json(&all))?;
            return Ok(());
        }
        let until = until.map_or_else(|| "the key is removed".to_owned(), moment);
        let mut lines = vec![
            ("who", who),
            ("server", server.to_owned()),
            ("credential", session.source.to_string()),
            ("until", until),
        ];
        match slots {
            None => lines.push(("may", "all that an operator does; no events or tokens of slots".to_owned())),
            Some(slots) => {
                let listed = |topics: &[String]| match topics {
                    [] => "nothing".to_owned(),
                    topics => topics.join("  "),
                };
                lines.extend([
                    ("hears", listed(&claims.subs)),
                    ("speaks to", listed(&claims.publ)),
                    ("slots it writes to", listed(&slots)),
                ]);
            }
        }
        for (name, value) in lines {
            terminal.say(format_args!("{name:<18}  {}", printable(&value)))?;
        }
        Ok(())
    }
}
