//! `cloudlink attach`: be a plugin from the command line.
//!
//! Each slot has a connection of its own, with a token good for that slot alone; without `--slot` there is
//! one connection with the device's token, for all its slots. An event is acknowledged once its line was
//! written, so that what a broken pipe swallowed comes again.

use std::io;

use futures_util::future::try_join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::named_device::NamedDevice;
use crate::{
    api_client::{Api, Caller},
    domain::{clock::Clock, ids::SlotName},
    plugin_client::{Answering, ClientError, Inquiry, Listener, News, PluginClient},
    terminal::{Terminal, clock_time, event_line, printable},
};

/// What `attach` is told on the command line.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cloudlink attach --slot heating      # as the device that is signed in\n  \
                        cloudlink attach --url https://link.example --device ID --key device.pem"
)]
pub struct Attach {
    #[command(flatten)]
    device: NamedDevice,
    /// Only this slot; may be given several times [default: all slots of the device]
    #[arg(long = "slot", value_name = "NAME")]
    slots: Vec<SlotName>,
    /// Print each event as the JSON object that came, one a line, with its secrets
    #[arg(long)]
    json: bool,
    /// Answer each request of a web service with 200 and an empty object, each command with a refusal
    #[arg(long)]
    answer: bool,
}

/// How events are printed.
#[derive(Debug, Clone, Copy)]
enum Format {
    /// One line for a person, secrets masked.
    Readable,
    /// The frame as it came.
    Json,
}

impl Attach {
    /// Prints and acknowledges events until `stop`.
    pub(super) async fn run(&self, terminal: &Terminal, stop: &CancellationToken) -> anyhow::Result<()> {
        let hub = self.device.client(terminal)?;
        let format = if self.json { Format::Json } else { Format::Readable };
        let whole_device = self.slots.is_empty().then_some(None);
        let slots = whole_device.into_iter().chain(self.slots.iter().cloned().map(Some));
        let clients: Vec<PluginClient> = slots.map(|slot| PluginClient { slot, ..hub.clone() }).collect();
        let attached = clients.iter().map(async |client| {
            let slot =
                client.slot.as_ref().map_or_else(|| "all slots".to_owned(), |slot| format!("slot {slot}"));
            let answering = if self.answer { Answering::Plainly } else { Answering::Silence };
            let (clock, opened) = (client.clock.as_ref(), &Notify::new());
            let mut printer = Printer { terminal, format, clock, slot, answering, opened };
            let looking = async {
                opened.notified().await;
                look_for_a_plugin(terminal, client).await;
                std::future::pending().await
            };
            tokio::select! {
                ended = client.run(&mut printer, stop) => ended,
                ended = looking => ended,
            }
        });
        match try_join_all(attached).await {
            // Whoever read our output has seen enough; the event stays unacknowledged.
            Err(ClientError::Listener(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            ended => Ok(ended.map(drop)?),
        }
    }
}

/// Says so where nothing can come, because no plugin is installed in the slot; once, and events are waited for.
async fn look_for_a_plugin(terminal: &Terminal, client: &PluginClient) {
    let Some(slot) = &client.slot else { return };
    let Ok(token) = client.access_token().await else { return };
    let api = Api::new(client.server.clone(), Caller::Bearer(token));
    match api.get(&format!("/api/devices/{}/slots/{slot}", client.device)).await {
        Err(error) if error.status() == Some(404) => {
            let time = clock_time(client.clock.now());
            terminal.note(format_args!(
                "{time}  {slot}  no plugin is installed there: `cloudlink slot install {slot} --plugin ID`"
            ));
        }
        // That the connection is open is what counts.
        Err(error) => tracing::debug!(cause = %error, "whether a plugin is installed is not known"),
        Ok(_) => {}
    }
}

struct Printer<'a> {
    terminal: &'a Terminal,
    format: Format,
    clock: &'a dyn Clock,
    /// What the connection is for, in words.
    slot: String,
    answering: Answering,
    /// Told of each connection.
    opened: &'a Notify,
}

impl Listener for Printer<'_> {
    fn hear(&mut self, news: News<'_>) -> io::Result<()> {
        let now = self.clock.now();
        let time = clock_time(now);
        match (news, self.format) {
            (News::Event(event), Format::Json) => self.terminal.say(event.line())?,
            (News::Event(event), Format::Readable) => self.terminal.say(event_line(event, now))?,
            (News::Acknowledged(..), Format::Json) => {}
            (News::Acknowledged(slot, version), Format::Readable) => {
                self.terminal.say(format_args!("{time}  {slot}  acknowledged version {}", version.0))?;
            }
            (News::Connected, _) => {
                self.opened.notify_one();
                self.terminal.note(format_args!("{time}  attached to {}, waiting for events", self.slot));
            }
            (News::Interrupted { reason, retry_in }, _) => {
                let wait = retry_in.as_secs_f32();
                self.terminal.note(format_args!("{time}  {reason}; trying again in {wait:.1} s"));
            }
        }
        Ok(())
    }

    fn asked(&mut self, inquiry: &Inquiry) -> io::Result<Answering> {
        match self.format {
            Format::Json => self.terminal.say(inquiry.line())?,
            Format::Readable => {
                let whom = inquiry.slot().map_or("the hub", SlotName::as_str);
                let (time, name) = (clock_time(self.clock.now()), printable(inquiry.name()));
                self.terminal.say(format_args!("{time}  {whom}  asked: {name}"))?;
            }
        }
        Ok(self.answering)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex, PoisonError},
        time::Duration,
    };

    use super::*;
    use crate::{domain::ids::Version, plugin_client::event, seams::SystemClock};

    /// A stream that is read afterwards.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    const FRAME: &str = r#"{"type":"event","slot":"s","version":2,"event":"oauth","data":{"access_token":"secret-0123456789"}}"#;

    fn printed(format: Format) -> (String, String) {
        let (out, err) = (Kept::default(), Kept::default());
        let terminal = Terminal::over(out.clone(), err.clone());
        let mut printer = Printer {
            terminal: &terminal,
            format,
            clock: &SystemClock,
            slot: "slot s".to_owned(),
            answering: Answering::Silence,
            opened: &Notify::new(),
        };
        printer.hear(News::Connected).unwrap();
        printer.hear(News::Event(&event(FRAME))).unwrap();
        printer.hear(News::Acknowledged(&"s".parse().unwrap(), Version(2))).unwrap();
        let retry_in = Duration::from_millis(1500);
        printer.hear(News::Interrupted { reason: "the server is restarting".to_owned(), retry_in }).unwrap();
        (out.text(), err.text())
    }

    #[test]
    fn json_is_the_frame_as_it_came_and_nothing_else() {
        let (out, err) = printed(Format::Json);
        assert_eq!(out, format!("{FRAME}\n"));
        assert!(err.contains("the server is restarting; trying again in 1.5 s"), "{err}");
    }

    #[test]
    fn a_person_sees_the_event_and_that_it_was_acknowledged() {
        let (out, _) = printed(Format::Readable);
        assert!(out.lines().count() == 2 && out.ends_with("acknowledged version 2\n"), "{out}");
        assert!(!out.contains("secret-0123456789"), "{out}");
    }
}
