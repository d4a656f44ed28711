//! What a provider's redirect says: the query of a callback, parsed so that an answer which is neither a grant
//! nor a refusal, or both, or says anything twice, can't be represented (A04).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    json::{self, JsonError},
    plugin::OauthConfiguration,
    secret::{AuthorizationCode, FlowState},
};

/// Longest query of a callback, bytes.
pub const LONGEST_QUERY: usize = 16 * 1024;
const MOST_MEMBERS: usize = 64;
const LONGEST_CODE: usize = 8 * 1024;

/// The members of a callback's query, in their order.
pub struct CallbackQuery(Vec<(String, String)>);

/// Why a query is no callback. Each is a 400 that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// Longer, or with more members, than any provider's.
    #[error("the query is too long")]
    TooLong,
    /// No `state`, or an empty one.
    #[error("the state is missing")]
    NoState,
    /// A member that counts stands there twice.
    #[error("a member stands there twice")]
    Repeated,
    /// Neither `code` nor `error`, or both.
    #[error("there must be either a code or an error")]
    Ambiguous,
}

/// A provider's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callback {
    /// The person consented (RFC 6749 §4.1.2).
    Granted(Granted),
    /// The provider refused (RFC 6749 §4.1.2.1).
    Refused {
        /// Why, in the RFC's words.
        error: AuthorizationError,
        /// Who says so (RFC 9207).
        iss: Option<String>,
    },
}

/// A grant: what the token request needs of the callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The authorization code.
    pub code: AuthorizationCode,
    /// Who says so (RFC 9207).
    pub iss: Option<String>,
    /// The configuration's `callback_parameters` that were there, by name.
    pub parameters: BTreeMap<String, String>,
}

/// Error codes of the authorization response that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationError {
    /// `access_denied`: the person, or the server, said no.
    AccessDenied,
    /// `server_error` or `temporarily_unavailable`.
    Unavailable,
    /// Any other.
    Other,
}

impl Callback {
    /// Who says so (RFC 9207).
    pub fn iss(&self) -> Option<&str> {
        match self {
            Self::Granted(granted) => granted.iss.as_deref(),
            Self::Refused { iss, .. } => iss.as_deref(),
        }
    }
}

impl CallbackQuery {
    /// Reads a raw query, percent-encoded as it came.
    pub fn parse(raw: &str) -> Result<Self, CallbackError> {
        if raw.len() > LONGEST_QUERY {
            return Err(CallbackError::TooLong);
        }
        let pairs: Vec<_> = form_urlencoded::parse(raw.as_bytes())
            .take(MOST_MEMBERS + 1)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        if pairs.len() > MOST_MEMBERS { Err(CallbackError::TooLong) } else { Ok(Self(pairs)) }
    }

    /// The `state`, which says whose callback this is.
    pub fn state(&self) -> Result<FlowState, CallbackError> {
        self.one("state")?.map(FlowState::new).ok_or(CallbackError::NoState)
    }

    /// The answer, under the names that the flow's provider uses.
    pub fn answer(&self, configuration: &OauthConfiguration) -> Result<Callback, CallbackError> {
        let names = &configuration.parameter_names;
        let code = self.one(names.in_callback("code"))?;
        let error = self.one(names.in_callback("error"))?;
        let iss = self.one(names.in_callback("iss"))?.map(str::to_owned);
        match (code, error) {
            (Some(code), None) if code.len() <= LONGEST_CODE => {
                let mut parameters = BTreeMap::new();
                for name in configuration.callback_parameters.keys() {
                    if let Some(value) = self.one(name)? {
                        parameters.insert(name.clone(), value.to_owned());
                    }
                }
                Ok(Callback::Granted(Granted { code: AuthorizationCode::new(code), iss, parameters }))
            }
            (Some(_), None) => Err(CallbackError::TooLong),
            (None, Some(error)) => Ok(Callback::Refused { error: AuthorizationError::of(error), iss }),
            (None, None) | (Some(_), Some(_)) => Err(CallbackError::Ambiguous),
        }
    }

    /// The one value of a member; an empty one counts as missing (RFC 6749 §3.1).
    fn one(&self, wanted: &str) -> Result<Option<&str>, CallbackError> {
        let mut values = self.0.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(CallbackError::Repeated),
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
        }
    }
}

impl fmt::Debug for CallbackQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl AuthorizationError {
    fn of(word: &str) -> Self {
        match word {
            "access_denied" => Self::AccessDenied,
            "server_error" | "temporarily_unavailable" => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SealedGrant {
    code: String,
    iss: Option<String>,
    parameters: BTreeMap<String, String>,
}

impl Granted {
    /// For the vault alone: what a replica needs to take the exchange over. Read by [`Granted::from_plaintext`].
    pub fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let sealed = SealedGrant {
            code: self.code.expose().to_owned(),
            iss: self.iss.clone(),
            parameters: self.parameters.clone(),
        };
        Zeroizing::new(serde_json::to_vec(&sealed).unwrap_or_default())
    }

    /// Reads what [`Granted::to_plaintext`] wrote.
    pub fn from_plaintext(plaintext: &[u8]) -> Result<Self, JsonError> {
        let document = json::parse(plaintext)?;
        let sealed: SealedGrant = serde_json::from_value(document).map_err(|_| JsonError::misplaced())?;
        let code = AuthorizationCode::new(sealed.code);
        Ok(Self { code, iss: sealed.iss, parameters: sealed.parameters })
    }
}
