//! How a WebSocket is closed: the contract's codes, and those of RFC 6455 §7.4.1.

/// Why we close a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// All was said that there was to say.
    Done,
    /// The peer broke the framing of RFC 6455.
    Protocol,
    /// A binary message came.
    Binary,
    /// A message, or the parts of one, grew too large.
    TooBig,
    /// The server can't read the slots.
    Failed,
    /// The server is going away; others stay.
    Restart,
    /// The access token expired or was revoked.
    TokenEnded,
    /// The peer does not read, or was silent for two heartbeats.
    TooSlow,
    /// The peer sends too much.
    TooMany,
}

impl Close {
    /// The status code (RFC 6455 §7.4, and the contract's own above 4400).
    pub fn code(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::TooBig => 1009,
            Self::Failed => 1011,
            Self::Restart => 1012,
            Self::TokenEnded => 4401,
            Self::TooSlow => 4408,
            Self::TooMany => 4429,
        }
    }

    /// A word or two for whoever debugs a client.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Protocol => "not RFC 6455",
            Self::Binary => "text messages only",
            Self::TooBig => "message too big",
            Self::Failed => "try again later",
            Self::Restart => "restart",
            Self::TokenEnded => "token expired or revoked",
            Self::TooSlow => "too slow",
            Self::TooMany => "too many messages",
        }
    }
}
