//! Endpoint URLs in which `{name}` may stand for a value (E01, E09).
//!
//! Guarantees of [`EndpointTemplate::resolve`]: the URL is https (http too under `AllowPrivate`), without user
//! info, on a host that `egress` permits. A value can't leave its place: in a host it is labels of
//! `a-z 0-9 -` only; in path, query and fragment all but RFC 3986's unreserved characters are
//! percent-encoded and dot segments are refused; and the host that the `url` crate reads from the result must
//! be, letter for letter, the host that was put together. The literal end of a host thus stays its end.
//!
//! A template that *begins* with a placeholder takes a whole URL from it, as it is: whoever gives that value
//! has matched it against a pattern first ([`super::parse()`] demands that there is one).

use std::collections::BTreeMap;

use url::{Url, form_urlencoded};

use super::{
    claim::normal_origin,
    template::{Piece, pieces, placeholders},
};
use crate::domain::address::{EgressPolicy, HostError};

/// The longest endpoint, bytes, as written and as resolved.
const MAX_ENDPOINT: usize = 2048;

/// An endpoint URL in which `{name}` may stand for a variable's or callback parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointTemplate(String);

/// Why a URL is no endpoint, or a value doesn't fit into one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme, or none.
    #[error("must begin with https:// (http:// only with egress.allow_private)")]
    NotHttps,
    /// More than 2048 bytes.
    #[error("must be at most 2048 bytes long")]
    TooLong,
    /// White space, a control character or a backslash.
    #[error("must not hold white space, control characters or backslashes")]
    Character,
    /// A name or password before the host.
    #[error("must not hold a user name or password; use client_id and client_secret")]
    UserInfo,
    /// A fragment where none can be (RFC 6749 §3.1, §3.2).
    #[error("must not have a fragment; only auth_endpoint may end in one that begins with #/")]
    Fragment,
    /// `{` or `}` that is no part of a placeholder.
    #[error("holds a brace that belongs to no {{name}}; write %7B or %7D for a brace itself")]
    Brace,
    /// A placeholder in the scheme, the port or a query member's name, or glued to a whole URL.
    #[error(
        "has a {{name}} where none may stand: only in host, path and query values, or before the first /"
    )]
    MisplacedPlaceholder,
    /// What came out is not a URL.
    #[error("must be a URL")]
    NotAUrl,
    /// `.` or `..` as a path segment.
    #[error("must not hold the path segments . and ..")]
    DotSegment,
    /// The host isn't permitted.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A placeholder without a value.
    #[error("needs a value for {{{0}}}")]
    MissingValue(String),
    /// A value that could change more than its place.
    #[error("has no place for the value of {{{0}}}")]
    UnfitValue(String),
}

/// Where a URL's scheme and host come from.
enum Head<'a> {
    /// They stand in the template.
    Literal { scheme: &'a str, authority: &'a str },
    /// The first placeholder's value brings them.
    Whole(&'a str),
}

struct Parts<'a> {
    head: Head<'a>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

fn split_before(text: &str, delimiter: char) -> (&str, &str) {
    text.find(delimiter).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

fn parts(text: &str) -> Result<Parts<'_>, EndpointError> {
    let (rest, fragment) = text.split_once('#').map_or((text, None), |(rest, f)| (rest, Some(f)));
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, q)| (rest, Some(q)));
    if let Some((name, path)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        let separate = path.is_empty() || path.starts_with('/');
        return if separate {
            Ok(Parts { head: Head::Whole(name), path, query, fragment })
        } else {
            Err(EndpointError::MisplacedPlaceholder)
        };
    }
    let (scheme, rest) = rest.split_once("://").ok_or(EndpointError::NotHttps)?;
    let (authority, path) = split_before(rest, '/');
    Ok(Parts { head: Head::Literal { scheme, authority }, path, query, fragment })
}

/// The query, and the one behind the fragment.
fn queries<'a>(query: Option<&'a str>, fragment: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let behind = fragment.and_then(|fragment| fragment.split_once('?')).map(|(_, query)| query);
    query.into_iter().chain(behind)
}

/// The host and, with its colon, the port of an authority without user info.
fn split_port(authority: &str) -> (&str, &str) {
    match authority.rfind(':') {
        Some(at) if !authority.ends_with(']') => authority.split_at_checked(at).unwrap_or((authority, "")),
        Some(_) | None => (authority, ""),
    }
}

impl EndpointTemplate {
    /// Parses an endpoint that the broker asks: no fragment.
    pub fn parse(text: &str, egress: EgressPolicy) -> Result<Self, EndpointError> {
        let template = Self::checked(text, egress)?;
        if template.0.contains('#') { Err(EndpointError::Fragment) } else { Ok(template) }
    }

    /// Parses an `auth_endpoint`, which may end in a fragment `#/path` (an application that routes by it).
    pub fn parse_authorization(text: &str, egress: EgressPolicy) -> Result<Self, EndpointError> {
        Self::checked(text, egress).and_then(|template| match template.0.split_once('#') {
            Some((_, fragment)) if !fragment.starts_with('/') => Err(EndpointError::Fragment),
            Some(_) | None => Ok(template),
        })
    }

    fn checked(text: &str, egress: EgressPolicy) -> Result<Self, EndpointError> {
        if text.len() > MAX_ENDPOINT {
            return Err(EndpointError::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(EndpointError::Character);
        }
        let stray = |piece: &Piece<'_>| matches!(piece, Piece::Text(text) if text.contains(['{', '}']));
        if pieces(text).iter().any(stray) {
            return Err(EndpointError::Brace);
        }
        let template = Self(text.to_owned());
        let Parts { head, query, fragment, .. } = parts(text)?;
        if let Head::Literal { scheme, authority } = head {
            let (host, port) = split_port(authority);
            let literal = |text: &str| placeholders(text).is_empty();
            if !literal(scheme) || !literal(port) || (host.starts_with('[') && !literal(host)) {
                return Err(EndpointError::MisplacedPlaceholder);
            }
        }
        let mut pairs = queries(query, fragment).flat_map(|query| query.split('&'));
        if pairs.any(|pair| pair.split('=').next().is_some_and(|name| !placeholders(name).is_empty())) {
            return Err(EndpointError::MisplacedPlaceholder);
        }
        template.resolve(&template.probe(), egress)?;
        Ok(template)
    }

    /// Values with which a sound template resolves.
    fn probe(&self) -> BTreeMap<String, String> {
        let whole = self.whole_url_placeholder();
        let value = |name: &str| if whole == Some(name) { "https://a.example" } else { "a" };
        self.placeholders().into_iter().map(|name| (name.to_owned(), value(name).to_owned())).collect()
    }

    /// The names in braces, in order of appearance.
    pub fn placeholders(&self) -> Vec<&str> {
        placeholders(&self.0)
    }

    /// The placeholder that brings scheme and host along, where there is one.
    pub(super) fn whole_url_placeholder(&self) -> Option<&str> {
        match parts(&self.0).ok()?.head {
            Head::Whole(name) => Some(name),
            Head::Literal { .. } => None,
        }
    }

    /// The placeholders whose values choose the registered domain: those of a host that doesn't end in a
    /// literal `.label.label`.
    pub(super) fn open_host_placeholders(&self) -> Vec<&str> {
        let Ok(Parts { head: Head::Literal { authority, .. }, .. }) = parts(&self.0) else {
            return Vec::new();
        };
        let (host, _) = split_port(authority);
        let closed = match pieces(host).last() {
            Some(Piece::Text(suffix)) => suffix.starts_with('.') && suffix.matches('.').count() >= 2,
            Some(Piece::Placeholder(_)) | None => false,
        };
        if closed { Vec::new() } else { placeholders(host) }
    }

    /// The decoded members that the query already has, behind a fragment too.
    pub(super) fn query_pairs(&self) -> Vec<(String, String)> {
        let Ok(Parts { query, fragment, .. }) = parts(&self.0) else { return Vec::new() };
        queries(query, fragment)
            .flat_map(|query| form_urlencoded::parse(query.as_bytes()))
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    /// The URL with each `{name}` replaced by its value, percent-encoded for its place; checked again as a whole.
    pub fn resolve(
        &self,
        values: &BTreeMap<String, String>,
        egress: EgressPolicy,
    ) -> Result<Url, EndpointError> {
        let Parts { head, path, query, fragment } = parts(&self.0)?;
        let (head, from_values) = match head {
            Head::Literal { scheme, authority } => {
                let host = fill(authority, values, host_value)?;
                (format!("{scheme}://{host}"), host != authority)
            }
            Head::Whole(name) => {
                let url = whole_url(name, value_of(name, values)?, egress)?;
                let ends = if path.is_empty() { "" } else { "/" };
                (url.strip_suffix(ends).unwrap_or(url).to_owned(), true)
            }
        };
        let mut text = head;
        text.push_str(&fill(path, values, encoded)?);
        for (delimiter, part) in [('?', query), ('#', fragment)] {
            if let Some(part) = part {
                text.push(delimiter);
                text.push_str(&fill(part, values, encoded)?);
            }
        }
        check(&text, egress, from_values)
    }

    /// The origin in ASCII (RFC 6454 §6.2), with `{name}` where the host has a placeholder without a value.
    pub fn origin(&self, values: &BTreeMap<String, String>) -> String {
        let known = |name: &str| values.get(name).cloned().unwrap_or_else(|| format!("{{{name}}}"));
        let Ok(Parts { head, .. }) = parts(&self.0) else { return self.0.clone() };
        match head {
            Head::Literal { scheme, authority } => {
                let host = pieces(authority).into_iter().map(|piece| match piece {
                    Piece::Text(text) => text.to_ascii_lowercase(),
                    Piece::Placeholder(name) => known(name),
                });
                normal_origin(&format!("{}://{}", scheme.to_ascii_lowercase(), host.collect::<String>()))
            }
            Head::Whole(name) => normal_origin(&known(name)),
        }
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn value_of<'v>(name: &str, values: &'v BTreeMap<String, String>) -> Result<&'v str, EndpointError> {
    values.get(name).map(String::as_str).ok_or_else(|| EndpointError::MissingValue(name.to_owned()))
}

fn fill(
    text: &str,
    values: &BTreeMap<String, String>,
    write: fn(&str) -> Option<String>,
) -> Result<String, EndpointError> {
    let mut filled = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Placeholder(name) => {
                let value = write(value_of(name, values)?);
                filled.push_str(&value.ok_or_else(|| EndpointError::UnfitValue(name.to_owned()))?);
            }
        }
    }
    Ok(filled)
}

/// A value for a place in a host: one or more labels of lower-case letters, digits and inner hyphens.
fn host_value(value: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        let mut ends = label.bytes().take(1).chain(label.bytes().last());
        (1..=63).contains(&label.len()) && ends.all(plain) && label.bytes().all(|b| plain(b) || b == b'-')
    };
    value.split('.').all(label).then(|| value.to_owned())
}

/// A value for a path, query or fragment: all but the unreserved characters encoded (RFC 3986 §2.3).
fn encoded(value: &str) -> Option<String> {
    if value.chars().any(char::is_control) {
        return None;
    }
    let encode = |b: u8| match b {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
        _ => format!("%{b:02X}"),
    };
    Some(value.bytes().map(encode).collect())
}

/// A value that is a URL of its own, without a query: that could set what the broker sets.
fn whole_url<'v>(name: &str, value: &'v str, egress: EgressPolicy) -> Result<&'v str, EndpointError> {
    let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '\\' | '@' | '?' | '#' | '{' | '}');
    if value.chars().any(odd) {
        return Err(EndpointError::UnfitValue(name.to_owned()));
    }
    check(value, egress, true).map(|_| value)
}

/// Parses a finished URL; with `from_values`, its host must be the one written in it.
fn check(text: &str, egress: EgressPolicy, from_values: bool) -> Result<Url, EndpointError> {
    if text.len() > MAX_ENDPOINT {
        return Err(EndpointError::TooLong);
    }
    let Ok(Parts { head: Head::Literal { scheme, authority }, path, .. }) = parts(text) else {
        return Err(EndpointError::NotHttps);
    };
    if !egress.permits_scheme(&scheme.to_ascii_lowercase()) {
        return Err(EndpointError::NotHttps);
    }
    if authority.contains('@') {
        return Err(EndpointError::UserInfo);
    }
    let dots =
        |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if path.split('/').any(dots) {
        return Err(EndpointError::DotSegment);
    }
    let url = Url::parse(text).map_err(|_| EndpointError::NotAUrl)?;
    let (host, _) = split_port(authority);
    let verbatim = url.host_str().is_some_and(|read| read.eq_ignore_ascii_case(host));
    if host.is_empty() || (from_values && !verbatim) {
        return Err(EndpointError::NotAUrl);
    }
    egress.check_host(&url)?;
    Ok(url)
}

#[cfg(test)]
mod tests;
