//! Where each placeholder's value comes from, and what the queries of endpoints may hold: the checks that
//! need more than one member.

use std::collections::BTreeMap;

use super::{
    configuration::{Parameters, Variable},
    endpoint::EndpointTemplate,
    findings::member_of,
    names::{as_read, is_reserved_for_authorization, is_reserved_for_token, renamed_to},
    parameters::asks_for_code,
    pattern::Pattern,
    reader::Reader,
    template::placeholders,
};

/// The names that placeholders may use.
pub(super) struct Scope<'a> {
    pub(super) variables: &'a BTreeMap<String, Variable>,
    pub(super) callback: &'a BTreeMap<String, Option<Pattern>>,
}

impl Scope<'_> {
    /// A name that means two things means neither.
    pub(super) fn check(&self, reader: &mut Reader<'_, '_>) {
        for name in self.callback.keys().filter(|name| self.variables.contains_key(*name)) {
            reader
                .findings
                .error(member_of("/callback_parameters", name), "is the name of a variable too: rename one");
        }
    }

    /// The placeholders of an endpoint: variables, and in `token_endpoint` callback parameters with a pattern.
    pub(super) fn check_endpoint(
        &self,
        reader: &mut Reader<'_, '_>,
        member: &str,
        endpoint: Option<&EndpointTemplate>,
    ) {
        let Some(endpoint) = endpoint else { return };
        for name in endpoint.placeholders() {
            let whole = endpoint.whole_url_placeholder() == Some(name);
            match (self.variables.get(name), self.callback.get(name)) {
                (Some(variable), _) => {
                    let unbound = variable.pattern.is_none() && variable.allowed.is_empty();
                    let at = member_of("/variables", name);
                    if unbound && whole {
                        reader.findings.error(at, "needs a pattern or enum, since it brings a whole URL");
                    } else if unbound && endpoint.open_host_placeholders().contains(&name) {
                        let detail =
                            "has no pattern, so that a value with a dot is refused: it would choose the host";
                        reader.findings.warn(at, detail);
                    }
                }
                (None, Some(Some(_))) if member == "token_endpoint" => {}
                (None, Some(None)) if member == "token_endpoint" => reader.findings.error(
                    member_of("/callback_parameters", name),
                    "needs a pattern, since token_endpoint uses it",
                ),
                (None, Some(_)) => {
                    let detail =
                        format!("uses the callback parameter {{{name}}}, which only token_endpoint may use");
                    reader.error(member, detail);
                }
                (None, None) => {
                    reader.error(member, format!("uses {{{name}}}, which variables doesn't define"));
                }
            }
        }
    }

    /// The placeholders of parameters and headers: variables.
    pub(super) fn check_values(&self, reader: &mut Reader<'_, '_>, member: &str, values: &Parameters) {
        for (name, value) in values {
            // A header's map has lower-case names: the pointer shall be the author's.
            let written = reader.written_name(member, name);
            for placeholder in placeholders(value.expose()) {
                if !self.variables.contains_key(placeholder) {
                    let at = member_of(&member_of("", member), &written);
                    reader
                        .findings
                        .error(at, format!("uses {{{placeholder}}}, which variables doesn't define"));
                }
            }
        }
    }
}

/// Refuses an endpoint whose own query sets what the broker sets (A08); all else in it is kept.
pub(super) fn check_query(
    reader: &mut Reader<'_, '_>,
    member: &str,
    endpoint: Option<&EndpointTemplate>,
    names: &BTreeMap<String, Option<String>>,
) {
    for (name, value) in endpoint.map(EndpointTemplate::query_pairs).unwrap_or_default() {
        let read = as_read(&name);
        let refused = if member == "auth_endpoint" {
            is_reserved_for_authorization(&name)
                || read == "client_id"
                || (read == "response_type" && !asks_for_code(&value))
                || (read == "response_mode" && value != "query")
        } else {
            // Some providers want a constant redirect_uri in the URL.
            (is_reserved_for_token(&name) && read != "redirect_uri") || read == "client_secret"
        };
        if refused || renamed_to(names, &name).is_some() {
            reader.error(
                member,
                format!("has {read} in its query, which cloudlink sets: take it out of the URL"),
            );
        }
    }
}
