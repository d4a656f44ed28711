//! What the demo's provider remembers: requests waiting for a decision, codes, tokens.
//!
//! Requests and codes are used once, within minutes, and are bounded in number. Of tokens only hashes are kept, in the
//! data folder.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use time::{Duration, OffsetDateTime};

use super::super::folder::{Folder, FolderError};
use crate::domain::{
    clock::Entropy,
    secret::{AccessToken, AuthorizationCode, RefreshToken, SecretValue},
};

const GRANTS_FILE: &str = "provider-grants";
const ACCESS_FILE: &str = "provider-access";
/// Most things remembered of each kind; the oldest go first.
const MOST: usize = 32;
const TO_DECIDE: Duration = Duration::minutes(15);
const TO_REDEEM: Duration = Duration::minutes(1);
/// What access tokens live.
pub(super) const LIFETIME: Duration = Duration::hours(1);

/// An authorization request that was found right.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) redirect_uri: String,
    pub(super) state: String,
    pub(super) scope: String,
    pub(super) challenge: String,
}

/// What a token request is answered with.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) access: AccessToken,
    pub(super) refresh: RefreshToken,
    pub(super) scope: String,
}

/// Refused: the code or token is unknown, spent, expired, or its verifier is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum GrantError {
    #[error("the code or refresh token is not valid")]
    Invalid,
    #[error(transparent)]
    Folder(#[from] FolderError),
}

struct Dated {
    request: Request,
    until: OffsetDateTime,
}

/// All of it.
pub(super) struct Grants {
    folder: Folder,
    requests: Bounded,
    codes: Bounded,
    /// Hash of the refresh token and its scope, the oldest first.
    refresh: VecDeque<(String, String)>,
    /// Hash of the access token and when it ends, in Unix seconds, the oldest first.
    access: VecDeque<(String, i64)>,
}

impl Grants {
    /// With the tokens of earlier runs.
    pub(super) fn open(folder: Folder) -> Result<Self, FolderError> {
        let kept = folder.find(GRANTS_FILE)?.unwrap_or_default();
        let lines = kept.lines().filter_map(|line| line.split_once(' '));
        let refresh = lines.map(|(hash, scope)| (hash.to_owned(), scope.to_owned())).collect();
        let kept = folder.find(ACCESS_FILE)?.unwrap_or_default();
        let lines = kept.lines().filter_map(|line| line.split_once(' '));
        let access = lines.filter_map(|(hash, end)| Some((hash.to_owned(), end.parse().ok()?))).collect();
        Ok(Self { folder, requests: Bounded::default(), codes: Bounded::default(), refresh, access })
    }

    /// Remembers a request until its person decides, under the name that is returned.
    pub(super) fn ask(
        &mut self,
        request: Request,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> SecretValue {
        let name = SecretValue::draw(entropy);
        self.requests.put(name.expose(), Dated { request, until: now + TO_DECIDE });
        name
    }

    /// Takes the request that was decided.
    pub(super) fn decided(&mut self, name: &str, now: OffsetDateTime) -> Option<Request> {
        self.requests.take(name, now)
    }

    /// A code for a request that was allowed.
    pub(super) fn grant(
        &mut self,
        request: Request,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> AuthorizationCode {
        let code = AuthorizationCode::draw(entropy);
        self.codes.put(code.expose(), Dated { request, until: now + TO_REDEEM });
        code
    }

    /// Tokens for a code, once, for who knows where it went and the verifier of its challenge.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> Result<Issued, GrantError> {
        let request = self.codes.take(code, now).ok_or(GrantError::Invalid)?;
        if hash(verifier) != request.challenge || redirect_uri != request.redirect_uri {
            return Err(GrantError::Invalid);
        }
        self.issue(request.scope, now, entropy)
    }

    /// New tokens for a refresh token, which is spent by that.
    pub(super) fn refresh(
        &mut self,
        token: &str,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> Result<Issued, GrantError> {
        let scope = self.forget(token).ok_or(GrantError::Invalid)?;
        self.issue(scope, now, entropy)
    }

    /// Whether an access token is good now.
    pub(super) fn admits(&self, token: &str, now: OffsetDateTime) -> bool {
        let wanted = hash(token);
        self.access.iter().any(|(hash, end)| *hash == wanted && now.unix_timestamp() < *end)
    }

    /// Ends a refresh token; an unknown one is no error (RFC 7009 §2.2).
    pub(super) fn revoke(&mut self, token: &str) -> Result<(), FolderError> {
        if self.forget(token).is_some() { self.keep() } else { Ok(()) }
    }

    fn issue(
        &mut self,
        scope: String,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> Result<Issued, GrantError> {
        let (access, refresh) = (AccessToken::draw(entropy), RefreshToken::draw(entropy));
        self.refresh.push_back((hash(refresh.expose()), scope.clone()));
        while self.refresh.len() > MOST {
            self.refresh.pop_front();
        }
        self.access.push_back((hash(access.expose()), (now + LIFETIME).unix_timestamp()));
        while self.access.len() > MOST {
            self.access.pop_front();
        }
        self.keep()?;
        Ok(Issued { access, refresh, scope })
    }

    fn forget(&mut self, token: &str) -> Option<String> {
        let wanted = hash(token);
        let place = self.refresh.iter().position(|(hash, _)| *hash == wanted)?;
        self.refresh.remove(place).map(|(_, scope)| scope)
    }

    fn keep(&self) -> Result<(), FolderError> {
        let lines: Vec<String> =
            self.refresh.iter().map(|(hash, scope)| format!("{hash} {scope}\n")).collect();
        self.folder.keep(GRANTS_FILE, &lines.concat())?;
        let lines: Vec<String> = self.access.iter().map(|(hash, end)| format!("{hash} {end}\n")).collect();
        self.folder.keep(ACCESS_FILE, &lines.concat())
    }
}

/// Things by the hash of their secret names, the oldest dropped when there are too many.
#[derive(Default)]
struct Bounded(HashMap<String, Dated>);

impl Bounded {
    fn put(&mut self, name: &str, dated: Dated) {
        if self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, dated)| dated.until).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.0.remove(&name));
        }
        self.0.insert(hash(name), dated);
    }

    fn take(&mut self, name: &str, now: OffsetDateTime) -> Option<Request> {
        self.0.remove(&hash(name)).filter(|dated| now < dated.until).map(|dated| dated.request)
    }
}

/// SHA-256 in base64url: also the S256 challenge of a verifier (RFC 7636 §4.2).
fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::seams::SystemEntropy;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);
    const BACK: &str = "http://127.0.0.1:8080/api/cloudlink/redirect/demo";
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn request() -> Request {
        // The challenge of RFC 7636, appendix B.
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned();
        Request { redirect_uri: BACK.into(), state: "s".into(), scope: "a b".into(), challenge }
    }

    fn grants(folder: &tempfile::TempDir) -> Grants {
        Grants::open(Folder::open(folder.path()).unwrap()).unwrap()
    }

    #[test]
    fn a_code_is_redeemed_once_by_who_knows_the_verifier() {
        let scratch = tempfile::tempdir().unwrap();
        let mut grants = grants(&scratch);
        let code = grants.grant(request(), NOW, &SystemEntropy);
        let issued = grants.redeem(code.expose(), BACK, VERIFIER, NOW, &SystemEntropy).unwrap();
        assert_eq!(issued.scope, "a b");
        assert!(grants.redeem(code.expose(), BACK, VERIFIER, NOW, &SystemEntropy).is_err(), "spent");
        let code = grants.grant(request(), NOW, &SystemEntropy);
        assert!(grants.redeem(code.expose(), BACK, "guessed", NOW, &SystemEntropy).is_err());
        assert!(
            grants.redeem(code.expose(), BACK, VERIFIER, NOW, &SystemEntropy).is_err(),
            "a guess burns the code"
        );
        let code = grants.grant(request(), NOW, &SystemEntropy);
        assert!(
            grants.redeem(code.expose(), BACK, VERIFIER, NOW + TO_REDEEM, &SystemEntropy).is_err(),
            "expired"
        );
    }

    #[test]
    fn a_request_is_decided_once_and_in_time() {
        let scratch = tempfile::tempdir().unwrap();
        let mut grants = grants(&scratch);
        let name = grants.ask(request(), NOW, &SystemEntropy);
        assert!(grants.decided(name.expose(), NOW).is_some());
        assert!(grants.decided(name.expose(), NOW).is_none());
        let name = grants.ask(request(), NOW, &SystemEntropy);
        assert!(grants.decided(name.expose(), NOW + TO_DECIDE).is_none());
    }

    #[test]
    fn refresh_tokens_rotate_and_outlive_a_restart() {
        let scratch = tempfile::tempdir().unwrap();
        let mut first = grants(&scratch);
        let code = first.grant(request(), NOW, &SystemEntropy);
        let one = first.redeem(code.expose(), BACK, VERIFIER, NOW, &SystemEntropy).unwrap().refresh;
        let mut second = grants(&scratch);
        let two = second.refresh(one.expose(), NOW, &SystemEntropy).unwrap();
        assert_eq!(two.scope, "a b");
        assert!(second.refresh(one.expose(), NOW, &SystemEntropy).is_err(), "spent by the rotation");
        second.revoke(two.refresh.expose()).unwrap();
        assert!(
            grants(&scratch).refresh(two.refresh.expose(), NOW, &SystemEntropy).is_err(),
            "revoked for good"
        );
    }

    #[test]
    fn an_access_token_is_good_for_an_hour_and_outlives_a_restart() {
        let scratch = tempfile::tempdir().unwrap();
        let mut first = grants(&scratch);
        let code = first.grant(request(), NOW, &SystemEntropy);
        let issued = first.redeem(code.expose(), BACK, VERIFIER, NOW, &SystemEntropy).unwrap();
        let second = grants(&scratch);
        assert!(second.admits(issued.access.expose(), NOW + LIFETIME - Duration::SECOND));
        assert!(!second.admits(issued.access.expose(), NOW + LIFETIME));
        assert!(!second.admits(issued.refresh.expose(), NOW), "a refresh token is none");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let scratch = tempfile::tempdir().unwrap();
        let mut grants = grants(&scratch);
        let first = grants.ask(request(), NOW, &SystemEntropy);
        for second in 1..=i64::try_from(MOST).unwrap() {
            grants.ask(request(), NOW + Duration::seconds(second), &SystemEntropy);
        }
        assert_eq!(grants.requests.0.len(), MOST);
        assert!(grants.decided(first.expose(), NOW).is_none(), "the oldest went");
    }
}
