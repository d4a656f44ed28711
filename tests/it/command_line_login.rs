//! `cloudlink login`: the real command, and a person with a browser, here or elsewhere.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::Method;
use serde_json::{Value, json};
use time::Duration;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout},
};

use crate::harness::{Browser, Desk, Home, PASSWORD, Page, Service, call_with, until, within};

/// A login that waits for its person.
struct Waiting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Waiting {
    fn begin(desk: &Desk, service: &Service, more: &[&str]) -> Self {
        let mut child = desk.command(&[&["login", "--url", &service.url], more].concat()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What stands behind `label` on standard output.
    async fn shows(&mut self, label: &str) -> String {
        within(label, async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if let Some(rest) = line.strip_prefix(label) {
                    return rest.trim().to_owned();
                }
            }
            panic!("it never said {label}");
        })
        .await
    }

    /// Its end, and what it said on standard error.
    async fn ends(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut errors = self.child.stderr.take().unwrap();
        within("what it says", errors.read_to_string(&mut said)).await.unwrap();
        (within("its end", self.child.wait()).await.unwrap().code(), said)
    }

    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }
}

/// Opens the page that was shown, types the code, and answers the question that comes.
async fn types(service: &Service, waiting: &mut Waiting, members: &[(&str, &str)]) -> Page {
    let page = waiting.shows("Open this page in any browser:").await;
    let code = waiting.shows("and type this code:").await;
    let mut browser = Browser::default();
    let csrf = browser.open(service, &page).await.csrf();
    let answer = browser.post(service, &page, &[("csrf", csrf.as_str()), ("user_code", &code)]).await;
    let page = answer.location().to_owned();
    browser.sign_in(service, &page, members).await
}

const OWNER: [(&str, &str); 2] = [("user", crate::harness::OWNER.0), ("password", crate::harness::OWNER.1)];

/// The token that a desk keeps for its user.
fn kept_token(desk: &Desk) -> String {
    let text = std::fs::read_to_string(desk.home(".config/cloudlink/credentials.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["token"].as_str().unwrap().to_owned()
}

/// A browser that notes the address it is asked to open.
pub(crate) fn noting_browser(desk: Desk) -> Desk {
    let (program, note) = (desk.home("browser"), desk.home("address"));
    std::fs::write(&program, format!("#!/bin/sh\nprintf %s \"$1\" > {}\n", note.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.to_str().unwrap().to_owned();
    desk.set("BROWSER", &program)
}

async fn noted(desk: &Desk) -> String {
    until("the browser to open", async || {
        std::fs::read_to_string(desk.home("address")).ok().filter(|address| !address.is_empty())
    })
    .await
}

/// What a browser shows of an address that is not the service's.
async fn load(address: &str) -> String {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.get(address).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_signs_in_by_a_code_looks_around_and_signs_out() {
    let (service, desk) = (Service::at_its_url().await, Desk::empty());
    let mut waiting = Waiting::begin(&desk, &service, &["--headless"]);
    let page = types(&service, &mut waiting, &OWNER).await;
    assert_eq!(page.status, 200, "{}", page.html);
    let (code, said) = waiting.ends().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Signed in as the owner until 20") && said.contains("good for 10 min"), "{said}");
    let token = kept_token(&desk);
    assert!(!said.contains(&token));
    let permissions = desk.run(&["permissions"]).await.well();
    assert!(permissions.contains("owner") && permissions.contains("credentials.json"), "{permissions}");
    assert!(desk.run(&["audit"]).await.well().contains("owner.login"));

    let out = desk.run(&["signout"]).await;
    assert!(out.err.contains("is revoked"), "{}", out.err);
    out.well();
    until("the end of the token", async || {
        let devices = call_with(&service, &token, Method::GET, "/api/devices", None).await;
        (devices.status == 401).then_some(())
    })
    .await;
    desk.run(&["audit"]).await.failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_clock_alone_says_whether_the_operator_is_still_signed_in() {
    let (service, desk) = (Service::at_its_url().await, Desk::empty());
    // For the operator's machine, each token has ended before it came.
    service.clock.advance(Duration::hours(-2));
    let mut waiting = Waiting::begin(&desk, &service, &["--headless"]);
    assert_eq!(types(&service, &mut waiting, &OWNER).await.status, 200);
    let (code, said) = waiting.ends().await;
    assert_eq!(code, Some(0), "{said}");
    let token = kept_token(&desk);
    desk.run(&["audit"]).await.well();
    let script = Desk::signed_in(&service, &token);
    script.run(&["audit"]).await.well();

    service.clock.advance(Duration::hours(2));
    let over = desk.run(&["plugin", "list"]).await.failed();
    assert!(over.contains("you were signed in until 20") && over.contains("is removed"), "{over}");
    assert!(over.contains(&format!("`cloudlink login --url {}`", service.url)), "{over}");
    assert!(!desk.home(".config/cloudlink/credentials.json").exists());
    let over = script.run(&["device", "list"]).await.failed();
    assert!(over.contains("the token in CLOUDLINK_TOKEN has expired"), "{over}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_signs_in_once_has_a_key_that_speaks_from_then_on() {
    let (service, desk) = (Service::at_its_url().await, Desk::empty());
    let home = Home::bare(&service).await;
    let mut waiting = Waiting::begin(&desk, &service, &["--headless", "--here", "--device", &home.device]);
    let members = [("device", home.device.as_str()), ("password", PASSWORD)];
    assert_eq!(types(&service, &mut waiting, &members).await.status, 200);
    let (code, said) = waiting.ends().await;
    assert_eq!(code, Some(0), "{said}");
    let kept = std::fs::read_to_string(desk.home("work/.cloudlink/credentials.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!((&kept["device"], kept.get("token")), (&json!(home.device), None));
    assert_eq!(desk.run(&["slot", "list", "--json"]).await.well().trim(), "[]");
    let actions = service.owner(Method::GET, "/api/audit", None).await.expect(200);
    let actions: Vec<_> = actions.as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert!(
        actions.contains(&json!("key.added")) && actions.contains(&json!("token.revoked")),
        "{actions:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_presses_cancel_or_interrupts_signs_nobody_in() {
    let (service, desk) = (Service::at_its_url().await, Desk::empty());
    let mut waiting = Waiting::begin(&desk, &service, &["--headless"]);
    types(&service, &mut waiting, &[("decision", "cancel")]).await;
    let (code, said) = waiting.ends().await;
    assert!(code == Some(1) && said.contains("it was not allowed"), "{said}");
    let mut waiting = Waiting::begin(&desk, &service, &["--headless"]);
    waiting.shows("and type this code:").await;
    waiting.interrupt();
    let (code, said) = waiting.ends().await;
    assert!(code == Some(1) && said.contains("stopped: nobody was signed in"), "{said}");
    assert!(!desk.home(".config/cloudlink/credentials.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_on_this_machine_brings_the_answer() {
    let (service, desk) = (Service::at_its_url().await, noting_browser(Desk::empty()));
    let waiting = Waiting::begin(&desk, &service, &[]);
    let address = noted(&desk).await;
    assert!(!address.contains("device_code") && address.contains("code_challenge_method=S256"), "{address}");
    let mut browser = Browser::default();
    let page = browser.open(&service, &address).await.location().to_owned();
    let back = browser.sign_in(&service, &page, &OWNER).await.location().to_owned();
    assert!(back.starts_with("http://127.0.0.1:") && back.contains("iss="), "{back}");

    assert!(load(&back.replace("state=", "state=x")).await.contains("nothing here"));
    let shown = load(&back).await;
    assert!(shown.contains("You can close this window"), "{shown}");
    let (code, said) = waiting.ends().await;
    assert_eq!(code, Some(0), "{said}");
    desk.run(&["device", "list"]).await.well();
    assert!(!said.contains(&kept_token(&desk)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_in_the_browser_is_a_no_at_the_terminal() {
    let (service, desk) = (Service::at_its_url().await, noting_browser(Desk::empty()));
    let waiting = Waiting::begin(&desk, &service, &[]);
    let address = noted(&desk).await;
    let mut browser = Browser::default();
    let page = browser.open(&service, &address).await.location().to_owned();
    let back = browser.sign_in(&service, &page, &[("decision", "cancel")]).await.location().to_owned();
    let shown = load(&back).await;
    assert!(shown.contains("Nobody was signed in"), "{shown}");
    let (code, said) = waiting.ends().await;
    assert!(code == Some(1) && said.contains("it was not allowed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_browser_opens_there_is_a_code() {
    let service = Service::at_its_url().await;
    for (name, value) in [("BROWSER", "false"), ("SSH_CONNECTION", "10.0.0.1 5 10.0.0.2 22")] {
        let desk = Desk::empty().set(name, value);
        let mut waiting = Waiting::begin(&desk, &service, &[]);
        assert!(waiting.shows("and type this code:").await.len() >= 8);
        waiting.interrupt();
        assert_eq!(waiting.ends().await.0, Some(1));
    }
}
