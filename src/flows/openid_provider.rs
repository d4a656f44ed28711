//! What the OpenID provider says about itself and its keys, read when needed and kept for a while.
//!
//! One provider is configured, so one description and one key set are kept. Keys are read anew once they are old, and
//! where a token names one that is not known, but that at most once a minute: whoever sends such tokens makes no more
//! requests than that.

use std::sync::{Arc, Mutex, PoisonError};

use time::{Duration, OffsetDateTime};

use super::Broker;
use crate::{
    domain::openid::OpenIdSettings,
    provider::{OpenIdError, OpenIdMetadata, SendError, openid_object},
    vault::id_token::IdTokenKeys,
};

/// How long what was read is used.
const FRESH: Duration = Duration::hours(1);
/// Between two readings for the sake of an unknown key.
const PAUSE: Duration = Duration::minutes(1);

/// What was read last.
#[derive(Default)]
pub(super) struct OpenIdCache(Mutex<Option<Known>>);

#[derive(Clone)]
struct Known {
    provider: OpenIdProvider,
    read_at: OffsetDateTime,
}

/// A provider as it describes itself.
#[derive(Clone)]
pub(super) struct OpenIdProvider {
    pub(super) metadata: Arc<OpenIdMetadata>,
    pub(super) keys: Arc<IdTokenKeys>,
}

/// Why the provider can't be used now.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// It could not be asked.
    #[error("the OpenID provider can't be asked")]
    Send(#[from] SendError),
    /// What it said is of no use.
    #[error("the OpenID provider's answer is of no use")]
    Answer(#[from] OpenIdError),
}

/// How new the provider's keys must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// Not too old.
    Kept,
    /// A token named one that is not among those: newer ones, if it is not too early for that.
    Newer,
}

impl Broker {
    pub(super) async fn openid_provider(
        &self,
        settings: &OpenIdSettings,
        wanted: Keys,
    ) -> Result<OpenIdProvider, ProviderError> {
        let now = self.now();
        let enough = if wanted == Keys::Newer { PAUSE } else { FRESH };
        let known = self.openid.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| now - known.read_at < enough) {
            return Ok(known.provider);
        }
        let address = settings.issuer.configuration().ok_or(OpenIdError::Member("issuer"))?;
        let answer = self.provider.get(address, None).await?;
        let metadata = OpenIdMetadata::parse(&answer, settings, self.settings.egress)?;
        let set = openid_object(&self.provider.get(metadata.jwks_uri.clone(), None).await?)?;
        let keys = IdTokenKeys::parse(&set).ok_or(OpenIdError::Member("keys"))?;
        let provider = OpenIdProvider { metadata: Arc::new(metadata), keys: Arc::new(keys) };
        let known = Known { provider: provider.clone(), read_at: now };
        *self.openid.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(provider)
    }
}
