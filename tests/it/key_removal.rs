//! Taking a vault key away: accepted once nothing needs it, refused before; and commands beside a running service.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::harness::{Home, KEYS, Process, Provider, Service, dump::rows_at_rest, run_to_end};

fn second() -> String {
    format!("k2:{}", STANDARD.encode([2; 32]))
}

fn both() -> String {
    format!("{},{KEYS}", second())
}

async fn said_by(command: &str, service: &Service, settings: &[(&str, &str)]) -> (bool, String) {
    let mut environment = service.environment();
    for (key, value) in settings {
        let key = format!("CLOUDLINK__{key}");
        environment.retain(|(other, _)| *other != key);
        environment.push((key, (*value).to_owned()));
    }
    let output = run_to_end(command, &environment).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn g05_a_key_can_go_once_nothing_needs_it_and_not_before() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    home.link(&service).await;
    let both = both();
    let process = Process::start(&service, &[("VAULT__KEYS", &both)]).await;
    let before = rows_at_rest(&service.database.pool).await;
    let (started, said) = said_by("serve", &service, &[("VAULT__KEYS", &second())]).await;
    assert!(!started && said.contains("lacks the key `k1`") && said.contains("values"), "{said}");
    assert_eq!(rows_at_rest(&service.database.pool).await, before);

    let (whole, said) = said_by("keys rotate", &service, &[("VAULT__KEYS", &both)]).await;
    assert!(whole && said.contains("take it out of vault.keys"), "{said}");
    drop(process);
    let process = Process::start(&service, &[("VAULT__KEYS", &second())]).await;
    assert!(home.access_token(&process.service).await.is_some());

    // A replica with the old order seals something: the old key is needed again.
    let behind = format!("{KEYS},{}", second());
    home.link(&service.replica_with(&[("VAULT__KEYS", &behind)]).await).await;
    let (started, said) = said_by("migrate", &service, &[("VAULT__KEYS", &second())]).await;
    assert!(!started && said.contains("lacks the key `k1`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_went_is_forgotten_by_the_next_rotation() {
    let (service, provider) = (Service::start().await, Provider::start().await);
    Home::enrol(&service, &provider).await;
    drop(service.replica_with(&[("VAULT__KEYS", &both())]).await);
    for keys in [both(), second()] {
        let (whole, said) = said_by("keys rotate", &service, &[("VAULT__KEYS", &keys)]).await;
        assert!(whole, "{said}");
    }
    assert_eq!(service.database.count("select count(*) from vault_checks").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_a_file_that_others_can_read_stop_the_start() {
    use std::{fs, os::unix::fs::PermissionsExt as _};
    let service = Service::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, format!("# the only one\n{KEYS}\n")).unwrap();
    let mut environment = service.environment();
    environment.retain(|(key, _)| key != "CLOUDLINK__VAULT__KEYS");
    environment.push(("CLOUDLINK__VAULT__KEYS_FILE".to_owned(), path.display().to_string()));
    for (mode, fits) in [(0o644, false), (0o600, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let output = run_to_end("migrate", &environment).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.success(), said.contains("chmod 600")), (fits, !fits), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_beside_a_service_with_a_private_database_and_without_one() {
    let service = Service::start().await;
    let folder = tempfile::Builder::new().prefix("cloudlink-keys-").tempdir().unwrap();
    open_to_all(folder.path());
    let private = |keys| {
        [
            ("DATABASE__URL", String::new()),
            ("DATABASE__DATA_DIR", folder.path().display().to_string()),
            ("VAULT__KEYS", keys),
        ]
    };
    let missing = folder.path().join("none").display().to_string();
    let nowhere = [("DATABASE__URL", ""), ("DATABASE__DATA_DIR", missing.as_str())];
    let (found, said) = said_by("keys status", &service, &nowhere).await;
    assert!(
        !found && said.contains("there is no database in") && !folder.path().join("none").exists(),
        "{said}"
    );

    let settings = private(both());
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let process = Process::start(&service, &settings).await;
    for command in ["keys rotate", "keys status"] {
        let (done, said) = said_by(command, &service, &settings).await;
        assert!(done && said.contains("k2"), "{said}");
    }
    process.terminate();
    let (_, log) = process.ended().await;
    assert!(log.contains("draining"), "{log}");
    let (done, said) = said_by("keys status", &service, &settings).await;
    assert!(done && said.contains("not needed any more"), "{said}");
}

/// PostgreSQL's user must walk through it, where that is not this one.
fn open_to_all(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}
