//! The device's private key: read from a file, made anew for `dev`, and used for nothing but assertions.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    domain::{
        clock::{Entropy, draw},
        ids::DeviceId,
        secret::{PrivateKeyPem, SecretValue},
    },
    provider::assertion::Assertion,
};

/// The longest file that is read, in bytes; RSA of 8192 bits takes 6.4 KiB.
const LONGEST_FILE: u64 = 16 * 1024;
/// PKCS#8 of an Ed25519 key up to its 32 bytes (RFC 8410 §7).
const ED25519_PRIVATE: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// `SubjectPublicKeyInfo` of an Ed25519 key up to its 32 bytes (RFC 8410 §4).
const ED25519_PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a file is no key to sign with. None quotes the file.
#[derive(Debug, thiserror::Error)]
pub enum DeviceKeyError {
    /// The file can't be read.
    #[error("the key file {} can't be read: check the path and who owns it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds a private key in another form.
    #[error("{} is not in PKCS#8: convert it with `openssl pkcs8 -topk8 -nocrypt -in {} -out device.pem`", .0.display(), .0.display())]
    OtherForm(PathBuf),
    /// It holds something else.
    #[error(
        "{} holds no private key that can sign: it must be PEM, `-----BEGIN PRIVATE KEY-----`, with an \
         Ed25519, P-256 or RSA key; make one with `openssl genpkey -algorithm ed25519 -out device.pem`", .0.display()
    )]
    NoKey(PathBuf),
    /// The key just made can't be used.
    #[error("a new key could not be made")]
    Make,
}

/// Who else may read a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFileAccess {
    /// Its owner alone.
    OwnerOnly,
    /// Its group, or everyone.
    Others,
}

/// A private key that signs assertions: RS256, ES256 or `EdDSA`, as it is RSA, P-256 or Ed25519.
#[derive(Debug)]
pub struct DeviceKey(PrivateKeyPem);

impl DeviceKey {
    /// Reads the key in `path`, and says who else can.
    pub fn read(path: &Path, entropy: &dyn Entropy) -> Result<(Self, KeyFileAccess), DeviceKeyError> {
        let unreadable = |source| DeviceKeyError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        let mut text = Zeroizing::new(String::new());
        file.take(LONGEST_FILE).read_to_string(&mut text).map_err(unreadable)?;
        let others = mode & 0o077;
        let access = if others == 0 { KeyFileAccess::OwnerOnly } else { KeyFileAccess::Others };
        match Self::parse(&text, entropy) {
            Some(key) => Ok((key, access)),
            None if text.contains("PRIVATE KEY-----") && !text.contains("BEGIN PRIVATE KEY-----") => {
                Err(DeviceKeyError::OtherForm(path.to_owned()))
            }
            None => Err(DeviceKeyError::NoKey(path.to_owned())),
        }
    }

    /// A new Ed25519 key: itself, and its public half in PEM.
    pub fn make(entropy: &dyn Entropy) -> Result<(Self, PrivateKeyPem, String), DeviceKeyError> {
        let seed = Zeroizing::new(draw::<32>(entropy));
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| DeviceKeyError::Make)?;
        let private = Zeroizing::new([&ED25519_PRIVATE[..], seed.as_slice()].concat());
        let private = Zeroizing::new(pem("PRIVATE KEY", &private));
        let public = pem("PUBLIC KEY", &[&ED25519_PUBLIC[..], pair.public_key().as_ref()].concat());
        let key = Self::parse(&private, entropy).ok_or(DeviceKeyError::Make)?;
        Ok((key, PrivateKeyPem::new(private.as_str()), public))
    }

    /// The key in a PEM text, if it is one that signs.
    pub fn from_pem(pem: &PrivateKeyPem, entropy: &dyn Entropy) -> Option<Self> {
        Self::parse(pem.expose(), entropy)
    }

    /// An assertion (RFC 7523 §2.1) that `device` is there, good for 60 s at `audience`.
    pub(super) fn assert(
        &self,
        device: DeviceId,
        audience: &str,
        now: OffsetDateTime,
        entropy: &dyn Entropy,
    ) -> Option<SecretValue> {
        let client_id = device.to_string();
        Assertion { client_id: &client_id, audience, now, entropy }.sign(&self.0).ok()
    }

    /// A key that has signed once can sign again.
    fn parse(text: &str, entropy: &dyn Entropy) -> Option<Self> {
        let key = PrivateKeyPem::new(text);
        let trial = Assertion { client_id: "", audience: "", now: OffsetDateTime::UNIX_EPOCH, entropy };
        trial.sign(&key).is_ok().then_some(Self(key))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aws_lc_rs::{
        encoding::{AsDer as _, PublicKeyX509Der},
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
    };
    use time::{Duration, macros::datetime};

    use super::*;
    use crate::{
        seams::SystemEntropy,
        vault::{
            assertion::{AssertionError, verify_assertion},
            trusted::TrustedKey,
        },
    };

    const AUDIENCE: &str = "https://link.example/api/token";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn the_server_believes_what_a_new_key_asserts_for_its_audience_and_a_minute() {
        let now = datetime!(2026-01-02 03:04:05 UTC);
        let (key, _, public) = DeviceKey::make(&SystemEntropy).unwrap();
        let device = DeviceId::draw(&SystemEntropy);
        let jwt = key.assert(device, AUDIENCE, now, &SystemEntropy).unwrap();
        let keys = [TrustedKey::from_pem(&public).unwrap()];
        let believed = verify_assertion(jwt.expose(), &keys, &[AUDIENCE], now).unwrap();
        assert_eq!(believed.device, device);
        assert_eq!(believed.remember_until - now, Duration::seconds(60 + 120));
        let elsewhere = verify_assertion(jwt.expose(), &keys, &["https://other.example"], now);
        assert_eq!(elsewhere, Err(AssertionError::Audience));
        let again = key.assert(device, AUDIENCE, now, &SystemEntropy).unwrap();
        let second = verify_assertion(again.expose(), &keys, &[AUDIENCE], now).unwrap();
        assert_ne!(second.id, believed.id, "each assertion has an id of its own");
    }

    #[test]
    fn a_p256_key_from_a_file_signs_too() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (_folder, path) = file(&pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref()), 0o600);
        let (key, access) = DeviceKey::read(&path, &SystemEntropy).unwrap();
        assert_eq!(access, KeyFileAccess::OwnerOnly);
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let keys = [TrustedKey::from_spki(spki.as_ref()).unwrap()];
        let now = datetime!(2026-01-02 03:04:05 UTC);
        let jwt = key.assert(DeviceId::draw(&SystemEntropy), AUDIENCE, now, &SystemEntropy).unwrap();
        assert!(verify_assertion(jwt.expose(), &keys, &[AUDIENCE], now).is_ok());
    }

    #[test]
    fn a_key_that_others_can_read_is_noticed() {
        let (_, private, _) = DeviceKey::make(&SystemEntropy).unwrap();
        for mode in [0o640, 0o604, 0o644] {
            let (_folder, path) = file(private.expose(), mode);
            assert_eq!(DeviceKey::read(&path, &SystemEntropy).unwrap().1, KeyFileAccess::Others);
        }
    }

    #[test]
    fn what_is_no_usable_key_is_refused_with_what_to_do_and_not_quoted() {
        let cases = [
            ("-----BEGIN EC PRIVATE KEY-----\ncanary\n-----END EC PRIVATE KEY-----", "openssl pkcs8"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\ncanary\n-----END ENCRYPTED PRIVATE KEY-----",
                "-nocrypt",
            ),
            ("-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----", "genpkey"),
            ("canary", "genpkey"),
        ];
        for (text, advice) in cases {
            let (_folder, path) = file(text, 0o600);
            let error = DeviceKey::read(&path, &SystemEntropy).unwrap_err();
            assert!(error.to_string().contains(advice), "{error}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
        let missing = DeviceKey::read(Path::new("/does/not/exist"), &SystemEntropy).unwrap_err();
        assert!(missing.to_string().contains("/does/not/exist"));
    }
}
