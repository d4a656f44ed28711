//! What a hub's own commands say and answer: `cloudlink attach` and `cloudlink bridge`, against a started service.

use reqwest::Method;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr},
};

use crate::{
    command_line::{hub, operator},
    harness::{Desk, Provider, Reply, Service, until, within},
};

/// A hub with a plugin in the slot `heating`, and its device.
async fn hub_with_a_plugin(service: &Service, provider: &Provider) -> (Desk, String) {
    let operator = operator(service).await;
    let file = operator.file("acme.json", &provider.configuration().to_string());
    operator.run(&["plugin", "put", "acme", &file]).await.well();
    let (hub, device) = hub(service, &operator).await;
    hub.run(&["slot", "install", "heating", "--plugin", "acme"]).await.well();
    (hub, device)
}

/// A command that runs until it is dropped, and what it says on standard error.
struct Running {
    _child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(desk: &Desk, command: &[&str]) -> Self {
        let mut child = desk.command(command).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    /// The next line that has `words`.
    async fn says(&mut self, words: &str) -> String {
        within(words, async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.contains(words) {
                    return line;
                }
            }
            panic!("it never said {words}");
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_attaches_to_a_slot_without_a_plugin_is_told_which_and_what_to_do() {
    let (service, provider) = (Service::at_its_url().await, Provider::start().await);
    let (hub, _) = hub_with_a_plugin(&service, &provider).await;
    let mut attached = Running::start(&hub, &["attach", "--slot", "heating", "--slot", "nonesuch"]);
    let told = attached.says("no plugin is installed").await;
    let advice = "nonesuch  no plugin is installed there: `cloudlink slot install nonesuch --plugin ID`";
    assert!(told.ends_with(advice), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_a_slot_that_the_bridge_serves_is_refused_at_once() {
    let (service, provider) = (Service::at_its_url().await, Provider::start().await);
    let (hub, device) = hub_with_a_plugin(&service, &provider).await;
    // There is no MQTT broker at port 1: the bridge goes on without.
    let bridge = ["bridge", "--standalone", "--slot", "heating=3", "--mqtt", "127.0.0.1:1"];
    let _bridge = Running::start(&hub, &bridge);
    let webhook = format!("/api/eisy/pg3/webhook/response/{device}/heating");
    let refused = until("the bridge to be connected", async || {
        let reply = Reply::of(service.request(Method::POST, &webhook).body("x")).await;
        (reply.status != 503).then_some(reply)
    })
    .await;
    assert_eq!((refused.status, refused.text.as_str()), (501, "The plugin takes no such requests."));
}
