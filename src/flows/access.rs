//! Who may call: the owner by password, a device by a token that a trusted key or its password obtained.
//!
//! A token is checked without the database: keys and revocations are kept in memory and read anew every two
//! seconds ([`Broker::refresh_access`]), so a removed key is honoured within five seconds on every replica,
//! whether knocks arrive or not. A database that is away longer than that changes nothing for tokens that were
//! good before.

use std::{
    collections::HashSet,
    sync::{Arc, RwLock},
};

use time::{Duration, OffsetDateTime};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Broker, BrokerSettings, token_proof::TokenProof};
use crate::{
    domain::{
        clock::{Entropy, draw},
        ids::SlotName,
        secret::{BearerToken, Password},
        topic::Topics,
    },
    store::{JtiUse, Revocation, Revoked, StoreError},
    vault::{
        access_token::{AccessClaims, Credential, Signer, Subject, TokenError, Verifier},
        assertion::{Assertion, AssertionError, peek_device, verify_assertion},
        lookup_hash,
        signing::{SigningKey, SigningKeyError, VerifyingKey},
        trusted::TrustedKey,
    },
};

/// How long a revocation outlives the tokens it voids: clocks of replicas differ.
pub(super) const REVOCATION_MARGIN: Duration = Duration::minutes(5);

/// Keys and revocations, as last read. Cheap to clone; all clones see the same.
#[derive(Clone)]
pub struct AccessControl {
    settings: Arc<BrokerSettings>,
    known: Arc<RwLock<Known>>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    verifier: Option<Arc<Verifier>>,
    signer: Option<Arc<Signer>>,
    /// The keys that verify, by id.
    kids: Vec<String>,
    revocations: Vec<Revocation>,
    /// The `jti` of tokens that were voided one by one.
    revoked: HashSet<Uuid>,
}

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The token is not believed.
    #[error("the token is not valid")]
    Token(#[from] TokenError),
    /// What the token was obtained with is no longer trusted.
    #[error("the token was revoked")]
    Revoked,
    /// The keys were not read yet.
    #[error("the signing keys are not loaded yet")]
    NotReady,
}

/// Why an assertion earns no token.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// It is not believed.
    #[error("the assertion was refused")]
    Assertion(#[from] AssertionError),
    /// It was used before.
    #[error("the assertion was used before: sign a new one, with a new jti, for each token")]
    Spent,
    /// The keys were not read yet.
    #[error("the signing keys are not loaded yet")]
    NotReady,
    /// The store failed.
    #[error("the token could not be issued")]
    Store(#[from] StoreError),
}

/// A token of cloudlink's own.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: BearerToken,
    /// How long it lives.
    pub life: Duration,
    /// What it may be used for, by topic.
    pub scope: String,
}

/// What a token is issued for.
pub(super) struct Grant {
    /// Who it speaks for.
    pub(super) subject: Subject,
    /// In words.
    pub(super) scope: String,
    /// In topics.
    pub(super) topics: Topics,
    /// What earned it.
    pub(super) obtained_with: Credential,
    /// The number of the device's newest revocation.
    pub(super) issued_after: i64,
}

impl AccessControl {
    pub(super) fn new(settings: Arc<BrokerSettings>) -> Self {
        Self { settings, known: Arc::default(), changes: watch::Sender::new(0) }
    }

    /// Believes a bearer token, or says why not. Costs no query.
    pub fn verify(&self, token: &str, now: OffsetDateTime) -> Result<AccessClaims, AccessError> {
        let verifier = self.read(|known| known.verifier.clone()).ok_or(AccessError::NotReady)?;
        let claims = verifier.verify(token, now, self.settings.public_url.origin())?;
        if self.is_revoked(&claims) { Err(AccessError::Revoked) } else { Ok(claims) }
    }

    /// Whether what a token was obtained with has lost its trust since.
    pub fn is_revoked(&self, claims: &AccessClaims) -> bool {
        self.is_void(claims.id, claims.subject, &claims.obtained_with, claims.issued_after)
    }

    /// Whether a token that was believed is still to be believed, its end apart.
    pub fn stands(&self, proof: &TokenProof, now: OffsetDateTime) -> bool {
        let verifier = self.read(|known| known.verifier.clone());
        let signed =
            verifier.is_some_and(|known| known.keys(now).any(|key| key.kid().as_str() == &*proof.key));
        signed && !self.is_void(proof.id, proof.subject, &proof.obtained_with, proof.issued_after)
    }

    fn is_void(&self, id: Uuid, subject: Subject, obtained_with: &Credential, issued_after: i64) -> bool {
        if self.read(|known| known.revoked.contains(&id)) {
            return true;
        }
        let Subject::Device(device) = subject else { return false };
        let concerns = |revocation: &Revocation| {
            revocation.device == device
                && issued_after < revocation.number
                && match (&revocation.revoked, obtained_with) {
                    (Revoked::Everything, _)
                    | (Revoked::ByPassword, Credential::Password | Credential::Login(_)) => true,
                    (Revoked::ByKey(revoked), Credential::TrustedKey(key)) => revoked == key,
                    (Revoked::ByKey(_), Credential::Password | Credential::Login(_))
                    | (Revoked::ByPassword, Credential::TrustedKey(_)) => false,
                }
        };
        self.read(|known| known.revocations.iter().any(concerns))
    }

    /// Whether `user` and `password` are the owner's. Both are compared in full, so that time tells nothing.
    pub fn is_owner(&self, user: &str, password: &Password) -> bool {
        let Some(owner) = &self.settings.owner else { return false };
        // Hashes are equally long, whatever was given.
        let same = |one: &str, two: &str| {
            let (one, two) = (lookup_hash("owner", one), lookup_hash("owner", two));
            aws_lc_rs::constant_time::verify_slices_are_equal(&one, &two).is_ok()
        };
        same(user, &owner.user) & same(password.expose(), owner.password.expose())
    }

    /// The public keys that tokens can be verified with, as a JWK set.
    pub fn jwks(&self, now: OffsetDateTime) -> serde_json::Value {
        let keys = self.read(|known| {
            let keys = known.verifier.iter().flat_map(|verifier| verifier.keys(now).map(VerifyingKey::jwk));
            keys.collect::<Vec<_>>()
        });
        serde_json::json!({ "keys": keys })
    }

    /// Changes whenever a token that was believed may not be any more.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether the keys were read.
    pub fn is_ready(&self) -> bool {
        self.read(|known| known.signer.is_some())
    }

    /// Takes over what was read, and says so where it may end the belief in a token.
    fn learn(&self, newer: Known) {
        let mut known = self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let last = |known: &Known| known.revocations.iter().map(|revocation| revocation.number).max();
        let more = last(&newer) > last(&known)
            || newer.kids != known.kids
            || !newer.revoked.is_subset(&known.revoked);
        *known = newer;
        drop(known);
        if more {
            self.changes.send_modify(|generation| *generation += 1);
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Broker {
    /// The hidden `csrf` of the console's forms.
    pub fn console_csrf(&self) -> String {
        self.ring.console_csrf(self.now())
    }

    /// Whether a form with this `csrf` came from a page of the console that is not too old.
    pub fn is_console_csrf(&self, given: &str) -> bool {
        self.ring.is_console_csrf(self.now(), given)
    }

    /// Makes the first signing key where there is none, and reads keys and revocations.
    pub async fn prepare_access(&self) -> Result<(), PrepareError> {
        let now = self.now();
        let key = SigningKey::generate(self.entropy())?;
        let pkcs8 = key.to_pkcs8()?;
        self.store.put_first_signing_key(key.kid().as_str(), &pkcs8, now).await?;
        self.refresh_access().await?;
        Ok(())
    }

    /// Reads keys and revocations anew.
    pub async fn refresh_access(&self) -> Result<(), StoreError> {
        let now = self.now();
        let rows = self.store.list_signing_keys(now).await?;
        let revocations = self.store.list_revocations(now).await?;
        let revoked = self.store.list_revoked_tokens(now).await?;
        let mut verifying = Vec::new();
        let mut signer = None;
        let mut kids = Vec::new();
        for row in rows {
            kids.push(row.kid);
            let key = SigningKey::from_pkcs8(&row.pkcs8)
                .map_err(|_| StoreError::Row { column: "signing_keys.pkcs8" })?;
            if let Some(at) = row.retires_at {
                verifying.push(key.verifying().until(at));
            } else {
                verifying.push(key.verifying());
                // The rows are newest first: the first that does not retire signs.
                signer.get_or_insert_with(|| Arc::new(Signer::new(key, self.settings.public_url.origin())));
            }
        }
        let verifier = Some(Arc::new(Verifier::new(verifying)));
        let known = Known { verifier, signer, kids, revocations, revoked };
        self.access.learn(known);
        Ok(())
    }

    /// Trades an assertion for a token: for all of the device, or for one slot.
    pub async fn grant_by_assertion(
        &self,
        assertion: &str,
        slot: Option<&SlotName>,
    ) -> Result<Issued, GrantError> {
        let device = peek_device(assertion)?;
        let mut keys = Vec::new();
        for row in self.store.list_trusted_keys(device).await? {
            keys.push(
                TrustedKey::from_spki(&row.spki)
                    .map_err(|_| StoreError::Row { column: "trusted_keys.spki" })?,
            );
        }
        let now = self.now();
        let token_endpoint = self.settings.public_url.join("/api/token");
        let audiences = [token_endpoint.as_str(), self.settings.public_url.origin()];
        let believed = verify_assertion(assertion, &keys, &audiences, now)?;
        let issued_after = self.spend(&believed, now).await?;
        let grant = Grant {
            subject: Subject::Device(device),
            scope: slot.map_or_else(|| "device".to_owned(), |slot| format!("slot:{slot}")),
            topics: Topics::of_device(device, slot),
            obtained_with: Credential::TrustedKey(believed.key),
            issued_after,
        };
        self.issue(grant, now).ok_or(GrantError::NotReady)
    }

    async fn spend(&self, believed: &Assertion, now: OffsetDateTime) -> Result<i64, GrantError> {
        let hash = lookup_hash("jti", &format!("{} {}", believed.device, believed.id));
        let forget_at = believed.remember_until;
        match self.store.spend_assertion(believed.device, &believed.key, &hash, now, forget_at).await? {
            JtiUse::Fresh { newest_revocation } => Ok(newest_revocation),
            JtiUse::Refused => Err(GrantError::Spent),
        }
    }

    /// Signs a token. `None`: the signing keys were not read yet.
    pub(super) fn issue(&self, grant: Grant, now: OffsetDateTime) -> Option<Issued> {
        self.issue_as(random_uuid(self.entropy()), grant, now)
    }

    /// The same, under a `jti` that is known already.
    pub(super) fn issue_as(&self, id: Uuid, grant: Grant, now: OffsetDateTime) -> Option<Issued> {
        let signer = self.access.read(|known| known.signer.clone())?;
        let life = self.settings.access_token_life;
        let scope = grant.scope.clone();
        let claims = AccessClaims {
            subject: grant.subject,
            issued_at: now,
            expires_at: now + life,
            id,
            scope: grant.scope,
            topics: grant.topics,
            obtained_with: grant.obtained_with,
            issued_after: grant.issued_after,
        };
        Some(Issued { token: signer.mint(&claims), life, scope })
    }
}

/// Why tokens can't be issued at all.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A key could not be made.
    #[error("a signing key could not be made")]
    Key(#[from] SigningKeyError),
    /// The store failed.
    #[error("the signing keys could not be read")]
    Store(#[from] StoreError),
}

pub(super) fn random_uuid(entropy: &dyn Entropy) -> Uuid {
    uuid::Builder::from_random_bytes(draw(entropy)).into_uuid()
}
