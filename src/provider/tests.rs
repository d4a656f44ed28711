//! The guarded client against a provider that answers whatever bytes it likes.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use time::macros::datetime;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};

use super::{
    fake::{FixedEntropy, Provider, ScriptedLookup, Setup, answer, read_request, request},
    *,
};
use crate::domain::{
    address::EgressPolicy,
    plugin::{ClientAuthentication, EndpointTemplate},
    secret::{AuthorizationCode, ClientSecret, CodeVerifier},
};

const NOW: ::time::OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

/// What a busy machine never needs; who would have to wait for it has missed a shorter limit.
const PLENTY: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits { connect: PLENTY, exchange: PLENTY, ..Limits::default() }
}

fn hasty() -> Limits {
    Limits { exchange: Duration::from_millis(300), ..limits() }
}

fn client(limits: Limits) -> ProviderClient {
    ProviderClient::new(EgressPolicy::AllowPrivate, limits, b"").unwrap()
}

async fn word(client: &ProviderClient, provider: &Provider) -> &'static str {
    let setup = Setup::new();
    match client.exchange(provider.request(), &setup.configuration, &setup.callback, NOW).await {
        Ok(_) => "tokens",
        Err(error) => error.word(),
    }
}

#[tokio::test]
async fn a_code_becomes_tokens_and_the_provider_reads_what_was_configured() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let provider = Provider::serving(move |mut stream| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(read_request(&mut stream).await?);
            stream.write_all(&answer(200, "", br#"{"access_token":"A","expires_in":"60"}"#)).await
        }
    })
    .await;
    let mut setup = Setup::new().scope("a b");
    let url = format!("http://127.0.0.1:{}/token?key=1", provider.port());
    setup.configuration.token_endpoint = EndpointTemplate::parse(&url, EgressPolicy::AllowPrivate).unwrap();
    setup.configuration.token_auth = ClientAuthentication::Basic(ClientSecret::new("s"));
    let (code, verifier) = (AuthorizationCode::new("c/1"), CodeVerifier::new("v"));
    let request = setup.registration().exchange(&code, Some(&verifier), NOW, &FixedEntropy(1)).unwrap();
    let client = client(limits());
    let tokens = client.exchange(request, &setup.configuration, &setup.callback, NOW).await.unwrap();
    assert_eq!(tokens.expires_in(NOW), 60);

    let seen = seen.recv().await.unwrap();
    assert!(seen.starts_with("POST /token?key=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("accept: application/json\r\n"), "{seen}");
    assert!(seen.contains("user-agent: cloudlink/"), "{seen}");
    assert!(seen.contains("authorization: Basic "), "{seen}");
    assert!(seen.ends_with("grant_type=authorization_code&code=c%2F1&code_verifier=v&scope=a+b"), "{seen}");
}

#[tokio::test]
async fn e01_http_and_user_info_never_leave() {
    let client = ProviderClient::new(EgressPolicy::PublicOnly, limits(), b"").unwrap();
    for url in ["http://p.example/", "ftp://p.example/", "https://u:p@p.example/", "https://u@p.example/"] {
        assert!(matches!(client.send(request(url)).await, Err(SendError::Blocked)), "{url}");
    }
}

#[tokio::test]
async fn e02_a_literal_loopback_address_is_blocked_in_every_spelling() {
    let provider = Provider::answering(answer(200, "", b"{}")).await;
    let client = ProviderClient::new(EgressPolicy::PublicOnly, limits(), b"").unwrap();
    for host in ["127.0.0.1", "0x7f.1", "2130706433", "017700000001", "[::1]"] {
        let url = format!("https://{host}:{}/", provider.port());
        assert!(matches!(client.send(request(&url)).await, Err(SendError::Blocked)), "{host}");
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn e02_a_name_that_leads_to_loopback_is_blocked_and_nothing_connects() {
    let provider = Provider::answering(answer(200, "", b"{}")).await;
    let lookup = ScriptedLookup::new([&["127.0.0.1"][..]]);
    let client = ProviderClient::with_lookup(EgressPolicy::PublicOnly, limits(), b"", lookup).unwrap();
    let result = client.send(request(&format!("https://name.example:{}/", provider.port()))).await;
    assert!(matches!(result, Err(SendError::Blocked)), "{result:?}");
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn e03_each_request_asks_for_the_address_anew_and_goes_to_what_was_answered() {
    let provider = Provider::answering(answer(200, "", b"{}")).await;
    let lookup = ScriptedLookup::new([&["127.0.0.1"][..], &["127.0.0.2"][..]]);
    let client = ProviderClient::with_lookup(EgressPolicy::AllowPrivate, limits(), b"", lookup).unwrap();
    let url = format!("http://name.example:{}/", provider.port());
    assert!(client.send(request(&url)).await.is_ok());
    // Nobody listens on 127.0.0.2: had the first connection or address been kept, this would work.
    assert!(matches!(client.send(request(&url)).await, Err(SendError::Unreachable(_))));
    assert_eq!(provider.connections(), 1);
}

#[tokio::test]
async fn e03_no_connection_is_kept_for_a_second_request() {
    let provider = Provider::serving(|mut stream| async move {
        loop {
            read_request(&mut stream).await?;
            stream.write_all(&answer(200, "", br#"{"access_token":"A"}"#)).await?;
        }
    })
    .await;
    let client = client(limits());
    assert_eq!(word(&client, &provider).await, "tokens");
    assert_eq!(word(&client, &provider).await, "tokens");
    assert_eq!(provider.connections(), 2);
}

#[tokio::test]
async fn e04_a_redirect_from_the_token_endpoint_is_a_failure() {
    let target = Provider::answering(answer(200, "", br#"{"access_token":"A"}"#)).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: http://127.0.0.1:{}/\r\n", target.port());
        let provider = Provider::answering(answer(status, &location, b"")).await;
        assert_eq!(word(&client(limits()), &provider).await, "invalid_answer");
    }
    assert_eq!(target.connections(), 0);
}

/// Writes `first`, then `again` for ever, `pause` apart; reports when the peer has gone.
async fn dripping(
    first: &'static [u8],
    again: &'static [u8],
    pause: Duration,
) -> (Provider, mpsc::Receiver<()>) {
    let (sender, gone) = mpsc::channel(8);
    let provider = Provider::serving(move |mut stream: TcpStream| {
        let sender = sender.clone();
        async move {
            read_request(&mut stream).await?;
            stream.write_all(first).await?;
            let mut ticks = tokio::time::interval(pause);
            loop {
                ticks.tick().await;
                if let Err(error) = stream.write_all(again).await {
                    let _ = sender.send(()).await;
                    return Err(error);
                }
            }
        }
    })
    .await;
    (provider, gone)
}

#[tokio::test]
async fn e05_a_body_that_drips_ends_at_the_deadline_and_the_connection_is_closed() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
    let (provider, mut gone) = dripping(head, b" ", Duration::from_millis(10)).await;
    let begun = Instant::now();
    assert_eq!(word(&client(hasty()), &provider).await, "provider_unavailable");
    assert!(begun.elapsed() < PLENTY);
    tokio::time::timeout(PLENTY, gone.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn e05_a_server_that_never_answers_ends_at_the_deadline() {
    let (provider, mut gone) = dripping(b"", b"", Duration::from_hours(1)).await;
    assert!(matches!(client(hasty()).send(provider.request()).await, Err(SendError::TimedOut)));
    assert!(gone.try_recv().is_err());
}

#[tokio::test]
async fn e05_a_handshake_that_never_comes_ends_after_the_connect_limit() {
    let provider = Provider::serving(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.map(|_| ())
    })
    .await;
    let limits = Limits { connect: Duration::from_millis(200), ..limits() };
    let url = format!("https://127.0.0.1:{}/", provider.port());
    let begun = Instant::now();
    let result = client(limits).send(request(&url)).await;
    assert!(matches!(result, Err(SendError::TimedOut | SendError::Unreachable(_))), "{result:?}");
    assert!(begun.elapsed() < PLENTY);
}

#[tokio::test]
async fn e06_endless_interim_responses_end_at_the_deadline_and_the_connection_is_closed() {
    let (provider, mut gone) =
        dripping(b"", b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n", Duration::from_micros(10)).await;
    let begun = Instant::now();
    assert!(matches!(client(hasty()).send(provider.request()).await, Err(SendError::TimedOut)));
    assert!(begun.elapsed() < PLENTY);
    tokio::time::timeout(PLENTY, gone.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn e06_endless_headers_are_too_large() {
    let line: &[u8] =
        b"x-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    let (provider, _gone) = dripping(b"HTTP/1.1 200 OK\r\n", line, Duration::from_micros(1)).await;
    assert_eq!(word(&client(limits()), &provider).await, "answer_too_large");
    // One header that never ends.
    let (provider, _gone) =
        dripping(b"HTTP/1.1 200 OK\r\nx: ", &[b'a'; 8192], Duration::from_micros(1)).await;
    assert_eq!(word(&client(limits()), &provider).await, "answer_too_large");
}

#[tokio::test]
async fn e06_headers_over_the_limit_are_too_large_and_just_below_are_not() {
    for (length, expected) in [(64 * 1024, "answer_too_large"), (63 * 1024, "tokens")] {
        let header = format!("x: {}\r\n", "a".repeat(length));
        let provider = Provider::answering(answer(200, &header, br#"{"access_token":"A"}"#)).await;
        assert_eq!(word(&client(limits()), &provider).await, expected);
    }
}

#[tokio::test]
async fn e06_a_body_over_the_limit_is_too_large_with_or_without_a_length() {
    let padded = |length: usize| {
        let mut body = br#"{"access_token":"A"}"#.to_vec();
        body.resize(length, b' ');
        body
    };
    let small = Limits { body: 1000, ..limits() };
    let at_limit = Provider::answering(answer(200, "", &padded(1000))).await;
    assert_eq!(word(&client(small), &at_limit).await, "tokens");
    let above = Provider::answering(answer(200, "", &padded(1001))).await;
    assert_eq!(word(&client(small), &above).await, "answer_too_large");
    let chunk: &[u8] = b"5\r\n     \r\n";
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let (endless, _gone) = dripping(head, chunk, Duration::from_micros(1)).await;
    assert_eq!(word(&client(small), &endless).await, "answer_too_large");
}

fn gzip(write: impl FnOnce(&mut flate2::write::GzEncoder<Vec<u8>>) -> io::Result<()>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    write(&mut encoder).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn e06_a_gzip_bomb_is_too_large_after_decompression() {
    let honest = gzip(|encoder| encoder.write_all(br#"{"access_token":"A"}"#));
    let bomb = gzip(|encoder| (0..4096).try_for_each(|_| encoder.write_all(&[b' '; 1 << 14])));
    for (body, expected) in [(honest, "tokens"), (bomb, "answer_too_large")] {
        let provider = Provider::answering(answer(200, "content-encoding: gzip\r\n", &body)).await;
        assert_eq!(word(&client(limits()), &provider).await, expected);
    }
    let broken = Provider::answering(answer(200, "content-encoding: gzip\r\n", b"no gzip at all")).await;
    assert_eq!(word(&client(limits()), &broken).await, "invalid_answer");
}

#[tokio::test]
async fn what_is_no_http_is_invalid_and_a_broken_connection_is_unavailable() {
    for (bytes, expected) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..], "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef", "invalid_answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{", "provider_unavailable"),
        (b"", "provider_unavailable"),
    ] {
        let provider = Provider::answering(bytes).await;
        assert_eq!(
            word(&client(limits()), &provider).await,
            expected,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
        assert_eq!(provider.connections(), 1, "a request is sent once");
    }
}

#[tokio::test]
async fn f05_an_unavailable_provider_is_told_from_one_that_refuses() {
    let busy = Provider::answering(answer(503, "retry-after: 7\r\n", b"canary")).await;
    let setup = Setup::new();
    let client = client(limits());
    let error =
        client.exchange(busy.request(), &setup.configuration, &setup.callback, NOW).await.unwrap_err();
    let expected = AnswerError::Unavailable { status: 503, retry_after: Some(Duration::from_secs(7)) };
    assert!(matches!(error, ExchangeError::Answer(ref answer) if *answer == expected), "{error:?}");
    let refusing = Provider::answering(answer(400, "", br#"{"error":"invalid_grant"}"#)).await;
    assert_eq!(word(&client, &refusing).await, "exchange_failed");
    assert!(client.revoke(Provider::answering(answer(200, "", b"")).await.request(), NOW).await.is_ok());
    assert!(client.revoke(refusing.request(), NOW).await.is_err());
}

#[tokio::test]
async fn e11_a_dead_host_holds_its_own_places_and_no_others() {
    let (dead, _gone) = dripping(b"", b"", Duration::from_hours(1)).await;
    let live = Provider::answering(answer(200, "", br#"{"access_token":"A"}"#)).await;
    let lookup = ScriptedLookup::new([&["127.0.0.1"][..]]);
    let limits = Limits { per_host: 2, ..limits() };
    let client = ProviderClient::with_lookup(EgressPolicy::AllowPrivate, limits, b"", lookup).unwrap();
    let client = Arc::new(client);
    let url = format!("http://dead.example:{}/", dead.port());
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let (client, request) = (Arc::clone(&client), request(&url));
        waiting.spawn(async move { client.send(request).await });
    }
    dead.connected(2).await;
    let url = format!("http://live.example:{}/", live.port());
    assert!(client.send(request(&url)).await.is_ok());
    assert_eq!(dead.connections(), 2);
}

#[tokio::test]
async fn no_error_names_the_url_or_quotes_the_answer() {
    let provider = Provider::answering(b"canary-body".to_vec()).await;
    let mut request = provider.request();
    request.endpoint.set_query(Some("key=canary-query"));
    let error = client(limits()).send(request).await.unwrap_err();
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

#[test]
fn roots_that_are_no_certificates_stop_the_start() {
    let egress = EgressPolicy::PublicOnly;
    assert!(ProviderClient::new(egress, Limits::default(), b"not a certificate").is_err());
    assert!(ProviderClient::new(egress, Limits::default(), b" \n").is_ok());
}
