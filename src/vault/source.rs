//! Who brings the key material: the seam where a key service would stand.
//!
//! Everything that starts asks one [`KeySource`] once, before it touches anything, and gets the ring. The only
//! source there is reads `vault.keys` as it is written. A key service (KMS, HSM, TPM) would be another: it
//! would hold each key wrapped by a key that never leaves the service, have it unwrapped over the network with a
//! limit on the time, and hand the 32 bytes on. Nothing behind this seam would change: ids, sealing, rotation
//! and the proof at start know only the ring.

use std::future::Future;

use super::{
    entry::{KeyMaterial, KeyRingError},
    ring::{KeyRing, read},
};
use crate::domain::secret::SecretValue;

/// Who brings the keys.
pub trait KeySource {
    /// All keys, the one that seals first.
    fn keys(&self) -> impl Future<Output = Result<Vec<KeyMaterial>, KeyRingError>> + Send;
}

/// `vault.keys`, as written.
pub struct WrittenKeys<'a>(pub &'a [SecretValue]);

impl KeySource for WrittenKeys<'_> {
    async fn keys(&self) -> Result<Vec<KeyMaterial>, KeyRingError> {
        read(self.0.iter().map(SecretValue::expose))
    }
}

impl KeyRing {
    /// The ring of a source's keys.
    pub async fn from_source(source: &impl KeySource) -> Result<Self, KeyRingError> {
        Self::of(source.keys().await?)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::{super::envelope::KeyId, *};

    /// A service that unwraps keys, in its shortest form.
    struct Unwrapping;

    impl KeySource for Unwrapping {
        async fn keys(&self) -> Result<Vec<KeyMaterial>, KeyRingError> {
            let key =
                |id, byte| KeyMaterial { id: KeyId::parse(id).unwrap(), bytes: Zeroizing::new([byte; 32]) };
            Ok(vec![key("b", 2), key("a", 1)])
        }
    }

    #[tokio::test]
    async fn keys_may_come_from_elsewhere_than_the_settings() {
        let ring = KeyRing::from_source(&Unwrapping).await.unwrap();
        assert_eq!(ring.ids().map(KeyId::as_str).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[tokio::test]
    async fn g05_whatever_the_source_no_keys_are_an_error() {
        assert_eq!(KeyRing::from_source(&WrittenKeys(&[])).await.unwrap_err(), KeyRingError::Empty);
    }
}
