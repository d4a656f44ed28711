//! Time and randomness as parameters (law 6): tests decide both.

use time::OffsetDateTime;

/// Where the present comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present, UTC.
    fn now(&self) -> OffsetDateTime;
}

/// Where unpredictable bytes come from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with output of a cryptographically secure generator.
    fn fill(&self, bytes: &mut [u8]);
}

/// Draws `N` unpredictable bytes.
pub fn draw<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}
