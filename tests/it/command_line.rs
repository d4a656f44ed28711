//! What operators and hubs do at a terminal: the real commands, against a really started service.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::Method;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::confirm_code::digits;
use crate::harness::{Account, Browser, Desk, Home, PASSWORD, Provider, Service, call_with, within};

pub(crate) async fn operator(service: &Service) -> Desk {
    let token = Account { service, network: "198.51.100.1" }.owner_token().await;
    Desk::signed_in(service, &token)
}

/// A hub that has enrolled with the operator's code; and its device.
pub(crate) async fn hub(service: &Service, operator: &Desk) -> (Desk, String) {
    let code = operator.run(&["device", "code"]).await.well();
    let hub = Desk::empty();
    let enrol = ["device", "enrol", "--url", &service.url, "--code", code.trim(), "--name", "Kitchen hub"];
    let enrol = [&enrol[..], &["--password-file", "-"]].concat();
    let device = hub.type_into(&enrol, &format!("{PASSWORD}\n")).await.well();
    (hub, device.trim().to_owned())
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_stores_a_plugin_and_a_hub_enrols_and_installs_it() {
    let (service, provider) = (Service::at_its_url().await, Provider::start().await);
    let operator = operator(&service).await;
    let file = operator.file("acme.json", &provider.configuration().to_string());
    let put = operator.run(&["plugin", "put", "acme", &file]).await;
    assert!(put.err.contains("owner at http") && put.err.contains("(CLOUDLINK_TOKEN)"), "{}", put.err);
    assert!(put.well().contains("/api/cloudlink/redirect"), "the URI to register");
    let list = operator.run(&["plugin", "list"]).await.well();
    assert!(list.starts_with("PLUGIN  NAME") && list.contains("\nacme "), "{list}");
    let shown = operator.run(&["plugin", "show", "acme"]).await.well();
    assert_eq!(json_of(&shown)["client_secret"], "********");
    operator.run(&["plugin", "approve", "acme"]).await.well();

    let (hub, device) = hub(&service, &operator).await;
    let kept = hub.home(".config/cloudlink/credentials.json");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let installed = hub.run(&["slot", "install", "heating", "--plugin", "acme"]).await.well();
    assert!(installed.contains("unlinked"), "{installed}");
    let slots = json_of(&hub.run(&["slot", "list", "--json"]).await.well());
    assert_eq!(slots[0]["slot"], "heating");
    let changed = hub.type_into(&["slot", "override", "heating", "-"], r#"{"scope": "more"}"#).await.well();
    assert_eq!(json_of(&changed)["scope"], "more");
    assert_eq!(json_of(&hub.run(&["slot", "oauth", "heating"]).await.well())["scope"], "more");
    let link = hub.run(&["slot", "connect", "heating"]).await.well();
    assert!(link.contains("/connect/") && link.contains("/link") && link.contains('█'), "{link}");
    let token = hub.run(&["slot", "token", "heating"]).await.failed();
    assert!(token.contains("link"), "what to do: {token}");

    let devices = operator.run(&["device", "list"]).await.well();
    assert!(devices.contains(&device) && devices.contains("Kitchen hub"), "{devices}");
    operator.run(&["device", "rename", "--device", &device, "Kitchen"]).await.well();
    assert!(hub.run(&["device", "show"]).await.well().contains("Kitchen\n"));
    operator.run(&["slot", "remove", "heating", "--device", &device]).await.well();
    let gone = hub.run(&["slot", "show", "heating"]).await.failed();
    assert!(gone.contains("there is no slot heating"), "{gone}");
    operator.run(&["device", "remove", "--device", &device]).await.well();
    let refused = hub.run(&["slot", "list"]).await.failed();
    assert!(refused.contains("refused this device"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_for_one_hub_and_a_password_for_none_but_a_file_or_a_person() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let code = json_of(&operator.run(&["device", "code", "--json"]).await.well());
    let code = code["enrolment_code"].as_str().unwrap();
    let enrol = ["device", "enrol", "--url", &service.url, "--code", code, "--name", "Hub"];
    let (first, second) = (Desk::empty(), Desk::empty());
    let asked = first.run(&enrol).await.failed();
    assert!(asked.contains("--password-file"), "{asked}");
    let password = first.file("password", &format!("{PASSWORD}\n"));
    let enrol = [&enrol[..], &["--password-file", &password]].concat();
    let here = [&enrol[..], &["--here"]].concat();
    first.run(&here).await.well();
    assert!(first.home("work/.cloudlink/credentials.json").exists());
    second.file("password", &format!("{PASSWORD}\n"));
    let refused = second.run(&enrol).await.failed();
    assert!(refused.contains("was used"), "{refused}");
    let help = operator.run(&["device", "add", "--help"]).await.well();
    assert!(help.contains("--password-file") && !help.contains("--password <"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_trusted_listed_and_trusted_no_longer() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let (hub, device) = hub(&service, &operator).await;
    let other = Home::bare(&service).await;
    let jwk = operator.file("key.json", &other.jwk().to_string());
    let trust = ["device", "trust", "--device", &device, "--label", "second", &jwk];
    let key_hash = operator.run(&trust).await.well();
    assert!(key_hash.starts_with("SHA256:"), "{key_hash}");
    let keys = hub.run(&["device", "keys"]).await.well();
    assert!(keys.contains(key_hash.trim()) && keys.contains("second"), "{keys}");
    assert!(keys.contains("cloudlink login on "), "the hub's own: {keys}");
    hub.run(&["device", "untrust", key_hash.trim()]).await.well();
    assert!(!hub.run(&["device", "keys"]).await.well().contains("second"));
    let unknown = hub.run(&["device", "untrust", key_hash.trim()]).await.failed();
    assert!(unknown.contains("trusts no such key"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_takes_the_keys_away_unless_told_otherwise() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let (hub, device) = hub(&service, &operator).await;
    hub.file("old", PASSWORD);
    let new = hub.file("new", "nine quiet otters read maps");
    let change = ["device", "password", "--old-password-file", "old", "--password-file", &new];
    hub.run(&[&change[..], &["--keep-keys"]].concat()).await.well();
    hub.run(&["device", "show"]).await.well();
    let again = hub.run(&change).await.failed();
    assert!(again.contains("old password is wrong"), "{again}");
    operator.file("third", "three loud herons eat soup");
    operator.run(&["device", "password", "--device", &device, "--password-file", "third"]).await.well();
    hub.run(&["device", "show"]).await.failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_record_is_read_a_page_at_a_time() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let (_, device) = hub(&service, &operator).await;
    let page = operator.run(&["audit", "--limit", "2"]).await;
    let next =
        page.err.lines().find_map(|line| line.strip_prefix("Older ones: cloudlink ")).unwrap().to_owned();
    let page = page.well();
    assert!(page.lines().count() == 3 && page.starts_with("ID "), "{page}");
    let words: Vec<&str> = next.split(' ').collect();
    let older = operator.run(&words).await.well();
    let all = json_of(&operator.run(&["audit", "--json"]).await.well());
    let actions: Vec<&str> = all.as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(&actions[..3], ["key.added", "device.login", "device.enrolled"]);
    assert!(page.contains("key.added") && older.contains("device.enrolled"), "{page}{older}");
    assert!(older.contains(&device), "{older}");
    let last = operator.run(&["audit"]).await;
    assert!(!last.err.contains("Older ones"), "{}", last.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_tell_who_where_until_when_and_what_for() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let owner = operator.run(&["permissions"]).await.well();
    assert!(
        owner.contains("owner") && owner.contains(" UTC") && owner.contains("CLOUDLINK_TOKEN"),
        "{owner}"
    );
    let until = json_of(&operator.run(&["permissions", "--json"]).await.well())["until"].clone();
    assert!(
        OffsetDateTime::parse(until.as_str().unwrap(), &Rfc3339).is_ok(),
        "as the API writes it: {until}"
    );
    let (hub, device) = hub(&service, &operator).await;
    let configuration = json!({"name": "Acme", "client_id": "x", "client_secret": "y", "addRedirect": true,
        "auth_endpoint": "https://acme.example/a", "token_endpoint": "https://acme.example/t"});
    hub.run(&["permissions"]).await.well();
    let file = operator.file("acme.json", &configuration.to_string());
    operator.run(&["plugin", "put", "acme", &file]).await.well();
    hub.run(&["slot", "install", "heating", "--plugin", "acme"]).await.well();
    let all = json_of(&hub.run(&["permissions", "--json"]).await.well());
    assert_eq!(all["who"], format!("device {device}"));
    assert_eq!(all["subs"], json!([format!("cloudlink/{device}/+/events")]));
    assert_eq!(all["writable_slots"], json!(["heating"]));
    let shown = hub.run(&["permissions"]).await.well();
    assert!(shown.contains("heating") && shown.contains("the key is removed"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let audit = operator.command(&["audit"]).stdout(writer).output();
    let audit = within("the end of a command", audit).await.unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_key_there_and_the_file_here() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let (hub, device) = hub(&service, &operator).await;
    let out = hub.run(&["signout"]).await;
    assert!(out.err.contains("does not trust this key any more"), "{}", out.err);
    out.well();
    assert!(!hub.home(".config/cloudlink/credentials.json").exists());
    let keys = service.owner(Method::GET, &format!("/api/devices/{device}/keys"), None).await.expect(200);
    assert_eq!(keys, json!([]));
    let nobody = hub.run(&["permissions"]).await.failed();
    assert!(nobody.contains("nobody is signed in") && nobody.contains("cloudlink login"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_forgets_even_where_the_server_is_away() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let (hub, device) = hub(&service, &operator).await;
    service.stop().await;
    let out = hub.run(&["signout"]).await;
    assert!(out.err.contains(&format!("device untrust --device {device} SHA256:")), "{}", out.err);
    out.well();
    assert!(!hub.home(".config/cloudlink/credentials.json").exists());
    let out = operator.run(&["signout"]).await;
    assert!(out.err.contains("ends by itself at 20"), "{}", out.err);
    out.well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_others_can_read_is_refused() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let (hub, _) = hub(&service, &operator).await;
    let path = hub.home(".config/cloudlink/credentials.json");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = hub.run(&["slot", "list"]).await.failed();
    assert!(refused.contains(&format!("chmod 600 {}", path.display())), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_one_sentence_and_a_line_for_each_member() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let bad = json!({"name": "Acme", "client_id": "x", "auth_endpoint": "https://acme.example/a",
        "token_endpoint": "https://u:p@acme.example/t"});
    let file = operator.file("bad.json", &bad.to_string());
    let refused = operator.run(&["plugin", "put", "acme", &file]).await.failed();
    assert!(refused.contains("cloudlink: Some members do not fit"), "{refused}");
    assert!(
        refused.contains("\n  /token_endpoint: ") && refused.contains("\n  /client_secret: "),
        "{refused}"
    );
    service.clock.advance(Duration::hours(2));
    let over = operator.run(&["plugin", "list"]).await.failed();
    assert!(over.contains("cloudlink login"), "{over}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_signed_in_attaches_without_being_named() {
    let (service, provider) = (Service::at_its_url().await, Provider::start().await);
    let operator = operator(&service).await;
    let (hub, _) = hub(&service, &operator).await;
    let file = operator.file("acme.json", &provider.configuration().to_string());
    operator.run(&["plugin", "put", "acme", &file]).await.well();
    hub.run(&["slot", "install", "heating", "--plugin", "acme"]).await.well();
    let mut attached = hub.command(&["attach", "--slot", "heating", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(attached.stdout.take().unwrap()).lines();
    let line = within("the first event", lines.next_line()).await.unwrap().unwrap();
    assert_eq!(json_of(&line)["event"], "customns");
    attached.kill().await.unwrap();
    let owner = operator.run(&["attach"]).await.failed();
    assert!(owner.contains("--device"), "{owner}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_is_replaced_beside_a_service_that_runs() {
    let service = Service::start().await;
    let old = Account { service: &service, network: "198.51.100.1" }.owner_token().await;
    let status =
        async |token: &str| call_with(&service, token, Method::GET, "/api/devices", None).await.status;
    let mut machine = Desk::empty();
    for (name, value) in service.environment() {
        machine = machine.set(&name, &value);
    }
    let bare = machine.run(&["keys", "rotate", "--now"]).await;
    assert_eq!(bare.code, Some(2), "a vault key is not dropped: {}", bare.err);
    let kid = machine.run(&["keys", "rotate", "--signing"]).await.well();
    crate::harness::until("the new key", async || {
        let keys = service.request(Method::GET, "/.well-known/jwks.json").send().await.unwrap();
        keys.text().await.unwrap().contains(kid.trim()).then_some(())
    })
    .await;
    assert_eq!(status(&old).await, 200, "for one hour more");
    machine.run(&["keys", "rotate", "--signing", "--now"]).await.well();
    crate::harness::until("the end of the old token", async || (status(&old).await == 401).then_some(()))
        .await;
    let entries = service.owner(Method::GET, "/api/audit?limit=2", None).await.expect(200);
    assert_eq!(entries[0]["action"], "signing_key.rotated");
    assert_eq!((&entries[1]["actor"], &entries[1]["subject"]), (&json!("operator"), &json!(kid.trim())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_key_is_replaced_in_a_private_database_whether_or_not_somebody_runs_it() {
    let open = std::fs::Permissions::from_mode(0o755);
    let folder = tempfile::Builder::new().permissions(open).tempdir().unwrap();
    let service = Service::start().await;
    let mut machine = Desk::empty().set("CLOUDLINK__DATABASE__DATA_DIR", folder.path().to_str().unwrap());
    for (name, value) in service.environment() {
        if name != "CLOUDLINK__DATABASE__URL" {
            machine = machine.set(&name, &value);
        }
    }
    let nothing = machine.run(&["keys", "rotate", "--signing"]).await.failed();
    assert!(nothing.contains("there is no database in"), "{nothing}");
    machine.run(&["migrate"]).await.well();
    let alone = machine.run(&["keys", "rotate", "--signing"]).await.well();
    let mut serving = machine.command(&["serve"]).spawn().unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
    within("the start", async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("serving") {
                return;
            }
        }
        panic!("it did not start");
    })
    .await;
    let beside = machine.run(&["keys", "rotate", "--signing"]).await.well();
    assert_ne!(alone, beside);
    let pid = rustix::process::Pid::from_raw(serving.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(within("the end", serving.wait()).await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_link_types_the_six_digits_where_it_was_started() {
    let (service, provider) = (Service::with(&[("CONSENT__BINDING", "code")]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let operator = operator(&service).await;
    let connect = ["slot", "connect", "heating", "--device", &home.device, "--wait"];
    let mut waiting = operator.command(&connect).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines();
    let line = within("the link", lines.next_line()).await.unwrap().unwrap();
    let url = line.split_whitespace().last().unwrap();
    let mut browser = Browser::default();
    let sent = browser.consent(&service, url).await;
    let back = browser.callback(&service, &sent, &[("code", "a-code")]).await;
    let digits = digits(&browser.open(&service, back.location()).await);
    let mut input = waiting.stdin.take().unwrap();
    let wrong = if digits == "000000" { "000001" } else { "000000" };
    input.write_all(format!("{wrong}\n{digits}\n").as_bytes()).await.unwrap();
    let ended = within("the end", waiting.wait_with_output()).await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success() && said.contains("linked: the plugin gets its tokens"), "{said}");
    assert_eq!(home.show(&service).await["status"], "linked");
}
