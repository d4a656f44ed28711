//! The outside OAuth servers: where the browser is sent, what the token endpoint is asked, what its
//! answer means, and the one guarded HTTP client through which anything leaves for them.
//!
//! Building and reading are pure: [`Registration`] turns a configuration into an authorization URL and
//! into [`TokenRequest`]s, [`normalise`] turns an [`Answer`] into a token set. Only [`ProviderClient`]
//! touches the network, and it knows nothing of OAuth beyond "send this, bring back that".
//!
//! Guarantees, and what carries them: a secret leaves only inside a [`TokenRequest`], whose `Debug` is
//! redacted (the type); it goes only to addresses that were checked (`resolver`), follows no redirect and
//! waits no longer than [`Limits`] allows (`http`); no text of a provider's body survives an error but a
//! validated [`ErrorCode`] (`response`).
//!
//! Nothing here stores, retries or schedules: one call is at most one request. [`Breaker`] only remembers which
//! hosts do not answer; who asks again decides by it.

mod answer_error;
pub(crate) mod assertion;
mod authorization;
mod breaker;
mod examine;
mod exchange;
mod expiry;
mod gate;
mod http;
mod members;
mod openid;
mod refusal;
mod registration;
mod request;
mod resolver;
mod response;

#[cfg(test)]
mod documented_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
#[cfg(test)]
mod transcript;

pub use answer_error::{AnswerError, ErrorCode};
pub use breaker::{Breaker, LeftAlone};
pub use exchange::ExchangeError;
pub use http::{Answer, ClientError, Limits, ProviderClient, SendError};
pub use openid::{OpenIdError, OpenIdMetadata, OpenIdTokens, object as openid_object};
pub use refusal::{HostSign, RefreshFailure, names_another_user};
pub use registration::{Registration, RequestError, callback_values};
pub use request::{Revocable, TokenRequest};
pub use response::{merge, normalise};
