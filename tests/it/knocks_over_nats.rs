//! Replicas wake each other over NATS: while it is there, while it is away, and where it does not let them in.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Method;
use serde_json::json;

use crate::{
    harness::{Home, NatsServer, Process, Provider, Reply, Service, until},
    knocks::{NO_POLL, OFTEN, each_tells_of_the_other, measured},
};

/// A key of NATS, both halves.
const SEED: &str = "SUAF32NBBW7VMYNFQPWJZX4L7JF6ZWBM4REMOLREXFOI2U47MAEUCUKCUU";
const PUBLIC: &str = "UA6QXTRUNCPWRQ4YUGJWZEEPSY4WDCEVR6QKZA4X4JGYQSAB7EK27H57";

async fn over(url: &str) -> Service {
    Service::with(&[NO_POLL, ("BUS__KIND", "nats"), ("BUS__URL", url)]).await
}

async fn is_ready(service: &Service) {
    assert_eq!(Reply::of(service.request(Method::GET, "/readyz")).await.status, 200);
}

async fn clients(nats: &NatsServer, count: u64) {
    until("the clients", async || (nats.clients().await == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_nats_each_replica_tells_of_what_happens_on_the_other() {
    let nats = NatsServer::start("", &[]).await;
    let service = over(&nats.url("")).await;
    let other = service.replica().await;
    each_tells_of_the_other(&service, &other).await;
    clients(&nats, 2).await;
    other.stop().await;
    clients(&nats, 1).await;
    service.stop().await;
    clients(&nats, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_signs_in_with_a_password_a_token_or_a_key() {
    let with_password = r#"authorization { user: cloudlink, password: "a pass:word" }"#;
    let with_key = format!("authorization {{ users = [ {{ nkey: {PUBLIC} }} ] }}");
    for (configuration, login) in [
        (with_password, "cloudlink:a%20pass%3Aword@"),
        ("authorization { token: a-token }", "a-token@"),
        (&with_key, &format!("{SEED}@")),
    ] {
        let nats = NatsServer::start(configuration, &[]).await;
        let service = over(&nats.url(login)).await;
        each_tells_of_the_other(&service, &service.replica().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_replica_trusts_whom_it_was_told_to_and_nobody_else() {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &authority).unwrap();
    let files = [("cert", &*certificate.pem()), ("key", &*key.serialize_pem()), ("roots", &*authority.pem())];
    let nats = NatsServer::start("tls { cert_file: FOLDER/cert, key_file: FOLDER/key }", &files).await;
    let url = format!("tls://localhost:{}", nats.address.rsplit(':').next().unwrap());
    let bus = [NO_POLL, ("BUS__KIND", "nats"), ("BUS__URL", &url)];

    let roots = nats.file("roots");
    let trusting = [&bus[..], &[("EGRESS__EXTRA_ROOTS", roots.to_str().unwrap())]].concat();
    let service = Service::with(&trusting).await;
    each_tells_of_the_other(&service, &service.replica().await).await;
    let process = Process::start(&Service::start().await, &bus).await;
    process.logs("no NATS server of bus.url can be reached").await;
    is_ready(&process.service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nats_is_away_the_poll_delivers_and_afterwards_knocks_do_again() {
    let mut nats = NatsServer::start("", &[]).await;
    let (service, provider) = (over(&nats.url("")).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let (polling, waiting) = (service.replica_with(&[OFTEN]).await, service.replica().await);
    let (mut polled, mut knocked) = (home.relay(&polling).await, home.relay(&waiting).await);
    home.link(&service).await;
    let told = ["heating 1 customns/oauth", "heating 2 oauth"];
    assert_eq!([polled.told(2).await, knocked.told(2).await], [told, told]);

    for version in [3, 6] {
        nats.kill().await;
        home.patch(&service, json!({"scope": format!("a{version}")})).await.expect(200);
        let told = [format!("heating {version} customns/oauth")];
        assert_eq!(polled.told(1).await, told);
        assert!(knocked.told_so_far().await.is_empty(), "nobody can have told");
        for replica in [&service, &polling, &waiting] {
            is_ready(replica).await;
        }
        nats.restart().await;
        assert_eq!(knocked.told(1).await, told, "everybody looks after a reconnect");
        for scope in ["b", "c"] {
            home.patch(&service, json!({"scope": format!("{scope}{version}")})).await.expect(200);
            assert_eq!(knocked.told(1).await, polled.told(1).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_replicas_start_and_deliver_by_the_poll() {
    let mut nats = NatsServer::start("", &[]).await;
    nats.kill().await;
    let settings = [OFTEN, ("BUS__KIND", "nats"), ("BUS__URL", &nats.url(""))];
    let service = Service::with(&settings).await;
    is_ready(&service).await;
    each_tells_of_the_other(&service, &service.replica().await).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_nats_refuses_says_so_without_its_password_and_delivers_by_the_poll() {
    let users = r#"authorization { users = [
        { user: right, password: canary }
        { user: mute, password: canary, permissions: { publish: ">", subscribe: "else" } } ] }"#;
    let nats = NatsServer::start(users, &[]).await;
    let (service, provider) = (Service::with(&[OFTEN]).await, Provider::start().await);
    let home = Home::enrol(&service, &provider).await;
    let bus = async |login: &str| {
        let url = nats.url(login);
        Process::start(&service, &[("BUS__KIND", "nats"), ("BUS__URL", &url), ("LOG__FILTER", "trace")]).await
    };
    for (login, said, connected) in [
        ("right:wrong-canary@", "NATS refuses the name and password, the token or the key in bus.url", 0.0),
        ("mute:canary@", "must be allowed to publish and subscribe on cloudlink.knock", 0.0),
        ("right:canary@", "knocks of other replicas are heard", 1.0),
    ] {
        let process = bus(login).await;
        process.logs(said).await;
        assert_eq!(measured(&process, "cloudlink_bus_connected").await, Some(connected), "{login}");
        is_ready(&process.service).await;
        let mut relay = home.relay(&process.service).await;
        let mut seen = relay.told_so_far().await;
        home.link(&service).await;
        seen.extend(relay.told(1).await);
        assert!(seen.last().unwrap().ends_with(" oauth"), "{seen:?}");
        process.terminate();
        let (status, log) = process.ended().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("canary"), "{log}");
    }
}
