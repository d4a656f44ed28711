//! What a configuration tells about itself, before anybody is asked.

use super::{
    Finding,
    Severity::{Error, Warning},
    known_services::missing_parameters,
};
use crate::domain::{
    address::EgressPolicy,
    plugin::{self, Document, EndpointError, EndpointTemplate, FieldError, OauthConfiguration},
};

/// Findings of a configuration that can't be used at all.
pub fn invalid(errors: Vec<FieldError>) -> Vec<Finding> {
    let finding =
        |error: FieldError| Finding::about(Error, "invalid_configuration", error.field, error.detail);
    errors.into_iter().map(finding).collect()
}

/// Findings of a configuration that can be used: what its parsing warned of, and what brings no refresh token.
pub fn of_configuration(configuration: &OauthConfiguration, warnings: Vec<plugin::Warning>) -> Vec<Finding> {
    let finding = |warning: plugin::Warning| {
        let code = match warning.field.as_str() {
            "/addRedirect" => "add_redirect_absent",
            "/pkce" => "pkce_off",
            _ => "configuration_warning",
        };
        Finding::about(Warning, code, warning.field, warning.detail)
    };
    let mut findings: Vec<_> = warnings.into_iter().map(finding).collect();
    findings.extend(missing_parameters(configuration));
    findings
}

/// The endpoints that `egress` does not let this service ask, by themselves: their scheme, or a literal address.
pub fn unfit_endpoints(document: &Document, egress: EgressPolicy) -> Vec<Finding> {
    ["auth_endpoint", "token_endpoint", "refresh_endpoint", "revocation_endpoint"]
        .into_iter()
        .filter_map(|member| {
            let text = document.members().get(member)?.as_str()?;
            let parse = match member {
                "auth_endpoint" => EndpointTemplate::parse_authorization,
                _ => EndpointTemplate::parse,
            };
            let error = parse(text, egress).err()?;
            let code = if error == EndpointError::NotHttps {
                "not_https"
            } else if matches!(error, EndpointError::Host(_)) {
                "private_address"
            } else {
                return None;
            };
            Some(Finding::about(Error, code, format!("/{member}"), error.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document(changes: &Value) -> Document {
        let mut members = json!({
            "name": "n", "client_id": "c", "client_secret": "canary", "addRedirect": true, "redirect_uri": "own",
            "auth_endpoint": "https://p.example/a", "token_endpoint": "https://p.example/t",
        });
        members.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Document::new(members.as_object().unwrap().clone())
    }

    /// Codes and fields.
    fn found(changes: &Value) -> Vec<(&'static str, String)> {
        let parsed = plugin::parse(&document(changes), EgressPolicy::PublicOnly).unwrap();
        let findings = of_configuration(&parsed.configuration, parsed.warnings);
        findings.into_iter().map(|finding| (finding.code, finding.field.unwrap())).collect()
    }

    #[test]
    fn warnings_of_parsing_become_findings() {
        assert_eq!(found(&json!({})), []);
        let odd = json!({"addRedirect": null, "pkce": false, "colour": "red"});
        let pairs = [
            ("configuration_warning", "/colour"),
            ("add_redirect_absent", "/addRedirect"),
            ("pkce_off", "/pkce"),
        ];
        assert_eq!(found(&odd), pairs.map(|(code, field)| (code, field.to_owned())));
    }

    #[test]
    fn services_that_want_to_be_asked_for_a_refresh_token_are_known() {
        let at = |host: &str, rest: &Value| {
            let mut changes = json!({ "auth_endpoint": format!("https://{host}/a") });
            changes.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            found(&changes)
        };
        for (host, parameter, value) in [
            ("accounts.google.com", "access_type", "offline"),
            ("nestservices.google.com", "access_type", "offline"),
            ("www.reddit.com", "duration", "permanent"),
            ("www.dropbox.com", "token_access_type", "offline"),
        ] {
            let missing = vec![("no_refresh_token", format!("/parameters/{parameter}"))];
            assert_eq!(at(host, &json!({})), missing, "{host}");
            assert_eq!(at(host, &json!({"parameters": {parameter: "other"}})), missing, "{host}");
            let asked = json!({"parameters": {parameter: value, "prompt": "consent"}});
            assert_eq!(at(host, &asked), [], "{host}");
        }
        let once = at("accounts.google.com", &json!({"parameters": {"access_type": "offline"}}));
        assert_eq!(once, [("prompt_absent", "/parameters/prompt".to_owned())]);
        for (host, scope) in
            [("login.microsoftonline.com", "offline_access"), ("api.prod.whoop.com", "offline")]
        {
            let missing = [("no_refresh_token", "/scope".to_owned())];
            assert_eq!(at(host, &json!({"scope": "not_offline_access x"})), missing, "{host}");
            assert_eq!(at(host, &json!({"scope": format!("x {scope}")})), [], "{host}");
        }
        assert_eq!(at("accounts.google.com.evil.example", &json!({})), []);
    }

    #[test]
    fn a_scheme_and_a_literal_address_are_told_for_each_endpoint() {
        let document = document(&json!({
            "auth_endpoint": "http://p.example/a", "token_endpoint": "https://192.168.1.1/t",
            "refresh_endpoint": "https://localhost/t", "revocation_endpoint": "https://p.example/r",
        }));
        let codes = |egress| -> Vec<_> {
            let findings = unfit_endpoints(&document, egress);
            findings.into_iter().map(|finding| (finding.code, finding.field.unwrap())).collect()
        };
        let expected = [
            ("not_https", "/auth_endpoint"),
            ("private_address", "/token_endpoint"),
            ("private_address", "/refresh_endpoint"),
        ];
        assert_eq!(codes(EgressPolicy::PublicOnly), expected.map(|(code, field)| (code, field.to_owned())));
        assert_eq!(codes(EgressPolicy::AllowPrivate), []);
    }

    #[test]
    fn what_cannot_be_used_is_told_member_by_member_without_its_value() {
        let errors = plugin::parse(
            &document(&json!({"scope": 7, "private_key": "canary", "token_auth": "x"})),
            EgressPolicy::PublicOnly,
        )
        .unwrap_err();
        let findings = invalid(errors);
        assert!(
            findings
                .iter()
                .all(|finding| finding.code == "invalid_configuration" && finding.severity == Error)
        );
        assert!(findings.iter().any(|finding| finding.field.as_deref() == Some("/scope")));
        assert!(!format!("{findings:?}").contains("canary"));
    }
}
