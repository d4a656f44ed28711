//! What a web service must prove before its request is brought to a slot's plugin.
//!
//! A secret stands in a header or a query member; it is compared in constant time and never goes further. A
//! signature is an HMAC over the body as it came. A slot without either takes requests from anyone: the plugin has
//! all headers and the whole body, and can check a signature of another form itself.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, hmac};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    json::{self, JsonError, Object},
    plugin::{FieldError, MASK},
    secret::SecretValue,
};

/// How long names may be, in bytes.
const LONGEST_NAME: usize = 64;
/// How long a secret must and may be.
const SECRET: std::ops::RangeInclusive<usize> = 8..=512;

/// What holds for a slot's webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Whether it takes requests at all.
    pub enabled: bool,
    /// What proves who sends them.
    pub proof: Proof,
}

impl Default for Webhook {
    fn default() -> Self {
        Self { enabled: true, proof: Proof::None }
    }
}

/// What proves who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    None,
    /// A secret that goes with it.
    Secret(Place, SecretValue),
    /// A signature of the body.
    Hmac(Signature),
}

/// Where a secret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this header; the name is in lower case.
    Header(String),
    /// In this member of the query.
    Query(String),
}

/// How a body is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The header with the signature; the name is in lower case.
    pub header: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// How the signature is written.
    pub encoding: Encoding,
    /// What stands in front of it.
    pub prefix: String,
    /// The key.
    pub key: SecretValue,
}

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-1, which some services still use and which is sound as an HMAC.
    Sha1,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal, in either case.
    Hex,
    /// Base64, with padding.
    Base64,
}

impl Place {
    /// The header that the secret stands in.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Query(_) => None,
        }
    }

    /// The member of the query that it stands in.
    pub fn query(&self) -> Option<&str> {
        match self {
            Self::Query(name) => Some(name),
            Self::Header(_) => None,
        }
    }
}

/// Whether what was sent is the secret. The lengths are hidden too: hashes are compared.
pub fn is_secret(sent: &[u8], secret: &SecretValue) -> bool {
    let hash = |bytes| digest::digest(&digest::SHA256, bytes);
    verify_slices_are_equal(hash(sent).as_ref(), hash(secret.expose().as_bytes()).as_ref()).is_ok()
}

impl Signature {
    /// Whether `sent` is the signature of `body`.
    pub fn is_of(&self, sent: &str, body: &[u8]) -> bool {
        let key = hmac::Key::new(self.algorithm(), self.key.expose().as_bytes());
        self.read(sent).is_some_and(|signature| hmac::verify(&key, body, &signature).is_ok())
    }

    /// Whether `sent` is written as a signature is, of whatever body.
    pub fn is_well_formed(&self, sent: &str) -> bool {
        self.read(sent)
            .is_some_and(|signature| signature.len() == self.algorithm().digest_algorithm().output_len())
    }

    fn read(&self, sent: &str) -> Option<Vec<u8>> {
        let written = sent.trim().strip_prefix(self.prefix.as_str())?;
        match self.encoding {
            Encoding::Hex => unhex(written),
            Encoding::Base64 => STANDARD.decode(written).ok(),
        }
    }

    fn algorithm(&self) -> hmac::Algorithm {
        match self.algorithm {
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() % 2 == 1 || text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

impl Webhook {
    /// Reads what somebody wants to hold; `stored` is what masked secrets mean.
    ///
    /// # Errors
    /// Each member that does not fit.
    pub fn read(members: &Object, stored: &Self) -> Result<Self, Vec<FieldError>> {
        let mut errors = Errors(Vec::new());
        errors.only("", members, &["enabled", "secret", "hmac"]);
        let enabled = match members.get("enabled") {
            None => true,
            Some(Value::Bool(enabled)) => *enabled,
            Some(_) => errors.wrong("/enabled", "must be true or false", true),
        };
        let there = |name: &str| members.get(name).filter(|value| !value.is_null());
        let proof = match (there("secret"), there("hmac")) {
            (None, None) => Proof::None,
            (Some(Value::Object(secret)), None) => errors.secret(secret, &stored.proof),
            (None, Some(Value::Object(hmac))) => errors.hmac(hmac, &stored.proof),
            (Some(_), Some(_)) => errors.wrong("/hmac", "can't be combined with secret", Proof::None),
            (Some(_), None) => errors.wrong("/secret", "must be a JSON object", Proof::None),
            (None, Some(_)) => errors.wrong("/hmac", "must be a JSON object", Proof::None),
        };
        if errors.0.is_empty() { Ok(Self { enabled, proof }) } else { Err(errors.0) }
    }

    /// As its owner may see it: secrets masked.
    pub fn redacted(&self) -> Object {
        self.members(&|_| MASK)
    }

    /// As it is sealed.
    pub fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(Value::Object(self.members(&SecretValue::expose)).to_string().into_bytes())
    }

    /// As it was sealed.
    ///
    /// # Errors
    /// Where no version of this program wrote it.
    pub fn from_plaintext(text: &[u8]) -> Result<Self, JsonError> {
        let members = json::parse_object(text)?;
        Self::read(&members, &Self::default()).map_err(|_| JsonError::misplaced())
    }

    fn members<'a>(&'a self, shown: &dyn Fn(&'a SecretValue) -> &'a str) -> Object {
        let mut members = Object::new();
        members.insert("enabled".to_owned(), self.enabled.into());
        match &self.proof {
            Proof::None => {}
            Proof::Secret(place, value) => {
                let (kind, name) = match place {
                    Place::Header(name) => ("header", name),
                    Place::Query(name) => ("query", name),
                };
                members.insert("secret".to_owned(), json!({kind: name, "value": shown(value)}));
            }
            Proof::Hmac(Signature { header, algorithm, encoding, prefix, key }) => {
                let hmac = json!({
                    "header": header, "algorithm": algorithm, "encoding": encoding, "prefix": prefix, "key": shown(key),
                });
                members.insert("hmac".to_owned(), hmac);
            }
        }
        members
    }
}

/// What does not fit, by JSON pointer.
struct Errors(Vec<FieldError>);

impl Errors {
    fn wrong<T>(&mut self, field: &str, detail: &str, instead: T) -> T {
        self.0.push(FieldError { field: field.to_owned(), detail: detail.to_owned() });
        instead
    }

    fn only(&mut self, at: &str, members: &Object, known: &[&str]) {
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            let name = name.replace('~', "~0").replace('/', "~1");
            self.wrong(&format!("{at}/{name}"), "is not known here", ());
        }
    }

    fn secret(&mut self, members: &Object, stored: &Proof) -> Proof {
        self.only("/secret", members, &["header", "query", "value"]);
        let place = match (members.get("header"), members.get("query")) {
            (Some(name), None) => Place::Header(self.header("/secret/header", name)),
            (None, Some(name)) => {
                let fits = |name: &&str| (1..=LONGEST_NAME).contains(&name.len());
                match name.as_str().filter(fits) {
                    Some(name) => Place::Query(name.to_owned()),
                    None => self.wrong(
                        "/secret/query",
                        "must be a text of 1 to 64 bytes",
                        Place::Query(String::new()),
                    ),
                }
            }
            (Some(_), Some(_)) | (None, None) => {
                let either = "say by header or by query where the secret stands, not by both";
                self.wrong("/secret", either, Place::Query(String::new()))
            }
        };
        let kept = if let Proof::Secret(_, value) = stored { Some(value) } else { None };
        let value = self.value("/secret/value", members.get("value"), kept);
        Proof::Secret(place, value)
    }

    fn hmac(&mut self, members: &Object, stored: &Proof) -> Proof {
        self.only("/hmac", members, &["header", "algorithm", "encoding", "prefix", "key"]);
        let header = match members.get("header") {
            Some(name) => self.header("/hmac/header", name),
            None => self.wrong("/hmac/header", "is required", String::new()),
        };
        let algorithm = match members.get("algorithm").map(Value::as_str) {
            None | Some(Some("sha256")) => Algorithm::Sha256,
            Some(Some("sha1")) => Algorithm::Sha1,
            Some(_) => self.wrong("/hmac/algorithm", "must be sha256 or sha1", Algorithm::Sha256),
        };
        let encoding = match members.get("encoding").map(Value::as_str) {
            None | Some(Some("hex")) => Encoding::Hex,
            Some(Some("base64")) => Encoding::Base64,
            Some(_) => self.wrong("/hmac/encoding", "must be hex or base64", Encoding::Hex),
        };
        let prefix = match members.get("prefix").map(Value::as_str) {
            None => String::new(),
            Some(Some(prefix)) if prefix.len() <= LONGEST_NAME && prefix.is_ascii() => prefix.to_owned(),
            Some(_) => self.wrong("/hmac/prefix", "must be a text of at most 64 bytes", String::new()),
        };
        let kept = if let Proof::Hmac(signature) = stored { Some(&signature.key) } else { None };
        let key = self.value("/hmac/key", members.get("key"), kept);
        Proof::Hmac(Signature { header, algorithm, encoding, prefix, key })
    }

    /// A header's name (RFC 9110 §5.6.2), in lower case.
    fn header(&mut self, field: &str, name: &Value) -> String {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let fits = |name: &&str| (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(token);
        match name.as_str().filter(fits) {
            Some(name) => name.to_ascii_lowercase(),
            None => self.wrong(field, "must be the name of a header", String::new()),
        }
    }

    fn value(&mut self, field: &str, value: Option<&Value>, kept: Option<&SecretValue>) -> SecretValue {
        let nothing = SecretValue::new("");
        match value.map(|value| (value.as_str(), kept)) {
            None => self.wrong(field, "is required", nothing),
            Some((Some(MASK), Some(kept))) => kept.clone(),
            Some((Some(MASK), None)) => self.wrong(field, "stands for a value, but none is stored", nothing),
            Some((Some(text), _)) if SECRET.contains(&text.len()) => SecretValue::new(text),
            Some(_) => self.wrong(field, "must be a text of 8 to 512 bytes", nothing),
        }
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
