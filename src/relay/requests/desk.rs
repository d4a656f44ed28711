//! One connection's part in requests and commands: what waits to be written, and what is still to be answered.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::oneshot;

use super::lines::Line;
use crate::{
    domain::{
        ids::InquiryId,
        inquiry::{LARGEST_RESPONSE, Reply, Wanted},
        json::{self, Object},
    },
    relay::protocol::{FrameError, LARGEST_MESSAGE, ServerFrame},
};

/// Ids that one connection remembers: of what is not answered, and of what was answered too late.
const MOST_REMEMBERED: usize = 256;

/// An inquiry on its way to a connection. Dropped without an answer, it tells its asker that nobody has it.
pub(super) struct Errand {
    pub(super) id: InquiryId,
    pub(super) wanted: Wanted,
    pub(super) frame: Arc<str>,
    pub(super) answer: oneshot::Sender<Object>,
}

/// What a frame turned out to be.
#[derive(Debug, PartialEq)]
pub(in crate::relay) enum Said {
    /// Something else: treat it as ever.
    Other,
    /// An answer, which was passed on.
    Answer,
    /// An answer that is none, or that nobody waits for any more.
    Wrong(FrameError),
}

/// The desk of a connection.
pub(in crate::relay) struct Desk {
    line: Line,
    asked: VecDeque<(InquiryId, Wanted, oneshot::Sender<Object>)>,
}

impl Desk {
    pub(super) fn new(line: Line) -> Self {
        Self { line, asked: VecDeque::new() }
    }

    /// Waits for something to write. Nothing is lost if the future is dropped.
    pub(in crate::relay) async fn next(&mut self) -> ServerFrame {
        let Errand { id, wanted, frame, answer } = self.line.next().await;
        match wanted {
            // Nobody waits for more than that somebody has it.
            Wanted::Nothing => drop(answer.send(Object::new())),
            Wanted::Response | Wanted::Outcome => {
                if self.asked.len() >= MOST_REMEMBERED {
                    // Rather one that nobody waits for any more than one that somebody does.
                    let late = self.asked.iter().position(|(_, _, answer)| answer.is_closed());
                    self.asked.remove(late.unwrap_or_default());
                }
                self.asked.push_back((id, wanted, answer));
            }
        }
        ServerFrame::Inquiry(frame)
    }

    /// Bytes of the largest message that the peer may send now.
    pub(in crate::relay) fn largest_message(&self) -> usize {
        if self.asked.is_empty() { LARGEST_MESSAGE } else { LARGEST_RESPONSE }
    }

    /// Looks at what the peer sent: an answer to what it was asked is taken here, and counts towards no limit, since
    /// whoever asked was counted.
    pub(in crate::relay) fn hear(&mut self, text: &str) -> Said {
        if self.asked.is_empty() || text.len() > LARGEST_RESPONSE {
            return Said::Other;
        }
        let Ok(members) = json::parse_object(text.as_bytes()) else { return Said::Other };
        let member = |name| members.get(name).and_then(serde_json::Value::as_str);
        let id = member("id").and_then(|id| id.parse::<InquiryId>().ok());
        let at = self.asked.iter().position(|(asked, ..)| Some(*asked) == id);
        let (Some("response"), Some(at)) = (member("type"), at) else { return Said::Other };
        let wanted = self.asked.get(at).map_or(Wanted::Nothing, |(_, wanted, _)| *wanted);
        if let Err(detail) = Reply::read(wanted, &members) {
            return Said::Wrong(FrameError::new("invalid_response", detail));
        }
        let passed_on = self.asked.remove(at).is_some_and(|(_, _, answer)| answer.send(members).is_ok());
        if passed_on { Said::Answer } else { Said::Wrong(FrameError::unknown_request()) }
    }
}
