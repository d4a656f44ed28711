//! The values of a slot's variables, checked before anything is made of them (E09).
//!
//! Guarantees of what [`OauthConfiguration::variables`] returns: a value for every variable, each matched by
//! its pattern and enum, without control characters, and fit for a header where it stands in one. A variable
//! without pattern and enum can't choose the registered domain of an endpoint. The endpoint checks the rest
//! when it is resolved.

use std::collections::BTreeMap;

use super::{
    configuration::{OauthConfiguration, Variable},
    endpoint::{EndpointError, EndpointTemplate},
    findings::{FieldError, Findings, member_of},
    parameters::is_header_value,
    reader::{MAX_STRING, text_error},
    template::placeholders,
    variables::MAX_VALUE,
};

impl OauthConfiguration {
    /// The value of each variable: the one given (1 to 1024 bytes; empty counts as not given), or its
    /// default. All that is wrong comes at once, at `/variables/NAME`.
    pub fn variables(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Vec<FieldError>> {
        let mut findings = Findings::default();
        for name in given.keys().filter(|name| !self.variables.contains_key(*name)) {
            findings.error(member_of("/variables", name), "is no variable of this plugin: leave it out");
        }
        let mut values = BTreeMap::new();
        for (name, variable) in &self.variables {
            let at = member_of("/variables", name);
            match given.get(name).filter(|value| !value.is_empty()).or(variable.default.as_ref()) {
                None => findings.error(at, "needs a value"),
                Some(value) => match self.value_error(name, variable, value) {
                    Some(detail) => findings.error(at, detail),
                    None => {
                        values.insert(name.clone(), value.clone());
                    }
                },
            }
        }
        if findings.errors.is_empty() { Ok(values) } else { Err(findings.errors) }
    }

    fn value_error(&self, name: &str, variable: &Variable, value: &str) -> Option<String> {
        if let Some(detail) = text_error(value, MAX_VALUE) {
            return Some(detail);
        }
        if !variable.allowed.is_empty() && !variable.allowed.contains(value) {
            return Some("must be one of the values that the plugin offers".to_owned());
        }
        if variable.pattern.as_ref().is_some_and(|pattern| !pattern.matches(value)) {
            return Some("doesn't look like what the plugin asks for".to_owned());
        }
        let in_header =
            self.token_headers.values().any(|header| placeholders(header.expose()).contains(&name));
        if in_header && !is_header_value(value) {
            return Some(
                "must be printable ASCII without spaces at its ends, since it goes into a header".to_owned(),
            );
        }
        let unbound = variable.pattern.is_none() && variable.allowed.is_empty();
        let author_chose = variable.default.as_deref() == Some(value);
        let open = self.endpoints().any(|endpoint| endpoint.open_host_placeholders().contains(&name));
        (unbound && !author_chose && open && value.contains('.'))
            .then(|| "may hold a dot only where the plugin gives this variable a pattern".to_owned())
    }

    /// The configured callback parameters that stand in a callback's query, by name. One with a pattern that
    /// it doesn't match is [`EndpointError::UnfitValue`] (B11), and so is one over 2048 bytes or with control
    /// characters; an absent one is left out, and is missed when the token endpoint is resolved.
    pub fn callback_values(
        &self,
        query: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, EndpointError> {
        let mut values = BTreeMap::new();
        for (name, pattern) in &self.callback_parameters {
            let Some(value) = query.get(name) else { continue };
            let matches = pattern.as_ref().is_none_or(|pattern| pattern.matches(value));
            if !matches || text_error(value, MAX_STRING).is_some() {
                return Err(EndpointError::UnfitValue(name.clone()));
            }
            values.insert(name.clone(), value.clone());
        }
        Ok(values)
    }

    /// All endpoints given.
    pub fn endpoints(&self) -> impl Iterator<Item = &EndpointTemplate> {
        [&self.auth_endpoint, &self.token_endpoint]
            .into_iter()
            .chain(&self.refresh_endpoint)
            .chain(&self.revocation_endpoint)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Document, parse};
    use super::*;
    use crate::domain::address::EgressPolicy;

    fn configuration(extra: &Value) -> OauthConfiguration {
        let mut members = json!({
            "name": "n", "client_id": "c", "client_secret": "s", "addRedirect": true,
            "auth_endpoint": "https://a.example/auth", "token_endpoint": "https://a.example/token"
        });
        members.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        parse(&Document::new(members.as_object().unwrap().clone()), EgressPolicy::PublicOnly)
            .unwrap()
            .configuration
    }

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn fields(result: Result<BTreeMap<String, String>, Vec<FieldError>>) -> Vec<String> {
        result.unwrap_err().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn defaults_fill_in_and_all_errors_come_at_once() {
        let configuration = configuration(&json!({"variables": {
            "region": {"enum": ["eu", "us"], "default": "eu"}, "tenant": {"pattern": "[a-z]+"}, "other": {}
        }}));
        let filled = configuration
            .variables(&values(&[("tenant", "home"), ("other", "x y"), ("region", "")]))
            .unwrap();
        assert_eq!(filled, values(&[("other", "x y"), ("region", "eu"), ("tenant", "home")]));
        let given = values(&[("a/b", "1"), ("region", "cn"), ("tenant", "HOME")]);
        assert_eq!(
            fields(configuration.variables(&given)),
            ["/variables/a~1b", "/variables/other", "/variables/region", "/variables/tenant"]
        );
        let long = values(&[("tenant", "a"), ("other", &"a".repeat(1025))]);
        assert_eq!(fields(configuration.variables(&long)), ["/variables/other"]);
        let control = values(&[("tenant", "a"), ("other", "a\r\nb")]);
        assert_eq!(fields(configuration.variables(&control)), ["/variables/other"]);
    }

    #[test]
    fn e09_a_variable_without_pattern_does_not_choose_the_domain() {
        let table = [
            (json!({"host": {}}), "evil.example", false),
            (json!({"host": {"default": "home.example"}}), "home.example", true),
            (json!({"host": {"default": "home.example"}}), "evil.example", false),
            (json!({"host": {"enum": ["a.example"]}}), "a.example", true),
            (json!({"host": {"pattern": "[a-z]+\\.example"}}), "b.example", true),
        ];
        for (variables, value, accepted) in table {
            let configuration =
                configuration(&json!({"variables": variables, "token_endpoint": "https://{host}/token"}));
            let given = values(&[("host", value)]);
            assert_eq!(configuration.variables(&given).is_ok(), accepted, "{variables} {value}");
        }
        let closed = configuration(
            &json!({"variables": {"host": {}}, "token_endpoint": "https://{host}.a.example/token"}),
        );
        assert!(closed.variables(&values(&[("host", "eu.home")])).is_ok());
    }

    #[test]
    fn e09_a_value_in_a_header_is_printable_ascii() {
        let configuration =
            configuration(&json!({"variables": {"v": {}}, "token_headers": {"X-V": "v={v}"}}));
        assert!(configuration.variables(&values(&[("v", "a b")])).is_ok());
        for value in ["ä", " a"] {
            assert_eq!(
                fields(configuration.variables(&values(&[("v", value)]))),
                ["/variables/v"],
                "{value}"
            );
        }
    }

    #[test]
    fn b11_a_callback_parameter_must_match_its_pattern() {
        let configuration = configuration(&json!({
            "callback_parameters": {"accounts-server": {"pattern": "https://accounts\\.zoho\\.(com|eu)"}, "realmId": {}},
            "token_endpoint": "{accounts-server}/oauth/v2/token"
        }));
        let query =
            values(&[("accounts-server", "https://accounts.zoho.eu"), ("realmId", "7"), ("code", "x")]);
        let taken = configuration.callback_values(&query).unwrap();
        assert_eq!(taken, values(&[("accounts-server", "https://accounts.zoho.eu"), ("realmId", "7")]));
        let url = configuration.token_endpoint.resolve(&taken, EgressPolicy::PublicOnly).unwrap();
        assert_eq!(url.as_str(), "https://accounts.zoho.eu/oauth/v2/token");
        for evil in ["https://evil", "https://accounts.zoho.eu.evil.example", "https://accounts.zoho.eu\n"] {
            let refused = configuration.callback_values(&values(&[("accounts-server", evil)]));
            assert_eq!(refused, Err(EndpointError::UnfitValue("accounts-server".to_owned())), "{evil}");
        }
        let absent = configuration.callback_values(&values(&[])).unwrap();
        assert_eq!(
            configuration.token_endpoint.resolve(&absent, EgressPolicy::PublicOnly),
            Err(EndpointError::MissingValue("accounts-server".to_owned()))
        );
    }
}
