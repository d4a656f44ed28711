//! One connection's part in requests and commands: what waits to be written, and what is still to be answered.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::lines::Line;
use crate::{
    domain::{
        ids::InquiryId,
        inquiry::{LARGEST_RESPONSE, Reply, Wanted},
        json::{self, Object},
    },
    relay::protocol::{FrameError, LARGEST_MESSAGE, ServerFrame},
};

/// Ids that one connection remembers: of what is not answered yet, whether or not somebody still waits.
const MOST_REMEMBERED: usize = 256;
/// For as long an answer may be as large as one that somebody waits for; nobody waits longer than that.
const ANSWERED_BY: Duration = Duration::from_mins(2);

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
    /// An answer, which was passed on, or which nobody ever waited for.
    Answer,
    /// An answer that nobody waits for any more.
    Late(FrameError),
    /// An answer that is none.
    Wrong(FrameError),
}

/// The desk of a connection.
pub(in crate::relay) struct Desk {
    line: Line,
    asked: VecDeque<Asked>,
}

/// What the peer was asked and has not answered.
struct Asked {
    id: InquiryId,
    wanted: Wanted,
    at: Instant,
    /// Nothing where nobody ever waited for more than that the peer has it.
    answer: Option<oneshot::Sender<Object>>,
}

impl Asked {
    fn is_awaited(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| !answer.is_closed())
    }
}

impl Desk {
    pub(super) fn new(line: Line) -> Self {
        Self { line, asked: VecDeque::new() }
    }

    /// Waits for something to write. Nothing is lost if the future is dropped.
    pub(in crate::relay) async fn next(&mut self) -> ServerFrame {
        let Errand { id, wanted, frame, answer } = self.line.next().await;
        let answer = match wanted {
            Wanted::Nothing => {
                drop(answer.send(Object::new()));
                None
            }
            Wanted::Response | Wanted::Outcome => Some(answer),
        };
        if self.asked.len() >= MOST_REMEMBERED {
            // Rather one that nobody waits for than one that somebody does.
            let unawaited = self.asked.iter().position(|asked| !asked.is_awaited());
            self.asked.remove(unawaited.unwrap_or_default());
        }
        self.asked.push_back(Asked { id, wanted, at: Instant::now(), answer });
        ServerFrame::Inquiry(frame)
    }

    /// Bytes of the largest message that the peer may send now.
    pub(in crate::relay) fn largest_message(&self) -> usize {
        let expected = self.asked.back().is_some_and(|newest| newest.at.elapsed() < ANSWERED_BY);
        if expected { LARGEST_RESPONSE } else { LARGEST_MESSAGE }
    }

    /// Looks at what the peer sent: an answer to what it was asked is taken here, and counts towards no limit, since
    /// whoever asked was counted.
    pub(in crate::relay) fn hear(&mut self, text: &str) -> Said {
        self.asked.retain(|asked| asked.is_awaited() || asked.at.elapsed() < ANSWERED_BY);
        if self.asked.is_empty() || text.len() > LARGEST_RESPONSE {
            return Said::Other;
        }
        let Ok(members) = json::parse_object(text.as_bytes()) else { return Said::Other };
        let member = |name| members.get(name).and_then(serde_json::Value::as_str);
        let id = member("id").and_then(|id| id.parse::<InquiryId>().ok());
        let at = self.asked.iter().position(|asked| Some(asked.id) == id);
        let (Some("response"), Some(at)) = (member("type"), at) else { return Said::Other };
        let wanted = self.asked.get(at).map_or(Wanted::Nothing, |asked| asked.wanted);
        if let Err(detail) = Reply::read(wanted, &members) {
            return Said::Wrong(FrameError::new("invalid_response", detail));
        }
        match self.asked.remove(at).and_then(|asked| asked.answer).map(|answer| answer.send(members)) {
            Some(Err(_)) => Said::Late(FrameError::unknown_request()),
            Some(Ok(())) | None => Said::Answer,
        }
    }
}
