//! Replacing the key that signs access tokens.

use time::{Duration, OffsetDateTime};

use super::{Broker, PrepareError};
use crate::{
    domain::{
        audit::{Actor, Origin},
        clock::Entropy,
    },
    store::{Retirement, Store},
    vault::signing::SigningKey,
};

/// When what the replaced key signed stops being believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retire {
    /// After an hour, which is what tokens live: nobody is logged out.
    InAnHour,
    /// At once, every replica within five seconds, open connections included: for a key that may have leaked.
    Now,
}

/// Makes a new signing key, which signs from now on: replicas that run read it within five seconds. The new key's id.
pub async fn rotate_signing_key(
    store: &Store,
    entropy: &dyn Entropy,
    retire: Retire,
    now: OffsetDateTime,
) -> Result<String, PrepareError> {
    let key = SigningKey::generate(entropy)?;
    let retirement = match retire {
        Retire::InAnHour => Retirement::At(now + Duration::HOUR),
        Retire::Now => Retirement::Erased,
    };
    let by = Origin { actor: Actor::Operator, network: None };
    store.rotate_signing_key(key.kid().as_str(), &key.to_pkcs8()?, retirement, &by, now).await?;
    tracing::info!(kid = %key.kid(), ?retire, "signing key replaced");
    Ok(key.kid().to_string())
}

impl Broker {
    /// [`rotate_signing_key`], and this process signs with the new key at once.
    pub async fn rotate_signing_key(&self, retire: Retire) -> Result<String, PrepareError> {
        let kid = rotate_signing_key(&self.store, self.entropy(), retire, self.now()).await?;
        self.refresh_access().await?;
        Ok(kid)
    }
}
