//! Asking a provider's addresses what they are, without any credential: for findings, not for tokens.
//!
//! At most eight requests, each within [`PATIENCE`], in two rounds: one to each endpoint's host, and up to four for
//! metadata. Nothing of an answer leaves here but its status, whether a refusal names the redirect URI, and metadata
//! that was parsed (E08).

use std::{collections::BTreeMap, error::Error, io, time::Duration};

use futures_util::future::join_all;
use url::Url;

use super::{Answer, ProviderClient, Registration, SendError};
use crate::domain::{
    clock::Entropy,
    doctor::{
        Finding, MetadataLocation, Reached, ServerMetadata, Severity, invalid, of_authorization_page,
        of_configuration, of_metadata, of_reach, unfit_endpoints, without_metadata,
    },
    json,
    plugin::{self, Document, EndpointTemplate, OauthConfiguration, Parsed, Variable},
    secret::{CodeVerifier, FlowState},
};

/// For one request.
const PATIENCE: Duration = Duration::from_secs(6);

/// For all of them.
const WHOLE: Duration = Duration::from_secs(20);

/// Where one endpoint is.
struct Endpoint {
    member: &'static str,
    url: Url,
}

impl ProviderClient {
    /// All that one document tells, and then the addresses in it; worst first. `redirect_uri` gives the one to try.
    pub async fn examine_document(
        &self,
        document: &Document,
        redirect_uri: impl FnOnce(&OauthConfiguration) -> Option<Url>,
        entropy: &dyn Entropy,
    ) -> Vec<Finding> {
        let mut findings = match plugin::parse(document, self.egress()) {
            Ok(Parsed { configuration, warnings }) => {
                let mut findings = of_configuration(&configuration, warnings);
                let redirect_uri = redirect_uri(&configuration);
                findings.extend(self.examine(&configuration, redirect_uri.as_ref(), entropy).await);
                findings
            }
            Err(errors) => {
                let mut findings = unfit_endpoints(document, self.egress());
                let known =
                    |field: &str| findings.iter().any(|finding| finding.field.as_deref() == Some(field));
                let rest = errors.into_iter().filter(|error| !known(&error.field)).collect();
                findings.extend(invalid(rest));
                findings
            }
        };
        findings.sort_by_key(|finding| finding.severity);
        findings
    }

    /// What a configuration's addresses tell. With a redirect URI, an authorization request is tried with it that
    /// nobody will ever follow. Takes 20 s at most.
    pub(super) async fn examine(
        &self,
        configuration: &OauthConfiguration,
        redirect_uri: Option<&Url>,
        entropy: &dyn Entropy,
    ) -> Vec<Finding> {
        let values = presumed(configuration);
        let mut findings = unasked(configuration, &values);
        let asked = self.ask(configuration, &values, redirect_uri, entropy);
        findings.extend(tokio::time::timeout(WHOLE, asked).await.unwrap_or_else(|_| {
            let detail =
                "the provider was too slow to be looked at whole: what is missing here was not checked";
            vec![Finding::general(Severity::Warning, "cut_short", detail)]
        }));
        findings
    }

    async fn ask(
        &self,
        configuration: &OauthConfiguration,
        values: &BTreeMap<String, String>,
        redirect_uri: Option<&Url>,
        entropy: &dyn Entropy,
    ) -> Vec<Finding> {
        let endpoints = self.endpoints(configuration, values);
        let page = authorization_request(configuration, values, redirect_uri, self, entropy);
        let reach = join_all(endpoints.iter().map(async |endpoint| {
            let page = page.clone().filter(|_| endpoint.member == "auth_endpoint");
            self.reach(page.unwrap_or_else(|| endpoint.url.clone())).await
        }));
        let (reached, metadata) = tokio::join!(reach, self.metadata(configuration, &endpoints));
        let mut findings = Vec::new();
        for (endpoint, reached) in endpoints.iter().zip(reached) {
            findings.extend(of_reach(endpoint.member, reached));
            if endpoint.member == "auth_endpoint" {
                let sent = page.as_ref().and(redirect_uri).map(Url::as_str);
                findings.extend(of_authorization_page(reached, sent));
            }
        }
        findings.extend(match metadata {
            Some(metadata) => of_metadata(configuration, values, &metadata),
            None => without_metadata(configuration),
        });
        findings
    }

    /// The endpoints whose values are known, one for each origin.
    fn endpoints(
        &self,
        configuration: &OauthConfiguration,
        values: &BTreeMap<String, String>,
    ) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (member, template) in members(configuration) {
            let Ok(url) = template.resolve(values, self.egress()) else { continue };
            if !endpoints.iter().any(|known| known.url.origin() == url.origin()) {
                endpoints.push(Endpoint { member, url });
            }
        }
        endpoints
    }

    async fn reach(&self, url: Url) -> Reached {
        match self.get_soon(url).await {
            Ok(answer) => Reached::Answered {
                status: answer.status,
                names_redirect_uri: (400..500).contains(&answer.status) && names_redirect_uri(&answer.body),
            },
            Err(SendError::Blocked) => Reached::Private,
            Err(error) if is_bad_certificate(&error) => Reached::BadCertificate,
            Err(SendError::Unreachable(_)) => Reached::Unreachable,
            Err(SendError::TimedOut) => Reached::TimedOut,
            Err(SendError::Invalid(_) | SendError::TooLarge) => Reached::NoHttp,
        }
    }

    async fn get_soon(&self, url: Url) -> Result<Answer, SendError> {
        tokio::time::timeout(PATIENCE, self.get(url, None)).await.unwrap_or(Err(SendError::TimedOut))
    }

    /// Metadata of the configured issuer, else of the authorization endpoint's origin, else of the token endpoint's.
    async fn metadata(
        &self,
        configuration: &OauthConfiguration,
        endpoints: &[Endpoint],
    ) -> Option<ServerMetadata> {
        let issuer = configuration.issuer.as_deref().and_then(|issuer| Url::parse(issuer).ok());
        if let Some(issuer) = issuer {
            return self.metadata_at(&MetadataLocation::of(&issuer, false), |_| true).await;
        }
        for endpoint in endpoints.iter().take(2) {
            let location = MetadataLocation::of(&endpoint.url, true);
            // Whoever asks without an issuer takes only what claims to be of this origin (RFC 8414 §3.3).
            let own = |metadata: &ServerMetadata| {
                Url::parse(&metadata.issuer).is_ok_and(|issuer| issuer.origin() == endpoint.url.origin())
            };
            if let Some(metadata) = self.metadata_at(&location, own).await {
                return Some(metadata);
            }
        }
        None
    }

    async fn metadata_at(
        &self,
        location: &MetadataLocation,
        fits: impl Fn(&ServerMetadata) -> bool,
    ) -> Option<ServerMetadata> {
        let read = async |url: &Url| {
            let answer = self.get_soon(url.clone()).await.ok().filter(|answer| answer.status == 200)?;
            ServerMetadata::parse(&json::parse_object(&answer.body).ok()?).filter(&fits)
        };
        let (oauth, openid) = tokio::join!(read(&location.oauth), read(&location.openid));
        oauth.or(openid)
    }
}

fn members(configuration: &OauthConfiguration) -> impl Iterator<Item = (&'static str, &EndpointTemplate)> {
    [
        ("auth_endpoint", Some(&configuration.auth_endpoint)),
        ("token_endpoint", Some(&configuration.token_endpoint)),
        ("refresh_endpoint", configuration.refresh_endpoint.as_ref()),
        ("revocation_endpoint", configuration.revocation_endpoint.as_ref()),
    ]
    .into_iter()
    .filter_map(|(member, template)| Some((member, template?)))
}

/// The values that no slot has to give: defaults, and where there is none, the first that is allowed.
fn presumed(configuration: &OauthConfiguration) -> BTreeMap<String, String> {
    let value = |(name, variable): (&String, &Variable)| {
        let value = variable.default.as_ref().or_else(|| variable.allowed.first())?;
        Some((name.clone(), value.clone()))
    };
    configuration.variables.iter().filter_map(value).collect()
}

/// The endpoints that need a value first.
fn unasked(configuration: &OauthConfiguration, values: &BTreeMap<String, String>) -> Vec<Finding> {
    let lacking = |(member, template): (&'static str, &EndpointTemplate)| {
        let name = template.placeholders().into_iter().find(|name| !values.contains_key(*name))?;
        let detail =
            format!("was not asked: it needs a value for {{{name}}}, which a slot or a callback gives");
        Some(Finding::about(Severity::Info, "not_checked", format!("/{member}"), detail))
    };
    members(configuration).filter_map(lacking).collect()
}

/// An authorization request as a browser would make it.
fn authorization_request(
    configuration: &OauthConfiguration,
    values: &BTreeMap<String, String>,
    redirect_uri: Option<&Url>,
    client: &ProviderClient,
    entropy: &dyn Entropy,
) -> Option<Url> {
    let registration = Registration {
        configuration,
        variables: values,
        callback: &BTreeMap::new(),
        redirect_uri: redirect_uri?,
        egress: client.egress(),
    };
    let (state, verifier) = (FlowState::draw(entropy), CodeVerifier::draw(entropy));
    registration.authorization_url(&state, Some(&verifier)).ok()
}

fn names_redirect_uri(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    ["redirect_uri", "redirect uri", "redirect url", "callback url"].iter().any(|words| text.contains(words))
}

/// Whether TLS failed at the certificate.
fn is_bad_certificate(error: &SendError) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(rustls::Error::InvalidCertificate(_)) = inner.downcast_ref() {
            return true;
        }
        // An I/O error hides what it was made of from `source`.
        cause = match inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => inner.source(),
        };
    }
    false
}

#[cfg(test)]
#[path = "examine_tests.rs"]
mod tests;
