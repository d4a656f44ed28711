//! How a slot's tokens leave: in plain, encrypted to one trusted key, or not at all.
//!
//! Guarantees: once a slot's `seal_to` names a key, no tokens leave in plain. Where that key is not trusted any
//! more, or encrypting fails, they stay.
//!
//! What encrypts is a seam ([`Recipient`]); the vault has the one that is used.

use std::{fmt, sync::Arc};

use serde_json::Value;
use zeroize::Zeroizing;

use super::{clock::Entropy, json::Object};

/// Who alone can read what is encrypted to them.
pub trait Recipient: fmt::Debug + Send + Sync + 'static {
    /// `plaintext` as a JWE in compact form (RFC 7516 §3.1).
    fn encrypt(&self, plaintext: &[u8], entropy: &dyn Entropy) -> Result<String, NotEncrypted>;
}

/// The library could not encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tokens could not be encrypted")]
pub struct NotEncrypted;

/// How the tokens of a slot leave.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// As they are: the slot has no `seal_to`.
    Plain,
    /// Encrypted to the trusted key that `seal_to` names.
    Sealed(Arc<dyn Recipient>),
    /// Not at all: the key that `seal_to` names is not trusted any more.
    Withheld,
}

/// Why tokens stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The key they are to be encrypted to is not trusted any more.
    #[error("the key that the tokens are sealed to is not trusted")]
    Withheld,
    /// Encrypting failed.
    #[error(transparent)]
    NotEncrypted(#[from] NotEncrypted),
}

impl Delivery {
    /// The `data` of an event or reply that holds `tokens`: themselves, or `{"jwe":"…"}`.
    pub fn deliver(&self, tokens: Object, entropy: &dyn Entropy) -> Result<Object, Undelivered> {
        match self {
            Self::Plain => Ok(tokens),
            Self::Sealed(recipient) => {
                let plaintext = Zeroizing::new(Value::Object(tokens).to_string());
                let jwe = recipient.encrypt(plaintext.as_bytes(), entropy)?;
                Ok(Object::from_iter([("jwe".to_owned(), jwe.into())]))
            }
            Self::Withheld => Err(Undelivered::Withheld),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug)]
    struct Length;

    impl Recipient for Length {
        fn encrypt(&self, plaintext: &[u8], _entropy: &dyn Entropy) -> Result<String, NotEncrypted> {
            if plaintext.len() > 20 { Err(NotEncrypted) } else { Ok(plaintext.len().to_string()) }
        }
    }

    struct Zeros;

    impl Entropy for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    #[test]
    fn tokens_leave_as_the_slot_says_and_else_they_stay() {
        let deliver = |delivery: Delivery, token: &str| {
            let tokens = Object::from_iter([("a".to_owned(), token.into())]);
            delivery.deliver(tokens, &Zeros).map(Value::Object)
        };
        assert_eq!(deliver(Delivery::Plain, "token"), Ok(json!({"a": "token"})));
        assert_eq!(deliver(Delivery::Sealed(Arc::new(Length)), "token"), Ok(json!({"jwe": "13"})));
        let failed = deliver(Delivery::Sealed(Arc::new(Length)), "a longer token");
        assert_eq!(failed, Err(Undelivered::NotEncrypted(NotEncrypted)));
        assert_eq!(deliver(Delivery::Withheld, "token"), Err(Undelivered::Withheld));
    }
}
