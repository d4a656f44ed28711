//! Keys and what they protect: sealing at rest, passwords, cloudlink's own tokens, devices' public keys.
//!
//! It guarantees that
//! - what is sealed opens only at its own table, column and row, by associated data ([`envelope`], [`ring`]);
//! - what a browser brings back was handed out here, by a MAC under a key of the ring ([`proof`]);
//! - a password is kept as an Argon2id hash only, and a bounded number is hashed at once ([`password`]);
//! - what is encrypted to a trusted key is read by whoever holds its private half, and by nobody here ([`jwe`]);
//! - a token or assertion is believed only with an allowed algorithm, a known key and its times checked
//!   against the `now` that was passed ([`access_token`], [`assertion`], both over one reader of JWS).
//!
//! It stores nothing, reads no clock and draws randomness only from the [`Entropy`] it is given. Which key
//! is trusted, retired or revoked is the store's knowledge; it is passed in.
//!
//! [`Entropy`]: crate::domain::clock::Entropy

use aws_lc_rs::digest::{Context, SHA256};

pub mod access_token;
pub mod assertion;
pub mod entry;
pub mod envelope;
mod hash_memory;
pub mod id_token;
pub mod jwe;
mod jws;
pub mod password;
pub mod policy;
pub mod proof;
pub mod ring;
pub mod signing;
pub mod source;
pub mod trusted;
mod written_key;

/// The hash of what is only ever looked up (a state, a user code, a handle): SHA-256 over the label's
/// length, the label and the text. The label keeps the hashes of different things apart (G07).
///
/// It has no salt and no cost: `text` must be unpredictable, so never use it for a password.
pub fn lookup_hash(label: &'static str, text: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&(label.len() as u64).to_be_bytes());
    context.update(label.as_bytes());
    context.update(text.as_bytes());
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use aws_lc_rs::digest::{SHA256, digest};

    use super::lookup_hash;
    use crate::domain::clock::Entropy;

    /// A stream that every test run draws alike.
    pub(super) struct Stream(AtomicU64);

    impl Stream {
        pub(super) fn seeded(seed: u64) -> Self {
            Self(AtomicU64::new(seed << 32))
        }
    }

    impl Entropy for Stream {
        fn fill(&self, bytes: &mut [u8]) {
            for chunk in bytes.chunks_mut(32) {
                let block = digest(&SHA256, &self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes());
                chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
            }
        }
    }

    #[test]
    fn g07_hashes_of_different_things_never_meet() {
        assert_eq!(lookup_hash("state", "a"), lookup_hash("state", "a"));
        assert_ne!(lookup_hash("state", "a"), lookup_hash("state", "b"));
        assert_ne!(lookup_hash("state", "a"), lookup_hash("handle", "a"));
        assert_ne!(lookup_hash("ab", "c"), lookup_hash("a", "bc"));
    }
}
