//! Plaintext secrets (law 2). They have no `Display` and no `Serialize`, their `Debug` prints
//! `[redacted]`, they compare in constant time and are wiped when dropped.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::clock::{Entropy, draw};

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Wraps what came from outside, or from the vault.
            pub fn new(value: impl Into<String>) -> Self {
                Self(Zeroizing::new(value.into()))
            }

            /// 256 unpredictable bits, base64url without padding: 43 characters.
            pub fn draw(entropy: &dyn Entropy) -> Self {
                let bytes = Zeroizing::new(draw::<32>(entropy));
                Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
            }

            /// The plaintext, for the one place that must send, hash or seal it.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[redacted]")
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
            }
        }

        impl Eq for $name {}
    )*};
}

secrets! {
    /// A provider's access token.
    AccessToken;
    /// A provider's refresh token.
    RefreshToken;
    /// What a plugin holds in place of the provider's refresh token: an opaque name for its slot's grant.
    RefreshHandle;
    /// An authorization code (RFC 6749 §4.1.2).
    AuthorizationCode;
    /// A PKCE code verifier (RFC 7636 §4.1): 43 characters, 256 bits, when drawn.
    CodeVerifier;
    /// The `state` of an authorization request (RFC 6749 §4.1.1).
    FlowState;
    /// The value of the cookie that ties a flow to one browser.
    BrowserCookie;
    /// What a `/connect/{handle}` URL carries.
    ConnectHandle;
    /// What a `/login/{handle}` URL carries.
    LoginHandle;
    /// What a `/account-link/{handle}` URL carries.
    AccountLinkHandle;
    /// What a terminal polls with (RFC 8628 §3.2).
    DeviceCode;
    /// What a person types at `/link` (RFC 8628 §6.1), in its normal form: eight letters, no dash.
    UserCode;
    /// The six digits that prove that who consented is who asked.
    ConfirmCode;
    /// An OAuth client secret: a provider's, or a slot's own.
    ClientSecret;
    /// A private key in PKCS#8 PEM, for `private_key_jwt`.
    PrivateKeyPem;
    /// The value of a header or parameter that may be a credential.
    SecretValue;
    /// A password of the owner or of a device.
    Password;
    /// What lets one device be enrolled, once.
    EnrolmentCode;
    /// What ties an ID token to the request for it (OpenID Connect Core §3.1.2.1).
    Nonce;
    /// A signed access token of cloudlink's own.
    BearerToken;
}
