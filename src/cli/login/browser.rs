//! Signing in with a browser on this machine (RFC 8252): PKCE, and an answer that comes to a loopback address.

use std::{env::VarError, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{process::Command, time::timeout};
use url::Url;

use super::{
    CLIENT_ID, granted,
    loopback::{Answer, Expected, Loopback},
};
use crate::{
    api_client::{Answered, Api},
    domain::{
        pkce::CodeChallenge,
        secret::{BearerToken, CodeVerifier, FlowState},
    },
    seams::SystemEntropy,
    terminal::Terminal,
};

/// How long a person may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// A program that opens a browser and runs on for so long has opened it.
const OPENING: Duration = Duration::from_secs(3);

/// The programs that may open a browser, tried in turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opener(Vec<String>);

impl Opener {
    /// Those of this machine; none where a browser would open in front of nobody.
    pub(super) fn of_this_machine() -> Option<Self> {
        Self::from(|name| std::env::var(name), cfg!(target_os = "macos"))
    }

    fn from(variable: impl Fn(&str) -> Result<String, VarError>, on_a_mac: bool) -> Option<Self> {
        let set = |name| variable(name).ok().filter(|value| !value.is_empty());
        if set("SSH_CONNECTION").is_some() {
            return None;
        }
        // As xdg-open(1) reads it: programs, the first that works.
        if let Some(programs) = set("BROWSER") {
            return Some(Self(
                programs.split(':').filter(|program| !program.is_empty()).map(Into::into).collect(),
            ));
        }
        let program = if on_a_mac {
            "open"
        } else {
            set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY"))?;
            "xdg-open"
        };
        Some(Self(vec![program.to_owned()]))
    }

    /// Whether a browser was opened.
    async fn open(&self, url: &Url) -> bool {
        for program in &self.0 {
            let mut command = Command::new(program);
            command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let Ok(mut child) = command.spawn() else { continue };
            match timeout(OPENING, child.wait()).await {
                Ok(Ok(status)) if !status.success() => {}
                Ok(Err(_)) => {}
                Ok(Ok(_)) | Err(_) => return true,
            }
        }
        false
    }
}

/// Signs in; none where no browser could be opened.
pub(super) async fn sign_in(
    terminal: &Terminal,
    api: &Api,
    scope: Option<&str>,
    opener: &Opener,
) -> anyhow::Result<Option<BearerToken>> {
    let loopback =
        Loopback::bind().await.context("no port of 127.0.0.1 can be listened on: use --headless")?;
    let (state, verifier) = (FlowState::draw(&SystemEntropy), CodeVerifier::draw(&SystemEntropy));
    let redirect_uri = loopback.redirect_uri().to_owned();
    let url = request(api, scope, &redirect_uri, &state, &verifier)?;
    if !opener.open(&url).await {
        terminal.note("No browser could be opened here.");
        return Ok(None);
    }
    terminal.note("Sign in with the browser. Where none has opened, open this address on this machine:");
    terminal.note(format_args!("  {url}"));
    let issuer = api.server().url().origin().to_owned();
    let Ok(answer) = timeout(PATIENCE, loopback.answer(&Expected { state, issuer })).await else {
        bail!("nobody signed in within {} minutes: try again, or use --headless", PATIENCE.as_secs() / 60);
    };
    let code = match answer? {
        Answer::Code(code) => code,
        Answer::Refused { error } if error == "access_denied" => {
            bail!("it was not allowed: nobody is signed in")
        }
        Answer::Refused { error } => bail!("the server refused ({error}): try again, or use --headless"),
        Answer::WrongIssuer => bail!(
            "the answer came from another server than {}: check the URL, and try again",
            api.server().url()
        ),
    };
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.expose()),
        ("redirect_uri", &redirect_uri),
        ("code_verifier", verifier.expose()),
        ("client_id", CLIENT_ID),
    ];
    match api.post_form("/api/token", &form).await? {
        Answered::Granted(members) => granted(&members).map(Some),
        Answered::Refused { error, description } => {
            bail!("the server refused ({error}) {description}: try again")
        }
    }
}

/// The authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3).
fn request(
    api: &Api,
    scope: Option<&str>,
    redirect_uri: &str,
    state: &FlowState,
    verifier: &CodeVerifier,
) -> anyhow::Result<Url> {
    let mut url = Url::parse(&api.server().url().join("/api/authorize"))?;
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", CLIENT_ID)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("code_challenge", CodeChallenge::of(verifier).as_str())
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", state.expose());
    if let Some(scope) = scope {
        query.append_pair("scope", scope);
    }
    drop(query);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_client::Caller;

    fn opener(variables: &[(&str, &str)], on_a_mac: bool) -> Option<Vec<String>> {
        let variable = |name: &str| {
            let found = variables.iter().find(|pair| pair.0 == name);
            found.map(|pair| pair.1.to_owned()).ok_or(VarError::NotPresent)
        };
        Opener::from(variable, on_a_mac).map(|opener| opener.0)
    }

    #[test]
    fn a_browser_opens_only_where_somebody_sees_it() {
        let of = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(opener(&[], false), None);
        assert_eq!(opener(&[("DISPLAY", "")], false), None);
        assert_eq!(opener(&[("DISPLAY", ":0")], false), of(&["xdg-open"]));
        assert_eq!(opener(&[("WAYLAND_DISPLAY", "wayland-0")], false), of(&["xdg-open"]));
        assert_eq!(opener(&[], true), of(&["open"]));
        assert_eq!(opener(&[("BROWSER", "firefox::/opt/b")], false), of(&["firefox", "/opt/b"]));
        let far = [("SSH_CONNECTION", "10.0.0.1 5 10.0.0.2 22"), ("DISPLAY", ":0"), ("BROWSER", "firefox")];
        assert_eq!(opener(&far, true), None);
    }

    #[tokio::test]
    async fn a_program_that_fails_is_followed_by_the_next() {
        let url = Url::parse("http://127.0.0.1:9/").unwrap();
        let of = |names: &[&str]| Opener(names.iter().map(ToString::to_string).collect());
        assert!(!of(&["/does/not/exist", "false"]).open(&url).await);
        assert!(of(&["/does/not/exist", "false", "true"]).open(&url).await);
    }

    #[test]
    fn a05_the_request_proves_itself_by_pkce_and_does_not_show_the_verifier() {
        let api = Api::new("https://link.example".parse().unwrap(), Caller::Anyone);
        // RFC 7636, appendix B.
        let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let state = FlowState::draw(&SystemEntropy);
        let url = request(&api, Some("device:x"), "http://127.0.0.1:1/callback", &state, &verifier).unwrap();
        let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(query["code_challenge"], "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!((query["code_challenge_method"].as_str(), query["scope"].as_str()), ("S256", "device:x"));
        assert_eq!(query["redirect_uri"], "http://127.0.0.1:1/callback");
        assert!(!url.as_str().contains(verifier.expose()));
    }
}
