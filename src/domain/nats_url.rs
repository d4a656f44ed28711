//! Where the NATS servers of the bus are, and how to sign in there.
//!
//! Written `nats://user:password@host:4222`, `nats://token@host` or `nats://SU…@host` with the seed of an `NKey`;
//! `tls://` where the connection must be encrypted. Several servers of one cluster stand between commas, and the
//! first that names somebody to sign in as speaks for all.

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::Url;

use super::secret::SecretValue;

/// More servers than a cluster has.
const MOST_SERVERS: usize = 32;
/// The length of the seed of an `NKey`: prefix, 32 bytes and checksum in base32.
const SEED: usize = 58;

/// The servers, and who we are to them. Its `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsUrl {
    servers: Vec<Url>,
    login: NatsLogin,
}

/// How to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsLogin {
    /// Not at all.
    Nobody,
    /// With a name and a password.
    Password(SecretValue, SecretValue),
    /// With a token.
    Token(SecretValue),
    /// By signing the server's challenge with the key of this seed, which stays here.
    Key(SecretValue),
}

/// The text is no such URL. It may hold a password, so the error does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no NATS URL; write it like nats://user:password@host:4222 or tls://host, with commas between several \
     servers, and special characters of a password as %XX"
)]
pub struct NatsUrlError;

impl NatsUrl {
    /// The servers, without what they must not log.
    pub fn servers(&self) -> &[Url] {
        &self.servers
    }

    /// Who we are.
    pub fn login(&self) -> &NatsLogin {
        &self.login
    }
}

impl FromStr for NatsUrl {
    type Err = NatsUrlError;

    fn from_str(text: &str) -> Result<Self, NatsUrlError> {
        let (mut servers, mut login) = (Vec::new(), NatsLogin::Nobody);
        for part in text.split(',') {
            let mut url: Url = part.trim().parse().map_err(|_| NatsUrlError)?;
            let fits = matches!(url.scheme(), "nats" | "tls")
                && url.host_str().is_some_and(|host| !host.is_empty())
                && matches!(url.path(), "" | "/")
                && (url.query(), url.fragment()) == (None, None);
            if !fits || servers.len() == MOST_SERVERS {
                return Err(NatsUrlError);
            }
            if login == NatsLogin::Nobody {
                login = login_in(&url)?;
            }
            url.set_password(None).and_then(|()| url.set_username("")).map_err(|()| NatsUrlError)?;
            servers.push(url);
        }
        Ok(Self { servers, login })
    }
}

fn login_in(url: &Url) -> Result<NatsLogin, NatsUrlError> {
    let decoded =
        |text: &str| percent_decode_str(text).decode_utf8().map(SecretValue::new).map_err(|_| NatsUrlError);
    let name = decoded(url.username())?;
    Ok(match (name.expose(), url.password()) {
        ("", None) => NatsLogin::Nobody,
        (_, Some(password)) => NatsLogin::Password(name, decoded(password)?),
        (seed, None) if seed.len() == SEED && seed.starts_with("SU") => NatsLogin::Key(name),
        (_, None) => NatsLogin::Token(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> NatsUrl {
        text.parse().unwrap()
    }

    fn secret(text: &str) -> SecretValue {
        SecretValue::new(text)
    }

    #[test]
    fn a_url_says_where_and_as_whom() {
        let seed = format!("SU{}", "A".repeat(56));
        for (text, login) in [
            ("nats://host", NatsLogin::Nobody),
            ("nats://u:p%40%2C@host", NatsLogin::Password(secret("u"), secret("p@,"))),
            ("tls://a-token@host:4333/", NatsLogin::Token(secret("a-token"))),
            (&format!("nats://{seed}@[::1]:4222"), NatsLogin::Key(secret(&seed))),
        ] {
            assert_eq!(parsed(text).login(), &login, "{text}");
        }
        let cluster = parsed("nats://a:4222, tls://u:p@b,nats://v:q@c");
        let servers: Vec<&str> = cluster.servers().iter().map(Url::as_str).collect();
        assert_eq!(servers, ["nats://a:4222", "tls://b", "nats://c"]);
        assert_eq!(cluster.login(), &NatsLogin::Password(secret("u"), secret("p")));
    }

    #[test]
    fn no_debug_shows_who() {
        let shown = format!("{:?}", parsed("nats://canary:canary@host"));
        assert!(shown.contains("host") && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn what_is_no_such_url_is_refused_and_not_repeated() {
        let many = ["nats://h"; MOST_SERVERS + 1].join(",");
        for text in
            ["", "host", "nats://", "http://h", "ws://h", "nats://h/x", "nats://h?x", "nats://h,", &many]
        {
            assert_eq!(text.parse::<NatsUrl>(), Err(NatsUrlError), "{text:?}");
        }
    }
}
