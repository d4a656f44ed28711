//! `cloudlink keys …`: on the machine that has the settings and reaches the database, whether a service runs or not.

use tokio_util::sync::CancellationToken;

use super::{key_status::Status, resealing};
use crate::{
    config::Settings,
    flows::Retire,
    startup::{self, maintain},
    terminal::Terminal,
};

/// What is done with the server's keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Keys {
    /// Seal everything stored with the first key of vault.keys, or replace the key that signs tokens
    #[command(after_help = "Examples:\n  \
            cloudlink keys rotate            --config /etc/cloudlink/cloudlink.toml\n  \
            cloudlink keys rotate --signing  --config /etc/cloudlink/cloudlink.toml\n\n\
            The service keeps running. Before the first of these, restart every replica with the new key first in \
            vault.keys.")]
    Rotate(Rotate),
    /// Show how much each vault key seals, and how old the signing keys are
    Status(Status),
}

/// Which key is rotated.
#[derive(Debug, clap::Args)]
pub(super) struct Rotate {
    /// The key that signs access tokens; what the old one signed is believed for one hour more
    #[arg(long)]
    signing: bool,
    /// Erase the old key and end at once all that it signed, for a key that may have leaked
    #[arg(long, requires = "signing")]
    now: bool,
}

impl Keys {
    /// Does it, or as much of it as there is time for until `stop`.
    pub(super) async fn run(
        &self,
        settings: &Settings,
        terminal: &Terminal,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        match self {
            Self::Rotate(Rotate { signing: false, .. }) => {
                maintain(settings, async |store| resealing::rotate(&store, terminal, stop).await).await
            }
            Self::Rotate(Rotate { signing: true, now: true }) => {
                sign_anew(settings, terminal, Retire::Now).await
            }
            Self::Rotate(Rotate { signing: true, now: false }) => {
                sign_anew(settings, terminal, Retire::InAnHour).await
            }
            Self::Status(status) => status.run(settings, terminal).await,
        }
    }
}

/// Replaces the key that signs access tokens, and prints the new one's id.
async fn sign_anew(settings: &Settings, terminal: &Terminal, retire: Retire) -> anyhow::Result<()> {
    let kid = startup::rotate_signing_key(settings, retire).await?;
    terminal.say(kid)?;
    terminal.note(match retire {
        Retire::InAnHour => {
            "This key signs from now on. What the old one signed is believed for one hour more."
        }
        Retire::Now => "This key signs from now on. All that the old one signed ends within seconds.",
    });
    Ok(())
}
