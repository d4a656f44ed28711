//! Which credential a command uses, and where `login` keeps one.
//!
//! The first of these is used: `CLOUDLINK_TOKEN` with `CLOUDLINK_URL`; `.cloudlink/credentials.json` in the working
//! folder; `cloudlink/credentials.json` in the user's configuration folder. Whether a token is still good, the server
//! alone says: this machine's clock may be wrong.

mod file;

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

pub(super) use self::file::{Kept, Secret};
use crate::{api_client::Claims, domain::secret::BearerToken, plugin_client::Server};

/// Names a token in the environment.
const TOKEN: &str = "CLOUDLINK_TOKEN";
/// Names the server in the environment.
pub(super) const URL: &str = "CLOUDLINK_URL";

/// Where a credential came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// `CLOUDLINK_TOKEN`.
    Environment,
    /// A file.
    File(PathBuf),
}

/// Where credentials are looked for.
#[derive(Debug, Clone)]
pub(super) struct Places {
    token: Option<BearerToken>,
    url: Option<String>,
    here: PathBuf,
    user: Option<PathBuf>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kept: Kept,
    pub(super) source: Source,
}

/// Where `login` keeps what it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// For the user, in the configuration folder.
    ForUser,
    /// For whoever works in this folder.
    Here,
}

impl Places {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        Self::from(|name| std::env::var_os(name), Path::new("."))
    }

    fn from(variable: impl Fn(&str) -> Option<OsString>, working_folder: &Path) -> Self {
        let text = |name| variable(name)?.into_string().ok().filter(|text: &String| !text.is_empty());
        // The XDG specification has relative paths ignored.
        let folder = |name| text(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let user = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
        Self {
            token: text(TOKEN).map(BearerToken::new),
            url: text(URL),
            here: working_folder.join(".cloudlink/credentials.json"),
            user: user.map(|folder| folder.join("cloudlink/credentials.json")),
        }
    }

    /// The credential to use.
    pub(super) fn find(&self) -> anyhow::Result<Found> {
        match self.look()? {
            Some(found) => Ok(found),
            None => {
                bail!("nobody is signed in: run `cloudlink login --url https://…`, or set {TOKEN} and {URL}")
            }
        }
    }

    fn look(&self) -> anyhow::Result<Option<Found>> {
        if let Some(token) = &self.token {
            let url = self.url.as_deref().with_context(|| {
                format!("{TOKEN} is set but {URL} is not: set it to the server's public URL")
            })?;
            let server = server(url)?;
            let claims = Claims::read(token)
                .with_context(|| format!("{TOKEN} holds no access token of a cloudlink: set it anew"))?;
            let kept = Kept { server, secret: Secret::Token { token: token.clone(), claims } };
            return Ok(Some(Found { kept, source: Source::Environment }));
        }
        for path in std::iter::once(&self.here).chain(&self.user) {
            if let Some(kept) = file::read(path)? {
                return Ok(Some(Found { kept, source: Source::File(path.clone()) }));
            }
        }
        Ok(None)
    }

    /// The server to sign in at, where none was named: that of the environment, else of the last credential.
    pub(super) fn server(&self) -> anyhow::Result<Server> {
        if let Some(url) = &self.url {
            return server(url);
        }
        for path in std::iter::once(&self.here).chain(&self.user) {
            if let Some(kept) = file::read(path)? {
                return Ok(kept.server);
            }
        }
        bail!("which server? Give its public URL: `cloudlink login --url https://…`")
    }

    /// Writes a credential to its file, in place of what was there.
    pub(super) fn keep(&self, kept: &Kept, keep: Keep) -> anyhow::Result<PathBuf> {
        let path = match keep {
            Keep::Here => &self.here,
            Keep::ForUser => self.user.as_ref().context(
                "there is no folder to keep the credential in: set HOME or XDG_CONFIG_HOME, or use --here",
            )?,
        };
        file::write(path, kept)?;
        Ok(path.clone())
    }

    /// Whether something in the environment hides what is kept in files.
    pub(super) fn environment_goes_first(&self) -> bool {
        self.token.is_some()
    }
}

impl Source {
    /// Forgets the credential where that can be done from here.
    pub(super) fn forget(&self) -> anyhow::Result<()> {
        match self {
            Self::Environment => Ok(()),
            Self::File(path) => file::remove(path),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str(TOKEN),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

fn server(url: &str) -> anyhow::Result<Server> {
    url.parse().with_context(|| format!("{URL} is no server's public URL"))
}

#[cfg(test)]
pub(super) mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;
    use time::{Duration, OffsetDateTime, macros::datetime};

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

    pub(crate) fn token(expires_at: OffsetDateTime) -> BearerToken {
        let payload = json!({"sub": "owner", "exp": expires_at.unix_timestamp()}).to_string();
        BearerToken::new(format!("e30.{}.x", URL_SAFE_NO_PAD.encode(payload)))
    }

    fn kept(url: &str, expires_at: OffsetDateTime) -> Kept {
        let token = token(expires_at);
        let claims = Claims::read(&token).unwrap();
        Kept { server: url.parse().unwrap(), secret: Secret::Token { token, claims } }
    }

    fn places(folder: &Path, variables: &[(&str, &str)]) -> Places {
        let home = folder.join("home");
        let variable = |name: &str| {
            let given = variables.iter().find(|pair| pair.0 == name).map(|pair| OsString::from(pair.1));
            given.or_else(|| (name == "HOME").then(|| home.clone().into()))
        };
        Places::from(variable, &folder.join("work"))
    }

    #[test]
    fn the_environment_goes_before_the_working_folder_and_that_before_the_user() {
        let folder = tempfile::tempdir().unwrap();
        let (later, bare) = (NOW + Duration::HOUR, places(folder.path(), &[]));
        assert!(bare.find().unwrap_err().to_string().contains("cloudlink login"));
        let users = bare.keep(&kept("https://user.example", later), Keep::ForUser).unwrap();
        assert_eq!(users, folder.path().join("home/.config/cloudlink/credentials.json"));
        let found = bare.find().unwrap();
        assert_eq!(
            (found.source, found.kept.server.url().origin()),
            (Source::File(users), "https://user.example")
        );
        let here = bare.keep(&kept("https://here.example", later), Keep::Here).unwrap();
        let found = bare.find().unwrap();
        assert_eq!(
            (found.source, found.kept.server.url().origin()),
            (Source::File(here), "https://here.example")
        );
        let set = token(later);
        let both = places(folder.path(), &[(TOKEN, set.expose()), (URL, "https://env.example")]);
        let found = both.find().unwrap();
        assert_eq!(
            (found.source, found.kept.server.url().origin()),
            (Source::Environment, "https://env.example")
        );
        let half = places(folder.path(), &[(TOKEN, set.expose())]);
        assert!(half.find().unwrap_err().to_string().contains("CLOUDLINK_URL is not"));
    }

    #[test]
    fn the_configuration_folder_is_where_xdg_says() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let set = places(folder.path(), &[("XDG_CONFIG_HOME", config.to_str().unwrap())]);
        let path = set.keep(&kept("https://a.example", NOW), Keep::ForUser).unwrap();
        assert_eq!(path, config.join("cloudlink/credentials.json"));
        let relative = places(folder.path(), &[("XDG_CONFIG_HOME", "config")]);
        let path = relative.keep(&kept("https://a.example", NOW), Keep::ForUser).unwrap();
        assert!(path.starts_with(folder.path().join("home")), "{path:?}");
    }

    #[test]
    fn a_token_whose_time_seems_to_be_up_is_used_because_the_server_knows_better() {
        let folder = tempfile::tempdir().unwrap();
        let bare = places(folder.path(), &[]);
        let path =
            bare.keep(&kept("https://a.example", datetime!(2001-01-01 00:00 UTC)), Keep::ForUser).unwrap();
        assert!(bare.find().is_ok() && path.exists());
        let set = token(datetime!(2001-01-01 00:00 UTC));
        let set = places(folder.path(), &[(TOKEN, set.expose()), (URL, "https://a.example")]);
        assert!(set.find().is_ok());
    }

    #[test]
    fn who_signs_in_again_need_not_name_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let bare = places(folder.path(), &[]);
        assert!(bare.server().unwrap_err().to_string().contains("--url"));
        bare.keep(&kept("https://a.example", NOW - Duration::HOUR), Keep::ForUser).unwrap();
        assert_eq!(bare.server().unwrap().url().origin(), "https://a.example");
        let set = places(folder.path(), &[(URL, "https://b.example")]);
        assert_eq!(set.server().unwrap().url().origin(), "https://b.example");
    }
}
