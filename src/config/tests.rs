use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::*;
use crate::domain::binding::ConsentBinding;

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn with(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::load(None, environment(variables))
}

fn refusal(variables: &[(&str, &str)]) -> String {
    with(variables).unwrap_err().to_string()
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn the_embedded_default_is_whole_and_fits() {
    let settings = with(&[("PATH", "/bin"), ("CLOUDLINK_OTHER", "x")]).unwrap();
    assert_eq!(settings.server.public_url.origin(), "http://127.0.0.1:8080");
    assert_eq!(settings.flow.ttl.as_secs(), 600);
    assert_eq!(settings.consent.binding, ConsentBinding::Adaptive);
    assert_eq!(settings.bus.kind, BusKind::Postgres { url: None });
    assert!(settings.admin.password.is_none() && settings.vault.keys.is_empty());
    assert_eq!(settings.server.workers, None);
}

#[test]
fn each_key_of_the_default_has_a_comment_above_it() {
    let mut commented = false;
    for line in DEFAULTS.lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(commented, "{line:?} has no comment");
        }
        commented = line.starts_with('#');
    }
}

#[test]
fn the_production_example_can_be_served_once_its_secrets_are_given() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/production.example.toml");
    let variables = environment(&[("CLOUDLINK__VAULT__KEYS", "k1:x")]);
    let settings = Settings::load(Some(path.as_ref()), variables).unwrap();
    settings.fit_to_serve().unwrap();
    assert_eq!(settings.server.trusted_proxies.len(), 2);
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let (_folder, path) = file("[flow]\nttl_seconds = 100\npending_per_device = 7\n");
    let variables = environment(&[
        ("CLOUDLINK__FLOW__TTL_SECONDS", "90"),
        ("CLOUDLINK__EGRESS__ALLOW_PRIVATE", "true"),
        ("CLOUDLINK__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1,"),
    ]);
    let settings = Settings::load(Some(&path), variables).unwrap();
    assert_eq!(settings.flow.ttl.as_secs(), 90);
    assert_eq!(settings.flow.pending_per_device, 7);
    assert_eq!(settings.egress.policy, crate::domain::address::EgressPolicy::AllowPrivate);
    let proxies: Vec<String> = settings.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "::1/128"]);
}

#[test]
fn a_typo_is_refused_with_its_name_and_the_nearest_key() {
    let (_folder, path) = file("[server]\npublic_ur = \"https://a.example\"\n");
    let error = Settings::load(Some(&path), []).unwrap_err().to_string();
    assert!(
        error.starts_with("server.public_ur (") && error.ends_with("did you mean server.public_url?"),
        "{error}"
    );

    assert_eq!(
        refusal(&[("CLOUDLINK__SERVER__PUBLIC_ULR", "x")]),
        "CLOUDLINK__SERVER__PUBLIC_ULR (in the environment) is no setting; did you mean \
         CLOUDLINK__SERVER__PUBLIC_URL?"
    );
    let far = refusal(&[("CLOUDLINK__QQQQQ__ZZZZZZZZZ", "x")]);
    assert!(far.ends_with("is no setting"), "{far}");
}

#[test]
fn a_key_outside_of_a_section_is_refused() {
    let (_folder, path) = file("bind = \"127.0.0.1:1\"\n");
    assert!(
        matches!(Settings::load(Some(&path), []), Err(SettingsError::Unknown { key, .. }) if key == "bind")
    );
    let (_folder, path) = file("server = 1\n");
    assert!(matches!(Settings::load(Some(&path), []), Err(SettingsError::Unknown { .. })));
}

#[test]
fn a_secret_can_come_from_a_file_without_its_last_line_end() {
    let (_folder, path) = file("correct horse\r\n");
    let settings = with(&[("CLOUDLINK__ADMIN__PASSWORD_FILE", path.to_str().unwrap())]).unwrap();
    assert_eq!(settings.admin.password.unwrap().expose(), "correct horse");

    let (_folder, path) = file("# the new one\na:1,\nb:2\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let settings = with(&[("CLOUDLINK__VAULT__KEYS_FILE", path.to_str().unwrap())]).unwrap();
    let keys: Vec<&str> =
        settings.vault.keys.iter().map(crate::domain::secret::SecretValue::expose).collect();
    assert_eq!(keys, ["a:1", "b:2"]);
}

#[test]
fn a_secret_as_value_and_as_file_is_refused_with_both_names() {
    let (_folder, path) = file("x");
    let path = path.to_str().unwrap();
    let both = [("CLOUDLINK__ADMIN__PASSWORD", "canary"), ("CLOUDLINK__ADMIN__PASSWORD_FILE", path)];
    for order in [[both[0], both[1]], [both[1], both[0]]] {
        assert_eq!(
            refusal(&order),
            "CLOUDLINK__ADMIN__PASSWORD and CLOUDLINK__ADMIN__PASSWORD_FILE are both set; keep one of them"
        );
    }
    let (_settings_folder, settings) = file("[admin]\npassword = \"canary\"\n");
    let variables = environment(&[("CLOUDLINK__ADMIN__PASSWORD_FILE", path)]);
    let error = Settings::load(Some(&settings), variables).unwrap_err().to_string();
    assert!(error.contains("admin.password in ") && error.contains("PASSWORD_FILE"), "{error}");
}

#[test]
fn only_secrets_come_from_files() {
    assert!(matches!(with(&[("CLOUDLINK__SERVER__BIND_FILE", "/x")]), Err(SettingsError::Unknown { .. })));
    let error = refusal(&[("CLOUDLINK__DATABASE__URL_FILE", "/does/not/exist")]);
    assert_eq!(error, "/does/not/exist cannot be read");
}

#[test]
fn no_error_and_no_debug_holds_a_secret() {
    let secrets = [
        ("CLOUDLINK__ADMIN__PASSWORD", "canary"),
        ("CLOUDLINK__DATABASE__URL", "postgres://u:canary@h/d"),
        ("CLOUDLINK__VAULT__KEYS", "canary,k2:canary"),
    ];
    assert!(!format!("{:?}", with(&secrets).unwrap()).contains("canary"));

    for text in
        ["[admin]\npassword = \"canary\n", "[vault]\nkeys = \"canary\"\n", "[vault]\nkeys = [[\"canary\"]]\n"]
    {
        let (_folder, path) = file(text);
        let error = Settings::load(Some(&path), []).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    let (_folder, path) = file("[admin]\npassword = \"canary\n");
    let error = Settings::load(Some(&path), []).unwrap_err().to_string();
    assert!(error.contains("line 2, column "), "{error}");
}

#[test]
fn a_value_out_of_its_range_is_refused_with_the_range() {
    assert_eq!(
        refusal(&[("CLOUDLINK__FLOW__TTL_SECONDS", "601")]),
        "flow.ttl_seconds is 601; it must be 1 to 600"
    );
    for (name, value) in [
        ("CLOUDLINK__FLOW__TTL_SECONDS", "0"),
        ("CLOUDLINK__FLOW__TTL_SECONDS", "-1"),
        ("CLOUDLINK__SERVER__BIND", "localhost"),
        ("CLOUDLINK__SERVER__TRUSTED_PROXIES", "10.0.0.0/33"),
        ("CLOUDLINK__SERVER__PUBLIC_URL", "https://a.example/path"),
        ("CLOUDLINK__CONSENT__BINDING", "Code"),
        ("CLOUDLINK__LOG__FORMAT", ""),
        ("CLOUDLINK__ADMIN__USER", "a:b"),
        ("CLOUDLINK__EGRESS__ALLOW_PRIVATE", "maybe"),
        ("CLOUDLINK__DATABASE__MAX_CONNECTIONS", "1"),
    ] {
        assert!(matches!(with(&[(name, value)]), Err(SettingsError::Invalid { .. })), "{name}={value}");
    }
}

#[test]
fn settings_that_contradict_each_other_stop_the_start() {
    for (variables, names) in [
        (vec![("CLOUDLINK__BUS__KIND", "nats")], ["bus.kind", "bus.url"]),
        (vec![("CLOUDLINK__BUS__URL", "nats://x")], ["bus.kind", "bus.url"]),
        (
            vec![("CLOUDLINK__DATABASE__URL", "postgres://x"), ("CLOUDLINK__DATABASE__DATA_DIR", "/x")],
            ["database.url", "database.data_dir"],
        ),
        (vec![("CLOUDLINK__ADMIN__BIND", "127.0.0.1:8080")], ["server.bind", "admin.bind"]),
        (
            vec![("CLOUDLINK__SERVER__DRAIN_DELAY_SECONDS", "25")],
            ["server.drain_seconds", "server.drain_delay_seconds"],
        ),
    ] {
        let error = refusal(&variables);
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
    let nats = [("CLOUDLINK__BUS__KIND", "nats"), ("CLOUDLINK__BUS__URL", "http://u:canary@h")];
    let error = refusal(&nats);
    assert!(
        error.starts_with("bus.url is no NATS URL; write it like nats://") && !error.contains("canary"),
        "{error}"
    );
    let past_a_pooler = [("CLOUDLINK__BUS__URL", "postgres://u:canary@h/d")];
    assert!(!format!("{:?}", with(&past_a_pooler).unwrap()).contains("canary"));
    let any_port = [("CLOUDLINK__ADMIN__BIND", "127.0.0.1:0"), ("CLOUDLINK__SERVER__BIND", "127.0.0.1:0")];
    assert!(with(&any_port).is_ok());
}

#[test]
fn serve_wants_tls_and_a_key_where_others_reach_it() {
    let serve = |url: &str, keys: &str| {
        with(&[("CLOUDLINK__SERVER__PUBLIC_URL", url), ("CLOUDLINK__VAULT__KEYS", keys)])
            .unwrap()
            .fit_to_serve()
    };
    assert!(serve("https://link.example.org", "k1:x").is_ok());
    assert!(serve("http://127.0.0.1:8080", "k1:x").is_ok());
    let error = serve("http://link.example.org", "k1:x").unwrap_err().to_string();
    assert!(error.contains("server.public_url") && error.contains("serve"), "{error}");
    assert!(serve("https://link.example.org", "").unwrap_err().to_string().contains("vault.keys"));
}

#[test]
fn operators_of_an_openid_provider_are_named_or_the_start_is_refused() {
    let oidc = |key: &str, value: &str| (format!("CLOUDLINK__LOGIN__OIDC__{key}"), value.to_owned());
    let load = |more: &[(&str, &str)]| {
        let base = [("ISSUER", "https://accounts.example"), ("CLIENT_ID", "cloudlink")];
        let given = base.iter().filter(|(key, _)| more.iter().all(|(other, _)| other != key));
        Settings::load(None, given.chain(more).map(|(key, value)| oidc(key, value)))
    };
    let refusal = |more: &[(&str, &str)]| load(more).unwrap_err().to_string();
    let settings = load(&[("ALLOWED_SUBJECTS", "ada, bob"), ("ALLOWED_DOMAINS", "Example.org")]).unwrap();
    let openid = settings.login.openid.unwrap();
    assert_eq!(openid.operators.subjects, ["ada", "bob"]);
    assert_eq!(openid.operators.domains, ["example.org"]);
    assert!(with(&[]).unwrap().login.openid.is_none());

    let nobody = refusal(&[]);
    assert!(nobody.contains("login.oidc.allowed_subjects") && nobody.contains("login.oidc.allowed_domains"));
    assert!(refusal(&[("CLIENT_ID", ""), ("ALLOWED_SUBJECTS", "a")]).contains("login.oidc.client_id"));
    assert!(refusal(&[("ISSUER", ""), ("ALLOWED_SUBJECTS", "a")]).contains("login.oidc.issuer"));
    for issuer in ["accounts.example", "https://a.example/?x", "http://accounts.example"] {
        let text = refusal(&[("ISSUER", issuer), ("ALLOWED_SUBJECTS", "a")]);
        assert!(text.contains("login.oidc.issuer"), "{text}");
    }
    for domain in ["@example.org", "example", "a@b.example", ".org"] {
        let text = refusal(&[("ALLOWED_DOMAINS", domain)]);
        assert!(text.starts_with("login.oidc.allowed_domains"), "{text}");
    }
}

#[test]
fn the_client_secret_of_the_openid_provider_may_stand_in_a_file_and_a_section_in_a_section() {
    let (_folder, secret) = file("top secret canary\n");
    let (_other, path) = file("[login.oidc]\nissuer = \"https://a.example\"\nallowed_subjects = [\"a\"]\n");
    let variables = environment(&[
        ("CLOUDLINK__LOGIN__OIDC__CLIENT_ID", "c"),
        ("CLOUDLINK__LOGIN__OIDC__CLIENT_SECRET_FILE", secret.to_str().unwrap()),
    ]);
    let settings = Settings::load(Some(&path), variables).unwrap();
    assert!(!format!("{settings:?}").contains("canary"));
    assert_eq!(settings.login.openid.unwrap().client_secret.unwrap().expose(), "top secret canary");
    let (_folder, path) = file("[login.oidc]\nissuers = \"x\"\n");
    let error = Settings::load(Some(&path), []).unwrap_err().to_string();
    assert!(error.ends_with("did you mean login.oidc.issuer?"), "{error}");
}

#[test]
fn the_relay_has_a_listener_of_its_own_only_where_one_is_named() {
    assert_eq!(with(&[]).unwrap().relay.bind, None);
    let named = with(&[("CLOUDLINK__RELAY__BIND", "127.0.0.1:8082")]).unwrap();
    assert_eq!(named.relay.bind.unwrap().port(), 8082);
    for taken in ["127.0.0.1:8080", "127.0.0.1:8081"] {
        assert!(refusal(&[("CLOUDLINK__RELAY__BIND", taken)]).contains("a port of its own"), "{taken}");
    }
    assert!(refusal(&[("CLOUDLINK__RELAY__BIND", "8082")]).contains("an address and a port"));
}
