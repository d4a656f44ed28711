//! `cloudlink keys …`: on the machine that has the settings and reaches the database.

use crate::{config::Settings, flows::Retire, startup, terminal::Terminal};

/// What is done with the server's keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Keys {
    /// Put a new key in the place of one in use
    #[command(
        after_help = "Example:\n  cloudlink keys rotate --signing --config /etc/cloudlink/cloudlink.toml\n\n\
                            Running replicas sign with the new key within seconds; nothing is restarted."
    )]
    Rotate {
        /// The key that signs access tokens; what the old one signed is believed for one hour more
        #[arg(long, required = true)]
        signing: bool,
        /// Erase the old key and end at once all that it signed, for a key that may have leaked
        #[arg(long)]
        now: bool,
    },
}

impl Keys {
    /// Does it. Prints the new key's id.
    pub(super) async fn run(&self, settings: &Settings, terminal: &Terminal) -> anyhow::Result<()> {
        let Self::Rotate { now, signing: _ } = self;
        let retire = if *now { Retire::Now } else { Retire::InAnHour };
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
}
