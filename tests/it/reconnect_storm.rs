//! A replica dies, and all its connections come to another at once.

use futures_util::future::join_all;

use crate::harness::{
    DatabaseLink, Home, Process, Provider, Relay, Service,
    listeners::{Listener, at},
};

const HOMES: usize = 6;
/// Of each home, at each replica.
const CONNECTIONS: usize = 25;

/// Attaches all, and takes the first event of each.
async fn attach_all(service: &Service, homes: &[(Home, String)]) -> Vec<Relay> {
    let one = |token| async move {
        let mut relay = Relay::attach(service, token).await;
        relay.event("customns", Some("oauth")).await;
        relay.event("oauth", None).await;
        relay
    };
    join_all(homes.iter().flat_map(|(_, token)| (0..CONNECTIONS).map(|_| one(token.as_str())))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connections_of_a_killed_replica_come_back_to_another_at_a_query_each_at_most() {
    at(Listener::Own, async {
        let (origin, provider) = (Service::start().await, Provider::start().await);
        let mut homes = Vec::new();
        for _ in 0..HOMES {
            let home = Home::enrol(&origin, &provider).await;
            home.link(&origin).await;
            let token = home.token(&origin).await;
            homes.push((home, token));
        }
        let link = DatabaseLink::to(&origin).await;
        let room = ("RELAY__CONNECTIONS_PER_DEVICE", "60");
        let dies = Process::start(&origin, &[room]).await;
        let lives = Process::start(&origin, &[room, ("DATABASE__URL", &link.url)]).await;
        let mut lost = attach_all(&dies.service, &homes).await;
        let mut kept = attach_all(&lives.service, &homes).await;

        link.statements.take();
        dies.kill().await;
        for relay in &mut lost {
            assert!(relay.next().await["close"].is_null());
        }
        let mut back = attach_all(&lives.service, &homes).await;
        let ran = link.statements.take();
        assert!(ran.iter().all(|name| name == "list_states"), "{ran:?}");
        assert!((1..=back.len()).contains(&ran.len()), "{} statements for {}", ran.len(), back.len());

        // And they are whole: each is told what comes next, and those that stayed too.
        for (home, _) in &homes {
            home.patch(&lives.service, serde_json::json!({"scope": "another"})).await.expect(200);
        }
        for relay in back.iter_mut().chain(&mut kept) {
            assert_eq!(relay.event("customns", Some("oauth")).await["data"]["scope"], "another");
        }
    })
    .await;
}
