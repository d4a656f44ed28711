//! What a refusal means to whoever typed the command.

use super::session::Session;
use crate::api_client::ApiError;

/// The same failure in words for whoever typed the command.
pub(super) fn advise(error: anyhow::Error, session: &Session) -> anyhow::Error {
    match error.downcast_ref() {
        Some(ApiError::Refused(problem)) if problem.code == "unauthorized" => session.refused(error),
        _ => error,
    }
}
