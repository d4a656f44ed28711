//! What a browser brings back, recognised without having been stored: handles of flows and sign-ins, form tokens.
//!
//! Both are HMAC-SHA256 under keys derived from the ring's, one derivation for each use. They are made with
//! the first key and accepted with any, so that adding a key breaks no page that is open, and every key is
//! tried in constant time, so that neither which key fits nor how much of a guess fits shows in the time.
//!
//! They say "this came from here", not "this is still good": expiry and single use are the flow's own row.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ring::KeyRing;
use crate::domain::{
    ids::{AccountLinkId, FlowId, SignInId},
    secret::{AccountLinkHandle, BrowserCookie, ConnectHandle, LoginHandle},
};

const HALF: usize = 16;
/// How long one `csrf` of the console is made; it is accepted for as long again.
const CONSOLE_BUCKET_SECONDS: i64 = 6 * 60 * 60;
/// What follows the id under the MAC, so that a handle of one kind is none of the other.
const CONNECT: &[u8] = b"";
const LOGIN: &[u8] = b"login";
const ACCOUNT_LINK: &[u8] = b"account link";

impl KeyRing {
    /// What the `/connect/{handle}` URL of `flow` carries: base64url of the flow's id and the first 16 bytes
    /// of its MAC, 43 characters (C04: 122 random bits in the id, 128 in the MAC).
    pub fn connect_handle(&self, flow: FlowId) -> ConnectHandle {
        ConnectHandle::new(self.handle(CONNECT, flow.0))
    }

    /// The flow that `handle` was made for, by any key of the ring; nothing for every other text.
    pub fn flow_of(&self, handle: &ConnectHandle) -> Option<FlowId> {
        self.id_of(CONNECT, handle.expose()).map(FlowId)
    }

    /// What the `/login/{handle}` URL of a sign-in carries, of the same form.
    pub fn login_handle(&self, sign_in: SignInId) -> LoginHandle {
        LoginHandle::new(self.handle(LOGIN, sign_in.0))
    }

    /// The sign-in that `handle` was made for, by any key of the ring; nothing for every other text.
    pub fn sign_in_of(&self, handle: &LoginHandle) -> Option<SignInId> {
        self.id_of(LOGIN, handle.expose()).map(SignInId)
    }

    /// What the `/account-link/{handle}` URL of an attempt carries, of the same form.
    pub fn account_link_handle(&self, attempt: AccountLinkId) -> AccountLinkHandle {
        AccountLinkHandle::new(self.handle(ACCOUNT_LINK, attempt.0))
    }

    /// The attempt that `handle` was made for, by any key of the ring; nothing for every other text.
    pub fn account_link_of(&self, handle: &AccountLinkHandle) -> Option<AccountLinkId> {
        self.id_of(ACCOUNT_LINK, handle.expose()).map(AccountLinkId)
    }

    fn handle(&self, purpose: &[u8], id: Uuid) -> String {
        let mac = hmac::sign(&self.first().handles, &[id.as_bytes(), purpose].concat());
        let bytes: Vec<u8> = id.as_bytes().iter().chain(mac.as_ref().iter().take(HALF)).copied().collect();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn id_of(&self, purpose: &[u8], handle: &str) -> Option<Uuid> {
        let bytes = URL_SAFE_NO_PAD.decode(handle).ok()?;
        let (id, given) = bytes.split_first_chunk::<HALF>()?;
        let accepted = self.keys().fold(false, |accepted, key| {
            let mac = hmac::sign(&key.handles, &[id, purpose].concat());
            let half = mac.as_ref().first_chunk::<HALF>();
            accepted | half.is_some_and(|half| verify_slices_are_equal(half, given).is_ok())
        });
        accepted.then(|| Uuid::from_bytes(*id))
    }

    /// The hidden `csrf` of a form that the browser with `cookie` may send about `subject`: the handle of a
    /// flow, or `link` (I06). 43 characters of base64url.
    pub fn browser_csrf(&self, cookie: &BrowserCookie, subject: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.first().forms, &form(cookie, subject)))
    }

    /// Whether `given` is the `csrf` of such a form, made with any key of the ring.
    pub fn is_browser_csrf(&self, cookie: &BrowserCookie, subject: &str, given: &str) -> bool {
        let Ok(given) = URL_SAFE_NO_PAD.decode(given) else { return false };
        let form = form(cookie, subject);
        self.keys().fold(false, |accepted, key| accepted | hmac::verify(&key.forms, &form, &given).is_ok())
    }

    /// The hidden `csrf` of the console's forms (I06): good for six to twelve hours. Its pages are shown to the
    /// owner alone, so whoever knows it has seen one of them. 43 characters of base64url.
    pub fn console_csrf(&self, now: OffsetDateTime) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.first().forms, &console_form(bucket(now))))
    }

    /// Whether `given` is the `csrf` of a page of the console, made with any key of the ring, not too long ago.
    pub fn is_console_csrf(&self, now: OffsetDateTime, given: &str) -> bool {
        let Ok(given) = URL_SAFE_NO_PAD.decode(given) else { return false };
        let buckets = [bucket(now), bucket(now) - 1].map(console_form);
        self.keys().fold(false, |accepted, key| {
            buckets
                .iter()
                .fold(accepted, |accepted, form| accepted | hmac::verify(&key.forms, form, &given).is_ok())
        })
    }
}

fn bucket(now: OffsetDateTime) -> i64 {
    now.unix_timestamp().div_euclid(CONSOLE_BUCKET_SECONDS)
}

/// Never the beginning of what [`form`] makes, which is a length.
fn console_form(bucket: i64) -> Vec<u8> {
    [&b"console "[..], &bucket.to_be_bytes()].concat()
}

fn form(cookie: &BrowserCookie, subject: &str) -> Vec<u8> {
    let cookie = cookie.expose().as_bytes();
    [&(cookie.len() as u64).to_be_bytes(), cookie, subject.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::{super::tests::Stream, *};

    fn ring(keys: &[u8]) -> KeyRing {
        let entries: Vec<String> =
            keys.iter().map(|key| format!("k{key}:{}", STANDARD.encode([*key; 32]))).collect();
        KeyRing::parse(entries.iter().map(String::as_str)).unwrap()
    }

    #[test]
    fn a_handle_leads_to_its_flow_also_after_a_key_was_added() {
        let flow = FlowId::draw(&Stream::seeded(1));
        let handle = ring(&[1]).connect_handle(flow);
        assert_eq!(handle.expose().len(), 43);
        assert_eq!(ring(&[1]).flow_of(&handle), Some(flow));
        assert_eq!(ring(&[2, 1]).flow_of(&handle), Some(flow));
        assert_eq!(ring(&[2]).flow_of(&handle), None);
        assert_ne!(ring(&[2, 1]).connect_handle(flow), handle);
    }

    #[test]
    fn c04_a_handle_of_one_kind_is_none_of_the_other() {
        let (ring, flow) = (ring(&[1]), FlowId::draw(&Stream::seeded(1)));
        let (connect, login) = (ring.connect_handle(flow), ring.login_handle(SignInId(flow.0)));
        assert_eq!(ring.sign_in_of(&login), Some(SignInId(flow.0)));
        assert_eq!(ring.sign_in_of(&LoginHandle::new(connect.expose())), None);
        assert_eq!(ring.flow_of(&ConnectHandle::new(login.expose())), None);
    }

    #[test]
    fn c04_a_handle_changed_anywhere_or_of_another_length_leads_nowhere() {
        let ring = ring(&[1]);
        let handle = ring.connect_handle(FlowId::draw(&Stream::seeded(1)));
        let bytes = URL_SAFE_NO_PAD.decode(handle.expose()).unwrap();
        let of = |bytes: &[u8]| ring.flow_of(&ConnectHandle::new(URL_SAFE_NO_PAD.encode(bytes)));
        assert!(of(&bytes).is_some());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(of(&changed), None, "byte {at}");
            assert_eq!(of(&bytes[..at]), None, "{at} bytes");
        }
        assert_eq!(of(&[&bytes[..], &[0]].concat()), None);
        for text in ["", "=", "ä", &format!("{}=", handle.expose())] {
            assert_eq!(ring.flow_of(&ConnectHandle::new(text)), None);
        }
    }

    #[test]
    fn i06_a_form_token_is_good_for_its_browser_and_subject_alone() {
        let (one, two) = (BrowserCookie::new("one"), BrowserCookie::new("two"));
        let token = ring(&[1]).browser_csrf(&one, "link");
        assert!(ring(&[1]).is_browser_csrf(&one, "link", &token));
        assert!(ring(&[2, 1]).is_browser_csrf(&one, "link", &token));
        assert!(!ring(&[2]).is_browser_csrf(&one, "link", &token));
        assert!(!ring(&[1]).is_browser_csrf(&two, "link", &token));
        assert!(!ring(&[1]).is_browser_csrf(&one, "other", &token));
        assert!(!ring(&[1]).is_browser_csrf(&BrowserCookie::new("onel"), "ink", &token));
        for bad in ["", "A", &token[..40], &format!("{token}A")] {
            assert!(!ring(&[1]).is_browser_csrf(&one, "link", bad));
        }
    }

    #[test]
    fn a_connect_handles_mac_is_no_form_token() {
        let ring = ring(&[1]);
        assert_ne!(
            hmac::sign(&ring.first().handles, b"x").as_ref(),
            hmac::sign(&ring.first().forms, b"x").as_ref()
        );
    }

    #[test]
    fn i06_a_form_of_the_console_is_good_for_six_to_twelve_hours_and_with_any_key() {
        let start = time::macros::datetime!(2026-01-02 00:00:00 UTC);
        let (hours, older) = (time::Duration::hours, ring(&[1]));
        let csrf = older.console_csrf(start);
        assert_eq!(csrf.len(), 43);
        for (passed, good) in [(0, true), (6, true), (11, true), (12, false), (-1, false), (240, false)] {
            assert_eq!(older.is_console_csrf(start + hours(passed), &csrf), good, "{passed} h");
        }
        assert!(ring(&[2, 1]).is_console_csrf(start, &csrf));
        assert!(!ring(&[2]).is_console_csrf(start, &csrf));
        for other in ["", "x", &csrf[1..], &older.browser_csrf(&BrowserCookie::new("c"), "console")] {
            assert!(!older.is_console_csrf(start, other), "{other}");
        }
    }
}
