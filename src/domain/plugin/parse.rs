//! From the plugin store's JSON to [`OauthConfiguration`], with everything that is wrong at once.
//!
//! Guarantees: a configuration that comes out holds only endpoints that `egress` permits as far as their
//! hosts are literal, only placeholders that have a value in time, and no member that could set what the
//! broker sets (A08). No text of an error or warning quotes a value.
//!
//! Resolves no name and compares with no other plugin: that happens when a flow starts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    configuration::{
        ClientAuthentication, Custody, OauthConfiguration, Parameters, Pkce, RedirectUriKind, TokenFormat,
    },
    document::Document,
    endpoint::{EndpointError, EndpointTemplate},
    findings::{FieldError, Findings, Warning},
    names, parameters,
    parameters::{AuthorizationHeader, Request},
    reader::Reader,
    redaction::KNOWN_MEMBERS,
    scope::{Scope, check_query},
    variables,
};
use crate::domain::{
    address::EgressPolicy,
    secret::{ClientSecret, PrivateKeyPem},
};

/// The largest document, bytes of JSON.
pub const MAX_DOCUMENT: usize = 48 * 1024;
/// The longest `scope` and `private_key`, bytes.
const MAX_LONG_STRING: usize = 8 * 1024;
/// The longest lifetime that can be assumed: ten years, in seconds.
const MAX_EXPIRES_IN: u32 = 315_360_000;
/// The earliest refresh: thirty days before expiry, in seconds.
const MAX_REFRESH_MARGIN: u32 = 2_592_000;

/// A valid configuration, and what to warn its author of.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What it means.
    pub configuration: OauthConfiguration,
    /// What to warn of.
    pub warnings: Vec<Warning>,
}

/// Parses a configuration; all that is wrong with it at once.
pub fn parse(document: &Document, egress: EgressPolicy) -> Result<Parsed, Vec<FieldError>> {
    let mut findings = Findings::default();
    if document.to_plaintext().len() > MAX_DOCUMENT {
        findings.error("", format!("must be at most {MAX_DOCUMENT} bytes of JSON"));
        return Err(findings.errors);
    }
    let configuration = read(&mut Reader::new(document.members(), "", &mut findings), egress);
    match configuration {
        Some(configuration) if findings.errors.is_empty() => {
            Ok(Parsed { configuration, warnings: findings.warnings })
        }
        Some(_) | None => Err(findings.errors),
    }
}

fn read(reader: &mut Reader<'_, '_>, egress: EgressPolicy) -> Option<OauthConfiguration> {
    reader.warn_of_unknown(&KNOWN_MEMBERS);
    let name = reader.required("name").to_owned();
    let client_id = reader.required("client_id").to_owned();
    let auth_endpoint =
        required_endpoint(reader, "auth_endpoint", EndpointTemplate::parse_authorization, egress);
    let token_endpoint = required_endpoint(reader, "token_endpoint", EndpointTemplate::parse, egress);
    let refresh_endpoint = endpoint(reader, "refresh_endpoint", EndpointTemplate::parse, egress);
    let revocation_endpoint = endpoint(reader, "revocation_endpoint", EndpointTemplate::parse, egress);
    let token_auth = token_auth(reader);
    let scope = reader.string_up_to("scope", MAX_LONG_STRING).map(str::to_owned);
    let parameter_names = names::parameter_names(reader);
    let mut extra =
        |member, request| parameters::parameters(reader, member, request, &parameter_names, &client_id);
    let parameters = extra("parameters", Request::Authorization).unwrap_or_default();
    let token_parameters = extra("token_parameters", Request::Token).unwrap_or_default();
    let refresh_parameters = extra("refresh_parameters", Request::Token);
    let authorization = match token_auth {
        Some(ClientAuthentication::Basic(_)) => AuthorizationHeader::Taken,
        Some(
            ClientAuthentication::Post(_)
            | ClientAuthentication::None
            | ClientAuthentication::PrivateKeyJwt(_),
        )
        | None => AuthorizationHeader::Free,
    };
    let token_headers = parameters::token_headers(reader, authorization);
    let variables = variables::variables(reader);
    let callback_parameters = variables::callback_parameters(reader, &parameter_names.callback);
    let known = Scope { variables: &variables, callback: &callback_parameters };
    known.check(reader);
    check_query(reader, "auth_endpoint", auth_endpoint.as_ref(), &parameter_names.authorization);
    check_query(reader, "token_endpoint", token_endpoint.as_ref(), &parameter_names.token);
    check_query(reader, "refresh_endpoint", refresh_endpoint.as_ref(), &parameter_names.token);
    known.check_endpoint(reader, "auth_endpoint", auth_endpoint.as_ref());
    known.check_endpoint(reader, "token_endpoint", token_endpoint.as_ref());
    known.check_endpoint(reader, "refresh_endpoint", refresh_endpoint.as_ref());
    known.check_endpoint(reader, "revocation_endpoint", revocation_endpoint.as_ref());
    known.check_values(reader, "parameters", &parameters);
    known.check_values(reader, "token_parameters", &token_parameters);
    known.check_values(
        reader,
        "refresh_parameters",
        refresh_parameters.as_ref().unwrap_or(&Parameters::new()),
    );
    known.check_values(reader, "token_headers", &token_headers);
    if reader.value("addRedirect").is_none() {
        reader.warn(
            "addRedirect",
            "is absent, so redirect_uri is not sent in token requests. Most providers need it there \
             (RFC 6749 §4.1.3): set addRedirect to true, or to false to say that this one doesn't",
        );
    }
    Some(OauthConfiguration {
        name,
        client_id,
        token_auth: token_auth.unwrap_or(ClientAuthentication::None),
        refresh_endpoint,
        revocation_endpoint,
        scope,
        add_scope: reader.boolean("addScope", true),
        add_redirect: reader.boolean("addRedirect", false),
        parameters,
        token_parameters,
        refresh_parameters,
        token_format: reader.choice(
            "token_format",
            TokenFormat::Form,
            &[("form", TokenFormat::Form), ("json", TokenFormat::Json)],
        ),
        pkce: pkce(reader),
        response_fields: variables::response_fields(reader),
        variables,
        callback_parameters,
        parameter_names,
        default_expires_in: reader.seconds("default_expires_in", MAX_EXPIRES_IN),
        refresh_margin: reader.seconds("refresh_margin", MAX_REFRESH_MARGIN),
        token_headers,
        issuer: reader.string("issuer").map(str::to_owned),
        iss_required: reader.boolean("iss_required", false),
        redirect_uri: redirect_uri(reader),
        custody: reader.choice(
            "custody",
            Custody::Broker,
            &[("broker", Custody::Broker), ("device", Custody::Device)],
        ),
        // Last, so that an endpoint that doesn't fit hides no other error.
        auth_endpoint: auth_endpoint?,
        token_endpoint: token_endpoint?,
    })
}

type ParseEndpoint = fn(&str, EgressPolicy) -> Result<EndpointTemplate, EndpointError>;

fn endpoint(
    reader: &mut Reader<'_, '_>,
    member: &str,
    parse: ParseEndpoint,
    egress: EgressPolicy,
) -> Option<EndpointTemplate> {
    let text = reader.string(member)?;
    parse(text, egress).map_err(|error| reader.error(member, error.to_string())).ok()
}

fn required_endpoint(
    reader: &mut Reader<'_, '_>,
    member: &str,
    parse: ParseEndpoint,
    egress: EgressPolicy,
) -> Option<EndpointTemplate> {
    let text = reader.required(member);
    (!text.is_empty()).then(|| endpoint(reader, member, parse, egress)).flatten()
}

#[derive(Clone, Copy)]
enum Method {
    Post,
    Basic,
    None,
    PrivateKeyJwt,
}

fn token_auth(reader: &mut Reader<'_, '_>) -> Option<ClientAuthentication> {
    let method = reader.choice(
        "token_auth",
        Method::Post,
        &[
            ("post", Method::Post),
            ("basic", Method::Basic),
            ("none", Method::None),
            ("private_key_jwt", Method::PrivateKeyJwt),
        ],
    );
    let unused = match method {
        Method::Post | Method::Basic => "private_key",
        Method::None | Method::PrivateKeyJwt => "client_secret",
    };
    if reader.value(unused).is_some_and(|value| value.as_str() != Some("")) {
        reader.warn(unused, "is not used with this token_auth: leave it out");
    }
    match method {
        Method::Post => client_secret(reader).map(ClientAuthentication::Post),
        Method::Basic => client_secret(reader).map(ClientAuthentication::Basic),
        Method::None => Some(ClientAuthentication::None),
        Method::PrivateKeyJwt => private_key(reader).map(ClientAuthentication::PrivateKeyJwt),
    }
}

fn client_secret(reader: &mut Reader<'_, '_>) -> Option<ClientSecret> {
    let errors = reader.findings.errors.len();
    let secret = reader.string("client_secret").map(ClientSecret::new);
    if secret.is_none() && reader.findings.errors.len() == errors {
        reader.error("client_secret", "is required; for a public client set token_auth to \"none\"");
    }
    secret
}

fn private_key(reader: &mut Reader<'_, '_>) -> Option<PrivateKeyPem> {
    let text = reader.value("private_key").and_then(Value::as_str).unwrap_or_default();
    if text.len() <= MAX_LONG_STRING && is_pkcs8_pem(text) {
        return Some(PrivateKeyPem::new(text));
    }
    reader.error(
        "private_key",
        format!(
            "must be a PKCS#8 key in PEM (\"-----BEGIN PRIVATE KEY-----\"), at most {MAX_LONG_STRING} bytes"
        ),
    );
    None
}

fn is_pkcs8_pem(text: &str) -> bool {
    let body = text.trim().strip_prefix("-----BEGIN PRIVATE KEY-----");
    let body = body.and_then(|body| body.strip_suffix("-----END PRIVATE KEY-----")).unwrap_or_default();
    let base64 = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
    STANDARD.decode(base64.as_bytes()).map(Zeroizing::new).is_ok_and(|der| !der.is_empty())
}

fn pkce(reader: &mut Reader<'_, '_>) -> Pkce {
    if reader.boolean("pkce", true) {
        return Pkce::S256;
    }
    reader.warn(
        "pkce",
        "is off, so that a stolen code can be used by whoever stole it: set it to true unless the provider rejects it",
    );
    Pkce::Off
}

fn redirect_uri(reader: &mut Reader<'_, '_>) -> RedirectUriKind {
    match reader.string("redirect_uri") {
        Some("own") => RedirectUriKind::Own,
        Some("shared") | None => RedirectUriKind::Shared,
        Some(_) => {
            reader.warn(
                "redirect_uri",
                "is ignored, and the shared redirect URI is sent: set it to \"own\" or \"shared\"",
            );
            RedirectUriKind::Shared
        }
    }
}

#[cfg(test)]
mod tests;
