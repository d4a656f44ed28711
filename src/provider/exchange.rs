//! A token request from end to end: sent once, its answer read.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{
    answer_error::AnswerError,
    http::{ProviderClient, SendError},
    registration::RequestError,
    request::TokenRequest,
    response::{check_status, normalise},
};
use crate::domain::{plugin::OauthConfiguration, tokens::TokenSet};

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No request could be built; nothing left.
    #[error("no request can be made")]
    Request(#[from] RequestError),
    /// The request brought no answer.
    #[error("the request brought no answer")]
    Send(#[from] SendError),
    /// The answer brought no tokens.
    #[error("the answer brought no tokens")]
    Answer(#[from] AnswerError),
}

impl ExchangeError {
    /// The contract's word for a flow's `error`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Request(_) | Self::Send(SendError::Blocked) | Self::Answer(AnswerError::Refused { .. }) => {
                "exchange_failed"
            }
            Self::Send(SendError::Unreachable(_) | SendError::TimedOut)
            | Self::Answer(AnswerError::Unavailable { .. }) => "provider_unavailable",
            Self::Send(SendError::Invalid(_)) | Self::Answer(AnswerError::Invalid) => "invalid_answer",
            Self::Send(SendError::TooLarge) | Self::Answer(AnswerError::TooLarge) => "answer_too_large",
        }
    }
}

impl ProviderClient {
    /// Sends an exchange or a refresh. `callback` as for [`normalise`]; `now` is the time of sending, so
    /// that a slow answer makes a token end early rather than late.
    pub async fn exchange(
        &self,
        request: TokenRequest,
        configuration: &OauthConfiguration,
        callback: &BTreeMap<String, String>,
        now: OffsetDateTime,
    ) -> Result<TokenSet, ExchangeError> {
        let answer = self.send(request).await?;
        Ok(normalise(&answer, configuration, callback, now)?)
    }

    /// Sends a revocation. Any 2xx means that the token is of no use any more (RFC 7009 §2.2).
    pub async fn revoke(&self, request: TokenRequest, now: OffsetDateTime) -> Result<(), ExchangeError> {
        let answer = self.send(request).await?;
        Ok(check_status(&answer, now)?)
    }
}
