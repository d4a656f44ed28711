//! Extra members of requests, and extra headers of token requests (A08, A09).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    configuration::{OauthConfiguration, ParameterNames, Parameters},
    names::{
        MAX_MEMBERS, MAX_NAME, is_reserved_for_authorization, is_reserved_for_token, name_error, renamed_to,
    },
    reader::{MAX_STRING, Reader, text_error},
    template::placeholders,
};
use crate::domain::secret::SecretValue;

/// Which request extra members go into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// The authorization request.
    Authorization,
    /// Token requests: exchange and refresh.
    Token,
}

/// Parses a map of extra members; empty values are not sent. `None` where the map is absent.
pub(super) fn parameters(
    reader: &mut Reader<'_, '_>,
    member: &str,
    request: Request,
    names: &ParameterNames,
    client_id: &str,
) -> Option<Parameters> {
    let members = reader.object(member, MAX_MEMBERS)?;
    let at = reader.pointer(member);
    let mut reader = Reader::new(members, at, reader.findings);
    let mut parameters = Parameters::new();
    for (name, value) in members {
        let Some(value) = scalar(&mut reader, name, value) else { continue };
        let refused = name_error(name).or_else(|| match request {
            Request::Authorization => authorization_error(name, &value, names, client_id),
            Request::Token => token_error(name, names),
        });
        if let Some(detail) = refused {
            reader.error(name, detail);
        } else if !(value.is_empty() || request == Request::Authorization && name == "client_id") {
            parameters.insert(name.clone(), SecretValue::new(value));
        }
    }
    Some(parameters)
}

/// A string, or a boolean or number as one.
fn scalar(reader: &mut Reader<'_, '_>, name: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            reader.error(name, "must be a string, a number or a boolean");
            return None;
        }
    };
    match text_error(&text, MAX_STRING) {
        Some(detail) => {
            reader.error(name, detail);
            None
        }
        None => Some(text),
    }
}

impl OauthConfiguration {
    /// Whether a member may join the authorization request that neither the plugin's author nor the broker put there:
    /// by the rules for `parameters`.
    pub fn admits_parameter(&self, name: &str, value: &str) -> bool {
        let refused = || authorization_error(name, value, &self.parameter_names, &self.client_id).is_some();
        name_error(name).is_none() && text_error(value, MAX_STRING).is_none() && !refused()
    }
}

fn authorization_error(name: &str, value: &str, names: &ParameterNames, client_id: &str) -> Option<String> {
    if is_reserved_for_authorization(name) {
        return Some("is set by cloudlink alone: leave it out".to_owned());
    }
    if let Some(standard) = renamed_to(&names.authorization, name) {
        return Some(format!("is what parameter_names calls {standard}: leave it out"));
    }
    match super::names::as_read(name).as_str() {
        // Another client here would be one that `client_id`, and so the claim, doesn't show.
        "client_id" if value != client_id => Some("must equal client_id: leave it out".to_owned()),
        "response_type" if !value.is_empty() && !asks_for_code(value) => {
            Some("must contain code, such as \"code\" or \"code id_token\"".to_owned())
        }
        "response_mode" if !matches!(value, "" | "query") => {
            Some("must be \"query\": the code is read from the query only".to_owned())
        }
        _ => None,
    }
}

/// Whether `code`, or a provider's own kind of it (`auth_code`), is one of the words.
pub(super) fn asks_for_code(response_type: &str) -> bool {
    placeholders(response_type).is_empty()
        && response_type.split_ascii_whitespace().any(|word| word == "code" || word.ends_with("_code"))
}

fn token_error(name: &str, names: &ParameterNames) -> Option<String> {
    if is_reserved_for_token(name) {
        return Some("is set by cloudlink alone: leave it out".to_owned());
    }
    renamed_to(&names.token, name)
        .filter(|standard| is_reserved_for_token(standard))
        .map(|standard| format!("is what parameter_names calls {standard}: leave it out"))
}

/// Headers that belong to the connection, the body or the browser, with the reason.
const REFUSED_HEADERS: [(&str, &str); 16] = [
    ("host", "follows from token_endpoint"),
    ("content-length", "follows from the body"),
    ("content-type", "follows from token_format"),
    ("content-encoding", "follows from the body"),
    ("transfer-encoding", "follows from the body"),
    ("accept-encoding", "follows from what cloudlink can read"),
    ("connection", "belongs to the connection"),
    ("keep-alive", "belongs to the connection"),
    ("proxy-authorization", "belongs to the connection"),
    ("proxy-connection", "belongs to the connection"),
    ("te", "belongs to the connection"),
    ("trailer", "belongs to the connection"),
    ("upgrade", "belongs to the connection"),
    ("expect", "belongs to the connection"),
    ("cookie", "belongs to a browser's session, and a token request has none"),
    ("range", "would cut the answer"),
];

/// Whether HTTP Basic already fills the `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthorizationHeader {
    /// It is the client's authentication.
    Taken,
    /// An author may set it.
    Free,
}

/// Parses `token_headers`, by lower-case name.
pub(super) fn token_headers(
    reader: &mut Reader<'_, '_>,
    authorization: AuthorizationHeader,
) -> BTreeMap<String, SecretValue> {
    let mut headers = BTreeMap::new();
    let Some(members) = reader.object("token_headers", MAX_MEMBERS) else { return headers };
    let at = reader.pointer("token_headers");
    let mut reader = Reader::new(members, at, reader.findings);
    for (name, value) in members {
        let Some(value) = scalar(&mut reader, name, value) else { continue };
        let lower = name.to_ascii_lowercase();
        if let Some((_, reason)) = REFUSED_HEADERS.iter().find(|(refused, _)| *refused == lower) {
            reader.error(name, format!("can't be set: it {reason}"));
        } else if lower == "authorization" && authorization == AuthorizationHeader::Taken {
            reader.error(name, "is already used by token_auth \"basic\": use one of the two");
        } else if !is_header_name(name) {
            reader
                .error(name, "must be the name of an HTTP header (RFC 9110 §5.6.2), at most 128 characters");
        } else if !is_header_value(&value) {
            reader.error(name, "must be printable ASCII without spaces at its ends");
        } else if !value.is_empty() && headers.insert(lower, SecretValue::new(value)).is_some() {
            reader.error(name, "stands here twice, in another spelling");
        }
    }
    headers
}

fn is_header_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(token)
}

/// Whether `value` may stand in a header: printable ASCII, nothing that a server would trim.
pub(super) fn is_header_value(value: &str) -> bool {
    value.bytes().all(|b| (0x20..=0x7e).contains(&b)) && value.trim() == value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a09_a_response_type_asks_for_a_code() {
        for fits in ["code", "code id_token", "id_token code", "auth_code"] {
            assert!(asks_for_code(fits), "{fits}");
        }
        for refused in ["token", "id_token", "codes", "passcode", "code_token", "", "{x}_code", "encode"] {
            assert!(!asks_for_code(refused), "{refused}");
        }
    }
}
