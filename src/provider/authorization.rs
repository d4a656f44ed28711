//! The authorization request (RFC 6749 §4.1.1) as a URL for the browser.
//!
//! Guarantees that each parameter stands once, that `state`, the redirect URI and the code challenge are
//! the broker's whatever the configuration says, and that the scope arrives exactly as configured.

use url::{Url, form_urlencoded};

use super::{
    members::{Customisation, assemble},
    registration::{Registration, RequestError},
};
use crate::domain::{
    pkce::CodeChallenge,
    plugin::{Pkce, render},
    secret::{CodeVerifier, FlowState, SecretValue},
};

const FIXED: [&str; 6] =
    ["redirect_uri", "state", "code_challenge", "code_challenge_method", "request", "request_uri"];

impl Registration<'_> {
    /// Where the browser is sent. `verifier` is required unless the configuration turns PKCE off, and
    /// ignored if it does.
    pub fn authorization_url(
        &self,
        state: &FlowState,
        verifier: Option<&CodeVerifier>,
    ) -> Result<Url, RequestError> {
        self.authorization_url_with(state, verifier, &[])
    }

    /// The same with members that the caller brought, as they are: they win over the configuration's of the same name,
    /// and what the configuration does not admit is left out.
    pub fn authorization_url_with(
        &self,
        state: &FlowState,
        verifier: Option<&CodeVerifier>,
        brought: &[(String, String)],
    ) -> Result<Url, RequestError> {
        let configuration = self.configuration;
        let mut standard = vec![
            ("response_type", SecretValue::new("code")),
            ("client_id", SecretValue::new(configuration.client_id.as_str())),
            ("redirect_uri", SecretValue::new(self.redirect_uri.as_str())),
        ];
        if let Some(scope) = &configuration.scope {
            standard.push(("scope", SecretValue::new(scope.as_str())));
        }
        standard.push(("state", SecretValue::new(state.expose())));
        if configuration.pkce == Pkce::S256 {
            let verifier = verifier.ok_or(RequestError::Verifier)?;
            standard.push(("code_challenge", SecretValue::new(CodeChallenge::of(verifier).as_str())));
            standard.push(("code_challenge_method", SecretValue::new("S256")));
        }
        let brought: Vec<_> =
            brought.iter().filter(|(name, value)| configuration.admits_parameter(name, value)).collect();
        let mut extra = Vec::with_capacity(configuration.parameters.len() + brought.len());
        for (name, value) in &configuration.parameters {
            if !brought.iter().any(|(other, _)| other == name) {
                extra.push((name.clone(), render(value, self.variables)));
            }
        }
        extra.extend(
            brought.into_iter().map(|(name, value)| (name.clone(), SecretValue::new(value.as_str()))),
        );
        let names = &configuration.parameter_names.authorization;
        let members = assemble(standard, Customisation { extra, fixed: &FIXED, names });

        let mut url = self.endpoint("auth_endpoint", &configuration.auth_endpoint)?;
        extend_query(&mut url, &members);
        Ok(url)
    }
}

/// Adds `members` to the query that is there; a pair of the same name gives way (RFC 6749 §3.1: none
/// twice). In a URL like `https://host/#/path` the router behind the fragment reads the query, so it goes
/// there.
fn extend_query(url: &mut Url, members: &[(String, SecretValue)]) {
    if let Some(fragment) = url.fragment().filter(|fragment| fragment.starts_with('/')) {
        let (path, query) = fragment.split_once('?').unwrap_or((fragment, ""));
        let fragment = format!("{path}?{}", extended(query, members));
        url.set_fragment(Some(&fragment));
    } else {
        let query = extended(url.query().unwrap_or_default(), members);
        url.set_query(Some(&query));
    }
}

fn extended(query: &str, members: &[(String, SecretValue)]) -> String {
    let ours = |pair: &str| {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
        name.is_some_and(|name| members.iter().any(|(known, _)| *known == name))
    };
    let mut pairs: Vec<String> =
        query.split('&').filter(|pair| !pair.is_empty() && !ours(pair)).map(str::to_owned).collect();
    pairs.extend(members.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value.expose()))));
    pairs.join("&")
}

/// A space becomes `%20`, which those servers read too that take `+` for a plus sign.
fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::provider::fake::Setup;

    fn url(setup: &Setup) -> Url {
        let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        setup.registration().authorization_url(&FlowState::new("st"), Some(&verifier)).unwrap()
    }

    fn pairs(url: &Url) -> BTreeMap<String, String> {
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(pairs.len(), map.len(), "a parameter stands twice");
        map
    }

    #[test]
    fn a05_the_challenge_is_the_s256_of_the_verifier() {
        let pairs = pairs(&url(&Setup::new()));
        // RFC 7636, appendix B.
        assert_eq!(pairs["code_challenge"], "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(pairs["code_challenge_method"], "S256");
        assert_eq!(pairs["response_type"], "code");
        assert_eq!(pairs["client_id"], "the-client");
        assert_eq!(pairs["redirect_uri"], "https://broker.example/api/cloudlink/redirect");
        assert_eq!(pairs["state"], "st");
    }

    #[test]
    fn a05_no_url_is_built_without_a_verifier_unless_pkce_is_off() {
        let mut setup = Setup::new();
        let state = FlowState::new("st");
        let result = setup.registration().authorization_url(&state, None);
        assert!(matches!(result, Err(RequestError::Verifier)));
        setup.configuration.pkce = Pkce::Off;
        assert!(!pairs(&url(&setup)).contains_key("code_challenge"));
    }

    #[test]
    fn a08_parameters_override_response_type_and_scope_but_not_the_brokers_own() {
        let mut setup = Setup::new().scope("a");
        for (name, value) in [
            ("response_type", "code id_token"),
            ("scope", "b"),
            ("state", "x"),
            ("redirect_uri", "https://evil"),
        ] {
            setup.configuration.parameters.insert(name.into(), SecretValue::new(value));
        }
        let pairs = pairs(&url(&setup));
        assert_eq!(pairs["response_type"], "code id_token");
        assert_eq!(pairs["scope"], "b");
        assert_eq!(pairs["state"], "st");
        assert_eq!(pairs["redirect_uri"], "https://broker.example/api/cloudlink/redirect");
    }

    #[test]
    fn members_that_the_caller_brought_win_over_parameters_and_pass_the_same_rules() {
        let mut setup = Setup::new().scope("a").variable("shop", "mine");
        setup.configuration.parameters.insert("prompt".into(), SecretValue::new("none"));
        let brought = [
            ("prompt", "consent"),
            ("scope", "a b"),
            ("hint", "{shop}"),
            ("state", "x"),
            ("Redirect.URI", "https://evil"),
            ("code_challenge_method", "plain"),
            ("response_type", "token"),
            ("response_mode", "fragment"),
            ("client_id", "other"),
            ("request_uri", "https://evil"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let verifier = CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let registration = setup.registration();
        let url =
            registration.authorization_url_with(&FlowState::new("st"), Some(&verifier), &brought).unwrap();
        let pairs = pairs(&url);
        for (name, value) in [
            ("prompt", "consent"),
            ("scope", "a b"),
            ("hint", "{shop}"),
            ("state", "st"),
            ("code_challenge_method", "S256"),
            ("response_type", "code"),
            ("client_id", "the-client"),
        ] {
            assert_eq!(pairs[name], value);
        }
        assert!(
            !["Redirect.URI", "response_mode", "request_uri"].iter().any(|name| pairs.contains_key(*name))
        );
    }

    #[test]
    fn a_query_in_the_endpoint_is_kept_as_written_and_extended() {
        let url = url(&Setup::new().auth("https://p.example/a?key=a%2Fb&state=theirs"));
        assert!(url.query().unwrap().starts_with("key=a%2Fb&response_type=code&"), "{url}");
        assert_eq!(pairs(&url)["state"], "st");
    }

    #[test]
    fn behind_a_fragment_route_the_query_goes_into_the_fragment() {
        let members = [("state".to_owned(), SecretValue::new("s t"))];
        for (endpoint, expected) in [
            ("https://p.example/#/oauth", "https://p.example/#/oauth?state=s%20t"),
            ("https://p.example/?a=1#/o?b=2&state=x", "https://p.example/?a=1#/o?b=2&state=s%20t"),
        ] {
            let mut url = Url::parse(endpoint).unwrap();
            extend_query(&mut url, &members);
            assert_eq!(url.as_str(), expected);
        }
    }

    #[test]
    fn members_are_renamed_or_left_out_and_variables_filled_in() {
        let mut setup = Setup::new().scope("a").variable("shop", "my shop");
        setup.configuration.parameters.insert("shop".into(), SecretValue::new("{shop}"));
        let names = &mut setup.configuration.parameter_names.authorization;
        names.insert("client_id".into(), Some("client_key".into()));
        names.insert("scope".into(), None);
        let pairs = pairs(&url(&setup));
        assert_eq!(pairs["client_key"], "the-client");
        assert_eq!(pairs["shop"], "my shop");
        assert!(!pairs.contains_key("scope") && !pairs.contains_key("client_id"));
    }

    proptest! {
        #[test]
        fn a10_the_scope_arrives_exactly_as_configured(scope in ".+") {
            let url = url(&Setup::new().scope(&scope));
            prop_assert_eq!(&pairs(&url)["scope"], &scope);
            prop_assert!(!url.query().unwrap().contains('+'));
        }
    }
}
