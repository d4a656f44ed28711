//! Commands for hubs: which there are, and what goes with each.
//!
//! Each has a JSON schema in a file beside this one. It is what the API's reference tells and what data is held to,
//! so the two can't differ. Data may hold the password of a home's network: nothing here quotes a value.

mod schema;

use std::sync::LazyLock;

use serde_json::Value;

use self::schema::Schema;
use super::{inquiry::Command, json::Object, plugin::FieldError};

macro_rules! commands {
    ($($name:literal,)*) => {
        /// Name and schema, by name.
        static COMMANDS: LazyLock<Vec<(&'static str, Schema)>> = LazyLock::new(|| {
            vec![$(($name, Schema::of(include_str!(concat!($name, ".json")))),)*]
        });
    };
}

commands! {
    "get_network",
    "get_wifi_list",
    "modify_network",
    "reboot",
}

/// Why a command is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// There is none of that name.
    Unknown,
    /// Members that do not fit.
    Invalid(Vec<FieldError>),
}

impl Command {
    /// The command of that name, with data that fits it.
    pub fn of(name: &str, data: Object) -> Result<Self, CommandError> {
        let known = COMMANDS.iter().find(|(known, _)| *known == name);
        let (name, schema) = known.ok_or(CommandError::Unknown)?;
        let errors = schema.errors(&data);
        if errors.is_empty() { Ok(Self { name, data }) } else { Err(CommandError::Invalid(errors)) }
    }
}

/// The schema of each command, by its name.
pub fn schemas() -> impl Iterator<Item = (&'static str, &'static Value)> {
    COMMANDS.iter().map(|(name, schema)| (*name, schema.document()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn wrong(name: &str, data: Value) -> Vec<String> {
        let Value::Object(data) = data else { panic!("an object") };
        match Command::of(name, data) {
            Ok(_) => Vec::new(),
            Err(CommandError::Invalid(errors)) => {
                errors.into_iter().map(|error| format!("{} {}", error.field, error.detail)).collect()
            }
            Err(CommandError::Unknown) => panic!("{name} is unknown"),
        }
    }

    #[test]
    fn the_commands_are_these_and_take_what_is_sensible() {
        let names: Vec<&str> = schemas().map(|(name, _)| name).collect();
        assert_eq!(names, ["get_network", "get_wifi_list", "modify_network", "reboot"]);
        for name in ["get_network", "get_wifi_list", "reboot"] {
            assert_eq!(wrong(name, json!({})), [""; 0]);
            assert_eq!(wrong(name, json!({"a/b": 1})), ["/a~1b is not known here"]);
        }
        assert_eq!(Command::of("format_disk", Object::new()), Err(CommandError::Unknown));
    }

    #[test]
    fn a_network_is_changed_by_what_fits_together() {
        let wrong = |data| wrong("modify_network", data);
        for good in [
            json!({"method": "dhcp"}),
            json!({"method": "static", "ipaddr": "192.168.1.7", "mask": "255.255.255.0", "route": "192.168.1.1"}),
            json!({"method": "static", "ipaddr": "10.0.0.2", "mask": "255.0.0.0", "route": "10.0.0.1", "ns": "1.1.1.1"}),
            json!({"method": "dhcp", "wifi_mode": "client", "ssid": "home", "security": "wpa", "psk": "12345678"}),
            json!({"method": "dhcp", "wifi_mode": "client", "ssid": "home", "security": "wpa", "psk": "0".repeat(64)}),
            json!({"method": "dhcp", "wifi_mode": "client", "ssid": "home", "security": "wep", "wepkey": "abcde"}),
            json!({"method": "dhcp", "wifi_mode": "client", "ssid": "home", "security": "open"}),
            json!({"method": "dhcp", "wifi_mode": "off"}),
        ] {
            assert_eq!(wrong(good.clone()), [""; 0], "{good}");
        }
        assert_eq!(wrong(json!({})), ["/method is required"]);
        assert_eq!(wrong(json!({"method": "bootp"})), ["/method must be one of static, dhcp"]);
        assert_eq!(
            wrong(json!({"method": "static"})),
            ["/ipaddr is required", "/mask is required", "/route is required"]
        );
        let wifi = json!({"method": "dhcp", "wifi_mode": "client"});
        assert_eq!(wrong(wifi), ["/ssid is required", "/security is required"]);
        let with = |name: &str, value: Value| {
            let mut data = json!({"method": "static", "ipaddr": "10.0.0.2", "mask": "255.0.0.0", "route": "10.0.0.1",
                "wifi_mode": "client", "ssid": "home", "security": "wpa", "psk": "12345678"});
            data[name] = value;
            wrong(data)
        };
        let canary = "canary";
        for (name, bad) in [
            ("ipaddr", json!("10.0.0")),
            ("ipaddr", json!("::1")),
            ("ipaddr", json!(canary)),
            ("mask", json!("255.0.255.0")),
            ("mask", json!("0.0.0.0")),
            ("route", json!(1)),
            ("ns", json!("1.1.1.1, 8.8.8.8")),
            ("ssid", json!("")),
            ("ssid", json!("x".repeat(33))),
            ("security", json!(canary)),
            ("psk", json!("1234567")),
            ("psk", json!("x".repeat(64))),
            ("psk", json!("canary\n123")),
            ("wepkey", json!("123456")),
            ("hostname", json!(canary)),
        ] {
            let said = with(name, bad.clone());
            assert_eq!(said.len(), 1, "{name} {bad}: {said:?}");
            assert!(said[0].starts_with(&format!("/{name} ")) && !said[0].contains(canary), "{said:?}");
        }
        let without = json!({"method": "dhcp", "wifi_mode": "client", "ssid": "home", "security": "wpa"});
        assert_eq!(wrong(without), ["/psk is required"]);
    }

    proptest! {
        #[test]
        fn no_data_panics_and_none_is_quoted(name in "[a-z]{1,8}", value in "[A-Z]{12,20}") {
            let mut data = Object::new();
            data.insert("method".to_owned(), json!(value));
            data.insert(name, json!([{"x": value}]));
            let Err(CommandError::Invalid(errors)) = Command::of("modify_network", data) else { panic!() };
            let said = format!("{errors:?}");
            prop_assert!(!said.contains(&value), "{said}");
        }
    }
}
