//! A key that tokens are sealed to, and its reader: small, and another one than the service's own tests have.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    digest::{Context, SHA256},
    encoding::{AsDer as _, PublicKeyX509Der},
    rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Home, Service};

/// A trusted key with its private half.
pub(crate) struct Recipient {
    /// Its name.
    pub(crate) key_hash: String,
    public: Value,
    private: Private,
}

enum Private {
    Rsa(Box<OaepPrivateDecryptingKey>),
    P256(PrivateKey),
}

impl Recipient {
    /// A new RSA key that `home` trusts.
    pub(crate) async fn rsa(service: &Service, home: &Home) -> Self {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let spki: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
        let base64 = STANDARD.encode(spki.as_ref());
        let public = json!(format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n"));
        let private = Private::Rsa(Box::new(OaepPrivateDecryptingKey::new(private).unwrap()));
        Self::new(service, home, public, private).await
    }

    /// A new P-256 key that `home` trusts.
    pub(crate) async fn p256(service: &Service, home: &Home) -> Self {
        let private = PrivateKey::generate(&ECDH_P256).unwrap();
        let point = private.compute_public_key().unwrap();
        let [x, y] = [&point.as_ref()[1..33], &point.as_ref()[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        let public = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
        Self::new(service, home, public, Private::P256(private)).await
    }

    async fn new(service: &Service, home: &Home, public: Value, private: Private) -> Self {
        let mut recipient = Self { key_hash: String::new(), public, private };
        recipient.key_hash = recipient.is_trusted(service, home).await;
        recipient
    }

    /// Has `home` trust it, again: its name.
    pub(crate) async fn is_trusted(&self, service: &Service, home: &Home) -> String {
        home.trusts(service, &self.public).await
    }

    /// The path of the key below `home`.
    pub(crate) fn path(&self, home: &Home) -> String {
        let key = self.key_hash.replace('+', "%2B").replace('/', "%2F");
        format!("/api/devices/{}/keys/{key}", home.device)
    }

    /// What is in `data`, which holds a JWE to this key and nothing else.
    pub(crate) fn open(&self, data: &Value) -> Value {
        assert_eq!(data.as_object().unwrap().len(), 1, "{data}");
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let parts: Vec<&str> = data["jwe"].as_str().unwrap().split('.').collect();
        let [header, encrypted_key, iv, ciphertext, tag] = parts.try_into().unwrap();
        let protected: Value = serde_json::from_slice(&bytes(header)).unwrap();
        assert_eq!((&protected["kid"], &protected["enc"]), (&json!(self.key_hash), &json!("A256GCM")));
        let key = match &self.private {
            Private::Rsa(private) => {
                assert_eq!(protected["alg"], "RSA-OAEP-256");
                let mut key = vec![0; private.min_output_size()];
                private
                    .decrypt(&OAEP_SHA256_MGF1SHA256, &bytes(encrypted_key), &mut key, None)
                    .unwrap()
                    .to_vec()
            }
            Private::P256(private) => {
                assert_eq!((&protected["alg"], encrypted_key), (&json!("ECDH-ES"), ""));
                let coordinate = |name: &str| bytes(protected["epk"][name].as_str().unwrap());
                let point = [vec![4], coordinate("x"), coordinate("y")].concat();
                agree(private, UnparsedPublicKey::new(&ECDH_P256, point), (), |shared| {
                    let mut derivation = Context::new(&SHA256);
                    for part in [&[0, 0, 0, 1], shared, b"\0\0\0\x07A256GCM\0\0\0\0\0\0\0\0\0\0\x01\0"] {
                        derivation.update(part);
                    }
                    Ok(derivation.finish().as_ref().to_vec())
                })
                .unwrap()
            }
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&bytes(iv)).unwrap();
        let mut opened = [bytes(ciphertext), bytes(tag)].concat();
        let plaintext = key.open_in_place(nonce, Aad::from(header.as_bytes()), &mut opened).unwrap();
        serde_json::from_slice(plaintext).unwrap()
    }
}

impl Home {
    /// Trusts a key, as the owner does: its name.
    pub(crate) async fn trusts(&self, service: &Service, public_key: &Value) -> String {
        let path = format!("/api/devices/{}/keys", self.device);
        let body = json!({"label": "a key", "public_key": public_key});
        let added = service.owner(Method::POST, &path, Some(body)).await.expect(201);
        added["key_hash"].as_str().unwrap().to_owned()
    }
}
