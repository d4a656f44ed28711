//! Passwords at rest: Argon2id with 19 MiB, two passes, one lane (I02), kept as PHC strings.
//!
//! The cost stands in each hash, so it can be raised later without a migration. A hash takes about 20 ms and
//! 19 MiB; [`PasswordHasher`] runs a few at once on the blocking threads, lets a bounded number wait for a
//! bounded time and refuses the rest, so that a flood of logins neither fills the memory nor stops others.
//! An unknown name costs the same as a known one: [`PasswordHasher::verify_nobody`] (I04).
//!
//! Which passwords may be chosen is [`policy`](super::policy); how many may be tried is the caller's limit.

use std::{fmt, hint::black_box, num::NonZeroUsize, str::FromStr, sync::Arc, time::Duration};

use argon2::{Algorithm, Argon2, Params, Version, password_hash::phc};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::{
    hash_memory::{HashMemories, HashMemory},
    policy::{LONGEST_BYTES, NewPassword},
};
use crate::domain::{
    clock::{Entropy, draw},
    secret::Password,
};

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// How many may wait for each that is being hashed.
const WAITING: usize = 128;
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A stored password: a PHC string of Argon2id.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Box<str>);

/// What is stored is no hash of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored password hash is not a PHC string of argon2id")]
pub struct MalformedHash;

impl PasswordHash {
    /// The PHC string, for storing.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    type Err = MalformedHash;
    fn from_str(text: &str) -> Result<Self, MalformedHash> {
        let hash = phc::PasswordHash::new(text).map_err(|_| MalformedHash)?;
        let complete = hash.salt.is_some() && hash.hash.is_some() && Params::try_from(&hash).is_ok();
        if complete && hash.algorithm.as_str() == Algorithm::Argon2id.as_str() {
            Ok(Self(text.into()))
        } else {
            Err(MalformedHash)
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What came of comparing a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one.
    Right,
    /// It is another one.
    Wrong,
}

/// Why nothing was hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashingError {
    /// Too many are waiting, or this one waited 10 s: 503, try again.
    #[error("too many passwords are being checked at once: try again in a moment")]
    Busy,
    /// The hash function refused.
    #[error("a password could not be hashed")]
    Failed,
    /// The task that hashed was lost, as at shutdown.
    #[error("the hashing of a password was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

/// How much a [`PasswordHasher`] has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashingLoad {
    /// Passwords that are being hashed or wait for it.
    pub waiting: usize,
    /// How many of them there may be.
    pub most: usize,
}

/// Hashes and compares passwords, a bounded number at once. Clones share the bound.
#[derive(Debug, Clone)]
pub struct PasswordHasher {
    waiting: Arc<Semaphore>,
    working: Arc<Semaphore>,
    memories: HashMemories,
    most: usize,
    longest_wait: Duration,
}

impl PasswordHasher {
    /// Hashes `at_once` passwords at a time, each of which takes 19 MiB and a thread.
    pub fn new(at_once: NonZeroUsize) -> Self {
        let places = at_once.get().saturating_mul(1 + WAITING).min(Semaphore::MAX_PERMITS);
        let working = at_once.get().min(Semaphore::MAX_PERMITS);
        Self {
            waiting: Arc::new(Semaphore::new(places)),
            working: Arc::new(Semaphore::new(working)),
            memories: HashMemories::default(),
            most: places,
            longest_wait: LONGEST_WAIT,
        }
    }

    /// How much there is to do.
    pub fn load(&self) -> HashingLoad {
        let free = self.waiting.available_permits();
        HashingLoad { waiting: self.most.saturating_sub(free), most: self.most }
    }

    /// Hashes `password` with a fresh salt of 128 bits.
    pub async fn hash(
        &self,
        password: NewPassword,
        entropy: &dyn Entropy,
    ) -> Result<PasswordHash, HashingError> {
        let salt = draw::<SALT_BYTES>(entropy);
        self.run(move |memory| hash(&password, &salt, memory)).await?
    }

    /// Compares `presented` with `stored`.
    pub async fn verify(&self, presented: Password, stored: PasswordHash) -> Result<Verdict, HashingError> {
        if presented.expose().len() > LONGEST_BYTES {
            return Ok(Verdict::Wrong);
        }
        self.run(move |memory| verify(&presented, &stored, memory)).await
    }

    /// Spends on `presented` what comparing it would cost, for a name that does not exist.
    pub async fn verify_nobody(&self, presented: Password) -> Result<Verdict, HashingError> {
        if presented.expose().len() > LONGEST_BYTES {
            return Ok(Verdict::Wrong);
        }
        self.run(move |memory| verify_nobody(&presented, memory)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut HashMemory) -> T + Send + 'static,
    ) -> Result<T, HashingError> {
        let (permits, memories) = (self.admit().await?, self.memories.clone());
        // The permits end with the work, also where the caller has gone away meanwhile.
        let worked = spawn_blocking(move || {
            let result = memories.work(work);
            drop(permits);
            result
        });
        worked.await.map_err(HashingError::Interrupted)
    }

    async fn admit(&self) -> Result<[OwnedSemaphorePermit; 2], HashingError> {
        let place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| HashingError::Busy)?;
        let turn = timeout(self.longest_wait, Arc::clone(&self.working).acquire_owned()).await;
        match turn {
            Ok(Ok(turn)) => Ok([place, turn]),
            Ok(Err(_)) | Err(_) => Err(HashingError::Busy),
        }
    }
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &NewPassword, salt: &[u8], memory: &mut HashMemory) -> Result<PasswordHash, HashingError> {
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    let argon2 = argon2().map_err(|_| HashingError::Failed)?;
    memory
        .hash(&argon2, password.password().expose().as_bytes(), salt, &mut output)
        .map_err(|_| HashingError::Failed)?;
    let written = || {
        Some(phc::PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: phc::ParamsString::try_from(argon2.params()).ok()?,
            salt: Some(phc::Salt::new(salt).ok()?),
            hash: Some(phc::Output::new(&output).ok()?),
        })
    };
    Ok(PasswordHash(written().ok_or(HashingError::Failed)?.to_string().into()))
}

fn verify(presented: &Password, stored: &PasswordHash, memory: &mut HashMemory) -> Verdict {
    let mut is_it = || {
        let stored = phc::PasswordHash::new(&stored.0).ok()?;
        let (salt, expected) = (stored.salt.as_ref()?, stored.hash.as_ref()?);
        let version = stored.version.map(Version::try_from).transpose().ok()?.unwrap_or_default();
        // The cost is the stored hash's.
        let argon2 = Argon2::new(Algorithm::Argon2id, version, Params::try_from(&stored).ok()?);
        let mut output = vec![0; expected.len()];
        memory.hash(&argon2, presented.expose().as_bytes(), salt, &mut output).ok()?;
        Some(aws_lc_rs::constant_time::verify_slices_are_equal(&output, expected.as_bytes()).is_ok())
    };
    if is_it() == Some(true) { Verdict::Right } else { Verdict::Wrong }
}

fn verify_nobody(presented: &Password, memory: &mut HashMemory) -> Verdict {
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    if let Ok(argon2) = argon2() {
        // Whether it succeeds does not matter, only that it was done.
        let _ = memory.hash(&argon2, presented.expose().as_bytes(), &[0; SALT_BYTES], &mut output);
    }
    black_box(output);
    Verdict::Wrong
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher as _;

    use super::{super::tests::Stream, *};

    fn hasher(at_once: usize) -> PasswordHasher {
        PasswordHasher::new(NonZeroUsize::new(at_once).unwrap())
    }

    async fn hashed(text: &str, seed: u64) -> PasswordHash {
        let password = NewPassword::choose(Password::new(text), "").unwrap();
        hasher(1).hash(password, &Stream::seeded(seed)).await.unwrap()
    }

    #[tokio::test]
    async fn the_right_password_is_right_and_every_other_wrong() {
        let stored = hashed("a heron in the reeds", 1).await;
        let hasher = hasher(1);
        let verify = |text: &str| hasher.verify(Password::new(text), stored.clone());
        assert_eq!(verify("a heron in the reeds").await.unwrap(), Verdict::Right);
        for wrong in ["", "a heron in the reed", "A heron in the reeds", "a heron in the reeds "] {
            assert_eq!(verify(wrong).await.unwrap(), Verdict::Wrong, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn i01_two_that_differ_behind_the_seventy_second_character_differ() {
        let long: String = (0..100u32).map(|i| char::from_u32(0x21 + i * i % 89).unwrap()).collect();
        let stored = hashed(&long, 1).await;
        let changed = format!("{}~{}", &long[..73], &long[74..]);
        assert_eq!(hasher(1).verify(Password::new(long), stored.clone()).await.unwrap(), Verdict::Right);
        assert_eq!(hasher(1).verify(Password::new(changed), stored).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn i02_the_cost_and_the_salt_stand_in_the_hash() {
        let (one, two) = (hashed("a heron in the reeds", 1).await, hashed("a heron in the reeds", 2).await);
        assert!(one.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", one.as_str());
        assert_ne!(one.as_str(), two.as_str());
        assert_eq!(one.as_str().parse::<PasswordHash>(), Ok(one.clone()));
        assert_eq!(format!("{one:?}"), "[redacted]");
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_compared_at_its_own() {
        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(16, 1, 1, None).unwrap());
        let hash: phc::PasswordHash = cheap.hash_password_with_salt(b"heron", &[1; 16]).unwrap();
        let stored: PasswordHash = hash.to_string().parse().unwrap();
        assert_eq!(hasher(1).verify(Password::new("heron"), stored).await.unwrap(), Verdict::Right);
    }

    #[tokio::test]
    async fn i02_a_password_of_a_megabyte_is_wrong_without_being_hashed() {
        let none_at_work = hasher(1);
        none_at_work.working.close();
        let long = || Password::new("a".repeat(1 << 20));
        let stored = hashed("a heron in the reeds", 1).await;
        assert_eq!(none_at_work.verify(long(), stored).await.unwrap(), Verdict::Wrong);
        assert_eq!(none_at_work.verify_nobody(long()).await.unwrap(), Verdict::Wrong);
        let short = none_at_work.verify_nobody(Password::new("a")).await;
        assert!(matches!(short, Err(HashingError::Busy)));
    }

    #[tokio::test]
    async fn i04_nobodys_password_is_always_wrong() {
        let verdict = hasher(1).verify_nobody(Password::new("a heron in the reeds")).await;
        assert_eq!(verdict.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn i02_no_more_work_at_once_than_allowed_and_no_longer_wait() {
        let hasher = PasswordHasher { longest_wait: Duration::from_millis(1), ..hasher(2) };
        let working = [hasher.admit().await.unwrap(), hasher.admit().await.unwrap()];
        assert!(matches!(hasher.admit().await, Err(HashingError::Busy)));
        drop(working);
        assert!(hasher.admit().await.is_ok());
    }

    #[tokio::test]
    async fn i02_the_queue_is_bounded() {
        let hasher = hasher(2);
        let places: Vec<_> =
            std::iter::from_fn(|| Arc::clone(&hasher.waiting).try_acquire_owned().ok()).collect();
        assert_eq!(places.len(), 2 + 2 * WAITING);
        assert!(matches!(hasher.admit().await, Err(HashingError::Busy)));
        drop(places);
        assert!(hasher.admit().await.is_ok());
    }

    #[test]
    fn what_is_no_hash_of_argon2id_is_refused() {
        for bad in [
            "",
            "secret",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2i$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$2b$12$AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(bad.parse::<PasswordHash>(), Err(MalformedHash), "{bad}");
        }
    }
}
