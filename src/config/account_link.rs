//! `[account_link]`: the services are a table of the operator's own keys, one for each integration. In the environment
//! they are variables of the same names, or one list of `domain=plugin@min_version`.

use std::collections::BTreeMap;

use super::{
    SettingsError,
    layers::{Layers, invalid},
};
use crate::domain::account_link::{
    AccountLinkService, AccountLinkSettings, MinVersion, MinVersionError, ServiceDomain, ServiceDomainError,
};

const SERVICES: &str = "account_link.services";
/// The members of a service's table.
const MEMBERS: [&str; 3] = ["plugin", "min_version", "accepts_new_authorizations"];
/// Every version that knows account link.
const ANY_VERSION: &str = "2021.1.0";
const ENTRY: &str = "must hold entries like ecobee=my-plugin@2022.9.0";

/// Whether `key` is a member of a service's table. What stands for the domain is looked at later, by name.
pub(super) fn is_of_a_service(key: &str) -> bool {
    let rest = key.strip_prefix(SERVICES).and_then(|rest| rest.strip_prefix('.'));
    rest.and_then(|rest| rest.rsplit_once('.')).is_some_and(|(_, member)| MEMBERS.contains(&member))
}

/// Nothing where account link is switched off; wrong services are refused all the same.
pub(super) fn settings(layers: &mut Layers) -> Result<Option<AccountLinkSettings>, SettingsError> {
    let enabled = layers.truth("account_link.enabled")?;
    let allow_cross_network = layers.truth("account_link.allow_cross_network")?;
    let mut services = BTreeMap::new();
    for entry in layers.list(SERVICES)? {
        let (domain, service) = listed(&entry)?;
        insert(&mut services, domain, service)?;
    }
    for (domain, service) in tables(layers)? {
        insert(&mut services, domain, service)?;
    }
    Ok(enabled.then_some(AccountLinkSettings { services, allow_cross_network }))
}

fn insert(
    services: &mut BTreeMap<ServiceDomain, AccountLinkService>,
    domain: ServiceDomain,
    service: AccountLinkService,
) -> Result<(), SettingsError> {
    let key = format!("{SERVICES}.{domain}");
    match services.insert(domain, service) {
        None => Ok(()),
        Some(_) => Err(invalid(
            &key,
            "stands there twice: as an entry of the list and as a table, or twice in the list",
        )),
    }
}

/// `domain=plugin@min_version`; without a version, any.
fn listed(entry: &str) -> Result<(ServiceDomain, AccountLinkService), SettingsError> {
    let (domain, rest) = entry.split_once('=').ok_or_else(|| invalid(SERVICES, ENTRY))?;
    let (plugin, version) = rest.split_once('@').unwrap_or((rest, ANY_VERSION));
    let domain = domain.trim().parse().map_err(|_| invalid(SERVICES, ENTRY))?;
    Ok((domain, service(SERVICES, plugin, version, true)?))
}

fn tables(layers: &mut Layers) -> Result<Vec<(ServiceDomain, AccountLinkService)>, SettingsError> {
    let keys = layers.below(&format!("{SERVICES}."));
    let mut named: Vec<&str> =
        keys.iter().filter_map(|key| key.rsplit_once('.').map(|(table, _)| table)).collect();
    named.dedup();
    let mut tables = Vec::with_capacity(named.len());
    for table in named {
        let domain = table.strip_prefix(SERVICES).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
        let domain = domain.parse().map_err(|error: ServiceDomainError| invalid(table, error.to_string()))?;
        let mut member = |name: &str| {
            let key = format!("{table}.{name}");
            if keys.contains(&key) { layers.text(&key) } else { Ok(None) }
        };
        let plugin = member("plugin")?;
        let version = member("min_version")?;
        let open = member("accepts_new_authorizations")?;
        let plugin = plugin.ok_or_else(|| invalid(&format!("{table}.plugin"), "is missing"))?;
        let open = match open.as_ref().map_or("true", |text| text.trim()) {
            "true" => true,
            "false" => false,
            _ => {
                return Err(invalid(&format!("{table}.accepts_new_authorizations"), "must be true or false"));
            }
        };
        let version = version.as_ref().map_or(ANY_VERSION, |text| text.as_str());
        tables.push((domain, service(table, &plugin, version, open)?));
    }
    Ok(tables)
}

fn service(key: &str, plugin: &str, version: &str, open: bool) -> Result<AccountLinkService, SettingsError> {
    let plugin = plugin.trim().parse().map_err(|error| invalid(key, format!("has a plugin that {error}")))?;
    let wrong = |error: MinVersionError| invalid(key, format!("has a min_version that {error}"));
    let min_version: MinVersion = version.trim().parse().map_err(wrong)?;
    Ok(AccountLinkService { plugin, min_version, accepts_new_authorizations: open })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::{Settings, SettingsError};

    fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings.toml");
        fs::write(&path, toml).unwrap();
        let variables = variables
            .iter()
            .map(|(key, value)| (format!("CLOUDLINK__ACCOUNT_LINK__{key}"), (*value).to_owned()));
        Settings::load(Some(&path), variables)
    }

    fn told(settings: &Settings) -> Vec<String> {
        let services = settings.account_link.as_ref().unwrap().services.iter();
        let told = services.map(|(domain, service)| {
            let closed = if service.accepts_new_authorizations { "" } else { ", closed" };
            format!("{domain}={}@{}{closed}", service.plugin, service.min_version.as_str())
        });
        told.collect()
    }

    #[test]
    fn it_is_off_unless_it_is_switched_on() {
        assert!(load("", &[]).unwrap().account_link.is_none());
        assert!(
            load("[account_link.services.nest]\nplugin = \"nest\"\n", &[]).unwrap().account_link.is_none()
        );
        let on = load("[account_link]\nenabled = true\n", &[]).unwrap().account_link.unwrap();
        assert!(on.services.is_empty() && !on.allow_cross_network);
    }

    #[test]
    fn services_are_tables_of_the_file() {
        let toml = "[account_link]\nenabled = true\n[account_link.services.ecobee]\nplugin = \"my-ecobee\"\n\
            min_version = \"2022.9.0\"\n[account_link.services.home_connect]\nplugin = \"hc\"\n\
            accepts_new_authorizations = false\n";
        assert_eq!(
            told(&load(toml, &[]).unwrap()),
            ["ecobee=my-ecobee@2022.9.0", "home_connect=hc@2021.1.0, closed"]
        );
    }

    #[test]
    fn in_the_environment_they_are_a_list_or_variables_of_the_same_names() {
        let listed = [("ENABLED", "true"), ("SERVICES", "ecobee=my-ecobee@2022.9.0, nest=nest")];
        assert_eq!(told(&load("", &listed).unwrap()), ["ecobee=my-ecobee@2022.9.0", "nest=nest@2021.1.0"]);
        let named = [
            ("ENABLED", "true"),
            ("SERVICES__HOME_CONNECT__PLUGIN", "hc"),
            ("SERVICES__HOME_CONNECT__ACCEPTS_NEW_AUTHORIZATIONS", "false"),
        ];
        assert_eq!(told(&load("", &named).unwrap()), ["home_connect=hc@2021.1.0, closed"]);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_name() {
        let refusal = |toml: &str, variables: &[(&str, &str)]| load(toml, variables).unwrap_err().to_string();
        let table = |text: &str| refusal(&format!("[account_link.services.{text}"), &[]);
        assert!(table("\"home-connect\"]\nplugin = \"a\"").contains("home-connect must be the domain"));
        assert!(table("nest]\nmin_version = \"2022.9.0\"").contains("nest.plugin is missing"));
        assert!(table("nest]\nplugin = \"a\"\nmin_version = \"2022.9\"").contains("like 2022.9.0"));
        assert!(table("nest]\nplugin = \"a_b\"").contains("has a plugin that"));
        assert!(table("nest]\nplugin = \"a\"\naccepts_new_authorizations = 1").contains("true or false"));
        assert!(table("nest]\nplugn = \"a\"").contains("is no setting"));
        assert!(refusal("", &[("SERVICES", "ecobee")]).contains("ecobee=my-plugin@2022.9.0"));
        assert!(refusal("", &[("SERVICES", "a=b,a=c")]).contains("twice"));
    }
}
