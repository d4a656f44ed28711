//! Replacing the key that signs access tokens.

use time::Duration;

use super::{Broker, PrepareError};
use crate::{
    domain::audit::{Actor, Origin},
    store::Retirement,
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

impl Broker {
    /// Makes a new signing key, which signs from now on. The id of the new key.
    pub async fn rotate_signing_key(&self, retire: Retire) -> Result<String, PrepareError> {
        let now = self.now();
        let key = SigningKey::generate(self.entropy())?;
        let retirement = match retire {
            Retire::InAnHour => Retirement::At(now + Duration::HOUR),
            Retire::Now => Retirement::Erased,
        };
        let by = Origin { actor: Actor::Operator, network: None };
        self.store.rotate_signing_key(key.kid().as_str(), &key.to_pkcs8()?, retirement, &by, now).await?;
        self.refresh_access().await?;
        tracing::info!(kid = %key.kid(), ?retire, "signing key replaced");
        Ok(key.kid().to_string())
    }
}
