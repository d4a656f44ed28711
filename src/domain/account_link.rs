//! Account link: what Home Assistant's cloud client asks of a broker, in words of ours.
//!
//! ```text
//! pending ──continue──▶ authorizing ──redeem──▶ exchanging ──grant──▶ granted ──deliver──▶ delivered
//!    └──────── cancelled, refused, failed, left by the client, out of time ────────┘
//! ```
//! An attempt belongs to one WebSocket and to no device. What it brings is kept until that socket has it, and no longer.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    binding::{ClientNetwork, ConsentBinding},
    flow::{FlowError, UnknownWord, words},
    ids::{AccountLinkId, DeviceId, NameError, PluginId, SlotAddress, SlotName},
};

words! {
    /// How far an attempt has come.
    AccountLinkStatus {
        /// Started; no browser has continued.
        Pending = "pending",
        /// A browser was sent to the provider.
        Authorizing = "authorizing",
        /// The code came back and is being exchanged.
        Exchanging = "exchanging",
        /// The tokens wait for the client's socket.
        Granted = "granted",
        /// The client has the tokens, and nothing of them is left here.
        Delivered = "delivered",
        /// The person said no, here or at the provider.
        Denied = "denied",
        /// It ran out of time.
        Expired = "expired",
        /// It went wrong.
        Failed = "failed",
    }

    /// Why an attempt was denied or failed; the client is told the same word.
    AccountLinkError {
        /// The person refused at the provider.
        AccessDenied = "access_denied",
        /// The person pressed Cancel here.
        Cancelled = "cancelled",
        /// The provider refused, or could not be asked safely.
        ExchangeFailed = "exchange_failed",
        /// The provider is away.
        ProviderUnavailable = "provider_unavailable",
        /// The provider's answer holds no tokens.
        InvalidAnswer = "invalid_answer",
        /// The provider's answer is too large.
        AnswerTooLarge = "answer_too_large",
        /// The answer came from another issuer than was asked.
        IssuerMismatch = "issuer_mismatch",
        /// Who consents is in another network than who asked, and no code can be typed there.
        DifferentNetwork = "different_network",
        /// The client closed its socket, or lost it.
        ClientGone = "client_gone",
    }
}

impl AccountLinkStatus {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Denied | Self::Expired | Self::Failed)
    }
}

impl From<FlowError> for AccountLinkError {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::AccessDenied => Self::AccessDenied,
            FlowError::Cancelled => Self::Cancelled,
            FlowError::ProviderUnavailable => Self::ProviderUnavailable,
            FlowError::InvalidAnswer => Self::InvalidAnswer,
            FlowError::AnswerTooLarge => Self::AnswerTooLarge,
            FlowError::IssuerMismatch => Self::IssuerMismatch,
            FlowError::ExchangeFailed | FlowError::WrongCode => Self::ExchangeFailed,
        }
    }
}

/// How an attempt ends without tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountLinkEnd {
    /// `denied` or `failed`.
    pub status: AccountLinkStatus,
    /// Why.
    pub error: AccountLinkError,
}

impl AccountLinkEnd {
    /// The person said no.
    pub fn denied(error: AccountLinkError) -> Self {
        Self { status: AccountLinkStatus::Denied, error }
    }

    /// It went wrong.
    pub fn failed(error: AccountLinkError) -> Self {
        Self { status: AccountLinkStatus::Failed, error }
    }
}

impl AccountLinkId {
    /// Where whoever waits for this attempt is knocked at: no device has this id.
    pub fn bell(self) -> Option<SlotAddress> {
        bell(self.0)
    }
}

/// An address that no slot has, for knocks about something else that has a UUID.
pub fn bell(id: Uuid) -> Option<SlotAddress> {
    let slot: Result<SlotName, NameError> = "account-link".parse();
    slot.ok().map(|slot| SlotAddress { device: DeviceId(id), slot })
}

/// The domain of one of Home Assistant's integrations: `[a-z0-9_]+`, 64 characters at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct ServiceDomain(Box<str>);

/// Why a text is no domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the domain of an integration: 1 to 64 characters of a-z, 0-9 and _")]
pub struct ServiceDomainError;

impl ServiceDomain {
    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceDomain {
    type Err = ServiceDomainError;
    fn from_str(text: &str) -> Result<Self, ServiceDomainError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(ServiceDomainError)
        }
    }
}

impl From<ServiceDomain> for String {
    fn from(domain: ServiceDomain) -> Self {
        domain.0.into()
    }
}

impl fmt::Display for ServiceDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A version of Home Assistant, written as it writes its own: `2022.9.0`. Its client compares nothing shorter rightly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MinVersion(Box<str>);

/// Why a text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be year, month and number, like 2022.9.0")]
pub struct MinVersionError;

impl MinVersion {
    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MinVersion {
    type Err = MinVersionError;
    fn from_str(text: &str) -> Result<Self, MinVersionError> {
        let number = |part: &str, length: std::ops::RangeInclusive<usize>| {
            length.contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'))
        };
        let mut parts = text.split('.');
        let (year, month, patch) = (parts.next(), parts.next(), parts.next());
        let fits = year.is_some_and(|year| number(year, 4..=4))
            && month.is_some_and(|month| number(month, 1..=2) && month != "0")
            && patch.is_some_and(|patch| number(patch, 1..=4))
            && parts.next().is_none();
        if fits { Ok(Self(text.into())) } else { Err(MinVersionError) }
    }
}

/// One service that Home Assistant may link here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountLinkService {
    /// The entry of the plugin store that knows its provider.
    pub plugin: PluginId,
    /// The oldest version of Home Assistant that is offered it.
    pub min_version: MinVersion,
    /// Whether it is offered to those who don't use it yet.
    pub accepts_new_authorizations: bool,
}

/// What the operator decides about account link, where it is switched on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountLinkSettings {
    /// The services, by the domain of the integration.
    pub services: BTreeMap<ServiceDomain, AccountLinkService>,
    /// Whether a consent counts that is given from another network than Home Assistant's.
    pub allow_cross_network: bool,
}

impl AccountLinkSettings {
    /// Whether a consent given from `browser` can't count, for an attempt that `client` started: where a plugin's user
    /// would be asked for a code.
    pub fn refuses(&self, binding: ConsentBinding, client: ClientNetwork, browser: ClientNetwork) -> bool {
        !self.allow_cross_network && binding.asks_for_code(client, browser)
    }
}

/// What a client is answered who wants tokens refreshed. Kept for a short while, so that who asks again with the same
/// refresh token hears the same.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshAnswer {
    /// The provider's new tokens.
    Tokens(super::json::Object),
    /// The grant is gone: the person must link again.
    Gone,
    /// The provider says that it is asked too often.
    TooOften(Duration),
    /// The provider is away.
    Away(Duration),
    /// The provider refuses the plugin's client or configuration: the operator can help, and the grant may be good.
    Misconfigured,
}

impl RefreshAnswer {
    /// The word that metrics and the log use.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tokens(_) => "refreshed",
            Self::Gone => "invalid_grant",
            Self::TooOften(_) => "too_often",
            Self::Away(_) => "provider_away",
            Self::Misconfigured => "refused",
        }
    }

    /// The same, told so much later: tokens last as much less, but at least a second.
    pub fn told_after(&self, wait: Duration) -> Self {
        let mut later = self.clone();
        if let Self::Tokens(members) = &mut later
            && let Some(left) = members.get_mut("expires_in")
            && let Some(seconds) = left.as_u64()
        {
            *left = seconds.saturating_sub(wait.as_secs()).max(1).into();
        }
        later
    }
}

impl fmt::Debug for RefreshAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_told_later_last_as_much_less() {
        let lasts = |seconds: u64| {
            let mut members = crate::domain::json::Object::new();
            members.insert("expires_in".to_owned(), seconds.into());
            RefreshAnswer::Tokens(members)
        };
        assert_eq!(lasts(3600).told_after(Duration::from_millis(900)), lasts(3600));
        assert_eq!(lasts(3600).told_after(Duration::from_secs(100)), lasts(3500));
        assert_eq!(lasts(60).told_after(Duration::from_secs(100)), lasts(1));
        assert_eq!(RefreshAnswer::Gone.told_after(Duration::from_secs(100)), RefreshAnswer::Gone);
    }

    #[test]
    fn a_domain_is_what_home_assistant_calls_an_integration() {
        for good in ["ecobee", "home_connect", "3_day_blinds"] {
            assert_eq!(good.parse::<ServiceDomain>().unwrap().as_str(), good);
        }
        for bad in ["", "Ecobee", "home-connect", "a.b", "ä", &"a".repeat(65)] {
            assert_eq!(bad.parse::<ServiceDomain>(), Err(ServiceDomainError), "{bad:?}");
        }
    }

    #[test]
    fn a_version_has_three_numbers_because_the_client_compares_shorter_ones_wrongly() {
        for good in ["2022.9.0", "2026.12.10"] {
            assert_eq!(good.parse::<MinVersion>().unwrap().as_str(), good);
        }
        for bad in
            ["", "2022.9", "2022.09.0", "2022.9.0b1", "latest", "22.9.0", "2022.0.1", "2022.9.0.0", "2022..0"]
        {
            assert_eq!(bad.parse::<MinVersion>(), Err(MinVersionError), "{bad:?}");
        }
    }

    #[test]
    fn a_consent_from_another_network_counts_only_where_the_operator_says_so() {
        let network = |text: &str| ClientNetwork::of(text.parse().unwrap());
        let (home, away) = (network("203.0.113.7"), network("198.51.100.9"));
        let strict = AccountLinkSettings::default();
        assert!(strict.refuses(ConsentBinding::Adaptive, home, away));
        assert!(!strict.refuses(ConsentBinding::Adaptive, home, home));
        assert!(strict.refuses(ConsentBinding::Code, home, home));
        assert!(!strict.refuses(ConsentBinding::Page, home, away));
        let open = AccountLinkSettings { allow_cross_network: true, ..strict };
        assert!(!open.refuses(ConsentBinding::Code, home, away));
    }
}
