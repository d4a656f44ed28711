//! What a newcomer watches: the plugin attached, the link to open, the event that arrives.
//!
//! Two things run side by side: the plugin, which prints what it is told, and the narrator, who keeps a link
//! open for the person until one was used. The narrator looks at what the plugin has seen and at the flow,
//! and never holds an event back.

use std::{io, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::household::{Attempt, Household, Progress};
use crate::{
    domain::clock::Clock,
    plugin_client::{Listener, News},
    terminal::{Terminal, clock_time, event_line},
};

/// How long the first events may take to arrive.
const FIRST_EVENTS: Duration = Duration::from_secs(15);

/// What the plugin has seen so far.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Events taken, of any kind.
    events: u32,
    /// Events with tokens, from now or from an earlier run.
    tokens: u32,
    /// Acknowledged events of a new consent.
    consents: u32,
}

/// Tells the story until `stop`.
pub(super) async fn tell(
    household: &Household,
    terminal: &Terminal,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (show, seen) = watch::channel(Seen::default());
    let plugin = household.plugin();
    let mut demo = DemoPlugin { terminal, clock: plugin.clock.as_ref(), show, consent_open: false };
    let ended = stop.child_token();
    let playing = async {
        let played = plugin.run(&mut demo, &ended).await;
        ended.cancel();
        played
    };
    let narrating = async {
        let narrated = ended.run_until_cancelled(narrate(household, terminal, seen)).await;
        ended.cancel();
        narrated.unwrap_or(Ok(()))
    };
    let (played, narrated) = tokio::join!(playing, narrating);
    played?;
    narrated
}

async fn narrate(
    household: &Household,
    terminal: &Terminal,
    mut seen: watch::Receiver<Seen>,
) -> anyhow::Result<()> {
    let linked = household.is_linked().await?;
    let arrived = seen.wait_for(|seen| if linked { seen.tokens > 0 } else { seen.events > 0 });
    timeout(FIRST_EVENTS, arrived).await.context("the plugin got no event from the relay")??;
    terminal.say("")?;
    let mut opening = if linked {
        "The plugin was linked in an earlier run and has its tokens back. To link it anew, open this and press \
         Continue:"
    } else {
        "Open this and press Continue:"
    };
    loop {
        let consents = seen.borrow().consents;
        let attempt = household.connect().await?;
        terminal.say(format_args!("{opening}  {}", attempt.connect_url))?;
        terminal.say("")?;
        opening = match until_over(household, &attempt, &mut seen, consents).await? {
            Over::Linked => break,
            Over::Denied => "It was not allowed. To try again, open this:",
            Over::Failed => "It did not work; the page says why. To try again, open this:",
            Over::Expired => "The link has expired. Open this one:",
        };
    }
    terminal.say("")?;
    terminal
        .say("The page in your browser says so too. Press Ctrl+C to stop; run it again to see the plugin")?;
    terminal.say("get its tokens back.")?;
    std::future::pending().await
}

/// How an attempt ended.
enum Over {
    Linked,
    Denied,
    Failed,
    Expired,
}

async fn until_over(
    household: &Household,
    attempt: &Attempt,
    seen: &mut watch::Receiver<Seen>,
    consents: u32,
) -> anyhow::Result<Over> {
    let end = Instant::now() + attempt.lasts;
    loop {
        tokio::select! {
            arrived = seen.wait_for(|seen| seen.consents > consents) => {
                arrived?;
                return Ok(Over::Linked);
            }
            () = sleep(attempt.poll) => {}
        }
        match household.progress(attempt).await? {
            // The event is on its way.
            Progress::Linked => {}
            Progress::Open if Instant::now() < end => {}
            Progress::Denied => return Ok(Over::Denied),
            Progress::Failed => return Ok(Over::Failed),
            Progress::Expired | Progress::Open => return Ok(Over::Expired),
        }
    }
}

/// The plugin of the demo: it shows what it is told.
struct DemoPlugin<'a> {
    terminal: &'a Terminal,
    clock: &'a dyn Clock,
    show: watch::Sender<Seen>,
    /// A consent was printed and is not acknowledged yet.
    consent_open: bool,
}

impl Listener for DemoPlugin<'_> {
    fn hear(&mut self, news: News<'_>) -> io::Result<()> {
        let now = self.clock.now();
        let time = clock_time(now);
        match news {
            News::Connected => {}
            News::Event(event) => {
                self.terminal.say(event_line(event, now))?;
                self.consent_open = event.name() == "oauth";
                self.show.send_modify(|seen| {
                    seen.events += 1;
                    seen.tokens += u32::from(event.has_tokens());
                });
            }
            News::Acknowledged(slot, version) => {
                self.terminal.say(format_args!("{time}  {slot}  acknowledged version {}", version.0))?;
                if std::mem::take(&mut self.consent_open) {
                    self.show.send_modify(|seen| seen.consents += 1);
                }
            }
            News::Interrupted { reason, retry_in } => {
                let wait = retry_in.as_secs_f32();
                self.terminal.note(format_args!("{time}  {reason}; trying again in {wait:.1} s"));
            }
        }
        Ok(())
    }
}
