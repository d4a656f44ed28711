//! Commands that fail say what to do next, in the words of the command line and not in those of the API.

use crate::{
    command_line::{hub, operator},
    command_line_login::noting_browser,
    harness::{Desk, Home, PASSWORD, Provider, Service},
};

#[track_caller]
fn has(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "{words}: {said}");
    }
    for api in ["nothing of yours", "the other kind", "PUT /", "POST ", "/connect."] {
        assert!(!said.contains(api), "{api}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named_with_the_command_that_shows_what_is() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let (hub, device) = hub(&service, &operator).await;
    for command in ["show", "connect", "oauth", "token", "remove", "unlink"] {
        let said = hub.run(&["slot", command, "nonesuch"]).await.failed();
        let install = "`cloudlink slot install nonesuch --plugin ID`";
        has(&said, &["no slot nonesuch on this device", "`cloudlink slot list`", install]);
    }
    let said = operator.run(&["slot", "show", "nonesuch", "--device", &device]).await.failed();
    has(&said, &[&format!("`cloudlink slot list --device {device}`"), "`cloudlink device list`"]);
    let install = ["slot", "install", "heating", "--plugin", "nonesuch"];
    has(&hub.run(&install).await.failed(), &["no plugin nonesuch", "`cloudlink plugin put nonesuch FILE`"]);
    let said = operator.run(&["plugin", "show", "nonesuch"]).await.failed();
    has(&said, &["no plugin nonesuch", "`cloudlink plugin list`"]);
    has(&operator.run(&["doctor", "nonesuch"]).await.failed(), &["no plugin nonesuch"]);
    let stranger = Home::bare(&service).await.device;
    has(&hub.run(&["device", "show", "--device", &stranger]).await.failed(), &[&stranger, "not yours"]);
    has(&hub.run(&["device", "command", "dance"]).await.failed(), &["no command dance"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_not_linked_names_the_command_that_links_it() {
    let (service, provider) = (Service::at_its_url().await, Provider::start().await);
    let operator = operator(&service).await;
    for plugin in ["honest", "acme"] {
        let file = operator.file("oauth.json", &provider.configuration().to_string());
        operator.run(&["plugin", "put", plugin, &file]).await.well();
    }
    let (hub, _) = hub(&service, &operator).await;
    hub.run(&["slot", "install", "heating", "--plugin", "acme"]).await.well();
    has(&hub.run(&["slot", "token", "heating"]).await.failed(), &["`cloudlink slot connect heating`"]);
    let waits = hub.run(&["slot", "connect", "heating"]).await.failed();
    has(&waits, &["`cloudlink plugin approve ID`"]);
    let doctor = operator.run(&["doctor", "acme"]).await;
    assert!(doctor.out.contains("here: `cloudlink plugin approve acme`"), "{}", doctor.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_do_it_is_told_who_they_are_and_where_it_can_be_done() {
    let service = Service::at_its_url().await;
    let operator = operator(&service).await;
    let (hub, device) = hub(&service, &operator).await;
    for command in [&["doctor", "acme"][..], &["audit"], &["device", "list"], &["plugin", "list"]] {
        let said = hub.run(command).await.failed();
        has(&said, &[&format!("you speak as device {device}"), "this is for the owner", "cloudlink login"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consoles_address_is_no_server_to_sign_in_at() {
    let service = Service::at_its_url().await;
    let (desk, console) = (noting_browser(Desk::empty()), service.admin_url.clone());
    for more in [&["--headless"][..], &[]] {
        let said = desk.run(&[&["login", "--url", &console], more].concat()).await.failed();
        has(&said, &["no cloudlink server answered", "check the URL"]);
    }
    assert!(!desk.home("address").exists(), "no browser opens in front of nothing");
    let enrol =
        ["device", "enrol", "--url", &console, "--code", "x", "--name", "Hub", "--password-file", "-"];
    let said = desk.type_into(&enrol, &format!("{PASSWORD}\n")).await.failed();
    has(&said, &["no cloudlink server answered", "check the URL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settings_file_is_refused_where_it_would_change_nothing() {
    let desk = Desk::empty();
    for command in [&["slot", "list"][..], &["permissions"], &["login", "--url", "http://127.0.0.1:1"]] {
        let said = desk.run(&[&["--config", "/nonexistent"], command].concat()).await.failed();
        has(&said, &["--config is for commands of the machine that runs the service"]);
    }
}
